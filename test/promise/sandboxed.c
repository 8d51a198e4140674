/* test/promise/sandboxed.c — a whole life where the kernel says no. SPDX-License-Identifier: MIT */
/*
 * Goal: a process that is refused one of the library's system calls from exec to exit, or whose memory is
 * locked or kept from huge pages, is served all the same; where that cannot be, it is told NULL with ENOMEM,
 * and nothing hangs or crashes. What a filter that kills does is as documented.
 * Method: a seccomp filter is installed, then a program is started with the library preloaded: this one,
 * which uses all tiers and threads and first asks for the forbidden call itself, to see that the filter
 * is there; and real ones, whose output must be what they print without library and filter. What exec
 * does not pass on (locked memory) this program does itself, in main or before any constructor.
 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../stress/stress.h"
#include "memory_use.h"

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

enum { NOBODY = 65534, ALARM_S = 60, CALLS_MAX = 4, ANY_ARGUMENT = -1 };
enum { IS_SERVED = 0, IS_REFUSED = 42, IS_BROKEN = 43, NO_FILTER = 44 };

extern char **environ;

/* ---- work in the started process; its exit status says how it went ---- */

enum { THREADS = 4, MAILBOXES = 64, STEPS = 4000 };

static _Atomic(void *) g_mailbox[MAILBOXES];
static atomic_int g_refusals;

static void refused(void) {
    if (errno != ENOMEM)
        _exit(IS_BROKEN);
    atomic_fetch_add(&g_refusals, 1);
}

/* Right after free memory went back, or was said to have: is what comes as zero really zero? */
static void use_zeroed(void) {
    static const size_t sizes[] = {5000, 60000, 300000, 900000, 5 << 20, 70 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *block = api.calloc(1, sizes[i]);
        size_t end = block == NULL ? 0 : sizes[i] < 1 << 20 ? sizes[i] : (size_t)1 << 20;
        if (block == NULL)
            refused();
        if (zero_check(block, end) != end)
            _exit(IS_BROKEN);
        memset(block, 0xdf, end);
        api.free(block);
    }
}

static void use_block(size_t size, bool is_zeroed) {
    unsigned char *block = is_zeroed ? api.calloc(1, size) : api.malloc(size);
    if (block == NULL) {
        refused();
        return;
    }
    if (is_zeroed && (block[0] != 0 || block[size / 2] != 0 || block[size - 1] != 0))
        _exit(IS_BROKEN);
    stamp_block(block, size, size);
    void *larger = api.realloc(block, size * 2);
    if (larger == NULL)
        refused();
    if (!stamp_holds(larger != NULL ? larger : block))
        _exit(IS_BROKEN);
    api.free(larger != NULL ? larger : block);
}

/* Grows by steps, through all tiers: in place, by moving pages, by copying. */
static void grow_block(void) {
    size_t size = 1000;
    unsigned char *block = stamp_block(api.malloc(size), size, 5);
    while (block != NULL && size < (size_t)100 << 20) {
        void *larger = api.realloc(block, size + size / 3);
        if (larger == NULL) {
            refused();
            break;
        }
        block = larger;
        size += size / 3;
        block[size - 1] = 1;
        if (!stamp_holds(block))
            _exit(IS_BROKEN);
    }
    if (block == NULL)
        refused();
    api.free(block);
}

static void *exchange_body(void *seed) {
    uint64_t state = (uintptr_t)seed;
    for (int i = 0; i < STEPS; i++) {
        void *fresh = stamped_new(&state);
        if (fresh == NULL)
            refused();
        stamped_free(atomic_exchange(&g_mailbox[random_next(&state) % MAILBOXES], fresh));
    }
    return NULL;
}

static void use_threads(void) {
    pthread_t thread[THREADS];
    int started = 0;
    while (started < THREADS && pthread_create(&thread[started], NULL, exchange_body,
                                               (void *)(uintptr_t)(started + 1)) == 0)
        started++;
    if (started == 0) /* libc was refused its stacks */
        exchange_body((void *)1);
    while (started > 0)
        pthread_join(thread[--started], NULL);
    for (int i = 0; i < MAILBOXES; i++)
        stamped_free(atomic_exchange(&g_mailbox[i], NULL));
}

static void use_all(void) {
    static const size_t sizes[] = {16, 500, 3000, 60000, 300000, 5 << 20, 70 << 20};
    void *kept = api.malloc(100);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            use_block(sizes[i], false);
            use_block(sizes[i], true);
        }
        grow_block();
        use_threads();
        api.malloc_trim(0);
        use_zeroed();
    }
    api.free(kept);
}

