/* test/unit/large/test_big.c — Big blocks: each its own mapping. SPDX-License-Identifier: MIT */

/*
 * Goal: any size and alignment that can exist does, reads as zero, and is gone after free;
 * addresses are used again; misuse is recognized; nothing is left mapped.
 * Method: the kernel is asked what is mapped, the ledger what was called; each test in a child.
 */

#include "arena/pagemap.h"
#include "arena/pool.h"
#include "base/bits.h"
#include "large/big.h"
#include "unit/harness.h"
#include "vm/vm.h"

/* Start-up makes the first arena, and with it the pagemap, before any block. */
static void start(void) {
    hak_vm_init();
    CHECK(hak_pool_init());
}

static char *alloc(size_t size, size_t align) {
    size_t page = hak_vm_page_size();
    char *p = hak_big_alloc(size, align);
    CHECK(p != NULL);
    CHECK_EQUAL((uintptr_t)p % (align > HAK_UNIT_SIZE ? align : HAK_UNIT_SIZE), 0);
    CHECK_EQUAL(hak_big_size(p), hak_align_up(size ? size : 1, page));
    CHECK_EQUAL(hak_pagemap_tag(hak_unit_of(p)), HAK_KIND_BIG);
    CHECK_EQUAL(p[0], 0);
    CHECK_EQUAL(p[hak_big_size(p) - 1], 0);
    return p;
}

static void expect_free(char *p, enum hak_misuse misuse) {
    struct hak_big_stats before = hak_big_stats();
    size_t size = misuse == HAK_MISUSE_NONE ? hak_big_size(p) : 0;
    CHECK_EQUAL(hak_big_free(p), misuse);
    CHECK_EQUAL(hak_big_stats().bytes, before.bytes - size);
    CHECK_EQUAL(hak_big_stats().count, before.count - (misuse == HAK_MISUSE_NONE));
    if (misuse == HAK_MISUSE_NONE) {
        CHECK(!harness_is_readable(p));
        CHECK(!harness_is_readable(p - 1)); /* the header's page */
        CHECK_EQUAL(hak_pagemap_tag(hak_unit_of(p)), HAK_KIND_BIG_FREED);
    }
}

static void run_sizes(void *argument) {
    static const size_t sizes[] = {0,
                                   1,
                                   4096,
                                   4097,
                                   64 * HAK_KIB,
                                   65 * HAK_MIB,
                                   65 * HAK_MIB + 1,
                                   3 * HAK_GIB,
                                   100 * HAK_GIB + 12345};
    start();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t align = 1; align <= 4 * HAK_GIB; align *= 16) {
            char *p = alloc(sizes[i], align);
            p[0] = 1;
            p[hak_big_size(p) - 1] = 1;
            expect_free(p, HAK_MISUSE_NONE);
        }
    }
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_BIG).count,
                hak_ledger_read(HAK_CALL_MUNMAP, HAK_CAUSE_BIG).count);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_BIG).bytes,
                hak_ledger_read(HAK_CALL_MUNMAP, HAK_CAUSE_BIG).bytes);
}

static void test_sizes(void **state) {
    harness_expect_well(run_sizes, NULL);
}

static void run_alignments(void *argument) {
    char *held[8];
    start();
    for (int i = 0; i < 8; i++) {
        held[i] = alloc(HAK_MIB, HAK_GIB << i); /* 1 … 128 GiB, all at once */
        held[i][HAK_MIB - 1] = 1;
    }
    for (int i = 0; i < 8; i++)
        expect_free(held[i], HAK_MISUSE_NONE);
}

static void test_alignments(void **state) {
    harness_expect_well(run_alignments, NULL);
}

/* What can never be: NULL at once, and nothing reserved. */
static void run_impossible(void *argument) {
    start();
    CHECK(hak_big_alloc(SIZE_MAX, 16) == NULL);
    CHECK(hak_big_alloc((size_t)PTRDIFF_MAX + 1, 16) == NULL);
    CHECK(hak_big_alloc(PTRDIFF_MAX, 16) == NULL);
    CHECK(hak_big_alloc(PTRDIFF_MAX, (size_t)1 << 61) == NULL);
    CHECK(hak_big_alloc(1, (size_t)1 << 62) == NULL);
    CHECK(hak_big_alloc(1, (size_t)1 << 63) == NULL);
    CHECK(hak_big_alloc(hak_vm_window().size, 16) == NULL);
    CHECK(hak_big_alloc(hak_vm_window().size - HAK_MIB, 16) == NULL);
    CHECK(hak_big_alloc(1, hak_vm_window().size * 4) == NULL);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_BIG).count, 0);
    CHECK_EQUAL(hak_big_stats().count, 0);
    expect_free(alloc(HAK_GIB, 16), HAK_MISUSE_NONE);
}

static void test_impossible(void **state) {
    harness_expect_well(run_impossible, NULL);
}

