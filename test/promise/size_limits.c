/* test/promise/size_limits.c — what is too large fails. SPDX-License-Identifier: MIT */
/*
 * Goal: sizes above PTRDIFF_MAX and products that overflow give NULL and ENOMEM from every entry
 * point; a failed realloc leaves the block as it was; the next call works.
 * Method: sizes around every wrap-around a size computation can have (alignment, class, unit and OS
 * page rounding), each through every function; after each, a small block is allocated and used.
 */
#include "entry_points.h"
#include "patterns.h"
#include "tap.h"

static const size_t g_too_large[] = {(size_t)PTRDIFF_MAX,
                                     (size_t)PTRDIFF_MAX + 1,
                                     (size_t)PTRDIFF_MAX + 2,
                                     (size_t)PTRDIFF_MAX - 15,
                                     (size_t)PTRDIFF_MAX + 4096,
                                     (size_t)PTRDIFF_MAX + 65536,
                                     SIZE_MAX / 2 + (2UL << 20),
                                     SIZE_MAX / 4 * 3,
                                     SIZE_MAX - (2UL << 20),
                                     SIZE_MAX - 65536,
                                     SIZE_MAX - 65535,
                                     SIZE_MAX - 65534,
                                     SIZE_MAX - 4096,
                                     SIZE_MAX - 4095,
                                     SIZE_MAX - 4094,
                                     SIZE_MAX - 1024,
                                     SIZE_MAX - 64,
                                     SIZE_MAX - 63,
                                     SIZE_MAX - 33,
                                     SIZE_MAX - 32,
                                     SIZE_MAX - 31,
                                     SIZE_MAX - 17,
                                     SIZE_MAX - 16,
                                     SIZE_MAX - 15,
                                     SIZE_MAX - 14,
                                     SIZE_MAX - 8,
                                     SIZE_MAX - 7,
                                     SIZE_MAX - 1,
                                     SIZE_MAX};

enum { TOO_LARGE_COUNT = sizeof g_too_large / sizeof g_too_large[0] };

static void next_call_works(struct sweep *s) {
    unsigned char *block = api.malloc(100);
    SWEEP(s, block != NULL, "the next malloc(100) failed");
    if (block != NULL) {
        memset(block, 1, 100);
    }
    api.free(block);
}

static void *by_malloc(size_t n) {
    return api.malloc(n);
}
static void *by_calloc_bytes(size_t n) {
    return api.calloc(n, 1);
}
static void *by_calloc_one(size_t n) {
    return api.calloc(1, n);
}
static void *by_realloc_new(size_t n) {
    return api.realloc(NULL, n);
}
static void *by_reallocarray_new(size_t n) {
    return api.reallocarray(NULL, n, 1);
}
static void *by_valloc(size_t n) {
    return api.valloc(n);
}
static void *by_pvalloc(size_t n) {
    return api.pvalloc(n);
}
static void *by_aligned_alloc(size_t n) {
    return api.aligned_alloc(64, n);
}
static void *by_memalign(size_t n) {
    return api.memalign(4096, n);
}
static void *by_memalign_large(size_t n) {
    return api.memalign((size_t)1 << 21, n);
}
static void *by_libc_malloc(size_t n) {
    return api.__libc_malloc(n);
}
static void *by_libc_calloc(size_t n) {
    return api.__libc_calloc(1, n);
}
static void *by_libc_memalign(size_t n) {
    return api.__libc_memalign(32, n);
}

static void check_every_entry_point(void) {
    static const struct {
        const char *what;
        void *(*get)(size_t);
    } way[] = {{"malloc", by_malloc},
               {"calloc(n, 1)", by_calloc_bytes},
               {"calloc(1, n)", by_calloc_one},
               {"realloc(NULL, n)", by_realloc_new},
               {"reallocarray(NULL, n, 1)", by_reallocarray_new},
               {"valloc", by_valloc},
               {"pvalloc", by_pvalloc},
               {"aligned_alloc(64)", by_aligned_alloc},
               {"memalign(4096)", by_memalign},
               {"memalign(2 MiB)", by_memalign_large},
               {"__libc_malloc", by_libc_malloc},
               {"__libc_calloc", by_libc_calloc},
               {"__libc_memalign", by_libc_memalign}};
    for (size_t w = 0; w < sizeof way / sizeof way[0]; w++) {
        char what[80];
        snprintf(what, sizeof what, "%s above PTRDIFF_MAX: NULL and ENOMEM", way[w].what);
        struct sweep s = sweep_begin(what);
        for (int i = 0; i < TOO_LARGE_COUNT; i++) {
            errno = 0;
            void *block = way[w].get(g_too_large[i]);
            SWEEP(&s, block == NULL && errno == ENOMEM, "size %#zx: %p, errno %d", g_too_large[i],
                  block, errno);
            next_call_works(&s);
        }
        sweep_end(&s);
    }
}

/* Not above PTRDIFF_MAX, but above what a 47-bit address space can hold. */
static void check_unservable(void) {
    struct sweep s = sweep_begin("sizes beyond the address space: NULL and ENOMEM");
    for (unsigned lg = 47; lg <= 62; lg++) {
        for (int delta = -1; delta <= 1; delta++) {
            size_t size = ((size_t)1 << lg) + (size_t)delta;
            errno = 0;
            void *block = api.malloc(size);
            SWEEP(&s, block == NULL && errno == ENOMEM, "malloc(%#zx): %p, errno %d", size, block,
                  errno);
            next_call_works(&s);
        }
    }
    sweep_end(&s);
}

