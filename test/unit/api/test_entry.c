/* test/unit/api/test_entry.c — malloc, calloc, realloc, free and their sized forms. SPDX-License-Identifier: MIT */

/*
 * Goal: what hakmem.h and the C standard promise of these functions, for every kind of size.
 * Method: exhaustive over small sizes, edges for the others; contents checked byte by byte where
 * they are promised; a random run over all entry points with several threads that exchange blocks.
 */

#include <hakmem/hakmem.h>

#include <sys/resource.h>

#include "api/block.h"
#include "arena/pagemap.h"
#include "base/bits.h"
#include "large/span.h"
#include "stats/ledger.h"
#include "unit/harness.h"

/* Sizes around every change of tier, and some between. */
static const size_t g_sizes[] = {
    0,       1,        15,       16,       17,       100,       255,       256,
    257,     1023,     1024,     1025,     4096,     32767,     65535,     65536,
    65537,   65544,    100000,   262143,   262144,   262145,    300000,    1048576,
    5000000, 67108863, 67108864, 67108865, 67108872, 100000000, 3000000000};
enum { SIZE_COUNT = sizeof g_sizes / sizeof g_sizes[0] };

static void check_block(const char *p, size_t size) {
    CHECK(p != NULL);
    CHECK_EQUAL((uintptr_t)p % 16, 0);
    CHECK(hakmem_malloc_usable_size((void *)(uintptr_t)p) >= size);
}

/* All usable bytes are the caller's: the outer ones are written. */
static void write_ends(char *p) {
    size_t usable = hakmem_malloc_usable_size(p);
    p[0] = 1;
    p[usable - 1] = 1;
}

static void test_every_small_size(void **state) {
    for (size_t size = 0; size <= HAK_MID_MAX + 100; size += size < 2100 ? 1 : 13) {
        char *p = hakmem_malloc(size);
        check_block(p, size);
        write_ends(p);
        CHECK_EQUAL(hakmem_malloc_usable_size(p), hakmem_nallocx(size, 0));
        hakmem_free(p);
    }
}

static void test_sizes(void **state) {
    char *held[SIZE_COUNT];
    for (int i = 0; i < SIZE_COUNT; i++) {
        held[i] = hakmem_malloc(g_sizes[i]);
        check_block(held[i], g_sizes[i]);
        CHECK_EQUAL(hakmem_malloc_usable_size(held[i]), hakmem_nallocx(g_sizes[i], 0));
        write_ends(held[i]);
    }
    for (int i = 0; i < SIZE_COUNT; i++)
        hakmem_free(held[i]);
}

static void test_zero_size(void **state) {
    char *blocks[8];
    for (int i = 0; i < 2; i++) {
        blocks[i] = hakmem_malloc(0);
        blocks[2 + i] = hakmem_calloc(0, 5);
        blocks[4 + i] = hakmem_calloc(5, 0);
        blocks[6 + i] = hakmem_realloc(NULL, 0);
    }
    for (int i = 0; i < 8; i++) {
        check_block(blocks[i], 1);
        for (int k = 0; k < i; k++)
            CHECK(blocks[i] != blocks[k]);
    }
    for (int i = 0; i < 8; i++)
        hakmem_free(blocks[i]);
}

/* ---- what cannot be ---- */

static void expect_no_memory(const void *p) {
    CHECK(p == NULL);
    CHECK_EQUAL(errno, ENOMEM);
    errno = 0;
}

