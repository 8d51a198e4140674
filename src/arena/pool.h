/* src/arena/pool.h — the shared pool of free units. SPDX-License-Identifier: MIT */

/*
 * Runs of free units, coalescing, best fit, in two *lanes*: plain, and huge, whose arenas ask the
 * kernel for huge pages. What was handed out once and came back waits here, still backed by memory,
 * until nobody wanted it for an epoch; what was never handed out lies above each arena's frontier.
 *
 * All functions: any thread; they take the pool's lock, and may grow an arena under it.
 */
#ifndef HAK_ARENA_POOL_H
#define HAK_ARENA_POOL_H

#include <stdbool.h>

#include "arena/arena.h"
#include "arena/unit.h"
#include "base/compiler.h"
#include "base/lock.h"
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

/* What ACE decides and the pool follows. Read and written relaxed, any time. */
struct hak_pool_policy {
    _Atomic size_t huge_from;    /* units in use, from which on what has proved large is huge */
    _Atomic size_t retain_units; /* free dirty units of each lane that no epoch gives back */
    _Atomic uint32_t delay;      /* epochs for which memory must have been free; 1 at least */
};
extern HAK_INTERNAL struct hak_pool_policy hak_pool_policy;

/* Makes the first arena, and with it the window and the pagemap. Start-up. False: no memory. */
HAK_NODISCARD bool hak_pool_init(void);

/*
 * The lane for more of something that has `bytes` already: huge, when that is much and the process is
 * large, or when the option says so.
 */
enum hak_lane hak_pool_lane(size_t bytes);

/*
 * Takes `count` units whose first is a multiple of `align` units from the address 0 (power of two,
 * at most 16,384: 1 GiB); from the other lane when there is no memory for the wanted one. Their tags
 * are HAK_KIND_NONE or say what was freed there last; the taker sets those that matter to it.
 */
HAK_NODISCARD struct hak_pool_run hak_pool_take(uint32_t count, uint32_t align, enum hak_lane lane);

/* Gives units back. The caller has set their tags (none may name a slab any more). */
void hak_pool_put(hak_unit first, uint32_t count);

/*
 * Grows [first, first + old_count) in place to new_count; nothing is known of what the added units
 * hold. False: the neighbours are in use.
 */
HAK_NODISCARD bool hak_pool_extend(hak_unit first, uint32_t old_count, uint32_t new_count);

/* Gives the memory of all free units back to the kernel, outside the lock; returns the bytes. */
size_t hak_pool_purge(enum hak_cause cause);

/*
 * An epoch ends: what was free and dirty all through it is owed to the kernel. Returns the bytes owed.
 */
size_t hak_pool_epoch(void);
/* Units given back by epochs, and units handed out after they had been given back; since the last call. */
struct hak_pool_regret {
    size_t given_back;
    size_t wanted_again;
};
struct hak_pool_regret hak_pool_take_regret(void);
/* Units in use. No lock. */
size_t hak_pool_used_units(void);
/* Pays part of what is owed, in one system call where the kernel can; returns the bytes given back. */
size_t hak_pool_pay(void);
/* Bytes that are owed. No lock. */
size_t hak_pool_debt(void);
/* Bytes that are free and dirty, less what shall be retained. No lock. */
size_t hak_pool_kept(void);
/* They are owed now, as if an epoch or two had passed without use. */
void hak_pool_owe_all(void);

struct hak_pool_stats hak_pool_stats(void);

/* What a walk over all units has found, in units but for `runs`. */
struct hak_units_found {
    size_t runs[HAK_LANE_COUNT]; /* free runs */
    size_t free[HAK_LANE_COUNT];
    size_t purging;
    size_t used; /* by slabs, spans and hakmem's own data */
};
/* Units of the run that begins there and is being given back to the kernel; 0: none does. Lock held. */
uint32_t hak_pool_purging_at(hak_unit first);
/* Do the pool's books say what was found? Lock held. */
void hak_pool_audit(struct hak_audit *audit, const struct hak_units_found *found);

/* For who takes all locks. */
struct hak_lock *hak_pool_lock(void);
void hak_pool_fork_prepare(void);
void hak_pool_fork_parent(void);
void hak_pool_fork_child(void);

#endif
