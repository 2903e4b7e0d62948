/*
 * The guest's command line: words of the form name=value, separated by spaces.
 */
#ifndef RV_GUEST_ARGS_H
#define RV_GUEST_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Keeps a copy of the command line (cut at 255 characters). */
void args_set(const char *text, size_t length);

/* The number after `name=`, decimal or 0x; `otherwise` where the word is not there. */
uint64_t arg_number(const char *name, uint64_t otherwise);

/* Whether the command line holds exactly `name=value`. */
bool arg_word(const char *name, const char *value);

#endif
