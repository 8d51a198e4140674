/* bench/bench_memory.c — resident memory, where allocators keep too much. SPDX-License-Identifier: MIT */
/*
 * usage: bench_memory SHAPE ARGUMENT...
 *
 *   burst MIB SIZES SURVIVORS AFTER SECONDS SEED      burst 1024 small 1 busy 2 42
 *       MIB are allocated, all of it freed but for SURVIVORS percent at random; and then? What is
 *       still resident after 0.1 s, 0.5 s, …, SECONDS? AFTER is `idle` (asleep), or what takes any
 *       allocator through its slow path at least 100 times a second: every 5 ms a batch allocated
 *       and freed, `light` of 8,192 blocks of 64 bytes, `busy` of 2,016 blocks up to 1 MiB, about
 *       3.5 MiB together.
 *
 *   thread_pool WORKERS ROUNDS MIB SEED               thread_pool 8 20 64 42
 *       Each round one thread allocates MIB of work items, and WORKERS threads, which never
 *       allocate, free them. RSS must not grow from round to round.
 *
 *   idle_owner GENERATIONS MIB SEED                   idle_owner 8 64 42
 *       Each generation a new thread allocates MIB and then sleeps until the program ends; another
 *       thread, which never allocates, frees them. What is live is never more than MIB. Does the
 *       memory of the sleeping owners come back?
 *
 *   reclaimer PRODUCERS ROUNDS MIB SEED               reclaimer 16 10 384 42
 *       PRODUCERS threads keep MIB of 592-byte blocks; each round each block is replaced once, in
 *       random order, and a single thread, which never allocates, frees the old ones (the shape of
 *       microsoft/mimalloc issue 1364).
 *
 *   live_threads THREADS BLOCKS                       live_threads 1000 4
 *       THREADS live threads, each holding BLOCKS blocks of each of 20 sizes from 16 B to 4 KiB.
 *       Memory per thread, less that of a thread that allocates nothing (a child process measures
 *       it); then again when they have freed all, and live on.
 *
 *   short_threads THREADS AT_A_TIME SEED              short_threads 100000 32 42
 *       THREADS threads, AT_A_TIME of them alive, each allocating and freeing blocks of 20 sizes.
 *
 * SIZES are small (16 B … 1 KiB), mid (1 KiB … 64 KiB), large (64 KiB … 4 MiB), mixed (16 B … 4 MiB),
 * where every doubling has as many blocks; or even (16 B … 4 MiB), where every doubling has as many
 * bytes. thread_pool has even sizes from 16 B to 64 KiB, idle_owner has small ones.
 *
 * Every number of KiB is the growth since before the first allocation, the program's own tables
 * resident then; live_kib is what was requested and not freed. Every OS page of a block is written,
 * each block is stamped, and the stamp is looked at before the block is freed.
 */
#include "bench_memory.h"

#include <spawn.h>
#include <stdatomic.h>
#include <sys/wait.h>

static const char usage[] =
    "SHAPE ARGUMENT...; SHAPE ARGUMENT... is one of\n"
    "  burst MIB small|mid|large|mixed|even SURVIVORS busy|light|idle SECONDS SEED\n"
    "  thread_pool WORKERS ROUNDS MIB SEED\n"
    "  idle_owner GENERATIONS MIB SEED\n"
    "  reclaimer PRODUCERS ROUNDS MIB SEED\n"
    "  live_threads THREADS BLOCKS\n"
    "  short_threads THREADS AT_A_TIME SEED";

static const struct size_mix size_mixes[] = {
    {"small", 4, 6, false},  {"mid", 10, 6, false}, {"large", 16, 6, false},
    {"mixed", 4, 18, false}, {"even", 4, 18, true},
};
static const struct size_mix item_mix = {"items", 4, 12, true};

static const struct size_mix *find_mix(const char *name) {
    for (size_t i = 0; i < sizeof size_mixes / sizeof size_mixes[0]; i++) {
        if (strcmp(size_mixes[i].name, name) == 0) {
            return &size_mixes[i];
        }
    }
    bench_usage(stderr, BENCH_EXIT_USAGE, usage);
}

