/* bench/bench_live_blocks.c — live blocks in random order. SPDX-License-Identifier: MIT */
/*
 * usage: bench_live_blocks COUNT MIN MAX SEED [BATCH PASSES [floor]]
 * for example  bench_live_blocks 2000000 64 64 42, or 2000000 16 255 42 64 4
 *
 * COUNT blocks are live, more than the caches hold, so this measures how many cold lines an
 * allocator touches. Sizes are uniform in MIN … MAX. Phases, each timed alone:
 *
 *   fill               allocate COUNT blocks in order
 *   replace            in random order: free a block, allocate another in its place
 *   free random        free all in random order
 *   allocate again     allocate COUNT blocks in order
 *   batch K            free K random blocks, then allocate K in their places
 *   free in order      the end
 *
 * With BATCH and PASSES: fill, PASSES times "batch BATCH", free in order. With BENCH_LATENCY=1 each malloc and
 * each free of "batch" is an operation of its own.
 *
 * With `floor` there is no allocator: a slot's block is always the same part of a fixed buffer.
 *
 * Each phase visits each slot once. The random order is a permutation made before the phase,
 * outside of the timed region; for "free random" the pointers themselves are put into random order, so
 * that no cold line of this program's own is in the way: with a look at a random slot before each free,
 * half of the time was that. An operation is one malloc or one free, and in "replace" and "batch"
 * a pair of them. Every block gets its first byte written.
 */
#include "bench_latency.h"

struct live_blocks {
    uint64_t count;
    uint64_t size_min;
    uint64_t size_max;
    uint64_t seed;
    uint64_t batch;                /* 0: all phases */
    uint64_t passes;               /* of it */
    struct bench_latency *latency; /* NULL: not wanted */
    uint32_t order_random;         /* state of the permutations */
    uint32_t size_random;          /* state of the sizes */
    unsigned char *buffer;  /* the floor's blocks, size_max bytes each; NULL: malloc and free */
    unsigned char **blocks; /* count slots */
    uint32_t *order;        /* a permutation of the slots */
};

typedef void (*phase_function)(struct live_blocks *run, uint64_t batch);

static void parse_arguments(int argc, char **argv, struct live_blocks *run) {
    const struct bench_argument arguments[] = {
        {"COUNT", 1, UINT32_C(1) << 30, &run->count},
        {"MIN", 1, UINT32_C(1) << 30, &run->size_min},
        {"MAX", 1, UINT32_C(1) << 30, &run->size_max},
        {"SEED", 1, UINT32_MAX, &run->seed},
        {"BATCH", 1, UINT32_C(1) << 30, &run->batch},
        {"PASSES", 1, 1000000, &run->passes},
    };
    const char *usage = "COUNT MIN MAX SEED [BATCH PASSES [floor]]";
    bench_parse(argc - 1, argv + 1, usage, arguments, argc == 7 ? 6 : 4);
    if (run->size_max < run->size_min) {
        fprintf(stderr, "%s: MAX is below MIN\n", program_invocation_short_name);
        bench_usage(stderr, BENCH_EXIT_USAGE, usage);
    }
    run->order_random = (uint32_t)run->seed;
    run->size_random = (uint32_t)run->seed;
}

static void shuffle(struct live_blocks *run) {
    for (uint32_t left = (uint32_t)run->count; left > 1; left--) {
        uint32_t other = bench_scale(bench_xorshift32(&run->order_random), left);
        uint32_t slot = run->order[left - 1];
        run->order[left - 1] = run->order[other];
        run->order[other] = slot;
    }
}

static void fill_slot(struct live_blocks *run, uint32_t slot) {
    uint32_t range = (uint32_t)(run->size_max - run->size_min + 1);
    size_t size = run->size_min + bench_scale(bench_xorshift32(&run->size_random), range);
    if (run->buffer != NULL) {
        run->blocks[slot] = &run->buffer[slot * run->size_max];
        run->blocks[slot][0] = 1;
    } else {
        run->blocks[slot] = bench_take_block(size, 1);
    }
}

static void release(const struct live_blocks *run, unsigned char *block) {
    if (run->buffer == NULL) {
        free(block);
    }
}

static void phase_fill(struct live_blocks *run, uint64_t batch) {
    (void)batch;
    for (uint32_t i = 0; i < run->count; i++) {
        fill_slot(run, i);
    }
}

