/* bench/bench_batches.c — the small loop: a batch allocated, then freed. SPDX-License-Identifier: MIT */
/*
 * usage: bench_batches CALL ORDER BATCH MIN MAX OPERATIONS SEED [floor]
 * for example  bench_batches malloc lifo 25 16 16 20000000 42
 *              bench_batches calloc fifo 400 16 1024 5000000 42 floor
 *
 * Again and again: BATCH blocks of MIN … MAX bytes are allocated, then all freed.
 *
 *   CALL    malloc, calloc, aligned (posix_memalign, to the block's size rounded up to a power of two, from 16 to
 *           4096 bytes), or resize (malloc, then realloc to half as much again)
 *   ORDER   lifo: the newest is freed first; fifo: the oldest; random
 *
 * An operation is one block allocated and freed. Batch 1 is the hottest loop there is. Batches of 25 to 10,000 of
 * one size are the shape of glibc's benchtests/bench-malloc-simple.c, which shows from what size on an
 * allocator's cache of free blocks no longer helps. Sizes come from a table of 4,096 that is filled before.
 * Each block's first byte is written (calloc: looked at before, and the last one), and looked at before it is freed.
 * With `floor` the same loop runs without an allocator, over a fixed buffer: what it takes is in every
 * allocator's numbers, too. With BENCH_LATENCY=1 each call is timed.
 */
#include "bench_latency.h"

enum { SIZES = 4096, ALIGNMENT_MAX = 4096, BATCH_MAX = 1 << 20 };

enum call { CALL_MALLOC, CALL_CALLOC, CALL_ALIGNED, CALL_RESIZE, CALL_COUNT };
enum order { ORDER_LIFO, ORDER_FIFO, ORDER_RANDOM, ORDER_COUNT };

static const char *const call_words[] = {"malloc", "calloc", "aligned", "resize"};
static const char *const order_words[] = {"lifo", "fifo", "random"};

struct batches {
    uint64_t batch;
    uint64_t size_min;
    uint64_t size_max;
    uint64_t operations;
    uint64_t seed;
    unsigned char **blocks;
    uint32_t *places;      /* in which order a batch is freed */
    unsigned char *buffer; /* of the floor: a byte per place, as in a cache */
    struct bench_latency *latency;
    uint32_t sizes[SIZES];
};

static const char usage[] =
    "malloc|calloc|aligned|resize lifo|fifo|random BATCH MIN MAX OPERATIONS SEED [floor]";

static size_t find_word(const char *const *words, size_t count, const char *word) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(words[i], word) == 0) {
            return i;
        }
    }
    bench_usage(stderr, BENCH_EXIT_USAGE, usage);
}

static inline unsigned char *take_calloc(size_t size) {
    unsigned char *block = calloc(1, size);
    if (block == NULL) {
        bench_die("calloc");
    }
    if (block[0] != 0 || block[size - 1] != 0) {
        bench_corrupt("a block from calloc");
    }
    block[size - 1] = 1; /* so that the next calloc has something to clear */
    return block;
}

static inline unsigned char *take_aligned(size_t size) {
    void *block;
    size_t alignment = 16;
    while (alignment < size && alignment < ALIGNMENT_MAX) {
        alignment *= 2;
    }
    errno = posix_memalign(&block, alignment, size);
    if (errno != 0) {
        bench_die("posix_memalign");
    }
    if ((uintptr_t)block % alignment != 0) {
        bench_corrupt("an alignment");
    }
    return block;
}

static inline unsigned char *take_resized(size_t size) {
    unsigned char *block = realloc(bench_take_block(size, 1), size + size / 2);
    if (block == NULL) {
        bench_die("realloc");
    }
    return block;
}

/* The call is a constant where this is inlined, so the loop has one body per call. */
static inline __attribute__((always_inline)) unsigned char *
take(struct batches *run, enum call call, uint64_t place, size_t size, bool is_floor) {
    unsigned char *block = is_floor               ? &run->buffer[place]
                           : call == CALL_CALLOC  ? take_calloc(size)
                           : call == CALL_ALIGNED ? take_aligned(size)
                           : call == CALL_RESIZE  ? take_resized(size)
                                                  : malloc(size);
    if (block == NULL) {
        bench_die("malloc");
    }
    block[0] = (unsigned char)place;
    __asm__ volatile("" : : "r"(block) : "memory");
    return block;
}

static inline __attribute__((always_inline)) void release(struct batches *run, uint64_t place,
                                                          bool is_floor) {
    unsigned char *block = run->blocks[place];
    if (block[0] != (unsigned char)place) {
        bench_corrupt("a block");
    }
    if (!is_floor) {
        free(block);
    }
}

