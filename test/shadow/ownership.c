/* test/shadow/ownership.c — two levels of bits. SPDX-License-Identifier: MIT */

#include "ownership.h"

#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>

#include "../stress/stress.h"

enum {
    GRANULE_LOG2 = 4, /* bytes; what every block is aligned to */
    LEAF_LOG2 = 30,   /* bytes of address space in a leaf */
    ADDRESS_LOG2 = 48 /* bytes of address space in all */
};

typedef _Atomic(uint64_t) word;
#define LEAF_WORDS (((size_t)1 << LEAF_LOG2) >> GRANULE_LOG2 >> 6) /* 8 MiB */

static struct {
    _Atomic(word *) leaf[(size_t)1 << (ADDRESS_LOG2 - LEAF_LOG2)];
    bool is_shared; /* set while there is one thread */
} g_ownership;

void shadow_ownership_share(void) {
    g_ownership.is_shared = true;
}

static word *leaf_at(uintptr_t address) {
    if (address >> ADDRESS_LOG2 != 0)
        stress_fail("a block beyond the address space");
    _Atomic(word *) *place = &g_ownership.leaf[address >> LEAF_LOG2];
    word *leaf = atomic_load_explicit(place, memory_order_acquire);
    if (leaf != NULL)
        return leaf;
    word *made = mmap(NULL, LEAF_WORDS * sizeof(word), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made == MAP_FAILED)
        stress_fail("mmap of a leaf");
    /* Release: the zeroes before the leaf. Pairs with the acquire above. */
    if (atomic_compare_exchange_strong_explicit(place, &leaf, made, memory_order_acq_rel,
                                                memory_order_acquire))
        return made;
    munmap(made, LEAF_WORDS * sizeof(word));
    return leaf;
}

/* Turns the bits of `mask` on or off; false if one of them was so already. */
static inline bool turn(word *w, uint64_t mask, bool on) {
    uint64_t before;
    if (!g_ownership.is_shared) { /* a locked instruction costs as much as the rest */
        before = atomic_load_explicit(w, memory_order_relaxed);
        atomic_store_explicit(w, on ? before | mask : before & ~mask, memory_order_relaxed);
    } else if (on) {
        before = atomic_fetch_or_explicit(w, mask, memory_order_relaxed);
    } else {
        before = atomic_fetch_and_explicit(w, ~mask, memory_order_relaxed);
    }
    return ((on ? before : ~before) & mask) == 0;
}

static bool turn_all(const void *block, size_t size, bool on) {
    uintptr_t first = (uintptr_t)block >> GRANULE_LOG2;
    uintptr_t end = ((uintptr_t)block + (size ? size : 1) - 1) / (1 << GRANULE_LOG2) + 1;
    bool holds = true;
    while (first < end) {
        word *leaf = leaf_at(first << GRANULE_LOG2);
        uintptr_t leaf_end = (first / (LEAF_WORDS * 64) + 1) * (LEAF_WORDS * 64);
        uintptr_t stop = end < leaf_end ? end : leaf_end;
        while (first < stop) {
            unsigned low = first % 64;
            uint64_t count = stop - first < 64 - low ? stop - first : 64 - low;
            uint64_t mask = (UINT64_MAX >> (64 - count)) << low;
            holds &= turn(&leaf[first / 64 % LEAF_WORDS], mask, on);
            first += count;
        }
    }
    return holds;
}

bool shadow_claim(const void *block, size_t size) {
    return turn_all(block, size, true);
}

bool shadow_release(const void *block, size_t size) {
    return turn_all(block, size, false);
}
