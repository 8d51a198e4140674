/* test/unit/prim/test_refused.c — the kernel says no to one call after the other. SPDX-License-Identifier: MIT */

/*
 * Goal: each primitive tells the kernel's errno value, leaves errno and what it was to fill in alone, and
 * leaves nothing behind.
 * Method: a seccomp filter refuses one system call, in a child, with a value that the kernel would not choose;
 * limits and exhausted tables do where the call itself must work.
 */

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "prim/prim.h"
#include "unit/harness.h"

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

enum { REFUSAL = EXDEV, ERRNO_BEFORE = 12345 };

static bool refuse(int call) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | REFUSAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void can_refuse(void *argument) {
    if (!refuse(-1))
        _exit(77);
}

static bool has_filters(void) {
    return harness_run(can_refuse, NULL).status == 0;
}

/* ---- memory ---- */

struct refusal {
    const char *name;
    int call;
    int (*ask)(char *memory, size_t page);
};

static void *g_out = &g_out;

static int ask_map(char *memory, size_t page) {
    return hak_prim_map(NULL, page, HAK_ACCESS_NONE, &g_out);
}
static int ask_map_file(char *memory, size_t page) {
    return hak_prim_map_file(STDERR_FILENO, 0, page, NULL, &g_out);
}
static int ask_unmap(char *memory, size_t page) {
    return hak_prim_unmap(memory, page);
}
static int ask_protect(char *memory, size_t page) {
    return hak_prim_protect(memory, page, HAK_ACCESS_NONE);
}
static int ask_purge(char *memory, size_t page) {
    return hak_prim_purge(memory, page);
}
static int ask_purge_ranges(char *memory, size_t page) {
    struct hak_prim_range ranges[] = {{memory, page}};
    return hak_prim_purge_ranges(ranges, 1);
}
static int ask_huge(char *memory, size_t page) {
    return hak_prim_advise_huge(memory, page);
}
static int ask_move(char *memory, size_t page) {
    return hak_prim_move(memory, page, memory + page, page);
}
static int ask_extend(char *memory, size_t page) {
    return hak_prim_extend(memory, page, 2 * page);
}

static void refused_memory(void *argument) {
    const struct refusal *refusal = argument;
    size_t page = hak_prim_page_size();
    void *memory;
    CHECK_EQUAL(hak_prim_map(NULL, 2 * page, HAK_ACCESS_READ_WRITE, &memory), 0);
    memset(memory, 7, 2 * page);
    CHECK(refuse(refusal->call));
    errno = ERRNO_BEFORE;
    CHECK_EQUAL(refusal->ask(memory, page), REFUSAL);
    CHECK_EQUAL(errno, ERRNO_BEFORE);
    CHECK(g_out == &g_out);
    for (size_t i = 0; i < 2 * page; i++)
        CHECK_EQUAL(((char *)memory)[i], 7);
}

static void test_memory(void **state) {
    static const struct refusal refusals[] = {
        {"map", SYS_mmap, ask_map},         {"map_file", SYS_mmap, ask_map_file},
        {"unmap", SYS_munmap, ask_unmap},   {"protect", SYS_mprotect, ask_protect},
        {"purge", SYS_madvise, ask_purge},  {"purge_ranges", SYS_process_madvise, ask_purge_ranges},
        {"huge", SYS_madvise, ask_huge},    {"move", SYS_mremap, ask_move},
        {"extend", SYS_mremap, ask_extend},
    };
    if (!has_filters())
        skip();
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        struct refusal refusal = refusals[i];
        print_message("%s\n", refusal.name);
        harness_expect_well(refused_memory, &refusal);
    }
}

/* ---- limits and figures ---- */

static void refused_limits(void *argument) {
    size_t limit = 4711;
    CHECK(refuse(SYS_prlimit64));
    errno = ERRNO_BEFORE;
    CHECK_EQUAL(hak_prim_address_space_limit(&limit), REFUSAL);
    CHECK_EQUAL(hak_prim_file_size_limit(&limit), REFUSAL);
    CHECK_EQUAL(limit, 4711);
    CHECK_EQUAL(errno, ERRNO_BEFORE);
}

static void refused_usage(void *argument) {
    uint64_t peak = 4711;
    CHECK(refuse(SYS_getrusage));
    CHECK_EQUAL(hak_prim_peak_rss_kib(&peak), REFUSAL);
    CHECK_EQUAL(peak, 4711);
}

static void test_figures(void **state) {
    if (!has_filters())
        skip();
    harness_expect_well(refused_limits, NULL);
    harness_expect_well(refused_usage, NULL);
}