/* The clock is read around each call, so this is not the loop whose time is told. */
static void phase_replace_measured(struct live_blocks *run, uint64_t batch) {
    for (uint64_t begin = 0; begin < run->count; begin += batch) {
        uint64_t end = run->count - begin < batch ? run->count : begin + batch;
        for (uint64_t i = begin; i < end; i++) {
            uint64_t start = bench_wall_ns();
            release(run, run->blocks[run->order[i]]);
            bench_latency_add(run->latency, bench_wall_ns() - start);
        }
        for (uint64_t i = begin; i < end; i++) {
            uint64_t start = bench_wall_ns();
            fill_slot(run, run->order[i]);
            bench_latency_add(run->latency, bench_wall_ns() - start);
        }
    }
}

static void phase_replace(struct live_blocks *run, uint64_t batch) {
    for (uint64_t begin = 0; begin < run->count; begin += batch) {
        uint64_t end = run->count - begin < batch ? run->count : begin + batch;
        for (uint64_t i = begin; i < end; i++) {
            release(run, run->blocks[run->order[i]]);
        }
        for (uint64_t i = begin; i < end; i++) {
            fill_slot(run, run->order[i]);
        }
    }
}

static void phase_free_all(struct live_blocks *run, uint64_t batch) {
    (void)batch;
    for (uint64_t i = 0; i < run->count; i++) {
        release(run, run->blocks[i]);
    }
}

/* Returns its wall time in ns. */
static uint64_t run_phase(struct live_blocks *run, const char *name, phase_function phase,
                          uint64_t batch) {
    shuffle(run);
    uint64_t wall = bench_wall_ns();
    uint64_t cpu = bench_cpu_ns();
    phase(run, batch);
    cpu = bench_cpu_ns() - cpu;
    wall = bench_wall_ns() - wall;
    printf("%-16s %10.4f %10.4f %10.2f\n", name, (double)cpu / 1e9, (double)wall / 1e9,
           (double)cpu / (double)run->count);
    return wall;
}

static void run_one_batch(struct live_blocks *run) {
    char name[32];
    uint64_t wall_ns = 0;
    snprintf(name, sizeof name, "batch %" PRIu64, run->batch);
    run_phase(run, "fill", phase_fill, 1);
    for (uint64_t pass = 0; pass < run->passes; pass++) {
        wall_ns += run_phase(
            run, name, run->latency == NULL ? phase_replace : phase_replace_measured, run->batch);
    }
    run_phase(run, "free in order", phase_free_all, 1);
    bench_print_result(run->passes * run->count, wall_ns);
    bench_print_latency(run->latency);
}

static void run_all_phases(struct live_blocks *run) {
    uint64_t wall_ns = run_phase(run, "fill", phase_fill, 1);
    wall_ns += run_phase(run, "replace", phase_replace, 1);
    bench_shuffle(run->blocks, run->count, &run->order_random);
    wall_ns += run_phase(run, "free random", phase_free_all, 1);
    wall_ns += run_phase(run, "allocate again", phase_fill, 1);
    static const uint64_t batches[] = {1, 64, 1024, 16384};
    enum { BATCHES = sizeof batches / sizeof batches[0], PHASES = 5 + BATCHES };
    for (size_t i = 0; i < BATCHES; i++) {
        char name[32];
        snprintf(name, sizeof name, "batch %" PRIu64, batches[i]);
        wall_ns += run_phase(run, name, phase_replace, batches[i]);
    }
    wall_ns += run_phase(run, "free in order", phase_free_all, 1);
    bench_print_result(PHASES * run->count, wall_ns);
}

int main(int argc, char **argv) {
    struct live_blocks run = {0};
    bool is_floor = argc == 8 && bench_take_floor(&argc, argv);
    parse_arguments(argc, argv, &run);
    run.blocks = bench_table(run.count, sizeof *run.blocks);
    run.order = bench_table(run.count, sizeof *run.order);
    run.buffer = is_floor ? bench_table(run.count, run.size_max) : NULL;
    for (uint32_t i = 0; i < run.count; i++) {
        run.order[i] = i;
    }
    printf("%" PRIu64 " live blocks of %" PRIu64 "-%" PRIu64 " bytes\n", run.count, run.size_min,
           run.size_max);
    printf("%-16s %10s %10s %10s\n", "phase", "cpu s", "wall s", "cpu ns/op");
    run.latency = bench_latency_new();
    if (run.batch != 0) {
        run_one_batch(&run);
    } else {
        run_all_phases(&run);
    }
    double tables_mib = (double)(run.count * (sizeof *run.blocks + sizeof *run.order)) / 1048576;
    printf("peak RSS         %10.1f MiB, of which %.1f MiB are this program's tables\n",
           (double)bench_peak_rss_kib() / 1024, tables_mib);
    return EXIT_SUCCESS;
}
