/* test/unit/arena/test_arena.c — reserved ranges and the descriptors of their units. SPDX-License-Identifier: MIT */

/*
 * Goal: an arena's bounds are in order, its metadata lies in front of its units and overlaps
 * nothing, units are usable up to `committed` and not above, and sizes follow the rules for their
 * number and the address limit.
 * Method: arenas made directly (nobody else runs, so the pool's lock is not needed), a child each;
 * the kernel is asked what is accessible.
 */

#include <sys/resource.h>

#include "arena/arena.h"
#include "base/bits.h"
#include "unit/harness.h"

static void check_bounds(const struct hak_arena *arena, uint32_t number, size_t size) {
    CHECK(hak_arenas.list[number] == arena);
    CHECK_EQUAL(hak_atomic_load_relaxed(&hak_arenas.count), number);
    CHECK(arena->first_unit < arena->begin);
    CHECK_EQUAL(arena->begin, arena->frontier);
    CHECK(arena->frontier <= arena->committed);
    CHECK(arena->committed <= arena->end);
    CHECK_EQUAL((arena->end - arena->first_unit) * HAK_UNIT_SIZE, size);
    CHECK_EQUAL(arena->first_unit % HAK_SUPERSLAB_UNITS, 0);
    CHECK((const void *)arena == hak_unit_address(arena->first_unit));
    for (hak_unit unit = arena->first_unit; unit < arena->end; unit++) {
        CHECK(hak_arena_of(unit) == arena);
        CHECK_EQUAL(hak_pagemap_tag(unit), unit < arena->begin ? HAK_KIND_META : HAK_KIND_NONE);
    }
}

/*
 * Descriptors and lines, each 64 bytes, aligned, and the dirty bits: inside the metadata, and no two
 * overlap.
 */
static void check_metadata(const struct hak_arena *arena) {
    char *low = hak_unit_address(arena->first_unit);
    size_t size = (arena->begin - arena->first_unit) * HAK_UNIT_SIZE;
    unsigned char *is_used = calloc(size / 64, 1);
    CHECK(is_used != NULL);
    memset(is_used, 1, (sizeof *arena + 63) / 64);
    for (hak_unit unit = arena->first_unit; unit < arena->end; unit++) {
        for (int line = -1; line < (int)HAK_BITMAP_LINES; line++) {
            const void *p = line < 0 ? hak_arena_descriptor(arena, unit)
                                     : hak_arena_bitmap_line(arena, unit, (unsigned)line);
            size_t at = (size_t)((const char *)p - low);
            CHECK_EQUAL(at % 64, 0);
            CHECK(at < size);
            CHECK_EQUAL(is_used[at / 64]++, 0);
        }
        CHECK(hak_unit_descriptor(unit) == hak_arena_descriptor(arena, unit));
        size_t at = (size_t)((const char *)&arena->dirty[(unit - arena->first_unit) / 64] - low);
        CHECK_EQUAL(at % sizeof *arena->dirty, 0);
        CHECK(at + sizeof *arena->dirty <= size);
        CHECK_EQUAL(is_used[at / 64], 0);
    }
    CHECK(harness_is_writable(&arena->dirty[(arena->end - 1 - arena->first_unit) / 64]));
    CHECK(harness_is_writable(hak_arena_descriptor(arena, arena->end - 1)));
    CHECK(harness_is_writable(hak_arena_bitmap_line(arena, arena->end - 1, HAK_BITMAP_LINES - 1)));
    free(is_used);
}

static void make_first(void *argument) {
    hak_vm_init();
    CHECK_EQUAL(hak_atomic_load_relaxed(&hak_arenas.count), 0);
    struct hak_arena *arena = hak_arena_create(1, HAK_LANE_PLAIN);
    CHECK(arena != NULL);
    check_bounds(arena, 1, HAK_GIB);
    check_metadata(arena);
    /* fresh descriptors say "no free run here": the pool relies on it */
    for (hak_unit unit = arena->first_unit; unit < arena->end; unit += 7)
        CHECK(harness_is_zero(hak_arena_descriptor(arena, unit), HAK_DESCRIPTOR_SIZE));
    CHECK(harness_is_zero(arena->dirty, (arena->end - arena->first_unit) / 8)); /* and all clean */
}

static void test_first(void **state) {
    harness_expect_well(make_first, NULL);
}

static void make_several(void *argument) {
    hak_vm_init();
    struct hak_arena *made[10];
    uint64_t calls = 0;
    for (uint32_t i = 0; i < 10; i++) {
        made[i] = hak_arena_create(1, HAK_LANE_PLAIN);
        if (i == 0) /* the first has looked for the window's place */
            calls = hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_ARENA_RESERVE).count;
        CHECK(made[i] != NULL);
        check_bounds(made[i], i + 1, HAK_GIB << hak_min(i, 6)); /* each twice as large, to 64 GiB */
        for (uint32_t k = 0; k < i; k++)
            CHECK(made[k]->end <= made[i]->first_unit || made[i]->end <= made[k]->first_unit);
    }
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_ARENA_RESERVE).count, calls + 9);
}

