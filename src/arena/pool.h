/* src/arena/pool.h — the shared pool of free units. SPDX-License-Identifier: MIT */

/*
 * Runs of free units, coalescing, best fit. What was handed out once and came back waits here,
 * still backed by memory; what was never handed out lies above each arena's frontier.
 *
 * All functions: any thread; they take the pool's lock, and may grow an arena under it.
 */
#ifndef HAK_ARENA_POOL_H
#define HAK_ARENA_POOL_H

#include <stdbool.h>

#include "arena/unit.h"
#include "base/compiler.h"
#include "stats/ledger.h"

struct hak_pool_run {
    hak_unit first; /* HAK_UNIT_NONE: no memory */
    bool is_zeroed; /* every byte reads as zero */
};

struct hak_pool_stats { /* bytes */
    size_t reserved;    /* addresses of all arenas */
    size_t committed;   /* usable, touched or not */
    size_t metadata;    /* descriptors and bitmaps, touched or not */
    size_t free;        /* in the pool: came back and waits */
    size_t free_zeroed; /* of these, given back to the kernel */
};

/* Makes the first arena, and with it the window and the pagemap. Start-up. False: no memory. */
HAK_NODISCARD bool hak_pool_init(void);

/*
 * Takes `count` units whose first is a multiple of `align` units from the address 0 (power of two,
 * at most 16,384: 1 GiB). Their tags are HAK_KIND_NONE or say what was freed there last; the taker
 * sets those that matter to it.
 */
HAK_NODISCARD struct hak_pool_run hak_pool_take(uint32_t count, uint32_t align);

/* Gives units back. The caller has set their tags (none may name a slab any more). */
void hak_pool_put(hak_unit first, uint32_t count);

/*
 * Grows [first, first + old_count) in place to new_count; nothing is known of what the added units
 * hold. False: the neighbours are in use.
 */
HAK_NODISCARD bool hak_pool_extend(hak_unit first, uint32_t old_count, uint32_t new_count);

/* Gives the memory of free units back to the kernel, outside the lock; returns the bytes. */
size_t hak_pool_purge(enum hak_cause cause);

struct hak_pool_stats hak_pool_stats(void);

void hak_pool_fork_prepare(void);
void hak_pool_fork_parent(void);
void hak_pool_fork_child(void);

#endif
