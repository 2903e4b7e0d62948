/*
 * Types that every part shares. Addresses of the three spaces are distinct types, so that mixing
 * them up does not compile; page and frame numbers are plain integers (they cross between the pure
 * parts, which do not know each other's types).
 */
#ifndef RV_HV_BASE_TYPES_H
#define RV_HV_BASE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Guest-physical, host-physical and guest-linear addresses, in bytes. Host-virtual ones are C pointers. */
typedef struct {
    uint64_t raw;
} gpa_t;
typedef struct {
    uint64_t raw;
} hpa_t;
typedef struct {
    uint64_t raw;
} gva_t;

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096u
#define PAGE_MASK  ((uint64_t)PAGE_SIZE - 1)
#define PAGE_2M    (2u << 20)
#define MAX_VCPUS  8u

static inline gpa_t gpa(uint64_t raw)
{
    return (gpa_t){raw};
}

static inline hpa_t hpa(uint64_t raw)
{
    return (hpa_t){raw};
}

static inline gva_t gva(uint64_t raw)
{
    return (gva_t){raw};
}

#define ARRAY_LEN(a)   (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)      ((a) < (b) ? (a) : (b))
#define MAX(a, b)      ((a) > (b) ? (a) : (b))
#define ALIGN_UP(x, a) (((x) + ((a)-1)) & ~((a)-1))
#define BIT(n)         (UINT64_C(1) << (n))

#endif
