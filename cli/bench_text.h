/* cli/bench_text.h — numbers as people read them, the same in table and page. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_BENCH_TEXT_H
#define HAKMEM_CLI_BENCH_TEXT_H

#include "bench.h"

/* A number as text, by value: as many as a line of a table needs can live at once. */
struct bench_text {
    char text[32];
};

struct bench_text bench_seconds_text(double seconds); /* 12.3 ns, 4.56 ms, 1.23 s; – for NAN */
struct bench_text bench_bytes_text(double bytes);     /* 12.3 MiB */
struct bench_text bench_count_text(double count);     /* 1,234 or 12.3 M */
struct bench_text bench_percent_text(double share);   /* 1.2 % */
struct bench_text bench_ratio_text(double ratio);     /* 0.93 */

#endif