static void check_calloc_overflow(void) {
    static const size_t pair[][2] = {{SIZE_MAX, 2},
                                     {2, SIZE_MAX},
                                     {SIZE_MAX, SIZE_MAX},
                                     {(size_t)1 << 32, (size_t)1 << 32},
                                     {((size_t)1 << 32) + 1, (size_t)1 << 32},
                                     {(size_t)1 << 63, 2},
                                     {((size_t)1 << 60) + 1, 16},
                                     {SIZE_MAX / 16 + 2, 16},
                                     {SIZE_MAX / 3 + 1, 3},
                                     {3, SIZE_MAX / 3 + 1},
                                     {(size_t)PTRDIFF_MAX / 2 + 1, 2}};
    struct sweep s = sweep_begin("calloc and reallocarray: a product that overflows is ENOMEM");
    for (size_t i = 0; i < sizeof pair / sizeof pair[0]; i++) {
        errno = 0;
        void *block = api.calloc(pair[i][0], pair[i][1]);
        SWEEP(&s, block == NULL && errno == ENOMEM, "calloc(%#zx, %#zx): %p, errno %d", pair[i][0],
              pair[i][1], block, errno);
        unsigned char *old = api.malloc(64);
        pattern_fill(old, 64, i);
        errno = 0;
        block = api.reallocarray(old, pair[i][0], pair[i][1]);
        SWEEP(&s, block == NULL && errno == ENOMEM, "reallocarray(%#zx, %#zx): %p, errno %d",
              pair[i][0], pair[i][1], block, errno);
        SWEEP(&s, pattern_check(old, 64, i) == 64, "reallocarray changed the block");
        api.free(old);
        next_call_works(&s);
    }
    sweep_end(&s);
}

static void check_failed_realloc(void) {
    static const size_t tier[] = {0,     1,     16,     100,    1024,    1025,          30000,
                                  65536, 65537, 262144, 262145, 1 << 20, (4 << 20) + 5, 70 << 20};
    struct sweep s = sweep_begin("a failed realloc keeps the block, in every tier");
    for (size_t t = 0; t < sizeof tier / sizeof tier[0]; t++) {
        unsigned char *block = api.malloc(tier[t]);
        size_t stride = tier[t] > 100000 ? 4096 : 1;
        SWEEP(&s, block != NULL, "malloc(%zu)", tier[t]);
        if (block == NULL) {
            continue;
        }
        size_t usable = api.malloc_usable_size(block);
        pattern_fill_sparse(block, tier[t], t, stride);
        for (int i = 0; i < TOO_LARGE_COUNT; i++) {
            errno = 0;
            void *moved = api.realloc(block, g_too_large[i]);
            SWEEP(&s, moved == NULL && errno == ENOMEM, "%zu to %#zx: %p, errno %d", tier[t],
                  g_too_large[i], moved, errno);
        }
        SWEEP(&s, pattern_holds_sparse(block, tier[t], t, stride), "%zu: contents changed",
              tier[t]);
        SWEEP(&s, api.malloc_usable_size(block) == usable, "%zu: usable size changed", tier[t]);
        unsigned char *grown = api.realloc(block, tier[t] + 50);
        SWEEP(&s, grown != NULL && pattern_holds_sparse(grown, tier[t], t, stride),
              "%zu: realloc after the failure", tier[t]);
        api.free(grown);
    }
    sweep_end(&s);
}

static void check_aligned_overflow(void) {
    struct sweep s = sweep_begin("alignment plus size that overflows is ENOMEM");
    for (unsigned lg = 0; lg <= 62; lg++) {
        for (int i = 0; i < TOO_LARGE_COUNT; i++) {
            errno = 0;
            void *block = api.memalign((size_t)1 << lg, g_too_large[i]);
            SWEEP(&s, block == NULL && (errno == ENOMEM || (lg > 30 && errno == EINVAL)),
                  "memalign(2^%u, %#zx): %p, errno %d", lg, g_too_large[i], block, errno);
        }
        next_call_works(&s);
    }
    sweep_end(&s);
}

static void check_nallocx(void) {
    if (api.nallocx == NULL) {
        CHECK(tap_any_allocator(), "nallocx is exported");
        return;
    }
    struct sweep s = sweep_begin("nallocx above PTRDIFF_MAX is 0");
    for (int i = 1; i < TOO_LARGE_COUNT; i++) {
        if (g_too_large[i] > (size_t)PTRDIFF_MAX) {
            SWEEP(&s, api.nallocx(g_too_large[i], 0) == 0, "size %#zx: %#zx", g_too_large[i],
                  api.nallocx(g_too_large[i], 0));
        }
    }
    sweep_end(&s);
}

int main(void) {
    api_load();
    tap_require_override();
    /* Under glibc, for trying the test: the names that it lacks stand for their plain forms. */
    if (tap_any_allocator() && api.__libc_malloc == NULL) {
        api.__libc_malloc = api.malloc;
        api.__libc_calloc = api.calloc;
        api.__libc_memalign = api.memalign;
    }
    check_every_entry_point();
    check_unservable();
    check_calloc_overflow();
    check_failed_realloc();
    check_aligned_overflow();
    check_nallocx();
    return tap_end();
}
