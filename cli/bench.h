/* cli/bench.h — the data of `hakmem bench`. SPDX-License-Identifier: MIT */
/*
 *   allocators × workloads = cells; a cell has a value per round and metric
 *
 *   bench_allocators.c   which libraries             bench_statistics.c   what the numbers say
 *   bench_workloads.c    which programs              bench_conclude.c     … together
 *                                                    bench_table.c        … as a terminal shows it
 *   bench_run.c          in which order they run     bench_csv.c, bench_json.c, bench_html.c
 *   bench_child.c        one run, measured           bench_trace.c        one run, traced
 *   bench_result.c       its own words               bench_store.c        where results are kept
 */
#ifndef HAKMEM_CLI_BENCH_H
#define HAKMEM_CLI_BENCH_H

#include "bench_statistics.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- allocators ---- */

enum bench_allocator_kind {
    ALLOCATOR_SYSTEM,  /* the C library's own: nothing is preloaded */
    ALLOCATOR_LIBRARY, /* preloaded */
    ALLOCATOR_FLOOR,   /* none: a workload's own loop over a fixed buffer, the least it can take */
};

enum { BENCH_ALLOCATORS_MAX = 32, BENCH_SETTINGS_MAX = 32 };

struct bench_allocator {
    const char *name;
    enum bench_allocator_kind kind;
    const char *library;                          /* absolute path; NULL unless ALLOCATOR_LIBRARY */
    const char *settings[BENCH_SETTINGS_MAX + 1]; /* VARIABLE=VALUE …, NULL */
};

struct bench_allocators {
    struct bench_allocator items[BENCH_ALLOCATORS_MAX];
    size_t count; /* the first is the one that the others are compared with */
    char *list;   /* what names and settings point into */
};

/*
 * Reads LIST (docs/benchmarks.md has its form); NULL is hakmem, sys, what is installed, and floor. `library`
 * is hakmem's, or NULL for the one found beside this command. False: it said what is wrong.
 */
bool bench_find_allocators(const char *list, const char *library,
                           struct bench_allocators *allocators);

/* Prints what can be named without a path. */
void bench_list_allocators(FILE *out, const char *library);

/* ---- workloads ---- */

struct bench_workload {
    const char *name;
    const char *group;
    const char *summary;
    char **command; /* argv; the program's path is absolute for our own */
    bool is_timed;  /* runs for a time, not to the end of its work: operations per second count */
    bool has_floor; /* takes one more argument, `floor` */
    bool has_latency;
};

struct bench_workloads {
    struct bench_workload *items;
    size_t count;
};

/*
 * Reads the list of workloads that lies with their programs and keeps those whose name or group is in `wanted`
 * (NULL-terminated; empty: all but those of the groups "long" and "scaling"). False: it said what is wrong.
 */
bool bench_find_workloads(char **wanted, struct bench_workloads *workloads);

/* Prints all, with their commands. False: it said what is wrong. */
bool bench_list_workloads(FILE *out);

/* The user's own command as the only workload. */
void bench_command_workload(char **command, struct bench_workload *workload);

/* ---- numbers ---- */

/* What is known of one run. Times in s, sizes in bytes. Not given: NAN. */
enum bench_metric {
#define METRIC(id, ...) METRIC_##id,
#include "bench_metrics.def"
#undef METRIC
    METRIC_COUNT
};

struct bench_metric_info {
    const char *key;   /* as CSV and JSON have it */
    const char *title; /* as people read it */
};

extern const struct bench_metric_info bench_metrics[METRIC_COUNT];

/* Resident memory over time. When it is full, every second point goes and the interval doubles. */
enum { BENCH_CURVE_MAX = 256 };

struct bench_curve {
    size_t count;
    double interval_s;
    double rss_bytes[BENCH_CURVE_MAX]; /* at 0, interval_s, 2 × interval_s … */
};

/* As the workloads print it (bench/bench_latency.h). */
enum { BENCH_BUCKETS_MAX = 2048 };

struct bench_histogram {
    size_t count;
    struct {
        uint64_t ns; /* the bucket's lower end */
        uint64_t operations;
    } buckets[BENCH_BUCKETS_MAX];
};

enum bench_check { CHECK_NOT_MADE, CHECK_PRESENT, CHECK_ABSENT };

/* One workload under one allocator. */
struct bench_cell {
    bool is_run;                     /* false: a floor that the workload does not have */
    double *values[METRIC_COUNT];    /* by round; of latencies by latency round */
    size_t runs;                     /* begun, of every kind */
    size_t failures;                 /* of them */
    char *failure;                   /* what the first one was, or NULL */
    enum bench_check check;          /* was the library in the process? */
    double system_calls;             /* of the traced run; NAN: not counted */
    double memory_calls;             /* mmap and its relatives, among them */
    double futex_calls;              /* among them */
    struct bench_curve curve;        /* of the first good timed run */
    struct bench_histogram *latency; /* of the first good latency run, or NULL */
};

