/* cli/bench_child.h — starting a run and reading what it left; for timed and traced runs. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_BENCH_CHILD_H
#define HAKMEM_CLI_BENCH_CHILD_H

#include "bench.h"

#include <signal.h>
#include <sys/types.h>

struct bench_child {
    pid_t pid;         /* and the process group of it and of all that it starts */
    int go;            /* closing it lets a held child execute its program; -1: not held */
    int report;        /* what the child says until it executes */
    int out;           /* all that it wrote to stdout, in memory */
    int err;           /* and to stderr */
    uint64_t begin_ns; /* of the execution, CLOCK_MONOTONIC */
};

/*
 * Blocks SIGCHLD and what ends us, once: from then on they are waited for (bench_child_wait_signal), so that
 * none can come between looking and waiting. Children start with the mask from before.
 */
void bench_block_signals(void);

/* Waits for a signal, at most `ns`; 0: none that ends us came. SIGCHLD returns at once, as 0. */
int bench_wait_signal(uint64_t ns);

/* Forks; a held child waits until bench_child_go(). False: it said what failed. */
bool bench_child_start(const struct bench_job *job, bool is_held, struct bench_child *child);

/* Lets a held child go on. False: its program could not be executed, `outcome` has why; it must still be waited for. */
bool bench_child_go(struct bench_child *child, const struct bench_job *job,
                    struct bench_outcome *outcome);

/*
 * After its end: reads `status` and its output into `outcome`, closes all. A failure that the outcome has already
 * stays.
 */
void bench_child_end(struct bench_child *child, const struct bench_job *job, int status,
                     struct bench_outcome *outcome);

void bench_outcome_init(struct bench_outcome *outcome);

/* Notes the first failure, as printf; later ones follow from it. */
__attribute__((format(printf, 2, 3))) void bench_fail(struct bench_outcome *outcome,
                                                      const char *format, ...);

uint64_t bench_now_ns(void);

/* Reads a workload's `result` line out of its output (bench/bench_common.h). */
void bench_read_result(const char *text, struct bench_outcome *outcome);

#endif
