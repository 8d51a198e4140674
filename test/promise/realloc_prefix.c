/* test/promise/realloc_prefix.c — realloc keeps the contents. SPDX-License-Identifier: MIT */
/*
 * Goal: after realloc, the first min(old, new) bytes are the old ones, the block is aligned, its
 * usable size suffices, and no other block was touched; in every pair of tiers.
 * Method: all pairs from a grid of edge sizes up to 1 MiB, with neighbours that are checked; pairs
 * up to 200 MiB filled sparsely; random walks of many blocks at once.
 */
#include "entry_points.h"
#include "patterns.h"
#include "tap.h"

enum { SPARSE = 16384, NEIGHBOURS = 4 };

static const size_t g_small[] = {
    1,     8,     15,     16,     17,     31,     48,     100,    255,     256,     1000,   1008,
    1015,  1016,  1017,   1023,   1024,   1025,   1039,   1040,   2047,    2048,    2049,   4095,
    4096,  4097,  8191,   8192,   8193,   20000,  32767,  32768,  32769,   65535,   65536,  65537,
    70000, 98304, 131071, 131072, 131073, 262144, 262145, 500000, 1048575, 1048576, 1048577};
static const size_t g_large[] = {
    100,       2000,     60000,    70000,          1 << 20,  (4 << 20) - 1,  4 << 20,
    5 << 20,   16 << 20, 33 << 20, (64 << 20) - 1, 64 << 20, (64 << 20) + 1, 100 << 20,
    130 << 20, 200 << 20};

enum { SMALL_COUNT = sizeof g_small / sizeof g_small[0] };
enum { LARGE_COUNT = sizeof g_large / sizeof g_large[0] };

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

static void try_pair(struct sweep *s, size_t from, size_t to) {
    void *block[NEIGHBOURS];
    for (int i = 0; i < NEIGHBOURS; i++) {
        block[i] = api.malloc(from);
        SWEEP(s, block[i] != NULL, "malloc(%zu)", from);
        if (block[i] == NULL) {
            return;
        }
        pattern_fill(block[i], from, from + (uint64_t)i);
    }
    void *moved = api.realloc(block[1], to);
    SWEEP(s, moved != NULL, "%zu to %zu: NULL", from, to);
    if (moved != NULL) {
        block[1] = moved;
        size_t kept = smaller(from, to);
        size_t right = pattern_check(moved, kept, from + 1);
        SWEEP(s, right == kept, "%zu to %zu: byte %zu differs", from, to, right);
        SWEEP(s, is_aligned(moved, 16) && api.malloc_usable_size(moved) >= to,
              "%zu to %zu: at %p, usable %zu", from, to, moved, api.malloc_usable_size(moved));
        memset(moved, 0xDF, to); /* the new part is writable and nobody else's */
    }
    for (int i = 0; i < NEIGHBOURS; i++) {
        SWEEP(s, i == 1 || pattern_check(block[i], from, from + (uint64_t)i) == from,
              "%zu to %zu: a neighbour changed", from, to);
        api.free(block[i]);
    }
}

static void sweep_small_pairs(void) {
    struct sweep s = sweep_begin("realloc keeps the prefix, all pairs up to 1 MiB");
    for (int i = 0; i < SMALL_COUNT; i++) {
        for (int j = 0; j < SMALL_COUNT; j++) {
            try_pair(&s, g_small[i], g_small[j]);
        }
    }
    sweep_end(&s);
}

