/* src/arena/run.h — runs of free units in bins: one lane of the shared pool. SPDX-License-Identifier: MIT */

/*
 * A free run is described in the descriptors of its first and last unit (boundary tags, Knuth 1.5
 * §2.5): `length` is there and nowhere else, so a neighbour finds it in one load. Bins are exact up
 * to 32 units, then 8 per doubling; a bitmap tells which have runs.
 *
 * Whether a unit is *dirty* (may hold memory of the kernel's, or anything but zeroes) is a bit of its
 * own, in the arena, and means something only while the unit is free: neighbours join whatever they hold.
 *
 * No function takes a lock: the pool's guards all of it.
 */
#ifndef HAK_ARENA_RUN_H
#define HAK_ARENA_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena/arena.h"
#include "base/audit.h"

enum {
    HAK_RUN_EXACT_BINS = 32,
    HAK_RUN_BINS_PER_DOUBLING = 8,
    HAK_RUN_BIN_COUNT = HAK_RUN_EXACT_BINS + (24 - 5) * HAK_RUN_BINS_PER_DOUBLING,
    HAK_RUN_BIN_WORDS = (HAK_RUN_BIN_COUNT + 63) / 64
};

/* Overlay of a descriptor while its unit is the first (all fields) or last (`length`) of a run. */
struct hak_run {
    uint32_t length; /* units; 0 in every unit that is not the first or last of a free run */
    hak_unit next;
    hak_unit prev;        /* HAK_UNIT_NONE: first of its bin */
    uint32_t dirty_count; /* units */
};

struct hak_lane_runs {
    size_t free_units;
    size_t dirty_units;                 /* of these */
    uint64_t bitmap[HAK_RUN_BIN_WORDS]; /* 1: the bin has runs */
    hak_unit bins[HAK_RUN_BIN_COUNT];   /* first runs */
};

static inline struct hak_run *hak_run_of(hak_unit unit) {
    return hak_unit_descriptor(unit);
}

/* The units become a run, joined with free neighbours. */
void hak_run_insert(struct hak_lane_runs *lane, hak_unit first, uint32_t count);
/* Takes a whole run, by its first unit. */
void hak_run_remove(struct hak_lane_runs *lane, hak_unit first);
/*
 * Takes [start, start + count) out of the run that begins at `first`; the rest stays. Returns the number
 * of dirty units in it.
 */
uint32_t hak_run_cut(struct hak_lane_runs *lane, hak_unit first, hak_unit start, uint32_t count);
/* The run that holds an aligned piece and fits best, of equals the lowest; NONE: no such run. */
hak_unit hak_run_find(const struct hak_lane_runs *lane, uint32_t count, uint32_t align);

/* What the bins of a lane say there is. */
struct hak_run_totals {
    size_t runs;
    size_t units;
    size_t dirty_units;
};
/* Are all bins sound lists of runs of their lengths, and what do they hold? */
struct hak_run_totals hak_run_audit_bins(struct hak_audit *audit, const struct hak_lane_runs *lane,
                                         enum hak_lane which);
/* Is what begins at that unit, below the frontier, a sound free run? Returns its units, 1 at least. */
uint32_t hak_run_audit(struct hak_audit *audit, hak_unit first);

/* Alignment is of addresses; the window's base is a multiple of 1 GiB. */
static inline hak_unit hak_unit_align_up(hak_unit unit, uint32_t align) {
    return (unit + align - 1) & ~(align - 1);
}

/* The dirty bits of a range that lies in one arena. */
void hak_dirty_set(hak_unit first, uint32_t count, bool is_dirty);
uint32_t hak_dirty_count(hak_unit first, uint32_t count);
/* The smallest range that has all dirty units of [*first, *first + *count); false: none is dirty. */
bool hak_dirty_trim(hak_unit *first, uint32_t *count);

#endif
