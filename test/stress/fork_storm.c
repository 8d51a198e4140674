/* test/stress/fork_storm.c — fork from among allocating threads. SPDX-License-Identifier: MIT */
/*
 * usage: fork_storm [FORKS] [THREADS] [SEED] [NAP_US]          by default 1000 8 1 2000
 *
 * Goal: fork at any moment of any other thread's malloc or free leaves a child in which everything
 * works: allocating, freeing the parent's blocks of every thread, threads, and forking again.
 * Method: THREADS threads allocate, exchange blocks through mailboxes and free, with short naps (so
 * that children get a processor too), while the main thread forks. Each child verifies
 * and frees a share of the mailboxes' blocks (which belonged to threads that do not exist in it), works
 * alone, works with a thread, forks a grandchild and exits, by exit(3) every eighth time. A process that
 * hangs dies by its alarm, and that is a failure. Every fourth child asks hakmem_check() first and last.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "books.h"

enum {
    MAILBOXES = 512,
    CHILD_ALARM_S = 60,
    NAP_US = 2000,
    FORK_ALARM_S = 300,
    THREADS_MAX = 64,
    SEED_STEP = 1000003 /* from child to child */
};

static _Atomic(void *) g_mailbox[MAILBOXES];
static atomic_int g_stop;
static atomic_ulong g_operations;
static unsigned g_nap_us;

static void exchange_some(uint64_t *state, int steps) {
    void *kept[16] = {NULL};
    for (int i = 0; i < steps; i++) {
        unsigned slot = (unsigned)(random_next(state) % MAILBOXES);
        void *fresh = stamped_new(state);
        if (fresh == NULL)
            stress_fail("out of memory");
        stamped_free(kept[i % 16]);
        kept[i % 16] = atomic_exchange(&g_mailbox[slot], fresh);
    }
    for (int i = 0; i < 16; i++)
        stamped_free(kept[i]);
}

static void *thread_body(void *seed) {
    uint64_t state = (uint64_t)(uintptr_t)seed;
    while (atomic_load(&g_stop) == 0) {
        exchange_some(&state, 200);
        atomic_fetch_add(&g_operations, 200);
        usleep(g_nap_us);
    }
    return NULL;
}

static void *child_thread_body(void *seed) {
    uint64_t state = (uint64_t)(uintptr_t)seed;
    exchange_some(&state, 100);
    return NULL;
}

static void grandchild(uint64_t *state) {
    alarm(CHILD_ALARM_S);
    exchange_some(state, 100);
    _exit(0);
}

static void child(uint64_t seed) {
    uint64_t state = seed;
    pthread_t thread;
    alarm(CHILD_ALARM_S);
    bool is_looking = seed / SEED_STEP % 4 == 0; /* some ms each */
    if (is_looking)
        books_check("hakmem_check in the child", 0);
    exchange_some(&state, 50);
    for (int i = 0; i < MAILBOXES; i += 1 + (int)(random_next(&state) % 3))
        stamped_free(atomic_exchange(&g_mailbox[i], NULL));
    if (pthread_create(&thread, NULL, child_thread_body, (void *)(uintptr_t)(seed + 1)) != 0)
        stress_fail("pthread_create in the child");
    exchange_some(&state, 100);
    pthread_join(thread, NULL);
    pid_t next = fork();
    if (next == 0)
        grandchild(&state);
    int status = -1;
    if (next < 0 || waitpid(next, &status, 0) != next || status != 0)
        stress_fail("the grandchild");
    exchange_some(&state, 50);
    if (is_looking)
        books_check("hakmem_check at the child's end", 0);
    if (seed % 8 == 0)
        exit(0);
    _exit(0);
}

static bool storm(unsigned long forks, uint64_t seed) {
    uint64_t state = seed * 2 + 1;
    for (unsigned long i = 0; i < forks; i++) {
        alarm(FORK_ALARM_S);
        exchange_some(&state, 20);
        pid_t pid = fork();
        if (pid == 0)
            child(seed + i * SEED_STEP);
        int status = -1;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
            return CHECK(false, "child %lu: wait status %#x%s", i, (unsigned)status,
                         WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ", it hung" : "");
    }
    return true;
}

int main(int argc, char **argv) {
    unsigned long forks = stress_argument(argc, argv, 1, 1000);
    unsigned long threads = stress_argument(argc, argv, 2, 8);
    unsigned long seed = stress_argument(argc, argv, 3, 1);
    pthread_t thread[THREADS_MAX];
    api_load();
    tap_require_override();
    tap_note("forks %lu, threads %lu, seed %lu", forks, threads, seed);
    if (threads > THREADS_MAX)
        threads = THREADS_MAX;
    g_nap_us = (unsigned)stress_argument(argc, argv, 4, NAP_US);
    for (unsigned long i = 0; i < threads; i++) {
        if (pthread_create(&thread[i], NULL, thread_body, (void *)(seed * 100 + i + 1)) != 0)
            stress_fail("pthread_create");
    }
    if (storm(forks, seed))
        CHECK(true, "%lu forks, each child and grandchild worked and ended", forks);
    atomic_store(&g_stop, 1);
    for (unsigned long i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < MAILBOXES; i++)
        stamped_free(atomic_exchange(&g_mailbox[i], NULL));
    books_check("hakmem_check at the end", HAKMEM_CHECK_QUIESCENT);
    CHECK(atomic_load(&g_operations) > 0, "the threads kept working: %lu operations",
          atomic_load(&g_operations));
    return tap_end();
}
