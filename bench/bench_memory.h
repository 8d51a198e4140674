/* bench/bench_memory.h — sizes, stamped blocks and RSS of bench_memory. SPDX-License-Identifier: MIT */
/*
 * What its shapes share: a workload's slots are planned and their tables made before RSS is read for
 * the first time, so that every later reading differs from the first by the allocator's doing only.
 */
#ifndef HAKMEM_BENCH_MEMORY_H
#define HAKMEM_BENCH_MEMORY_H

#include "bench_threads.h"

enum { KIB = 1024, MIB = 1024 * 1024, OS_PAGE = 4096 };

/* --- sizes and blocks ---------------------------------------------------------------------- */

struct size_mix {
    const char *name;
    uint32_t min_log2;
    uint32_t doublings;
    bool is_even; /* each doubling half as many blocks as the one below it, so as many bytes */
};

static inline size_t pick_size(const struct size_mix *mix, uint32_t *random) {
    uint32_t r = bench_xorshift32(random);
    uint32_t leading_zeros = (uint32_t)__builtin_clz(r | UINT32_C(1) << (32 - mix->doublings));
    uint32_t doubling = mix->is_even ? leading_zeros : bench_scale(r, mix->doublings);
    uint32_t base = UINT32_C(1) << (mix->min_log2 + doubling);
    return base + bench_scale(bench_xorshift32(random), base);
}

/* The slots of one workload's blocks; a slot without a block is NULL. */
struct blocks {
    unsigned char **block;
    uint32_t *size;
    uint64_t count;
    uint64_t live_bytes;
};

static inline void plan_sizes(struct blocks *blocks, const struct size_mix *mix, uint32_t random) {
    for (uint64_t i = 0; i < blocks->count; i++) {
        blocks->size[i] = (uint32_t)pick_size(mix, &random);
    }
}

/* As many slots as make `bytes`: the sizes are picked once to count them, once to write them down. */
static inline struct blocks plan_blocks(const struct size_mix *mix, uint64_t bytes, uint32_t seed) {
    struct blocks blocks = {0};
    uint32_t random = seed;
    for (uint64_t sum = 0; sum < bytes; blocks.count++) {
        sum += pick_size(mix, &random);
    }
    blocks.block = bench_table(blocks.count, sizeof *blocks.block);
    blocks.size = bench_table(blocks.count, sizeof *blocks.size);
    plan_sizes(&blocks, mix, seed);
    return blocks;
}

/* A block with each of its OS pages written. */
static inline unsigned char *take_touched(size_t size, uint32_t stamp) {
    unsigned char *block = bench_take_block(size, 1);
    for (size_t offset = OS_PAGE; offset < size; offset += OS_PAGE) {
        block[offset] = 1;
    }
    block[size - 1] = 1;
    memcpy(block, &stamp, sizeof stamp);
    return block;
}

static inline void free_stamped(unsigned char *block, uint32_t stamp) {
    if (memcmp(block, &stamp, sizeof stamp) != 0) {
        bench_corrupt("a block");
    }
    free(block);
}

static inline void take_slot(struct blocks *blocks, uint64_t slot) {
    blocks->block[slot] = take_touched(blocks->size[slot], (uint32_t)slot);
}

static inline void free_slot(struct blocks *blocks, uint64_t slot) {
    free_stamped(blocks->block[slot], (uint32_t)slot);
    blocks->block[slot] = NULL;
}

static inline void take_all(struct blocks *blocks) {
    blocks->live_bytes = 0;
    for (uint64_t i = 0; i < blocks->count; i++) {
        take_slot(blocks, i);
        blocks->live_bytes += blocks->size[i];
    }
}

/* --- reports ------------------------------------------------------------------------------- */

static struct {
    uint64_t before_kib; /* RSS, before the first allocation */
    int64_t peak_kib;    /* the largest growth so far, the kernel's included */
    uint64_t begin_ns;
} g_memory;

/* After the tables are made. stdio's buffer is allocated here, so that it counts for nobody. */
static inline void begin_report(void) {
    printf("%-16s %12s %12s\n", "", "rss_kib", "live_kib");
    fflush(stdout);
    g_memory.before_kib = bench_rss_kib();
    g_memory.begin_ns = bench_wall_ns();
}

static inline int64_t grown_kib(uint64_t rss_kib) {
    return (int64_t)rss_kib - (int64_t)g_memory.before_kib;
}

/* The kernel's own peak (VmHWM) sees what lies between two readings, but lags behind a little. */
static inline int64_t report(const char *when, uint64_t live_bytes) {
    int64_t peak_kib = grown_kib(bench_peak_rss_kib());
    int64_t kib = grown_kib(bench_rss_kib());
    peak_kib = kib > peak_kib ? kib : peak_kib;
    g_memory.peak_kib = peak_kib > g_memory.peak_kib ? peak_kib : g_memory.peak_kib;
    printf("%-16s %12" PRId64 " %12" PRIu64 "\n", when, kib, live_bytes / KIB);
    fflush(stdout);
    return kib;
}

static inline int64_t report_numbered(const char *when, uint64_t number, uint64_t live_bytes) {
    char text[32];
    snprintf(text, sizeof text, "%s %" PRIu64, when, number);
    return report(text, live_bytes);
}

static inline void print_kib(const char *name, int64_t kib) {
    printf("%-20s %" PRId64 "\n", name, kib);
}

static inline void end_report(void) {
    print_kib("before_kib", (int64_t)g_memory.before_kib);
    print_kib("peak_kib", g_memory.peak_kib);
    printf("%-20s %.6f\n", "cpu_seconds", (double)bench_cpu_ns() / 1e9);
    printf("%-20s %.6f\n", "seconds", (double)(bench_wall_ns() - g_memory.begin_ns) / 1e9);
}

#endif
