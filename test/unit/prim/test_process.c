/* test/unit/prim/test_process.c — limits, environment, messages, abort. SPDX-License-Identifier: MIT */

/*
 * Goal: what the process primitives tell is what the system says by other means.
 * Method: compare with libc; change limit and environment in children; read what arrives at the
 * other end of stderr, also when it arrives in pieces or there is nobody.
 */

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

#include "prim/prim.h"
#include "unit/harness.h"

static void test_page_size(void **state) {
    CHECK_EQUAL(hak_prim_page_size(), sysconf(_SC_PAGESIZE));
}

static void set_limit(rlim_t soft) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = soft;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

static void limit_in_child(void *argument) {
    size_t found = 0;
    set_limit((rlim_t)123 << 30);
    CHECK_EQUAL(hak_prim_address_space_limit(&found), 0);
    CHECK_EQUAL(found, (size_t)123 << 30);
    set_limit(RLIM_INFINITY);
    CHECK_EQUAL(hak_prim_address_space_limit(&found), 0);
    CHECK_EQUAL(found, SIZE_MAX);
}

static void test_address_space_limit(void **state) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    if (limit.rlim_max != RLIM_INFINITY)
        skip();
    harness_expect_well(limit_in_child, NULL);
}

static void test_address_hint(void **state) {
    uintptr_t hint = hak_prim_address_hint();
    CHECK_EQUAL(hint, hak_prim_address_hint());
    if (HARNESS_IS_TSAN) {
        CHECK_EQUAL(hint, 0);
        return;
    }
    CHECK_EQUAL(hint % ((uintptr_t)1 << 30), 0);
    CHECK(hint >= (uintptr_t)2 << 40);
    CHECK(hint < (uintptr_t)18 << 40);
}

static void environment_in_child(void *argument) {
    CHECK(setenv("HAK_TEST_MARK", "here", 1) == 0);
    char **entry = hak_prim_environment();
    CHECK(entry != NULL);
    while (*entry && strcmp(*entry, "HAK_TEST_MARK=here") != 0)
        entry++;
    CHECK(*entry != NULL);
}

static void test_environment(void **state) {
    CHECK(!hak_prim_is_secure()); /* nobody makes a test set-uid */
    harness_expect_well(environment_in_child, NULL);
}

static void id_in_child(void *argument) {
    const uint32_t *parent = argument;
    CHECK_EQUAL(hak_prim_process_id(), getpid());
    CHECK(hak_prim_process_id() != *parent);
}

static void test_process_id(void **state) {
    uint32_t id = hak_prim_process_id();
    CHECK_EQUAL(id, getpid());
    harness_expect_well(id_in_child, &id);
}

static void write_line(void *argument) {
    errno = 12345;
    hak_prim_write_error("one\ntwo", 7);
    hak_prim_write_error("three", 0);
    CHECK_EQUAL(errno, 12345);
}

/* More than a pipe holds, so that the kernel takes it in pieces. */
static void write_much(void *argument) {
    static char much[1 << 20];
    memset(much, 'x', sizeof much);
    hak_prim_write_error(much, sizeof much);
}

/*
 * A signal cuts the kernel's copying short, or comes before it has begun: the rest follows. The reader waits
 * for the signal.
 */
static _Atomic bool g_is_interrupted;
static _Atomic size_t g_read_size;

static void interrupt(int signal_number) {
    atomic_store(&g_is_interrupted, true);
}

static void *read_after_signal(void *argument) {
    char piece[4096];
    ssize_t got;
    while (!atomic_load(&g_is_interrupted))
        usleep(1000);
    while ((got = read(*(int *)argument, piece, sizeof piece)) > 0)
        atomic_fetch_add(&g_read_size, (size_t)got);
    return NULL;
}

/* As much as the pipe takes; a write that follows waits before its first byte. */
static size_t fill_pipe(int file) {
    char piece[4096] = {0};
    size_t size = 0;
    ssize_t done;
    CHECK(fcntl(file, F_SETFL, O_NONBLOCK) == 0);
    while ((done = write(file, piece, sizeof piece)) > 0)
        size += (size_t)done;
    CHECK(fcntl(file, F_SETFL, 0) == 0);
    return size;
}

static void write_interrupted(void *argument) {
    const bool *is_full = argument;
    static char much[1 << 20];
    int fds[2];
    sigset_t alarm_only;
    CHECK(pipe(fds) == 0);
    size_t before = *is_full ? fill_pipe(fds[1]) : 0;
    sigemptyset(&alarm_only);
    sigaddset(&alarm_only, SIGALRM);
    CHECK(pthread_sigmask(SIG_BLOCK, &alarm_only, NULL) == 0);
    pthread_t reader = harness_thread(read_after_signal, &fds[0]);
    CHECK(pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL) == 0);
    struct sigaction action = {.sa_handler = interrupt}; /* no SA_RESTART */
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    int said_before = dup(STDERR_FILENO);
    CHECK(dup2(fds[1], STDERR_FILENO) == STDERR_FILENO);
    struct itimerval soon = {.it_value = {.tv_usec = 50000}};
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    hak_prim_write_error(much, sizeof much);
    CHECK(dup2(said_before, STDERR_FILENO) == STDERR_FILENO);
    close(fds[1]);
    harness_join(reader);
    CHECK_EQUAL(atomic_load(&g_read_size), before + sizeof much);
}

