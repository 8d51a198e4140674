/* test/promise/quiet_process.c — nothing happens unasked. SPDX-License-Identifier: MIT */
/*
 * Goal: the library installs no signal handler, starts no thread, opens no file that stays open and
 * survives signals that arrive during malloc and free.
 * Method: after work in all tiers and in threads: sigaction of every signal is the default, the
 * kernel counts one thread, no file descriptor was added. Then a timer signal at 5 kHz while blocks
 * are checked; its handler does not allocate, which in C is undefined.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#include "entry_points.h"
#include "memory_use.h"
#include "patterns.h"
#include "tap.h"

static volatile sig_atomic_t g_ticks;

static void on_alarm(int number) {
    (void)number;
    g_ticks++;
}

static void *work(void *seed) {
    enum { COUNT = 500, STEPS = 60000 };
    void *block[COUNT] = {NULL};
    uint64_t state = (uint64_t)(uintptr_t)seed;
    for (int step = 0; step < STEPS; step++) {
        int i = (int)(random_next(&state) % COUNT);
        api.free(block[i]);
        block[i] = api.malloc(random_size(&state, step % 500 == 0 ? 23 : 13));
    }
    for (int i = 0; i < COUNT; i++) {
        api.free(block[i]);
    }
    return NULL;
}

static int open_files(void) {
    int count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) != -1;
    }
    return count;
}

static void check_signals_are_default(void) {
    struct sweep s = sweep_begin("no signal handler was installed");
    for (int number = 1; number <= 64; number++) {
        struct sigaction action;
        if (number == 32 || number == 33) {
            continue; /* glibc's own, for threads */
        }
        if (sigaction(number, NULL, &action) == 0) {
            SWEEP(&s, action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN,
                  "signal %d has a handler", number);
        }
    }
    sweep_end(&s);
    sigset_t blocked;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    s = sweep_begin("no signal is left blocked");
    for (int number = 1; number <= 31; number++) {
        SWEEP(&s, sigismember(&blocked, number) == 0, "signal %d is blocked", number);
    }
    sweep_end(&s);
}

static void check_under_timer(void) {
    enum { COUNT = 400, STEPS = 300000 };
    static void *block[COUNT];
    static size_t size[COUNT];
    struct sweep s = sweep_begin("blocks stay right under a 5 kHz timer signal");
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {{0, 200}, {0, 200}};
    setitimer(ITIMER_REAL, &timer, NULL);
    uint64_t state = 99;
    for (int step = 0; step < STEPS; step++) {
        int i = (int)(random_next(&state) % COUNT);
        SWEEP(&s, block[i] == NULL || pattern_check(block[i], size[i], (uint64_t)i) == size[i],
              "step %d: block of %zu", step, size[i]);
        api.free(block[i]);
        size[i] = random_size(&state, 11);
        block[i] = api.malloc(size[i]);
        SWEEP(&s, block[i] != NULL, "step %d: NULL", step);
        pattern_fill(block[i], size[i], (uint64_t)i);
    }
    memset(&timer, 0, sizeof timer);
    setitimer(ITIMER_REAL, &timer, NULL);
    sweep_end(&s);
    CHECK(g_ticks > 0, "the timer fired (%d times)", (int)g_ticks);
}

int main(void) {
    api_load();
    tap_require_override();
    int files = open_files();
    work((void *)1);
    for (int i = 0; i < 4; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)(uintptr_t)(i + 2)) == 0) {
            pthread_join(thread, NULL);
        }
    }
    CHECK(thread_count() == 1, "no thread was started (%ld run)", thread_count());
    CHECK(open_files() == files, "no file stayed open (%d, were %d)", open_files(), files);
    check_signals_are_default();
    check_under_timer();
    return tap_end();
}
