/* cli/bench_run.c — in which order `hakmem bench` runs what. SPDX-License-Identifier: MIT */
/*
 *   each workload
 *     each allocator: a traced run                            that it is there; also warms the page cache
 *     each round: the calibration loop, each allocator once   beginning with another one than the round before
 *     each latency round: each allocator once                 its clock readings are in no time
 *
 * All rounds of a workload come one after the other, so that the runs that are compared lie close in time, and
 * an interrupted comparison has whole rows.
 */
#define _GNU_SOURCE
#include "bench_child.h"

#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

const struct bench_metric_info bench_metrics[METRIC_COUNT] = {
#define METRIC(id, key, title) {key, title},
#include "bench_metrics.def"
#undef METRIC
};

enum run_kind { RUN_TRACED, RUN_TIMED, RUN_LATENCY };

/* ---- calibration ---- */

enum { CALIBRATION_STEPS = 2000000, CALIBRATION_TRIES = 3 };

static double thread_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/*
 * CPU time of the same small work, the best of three tries: when it varies from round to round, the processor
 * itself was slower or faster (other machines on its core, clock rate), and ratios of short runs mean little.
 */
static double calibrate(void) {
    double best = INFINITY;
    for (int try = 0; try < CALIBRATION_TRIES; try++) {
        double begin = thread_seconds();
        uint32_t value = 1;
        for (int step = 0; step < CALIBRATION_STEPS; step++) {
            value = value * UINT32_C(1664525) + UINT32_C(1013904223);
            __asm__ volatile("" : "+r"(value)); /* each step waits for the one before */
        }
        double seconds = thread_seconds() - begin;
        best = seconds < best ? seconds : best;
    }
    return best;
}

/* ---- rows ---- */

static double *new_values(size_t count) {
    double *values = bench_store(count * sizeof *values);
    for (size_t i = 0; values != NULL && i < count; i++) {
        values[i] = NAN;
    }
    return values;
}

static bool init_cell(struct bench_cell *cell, const struct bench_report *report, bool is_run) {
    size_t count = report->options.rounds > report->options.latency_rounds
                       ? report->options.rounds
                       : report->options.latency_rounds;
    *cell = (struct bench_cell){
        .is_run = is_run, .system_calls = NAN, .memory_calls = NAN, .futex_calls = NAN};
    for (int metric = 0; metric < METRIC_COUNT; metric++) {
        cell->values[metric] = new_values(count);
        if (cell->values[metric] == NULL) {
            return false;
        }
    }
    return true;
}

static enum bench_metric choose_metric(const struct bench_report *report,
                                       const struct bench_workload *workload) {
    if (workload->is_timed) {
        return METRIC_PER_OPERATION; /* its CPU time is what it was told to take */
    }
    return report->options.by < 0 ? METRIC_CPU : (enum bench_metric)report->options.by;
}

static bool init_row(struct bench_report *report, size_t index) {
    const struct bench_workload *workload = &report->workloads.items[index];
    struct bench_row *row = &report->rows[index];
    *row = (struct bench_row){
        .workload = workload,
        .calibration = new_values(report->options.rounds),
        .by = choose_metric(report, workload),
    };
    bool is_made = row->calibration != NULL;
    for (size_t i = 0; i < report->allocators.count && is_made; i++) {
        bool is_floor = report->allocators.items[i].kind == ALLOCATOR_FLOOR;
        is_made = init_cell(&row->cells[i], report, !is_floor || workload->has_floor);
    }
    if (!is_made) {
        cli_say("error", "bench: no memory");
    }
    return is_made;
}

/* ---- runs ---- */

/* One line that is overwritten; nothing when nobody watches. */
static void show_progress(const struct bench_report *report, size_t row, const char *what,
                          size_t round, size_t rounds, size_t allocator) {
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r\033[K%zu/%zu %s: %s %zu of %zu: %s", row + 1, report->workloads.count,
                report->workloads.items[row].name, what, round + 1, rounds,
                report->allocators.items[allocator].name);
    }
}

static void end_progress(void) {
    if (isatty(STDERR_FILENO)) {
        fputs("\r\033[K", stderr);
    }
}

/* What cannot work is not tried in every round: with a timeout it would take long. */
static bool is_hopeless(const struct bench_cell *cell) {
    enum { TRIES = 2 };
    return cell->check == CHECK_ABSENT || (cell->failures >= TRIES && cell->failures == cell->runs);
}

