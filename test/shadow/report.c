/* test/shadow/report.c — child processes, and what they leave. SPDX-License-Identifier: MIT */

#include "report.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "../stress/stress.h"

struct shadow_report *g_shadow_report;
_Thread_local unsigned g_shadow_lane;

void shadow_report_open(void) {
    g_shadow_report = mmap(NULL, sizeof *g_shadow_report, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (g_shadow_report == MAP_FAILED)
        stress_fail("mmap of the report");
}

void shadow_begin_operation(const struct shadow_operation *op) {
    struct shadow_lane_report *lane = &g_shadow_report->lane[g_shadow_lane];
    unsigned long begun = atomic_load_explicit(&lane->begun, memory_order_relaxed);
    lane->last[begun % SHADOW_RING] = *op;
    atomic_store_explicit(&lane->begun, begun + 1, memory_order_relaxed);
}

void shadow_fail(const char *format, ...) {
    va_list args;
    if (atomic_exchange(&g_shadow_report->is_failed, true))
        for (;;) /* another thread is ending the process */
            pause();
    g_shadow_report->failed_lane = g_shadow_lane;
    g_shadow_report->failure_format = format;
    va_start(args, format);
    vsnprintf(g_shadow_report->failure, sizeof g_shadow_report->failure, format, args);
    va_end(args);
    _exit(SHADOW_EXIT_DIFFERS);
}

static unsigned long operations_begun(void) {
    unsigned long sum = 0;
    for (int i = 0; i < SHADOW_LANES_MAX; i++)
        sum += atomic_load_explicit(&g_shadow_report->lane[i].begun, memory_order_relaxed);
    return sum;
}

static void silence(void) {
    int null = open("/dev/null", O_WRONLY);
    if (null < 0 || dup2(null, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
        _exit(3);
    close(null);
}

/* Waits for the child; false: it did not begin an operation for so long that it was killed. */
static bool await(pid_t child, int *status, unsigned patience_s) {
    sigset_t ended;
    unsigned long begun = 0;
    unsigned idle_s = 0;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    while (waitpid(child, status, WNOHANG) != child) {
        if (sigtimedwait(&ended, NULL, &(struct timespec){1, 0}) == SIGCHLD)
            continue;
        unsigned long now = operations_begun();
        idle_s = now == begun ? idle_s + 1 : 0;
        begun = now;
        if (idle_s >= patience_s) {
            kill(child, SIGKILL);
            waitpid(child, status, 0);
            return false;
        }
    }
    return true;
}

struct shadow_outcome shadow_run_child(void (*body)(const void *), const void *argument,
                                       unsigned patience_s, bool is_quiet) {
    sigset_t ended;
    sigset_t before;
    int status = 0;
    memset(g_shadow_report, 0, sizeof *g_shadow_report);
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &ended, &before); /* so that sigtimedwait() cannot miss it */
    pid_t child = fork();
    if (child < 0)
        stress_fail("fork");
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* whoever kills the test means the child as well */
        sigprocmask(SIG_SETMASK, &before, NULL);
        if (is_quiet)
            silence();
        body(argument);
        exit(0); /* and not _exit: the library's own end belongs to the run */
    }
    bool is_back = await(child, &status, patience_s);
    struct shadow_outcome outcome = {
        .end = SHADOW_AGREES,
        .check = g_shadow_report->failure_format,
        .begun = operations_begun(),
    };
    if (!is_back) {
        outcome.end = SHADOW_HANGS;
        outcome.detail = (int)patience_s;
    } else if (WIFSIGNALED(status)) {
        outcome.end = SHADOW_KILLED;
        outcome.detail = WTERMSIG(status);
    } else if (WEXITSTATUS(status) != 0) {
        outcome.detail = WEXITSTATUS(status);
        outcome.end = outcome.detail == SHADOW_EXIT_DIFFERS ? SHADOW_DIFFERS : SHADOW_EXITED;
    }
    return outcome;
}

bool shadow_is_alike(const struct shadow_outcome *a, const struct shadow_outcome *b) {
    return a->end == b->end && a->check == b->check &&
           (a->end == SHADOW_HANGS || a->detail == b->detail);
}

void shadow_describe_outcome(const struct shadow_outcome *outcome, char *text, size_t room) {
    switch (outcome->end) {
    case SHADOW_AGREES:
        snprintf(text, room, "agrees with the model");
        break;
    case SHADOW_DIFFERS:
        snprintf(text, room, "%s", g_shadow_report->failure);
        break;
    case SHADOW_KILLED:
        snprintf(text, room, "ended by signal %d (%s)", outcome->detail,
                 strsignal(outcome->detail));
        break;
    case SHADOW_EXITED:
        snprintf(text, room, "ended by itself, status %d", outcome->detail);
        break;
    case SHADOW_HANGS:
        snprintf(text, room, "did nothing for %d seconds", outcome->detail);
        break;
    }
}
