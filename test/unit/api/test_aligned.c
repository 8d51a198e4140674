/* test/unit/api/test_aligned.c — the memalign family. SPDX-License-Identifier: MIT */

/*
 * Goal: every alignment that can be is kept, for every size; bad ones are refused the way each
 * function promises; a good size is what the block then has, at least.
 * Method: all powers of two up to 64 GiB times sizes around every edge; all small non-powers.
 */

#include <hakmem/hakmem.h>

#include "base/bits.h"
#include "unit/harness.h"

static const size_t g_sizes[] = {0,     1,      16,      17,       24,      100,   1000,
                                 1024,  1025,   4000,    4096,     20000,   65535, 65536,
                                 65537, 100000, HAK_MIB, 67108864, 67108865};
enum { SIZE_COUNT = sizeof g_sizes / sizeof g_sizes[0] };

static void check_and_free(char *p, size_t align, size_t size, unsigned log2) {
    CHECK(p != NULL);
    CHECK_EQUAL((uintptr_t)p % align, 0);
    CHECK_EQUAL((uintptr_t)p % 16, 0);
    size_t usable = hakmem_malloc_usable_size(p);
    CHECK(usable >= size);
    size_t good = hakmem_nallocx(size, (int)log2);
    bool is_big = size > 64 * HAK_MIB || align > HAK_GIB; /* may lie where a larger one was */
    CHECK(usable == good || (is_big && usable > good && usable - good <= size / 4));
    p[0] = 1;
    p[usable - 1] = 1;
    hakmem_free(p);
}

static void test_alignments(void **state) {
    for (unsigned log2 = 0; log2 <= 36; log2++) {
        size_t align = (size_t)1 << log2;
        for (int i = 0; i < SIZE_COUNT; i++) {
            size_t size = g_sizes[i];
            check_and_free(hakmem_aligned_alloc(align, size), align, size, log2);
            check_and_free(hakmem_memalign(align, size), align, size, log2);
            if (align < sizeof(void *))
                continue;
            void *p = NULL;
            errno = 4711;
            CHECK_EQUAL(hakmem_posix_memalign(&p, align, size), 0);
            CHECK_EQUAL(errno, 4711);
            check_and_free(p, align, size, log2);
        }
    }
}

/* Many live blocks at once, so that not only the first of each slab is aligned. */
static void test_neighbours(void **state) {
    enum { COUNT = 300 };
    char *held[COUNT];
    for (size_t align = 32; align <= 65536; align *= 2) {
        for (size_t size = align / 2 + 1; size <= align * 3; size += align / 2 + 13) {
            for (int i = 0; i < COUNT; i++) {
                held[i] = hakmem_aligned_alloc(align, size);
                CHECK(held[i] != NULL);
                CHECK_EQUAL((uintptr_t)held[i] % align, 0);
                memset(held[i], i, 8);
                held[i][size - 1] = (char)i;
            }
            for (int i = 0; i < COUNT; i++) {
                CHECK_EQUAL(held[i][0], (char)i);
                CHECK_EQUAL(held[i][size - 1], (char)i);
                hakmem_free(held[i]);
            }
            if (align >= 8192)
                break; /* enough of 300 large blocks */
        }
    }
}

static void test_bad_alignments(void **state) {
    for (size_t align = 0; align < 5000; align++) {
        if (hak_is_power_of_two(align))
            continue;
        errno = 0;
        CHECK(hakmem_aligned_alloc(align, 100) == NULL);
        CHECK_EQUAL(errno, EINVAL);
        errno = 0;
        CHECK(hakmem_memalign(align, 100) == NULL);
        CHECK_EQUAL(errno, EINVAL);
        void *p = &p;
        errno = 4711;
        CHECK_EQUAL(hakmem_posix_memalign(&p, align, 100), EINVAL);
        CHECK_EQUAL(errno, 4711);
        CHECK(p == &p);
    }
    void *p = &p;
    for (size_t align = 1; align < sizeof(void *); align *= 2)
        CHECK_EQUAL(hakmem_posix_memalign(&p, align, 100), EINVAL);
    CHECK_EQUAL(hakmem_posix_memalign(&p, SIZE_MAX, 100), EINVAL);
    CHECK_EQUAL(hakmem_posix_memalign(&p, (size_t)PTRDIFF_MAX + 2, 100), EINVAL);
    CHECK(p == &p);
}

