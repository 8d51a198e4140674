/* bench/bench_syscall_trace.c — the mixed loop, with sizes. SPDX-License-Identifier: MIT */
/*
 * usage: bench_syscall_trace OPS WORKING_SET SEED       for example 50000 256 42, under strace
 *
 * To be run under a tracer of system calls: the histogram says how many requests each size range
 * made, the tracer how many calls they cost. Ranges are powers of two up to 512, then narrow around
 * 1 KiB, where a byte or two of per-block header decides about the tier of a request.
 */
#include "bench_mixed.h"

/* Upper ends, inclusive; each range begins one above the end before it. */
static const unsigned range_ends[] = {31, 63, 127, 255, 511, 1007, 1015, 1023, 1024, 1039};
enum { RANGE_COUNT = sizeof range_ends / sizeof range_ends[0] };
_Static_assert(MIXED_SIZES == 1039 + 1, "the last range ends at the largest request");

static void print_histogram(const struct mixed *run, const uint64_t *size_counts) {
    printf("%-12s %12s %8s\n", "bytes", "requests", "%");
    unsigned size = MIXED_SIZE_MIN;
    for (int i = 0; i < RANGE_COUNT; i++) {
        unsigned first = size;
        uint64_t count = 0;
        for (; size <= range_ends[i]; size++) {
            count += size_counts[size];
        }
        char label[32];
        snprintf(label, sizeof label, first == range_ends[i] ? "%u" : "%u-%u", first,
                 range_ends[i]);
        double share = 100.0 * (double)count / (double)run->requests;
        printf("%-12s %12" PRIu64 " %8.2f\n", label, count, share);
    }
    printf("%-12s %12" PRIu64 " %8.2f\n", "all", run->requests, 100.0);
}

int main(int argc, char **argv) {
    static uint64_t size_counts[MIXED_SIZES];
    struct mixed run = {0};
    mixed_parse(argc, argv, &run);
    mixed_run(&run);
    mixed_replay(&run, size_counts);
    bench_print_rate(run.operations, run.elapsed_ns);
    mixed_print_work(&run);
    print_histogram(&run, size_counts);
    return EXIT_SUCCESS;
}