static void test_too_large(void **state) {
    static const size_t sizes[] = {PTRDIFF_MAX,
                                   (size_t)PTRDIFF_MAX + 1,
                                   (size_t)PTRDIFF_MAX - 7,
                                   SIZE_MAX,
                                   SIZE_MAX - 1,
                                   SIZE_MAX - 7,
                                   SIZE_MAX - 8,
                                   SIZE_MAX - 15,
                                   SIZE_MAX - 65535,
                                   (size_t)1 << 62,
                                   (size_t)1 << 47};
    char *p = hakmem_malloc(100);
    memset(p, 7, 100);
    errno = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        expect_no_memory(hakmem_malloc(sizes[i]));
        expect_no_memory(hakmem_calloc(1, sizes[i]));
        expect_no_memory(hakmem_calloc(sizes[i], 1));
        expect_no_memory(hakmem_realloc(NULL, sizes[i]));
        expect_no_memory(hakmem_realloc(p, sizes[i]));
        expect_no_memory(hakmem_reallocarray(p, sizes[i], 1));
    }
    for (int i = 0; i < 100; i++)
        CHECK_EQUAL(p[i], 7); /* realloc failed: it is as it was */
    hakmem_free(p);
}

static void test_overflow(void **state) {
    static const size_t factors[][2] = {{(size_t)1 << 32, (size_t)1 << 32},
                                        {SIZE_MAX, 2},
                                        {2, SIZE_MAX},
                                        {SIZE_MAX, SIZE_MAX},
                                        {SIZE_MAX / 3 + 1, 3},
                                        {((size_t)1 << 63) + 1, 2},
                                        {((size_t)1 << 60) + 1, 16}}; /* 16 after wrapping */
    char *p = hakmem_malloc(100);
    errno = 0;
    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        expect_no_memory(hakmem_calloc(factors[i][0], factors[i][1]));
        expect_no_memory(hakmem_reallocarray(p, factors[i][0], factors[i][1]));
        expect_no_memory(hakmem_reallocarray(NULL, factors[i][0], factors[i][1]));
    }
    hakmem_free(p);
}

/* ---- calloc ---- */

/* Blocks that were full of ones come back as zero, whatever way they take. */
static void test_calloc_zero(void **state) {
    for (size_t size = 1; size <= 5000000; size += size < 600 ? 1 : size / 9) {
        char *p = hakmem_malloc(size);
        CHECK(p != NULL);
        memset(p, 0xff, hakmem_malloc_usable_size(p));
        hakmem_free(p);
        char *q = hakmem_calloc(size % 3 ? 1 : 3, size % 3 ? size : size / 3);
        check_block(q, size);
        CHECK(harness_is_zero(q, size));
        memset(q, 0xff, hakmem_malloc_usable_size(q));
        hakmem_free(q);
        if (size % 64 == 0) {
            hakmem_malloc_trim(0);
            q = hakmem_calloc(size, 1);
            CHECK(harness_is_zero(q, size));
            hakmem_free(q);
        }
    }
    for (int round = 0; round < 2; round++) { /* a new mapping, then the same */
        char *big = hakmem_calloc(70, HAK_MIB);
        check_block(big, 70 * HAK_MIB);
        CHECK(harness_is_zero(big, 70 * HAK_MIB));
        memset(big, 0xff, hakmem_malloc_usable_size(big));
        hakmem_free(big);
    }
}

/* Clearing is done in pieces of 16 bytes: those of the blocks around stay as they are. */
static void test_calloc_clears_no_more(void **state) {
    enum { BLOCKS = 9 };
    for (size_t size = 1; size <= 600; size++) {
        char *blocks[BLOCKS];
        for (int i = 0; i < BLOCKS; i++) {
            blocks[i] = hakmem_malloc(size);
            memset(blocks[i], 0xff, hakmem_malloc_usable_size(blocks[i]));
        }
        for (int i = 0; i < BLOCKS; i++) {
            hakmem_free(blocks[i]);
            char *p = hakmem_calloc(1, size);
            CHECK(harness_is_zero(p, size));
            memset(p, 0xff, hakmem_malloc_usable_size(p));
            blocks[i] = p;
            for (int k = 0; k < BLOCKS; k++) {
                CHECK_EQUAL(blocks[k][0], (char)0xff);
                CHECK_EQUAL(blocks[k][hakmem_malloc_usable_size(blocks[k]) - 1], (char)0xff);
            }
        }
        for (int i = 0; i < BLOCKS; i++)
            hakmem_free(blocks[i]);
    }
}

