/* cli/bench_html.c — `hakmem bench --html`: one page, all in it. SPDX-License-Identifier: MIT */
/*
 * The tables and the bars in them are plain HTML, so the page can be read where no script runs. The script
 * (bench_page.js, with uPlot) adds plots from the same numbers, which lie in the page as JSON. It loads nothing.
 */
#include "bench_html.h"

#include "bench_assets.h"
#include "bench_json.h"
#include "bench_text.h"

#include <stdlib.h>
#include <string.h>

void bench_html_text(FILE *out, const char *text) {
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        default:
            fputc(*text, out);
        }
    }
}

/* As bench_page.js chooses them: the first, the floor, and seven for the peers in turn. */
void bench_html_colour(FILE *out, const struct bench_report *report, size_t allocator) {
    enum { PEER_COLOURS = 7 };
    size_t peer = 0;
    for (size_t i = 0; i < allocator; i++) {
        peer += bench_is_peer(report, i);
    }
    if (allocator == 0) {
        fputs("--c:var(--own)", out);
    } else if (!bench_is_peer(report, allocator)) {
        fputs("--c:var(--floor)", out);
    } else {
        fprintf(out, "--c:var(--p%zu)", peer % PEER_COLOURS + 1);
    }
}

static void print_asset(FILE *out, struct bench_asset asset) {
    fwrite(asset.text, 1, asset.size, out);
}

static void print_head(FILE *out, const struct bench_report *report) {
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
          "'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n"
          "<link rel=\"icon\" href=\"data:,\">\n<title>hakmem bench ",
          out);
    fputs(report->started, out);
    fputs("</title>\n<style>\n", out);
    print_asset(out, bench_uplot_style());
    fputc('\n', out);
    print_asset(out, bench_page_style());
    fputs("</style>\n</head>\n<body>\n<main>\n", out);
}

static void print_machine(FILE *out, const struct bench_report *report) {
    fputs("<h1>Allocators compared</h1>\n<p class=\"quiet machine\">", out);
    bench_html_text(out, report->machine.processor);
    fprintf(out, ", %ld processors, %s · ", report->machine.processors,
            bench_bytes_text(report->machine.memory_bytes).text);
    bench_html_text(out, report->machine.kernel);
    fputs(" · ", out);
    bench_html_text(out, report->machine.system);
    fputs(" · transparent huge pages: ", out);
    bench_html_text(out, report->machine.huge_pages);
    fprintf(out, " · hakmem %s · %s</p>\n", report->hakmem_version, report->started);
    if (report->signal != 0) {
        fputs("<p class=\"warning\">Interrupted: these are the rows that were done by then.</p>\n",
              out);
    }
}

static void print_libraries(FILE *out, const struct bench_report *report) {
    fputs("<h2>Allocators</h2>\n<div class=\"wide\"><table><tbody>\n", out);
    for (size_t i = 0; i < report->allocators.count; i++) {
        const struct bench_allocator *allocator = &report->allocators.items[i];
        fprintf(out, "<tr%s><td><span class=\"swatch\" style=\"", i == 0 ? " class=\"own\"" : "");
        bench_html_colour(out, report, i);
        fputs("\"></span>", out);
        bench_html_text(out, allocator->name);
        fputs("</td><td class=\"left\"><code>", out);
        bench_html_text(out, allocator->kind == ALLOCATOR_FLOOR
                                 ? "no allocator: the workload's loop alone"
                             : allocator->kind == ALLOCATOR_SYSTEM ? "the C library's own"
                                                                   : allocator->library);
        for (const char *const *setting = allocator->settings; *setting != NULL; setting++) {
            fputs("<br>", out);
            bench_html_text(out, *setting);
        }
        fputs("</code></td></tr>\n", out);
    }
    fputs("</tbody></table></div>\n", out);
}

