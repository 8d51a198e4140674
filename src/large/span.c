/* src/large/span.c — Large blocks: spans of units in an arena. SPDX-License-Identifier: MIT */

#include "large/span.h"

#include "arena/arena.h"
#include "arena/pagemap.h"
#include "arena/pool.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/fatal.h"
#include "base/log.h"

/* Overlay of the first unit's descriptor. */
struct span {
    uint32_t pool_word;          /* [P] 0 while the unit is ours */
    _Atomic uint32_t unit_count; /* written by the block's holder; read also by misuse */
    _Atomic uint32_t colour;     /* bytes; the same */
    _Atomic uint32_t usable;     /* bytes; the same */
};

static struct {
    _Atomic size_t count;  /* [S] */
    _Atomic size_t units;  /* [S] */
    _Atomic uint32_t turn; /* [S] the next block's colour */
} g_span;

_Static_assert(sizeof(struct span) <= HAK_DESCRIPTOR_SIZE, "a span's descriptor fits");

/* The alignment that every block has. */
enum { SPAN_ALIGN_ANY = 16 };

static struct span *span_at(hak_unit unit) {
    return hak_unit_descriptor(unit);
}

static uint32_t span_units_for(size_t size) {
    return (uint32_t)(hak_align_up(size, HAK_UNIT_SIZE) / HAK_UNIT_SIZE);
}

/* Below a page: the sets of a first level cache repeat there. */
enum { SPAN_COLOUR_END = 4096 };

static uint32_t span_colour(size_t rest, size_t align) {
    if (align > SPAN_ALIGN_ANY)
        return 0;
    uint32_t turn = hak_atomic_add_relaxed(&g_span.turn, 1);
    size_t colours = hak_min(rest + HAK_CACHE_LINE, SPAN_COLOUR_END) / HAK_CACHE_LINE;
    return (uint32_t)(turn % colours * HAK_CACHE_LINE);
}

void *hak_span_alloc(size_t size, size_t align, bool *is_zeroed) {
    hak_assert(size > 0);
    hak_assert(size <= HAK_LARGE_MAX + HAK_UNIT_SIZE);
    hak_assert(align <= HAK_LARGE_ALIGN_MAX);
    size_t usable = hak_align_up(size, HAK_SPAN_GRANULE);
    uint32_t count = span_units_for(usable);
    uint32_t align_units = (uint32_t)hak_max(align / HAK_UNIT_SIZE, 1);
    struct hak_pool_run run = hak_pool_take(count, align_units, hak_pool_lane(size));
    if (run.first == HAK_UNIT_NONE)
        return NULL;
    struct span *span = span_at(run.first);
    uint32_t colour = span_colour(count * HAK_UNIT_SIZE - usable, align);
    hak_atomic_store_relaxed(&span->unit_count, count);
    hak_atomic_store_relaxed(&span->colour, colour);
    hak_atomic_store_relaxed(&span->usable, (uint32_t)usable);
    hak_pagemap_publish(run.first, HAK_KIND_SPAN);
    hak_atomic_add_relaxed(&g_span.count, 1);
    hak_atomic_add_relaxed(&g_span.units, count);
    hak_log(HAK_LOG_LARGE, "alloc", run.first, size);
    *is_zeroed = run.is_zeroed;
    return (char *)hak_unit_address(run.first) + colour;
}

bool hak_span_is_start(const void *p) {
    hak_unit unit = hak_unit_of(p);
    size_t colour = hak_atomic_load_relaxed(&span_at(unit)->colour);
    return (uintptr_t)p == (uintptr_t)hak_unit_address(unit) + colour;
}

enum hak_misuse hak_span_free(void *p) {
    hak_unit unit = hak_unit_of(p);
    /* Of two threads that free the same block only one turns the tag, and only that one may look at the
     * descriptor: the other would find the pool's. Relaxed: the program's own hand-over ordered the
     * block's use before this free. */
    uint32_t expected = HAK_KIND_SPAN;
    if (!hak_atomic_cas_relaxed(&hak_pagemap_tags[unit], &expected, HAK_KIND_SPAN_FREED))
        return HAK_MISUSE_DOUBLE_FREE;
    if (HAK_UNLIKELY(!hak_span_is_start(p))) {
        hak_pagemap_set(unit, HAK_KIND_SPAN);
        return HAK_MISUSE_INSIDE;
    }
    uint32_t count = hak_atomic_load_relaxed(&span_at(unit)->unit_count);
    hak_atomic_sub_relaxed(&g_span.count, 1);
    hak_atomic_sub_relaxed(&g_span.units, count);
    hak_log(HAK_LOG_LARGE, "free", unit, count);
    hak_pool_put(unit, count);
    return HAK_MISUSE_NONE;
}

