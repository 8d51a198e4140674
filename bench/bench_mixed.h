/* bench/bench_mixed.h — the loop of random_mixed and syscall_trace. SPDX-License-Identifier: MIT */
/*
 * A working set of slots, visited at random: a full slot is freed, an empty one is filled.
 *
 *   r = xorshift32();  slot = r % WORKING_SET;  size = 16 + (r & 0x3FF), so 16 … 1039 bytes
 *
 * The same r picks slot and size, so a slot only ever sees a few sizes. That is kept because the
 * loop has a history: `50000 256 42` makes 25,063 requests; 206 of them, those of 1016–1023 bytes,
 * once fell into a gap between two tiers and made 98 % of all system calls. bench_syscall_trace
 * prints that histogram.
 */
#ifndef HAKMEM_BENCH_MIXED_H
#define HAKMEM_BENCH_MIXED_H

#include "bench_latency.h"

enum { MIXED_SIZE_MIN = 16, MIXED_SIZE_MASK = 0x3FF, MIXED_SIZES = 16 + 0x3FF + 1 };

struct mixed {
    bool is_floor; /* no allocator: a block is a byte of a fixed buffer */
    uint64_t operations;
    uint64_t working_set;
    uint64_t seed;
    uint64_t elapsed_ns;
    uint64_t requests;             /* mallocs among the operations */
    uint64_t bytes;                /* requested in all */
    uint64_t checksum;             /* of what the blocks still hold at the end */
    struct bench_latency *latency; /* NULL: not wanted */
};

static inline void mixed_parse(int argc, char **argv, struct mixed *run) {
    run->is_floor = bench_take_floor(&argc, argv);
    const struct bench_argument arguments[] = {
        {"OPS", 1, UINT64_C(1) << 40, &run->operations},
        {"WORKING_SET", 1, UINT32_C(1) << 28, &run->working_set},
        {"SEED", 1, UINT32_MAX, &run->seed}, /* xorshift never leaves 0 */
    };
    bench_parse(argc - 1, argv + 1, "OPS WORKING_SET SEED [floor]", arguments, 3);
}

/*
 * The timed loop counts nothing: with two counters more, compilers run out of registers and divide by
 * a working set on the stack, which on Zen 3 made every operation wait for the block's address (5 ns
 * of 9). mixed_replay() counts afterwards.
 */
static inline __attribute__((always_inline)) void mixed_loop(const struct mixed *run,
                                                             unsigned char **slots,
                                                             unsigned char *buffer,
                                                             bool is_measured) {
    uint32_t state = (uint32_t)run->seed;
    uint32_t working_set = (uint32_t)run->working_set;
    for (uint64_t left = run->operations; left > 0; left--) {
        uint32_t r = bench_xorshift32(&state);
        uint32_t slot = r % working_set;
        uint64_t begin = is_measured ? bench_wall_ns() : 0;
        if (slots[slot] != NULL) {
            if (buffer == NULL) {
                free(slots[slot]);
            }
            slots[slot] = NULL;
            if (is_measured) {
                bench_latency_add(run->latency, bench_wall_ns() - begin);
            }
            continue;
        }
        if (buffer == NULL) {
            slots[slot] =
                bench_take_block(MIXED_SIZE_MIN + (r & MIXED_SIZE_MASK), (unsigned char)r);
        } else {
            slots[slot] = &buffer[slot];
            buffer[slot] = (unsigned char)r;
        }
        if (is_measured) {
            bench_latency_add(run->latency, bench_wall_ns() - begin);
        }
    }
}

static __attribute__((noinline)) void mixed_loop_allocator(const struct mixed *run,
                                                           unsigned char **slots) {
    mixed_loop(run, slots, NULL, false);
}

static __attribute__((noinline)) void
mixed_loop_floor(const struct mixed *run, unsigned char **slots, unsigned char *buffer) {
    mixed_loop(run, slots, buffer, false);
}

static __attribute__((noinline)) void
mixed_loop_measured(const struct mixed *run, unsigned char **slots, unsigned char *buffer) {
    mixed_loop(run, slots, buffer, true);
}

static inline void mixed_run(struct mixed *run) {
    unsigned char **slots = calloc(run->working_set, sizeof *slots);
    unsigned char *buffer = calloc(run->working_set, 1);
    if (slots == NULL || buffer == NULL) {
        bench_die("calloc");
    }
    run->latency = bench_latency_new();
    uint64_t begin = bench_wall_ns();
    if (run->latency != NULL) {
        mixed_loop_measured(run, slots, run->is_floor ? buffer : NULL);
    } else if (run->is_floor) {
        mixed_loop_floor(run, slots, buffer);
    } else {
        mixed_loop_allocator(run, slots);
    }
    run->elapsed_ns = bench_wall_ns() - begin;
    uint64_t live = 0;
    for (uint64_t slot = 0; slot < run->working_set; slot++) {
        unsigned first_byte = slots[slot] == NULL ? 0x100 : slots[slot][0];
        run->checksum = run->checksum * UINT64_C(31) + first_byte;
        live += slots[slot] != NULL;
        if (!run->is_floor) {
            free(slots[slot]);
        }
    }
    run->requests = (run->operations + live) / 2; /* takes + frees, takes - frees */
    free(buffer);
    free(slots);
}

/* What the loop asked for, found by going through it again without allocating. */
static inline void mixed_replay(const struct mixed *run, uint64_t size_counts[MIXED_SIZES]) {
    bool *is_full = calloc(run->working_set, sizeof *is_full);
    if (is_full == NULL) {
        bench_die("calloc");
    }
    uint32_t state = (uint32_t)run->seed;
    for (uint64_t left = run->operations; left > 0; left--) {
        uint32_t r = bench_xorshift32(&state);
        uint32_t slot = r % (uint32_t)run->working_set;
        is_full[slot] = !is_full[slot];
        if (is_full[slot]) {
            size_counts[MIXED_SIZE_MIN + (r & MIXED_SIZE_MASK)]++;
        }
    }
    free(is_full);
}

/* What was asked for: the same under every allocator, or one of them corrupted a block. */
static inline void mixed_print_work(const struct mixed *run) {
    printf("requests   %" PRIu64 "\n", run->requests);
    printf("checksum   %016" PRIx64 "\n", run->checksum);
}

#endif
