/* bench/bench_random_mixed.c — random malloc and free, one thread. SPDX-License-Identifier: MIT */
/*
 * usage: bench_random_mixed OPS WORKING_SET SEED [floor]        for example 20000000 256 42
 *
 * The working set stays small (about half of 256 blocks of 16–1039 bytes: 70 KB), so this measures
 * the allocator's fast path, not the cache. The loop and its reasons: bench_mixed.h.
 * With `floor` the same loop runs without an allocator, blocks being bytes of a fixed buffer: what it
 * takes is what any allocator's numbers contain too.
 */
#include "bench_mixed.h"

int main(int argc, char **argv) {
    struct mixed run = {0};
    mixed_parse(argc, argv, &run);
    mixed_run(&run);
    bench_print_rate(run.operations, run.elapsed_ns);
    mixed_print_work(&run);
    bench_print_latency(run.latency);
    return EXIT_SUCCESS;
}
