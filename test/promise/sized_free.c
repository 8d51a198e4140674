/* test/promise/sized_free.c — frees that are told the size. SPDX-License-Identifier: MIT */
/*
 * Goal: free_sized, free_aligned_sized, sdallocx and cfree give the block back, from the owner and
 * from another thread; a wrong size without HAKMEM_CHECKS is survived, because programs in the wild
 * pass wrong sizes (the block is found by its address, the size is only a hint).
 * Method: much more memory passes through than may stay resident; afterwards blocks of the same
 * sizes must not overlap, as they would if a block had gone to the wrong class.
 */
#include <pthread.h>

#include "entry_points.h"
#include "memory_use.h"
#include "patterns.h"
#include "tap.h"

enum { PASSED_MIB = 300, STAY_KIB_MAX = 48 * 1024, ALIGN = 64 };

static void give_free_sized(void *block, size_t size) {
    api.free_sized(block, size);
}

static void give_sdallocx(void *block, size_t size) {
    api.sdallocx(block, size, 0);
}

static void give_cfree(void *block, size_t size) {
    (void)size;
    api.cfree(block);
}

static void give_free_aligned_sized(void *block, size_t size) {
    api.free_aligned_sized(block, ALIGN, size);
}

static void give_sdallocx_aligned(void *block, size_t size) {
    api.sdallocx(block, size, 6); /* MALLOCX_LG_ALIGN(6) */
}

static void *get_plain(size_t size) {
    return api.malloc(size);
}

static void *get_aligned(size_t size) {
    return api.aligned_alloc(ALIGN, size);
}

struct way {
    const char *name;
    void *(*get)(size_t);
    void (*give)(void *, size_t);
};

static const size_t g_sizes[] = {1,     16,    100,   1000,   1024,   1025,   5000,
                                 40000, 65536, 65537, 262144, 262145, 3 << 20};

static void pass_through(const struct way *w, size_t size) {
    enum { HELD = 16 };
    void *held[HELD] = {NULL};
    long rounds = ((long)PASSED_MIB << 20) / (long)(size + 64) / 11;
    for (long i = 0; i < rounds; i++) {
        int slot = (int)(i % HELD);
        if (held[slot] != NULL) {
            w->give(held[slot], size);
        }
        held[slot] = w->get(size);
        if (held[slot] != NULL) {
            memset(held[slot], 1, size < 5000 ? size : 5000);
        }
    }
    for (int i = 0; i < HELD; i++) {
        if (held[i] != NULL) {
            w->give(held[i], size);
        }
    }
}

static void check_given_back(const struct way *w) {
    long before = resident_kib();
    for (size_t i = 0; i < sizeof g_sizes / sizeof g_sizes[0]; i++) {
        pass_through(w, g_sizes[i]);
    }
    long grown = resident_kib() - before;
    CHECK(grown < STAY_KIB_MAX, "%s gives back: %d MiB passed, %ld KiB stayed", w->name, PASSED_MIB,
          grown);
}

struct batch {
    const struct way *way;
    size_t size;
    void *block[500];
};

static void *thread_gives(void *arg) {
    struct batch *b = arg;
    for (int i = 0; i < 500; i++) {
        b->way->give(b->block[i], b->size);
    }
    return NULL;
}

static void check_other_thread(const struct way *w) {
    static struct batch b;
    struct sweep s = sweep_begin("given back by another thread, then used again");
    b.way = w;
    for (int round = 0; round < 60; round++) {
        b.size = g_sizes[round % 8];
        for (int i = 0; i < 500; i++) {
            b.block[i] = w->get(b.size);
            SWEEP(&s, b.block[i] != NULL, "%s: size %zu", w->name, b.size);
            pattern_fill(b.block[i], b.size, (uint64_t)i * 1000);
        }
        for (int i = 0; i < 500; i++) {
            SWEEP(&s, pattern_check(b.block[i], b.size, (uint64_t)i * 1000) == b.size,
                  "%s: size %zu: overlap", w->name, b.size);
        }
        pthread_t thread;
        if (pthread_create(&thread, NULL, thread_gives, &b) == 0) {
            pthread_join(thread, NULL);
        }
    }
    sweep_end(&s);
}

/* The size that a wrong `delete` would pass: that of another class, or of another tier. */
static void check_wrong_size_survived(void) {
    enum { COUNT = 400 };
    static void *block[COUNT];
    if (tap_any_allocator()) {
        tap_skip("wrong sizes", "undefined behaviour in other allocators");
        return;
    }
    const char *checks = getenv("HAKMEM_CHECKS");
    if (checks != NULL && strcmp(checks, "1") == 0) {
        tap_skip("wrong sizes", "HAKMEM_CHECKS=1 reports them");
        return;
    }
    struct sweep s = sweep_begin("a wrong size given to free is survived");
    for (int round = 0; round < 40; round++) {
        size_t size = g_sizes[round % 8];
        size_t wrong = g_sizes[(round * 5 + 3) % 11];
        for (int i = 0; i < COUNT; i++) {
            block[i] = api.malloc(size);
            pattern_fill(block[i], size, (uint64_t)i);
        }
        for (int i = 0; i < COUNT; i++) {
            SWEEP(&s, pattern_check(block[i], size, (uint64_t)i) == size,
                  "size %zu: blocks overlap after wrong sizes", size);
            if (round & 1) {
                api.free_sized(block[i], wrong);
            } else {
                api.sdallocx(block[i], wrong, 0);
            }
        }
    }
    sweep_end(&s);
}

int main(void) {
    static const struct way way[] = {
        {"free_sized", get_plain, give_free_sized},
        {"sdallocx", get_plain, give_sdallocx},
        {"cfree", get_plain, give_cfree},
        {"free_aligned_sized", get_aligned, give_free_aligned_sized},
        {"sdallocx with an alignment", get_aligned, give_sdallocx_aligned},
    };
    api_load();
    tap_require_override();
    bool present = api.free_sized != NULL && api.sdallocx != NULL && api.cfree != NULL &&
                   api.free_aligned_sized != NULL;
    if (!present && tap_any_allocator()) {
        tap_skip("sized frees", "not exported by this allocator");
        CHECK(true, "nothing to try");
        return tap_end();
    }
    if (!CHECK(present, "free_sized, free_aligned_sized, sdallocx, cfree are exported")) {
        return tap_end();
    }
    for (size_t i = 0; i < sizeof way / sizeof way[0]; i++) {
        check_given_back(&way[i]);
        check_other_thread(&way[i]);
    }
    check_wrong_size_survived();
    return tap_end();
}
