/* bench/bench_groups.c — groups of small blocks with holes, per thread. SPDX-License-Identifier: MIT */
/*
 * usage: bench_groups THREADS ROUNDS SEED                          for example 2 400 42
 *
 * The shape of MicroQuill's SmartHeap benchmark (sh8bench), written anew: sizes from 8 to 992 bytes, the smaller
 * the more often; most blocks live for a moment, some for long; frees come in the order of allocation, in the
 * opposite one and in between. Each thread works alone. A round is, for each of 12 sizes:
 *
 *   a group of 9,000 / (size / 8 + 1) blocks is allocated; every second one is freed, backwards; the holes are
 *   filled again; then all are freed forwards, but for every 128th, which lives on for 16 rounds
 *
 * An operation is one malloc or one free. Each block's first byte says to which round it belongs.
 */
#include "bench_threads.h"

enum { GROUP = 9000, KEPT_STRIDE = 128, KEPT_ROUNDS = 16, KEPT_MAX = 512, THREADS_MAX = 1024 };

static const size_t sizes[] = {8, 16, 24, 32, 48, 64, 96, 128, 192, 320, 520, 992};
enum { SIZE_COUNT = sizeof sizes / sizeof sizes[0] };

struct worker {
    _Alignas(2 * BENCH_CACHE_LINE) pthread_t thread; /* on lines of its own */
    uint64_t rounds;
    uint64_t operations;
    uint32_t random;
    unsigned char *group[GROUP];
    unsigned char *kept[KEPT_ROUNDS][KEPT_MAX];
    size_t kept_count[KEPT_ROUNDS];
};

static void release(struct worker *worker, unsigned char *block, unsigned char mark) {
    if (*block != mark) {
        bench_corrupt("a block");
    }
    free(block);
    worker->operations++;
}

static unsigned char *take(struct worker *worker, size_t size, unsigned char mark) {
    worker->operations++;
    return bench_take_block(size, mark);
}

static void run_group(struct worker *worker, size_t size, size_t slot, unsigned char mark) {
    size_t count = GROUP / (size / 8 + 1);
    for (size_t i = 0; i < count; i++) {
        worker->group[i] = take(worker, size, mark);
    }
    for (size_t i = count; i-- > 0;) {
        if (i % 2 == 1) {
            release(worker, worker->group[i], mark);
        }
    }
    for (size_t i = 1; i < count; i += 2) {
        worker->group[i] = take(worker, size, mark);
    }
    size_t first_kept = bench_scale(bench_xorshift32(&worker->random), KEPT_STRIDE);
    for (size_t i = 0; i < count; i++) {
        if (i % KEPT_STRIDE == first_kept && worker->kept_count[slot] < KEPT_MAX) {
            worker->kept[slot][worker->kept_count[slot]++] = worker->group[i];
        } else {
            release(worker, worker->group[i], mark);
        }
    }
}

static void release_kept(struct worker *worker, size_t slot, unsigned char mark) {
    for (size_t i = 0; i < worker->kept_count[slot]; i++) {
        release(worker, worker->kept[slot][i], mark);
    }
    worker->kept_count[slot] = 0;
}

static void *worker_thread(void *argument) {
    struct worker *worker = argument;
    for (uint64_t round = 0; round < worker->rounds; round++) {
        size_t slot = round % KEPT_ROUNDS;
        release_kept(worker, slot, (unsigned char)(round - KEPT_ROUNDS));
        for (size_t i = 0; i < SIZE_COUNT; i++) {
            run_group(worker, sizes[i], slot, (unsigned char)round);
        }
    }
    for (uint64_t back = 0; back < KEPT_ROUNDS && back < worker->rounds; back++) {
        uint64_t round = worker->rounds - 1 - back;
        release_kept(worker, round % KEPT_ROUNDS, (unsigned char)round);
    }
    return NULL;
}

int main(int argc, char **argv) {
    uint64_t threads;
    uint64_t rounds;
    uint64_t seed;
    const struct bench_argument arguments[] = {
        {"THREADS", 1, THREADS_MAX, &threads},
        {"ROUNDS", 1, UINT32_MAX, &rounds},
        {"SEED", 1, UINT32_MAX, &seed},
    };
    bench_parse(argc - 1, argv + 1, "THREADS ROUNDS SEED", arguments, 3);
    struct worker *workers = bench_table(threads, sizeof *workers);
    uint64_t begin = bench_wall_ns();
    for (uint64_t i = 0; i < threads; i++) {
        workers[i].rounds = rounds;
        workers[i].random = (uint32_t)seed + (uint32_t)i * UINT32_C(0x9E3779B9);
        workers[i].random += workers[i].random == 0; /* xorshift never leaves 0 */
        workers[i].thread = bench_start(worker_thread, &workers[i], NULL);
    }
    uint64_t operations = 0;
    for (uint64_t i = 0; i < threads; i++) {
        bench_join(workers[i].thread);
        operations += workers[i].operations;
    }
    bench_print_rate(operations, bench_wall_ns() - begin);
    return EXIT_SUCCESS;
}