/* --- burst --------------------------------------------------------------------------------- */

enum { TICK_MS = 5, TICK_LIGHT = 8192, TICK_LIGHT_SIZE = 64, TICK_SMALL = 2000, TICK_LARGE = 16 };

enum after { AFTER_IDLE, AFTER_LIGHT, AFTER_BUSY };

static size_t pick_tick_size(enum after after, size_t i, uint32_t *random) {
    static const struct size_mix small = {"", 4, 8, false};
    static const struct size_mix large = {"", 12, 8, false};
    if (after == AFTER_LIGHT) {
        return TICK_LIGHT_SIZE;
    }
    return pick_size(i < TICK_SMALL ? &small : &large, random);
}

/* What a thread that is not idle does every 5 ms. */
static void tick(enum after after, uint32_t *random) {
    static unsigned char *blocks[TICK_LIGHT];
    size_t count = after == AFTER_LIGHT ? TICK_LIGHT : TICK_SMALL + TICK_LARGE;
    for (size_t i = 0; i < count; i++) {
        blocks[i] = bench_take_block(pick_tick_size(after, i, random), 1);
    }
    for (size_t i = 0; i < count; i++) {
        free(blocks[i]);
    }
}

static void pass_time(uint64_t end_ns, enum after after, uint32_t *random) {
    while (after != AFTER_IDLE && bench_wall_ns() + TICK_MS * UINT64_C(1000000) < end_ns) {
        tick(after, random);
        bench_sleep_until(bench_wall_ns() + TICK_MS * UINT64_C(1000000));
    }
    bench_sleep_until(end_ns);
}

/* The OS pages on which live blocks lie: what an allocator would keep that gives back all others. */
static uint64_t count_pages(const struct blocks *blocks) {
    uint64_t pages_max = blocks->live_bytes / OS_PAGE;
    for (uint64_t i = 0; i < blocks->count; i++) {
        pages_max += blocks->block[i] == NULL ? 0 : 2;
    }
    uint64_t slots = 64; /* a power of two, half of it empty in the end */
    while (slots < 2 * pages_max) {
        slots *= 2;
    }
    uintptr_t *seen =
        bench_table(slots, sizeof *seen); /* a hash table, open addressing; 0 = free */
    uint64_t pages = 0;
    for (uint64_t i = 0; i < blocks->count; i++) {
        uintptr_t first = (uintptr_t)blocks->block[i] / OS_PAGE;
        uintptr_t last = ((uintptr_t)blocks->block[i] + blocks->size[i] - 1) / OS_PAGE;
        for (uintptr_t page = first; blocks->block[i] != NULL && page <= last; page++) {
            uint64_t at = page * UINT64_C(0x9E3779B97F4A7C15) >> 20 & (slots - 1);
            while (seen[at] != 0 && seen[at] != page) {
                at = (at + 1) & (slots - 1);
            }
            pages += seen[at] == 0;
            seen[at] = page;
        }
    }
    munmap(seen, slots * sizeof *seen);
    return pages;
}