static void write_to_nobody(void *argument) {
    close(STDERR_FILENO);
    errno = 12345;
    hak_prim_write_error("lost", 4);
    CHECK_EQUAL(errno, 12345);
}

/* A full pipe that would block, non-blocking: the rest is dropped, but the call comes back. */
static void write_to_full(void *argument) {
    static char much[1 << 20];
    int fds[2];
    CHECK(pipe(fds) == 0);
    CHECK(fcntl(fds[1], F_SETFL, O_NONBLOCK) == 0);
    CHECK(dup2(fds[1], STDERR_FILENO) == STDERR_FILENO);
    hak_prim_write_error(much, sizeof much);
}

static void test_write_error(void **state) {
    harness_expect_text(write_line, NULL, "one\ntwo");
    CHECK_EQUAL(harness_run(write_much, NULL).size, 1 << 20);
    static bool is_full[] = {false, true};
    for (int i = 0; i < 2 && !HARNESS_IS_TSAN; i++) /* which keeps signals back for libc's calls */
        harness_expect_well(write_interrupted, &is_full[i]);
    harness_expect_text(write_to_nobody, NULL, "");
    harness_expect_text(write_to_full, NULL, "");
}

static void abort_in_child(void *argument) {
    hak_prim_abort();
}

static void test_abort(void **state) {
    harness_expect_abort(abort_in_child, NULL, "", false);
}

/* ---- clock ---- */

