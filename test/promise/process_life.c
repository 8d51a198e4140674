/* test/promise/process_life.c — malloc before main and after exit. SPDX-License-Identifier: MIT */
/*
 * Goal: all entry points work before constructors, in constructors, in every round of thread-key
 * destructors and in thread_local destructors, in atexit and quick_exit handlers, in destructors,
 * in detached threads at exit, with the smallest stack, after cancellation and in a vfork's exec.
 * Method: the program runs itself once per case; a case must print its token and exit with its own
 * status. Tokens are written with write(2), last thing in the case.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "entry_points.h"
#include "patterns.h"
#include "tap.h"

enum { STATUS = 42, KEYS = 64, ROUNDS = 4, CHAIN = 32 };
enum { RELAYS = 6, GENERATIONS = 8 };

extern char **environ;
/* What a C++ compiler calls for a thread_local object with a destructor. */
extern int __cxa_thread_atexit_impl(void (*destructor)(void *), void *object, void *dso);
extern void *__dso_handle;

static const char *g_case;

/* Many small blocks at once: two threads that work on one cache get the same block twice. */
static void use_small_blocks(void) {
    enum { COUNT = 60, SIZE = 48 };
    void *block[COUNT];
    uint64_t seed = (uintptr_t)block; /* another one in every thread */
    for (int i = 0; i < COUNT; i++) {
        block[i] = malloc(SIZE);
        if (block[i] == NULL) {
            _exit(3);
        }
        pattern_fill(block[i], SIZE, seed + (unsigned)i);
    }
    for (int i = 0; i < COUNT; i++) {
        if (pattern_check(block[i], SIZE, seed + (unsigned)i) != SIZE) {
            _exit(4);
        }
        free(block[i]);
    }
}

/* Uses every tier; ends the process when anything is wrong. */
static void use_allocator(void) {
    static const size_t sizes[] = {0, 1, 100, 1024, 1025, 9000, 65536, 65537, 1 << 20};
    use_small_blocks();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *block = malloc(sizes[i]);
        unsigned char *zeroed = calloc(1, sizes[i] + 1);
        void *aligned = NULL;
        size_t stride = sizes[i] > 2000 ? 1000 : 1;
        if (block == NULL || zeroed == NULL || posix_memalign(&aligned, 256, sizes[i]) != 0 ||
            zero_check(zeroed, sizes[i] % 65536 + 1) != sizes[i] % 65536 + 1) {
            _exit(3);
        }
        pattern_fill_sparse(block, sizes[i], i, stride);
        block = realloc(block, sizes[i] * 2 + 1);
        if (block == NULL || !pattern_holds_sparse(block, sizes[i], i, stride)) {
            _exit(4);
        }
        free(zeroed);
        free(block);
        free(aligned);
    }
}

static void say(const char *token) {
    if (write(STDOUT_FILENO, token, strlen(token)) < 0) {
        _exit(5);
    }
}

static bool is_case(const char *name) {
    return g_case != NULL && strcmp(g_case, name) == 0;
}

static void *g_early;

static void before_constructors(int argc, char **argv, char **envp) {
    (void)envp;
    g_case = argc > 1 ? argv[1] : NULL;
    if (is_case("preinit")) {
        use_allocator();
        g_early = malloc(12345);
        say("before constructors");
    }
}

__attribute__((section(".preinit_array"),
               used)) static void (*g_preinit)(int, char **, char **) = before_constructors;

__attribute__((constructor(101))) static void first_constructor(void) {
    if (is_case("constructor")) {
        use_allocator();
        g_early = malloc(777);
        say("constructor");
    }
}

__attribute__((destructor(101))) static void last_destructor(void) {
    if (is_case("destructor")) {
        use_allocator();
        free(g_early);
        say("destructor");
    }
}

static int g_chain_left = CHAIN;

static void chained_handler(void) {
    use_allocator();
    if (--g_chain_left > 0) {
        atexit(chained_handler); /* registering allocates in libc every 32nd time */
    } else {
        say("atexit chain");
    }
}

static void quick_handler(void) {
    use_allocator();
    say("quick_exit");
}

