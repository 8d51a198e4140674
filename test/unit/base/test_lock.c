/* test/unit/base/test_lock.c — the futex lock and its ranks. SPDX-License-Identifier: MIT */

/*
 * Goal: one holder at a time; sleepers are woken; ranks are enforced in debug builds; the forking
 * thread passes through every lock and nobody else does.
 * Method: threads around a plain counter (the thread sanitizer watches it too); children for what
 * ends in abort(). Tests take locks in ways the static analysis forbids: it is off here.
 */

#include <time.h>

#include "base/lock.h"
#include "unit/harness.h"

enum { THREADS = 4, TURNS = 100000 / HARNESS_SLOWNESS };

static struct {
    struct hak_lock lock;
    uint64_t count;         /* [lock] */
    _Atomic int inside;     /* threads between acquire and release: never above 1 */
    _Atomic int is_waiting; /* a thread is about to acquire */
} g_test = {.lock = HAK_LOCK_INIT(HAK_RANK_POOL)};

static void enter(void) {
    CHECK_EQUAL(atomic_fetch_add_explicit(&g_test.inside, 1, memory_order_relaxed), 0);
    hak_lock_assert_held(&g_test.lock);
    g_test.count++;
    atomic_fetch_sub_explicit(&g_test.inside, 1, memory_order_relaxed);
}

static void *count_with_lock(void *argument) HAK_NO_LOCK_ANALYSIS {
    for (int i = 0; i < TURNS; i++) {
        if (i % 3 == 0) {
            while (!hak_lock_try_acquire(&g_test.lock)) {
            }
        } else {
            hak_lock_acquire(&g_test.lock);
        }
        enter();
        hak_lock_release(&g_test.lock);
    }
    return NULL;
}

static void test_mutual_exclusion(void **state) {
    pthread_t threads[THREADS];
    g_test.count = 0;
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(count_with_lock, NULL);
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    CHECK_EQUAL(g_test.count, (uint64_t)THREADS * TURNS);
}

static void *take_once(void *argument) HAK_NO_LOCK_ANALYSIS {
    atomic_store(&g_test.is_waiting, 1);
    hak_lock_acquire(&g_test.lock);
    enter();
    hak_lock_release(&g_test.lock);
    return NULL;
}

static void *try_once(void *argument) HAK_NO_LOCK_ANALYSIS {
    *(bool *)argument = hak_lock_try_acquire(&g_test.lock);
    if (*(bool *)argument)
        hak_lock_release(&g_test.lock);
    return NULL;
}

static bool can_another_thread_take(void) {
    bool is_taken;
    harness_join(harness_thread(try_once, &is_taken));
    return is_taken;
}

static uint64_t futex_calls(void) {
    return atomic_load(&hak_lock_cell()->count);
}

/* Several sleepers: each release wakes one, and all get their turn. */
static void test_sleepers(void **state) HAK_NO_LOCK_ANALYSIS {
    pthread_t threads[THREADS];
    uint64_t before = futex_calls();
    g_test.count = 0;
    hak_lock_acquire(&g_test.lock);
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(take_once, NULL);
    while (futex_calls() < before + THREADS) { /* nobody wakes anybody yet */
        struct timespec moment = {0, 100000};
        nanosleep(&moment, NULL);
    }
    CHECK_EQUAL(g_test.count, 0);
    uint64_t waits = futex_calls() - before;
    hak_lock_release(&g_test.lock);
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    CHECK_EQUAL(g_test.count, THREADS);
    CHECK(futex_calls() >= before + waits + THREADS); /* each is woken */
}

static void test_try(void **state) HAK_NO_LOCK_ANALYSIS {
    CHECK(hak_lock_try_acquire(&g_test.lock));
    CHECK(!can_another_thread_take());
    hak_lock_release(&g_test.lock);
    CHECK(can_another_thread_take());
    hak_lock_acquire(&g_test.lock);
    CHECK(!can_another_thread_take());
    hak_lock_release(&g_test.lock);
}

