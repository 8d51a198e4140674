/* cli/bench_result.c — a run's outcome, and the lines in which a workload says what it did. SPDX-License-Identifier: MIT */
/*
 *   result NAME operations=N seconds=S [p50_ns=N p99_ns=N p99.9_ns=N max_ns=N] [latency=NS:COUNT,NS:COUNT…]
 *
 * There may be several: of a key that comes twice the last one counts. Keys that are not known are left out.
 * Written by bench/bench_common.h.
 */
#include "bench_child.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *key;
    enum bench_metric metric;
    double unit; /* of the number behind it */
} keys[] = {
    {"operations=", METRIC_OPERATIONS, 1}, {"seconds=", METRIC_SECONDS, 1},
    {"p50_ns=", METRIC_P50, 1e-9},         {"p99_ns=", METRIC_P99, 1e-9},
    {"p99.9_ns=", METRIC_P999, 1e-9},      {"max_ns=", METRIC_LONGEST, 1e-9},
};

void bench_outcome_init(struct bench_outcome *outcome) {
    outcome->failure[0] = '\0';
    outcome->signal = 0;
    for (int metric = 0; metric < METRIC_COUNT; metric++) {
        outcome->values[metric] = NAN;
    }
    outcome->curve.count = 0;
    outcome->check = CHECK_NOT_MADE;
    outcome->system_calls = NAN;
    outcome->memory_calls = NAN;
    outcome->futex_calls = NAN;
}

void bench_fail(struct bench_outcome *outcome, const char *format, ...) {
    if (outcome->failure[0] == '\0') {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(outcome->failure, sizeof outcome->failure, format, arguments);
        va_end(arguments);
    }
}

static void read_histogram(const char *text, struct bench_histogram *histogram) {
    histogram->count = 0;
    while (histogram->count < BENCH_BUCKETS_MAX) {
        char *end;
        uint64_t ns = strtoull(text, &end, 10);
        if (end == text || *end != ':') {
            return;
        }
        text = end + 1;
        uint64_t operations = strtoull(text, &end, 10);
        if (end == text) {
            return;
        }
        histogram->buckets[histogram->count].ns = ns;
        histogram->buckets[histogram->count++].operations = operations;
        text = *end == ',' ? end + 1 : end;
    }
}

static void read_line(const char *line, const char *end, struct bench_outcome *outcome) {
    for (const char *word = line; word < end; word += strcspn(word, " \n")) {
        word += *word == ' ';
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            size_t length = strlen(keys[i].key);
            if (strncmp(word, keys[i].key, length) == 0) {
                double value = strtod(word + length, NULL);
                outcome->values[keys[i].metric] = isfinite(value) ? value * keys[i].unit : NAN;
            }
        }
        if (strncmp(word, "latency=", 8) == 0 && outcome->latency != NULL) {
            read_histogram(word + 8, outcome->latency);
        }
    }
}

void bench_read_result(const char *text, struct bench_outcome *outcome) {
    while (*text != '\0') {
        const char *end = text + strcspn(text, "\n");
        if (strncmp(text, "result ", 7) == 0) {
            read_line(text, end, outcome);
        }
        text = *end == '\0' ? end : end + 1;
    }
    double *values = outcome->values;
    if (values[METRIC_OPERATIONS] > 0 && values[METRIC_SECONDS] > 0) {
        values[METRIC_PER_OPERATION] = values[METRIC_SECONDS] / values[METRIC_OPERATIONS];
    }
}