static void keep_values(struct bench_cell *cell, const struct bench_outcome *outcome,
                        enum run_kind kind, size_t round) {
    for (int metric = 0; metric < METRIC_COUNT; metric++) {
        bool is_latency = metric >= METRIC_P50;
        if (is_latency == (kind == RUN_LATENCY)) {
            cell->values[metric][round] = outcome->values[metric];
        }
    }
    if (kind == RUN_TIMED && cell->curve.count == 0) {
        cell->curve = outcome->curve;
    }
}

static void keep_histogram(struct bench_cell *cell, struct bench_histogram *histogram) {
    if (cell->latency == NULL && histogram->count > 0) {
        size_t size = offsetof(struct bench_histogram, buckets) +
                      histogram->count * sizeof histogram->buckets[0];
        cell->latency = bench_store(size);
        if (cell->latency != NULL) {
            memcpy(cell->latency, histogram, size);
        }
    }
}

/* False: no run can be made, or we were interrupted. */
static bool run_cell(struct bench_report *report, size_t row, size_t allocator, enum run_kind kind,
                     size_t round) {
    static struct bench_histogram histogram; /* 32 KiB */
    static struct bench_outcome outcome;
    struct bench_cell *cell = &report->rows[row].cells[allocator];
    struct bench_job job = {
        .workload = report->rows[row].workload,
        .allocator = &report->allocators.items[allocator],
        .has_latency = kind == RUN_LATENCY,
        .timeout_s = report->options.timeout_s,
        .interval_s = report->options.interval_s,
    };
    if (!cell->is_run || is_hopeless(cell)) {
        return true;
    }
    histogram.count = 0;
    outcome.latency = kind == RUN_LATENCY ? &histogram : NULL;
    bool is_made =
        kind == RUN_TRACED ? bench_run_traced(&job, &outcome) : bench_run_timed(&job, &outcome);
    if (!is_made) {
        return false;
    }
    if (outcome.signal != 0) {
        report->signal = outcome.signal;
        return false;
    }
    cell->runs++;
    if (kind == RUN_TRACED) {
        cell->check = outcome.check;
    }
    if (outcome.failure[0] != '\0') {
        cell->failures++;
        if (cell->failure == NULL &&
            (cell->failure = bench_store(sizeof outcome.failure)) != NULL) {
            memcpy(cell->failure, outcome.failure, sizeof outcome.failure);
        }
        return true;
    }
    if (kind == RUN_TRACED) {
        cell->system_calls = outcome.system_calls;
        cell->memory_calls = outcome.memory_calls;
        cell->futex_calls = outcome.futex_calls;
        return true;
    }
    keep_values(cell, &outcome, kind, round);
    keep_histogram(cell, &histogram);
    return true;
}

static bool run_round(struct bench_report *report, size_t row, enum run_kind kind, size_t round,
                      size_t rounds) {
    static const char *const words[] = {
        [RUN_TRACED] = "trace", [RUN_TIMED] = "round", [RUN_LATENCY] = "latency round"};
    size_t count = report->allocators.count;
    for (size_t i = 0; i < count; i++) {
        size_t allocator = (round + i) % count;
        show_progress(report, row, words[kind], round, rounds, allocator);
        if (!run_cell(report, row, allocator, kind, round)) {
            return false;
        }
    }
    return true;
}

static bool run_row(struct bench_report *report, size_t row) {
    const struct bench_options *options = &report->options;
    if (options->has_trace && !run_round(report, row, RUN_TRACED, 0, 1)) {
        return false;
    }
    for (size_t round = 0; round < options->rounds; round++) {
        report->rows[row].calibration[round] = calibrate();
        if (!run_round(report, row, RUN_TIMED, round, options->rounds)) {
            return false;
        }
        report->rows[row].rounds++;
    }
    bool has_latency = report->rows[row].workload->has_latency;
    for (size_t round = 0; has_latency && round < options->latency_rounds; round++) {
        if (!run_round(report, row, RUN_LATENCY, round, options->latency_rounds)) {
            return false;
        }
    }
    return true;
}

bool bench_run_all(struct bench_report *report,
                   void (*row_ended)(const struct bench_report *report, size_t row, void *context),
                   void *context) {
    report->rows = bench_store(report->workloads.count * sizeof *report->rows);
    if (report->rows == NULL) {
        cli_say("error", "bench: no memory");
        return false;
    }
    bench_block_signals();
    bool is_done = true;
    for (size_t row = 0; row < report->workloads.count && is_done; row++) {
        if (!init_row(report, row)) {
            return false;
        }
        report->row_count++;
        is_done = run_row(report, row);
        end_progress();
        if (report->rows[row].rounds > 0) {
            row_ended(report, row, context);
        }
    }
    return is_done || report->signal != 0;
}
