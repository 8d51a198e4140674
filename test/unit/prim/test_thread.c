/* test/unit/prim/test_thread.c — waiting, thread identity, exit and fork hooks. SPDX-License-Identifier: MIT */

/*
 * Goal: the futex sleeps and wakes; identities are unique and last; exit and fork hooks are called
 * when and as often as prim.h says.
 * Method: real threads; hooks are registered in children, as they can be registered only once.
 */

#include <time.h>

#include "prim/prim.h"
#include "unit/harness.h"

enum { THREADS = 8 };

/* ---- futex ---- */

static struct {
    _Atomic uint32_t word;
    _Atomic uint32_t awake;
} g_futex;

static void *wait_for_change(void *argument) {
    while (atomic_load(&g_futex.word) == 0)
        hak_prim_futex_wait(&g_futex.word, 0);
    atomic_fetch_add(&g_futex.awake, 1);
    return NULL;
}

static void sleep_ms(long ms) {
    struct timespec time = {0, ms * 1000000};
    nanosleep(&time, NULL);
}

static void test_futex(void **state) {
    pthread_t threads[THREADS];
    hak_prim_futex_wake_one(&g_futex.word); /* nobody sleeps: nothing happens */
    hak_prim_futex_wait(&g_futex.word, 1);  /* differs: comes back at once */
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(wait_for_change, NULL);
    sleep_ms(20);
    CHECK_EQUAL(atomic_load(&g_futex.awake), 0);
    atomic_store(&g_futex.word, 1);
    for (int i = 0; i < THREADS; i++) {
        hak_prim_futex_wake_one(&g_futex.word);
        /* Each sleeper needs one wake; one that never slept needs none and leaves one over. */
    }
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    CHECK_EQUAL(atomic_load(&g_futex.awake), THREADS);
}

/* A wait on an unchanged word really sleeps: it costs no processor time. */
static void *wait_and_measure(void *argument) {
    wait_for_change(NULL);
    struct timespec used;
    CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) == 0);
    *(long *)argument = used.tv_sec * 1000 + used.tv_nsec / 1000000;
    return NULL;
}

static void test_futex_sleeps(void **state) {
    long used_ms = -1;
    atomic_store(&g_futex.word, 0);
    pthread_t thread = harness_thread(wait_and_measure, &used_ms);
    sleep_ms(100);
    atomic_store(&g_futex.word, 1);
    hak_prim_futex_wake_one(&g_futex.word);
    harness_join(thread);
    CHECK(used_ms >= 0);
    CHECK(used_ms < 50);
}

/* ---- identity ---- */

static struct {
    uintptr_t ids[THREADS];
    pthread_barrier_t barrier;
} g_identity;

static void *note_identity(void *argument) {
    uintptr_t *id = argument;
    *id = hak_prim_thread_self();
    pthread_barrier_wait(&g_identity.barrier); /* all are alive at once */
    CHECK_EQUAL(*id, hak_prim_thread_self());
    return NULL;
}

static void identity_after_fork(void *argument) {
    CHECK_EQUAL(hak_prim_thread_self(), *(uintptr_t *)argument);
}

static void test_identity(void **state) {
    pthread_t threads[THREADS];
    uintptr_t own = hak_prim_thread_self();
    CHECK(own != 0);
    CHECK(pthread_barrier_init(&g_identity.barrier, NULL, THREADS) == 0);
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(note_identity, &g_identity.ids[i]);
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    for (int i = 0; i < THREADS; i++) {
        CHECK(g_identity.ids[i] != 0);
        CHECK(g_identity.ids[i] != own);
        for (int k = 0; k < i; k++)
            CHECK(g_identity.ids[i] != g_identity.ids[k]);
    }
    CHECK_EQUAL(own, hak_prim_thread_self());
    harness_expect_well(identity_after_fork, &own);
}

/* ---- thread exit ---- */

static struct {
    int calls;
    int wanted; /* rounds: armed again until so many calls were made */
    void *value;
} g_exit;

static void on_exit_of_thread(void *value) {
    g_exit.value = value;
    if (++g_exit.calls < g_exit.wanted)
        CHECK_EQUAL(hak_prim_thread_exit_arm(value), 0);
}

static void *arm_twice(void *argument) {
    CHECK_EQUAL(hak_prim_thread_exit_arm(&g_exit), 0);
    CHECK_EQUAL(hak_prim_thread_exit_arm(argument), 0); /* the last value counts */
    return NULL;
}

