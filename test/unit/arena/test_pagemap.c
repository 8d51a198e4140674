/* test/unit/arena/test_pagemap.c — address -> owner and class. SPDX-License-Identifier: MIT */

/*
 * Goal: a pointer is found if and only if it lies in the window; tags read 0 until set and then
 * what was set; covering makes exactly what is asked for writable, once.
 * Method: pointers at every edge; random covers and tags against a shadow; the ledger counts the
 * system calls that covering makes. Each test in a child, because the table is made once.
 */

#include "arena/pagemap.h"
#include "base/bits.h"
#include "stats/ledger.h"
#include "unit/harness.h"

enum { STEP_TAGS = 4096 / sizeof(uint32_t) };

static void start(void) {
    void *reserved;
    hak_vm_init();
    CHECK_EQUAL(hak_vm_reserve(HAK_UNIT_SIZE, HAK_UNIT_SIZE, HAK_CAUSE_ARENA_RESERVE, &reserved),
                0);
    CHECK_EQUAL(hak_pagemap_init(), 0);
}

static bool is_found(uintptr_t address) {
    size_t unit;
    return hak_pagemap_find((const void *)address, &unit);
}

static void find_before_start(void *argument) {
    int on_stack;
    CHECK(!is_found(0));
    CHECK(!is_found(1));
    CHECK(!is_found(UINTPTR_MAX));
    CHECK(!is_found((uintptr_t)&on_stack));
    CHECK(!is_found((uintptr_t)2 << 40));
}

static void find_at_edges(void *argument) {
    static int in_image;
    start();
    uintptr_t base = hak_vm_window().base;
    size_t size = hak_vm_window().size;
    CHECK_EQUAL(hak_pagemap_base, base);
    CHECK_EQUAL(hak_pagemap_unit_count, size / HAK_UNIT_SIZE);
    CHECK(is_found(base));
    CHECK(is_found(base + 1));
    CHECK(is_found(base + size / 2));
    CHECK(is_found(base + size - 1));
    CHECK(!is_found(base - 1));
    CHECK(!is_found(base + size));
    CHECK(!is_found(0));
    CHECK(!is_found(1));
    CHECK(!is_found(UINTPTR_MAX));
    CHECK(!is_found(UINTPTR_MAX / 2 + 1)); /* not canonical */
    CHECK(!is_found(base ^ (uintptr_t)1 << 63));
    CHECK(!is_found(base ^ (uintptr_t)1 << 47));
    /* where there is no quiet place the window may hold strangers */
    CHECK_EQUAL(is_found((uintptr_t)&in_image), (uintptr_t)&in_image - base < size);
    CHECK_EQUAL(is_found((uintptr_t)&base), (uintptr_t)&base - base < size);
}

static void test_find(void **state) {
    harness_expect_well(find_before_start, NULL);
    harness_expect_well(find_at_edges, NULL);
}

static void round_trip(void *argument) {
    start();
    for (int i = 0; i < 10000; i++) {
        hak_unit unit = (hak_unit)harness_below(hak_pagemap_unit_count);
        char *address = hak_unit_address(unit);
        size_t found;
        CHECK_EQUAL((uintptr_t)address, hak_pagemap_base + unit * HAK_UNIT_SIZE);
        CHECK_EQUAL(hak_unit_of(address), unit);
        CHECK_EQUAL(hak_unit_of(address + harness_below(HAK_UNIT_SIZE)), unit);
        CHECK(hak_pagemap_find(address + HAK_UNIT_SIZE - 1, &found));
        CHECK_EQUAL(found, unit);
    }
}

static void test_units(void **state) {
    harness_expect_well(round_trip, NULL);
}

static uint64_t commit_count(void) {
    return hak_ledger_read(HAK_CALL_MPROTECT, HAK_CAUSE_PAGEMAP).count;
}

