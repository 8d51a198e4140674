/* cli/bench_json.h — a report as JSON, for file and page. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_BENCH_JSON_H
#define HAKMEM_CLI_BENCH_JSON_H

#include "bench.h"

#include <jansson.h>

/* All of the report (docs/benchmarks.md has the keys), or NULL: no memory. */
json_t *bench_json(const struct bench_report *report);

#endif
