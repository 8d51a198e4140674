/* test/unit/harness.h — checks, child processes and random numbers of unit tests. SPDX-License-Identifier: MIT */

/*
 * cmocka's own assertions jump back into its runner, which is wrong in a child process and in a
 * second thread; and much of what is tested here must run in a child, because it starts from a
 * module's first moment or ends in abort(). CHECK() works in all three places: in the test's own
 * thread it fails the test, in a child or another thread it says what failed and ends the process.
 *
 * Random numbers start from a fixed seed, so that a failure repeats; HAK_TEST_SEED=n gives others.
 */
#ifndef HAKMEM_TEST_UNIT_HARNESS_H
#define HAKMEM_TEST_UNIT_HARNESS_H

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { HARNESS_EXIT_FAILED = 99, HARNESS_TEXT_MAX = 32768, HARNESS_CHILD_SECONDS = 100 };

/* Sanitizers make a process heavier by a factor: loops are cut to this share of their length. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define HARNESS_SLOWNESS 4
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define HARNESS_SLOWNESS 4
#endif
#endif
#ifndef HARNESS_SLOWNESS
#define HARNESS_SLOWNESS 1
#endif

/* The thread sanitizer cannot start threads in the child of a process that had several. */
#if defined(__SANITIZE_THREAD__)
#define HARNESS_IS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HARNESS_IS_TSAN 1
#endif
#endif
#ifndef HARNESS_IS_TSAN
#define HARNESS_IS_TSAN 0
#endif

/*
 * Rounds of thread destructors in which code may run: libc makes 4 (PTHREAD_DESTRUCTOR_ITERATIONS),
 * but in the last one the thread sanitizer takes its own state down first.
 */
enum { HARNESS_EXIT_ROUNDS = HARNESS_IS_TSAN ? 3 : 4 };

static struct {
    bool is_child;
    bool has_main;
    pthread_t main;
    uint64_t random;
    char *foretold; /* shared with the child */
} g_harness;

/* ---- checks ---- */

__attribute__((noinline, cold)) static void harness_fail(const char *file, int line,
                                                         const char *text) {
    bool is_elsewhere = g_harness.has_main && !pthread_equal(g_harness.main, pthread_self());
    if (g_harness.is_child || is_elsewhere) {
        dprintf(STDERR_FILENO, "%s:%d: not true: %s\n", file, line, text);
        _exit(HARNESS_EXIT_FAILED);
    }
    print_error("%s:%d: not true: %s\n", file, line, text);
    _fail(file, line);
}

__attribute__((noinline, cold)) static void
harness_fail_equal(const char *file, int line, const char *text, uint64_t a, uint64_t b) {
    char message[512];
    snprintf(message, sizeof message,
             "%s: %#" PRIx64 " (%" PRIu64 ") != %#" PRIx64 " (%" PRIu64 ")", text, a, a, b, b);
    harness_fail(file, line, message);
}

