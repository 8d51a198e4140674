/* test/unit/large/test_big_cache.c — freed Big mappings, kept for the next block. SPDX-License-Identifier: MIT */

/*
 * Goal: what is put comes out once, to the request it fits best, or as rejected or drained, oldest
 * first; count and bytes stay within their bounds.
 * Method: extents that nobody maps, as the cache only keeps the books; a random run beside a shadow.
 */

#include "base/bits.h"
#include "large/big_cache.h"
#include "unit/harness.h"

#define NO_LIMIT SIZE_MAX

static struct hak_vm_extent extent_at(uintptr_t start, size_t usable) {
    return (struct hak_vm_extent){(void *)start, usable + 64 * HAK_KIB, usable};
}

/* Puts a mapping that is kept, and takes no room from others. */
static void put(uintptr_t start, size_t usable, uint64_t now_ms) {
    struct hak_big_extents rejected;
    struct hak_vm_extent extent = extent_at(start, usable);
    size_t bytes = hak_big_cache_bytes();
    hak_big_cache_put(&extent, now_ms, NO_LIMIT, &rejected);
    CHECK_EQUAL(rejected.count, 0);
    CHECK_EQUAL(hak_big_cache_bytes(), bytes + usable);
}

/* A quarter more than the size will do. */
static bool take(size_t size, size_t align, struct hak_vm_extent *out) {
    return hak_big_cache_take(size, size + size / 4, align, out);
}

static void expect_take(size_t size, size_t align, uintptr_t start, size_t usable) {
    struct hak_vm_extent extent = {0};
    size_t bytes = hak_big_cache_bytes();
    CHECK(take(size, align, &extent));
    CHECK_EQUAL((uintptr_t)extent.start, start);
    CHECK_EQUAL(extent.usable, usable);
    CHECK_EQUAL(extent.reserved, usable + 64 * HAK_KIB);
    CHECK_EQUAL(hak_big_cache_bytes(), bytes - usable);
}

static void expect_none(size_t size, size_t align) {
    struct hak_vm_extent extent;
    CHECK(!take(size, align, &extent));
}

static size_t drain_all(void) {
    struct hak_big_extents drained;
    hak_big_cache_drain(0, 0, &drained);
    CHECK_EQUAL(hak_big_cache_bytes(), 0);
    return drained.count;
}

static void test_fit(void **state) {
    put(1 * HAK_GIB, 120 * HAK_MIB, 5);
    put(2 * HAK_GIB, 100 * HAK_MIB, 5);
    put(3 * HAK_GIB, 110 * HAK_MIB, 5);
    expect_none(120 * HAK_MIB + 1, 16);
    expect_none(80 * HAK_MIB - 4, 16); /* the smallest is more than a quarter larger */
    expect_none(1, 16);
    expect_take(100 * HAK_MIB + 1, 16, 3 * HAK_GIB, 110 * HAK_MIB);
    expect_take(100 * HAK_MIB, 16, 2 * HAK_GIB, 100 * HAK_MIB);
    expect_take(96 * HAK_MIB, 16, 1 * HAK_GIB, 120 * HAK_MIB);
    expect_none(96 * HAK_MIB, 16);
    CHECK_EQUAL(drain_all(), 0);
}

/* Of equals the one that came last; a multiple of the alignment comes before a better fit. */
static void test_choice(void **state) {
    put(3 * HAK_GIB, 100 * HAK_MIB, 5);
    put(8 * HAK_GIB, 110 * HAK_MIB, 5);
    put(1 * HAK_GIB, 100 * HAK_MIB, 6);
    put(2 * HAK_GIB, 100 * HAK_MIB, 4);
    expect_take(100 * HAK_MIB, 4 * HAK_GIB, 8 * HAK_GIB, 110 * HAK_MIB);
    expect_none(100 * HAK_MIB, 4 * HAK_GIB);
    expect_take(100 * HAK_MIB, 16, 2 * HAK_GIB, 100 * HAK_MIB);
    expect_take(100 * HAK_MIB, 16, 1 * HAK_GIB, 100 * HAK_MIB);
    expect_take(100 * HAK_MIB, 16, 3 * HAK_GIB, 100 * HAK_MIB);
    CHECK_EQUAL(drain_all(), 0);
}

static void test_count_bound(void **state) {
    struct hak_big_extents rejected;
    for (uintptr_t i = 1; i <= HAK_BIG_CACHE_MAX; i++)
        put(i * HAK_GIB, 8 * HAK_MIB, i);
    for (uintptr_t i = 1; i <= 2 * HAK_BIG_CACHE_MAX; i++) {
        struct hak_vm_extent extent = extent_at((i + HAK_BIG_CACHE_MAX) * HAK_GIB, 8 * HAK_MIB);
        hak_big_cache_put(&extent, 99, NO_LIMIT, &rejected);
        CHECK_EQUAL(rejected.count, 1);
        CHECK_EQUAL((uintptr_t)rejected.list[0].start, i * HAK_GIB); /* the oldest */
        CHECK_EQUAL(hak_big_cache_bytes(), HAK_BIG_CACHE_MAX * 8 * HAK_MIB);
    }
    CHECK_EQUAL(drain_all(), HAK_BIG_CACHE_MAX);
}

