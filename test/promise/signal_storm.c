/* test/promise/signal_storm.c — signals at any moment of malloc and free. SPDX-License-Identifier: MIT */
/*
 * usage: signal_storm [SIGNALS] [THREADS]          by default 30000 4
 *
 * Goal: signals that arrive in the middle of malloc, of free and of a wait for a lock do no harm, without
 * SA_RESTART, and neither does a handler that leaves the program's own code by siglongjmp(3).
 * Method: threads exchange stamped blocks through few mailboxes, half of them Large, so that
 * they wait for each other at the pool's lock, while the main thread sends each of them SIGUSR1 as fast as it can and a timer
 * sends SIGALRM to whoever runs. Between two calls of the allocator a thread computes for a while and
 * says so; a handler that finds it there jumps out. It ends when so many
 * SIGNALS were caught, and a hundredth of them by a handler that jumped; then the library's books are
 * those of before.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

#include "../stress/books.h"

enum { THREADS_MAX = 32, MAILBOXES = 16, TIMER_US = 100, JUMP_EVERY = 3 };
enum { LARGE_MIN = 65536, LARGE_BITS = 14, COMPUTE_STEPS = 400, WARM_UP = 100, JUMPS_PART = 100 };

static struct {
    _Atomic(void *) mailbox[MAILBOXES];
    atomic_ulong signals;
    atomic_ulong jumps;
    atomic_ulong running;
    atomic_ulong steps;
    unsigned long signals_wanted;
    pthread_barrier_t barrier;
} g_storm;

static _Thread_local volatile sig_atomic_t t_is_computing;
static _Thread_local sigjmp_buf t_out;
static _Thread_local volatile unsigned long t_seen;

static void on_signal(int number) {
    (void)number;
    int saved = errno;
    atomic_fetch_add(&g_storm.signals, 1);
    if (t_is_computing && ++t_seen % JUMP_EVERY == 0) {
        t_is_computing = 0;
        siglongjmp(t_out, 1);
    }
    errno = saved;
}

static void catch_signal(int number) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal; /* and no SA_RESTART: the kernel's waits end with EINTR */
    if (sigaction(number, &action, NULL) != 0)
        stress_fail("sigaction");
}

/* The program's own code, which calls nothing: a handler may leave it for good. */
static void compute(void) {
    if (sigsetjmp(t_out, 1) != 0) {
        atomic_fetch_add(&g_storm.jumps, 1);
        return;
    }
    t_is_computing = 1;
    for (volatile int i = 0; i < COMPUTE_STEPS; i++) {
    }
    t_is_computing = 0;
}

static void *large_new(uint64_t *state) {
    size_t size = LARGE_MIN + random_size(state, LARGE_BITS);
    return stamp_block(api.malloc(size), size, random_next(state));
}

static bool storm_goes_on(void) {
    return atomic_load(&g_storm.signals) < g_storm.signals_wanted ||
           atomic_load(&g_storm.jumps) < g_storm.signals_wanted / JUMPS_PART;
}

static void *thread_body(void *seed) {
    uint64_t state = (uintptr_t)seed;
    pthread_barrier_wait(&g_storm.barrier);
    for (unsigned long i = 0; storm_goes_on(); i++) {
        void *fresh = i & 1 ? stamped_new(&state) : large_new(&state);
        if (fresh == NULL)
            stress_fail("out of memory");
        stamped_free(atomic_exchange(&g_storm.mailbox[random_next(&state) % MAILBOXES], fresh));
        compute();
        atomic_fetch_add(&g_storm.steps, 1);
    }
    atomic_fetch_sub(&g_storm.running, 1);
    return NULL;
}

static void storm(pthread_t *thread, unsigned long count) {
    struct itimerval timer = {{0, TIMER_US}, {0, TIMER_US}};
    struct itimerval none;
    memset(&none, 0, sizeof none);
    setitimer(ITIMER_REAL, &timer, NULL);
    while (atomic_load(&g_storm.running) > 0) {
        for (unsigned long i = 0; i < count; i++)
            pthread_kill(thread[i], SIGUSR1);
        usleep(20);
    }
    setitimer(ITIMER_REAL, &none, NULL);
}

static struct hakmem_stats run(unsigned long signals, unsigned long threads) {
    pthread_t thread[THREADS_MAX];
    g_storm.signals_wanted = signals;
    atomic_store(&g_storm.signals, 0);
    atomic_store(&g_storm.jumps, 0);
    atomic_store(&g_storm.steps, 0);
    atomic_store(&g_storm.running, threads);
    pthread_barrier_init(&g_storm.barrier, NULL, (unsigned)threads);
    for (unsigned long i = 0; i < threads; i++) {
        if (pthread_create(&thread[i], NULL, thread_body, (void *)(i + 1)) != 0)
            stress_fail("pthread_create");
    }
    storm(thread, threads);
    for (unsigned long i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < MAILBOXES; i++)
        stamped_free(atomic_exchange(&g_storm.mailbox[i], NULL));
    return books_balance();
}

int main(int argc, char **argv) {
    unsigned long signals = stress_argument(argc, argv, 1, 30000);
    unsigned long threads = stress_argument(argc, argv, 2, 4);
    api_load();
    tap_require_override();
    if (threads < 1 || threads > THREADS_MAX)
        threads = THREADS_MAX;
    catch_signal(SIGALRM);
    catch_signal(SIGUSR1);
    struct hakmem_stats before = run(WARM_UP, threads);
    struct hakmem_stats after = run(signals, threads);
    books_note("before", &before);
    books_note("after", &after);
    CHECK(!storm_goes_on() && atomic_load(&g_storm.steps) > 0,
          "%lu signals were caught in %lu steps, %lu left the program's own code",
          atomic_load(&g_storm.signals), atomic_load(&g_storm.steps), atomic_load(&g_storm.jumps));
    CHECK(books_agree(&before, &after), "no block was lost, none freed twice");
    return tap_end();
}