/* ---- realloc ---- */

static void fill(unsigned char *p, size_t size) {
    for (size_t i = 0; i < size; i++)
        p[i] = (unsigned char)(i * 7 + i / 251);
}

static void check_filled(const unsigned char *p, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (p[i] != (unsigned char)(i * 7 + i / 251))
            CHECK_EQUAL(p[i], (unsigned char)(i * 7 + i / 251));
    }
}

static void test_realloc_keeps_content(void **state) {
    for (int from = 1; from < SIZE_COUNT - 1; from++) {
        for (int to = 1; to < SIZE_COUNT - 1; to++) {
            size_t kept = hak_min(hak_min(g_sizes[from], g_sizes[to]), 200000);
            unsigned char *p = hakmem_malloc(g_sizes[from]);
            fill(p, kept);
            p = hakmem_realloc(p, g_sizes[to]);
            check_block((char *)p, g_sizes[to]);
            check_filled(p, kept);
            write_ends((char *)p);
            hakmem_free(p);
        }
    }
}

static void test_realloc_all_bytes(void **state) {
    static const size_t sizes[] = {1, 48, 5000, 70000, 3000000, 70000000, 100000000, 65000, 20};
    unsigned char *p = NULL;
    size_t last = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        p = hakmem_realloc(p, sizes[i]);
        check_block((char *)p, sizes[i]);
        check_filled(p, hak_min(last, sizes[i]));
        fill(p, sizes[i]);
        last = sizes[i];
    }
    CHECK(hakmem_realloc(p, 0) == NULL);
}

/* As realloc of the product, by the short way and by the long one. */
static void test_reallocarray(void **state) {
    char *p = hakmem_reallocarray(NULL, 10, 10);
    fill((unsigned char *)p, 100);
    CHECK(hakmem_reallocarray(p, 9, 10) == p);
    CHECK(hakmem_reallocarray(p, 1, hakmem_malloc_usable_size(p)) == p);
    check_filled((unsigned char *)p, 90);
    p = hakmem_reallocarray(p, 1000, 70);
    CHECK(hakmem_malloc_usable_size(p) >= 70000);
    check_filled((unsigned char *)p, 90);
    CHECK(hakmem_reallocarray(p, 0, 70) == NULL); /* freed */
}

/* Small blocks stay while at least half of them is used, and only then. */
static void test_realloc_small_in_place(void **state) {
    for (size_t size = 16; size <= HAK_MID_MAX - 16; size += size < 1100 ? 16 : 1111) {
        char *p = hakmem_malloc(size);
        size_t usable = hakmem_malloc_usable_size(p);
        CHECK(hakmem_realloc(p, usable) == p);
        CHECK(hakmem_realloc(p, usable / 2) == p);
        CHECK(hakmem_realloc(p, usable) == p);
        char *q = hakmem_realloc(p, usable + 1);
        CHECK(q != p);
        CHECK(hakmem_malloc_usable_size(q) > usable);
        size_t q_usable = hakmem_malloc_usable_size(q);
        size_t less = q_usable / 2 - 1;
        char *r = hakmem_realloc(q, less);
        size_t r_usable = hakmem_malloc_usable_size(r);
        CHECK_EQUAL(r_usable, r == q ? q_usable : hakmem_nallocx(less, 0));
        CHECK_EQUAL(r == q, hakmem_nallocx(less, 0) == q_usable);
        hakmem_free(r);
    }
}

static bool is_big(const void *p) {
    return hak_pagemap_tag(hak_unit_of(p)) == HAK_KIND_BIG;
}

