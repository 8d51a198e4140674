/* test/unit/ace/test_ace.c — what the engine tells heaps to keep. SPDX-License-Identifier: MIT */

/*
 * Goal: every mode gives every class capacities that heaps can follow (2^k - 1, start to limit by
 * doubling), bounded in bytes; checks leave no magazine at all.
 * Method: the table that hak_ace_init() writes, class by class; and a heap that follows it.
 */

#include "ace/ace.h"
#include "base/bits.h"
#include "heap/heap.h"
#include "unit/harness.h"
#include "vm/vm.h"

enum {
    START = 7,              /* slots: with the sentinel, one cache line */
    LEAST = 3,              /* slots of the largest blocks' magazines */
    SMALL = 64,             /* bytes: up to here the number of blocks is the bound */
    BYTES_MAX = 128 * 1024, /* no magazine of larger blocks holds more */
    SMALL_BATCH = 1000      /* blocks: a batch that a magazine of small ones holds */
};

static void check_capacity(unsigned capacity) {
    CHECK(hak_is_power_of_two(capacity + 1));
    CHECK(capacity >= LEAST);
}

static void run_mode(enum hak_ace_mode mode) {
    hak_ace_init(mode, false);
    CHECK_EQUAL(hak_heap_policy.capacity_start[0], 0);
    CHECK_EQUAL(hak_heap_policy.capacity_max[0], 0);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        unsigned start = hak_heap_policy.capacity_start[class_index];
        unsigned max = hak_heap_policy.capacity_max[class_index];
        check_capacity(start);
        check_capacity(max);
        CHECK(start <= max);
        if (mode == HAK_ACE_ON)
            CHECK_EQUAL(start, hak_min(START, max));
        else
            CHECK_EQUAL(start, max);
        if (mode == HAK_ACE_FROZEN)
            CHECK(max <= START);
    }
}

static void test_modes(void **state) {
    run_mode(HAK_ACE_ON);
    run_mode(HAK_ACE_OFF);
    run_mode(HAK_ACE_FROZEN);
    run_mode(HAK_ACE_ON); /* nothing is left of the mode before */
}

static void test_bounds(void **state) {
    unsigned last = UINT16_MAX;
    hak_ace_init(HAK_ACE_ON, false);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        size_t size = hak_size_classes[class_index].size;
        unsigned max = hak_heap_policy.capacity_max[class_index];
        if (size <= SMALL)
            CHECK(max >= SMALL_BATCH);
        else
            CHECK(max == LEAST || max * size <= BYTES_MAX);
        CHECK(max <= last); /* larger blocks, never more of them */
        last = max;
    }
    CHECK_EQUAL(last, LEAST);
}

/* off has the limits of on at once; frozen its beginnings for ever. */
static void test_modes_agree(void **state) {
    struct hak_heap_policy on;
    hak_ace_init(HAK_ACE_ON, false);
    on = hak_heap_policy;
    hak_ace_init(HAK_ACE_OFF, false);
    CHECK(memcmp(hak_heap_policy.capacity_max, on.capacity_max, sizeof on.capacity_max) == 0);
    hak_ace_init(HAK_ACE_FROZEN, false);
    CHECK(memcmp(hak_heap_policy.capacity_start, on.capacity_start, sizeof on.capacity_start) == 0);
}

static void test_checks(void **state) {
    for (int mode = HAK_ACE_OFF; mode <= HAK_ACE_FROZEN; mode++) {
        hak_ace_init((enum hak_ace_mode)mode, true);
        CHECK(harness_is_zero(&hak_heap_policy, sizeof hak_heap_policy));
    }
}

/* A heap reaches exactly the limit, by doubling, in every class. */
static void follow(void *argument) {
    hak_ace_init(*(enum hak_ace_mode *)argument, false);
    hak_vm_init();
    CHECK_EQUAL(hak_heap_init(), 0);
    struct hak_heap *heap = hak_heap_acquire();
    CHECK(heap != NULL);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        unsigned expected = hak_heap_policy.capacity_start[class_index];
        for (int refill = 0; refill < 14; refill++) {
            CHECK(hak_heap_refill(heap, class_index) != NULL);
            CHECK_EQUAL(heap->capacity[class_index], expected);
            while (hak_magazine_pop(class_index * 16)) {
            }
            if (expected < hak_heap_policy.capacity_max[class_index])
                expected = expected * 2 + 1;
        }
        CHECK_EQUAL(heap->capacity[class_index], hak_heap_policy.capacity_max[class_index]);
    }
}

static void test_heaps_follow(void **state) {
    enum hak_ace_mode modes[] = {HAK_ACE_OFF, HAK_ACE_ON, HAK_ACE_FROZEN};
    for (int i = 0; i < 3; i++)
        harness_expect_well(follow, &modes[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modes),        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_modes_agree),  cmocka_unit_test(test_checks),
        cmocka_unit_test(test_heaps_follow),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
