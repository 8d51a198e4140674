/* bench/bench_false_sharing.c — do threads get blocks of one cache line? SPDX-License-Identifier: MIT */
/*
 * usage: bench_false_sharing SHAPE THREADS ITERATIONS SIZE WRITES
 * for example  bench_false_sharing scratch 2 1000 1 2000000
 *
 * The two workloads of E. Berger, K. McKinley, R. Blumofe and P. Wilson, "Hoard: A Scalable Memory
 * Allocator for Multithreaded Applications" (ASPLOS 2000), written anew:
 *
 *   thrash     each thread: ITERATIONS × { allocate SIZE bytes, write them again and again, free }
 *              (active: one line is cut up for several threads)
 *   scratch    the same, but before, main allocates one block for each thread, neighbours most
 *              likely, and each thread begins by freeing the one it was given (passive: a thread
 *              that reuses the block it freed shares its line with the neighbour's owner)
 *
 * A block is written WRITES / THREADS times, so the whole work is the same for every number of
 * threads, and N threads on N processors should take 1/N of the time. Nothing here is random.
 *
 * Prints time per write, and shared_iterations: those during which some other thread held a block
 * on the same line, which is the fault itself and needs no quiet machine to be seen. Each block's
 * bytes are checked before it is freed.
 */
#include "bench_threads.h"

#include <stdatomic.h>

struct worker {
    _Alignas(2 * BENCH_CACHE_LINE) _Atomic uintptr_t block; /* the one it writes to now; 0 = none */
    uint64_t shared; /* iterations that found another thread on one of the block's lines */
    unsigned char *given;
    unsigned char id;
    pthread_t thread;
};

static struct {
    uint64_t threads;
    uint64_t iterations;
    uint64_t size;
    uint64_t writes;
    struct worker *workers;
    pthread_barrier_t gate;
} g_sharing;

/*
 * Is another thread's block on a line of this one's? Both store before they look (in one order for
 * all, sequentially consistent), so of two that overlap in time at least one sees the other.
 */
static bool is_line_shared(const struct worker *self, uintptr_t block) {
    uintptr_t first = block / BENCH_CACHE_LINE;
    uintptr_t last = (block + g_sharing.size - 1) / BENCH_CACHE_LINE;
    for (uint64_t i = 0; i < g_sharing.threads; i++) {
        const struct worker *other = &g_sharing.workers[i];
        uintptr_t theirs = atomic_load(&other->block);
        if (other != self && theirs != 0 && theirs / BENCH_CACHE_LINE <= last &&
            (theirs + g_sharing.size - 1) / BENCH_CACHE_LINE >= first) {
            return true;
        }
    }
    return false;
}

static void *worker_thread(void *argument) {
    struct worker *self = argument;
    size_t size = g_sharing.size;
    uint64_t repetitions = g_sharing.writes / g_sharing.threads;
    pthread_barrier_wait(&g_sharing.gate);
    free(self->given);
    for (uint64_t i = 0; i < g_sharing.iterations; i++) {
        /* volatile: every one of the writes, and the read behind it, is to happen. */
        volatile unsigned char *block = bench_take_block(size, self->id);
        atomic_store(&self->block, (uintptr_t)block);
        self->shared += is_line_shared(self, (uintptr_t)block);
        for (uint64_t r = 0; r < repetitions; r++) {
            for (size_t k = 0; k < size; k++) {
                block[k] = (unsigned char)(k + self->id);
                (void)block[k];
            }
        }
        for (size_t k = 0; k < size && repetitions > 0; k++) {
            if (block[k] != (unsigned char)(k + self->id)) {
                bench_corrupt("a block of two threads");
            }
        }
        atomic_store(&self->block, 0);
        free((void *)(uintptr_t)block);
    }
    return NULL;
}

int main(int argc, char **argv) {
    const char *usage = "scratch|thrash THREADS ITERATIONS SIZE WRITES";
    const struct bench_argument arguments[] = {
        {"THREADS", 1, 255, &g_sharing.threads},
        {"ITERATIONS", 1, UINT32_MAX, &g_sharing.iterations},
        {"SIZE", 1, UINT32_C(1) << 20, &g_sharing.size},
        {"WRITES", 0, UINT32_MAX, &g_sharing.writes},
    };
    const char *shape = bench_parse_shape(&argc, &argv, usage);
    bool is_scratch = strcmp(shape, "scratch") == 0;
    if (!is_scratch && strcmp(shape, "thrash") != 0) {
        bench_usage(stderr, BENCH_EXIT_USAGE, usage);
    }
    bench_parse(argc, argv, usage, arguments, sizeof arguments / sizeof arguments[0]);

    struct worker *workers = bench_table(g_sharing.threads, sizeof *workers);
    g_sharing.workers = workers;
    pthread_barrier_init(&g_sharing.gate, NULL, (unsigned)g_sharing.threads + 1);
    for (uint64_t i = 0; is_scratch && i < g_sharing.threads; i++) {
        workers[i].given = bench_take_block(g_sharing.size, 0);
    }
    for (uint64_t i = 0; i < g_sharing.threads; i++) {
        workers[i].id = (unsigned char)(i + 1);
        workers[i].thread = bench_start(worker_thread, &workers[i], NULL);
    }
    struct bench_cost begin = bench_cost_now();
    pthread_barrier_wait(&g_sharing.gate);
    for (uint64_t i = 0; i < g_sharing.threads; i++) {
        bench_join(workers[i].thread);
    }
    struct bench_cost used = bench_cost_since(&begin);

    uint64_t shared = 0;
    for (uint64_t i = 0; i < g_sharing.threads; i++) {
        shared += workers[i].shared;
    }
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): bench_parse() took 1 … 255 */
    uint64_t per_block = g_sharing.writes / g_sharing.threads * g_sharing.size;
    double writes = (double)per_block * (double)(g_sharing.iterations * g_sharing.threads);
    bench_print_count("iterations", g_sharing.iterations * g_sharing.threads);
    bench_print_count("shared_iterations", shared);
    if (writes > 0) {
        printf("%-20s %.4f\n", "wall_ns_per_write", (double)used.wall_ns / writes);
        printf("%-20s %.4f\n", "cpu_ns_per_write",
               (double)(used.user_us + used.system_us) * 1e3 / writes);
    }
    bench_print_cost(&used);
    bench_print_result(g_sharing.iterations * g_sharing.threads, used.wall_ns);
    return EXIT_SUCCESS;
}
