#include "hv/noise.h"

#define LATE_EVERY      8u  /* with chaos, about one chunk in this many begins late */
#define LATE_PAUSES     64u /* by less than this many PAUSEs for each percent of chaos */
#define SQUASH_EVERY    16u /* likewise */
#define DELAY_EVERY     8u
#define DELAY_PAUSES    4096u
#define TOKEN_EVERY     32u
#define WALK_EVERY      2u /* and of these as many have a second one, and so on */
#define INTERRUPT_EVERY 4u /* of them, one in as many comes at once */

void noise_init(struct noise *noise, uint64_t seed, uint32_t vcpu, uint32_t kinds, uint32_t chaos)
{
    *noise = (struct noise){.kinds = kinds, .chaos = chaos};
    vrandom_seed(&noise->random, seed, vcpu);
}

/* One time in `every`; the draw's other digits then go to *rest. */
static bool one_in(struct noise *noise, uint64_t every, uint64_t *rest)
{
    uint64_t draw = vrandom_next(&noise->random);

    *rest = draw / every;
    return draw % every == 0;
}

static bool on(const struct noise *noise, uint32_t kind)
{
    return (noise->kinds & kind) != 0;
}

/*
 * Chunks that end by exits of their own have no length for chaos to vary: some begin late instead, so that
 * another seed gives another order to guests that never see the timer, too.
 */
uint64_t noise_late(struct noise *noise)
{
    uint64_t rest;

    if (noise->chaos == 0 || !one_in(noise, LATE_EVERY, &rest))
        return 0;
    return rest % (LATE_PAUSES * noise->chaos);
}

uint64_t noise_length(struct noise *noise, uint64_t ticks)
{
    uint64_t spread = ticks * noise->chaos / 100;

    return spread ? ticks - spread + vrandom_next(&noise->random) % (2 * spread + 1) : ticks;
}

bool noise_walk(struct noise *noise, uint64_t *path)
{
    return on(noise, NOISE_WALK) && one_in(noise, WALK_EVERY, path);
}

bool noise_squash(struct noise *noise)
{
    uint64_t rest;

    return on(noise, NOISE_SQUASH) && one_in(noise, SQUASH_EVERY, &rest);
}

uint64_t noise_delay(struct noise *noise)
{
    uint64_t rest;

    return on(noise, NOISE_DELAY) && one_in(noise, DELAY_EVERY, &rest) ? rest % DELAY_PAUSES : 0;
}

bool noise_token(struct noise *noise)
{
    uint64_t rest;

    return on(noise, NOISE_TOKEN) && one_in(noise, TOKEN_EVERY, &rest);
}

uint64_t noise_interrupt(struct noise *noise, uint64_t ticks)
{
    uint64_t rest;

    if (!on(noise, NOISE_INTERRUPT) || !one_in(noise, INTERRUPT_EVERY, &rest))
        return NOISE_NO_INTERRUPT;
    return rest % INTERRUPT_EVERY == 0 || ticks == 0 ? 0 : rest / INTERRUPT_EVERY % ticks;
}