static inline __attribute__((always_inline)) void
loop(struct batches *run, enum call call, enum order order, bool is_floor, bool is_measured) {
    uint64_t next_size = 0;
    for (uint64_t left = run->operations; left > 0;) {
        uint64_t count = left < run->batch ? left : run->batch;
        for (uint64_t i = 0; i < count; i++) {
            uint64_t begin = is_measured ? bench_wall_ns() : 0;
            run->blocks[i] = take(run, call, i, run->sizes[next_size++ % SIZES], is_floor);
            if (is_measured) {
                bench_latency_add(run->latency, bench_wall_ns() - begin);
            }
        }
        for (uint64_t i = 0; i < (order == ORDER_RANDOM ? run->batch : count); i++) {
            uint64_t place = order == ORDER_LIFO   ? count - 1 - i
                             : order == ORDER_FIFO ? i
                                                   : run->places[i];
            if (order == ORDER_RANDOM && place >= count) {
                continue; /* the last batch is a smaller one: these places are empty */
            }
            uint64_t begin = is_measured ? bench_wall_ns() : 0;
            release(run, place, is_floor);
            if (is_measured) {
                bench_latency_add(run->latency, bench_wall_ns() - begin);
            }
        }
        left -= count;
    }
}

/* A body of its own for each combination, so that none pays for the choice. */
#define LOOP(call, order)                                                                          \
    static __attribute__((noinline)) void loop_##call##_##order(struct batches *run) {             \
        loop(run, call, order, false, false);                                                      \
    }                                                                                              \
    static __attribute__((noinline)) void floor_##call##_##order(struct batches *run) {            \
        loop(run, call, order, true, false);                                                       \
    }
#define LOOPS(call) LOOP(call, ORDER_LIFO) LOOP(call, ORDER_FIFO) LOOP(call, ORDER_RANDOM)
LOOPS(CALL_MALLOC)
LOOPS(CALL_CALLOC)
LOOPS(CALL_ALIGNED)
LOOPS(CALL_RESIZE)

typedef void (*loop_function)(struct batches *run);

#define NAMES(kind, call)                                                                          \
    { kind##_##call##_ORDER_LIFO, kind##_##call##_ORDER_FIFO, kind##_##call##_ORDER_RANDOM }
static const loop_function loops[2][CALL_COUNT][ORDER_COUNT] = {
    {NAMES(loop, CALL_MALLOC), NAMES(loop, CALL_CALLOC), NAMES(loop, CALL_ALIGNED),
     NAMES(loop, CALL_RESIZE)},
    {NAMES(floor, CALL_MALLOC), NAMES(floor, CALL_CALLOC), NAMES(floor, CALL_ALIGNED),
     NAMES(floor, CALL_RESIZE)},
};

static void prepare(struct batches *run) {
    uint32_t random = (uint32_t)run->seed;
    uint32_t range = (uint32_t)(run->size_max - run->size_min + 1);
    for (size_t i = 0; i < SIZES; i++) {
        run->sizes[i] = (uint32_t)run->size_min + bench_scale(bench_xorshift32(&random), range);
    }
    run->blocks = bench_table(run->batch, sizeof *run->blocks);
    run->places = bench_table(run->batch, sizeof *run->places);
    run->buffer = bench_table(run->batch, 1);
    for (uint32_t i = 0; i < run->batch; i++) {
        uint32_t other = bench_scale(bench_xorshift32(&random), i + 1);
        run->places[i] = run->places[other];
        run->places[other] = i;
    }
}

int main(int argc, char **argv) {
    static struct batches run;
    const struct bench_argument arguments[] = {
        {"BATCH", 1, BATCH_MAX, &run.batch},
        {"MIN", 1, UINT32_C(1) << 28, &run.size_min},
        {"MAX", 1, UINT32_C(1) << 28, &run.size_max},
        {"OPERATIONS", 1, UINT64_C(1) << 40, &run.operations},
        {"SEED", 1, UINT32_MAX, &run.seed},
    };
    bool is_floor = bench_take_floor(&argc, argv);
    const char *call_word = bench_parse_shape(&argc, &argv, usage);
    if (argc == 0) {
        bench_usage(stderr, BENCH_EXIT_USAGE, usage);
    }
    size_t call = find_word(call_words, CALL_COUNT, call_word);
    size_t order = find_word(order_words, ORDER_COUNT, argv[0]);
    bench_parse(argc - 1, argv + 1, usage, arguments, sizeof arguments / sizeof arguments[0]);
    if (run.size_max < run.size_min) {
        bench_usage(stderr, BENCH_EXIT_USAGE, usage);
    }
    prepare(&run);
    run.latency = bench_latency_new();
    uint64_t begin = bench_wall_ns();
    if (run.latency == NULL) {
        loops[is_floor][call][order](&run);
    } else {
        loop(&run, (enum call)call, (enum order)order, is_floor, true);
    }
    bench_print_rate(run.operations, bench_wall_ns() - begin);
    bench_print_latency(run.latency);
    return EXIT_SUCCESS;
}
