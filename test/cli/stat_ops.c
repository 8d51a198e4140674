/* test/cli/stat_ops.c — a program whose requests are known, for `hakmem stat`. SPDX-License-Identifier: MIT */
/*
 * usage: stat_ops MODE N
 *
 * Asks for N times the same in the way MODE says. What libc asks for at start and end is the same for every
 * N, so a test compares the counts of two runs. Every failure ends the program with status 3.
 */
#define _GNU_SOURCE
#include <hakmem/stat_format.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* libhakmem has them; libc's headers need not. */
void free_sized(void *p, size_t size) __attribute__((weak));
void free_aligned_sized(void *p, size_t alignment, size_t size) __attribute__((weak));
void sdallocx(void *p, size_t size, int flags) __attribute__((weak));
void *_Znwm(size_t size) __attribute__((weak));
void _ZdlPv(void *p) __attribute__((weak));

enum { THREADS = 4, THREAD_SIZE = 100, FORK_SIZE = 200, BIG_SIZE = 80 << 20 };

static long g_count;
static char **g_argv;

static void need(int is_true) {
    if (!is_true) {
        _exit(3);
    }
}

static void use(void *p) {
    need(p != NULL);
    *(volatile char *)p = 1;
}

static void take_and_free(size_t size) {
    for (long i = 0; i < g_count; i++) {
        void *p = malloc(size);
        use(p);
        free(p);
    }
}

/* ---- modes ---- */

static void do_malloc(void) {
    take_and_free(THREAD_SIZE);
}

static void do_entries(void) {
    volatile size_t too_much = (size_t)PTRDIFF_MAX + 1;
    for (long i = 0; i < g_count; i++) {
        void *p = malloc(40);
        use(p);
        need((p = realloc(p, 44)) != NULL);   /* stays */
        need((p = realloc(p, 3000)) != NULL); /* is copied */
        need(realloc(p, 0) == NULL);
        free(NULL);
        p = calloc(3, 50);
        use(p);
        free(p);
        use(p = realloc(NULL, 60));
        free_sized(p, 60);
        use(p = reallocarray(NULL, 7, 10));
        sdallocx(p, 70, 0);
        use(p = aligned_alloc(64, 100));
        free_aligned_sized(p, 64, 100);
        use(p = memalign(4096, 50)); /* a Mid block for a Tiny size */
        free(p);
        need(posix_memalign(&p, 32, 80) == 0);
        free(p);
        use(p = valloc(4096));
        free(p);
        use(p = pvalloc(1));
        free(p);
        use(p = _Znwm(500));
        _ZdlPv(p);
        use(p = malloc(400000)); /* Large */
        free(p);
        need(malloc(too_much) == NULL);
    }
}

static void do_big(void) {
    for (long i = 0; i < g_count; i++) {
        char *p = malloc(BIG_SIZE);
        use(p);
        need((p = realloc(p, 2 * (size_t)BIG_SIZE)) != NULL);
        free(p);
        malloc_trim(0);
    }
}

/* Each thread has freed what another one asked for: remote frees. */
static pthread_barrier_t g_barrier;
static void **g_blocks[THREADS];

static void *run_thread(void *argument) {
    intptr_t self = (intptr_t)argument;
    void **mine = g_blocks[self];
    void **others = g_blocks[(self + 1) % THREADS];
    take_and_free(THREAD_SIZE);
    for (long i = 0; i < g_count; i++) {
        use(mine[i] = malloc(FORK_SIZE));
    }
    pthread_barrier_wait(&g_barrier);
    for (long i = 0; i < g_count; i++) {
        free(others[i]);
    }
    return NULL;
}

