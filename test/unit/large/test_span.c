/* test/unit/large/test_span.c — Large blocks: spans of units in an arena. SPDX-License-Identifier: MIT */

/*
 * Goal: spans are whole units at the alignment asked for, disjoint, and as zero as they say; their
 * usable size depends on nothing but the size asked for; they begin at different colours; they grow
 * and shrink where they are when the rest or the neighbours allow it; a double free and an interior
 * free are recognized at once and change nothing.
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
#define GRANULE HAK_SPAN_GRANULE

enum { COLOUR_STEP = 64, COLOURS = 64 }; /* bytes; below 4 KiB */

static size_t colour_of(const char *p) {
    return (uintptr_t)p % UNIT;
}

static size_t units_for(size_t size) {
    return hak_align_up(size, UNIT) / UNIT;
}

/* A block has whole pages of its own, and a colour only where they leave room and nobody minds. */
static void check_place(const char *p, size_t align) {
    size_t usable = hak_span_size(p);
    size_t footprint = hak_span_footprint(p);
    CHECK_EQUAL(usable % GRANULE, 0);
    CHECK_EQUAL(footprint % UNIT, 0);
    CHECK_EQUAL((uintptr_t)p % align, 0);
    CHECK_EQUAL(colour_of(p) % COLOUR_STEP, 0);
    CHECK(colour_of(p) < COLOURS * COLOUR_STEP);
    CHECK(colour_of(p) == 0 || align == 16);
    CHECK(colour_of(p) + usable <= footprint);
    CHECK_EQUAL(hak_pagemap_tag(hak_unit_of(p)), HAK_KIND_SPAN);
    CHECK(hak_span_is_start(p));
}

static char *alloc(size_t size, size_t align) {
    bool is_zeroed = false;
    char *p = hak_span_alloc(size, align, &is_zeroed);
    CHECK(p != NULL);
    check_place(p, align);
    CHECK_EQUAL(hak_span_size(p), hak_align_up(size, GRANULE));
    CHECK_EQUAL(hak_span_footprint(p), hak_align_up(size, UNIT));
    if (is_zeroed) {
        for (size_t at = 0; at < size; at += UNIT / 4)
            CHECK(harness_is_zero(p + at, 64));
    }
    return p;
}

static void expect_free(char *p, enum hak_misuse misuse) {
    struct hak_span_stats before = hak_span_stats();
    size_t size = misuse == HAK_MISUSE_NONE ? hak_span_footprint(p) : 0;
    CHECK_EQUAL(hak_span_free(p), misuse);
    CHECK_EQUAL(hak_span_stats().bytes, before.bytes - size);
    CHECK_EQUAL(hak_span_stats().count, before.count - (misuse == HAK_MISUSE_NONE));
}

/* ---- sizes and alignments ---- */

static void run_sizes(void *argument) {
    static const size_t sizes[] = {1,           GRANULE + 1,       UNIT - 1,     UNIT,
                                   UNIT + 1,    HAK_MIB,           2 * UNIT,     3 * UNIT + 7,
                                   5 * HAK_MIB, HAK_LARGE_MAX - 1, HAK_LARGE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t align = 16; align <= HAK_LARGE_ALIGN_MAX; align *= 2) {
            char *p = alloc(sizes[i], align);
            p[0] = 1;
            p[sizes[i] - 1] = 1;
            p[hak_span_size(p) - 1] = 1;
            expect_free(p, HAK_MISUSE_NONE);
        }
    }
    CHECK_EQUAL(hak_span_stats().count, 0);
    CHECK_EQUAL(hak_span_stats().bytes, 0);
}

static void test_sizes(void **state) {
    harness_expect_well(run_sizes, NULL);
}

/* ---- colours ---- */

/* Blocks of one size, one after the other: all colours in turn, all of one usable size. */
static void run_colours(void *argument) {
    static const size_t sizes[] = {1, 3 * UNIT + 1, 4 * UNIT + GRANULE, 5 * UNIT - GRANULE};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char *blocks[COLOURS];
        bool is_seen[COLOURS] = {false};
        for (int k = 0; k < COLOURS; k++) {
            blocks[k] = alloc(sizes[i], 16);
            CHECK(k == 0 || colour_of(blocks[k]) != colour_of(blocks[k - 1]));
            is_seen[colour_of(blocks[k]) / COLOUR_STEP] = true;
            memset(blocks[k], k, hak_span_size(blocks[k]));
        }
        for (int k = 0; k < COLOURS; k++)
            CHECK(is_seen[k]);
        for (int k = 0; k < COLOURS; k++) {
            const char *p = blocks[k];
            CHECK_EQUAL(p[0], k);
            CHECK(memcmp(p, p + 1, hak_span_size(p) - 1) == 0);
            expect_free(blocks[k], HAK_MISUSE_NONE);
        }
    }
}