/* ---- files ---- */

/* What cannot be closed may not be there: a file system says so only then. */
static void refused_close(void *argument) {
    char buffer[8];
    size_t size;
    CHECK(refuse(SYS_close));
    CHECK_EQUAL(hak_prim_read_file("/dev/null", buffer, sizeof buffer, &size), EIO);
    CHECK_EQUAL(hak_prim_write_file("/dev/null", "text", 4), EIO);
}

static void refused_open(void *argument) {
    char buffer[8];
    size_t size;
    int file = 4711;
    CHECK(refuse(SYS_openat));
    CHECK_EQUAL(hak_prim_read_file("/dev/null", buffer, sizeof buffer, &size), REFUSAL);
    CHECK_EQUAL(hak_prim_write_file("/dev/null", "text", 4), REFUSAL);
    CHECK_EQUAL(hak_prim_file_make("/dev/null", &file), REFUSAL);
    CHECK_EQUAL(hak_prim_file_open("/dev/null", &file), REFUSAL);
    CHECK_EQUAL(file, 4711);
}

static void refused_reserve(void *argument) {
    CHECK(refuse(SYS_fallocate));
    CHECK_EQUAL(hak_prim_file_reserve(STDERR_FILENO, 0, 4096), REFUSAL);
}

/* The limit lets half of it through. */
static void half_a_write(void *argument) {
    struct rlimit limit = {5, 5};
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK_EQUAL(hak_prim_write_file(argument, "half is lost", 12), EIO);
}

static void test_files(void **state) {
    char path[64];
    char buffer[40];
    size_t size;
    snprintf(path, sizeof path, "/tmp/hak_test_refused.%d", (int)getpid());
    harness_expect_well(half_a_write, path);
    CHECK_EQUAL(hak_prim_read_file(path, buffer, sizeof buffer, &size), 0);
    CHECK_EQUAL(size, 5);
    unlink(path);
    if (!has_filters())
        skip();
    harness_expect_well(refused_close, NULL);
    harness_expect_well(refused_open, NULL);
    harness_expect_well(refused_reserve, NULL);
}

/* ---- waiting ---- */

/* Nothing to tell: who waits looks again, who sleeps has slept too little. It comes back at once. */
static void refused_waits(void *argument) {
    static _Atomic uint32_t word = 1;
    CHECK(refuse(SYS_futex));
    errno = ERRNO_BEFORE;
    hak_prim_futex_wait(&word, 1);
    hak_prim_futex_wake_one(&word);
    CHECK_EQUAL(errno, ERRNO_BEFORE);
}

static void refused_sleep(void *argument) {
    CHECK(refuse(SYS_clock_nanosleep));
    errno = ERRNO_BEFORE;
    hak_prim_sleep_ms(HARNESS_CHILD_SECONDS * 1000);
    CHECK_EQUAL(errno, ERRNO_BEFORE);
}

static void test_waits(void **state) {
    if (!has_filters())
        skip();
    harness_expect_well(refused_waits, NULL);
    harness_expect_well(refused_sleep, NULL);
}

/* ---- threads ---- */

static void never_run(void *value) {
    CHECK(!"a destructor without a key");
}

/* A program may have taken all keys. */
static void no_key_left(void *argument) {
    pthread_key_t key;
    while (pthread_key_create(&key, NULL) == 0)
        ;
    CHECK_EQUAL(hak_prim_thread_exit_register(never_run), EAGAIN);
    CHECK_EQUAL(hak_prim_thread_exit_arm(argument), EAGAIN);
}

static void never_started(void) {
    CHECK(!"a thread that could not be made");
}

/* The thread's signals are blocked for a moment: ours must not stay so. */
static void no_thread(void *argument) {
    sigset_t before;
    sigset_t after;
    CHECK(refuse(SYS_mmap)); /* no stack */
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &before) == 0);
    errno = ERRNO_BEFORE;
    CHECK(hak_prim_thread_start(never_started) != 0);
    CHECK_EQUAL(errno, ERRNO_BEFORE);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &after) == 0);
    for (int number = 1; number < SIGRTMAX; number++)
        CHECK_EQUAL(sigismember(&before, number), sigismember(&after, number));
}

static void test_threads(void **state) {
    harness_expect_well(no_key_left, &g_out);
    if (!has_filters() || HARNESS_SLOWNESS > 1) /* a sanitizer's thread needs more than a stack */
        skip();
    harness_expect_well(no_thread, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory), cmocka_unit_test(test_figures), cmocka_unit_test(test_files),
        cmocka_unit_test(test_waits),  cmocka_unit_test(test_threads),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
