/* src/prim/linux/thread.c — waiting, thread identity, exit and fork hooks. SPDX-License-Identifier: MIT */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "prim/linux/syscall.h"
#include "prim/prim.h"

/* futex(2); musl-gcc finds no <linux/futex.h>. */
enum { PRIM_FUTEX_WAIT_PRIVATE = 0 | 128, PRIM_FUTEX_WAKE_PRIVATE = 1 | 128 };

static struct {
    pthread_key_t exit_key;
    bool has_exit_key;
} g_prim_thread;

void hak_prim_futex_wait(_Atomic uint32_t *word, uint32_t expected) {
    hak_syscall6(SYS_futex, (long)(uintptr_t)word, PRIM_FUTEX_WAIT_PRIVATE, expected, 0, 0, 0);
}

void hak_prim_futex_wake_one(_Atomic uint32_t *word) {
    hak_syscall6(SYS_futex, (long)(uintptr_t)word, PRIM_FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

uintptr_t hak_prim_thread_self(void) {
    return hak_thread_register();
}

int hak_prim_thread_exit_register(void (*run)(void *value)) {
    int error = pthread_key_create(&g_prim_thread.exit_key, run);
    g_prim_thread.has_exit_key = error == 0;
    return error;
}

int hak_prim_thread_exit_arm(void *value) {
    if (!g_prim_thread.has_exit_key)
        return EAGAIN;
    return pthread_setspecific(g_prim_thread.exit_key, value);
}

static void *prim_thread_main(void *run) {
    (*(void (**)(void))run)();
    return NULL;
}

int hak_prim_thread_start(void (*run)(void)) {
    static void (*main_of_thread)(void); /* one kind of thread: always the same value */
    enum { STACK_SIZE = 64 * 1024 };
    main_of_thread = run;
    int saved_errno = errno; /* free, which may bring us here, keeps it */
    sigset_t all;
    sigset_t before;
    pthread_attr_t attributes;
    pthread_t thread;
    int error = pthread_attr_init(&attributes);
    if (error)
        return error;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes,
                              STACK_SIZE); /* fails where TLS is larger: the default then */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* the new thread inherits it */
    error = pthread_create(&thread, &attributes, prim_thread_main, &main_of_thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    errno = saved_errno;
    return error;
}

void hak_prim_sleep_ms(uint32_t ms) {
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000};
    hak_syscall6(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, (long)(uintptr_t)&time, 0, 0, 0);
}

int hak_prim_fork_register(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    return pthread_atfork(prepare, parent, child);
}