static void run_burst(int argc, char **argv) {
    static const char *const after_words[] = {"idle", "light", "busy"};
    if (argc != 6) {
        bench_usage(stderr, BENCH_EXIT_USAGE, usage);
    }
    unsigned after = AFTER_IDLE;
    while (after <= AFTER_BUSY && strcmp(argv[3], after_words[after]) != 0) {
        after++;
    }
    if (after > AFTER_BUSY) {
        bench_usage(stderr, BENCH_EXIT_USAGE, usage);
    }
    uint64_t mib = bench_parse_number("MIB", argv[0], 1, UINT64_C(1) << 20);
    const struct size_mix *mix = find_mix(argv[1]);
    uint64_t survivors = bench_parse_number("SURVIVORS", argv[2], 0, 100);
    uint64_t seconds = bench_parse_number("SECONDS", argv[4], 1, 1000);
    uint32_t random = (uint32_t)bench_parse_number("SEED", argv[5], 1, UINT32_MAX);

    struct blocks blocks = plan_blocks(mix, mib * MIB, random);
    begin_report();
    take_all(&blocks);
    report("full", blocks.live_bytes);
    for (uint64_t i = 0; i < blocks.count; i++) {
        if (bench_scale(bench_xorshift32(&random), 100) >= survivors) {
            free_slot(&blocks, i);
            blocks.live_bytes -= blocks.size[i];
        }
    }
    uint64_t freed_ns = bench_wall_ns();
    int64_t kib = report("freed", blocks.live_bytes);
    print_kib("freed_kib", kib);

    static const uint64_t at_ms[] = {100, 500, 1000, 2000, 5000, 12000, 30000, 60000};
    for (size_t i = 0; i < sizeof at_ms / sizeof at_ms[0] && at_ms[i] <= seconds * 1000; i++) {
        pass_time(freed_ns + at_ms[i] * UINT64_C(1000000), (enum after)after, &random);
        char when[32];
        snprintf(when, sizeof when, "at %.1f s", (double)at_ms[i] / 1e3);
        kib = report(when, blocks.live_bytes);
    }
    print_kib("end_kib", kib);
    print_kib("end_live_kib", (int64_t)(blocks.live_bytes / KIB));
    print_kib("end_pages_kib", (int64_t)(count_pages(&blocks) * OS_PAGE / KIB));
    for (uint64_t i = 0; i < blocks.count; i++) {
        if (blocks.block[i] != NULL) {
            free_slot(&blocks, i);
        }
    }
}

/* --- thread_pool --------------------------------------------------------------------------- */

struct pool {
    struct blocks items;
    uint64_t workers;
    uint64_t rounds;
    pthread_barrier_t gate; /* of the workers and main: a round's items are there; are freed */
};

struct pool_worker {
    struct pool *pool;
    uint64_t index;
    pthread_t thread;
};

/* Neighbours in memory go to different workers, as from a queue. */
static void *pool_worker_thread(void *argument) {
    const struct pool_worker *self = argument;
    struct pool *pool = self->pool;
    for (uint64_t round = 0; round < pool->rounds; round++) {
        pthread_barrier_wait(&pool->gate);
        for (uint64_t i = self->index; i < pool->items.count; i += pool->workers) {
            free_slot(&pool->items, i);
        }
        pthread_barrier_wait(&pool->gate);
    }
    return NULL;
}

static void run_thread_pool(int argc, char **argv) {
    static struct pool pool;
    uint64_t mib;
    uint64_t seed;
    const struct bench_argument arguments[] = {
        {"WORKERS", 1, 1024, &pool.workers},
        {"ROUNDS", 2, UINT32_MAX, &pool.rounds},
        {"MIB", 1, UINT64_C(1) << 20, &mib},
        {"SEED", 1, UINT32_MAX, &seed},
    };
    bench_parse(argc, argv, usage, arguments, sizeof arguments / sizeof arguments[0]);
    pool.items = plan_blocks(&item_mix, mib * MIB, (uint32_t)seed);
    struct pool_worker *workers = bench_table(pool.workers, sizeof *workers);
    pthread_barrier_init(&pool.gate, NULL, (unsigned)pool.workers + 1);
    begin_report();
    for (uint64_t i = 0; i < pool.workers; i++) {
        workers[i] = (struct pool_worker){.pool = &pool, .index = i};
        workers[i].thread = bench_start(pool_worker_thread, &workers[i], NULL);
    }
    int64_t full[2] = {0};  /* in round 2, the first that finds memory of a round before; */
    int64_t freed[2] = {0}; /* in the last round */
    for (uint64_t round = 1; round <= pool.rounds; round++) {
        take_all(&pool.items);
        full[round > 2] = report_numbered("full", round, pool.items.live_bytes);
        pthread_barrier_wait(&pool.gate);
        pthread_barrier_wait(&pool.gate);
        freed[round > 2] = report_numbered("freed", round, 0);
        plan_sizes(&pool.items, &item_mix, (uint32_t)(seed + round * 2 + 1));
    }
    for (uint64_t i = 0; i < pool.workers; i++) {
        bench_join(workers[i].thread);
    }
    print_kib("full_kib_round_2", full[0]);
    print_kib("full_kib_last", full[pool.rounds > 2]);
    print_kib("freed_kib_round_2", freed[0]);
    print_kib("freed_kib_last", freed[pool.rounds > 2]);
}

