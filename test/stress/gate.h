/* test/stress/gate.h — a moment in which no thread is inside the allocator. SPDX-License-Identifier: MIT */
/*
 * Goal: look at everything every so often while threads come and go all the time.
 * Method: who starts a thread enters before and leaves after it has joined it; the thread passes between two
 * operations. When the gate is closed all that are inside stand in gate_pass().
 */
#ifndef HAKMEM_TEST_GATE_H
#define HAKMEM_TEST_GATE_H

#include <pthread.h>
#include <stdatomic.h>

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    atomic_int is_closed;  /* written under the mutex */
    unsigned long inside;  /* under the mutex */
    unsigned long waiting; /* under the mutex; of these */
} g_gate = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static inline void gate_enter(void) {
    pthread_mutex_lock(&g_gate.mutex);
    while (atomic_load(&g_gate.is_closed))
        pthread_cond_wait(&g_gate.changed, &g_gate.mutex);
    g_gate.inside++;
    pthread_mutex_unlock(&g_gate.mutex);
}

static inline void gate_leave(void) {
    pthread_mutex_lock(&g_gate.mutex);
    g_gate.inside--;
    pthread_cond_broadcast(&g_gate.changed);
    pthread_mutex_unlock(&g_gate.mutex);
}

static inline void gate_pass(void) {
    if (atomic_load_explicit(&g_gate.is_closed, memory_order_relaxed) == 0)
        return;
    pthread_mutex_lock(&g_gate.mutex);
    g_gate.waiting++;
    pthread_cond_broadcast(&g_gate.changed);
    while (atomic_load(&g_gate.is_closed))
        pthread_cond_wait(&g_gate.changed, &g_gate.mutex);
    g_gate.waiting--;
    pthread_mutex_unlock(&g_gate.mutex);
}

/* Returns when nobody moves any more. */
static inline void gate_close(void) {
    pthread_mutex_lock(&g_gate.mutex);
    atomic_store(&g_gate.is_closed, 1);
    while (g_gate.waiting < g_gate.inside)
        pthread_cond_wait(&g_gate.changed, &g_gate.mutex);
    pthread_mutex_unlock(&g_gate.mutex);
}

static inline void gate_open(void) {
    pthread_mutex_lock(&g_gate.mutex);
    atomic_store(&g_gate.is_closed, 0);
    pthread_cond_broadcast(&g_gate.changed);
    pthread_mutex_unlock(&g_gate.mutex);
}

#endif
