/* cli/bench_json.c — `hakmem bench --json`: all that was measured, and what was concluded. SPDX-License-Identifier: MIT */
#include "bench_json.h"

#include "json_text.h"

#include <math.h>

/*
 * jansson's setters take NULL for what could not be made, and fail with it, so that what it belongs to fails, too.
 */

enum { FORMAT_VERSION = 1 }; /* grows when a key changes its meaning or goes */

/* JSON has no NAN. */
static json_t *number(double value) {
    return isnan(value) ? json_null() : json_real(value);
}

static bool set(json_t *object, const char *key, json_t *value) {
    return json_object_set_new(object, key, value) == 0;
}

static json_t *values(const double *from, size_t count) {
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_append(&array, number(from[i]));
    }
    return array;
}

static json_t *metric(const struct bench_report *report, const struct bench_row *row,
                      size_t allocator, enum bench_metric metric) {
    struct bench_summary summary = bench_cell_summary(report, row, allocator, metric);
    size_t rounds = metric >= METRIC_P50 ? report->options.latency_rounds : row->rounds;
    if (summary.count == 0) {
        return json_null();
    }
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:o, s:o}", "min", summary.min, "quartile1",
                     summary.quartile1, "median", summary.median, "quartile3", summary.quartile3,
                     "max", summary.max, "spread", number(bench_spread(&summary)), "rounds",
                     values(row->cells[allocator].values[metric], rounds));
}

static json_t *ratio(const struct bench_row *row, size_t peer, enum bench_metric metric) {
    struct bench_ratio found = bench_compare_cells(row, peer, metric);
    if (found.pairs == 0) {
        return json_null();
    }
    return json_pack("{s:i, s:f, s:f, s:f, s:s}", "pairs", (int)found.pairs, "median", found.median,
                     "low", found.low, "high", found.high, "verdict",
                     bench_verdict_word(bench_judge(&found, bench_calibration_spread(row))));
}

/* [[ns, operations], …] */
static json_t *histogram(const struct bench_histogram *from) {
    json_t *array = json_array();
    for (size_t i = 0; from != NULL && i < from->count; i++) {
        json_append(&array, json_pack("[I, I]", (json_int_t)from->buckets[i].ns,
                                      (json_int_t)from->buckets[i].operations));
    }
    return array;
}

static const char *check_word(const struct bench_allocator *allocator, enum bench_check check) {
    if (allocator->library == NULL) {
        return "none";
    }
    return check == CHECK_PRESENT ? "present" : check == CHECK_ABSENT ? "absent" : "not checked";
}

static json_t *cell(const struct bench_report *report, const struct bench_row *row,
                    size_t allocator) {
    const struct bench_cell *from = &row->cells[allocator];
    json_t *metrics = json_object();
    for (int i = 0; i < METRIC_COUNT; i++) {
        if (!set(metrics, bench_metrics[i].key,
                 metric(report, row, allocator, (enum bench_metric)i))) {
            json_decref(metrics);
            return NULL;
        }
    }
    json_t *object = json_pack(
        "{s:o, s:o, s:i, s:i, s:o, s:s, s:o, s:o, s:o, s:{s:f, s:o}, s:o}", "allocator",
        json_text(report->allocators.items[allocator].name), "metrics", metrics, "runs",
        (int)from->runs, "failures", (int)from->failures, "failure",
        from->failure == NULL ? json_null() : json_text(from->failure), "library",
        check_word(&report->allocators.items[allocator], from->check), "system_calls",
        number(from->system_calls), "memory_calls", number(from->memory_calls), "futex_calls",
        number(from->futex_calls), "rss_over_time", "interval_s", from->curve.interval_s,
        "rss_bytes", values(from->curve.rss_bytes, from->curve.count), "latency_histogram",
        histogram(from->latency));
    if (bench_is_peer(report, allocator) &&
        (!set(object, "ratio", ratio(row, allocator, row->by)) ||
         !set(object, "wall_ratio", ratio(row, allocator, METRIC_WALL)) ||
         !set(object, "peak_rss_ratio", ratio(row, allocator, METRIC_PEAK_RSS)))) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *row_object(const struct bench_report *report, const struct bench_row *row) {
    const struct bench_workload *workload = row->workload;
    json_t *cells = json_array();
    for (size_t i = 0; i < report->allocators.count; i++) {
        if (row->cells[i].is_run) {
            json_append(&cells, cell(report, row, i));
        }
    }
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:s, s:i, s:o, s:o, s:o}", "workload", json_text(workload->name),
        "group", json_text(workload->group), "summary", json_text(workload->summary), "command",
        json_words((const char *const *)workload->command), "by", bench_metrics[row->by].key,
        "rounds", (int)row->rounds, "calibration_s", values(row->calibration, row->rounds),
        "calibration_spread", number(bench_calibration_spread(row)), "allocators", cells);
}

static json_t *allocator_object(const struct bench_report *report, size_t index) {
    const struct bench_allocator *allocator = &report->allocators.items[index];
    static const char *const kinds[] = {[ALLOCATOR_SYSTEM] = "system",
                                        [ALLOCATOR_LIBRARY] = "library",
                                        [ALLOCATOR_FLOOR] = "floor"};
    json_t *object = json_pack(
        "{s:o, s:s, s:o, s:o}", "name", json_text(allocator->name), "kind", kinds[allocator->kind],
        "library", allocator->library == NULL ? json_null() : json_text(allocator->library),
        "settings", json_words(allocator->settings));
    if (bench_is_peer(report, index)) {
        struct bench_total total = bench_sum_up(report, index);
        json_t *sums = json_pack("{s:o, s:o}", "ratio", number(total.time), "peak_rss_ratio",
                                 number(total.peak_rss));
        bool is_set = true;
        for (int i = BENCH_WON; i < BENCH_NONE && is_set; i++) {
            is_set = set(sums, bench_verdict_word((enum bench_verdict)i),
                         json_integer((json_int_t)total.verdicts[i]));
        }
        if (!set(object, "total", is_set ? sums : NULL)) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

json_t *bench_json(const struct bench_report *report) {
    json_t *allocators = json_array();
    json_t *rows = json_array();
    for (size_t i = 0; i < report->allocators.count; i++) {
        json_append(&allocators, allocator_object(report, i));
    }
    for (size_t i = 0; i < report->row_count; i++) {
        if (report->rows[i].rounds > 0) {
            json_append(&rows, row_object(report, &report->rows[i]));
        }
    }
    return json_pack("{s:s, s:i, s:s, s:s, s:o, s:{s:o, s:i, s:f, s:o, s:o, s:s}, s:o, s:o}",
                     "format", "hakmem-bench", "version", FORMAT_VERSION, "hakmem",
                     report->hakmem_version, "started", report->started, "interrupted_by",
                     report->signal == 0 ? json_null() : json_integer(report->signal), "machine",
                     "processor", json_text(report->machine.processor), "processors",
                     (int)report->machine.processors, "memory_bytes", report->machine.memory_bytes,
                     "kernel", json_text(report->machine.kernel), "system",
                     json_text(report->machine.system), "huge_pages", report->machine.huge_pages,
                     "allocators", allocators, "rows", rows);
}

bool bench_print_json(FILE *out, const struct bench_report *report) {
    json_t *root = bench_json(report);
    bool is_printed =
        root != NULL && json_dumpf(root, out, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) == 0;
    json_decref(root);
    fputs("\n", out);
    return is_printed;
}
