/* test/promise/patterns.h — contents that prove themselves. SPDX-License-Identifier: MIT */
/*
 * Goal: notice a byte that is not the program's own.
 * Method: each block is filled from its own seed, so that a byte of a neighbour, of an earlier life
 * or of another offset differs with probability 255/256; blocks above a limit are touched once per
 * stride, so that tests of hundreds of MiB stay quick.
 *
 * Randomness is xorshift64* (Vigna 2016): small, seeded, the same everywhere.
 */
#ifndef HAKMEM_TEST_PATTERNS_H
#define HAKMEM_TEST_PATTERNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t random_next(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1DULL;
}

/* Log-uniform in [0, 2^bits): as many small sizes as large ones, octave by octave. */
static inline size_t random_size(uint64_t *state, unsigned bits) {
    unsigned octave = (unsigned)(random_next(state) % (bits + 1));
    return (size_t)(random_next(state) >> 1) & (((size_t)1 << octave) - 1);
}

static inline unsigned char pattern_byte(uint64_t seed, size_t index) {
    uint64_t x = (seed + index) * 0x9E3779B97F4A7C15ULL;
    return (unsigned char)(x >> 56);
}

static inline void pattern_fill(void *block, size_t size, uint64_t seed) {
    unsigned char *bytes = (unsigned char *)block;
    for (size_t i = 0; i < size; i++) {
        bytes[i] = pattern_byte(seed, i);
    }
}

/* The index of the first wrong byte, or `size` when all are right. */
static inline size_t pattern_check(const void *block, size_t size, uint64_t seed) {
    const unsigned char *bytes = (const unsigned char *)block;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != pattern_byte(seed, i)) {
            return i;
        }
    }
    return size;
}

static inline void pattern_fill_sparse(void *block, size_t size, uint64_t seed, size_t stride) {
    unsigned char *bytes = (unsigned char *)block;
    for (size_t i = 0; i < size; i += stride) {
        bytes[i] = pattern_byte(seed, i);
    }
}

static inline bool pattern_holds_sparse(const void *block, size_t size, uint64_t seed,
                                        size_t stride) {
    const unsigned char *bytes = (const unsigned char *)block;
    for (size_t i = 0; i < size; i += stride) {
        if (bytes[i] != pattern_byte(seed, i)) {
            return false;
        }
    }
    return true;
}

/* The index of the first byte that is not zero, or `size`. */
static inline size_t zero_check(const void *block, size_t size) {
    const unsigned char *bytes = (const unsigned char *)block;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            return i;
        }
    }
    return size;
}

static inline bool is_aligned(const void *block, size_t alignment) {
    return ((uintptr_t)block & (alignment - 1)) == 0;
}

#endif
