/* test/fault/filters.c — the real kernel says no: filters, locked memory, too many mappings. SPDX-License-Identifier: MIT */
/*
 * Goal: where a sandbox forbids some of our system calls, where all memory is locked, where the process
 * has almost as many mappings as it may: nothing hangs or crashes, an allocation works or is NULL with
 * ENOMEM, and when all is freed, nothing is out.
 * Method: a seccomp filter that answers with an errno value, mlockall(MCL_FUTURE) with and without a limit,
 * a stranger's pages of alternating access; then the tiers' work, and epochs by a clock moved by hand.
 */

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "fault/workload.h"
#include "heap/heap.h"
#include "vm/vm.h"

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

enum { FILTER_CALLS_MAX = 5, FILTER_EPOCHS = 6, FILTER_EPOCH_MS = 500 };

/* ---- the work ---- */

static void epochs_pass(void) {
    fault_doing("epochs");
    for (int epoch = 0; epoch < FILTER_EPOCHS; epoch++) {
        fake_prim_advance_clock(FILTER_EPOCH_MS);
        for (int i = 0; i < 20; i++) {
            struct work_block block;
            if (work_malloc(&block, 300000))
                work_free(&block);
        }
    }
}

/* work_round() without threads, whose stacks are libc's business. Everything is free at its end. */
static void limited_round(size_t big_max) {
    g_work.random = 20240229;
    g_work.count = 0;
    work_tier("Tiny", 3000, 0, 1024);
    work_tier("Mid", 300, 1025, 200 * WORK_KIB);
    work_tier("Large", 20, 256 * WORK_KIB + 1, 5 * WORK_MIB);
    if (big_max)
        work_tier("Big", 3, 64 * WORK_MIB + 1, big_max);
    work_free_some(2, 0);
    epochs_pass();
    work_growth();
    work_tier("Tiny again", 300, 0, 1024);
    work_free_some(3, 1);
    epochs_pass();
    work_trim();
    work_free_some(1, 0);
    epochs_pass();
    hakmem_malloc_trim(0);
}

/* work_check_books() asks for what was given back as well, which a filter may forbid. */
static void check_nothing_is_out(size_t at_start) {
    fault_doing("the books");
    struct mallinfo2 info = hakmem_mallinfo2();
    FAULT_REQUIRE(info.uordblks == at_start, "%zu bytes in use after all was freed", info.uordblks);
    FAULT_REQUIRE(info.hblks == 0 && info.hblkhd == 0, "%zu Big blocks", info.hblks);
    FAULT_REQUIRE(hak_heap_budget_used() == 0, "%zu bytes of the budget in use",
                  hak_heap_budget_used());
}

static void rounds(size_t big_max, bool must_serve) {
    size_t in_use = hakmem_mallinfo2().uordblks;
    for (int i = 0; i < 3; i++) {
        limited_round(big_max);
        check_nothing_is_out(in_use);
    }
    unsigned long nulls = atomic_load(&g_work.nulls);
    g_fault->nulls = nulls;
    FAULT_REQUIRE(!must_serve || nulls == 0, "%lu allocations failed", nulls);
}

/* ---- filters ---- */

struct filter {
    const char *what;
    int calls[FILTER_CALLS_MAX]; /* 0: no more */
    int error;
    bool in_window_only; /* libc and the pagemap go on */
    bool must_serve;     /* no allocation needs that call */
};

/*
 * BPF: forbidden calls return the error; with in_window_only if their first argument lies in the window,
 * as the upper half of the address tells: the window is a whole number of GiB, we look at 4 GiB steps.
 */