/* What never asks the kernel for anything but memory. */
static void use_small(void) {
    uint64_t state = 3;
    void *block[64] = {NULL};
    for (int i = 0; i < STEPS; i++) {
        stamped_free(block[i % 64]);
        size_t size = sizeof(struct stamp) + random_size(&state, 10);
        block[i % 64] = stamp_block(api.malloc(size), size, 1);
        if (block[i % 64] == NULL)
            refused();
    }
    for (int i = 0; i < 64; i++)
        stamped_free(block[i]);
}

/* ---- filters ---- */

struct filter {
    const char *what;
    int calls[CALLS_MAX]; /* 0: no more */
    int argument;         /* index of the argument that must be `value` as well, or ANY_ARGUMENT */
    uint32_t value;
    uint32_t answer;
    bool may_refuse; /* memory cannot be had without that call: NULL is an answer, too */
    bool is_for_all; /* real programs do without that call, too */
};

#define ANSWER(error) (SECCOMP_RET_ERRNO | (error))

static const struct filter g_filters[] = {
    {"madvise, EPERM", {SYS_madvise}, ANY_ARGUMENT, 0, ANSWER(EPERM), false, true},
    {"madvise, ENOSYS", {SYS_madvise}, ANY_ARGUMENT, 0, ANSWER(ENOSYS), false, false},
    {"process_madvise, EPERM", {SYS_process_madvise}, ANY_ARGUMENT, 0, ANSWER(EPERM), false, true},
    {"process_madvise, ENOSYS",
     {SYS_process_madvise},
     ANY_ARGUMENT,
     0,
     ANSWER(ENOSYS),
     false,
     true},
    {"both, EPERM",
     {SYS_madvise, SYS_process_madvise},
     ANY_ARGUMENT,
     0,
     ANSWER(EPERM),
     false,
     true},
    {"mremap, EPERM", {SYS_mremap}, ANY_ARGUMENT, 0, ANSWER(EPERM), false, true},
    {"mremap, ENOSYS", {SYS_mremap}, ANY_ARGUMENT, 0, ANSWER(ENOSYS), false, false},
    {"munmap, EPERM", {SYS_munmap}, ANY_ARGUMENT, 0, ANSWER(EPERM), false, true},
    {"munmap, ENOSYS", {SYS_munmap}, ANY_ARGUMENT, 0, ANSWER(ENOSYS), false, false},
    {"madvise, process_madvise, mremap and munmap, EPERM",
     {SYS_madvise, SYS_process_madvise, SYS_mremap, SYS_munmap},
     ANY_ARGUMENT,
     0,
     ANSWER(EPERM),
     false,
     true},
    {"prlimit64, EPERM", {SYS_prlimit64}, ANY_ARGUMENT, 0, ANSWER(EPERM), false, true},
    {"prlimit64, ENOSYS", {SYS_prlimit64}, ANY_ARGUMENT, 0, ANSWER(ENOSYS), false, false},
    {"mprotect to read and write, EPERM",
     {SYS_mprotect},
     2,
     PROT_READ | PROT_WRITE,
     ANSWER(EPERM),
     true,
     false},
    {"mprotect to read and write, ENOSYS",
     {SYS_mprotect},
     2,
     PROT_READ | PROT_WRITE,
     ANSWER(ENOSYS),
     true,
     false},
    {"mmap without access, EPERM", {SYS_mmap}, 2, PROT_NONE, ANSWER(EPERM), true, false},
    {"futex waits, ENOSYS", {SYS_futex}, 1, FUTEX_WAIT_PRIVATE, ANSWER(ENOSYS), false, false},
};

enum { FILTERS = sizeof g_filters / sizeof g_filters[0] };

/* Calls that a program which never gives memory back does not make; and one that such a one makes. */
static const struct filter g_killer = {"madvise, process_madvise and mremap, kill",
                                       {SYS_madvise, SYS_process_madvise, SYS_mremap},
                                       ANY_ARGUMENT,
                                       0,
                                       SECCOMP_RET_KILL_PROCESS,
                                       false,
                                       false};

