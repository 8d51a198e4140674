/* cli/bench_child.c — one run of a workload, measured from outside. SPDX-License-Identifier: MIT */
/*
 *   fork ─ child: own process group, no terminal, output into memory, LD_PRELOAD ─ exec ─ … ─ end
 *        └ parent: every interval the resident memory ──────────────────────────────────────── wait4
 *
 * The time begins when the child executes, by its own clock. fork() and not posix_spawn(): a process begins
 * with the peak RSS of the one whose memory it had when it called exec (Linux, exec_mmap()), and a forked
 * child has copied next to nothing of ours, where a spawned one borrows all.
 */
#define _GNU_SOURCE
#include "bench_child.h"

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { OUTPUT_READ_MAX = 1 << 18, ENVIRONMENT_MAX = 4096 };
enum { NS_PER_SECOND = 1000000000 };

static struct {
    sigset_t before; /* the mask we were started with */
    sigset_t waited;
} g_bench_child;

uint64_t bench_now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

void bench_block_signals(void) {
    static const int numbers[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction by_default = {.sa_handler = SIG_DFL};
    sigemptyset(&by_default.sa_mask);
    sigaction(SIGCHLD, &by_default,
              NULL); /* ignored, the kernel would keep a child's end from us */
    sigemptyset(&g_bench_child.waited);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        sigaddset(&g_bench_child.waited, numbers[i]);
    }
    sigprocmask(SIG_BLOCK, &g_bench_child.waited, &g_bench_child.before);
}

int bench_wait_signal(uint64_t ns) {
    struct timespec limit = {(time_t)(ns / NS_PER_SECOND), (long)(ns % NS_PER_SECOND)};
    int number = sigtimedwait(&g_bench_child.waited, NULL, &limit);
    return number > 0 && number != SIGCHLD ? number : 0;
}

/* ---- the child's side ---- */

