/* cli/bench_html.h — the parts of the page. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_BENCH_HTML_H
#define HAKMEM_CLI_BENCH_HTML_H

#include "bench.h"

/* With &, <, > and " as entities: for text and quoted attributes. */
void bench_html_text(FILE *out, const char *text);

/* An allocator's colour as the style `--c:…`. */
void bench_html_colour(FILE *out, const struct bench_report *report, size_t allocator);

/* One card for each peer: the geometric means and the verdicts. */
void bench_html_cards(FILE *out, const struct bench_report *report);

/* One section for each workload, with its table and places for its plots. */
void bench_html_rows(FILE *out, const struct bench_report *report);

#endif
