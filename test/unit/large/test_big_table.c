/* test/unit/large/test_big_table.c — where each Big block ends. SPDX-License-Identifier: MIT */

/*
 * Goal: each place of 2 MiB in the window keeps the sizes written for it and no others; what was never
 * written reads as none; leaves are made once, whoever comes first.
 * Method: the window's edges and random places, read back all together; threads that race for leaves.
 */

#include "arena/meta.h"
#include "arena/pagemap.h"
#include "arena/pool.h"
#include "base/bits.h"
#include "large/big_table.h"
#include "unit/harness.h"

static void start(void) {
    hak_vm_init();
    CHECK(hak_pool_init());
}

static size_t place_count(void) {
    return hak_vm_window().size / HAK_BIG_ALIGN;
}

static void *place(size_t i) {
    return (void *)(hak_vm_window().base + i * HAK_BIG_ALIGN);
}

static void write_place(void *start, size_t reserved, size_t usable) {
    struct hak_vm_extent extent = {start, reserved, usable};
    CHECK(hak_big_table_cover(start));
    hak_big_table_set(&extent);
}

static void expect_place(void *start, size_t reserved, size_t usable) {
    struct hak_vm_extent extent = hak_big_table_get(start);
    CHECK(extent.start == start);
    CHECK_EQUAL(extent.reserved, reserved);
    CHECK_EQUAL(extent.usable, usable);
}

static void use_places(void *argument) {
    start();
    size_t last = place_count() - 1;
    const size_t places[] = {0, 1, 511, 512, 513, last / 2, last - 1, last};
    enum { COUNT = sizeof places / sizeof places[0] };
    size_t meta = hak_meta_bytes();
    for (size_t i = 0; i < COUNT; i++)
        expect_place(place(places[i]), 0, 0);
    CHECK_EQUAL(hak_meta_bytes(), meta); /* looking makes nothing */
    for (size_t i = 0; i < COUNT; i++)
        write_place(place(places[i]), (i + 2) * HAK_UNIT_SIZE, (i + 1) * 4096);
    for (size_t i = 0; i < COUNT; i++)
        expect_place(place(places[i]), (i + 2) * HAK_UNIT_SIZE, (i + 1) * 4096);
    CHECK_EQUAL(hak_meta_bytes(), meta + 4 * 4096); /* leaves of 1 GiB each */
    /* neighbours in a leaf were never written */
    expect_place(place(2), 0, 0);
    expect_place(place(510), 0, 0);
    /* the largest that can be */
    write_place(place(1), HAK_TIB, HAK_TIB - 4096);
    expect_place(place(1), HAK_TIB, HAK_TIB - 4096);
    expect_place(place(0), 2 * HAK_UNIT_SIZE, 4096);
}

static void test_places(void **state) {
    harness_expect_well(use_places, NULL);
}

enum { THREADS = 4, LEAVES = 200 };

static void *race_for_leaves(void *argument) {
    size_t number = (uintptr_t)argument;
    for (size_t leaf = 1; leaf <= LEAVES; leaf++) {
        void *own = place(leaf * 512 + number);
        write_place(own, number * HAK_UNIT_SIZE, 4096);
        expect_place(own, number * HAK_UNIT_SIZE, 4096);
    }
    return NULL;
}

static void use_by_threads(void *argument) {
    pthread_t threads[THREADS];
    start();
    size_t meta = hak_meta_bytes();
    for (uintptr_t i = 0; i < THREADS; i++)
        threads[i] = harness_thread(race_for_leaves, (void *)(i + 1));
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    for (size_t leaf = 1; leaf <= LEAVES; leaf++) {
        for (size_t number = 1; number <= THREADS; number++)
            expect_place(place(leaf * 512 + number), number * HAK_UNIT_SIZE, 4096);
    }
    CHECK_EQUAL(hak_meta_bytes(), meta + LEAVES * 4096); /* who came second gave his back */
}

static void test_threads(void **state) {
    harness_expect_well(use_by_threads, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_threads),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
