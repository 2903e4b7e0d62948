/* The outcome of a run: its exit code, text for people, one JSON object for programs. */
#ifndef RV_TOOLS_RETRO_VERDICT_H
#define RV_TOOLS_RETRO_VERDICT_H

#include "tools/retro/collector.h"

#include <jansson.h>
#include <stdbool.h>

/*
 * The exit code of a run that told its result: from "retrovisor: end status=NAME" where it names a
 * failure, else from the trailer, else from the abort. RETRO_OK where the guest ended well.
 */
int verdict_of_run(const struct collector *c);
/* The status line's part of it; RETRO_OK where there is none. */
int verdict_of_status(const struct collector *c);

/* "guest ended with status 0", "guest shut down (triple fault) on vCPU 1" and the like; freed by the caller.
 */
char *describe_trailer(const struct rec_trailer *t);
/* What is known of how the run ended, from trailer, abort or status line; freed by the caller. */
char *describe_run(const struct collector *c);

/* What a replay and its recording disagree on; each field is true where they differ. */
struct comparison {
    bool memory, commits, outcome, console, text;
    bool vcpu[MAX_VCPUS];
    size_t text_at; /* with `text`: first byte of the console texts that differs */
};

/* Compares two results; returns true if all is equal. Texts are compared where both are there. */
bool compare_results(const struct rec_trailer *recorded, const struct buffer *recorded_text,
                     const struct rec_trailer *replayed, const struct buffer *replayed_text, unsigned vcpus,
                     struct comparison *d);
/* Prints a line for each difference on standard error. */
void print_differences(const struct comparison *d, const struct rec_trailer *recorded,
                       const struct rec_trailer *replayed, unsigned vcpus);

/* Parts of the JSON verdict. 64-bit digests are strings of hexadecimal digits. */
json_t *json_hex(uint64_t value);
/* A number; as a string where it has more than the 63 bits of JSON libraries. */
json_t *json_u64(uint64_t value);
/* Bytes as hexadecimal digits. */
json_t *json_bytes(const uint8_t *bytes, size_t length);
/* Bytes that are no UTF-8 would make no string at all: '?' stands for them. */
json_t *json_text(const char *text);
json_t *json_of_header(const struct rec_header *h);
json_t *json_of_trailer(const struct rec_trailer *t, unsigned vcpus);
json_t *json_of_counters(uint64_t counters[MAX_VCPUS][REC_COUNT_MAX], unsigned vcpus);
json_t *json_of_comparison(const struct comparison *d, unsigned vcpus);
/* {"command", "code", "verdict"} and what the collector holds. */
json_t *json_of_run(const char *command, int code, struct collector *c);
/* Prints `object` on one line, and drops it. */
void json_print(json_t *object);

#endif
