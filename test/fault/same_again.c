/* test/fault/same_again.c — the same seeds give the same run. SPDX-License-Identifier: MIT */
/*
 * Goal: what a seed has shown once it shows again: nothing in the library depends on chance, on the time or
 * on where the kernel puts things, but by what it asks for.
 * Method: the workload with one thread, a stopped clock, places from a seed and random failures, in a process of
 * its own each time. All calls, with their addresses, sizes and answers, make a hash; it must be the same for
 * the same seeds, and another one for others.
 */

#include <inttypes.h>

#include "fault/workload.h"

static _Noreturn void started(const char *seed) {
    fault_doing("the workload");
    fake_prim_stop_clock();
    g_work.has_no_threads = true;
    g_work.has_epochs = true;
    const struct fake_script script = {
        .series = FAKE_ANY_MEMORY, .random_permille = 50, .seed = strtoull(seed, NULL, 10)};
    work_under(script);
    g_fault->trace = fake_prim_trace();
    fault_started_end();
}

static uint64_t trace_of(uint64_t places, const char *seed) {
    const struct fake_machine machine = {.page_size = 4096, .places = places};
    bool is_good = fault_start(seed, machine, (struct fake_script){0}, 0);
    CHECK(is_good, "places %" PRIu64 ", failures %s: trace %016" PRIx64 "%s", places, seed,
          g_fault->trace, g_fault->text);
    return g_fault->trace;
}

int main(int argc, char **argv) {
    fault_open();
    if (argc == 2)
        started(argv[1]);
    uint64_t first = trace_of(1, "1");
    CHECK(trace_of(1, "1") == first, "the same seeds: the same calls");
    CHECK(trace_of(2, "1") != first, "other places: other addresses");
    CHECK(trace_of(1, "2") != first, "other failures: other calls");
    return tap_end();
}