static void do_threads(void) {
    pthread_t threads[THREADS];
    pthread_barrier_init(&g_barrier, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        need((g_blocks[i] = calloc((size_t)g_count + 1, sizeof(void *))) != NULL);
    }
    for (intptr_t i = 0; i < THREADS; i++) {
        need(pthread_create(&threads[i], NULL, run_thread, (void *)i) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
}

/* Many threads at a time: more heaps than the file has room for at first. */
static void *run_crowd(void *argument) {
    use(argument = malloc(THREAD_SIZE));
    pthread_barrier_wait(&g_barrier);
    free(argument);
    return NULL;
}

static void do_crowd(void) {
    pthread_t *threads = calloc((size_t)g_count + 1, sizeof *threads);
    pthread_barrier_init(&g_barrier, NULL, (unsigned)g_count);
    for (long i = 0; i < g_count; i++) {
        need(pthread_create(&threads[i], NULL, run_crowd, NULL) == 0);
    }
    for (long i = 0; i < g_count; i++) {
        pthread_join(threads[i], NULL);
    }
    free(threads);
}

static void do_end_at_once(void) {
    take_and_free(THREAD_SIZE);
    _exit(0);
}

static void do_kill(void) {
    take_and_free(THREAD_SIZE);
    raise(SIGKILL);
}

static void do_abort(void) {
    take_and_free(THREAD_SIZE);
    abort();
}

/* Goes on as another program under the same process id. */
static void do_exec(void) {
    char name[] = "malloc";
    take_and_free(THREAD_SIZE);
    g_argv[1] = name;
    execv("/proc/self/exe", g_argv);
    need(0);
}

static void wait_for(pid_t child) {
    int status = -1;
    need(child > 0);
    need(waitpid(child, &status, 0) == child && status == 0);
}

/* The child asks for another size than its parent, and again in a child of its own. */
static void do_fork(void) {
    take_and_free(THREAD_SIZE);
    pid_t child = fork();
    if (child == 0) {
        take_and_free(FORK_SIZE);
        pid_t grandchild = fork();
        if (grandchild == 0) {
            take_and_free(2 * FORK_SIZE);
            _exit(0);
        }
        wait_for(grandchild);
        exit(0);
    }
    wait_for(child);
    take_and_free(THREAD_SIZE);
}

/* The forking thread is not the first, so its counters lie in another place than the child's. */
static void *run_in_child(void *argument) {
    take_and_free(FORK_SIZE);
    return argument;
}

static void *run_forking(void *argument) {
    take_and_free(THREAD_SIZE);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        take_and_free(FORK_SIZE);
        need(pthread_create(&thread, NULL, run_in_child, NULL) == 0);
        take_and_free(FORK_SIZE);
        pthread_join(thread, NULL);
        _exit(0);
    }
    wait_for(child);
    take_and_free(THREAD_SIZE);
    return argument;
}

static void do_fork_in_thread(void) {
    pthread_t thread;
    take_and_free(THREAD_SIZE);
    need(pthread_create(&thread, NULL, run_forking, NULL) == 0);
    pthread_join(thread, NULL);
    take_and_free(THREAD_SIZE);
}

extern char **environ;

static void do_spawn(void) {
    char name[] = "malloc";
    pid_t child = -1;
    g_argv[1] = name;
    need(posix_spawn(&child, "/proc/self/exe", NULL, NULL, g_argv, environ) == 0);
    wait_for(child);
    take_and_free(THREAD_SIZE);
}

/* Leaves a process behind that is still there when the command has ended. */
static void do_daemon(void) {
    int pipes[2];
    char byte;
    take_and_free(THREAD_SIZE);
    need(pipe(pipes) == 0);
    if (fork() == 0) {
        need(write(pipes[1], "x", 1) == 1); /* from now on it counts for itself */
        for (int fd = 0; fd < 3; fd++) {
            close(fd);
        }
        setsid();
        sleep(3);
        _exit(0);
    }
    need(read(pipes[0], &byte, 1) == 1);
}

/* A child without any descriptor or place to make a file. */
static void do_chroot(void) {
    if (chroot("/proc/self/fdinfo") != 0) {
        _exit(77);
    }
    pid_t child = fork();
    if (child == 0) {
        take_and_free(FORK_SIZE);
        _exit(0);
    }
    wait_for(child);
    take_and_free(THREAD_SIZE);
}

static void do_terminated(void) {
    take_and_free(THREAD_SIZE);
    puts("ready");
    fflush(stdout);
    for (;;) {
        pause();
    }
}

/* Where the file has what tests change. */
static void do_layout(void) {
    printf("%zu %zu %zu\n", offsetof(struct hakmem_stat_file, header.tables.calls),
           offsetof(struct hakmem_stat_file, slots), sizeof(struct hakmem_stat_slot));
}

static const struct {
    const char *name;
    void (*run)(void);
} g_modes[] = {
    {"malloc", do_malloc},
    {"entries", do_entries},
    {"big", do_big},
    {"threads", do_threads},
    {"crowd", do_crowd},
    {"_exit", do_end_at_once},
    {"kill", do_kill},
    {"abort", do_abort},
    {"exec", do_exec},
    {"fork", do_fork},
    {"fork_in_thread", do_fork_in_thread},
    {"spawn", do_spawn},
    {"daemon", do_daemon},
    {"chroot", do_chroot},
    {"wait", do_terminated},
    {"layout", do_layout},
};

int main(int argc, char **argv) {
    need(argc == 3);
    g_argv = argv;
    g_count = atol(argv[2]);
    for (size_t i = 0; i < sizeof g_modes / sizeof g_modes[0]; i++) {
        if (strcmp(g_modes[i].name, argv[1]) == 0) {
            g_modes[i].run();
            return 0;
        }
    }
    return 2;
}
