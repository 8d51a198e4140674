/* bench/bench_threads.h — threads, gates and batons of the benchmarks. SPDX-License-Identifier: MIT */
/*
 * pthread calls that end the program when they fail, so that a benchmark reads as its workload.
 * None of them allocates, except pthread_create() inside libc (a thread's TLS vector).
 */
#ifndef HAKMEM_BENCH_THREADS_H
#define HAKMEM_BENCH_THREADS_H

#include "bench_common.h"

#include <pthread.h>
#include <semaphore.h>

enum { BENCH_CACHE_LINE = 64, BENCH_THREADS_MAX = 100000 };

static inline pthread_t bench_start(void *(*function)(void *), void *argument,
                                    const pthread_attr_t *attributes) {
    pthread_t thread;
    errno = pthread_create(&thread, attributes, function, argument);
    if (errno != 0) {
        bench_die("pthread_create");
    }
    return thread;
}

static inline void bench_join(pthread_t thread) {
    errno = pthread_join(thread, NULL);
    if (errno != 0) {
        bench_die("pthread_join");
    }
}

static inline void bench_wait(sem_t *semaphore) {
    while (sem_wait(semaphore) != 0) {
        if (errno != EINTR) {
            bench_die("sem_wait");
        }
    }
}

#endif
