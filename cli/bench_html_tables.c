/* cli/bench_html_tables.c — cards and tables of the page. SPDX-License-Identifier: MIT */
#include "bench_html.h"

#include "bench_text.h"

#include <math.h>
#include <string.h>

/* ---- cards ---- */

static void print_tally(FILE *out, const struct bench_total *total) {
    size_t rows = 0;
    for (int verdict = BENCH_WON; verdict < BENCH_NONE; verdict++) {
        rows += total->verdicts[verdict];
    }
    fputs("<div class=\"tally\">", out);
    for (int verdict = BENCH_WON; verdict < BENCH_NONE && rows != 0; verdict++) {
        if (total->verdicts[verdict] != 0) {
            fprintf(out, "<i class=\"%s\" style=\"width:%.2f%%\"></i>",
                    bench_verdict_word((enum bench_verdict)verdict),
                    100 * (double)total->verdicts[verdict] / (double)rows);
        }
    }
    fputs("</div>", out);
}

void bench_html_cards(FILE *out, const struct bench_report *report) {
    fputs("<div class=\"cards\">\n", out);
    for (size_t i = 0; i < report->allocators.count; i++) {
        if (!bench_is_peer(report, i)) {
            continue;
        }
        struct bench_total total = bench_sum_up(report, i);
        fputs("<div class=\"card\"><div><span class=\"swatch\" style=\"", out);
        bench_html_colour(out, report, i);
        fputs("\"></span>", out);
        bench_html_text(out, report->allocators.items[0].name);
        fputs(" ÷ ", out);
        bench_html_text(out, report->allocators.items[i].name);
        fprintf(out, "</div><div class=\"big\">%s</div>", bench_ratio_text(total.time).text);
        print_tally(out, &total);
        fprintf(out, "<dl><dt>peak RSS</dt><dd>%s</dd>", bench_ratio_text(total.peak_rss).text);
        for (int verdict = BENCH_WON; verdict < BENCH_NONE; verdict++) {
            if (total.verdicts[verdict] != 0) {
                fprintf(out, "<dt>%s</dt><dd>%zu</dd>",
                        bench_verdict_word((enum bench_verdict)verdict), total.verdicts[verdict]);
            }
        }
        fputs("</dl></div>\n", out);
    }
    fputs("</div>\n<p class=\"quiet\">Large: geometric mean of the time ratios; below 1 ", out);
    bench_html_text(out, report->allocators.items[0].name);
    fputs(" is faster.</p>\n", out);
}

/* ---- one bar on a logarithmic scale, the same for the whole page ---- */

/* The largest distance of an interval's end from 1, in doublings, but no more than two. */
static double scale_of(const struct bench_report *report) {
    double scale = 0.2;
    for (size_t i = 0; i < report->row_count; i++) {
        for (size_t peer = 0; peer < report->allocators.count; peer++) {
            if (bench_is_peer(report, peer)) {
                struct bench_ratio ratio =
                    bench_compare_cells(&report->rows[i], peer, report->rows[i].by);
                scale = ratio.pairs == 0 ? scale : fmax(scale, fabs(log2(ratio.low)));
                scale = ratio.pairs == 0 ? scale : fmax(scale, fabs(log2(ratio.high)));
            }
        }
    }
    return fmin(scale, 2);
}

static double place_of(double ratio, double scale) {
    return fmin(100, fmax(0, 50 + 50 * log2(ratio) / scale));
}

static void print_track(FILE *out, const struct bench_ratio *ratio, double scale) {
    double low = place_of(ratio->low, scale);
    fprintf(out,
            "<span class=\"track\"><i class=\"one\" style=\"left:50%%\"></i>"
            "<i class=\"lost-line\" style=\"left:%.2f%%\"></i>"
            "<i class=\"range\" style=\"left:%.2f%%;width:%.2f%%\"></i>"
            "<i class=\"mid\" style=\"left:%.2f%%\"></i></span>",
            place_of(BENCH_LOST_ABOVE, scale), low, place_of(ratio->high, scale) - low,
            place_of(ratio->median, scale));
}

/* ---- tables ---- */

static void print_value(FILE *out, struct bench_text text) {
    fprintf(out, "<td>%s</td>", text.text);
}

static void print_ratio(FILE *out, const struct bench_report *report, const struct bench_row *row,
                        size_t allocator, double scale) {
    struct bench_ratio ratio = {.pairs = 0};
    if (bench_is_peer(report, allocator)) {
        ratio = bench_compare_cells(row, allocator, row->by);
    }
    if (ratio.pairs == 0) {
        double share = NAN;
        if (report->allocators.items[allocator].kind == ALLOCATOR_FLOOR) {
            share = bench_allocator_share(report, row, 0);
        }
        fprintf(out, "<td colspan=\"4\" class=\"left\">%s%s</td>",
                isnan(share) ? "" : bench_percent_text(share).text,
                isnan(share) ? "" : " of the time is the allocator's");
        return;
    }
    const char *word = bench_verdict_word(bench_judge(&ratio, bench_calibration_spread(row)));
    fprintf(out, "<td>%s</td><td class=\"quiet left\">%s–%s</td><td class=\"left\" style=\"",
            bench_ratio_text(ratio.median).text, bench_ratio_text(ratio.low).text,
            bench_ratio_text(ratio.high).text);
    bench_html_colour(out, report, allocator);
    fputs("\">", out);
    print_track(out, &ratio, scale);
    fprintf(out, "</td><td class=\"left\"><span class=\"verdict %s\">%s</span></td>", word, word);
}

static bool has_latency(const struct bench_report *report, const struct bench_row *row) {
    for (size_t i = 0; i < report->allocators.count; i++) {
        if (row->cells[i].is_run && !isnan(bench_median(report, row, i, METRIC_P50))) {
            return true;
        }
    }
    return false;
}

