/* bench/bench_xmalloc.c — batches filled by some threads, freed by others. SPDX-License-Identifier: MIT */
/*
 * usage: bench_xmalloc SHAPE THREADS SECONDS MIN MAX SEED
 * for example  bench_xmalloc asymmetric 2 5 64 64 42, or symmetric 2 5 16 1024 42
 *
 * The workload of C. Lever and D. Boreham, "malloc() Performance in a Multithreaded Linux
 * Environment" (USENIX 2000, FREENIX track), written anew. Blocks travel in batches of 4,096, the
 * latest batch first; a batch is a block itself (32 KiB). Sizes are uniform in MIN … MAX.
 *
 *   asymmetric   THREADS allocators ──> one mailbox ──> THREADS releasers, which never allocate
 *   symmetric    a ring: each of THREADS threads fills batches for the next one's mailbox and
 *                frees those in its own
 *
 * This measures the remote free: every block is freed by a thread that did not allocate it (but in
 * a ring of one). A mailbox holds 100 batches at most, so who is faster waits. The first 128 bytes
 * of each block are written; one block in 256 is looked at before it is freed, the others are not
 * touched by whoever frees them.
 *
 * Prints frees, frees_per_second, CPU time, and CPU time per block (its malloc, its writes, its
 * free): with more threads than processors, or a busy machine, that is the steadier number.
 */
#include "bench_latency.h"
#include "bench_threads.h"

#include <stdatomic.h>

enum {
    BATCH_BLOCKS = 4096,
    MAILBOX_BATCHES = 100,
    WRITTEN_BYTES = 128,
    CHECKED_STRIDE = 256,
};

struct batch {
    struct batch *next;
    unsigned char *blocks[BATCH_BLOCKS];
};

/* A stack of batches, under g_xmalloc.lock. */
struct mailbox {
    struct batch *latest;
    uint64_t count;
};

struct worker {
    _Alignas(2 * BENCH_CACHE_LINE) pthread_t thread; /* on lines of its own */
    uint64_t allocated;                              /* blocks */
    uint64_t freed;
    uint32_t random;
    struct bench_latency *latency; /* NULL: not wanted */
    struct mailbox *own;           /* it frees from here; NULL = an allocator */
    struct mailbox *next;          /* it sends to here; NULL = a releaser */
};

static struct {
    uint64_t threads;
    uint64_t seconds;
    uint64_t size_min;
    uint64_t size_max;
    uint64_t seed;
    atomic_bool is_stopping;
    pthread_mutex_t lock;   /* of all mailboxes: taken twice per batch, so it does not matter */
    pthread_cond_t changed; /* some mailbox, or is_stopping */
} g_xmalloc = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static bool is_stopping(void) {
    return atomic_load_explicit(&g_xmalloc.is_stopping, memory_order_relaxed);
}

static struct batch *fill_batch(struct worker *worker) {
    struct bench_latency *latency = worker->latency; /* a copy: it stays in a register */
    struct batch *batch = malloc(sizeof *batch);
    if (batch == NULL) {
        bench_die("malloc");
    }
    uint32_t range = (uint32_t)(g_xmalloc.size_max - g_xmalloc.size_min + 1);
    for (size_t i = 0; i < BATCH_BLOCKS; i++) {
        size_t size = g_xmalloc.size_min + bench_scale(bench_xorshift32(&worker->random), range);
        uint64_t begin = latency == NULL ? 0 : bench_wall_ns();
        batch->blocks[i] = bench_take_block(size, 0);
        if (latency != NULL) {
            bench_latency_add(latency, bench_wall_ns() - begin);
        }
        memset(batch->blocks[i], (int)(i / CHECKED_STRIDE),
               size < WRITTEN_BYTES ? size : WRITTEN_BYTES);
    }
    worker->allocated += BATCH_BLOCKS;
    return batch;
}

static void release_batch(struct worker *worker, struct batch *batch) {
    struct bench_latency *latency = worker->latency; /* a copy: it stays in a register */
    for (size_t i = 0; i < BATCH_BLOCKS; i++) {
        if (i % CHECKED_STRIDE == 0 && batch->blocks[i][0] != i / CHECKED_STRIDE) {
            bench_corrupt("a block on its way");
        }
        uint64_t begin = latency == NULL ? 0 : bench_wall_ns();
        free(batch->blocks[i]);
        if (latency != NULL) {
            bench_latency_add(latency, bench_wall_ns() - begin);
        }
    }
    free(batch);
    worker->freed += BATCH_BLOCKS;
}

static void send_batch(struct mailbox *mailbox, struct batch *batch) {
    pthread_mutex_lock(&g_xmalloc.lock);
    batch->next = mailbox->latest;
    mailbox->latest = batch;
    mailbox->count++;
    pthread_cond_broadcast(&g_xmalloc.changed);
    pthread_mutex_unlock(&g_xmalloc.lock);
}

/*
 * Wait until there is something to do: a batch to free, or room for one more (*has_room). Several
 * allocators may find the last room at once; the mailbox then holds a few more than its limit.
 */
