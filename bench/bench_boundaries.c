/* bench/bench_boundaries.c — sizes where tiers meet. SPDX-License-Identifier: MIT */
/*
 * usage: bench_boundaries ROUNDS [--size N] [--batch N] [--warmup N]     for example 100000
 *
 * For each size: warm up, then allocate and free ROUNDS blocks, BATCH live at a time (by default 1,
 * then 256), each with its first byte written. A size that falls between two tiers shows as a large
 * ns/pair here and, under a tracer, as system calls.
 *
 * For the tracer the steady state of each measurement is bracketed by two system calls that fail
 * and change nothing, and whose text names size and batch:
 *
 *   write(-1, "steady-begin 1016 256", 21) = -1 EBADF
 *   … the rounds …
 *   write(-1, "steady-end 1016 256", 19) = -1 EBADF
 *
 * In between there is nothing but malloc, free and the write of the first byte.
 */
#include "bench_common.h"

#include <getopt.h>
#include <sys/syscall.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

/* clang-format off */
static const size_t boundary_sizes[] = {
    1008, 1015, 1016, 1017, 1023, 1024, 1025, /* Tiny's end, with and without a header of 1 to 16 */
    1039, 1040,                               /* the origin's largest request, and one more */
    2047, 2048, 2049,                         /* powers of two, */
    4095, 4096, 4097,                         /* the OS page among them */
    8191, 8192, 8193,                         /* where the origin's second tier began */
    32 * KIB - 1, 32 * KIB, 32 * KIB + 1,     /* half a unit */
    64 * KIB - 1, 64 * KIB, 64 * KIB + 1,     /* one unit */
    256 * KIB - 1, 256 * KIB, 256 * KIB + 1,  /* Mid's end */
    MIB - 1, MIB, MIB + 1, 4 * MIB,           /* spans of many units */
    64 * MIB - 1,                             /* just inside Large */
};
/* clang-format on */
enum { SIZE_COUNT = sizeof boundary_sizes / sizeof boundary_sizes[0] };

enum { BATCH_MAX = 1 << 20 };

struct boundaries {
    uint64_t rounds;
    uint64_t size;   /* 0 = all of boundary_sizes */
    uint64_t batch;  /* 0 = 1 and then 256 */
    uint64_t warmup; /* rounds before each measurement */
    unsigned char **blocks;
};

static const char usage[] = "ROUNDS [--size N] [--batch N] [--warmup N]";

static void parse_arguments(int argc, char **argv, struct boundaries *run) {
    static const struct option options[] = {
        {"size", required_argument, NULL, 's'},
        {"batch", required_argument, NULL, 'b'},
        {"warmup", required_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    /* 16 batches of 256: enough for caches that grow by doubling to reach their size. */
    run->warmup = 4096;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case 's':
            run->size = bench_parse_number("--size", optarg, 1, UINT64_C(1) << 40);
            break;
        case 'b':
            run->batch = bench_parse_number("--batch", optarg, 1, BATCH_MAX);
            break;
        case 'w':
            run->warmup = bench_parse_number("--warmup", optarg, 0, UINT32_MAX);
            break;
        case 'h':
            bench_usage(stdout, EXIT_SUCCESS, usage);
        default:
            bench_usage(stderr, BENCH_EXIT_USAGE, usage);
        }
    }
    const struct bench_argument rounds = {"ROUNDS", 1, UINT64_C(1) << 40, &run->rounds};
    bench_parse(argc - optind, argv + optind, usage, &rounds, 1);
}

/* `rounds` allocations and as many frees; the last batch may be a smaller one. */
static void allocate_and_free(unsigned char **blocks, size_t size, uint64_t rounds,
                              uint64_t batch) {
    while (rounds > 0) {
        uint64_t live = rounds < batch ? rounds : batch;
        for (uint64_t i = 0; i < live; i++) {
            blocks[i] = bench_take_block(size, 1);
        }
        for (uint64_t i = 0; i < live; i++) {
            free(blocks[i]);
        }
        rounds -= live;
    }
}

/* A system call without effect that a tracer recognises; raw, so that no wrapper adds to it. */
static void mark(const char *what, size_t size, uint64_t batch) {
    char text[64];
    int length = snprintf(text, sizeof text, "%s %zu %" PRIu64, what, size, batch);
    syscall(SYS_write, -1, text, length);
}

static void measure(const struct boundaries *run, size_t size, uint64_t batch) {
    allocate_and_free(run->blocks, size, run->warmup, batch);
    /* The clock of CPU time is a system call itself, so it is read outside of the brackets. */
    uint64_t begin = bench_cpu_ns();
    mark("steady-begin", size, batch);
    allocate_and_free(run->blocks, size, run->rounds, batch);
    mark("steady-end", size, batch);
    uint64_t elapsed = bench_cpu_ns() - begin;
    printf("%10zu %8" PRIu64 " %10.4f %12.1f\n", size, batch, (double)elapsed / 1e9,
           (double)elapsed / (double)run->rounds);
}

int main(int argc, char **argv) {
    struct boundaries run = {0};
    parse_arguments(argc, argv, &run);
    static const uint64_t batches[] = {1, 256};
    run.blocks = bench_table(run.batch > 256 ? run.batch : 256, sizeof *run.blocks);
    printf("%10s %8s %10s %12s\n", "size", "batch", "cpu s", "ns/pair");
    for (size_t i = 0; i < (run.size != 0 ? 1 : SIZE_COUNT); i++) {
        size_t size = run.size != 0 ? run.size : boundary_sizes[i];
        for (size_t j = 0; j < (run.batch != 0 ? 1 : 2); j++) {
            measure(&run, size, run.batch != 0 ? run.batch : batches[j]);
        }
    }
    return EXIT_SUCCESS;
}