static bool filter_install(const struct filter *filter) {
    struct sock_filter code[64];
    unsigned short n = 0;
    struct hak_vm_window window = hak_vm_window();
    uint32_t low = (uint32_t)(window.base >> 32);
    uint32_t high = (uint32_t)((window.base + window.size - 1) >> 32);
    uint32_t refuse = SECCOMP_RET_ERRNO | (uint32_t)filter->error;
    enum { NUMBER = offsetof(struct seccomp_data, nr) };
    enum { UPPER = offsetof(struct seccomp_data, args[0]) + 4 };
    for (int i = 0; i < FILTER_CALLS_MAX && filter->calls[i]; i++) {
        code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, NUMBER);
        if (!filter->in_window_only) {
            code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                     (uint32_t)filter->calls[i], 0, 1);
        } else {
            code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                     (uint32_t)filter->calls[i], 0, 4);
            code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, UPPER);
            code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, low, 0, 2);
            code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, high, 1, 0);
        }
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, refuse);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {n, code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void filtered(const void *argument) {
    const struct filter *filter = argument;
    struct work_block keeper;
    work_malloc(&keeper, 100);
    FAULT_REQUIRE(filter_install(filter), "prctl(PR_SET_SECCOMP): %d", errno);
    work_free(&keeper);
    hakmem_malloc_trim(0);
    rounds(70 * WORK_MIB, filter->must_serve);
}

static void can_filter(const void *argument) {
    (void)argument;
    static const struct filter none = {.what = "none"};
    FAULT_REQUIRE(filter_install(&none), "refused");
}

/* ---- locked memory ---- */

static void locked(const void *argument) {
    size_t limit = *(const size_t *)argument;
    struct work_block keeper;
    work_malloc(&keeper, 100);
    if (limit) { /* root's limit is none */
        struct rlimit value;
        FAULT_REQUIRE(getrlimit(RLIMIT_MEMLOCK, &value) == 0, "getrlimit");
        if (value.rlim_max > limit)
            value = (struct rlimit){limit, limit};
        FAULT_REQUIRE(setrlimit(RLIMIT_MEMLOCK, &value) == 0, "setrlimit");
        FAULT_REQUIRE(getuid() != 0 || setuid(65534) == 0, "setuid");
    }
    FAULT_REQUIRE(mlockall(MCL_FUTURE) == 0, "mlockall: %d", errno);
    work_free(&keeper);
    hakmem_malloc_trim(0);
    rounds(limit ? 66 * WORK_MIB : 70 * WORK_MIB, limit == 0);
    FAULT_REQUIRE(munlockall() == 0, "munlockall");
    limited_round(70 * WORK_MIB);
}

/* ---- mappings ---- */

/* Pages of a stranger's, each a mapping of its own, until only `left` more are to be had. */
static void take_mappings(size_t left) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t most = 1 << 20;
    unsigned char *pages = mmap(NULL, most * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FAULT_REQUIRE(pages != MAP_FAILED, "mmap");
    size_t i = 1;
    while (i < most && mprotect(pages + i * page, page, PROT_READ) == 0)
        i += 2;
    FAULT_REQUIRE(errno == ENOMEM, "no limit after %zu mappings", i);
    for (size_t k = 0; k < left; k += 2) {
        i -= 2;
        mprotect(pages + i * page, page, PROT_NONE);
    }
}

static void among_mappings(const void *argument) {
    struct work_block keeper;
    work_malloc(&keeper, 100);
    fault_doing("taking mappings");
    take_mappings(*(const size_t *)argument);
    work_free(&keeper);
    hakmem_malloc_trim(0);
    rounds(70 * WORK_MIB, false);
}

int main(void) {
    static const struct filter filters[] = {
        {"madvise, EPERM", {SYS_madvise}, EPERM, false, true},
        {"process_madvise, EPERM", {SYS_process_madvise}, EPERM, false, true},
        {"madvise and process_madvise, ENOSYS",
         {SYS_madvise, SYS_process_madvise},
         ENOSYS,
         false,
         true},
        {"mremap, EPERM", {SYS_mremap}, EPERM, false, true},
        {"mprotect, EPERM", {SYS_mprotect}, EPERM, true, false},
        {"mprotect, EACCES", {SYS_mprotect}, EACCES, true, false},
        {"munmap, EPERM", {SYS_munmap}, EPERM, true, false},
        {"all but mmap and munmap, EPERM",
         {SYS_madvise, SYS_process_madvise, SYS_mremap, SYS_mprotect},
         EPERM,
         true,
         false},
        {"mprotect and munmap, ENOMEM", {SYS_mprotect, SYS_munmap}, ENOMEM, true, false},
        {"open and openat, EPERM", {SYS_openat}, EPERM, false, true},
    };
    static const size_t memlocks[] = {0, 64 * WORK_MIB, 4 * WORK_MIB, 4096};
    static const size_t left[] = {0, 2, 4, 8, 16, 64};
    fault_open();
    fake_prim_stop_clock();
    if (FAULT_SANITIZED) {
        tap_skip("filters", "a sanitizer needs these calls itself");
        CHECK(true, "skipped");
        return tap_end();
    }
    bool has_filters = fault_run(can_filter, NULL);
    if (!has_filters)
        tap_skip("seccomp", "prctl(PR_SET_SECCOMP) is refused here");
    for (size_t i = 0; has_filters && i < sizeof filters / sizeof *filters; i++) {
        bool is_good = fault_run(filtered, &filters[i]);
        CHECK(is_good, "a filter forbids %s: %lu NULLs%s%s", filters[i].what, g_fault->nulls,
              is_good ? "" : ": ", g_fault->text);
    }
    for (size_t i = 0; i < sizeof memlocks / sizeof *memlocks; i++) {
        if (memlocks[i] == 0 && getuid() != 0) {
            tap_skip("mlockall without a limit", "not root");
            continue;
        }
        bool is_good = fault_run(locked, &memlocks[i]);
        CHECK(is_good, "mlockall(MCL_FUTURE), limit %zu KiB: %lu NULLs%s%s", memlocks[i] / WORK_KIB,
              g_fault->nulls, is_good ? "" : ": ", g_fault->text);
    }
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        bool is_good = fault_run(among_mappings, &left[i]);
        CHECK(is_good, "%zu more mappings to be had: %lu NULLs%s%s", left[i], g_fault->nulls,
              is_good ? "" : ": ", g_fault->text);
    }
    return tap_end();
}
