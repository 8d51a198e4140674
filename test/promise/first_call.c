/* test/promise/first_call.c — any entry point may be the first one. SPDX-License-Identifier: MIT */
/*
 * Goal: each entry point, each form of C++ new and delete among them, works as the first call of a
 * process, as the first call of a thread, as the last call of a thread (in a key destructor of the last
 * round), as the last of a process (in an atexit handler registered before anything else), and as the
 * only one of a process or of a thread.
 * Method: the program runs itself once per entry point and position. Positions before main use
 * .preinit_array, which runs before every constructor; nothing allocates before it in this program.
 * What frees or resizes gets a block that another thread made, but NULL where there is none yet.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <hakmem/hakmem.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "entry_points.h"
#include "patterns.h"
#include "tap.h"

extern char **environ;

static void must(bool holds) {
    if (!holds) {
        _exit(3);
    }
}

static void check_block(void *block, size_t size, size_t alignment) {
    must(block != NULL && is_aligned(block, alignment));
    memset(block, 0x77, size);
    api.free(block);
}

/* ---- another thread's block ---- */

enum { FOREIGN_SIZE = 256, FOREIGN_ALIGNMENT = 256, FOREIGN_ALIGNMENT_LOG = 8 };

static _Atomic(void *) g_foreign;

static void make_foreign(void) {
    void *block = api.aligned_alloc(FOREIGN_ALIGNMENT, FOREIGN_SIZE);
    must(block != NULL);
    pattern_fill(block, FOREIGN_SIZE, FOREIGN_SIZE);
    atomic_store(&g_foreign, block);
}

static void *take_foreign(void) {
    unsigned char *block = atomic_exchange(&g_foreign, NULL);
    must(block == NULL || pattern_check(block, FOREIGN_SIZE, FOREIGN_SIZE) == FOREIGN_SIZE);
    return block;
}

/* ---- the calls ---- */

static void call_malloc(void) {
    check_block(api.malloc(100), 100, 16);
}
static void call_malloc_zero(void) {
    check_block(api.malloc(0), 0, 16);
}
static void call_malloc_large(void) {
    check_block(api.malloc(300000), 300000, 16);
}
static void call_malloc_big(void) {
    check_block(api.malloc(70 << 20), 4096, 16);
}
static void call_malloc_too_large(void) {
    errno = 0;
    must(api.malloc(SIZE_MAX - 100) == NULL && errno == ENOMEM);
}
static void call_calloc(void) {
    unsigned char *block = api.calloc(10, 100);
    must(block != NULL && zero_check(block, 1000) == 1000);
    check_block(block, 1000, 16);
}
static void call_realloc(void) {
    check_block(api.realloc(NULL, 100), 100, 16);
}
static void call_reallocarray(void) {
    check_block(api.reallocarray(NULL, 10, 10), 100, 16);
}
static void call_free(void) {
    void *block = take_foreign();
    errno = 4711;
    api.free(block);
    must(errno == 4711);
}
static void call_realloc_foreign(void) {
    void *block = take_foreign();
    bool was_there = block != NULL;
    block = api.realloc(block, 5000);
    must(block != NULL);
    must(!was_there || pattern_check(block, FOREIGN_SIZE, FOREIGN_SIZE) == FOREIGN_SIZE);
    api.free(block);
}
static void call_aligned_alloc(void) {
    check_block(api.aligned_alloc(256, 256), 256, 256);
}
static void call_memalign(void) {
    check_block(api.memalign(1 << 20, 10), 10, 1 << 20);
}
static void call_posix_memalign(void) {
    void *block = NULL;
    must(api.posix_memalign(&block, 128, 1000) == 0);
    check_block(block, 1000, 128);
}
static void call_valloc(void) {
    check_block(api.valloc(100), 100, 4096);
}
static void call_pvalloc(void) {
    check_block(api.pvalloc(100), 4096, 4096);
}
static void call_usable_size(void) {
    void *block = take_foreign();
    size_t size = api.malloc_usable_size(block);
    must(block == NULL ? size == 0 : size >= FOREIGN_SIZE);
    api.free(block);
}
static void call_mallinfo(void) {
    (void)api.mallinfo();
}
static void call_mallinfo2(void) {
    (void)api.mallinfo2();
}
static void call_mallopt(void) {
    (void)api.mallopt(M_MMAP_THRESHOLD, 65536);
}
static void call_malloc_trim(void) {
    (void)api.malloc_trim(0);
}
static void call_nallocx(void) {
    must(api.nallocx == NULL || api.nallocx(100, 0) >= 100);
}
static void call_malloc_stats(void) {
    api.malloc_stats(); /* on stderr */
}
static void call_malloc_info(void) {
    must(api.malloc_info(1, stderr) ==
         EINVAL); /* 0 would write; the stream's buffer is no call of ours */
}
static void call_free_sized(void) {
    if (api.free_sized != NULL)
        api.free_sized(take_foreign(), FOREIGN_SIZE);
}
static void call_free_aligned_sized(void) {
    if (api.free_aligned_sized != NULL)
        api.free_aligned_sized(take_foreign(), FOREIGN_ALIGNMENT, FOREIGN_SIZE);
}
static void call_sdallocx(void) {
    if (api.sdallocx != NULL)
        api.sdallocx(take_foreign(), FOREIGN_SIZE, FOREIGN_ALIGNMENT_LOG);
}
static void call_cfree(void) {
    if (api.cfree != NULL)
        api.cfree(take_foreign());
}
static void call_libc_malloc(void) {
    check_block(api.__libc_malloc != NULL ? api.__libc_malloc(100) : api.malloc(100), 100, 16);
}
static void call_libc_calloc(void) {
    check_block(api.__libc_calloc != NULL ? api.__libc_calloc(10, 10) : api.malloc(100), 100, 16);
}
static void call_libc_realloc(void) {
    check_block(api.__libc_realloc != NULL ? api.__libc_realloc(take_foreign(), 1000)
                                           : api.malloc(1000),
                1000, 16);
}
static void call_libc_memalign(void) {
    check_block(api.__libc_memalign != NULL ? api.__libc_memalign(512, 100)
                                            : api.memalign(512, 100),
                100, 512);
}
static void call_libc_free(void) {
    if (api.__libc_free != NULL)
        api.__libc_free(take_foreign());
}