/* Begins an allocator's line. */
static void print_name(FILE *out, const struct bench_report *report, size_t allocator) {
    bool is_floor = report->allocators.items[allocator].kind == ALLOCATOR_FLOOR;
    fprintf(out, "<tr%s><td><span class=\"swatch\" style=\"",
            allocator == 0 ? " class=\"own\""
            : is_floor     ? " class=\"floor\""
                           : "");
    bench_html_colour(out, report, allocator);
    fputs("\"></span>", out);
    bench_html_text(out, report->allocators.items[allocator].name);
    fputs("</td>", out);
}

static void print_latencies(FILE *out, const struct bench_report *report,
                            const struct bench_row *row) {
    static const enum bench_metric shown[] = {METRIC_P50, METRIC_P99, METRIC_P999, METRIC_LONGEST};
    if (!has_latency(report, row)) {
        return;
    }
    fputs(
        "<table class=\"narrow\"><thead><tr><th>latency</th><th>p50</th><th>p99</th><th>p99.9</th>"
        "<th>max</th></tr></thead><tbody>\n",
        out);
    for (size_t i = 0; i < report->allocators.count; i++) {
        if (!row->cells[i].is_run) {
            continue;
        }
        print_name(out, report, i);
        for (size_t j = 0; j < sizeof shown / sizeof shown[0]; j++) {
            print_value(out, bench_seconds_text(bench_median(report, row, i, shown[j])));
        }
        fputs("</tr>\n", out);
    }
    fputs("</tbody></table>\n", out);
}

static void print_cell(FILE *out, const struct bench_report *report, const struct bench_row *row,
                       size_t allocator, double scale) {
    const struct bench_cell *cell = &row->cells[allocator];
    struct bench_summary by = bench_cell_summary(report, row, allocator, row->by);
    print_name(out, report, allocator);
    print_value(out, bench_seconds_text(by.median));
    print_value(out, bench_percent_text(bench_spread(&by)));
    print_ratio(out, report, row, allocator, scale);
    print_value(out, bench_seconds_text(bench_median(report, row, allocator, METRIC_WALL)));
    print_value(out, bench_seconds_text(bench_median(report, row, allocator, METRIC_SYSTEM)));
    print_value(out, bench_bytes_text(bench_median(report, row, allocator, METRIC_PEAK_RSS)));
    print_value(out, bench_bytes_text(bench_median(report, row, allocator, METRIC_MEAN_RSS)));
    print_value(out, bench_count_text(bench_median(report, row, allocator, METRIC_MINOR_FAULTS)));
    print_value(out, bench_count_text(cell->system_calls));
    fputs("</tr>\n", out);
    if (cell->failures != 0) {
        fprintf(out, "<tr class=\"failed\"><td></td><td colspan=\"12\">failed: %zu of %zu runs: ",
                cell->failures, cell->runs);
        bench_html_text(out, cell->failure == NULL ? "" : cell->failure);
        fputs("</td></tr>\n", out);
    }
}

static void print_title(FILE *out, const struct bench_row *row) {
    fputs("<header><h3>", out);
    bench_html_text(out, row->workload->name);
    fputs("</h3><span>", out);
    bench_html_text(out, row->workload->summary);
    fputs("</span><code>", out);
    for (char **word = row->workload->command; *word != NULL; word++) {
        const char *slash = strrchr(*word, '/');
        bench_html_text(out, slash == NULL ? *word : slash + 1);
        fputs(word[1] == NULL ? "" : " ", out);
    }
    fprintf(
        out,
        "</code><span class=\"quiet\">%s, %zu rounds, calibration varied by %s</span></header>\n",
        bench_metrics[row->by].title, row->rounds,
        bench_percent_text(bench_calibration_spread(row)).text);
}

static void print_row(FILE *out, const struct bench_report *report, size_t index, size_t shown,
                      double scale) {
    const struct bench_row *row = &report->rows[index];
    fputs("<section class=\"workload\">\n", out);
    print_title(out, row);
    fputs("<div class=\"wide\"><table><thead><tr><th></th><th>median</th><th>spread</th><th>", out);
    bench_html_text(out, report->allocators.items[0].name);
    fputs(" ÷ it</th><th class=\"left\">95 %</th><th></th><th></th><th>wall</th><th>system</th>"
          "<th>peak RSS</th><th>mean RSS</th><th>faults</th><th>calls</th>",
          out);
    fputs("</tr></thead><tbody>\n", out);
    for (size_t i = 0; i < report->allocators.count; i++) {
        if (row->cells[i].is_run) {
            print_cell(out, report, row, i, scale);
        }
    }
    fputs("</tbody></table>\n", out);
    print_latencies(out, report, row);
    fputs("</div>\n", out);
    fprintf(out,
            "<div class=\"plots needs-script\">\n"
            "<figure><figcaption>Resident memory over time</figcaption>"
            "<div class=\"chart\" data-chart=\"memory\" data-row=\"%zu\"></div></figure>\n"
            "<figure><figcaption>Latency: the slowest operations to the right</figcaption>"
            "<div class=\"chart\" data-chart=\"latency\" data-row=\"%zu\"></div></figure>\n</div>\n"
            "</section>\n",
            shown, shown);
}

void bench_html_rows(FILE *out, const struct bench_report *report) {
    double scale = scale_of(report);
    size_t shown = 0; /* the row's place in the JSON, which has those with rounds only */
    fputs("<h2>Workloads</h2>\n", out);
    for (size_t i = 0; i < report->row_count; i++) {
        if (report->rows[i].rounds > 0) {
            print_row(out, report, i, shown++, scale);
        }
    }
}