/* Where the pages fill the units there is no room, and where an alignment is asked there is none. */
static void run_without_colour(void *argument) {
    for (int i = 0; i < 3 * COLOURS; i++) {
        CHECK_EQUAL(colour_of(alloc((4 + (size_t)i % 5) * UNIT, 16)), 0);
        CHECK_EQUAL(colour_of(alloc(5 * UNIT - GRANULE + 1, 16)), 0);
        CHECK_EQUAL(colour_of(alloc(4 * UNIT + 1, 32)), 0);
        CHECK_EQUAL(colour_of(alloc(4 * UNIT + 1, GRANULE)), 0);
    }
}

static void test_colours(void **state) {
    harness_expect_well(run_colours, NULL);
    harness_expect_well(run_without_colour, NULL);
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

/* A block that begins inside its unit: that unit's start is no block's. */
static void run_misuse_coloured(void *argument) {
    static const ptrdiff_t offsets[] = {-(ptrdiff_t)COLOUR_STEP, -1, 1, 16, COLOUR_STEP, GRANULE};
    char *p;
    do
        p = alloc(4 * UNIT + 1, 16);
    while (colour_of(p) == 0);
    expect_free(hak_unit_address(hak_unit_of(p)), HAK_MISUSE_INSIDE);
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        CHECK(!hak_span_is_start(p + offsets[i]));
        expect_free(p + offsets[i], HAK_MISUSE_INSIDE);
        CHECK(hak_span_is_start(p));
        CHECK_EQUAL(hak_pagemap_tag(hak_unit_of(p)), HAK_KIND_SPAN);
    }
    expect_free(p, HAK_MISUSE_NONE);
    expect_free(p, HAK_MISUSE_DOUBLE_FREE); /* the colour is the pool's now */
    expect_free(p + COLOUR_STEP, HAK_MISUSE_DOUBLE_FREE);
}

static void test_misuse(void **state) {
    harness_expect_well(run_misuse, NULL);
    harness_expect_well(run_misuse_coloured, NULL);
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
    CHECK_EQUAL(hak_span_size(p), GRANULE);
    CHECK_EQUAL(hak_span_footprint(p), UNIT);
    CHECK_EQUAL(hak_span_stats().bytes, UNIT);
    CHECK_EQUAL(hak_span_stats().count, 1);
    expect_free(p, HAK_MISUSE_NONE);
}

/* The rest behind the block serves first: to its last page, and not a byte more. */
static void run_resize_in_rest(void *argument) {
    for (int i = 0; i < 2 * COLOURS; i++) {
        char *p = alloc(4 * UNIT + GRANULE, 16);
        char *next = alloc(UNIT, 16);
        CHECK_EQUAL(hak_unit_of(next), hak_unit_of(p) + 5);
        size_t most = hak_align_down(5 * UNIT - colour_of(p), GRANULE);
        struct hak_span_stats before = hak_span_stats();
        struct hak_pool_stats pool_before = hak_pool_stats();
        for (size_t size = 4 * UNIT + GRANULE; size <= most; size += 3 * GRANULE - 1) {
            CHECK(hak_span_resize(p, size));
            CHECK_EQUAL(hak_span_size(p), hak_align_up(size, GRANULE));
        }
        CHECK(hak_span_resize(p, most));
        CHECK_EQUAL(hak_span_size(p), most);
        memset(p, 1, most);
        CHECK(!hak_span_resize(p, most + 1));
        CHECK_EQUAL(hak_span_size(p), most);
        CHECK(hak_span_resize(p, 3 * UNIT)); /* more than half: all stays usable */
        CHECK_EQUAL(hak_span_size(p), most);
        CHECK_EQUAL(hak_span_footprint(p), 5 * UNIT);
        CHECK_EQUAL(hak_span_stats().bytes, before.bytes);
        CHECK_EQUAL(hak_pool_stats().free, pool_before.free);
        check_place(p, 16);
        expect_free(next, HAK_MISUSE_NONE);
        CHECK(hak_span_resize(p, most + 1)); /* into the neighbour, colour and all */
        CHECK_EQUAL(hak_span_size(p), most + GRANULE);
        CHECK_EQUAL(hak_span_footprint(p), 6 * UNIT);
        check_place(p, 16);
        CHECK_EQUAL(p[most - 1], 1);
        expect_free(p, HAK_MISUSE_NONE);
    }
}

