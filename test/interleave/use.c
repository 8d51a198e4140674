/* test/interleave/use.c — what scenarios do with the library, and what must hold afterwards. SPDX-License-Identifier: MIT */

#include "use.h"

#include <hakmem/hakmem.h>
#include <stdlib.h>
#include <string.h>

#include "api/start.h"
#include "api/tick.h"
#include "arena/pool.h"
#include "heap/registry.h"
#include "heap/remote.h"
#include "large/big.h"
#include "large/span.h"
#include "scheduled_prim.h"
#include "slab/slab.h"

enum {
    LIVE_MAX = 1024,
    USE_UNITS_ON_THEIR_WAY = 2 /* a vanished thread's, between the pool and where they were to be */
};

static struct {
    struct {
        char *start;
        size_t size;
    } live[LIVE_MAX];
    unsigned count;
} g_use;

void use_magazines_max(uint16_t slots) {
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++)
        hak_heap_policy.capacity_max[class_index] = slots;
}

void use_start(void) {
    setenv("HAKMEM_HUGE", "off", 1);
    setenv("HAKMEM_ACE", "frozen", 1);
    EXPECT(hak_start());
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        hak_heap_policy.capacity_start[class_index] = 1;
        hak_slab_policy.spares[class_index] = 0;
    }
    use_magazines_max(1);
}

/* ---- blocks ---- */

static uint64_t signature(const void *p) {
    return (uint64_t)(uintptr_t)p * UINT64_C(0x9e3779b97f4a7c15);
}

void *use_alloc(size_t size) {
    char *p = hakmem_malloc(size);
    EXPECT(p != NULL);
    EXPECT(g_use.count < LIVE_MAX);
    for (unsigned i = 0; i < g_use.count; i++)
        EXPECT(p + size <= g_use.live[i].start || p >= g_use.live[i].start + g_use.live[i].size);
    g_use.live[g_use.count].start = p;
    g_use.live[g_use.count++].size = size;
    uint64_t sign = signature(p);
    memcpy(p, &sign, sizeof sign);
    memcpy(p + size - sizeof sign, &sign, sizeof sign);
    return p;
}

static size_t use_remove(const void *p) {
    for (unsigned i = 0; i < g_use.count; i++) {
        if (g_use.live[i].start == p) {
            size_t size = g_use.live[i].size;
            g_use.live[i] = g_use.live[--g_use.count];
            return size;
        }
    }
    return 0;
}

void use_free(void *p) {
    size_t size = use_remove(p);
    EXPECT(size > 0);
    uint64_t sign = signature(p);
    EXPECT(memcmp(p, &sign, sizeof sign) == 0);
    EXPECT(memcmp((char *)p + size - sizeof sign, &sign, sizeof sign) == 0);
    hakmem_free(p);
}

void use_forget(void *p) {
    EXPECT(use_remove(p) > 0);
}

void use_free_all(void) {
    while (g_use.count > 0)
        use_free(g_use.live[0].start);
}

/* ---- books ---- */

struct units {
    size_t slab;
    size_t span; /* spans, not their units */
    size_t meta;
    size_t all;
};

static struct units units_look(void) {
    struct units units = {0};
    for (uint32_t i = 1; i <= hak_arenas.count; i++) {
        const struct hak_arena *arena = hak_arenas.list[i];
        units.all += arena->frontier - arena->begin;
        for (hak_unit unit = arena->begin; unit < arena->frontier; unit++) {
            uint32_t tag = hak_pagemap_tag(unit);
            units.slab += tag >= HAK_TAG_CLASS_LIMIT;
            units.span += tag == HAK_KIND_SPAN;
            units.meta += tag == HAK_KIND_META;
        }
    }
    return units;
}

/* After it all that is free works. */
static void use_again(void) {
    static const size_t sizes[] = {USE_SMALL, USE_SMALL, USE_MID, USE_MID,
                                   USE_SPAN,  USE_SPAN,  100,     USE_BIG};
    for (unsigned i = 0; i < 3 * sizeof sizes / sizeof sizes[0]; i++)
        use_alloc(sizes[i % (sizeof sizes / sizeof sizes[0])]);
    use_free_all();
    hakmem_malloc_trim(0);
}

/* Two heaps' lists of orphans and the count agree. */
static void orphans_look(void) {
    size_t owned = hak_heap_current() != NULL;
    EXPECT(hak_registry_orphan_count() + owned == hak_registry_count());
}

/* The fork handler says anew of each packet whether it is on its way: it finds nothing to correct. */
static void packets_look(void) {
    schedule_watch("packet_mark");
    hak_remote_fork_child();
    EXPECT(schedule_watch(NULL) == 0);
}

void use_balance(void) {
    EXPECT(hakmem_check(HAKMEM_CHECK_QUIESCENT | HAKMEM_CHECK_WAIT, NULL, 0) == 0);
    use_free_all();
    hakmem_malloc_trim(0);
    for (int round = 0; round < 2; round++) {
        struct hakmem_stats stats;
        struct hak_pool_stats pool = hak_pool_stats();
        struct units units = units_look();
        EXPECT(hakmem_stats_get(&stats, sizeof stats) == 0);
        EXPECT(stats.small_out == 0);
        EXPECT(stats.large_count == 0);
        EXPECT(stats.large_bytes == 0);
        EXPECT(stats.big_count == 0);
        EXPECT(stats.big_bytes == 0);
        EXPECT(hak_big_stats().cached_bytes == 0);
        EXPECT(units.slab == 0);
        EXPECT(units.span == 0);
        EXPECT(units.meta == hak_pool_used_units());
        EXPECT(pool.free == (units.all - units.meta) * HAK_UNIT_SIZE);
        EXPECT(pool.free_zeroed == pool.free);
        EXPECT(hak_pool_debt() == 0);
        orphans_look();
        packets_look();
        EXPECT(hakmem_check(HAKMEM_CHECK_QUIESCENT, NULL, 0) == 0);
        if (round == 0)
            use_again();
    }
}

void use_balance_child(size_t small_lost, bool may_lose_large) {
    EXPECT(hakmem_check(HAKMEM_CHECK_WAIT, NULL, 0) == 0);
    use_free_all();
    use_again();
    EXPECT(hakmem_check(HAKMEM_CHECK_WAIT, NULL, 0) == 0);
    struct hakmem_stats stats;
    struct hak_pool_stats pool = hak_pool_stats();
    struct units units = units_look();
    EXPECT(hakmem_stats_get(&stats, sizeof stats) == 0);
    orphans_look();
    packets_look();
    EXPECT(stats.small_out <= small_lost);
    EXPECT(units.slab <=
           (small_lost + USE_SMALL) / USE_SMALL_BLOCK); /* of one unit, pinned by those */
    EXPECT(units.span <= may_lose_large);
    EXPECT(stats.big_count <= may_lose_large);
    size_t span_units = may_lose_large ? (USE_SPAN + HAK_UNIT_SIZE) / HAK_UNIT_SIZE : 0;
    EXPECT(pool.free / HAK_UNIT_SIZE + units.meta + units.slab + span_units +
               USE_UNITS_ON_THEIR_WAY >=
           units.all);
}

/* ---- epochs ---- */

enum { EPOCH_MS = 600, TICK_CALLS = 16 };

void use_near_epoch(void) {
    const struct hak_heap *heap = hak_heap_current();
    uint32_t before = heap->epoch;
    while (heap->epoch == before) {
        prim_advance_clock(EPOCH_MS);
        hak_tick();
    }
    for (int i = 0; i < TICK_CALLS - 1; i++)
        hak_tick();
    prim_advance_clock(EPOCH_MS);
}