static pthread_key_t g_key[KEYS];
static atomic_int g_key_calls;

/* Sets its key again until the last round that POSIX guarantees: 64 calls a round. */
static void key_destructor(void *value) {
    int *counter = value;
    int index = counter[0];
    int round = counter[1];
    use_allocator();
    atomic_fetch_add(&g_key_calls, 1);
    free(counter);
    if (round + 1 < ROUNDS) {
        int *next = malloc(2 * sizeof *next);
        next[0] = index;
        next[1] = round + 1;
        pthread_setspecific(g_key[index], next);
    }
}

static void *thread_with_keys(void *arg) {
    (void)arg;
    for (int i = 0; i < KEYS; i++) {
        int *counter = malloc(2 * sizeof *counter);
        counter[0] = i;
        counter[1] = 0;
        pthread_setspecific(g_key[i], counter);
    }
    return NULL;
}

static void run_thread(void *(*body)(void *), void *arg, size_t stack) {
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    if (stack != 0 && pthread_attr_setstacksize(&attr, stack) != 0) {
        _exit(6);
    }
    if (pthread_create(&thread, &attr, body, arg) != 0 || pthread_join(thread, NULL) != 0) {
        _exit(7);
    }
}

static void *thread_using(void *arg) {
    use_allocator();
    return arg;
}

/* Threads begin while others are in their destructors: what one leaves is another's at once. */
static void *relay_body(void *arg) {
    for (int i = 0; i < GENERATIONS; i++) {
        run_thread(thread_with_keys, NULL, 0);
    }
    return arg;
}

/* A key of the library's own, if any, may be older or younger than ours: its destructor's turn. */
static void run_keys(bool ours_younger) {
    if (ours_younger) {
        run_thread(thread_using, NULL, 0);
    }
    for (int i = 0; i < KEYS; i++) {
        if (pthread_key_create(&g_key[i], key_destructor) != 0) {
            _exit(8);
        }
    }
    pthread_t relay[RELAYS];
    atomic_store(&g_key_calls, 0);
    for (int i = 0; i < RELAYS; i++) {
        if (pthread_create(&relay[i], NULL, relay_body, NULL) != 0) {
            _exit(13);
        }
    }
    for (int i = 0; i < RELAYS; i++) {
        pthread_join(relay[i], NULL);
    }
    if (atomic_load(&g_key_calls) == RELAYS * GENERATIONS * KEYS * ROUNDS) {
        say("keys");
    }
}

static atomic_int g_tls_destroyed;

static void tls_destructor(void *object) {
    use_allocator();
    free(object);
    atomic_fetch_add(&g_tls_destroyed, 1);
}

static void *thread_with_tls_objects(void *late_use) {
    for (int i = 0; i < 40; i++) {
        __cxa_thread_atexit_impl(tls_destructor, late_use == NULL ? malloc(50) : NULL,
                                 &__dso_handle);
    }
    return NULL; /* with late_use, the destructors hold the thread's first allocations */
}

static void *thread_allocating(void *arg) {
    for (;;) {
        use_allocator();
    }
    return arg;
}

static void *thread_small(void *arg) {
    (void)arg;
    void *volatile block = malloc(100);
    free(block);
    block = malloc(100000);
    free(block);
    return NULL;
}

static void *thread_cancelled(void *arg) {
    atomic_int *ready = arg;
    for (;;) {
        use_allocator();
        atomic_store(ready, 1);
        pthread_testcancel();
    }
    return arg;
}

static void run_cancellation(void) {
    for (int i = 0; i < 50; i++) {
        pthread_t thread;
        atomic_int ready = 0;
        if (pthread_create(&thread, NULL, thread_cancelled, &ready) != 0) {
            _exit(9);
        }
        while (atomic_load(&ready) == 0) {
            sched_yield();
        }
        pthread_cancel(thread);
        pthread_join(thread, NULL);
    }
    use_allocator();
    say("cancel");
}

