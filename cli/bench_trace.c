/* cli/bench_trace.c — one run under ptrace(2): is the allocator there, how many system calls? SPDX-License-Identifier: MIT */
/*
 * The run stops at every system call of the process and of all that it starts, and once more when the process
 * is about to end, its memory still mapped: there we look for the library. Its times mean nothing; it also
 * warms up what the timed runs read from disk. Counting begins at the execution, the loader's calls included.
 */
#define _GNU_SOURCE
#include "bench_child.h"

#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct trace {
    const struct bench_job *job;
    struct bench_child *child;
    struct bench_outcome *outcome;
    uint64_t deadline_ns;
    int status; /* the child's own, once it has ended */
};

static bool has_mapped(pid_t pid, const char *library) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "re");
    char *line = NULL;
    size_t size = 0;
    bool is_found = false;
    while (maps != NULL && !is_found && getline(&line, &size, maps) > 0) {
        line[strcspn(line, "\n")] = '\0';
        const char *mapped = strchr(line, '/');
        is_found = mapped != NULL && strcmp(mapped, library) == 0;
    }
    free(line);
    if (maps != NULL) {
        fclose(maps);
    }
    return is_found;
}

static void count_call(struct trace *trace, pid_t pid) {
    static const long memory[] = {SYS_mmap,    SYS_munmap, SYS_mremap,         SYS_mprotect,
                                  SYS_madvise, SYS_brk,    SYS_process_madvise};
    struct __ptrace_syscall_info info = {.op = PTRACE_SYSCALL_INFO_NONE};
    if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info) < 0) {
        trace->outcome->system_calls = NAN; /* before Linux 5.3; what is added to it is lost, too */
        trace->outcome->memory_calls = NAN;
        trace->outcome->futex_calls = NAN;
    }
    if (info.op != PTRACE_SYSCALL_INFO_ENTRY) {
        return;
    }
    trace->outcome->system_calls++;
    trace->outcome->futex_calls += info.entry.nr == SYS_futex;
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        trace->outcome->memory_calls += info.entry.nr == (uint64_t)memory[i];
    }
}

/* One stop of one thread; lets it go on. */
static void handle_stop(struct trace *trace, pid_t pid, int status) {
    int number = WSTOPSIG(status);
    int event = status >> 16;
    long request = PTRACE_SYSCALL;
    if (number == (SIGTRAP | 0x80)) {
        count_call(trace, pid);
        number = 0;
    } else if (event == PTRACE_EVENT_STOP) {
        /* A stop of the whole group goes on until it is continued; else a new thread has begun. */
        bool is_group_stop =
            number == SIGSTOP || number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;
        request = is_group_stop ? PTRACE_LISTEN : PTRACE_SYSCALL;
        number = 0;
    } else if (event != 0) {
        const char *library = trace->job->allocator->library;
        if (event == PTRACE_EVENT_EXIT && pid == trace->child->pid && library != NULL) {
            trace->outcome->check = has_mapped(pid, library) ? CHECK_PRESENT : CHECK_ABSENT;
        }
        number = 0;
    }
    ptrace((enum __ptrace_request)request, pid, NULL, (void *)(intptr_t)number);
}

static void look_at_clock(struct trace *trace) {
    static const uint64_t look_ns = 100000000;
    int number = bench_wait_signal(look_ns);
    if (number != 0) {
        trace->outcome->signal = number;
        bench_fail(trace->outcome, "interrupted");
    }
    if (bench_now_ns() >= trace->deadline_ns) {
        bench_fail(trace->outcome, "not done after %g s of being traced", trace->job->timeout_s);
    }
    if (trace->outcome->failure[0] != '\0') {
        kill(-trace->child->pid, SIGKILL);
    }
}

/* Until the child has ended and all that it started, as we are their tracer. */
static void follow(struct trace *trace) {
    for (bool has_ended = false; !has_ended;) {
        int status;
        pid_t pid = waitpid(-1, &status, __WALL | WNOHANG);
        if (pid == 0) {
            look_at_clock(trace);
        } else if (pid < 0) {
            has_ended = errno != EINTR;
        } else if (WIFSTOPPED(status)) {
            handle_stop(trace, pid, status);
        } else if (pid == trace->child->pid) {
            trace->status = status;
            kill(-pid, SIGKILL); /* it may have left some running; they are ours until they end */
        }
    }
}

/* Once: it is as true of every other run. */
static void warn_untraced(void) {
    static bool has_warned;
    if (!has_warned) {
        has_warned = true;
        cli_say("warning", "bench: ptrace: %s: nobody looks whether the allocators are there",
                strerror(errno));
    }
}

bool bench_run_traced(const struct bench_job *job, struct bench_outcome *outcome) {
    struct bench_child child;
    struct trace trace = {.job = job, .child = &child, .outcome = outcome};
    static const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT |
                                PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                                PTRACE_O_EXITKILL;
    bench_outcome_init(outcome);
    if (!bench_child_start(job, true, &child)) {
        return false;
    }
    if (ptrace(PTRACE_SEIZE, child.pid, NULL, (void *)options) == 0) {
        outcome->system_calls = outcome->memory_calls = outcome->futex_calls = 0;
    } else {
        warn_untraced();
    }
    bench_child_go(&child, job, outcome);
    trace.deadline_ns = child.begin_ns + (uint64_t)(job->timeout_s * 1e9);
    follow(&trace);
    bench_child_end(&child, job, trace.status, outcome);
    if (outcome->check == CHECK_ABSENT) {
        bench_fail(outcome, "%s is not in the process: nothing that is measured would be its own",
                   job->allocator->library);
    }
    return true;
}