/* Each lane has its own sequence; only huge arenas ask for huge pages, and commit by whole ones. */
static void make_in_both_lanes(void *argument) {
    hak_vm_init();
    for (uint32_t i = 0; i < 8; i++) {
        enum hak_lane lane = i % 4 == 0 ? HAK_LANE_PLAIN : HAK_LANE_HUGE;
        uint32_t in_lane = lane == HAK_LANE_PLAIN ? i / 4 : i - i / 4 - 1;
        uint64_t asked = hak_ledger_read(HAK_CALL_MADVISE, HAK_CAUSE_HUGE).count;
        struct hak_arena *arena = hak_arena_create(1, lane);
        CHECK(arena != NULL);
        CHECK_EQUAL(arena->lane, lane);
        check_bounds(arena, i + 1, HAK_GIB << in_lane);
        asked = hak_ledger_read(HAK_CALL_MADVISE, HAK_CAUSE_HUGE).count - asked;
        CHECK_EQUAL(asked, lane == HAK_LANE_HUGE && hak_vm_has_huge());
        for (int step = 0; step < 20; step++) {
            hak_unit before = arena->committed;
            CHECK(hak_arena_commit(arena, before + 1));
            CHECK(lane == HAK_LANE_PLAIN || (arena->committed - before) % HAK_SUPERSLAB_UNITS == 0);
        }
    }
}

static void test_several(void **state) {
    harness_expect_well(make_several, NULL);
    harness_expect_well(make_in_both_lanes, NULL);
}

static void make_for_counts(void *argument) {
    static const uint32_t counts[] = {16384 - 200, 16384, 16385, 100000, 1 << 20, (1 << 20) + 1};
    hak_vm_init();
    for (uint32_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        struct hak_arena *arena = hak_arena_create(counts[i], HAK_LANE_PLAIN);
        CHECK(arena != NULL);
        CHECK(arena->end - arena->begin >= counts[i]);
        CHECK_EQUAL(arena->first_unit % HAK_SUPERSLAB_UNITS, 0);
        CHECK_EQUAL((arena->end - arena->first_unit) % HAK_SUPERSLAB_UNITS, 0);
        CHECK(hak_arena_of(arena->end - 1) == arena);
    }
    uint32_t count = hak_atomic_load_relaxed(&hak_arenas.count);
    CHECK(hak_arena_create(HAK_UNIT_COUNT_MAX / 2 + 1, HAK_LANE_PLAIN) == NULL);
    CHECK(hak_arena_create(UINT32_MAX, HAK_LANE_PLAIN) == NULL);
    CHECK_EQUAL(hak_atomic_load_relaxed(&hak_arenas.count), count);
}

static void test_counts(void **state) {
    harness_expect_well(make_for_counts, NULL);
}

static void commit_up(void *argument) {
    hak_vm_init();
    struct hak_arena *arena = hak_arena_create(1, HAK_LANE_PLAIN);
    CHECK(arena != NULL);
    uint32_t steps = 0;
    while (arena->committed < arena->end) {
        hak_unit before = arena->committed;
        char *edge = hak_unit_address(before);
        CHECK(harness_is_writable(edge - 1));
        CHECK(!harness_is_readable(edge));
        CHECK(hak_arena_commit(arena, before)); /* nothing to do */
        CHECK_EQUAL(arena->committed, before);
        CHECK(hak_arena_commit(arena, before + 1));
        /* doubling, within 1 … 32 MiB */
        uint32_t step = arena->committed - before;
        CHECK(step >= 16 || arena->committed == arena->end);
        CHECK(step <= 512);
        CHECK(harness_is_writable(hak_unit_address(arena->committed - 1)));
        steps++;
    }
    CHECK(steps < 60);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MPROTECT, HAK_CAUSE_ARENA_COMMIT).count, steps + 1);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MPROTECT, HAK_CAUSE_ARENA_COMMIT).bytes, HAK_GIB);
    CHECK(hak_arena_commit(arena, arena->end));
}

static void commit_at_once(void *argument) {
    hak_vm_init();
    struct hak_arena *arena = hak_arena_create(1, HAK_LANE_PLAIN);
    CHECK(arena != NULL);
    CHECK(hak_arena_commit(arena, arena->end));
    CHECK_EQUAL(arena->committed, arena->end);
    CHECK(harness_is_writable((char *)hak_unit_address(arena->end - 1) + HAK_UNIT_SIZE - 1));
}

static void test_commit(void **state) {
    harness_expect_well(commit_up, NULL);
    harness_expect_well(commit_at_once, NULL);
}

/* ---- under an address limit ---- */