static void run_spawn(void) {
    use_allocator();
    for (int i = 0; i < 20; i++) {
        pid_t child;
        int status = -1;
        char *argv[] = {(char *)"true", NULL};
        if (posix_spawnp(&child, "true", NULL, NULL, argv, environ) != 0 ||
            waitpid(child, &status, 0) != child || status != 0) {
            _exit(10);
        }
        use_allocator();
    }
    say("spawn");
}

static void run_exit_with_threads(void) {
    for (int i = 0; i < 8; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, thread_allocating, NULL) != 0) {
            _exit(11);
        }
        pthread_detach(thread);
    }
    usleep(20000);
    say("exit beside threads");
    exit(STATUS);
}

static void *thread_after_main(void *main_thread) {
    pthread_join(*(pthread_t *)main_thread, NULL);
    use_allocator();
    say("main left first");
    _exit(STATUS);
}

static void run_main_leaves(void) {
    static pthread_t self;
    pthread_t thread;
    use_allocator();
    self = pthread_self();
    if (pthread_create(&thread, NULL, thread_after_main, &self) != 0) {
        _exit(12);
    }
    pthread_exit(NULL);
}

static int run_case(const char *name) {
    if (is_case("preinit") || is_case("constructor")) {
        g_early = realloc(g_early, 99999);
        free(g_early);
    } else if (is_case("destructor")) {
        g_early = malloc(100);
    } else if (is_case("atexit chain")) {
        atexit(chained_handler);
    } else if (is_case("quick_exit")) {
        at_quick_exit(quick_handler);
        use_allocator();
        quick_exit(STATUS);
    } else if (is_case("keys") || is_case("keys, younger")) {
        run_keys(is_case("keys, younger"));
    } else if (is_case("tls objects") || is_case("tls objects, late use")) {
        for (int i = 0; i < 20; i++) {
            run_thread(thread_with_tls_objects, is_case("tls objects") ? NULL : g_key, 0);
        }
        if (atomic_load(&g_tls_destroyed) == 20 * 40) {
            say("tls objects");
        }
    } else if (is_case("small stack")) {
        run_thread(thread_small, NULL, (size_t)PTHREAD_STACK_MIN);
        say("small stack");
    } else if (is_case("cancel")) {
        run_cancellation();
    } else if (is_case("spawn")) {
        run_spawn();
    } else if (is_case("exit beside threads")) {
        run_exit_with_threads();
    } else if (is_case("main left first")) {
        run_main_leaves();
    } else {
        tap_note("unknown case %s", name);
        return 1;
    }
    return STATUS;
}

/* The case's output is read through a pipe; a case that hangs is ended by the alarm it inherits. */
static void try_case(const char *name, const char *token) {
    int ends[2];
    char said[4096];
    size_t used = 0;
    ssize_t n;
    if (pipe(ends) != 0) {
        CHECK(false, "%s: pipe", name);
        return;
    }
    pid_t child = fork();
    if (child == 0) {
        char *argv[] = {(char *)"process_life", (char *)name, NULL};
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        alarm(60);
        execve("/proc/self/exe", argv, environ);
        _exit(126);
    }
    close(ends[1]);
    while (used < sizeof said - 1 && (n = read(ends[0], said + used, sizeof said - 1 - used)) > 0) {
        used += (size_t)n;
    }
    said[used] = '\0';
    close(ends[0]);
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == STATUS && strcmp(said, token) == 0,
          "%s (wait status %#x, said \"%s\")", name, (unsigned)status, said);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        return run_case(argv[1]);
    }
    api_load();
    tap_require_override();
    try_case("preinit", "before constructors");
    try_case("constructor", "constructor");
    try_case("destructor", "destructor");
    try_case("atexit chain", "atexit chain");
    try_case("quick_exit", "quick_exit");
    try_case("keys", "keys");
    try_case("keys, younger", "keys");
    try_case("tls objects", "tls objects");
    try_case("tls objects, late use", "tls objects");
    try_case("small stack", "small stack");
    try_case("cancel", "cancel");
    try_case("spawn", "spawn");
    try_case("exit beside threads", "exit beside threads");
    try_case("main left first", "main left first");
    return tap_end();
}