static uint64_t real_ms(void) {
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* It never stands still for long, never goes back, and keeps pace; it may be some milliseconds late. */
static void test_clock(void **state) {
    enum { COARSE_MS = 200 }; /* a machine that is busy */
    uint64_t last = hak_prim_clock_ms();
    uint64_t begin = real_ms();
    CHECK(last != 0);
    while (real_ms() < begin + 100) {
        uint64_t before = real_ms();
        uint64_t now = hak_prim_clock_ms();
        uint64_t after = real_ms();
        CHECK(now >= last);
        CHECK(now <= after + 1);
        CHECK(now + COARSE_MS >= before);
        last = now;
    }
    errno = 12345;
    hak_prim_clock_ms();
    CHECK_EQUAL(errno, 12345);
}

/* ---- files ---- */

static char g_path[64];

static void test_files(void **state) {
    char buffer[40];
    size_t size = 99;
    snprintf(g_path, sizeof g_path, "/tmp/hak_test_process.%d", (int)getpid());
    unlink(g_path);
    errno = 12345;
    CHECK_EQUAL(hak_prim_read_file(g_path, buffer, sizeof buffer, &size), ENOENT);
    CHECK_EQUAL(hak_prim_write_file("/nonexistent/file", "x", 1), ENOENT);
    CHECK_EQUAL(hak_prim_write_file(g_path, "hello, file", 11), 0);
    CHECK_EQUAL(hak_prim_read_file(g_path, buffer, sizeof buffer, &size), 0);
    CHECK_EQUAL(size, 11);
    CHECK(memcmp(buffer, "hello, file", 11) == 0);
    CHECK_EQUAL(hak_prim_read_file(g_path, buffer, 5, &size), 0); /* the front of a larger one */
    CHECK_EQUAL(size, 5);
    CHECK_EQUAL(hak_prim_write_file(g_path, "new", 3), 0); /* made anew: nothing old behind it */
    CHECK_EQUAL(hak_prim_read_file(g_path, buffer, sizeof buffer, &size), 0);
    CHECK_EQUAL(size, 3);
    CHECK_EQUAL(hak_prim_write_file(g_path, "", 0), 0);
    CHECK_EQUAL(hak_prim_read_file(g_path, buffer, sizeof buffer, &size), 0);
    CHECK_EQUAL(size, 0);
    CHECK(unlink(g_path) == 0);
    CHECK_EQUAL(hak_prim_read_file("/", buffer, sizeof buffer, &size), EIO); /* opened, not read */
    CHECK_EQUAL(hak_prim_write_file("/dev/full", "x", 1), EIO);
    CHECK_EQUAL(errno, 12345);
}

/* No descriptor stays open, whatever became of it. */
static void test_files_are_closed(void **state) {
    char buffer[40];
    size_t size;
    int lowest = open("/dev/null", O_RDONLY);
    CHECK(lowest >= 0);
    close(lowest);
    for (int i = 0; i < 10; i++) {
        hak_prim_read_file("/proc/self/cgroup", buffer, sizeof buffer, &size);
        hak_prim_read_file("/", buffer, sizeof buffer, &size);
        hak_prim_write_file("/dev/full", "x", 1);
        hak_prim_write_file("/dev/null", "x", 1);
    }
    int again = open("/dev/null", O_RDONLY);
    CHECK_EQUAL(again, lowest);
    close(again);
}

/* A file that two processes see: new, nobody else's by way of a link, as long as was reserved. */
static void test_file_to_share(void **state) {
    const size_t page = hak_prim_page_size();
    int file = -1;
    void *first = NULL;
    void *second = NULL;
    char link[80];
    snprintf(link, sizeof link, "%s.link", g_path);
    unlink(g_path);
    unlink(link);
    CHECK_EQUAL(hak_prim_file_open(g_path, &file), ENOENT);
    CHECK_EQUAL(hak_prim_file_make(g_path, &file), 0);
    CHECK(fcntl(file, F_GETFD) & FD_CLOEXEC);
    CHECK_EQUAL(hak_prim_file_reserve(file, page, page), 0);
    CHECK_EQUAL(lseek(file, 0, SEEK_END), 2 * page);
    CHECK_EQUAL(hak_prim_map_file(file, page, page, NULL, &first), 0);
    hak_prim_file_close(file);
    CHECK(fcntl(file, F_GETFD) < 0);

    int again = -1;
    CHECK_EQUAL(hak_prim_file_make(g_path, &again), EEXIST);
    CHECK(symlink(g_path, link) == 0);
    CHECK_EQUAL(hak_prim_file_make(link, &again), EEXIST);
    CHECK_EQUAL(hak_prim_file_open(link, &again), ELOOP);
    CHECK_EQUAL(again, -1);
    CHECK_EQUAL(hak_prim_file_open(g_path, &again), 0);

    CHECK_EQUAL(hak_prim_map(NULL, page, HAK_ACCESS_NONE, &second), 0);
    void *place = second;
    CHECK_EQUAL(hak_prim_map_file(again, page, page, place, &second), 0);
    CHECK(second == place);
    strcpy(first, "seen by both");
    CHECK(strcmp(second, "seen by both") == 0);
    hak_prim_file_close(again);
    CHECK_EQUAL(hak_prim_unmap(first, page), 0);
    CHECK_EQUAL(hak_prim_unmap(second, page), 0);
    unlink(link);
    unlink(g_path);
}

static void limit_files_in_child(void *argument) {
    struct rlimit limit;
    size_t found = 0;
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK_EQUAL(hak_prim_file_size_limit(&found), 0);
    CHECK_EQUAL(found, limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : limit.rlim_cur);
    limit.rlim_cur = 12345;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK_EQUAL(hak_prim_file_size_limit(&found), 0);
    CHECK_EQUAL(found, 12345);
}

static void test_file_size_limit(void **state) {
    harness_expect_well(limit_files_in_child, NULL);
}

/* ---- figures of the process ---- */

static void parent_in_child(void *argument) {
    CHECK_EQUAL(hak_prim_parent_id(), *(const uint32_t *)argument);
}

static void test_figures(void **state) {
    uint32_t id = (uint32_t)getpid();
    CHECK_EQUAL(hak_prim_parent_id(), getppid());
    harness_expect_well(parent_in_child, &id);

    const char *program = strrchr(hak_prim_program(), '/');
    CHECK(program != NULL);
    CHECK(strcmp(program, "/test_process") == 0);

    uint64_t peak = 0;
    struct rusage before;
    struct rusage after;
    CHECK(getrusage(RUSAGE_SELF, &before) == 0);
    CHECK_EQUAL(hak_prim_peak_rss_kib(&peak), 0);
    CHECK(getrusage(RUSAGE_SELF, &after) == 0);
    CHECK(peak >= (uint64_t)before.ru_maxrss);
    CHECK(peak <= (uint64_t)after.ru_maxrss);

    uint64_t ns = real_ms() * 1000000;
    uint64_t said = hak_prim_clock_ns();
    CHECK(said >= ns);
    CHECK(said <= (real_ms() + 1) * 1000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page_size),     cmocka_unit_test(test_address_space_limit),
        cmocka_unit_test(test_address_hint),  cmocka_unit_test(test_environment),
        cmocka_unit_test(test_process_id),    cmocka_unit_test(test_write_error),
        cmocka_unit_test(test_abort),         cmocka_unit_test(test_clock),
        cmocka_unit_test(test_files),         cmocka_unit_test(test_files_are_closed),
        cmocka_unit_test(test_file_to_share), cmocka_unit_test(test_file_size_limit),
        cmocka_unit_test(test_figures),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