static void resize_large(void *argument) {
    char *p = hakmem_malloc(10 * HAK_MIB);
    CHECK(hakmem_realloc(p, HAK_MIB) == p); /* units at the end go back */
    CHECK(hakmem_malloc_usable_size(p) < HAK_MIB + HAK_UNIT_SIZE);
    CHECK(hakmem_realloc(p, 3 * HAK_MIB) == p); /* and are taken again */
    CHECK(hakmem_malloc_usable_size(p) >= 3 * HAK_MIB);
    write_ends(p);
    CHECK(hakmem_realloc(p, HAK_MID_MAX + 1) == p);
    char *q = hakmem_realloc(p, HAK_MID_MAX - 100); /* another tier */
    CHECK(q != p);
    CHECK(hakmem_malloc_usable_size(q) <= HAK_MID_MAX);
    hakmem_free(q);

    /* in the way of the next: it moves, with room to grow into */
    p = hakmem_malloc(3 * HAK_MIB + HAK_MIB / 2);
    char *next = hakmem_malloc(3 * HAK_MIB + HAK_MIB / 2);
    q = hakmem_realloc(p, 3 * HAK_MIB + HAK_MIB / 4 * 3);
    CHECK(q != p);
    CHECK(hakmem_malloc_usable_size(q) >= 3 * HAK_MIB + HAK_MIB / 4 * 3);
    CHECK(hakmem_realloc(q, 4 * HAK_MIB - HAK_UNIT_SIZE) == q);
    hakmem_free(q);
    hakmem_free(next);

    /* Big: while half is used, it stays; with less, its end goes back, down to 4 MiB */
    hakmem_malloc_trim(0); /* none is kept that is larger */
    p = hakmem_malloc(100 * HAK_MIB);
    CHECK(hakmem_realloc(p, 66 * HAK_MIB) == p);
    CHECK(hakmem_realloc(p, 51 * HAK_MIB) == p);
    CHECK(hakmem_realloc(p, 100 * HAK_MIB) == p);
    CHECK(hakmem_malloc_usable_size(p) < 101 * HAK_MIB);
    CHECK(hakmem_realloc(p, 30 * HAK_MIB) == p);
    CHECK(hakmem_malloc_usable_size(p) < 31 * HAK_MIB);
    CHECK(hakmem_realloc(p, 7 * HAK_MIB) == p);
    CHECK(hakmem_malloc_usable_size(p) < 8 * HAK_MIB);
    write_ends(p);
    CHECK(hakmem_realloc(p, 4 * HAK_MIB) == p);
    CHECK(!is_big(q = hakmem_realloc(p, 3 * HAK_MIB)));
    CHECK(hakmem_malloc_usable_size(q) < 4 * HAK_MIB);
    hakmem_free(q);
}

static void test_realloc_large(void **state) {
    harness_expect_well(resize_large, NULL);
}

/* From 4 MiB on what grows is Big, whatever it was; what is allocated so large is not. */
static void become_big(void *argument) {
    static const size_t from[] = {1,           100,
                                  5000,        60000,
                                  70000,       HAK_MIB,
                                  3 * HAK_MIB, 4 * HAK_MIB - 1,
                                  4 * HAK_MIB, 4 * HAK_MIB - 8};
    for (size_t i = 0; i < sizeof from / sizeof from[0]; i++) {
        size_t kept = hak_min(from[i], 200000);
        unsigned char *p = hakmem_malloc(from[i]);
        CHECK(!is_big(p));
        fill(p, kept);
        if (from[i] < 2 * HAK_MIB) {
            p = hakmem_realloc(p, 4 * HAK_MIB - 100);
            check_filled(p, kept);
            CHECK(!is_big(p));
        }
        p = hakmem_realloc(p, 4 * HAK_MIB + HAK_UNIT_SIZE);
        check_block((char *)p, 4 * HAK_MIB + HAK_UNIT_SIZE);
        check_filled(p, kept);
        CHECK(is_big(p));
        p = hakmem_realloc(p, 70 * HAK_MIB);
        check_block((char *)p, 70 * HAK_MIB);
        check_filled(p, kept);
        CHECK(is_big(p));
        write_ends((char *)p);
        hakmem_free(p);
    }
    char *p = hakmem_realloc(NULL, 30 * HAK_MIB);
    CHECK(!is_big(p));
    char *q = hakmem_realloc(p, 31 * HAK_MIB); /* into what is free behind it: nothing is copied */
    CHECK(q == p);
    char *in_the_way = hakmem_malloc(HAK_MIB);
    q = hakmem_realloc(p, 60 * HAK_MIB);
    CHECK(is_big(q));
    hakmem_free(in_the_way);
    hakmem_free(q);
}

