/* test/promise/aligned_family.c — aligned_alloc and its relatives. SPDX-License-Identifier: MIT */
/*
 * Goal: every power of two from 1 to 1 GiB is honoured by aligned_alloc, memalign and
 * posix_memalign; valloc and pvalloc give pages; bad arguments get the promised error.
 * Method: alignments x sizes of all tiers, the whole usable size written at small sizes, both ends
 * at large ones; blocks of one alignment live at the same time must not touch each other.
 */
#include "entry_points.h"
#include "patterns.h"
#include "tap.h"

enum { SPARSE = 65536 };

static const size_t g_sizes[] = {
    0,    1,    15,    16,    17,    100,    1008,    1024,          1025,   4096,
    4097, 5000, 65535, 65536, 65537, 100000, 1 << 20, (1 << 20) + 1, 5 << 20};

static void *by_aligned_alloc(size_t alignment, size_t size) {
    return api.aligned_alloc(alignment, size);
}

static void *by_memalign(size_t alignment, size_t size) {
    return api.memalign(alignment, size);
}

static void *by_posix_memalign(size_t alignment, size_t size) {
    void *block = NULL;
    if (alignment < sizeof(void *)) {
        return api.aligned_alloc(alignment, size); /* would be EINVAL, by POSIX */
    }
    return api.posix_memalign(&block, alignment, size) == 0 ? block : NULL;
}

static void try_block(struct sweep *s, void *(*get)(size_t, size_t), size_t alignment,
                      size_t size) {
    unsigned char *block = get(alignment, size);
    SWEEP(s, block != NULL, "alignment %zu size %zu: NULL", alignment, size);
    if (block == NULL) {
        return;
    }
    SWEEP(s, is_aligned(block, alignment) && is_aligned(block, 16), "alignment %zu size %zu at %p",
          alignment, size, (void *)block);
    size_t usable = api.malloc_usable_size(block);
    SWEEP(s, usable >= size, "alignment %zu size %zu: usable %zu", alignment, size, usable);
    size_t stride = size > SPARSE ? SPARSE : 1;
    pattern_fill_sparse(block, size, alignment, stride);
    if (size > 0) {
        block[size - 1] = 0x5A;
        SWEEP(s, block[size - 1] == 0x5A, "alignment %zu size %zu: last byte", alignment, size);
        block[size - 1] = pattern_byte(alignment, size - 1);
    }
    unsigned char *grown = api.realloc(block, size + 1000);
    SWEEP(s, grown != NULL && pattern_holds_sparse(grown, size, alignment, stride),
          "alignment %zu size %zu: realloc lost the prefix", alignment, size);
    api.free(grown != NULL ? grown : block);
}

static void sweep_alignments(const char *what, void *(*get)(size_t, size_t)) {
    struct sweep s = sweep_begin(what);
    for (unsigned lg = 0; lg <= 30; lg++) {
        for (size_t i = 0; i < sizeof g_sizes / sizeof g_sizes[0]; i++) {
            try_block(&s, get, (size_t)1 << lg, g_sizes[i]);
        }
    }
    sweep_end(&s);
}

/* Many of one kind at once: they must be disjoint, and keep what is in them. */
static void sweep_disjoint(void) {
    enum { COUNT = 40 };
    struct sweep s = sweep_begin("aligned blocks live together without touching");
    for (unsigned lg = 4; lg <= 20; lg += 2) {
        for (size_t size = 24; size <= 70000; size = size * 3 + 1) {
            void *block[COUNT];
            for (int i = 0; i < COUNT; i++) {
                block[i] = api.memalign((size_t)1 << lg, size);
                SWEEP(&s, block[i] != NULL, "alignment 2^%u size %zu", lg, size);
                if (block[i] != NULL) {
                    pattern_fill(block[i], size, (uint64_t)i << 32);
                }
            }
            for (int i = 0; i < COUNT; i++) {
                SWEEP(&s,
                      block[i] == NULL || pattern_check(block[i], size, (uint64_t)i << 32) == size,
                      "alignment 2^%u size %zu block %d was overwritten", lg, size, i);
                api.free(block[i]);
            }
        }
    }
    sweep_end(&s);
}