/* Nobody waits: no system call. */
static void test_uncontended_is_free(void **state) HAK_NO_LOCK_ANALYSIS {
    uint64_t before = futex_calls();
    for (int i = 0; i < 1000; i++) {
        hak_lock_acquire(&g_test.lock);
        hak_lock_release(&g_test.lock);
    }
    CHECK_EQUAL(futex_calls(), before);
}

/* ---- ranks ---- */

static struct hak_lock g_ranked[] = {
    HAK_LOCK_INIT(HAK_RANK_INIT),  HAK_LOCK_INIT(HAK_RANK_REGISTRY), HAK_LOCK_INIT(HAK_RANK_HEAP),
    HAK_LOCK_INIT(HAK_RANK_LARGE), HAK_LOCK_INIT(HAK_RANK_META),     HAK_LOCK_INIT(HAK_RANK_POOL),
    HAK_LOCK_INIT(HAK_RANK_VM),    HAK_LOCK_INIT(HAK_RANK_SHARE),
};
static struct hak_lock g_twins[] = {
    HAK_LOCK_INIT(HAK_RANK_INIT),  HAK_LOCK_INIT(HAK_RANK_REGISTRY), HAK_LOCK_INIT(HAK_RANK_HEAP),
    HAK_LOCK_INIT(HAK_RANK_LARGE), HAK_LOCK_INIT(HAK_RANK_META),     HAK_LOCK_INIT(HAK_RANK_POOL),
    HAK_LOCK_INIT(HAK_RANK_VM),    HAK_LOCK_INIT(HAK_RANK_SHARE),
};
enum { RANKS = sizeof g_ranked / sizeof g_ranked[0] };
_Static_assert((int)RANKS == (int)HAK_RANK_SHARE + 1, "a lock of every rank");

struct pair {
    unsigned first;
    unsigned second;
};

static void take_pair(void *argument) HAK_NO_LOCK_ANALYSIS {
    const struct pair *pair = argument;
    hak_lock_acquire(&g_ranked[pair->first]);
    hak_lock_acquire(&g_twins[pair->second]);
    hak_lock_release(&g_twins[pair->second]);
    hak_lock_release(&g_ranked[pair->first]);
}

static void try_pair(void *argument) HAK_NO_LOCK_ANALYSIS {
    const struct pair *pair = argument;
    hak_lock_acquire(&g_ranked[pair->first]);
    CHECK(hak_lock_try_acquire(&g_twins[pair->second]));
    hak_lock_release(&g_twins[pair->second]);
    hak_lock_release(&g_ranked[pair->first]);
}

static void take_all(void *argument) HAK_NO_LOCK_ANALYSIS {
    for (unsigned rank = 0; rank < RANKS; rank++)
        hak_lock_acquire(&g_ranked[rank]);
    for (unsigned rank = 0; rank < RANKS; rank++) {
        hak_lock_assert_held(&g_ranked[rank]);
        hak_lock_release(&g_ranked[rank]);
    }
}

static void test_ranks(void **state) {
    for (unsigned first = 0; first < RANKS; first++) {
        for (unsigned second = 0; second < RANKS; second++) {
            struct pair pair = {first, second};
            if (HAK_DEBUG >= 1 && second <= first)
                harness_expect_abort(take_pair, &pair,
                                     "hakmem: fatal: internal check failed: ", true);
            else
                harness_expect_text(take_pair, &pair, "");
            harness_expect_text(try_pair, &pair, ""); /* trying cannot deadlock */
        }
    }
    harness_expect_text(take_all, NULL, "");
}

static void release_unheld(void *argument) HAK_NO_LOCK_ANALYSIS {
    hak_lock_release(&g_ranked[HAK_RANK_META]);
}

static void assert_unheld(void *argument) HAK_NO_LOCK_ANALYSIS {
    hak_lock_acquire(&g_ranked[HAK_RANK_META]);
    hak_lock_assert_held(&g_ranked[HAK_RANK_POOL]);
    hak_lock_release(&g_ranked[HAK_RANK_META]);
}

