/* test/shadow/shadow.c — random operations beside a model of the heap. SPDX-License-Identifier: MIT */
/*
 * usage: shadow [-t THREADS] [-c EVERY] [-b SECONDS] [-k INDEX,...] [OPERATIONS [SEED [SEEDS]]]
 *        by default 1000000 operations of seed 1, by one thread
 *   -t   so many threads at a time, which exchange blocks
 *   -c   audit the whole heap after so many operations, not only at the end
 *   -b   time for shrinking a sequence that fails; 60
 *   -k   only these operations of the seed
 *   SEEDS  how many seeds, one after the other
 *
 * Goal and method of the parts: operation.h what may happen, model.h what is promised, ownership.h how
 * overlap is noticed, report.h what is left of a run that failed, sequence.h one thread, threads.c
 * many, shrink.c how a failing sequence is made short.
 *
 * One thread's operations depend on the seed alone, and a failing run is shrunk. What threads do
 * depends on who comes first: of these the last operations of each are printed.
 */
#include <getopt.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "../stress/stress.h"
#include "model.h"
#include "operation.h"
#include "report.h"
#include "sequence.h"
#include "threads.h"

enum {
    PATIENCE_S =
        180, /* without any operation; a loaded machine, a sanitizer and 128 threads need some */
    LANES_PRINTED_MAX = 32
};

static struct {
    struct shadow_sequence sequence;
    struct shadow_threads threads;
    unsigned long seeds;
    unsigned budget_s;
} g_shadow = {.budget_s = 60};

static void print_lane(unsigned number) {
    const struct shadow_lane_report *lane = &g_shadow_report->lane[number];
    unsigned long begun = atomic_load(&lane->begun);
    tap_note("lane %u, thread %lu, %lu operations:", number, lane->life, begun);
    for (unsigned long i = begun > SHADOW_RING ? begun - SHADOW_RING : 0; i < begun; i++) {
        char text[160];
        shadow_describe(&lane->last[i % SHADOW_RING], text, sizeof text);
        tap_note("  %8lu  %s", i, text);
    }
}

static void print_lanes(void) {
    unsigned failed = g_shadow_report->failed_lane;
    unsigned printed = 0;
    if (atomic_load(&g_shadow_report->is_failed))
        print_lane(failed);
    for (unsigned i = 0; i < SHADOW_LANES_MAX && printed < LANES_PRINTED_MAX; i++) {
        if (atomic_load(&g_shadow_report->lane[i].begun) == 0 ||
            (i == failed && atomic_load(&g_shadow_report->is_failed)))
            continue;
        print_lane(i);
        printed++;
    }
}

static void run_seed(uint64_t seed, const char *program) {
    char what[500];
    bool is_alone = g_shadow.threads.threads == 0;
    g_shadow.sequence.seed = g_shadow.threads.seed = seed;
    struct shadow_outcome outcome =
        is_alone ? shadow_run_child(shadow_sequence_run, &g_shadow.sequence, PATIENCE_S, false)
                 : shadow_run_child(shadow_threads_run, &g_shadow.threads, PATIENCE_S, false);
    shadow_describe_outcome(&outcome, what, sizeof what);
    if (is_alone)
        CHECK(outcome.end == SHADOW_AGREES, "seed %" PRIu64 ", %lu operations, %lu checks: %s",
              seed, outcome.begun, atomic_load(&g_shadow_report->checks), what);
    else
        CHECK(outcome.end == SHADOW_AGREES,
              "seed %" PRIu64 ", %u of %lu threads, %lu operations, %lu checks: %s", seed,
              g_shadow.threads.threads, atomic_load(&g_shadow_report->lives), outcome.begun,
              atomic_load(&g_shadow_report->checks), what);
    if (outcome.end == SHADOW_AGREES)
        return;
    print_lanes();
    if (is_alone)
        shadow_shrink(&g_shadow.sequence, g_shadow.budget_s, program);
}

/* "3,17,40", ascending. */
static void keep_only(const char *list) {
    size_t room = (strlen(list) / 2 + 1) * sizeof(uint32_t);
    uint32_t *kept = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *end = NULL;
    if (kept == MAP_FAILED)
        stress_fail("mmap");
    for (g_shadow.sequence.kept = kept; *list != '\0'; list = *end == ',' ? end + 1 : end) {
        kept[g_shadow.sequence.kept_count++] = (uint32_t)strtoul(list, &end, 10);
        if (end == list)
            stress_fail("-k wants numbers");
    }
}

int main(int argc, char **argv) {
    int option;
    while ((option = getopt(argc, argv, "t:c:b:k:")) != -1) {
        switch (option) {
        case 't':
            g_shadow.threads.threads = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'c':
            g_shadow.sequence.check_every = g_shadow.threads.check_every =
                strtoul(optarg, NULL, 10);
            break;
        case 'b':
            g_shadow.budget_s = (unsigned)strtoul(optarg, NULL, 10);
            break;
        case 'k':
            keep_only(optarg);
            break;
        default:
            return 2;
        }
    }
    if (g_shadow.threads.threads > SHADOW_LANES_MAX)
        g_shadow.threads.threads = SHADOW_LANES_MAX;
    g_shadow.sequence.count = stress_argument(argc, argv, optind, 1000000);
    g_shadow.threads.count = g_shadow.sequence.count;
    uint64_t seed = stress_argument(argc, argv, optind + 1, 1);
    g_shadow.seeds = stress_argument(argc, argv, optind + 2, 1);
    shadow_model_load();
    shadow_report_open();
    for (unsigned long i = 0; i < g_shadow.seeds; i++)
        run_seed(seed + i, argv[0]);
    return tap_end();
}