/* --- idle_owner ---------------------------------------------------------------------------- */

/* Three parties, one at work at a time; whoever posts a semaphore has finished with the blocks. */
static struct {
    struct blocks blocks;
    uint64_t generations;
    sem_t to_reclaim; /* → the reclaimer */
    sem_t done;       /* → main */
    sem_t at_end;     /* → the sleeping owners */
} g_idle;

static void *owner_thread(void *argument) {
    (void)argument;
    take_all(&g_idle.blocks);
    sem_post(&g_idle.done);
    bench_wait(&g_idle.at_end);
    return NULL;
}

static void *reclaimer_thread(void *argument) {
    (void)argument;
    for (uint64_t i = 0; i < g_idle.generations; i++) {
        bench_wait(&g_idle.to_reclaim);
        for (uint64_t slot = 0; slot < g_idle.blocks.count; slot++) {
            free_slot(&g_idle.blocks, slot);
        }
        sem_post(&g_idle.done);
    }
    return NULL;
}

static void run_idle_owner(int argc, char **argv) {
    uint64_t mib;
    uint64_t seed;
    const struct bench_argument arguments[] = {
        {"GENERATIONS", 1, 1000, &g_idle.generations},
        {"MIB", 1, UINT64_C(1) << 20, &mib},
        {"SEED", 1, UINT32_MAX, &seed},
    };
    bench_parse(argc, argv, usage, arguments, sizeof arguments / sizeof arguments[0]);
    g_idle.blocks = plan_blocks(find_mix("small"), mib * MIB, (uint32_t)seed);
    pthread_t *owners = bench_table(g_idle.generations, sizeof *owners);
    sem_init(&g_idle.to_reclaim, 0, 0);
    sem_init(&g_idle.done, 0, 0);
    sem_init(&g_idle.at_end, 0, 0);
    begin_report();
    pthread_t reclaimer = bench_start(reclaimer_thread, NULL, NULL);
    int64_t full = 0;
    int64_t freed = 0;
    for (uint64_t i = 0; i < g_idle.generations; i++) {
        owners[i] = bench_start(owner_thread, NULL, NULL);
        bench_wait(&g_idle.done);
        full = report_numbered("full", i + 1, g_idle.blocks.live_bytes);
        sem_post(&g_idle.to_reclaim);
        bench_wait(&g_idle.done);
        freed = report_numbered("freed", i + 1, 0);
    }
    for (uint64_t i = 0; i < g_idle.generations; i++) {
        sem_post(&g_idle.at_end);
    }
    for (uint64_t i = 0; i < g_idle.generations; i++) {
        bench_join(owners[i]);
    }
    bench_join(reclaimer);
    print_kib("full_kib_last", full);
    print_kib("freed_kib_last", freed);
}

/* --- reclaimer ----------------------------------------------------------------------------- */

enum { RECLAIM_SIZE = 592, RING_SLOTS = 256 };

/* One producer's ring to the reclaimer. A full slot becomes NULL when its block has been freed. */
struct producer {
    _Alignas(2 * BENCH_CACHE_LINE) _Atomic(void *) ring[RING_SLOTS];
    unsigned char **blocks;
    uint64_t sent;
    uint32_t random;
    pthread_t thread;
};

static struct {
    struct producer *producers;
    uint64_t producer_count;
    uint64_t rounds;
    uint64_t blocks_per_producer;
    pthread_barrier_t gate; /* of producers and main */
    atomic_bool is_stopping;
} g_reclaim;

static void send_block(struct producer *self, void *block) {
    _Atomic(void *) *slot = &self->ring[self->sent++ % RING_SLOTS];
    while (atomic_load_explicit(slot, memory_order_acquire) != NULL) {
        sched_yield();
    }
    /* Release: the block's stamp is visible before the block. Pairs with the acquire in
     * reclaim_blocks(). */
    atomic_store_explicit(slot, block, memory_order_release);
}

