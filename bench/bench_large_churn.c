/* bench/bench_large_churn.c — buffers of some MiB, replaced at random. SPDX-License-Identifier: MIT */
/*
 * usage: bench_large_churn REPLACEMENTS BUFFERS MIN_KIB MAX_KIB SEED
 * for example  bench_large_churn 2000 20 5120 25600 42
 *
 * The workload of L. Stolyarov, microsoft/mimalloc issue 447, written anew: BUFFERS live buffers of
 * MIN_KIB … MAX_KIB; each step allocates one of a random size, clears it, and only then frees a
 * random one whose place it takes. Clearing costs every allocator the same; what differs is the page
 * faults, one for every OS page (or huge page) of memory that was given back in between.
 *
 * Each buffer is stamped at both ends, and looked at before it is freed. Prints time, and
 * minor_faults; a fault costs 0.25 µs (bare metal) to 2 µs (virtual machine) per 4 KiB.
 */
#include "bench_common.h"

struct buffer {
    unsigned char *bytes; /* NULL = none yet */
    size_t size;
    uint32_t stamp;
};

static void write_stamps(const struct buffer *buffer) {
    memcpy(buffer->bytes, &buffer->stamp, sizeof buffer->stamp);
    memcpy(buffer->bytes + buffer->size - sizeof buffer->stamp, &buffer->stamp,
           sizeof buffer->stamp);
}

static void release(const struct buffer *buffer) {
    if (buffer->bytes == NULL) {
        return;
    }
    const unsigned char *end = buffer->bytes + buffer->size - sizeof buffer->stamp;
    if (memcmp(buffer->bytes, &buffer->stamp, sizeof buffer->stamp) != 0 ||
        memcmp(end, &buffer->stamp, sizeof buffer->stamp) != 0) {
        bench_corrupt("a buffer");
    }
    free(buffer->bytes);
}

int main(int argc, char **argv) {
    uint64_t replacements;
    uint64_t count;
    uint64_t min_kib;
    uint64_t max_kib;
    uint64_t seed;
    const char *usage = "REPLACEMENTS BUFFERS MIN_KIB MAX_KIB SEED";
    const struct bench_argument arguments[] = {
        {"REPLACEMENTS", 1, UINT32_MAX, &replacements},
        {"BUFFERS", 1, UINT32_C(1) << 20, &count},
        {"MIN_KIB", 1, UINT32_C(1) << 21, &min_kib},
        {"MAX_KIB", 1, UINT32_C(1) << 21, &max_kib},
        {"SEED", 1, UINT32_MAX, &seed},
    };
    bench_parse(argc - 1, argv + 1, usage, arguments, sizeof arguments / sizeof arguments[0]);
    if (max_kib < min_kib) {
        bench_usage(stderr, BENCH_EXIT_USAGE, usage);
    }
    struct buffer *buffers = bench_table(count, sizeof *buffers);
    uint32_t random = (uint32_t)seed;
    uint32_t range = (uint32_t)((max_kib - min_kib) * 1024 + 1);
    uint64_t bytes = 0;

    struct bench_cost begin = bench_cost_now();
    for (uint64_t i = 0; i < replacements; i++) {
        struct buffer *victim = &buffers[bench_scale(bench_xorshift32(&random), (uint32_t)count)];
        struct buffer fresh = {.stamp = random};
        fresh.size = min_kib * 1024 + bench_scale(bench_xorshift32(&random), range);
        fresh.bytes = bench_take_block(fresh.size, 1);
        memset(fresh.bytes, 0, fresh.size);
        write_stamps(&fresh);
        release(victim);
        *victim = fresh;
        bytes += fresh.size;
    }
    struct bench_cost used = bench_cost_since(&begin);

    for (uint64_t i = 0; i < count; i++) {
        release(&buffers[i]);
    }
    bench_print_count("replacements", replacements);
    bench_print_count("mib_allocated", bytes >> 20);
    bench_print_cost(&used);
    bench_print_count("peak_rss_kib", bench_peak_rss_kib());
    bench_print_result(replacements, used.wall_ns);
    return EXIT_SUCCESS;
}
