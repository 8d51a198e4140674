/* test/stress/fork_exec.c — programs started from among allocating threads. SPDX-License-Identifier: MIT */
/*
 * usage: fork_exec [PROGRAMS] [THREADS] [SEED]          by default 2000 6 1
 *
 * Goal: vfork and exec, posix_spawn, and fork and exec, from several threads that allocate, leave the
 * parent's heap as it was: no block is lost, none has another one's contents, no lock stays taken.
 * Method: each thread exchanges stamped blocks through mailboxes and starts this program anew in between,
 * by another way each time; the new program uses all tiers and answers by its exit status. A vfork's
 * child has the parent's memory and its thread's heap: in one of the ways it allocates and frees there
 * (as those do that prepare an exec's arguments) before it ends. The books after the storm are those
 * after a short one before.
 */
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "books.h"

enum { MAILBOXES = 256, STATUS = 42, THREADS_MAX = 64, WHOLE_ALARM_S = 600, EXCHANGES = 40 };
enum way { VFORK_EXEC, VFORK_EXIT, VFORK_ALLOCATE, SPAWN, FORK_EXEC, WAYS };

extern char **environ;

static _Atomic(void *) g_mailbox[MAILBOXES];
static atomic_long g_left;
static atomic_ulong g_started[WAYS];

static void exchange_some(uint64_t *state, int steps) {
    for (int i = 0; i < steps; i++) {
        void *fresh = stamped_new(state);
        if (fresh == NULL)
            stress_fail("out of memory");
        stamped_free(atomic_exchange(&g_mailbox[random_next(state) % MAILBOXES], fresh));
    }
}

/* ---- the started program ---- */

static int started(uint64_t seed) {
    uint64_t state = seed;
    void *kept[64] = {NULL};
    for (int i = 0; i < 300; i++) {
        stamped_free(kept[i % 64]);
        kept[i % 64] = stamped_new(&state);
    }
    for (int i = 0; i < 64; i++)
        stamped_free(kept[i]);
    return STATUS;
}

/* ---- ways to start it ---- */

/* The child of vfork: on its parent's stack, heap and locks, while the parent's other threads go on. */
static __attribute__((noinline)) void allocate_in_child(uint64_t state) {
    exchange_some(&state, 10);
    void *arguments = api.realloc(api.malloc(100), 3000);
    stamped_free(stamp_block(arguments, 3000, state));
}

static pid_t start_by_vfork(enum way way, char *const *arguments, uint64_t seed) {
    pid_t pid = vfork();
    if (pid == 0) {
        if (way == VFORK_ALLOCATE)
            allocate_in_child(seed);
        if (way == VFORK_EXEC)
            execve("/proc/self/exe", arguments, environ);
        _exit(way == VFORK_EXEC ? 126 : STATUS);
    }
    return pid;
}

static pid_t start_by_fork(char *const *arguments, uint64_t seed) {
    pid_t pid = fork();
    if (pid == 0) {
        exchange_some(&seed, 10);
        execve("/proc/self/exe", arguments, environ);
        _exit(126);
    }
    return pid;
}

static pid_t start(enum way way, uint64_t seed) {
    char number[24];
    char name[] = "fork_exec";
    char what[] = "started";
    char *arguments[] = {name, what, number, NULL};
    pid_t pid = -1;
    snprintf(number, sizeof number, "%lu", (unsigned long)seed);
    if (way == SPAWN)
        return posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ) == 0 ? pid : -1;
    return way == FORK_EXEC ? start_by_fork(arguments, seed) : start_by_vfork(way, arguments, seed);
}

static void *thread_body(void *seed) {
    uint64_t state = (uint64_t)(uintptr_t)seed;
    for (long left; (left = atomic_fetch_sub(&g_left, 1)) > 0;) {
        enum way way = (enum way)(left % WAYS);
        exchange_some(&state, EXCHANGES);
        pid_t pid = start(way, random_next(&state) | 1);
        exchange_some(&state, EXCHANGES);
        int status = -1;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
            WEXITSTATUS(status) != STATUS) {
            tap_note("way %d: pid %d, wait status %#x", way, (int)pid, (unsigned)status);
            stress_fail("a started program");
        }
        atomic_fetch_add(&g_started[way], 1);
    }
    return NULL;
}

/* Returns the books when all threads have ended and all blocks are free. */
static struct hakmem_stats storm(unsigned long programs, unsigned long threads, uint64_t seed) {
    pthread_t thread[THREADS_MAX];
    atomic_store(&g_left, (long)programs);
    for (unsigned long i = 0; i < threads; i++) {
        if (pthread_create(&thread[i], NULL, thread_body, (void *)(seed * 100 + i + 1)) != 0)
            stress_fail("pthread_create");
    }
    for (unsigned long i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < MAILBOXES; i++)
        stamped_free(atomic_exchange(&g_mailbox[i], NULL));
    return books_balance();
}

int main(int argc, char **argv) {
    api_load();
    if (argc == 3 && strcmp(argv[1], "started") == 0)
        return started(strtoul(argv[2], NULL, 0));
    unsigned long programs = stress_argument(argc, argv, 1, 2000);
    unsigned long threads = stress_argument(argc, argv, 2, 6);
    unsigned long seed = stress_argument(argc, argv, 3, 1);
    tap_require_override();
    tap_note("programs %lu, threads %lu, seed %lu", programs, threads, seed);
    if (threads > THREADS_MAX)
        threads = THREADS_MAX;
    alarm(WHOLE_ALARM_S);
    struct hakmem_stats before = storm(WAYS * threads, threads, seed);
    struct hakmem_stats after = storm(programs, threads, seed + 1);
    books_note("before", &before);
    books_note("after", &after);
    unsigned long started_count = 0;
    for (int way = 0; way < WAYS; way++)
        started_count += atomic_load(&g_started[way]);
    CHECK(started_count == programs + WAYS * threads, "%lu programs worked and ended",
          started_count);
    CHECK(books_agree(&before, &after), "the parent's books are what they were");
    CHECK(after.heap_count <= 2 * threads + 2, "%zu heaps for %lu threads at a time",
          after.heap_count, threads);
    return tap_end();
}
