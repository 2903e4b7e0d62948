/*
 * A model of recording and replay around the real commit order, views, frames and inbound queues: a few
 * actors (vCPUs, or devices that write guest memory) run small scripts, and every interleaving of their steps
 * is tried. Each commit is compared with a serial execution in commit order, and each log that a recording
 * can give is replayed in every interleaving that the log allows.
 *
 * The whole state is in `world`, one object that can be saved and put back; frames and inbound queues
 * are too large to save, so only the words that scripts use are.
 */
#ifndef RV_TEST_MODEL_MODEL_H
#define RV_TEST_MODEL_MODEL_H

#include "replay/inbound.h"
#include "replay/view.h"

#define M_ACTORS      4u
#define M_PAGES       3u
#define M_WORDS       2u
#define M_FRAMES      64u
#define M_RING        64u
#define M_CHUNK_PAGES 6u
#define M_OPS         40u
#define M_LOG         24u
#define M_EVENTS      4u
#define M_DEPTH       512u

/* What a script does. The value read by OP_READ and OP_ADD goes into the actor's register. */
enum op_kind {
    OP_END = 0,
    OP_READ,
    OP_WRITE,  /* stores a value made from the register */
    OP_CONST,  /* stores arg */
    OP_ADD,    /* adds arg */
    OP_SILENT, /* stores what is there */
    OP_SKIP,   /* skips the next operation if the word is odd */
    OP_CUT,    /* the chunk ends */
    OP_IPI,    /* the chunk ends, and sends an event to actor arg */
};

struct op {
    uint8_t kind, page, word, arg;
};

struct scenario {
    const char *name;
    uint32_t actors;
    struct op script[M_ACTORS][M_OPS];
    uint32_t chunk_pages; /* 0: so many that it is no limit */
    uint32_t frames;      /* 0: plenty; 2: very many; 1: as few as order_init takes */
    uint32_t ring;        /* 0: plenty; 1: as small as order_init takes */
    uint32_t frames_low;
    uint32_t token_after; /* squashes after which an actor takes the token */
    bool whole_chunks;    /* accesses are no steps of their own: for larger schedules */
};

/* The actor's architectural state: what a checkpoint holds. */
struct machine {
    uint32_t pc;
    uint64_t acc;
};

enum phase {
    PHASE_REST = 0,
    PHASE_BEGIN,
    PHASE_RUN,
    PHASE_COLLECT,
    PHASE_VALIDATE,
    PHASE_ENTER,
    PHASE_LEAVE, /* it has the order's lock */
    PHASE_SQUASH,
    PHASE_TOKEN,
    PHASE_COMMITTED,
    PHASE_DONE,
};

struct mapping {
    uint32_t frame;
    bool present, writable, accessed, dirty;
};

struct actor {
    struct view view;
    struct view_page page[M_PAGES];
    uint32_t copies[M_CHUNK_PAGES], writes[M_CHUNK_PAGES];
    struct mapping map[M_PAGES];
    struct machine now, saved;
    enum phase phase;
    uint32_t squashes;
    uint32_t events; /* taken by the chunk */
    bool acts;       /* the chunk ended with an IPI, to: */
    uint32_t target;
    uint32_t index; /* replay: of the chunk in the log */
    uint64_t seq;
};

/* A record of the log: what replay is told, and more for checks. */
struct chunk_record {
    uint32_t actor, end_pc, events;
    uint8_t event[M_EVENTS];
    uint64_t snapshot; /* S, which replay is not told */
    uint64_t newest;   /* E */
    uint64_t own;      /* the actor's commit before this one */
    uint64_t digest;   /* of the chunk */
    uint64_t running;
    struct machine after;
};

/* Committed memory after each commit, by serial execution. */
struct moment {
    uint64_t word[M_PAGES][M_WORDS];
    uint64_t version[M_PAGES];
};

struct posted {
    uint64_t seq;
    uint8_t vector;
};

struct world {
    const struct scenario *scenario;
    struct frame_pool pool;
    uint32_t stack[M_FRAMES];
    struct commit_order order;
    struct page_entry table[M_PAGES];
    struct commit_entry ring[M_RING];
    struct actor actor[M_ACTORS];
    struct chunk_record log[M_LOG];
    uint32_t log_count;
    struct moment moment[M_LOG + 1];
    struct machine serial[M_ACTORS];
    struct posted posted[M_ACTORS][M_EVENTS];
    uint32_t posted_count[M_ACTORS], taken_count[M_ACTORS];
    uint32_t inbound_head[M_ACTORS], inbound_tail[M_ACTORS]; /* filled in while saved */
    struct inbound_event inbound[M_ACTORS][M_EVENTS];
    uint64_t frame_word[M_FRAMES][M_WORDS];
};

struct counts {
    uint64_t states, ends, logs, squashes, rebuilds, value_saves, barred, no_frame, room_squashes, tokens;
    uint64_t replay_states, replay_ends, early_runs, early_differ, early_returned;
};

extern struct world world;
extern struct counts counts;
extern struct inbound model_inbound[M_ACTORS];

/* world.c */
void world_init(const struct scenario *scenario, bool replay);
void world_save(struct world *to);
void world_restore(const struct world *from);
uint64_t world_hash(void);
void world_check(void);
void world_poison(void);
bool world_locked(void);
_Noreturn void model_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* machine.c */
enum op_result {
    OP_ON,      /* executed; the chunk goes on */
    OP_OVER,    /* executed; the chunk is over */
    OP_REFUSED, /* not executed: no private copy to be had */
};
struct access {
    bool (*prepare)(void *ctx, uint32_t page);
    uint64_t (*read)(void *ctx, uint32_t page, uint32_t word);
    void (*write)(void *ctx, uint32_t page, uint32_t word, uint64_t value);
    void *ctx;
};
enum op_result machine_step(struct machine *machine, const struct op *script, const struct access *access);
void machine_event(struct machine *machine, uint8_t vector);
enum op_result actor_step(struct actor *actor);
void actor_collect(struct actor *actor);
void serial_commit(uint64_t seq, struct chunk_record *record);
void serial_memory_check(uint64_t seq);

/* What the model can look at after each step, it cannot where actors stop inside functions. */
#ifdef MODEL_FINE
#define MODEL_STEPS 0
#else
#define MODEL_STEPS 1
#endif

/* record.c, replay.c: one step of an actor; false: it can make none now */
bool record_step(uint32_t actor);
bool replay_step(uint32_t actor);
void check_begun_view(uint32_t actor);
uint64_t chunk_digest(const struct actor *actor);

/* A log with what the recording ended in. */
struct finished {
    struct chunk_record log[M_LOG];
    uint32_t count;
    struct moment moment[M_LOG + 1];
};
extern const struct finished *replayed;
uint64_t log_identity(void);
void finished_take(struct finished *to);
void replay_start(const struct scenario *scenario, const struct finished *log);
void replay_early(const struct scenario *scenario, const struct finished *log);

/* explore.c */
extern uint32_t model_depth;
extern char model_trace[M_DEPTH][2]; /* actor, phase: for reports */
void explore(bool (*step)(uint32_t actor), void (*end)(void), uint64_t *states);

/* scenarios.c */
extern const struct scenario scenarios[];
extern const uint32_t scenario_count;
void scenario_random(struct scenario *scenario, uint32_t seed);

#endif