static void test_unheld(void **state) {
    static const char start[] = "hakmem: fatal: internal check failed: ";
    if (HAK_DEBUG >= 1) {
        harness_expect_abort(release_unheld, NULL, start, true);
        harness_expect_abort(assert_unheld, NULL, start, true);
    } else {
        harness_expect_text(release_unheld, NULL, "");
        harness_expect_text(assert_unheld, NULL, "");
    }
}

/* ---- fork ---- */

/* Between begin and end the forking thread goes through; for others the locks are what they are. */
static void test_fork_window(void **state) HAK_NO_LOCK_ANALYSIS {
    hak_lock_acquire_for_fork(&g_ranked[HAK_RANK_HEAP]);
    hak_lock_acquire_for_fork(&g_twins[HAK_RANK_HEAP]); /* several of one rank: only fork may */
    hak_lock_acquire_for_fork(&g_test.lock);
    CHECK(!can_another_thread_take());
    hak_lock_fork_begin();
    hak_lock_acquire(&g_test.lock);
    hak_lock_acquire(&g_test.lock);
    hak_lock_assert_held(&g_test.lock);
    hak_lock_release(&g_test.lock);
    CHECK(hak_lock_try_acquire(&g_test.lock));
    hak_lock_release(&g_test.lock);
    hak_lock_acquire(&g_twins[HAK_RANK_INIT]); /* no rank counts in the window */
    hak_lock_release(&g_twins[HAK_RANK_INIT]);
    CHECK(!can_another_thread_take()); /* held still, whatever was released meanwhile */
    hak_lock_fork_end();
    CHECK(!can_another_thread_take());
    hak_lock_release(&g_test.lock);
    hak_lock_release(&g_twins[HAK_RANK_HEAP]);
    hak_lock_release(&g_ranked[HAK_RANK_HEAP]);
    CHECK(can_another_thread_take());
    take_all(NULL); /* the ranks' counts are as before */
}

static void reset_in_child(void *argument) HAK_NO_LOCK_ANALYSIS {
    hak_lock_fork_end();
    hak_lock_reset(&g_test.lock);
    CHECK(hak_lock_try_acquire(&g_test.lock));
    hak_lock_release(&g_test.lock);
    hak_lock_acquire(&g_test.lock);
    hak_lock_release(&g_test.lock);
    take_all(NULL);
}

static void test_reset_in_child(void **state) HAK_NO_LOCK_ANALYSIS {
    hak_lock_acquire_for_fork(&g_test.lock);
    hak_lock_fork_begin();
    harness_expect_text(reset_in_child, NULL, "");
    hak_lock_fork_end();
    CHECK(!can_another_thread_take());
    hak_lock_release(&g_test.lock);
    CHECK(can_another_thread_take());
}

/* What tests of other layers ask: debug builds know, others say 0. */
static void test_held_count(void **state) HAK_NO_LOCK_ANALYSIS {
    struct hak_lock lower = HAK_LOCK_INIT(HAK_RANK_HEAP);
    CHECK_EQUAL(hak_lock_held_count(), 0);
    hak_lock_acquire(&lower);
    hak_lock_acquire(&g_test.lock);
    CHECK_EQUAL(hak_lock_held_count(), HAK_DEBUG >= 1 ? 2 : 0);
    hak_lock_fork_begin();
    CHECK_EQUAL(hak_lock_held_count(), 0);
    hak_lock_fork_end();
    hak_lock_release(&g_test.lock);
    hak_lock_release(&lower);
    CHECK_EQUAL(hak_lock_held_count(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_held_count),
        cmocka_unit_test(test_mutual_exclusion),
        cmocka_unit_test(test_sleepers),
        cmocka_unit_test(test_try),
        cmocka_unit_test(test_uncontended_is_free),
        cmocka_unit_test(test_ranks),
        cmocka_unit_test(test_unheld),
        cmocka_unit_test(test_fork_window),
        cmocka_unit_test(test_reset_in_child),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
