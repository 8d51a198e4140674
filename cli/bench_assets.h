/* cli/bench_assets.h — style, script and chart library of the page. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_BENCH_ASSETS_H
#define HAKMEM_CLI_BENCH_ASSETS_H

#include <stddef.h>

struct bench_asset {
    const char *text; /* not terminated */
    size_t size;      /* bytes */
};

struct bench_asset bench_page_style(void);  /* bench_page.css */
struct bench_asset bench_page_script(void); /* bench_page.js */
struct bench_asset bench_uplot_style(void); /* third_party/uplot */
struct bench_asset bench_uplot_script(void);
struct bench_asset bench_uplot_licence(void); /* which is to be in every copy of the two */

#endif
