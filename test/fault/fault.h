/* test/fault/fault.h — pieces of a test, each in a process of its own. SPDX-License-Identifier: MIT */
/*
 * Goal: try a program thousands of times, each time with another failure, and survive what each
 * does: a crash, a hang and a wrong answer are all results to be reported.
 * Method: the parent never allocates from the library. fault_run() forks a child for each try, so
 * that every child starts from the same untouched allocator; fault_start() executes the program
 * anew, for what is decided before main(). A page shared by all carries back what went wrong.
 */
#ifndef HAKMEM_TEST_FAULT_H
#define HAKMEM_TEST_FAULT_H

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_prim/fake_prim.h"
#include "promise/tap.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FAULT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FAULT_SANITIZED 1
#endif
#endif
#ifndef FAULT_SANITIZED
#define FAULT_SANITIZED 0
#endif

#ifndef FAULT_PART
#define FAULT_PART 1 /* of the failures to go through, every so many-th: test/inside.cmake */
#endif

#ifndef FAULT_COUNTED /* 1: coverage is counted, which is slow as well */
#define FAULT_COUNTED 0
#endif

/* Seconds until a child counts as hung; children need well under one. */
enum { FAULT_ALARM_S = FAULT_SANITIZED || FAULT_COUNTED ? 120 : 20 };

/* What a child tells its parent. */
struct fault_report {
    char text[300];                         /* the first thing that was wrong; empty: nothing */
    char doing[60];                         /* what the child was at, for a crash or a hang */
    unsigned long calls[FAKE_SERIES_COUNT]; /* made in the part under test */
    unsigned long nulls;                    /* allocations that failed, rightly */
    uint64_t trace;                         /* fake_prim_trace() at the end */
};

static struct fault_report *g_fault;

#define FAULT_SHARED "FAULT_SHARED"

/* Maps the shared page; a process started by fault_start() finds its parent's by number. */
static inline void fault_open(void) {
    const char *inherited = getenv(FAULT_SHARED);
    int fd = inherited ? atoi(inherited) : memfd_create("fault", 0);
    char number[12];
    snprintf(number, sizeof number, "%d", fd);
    bool is_ready = fd >= 0 && (inherited || ftruncate(fd, sizeof *g_fault) == 0) &&
                    setenv(FAULT_SHARED, number, 1) == 0;
    void *shared = mmap(NULL, sizeof *g_fault, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (!is_ready || shared == MAP_FAILED) {
        perror("fault_open");
        exit(1);
    }
    g_fault = shared;
}

/* In a child: says what is wrong and ends. */
__attribute__((format(printf, 1, 2))) static inline _Noreturn void fault_fail(const char *fmt,
                                                                              ...) {
    char text[sizeof g_fault->text];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    snprintf(g_fault->text, sizeof g_fault->text, "%.60s: %.230s", g_fault->doing, text);
    _exit(1);
}

#define FAULT_REQUIRE(condition, ...) ((condition) ? (void)0 : fault_fail(__VA_ARGS__))

static inline void fault_doing(const char *what) {
    snprintf(g_fault->doing, sizeof g_fault->doing, "%s", what);
}

/* Waits for a child. True: it found nothing wrong. Else g_fault->text says what. */
static inline bool fault_wait(pid_t child) {
    int status = -1;
    char doing[sizeof g_fault->doing];
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    memcpy(doing, g_fault->doing, sizeof doing);
    doing[sizeof doing - 1] = 0;
    if (WIFSIGNALED(status))
        snprintf(g_fault->text, sizeof g_fault->text, "%.60s: %s (signal %d)", doing,
                 WTERMSIG(status) == SIGALRM ? "hangs" : "crashes", WTERMSIG(status));
    else if (g_fault->text[0] == 0)
        snprintf(g_fault->text, sizeof g_fault->text, "%.60s: exit status %d", doing,
                 WEXITSTATUS(status));
    return false;
}

/* Runs `body` in a forked child: a crash, a hang or fault_fail() make this false. */
static inline bool fault_run(void (*body)(const void *argument), const void *argument) {
    memset(g_fault, 0, sizeof *g_fault);
    pid_t child = fork();
    if (child == 0) {
        alarm(FAULT_ALARM_S);
        body(argument);
        FAULT_REQUIRE(fake_prim_breaches() == 0, "%lu breaches of prim.h", fake_prim_breaches());
        _exit(0);
    }
    return fault_wait(child);
}

/*
 * Starts this program anew, with the argument `what`, on that machine; main() hands it to
 * fault_started(). real_limit: RLIMIT_AS of the new process, 0: unchanged.
 */
static inline bool fault_start(const char *what, struct fake_machine machine,
                               struct fake_script script, size_t real_limit) {
    static char description[FAKE_PRIM_TEXT_SIZE];
    memset(g_fault, 0, sizeof *g_fault);
    fake_prim_describe(description, machine, script);
    pid_t child = fork();
    if (child == 0) {
        char name[] = "fault";
        char *arguments[] = {name, strdup(what), NULL};
        struct rlimit limit = {real_limit, real_limit};
        putenv(description);
        alarm(FAULT_ALARM_S);
        if (real_limit == 0 || setrlimit(RLIMIT_AS, &limit) == 0)
            execv("/proc/self/exe", arguments);
        _exit(127);
    }
    return fault_wait(child);
}

/* The end of a process that fault_start() started. */
static inline _Noreturn void fault_started_end(void) {
    FAULT_REQUIRE(fake_prim_breaches() == 0, "%lu breaches of prim.h", fake_prim_breaches());
    _exit(0);
}

#endif