static void make_under_limit(void *argument) {
    size_t limit = *(size_t *)argument;
    harness_set_address_limit((rlim_t)limit);
    hak_vm_init();
    harness_set_address_limit(RLIM_INFINITY); /* the sizes are meant, not refusals */
    size_t first = hak_max(hak_min(HAK_GIB, limit / 16), HAK_SUPERSLAB_SIZE);
    size_t second = hak_max(hak_min(2 * HAK_GIB, limit / 8), HAK_SUPERSLAB_SIZE);
    struct hak_arena *arena = hak_arena_create(1, HAK_LANE_PLAIN);
    CHECK(arena != NULL);
    CHECK_EQUAL((arena->end - arena->first_unit) * HAK_UNIT_SIZE,
                hak_align_down(first, HAK_SUPERSLAB_SIZE));
    check_metadata(arena);
    arena = hak_arena_create(1, HAK_LANE_PLAIN);
    CHECK(arena != NULL);
    CHECK_EQUAL((arena->end - arena->first_unit) * HAK_UNIT_SIZE,
                hak_align_down(second, HAK_SUPERSLAB_SIZE));
    arena = hak_arena_create(1000,
                             HAK_LANE_PLAIN); /* what is needed is more than the rule would give */
    CHECK(arena != NULL);
    CHECK(arena->end - arena->begin >= 1000);
}

static void test_limit(void **state) {
    size_t limits[] = {16 * HAK_MIB, 200 * HAK_MIB, HAK_GIB, 10 * HAK_GIB, 100 * HAK_GIB};
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    if (limit.rlim_cur != RLIM_INFINITY)
        skip();
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        harness_expect_well(make_under_limit, &limits[i]);
}

/* No addresses: nothing is listed, and the next try works. */
static void make_when_refused(void *argument) {
    hak_vm_init();
    CHECK(hak_arena_create(1, HAK_LANE_PLAIN) != NULL);
    harness_set_address_limit(HAK_MIB);
    struct hak_arena *arena = hak_arena_create(1, HAK_LANE_PLAIN);
    harness_set_address_limit(RLIM_INFINITY);
    CHECK(arena == NULL);
    CHECK_EQUAL(hak_atomic_load_relaxed(&hak_arenas.count), 1);
    CHECK(hak_arena_create(1, HAK_LANE_PLAIN) != NULL);
    CHECK_EQUAL(hak_atomic_load_relaxed(&hak_arenas.count), 2);
}

static void test_refused(void **state) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    if (limit.rlim_cur != RLIM_INFINITY)
        skip();
    harness_expect_well(make_when_refused, NULL);
}

/* Only whole pages, and nothing of what describes a unit outside the run or at one of its ends. */
static void check_inner_meta(void *argument) {
    hak_vm_init();
    const struct hak_arena *arena = hak_arena_create(1, HAK_LANE_PLAIN);
    CHECK(arena != NULL);
    char *low = hak_unit_address(arena->first_unit);
    size_t size = (arena->begin - arena->first_unit) * HAK_UNIT_SIZE;
    unsigned char *may_go = malloc(size);
    CHECK(may_go != NULL);
    for (int round = 0; round < 300; round++) {
        hak_unit first = arena->begin + (hak_unit)harness_below(3000);
        uint32_t count = 1 + (uint32_t)harness_below(round % 2 ? 200 : 3000);
        memset(may_go, 0, size);
        for (hak_unit unit = first + 1; unit < first + count - 1; unit++) {
            memset(may_go + ((char *)hak_arena_descriptor(arena, unit) - low), 1, 64);
            for (unsigned line = 0; line < HAK_BITMAP_LINES; line++)
                memset(may_go + ((char *)hak_arena_bitmap_line(arena, unit, line) - low), 1, 64);
        }
        struct hak_prim_range ranges[HAK_ARENA_META_RANGES];
        unsigned range_count = hak_arena_inner_meta(first, count, ranges);
        size_t bytes = 0;
        for (unsigned i = 0; i < range_count; i++) {
            unsigned char *at = may_go + ((char *)ranges[i].start - low);
            CHECK_EQUAL((uintptr_t)ranges[i].start % hak_vm_page_size(), 0);
            CHECK_EQUAL(ranges[i].size % hak_vm_page_size(), 0);
            CHECK(ranges[i].size > 0);
            for (size_t byte = 0; byte < ranges[i].size; byte++)
                CHECK_EQUAL(at[byte]++, 1); /* nor twice */
            bytes += ranges[i].size;
        }
        size_t inner = count > 2 ? (count - 2) * (size_t)HAK_DESCRIPTOR_SIZE : 0;
        CHECK(bytes + HAK_ARENA_META_RANGES * 2 * hak_vm_page_size() >
              inner * HAK_ARENA_META_RANGES);
    }
}

static void test_inner_meta(void **state) {
    harness_expect_well(check_inner_meta, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first),      cmocka_unit_test(test_several),
        cmocka_unit_test(test_counts),     cmocka_unit_test(test_commit),
        cmocka_unit_test(test_limit),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_inner_meta),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
