/* test/unit/api/test_tick.c — epochs in real time, and the helper thread. SPDX-License-Identifier: MIT */

/*
 * Goal: with helper=on memory goes back while the whole process sleeps, in a forked child too, in one
 * thread per process that takes no signal; starting it leaves errno alone, and no start is no harm. Without
 * the option there is no thread. (What epochs do, by a clock moved by hand: test/fault/epochs.c.)
 * Method: this program runs itself again with the option set; a second or two of sleep, then it asks the
 * pool and the kernel.
 */

#include <dirent.h>
#include <time.h>

#include <hakmem/hakmem.h>

#include "api/tick.h"
#include "arena/pool.h"
#include "base/bits.h"
#include "heap/heap.h"
#include "options/options.h"
#include "stats/ledger.h"
#include "unit/harness.h"

enum { SPANS = 200, WAIT_MS = 10000, ERRNO_MARK = 4242 };

static void sleep_ms(long ms) {
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static unsigned thread_count(void) {
    unsigned count = 0;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    for (struct dirent *entry; (entry = readdir(tasks)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(tasks);
    return count;
}

static void use_spans(void) {
    static char *spans[SPANS];
    for (int i = 0; i < SPANS; i++) {
        spans[i] = hakmem_malloc(HAK_MIB);
        CHECK(spans[i] != NULL);
        spans[i][0] = 1;
    }
    for (int i = 0; i < SPANS; i++)
        hakmem_free(spans[i]);
}

/* The process does nothing but sleep until memory went back, or time is up. */
static bool sleeps_until_given_back(size_t bytes) {
    for (int waited = 0; waited < WAIT_MS; waited += 100) {
        if (hak_pool_stats().free_zeroed >= bytes)
            return true;
        sleep_ms(100);
    }
    return false;
}

static void sleep_with_helper(void) {
    use_spans();
    CHECK(sleeps_until_given_back(SPANS / 2 * HAK_MIB));
    CHECK(hak_ledger_read(HAK_CALL_CLOCK_NANOSLEEP, HAK_CAUSE_HELPER).count > 0);
}

/* ---- scenarios: each in a program of its own ---- */

static void scenario_helper(void) {
    CHECK(hak_options.helper);
    unsigned before = thread_count();
    CHECK(before >= 2); /* a sanitizer may have one of its own */
    sleep_with_helper();
    use_spans();
    CHECK_EQUAL(thread_count(), before); /* one is enough */
}

static void scenario_fork(void) {
    sleep_with_helper();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(HARNESS_CHILD_SECONDS);
        sleep_with_helper(); /* it has one of its own */
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQUAL(status, 0);
    sleep_with_helper();
}

static _Atomic int g_signals;

static void count_signal(int number) {
    (void)number;
    g_signals++;
}

/* All its signals are blocked: with the others blocked as well, one stays pending for ever. */
static void scenario_signals(void) {
    sigset_t all;
    sigset_t pending;
    signal(SIGUSR1, count_signal);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    kill(getpid(), SIGUSR1);
    sleep_with_helper();
    CHECK_EQUAL(g_signals, 0);
    CHECK(sigpending(&pending) == 0);
    CHECK(sigismember(&pending, SIGUSR1));
}

/* Whether the child's helper can start or not: free keeps errno. */
static void scenario_errno(void) {
    enum { BLOCKS = 2000 };
    static void *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = hakmem_malloc(300000);
    errno = ERRNO_MARK;
    pid_t child = fork();
    CHECK(child >= 0);
    CHECK_EQUAL(errno, ERRNO_MARK);
    if (child == 0) {
        alarm(HARNESS_CHILD_SECONDS);
        for (int i = 0; i < BLOCKS; i++) {
            errno = ERRNO_MARK;
            hakmem_free(blocks[i]);
            CHECK_EQUAL(errno, ERRNO_MARK);
        }
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQUAL(status, 0);
    for (int i = 0; i < BLOCKS; i++)
        hakmem_free(blocks[i]);
}

static void *do_nothing(void *argument) {
    return argument;
}

/*
 * libc frees and allocates while it holds the lock of its cache of stacks: threads that come and go, with
 * stacks too large for that cache, in a child whose first slow paths these are.
 */
static void scenario_stacks(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 48 << 20);
    for (int forks = 0; forks < 20; forks++) {
        pid_t child = fork();
        CHECK(child >= 0);
        for (int i = 0; child == 0 && i < 40; i++) {
            pthread_t thread;
            if (i == 0)
                alarm(20);
            CHECK(pthread_create(&thread, &attributes, do_nothing, NULL) == 0);
            harness_join(thread);
        }
        if (child == 0)
            _exit(0);
        for (int waited = 0; waited < 200; waited++) { /* its alarm may be blocked where it hangs */
            int status = -1;
            pid_t ended = waitpid(child, &status, WNOHANG);
            if (ended == child) {
                CHECK_EQUAL(status, 0);
                break;
            }
            sleep_ms(100);
            if (waited == 199)
                kill(child, SIGKILL);
            CHECK(waited < 199);
        }
    }
}

/* Without the option: no thread, and while the process sleeps, nothing. Then a few slow paths do it. */
static void scenario_none(void) {
    unsigned before = thread_count();
    use_spans();
    CHECK_EQUAL(thread_count(), before);
    sleep_ms(2000);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_CLOCK_NANOSLEEP, HAK_CAUSE_HELPER).count, 0);
    for (int waited = 0; waited < WAIT_MS; waited += 50) {
        for (int i = 0; i < 20; i++)
            hakmem_free(hakmem_malloc(300000));
        sleep_ms(50);
        if (hak_pool_stats().free_zeroed >= SPANS / 2 * HAK_MIB)
            return;
    }
    CHECK(!"memory goes back when slow paths pass by");
}

/* A busy process ends about two epochs a second, not more. */
static void scenario_pace(void) {
    struct timespec start;
    struct timespec now;
    unsigned epochs = 0;
    uint32_t last = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    void *p = hakmem_malloc(10); /* a heap, which takes note of each epoch */
    do {
        for (int i = 0; i < 100; i++)
            hakmem_free(hakmem_malloc(300000));
        epochs += hak_heap_current()->epoch != last;
        last = hak_heap_current()->epoch;
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while (now.tv_sec - start.tv_sec < 3);
    hakmem_free(p);
    CHECK(epochs >= 2);
    CHECK(epochs <= 8);
}

static const struct {
    const char *name;
    void (*run)(void);
    const char *variable;
    bool starts_threads_in_child;
} g_scenarios[] = {
    {"helper", scenario_helper, "HAKMEM_HELPER=on", false},
    {"fork", scenario_fork, "HAKMEM_HELPER=on", true},
    {"signals", scenario_signals, "HAKMEM_HELPER=on", false},
    {"errno", scenario_errno, "HAKMEM_HELPER=on", true},
    {"stacks", scenario_stacks, "HAKMEM_HELPER=on", true},
    {"none", scenario_none, "HAKMEM_HELPER=off", false},
    {"pace", scenario_pace, "HAKMEM_HELPER=off", false},
};
enum { SCENARIOS = sizeof g_scenarios / sizeof *g_scenarios };

static char *g_program;

static void run_again(void *argument) {
    size_t i = *(size_t *)argument;
    CHECK(putenv((char *)(uintptr_t)g_scenarios[i].variable) == 0);
    CHECK(setenv("HAK_TEST_SCENARIO", g_scenarios[i].name, 1) == 0);
    char *arguments[] = {g_program, NULL};
    execv(g_program, arguments);
    CHECK(!"the program starts");
}

static void test_scenarios(void **state) {
    for (size_t i = 0; i < SCENARIOS; i++) {
        /* A sanitizer's own locks may be held by another thread when this one forks (seen: ASan's allocator). */
        if (HARNESS_SLOWNESS != 1 && g_scenarios[i].starts_threads_in_child)
            continue;
        print_message("scenario %s\n", g_scenarios[i].name);
        harness_expect_well(run_again, &i);
    }
}

int main(int argc, char **argv) {
    (void)argc;
    const char *name = getenv("HAK_TEST_SCENARIO");
    for (size_t i = 0; name && i < SCENARIOS; i++) {
        if (strcmp(name, g_scenarios[i].name) == 0) {
            g_harness.is_child = true;
            g_scenarios[i].run();
            return 0;
        }
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scenarios)};
    g_program = argv[0];
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