static void check_pages(void) {
    struct sweep s = sweep_begin("valloc and pvalloc align to the OS page");
    size_t os_page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < sizeof g_sizes / sizeof g_sizes[0]; i++) {
        void *v = api.valloc(g_sizes[i]);
        void *p = api.pvalloc(g_sizes[i]);
        size_t rounded = (g_sizes[i] + os_page - 1) & ~(os_page - 1);
        SWEEP(&s, v != NULL && is_aligned(v, os_page), "valloc(%zu) = %p", g_sizes[i], v);
        SWEEP(&s, p != NULL && is_aligned(p, os_page), "pvalloc(%zu) = %p", g_sizes[i], p);
        SWEEP(&s, p == NULL || api.malloc_usable_size(p) >= rounded,
              "pvalloc(%zu): usable size is not rounded up to the page", g_sizes[i]);
        api.free(v);
        api.free(p);
    }
    sweep_end(&s);
}

static void check_posix_memalign_errors(void) {
    static const size_t bad[] = {0, 1, 2, 4, 7, 9, 12, 24, 48, 100, 4095, (size_t)-1};
    struct sweep s = sweep_begin("posix_memalign: EINVAL, block and errno untouched");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        void *block = &s;
        errno = 4711;
        int result = api.posix_memalign(&block, bad[i], 100);
        SWEEP(&s, result == EINVAL, "alignment %zu: result %d", bad[i], result);
        SWEEP(&s, errno == 4711, "alignment %zu: errno %d", bad[i], errno);
        SWEEP(&s, block == (void *)&s, "alignment %zu: block changed", bad[i]);
    }
    sweep_end(&s);

    s = sweep_begin("posix_memalign: ENOMEM, block and errno untouched");
    for (unsigned lg = 3; lg <= 30; lg++) {
        void *block = &s;
        errno = 4711;
        int result = api.posix_memalign(&block, (size_t)1 << lg, (size_t)PTRDIFF_MAX + lg);
        SWEEP(&s, result == ENOMEM, "alignment 2^%u: result %d", lg, result);
        SWEEP(&s, errno == 4711, "alignment 2^%u: errno %d", lg, errno);
        SWEEP(&s, block == (void *)&s, "alignment 2^%u: block changed", lg);
    }
    sweep_end(&s);

    s = sweep_begin("posix_memalign: success leaves errno alone");
    for (unsigned lg = 3; lg <= 30; lg++) {
        void *block = NULL;
        errno = 4711;
        int result = api.posix_memalign(&block, (size_t)1 << lg, (size_t)1 << (lg % 20));
        SWEEP(&s, result == 0 && errno == 4711, "alignment 2^%u: result %d errno %d", lg, result,
              errno);
        api.free(block);
    }
    sweep_end(&s);
}

/* glibc rounds such an alignment up; here it is an error, as in C11. */
static void check_bad_alignments(void) {
    static const size_t bad[] = {0, 3, 6, 12, 24, 48, 100, 4095, 65537, (size_t)-1};
    if (tap_any_allocator()) {
        tap_skip("bad alignments", "allocators differ");
        return;
    }
    struct sweep s = sweep_begin("aligned_alloc, memalign: EINVAL for what is no power of two");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        errno = 0;
        void *block = api.aligned_alloc(bad[i], 100);
        SWEEP(&s, block == NULL && errno == EINVAL, "aligned_alloc(%zu) = %p, errno %d", bad[i],
              block, errno);
        errno = 0;
        block = api.memalign(bad[i], 100);
        SWEEP(&s, block == NULL && errno == EINVAL, "memalign(%zu) = %p, errno %d", bad[i], block,
              errno);
    }
    sweep_end(&s);
}

/* Alignments no machine can serve: NULL or a block that keeps the promise, never a wrong block. */
static void check_absurd_alignments(void) {
    struct sweep s = sweep_begin("alignments above 1 GiB: honoured, or NULL");
    for (unsigned lg = 31; lg <= 63; lg++) {
        size_t alignment = (size_t)1 << lg;
        for (size_t size = 1; size <= (size_t)1 << 20; size <<= 10) {
            errno = 0;
            void *block = api.memalign(alignment, size);
            SWEEP(&s,
                  block != NULL ? is_aligned(block, alignment) : errno == ENOMEM || errno == EINVAL,
                  "memalign(2^%u, %zu) = %p, errno %d", lg, size, block, errno);
            if (block != NULL) {
                memset(block, 1, size);
            }
            api.free(block);
        }
    }
    sweep_end(&s);
}

int main(void) {
    api_load();
    tap_require_override();
    sweep_alignments("aligned_alloc serves alignments 1 to 1 GiB", by_aligned_alloc);
    sweep_alignments("memalign serves alignments 1 to 1 GiB", by_memalign);
    sweep_alignments("posix_memalign serves alignments 8 to 1 GiB", by_posix_memalign);
    sweep_disjoint();
    check_pages();
    check_posix_memalign_errors();
    check_bad_alignments();
    check_absurd_alignments();
    return tap_end();
}
