/* test/stress/thread_storm.c — thousands of short threads. SPDX-License-Identifier: MIT */
/*
 * usage: thread_storm [THREADS] [AT_A_TIME] [SEED] [RSS_MIB]        by default 10000 32 1 128
 *
 * Goal: a thread that exits leaves nothing behind: its caches are used by later threads, its blocks
 * that others hold stay valid, and resident memory after many threads is that of a few.
 * Method: waves of AT_A_TIME threads; each allocates, takes over and verifies blocks of earlier
 * threads (mostly dead by then), hands its own on, and exits. Live blocks are bounded by the
 * mailboxes (about 1 MiB), so resident memory at the end, when all are freed, is bounded by
 * RSS_MIB: 13 KiB left behind by each thread would show. Between waves hakmem_check() looks at everything.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "../promise/memory_use.h"
#include "books.h"

enum {
    LOOK_EVERY = 16 /* waves: 2^16 operations */,
    MAILBOXES = 1024,
    BLOCKS_A_THREAD = 60,
    AT_A_TIME_MAX = 256,
    WAVE_ALARM_S = 300
};

static _Atomic(void *) g_mailbox[MAILBOXES];
static atomic_ulong g_taken_over;

static void *thread_body(void *seed) {
    uint64_t state = (uint64_t)(uintptr_t)seed;
    void *kept[BLOCKS_A_THREAD];
    for (int i = 0; i < BLOCKS_A_THREAD; i++) {
        kept[i] = stamped_new(&state);
        if (kept[i] == NULL)
            stress_fail("out of memory");
    }
    for (int i = 0; i < BLOCKS_A_THREAD; i++) {
        unsigned slot = (unsigned)(random_next(&state) % MAILBOXES);
        kept[i] = atomic_exchange(&g_mailbox[slot], kept[i]);
        if (kept[i] != NULL)
            atomic_fetch_add(&g_taken_over, 1);
        if (i % 3 == 0) {
            stamped_free(kept[i]);
            kept[i] = NULL;
        }
    }
    for (int i = 0; i < BLOCKS_A_THREAD; i++)
        stamped_free(kept[i]);
    return NULL;
}

static void run_wave(unsigned long count, uint64_t seed) {
    pthread_t thread[AT_A_TIME_MAX];
    alarm(WAVE_ALARM_S);
    for (unsigned long i = 0; i < count; i++) {
        if (pthread_create(&thread[i], NULL, thread_body, (void *)(seed + i * 7919 + 1)) != 0)
            stress_fail("pthread_create");
    }
    for (unsigned long i = 0; i < count; i++)
        pthread_join(thread[i], NULL);
}

/* A producer that dies at once: only what it allocated lives on, and goes by another thread. */
static void *thread_allocates(void *slot) {
    uint64_t state = (uint64_t)(uintptr_t)slot;
    for (int i = 0; i < 100; i++)
        stamped_free(atomic_exchange(&g_mailbox[i], stamped_new(&state)));
    return NULL;
}

static void *thread_frees(void *unused) {
    for (int i = 0; i < 100; i++)
        stamped_free(atomic_exchange(&g_mailbox[i], NULL));
    return unused;
}

static void run_relay(unsigned long rounds) {
    for (unsigned long i = 0; i < rounds; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, i & 1 ? thread_frees : thread_allocates,
                           (void *)(i + 1)) != 0)
            stress_fail("pthread_create");
        pthread_join(thread, NULL);
    }
}

int main(int argc, char **argv) {
    unsigned long threads = stress_argument(argc, argv, 1, 10000);
    unsigned long at_a_time = stress_argument(argc, argv, 2, 32);
    unsigned long seed = stress_argument(argc, argv, 3, 1);
    long bound_kib = (long)stress_argument(argc, argv, 4, 128) * 1024;
    api_load();
    tap_require_override();
    if (at_a_time < 1 || at_a_time > AT_A_TIME_MAX)
        at_a_time = AT_A_TIME_MAX;
    tap_note("threads %lu, %lu at a time, seed %lu", threads, at_a_time, seed);
    run_wave(1, seed); /* a sanitizer starts a thread of its own with the first of ours */
    long threads_before = thread_count();
    long early_kib = 0;
    for (unsigned long done = 0; done < threads; done += at_a_time) {
        run_wave(at_a_time, seed * 1000003 + done * 13);
        if (done / at_a_time % LOOK_EVERY == 0)
            books_check("hakmem_check between two waves", HAKMEM_CHECK_QUIESCENT);
        if (early_kib == 0 && done >= threads / 10)
            early_kib = resident_kib();
    }
    long late_kib = resident_kib();
    run_relay(threads / 10);
    for (int i = 0; i < MAILBOXES; i++)
        stamped_free(atomic_exchange(&g_mailbox[i], NULL));
    long end_kib = resident_kib();
    books_check("hakmem_check at the end", HAKMEM_CHECK_QUIESCENT);
    tap_note("resident: %ld KiB after a tenth, %ld KiB after all, %ld KiB at the end", early_kib,
             late_kib, end_kib);
    CHECK(atomic_load(&g_taken_over) > threads, "%lu blocks changed hands",
          atomic_load(&g_taken_over));
    CHECK(end_kib < bound_kib, "resident at the end: %ld KiB, at most %ld", end_kib, bound_kib);
    CHECK(thread_count() == threads_before, "all threads are gone");
    return tap_end();
}