static void sweep_large_pairs(void) {
    struct sweep s = sweep_begin("realloc keeps the prefix, pairs up to 200 MiB");
    for (int i = 0; i < LARGE_COUNT; i++) {
        for (int j = 0; j < LARGE_COUNT; j++) {
            size_t from = g_large[i];
            size_t to = g_large[j];
            unsigned char *block = api.malloc(from);
            SWEEP(&s, block != NULL, "malloc(%zu)", from);
            if (block == NULL) {
                continue;
            }
            pattern_fill_sparse(block, from, from, SPARSE);
            block[smaller(from, to) - 1] = 0xA7;
            unsigned char *moved = api.realloc(block, to);
            SWEEP(&s, moved != NULL, "%zu to %zu: NULL", from, to);
            if (moved == NULL) {
                api.free(block);
                continue;
            }
            size_t kept = smaller(from, to) - 1;
            SWEEP(&s, pattern_holds_sparse(moved, kept, from, SPARSE) && moved[kept] == 0xA7,
                  "%zu to %zu: contents differ", from, to);
            moved[to - 1] = 1;
            api.free(moved);
        }
    }
    sweep_end(&s);
}

/* A vector that grows by 4 KiB: each step must keep everything before it. */
static void check_growth(size_t step, size_t limit) {
    struct sweep s = sweep_begin(step > 4000 ? "growth by 4 KiB to 24 MiB keeps the contents"
                                             : "growth by 24 bytes to 200 KiB keeps the contents");
    unsigned char *block = NULL;
    for (size_t size = step; size <= limit; size += step) {
        unsigned char *moved = api.realloc(block, size);
        SWEEP(&s, moved != NULL, "to %zu: NULL", size);
        if (moved == NULL) {
            break;
        }
        block = moved;
        pattern_fill(block + size - step, step, size);
        SWEEP(&s, pattern_check(block, step, step) == step, "start lost at %zu", size);
    }
    for (size_t size = step; size <= limit && block != NULL; size += step) {
        SWEEP(&s, pattern_check(block + size - step, step, size) == step, "piece ending at %zu",
              size);
    }
    api.free(block);
    sweep_end(&s);
}

/* Many blocks walk through the sizes at random: growing one in place must not reach another. */
static void check_random_walk(uint64_t seed) {
    enum { COUNT = 300, STEPS = 60000 };
    static unsigned char *block[COUNT];
    static size_t size[COUNT];
    struct sweep s = sweep_begin("random reallocs of 300 live blocks keep all contents");
    uint64_t state = seed;
    tap_note("seed %llu", (unsigned long long)seed);
    for (int step = 0; step < STEPS; step++) {
        int i = (int)(random_next(&state) % COUNT);
        size_t to = random_size(&state, 18) + 1;
        unsigned char *moved = api.realloc(block[i], to);
        SWEEP(&s, moved != NULL, "step %d: NULL", step);
        if (moved == NULL) {
            continue;
        }
        size_t kept = smaller(size[i], to);
        SWEEP(&s, pattern_check(moved, kept, (uint64_t)i) == kept, "step %d: block %d, %zu to %zu",
              step, i, size[i], to);
        pattern_fill(moved, to, (uint64_t)i);
        block[i] = moved;
        size[i] = to;
    }
    for (int i = 0; i < COUNT; i++) {
        SWEEP(&s, pattern_check(block[i], size[i], (uint64_t)i) == size[i], "end: block %d", i);
        api.free(block[i]);
    }
    sweep_end(&s);
}

static void check_reallocarray(void) {
    struct sweep s = sweep_begin("reallocarray keeps the prefix");
    unsigned char *block = NULL;
    size_t before = 0;
    for (size_t count = 1; count <= 6000; count = count * 3 / 2 + 1) {
        unsigned char *moved = api.reallocarray(block, count, 37);
        SWEEP(&s, moved != NULL && pattern_check(moved, before, 37) == before, "%zu x 37", count);
        if (moved == NULL) {
            break;
        }
        block = moved;
        before = count * 37;
        pattern_fill(block, before, 37);
    }
    api.free(block);
    sweep_end(&s);
}

int main(void) {
    api_load();
    tap_require_override();
    sweep_small_pairs();
    sweep_large_pairs();
    check_growth(24, 200 << 10);
    check_growth(4096, 24 << 20);
    check_random_walk(0x1234567);
    check_reallocarray();
    return tap_end();
}
