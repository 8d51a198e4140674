/* cli/bench_table.c — `hakmem bench` for a terminal. SPDX-License-Identifier: MIT */
#include "bench.h"
#include "bench_text.h"

#include <math.h>
#include <string.h>

/* Columns of a row's table; the name comes first, to the left, the others to the right. */
enum { NAME_WIDTH = 17 };

/* As a terminal counts: bytes that go on a UTF-8 character have no width. */
static int width_of(const char *text) {
    int width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xC0) != 0x80;
    }
    return width;
}

static void print_right(FILE *out, const char *text, int width) {
    fprintf(out, " %*s%s", width > width_of(text) ? width - width_of(text) : 0, "", text);
}

static void print_left(FILE *out, const char *text, int width) {
    fprintf(out, "%s%*s", text, width > width_of(text) ? width - width_of(text) : 0, "");
}

void bench_print_machine(FILE *out, const struct bench_report *report) {
    fprintf(out, "%s; %ld processors, %s; %s; %s; transparent huge pages: %s\n",
            report->machine.processor, report->machine.processors,
            bench_bytes_text(report->machine.memory_bytes).text, report->machine.kernel,
            report->machine.system, report->machine.huge_pages);
    for (size_t i = 0; i < report->allocators.count; i++) {
        const struct bench_allocator *allocator = &report->allocators.items[i];
        if (allocator->kind == ALLOCATOR_LIBRARY || allocator->settings[0] != NULL) {
            print_left(out, allocator->name, NAME_WIDTH);
            fprintf(out, " %s", allocator->library == NULL ? "" : allocator->library);
            for (const char *const *setting = allocator->settings; *setting != NULL; setting++) {
                fprintf(out, " %s", *setting);
            }
            fputc('\n', out);
        }
    }
}

static void print_ratio(FILE *out, const struct bench_report *report, const struct bench_row *row,
                        size_t allocator) {
    char text[128] = "";
    const char *word = "";
    if (bench_is_peer(report, allocator)) {
        struct bench_ratio ratio = bench_compare_cells(row, allocator, row->by);
        word = bench_verdict_word(bench_judge(&ratio, bench_calibration_spread(row)));
        if (ratio.pairs != 0) {
            snprintf(text, sizeof text, "%s [%s–%s]", bench_ratio_text(ratio.median).text,
                     bench_ratio_text(ratio.low).text, bench_ratio_text(ratio.high).text);
        }
    } else if (report->allocators.items[allocator].kind == ALLOCATOR_FLOOR) {
        double share = bench_allocator_share(report, row, 0);
        if (!isnan(share)) {
            snprintf(text, sizeof text, "%s of the time net", bench_percent_text(share).text);
        }
    }
    print_right(out, text, 21);
    print_right(out, word, 6);
}

static void print_cell(FILE *out, const struct bench_report *report, const struct bench_row *row,
                       size_t allocator) {
    const struct bench_cell *cell = &row->cells[allocator];
    struct bench_summary by = bench_cell_summary(report, row, allocator, row->by);
    fputs("  ", out);
    print_left(out, report->allocators.items[allocator].name, NAME_WIDTH);
    print_right(out, bench_seconds_text(by.min).text, 8);
    print_right(out, bench_seconds_text(by.median).text, 8);
    print_right(out, bench_percent_text(bench_spread(&by)).text, 7);
    print_ratio(out, report, row, allocator);
    print_right(out, bench_seconds_text(bench_median(report, row, allocator, METRIC_WALL)).text, 8);
    print_right(out, bench_seconds_text(bench_median(report, row, allocator, METRIC_SYSTEM)).text,
                8);
    print_right(out, bench_bytes_text(bench_median(report, row, allocator, METRIC_PEAK_RSS)).text,
                8);
    print_right(out, bench_bytes_text(bench_median(report, row, allocator, METRIC_MEAN_RSS)).text,
                8);
    print_right(
        out, bench_count_text(bench_median(report, row, allocator, METRIC_MINOR_FAULTS)).text, 6);
    print_right(out, bench_count_text(cell->system_calls).text, 6);
    fputc('\n', out);
    if (cell->failures != 0) {
        fprintf(out, "  %*s failed: %zu of %zu runs: %s\n", NAME_WIDTH, "", cell->failures,
                cell->runs, cell->failure == NULL ? "" : cell->failure);
    }
}