#define CHECK(x) ((x) ? (void)0 : harness_fail(__FILE__, __LINE__, #x))
#define CHECK_EQUAL(a, b)                                                                          \
    harness_check_equal(__FILE__, __LINE__, #a " == " #b, (uint64_t)(a), (uint64_t)(b))

static inline void harness_check_equal(const char *file, int line, const char *text, uint64_t a,
                                       uint64_t b) {
    if (a != b)
        harness_fail_equal(file, line, text, a, b);
}

/* ---- random numbers ---- */

/* First thing in main(). */
static inline void harness_start(void) {
    const char *wanted = getenv("HAK_TEST_SEED");
    g_harness.random = wanted ? strtoull(wanted, NULL, 0) : 20240607;
    g_harness.main = pthread_self();
    g_harness.has_main = true;
    print_message("seed %" PRIu64 " (HAK_TEST_SEED)\n", g_harness.random);
    g_harness.random |= UINT64_C(1) << 63; /* xorshift must not start from 0 */
}

/* xorshift64* (Marsaglia 2003, Vigna 2016); `state` for threads that need their own. */
static inline uint64_t harness_random_of(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static inline size_t harness_below(size_t limit) {
    return (size_t)(harness_random_of(&g_harness.random) >> 11) % limit;
}

/* ---- children ---- */

struct harness_end {
    int status;                  /* as waitpid() gives it */
    size_t size;                 /* bytes the child wrote on stderr */
    char text[HARNESS_TEXT_MAX]; /* the first of them, terminated */
};

/* Runs body(argument) in a child; what it writes on stderr comes back. */
static inline struct harness_end harness_run(void (*body)(void *), void *argument) {
    struct harness_end end = {.status = -1};
    int fds[2];
    CHECK(pipe(fds) == 0);
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
        for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
            signal(faults[i], SIG_DFL); /* cmocka's handlers would go on with the next test */
        g_harness.is_child = true;
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        alarm(HARNESS_CHILD_SECONDS);
        body(argument);
        _exit(0);
    }
    close(fds[1]);
    char piece[4096];
    ssize_t got;
    while ((got = read(fds[0], piece, sizeof piece)) > 0) {
        size_t kept = end.size < sizeof end.text - 1 ? sizeof end.text - 1 - end.size : 0;
        memcpy(end.text + (kept ? end.size : 0), piece, (size_t)got < kept ? (size_t)got : kept);
        end.size += (size_t)got;
    }
    close(fds[0]);
    CHECK(waitpid(child, &end.status, 0) == child);
    return end;
}

/* The child ends well and writes exactly `text` on stderr. */
static inline void harness_expect_text(void (*body)(void *), void *argument, const char *text) {
    struct harness_end end = harness_run(body, argument);
    if (!WIFEXITED(end.status) || WEXITSTATUS(end.status) != 0 || strcmp(end.text, text) != 0) {
        print_error("child: status %#x, stderr:\n%s\nexpected:\n%s\n", (unsigned)end.status,
                    end.text, text);
        CHECK(!"the child ends well and writes what is expected");
    }
}

/* The child ends well; what it traces on stderr (debug builds) does not matter. */
static inline void harness_expect_well(void (*body)(void *), void *argument) {
    struct harness_end end = harness_run(body, argument);
    if (!WIFEXITED(end.status) || WEXITSTATUS(end.status) != 0) {
        print_error("child: status %#x, stderr:\n%s\n", (unsigned)end.status, end.text);
        CHECK(!"the child ends well");
    }
}

/* The child aborts, having written exactly `text`; with `is_start`, something that starts so. */
static inline void harness_expect_abort(void (*body)(void *), void *argument, const char *text,
                                        bool is_start) {
    struct harness_end end = harness_run(body, argument);
    bool is_same =
        is_start ? strncmp(end.text, text, strlen(text)) == 0 : strcmp(end.text, text) == 0;
    if (!WIFSIGNALED(end.status) || WTERMSIG(end.status) != SIGABRT || !is_same) {
        print_error("child: status %#x, stderr:\n%s\nexpected, and abort:\n%s\n",
                    (unsigned)end.status, end.text, text);
        CHECK(!"the child aborts with the message expected");
    }
}

/* A child that knows what it is about to be told says so here: pointers differ from run to run. */
__attribute__((format(printf, 1, 2))) static inline void harness_foretell(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(g_harness.foretold, HARNESS_TEXT_MAX, format, arguments);
    va_end(arguments);
}

/* The child aborts, having written exactly what it foretold. */
static inline void harness_expect_foretold_abort(void (*body)(void *), void *argument) {
    g_harness.foretold =
        mmap(NULL, HARNESS_TEXT_MAX, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(g_harness.foretold != MAP_FAILED);
    strcpy(g_harness.foretold, "nothing was foretold");
    harness_expect_abort(body, argument, g_harness.foretold, false);
    munmap(g_harness.foretold, HARNESS_TEXT_MAX);
}

/* ---- limits ---- */

/* RLIMIT_AS of this process, from now on. */
static inline void harness_set_address_limit(rlim_t soft) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = soft;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

static inline bool harness_has_address_limit(void) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    return limit.rlim_cur != RLIM_INFINITY;
}

/* ---- threads ---- */

static inline pthread_t harness_thread(void *(*body)(void *), void *argument) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, body, argument) == 0);
    return thread;
}

static inline void harness_join(pthread_t thread) {
    CHECK(pthread_join(thread, NULL) == 0);
}

/* ---- memory ---- */

/* May this byte be read, written? Asks the kernel by a system call, so nothing faults. */
static inline bool harness_is_readable(const void *p) {
    int fds[2];
    CHECK(pipe(fds) == 0);
    bool is_done = write(fds[1], p, 1) == 1;
    CHECK(is_done || errno == EFAULT);
    close(fds[0]);
    close(fds[1]);
    return is_done;
}

/* Leaves the byte as it was when it is readable. */
static inline bool harness_is_writable(void *p) {
    int fds[2];
    char byte = 0;
    CHECK(pipe(fds) == 0);
    if (harness_is_readable(p))
        byte = *(volatile char *)p;
    CHECK(write(fds[1], &byte, 1) == 1);
    bool is_done = read(fds[0], p, 1) == 1;
    CHECK(is_done || errno == EFAULT);
    close(fds[0]);
    close(fds[1]);
    return is_done;
}

static inline bool harness_is_zero(const void *p, size_t size) {
    const unsigned char *bytes = p;
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

#endif