static void *producer_thread(void *argument) {
    struct producer *self = argument;
    uint64_t count = g_reclaim.blocks_per_producer;
    for (uint64_t round = 0; round <= g_reclaim.rounds; round++) { /* the first fills */
        for (uint64_t i = 0; i < count; i++) {
            uint64_t slot =
                round == 0 ? i : bench_scale(bench_xorshift32(&self->random), (uint32_t)count);
            unsigned char *old = self->blocks[slot];
            self->blocks[slot] = take_touched(RECLAIM_SIZE, (uint32_t)slot);
            if (old != NULL) {
                send_block(self, old);
            }
        }
        pthread_barrier_wait(&g_reclaim.gate);
        pthread_barrier_wait(&g_reclaim.gate);
    }
    return NULL;
}

/* Frees what is in all rings; how many blocks that were. */
static uint64_t reclaim_blocks(void) {
    uint64_t count = 0;
    for (uint64_t i = 0; i < g_reclaim.producer_count; i++) {
        for (size_t slot = 0; slot < RING_SLOTS; slot++) {
            _Atomic(void *) *at = &g_reclaim.producers[i].ring[slot];
            void *block = atomic_load_explicit(at, memory_order_acquire);
            if (block != NULL) {
                free(block);
                /* Release, for are_rings_empty(): NULL says that the block is back. */
                atomic_store_explicit(at, NULL, memory_order_release);
                count++;
            }
        }
    }
    return count;
}

static void *ring_reclaimer_thread(void *argument) {
    (void)argument;
    while (!atomic_load_explicit(&g_reclaim.is_stopping, memory_order_relaxed)) {
        if (reclaim_blocks() == 0) {
            sched_yield();
        }
    }
    reclaim_blocks();
    return NULL;
}

static bool are_rings_empty(void) {
    for (uint64_t i = 0; i < g_reclaim.producer_count; i++) {
        for (size_t slot = 0; slot < RING_SLOTS; slot++) {
            if (atomic_load_explicit(&g_reclaim.producers[i].ring[slot], memory_order_acquire)) {
                return false;
            }
        }
    }
    return true;
}

static void run_reclaimer(int argc, char **argv) {
    uint64_t mib;
    uint64_t seed;
    const struct bench_argument arguments[] = {
        {"PRODUCERS", 1, 1024, &g_reclaim.producer_count},
        {"ROUNDS", 1, UINT32_MAX, &g_reclaim.rounds},
        {"MIB", 1, UINT64_C(1) << 20, &mib},
        {"SEED", 1, UINT32_MAX, &seed},
    };
    bench_parse(argc, argv, usage, arguments, sizeof arguments / sizeof arguments[0]);
    uint64_t producers = g_reclaim.producer_count;
    uint64_t count = mib * MIB / RECLAIM_SIZE / producers + 1;
    g_reclaim.blocks_per_producer = count;
    g_reclaim.producers = bench_table(producers, sizeof *g_reclaim.producers);
    unsigned char **blocks = bench_table(producers * count, sizeof *blocks);
    pthread_barrier_init(&g_reclaim.gate, NULL, (unsigned)producers + 1);
    uint32_t random = (uint32_t)seed;
    begin_report();
    pthread_t reclaimer = bench_start(ring_reclaimer_thread, NULL, NULL);
    for (uint64_t i = 0; i < producers; i++) {
        struct producer *producer = &g_reclaim.producers[i];
        producer->blocks = blocks + i * count;
        producer->random = bench_xorshift32(&random);
        producer->thread = bench_start(producer_thread, producer, NULL);
    }
    int64_t kib = 0;
    for (uint64_t round = 0; round <= g_reclaim.rounds; round++) {
        pthread_barrier_wait(&g_reclaim.gate);
        while (!are_rings_empty()) {
            sched_yield();
        }
        kib = report_numbered("round", round, producers * count * RECLAIM_SIZE);
        pthread_barrier_wait(&g_reclaim.gate);
    }
    for (uint64_t i = 0; i < producers; i++) {
        bench_join(g_reclaim.producers[i].thread);
    }
    atomic_store_explicit(&g_reclaim.is_stopping, true, memory_order_relaxed);
    bench_join(reclaimer);
    for (uint64_t i = 0; i < producers * count; i++) {
        free_stamped(blocks[i], (uint32_t)(i % count));
    }
    print_kib("full_kib_last", kib);
    print_kib("full_live_kib", (int64_t)(producers * count * RECLAIM_SIZE / KIB));
}