static bool filter_install(const struct filter *filter) {
    struct sock_filter code[8 * CALLS_MAX + 2];
    unsigned short n = 0;
    for (int i = 0; i < CALLS_MAX && filter->calls[i]; i++) {
        bool any = filter->argument == ANY_ARGUMENT;
        size_t low = offsetof(struct seccomp_data, args) + (any ? 0 : (size_t)filter->argument) * 8;
        code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                                 offsetof(struct seccomp_data, nr));
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
                                                 (uint32_t)filter->calls[i], 0, any ? 1 : 3);
        if (!any) {
            code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)low);
            code[n++] =
                (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, filter->value, 0, 1);
        }
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, filter->answer);
    }
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {n, code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* In the started process: the first forbidden call is answered as the filter says. */
static bool filter_is_there(const struct filter *filter) {
    long arguments[6] = {0, 0, 0, 0, 0, 0};
    if (filter->argument != ANY_ARGUMENT)
        arguments[filter->argument] = (long)filter->value;
    errno = 0;
    long result = syscall(filter->calls[0], arguments[0], arguments[1], arguments[2], arguments[3],
                          arguments[4], arguments[5]);
    return result == -1 && errno == (int)(filter->answer & SECCOMP_RET_DATA);
}

/* ---- the started process ---- */

/* Root is under no limit; nobody is under the one given, which may be above what this process may set. */
static void lock_memory(size_t limit, bool as_nobody) {
    struct rlimit value = {limit, limit};
    if (as_nobody && (setrlimit(RLIMIT_MEMLOCK, &value) != 0 || setuid(NOBODY) != 0))
        _exit(NO_FILTER);
    if (mlockall(MCL_FUTURE) != 0)
        _exit(NO_FILTER);
}

/* "locked LIMIT_KIB IS_NOBODY IS_EARLY" */
static void lock_as_told(char **argv, bool is_early) {
    if (strcmp(argv[1], "locked") == 0 && (argv[4][0] == '1') == is_early)
        lock_memory(strtoul(argv[2], NULL, 0) << 10, argv[3][0] == '1');
}

static void before_constructors(int argc, char **argv, char **envp) {
    (void)envp;
    if (argc == 5)
        lock_as_told(argv, true);
}

__attribute__((section(".preinit_array"),
               used)) static void (*g_preinit)(int, char **, char **) = before_constructors;

static int started(int argc, char **argv) {
    api_load();
    if (argc == 5)
        lock_as_told(argv, false);
    if (strcmp(argv[1], "filtered") == 0) {
        int number = atoi(argv[2]);
        if (!filter_is_there(&g_filters[number % FILTERS]))
            return NO_FILTER;
    }
    if (strcmp(argv[1], "small") == 0)
        use_small();
    else
        use_all();
    if (strcmp(argv[1], "no huge pages") == 0 &&
        proc_number("/proc/self/smaps_rollup", "\nAnonHugePages:") != 0)
        return IS_BROKEN;
    return atomic_load(&g_refusals) ? IS_REFUSED : IS_SERVED;
}

/* ---- the starting process ---- */

struct start {
    const struct filter *filter; /* NULL: none */
    bool without_huge_pages;
    char *const *argv;
};

/* Runs it to its end; its output's beginning in `said`. The wait status. */
static int run(const struct start *start, char *said, size_t said_size) {
    int ends[2];
    size_t used = 0;
    ssize_t n;
    char rest[4096];
    if (pipe(ends) != 0)
        return -1;
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        alarm(ALARM_S);
        if ((start->without_huge_pages && prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0) ||
            (start->filter != NULL && !filter_install(start->filter)))
            _exit(NO_FILTER);
        execvp(start->argv[0], start->argv);
        _exit(126);
    }
    close(ends[1]);
    while ((n = read(ends[0], rest, sizeof rest)) > 0) {
        for (ssize_t i = 0; i < n && used + 1 < said_size; i++)
            said[used++] = rest[i];
    }
    said[used] = '\0';
    close(ends[0]);
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

static int run_self(const struct filter *filter, bool without_huge_pages, char *const *argv) {
    char said[256];
    int status = run(&(struct start){filter, without_huge_pages, argv}, said, sizeof said);
    if (said[0] != '\0')
        tap_note("it says: %s", said);
    return status;
}

static bool is_exit(int status, int code) {
    return WIFEXITED(status) && WEXITSTATUS(status) == code;
}

static char g_self[] = "/proc/self/exe";

static void try_filters(void) {
    for (int i = 0; i < FILTERS; i++) {
        char number[16];
        char *argv[] = {g_self, (char *)"filtered", number, NULL};
        snprintf(number, sizeof number, "%d", i);
        int status = run_self(&g_filters[i], false, argv);
        bool is_refused = g_filters[i].may_refuse && is_exit(status, IS_REFUSED);
        CHECK(is_exit(status, IS_SERVED) || is_refused, "%s: %s (wait status %#x)",
              g_filters[i].what, is_refused ? "NULL with ENOMEM" : "served", (unsigned)status);
    }
}

static void try_killer(void) {
    char *small[] = {g_self, (char *)"small", NULL};
    char *all[] = {g_self, (char *)"all", NULL};
    int status = run_self(&g_killer, false, small);
    CHECK(is_exit(status, IS_SERVED), "%s: small blocks need none (wait status %#x)", g_killer.what,
          (unsigned)status);
    status = run_self(&g_killer, false, all);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS,
          "%s: giving back is the end (wait status %#x)", g_killer.what, (unsigned)status);
}

