/* src/arena/meta.c — hakmem's own memory: heaps, magazines, records. SPDX-License-Identifier: MIT */

/*
 * A bump pointer through units taken from the pool, and a free list per power of two. Nothing goes
 * back to the pool: heaps never die, and magazine storage that shrinks serves the next to grow.
 */

#include "arena/meta.h"

#include <stdint.h>

#include "arena/pagemap.h"
#include "arena/pool.h"
#include "base/bits.h"
#include "base/fatal.h"
#include "base/lock.h"

enum { META_SMALLEST_LOG2 = 4, META_LARGEST_LOG2 = 15, META_LISTS = 12 };
_Static_assert(META_LISTS == META_LARGEST_LOG2 - META_SMALLEST_LOG2 + 1, "one list per size");

struct meta_free {
    struct meta_free *next;
};

static struct {
    struct hak_lock lock;
    char *bump;                          /* [lock] */
    char *bump_end;                      /* [lock] */
    size_t bytes;                        /* [lock] handed out */
    struct meta_free *lists[META_LISTS]; /* [lock] freed pieces, by power of two */
} g_meta = {.lock = HAK_LOCK_INIT(HAK_RANK_META)};

static unsigned meta_list_of(size_t size) {
    unsigned log2 = size <= 1 ? 0 : hak_highest_bit(size - 1) + 1;
    unsigned list = log2 <= META_SMALLEST_LOG2 ? 0 : log2 - META_SMALLEST_LOG2;
    hak_check(list < META_LISTS);
    return list;
}

static char *meta_take_unit(void) {
    struct hak_pool_run run = hak_pool_take(1, 1, HAK_LANE_PLAIN);
    if (run.first == HAK_UNIT_NONE)
        return NULL;
    hak_pagemap_set(run.first, HAK_KIND_META);
    return hak_unit_address(run.first);
}

static size_t meta_align(size_t size) {
    return size >= HAK_CACHE_LINE ? HAK_CACHE_LINE : (size_t)1 << META_SMALLEST_LOG2;
}

static void *meta_bump(size_t size) {
    uintptr_t align = meta_align(size);
    char *start = (char *)hak_align_up((uintptr_t)g_meta.bump, align);
    if (start == NULL || start > g_meta.bump_end || size > (size_t)(g_meta.bump_end - start)) {
        start = meta_take_unit(); /* what is left of the old unit is at most the largest piece */
        if (start == NULL)
            return NULL;
        g_meta.bump_end = start + HAK_UNIT_SIZE;
    }
    g_meta.bump = start + size;
    return start;
}

void *hak_meta_alloc(size_t size) {
    unsigned list = meta_list_of(size);
    size = (size_t)1 << (list + META_SMALLEST_LOG2);
    hak_lock_acquire(&g_meta.lock);
    void *memory = g_meta.lists[list];
    if (memory)
        g_meta.lists[list] = g_meta.lists[list]->next;
    else
        memory = meta_bump(size);
    g_meta.bytes += memory ? size : 0;
    hak_lock_release(&g_meta.lock);
    return memory;
}

void *hak_meta_alloc_for_ever(size_t size) {
    size = hak_align_up(size, HAK_CACHE_LINE);
    hak_lock_acquire(&g_meta.lock);
    void *memory = meta_bump(size);
    g_meta.bytes += memory ? size : 0;
    hak_lock_release(&g_meta.lock);
    return memory;
}

void hak_meta_free(void *memory, size_t size) {
    unsigned list = meta_list_of(size);
    size = (size_t)1 << (list + META_SMALLEST_LOG2);
    hak_lock_acquire(&g_meta.lock);
    struct meta_free *piece = memory;
    piece->next = g_meta.lists[list];
    g_meta.lists[list] = piece;
    g_meta.bytes -= size;
    hak_lock_release(&g_meta.lock);
}

size_t hak_meta_bytes(void) {
    hak_lock_acquire(&g_meta.lock);
    size_t bytes = g_meta.bytes;
    hak_lock_release(&g_meta.lock);
    return bytes;
}

static HAK_AUDIT bool meta_is_ours(const void *memory) {
    size_t unit;
    return hak_pagemap_find_any(memory, &unit) && hak_pagemap_look((hak_unit)unit) == HAK_KIND_META;
}

/* Circles are found as Brent does it (1980): by a piece that is remembered for twice as long each time. */
static HAK_AUDIT void meta_audit_list(struct hak_audit *audit, unsigned list) {
    size_t size = (size_t)1 << (list + META_SMALLEST_LOG2);
    const struct meta_free *remembered = NULL;
    size_t step = 0;
    for (const struct meta_free *piece = g_meta.lists[list]; piece; piece = piece->next) {
        struct hak_place place = {"free metadata", (uintptr_t)piece, (uint32_t)size, 0};
        bool is_sound = meta_is_ours(piece) && (uintptr_t)piece % meta_align(size) == 0;
        if (!hak_audit_expect(audit, &place, "it is a piece of hakmem's own memory", is_sound, 1) ||
            !hak_audit_expect(audit, &place, "its list ends", piece == remembered, 0))
            return;
        if (hak_is_power_of_two(++step))
            remembered = piece;
    }
}

HAK_AUDIT void hak_meta_audit(struct hak_audit *audit) {
    struct hak_place place = {"metadata", (uintptr_t)g_meta.bump, 0, 0};
    if (g_meta.bump_end)
        hak_audit_expect(audit, &place, "the room left lies in a unit of its own",
                         g_meta.bump <= g_meta.bump_end &&
                             g_meta.bump_end - g_meta.bump <= (ptrdiff_t)HAK_UNIT_SIZE &&
                             meta_is_ours(g_meta.bump_end - 1),
                         1);
    for (unsigned list = 0; list < META_LISTS; list++)
        meta_audit_list(audit, list);
}

struct hak_lock *hak_meta_lock(void) {
    return &g_meta.lock;
}

void hak_meta_fork_prepare(void) HAK_NO_LOCK_ANALYSIS {
    hak_lock_acquire_for_fork(&g_meta.lock);
}

void hak_meta_fork_parent(void) HAK_NO_LOCK_ANALYSIS {
    hak_lock_release(&g_meta.lock);
}

void hak_meta_fork_child(void) {
    hak_lock_reset(&g_meta.lock);
}