/* What only this library has; nothing to do beside another one. */
static void call_hakmem_malloc(void) {
    static __typeof__(&hakmem_malloc) call;
    api_set(&call, "hakmem_malloc");
    if (call != NULL)
        check_block(call(100), 100, 16);
}
static void call_hakmem_free(void) {
    static __typeof__(&hakmem_free) call;
    api_set(&call, "hakmem_free");
    if (call != NULL)
        call(take_foreign());
}
static void call_hakmem_stats_get(void) {
    static __typeof__(&hakmem_stats_get) call;
    struct hakmem_stats stats;
    api_set(&call, "hakmem_stats_get");
    must(call == NULL || (call(&stats, sizeof stats) == 0 && stats.reserved > 0));
}
static void call_hakmem_prewarm(void) {
    static __typeof__(&hakmem_prewarm) call;
    api_set(&call, "hakmem_prewarm");
    must(call == NULL || call(100, 10) <= 10);
}
static void call_hakmem_receipts(void) {
    static __typeof__(&hakmem_receipts) call;
    struct hakmem_receipt receipt;
    api_set(&call, "hakmem_receipts");
    must(call == NULL || call(&receipt, 1) <= 1);
}
static void call_hakmem_policy_save(void) {
    static __typeof__(&hakmem_policy_save) call;
    api_set(&call, "hakmem_policy_save");
    must(call == NULL || call("/dev/null/not there") != 0);
}

/* ---- C++ ---- */

enum operator_shape {
    NEW,
    NEW_NOTHROW,
    NEW_ALIGNED,
    NEW_ALIGNED_NOTHROW,
    DELETE,
    DELETE_SIZED,
    DELETE_NOTHROW,
    DELETE_ALIGNED,
    DELETE_SIZED_ALIGNED,
    DELETE_ALIGNED_NOTHROW
};

static const struct {
    const char *name;
    enum operator_shape shape;
} g_operators[] = {
    {"_Znwm", NEW},
    {"_Znam", NEW},
    {"_ZnwmRKSt9nothrow_t", NEW_NOTHROW},
    {"_ZnamRKSt9nothrow_t", NEW_NOTHROW},
    {"_ZnwmSt11align_val_t", NEW_ALIGNED},
    {"_ZnamSt11align_val_t", NEW_ALIGNED},
    {"_ZnwmSt11align_val_tRKSt9nothrow_t", NEW_ALIGNED_NOTHROW},
    {"_ZnamSt11align_val_tRKSt9nothrow_t", NEW_ALIGNED_NOTHROW},
    {"_ZdlPv", DELETE},
    {"_ZdaPv", DELETE},
    {"_ZdlPvm", DELETE_SIZED},
    {"_ZdaPvm", DELETE_SIZED},
    {"_ZdlPvRKSt9nothrow_t", DELETE_NOTHROW},
    {"_ZdaPvRKSt9nothrow_t", DELETE_NOTHROW},
    {"_ZdlPvSt11align_val_t", DELETE_ALIGNED},
    {"_ZdaPvSt11align_val_t", DELETE_ALIGNED},
    {"_ZdlPvmSt11align_val_t", DELETE_SIZED_ALIGNED},
    {"_ZdaPvmSt11align_val_t", DELETE_SIZED_ALIGNED},
    {"_ZdlPvSt11align_val_tRKSt9nothrow_t", DELETE_ALIGNED_NOTHROW},
    {"_ZdaPvSt11align_val_tRKSt9nothrow_t", DELETE_ALIGNED_NOTHROW},
};