static void test_realloc_becomes_big(void **state) {
    harness_expect_well(become_big, NULL);
}

/* By an eighth each time from 16 bytes on, beside others: above 4 MiB page tables move, no bytes. */
static void grow_beside_others(void *argument) {
    enum { BLOCKS = 3 };
    unsigned char *held[BLOCKS] = {NULL};
    size_t kept = 0;
    for (size_t size = 16; size < 300 * HAK_MIB / HARNESS_SLOWNESS; size += hak_max(16, size / 8)) {
        for (int i = 0; i < BLOCKS; i++) {
            held[i] = hakmem_realloc(held[i], size);
            check_block((char *)held[i], size);
            check_filled(held[i], kept);
            if (size <= 200000)
                fill(held[i], size);
            else
                held[i][size - 1] = 1;
        }
        kept = size <= 200000 ? size : kept;
    }
    uint64_t moved = hak_ledger_read(HAK_CALL_MREMAP, HAK_CAUSE_BIG_GROW).count;
    CHECK(moved > 10);
    CHECK(moved < BLOCKS * 50);
    for (int i = 0; i < BLOCKS; i++)
        hakmem_free(held[i]);
}

static void test_realloc_growth(void **state) {
    harness_expect_well(grow_beside_others, NULL);
}

/* The address book is full of others: what would be Big is Large, up to what Large can be. */
static void grow_without_places(void *argument) {
    void *out;
    hakmem_malloc_trim(0); /* nothing is kept that would serve */
    unsigned char *p = hakmem_malloc(100000);
    fill(p, 100000);
    while (hak_vm_reserve(HAK_UNIT_SIZE, HAK_UNIT_SIZE, HAK_CAUSE_BIG, &out) == 0)
        ;
    p = hakmem_realloc(p, 5 * HAK_MIB);
    check_block((char *)p, 5 * HAK_MIB);
    CHECK(!is_big(p));
    p = hakmem_realloc(p, 63 * HAK_MIB);
    check_block((char *)p, 63 * HAK_MIB);
    check_filled(p, 100000);
    p[63 * HAK_MIB - 1] = 1;
    expect_no_memory(hakmem_realloc(p, 70 * HAK_MIB));
    check_filled(p, 100000);
    char *small = hakmem_malloc(100); /* another arena can still be had: the last lines are kept */
    for (int i = 0; i < 40; i++)
        CHECK(hakmem_malloc(50 * HAK_MIB) != NULL);
    hakmem_free(small);
    hakmem_free(p);
}

static void test_realloc_without_places(void **state) {
    harness_expect_well(grow_without_places, NULL);
}

