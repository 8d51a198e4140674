/* test/unit/arena/test_meta.c — hakmem's own memory. SPDX-License-Identifier: MIT */

/*
 * Goal: pieces are aligned, large enough and disjoint, freed pieces serve the next request of their
 * size, and the byte count is exact.
 * Method: random requests that fill their pieces with a pattern and check it before freeing, beside
 * a shadow of the rounded sizes.
 */

#include "arena/meta.h"
#include "arena/pagemap.h"
#include "arena/pool.h"
#include "base/bits.h"
#include "unit/harness.h"

#define MAX (32 * HAK_KIB)

/* The size class of a request as meta.h states it. */
static size_t rounded(size_t size) {
    size_t power = 16;
    while (power < size)
        power *= 2;
    return power;
}

static void check_piece(const void *p, size_t size) {
    CHECK(p != NULL);
    CHECK_EQUAL((uintptr_t)p % (size >= 64 ? 64 : 16), 0);
    const char *last = (const char *)p + (size ? size - 1 : 0);
    for (hak_unit unit = hak_unit_of(p); unit <= hak_unit_of(last); unit++)
        CHECK_EQUAL(hak_pagemap_tag(unit), HAK_KIND_META);
}

static void test_sizes(void **state) {
    size_t base = hak_meta_bytes();
    for (size_t size = 0; size <= MAX; size += size < 300 || size > MAX - 300 ? 1 : 251) {
        void *p = hak_meta_alloc(size);
        check_piece(p, size);
        CHECK_EQUAL(hak_meta_bytes() - base, rounded(size));
        memset(p, 0xff, size);
        /* the same place for every request of the same class, which its unit still serves */
        hak_meta_free(p, size);
        CHECK_EQUAL(hak_meta_bytes(), base);
        void *again = hak_meta_alloc(rounded(size));
        CHECK(again == p);
        hak_meta_free(again, rounded(size));
    }
}

static void ask_for_too_much(void *argument) {
    hak_meta_alloc(MAX + 1);
}

/* Nothing of ours is larger: asking is an error of ours. */
static void test_too_large(void **state) {
    harness_expect_abort(ask_for_too_much, NULL, "hakmem: fatal: internal check failed: ", true);
}

/* Pieces come from few units: what a unit's end cannot hold is less than one piece. */
static void test_packing(void **state) {
    enum { COUNT = 64 };
    void *pieces[COUNT];
    size_t used = hak_pool_stats().committed;
    for (int i = 0; i < COUNT; i++) {
        pieces[i] = hak_meta_alloc(4096);
        CHECK(pieces[i] != NULL);
    }
    for (int i = 0; i < COUNT; i++) {
        for (int k = 0; k < i; k++)
            CHECK(pieces[i] != pieces[k]);
    }
    for (int i = 0; i < COUNT; i++)
        hak_meta_free(pieces[i], 4096);
    size_t bytes = hak_meta_bytes();
    for (int i = COUNT - 1; i >= 0; i--) /* last freed, first served; no new unit */
        CHECK(hak_meta_alloc(4096) == pieces[i]);
    CHECK_EQUAL(hak_meta_bytes() - bytes, COUNT * 4096);
    for (int i = 0; i < COUNT; i++)
        hak_meta_free(pieces[i], 4096);
    CHECK(hak_pool_stats().committed - used <= 4 * HAK_MIB);
}

enum { PIECES = 500, STEPS = 40000 };

struct piece {
    unsigned char *p;
    size_t size;
    unsigned char mark;
};

static void check_and_free(struct piece *piece) {
    for (size_t i = 0; i < piece->size; i += 13)
        CHECK_EQUAL(piece->p[i], piece->mark);
    if (piece->size)
        CHECK_EQUAL(piece->p[piece->size - 1], piece->mark);
    hak_meta_free(piece->p, piece->size);
}

static void test_random(void **state) {
    static struct piece pieces[PIECES];
    size_t base = hak_meta_bytes();
    size_t bytes = 0;
    for (int step = 0; step < STEPS; step++) {
        struct piece *piece = &pieces[harness_below(PIECES)];
        if (piece->p) {
            check_and_free(piece);
            bytes -= rounded(piece->size);
            piece->p = NULL;
        } else {
            piece->size = harness_below((size_t)16 << harness_below(step % 100 ? 9 : 12));
            piece->mark = (unsigned char)step;
            piece->p = hak_meta_alloc(piece->size);
            check_piece(piece->p, piece->size);
            memset(piece->p, piece->mark, piece->size);
            bytes += rounded(piece->size);
        }
        CHECK_EQUAL(hak_meta_bytes() - base, bytes);
    }
    for (int i = 0; i < PIECES; i++) {
        if (pieces[i].p)
            check_and_free(&pieces[i]);
    }
    CHECK_EQUAL(hak_meta_bytes(), base);
}

enum { THREADS = 4, TURNS = 5000 };

static void *alloc_and_free(void *argument) {
    uint64_t random = (uintptr_t)argument;
    unsigned char mark = (unsigned char)random;
    struct piece own[8] = {0};
    for (int i = 0; i < TURNS; i++) {
        struct piece *piece = &own[harness_random_of(&random) % 8];
        if (piece->p)
            check_and_free(piece);
        piece->mark = mark;
        piece->size = 1 + harness_random_of(&random) % 2000;
        piece->p = hak_meta_alloc(piece->size);
        CHECK(piece->p != NULL);
        memset(piece->p, mark, piece->size);
    }
    for (int i = 0; i < 8; i++) {
        if (own[i].p)
            check_and_free(&own[i]);
    }
    return NULL;
}

static void test_threads(void **state) {
    pthread_t threads[THREADS];
    size_t base = hak_meta_bytes();
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(alloc_and_free, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    CHECK_EQUAL(hak_meta_bytes(), base);
}

static void after_fork(void *argument) {
    hak_meta_fork_child();
    void *p = hak_meta_alloc(100);
    CHECK(p != NULL);
    hak_meta_free(p, 100);
}

static void test_fork(void **state) {
    hak_meta_fork_prepare();
    harness_expect_well(after_fork, NULL);
    hak_meta_fork_parent();
    void *p = hak_meta_alloc(100);
    CHECK(p != NULL);
    hak_meta_free(p, 100);
}

/* A piece below a cache line may lie at any multiple of 16, whatever its size: nothing is wrong then. */
static void test_audit(void **state) {
    struct hak_audit audit = {.is_quiescent = true};
    void *piece;
    do {
        CHECK(hak_meta_alloc(16) != NULL);
        piece = hak_meta_alloc(32);
        CHECK(piece != NULL);
    } while ((uintptr_t)piece % 32 == 0);
    hak_meta_free(piece, 32);
    hak_meta_audit(&audit);
    CHECK_EQUAL(audit.problem_count, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),   cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_packing), cmocka_unit_test(test_random),
        cmocka_unit_test(test_threads), cmocka_unit_test(test_fork),
        cmocka_unit_test(test_audit),
    };
    harness_start();
    hak_vm_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