static void print_legend(FILE *out, const struct bench_report *report) {
    fputs("<div class=\"legend\">", out);
    for (size_t i = 0; i < report->allocators.count; i++) {
        fputs("<span><span class=\"swatch\" style=\"", out);
        bench_html_colour(out, report, i);
        fputs("\"></span>", out);
        bench_html_text(out, report->allocators.items[i].name);
        fputs("</span>", out);
    }
    fputs("</div>\n", out);
}

static bool has_scaling(const struct bench_report *report) {
    for (size_t i = 0; i < report->row_count; i++) {
        if (strcmp(report->rows[i].workload->group, "scaling") == 0) {
            return true;
        }
    }
    return false;
}

static void print_overview(FILE *out, const struct bench_report *report) {
    const char *own = report->allocators.items[0].name;
    fputs("<section class=\"needs-script\">\n<h2>Time</h2>\n<p class=\"quiet\">Time of ", out);
    bench_html_text(out, own);
    fputs(" divided by each peer's, with 95 % intervals: below the line is better.</p>\n", out);
    print_legend(out, report);
    fputs("<figure><div class=\"chart\" data-chart=\"ratios\"></div></figure>\n"
          "<h2>Time against memory</h2>\n<p class=\"quiet\">Each small mark is a workload under a "
          "peer, each "
          "large one a peer's geometric mean. Right of the cross it takes more memory than ",
          out);
    bench_html_text(out, own);
    fputs(", above it more time.</p>\n"
          "<figure><div class=\"chart\" data-chart=\"scatter\"></div></figure>\n",
          out);
    if (has_scaling(report)) {
        fputs("<h2>How cost grows</h2>\n<div class=\"plots needs-script\" id=\"scaling\"></div>\n",
              out);
    }
    fputs("</section>\n", out);
}

static void print_rules(FILE *out) {
    fputs("<h2>How to read it</h2>\n<p>The ratio is the median of the rounds' quotients, each of "
          "two runs of one "
          "round; its interval holds the true median in 95 of 100 cases (bootstrap). The spread is "
          "the distance of "
          "the quartiles divided by the median.</p>\n<ul>\n",
          out);
    fprintf(
        out,
        "<li><span class=\"verdict won\">won</span> the interval lies below 1.00</li>\n"
        "<li><span class=\"verdict lost\">lost</span> the interval lies above %.2f</li>\n"
        "<li><span class=\"verdict tie\">tie</span> neither, and it is at most %.0f %% wide</li>\n"
        "<li><span class=\"verdict noisy\">noisy</span> neither, and it is wider; or a fixed loop "
        "before "
        "each round varied by more than %.0f %%</li>\n"
        "<li><span class=\"verdict few\">few</span> fewer than %d rounds: no "
        "conclusion</li>\n</ul>\n",
        BENCH_LOST_ABOVE, BENCH_TIE_WIDTH * 100, BENCH_CALM_SPREAD * 100, BENCH_PAIRS_MIN);
}

/* `<` would end the element where `</script` is in a name. */
static bool print_data(FILE *out, const struct bench_report *report) {
    json_t *root = bench_json(report);
    char *text = root == NULL ? NULL : json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6));
    json_decref(root);
    if (text == NULL) {
        return false;
    }
    fputs("<script type=\"application/json\" id=\"data\">", out);
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '<') {
            fputs("\\u003c", out);
        } else {
            fputc(*c, out);
        }
    }
    fputs("</script>\n", out);
    free(text);
    return true;
}

bool bench_print_html(FILE *out, const struct bench_report *report) {
    print_head(out, report);
    print_machine(out, report);
    bench_html_cards(out, report);
    print_overview(out, report);
    print_rules(out);
    bench_html_rows(out, report);
    print_libraries(out, report);
    fputs("</main>\n", out);
    bool is_printed = print_data(out, report);
    fputs("<script>\n/*\n", out);
    print_asset(out, bench_uplot_licence());
    fputs("*/\n", out);
    print_asset(out, bench_uplot_script());
    fputs("\n</script>\n<script>\n", out);
    print_asset(out, bench_page_script());
    fputs("</script>\n</body>\n</html>\n", out);
    return is_printed && ferror(out) == 0;
}
