/* test/unit/large/test_span.c — Large blocks: spans of units in an arena. SPDX-License-Identifier: MIT */

/*
 * Goal: spans are whole units at the alignment asked for, disjoint, and as zero as they say; they
 * grow and shrink where they are when the neighbours allow it; a double free and an interior free
 * are recognized at once and change nothing.
 * Method: random allocation, resizing and freeing of signed blocks beside a shadow of sizes; each
 * test in a child, so that it knows its neighbours.
 */

#include <sched.h>

#include "arena/arena.h"
#include "arena/pagemap.h"
#include "arena/pool.h"
#include "base/bits.h"
#include "large/span.h"
#include "unit/harness.h"

#define UNIT HAK_UNIT_SIZE

static char *alloc(size_t size, size_t align) {
    bool is_zeroed = false;
    char *p = hak_span_alloc(size, align, &is_zeroed);
    CHECK(p != NULL);
    CHECK_EQUAL((uintptr_t)p % (align > UNIT ? align : UNIT), 0);
    CHECK_EQUAL(hak_span_size(p), hak_align_up(size, UNIT));
    CHECK_EQUAL(hak_pagemap_tag(hak_unit_of(p)), HAK_KIND_SPAN);
    if (is_zeroed) {
        for (size_t at = 0; at < size; at += UNIT / 4)
            CHECK(harness_is_zero(p + at, 64));
    }
    return p;
}

static void expect_free(char *p, enum hak_misuse misuse) {
    struct hak_span_stats before = hak_span_stats();
    size_t size = misuse == HAK_MISUSE_NONE ? hak_span_size(p) : 0;
    CHECK_EQUAL(hak_span_free(p), misuse);
    CHECK_EQUAL(hak_span_stats().bytes, before.bytes - size);
    CHECK_EQUAL(hak_span_stats().count, before.count - (misuse == HAK_MISUSE_NONE));
}

/* ---- sizes and alignments ---- */

static void run_sizes(void *argument) {
    static const size_t sizes[] = {1,        UNIT - 1,     UNIT,        UNIT + 1,
                                   HAK_MIB,  3 * UNIT + 7, 5 * HAK_MIB, HAK_LARGE_MAX - 1,
                                   2 * UNIT, HAK_LARGE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t align = 16; align <= HAK_LARGE_ALIGN_MAX; align *= 8) {
            char *p = alloc(sizes[i], align);
            p[0] = 1;
            p[sizes[i] - 1] = 1;
            p[hak_span_size(p) - 1] = 1;
            expect_free(p, HAK_MISUSE_NONE);
        }
    }
    char *p = alloc(100000, HAK_LARGE_ALIGN_MAX);
    expect_free(p, HAK_MISUSE_NONE);
    CHECK_EQUAL(hak_span_stats().count, 0);
    CHECK_EQUAL(hak_span_stats().bytes, 0);
}

static void test_sizes(void **state) {
    harness_expect_well(run_sizes, NULL);
}

/* A freed span waits in the pool, dirty, and serves the next request without a system call. */
static void run_reuse(void *argument) {
    char *p = alloc(10 * UNIT, 16);
    memset(p, 7, 10 * UNIT);
    expect_free(p, HAK_MISUSE_NONE);
    uint64_t commits = hak_ledger_read(HAK_CALL_MPROTECT, HAK_CAUSE_ARENA_COMMIT).count;
    bool is_zeroed = true;
    CHECK(hak_span_alloc(10 * UNIT, 16, &is_zeroed) == p);
    CHECK(!is_zeroed);
    CHECK_EQUAL(p[10 * UNIT - 1], 7);
    expect_free(p, HAK_MISUSE_NONE);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MPROTECT, HAK_CAUSE_ARENA_COMMIT).count, commits);
    hak_pool_purge(HAK_CAUSE_TRIM);
    CHECK(hak_span_alloc(10 * UNIT, 16, &is_zeroed) == p);
    CHECK(is_zeroed);
    CHECK(harness_is_zero(p, 10 * UNIT));
}

static void test_reuse(void **state) {
    harness_expect_well(run_reuse, NULL);
}

/* ---- misuse ---- */

