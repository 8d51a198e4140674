/* test/fault/turns.c — epochs that several threads end. SPDX-License-Identifier: MIT */
/*
 * Goal: each epoch is ended by one thread, whichever comes first, and the next one finds all that it wrote.
 * Method: the clock stands still and is moved by hand. Threads tick as fast as they can, and epochs must
 * not be more than the time allows; or they tick by turns, which they tell each other without any order, so
 * that the thread sanitizer sees what the ticks themselves do not order.
 */

#include <pthread.h>

#include "api/tick.h"
#include "base/atomic.h"
#include "fault/workload.h"
#include "heap/heap.h"
#include "stepping.h"

enum {
    TURNS_EPOCH_MS = 500,
    TURNS_CALLS = 16, /* ticks per look at the clock */
    TURNS_THREADS = 4,
    TURNS_EPOCHS = FAULT_SANITIZED ? 1000 : 5000
};

static struct {
    _Atomic unsigned turn;
    _Atomic bool is_over;
} g_turns;

static void look_at_clock(void) {
    for (int i = 0; i < TURNS_CALLS; i++)
        hak_tick();
}

/* ---- all at once ---- */

static void *tick_until_over(void *argument) {
    struct work_block block;
    FAULT_REQUIRE(work_malloc(&block, 100), "no memory");
    while (!hak_atomic_load_relaxed(&g_turns.is_over))
        look_at_clock();
    work_free(&block);
    unsigned epoch = hak_heap_current()->epoch;
    FAULT_REQUIRE(epoch <= TURNS_EPOCHS, "%u epochs in the time of %d", epoch, (int)TURNS_EPOCHS);
    return argument;
}

static void one_ends_it(const void *argument) {
    pthread_t threads[TURNS_THREADS];
    struct work_block block;
    (void)argument;
    FAULT_REQUIRE(work_malloc(&block, 100), "no memory");
    for (int i = 0; i < TURNS_THREADS; i++)
        FAULT_REQUIRE(pthread_create(&threads[i], NULL, tick_until_over, NULL) == 0,
                      "pthread_create");
    unsigned late = 0;
    for (int i = 0; i < TURNS_EPOCHS; i++) {
        unsigned before = hak_heap_current()->epoch;
        fake_prim_advance_clock(TURNS_EPOCH_MS);
        do
            look_at_clock();
        while (hak_heap_current()->epoch == before && ++late % 1000 != 0);
    }
    hak_atomic_store_relaxed(&g_turns.is_over, true);
    for (int i = 0; i < TURNS_THREADS; i++)
        pthread_join(threads[i], NULL);
    FAULT_REQUIRE(hak_heap_current()->epoch > TURNS_EPOCHS / 10, "only %u epochs ended",
                  hak_heap_current()->epoch);
    work_free(&block);
}

/* ---- one after the other ---- */

enum { TURNS_EACH = 20 };

static void *tick_in_turn(void *argument) {
    const unsigned own = (unsigned)(uintptr_t)argument;
    struct work_block block;
    FAULT_REQUIRE(work_malloc(&block, 100), "no memory");
    for (unsigned i = 0; i < TURNS_EACH; i++) {
        while (hak_atomic_load_relaxed(&g_turns.turn) != 2 * i + own)
            sched_yield();
        fake_prim_advance_clock(TURNS_EPOCH_MS);
        look_at_clock();
        hak_atomic_store_relaxed(&g_turns.turn, 2 * i + own + 1);
    }
    return NULL;
}

static void by_turns(const void *argument) {
    pthread_t threads[2];
    (void)argument;
    for (uintptr_t i = 0; i < 2; i++)
        FAULT_REQUIRE(pthread_create(&threads[i], NULL, tick_in_turn, (void *)i) == 0,
                      "pthread_create");
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
}

/* ---- one in the middle of the other ---- */

#if STEPPING_CAN
static void *tick_in_steps(void *argument) {
    struct work_block block;
    FAULT_REQUIRE(work_malloc(&block, 100), "no memory");
    hak_atomic_store_relaxed((_Atomic(struct hak_heap *) *)argument, hak_heap_current());
    for (int i = 0; i < TURNS_CALLS - 3;
         i++) /* these do not look yet, whether malloc ticked or not */
        hak_tick();
    stepping_begin();
    for (int i = 0; i < 3; i++)
        hak_tick();
    stepping_end();
    work_free(&block);
    return NULL;
}

/*
 * A thread that looks at the clock is stopped at its n-th instruction, where another one ends the epoch: the
 * first must not end one as well. For each n until it has ended the epoch itself.
 */
static void one_amid_the_other(const void *argument) {
    enum { STEPS_MAX = 20000 };
    struct work_block block;
    bool was_first = false;
    (void)argument;
    FAULT_REQUIRE(work_malloc(&block, 100), "no memory");
    fake_prim_advance_clock(TURNS_EPOCH_MS);
    look_at_clock(); /* the first epoch begins */
    unsigned step = 0;
    while (!was_first) {
        _Atomic(struct hak_heap *) heap = NULL;
        pthread_t thread;
        unsigned before = hak_heap_current()->epoch;
        FAULT_REQUIRE(++step < STEPS_MAX, "the epoch does not end");
        fake_prim_advance_clock(TURNS_EPOCH_MS);
        FAULT_REQUIRE(stepping_open(step), "no pipe");
        FAULT_REQUIRE(pthread_create(&thread, NULL, tick_in_steps, &heap) == 0, "pthread_create");
        was_first = !stepping_next() || hak_atomic_load_relaxed(&heap)->epoch > before;
        if (!was_first)
            look_at_clock();
        stepping_let_run();
        pthread_join(thread, NULL);
        stepping_close();
        look_at_clock(); /* what the other one ended is noted */
        unsigned after = hak_heap_current()->epoch;
        FAULT_REQUIRE(after == before + 1, "step %u: %u epochs in the time of one", step,
                      after - before);
    }
    g_fault->nulls = step;
    work_free(&block);
}
#endif

int main(void) {
    fault_open();
    fake_prim_stop_clock();
    bool is_good = fault_run(one_ends_it, NULL);
    CHECK(is_good, "of many threads one ends each epoch%s%s", is_good ? "" : ": ", g_fault->text);
    is_good = fault_run(by_turns, NULL);
    CHECK(is_good, "who ends an epoch finds what the last one wrote%s%s", is_good ? "" : ": ",
          g_fault->text);
#if STEPPING_CAN
    is_good = fault_run(one_amid_the_other, NULL);
    CHECK(is_good, "an epoch is ended once wherever the other thread is, %lu places%s%s",
          g_fault->nulls, is_good ? "" : ": ", g_fault->text);
#endif
    return tap_end();
}
