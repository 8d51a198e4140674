/* src/base/bits.h — arithmetic on sizes and words of bits. SPDX-License-Identifier: MIT */
#ifndef HAK_BASE_BITS_H
#define HAK_BASE_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define HAK_KIB ((size_t)1 << 10)
#define HAK_MIB ((size_t)1 << 20)
#define HAK_GIB ((size_t)1 << 30)
#define HAK_TIB ((size_t)1 << 40)

HAK_INLINE bool hak_is_power_of_two(size_t x) {
    return x != 0 && (x & (x - 1)) == 0;
}

/* `align` is a power of two; the caller knows that x + align does not wrap. */
HAK_INLINE size_t hak_align_up(size_t x, size_t align) {
    return (x + align - 1) & ~(align - 1);
}

HAK_INLINE size_t hak_align_down(size_t x, size_t align) {
    return x & ~(align - 1);
}

HAK_INLINE size_t hak_min(size_t a, size_t b) {
    return a < b ? a : b;
}

HAK_INLINE size_t hak_max(size_t a, size_t b) {
    return a > b ? a : b;
}

/* Position of the lowest set bit; x != 0. */
HAK_INLINE unsigned hak_lowest_bit(uint64_t x) {
    return (unsigned)__builtin_ctzll(x);
}

/* Position of the highest set bit; x != 0. */
HAK_INLINE unsigned hak_highest_bit(uint64_t x) {
    return 63u - (unsigned)__builtin_clzll(x);
}

HAK_INLINE unsigned hak_popcount(uint64_t x) {
    return (unsigned)__builtin_popcountll(x);
}

/* In a bitmap of 64-bit words: the bits of word `word` that lie in [begin, end). */
HAK_INLINE uint64_t hak_word_range(size_t word, size_t begin, size_t end) {
    size_t low = word * 64;
    begin = begin > low ? hak_min(begin - low, 64) : 0;
    end = end > low ? hak_min(end - low, 64) : 0;
    uint64_t below_end = end == 64 ? ~UINT64_C(0) : (UINT64_C(1) << end) - 1;
    uint64_t below_begin = begin == 64 ? ~UINT64_C(0) : (UINT64_C(1) << begin) - 1;
    return below_end & ~below_begin;
}

#endif
