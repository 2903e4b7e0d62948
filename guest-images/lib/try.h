/*
 * Instructions that may fault, tried one after the other.
 */
#ifndef RV_GUEST_TRY_H
#define RV_GUEST_TRY_H

#include <stddef.h>
#include <stdint.h>

#define NO_FAULT 255u

/* What is loaded before the instructions run, and what they left. */
struct registers {
    uint64_t rax, rcx, rdx, rdi;
};

/* Every exception but NMI and #DF goes to whoever tries. CPU 0 only, as all here. */
void catch_all(void);

/* Runs the instructions; the vector of the exception that ended them, or NO_FAULT. Interrupts are to be off.
 */
uint32_t try_bytes(const uint8_t *bytes, size_t count, struct registers *r);

#define TRY(r, ...) try_bytes((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), r)

/* A hash of what was found so far: the vectors, and what was noted besides. */
void note(uint64_t value);
uint64_t try_hash(void);

#endif