/* --- threads that live, threads that die ---------------------------------------------------- */

enum { CLASSES = 20, THREAD_STACK = 256 * KIB };

/* 20 sizes, evenly spread over the powers from 16 to 4,096: each 4/3 of the one before, about. */
static const uint16_t class_sizes[CLASSES] = {16,  21,   29,   38,   51,   69,  92,
                                              123, 165,  221,  296,  397,  531, 711,
                                              951, 1274, 1706, 2285, 3059, 4096};

static struct {
    uint64_t threads;
    uint64_t blocks_per_class;
    unsigned char **blocks;
    pthread_barrier_t gate; /* of the live threads and main */
} g_threads;

static void *live_thread(void *argument) {
    unsigned char **blocks = argument;
    for (uint64_t i = 0; i < CLASSES * g_threads.blocks_per_class; i++) {
        blocks[i] = take_touched(class_sizes[i % CLASSES], (uint32_t)i);
    }
    pthread_barrier_wait(&g_threads.gate); /* main measures */
    pthread_barrier_wait(&g_threads.gate);
    for (uint64_t i = 0; i < CLASSES * g_threads.blocks_per_class; i++) {
        free_stamped(blocks[i], (uint32_t)i);
    }
    pthread_barrier_wait(&g_threads.gate); /* and measures again */
    pthread_barrier_wait(&g_threads.gate);
    return NULL;
}

/* RSS in KiB of as many threads that allocate nothing: what a child of this program measures. */
static int64_t measure_bare_threads(void) {
    int ends[2];
    posix_spawn_file_actions_t actions;
    if (pipe(ends) != 0 || posix_spawn_file_actions_init(&actions) != 0 ||
        posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO) != 0 ||
        posix_spawn_file_actions_addclose(&actions, ends[0]) != 0) {
        bench_die("pipe");
    }
    char shape[] = "live_threads";
    char count[32];
    char no_blocks[] = "0";
    snprintf(count, sizeof count, "%" PRIu64, g_threads.threads);
    char *arguments[] = {program_invocation_name, shape, count, no_blocks, NULL};
    pid_t child;
    errno = posix_spawn(&child, "/proc/self/exe", &actions, NULL, arguments, environ);
    if (errno != 0) {
        bench_die("posix_spawn");
    }
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    char text[4096];
    size_t length = 0;
    for (ssize_t got; (got = read(ends[0], text + length, sizeof text - 1 - length)) > 0;) {
        length += (size_t)got;
    }
    text[length] = '\0';
    close(ends[0]);
    int status;
    const char *held = strstr(text, "held_kib ");
    if (waitpid(child, &status, 0) != child || status != 0 || held == NULL) {
        errno = ECHILD;
        bench_die("the child without allocations");
    }
    return strtoll(held + strlen("held_kib "), NULL, 10);
}