/* What would make one of the allocators another one than the user named. */
static bool is_stray(const char *variable) {
    static const char *const prefixes[] = {"LD_PRELOAD=", "GLIBC_TUNABLES=", "MALLOC_", "HAKMEM_",
                                           "MIMALLOC_",   "TCMALLOC_",       "BENCH_"};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(variable, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* false: too many variables. */
static bool make_environment(const struct bench_job *job, char *preload, char **environment) {
    size_t count = 0;
    for (char **variable = environ; *variable != NULL; variable++) {
        if (!is_stray(*variable)) {
            if (count == ENVIRONMENT_MAX - BENCH_SETTINGS_MAX - 3) {
                return false;
            }
            environment[count++] = *variable;
        }
    }
    for (const char *const *setting = job->allocator->settings; *setting != NULL; setting++) {
        environment[count++] = (char *)(uintptr_t)*setting;
    }
    if (preload != NULL) {
        environment[count++] = preload;
    }
    if (job->has_latency) {
        environment[count++] = (char *)(uintptr_t) "BENCH_LATENCY=1";
    }
    environment[count] = NULL;
    return true;
}

static _Noreturn void execute(char **argv, char **environment, int go, int report, int out,
                              int err) {
    char byte;
    setpgid(0, 0);
    sigprocmask(SIG_SETMASK, &g_bench_child.before, NULL);
    int nothing = open("/dev/null", O_RDONLY);
    bool is_ready = nothing >= 0 && dup2(nothing, STDIN_FILENO) >= 0 &&
                    dup2(out, STDOUT_FILENO) >= 0 && dup2(err, STDERR_FILENO) >= 0;
    if (is_ready && go >= 0) {
        while (read(go, &byte, 1) < 0 && errno == EINTR) {
        }
    }
    uint64_t begin = bench_now_ns();
    if (is_ready && write(report, &begin, sizeof begin) == (ssize_t)sizeof begin) {
        execvpe(argv[0], argv, environment);
    }
    int error = errno;
    (void)!write(report, &error, sizeof error);
    _exit(CLI_EXIT_REFUSED);
}

/* ---- the parent's side ---- */

static bool start_failed(const char *what) {
    cli_say("error", "bench: %s: %s", what, strerror(errno));
    return false;
}

bool bench_child_start(const struct bench_job *job, bool is_held, struct bench_child *child) {
    char *environment[ENVIRONMENT_MAX];
    char *argv[128];
    char preload[4200];
    size_t count = 0;
    for (char **word = job->workload->command; *word != NULL; word++) {
        if (count == sizeof argv / sizeof argv[0] - 2) {
            errno = E2BIG;
            return start_failed(job->workload->name);
        }
        argv[count++] = *word;
    }
    if (job->allocator->kind == ALLOCATOR_FLOOR) {
        argv[count++] = (char *)(uintptr_t) "floor";
    }
    argv[count] = NULL;
    bool has_library = job->allocator->library != NULL;
    if (has_library) {
        snprintf(preload, sizeof preload, "LD_PRELOAD=%s", job->allocator->library);
    }
    if (count == 0 || !make_environment(job, has_library ? preload : NULL, environment)) {
        errno = count == 0 ? EINVAL : E2BIG;
        return start_failed("environment");
    }

    int go[2] = {-1, -1};
    int report[2];
    child->out = memfd_create("stdout", MFD_CLOEXEC);
    child->err = memfd_create("stderr", MFD_CLOEXEC);
    if (child->out < 0 || child->err < 0 || pipe2(report, O_CLOEXEC) != 0 ||
        (is_held && pipe2(go, O_CLOEXEC) != 0)) {
        return start_failed("a run cannot be prepared");
    }
    child->pid = fork();
    if (child->pid == 0) {
        if (is_held) {
            close(go[1]); /* or we would wait for ourselves */
        }
        execute(argv, environment, go[0], report[1], child->out, child->err);
    }
    int error = errno;
    if (is_held) {
        close(go[0]);
    }
    close(report[1]);
    child->go = go[1];
    child->report = report[0];
    if (child->pid < 0) {
        errno = error;
        return start_failed("fork");
    }
    setpgid(child->pid, child->pid); /* here, too: whoever is first */
    return true;
}

static bool read_whole(int fd, void *to, size_t size) {
    ssize_t got;
    do {
        got = read(fd, to, size);
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)size;
}

bool bench_child_go(struct bench_child *child, const struct bench_job *job,
                    struct bench_outcome *outcome) {
    int error;
    if (child->go >= 0) {
        close(child->go);
        child->go = -1;
    }
    if (!read_whole(child->report, &child->begin_ns, sizeof child->begin_ns)) {
        child->begin_ns = bench_now_ns();
        bench_fail(outcome, "it ended before it could be executed");
    } else if (read_whole(child->report, &error, sizeof error)) {
        bench_fail(outcome, "%s: %s", job->workload->command[0], strerror(error));
    }
    close(child->report);
    return outcome->failure[0] == '\0';
}

/* The end of what was written to `fd`, as text of its own memory; NULL: none. */
static char *read_end(int fd) {
    off_t size = lseek(fd, 0, SEEK_END);
    off_t begin = size > OUTPUT_READ_MAX ? size - OUTPUT_READ_MAX : 0;
    char *text = size > 0 ? malloc((size_t)(size - begin) + 1) : NULL;
    ssize_t got = text == NULL ? -1 : pread(fd, text, (size_t)(size - begin), begin);
    if (got < 0) {
        free(text);
        return NULL;
    }
    text[got] = '\0';
    return text;
}

static const char *last_line(char *text) {
    if (text == NULL) {
        return "nothing on stderr";
    }
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL) {
        text[--length] = '\0';
    }
    const char *newline = strrchr(text, '\n');
    return newline == NULL ? text : newline + 1;
}

void bench_child_end(struct bench_child *child, const struct bench_job *job, int status,
                     struct bench_outcome *outcome) {
    char *errors = read_end(child->err);
    if (WIFSIGNALED(status)) {
        bench_fail(outcome, "signal %d (%s): %.300s", WTERMSIG(status), strsignal(WTERMSIG(status)),
                   last_line(errors));
    } else if (WEXITSTATUS(status) != 0) {
        bench_fail(outcome, "exit %d: %.300s", WEXITSTATUS(status), last_line(errors));
    }
    free(errors);
    if (outcome->failure[0] == '\0') {
        char *output = read_end(child->out);
        if (output != NULL) {
            bench_read_result(output, outcome);
        }
        free(output);
    }
    if (outcome->failure[0] == '\0' && job->workload->is_timed &&
        isnan(outcome->values[METRIC_PER_OPERATION])) {
        bench_fail(outcome, "its output has no operations per second");
    }
    close(child->out);
    close(child->err);
}

/* ---- resident memory over time ---- */

struct sampler {
    int statm; /* of the child */
    uint64_t interval_ns;
    uint64_t next_ns;
    uint64_t stride; /* samples per point of the curve */
    uint64_t taken;
    double sum;
};

/* statm's counters are kept per processor and lag behind by some dozens of pages each (Linux 6.2). */
static double read_rss_bytes(int statm) {
    char text[128];
    ssize_t length = pread(statm, text, sizeof text - 1, 0);
    if (length <= 0) {
        return NAN;
    }
    text[length] = '\0';
    const char *resident = strchr(text, ' ');
    return resident == NULL ? NAN
                            : (double)strtoull(resident, NULL, 10) * (double)sysconf(_SC_PAGESIZE);
}

static void add_point(struct sampler *sampler, struct bench_curve *curve, double rss_bytes) {
    if (sampler->taken++ % sampler->stride != 0) {
        return;
    }
    if (curve->count == BENCH_CURVE_MAX) {
        for (size_t i = 0; i < BENCH_CURVE_MAX / 2; i++) {
            curve->rss_bytes[i] = curve->rss_bytes[2 * i];
        }
        curve->count = BENCH_CURVE_MAX / 2;
        curve->interval_s *= 2;
        sampler->stride *= 2; /* taken - 1 is a multiple of it: the count is even */
    }
    curve->rss_bytes[curve->count++] = rss_bytes;
}

/* A sample that came late stands for those that are missing, so that points lie evenly in time. */
static void sample(struct sampler *sampler, struct bench_curve *curve, uint64_t now_ns) {
    double rss_bytes = read_rss_bytes(sampler->statm);
    for (; sampler->next_ns <= now_ns; sampler->next_ns += sampler->interval_ns) {
        if (rss_bytes > 0) {
            sampler->sum += rss_bytes;
            add_point(sampler, curve, rss_bytes);
        }
    }
}

/* ---- a timed run ---- */

/* Until the child has ended; it is not reaped yet, so that its process group cannot be somebody else's. */
static uint64_t watch(struct bench_child *child, const struct bench_job *job,
                      struct sampler *sampler, struct bench_outcome *outcome) {
    uint64_t deadline_ns = child->begin_ns + (uint64_t)(job->timeout_s * NS_PER_SECOND);
    bool is_killed = outcome->failure[0] != '\0';
    for (;;) {
        siginfo_t info = {.si_pid = 0};
        uint64_t now_ns = bench_now_ns();
        if (waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
            info.si_pid == child->pid) {
            return now_ns;
        }
        if (sampler->next_ns <= now_ns) {
            sample(sampler, &outcome->curve, now_ns);
        }
        if (!is_killed && now_ns >= deadline_ns) {
            bench_fail(outcome, "not done after %g s", job->timeout_s);
        }
        if (!is_killed && outcome->failure[0] != '\0') {
            kill(-child->pid, SIGKILL);
            is_killed = true;
        }
        int number = bench_wait_signal(sampler->next_ns > now_ns ? sampler->next_ns - now_ns : 1);
        if (number != 0) {
            outcome->signal = number;
            bench_fail(outcome, "interrupted");
        }
    }
}

static double seconds_of(struct timeval time) {
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

bool bench_run_timed(const struct bench_job *job, struct bench_outcome *outcome) {
    struct bench_child child;
    bench_outcome_init(outcome);
    if (!bench_child_start(job, false, &child)) {
        return false;
    }
    bench_child_go(&child, job, outcome);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)child.pid);
    struct sampler sampler = {
        .statm = open(path, O_RDONLY | O_CLOEXEC),
        .interval_ns = (uint64_t)(job->interval_s * NS_PER_SECOND),
        .next_ns = child.begin_ns,
        .stride = 1,
    };
    outcome->curve.interval_s = job->interval_s;
    uint64_t end_ns = watch(&child, job, &sampler, outcome);
    close(sampler.statm);

    int status = 0;
    struct rusage usage = {.ru_maxrss = 0};
    kill(-child.pid, SIGKILL); /* what it left running would run beside the next one */
    if (wait4(child.pid, &status, 0, &usage) != child.pid) {
        return start_failed("wait4");
    }
    double *values = outcome->values;
    values[METRIC_WALL] = (double)(end_ns - child.begin_ns) / NS_PER_SECOND;
    values[METRIC_USER] = seconds_of(usage.ru_utime);
    values[METRIC_SYSTEM] = seconds_of(usage.ru_stime);
    values[METRIC_CPU] = values[METRIC_USER] + values[METRIC_SYSTEM];
    values[METRIC_PEAK_RSS] = (double)usage.ru_maxrss * 1024;
    values[METRIC_MINOR_FAULTS] = (double)usage.ru_minflt;
    values[METRIC_MAJOR_FAULTS] = (double)usage.ru_majflt;
    enum { SAMPLES_MIN = 5 }; /* fewer tell of the start only */
    values[METRIC_MEAN_RSS] =
        sampler.taken < SAMPLES_MIN ? NAN : sampler.sum / (double)sampler.taken;
    bench_child_end(&child, job, status, outcome);
    return true;
}