size_t hak_span_size(const void *p) {
    return hak_atomic_load_relaxed(&span_at(hak_unit_of(p))->usable);
}

size_t hak_span_footprint(const void *p) {
    return hak_atomic_load_relaxed(&span_at(hak_unit_of(p))->unit_count) * HAK_UNIT_SIZE;
}

/* Else less than half of the units would be used, and their end goes back. */
static bool span_keeps(uint32_t old_count, uint32_t new_count) {
    return new_count <= old_count && new_count >= old_count / 2;
}

static uint32_t span_count_for(const struct span *span, size_t size) {
    size_t usable = hak_align_up(size, HAK_SPAN_GRANULE);
    return span_units_for(hak_atomic_load_relaxed(&span->colour) + usable);
}

bool hak_span_keeps(const void *p, size_t size) {
    const struct span *span = span_at(hak_unit_of(p));
    return span_keeps(hak_atomic_load_relaxed(&span->unit_count), span_count_for(span, size));
}

bool hak_span_resize(void *p, size_t size) {
    hak_unit unit = hak_unit_of(p);
    struct span *span = span_at(unit);
    size_t usable = hak_align_up(size, HAK_SPAN_GRANULE);
    uint32_t old_count = hak_atomic_load_relaxed(&span->unit_count);
    uint32_t new_count = span_count_for(span, size);
    if (new_count > old_count) {
        if (!hak_pool_extend(unit, old_count, new_count))
            return false;
        for (uint32_t i = old_count; i < new_count; i++)
            hak_pagemap_set(unit + i, HAK_KIND_NONE);
        hak_atomic_store_relaxed(&span->unit_count, new_count);
        hak_atomic_add_relaxed(&g_span.units, new_count - old_count);
    } else if (span_keeps(old_count, new_count)) {
        /* What is left over may be realloc's spare, kept for the next growth. */
        if (usable > hak_span_size(p))
            hak_atomic_store_relaxed(&span->usable, (uint32_t)usable);
        return true;
    } else {
        /* Before the units are the pool's: who looks at all units never finds them in two places. */
        hak_atomic_store_relaxed(&span->unit_count, new_count);
        hak_pool_put(unit + new_count, old_count - new_count);
        hak_atomic_sub_relaxed(&g_span.units, old_count - new_count);
    }
    hak_atomic_store_relaxed(&span->usable, (uint32_t)usable);
    return true;
}

struct hak_span_stats hak_span_stats(void) {
    return (struct hak_span_stats){
        .count = hak_atomic_load_relaxed(&g_span.count),
        .bytes = hak_atomic_load_relaxed(&g_span.units) * HAK_UNIT_SIZE,
    };
}

HAK_AUDIT uint32_t hak_span_audit(struct hak_audit *audit, hak_unit first, uint32_t room) {
    struct hak_place place = {"span", (uintptr_t)hak_unit_address(first), 0, 0};
    const struct span *span = span_at(first);
    uint32_t count = hak_atomic_load_relaxed(&span->unit_count);
    uint32_t colour = hak_atomic_load_relaxed(&span->colour);
    uint32_t usable = hak_atomic_load_relaxed(&span->usable);
    if (!hak_audit_expect(audit, &place, "it has units, and they end at the frontier or before",
                          count > 0 && count <= room, 1))
        return 1;
    hak_audit_expect(audit, &place, "its colour is a cache line of the first page",
                     colour < SPAN_COLOUR_END && colour % HAK_CACHE_LINE == 0, 1);
    if (audit->is_quiescent) /* else the block is between two sizes */
        hak_audit_expect(audit, &place, "the usable part lies in its units",
                         usable > 0 && colour + (size_t)usable <= count * HAK_UNIT_SIZE, 1);
    for (uint32_t i = 1; i < count; i++) {
        place.address = (uintptr_t)hak_unit_address(first + i);
        uint32_t tag = hak_pagemap_look(first + i);
        hak_audit_expect(audit, &place, "tag inside a span", hak_tag_is_free(tag) ? 0 : tag, 0);
        hak_audit_expect(audit, &place, "no free run begins or ends inside",
                         span_at(first + i)->pool_word, 0);
    }
    return count;
}

HAK_AUDIT void hak_span_audit_stats(struct hak_audit *audit, size_t count, size_t units) {
    struct hak_place place = {.part = "spans"};
    hak_audit_expect(audit, &place, "counted", hak_atomic_load_relaxed(&g_span.count), count);
    hak_audit_expect(audit, &place, "units counted", hak_atomic_load_relaxed(&g_span.units), units);
}
