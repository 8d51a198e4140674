/* bench/bench_rounds.c — threads that are born, exchange blocks, and die. SPDX-License-Identifier: MIT */
/*
 * usage: bench_rounds SIZES MIN MAX THREADS ROUNDS STEPS CROSS SEED
 * for example  bench_rounds log 16 1048576 2 40 20000 25 42      the shape of mimalloc-bench's mstress
 *              bench_rounds even 12 16000 2 40 50000 5 42         of rpmalloc's rptest
 *
 * In each of ROUNDS rounds THREADS new threads take STEPS steps each and end; what they leave is there for the
 * next round. A step is one of
 *
 *   exchange   in CROSS of 100 steps: a block of the thread's changes places with what lies in one of 1,024
 *              places that all threads share, and may be freed by any
 *   replace    in the others: a place of the thread's 512 is freed and filled anew
 *
 * At its end a thread frees three quarters of its blocks; the rest goes to the places of all. SIZES is `even`
 * (uniform in MIN … MAX) or `log` (as many blocks in every doubling, so large ones are few but weigh most). The
 * first and the last eight bytes of each block say what it is, and are looked at before it is freed.
 */
#include "bench_latency.h"
#include "bench_threads.h"

#include <stdatomic.h>

enum { OWN_PLACES = 512, SHARED_PLACES = 1024, THREADS_MAX = 1024 };

struct header {
    uint32_t size;
    uint32_t stamp;
};

struct worker {
    _Alignas(2 * BENCH_CACHE_LINE) pthread_t thread; /* on lines of its own */
    uint32_t random;
    uint64_t operations; /* mallocs and frees */
    struct bench_latency *latency;
    unsigned char *own[OWN_PLACES];
};

static struct {
    bool is_log;
    uint64_t size_min;
    uint64_t size_max;
    uint64_t threads;
    uint64_t rounds;
    uint64_t steps;
    uint64_t cross;
    uint64_t seed;
    _Atomic(unsigned char *) shared[SHARED_PLACES];
} g_rounds;

static size_t pick_size(uint32_t *random) {
    uint32_t r = bench_xorshift32(random);
    if (!g_rounds.is_log) {
        return g_rounds.size_min +
               bench_scale(r, (uint32_t)(g_rounds.size_max - g_rounds.size_min + 1));
    }
    /* A doubling at random, and a size at random within it: no logarithm in the loop. */
    uint32_t low = (uint32_t)g_rounds.size_min;
    uint32_t doublings = 0;
    while ((uint64_t)low << (doublings + 1) <= g_rounds.size_max) {
        doublings++;
    }
    uint32_t base = low << bench_scale(r, doublings == 0 ? 1 : doublings);
    return base + bench_scale(bench_xorshift32(random), base);
}

static unsigned char *take(struct worker *worker) {
    size_t size = pick_size(&worker->random);
    uint64_t begin = worker->latency == NULL ? 0 : bench_wall_ns();
    unsigned char *block = bench_take_block(size, 1);
    if (worker->latency != NULL) {
        bench_latency_add(worker->latency, bench_wall_ns() - begin);
    }
    struct header header = {.size = (uint32_t)size, .stamp = (uint32_t)size * UINT32_C(0x9E3779B9)};
    memcpy(block, &header, sizeof header);
    memcpy(block + size - sizeof header.stamp, &header.stamp, sizeof header.stamp);
    worker->operations++;
    return block;
}

static void release(struct worker *worker, unsigned char *block) {
    struct header header;
    if (block == NULL) {
        return;
    }
    memcpy(&header, block, sizeof header);
    if (header.stamp != header.size * UINT32_C(0x9E3779B9) ||
        memcmp(block + header.size - sizeof header.stamp, &header.stamp, sizeof header.stamp) !=
            0) {
        bench_corrupt("a block");
    }
    uint64_t begin = worker->latency == NULL ? 0 : bench_wall_ns();
    free(block);
    if (worker->latency != NULL) {
        bench_latency_add(worker->latency, bench_wall_ns() - begin);
    }
    worker->operations++;
}

