/* src/arena/pagemap.h — address -> owner and class. SPDX-License-Identifier: MIT */

/*
 * One 32-bit tag per unit of the window:
 *
 *   31                       11 10            0
 *   |  heap id, 21 bits        |  class × 16   |     a unit of a slab (interior units as well)
 *   |  0                       |  kind         |     everything else
 *
 * so that `tag ^ own_tag < HAK_TAG_CLASS_LIMIT` settles in one compare that a pointer is a block of
 * the calling thread's heap, and leaves the byte offset of its class. Id 0 is never a heap; the id
 * of all ones belongs to heaps that must never own anything (empty, late).
 *
 * Tags are read without order: whoever holds a block of a slab holds its tag still (a slab's owner
 * and class change only when none of its blocks is out).
 *
 * The table covers the window and no more: 4 bytes per 64 KiB, read-only zero pages but for the
 * parts that describe our ranges. A pointer outside is known to be foreign by one compare.
 */
#ifndef HAK_ARENA_PAGEMAP_H
#define HAK_ARENA_PAGEMAP_H

#include <stdbool.h>

#include "arena/unit.h"
#include "base/atomic.h"
#include "base/compiler.h"

#define HAK_TAG_ID_SHIFT 11
#define HAK_TAG_CLASS_LIMIT (UINT32_C(1) << HAK_TAG_ID_SHIFT)
#define HAK_TAG_ID_NEVER (UINT32_MAX >> HAK_TAG_ID_SHIFT) /* id of the heaps that own nothing */

enum hak_kind {
    /* Tags below HAK_TAG_CLASS_LIMIT. */
    HAK_KIND_NONE = 0,       /* not ours, interior of a large block, or a unit in the shared pool */
    HAK_KIND_SPAN = 1,       /* first unit of a Large block */
    HAK_KIND_SPAN_FREED = 2, /* was HAK_KIND_SPAN until free; not handed out again since */
    HAK_KIND_BIG = 3,        /* first user unit of a Big block */
    HAK_KIND_BIG_FREED = 4,  /* was HAK_KIND_BIG until free; addresses not used again since */
    HAK_KIND_SLAB_FREED = 5, /* belonged to a slab that went to the pool; not handed out since */
    HAK_KIND_META = 6        /* hakmem's own data */
};

/*
 * The table: base of the window, units covered (0 before start-up: every pointer is foreign), tags,
 * each [A] written by whoever owns the unit.
 *
 * unit_count is what the fast paths see: 0 while the process is observed, so that every pointer looks
 * foreign to them and takes the slow path, which asks unit_count_all (heap/heap.h, "closed").
 *
 * Variables and no struct: compilers would take a struct's address first, one instruction more on every
 * free. Fixed by start-up, before the first block exists, and written by a forked child.
 */
extern HAK_INTERNAL uintptr_t hak_pagemap_base;
extern HAK_INTERNAL size_t hak_pagemap_unit_count;
extern HAK_INTERNAL size_t hak_pagemap_unit_count_all;
extern HAK_INTERNAL _Atomic uint32_t *hak_pagemap_tags;

/* The pointer's unit if it lies in the window; anything from hak_pagemap_unit_count on if not. */
HAK_INLINE size_t hak_pagemap_index(const void *p) {
    return ((uintptr_t)p - hak_pagemap_base) >> HAK_UNIT_SHIFT;
}

/* For fast paths. True when the pointer lies in the window; *unit is then its unit. False: ask below. */
HAK_INLINE bool hak_pagemap_find(const void *p, size_t *unit) {
    *unit = hak_pagemap_index(p);
    return HAK_LIKELY(*unit < hak_pagemap_unit_count);
}

/* The same for slow paths: observed or not, false only where the pointer is foreign. */
HAK_INLINE bool hak_pagemap_find_any(const void *p, size_t *unit) {
    *unit = hak_pagemap_index(p);
    return HAK_LIKELY(*unit < hak_pagemap_unit_count_all);
}

HAK_INLINE uint32_t hak_pagemap_tag(size_t unit) {
    return hak_atomic_load_relaxed(&hak_pagemap_tags[unit]);
}

/* The class × 16 that a tag names; 0, the class without blocks, for all that is no slab's. */
HAK_INLINE size_t hak_tag_class_offset(uint32_t tag) {
    return tag & (HAK_TAG_CLASS_LIMIT - 16);
}

/*
 * Nothing is allocated there: never was, or was freed since. An arena may lie where a Big block was once, so
 * its units can say that too.
 */
HAK_INLINE bool hak_tag_is_free(uint32_t tag) {
    return tag == HAK_KIND_NONE || tag == HAK_KIND_SPAN_FREED || tag == HAK_KIND_BIG_FREED ||
           tag == HAK_KIND_SLAB_FREED;
}

HAK_INLINE void hak_pagemap_set(hak_unit unit, uint32_t tag) {
    hak_atomic_store_relaxed(&hak_pagemap_tags[unit], tag);
}

/* For a block that who looks at all units finds by its tag alone. */
HAK_INLINE void hak_pagemap_publish(hak_unit unit, uint32_t tag) {
    /* Release: what describes the block is written before. Pairs with hak_pagemap_look(). */
    hak_atomic_store_release(&hak_pagemap_tags[unit], tag);
}

HAK_INLINE uint32_t hak_pagemap_look(hak_unit unit) {
    /* Acquire: pairs with hak_pagemap_publish(). */
    return hak_atomic_load_acquire(&hak_pagemap_tags[unit]);
}

HAK_INLINE hak_unit hak_unit_of(const void *p) {
    return (hak_unit)(((uintptr_t)p - hak_pagemap_base) >> HAK_UNIT_SHIFT);
}

HAK_INLINE void *hak_unit_address(hak_unit unit) {
    return (void *)(hak_pagemap_base + ((uintptr_t)unit << HAK_UNIT_SHIFT));
}

/* Maps the table over the window. Once, at start-up. 0 or ENOMEM. */
HAK_NODISCARD int hak_pagemap_init(void);
/* From now on fast paths find nothing, or what there is. Before or after the table is there. */
void hak_pagemap_close(void);
void hak_pagemap_open(void);
/* Makes the tags of these units writable; 0 or an errno value. Any thread; idempotent. */
HAK_NODISCARD int hak_pagemap_cover(hak_unit first, uint32_t count);

#endif
