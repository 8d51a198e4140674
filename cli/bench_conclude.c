/* cli/bench_conclude.c — from values by round to what a reader is told. SPDX-License-Identifier: MIT */
#include "bench.h"

#include <math.h>
#include <stdlib.h>

double bench_calibration_spread(const struct bench_row *row) {
    struct bench_summary summary = bench_summarize(row->calibration, row->rounds);
    return bench_spread(&summary);
}

struct bench_ratio bench_compare_cells(const struct bench_row *row, size_t peer,
                                       enum bench_metric metric) {
    return bench_compare(row->cells[0].values[metric], row->cells[peer].values[metric],
                         row->rounds);
}

struct bench_summary bench_cell_summary(const struct bench_report *report,
                                        const struct bench_row *row, size_t allocator,
                                        enum bench_metric metric) {
    size_t rounds = metric >= METRIC_P50 ? report->options.latency_rounds : row->rounds;
    return bench_summarize(row->cells[allocator].values[metric], rounds);
}

bool bench_is_peer(const struct bench_report *report, size_t allocator) {
    return allocator != 0 && report->allocators.items[allocator].kind != ALLOCATOR_FLOOR;
}

bool bench_has_failures(const struct bench_report *report) {
    for (size_t row = 0; row < report->row_count; row++) {
        for (size_t i = 0; i < report->allocators.count; i++) {
            if (report->rows[row].cells[i].failures != 0) {
                return true;
            }
        }
    }
    return false;
}

struct bench_total bench_sum_up(const struct bench_report *report, size_t peer) {
    struct bench_total total = {.time = NAN, .peak_rss = NAN};
    double *times = calloc(report->row_count + 1, sizeof *times);
    double *sizes = calloc(report->row_count + 1, sizeof *sizes);
    for (size_t i = 0; i < report->row_count && times != NULL && sizes != NULL; i++) {
        const struct bench_row *row = &report->rows[i];
        struct bench_ratio time = bench_compare_cells(row, peer, row->by);
        times[i] = time.median;
        sizes[i] = bench_compare_cells(row, peer, METRIC_PEAK_RSS).median;
        total.verdicts[bench_judge(&time, bench_calibration_spread(row))]++;
    }
    if (times != NULL && sizes != NULL) {
        total.time = bench_geometric_mean(times, report->row_count);
        total.peak_rss = bench_geometric_mean(sizes, report->row_count);
    }
    free(times);
    free(sizes);
    return total;
}

double bench_median(const struct bench_report *report, const struct bench_row *row,
                    size_t allocator, enum bench_metric metric) {
    return bench_cell_summary(report, row, allocator, metric).median;
}

double bench_allocator_share(const struct bench_report *report, const struct bench_row *row,
                             size_t allocator) {
    for (size_t i = 0; i < report->allocators.count; i++) {
        if (report->allocators.items[i].kind == ALLOCATOR_FLOOR) {
            return 1 - bench_median(report, row, i, row->by) /
                           bench_median(report, row, allocator, row->by);
        }
    }
    return NAN;
}
