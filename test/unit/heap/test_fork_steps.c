/* test/unit/heap/test_fork_steps.c — a fork at each instruction of the paths without locks. SPDX-License-Identifier: MIT */

/*
 * Goal: wherever another thread is in a fast path or in a send when the process forks, the child finds each
 * block in one place; it may lose the block in that thread's hands and one record, and never finds one twice.
 * Method: the processor's trap flag stops the thread after each of its instructions; there the main thread
 * forks, and the child counts. fork_in_the_middle() of test_remote.c is the same by chance; this one leaves out
 * no place.
 */

#include "base/atomic.h"
#include "heap/fork.h"
#include "heap/remote.h"
#include "stepping.h"
#include "unit/heap/heap_use.h"

#if STEPPING_CAN
enum {
    STEPS_CLASS = 4,
    STEPS_WORDS = 5,    /* words of bitmaps, a record each */
    STEPS_PER_WORD = 2, /* blocks of it */
    STEPS_BLOCKS = STEPS_WORDS * STEPS_PER_WORD,
    STEPS_MAX = 20000
};

static struct {
    void *blocks[STEPS_BLOCKS];
    _Atomic unsigned freed; /* of them, by calls that have returned */
} g_steps;

/* ---- the scenarios, in the thread that is stepped ---- */

/* All that needs a lock or memory is there already: the fork would wait for them. */
static void warm_up(void) {
    heap_use_free(heap_use_alloc(STEPS_CLASS));
    void *own[3];
    for (int i = 0; i < 3; i++)
        own[i] = heap_use_alloc(STEPS_CLASS);
    for (int i = 0; i < 3; i++)
        heap_use_free(own[i]);
}

static void *free_and_send(void *argument) {
    void **warm = argument;
    warm_up();
    for (int i = 0; i < 2; i++)
        heap_use_free(warm[i]);
    hak_remote_post_all(hak_heap_current());
    while (hak_atomic_load_relaxed(&hak_registry_heap(1)->inbox) != NULL)
        hak_heap_stats(); /* drains: the packet is ours again */
    stepping_begin();
    for (unsigned i = 0; i < STEPS_BLOCKS; i++) {
        heap_use_free(g_steps.blocks[i]);
        atomic_store(&g_steps.freed, i + 1);
    }
    hak_remote_post_all(hak_heap_current());
    stepping_end();
    return NULL;
}

/* Blocks into the magazine and out of it; the second is the first slot that was not used yet. */
static void *push_and_pop(void *argument) {
    warm_up();
    void *a = heap_use_alloc(STEPS_CLASS);
    void *b = heap_use_alloc(STEPS_CLASS);
    stepping_begin();
    heap_use_free(a);
    heap_use_free(b);
    a = heap_use_alloc(STEPS_CLASS);
    heap_use_free(a);
    stepping_end();
    return NULL;
}

/* ---- in the child ---- */

static bool is_home(const void *p) {
    return hak_heap_examine(heap_use_owner(p), STEPS_CLASS, p) == HAK_MISUSE_DOUBLE_FREE;
}

/*
 * Everything that the vanished thread gathered comes home but one record; a block twice aborts, or hangs. What it
 * had sent is opened first, or what it was still to send is sent first.
 */
static void count_sent(void *argument) {
    const bool *opens_first = argument;
    unsigned freed = atomic_load(&g_steps.freed);
    unsigned home = 0;
    if (!*opens_first)
        hak_heap_reap(10); /* epochs after any that there was */
    hak_heap_trim();
    for (unsigned i = 0; i < STEPS_BLOCKS; i++)
        home += is_home(g_steps.blocks[i]);
    CHECK(home <= freed + 1);
    CHECK(home + STEPS_PER_WORD + 1 > freed);
    /* Its packets serve the next thread. */
    for (unsigned i = 0; i < STEPS_BLOCKS; i++) {
        if (!is_home(g_steps.blocks[i]))
            heap_use_free(g_steps.blocks[i]);
    }
    hak_heap_trim();
    for (unsigned i = 0; i < STEPS_BLOCKS; i++)
        CHECK(is_home(g_steps.blocks[i]));
}

/* No empty slot below the top, and no block twice. */
static void count_magazine(void *argument) {
    const struct hak_heap *heap = hak_registry_heap(2);
    const struct hak_magazine *magazine = &heap->magazines.of_class[STEPS_CLASS];
    void **storage = magazine->limit - heap->capacity[STEPS_CLASS];
    for (void **slot = storage + 1; slot <= magazine->top; slot++) {
        CHECK(*slot != NULL);
        for (void **other = storage + 1; other < slot; other++)
            CHECK(*other != *slot);
    }
    hak_heap_trim();
    CHECK(hak_heap_stats().bytes_out <= 3 * hak_size_classes[STEPS_CLASS].size);
}

/* ---- the main thread ---- */

static void watch(void *(*body)(void *), void *argument, void (*count)(void *)) {
    CHECK(stepping_open(1));
    pthread_t thread = harness_thread(body, argument);
    unsigned steps = 0;
    for (; stepping_next(); stepping_go()) {
        CHECK(++steps < STEPS_MAX);
        for (int i = 0; i < 2; i++) {
            bool opens_first = i == 0;
            harness_expect_well(count, &opens_first);
        }
    }
    harness_join(thread);
    stepping_close();
    CHECK(steps > 50);
}

static void fork_while_sending(void *argument) {
    void *warm[2];
    heap_use_start(7, 63);
    CHECK_EQUAL(hak_fork_init(), 0);
    for (int i = 0; i < 2; i++)
        warm[i] = heap_use_alloc(STEPS_CLASS);
    for (unsigned word = 0; word < STEPS_WORDS; word++) {
        for (unsigned i = 0; i < 64;
             i++) { /* two neighbours, then others between them and the next */
            void *p = heap_use_alloc(STEPS_CLASS);
            if (i < STEPS_PER_WORD)
                g_steps.blocks[word * STEPS_PER_WORD + i] = p;
        }
    }
    watch(free_and_send, warm, count_sent);
    hak_heap_stats();
    for (unsigned i = 0; i < STEPS_BLOCKS; i++)
        CHECK(is_home(g_steps.blocks[i]));
}

static void fork_in_fast_paths(void *argument) {
    heap_use_start(7, 63);
    CHECK_EQUAL(hak_fork_init(), 0);
    heap_use_free(heap_use_alloc(STEPS_CLASS));
    watch(push_and_pop, NULL, count_magazine);
}

static void test_send(void **state) {
    harness_expect_well(fork_while_sending, NULL);
}

static void test_fast_paths(void **state) {
    harness_expect_well(fork_in_fast_paths, NULL);
}
#else
static void test_send(void **state) {
    skip();
}

static void test_fast_paths(void **state) {
    skip();
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_send),
        cmocka_unit_test(test_fast_paths),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