static char *const g_programs[][4] = {
    {(char *)"sh", (char *)"-c",
     (char *)"seq 1 60000 | sort -rn --parallel=2 -S 4M | awk '{ s[$1 % 9973] = s[$1 % 9973] $1 } "
             "END { for (i = 0; i < 5; i++) print s[i]; print length(s) }' | cksum",
     NULL},
    {(char *)"python3", (char *)"-c",
     (char *)"import hashlib, json\n"
             "d = {str(i): [i] * (i % 50) for i in range(30000)}\n"
             "s = json.dumps(d)\n"
             "b = bytearray()\n"
             "for i in range(300): b += s[:20000].encode()\n"
             "print(hashlib.sha256(s.encode()).hexdigest(), len(b))",
     NULL},
};

static void try_programs(void) {
    char preload[4200];
    const char *library = getenv("LD_PRELOAD");
    snprintf(preload, sizeof preload, "%s", library ? library : "");
    for (size_t p = 0; p < sizeof g_programs / sizeof g_programs[0]; p++) {
        char plain[1024];
        unsetenv("LD_PRELOAD");
        int status = run(&(struct start){NULL, false, g_programs[p]}, plain, sizeof plain);
        setenv("LD_PRELOAD", preload, 1);
        struct sweep s = sweep_begin(g_programs[p][0]);
        SWEEP(&s, status == 0 && plain[0] != '\0', "it does not even run by itself");
        for (int i = 0; i < FILTERS; i++) {
            char said[1024];
            if (!g_filters[i].is_for_all)
                continue;
            status = run(&(struct start){&g_filters[i], false, g_programs[p]}, said, sizeof said);
            SWEEP(&s, status == 0 && strcmp(plain, said) == 0, "%s: wait status %#x, \"%.80s\"",
                  g_filters[i].what, (unsigned)status, said);
        }
        sweep_end(&s);
    }
}

static void try_without_huge_pages(void) {
    char *argv[] = {g_self, (char *)"no huge pages", NULL};
    int status = run_self(NULL, true, argv);
    CHECK(is_exit(status, IS_SERVED), "PR_SET_THP_DISABLE (wait status %#x)", (unsigned)status);
    setenv("HAKMEM_HUGE", "on", 1);
    status = run_self(NULL, true, argv);
    unsetenv("HAKMEM_HUGE");
    CHECK(is_exit(status, IS_SERVED), "PR_SET_THP_DISABLE, huge=on (wait status %#x)",
          (unsigned)status);
}

static void try_locked(const char *limit_kib, bool as_nobody, bool is_early) {
    char *argv[] = {g_self,
                    (char *)"locked",
                    (char *)limit_kib,
                    (char *)(as_nobody ? "1" : "0"),
                    (char *)(is_early ? "1" : "0"),
                    NULL};
    char what[128];
    snprintf(what, sizeof what, "mlockall(MCL_FUTURE) %s, as %s, limit %s KiB",
             is_early ? "before start-up" : "in main", as_nobody ? "nobody" : "root",
             as_nobody ? limit_kib : "no");
    int status = run_self(NULL, false, argv);
    if (is_exit(status, NO_FILTER)) {
        tap_skip(what, "such a limit cannot be set here");
        return;
    }
    bool is_served = is_exit(status, IS_SERVED);
    CHECK(is_served || (as_nobody && is_exit(status, IS_REFUSED)), "%s: %s (wait status %#x)", what,
          is_served ? "served" : "NULL with ENOMEM", (unsigned)status);
}

static void try_all_locked(bool is_early) {
    if (getuid() != 0) {
        tap_skip("mlockall", "not root");
        return;
    }
    try_locked("0", false, is_early);
    try_locked("524288", true, is_early);
    try_locked("65536", true, is_early);
    try_locked("8192", true, is_early);
    try_locked("1024", true, is_early);
}

int main(int argc, char **argv) {
    if (argc > 1)
        return started(argc, argv);
    api_load();
    tap_require_override();
    char *small[] = {g_self, (char *)"small", NULL};
    static const struct filter none = {.what = "none"};
    if (is_exit(run_self(&none, false, small), NO_FILTER)) {
        tap_skip("filters", "prctl(PR_SET_SECCOMP) is refused here");
    } else {
        try_filters();
        try_killer();
        try_programs();
    }
    try_without_huge_pages();
    try_all_locked(false);
    try_all_locked(true);
    return tap_end();
}
