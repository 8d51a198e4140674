/* cli/bench_csv.c — `hakmem bench --csv`: one line per workload, allocator and round. SPDX-License-Identifier: MIT */
#include "bench.h"

#include <math.h>
#include <string.h>

/* RFC 4180: quoted where a comma, a quote or a line's end is inside. */
static void print_text(FILE *out, const char *text) {
    bool is_quoted = strpbrk(text, ",\"\r\n") != NULL;
    fputs(is_quoted ? "\"" : "", out);
    for (; *text != '\0'; text++) {
        fputs(*text == '"' ? "\"" : "", out);
        fputc(*text, out);
    }
    fputs(is_quoted ? "\"" : "", out);
}

/* Empty: not given. */
static void print_number(FILE *out, double value) {
    fputc(',', out);
    if (!isnan(value)) {
        fprintf(out, "%.9g", value);
    }
}

static void print_line(FILE *out, const struct bench_report *report, const struct bench_row *row,
                       size_t allocator, size_t round) {
    const struct bench_cell *cell = &row->cells[allocator];
    print_text(out, row->workload->name);
    fputc(',', out);
    print_text(out, report->allocators.items[allocator].name);
    fprintf(out, ",%zu", round + 1);
    for (int metric = 0; metric < METRIC_COUNT; metric++) {
        size_t rounds = metric >= METRIC_P50 ? report->options.latency_rounds : row->rounds;
        print_number(out, round < rounds ? cell->values[metric][round] : NAN);
    }
    print_number(out, round < row->rounds ? row->calibration[round] : NAN);
    print_number(out, cell->system_calls);
    print_number(out, cell->memory_calls);
    print_number(out, cell->futex_calls);
    fputs("\r\n", out);
}

bool bench_print_csv(FILE *out, const struct bench_report *report) {
    fputs("workload,allocator,round", out);
    for (int metric = 0; metric < METRIC_COUNT; metric++) {
        fprintf(out, ",%s", bench_metrics[metric].key);
    }
    fputs(",calibration_s,system_calls,memory_calls,futex_calls\r\n", out);
    for (size_t i = 0; i < report->row_count; i++) {
        const struct bench_row *row = &report->rows[i];
        size_t rounds = row->rounds > report->options.latency_rounds
                            ? row->rounds
                            : report->options.latency_rounds;
        for (size_t round = 0; round < rounds; round++) {
            for (size_t allocator = 0; allocator < report->allocators.count; allocator++) {
                if (row->cells[allocator].is_run) {
                    print_line(out, report, row, allocator, round);
                }
            }
        }
    }
    return ferror(out) == 0;
}
