/* test/stepping.h — another thread, stopped after each of its instructions. SPDX-License-Identifier: MIT */

/*
 * The processor's trap flag makes a signal of each instruction; its handler stops the thread there until the
 * watcher lets it go on. So a test sees every state between two stores, which chance finds in one run of a
 * million. The stepped thread must not wait for a lock that the watcher needs.
 *
 *   watcher   stepping_open(n), starts the thread, while (stepping_next()) { looks; stepping_go(); }, joins,
 *             stepping_close()
 *   thread    stepping_begin(), what is to be stepped, stepping_end()
 *
 * Only on x86-64, and not under a sanitizer, whose own code would be stepped as well: STEPPING_CAN.
 */
#ifndef HAKMEM_TEST_STEPPING_H
#define HAKMEM_TEST_STEPPING_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STEPPING_CAN 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define STEPPING_CAN 0
#endif
#endif
#if !defined(STEPPING_CAN) && defined(__x86_64__)
#define STEPPING_CAN 1
#elif !defined(STEPPING_CAN)
#define STEPPING_CAN 0
#endif

#if STEPPING_CAN
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <ucontext.h>
#include <unistd.h>

enum { STEPPING_TRAP_FLAG = 0x100 };

static struct {
    _Atomic bool is_on;
    _Atomic unsigned step;
    unsigned first;  /* of the steps that stop the thread */
    int stopped[2];  /* pipe: a byte for each stop; its end: the thread is done */
    int released[2]; /* pipe: a byte for each stop that is over */
} g_stepping;

static void stepping_stop(int number, siginfo_t *info, void *context) {
    (void)number;
    (void)info;
    greg_t *flags = &((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL];
    char byte = 0;
    if (atomic_load(&g_stepping.is_on))
        *flags |= STEPPING_TRAP_FLAG;
    else
        *flags &= ~(greg_t)STEPPING_TRAP_FLAG;
    if (!atomic_load(&g_stepping.is_on) ||
        atomic_fetch_add(&g_stepping.step, 1) + 1 < g_stepping.first)
        return;
    if (write(g_stepping.stopped[1], &byte, 1) != 1 || read(g_stepping.released[0], &byte, 1) != 1)
        abort();
}

/* The thread is stopped from its instruction number `first` on. False: no pipes. */
static inline bool stepping_open(unsigned first) {
    struct sigaction action = {.sa_sigaction = stepping_stop, .sa_flags = SA_SIGINFO};
    g_stepping.first = first;
    atomic_store(&g_stepping.step, 0);
    return sigaction(SIGTRAP, &action, NULL) == 0 && pipe(g_stepping.stopped) == 0 &&
           pipe(g_stepping.released) == 0;
}

static inline void stepping_close(void) {
    close(g_stepping.stopped[0]);
    close(g_stepping.released[0]);
    close(g_stepping.released[1]);
}

static inline void stepping_begin(void) {
    atomic_store(&g_stepping.is_on, true);
    raise(SIGTRAP);
}

static inline void stepping_end(void) {
    atomic_store(&g_stepping.is_on, false);
    close(g_stepping.stopped[1]);
}

/* True: the thread has made one more instruction and stands still. False: it is done. */
static inline bool stepping_next(void) {
    char byte;
    return read(g_stepping.stopped[0], &byte, 1) == 1;
}

static inline void stepping_go(void) {
    char byte = 0;
    if (write(g_stepping.released[1], &byte, 1) != 1)
        abort();
}

/* It goes on, and is not stopped any more. */
static inline void stepping_let_run(void) {
    atomic_store(&g_stepping.is_on, false);
    stepping_go();
}
#endif

#endif
