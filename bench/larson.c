/* bench/larson.c — blocks taken by one thread, freed by the next. SPDX-License-Identifier: MIT */
/*
 * usage: larson SECONDS MIN MAX BLOCKS_PER_THREAD ROUNDS SEED THREADS [floor]
 * for example  larson 1 5 1 1000 100 10000 42
 *
 * The workload of P.-Å. Larson and M. Krishnan, "Memory Allocation for Long-Running Server
 * Applications" (ISMM 1998), written anew:
 *
 *   main fills THREADS arrays of BLOCKS_PER_THREAD blocks, shuffled among each other
 *   chain i:  thread ── ROUNDS × BLOCKS_PER_THREAD replacements at random ──> successor ──> …
 *
 * A thread hands its array to its successor and dies, so a thread's first frees are of blocks that
 * a dead one allocated. The successor first joins its predecessor: that thread is gone, its exit
 * handlers have run, and nothing is left behind at the end. After SECONDS every chain stops, and
 * main frees every block.
 *
 * Sizes are MIN + random % |MAX - MIN|, so MIN … MAX - 1; equal bounds mean just MIN. The absolute
 * value is what the original's arithmetic amounts to (C's remainder of a negative divisor), and the
 * customary arguments above have MIN 5 and MAX 1: 5–8 bytes. What is run is printed.
 *
 * With `floor` there is no allocator: a slot's block is always the same part of a fixed buffer.
 */
#include "bench_latency.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

struct larson {
    uint64_t seconds;
    uint64_t size_min;
    uint64_t size_max;
    uint64_t blocks_per_thread;
    uint64_t rounds;
    uint64_t seed;
    uint64_t threads;
    bool is_floor;
    uint32_t size_range; /* 1 … : sizes are size_min … size_min + size_range - 1 */
};

/* One array of blocks and the thread that works on it now; on cache lines of its own. */
struct chain {
    _Alignas(128) unsigned char **blocks;
    pthread_t thread; /* the latest one, while threads > 0; each stores its own */
    uint64_t threads; /* that worked on it, one after another */
    uint64_t operations;
    uint32_t random;
    int error;                     /* of pthread_create, 0 = none */
    struct bench_latency *latency; /* NULL: not wanted */
};

static struct {
    struct larson arguments;
    atomic_bool is_stopping;
    sem_t chain_ended; /* posted once by the last thread of each chain */
} g_larson;

static size_t pick_size(uint32_t *random) {
    const struct larson *a = &g_larson.arguments;
    return a->size_min + bench_scale(bench_xorshift32(random), a->size_range);
}

static unsigned char *take_block(uint32_t *random) {
    size_t size = pick_size(random);
    unsigned char *block = bench_take_block(size, 'a');
    block[size - 1] = 'b';
    return block;
}

/* The floor's: the block that lies in the slot, as if it were a new one. */
static unsigned char *reuse_block(unsigned char *block, uint32_t *random) {
    size_t size = pick_size(random);
    block[0] = 'a';
    block[size - 1] = 'b';
    __asm__ volatile("" : : "r"(block) : "memory");
    return block;
}

/* As replace_blocks(), the clock read around each call. */
static uint64_t replace_measured(struct chain *chain, uint64_t count) {
    const struct larson *a = &g_larson.arguments;
    uint64_t done = 0;
    while (done < count && !atomic_load_explicit(&g_larson.is_stopping, memory_order_relaxed)) {
        uint32_t victim =
            bench_scale(bench_xorshift32(&chain->random), (uint32_t)a->blocks_per_thread);
        uint64_t begin = bench_wall_ns();
        if (!a->is_floor) {
            free(chain->blocks[victim]);
        }
        uint64_t middle = bench_wall_ns();
        chain->blocks[victim] = a->is_floor ? reuse_block(chain->blocks[victim], &chain->random)
                                            : take_block(&chain->random);
        bench_latency_add(chain->latency, middle - begin);
        bench_latency_add(chain->latency, bench_wall_ns() - middle);
        done++;
    }
    return done;
}

/* Replace random blocks until the rounds are done or the time is up. */
static void replace_blocks(struct chain *chain) {
    const struct larson *a = &g_larson.arguments;
    uint64_t count = a->rounds * a->blocks_per_thread;
    if (chain->latency != NULL) {
        chain->operations += replace_measured(chain, count);
        return;
    }
    uint32_t random = chain->random; /* a local copy: the compiler keeps it in a register */
    uint64_t done = 0;
    while (done < count && !atomic_load_explicit(&g_larson.is_stopping, memory_order_relaxed)) {
        uint32_t victim = bench_scale(bench_xorshift32(&random), (uint32_t)a->blocks_per_thread);
        if (a->is_floor) {
            chain->blocks[victim] = reuse_block(chain->blocks[victim], &random);
        } else {
            free(chain->blocks[victim]);
            chain->blocks[victim] = take_block(&random);
        }
        done++;
    }
    chain->random = random;
    chain->operations += done;
}

static void *chain_thread(void *argument) {
    struct chain *chain = argument;
    if (chain->threads > 0) {
        pthread_join(chain->thread, NULL); /* the predecessor, with nothing left to do but die */
    }
    chain->thread = pthread_self();
    chain->threads++;
    replace_blocks(chain);
    if (!atomic_load_explicit(&g_larson.is_stopping, memory_order_relaxed)) {
        /* Once the successor exists the chain is its own: write to a local variable only. */
        pthread_t successor;
        int error = pthread_create(&successor, NULL, chain_thread, chain);
        if (error == 0) {
            return NULL;
        }
        chain->error = error;
    }
    sem_post(&g_larson.chain_ended);
    return NULL;
}