/* With what lies there. Acquire and release: the block's contents travel with its address. */
static void exchange(struct worker *worker, unsigned char **block) {
    uint32_t place = bench_scale(bench_xorshift32(&worker->random), SHARED_PLACES);
    *block = atomic_exchange_explicit(&g_rounds.shared[place], *block, memory_order_acq_rel);
}

static void *worker_thread(void *argument) {
    struct worker *worker = argument;
    for (uint64_t step = 0; step < g_rounds.steps; step++) {
        unsigned char **place =
            &worker->own[bench_scale(bench_xorshift32(&worker->random), OWN_PLACES)];
        if (bench_scale(bench_xorshift32(&worker->random), 100) < g_rounds.cross) {
            exchange(worker, place);
        } else {
            release(worker, *place);
            *place = take(worker);
        }
    }
    for (size_t i = 0; i < OWN_PLACES; i++) {
        if (i % 4 == 0) {
            exchange(worker, &worker->own[i]);
        }
        release(worker, worker->own[i]);
        worker->own[i] = NULL;
    }
    return NULL;
}

static void run_rounds(struct worker *workers) {
    for (uint64_t round = 0; round < g_rounds.rounds; round++) {
        for (uint64_t i = 0; i < g_rounds.threads; i++) {
            workers[i].thread = bench_start(worker_thread, &workers[i], NULL);
        }
        for (uint64_t i = 0; i < g_rounds.threads; i++) {
            bench_join(workers[i].thread);
        }
    }
}

int main(int argc, char **argv) {
    const char *usage = "log|even MIN MAX THREADS ROUNDS STEPS CROSS SEED";
    const struct bench_argument arguments[] = {
        {"MIN", 12, 1 << 20, &g_rounds.size_min}, /* both stamps */
        {"MAX", 12, 1 << 30, &g_rounds.size_max}, {"THREADS", 1, THREADS_MAX, &g_rounds.threads},
        {"ROUNDS", 1, 1000000, &g_rounds.rounds}, {"STEPS", 1, UINT32_MAX, &g_rounds.steps},
        {"CROSS", 0, 100, &g_rounds.cross},       {"SEED", 1, UINT32_MAX, &g_rounds.seed},
    };
    const char *sizes = bench_parse_shape(&argc, &argv, usage);
    g_rounds.is_log = strcmp(sizes, "log") == 0;
    bench_parse(argc, argv, usage, arguments, sizeof arguments / sizeof arguments[0]);
    if ((!g_rounds.is_log && strcmp(sizes, "even") != 0) || g_rounds.size_max < g_rounds.size_min) {
        bench_usage(stderr, BENCH_EXIT_USAGE, usage);
    }
    struct worker *workers = bench_table(g_rounds.threads, sizeof *workers);
    for (uint64_t i = 0; i < g_rounds.threads; i++) {
        workers[i].random = (uint32_t)g_rounds.seed + (uint32_t)i * UINT32_C(0x9E3779B9);
        workers[i].random += workers[i].random == 0; /* xorshift never leaves 0 */
        workers[i].latency = bench_latency_new();
    }
    uint64_t begin = bench_wall_ns();
    run_rounds(workers);
    uint64_t elapsed = bench_wall_ns() - begin;
    uint64_t operations = 0;
    for (uint64_t i = 0; i < g_rounds.threads; i++) {
        operations += workers[i].operations;
        if (i != 0 && workers[0].latency != NULL) {
            bench_latency_merge(workers[0].latency, workers[i].latency);
        }
    }
    bench_print_rate(operations, elapsed);
    bench_print_latency(workers[0].latency);
    for (size_t i = 0; i < SHARED_PLACES; i++) {
        release(&workers[0], atomic_load_explicit(&g_rounds.shared[i], memory_order_relaxed));
    }
    return EXIT_SUCCESS;
}