static void run_misuse(void *argument) {
    char *p = alloc(4 * UNIT, 16);
    char *next = alloc(UNIT, 16);
    expect_free(p + 1, HAK_MISUSE_INSIDE);
    expect_free(p + 16, HAK_MISUSE_INSIDE);
    expect_free(p + UNIT - 1, HAK_MISUSE_INSIDE);
    CHECK_EQUAL(hak_span_size(p), 4 * UNIT);
    expect_free(p, HAK_MISUSE_NONE);
    CHECK_EQUAL(hak_pagemap_tag(hak_unit_of(p)), HAK_KIND_SPAN_FREED);
    expect_free(p, HAK_MISUSE_DOUBLE_FREE);
    expect_free(p, HAK_MISUSE_DOUBLE_FREE);
    expect_free(next, HAK_MISUSE_NONE);
    expect_free(p, HAK_MISUSE_DOUBLE_FREE); /* also when its units are part of a longer run */
    expect_free(next, HAK_MISUSE_DOUBLE_FREE);
    CHECK(alloc(4 * UNIT, 16) == p); /* handed out again: a live block */
    expect_free(p, HAK_MISUSE_NONE);
}

static void test_misuse(void **state) {
    harness_expect_well(run_misuse, NULL);
}

/* ---- resizing ---- */

static void run_resize(void *argument) {
    char *p = alloc(4 * UNIT, 16);
    char *next = alloc(4 * UNIT, 16);
    char *last = alloc(UNIT, 16);
    CHECK(next == p + 4 * UNIT);
    CHECK(last == next + 4 * UNIT);
    memset(p, 7, 4 * UNIT);

    /* the same number of units: nothing changes */
    CHECK(hak_span_resize(p, 3 * UNIT + 1));
    CHECK_EQUAL(hak_span_size(p), 4 * UNIT);
    /* the neighbour is in use */
    CHECK(!hak_span_resize(p, 4 * UNIT + 1));
    CHECK_EQUAL(hak_span_size(p), 4 * UNIT);
    CHECK_EQUAL(hak_span_stats().bytes, 9 * UNIT);

    /* shrinking gives units back; growing takes them again */
    size_t free_before = hak_pool_stats().free;
    CHECK(hak_span_resize(p, UNIT));
    CHECK_EQUAL(hak_span_size(p), UNIT);
    CHECK_EQUAL(hak_pool_stats().free, free_before + 3 * UNIT);
    CHECK_EQUAL(hak_span_stats().bytes, 6 * UNIT);
    CHECK(hak_span_resize(p, 3 * UNIT));
    CHECK(!hak_span_resize(p, 5 * UNIT));
    CHECK_EQUAL(hak_span_size(p), 3 * UNIT);
    CHECK_EQUAL(p[UNIT - 1], 7);

    /* over a freed neighbour, whose tag must not survive inside the grown block */
    expect_free(next, HAK_MISUSE_NONE);
    CHECK(hak_span_resize(p, 8 * UNIT));
    CHECK_EQUAL(hak_span_size(p), 8 * UNIT);
    CHECK_EQUAL(hak_pagemap_tag(hak_unit_of(next)), HAK_KIND_NONE);
    CHECK(!hak_span_resize(p, 8 * UNIT + 1));
    memset(p, 8, 8 * UNIT);
    expect_free(last, HAK_MISUSE_NONE);

    /* over the frontier: untouched units */
    CHECK(hak_span_resize(p, HAK_LARGE_MAX));
    CHECK_EQUAL(hak_span_size(p), HAK_LARGE_MAX);
    p[HAK_LARGE_MAX - 1] = 1;
    CHECK_EQUAL(p[8 * UNIT - 1], 8);
    CHECK(hak_span_resize(p, 1));
    CHECK_EQUAL(hak_span_size(p), UNIT);
    CHECK_EQUAL(hak_span_stats().bytes, UNIT);
    CHECK_EQUAL(hak_span_stats().count, 1);
    expect_free(p, HAK_MISUSE_NONE);
}

static void test_resize(void **state) {
    harness_expect_well(run_resize, NULL);
}

/* ---- random ---- */

enum { HELD_MAX = 150, STEPS = 20000 / HARNESS_SLOWNESS };

struct held {
    char *p;
    size_t size;
    uint64_t mark;
};

static struct held g_held[HELD_MAX];

/* A mark at both ends of every unit. */
static void sign(const struct held *held) {
    for (size_t at = 0; at < hak_span_size(held->p); at += UNIT) {
        memcpy(held->p + at, &held->mark, sizeof held->mark);
        memcpy(held->p + at + UNIT - sizeof held->mark, &held->mark, sizeof held->mark);
    }
}