static void run_reuse(void *argument) {
    start();
    char *first = alloc(100 * HAK_GIB, 16);
    expect_free(first, HAK_MISUSE_NONE);
    for (int i = 0; i < 100; i++) { /* 10 TiB in a window of 1 */
        char *p = alloc(100 * HAK_GIB, 16);
        CHECK(p == first);
        p[i] = 1;
        expect_free(p, HAK_MISUSE_NONE);
    }
    /* many at once, freed in another order, and again at the same places */
    char *held[50];
    uintptr_t sum = 0;
    for (int round = 0; round < 3; round++) {
        uintptr_t round_sum = 0;
        for (int i = 0; i < 50; i++) {
            held[i] = alloc(65 * HAK_MIB, 16);
            round_sum += (uintptr_t)held[i];
        }
        for (int i = 0; i < 50; i++)
            expect_free(held[i * 7 % 50], HAK_MISUSE_NONE);
        CHECK(round == 0 || round_sum == sum);
        sum = round_sum;
    }
}

static void test_reuse(void **state) {
    harness_expect_well(run_reuse, NULL);
}

static void run_misuse(void *argument) {
    start();
    char *p = alloc(65 * HAK_MIB, 16);
    expect_free(p + 1, HAK_MISUSE_INSIDE);
    expect_free(p + 16, HAK_MISUSE_INSIDE);
    expect_free(p + HAK_UNIT_SIZE - 1, HAK_MISUSE_INSIDE);
    CHECK(harness_is_writable(p));
    expect_free(p, HAK_MISUSE_NONE);
    expect_free(p, HAK_MISUSE_DOUBLE_FREE);
    expect_free(p, HAK_MISUSE_DOUBLE_FREE);
    char *again = alloc(65 * HAK_MIB, 16);
    CHECK(again == p);
    expect_free(again, HAK_MISUSE_NONE);
}

static void test_misuse(void **state) {
    harness_expect_well(run_misuse, NULL);
}

/* The header is not in the block, nor the block in its neighbours. */
static void run_content(void *argument) {
    enum { COUNT = 12 };
    char *held[COUNT];
    size_t size = 300 * HAK_KIB;
    start();
    for (int i = 0; i < COUNT; i++) {
        held[i] = alloc(size + (size_t)i, HAK_UNIT_SIZE << i % 4);
        CHECK(harness_is_zero(held[i], hak_big_size(held[i])));
        memset(held[i], i + 1, hak_big_size(held[i]));
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQUAL(hak_big_size(held[i]), hak_align_up(size + (size_t)i, hak_vm_page_size()));
        CHECK_EQUAL(held[i][0], i + 1);
        CHECK(memcmp(held[i], held[i] + 1, hak_big_size(held[i]) - 1) == 0);
        expect_free(held[i], HAK_MISUSE_NONE);
    }
}

static void test_content(void **state) {
    harness_expect_well(run_content, NULL);
}

static void run_fits(void *argument) {
    start();
    char *p = alloc(100 * HAK_MIB, 16);
    CHECK(hak_big_fits(p, 100 * HAK_MIB));
    CHECK(hak_big_fits(p, 100 * HAK_MIB - 1));
    CHECK(hak_big_fits(p, 50 * HAK_MIB));
    CHECK(!hak_big_fits(p, 50 * HAK_MIB - 1));
    CHECK(!hak_big_fits(p, 100 * HAK_MIB + 1));
    CHECK(!hak_big_fits(p, 0));
    expect_free(p, HAK_MISUSE_NONE);
}

static void test_fits(void **state) {
    harness_expect_well(run_fits, NULL);
}

/* A process whose first block is Big: an arena that comes later finds its place beside it. */
static void run_first(void *argument) {
    size_t align = *(size_t *)argument;
    start();
    char *p = alloc(100 * HAK_MIB, align);
    p[100 * HAK_MIB - 1] = 1;
    struct hak_pool_run run =
        hak_pool_take(20000, 1, HAK_LANE_PLAIN); /* more than the first arena */
    CHECK(run.first != HAK_UNIT_NONE);
    CHECK(run.is_zeroed);
    expect_free(p, HAK_MISUSE_NONE);
    CHECK(alloc(100 * HAK_MIB, align) == p);
}

static void test_first(void **state) {
    size_t plain = 16;
    size_t aligned = 64 * HAK_GIB;
    harness_expect_well(run_first, &plain);
    harness_expect_well(run_first, &aligned);
}

/* ---- threads ---- */

enum { THREADS = 4, TURNS = 300 / HARNESS_SLOWNESS };

static void *alloc_and_free(void *argument) {
    for (int i = 0; i < TURNS; i++) {
        size_t size = 65 * HAK_MIB + (size_t)i * 4096;
        void **p = hak_big_alloc(size, 16);
        CHECK(p != NULL);
        CHECK(*p == NULL);
        *p = argument;
        CHECK_EQUAL(hak_big_size(p), size);
        CHECK(*p == argument);
        CHECK_EQUAL(hak_big_free(p), HAK_MISUSE_NONE);
    }
    return NULL;
}

static void run_threads(void *argument) {
    pthread_t threads[THREADS];
    start();
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(alloc_and_free, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    CHECK_EQUAL(hak_big_stats().count, 0);
    CHECK_EQUAL(hak_big_stats().bytes, 0);
}

static void test_threads(void **state) {
    harness_expect_well(run_threads, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),      cmocka_unit_test(test_alignments),
        cmocka_unit_test(test_impossible), cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_misuse),     cmocka_unit_test(test_content),
        cmocka_unit_test(test_fits),       cmocka_unit_test(test_first),
        cmocka_unit_test(test_threads),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
