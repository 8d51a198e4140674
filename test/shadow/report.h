/* test/shadow/report.h — what a run leaves for its parent to read. SPDX-License-Identifier: MIT */
/*
 * Goal: know what a run was doing when it failed, was killed, or did not come back.
 * Method: each run is a child process. It notes every operation, before it begins it, in memory that
 * is shared with its parent, one lane for each thread. A failed check writes its text there and ends
 * the process at once: after a corruption nothing that follows means anything.
 */
#ifndef HAKMEM_TEST_SHADOW_REPORT_H
#define HAKMEM_TEST_SHADOW_REPORT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "operation.h"

enum { SHADOW_LANES_MAX = 128, SHADOW_RING = 8, SHADOW_EXIT_DIFFERS = 4 };

/* Written by one thread at a time; read by the parent when the process is over. */
struct shadow_lane_report {
    atomic_ulong begun;                        /* operations */
    unsigned long life;                        /* the how manieth thread on this lane */
    struct shadow_operation last[SHADOW_RING]; /* operation i is at i % SHADOW_RING */
};

struct shadow_report {
    struct shadow_lane_report lane[SHADOW_LANES_MAX];
    atomic_ulong lives;    /* threads that have ended */
    atomic_ulong checks;   /* calls of hakmem_check */
    atomic_bool is_failed; /* the first to fail sets it */
    unsigned failed_lane;
    const char *failure_format; /* which check it was; the parent's text as well */
    char failure[400];
};

enum shadow_end { SHADOW_AGREES, SHADOW_DIFFERS, SHADOW_KILLED, SHADOW_EXITED, SHADOW_HANGS };

struct shadow_outcome {
    enum shadow_end end;
    int detail;          /* the signal, or the exit status */
    const char *check;   /* which one failed, as format of its message; NULL */
    unsigned long begun; /* operations, all lanes together */
};

/* Maps `report`; ends the program if it cannot. */
void shadow_report_open(void);
extern struct shadow_report *g_shadow_report;

/* The lane of the calling thread. */
extern _Thread_local unsigned g_shadow_lane;
void shadow_begin_operation(const struct shadow_operation *op);
/* In the child only. */
_Noreturn void shadow_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Runs body(argument) in a child, which must end within `patience_s` of beginning its latest operation.
 * is_quiet: what it writes is thrown away.
 */
struct shadow_outcome shadow_run_child(void (*body)(const void *), const void *argument,
                                       unsigned patience_s, bool is_quiet);
/* The same signal, the same status, the same check. */
bool shadow_is_alike(const struct shadow_outcome *a, const struct shadow_outcome *b);
/* "ended by signal 11 (Segmentation fault)" */
void shadow_describe_outcome(const struct shadow_outcome *outcome, char *text, size_t room);

#endif