/* What is kept of freed Big blocks is given up before an allocation or a growth fails. */
static void run_short_of_addresses(void *argument) {
    char *held = hakmem_malloc(100 * HAK_MIB);
    char *in_the_way = hakmem_malloc(100 * HAK_MIB);
    char *kept = hakmem_malloc(200 * HAK_MIB);
    hakmem_free(kept);
    CHECK(harness_is_readable(kept));
    struct rlimit limit = {HAK_MIB,
                           RLIM_INFINITY}; /* less than there is: nothing more can be had */
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    errno = 0;
    expect_no_memory(hakmem_malloc(150 * HAK_MIB));
    CHECK(!harness_is_readable(kept));
    limit.rlim_cur = RLIM_INFINITY;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);

    kept = hakmem_malloc(200 * HAK_MIB);
    hakmem_free(kept);
    limit.rlim_cur = HAK_MIB;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    expect_no_memory(hakmem_realloc(held, 150 * HAK_MIB));
    CHECK(!harness_is_readable(kept));
    CHECK(hakmem_realloc(held, 80 * HAK_MIB) == held);
    CHECK(hakmem_realloc(held, 30 * HAK_MIB) == held);
    limit.rlim_cur = RLIM_INFINITY;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    hakmem_free(held);
    hakmem_free(in_the_way);
}

static void test_short_of_addresses(void **state) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    if (limit.rlim_cur != RLIM_INFINITY)
        skip();
    harness_expect_well(run_short_of_addresses, NULL);
}

/* A block that grows by little steps, its neighbourhood taken, moves a few times, not always. */
static void test_realloc_moves_seldom(void **state) {
    enum { OTHERS = 1000, MOVES_MAX = 40 };
    static char *others[OTHERS];
    char *p = NULL;
    int moves = 0;
    for (int i = 0; i < OTHERS; i++) {
        size_t size = 70000 + (size_t)i * 65536;
        others[i] = hakmem_malloc(2000000);
        char *q = hakmem_realloc(p, size);
        check_block(q, size);
        moves += q != p;
        CHECK(moves <
              MOVES_MAX); /* by half each time, from 70 KB to 4 MB: 10; then at each doubling */
        p = q;
    }
    for (int i = 0; i < OTHERS; i++)
        hakmem_free(others[i]);
    hakmem_free(p);
}

/* ---- free ---- */

static void test_free_keeps_errno(void **state) {
    for (int round = 0; round < 3; round++) {
        char *held[SIZE_COUNT];
        for (int i = 0; i < SIZE_COUNT; i++)
            held[i] = hakmem_malloc(g_sizes[i]);
        for (int i = 0; i < SIZE_COUNT; i++) {
            errno = 4711;
            if (round == 0)
                hakmem_free(held[i]);
            else if (round == 1)
                hakmem_free_sized(held[i], g_sizes[i]);
            else
                hakmem_sdallocx(held[i], g_sizes[i], 0);
            CHECK_EQUAL(errno, 4711);
        }
    }
    char *many[3000]; /* through flushes */
    for (int i = 0; i < 3000; i++)
        many[i] = hakmem_malloc(200);
    for (int i = 0; i < 3000; i++) {
        hakmem_free(many[i]);
        CHECK_EQUAL(errno, 4711);
    }
}

static void test_null(void **state) {
    errno = 4711;
    hakmem_free(NULL);
    hakmem_cfree(NULL);
    hakmem_free_sized(NULL, 10);
    hakmem_free_aligned_sized(NULL, 64, 10);
    hakmem_sdallocx(NULL, 10, 0);
    CHECK_EQUAL(hakmem_malloc_usable_size(NULL), 0);
    CHECK_EQUAL(errno, 4711);
    CHECK(hakmem_realloc(NULL, 0) != NULL);
}

static void test_sized_free(void **state) {
    for (int i = 0; i < SIZE_COUNT; i++) {
        hakmem_free_sized(hakmem_malloc(g_sizes[i]), g_sizes[i]);
        hakmem_sdallocx(hakmem_malloc(g_sizes[i]), g_sizes[i], 0);
        hakmem_cfree(hakmem_calloc(1, g_sizes[i] < 200000 ? g_sizes[i] : 1));
        hakmem_free_aligned_sized(hakmem_aligned_alloc(256, g_sizes[i]), 256, g_sizes[i]);
        hakmem_sdallocx(hakmem_aligned_alloc(4096, g_sizes[i]), g_sizes[i], 12);
    }
}