static struct batch *receive_batch(struct worker *worker, bool *has_room) {
    struct batch *batch = NULL;
    pthread_mutex_lock(&g_xmalloc.lock);
    while (!is_stopping()) {
        batch = worker->own == NULL ? NULL : worker->own->latest;
        *has_room = worker->next != NULL && worker->next->count < MAILBOX_BATCHES;
        if (batch != NULL || *has_room) {
            break;
        }
        pthread_cond_wait(&g_xmalloc.changed, &g_xmalloc.lock);
    }
    if (batch != NULL) {
        worker->own->latest = batch->next;
        worker->own->count--;
        pthread_cond_broadcast(&g_xmalloc.changed);
    }
    pthread_mutex_unlock(&g_xmalloc.lock);
    return batch;
}

static void *worker_thread(void *argument) {
    struct worker *worker = argument;
    while (!is_stopping()) {
        bool has_room = false;
        struct batch *batch = receive_batch(worker, &has_room);
        if (batch != NULL) {
            release_batch(worker, batch);
        }
        if (has_room) {
            send_batch(worker->next, fill_batch(worker));
        }
    }
    return NULL;
}

static void run(struct worker *workers, size_t worker_count, struct mailbox *mailboxes) {
    for (size_t i = 0; i < worker_count; i++) {
        workers[i].random = (uint32_t)g_xmalloc.seed + (uint32_t)i * UINT32_C(0x9E3779B9);
        workers[i].random += workers[i].random == 0; /* xorshift never leaves 0 */
        workers[i].latency = bench_latency_new();
    }
    struct bench_cost begin = bench_cost_now();
    for (size_t i = 0; i < worker_count; i++) {
        workers[i].thread = bench_start(worker_thread, &workers[i], NULL);
    }
    bench_sleep_until(begin.wall_ns + g_xmalloc.seconds * UINT64_C(1000000000));
    pthread_mutex_lock(&g_xmalloc.lock);
    atomic_store_explicit(&g_xmalloc.is_stopping, true, memory_order_relaxed);
    pthread_cond_broadcast(&g_xmalloc.changed);
    pthread_mutex_unlock(&g_xmalloc.lock);
    for (size_t i = 0; i < worker_count; i++) {
        bench_join(workers[i].thread);
    }
    struct bench_cost used = bench_cost_since(&begin);

    uint64_t allocated = 0;
    uint64_t freed = 0;
    for (size_t i = 0; i < worker_count; i++) {
        allocated += workers[i].allocated;
        freed += workers[i].freed;
    }
    uint64_t freed_in_time = freed;
    for (size_t i = 0; i < g_xmalloc.threads; i++) {
        while (mailboxes[i].latest != NULL) {
            struct batch *batch = mailboxes[i].latest;
            mailboxes[i].latest = batch->next;
            release_batch(&workers[0], batch);
            freed += BATCH_BLOCKS;
        }
    }
    if (freed != allocated || freed_in_time == 0) {
        bench_corrupt("the number of blocks");
    }
    bench_print_count("frees", freed_in_time);
    printf("%-20s %.0f\n", "frees_per_second",
           (double)freed_in_time / ((double)used.wall_ns / 1e9));
    printf("%-20s %.2f\n", "cpu_ns_per_block",
           (double)(used.user_us + used.system_us) * 1e3 / (double)freed_in_time);
    bench_print_cost(&used);
    bench_print_count("peak_rss_kib", bench_peak_rss_kib());
    bench_print_result(freed_in_time, used.wall_ns);
    for (size_t i = 1; i < worker_count && workers[0].latency != NULL; i++) {
        bench_latency_merge(workers[0].latency, workers[i].latency);
    }
    bench_print_latency(workers[0].latency);
}

int main(int argc, char **argv) {
    const char *usage = "asymmetric|symmetric THREADS SECONDS MIN MAX SEED";
    const struct bench_argument arguments[] = {
        {"THREADS", 1, 1024, &g_xmalloc.threads},
        {"SECONDS", 1, 1000000, &g_xmalloc.seconds},
        {"MIN", 1, UINT32_C(1) << 30, &g_xmalloc.size_min},
        {"MAX", 1, UINT32_C(1) << 30, &g_xmalloc.size_max},
        {"SEED", 1, UINT32_MAX, &g_xmalloc.seed},
    };
    const char *shape = bench_parse_shape(&argc, &argv, usage);
    bool is_symmetric = strcmp(shape, "symmetric") == 0;
    if (!is_symmetric && strcmp(shape, "asymmetric") != 0) {
        bench_usage(stderr, BENCH_EXIT_USAGE, usage);
    }
    bench_parse(argc, argv, usage, arguments, sizeof arguments / sizeof arguments[0]);
    if (g_xmalloc.size_max < g_xmalloc.size_min) {
        bench_usage(stderr, BENCH_EXIT_USAGE, usage);
    }

    uint64_t threads = g_xmalloc.threads;
    struct mailbox *mailboxes = bench_table(threads, sizeof *mailboxes);
    struct worker *workers = bench_table(2 * threads, sizeof *workers);
    if (is_symmetric) {
        for (uint64_t i = 0; i < threads; i++) {
            workers[i].own = &mailboxes[i];
            workers[i].next = &mailboxes[(i + 1) % threads];
        }
    } else {
        for (uint64_t i = 0; i < threads; i++) {
            workers[2 * i].own = &mailboxes[0];
            workers[2 * i + 1].next = &mailboxes[0];
        }
    }
    run(workers, is_symmetric ? threads : 2 * threads, mailboxes);
    return EXIT_SUCCESS;
}