/* Tags are writable in exactly the steps that were covered, and each is asked for once. */
static void cover_edges(void *argument) {
    start();
    hak_unit middle = (hak_unit)hak_align_down(hak_pagemap_unit_count / 2, STEP_TAGS);
    size_t page_tags = hak_vm_page_size() / sizeof(uint32_t);
    CHECK_EQUAL(hak_pagemap_tag(middle), 0);
    CHECK(!harness_is_writable((void *)&hak_pagemap_tags[middle]));

    CHECK_EQUAL(hak_pagemap_cover(middle, 1), 0);
    CHECK_EQUAL(commit_count(), 1);
    CHECK(harness_is_writable((void *)&hak_pagemap_tags[middle]));
    CHECK(harness_is_writable((void *)&hak_pagemap_tags[middle + page_tags - 1]));
    CHECK(!harness_is_writable((void *)&hak_pagemap_tags[middle - 1]));
    CHECK(!harness_is_writable((void *)&hak_pagemap_tags[middle + page_tags]));

    CHECK_EQUAL(hak_pagemap_cover(middle, (uint32_t)page_tags), 0);
    CHECK_EQUAL(hak_pagemap_cover((hak_unit)(middle + page_tags - 1), 1), 0);
    CHECK_EQUAL(commit_count(), 1); /* all there already */

    CHECK_EQUAL(hak_pagemap_cover((hak_unit)(middle + page_tags - 1), 2), 0);
    CHECK_EQUAL(commit_count(), 2);
    CHECK(harness_is_writable((void *)&hak_pagemap_tags[middle + page_tags]));
    CHECK(!harness_is_writable((void *)&hak_pagemap_tags[middle + 2 * page_tags]));

    /* around what is there, in one call */
    CHECK_EQUAL(hak_pagemap_cover((hak_unit)(middle - page_tags), (uint32_t)(4 * page_tags)), 0);
    CHECK_EQUAL(commit_count(), 3);
    CHECK(harness_is_writable((void *)&hak_pagemap_tags[middle - page_tags]));
    CHECK(harness_is_writable((void *)&hak_pagemap_tags[middle + 3 * page_tags - 1]));
    CHECK(!harness_is_writable((void *)&hak_pagemap_tags[middle - page_tags - 1]));
    CHECK(!harness_is_writable((void *)&hak_pagemap_tags[middle + 3 * page_tags]));

    /* the window's first and last unit */
    CHECK_EQUAL(hak_pagemap_cover(0, 1), 0);
    CHECK_EQUAL(hak_pagemap_cover((hak_unit)hak_pagemap_unit_count - 1, 1), 0);
    hak_pagemap_set(0, 1);
    hak_pagemap_set((hak_unit)hak_pagemap_unit_count - 1, 2);
    CHECK_EQUAL(hak_pagemap_tag(0), 1);
    CHECK_EQUAL(hak_pagemap_tag(hak_pagemap_unit_count - 1), 2);
}

static void test_cover(void **state) {
    harness_expect_well(cover_edges, NULL);
}

static void set_at_random(void *argument) {
    enum { UNITS = 64 * STEP_TAGS, OPERATIONS = 4000 };
    uint32_t *shadow = calloc(UNITS, sizeof *shadow);
    bool *is_covered = calloc(UNITS, sizeof *is_covered);
    start();
    CHECK(shadow != NULL);
    CHECK(is_covered != NULL);
    hak_unit base = (hak_unit)hak_pagemap_unit_count / 4;
    for (int i = 0; i < OPERATIONS; i++) {
        size_t at = harness_below(UNITS);
        if (!is_covered[at]) {
            size_t count = 1 + harness_below(UNITS - at < 3000 ? UNITS - at : 3000);
            CHECK_EQUAL(hak_pagemap_cover(base + (hak_unit)at, (uint32_t)count), 0);
            memset(is_covered + at, true, count);
        }
        shadow[at] = (uint32_t)harness_random_of(&g_harness.random);
        hak_pagemap_set(base + (hak_unit)at, shadow[at]);
    }
    for (size_t at = 0; at < UNITS; at++)
        CHECK_EQUAL(hak_pagemap_tag(base + at), shadow[at]);
    CHECK_EQUAL(hak_pagemap_tag(base - 1), 0);
    CHECK_EQUAL(hak_pagemap_tag(base + UNITS), 0);
    free(shadow);
    free(is_covered);
}

static void test_random(void **state) {
    harness_expect_well(set_at_random, NULL);
}

/* A tag holds any heap's id and any class without mixing them up; kinds are below all of them. */
static void test_tag_layout(void **state) {
    CHECK(HAK_KIND_META < HAK_TAG_CLASS_LIMIT);
    CHECK_EQUAL(HAK_TAG_ID_NEVER << HAK_TAG_ID_SHIFT | (HAK_TAG_CLASS_LIMIT - 1), UINT32_MAX);
    for (uint32_t id = 1; id < HAK_TAG_ID_NEVER; id = id * 3 + 1) {
        uint32_t own = id << HAK_TAG_ID_SHIFT;
        for (uint32_t class_index = 1; class_index < 128; class_index++) {
            uint32_t tag = own | class_index << 4;
            CHECK_EQUAL(tag ^ own, class_index * 16);
            CHECK((tag ^ own) < HAK_TAG_CLASS_LIMIT);
            CHECK((tag ^ (own + HAK_TAG_CLASS_LIMIT)) >= HAK_TAG_CLASS_LIMIT);
            CHECK((tag ^ UINT32_MAX) >= HAK_TAG_CLASS_LIMIT); /* the empty heap takes nothing */
        }
        for (uint32_t kind = HAK_KIND_NONE; kind <= HAK_KIND_META; kind++)
            CHECK((kind ^ own) >= HAK_TAG_CLASS_LIMIT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find),       cmocka_unit_test(test_units),
        cmocka_unit_test(test_cover),      cmocka_unit_test(test_random),
        cmocka_unit_test(test_tag_layout),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
