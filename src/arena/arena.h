/* src/arena/arena.h — reserved ranges and the descriptors of their units. SPDX-License-Identifier: MIT */

/*
 * An arena is one reservation of addresses, committed from its start upwards, never released:
 *
 *   first_unit        begin                 frontier       committed                     end
 *   | this struct,    | units handed out,   | usable,      | addresses only              |
 *   | descriptors,    | some of them free   | untouched    |                             |
 *   | bitmap lines    | (in the pool)       |              |                             |
 *
 *   first_unit < begin <= frontier <= committed <= end
 *
 * Each unit has a descriptor of 64 bytes out of line; what is in it belongs to whoever holds the
 * unit (struct run in the pool, struct hak_slab, struct hak_span), except the first word, which is
 * the pool's. Slabs of more than 128 blocks keep their free bitmap in up to 8 lines of 64 bytes;
 * lines of equal number of neighbouring units lie together, so that only lines in use cost memory.
 *
 *   [P] under the pool's lock   [I] fixed once the arena is listed
 */
#ifndef HAK_ARENA_ARENA_H
#define HAK_ARENA_ARENA_H

#include <stdbool.h>

#include "arena/pagemap.h"
#include "arena/unit.h"
#include "base/audit.h"
#include "base/compiler.h"
#include "prim/prim.h"

enum {
    HAK_DESCRIPTOR_SIZE = 64, /* bytes per unit */
    HAK_BITMAP_LINES = 8,     /* 8 × 64 bytes = 4,096 bits: 16-byte blocks of one unit */
    HAK_ARENAS_MAX = 255
};

/* What kind of pages an arena asks the kernel for. */
enum hak_lane { HAK_LANE_PLAIN, HAK_LANE_HUGE, HAK_LANE_COUNT };

struct hak_arena {
    uintptr_t descriptor_bias; /* [I] address of the descriptor that unit 0 would have */
    uintptr_t line_bias;       /* [I] address of bitmap line 0 that unit 0 would have */
    size_t line_stride;        /* [I] bytes from line k to line k + 1 of a unit */
    uint64_t *dirty;           /* [P] bit per unit from first_unit on: see arena/run.h */
    enum hak_lane lane;        /* [I] */
    hak_unit first_unit;       /* [I] */
    hak_unit begin;            /* [I] */
    hak_unit end;              /* [I] */
    hak_unit frontier;         /* [P] */
    hak_unit committed;        /* [P] */
};

struct hak_arenas {
    struct hak_arena *list[HAK_ARENAS_MAX + 1]; /* [I] once listed; entry 0 stays NULL */
    _Atomic uint32_t count;                     /* [P] written */
    _Atomic uint8_t of_superslab[HAK_UNIT_COUNT_MAX / HAK_SUPERSLAB_UNITS]; /* [I] 0: no arena */
};

extern HAK_INTERNAL struct hak_arenas hak_arenas;

/* The arena of a unit that is known to lie in one. */
HAK_INLINE struct hak_arena *hak_arena_of(hak_unit unit) {
    return hak_arenas
        .list[hak_atomic_load_relaxed(&hak_arenas.of_superslab[unit / HAK_SUPERSLAB_UNITS])];
}

/* The arena of any unit; NULL: it lies in none. Pool's lock held. */
const struct hak_arena *hak_arena_find(hak_unit unit);

HAK_INLINE void *hak_arena_descriptor(const struct hak_arena *arena, hak_unit unit) {
    return (void *)(arena->descriptor_bias + (uintptr_t)unit * HAK_DESCRIPTOR_SIZE);
}

HAK_INLINE void *hak_unit_descriptor(hak_unit unit) {
    return hak_arena_descriptor(hak_arena_of(unit), unit);
}

/* Line `line` (0 … 7) of the unit's bitmap: 8 words. Zero while the unit is free. */
HAK_INLINE uint64_t *hak_arena_bitmap_line(const struct hak_arena *arena, hak_unit unit,
                                           unsigned line) {
    return (uint64_t *)(arena->line_bias + (uintptr_t)unit * HAK_DESCRIPTOR_SIZE +
                        line * arena->line_stride);
}

/*
 * Reserves an arena of the lane with room for `unit_count` units and lists it. Caller holds the pool's lock
 * (or is start-up); growth is the one system call made under a lock. NULL: no memory.
 */
struct hak_arena *hak_arena_create(uint32_t unit_count, enum hak_lane lane);

/*
 * The whole OS pages of descriptors and bitmap lines that belong to inner units of a free run: up to
 * HAK_ARENA_META_RANGES ranges; returns how many. What they hold means nothing or is zero. The first and last
 * unit's stay. The caller has the run out of the bins until it has done with the ranges.
 */
enum { HAK_ARENA_META_RANGES = 1 + HAK_BITMAP_LINES };
unsigned hak_arena_inner_meta(hak_unit first, uint32_t count,
                              struct hak_prim_range out[HAK_ARENA_META_RANGES]);

/* Does the arena lie as it should: its borders, its superslabs, its own units? All locks held. */
void hak_arena_audit(struct hak_audit *audit, uint32_t number);

/* Makes units below `end` usable, in growing steps. Pool's lock held. False: no memory. */
bool hak_arena_commit(struct hak_arena *arena, hak_unit end);

#endif