/* ---- random, with threads that exchange blocks ---- */

enum { THREADS = 4, SLOTS = 512, TURNS = 60000 / HARNESS_SLOWNESS };

struct note { /* at a block's start, and its mark in the last byte asked for */
    size_t size;
    uint64_t mark;
};

static _Atomic(struct note *) g_slots[SLOTS];

static void note_write(struct note *note, size_t size, uint64_t mark) {
    note->size = size;
    note->mark = mark;
    ((unsigned char *)note)[size - 1] = (unsigned char)(size > sizeof *note ? mark : mark >> 56);
}

static void note_check(const struct note *note) {
    size_t size = note->size;
    CHECK(hakmem_malloc_usable_size((void *)(uintptr_t)note) >= size);
    CHECK_EQUAL(((const unsigned char *)note)[size - 1],
                (unsigned char)(size > sizeof *note ? note->mark : note->mark >> 56));
}

static size_t random_size(uint64_t *random) {
    bool is_small = harness_random_of(random) % 64 != 0;
    unsigned log2 = 5 + (unsigned)(harness_random_of(random) % (is_small ? 7 : 15));
    return sizeof(struct note) + harness_random_of(random) % ((size_t)1 << log2);
}

static struct note *random_alloc(uint64_t *random, size_t size) {
    void *p = NULL;
    switch (harness_random_of(random) % 5) {
    case 0:
        p = hakmem_calloc(1, size);
        CHECK(harness_is_zero(p, size));
        break;
    case 1:
        p = hakmem_aligned_alloc((size_t)1 << (4 + harness_random_of(random) % 10), size);
        break;
    case 2:
        p = hakmem_realloc(NULL, size);
        break;
    default:
        p = hakmem_malloc(size);
    }
    CHECK(p != NULL);
    return p;
}

static void *work(void *argument) {
    uint64_t random = (uintptr_t)argument;
    for (int turn = 0; turn < TURNS; turn++) {
        struct note *note = atomic_exchange(&g_slots[harness_random_of(&random) % SLOTS], NULL);
        size_t size = random_size(&random);
        if (note) {
            note_check(note);
            if (harness_random_of(&random) % 4) {
                memset(note, 0xa5, sizeof *note);
                hakmem_free(note);
                continue;
            }
            note = hakmem_realloc(note, size);
            CHECK(note != NULL);
        } else {
            note = random_alloc(&random, size);
        }
        note_write(note, size, harness_random_of(&random));
        note = atomic_exchange(&g_slots[harness_random_of(&random) % SLOTS], note);
        if (note) {
            note_check(note);
            hakmem_free_sized(note, note->size);
        }
        if (turn % 8192 == 0)
            hakmem_malloc_trim(0);
    }
    return NULL;
}

static void test_random(void **state) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(work, (void *)(uintptr_t)(harness_below(1000000) + 1));
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    for (int i = 0; i < SLOTS; i++) {
        struct note *note = atomic_exchange(&g_slots[i], NULL);
        if (note)
            note_check(note);
        hakmem_free(note);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_small_size),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_zero_size),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_calloc_zero),
        cmocka_unit_test(test_calloc_clears_no_more),
        cmocka_unit_test(test_realloc_keeps_content),
        cmocka_unit_test(test_realloc_all_bytes),
        cmocka_unit_test(test_reallocarray),
        cmocka_unit_test(test_realloc_small_in_place),
        cmocka_unit_test(test_realloc_large),
        cmocka_unit_test(test_realloc_moves_seldom),
        cmocka_unit_test(test_realloc_becomes_big),
        cmocka_unit_test(test_realloc_growth),
        cmocka_unit_test(test_realloc_without_places),
        cmocka_unit_test(test_short_of_addresses),
        cmocka_unit_test(test_free_keeps_errno),
        cmocka_unit_test(test_null),
        cmocka_unit_test(test_sized_free),
        cmocka_unit_test(test_random),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