static void test_impossible(void **state) {
    static const size_t sizes[] = {PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX, SIZE_MAX - 4095};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (unsigned log2 = 3; log2 < 64; log2 += 4) {
            size_t align = (size_t)1 << log2;
            errno = 0;
            CHECK(hakmem_aligned_alloc(align, sizes[i]) == NULL);
            CHECK_EQUAL(errno, ENOMEM);
            errno = 0;
            CHECK(hakmem_memalign(align, sizes[i]) == NULL);
            CHECK_EQUAL(errno, ENOMEM);
            void *p = &p;
            errno = 4711;
            CHECK_EQUAL(hakmem_posix_memalign(&p, align, sizes[i]), ENOMEM);
            CHECK_EQUAL(errno, 4711);
            CHECK(p == &p);
        }
        errno = 0;
        CHECK(hakmem_valloc(sizes[i]) == NULL);
        CHECK_EQUAL(errno, ENOMEM);
        errno = 0;
        CHECK(hakmem_pvalloc(sizes[i]) == NULL);
        CHECK_EQUAL(errno, ENOMEM);
    }
    for (unsigned log2 = 42; log2 < 64; log2++) { /* no window is as large */
        void *p = &p;
        CHECK_EQUAL(hakmem_posix_memalign(&p, (size_t)1 << log2, 1), ENOMEM);
        CHECK(p == &p);
        CHECK_EQUAL(hakmem_nallocx(1, (int)log2), 0);
    }
    CHECK_EQUAL(hakmem_nallocx(SIZE_MAX, 0), 0);
    CHECK_EQUAL(hakmem_nallocx((size_t)PTRDIFF_MAX + 1, 0), 0);
}

/* A constructor of the program's may ask before anything of ours has run. */
static size_t g_good_before_start;

__attribute__((constructor(101))) static void ask_before_start(void) {
    g_good_before_start = hakmem_nallocx(100 * HAK_MIB + 1, 0);
}

static void test_good_before_start(void **state) {
    CHECK(g_good_before_start > 100 * HAK_MIB);
    CHECK_EQUAL(g_good_before_start, hakmem_nallocx(100 * HAK_MIB + 1, 0));
}

static void test_pages(void **state) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t size = 0; size < 4 * page; size += 511) {
        char *p = hakmem_valloc(size);
        CHECK(p != NULL);
        CHECK_EQUAL((uintptr_t)p % page, 0);
        CHECK(hakmem_malloc_usable_size(p) >= size);
        hakmem_free(p);
        p = hakmem_pvalloc(size);
        CHECK(p != NULL);
        CHECK_EQUAL((uintptr_t)p % page, 0);
        CHECK(hakmem_malloc_usable_size(p) >= hak_align_up(size, page));
        memset(p, 1, hak_align_up(size, page));
        hakmem_free(p);
    }
}

/* An aligned block may be given to realloc: its content stays, its alignment need not. */
static void test_realloc_of_aligned(void **state) {
    for (size_t align = 16; align <= HAK_MIB; align *= 4) {
        char *p = hakmem_aligned_alloc(align, 5000);
        memset(p, 7, 5000);
        p = hakmem_realloc(p, 300000);
        CHECK(p != NULL);
        for (int i = 0; i < 5000; i++)
            CHECK_EQUAL(p[i], 7);
        hakmem_free(p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alignments),
        cmocka_unit_test(test_neighbours),
        cmocka_unit_test(test_bad_alignments),
        cmocka_unit_test(test_impossible),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_realloc_of_aligned),
        cmocka_unit_test(test_good_before_start),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
