/* test/fault/random_calls.c — system calls fail at random, several in a run. SPDX-License-Identifier: MIT */
/*
 * Goal: a failure while another is being dealt with does no harm either.
 * Method: the workload with every memory call failing with probability 1 % and 10 %, with errno
 * values by turns, from many seeds; after each the kernel recovers (workload.h). A seed that fails is
 * printed; RANDOM_SEED=<seed> runs that one alone.
 */

#include <inttypes.h>

#include "fault/workload.h"

enum { RANDOM_SEEDS = FAULT_PART > 1 ? 40 : 200 };

static void under_script(const void *argument) {
    work_under(*(const struct fake_script *)argument);
}

static void seeds(unsigned permille, uint64_t first, uint64_t count) {
    char text[80];
    unsigned long failed_allocations = 0;
    snprintf(text, sizeof text, "memory calls fail with probability %u/1000", permille);
    struct sweep sweep = sweep_begin(text);
    for (uint64_t seed = first; seed < first + count; seed++) {
        const struct fake_script script = {
            .series = FAKE_ANY_MEMORY, .random_permille = permille, .seed = seed};
        bool is_good = fault_run(under_script, &script);
        SWEEP(&sweep, is_good, "seed %" PRIu64 ": %s", seed, g_fault->text);
        failed_allocations += g_fault->nulls;
    }
    sweep_end(&sweep);
    /* A refusal is made good by a second try: it takes two close together to be noticed. */
    CHECK(count == 1 || permille < 100 || failed_allocations > count / 4,
          "%s: %lu allocations returned NULL", text, failed_allocations);
}

int main(void) {
    const char *seed = getenv("RANDOM_SEED");
    uint64_t first = seed ? strtoull(seed, NULL, 10) : 1;
    uint64_t count = seed ? 1 : RANDOM_SEEDS;
    fault_open();
    seeds(10, first, count);
    seeds(100, first, count);
    return tap_end();
}