enum { OPERATOR_COUNT = sizeof g_operators / sizeof g_operators[0], NEW_ALIGNMENT = 512 };

static void call_operator(int index) {
    static const char nothrow; /* std::nothrow goes by address and is never looked at */
    union {
        void *(*new_plain)(size_t);
        void *(*new_nothrow)(size_t, const void *);
        void *(*new_aligned)(size_t, size_t);
        void *(*new_aligned_nothrow)(size_t, size_t, const void *);
        void (*delete_plain)(void *);
        void (*delete_number)(void *, size_t);
        void (*delete_nothrow)(void *, const void *);
        void (*delete_sized_aligned)(void *, size_t, size_t);
        void (*delete_aligned_nothrow)(void *, size_t, const void *);
    } call;
    enum operator_shape shape = g_operators[index].shape;
    api_set(&call, g_operators[index].name);
    if (call.new_plain == NULL)
        return; /* another library, in a process without C++ */
    void *block = shape < DELETE ? NULL : take_foreign();
    switch (shape) {
    case NEW:
        check_block(call.new_plain(100), 100, 16);
        break;
    case NEW_NOTHROW:
        check_block(call.new_nothrow(100, &nothrow), 100, 16);
        break;
    case NEW_ALIGNED:
        check_block(call.new_aligned(100, NEW_ALIGNMENT), 100, NEW_ALIGNMENT);
        break;
    case NEW_ALIGNED_NOTHROW:
        check_block(call.new_aligned_nothrow(100, NEW_ALIGNMENT, &nothrow), 100, NEW_ALIGNMENT);
        break;
    case DELETE:
        call.delete_plain(block);
        break;
    case DELETE_SIZED:
        call.delete_number(block, FOREIGN_SIZE);
        break;
    case DELETE_NOTHROW:
        call.delete_nothrow(block, &nothrow);
        break;
    case DELETE_ALIGNED:
        call.delete_number(block, FOREIGN_ALIGNMENT);
        break;
    case DELETE_SIZED_ALIGNED:
        call.delete_sized_aligned(block, FOREIGN_SIZE, FOREIGN_ALIGNMENT);
        break;
    case DELETE_ALIGNED_NOTHROW:
        call.delete_aligned_nothrow(block, FOREIGN_ALIGNMENT, &nothrow);
        break;
    }
}

static const struct {
    const char *name;
    void (*call)(void);
} g_calls[] = {{"malloc(100)", call_malloc},
               {"malloc(0)", call_malloc_zero},
               {"malloc(300000)", call_malloc_large},
               {"malloc(70 MiB)", call_malloc_big},
               {"malloc(too large)", call_malloc_too_large},
               {"calloc", call_calloc},
               {"realloc(NULL)", call_realloc},
               {"reallocarray(NULL)", call_reallocarray},
               {"free", call_free},
               {"realloc", call_realloc_foreign},
               {"aligned_alloc", call_aligned_alloc},
               {"memalign(1 MiB)", call_memalign},
               {"posix_memalign", call_posix_memalign},
               {"valloc", call_valloc},
               {"pvalloc", call_pvalloc},
               {"malloc_usable_size", call_usable_size},
               {"mallinfo", call_mallinfo},
               {"mallinfo2", call_mallinfo2},
               {"mallopt", call_mallopt},
               {"malloc_trim", call_malloc_trim},
               {"malloc_stats", call_malloc_stats},
               {"malloc_info", call_malloc_info},
               {"nallocx", call_nallocx},
               {"free_sized", call_free_sized},
               {"free_aligned_sized", call_free_aligned_sized},
               {"sdallocx", call_sdallocx},
               {"cfree", call_cfree},
               {"__libc_malloc", call_libc_malloc},
               {"__libc_calloc", call_libc_calloc},
               {"__libc_realloc", call_libc_realloc},
               {"__libc_memalign", call_libc_memalign},
               {"__libc_free", call_libc_free},
               {"hakmem_malloc", call_hakmem_malloc},
               {"hakmem_free", call_hakmem_free},
               {"hakmem_stats_get", call_hakmem_stats_get},
               {"hakmem_prewarm", call_hakmem_prewarm},
               {"hakmem_receipts", call_hakmem_receipts},
               {"hakmem_policy_save", call_hakmem_policy_save}};

