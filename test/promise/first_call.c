/* test/promise/first_call.c — any entry point may be the first one. SPDX-License-Identifier: MIT */
/*
 * Goal: each entry point works as the first call of a process, as the first call of a thread, as
 * the last call of a thread (in a key destructor of the last round) and as the last of a process
 * (in an atexit handler registered before anything else).
 * Method: the program runs itself once per entry point and position. Positions before main use
 * .preinit_array, which runs before every constructor; nothing allocates before it in this program.
 */
#define _GNU_SOURCE
#include <pthread.h>
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
static void call_free_null(void) {
    errno = 4711;
    api.free(NULL);
    must(errno == 4711);
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
static void call_usable_size_null(void) {
    must(api.malloc_usable_size(NULL) == 0);
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
static void call_free_sized_null(void) {
    if (api.free_sized != NULL) {
        api.free_sized(NULL, 0);
    }
}
static void call_cfree_null(void) {
    if (api.cfree != NULL) {
        api.cfree(NULL);
    }
}
static void call_libc_malloc(void) {
    check_block(api.__libc_malloc != NULL ? api.__libc_malloc(100) : api.malloc(100), 100, 16);
}
static void call_operator_new(void) {
    void *(*operator_new)(size_t) = NULL;
    void (*operator_delete)(void *) = NULL;
    api_set(&operator_new, "_Znwm");
    api_set(&operator_delete, "_ZdlPv");
    if (operator_new != NULL && operator_delete != NULL) {
        void *block = operator_new(100);
        must(block != NULL);
        operator_delete(block);
    }
}
static void call_operator_delete_null(void) {
    void (*operator_delete)(void *) = NULL;
    api_set(&operator_delete, "_ZdaPv");
    if (operator_delete != NULL) {
        operator_delete(NULL);
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
               {"free(NULL)", call_free_null},
               {"aligned_alloc", call_aligned_alloc},
               {"memalign(1 MiB)", call_memalign},
               {"posix_memalign", call_posix_memalign},
               {"valloc", call_valloc},
               {"pvalloc", call_pvalloc},
               {"malloc_usable_size(NULL)", call_usable_size_null},
               {"mallinfo", call_mallinfo},
               {"mallinfo2", call_mallinfo2},
               {"mallopt", call_mallopt},
               {"malloc_trim", call_malloc_trim},
               {"nallocx", call_nallocx},
               {"free_sized(NULL)", call_free_sized_null},
               {"cfree(NULL)", call_cfree_null},
               {"__libc_malloc", call_libc_malloc},
               {"operator new", call_operator_new},
               {"operator delete(NULL)", call_operator_delete_null}};

enum { CALL_COUNT = sizeof g_calls / sizeof g_calls[0] };

static const char *const g_positions[] = {"first of process", "first of thread", "last of thread",
                                          "last of process"};

enum { POSITION_COUNT = sizeof g_positions / sizeof g_positions[0] };

static int g_index;

static void call_now(void) {
    g_calls[g_index].call();
}

/* All of them, to show that the first call left a working allocator behind. */
static void call_all(void) {
    for (int i = 0; i < CALL_COUNT; i++) {
        g_calls[i].call();
    }
}

static void before_constructors(int argc, char **argv, char **envp) {
    (void)envp;
    if (argc > 2 && strcmp(argv[1], g_positions[0]) == 0) {
        api_load();
        g_index = atoi(argv[2]);
        call_now();
    }
}

__attribute__((section(".preinit_array"),
               used)) static void (*g_preinit)(int, char **, char **) = before_constructors;

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

static int run_case(const char *position) {
    if (strcmp(position, g_positions[1]) == 0) {
        run_thread(thread_first, NULL);
    } else if (strcmp(position, g_positions[2]) == 0) {
        must(pthread_key_create(&g_key, key_destructor) == 0);
        run_thread(thread_last, NULL);
        run_thread(thread_last, &g_key);
    } else if (strcmp(position, g_positions[3]) == 0) {
        atexit(call_now);
    }
    call_all();
    return 0;
}

int main(int argc, char **argv) {
    api_load();
    if (argc > 2) {
        g_index = atoi(argv[2]);
        return run_case(argv[1]);
    }
    tap_require_override();
    for (int p = 0; p < POSITION_COUNT; p++) {
        for (int c = 0; c < CALL_COUNT; c++) {
            char index[16];
            snprintf(index, sizeof index, "%d", c);
            pid_t child = fork();
            if (child == 0) {
                char *args[] = {(char *)"first_call", (char *)g_positions[p], index, NULL};
                alarm(60);
                execve("/proc/self/exe", args, environ);
                _exit(126);
            }
            int status = -1;
            waitpid(child, &status, 0);
            CHECK(status == 0, "%s: %s (wait status %#x)", g_calls[c].name, g_positions[p],
                  (unsigned)status);
        }
    }
    return tap_end();
}