static void check_signed(const struct held *held, size_t size) {
    for (size_t at = 0; at < size; at += UNIT) {
        CHECK(memcmp(held->p + at, &held->mark, sizeof held->mark) == 0);
        CHECK(memcmp(held->p + at + UNIT - sizeof held->mark, &held->mark, sizeof held->mark) == 0);
    }
}

static size_t random_size(void) {
    return 1 + harness_below(UNIT << harness_below(6));
}

static void step(struct held *held) {
    if (held->p == NULL) {
        held->size = random_size();
        held->mark = harness_random_of(&g_harness.random);
        held->p = alloc(held->size, (size_t)16 << (harness_below(4) ? 0 : harness_below(18)));
        sign(held);
        return;
    }
    size_t old_size = hak_span_size(held->p);
    check_signed(held, old_size);
    if (harness_below(2)) {
        size_t size = random_size();
        bool is_resized = hak_span_resize(held->p, size);
        size_t units = hak_align_up(size, UNIT);
        CHECK(is_resized || units > old_size); /* shrinking always works */
        bool stays = units <= old_size && units / UNIT >= old_size / UNIT / 2;
        CHECK_EQUAL(hak_span_size(held->p), is_resized && !stays ? units : old_size);
        check_signed(held, hak_min(old_size, hak_span_size(held->p)));
        sign(held);
        return;
    }
    expect_free(held->p, HAK_MISUSE_NONE);
    held->p = NULL;
}

static void run_random(void *argument) {
    for (int i = 0; i < STEPS; i++) {
        step(&g_held[harness_below(HELD_MAX)]);
        if (harness_below(300) == 0)
            hak_pool_purge(HAK_CAUSE_TRIM);
        if (i % 64 == 0) {
            size_t bytes = 0;
            size_t count = 0;
            for (int k = 0; k < HELD_MAX; k++) {
                bytes += g_held[k].p ? hak_span_size(g_held[k].p) : 0;
                count += g_held[k].p != NULL;
            }
            CHECK_EQUAL(hak_span_stats().bytes, bytes);
            CHECK_EQUAL(hak_span_stats().count, count);
        }
    }
    for (int i = 0; i < HELD_MAX; i++) {
        if (g_held[i].p)
            expect_free(g_held[i].p, HAK_MISUSE_NONE);
    }
    const struct hak_arena *arena = hak_arenas.list[1];
    CHECK_EQUAL(hak_pool_stats().free, (arena->frontier - arena->begin) * UNIT);
}

static void test_random(void **state) {
    harness_expect_well(run_random, NULL);
}

/* ---- two threads free the same block: one of them is wrong, and is told ---- */

enum { RACES = 20000 / HARNESS_SLOWNESS };

static struct {
    _Atomic(char *) block;
    _Atomic int freed;
    _Atomic int refused;
    _Atomic int arrived;
} g_race;

/* The i-th meeting of both threads: they go on within nanoseconds of each other. */
static void meet(int i) {
    atomic_fetch_add(&g_race.arrived, 1);
    for (int spins = 0; atomic_load(&g_race.arrived) < 2 * i; spins++) {
        if (spins % 4096 == 4095)
            sched_yield(); /* the other has no processor */
    }
}

static void free_the_block(void) {
    if (hak_span_free(atomic_load(&g_race.block)) == HAK_MISUSE_NONE)
        atomic_fetch_add(&g_race.freed, 1);
    else
        atomic_fetch_add(&g_race.refused, 1);
}

static void *race(void *argument) {
    for (int i = 0; i < RACES; i++) {
        meet(2 * i + 1);
        free_the_block();
        meet(2 * i + 2);
    }
    return NULL;
}

static void run_race(void *argument) {
    pthread_t thread = harness_thread(race, NULL);
    for (int i = 0; i < RACES; i++) {
        atomic_store(&g_race.block, alloc(UNIT, 16));
        meet(2 * i + 1);
        free_the_block();
        meet(2 * i + 2);
        CHECK_EQUAL(atomic_load(&g_race.freed), i + 1);
        CHECK_EQUAL(atomic_load(&g_race.refused), i + 1);
    }
    harness_join(thread);
}

static void test_race(void **state) {
    harness_expect_well(run_race, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),  cmocka_unit_test(test_reuse),  cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_resize), cmocka_unit_test(test_random), cmocka_unit_test(test_race),
    };
    harness_start();
    hak_vm_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