static void test_bytes_bound(void **state) {
    struct hak_big_extents rejected;
    for (uintptr_t i = 1; i <= 10; i++)
        put(i * HAK_GIB, 10 * HAK_MIB, i);
    struct hak_vm_extent extent = extent_at(20 * HAK_GIB, 25 * HAK_MIB);
    hak_big_cache_put(&extent, 9, 100 * HAK_MIB, &rejected);
    CHECK_EQUAL(rejected.count, 3);
    for (uintptr_t i = 1; i <= 3; i++)
        CHECK_EQUAL((uintptr_t)rejected.list[i - 1].start, i * HAK_GIB);
    CHECK_EQUAL(hak_big_cache_bytes(), 95 * HAK_MIB);
    /* What alone is too large drives nobody out. */
    extent = extent_at(21 * HAK_GIB, 101 * HAK_MIB);
    hak_big_cache_put(&extent, 9, 101 * HAK_MIB - 1, &rejected);
    CHECK_EQUAL(rejected.count, 1);
    CHECK_EQUAL((uintptr_t)rejected.list[0].start, 21 * HAK_GIB);
    CHECK_EQUAL(hak_big_cache_bytes(), 95 * HAK_MIB);
    hak_big_cache_put(&extent, 9, 0, &rejected);
    CHECK_EQUAL(rejected.count, 1);
    /* … but what just fits, all. */
    hak_big_cache_put(&extent, 9, 101 * HAK_MIB, &rejected);
    CHECK_EQUAL(rejected.count, 8);
    CHECK_EQUAL(hak_big_cache_bytes(), 101 * HAK_MIB);
    CHECK_EQUAL(drain_all(), 1);
}

static void test_age(void **state) {
    struct hak_big_extents drained;
    static const uint64_t put_ms[] = {100, 250, 200, 300};
    for (uintptr_t i = 0; i < 4; i++)
        put((i + 1) * HAK_GIB, (i + 1) * HAK_MIB, put_ms[i]);
    hak_big_cache_drain(299, 200, &drained);
    CHECK_EQUAL(drained.count, 0);
    hak_big_cache_drain(300, 100, &drained);
    CHECK_EQUAL(drained.count, 2);
    CHECK_EQUAL((uintptr_t)drained.list[0].start, 1 * HAK_GIB);
    CHECK_EQUAL((uintptr_t)drained.list[1].start, 3 * HAK_GIB);
    hak_big_cache_drain(10, 1, &drained); /* a clock that is behind makes nothing old */
    CHECK_EQUAL(drained.count, 0);
    hak_big_cache_drain(10, 0, &drained); /* no age: all, whatever the clock says */
    CHECK_EQUAL(drained.count, 2);
    CHECK_EQUAL(hak_big_cache_bytes(), 0);
}

/* ---- threads ---- */

enum { THREADS = 4, PLACES = 256, TURNS = 40000 / HARNESS_SLOWNESS };

static _Atomic bool g_is_held[PLACES]; /* by the cache; false: by a thread */

static void come_out(const struct hak_vm_extent *extent) {
    size_t place = (uintptr_t)extent->start / HAK_GIB;
    CHECK(atomic_exchange(&g_is_held[place], false));
}

/* Each place is in one thread's hands or in the cache, never in both. */
static void *put_and_take(void *argument) {
    uint64_t random = (uintptr_t)argument;
    size_t own[PLACES];
    size_t count = 0;
    for (size_t i = 0; i < PLACES / THREADS; i++)
        own[count++] = ((uintptr_t)argument - 1) * (PLACES / THREADS) + i;
    for (int turn = 0; turn < TURNS; turn++) {
        struct hak_big_extents out = {0};
        size_t size = (1 + harness_random_of(&random) % 64) * HAK_MIB;
        uint64_t choice = harness_random_of(&random) % 16;
        if (choice == 0) {
            hak_big_cache_drain((uint64_t)turn, harness_random_of(&random) % 50, &out);
        } else if (choice < 8) {
            out.count = take(size, 16, &out.list[0]);
        } else if (count > 0) {
            struct hak_vm_extent extent = extent_at(own[--count] * HAK_GIB, size);
            CHECK(!atomic_exchange(&g_is_held[own[count]], true));
            hak_big_cache_put(&extent, (uint64_t)turn, 1200 * HAK_MIB, &out);
        }
        for (size_t i = 0; i < out.count; i++) {
            come_out(&out.list[i]);
            CHECK(count < PLACES);
            own[count++] = (uintptr_t)out.list[i].start / HAK_GIB;
        }
    }
    return NULL;
}

static void test_threads(void **state) {
    pthread_t threads[THREADS];
    struct hak_big_extents drained;
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(put_and_take, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    hak_big_cache_drain(0, 0, &drained);
    for (size_t i = 0; i < drained.count; i++)
        come_out(&drained.list[i]);
    for (size_t i = 0; i < PLACES; i++)
        CHECK(!atomic_load(&g_is_held[i]));
    CHECK_EQUAL(hak_big_cache_bytes(), 0);
}

/* ---- fork ---- */

static void after_fork(void *argument) {
    hak_big_cache_fork_child();
    expect_take(8 * HAK_MIB, 16, HAK_GIB, 8 * HAK_MIB);
    CHECK_EQUAL(drain_all(), 0);
}

static void test_fork(void **state) {
    put(HAK_GIB, 8 * HAK_MIB, 1);
    hak_big_cache_fork_prepare();
    harness_expect_well(after_fork, NULL);
    hak_big_cache_fork_parent();
    expect_take(8 * HAK_MIB, 16, HAK_GIB, 8 * HAK_MIB); /* a copy of its own */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fit),         cmocka_unit_test(test_choice),
        cmocka_unit_test(test_count_bound), cmocka_unit_test(test_bytes_bound),
        cmocka_unit_test(test_age),         cmocka_unit_test(test_threads),
        cmocka_unit_test(test_fork),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
