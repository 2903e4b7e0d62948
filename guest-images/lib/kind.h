/*
 * Guests that do one of several things, chosen by the word `kind=NAME`.
 */
#ifndef RV_GUEST_KIND_H
#define RV_GUEST_KIND_H

#include <stddef.h>

struct kind {
    const char *name;
    int (*run)(void);
};

/* Runs the kind that the command line names, and returns what it returns; without one, lists them. */
int run_kind(const struct kind *kinds, size_t count);

#endif