static void print_latencies(FILE *out, const struct bench_report *report,
                            const struct bench_row *row) {
    static const enum bench_metric shown[] = {METRIC_P50, METRIC_P99, METRIC_P999, METRIC_LONGEST};
    bool has_header = false;
    for (size_t i = 0; i < report->allocators.count; i++) {
        if (isnan(bench_median(report, row, i, METRIC_P50))) {
            continue;
        }
        if (!has_header) {
            fprintf(out, "  %-*s %8s %8s %8s %8s\n", NAME_WIDTH, "latency", "p50", "p99", "p99.9",
                    "max");
            has_header = true;
        }
        fputs("  ", out);
        print_left(out, report->allocators.items[i].name, NAME_WIDTH);
        for (size_t j = 0; j < sizeof shown / sizeof shown[0]; j++) {
            print_right(out, bench_seconds_text(bench_median(report, row, i, shown[j])).text, 8);
        }
        fputc('\n', out);
    }
}

void bench_print_row(FILE *out, const struct bench_report *report, size_t index) {
    const struct bench_row *row = &report->rows[index];
    char ratio[64];
    fprintf(out, "\n%s", row->workload->name);
    if (*row->workload->summary != '\0') {
        fprintf(out, ": %s", row->workload->summary);
    }
    fprintf(out, "\n  %s, %zu round%s, calibration varied by %s\n", bench_metrics[row->by].title,
            row->rounds, row->rounds == 1 ? "" : "s",
            bench_percent_text(bench_calibration_spread(row)).text);
    fputs("  ", out);
    print_left(out, "allocator", NAME_WIDTH);
    print_right(out, "min", 8);
    print_right(out, "median", 8);
    print_right(out, "spread", 7);
    snprintf(ratio, sizeof ratio, "%.10s ÷ it [95 %%]", report->allocators.items[0].name);
    print_right(out, ratio, 21);
    static const struct {
        const char *title;
        int width;
    } rest[] = {{"", 6},         {"wall", 8},   {"system", 8}, {"peak RSS", 8},
                {"mean RSS", 8}, {"faults", 6}, {"calls", 6}};
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        print_right(out, rest[i].title, rest[i].width);
    }
    fputc('\n', out);
    for (size_t i = 0; i < report->allocators.count; i++) {
        if (row->cells[i].is_run) {
            print_cell(out, report, row, i);
        }
    }
    print_latencies(out, report, row);
}

void bench_print_totals(FILE *out, const struct bench_report *report) {
    size_t peers = 0;
    for (size_t i = 0; i < report->allocators.count; i++) {
        peers += bench_is_peer(report, i);
    }
    if (peers == 0 || report->row_count == 0) {
        return;
    }
    fputc('\n', out);
    print_left(out, report->allocators.items[0].name, NAME_WIDTH);
    fprintf(out, "   %4s %4s %4s %5s %4s %9s %11s\n", "won", "tie", "lost", "noisy", "few", "time",
            "peak RSS");
    for (size_t i = 0; i < report->allocators.count; i++) {
        if (!bench_is_peer(report, i)) {
            continue;
        }
        struct bench_total total = bench_sum_up(report, i);
        print_left(out, "÷ ", 2);
        print_left(out, report->allocators.items[i].name, NAME_WIDTH);
        fprintf(out, " %4zu %4zu %4zu %5zu %4zu", total.verdicts[BENCH_WON],
                total.verdicts[BENCH_TIE], total.verdicts[BENCH_LOST], total.verdicts[BENCH_NOISY],
                total.verdicts[BENCH_FEW]);
        print_right(out, bench_ratio_text(total.time).text, 9);
        print_right(out, bench_ratio_text(total.peak_rss).text, 11);
        fputc('\n', out);
    }
    fprintf(out,
            "won: the 95 %% interval is below 1.00; lost: above %.2f; noisy: too wide for a tie "
            "(%.0f %%), "
            "or the\ncalibration loop varied by more than %.0f %%; few: less than %d rounds\n",
            BENCH_LOST_ABOVE, BENCH_TIE_WIDTH * 100, BENCH_CALM_SPREAD * 100, BENCH_PAIRS_MIN);
}
