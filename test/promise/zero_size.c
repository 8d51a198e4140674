/* test/promise/zero_size.c — sizes of zero, and NULL. SPDX-License-Identifier: MIT */
/*
 * Goal: malloc(0) and its relatives give unique pointers that can be freed; realloc(p, 0) frees and
 * returns NULL, as glibc; free(NULL) and its relatives do nothing.
 * Method: 1,000 live zero-size blocks must differ pairwise and from live small blocks; that
 * realloc(p, 0) frees is shown by resident memory, which would grow by 400 MiB otherwise.
 */
#include "entry_points.h"
#include "memory_use.h"
#include "patterns.h"
#include "tap.h"

enum { COUNT = 1000 };

static int by_address(const void *a, const void *b) {
    uintptr_t x = *(const uintptr_t *)a;
    uintptr_t y = *(const uintptr_t *)b;
    return (x > y) - (x < y);
}

static void *zero_block(int i) {
    void *block = NULL;
    switch (i % 9) {
    case 0:
        return api.malloc(0);
    case 1:
        return api.calloc(0, 8);
    case 2:
        return api.calloc(8, 0);
    case 3:
        return api.realloc(NULL, 0);
    case 4:
        return api.aligned_alloc(64, 0);
    case 5:
        return api.memalign(16, 0);
    case 6:
        return api.posix_memalign(&block, 32, 0) == 0 ? block : NULL;
    case 7:
        return api.calloc(0, 0);
    default:
        return api.malloc(1);
    }
}

static void check_unique(void) {
    static void *block[COUNT];
    static void *sorted[COUNT];
    struct sweep s = sweep_begin("zero-size blocks are non-NULL, aligned and unique");
    for (int i = 0; i < COUNT; i++) {
        block[i] = zero_block(i);
        SWEEP(&s, block[i] != NULL && is_aligned(block[i], 16), "kind %d: %p", i % 9, block[i]);
    }
    memcpy(sorted, block, sizeof sorted);
    qsort(sorted, COUNT, sizeof sorted[0], by_address);
    for (int i = 1; i < COUNT; i++) {
        SWEEP(&s, sorted[i] != sorted[i - 1], "%p was handed out twice", sorted[i]);
    }
    for (int i = 0; i < COUNT; i++) {
        api.free(block[i]);
    }
    sweep_end(&s);
}

static void check_zero_block_can_grow(void) {
    struct sweep s = sweep_begin("a zero-size block can be grown");
    for (size_t size = 1; size <= (size_t)1 << 21; size <<= 1) {
        unsigned char *block = api.realloc(api.malloc(0), size);
        SWEEP(&s, block != NULL, "to %zu", size);
        if (block != NULL) {
            memset(block, 0x11, size);
        }
        api.free(block);
    }
    sweep_end(&s);
}

static void check_realloc_to_zero(void) {
    static const size_t sizes[] = {0, 1, 100, 1024, 1025, 40000, 65536, 65537, 1 << 20, 70 << 20};
    struct sweep s = sweep_begin("realloc(p, 0) returns NULL");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = api.malloc(sizes[i]);
        SWEEP(&s, block != NULL && api.realloc(block, 0) == NULL, "size %zu", sizes[i]);
    }
    sweep_end(&s);

    long before = resident_kib();
    for (int i = 0; i < 400; i++) {
        unsigned char *block = api.malloc(1 << 20);
        if (block != NULL) {
            memset(block, 1, 1 << 20);
        }
        void *none = api.realloc(block, 0);
        api.free(none);
    }
    for (int i = 0; i < 400000; i++) {
        unsigned char *block = api.malloc(1000);
        if (block != NULL) {
            block[0] = 1;
        }
        void *none = api.realloc(block, 0);
        api.free(none);
    }
    long grown = resident_kib() - before;
    CHECK(grown < 64 * 1024, "realloc(p, 0) frees: 800 MiB passed, %ld KiB stayed", grown);
}

static void check_reallocarray_to_zero(void) {
    void *block = api.malloc(100);
    CHECK(api.reallocarray(block, 0, 8) == NULL, "reallocarray(p, 0, n) returns NULL");
    block = api.malloc(100);
    CHECK(api.reallocarray(block, 8, 0) == NULL, "reallocarray(p, n, 0) returns NULL");
}

static void check_null(void) {
    errno = 4711;
    for (int i = 0; i < 1000; i++) {
        api.free(NULL);
        if (api.cfree != NULL) {
            api.cfree(NULL);
        }
        if (api.free_sized != NULL) {
            api.free_sized(NULL, 0);
            api.free_sized(NULL, 100);
        }
        if (api.free_aligned_sized != NULL) {
            api.free_aligned_sized(NULL, 64, 128);
        }
        if (api.__libc_free != NULL) {
            api.__libc_free(NULL);
        }
    }
    CHECK(errno == 4711, "freeing NULL in every form does nothing");
    CHECK(api.malloc_usable_size(NULL) == 0, "malloc_usable_size(NULL) is 0");
    void *block = api.realloc(NULL, 100);
    CHECK(block != NULL && api.malloc_usable_size(block) >= 100, "realloc(NULL, n) allocates");
    api.free(block);
}

int main(void) {
    api_load();
    tap_require_override();
    check_unique();
    check_zero_block_can_grow();
    check_realloc_to_zero();
    check_reallocarray_to_zero();
    check_null();
    return tap_end();
}