enum {
    PLAIN_COUNT = sizeof g_calls / sizeof g_calls[0],
    CALL_COUNT = PLAIN_COUNT + OPERATOR_COUNT
};

static const char *call_name(int index) {
    return index < PLAIN_COUNT ? g_calls[index].name : g_operators[index - PLAIN_COUNT].name;
}

static void call_by_index(int index) {
    if (index < PLAIN_COUNT)
        g_calls[index].call();
    else
        call_operator(index - PLAIN_COUNT);
}

enum position {
    FIRST_OF_PROCESS,
    ONLY_OF_PROCESS,
    LAST_OF_PROCESS,
    FIRST_OF_THREAD,
    ONLY_OF_THREAD,
    LAST_OF_THREAD,
    POSITION_COUNT
};

static const char *const g_positions[] = {"first of process", "only of process", "last of process",
                                          "first of thread",  "only of thread",  "last of thread"};

static int g_index;

static void call_now(void) {
    call_by_index(g_index);
}

/* All of them, to show that the first call left a working allocator behind. */
static void call_all(void) {
    for (int i = 0; i < CALL_COUNT; i++) {
        if (i < PLAIN_COUNT && g_calls[i].call == call_malloc_stats)
            continue; /* 300 times that text would only be read past */
        call_by_index(i);
    }
}

static void before_constructors(int argc, char **argv, char **envp) {
    (void)envp;
    if (argc > 2 && atoi(argv[1]) == FIRST_OF_PROCESS) {
        api_load();
        g_index = atoi(argv[2]);
        call_now();
    }
}

__attribute__((section(".preinit_array"),
               used)) static void (*g_preinit)(int, char **, char **) = before_constructors;

static void *thread_only(void *arg) {
    call_now();
    return arg;
}

static void *thread_first(void *arg) {
    (void)arg;
    call_now();
    call_all();
    return NULL;
}

static pthread_key_t g_key;
static const char g_rounds[4]; /* the key's value is the address of its round */

static void key_destructor(void *round) {
    const char *next = (const char *)round + 1;
    if (next < g_rounds + sizeof g_rounds) {
        pthread_setspecific(g_key, next);
    } else {
        call_now();
    }
}

static void *thread_last(void *with_use) {
    if (with_use != NULL) {
        call_all();
    }
    pthread_setspecific(g_key, g_rounds);
    return NULL;
}

static void run_thread(void *(*body)(void *), void *arg) {
    pthread_t thread;
    must(pthread_create(&thread, NULL, body, arg) == 0);
    must(pthread_join(thread, NULL) == 0);
}

static int run_case(enum position position) {
    if (position == ONLY_OF_PROCESS) {
        call_now();
        return 0;
    }
    if (position != FIRST_OF_PROCESS)
        make_foreign();
    if (position == FIRST_OF_THREAD) {
        run_thread(thread_first, NULL);
    } else if (position == ONLY_OF_THREAD) {
        run_thread(thread_only, NULL);
    } else if (position == LAST_OF_THREAD) {
        must(pthread_key_create(&g_key, key_destructor) == 0);
        run_thread(thread_last, NULL);
        make_foreign();
        run_thread(thread_last, &g_key);
    } else if (position == LAST_OF_PROCESS) {
        atexit(call_now);
    }
    void *kept = position == LAST_OF_PROCESS ? take_foreign() : NULL;
    call_all();
    atomic_store(&g_foreign, kept);
    return 0;
}

int main(int argc, char **argv) {
    api_load();
    if (argc > 2) {
        g_index = atoi(argv[2]);
        return run_case((enum position)atoi(argv[1]));
    }
    tap_require_override();
    int quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
    for (int p = 0; p < POSITION_COUNT; p++) {
        for (int c = 0; c < CALL_COUNT; c++) {
            char index[16];
            char position[16];
            snprintf(index, sizeof index, "%d", c);
            snprintf(position, sizeof position, "%d", p);
            pid_t child = fork();
            if (child == 0) {
                char *args[] = {(char *)"first_call", position, index, NULL};
                alarm(60);
                dup2(quiet, STDERR_FILENO); /* malloc_stats */
                execve("/proc/self/exe", args, environ);
                _exit(126);
            }
            int status = -1;
            waitpid(child, &status, 0);
            CHECK(status == 0, "%s: %s (wait status %#x)", call_name(c), g_positions[p],
                  (unsigned)status);
        }
    }
    return tap_end();
}