static void *arm_never(void *argument) {
    return NULL;
}

static void exit_in_child(void *argument) {
    int value;
    CHECK_EQUAL(hak_prim_thread_exit_register(on_exit_of_thread), 0);
    harness_join(harness_thread(arm_never, NULL));
    CHECK_EQUAL(g_exit.calls, 0);
    for (int wanted = 1; wanted <= HARNESS_EXIT_ROUNDS; wanted++) {
        g_exit.calls = 0;
        g_exit.wanted = wanted;
        g_exit.value = NULL;
        harness_join(harness_thread(arm_twice, &value));
        CHECK_EQUAL(g_exit.calls, wanted);
        CHECK(g_exit.value == &value);
    }
}

static void test_thread_exit(void **state) {
    harness_expect_well(exit_in_child, NULL);
}

/* ---- fork ---- */

static struct {
    char order[8];
    int count;
} g_fork;

static void note_prepare(void) {
    g_fork.order[g_fork.count++] = 'b';
}

static void note_parent(void) {
    g_fork.order[g_fork.count++] = 'p';
}

static void note_child(void) {
    g_fork.order[g_fork.count++] = 'c';
}

static void check_child_order(void *argument) {
    CHECK(strcmp(g_fork.order, "bc") == 0);
}

static void fork_in_child(void *argument) {
    CHECK_EQUAL(hak_prim_fork_register(note_prepare, note_parent, note_child), 0);
    harness_expect_well(check_child_order, NULL);
    CHECK(strcmp(g_fork.order, "bp") == 0);
}

static void test_fork(void **state) {
    harness_expect_well(fork_in_child, NULL);
}

/* ---- threads of our own ---- */

static struct {
    _Atomic uint32_t stage;
    _Atomic bool is_blocked;
} g_started;

static void started_main(void) {
    sigset_t mask;
    bool is_blocked = pthread_sigmask(SIG_SETMASK, NULL, &mask) == 0;
    for (int signal = 1; signal < 32; signal++) { /* but those that nobody can block */
        if (signal != SIGKILL && signal != SIGSTOP)
            is_blocked &= sigismember(&mask, signal) == 1;
    }
    atomic_store(&g_started.is_blocked, is_blocked);
    atomic_store(&g_started.stage, 1);
    for (;;)
        hak_prim_sleep_ms(1000);
}

static void start_thread(void *argument) {
    sigset_t before;
    sigset_t after;
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &before) == 0);
    errno = 12345;
    CHECK_EQUAL(hak_prim_thread_start(started_main), 0);
    CHECK_EQUAL(errno, 12345);
    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &after) == 0);
    for (int signal = 1; signal < 32; signal++) /* of this thread nothing has changed */
        CHECK_EQUAL(sigismember(&before, signal), sigismember(&after, signal));
    while (atomic_load(&g_started.stage) == 0)
        hak_prim_sleep_ms(1);
    CHECK(atomic_load(&g_started.is_blocked));
} /* the process ends, and the thread with it */

/* No addresses for its stack. free may be who wanted the thread, and free keeps errno. */
static void start_thread_without_memory(void *argument) {
    harness_set_address_limit(0);
    errno = 12345;
    CHECK(hak_prim_thread_start(started_main) != 0);
    CHECK_EQUAL(errno, 12345);
}

static void test_thread_start(void **state) {
    harness_expect_well(start_thread, NULL);
    if (HARNESS_SLOWNESS == 1) /* a sanitizer's own mappings would be refused as well */
        harness_expect_well(start_thread_without_memory, NULL);
}

static void test_sleep(void **state) {
    struct timespec begin;
    struct timespec end;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &begin) == 0);
    hak_prim_sleep_ms(30);
    CHECK(clock_gettime(CLOCK_MONOTONIC, &end) == 0);
    int64_t passed_ns =
        (end.tv_sec - begin.tv_sec) * INT64_C(1000000000) + end.tv_nsec - begin.tv_nsec;
    CHECK(passed_ns >= 30 * 1000000);
    hak_prim_sleep_ms(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_futex),    cmocka_unit_test(test_futex_sleeps),
        cmocka_unit_test(test_identity), cmocka_unit_test(test_thread_exit),
        cmocka_unit_test(test_fork),     cmocka_unit_test(test_thread_start),
        cmocka_unit_test(test_sleep),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