struct bench_row {
    const struct bench_workload *workload;
    struct bench_cell cells[BENCH_ALLOCATORS_MAX];
    double *calibration;  /* CPU time of a fixed loop, by round */
    size_t rounds;        /* that were completed */
    enum bench_metric by; /* what is compared */
};

struct bench_options {
    size_t rounds;
    size_t latency_rounds; /* 0: none */
    double timeout_s;
    double interval_s; /* of the samples of resident memory */
    bool
        has_trace; /* one more run of each, first: is the allocator there, how many system calls? */
    int by;        /* enum bench_metric, or -1: what suits the workload */
};

struct bench_report {
    struct bench_options options;
    struct bench_allocators allocators;
    struct bench_workloads workloads;
    struct bench_row *rows;
    size_t row_count; /* that were begun; less than workloads after an interruption */
    int signal;       /* that interrupted us, 0: none */
    char started[32]; /* ISO 8601, UTC */
    const char *hakmem_version;
    struct {
        char processor[128];
        char kernel[128];
        char system[128];
        char huge_pages[64]; /* transparent ones: always, madvise or never */
        long processors;
        double memory_bytes;
    } machine;
};

/* Fills in `machine` and `started`. */
void bench_describe_machine(struct bench_report *report);

/*
 * Runs all of it, and calls `row_ended` for each row that has a round. False: it cannot go on, and said why; what
 * was measured so far is in the report.
 */
bool bench_run_all(struct bench_report *report,
                   void (*row_ended)(const struct bench_report *report, size_t row, void *context),
                   void *context);

/* Zeroed memory for results, as aligned as malloc's, never freed; NULL: no memory. Runs do not inherit it. */
void *bench_store(size_t size);

/* ---- one run ---- */

struct bench_job {
    const struct bench_workload *workload;
    const struct bench_allocator *allocator;
    bool has_latency;
    double timeout_s;
    double interval_s;
};

struct bench_outcome {
    char failure[512]; /* empty: the run is good */
    int signal;        /* that we got meanwhile: the run was ended, 0: none */
    double values[METRIC_COUNT];
    struct bench_curve curve;
    struct bench_histogram *latency; /* the caller's, to be filled when the run has one; or NULL */
    enum bench_check check;
    double system_calls;
    double memory_calls;
    double futex_calls;
};

/* Each returns false when no run can be made at all, and said why. */
bool bench_run_timed(const struct bench_job *job, struct bench_outcome *outcome);
bool bench_run_traced(const struct bench_job *job, struct bench_outcome *outcome);

/* ---- conclusions ---- */

/* Of the calibration loop, over the rounds of a row. */
double bench_calibration_spread(const struct bench_row *row);

/* The first allocator ÷ a peer. */
struct bench_ratio bench_compare_cells(const struct bench_row *row, size_t peer,
                                       enum bench_metric metric);

struct bench_summary bench_cell_summary(const struct bench_report *report,
                                        const struct bench_row *row, size_t allocator,
                                        enum bench_metric metric);

/* Of a cell's rounds. NAN: there is none. */
double bench_median(const struct bench_report *report, const struct bench_row *row,
                    size_t allocator, enum bench_metric metric);

/* 1 - floor ÷ it: which share of the time the allocator can have at most. NAN: no floor was run. */
double bench_allocator_share(const struct bench_report *report, const struct bench_row *row,
                             size_t allocator);

/* Neither the first one nor a floor. */
bool bench_is_peer(const struct bench_report *report, size_t allocator);

/* Some run failed: the command ends with status 1. */
bool bench_has_failures(const struct bench_report *report);

/* What the rows say of one peer together. */
struct bench_total {
    size_t verdicts[BENCH_NONE + 1]; /* rows, by enum bench_verdict */
    double time;                     /* geometric mean of the first allocator ÷ it; NAN: no row */
    double peak_rss;
};

struct bench_total bench_sum_up(const struct bench_report *report, size_t peer);

/* ---- reports ---- */

void bench_print_machine(FILE *out, const struct bench_report *report);
void bench_print_row(FILE *out, const struct bench_report *report, size_t row);
void bench_print_totals(FILE *out, const struct bench_report *report);
bool bench_print_csv(FILE *out, const struct bench_report *report);
bool bench_print_json(FILE *out, const struct bench_report *report);
bool bench_print_html(FILE *out, const struct bench_report *report);

#endif