static void test_resize(void **state) {
    harness_expect_well(run_resize, NULL);
    harness_expect_well(run_resize_in_rest, NULL);
}

/* ---- random ---- */

enum { HELD_MAX = 150, STEPS = 20000 / HARNESS_SLOWNESS };

struct held {
    char *p;
    size_t size; /* usable when it was signed */
    size_t align;
    uint64_t mark;
};

static struct held g_held[HELD_MAX];

/* Marks at both ends of every stretch of a unit, the last one shorter. */
static size_t mark_behind(const struct held *held, size_t at) {
    return hak_min(at + UNIT, held->size) - sizeof held->mark;
}

static void sign(struct held *held) {
    held->size = hak_span_size(held->p);
    for (size_t at = 0; at < held->size; at += UNIT) {
        memcpy(held->p + at, &held->mark, sizeof held->mark);
        memcpy(held->p + mark_behind(held, at), &held->mark, sizeof held->mark);
    }
}

/* Those marks that lie in the first `size` bytes. */
static void check_signed(const struct held *held, size_t size) {
    for (size_t at = 0; at < held->size; at += UNIT) {
        size_t behind = mark_behind(held, at);
        CHECK(at >= size || memcmp(held->p + at, &held->mark, sizeof held->mark) == 0);
        CHECK(behind >= size || memcmp(held->p + behind, &held->mark, sizeof held->mark) == 0);
    }
}

static size_t random_size(void) {
    return 1 + harness_below(UNIT << harness_below(6));
}

/* Whether it can grow is the neighbours' affair; everything else is foretold. */
static void step_resize(struct held *held) {
    size_t old_usable = held->size;
    size_t old_units = hak_span_footprint(held->p) / UNIT;
    size_t usable = random_size();
    size_t units = units_for(colour_of(held->p) + hak_align_up(usable, GRANULE));
    bool keeps = units <= old_units && units >= old_units / 2;
    CHECK_EQUAL(hak_span_keeps(held->p, usable), keeps);
    bool is_resized = hak_span_resize(held->p, usable);
    usable = hak_align_up(usable, GRANULE);
    CHECK(is_resized || units > old_units); /* within its units it always works */
    if (!is_resized || keeps) {
        units = old_units;
        usable = is_resized ? hak_max(usable, old_usable) : old_usable;
    }
    CHECK_EQUAL(hak_span_size(held->p), usable);
    CHECK_EQUAL(hak_span_footprint(held->p), units * UNIT);
    check_place(held->p, held->align);
    check_signed(held, hak_min(old_usable, usable));
    sign(held);
}

static void step(struct held *held) {
    if (held->p == NULL) {
        held->mark = harness_random_of(&g_harness.random);
        held->align = (size_t)16 << (harness_below(4) ? 0 : harness_below(18));
        held->p = alloc(random_size(), held->align);
        sign(held);
        return;
    }
    check_signed(held, held->size);
    if (harness_below(2)) {
        step_resize(held);
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
                bytes += g_held[k].p ? hak_span_footprint(g_held[k].p) : 0;
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
    size_t handed_out = 0; /* once, by both lanes' arenas */
    for (uint32_t i = 1; i <= hak_atomic_load_relaxed(&hak_arenas.count); i++)
        handed_out += hak_arenas.list[i]->frontier - hak_arenas.list[i]->begin;
    CHECK_EQUAL(hak_pool_stats().free, handed_out * UNIT);
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
    enum hak_misuse misuse = hak_span_free(atomic_load(&g_race.block));
    atomic_fetch_add(misuse == HAK_MISUSE_NONE ? &g_race.freed : &g_race.refused, 1);
    CHECK(misuse == HAK_MISUSE_NONE || misuse == HAK_MISUSE_DOUBLE_FREE);
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
        atomic_store(&g_race.block, alloc(UNIT + 1, 16));
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
        cmocka_unit_test(test_sizes),  cmocka_unit_test(test_colours),
        cmocka_unit_test(test_reuse),  cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_resize), cmocka_unit_test(test_random),
        cmocka_unit_test(test_race),
    };
    harness_start();
    hak_vm_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