static void run_live_threads(int argc, char **argv) {
    const struct bench_argument arguments[] = {
        {"THREADS", 1, BENCH_THREADS_MAX, &g_threads.threads},
        {"BLOCKS", 0, 10000, &g_threads.blocks_per_class},
    };
    bench_parse(argc, argv, usage, arguments, sizeof arguments / sizeof arguments[0]);
    uint64_t per_thread = CLASSES * g_threads.blocks_per_class;
    uint64_t live_bytes = 0;
    for (size_t i = 0; i < CLASSES; i++) {
        live_bytes += g_threads.threads * g_threads.blocks_per_class * class_sizes[i];
    }
    int64_t bare_kib = per_thread == 0 ? 0 : measure_bare_threads();
    unsigned char **blocks = bench_table(g_threads.threads * per_thread + 1, sizeof *blocks);
    pthread_t *threads = bench_table(g_threads.threads, sizeof *threads);
    pthread_barrier_init(&g_threads.gate, NULL, (unsigned)g_threads.threads + 1);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    begin_report();
    for (uint64_t i = 0; i < g_threads.threads; i++) {
        threads[i] = bench_start(live_thread, blocks + i * per_thread, &attributes);
    }
    pthread_barrier_wait(&g_threads.gate);
    int64_t held_kib = report("held", live_bytes);
    pthread_barrier_wait(&g_threads.gate);
    pthread_barrier_wait(&g_threads.gate);
    int64_t freed_kib = report("freed", 0);
    pthread_barrier_wait(&g_threads.gate);
    for (uint64_t i = 0; i < g_threads.threads; i++) {
        bench_join(threads[i]);
    }
    printf("held_kib %" PRId64 "\n", held_kib); /* as measure_bare_threads() reads it */
    if (per_thread != 0) {
        double count = (double)g_threads.threads;
        print_kib("bare_kib", bare_kib);
        printf("%-20s %.2f\n", "live_kib_per_thread", (double)live_bytes / KIB / count);
        printf("%-20s %.2f\n", "held_kib_per_thread", (double)(held_kib - bare_kib) / count);
        printf("%-20s %.2f\n", "freed_kib_per_thread", (double)(freed_kib - bare_kib) / count);
    }
}

static void *short_thread(void *argument) {
    uint32_t random = (uint32_t)(uintptr_t)argument;
    unsigned char *blocks[CLASSES];
    for (uint32_t i = 0; i < CLASSES; i++) {
        uint32_t size = class_sizes[i] - bench_scale(bench_xorshift32(&random), class_sizes[i] / 8);
        blocks[i] = take_touched(size, i);
    }
    for (uint32_t i = 0; i < CLASSES; i++) {
        free_stamped(blocks[i], i);
    }
    return NULL;
}

static void run_short_threads(int argc, char **argv) {
    uint64_t count;
    uint64_t at_a_time;
    uint64_t seed;
    const struct bench_argument arguments[] = {
        {"THREADS", 1, UINT64_C(1) << 40, &count},
        {"AT_A_TIME", 1, BENCH_THREADS_MAX, &at_a_time},
        {"SEED", 1, UINT32_MAX, &seed},
    };
    bench_parse(argc, argv, usage, arguments, sizeof arguments / sizeof arguments[0]);
    pthread_t *threads = bench_table(at_a_time, sizeof *threads);
    uint32_t random = (uint32_t)seed;
    begin_report();
    int64_t kib = 0;
    for (uint64_t i = 0; i < count + at_a_time; i++) {
        if (i >= at_a_time && i - at_a_time < count) {
            /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): bench_parse() took 1 or more */
            bench_join(threads[i % at_a_time]); /* the oldest */
        }
        if (i < count) {
            void *argument = (void *)(uintptr_t)bench_xorshift32(&random);
            threads[i % at_a_time] = bench_start(short_thread, argument, NULL);
        }
        if (i + 1 == at_a_time || (i < count && (i + 1) % (count / 10 + 1) == 0)) {
            report_numbered("threads", i + 1, 0);
        }
    }
    kib = report("none left", 0);
    print_kib("end_kib", kib);
    printf("%-20s %.0f\n", "threads_per_second",
           (double)count / ((double)(bench_wall_ns() - g_memory.begin_ns) / 1e9));
    bench_print_result(count, bench_wall_ns() - g_memory.begin_ns);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(int argc, char **argv);
    } shapes[] = {
        {"burst", run_burst},
        {"thread_pool", run_thread_pool},
        {"idle_owner", run_idle_owner},
        {"reclaimer", run_reclaimer},
        {"live_threads", run_live_threads},
        {"short_threads", run_short_threads},
    };
    const char *name = bench_parse_shape(&argc, &argv, usage);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (strcmp(name, shapes[i].name) == 0) {
            shapes[i].run(argc, argv);
            end_report();
            return EXIT_SUCCESS;
        }
    }
    bench_usage(stderr, BENCH_EXIT_USAGE, usage);
}