static void parse_arguments(int argc, char **argv) {
    struct larson *a = &g_larson.arguments;
    a->is_floor = bench_take_floor(&argc, argv);
    const struct bench_argument arguments[] = {
        {"SECONDS", 1, 1000000, &a->seconds},
        {"MIN", 1, 1 << 30, &a->size_min},
        {"MAX", 1, 1 << 30, &a->size_max},
        {"BLOCKS_PER_THREAD", 1, 1 << 24, &a->blocks_per_thread},
        {"ROUNDS", 1, UINT32_MAX, &a->rounds},
        {"SEED", 1, UINT32_MAX, &a->seed},
        {"THREADS", 1, 4096, &a->threads},
    };
    bench_parse(argc - 1, argv + 1, "SECONDS MIN MAX BLOCKS_PER_THREAD ROUNDS SEED THREADS [floor]",
                arguments, sizeof arguments / sizeof arguments[0]);
    uint64_t difference =
        a->size_max > a->size_min ? a->size_max - a->size_min : a->size_min - a->size_max;
    a->size_range = difference == 0 ? 1 : (uint32_t)difference;
    printf("running    MIN %" PRIu64 ", MAX %" PRIu64 ": sizes %" PRIu64 "-%" PRIu64 " bytes\n",
           a->size_min, a->size_max, a->size_min, a->size_min + a->size_range - 1);
    printf("           %" PRIu64 " threads at a time, each %" PRIu64
           " blocks; a thread ends after %" PRIu64 " replacements; %" PRIu64 " s\n",
           a->threads, a->blocks_per_thread, a->rounds * a->blocks_per_thread, a->seconds);
}

/* Main allocates all first blocks and shuffles them, so that every thread starts with strangers. */
static unsigned char **fill_blocks(uint64_t count) {
    uint32_t random = (uint32_t)g_larson.arguments.seed;
    unsigned char **blocks = bench_table(count, sizeof *blocks);
    size_t size_max = g_larson.arguments.size_min + g_larson.arguments.size_range;
    unsigned char *buffer = g_larson.arguments.is_floor ? bench_table(count, size_max) : NULL;
    for (uint64_t i = 0; i < count; i++) {
        blocks[i] = buffer == NULL ? take_block(&random) : buffer + i * size_max;
    }
    for (uint64_t left = count; left > 1; left--) {
        uint64_t other = bench_xorshift32(&random) % left;
        unsigned char *block = blocks[left - 1];
        blocks[left - 1] = blocks[other];
        blocks[other] = block;
    }
    return blocks;
}

static void start_chains(struct chain *chains, unsigned char **blocks) {
    const struct larson *a = &g_larson.arguments;
    uint32_t random = (uint32_t)a->seed;
    for (uint64_t i = 0; i < a->threads; i++) {
        chains[i].blocks = blocks + i * a->blocks_per_thread;
        chains[i].random = bench_xorshift32(&random);
        chains[i].latency = bench_latency_new();
        pthread_t first;
        errno = pthread_create(&first, NULL, chain_thread, &chains[i]);
        if (errno != 0) {
            bench_die("pthread_create");
        }
    }
}

/* Stop after the given time; returns when every chain has ended. */
static void stop_chains(uint64_t begin_ns) {
    const struct larson *a = &g_larson.arguments;
    bench_sleep_until(begin_ns + a->seconds * UINT64_C(1000000000));
    atomic_store_explicit(&g_larson.is_stopping, true, memory_order_relaxed);
    for (uint64_t i = 0; i < a->threads; i++) {
        while (sem_wait(&g_larson.chain_ended) != 0) {
        }
    }
}

int main(int argc, char **argv) {
    parse_arguments(argc, argv);
    const struct larson *a = &g_larson.arguments;
    uint64_t block_count = a->threads * a->blocks_per_thread;
    unsigned char **blocks = fill_blocks(block_count);
    struct chain *chains = bench_table(a->threads, sizeof *chains);
    sem_init(&g_larson.chain_ended, 0, 0);

    uint64_t begin = bench_wall_ns();
    start_chains(chains, blocks);
    stop_chains(begin);
    uint64_t elapsed = bench_wall_ns() - begin;

    uint64_t operations = 0;
    uint64_t threads = 0;
    for (uint64_t i = 0; i < a->threads; i++) {
        pthread_join(chains[i].thread, NULL);
        operations += chains[i].operations;
        threads += chains[i].threads;
        errno = chains[i].error;
        if (errno != 0) {
            bench_die("pthread_create");
        }
    }
    for (uint64_t i = 0; i < block_count && !a->is_floor; i++) {
        free(blocks[i]);
    }
    printf("threads    %" PRIu64 " in all\n", threads);
    bench_print_rate(operations, elapsed); /* an operation: one free and one malloc */
    for (uint64_t i = 1; i < a->threads && chains[0].latency != NULL; i++) {
        bench_latency_merge(chains[0].latency, chains[i].latency);
    }
    bench_print_latency(chains[0].latency);
    return EXIT_SUCCESS;
}
