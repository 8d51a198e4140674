/* test/unit/heap/test_fork.c — fork with other threads inside the allocator. SPDX-License-Identifier: MIT */

/*
 * Goal: at whatever moment a process forks, the child has a working heap, sound magazines and free
 * locks, inherits the other threads' heaps as orphans, and may fork again; other libraries' fork
 * handlers may allocate; the parent does not notice.
 * Method: fork many times while threads allocate and free each other's blocks as fast as they can;
 * handlers registered before ours, which therefore run while all locks are held.
 */

#include "heap/fork.h"
#include "large/big.h"
#include "unit/heap/heap_use.h"

enum { CLASS = 4, THREADS = 3, FORKS = 40 / HARNESS_SLOWNESS, SLOTS = 64 };

static struct {
    _Atomic bool is_over;
    _Atomic(void *) slots[SLOTS];
} g_load;

static void churn(uint64_t *random) {
    unsigned class_index = 1 + (unsigned)(harness_random_of(random) % (HAK_CLASS_COUNT - 1));
    void *p = heap_use_alloc(class_index);
    memset(p, 0x55, 16);
    void *other = atomic_exchange(&g_load.slots[harness_random_of(random) % SLOTS], p);
    if (other)
        heap_use_free(other);
}

static void *churn_until_over(void *argument) {
    uint64_t random = (uintptr_t)argument;
    while (!atomic_load_explicit(&g_load.is_over, memory_order_relaxed))
        churn(&random);
    return NULL;
}

/* What dead threads left: each block in a magazine is out of its slab, and in one place only. */
static void check_orphan(struct hak_heap *heap) {
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        const struct hak_magazine *magazine = &heap->magazines.of_class[class_index];
        if (heap->capacity[class_index] == 0)
            continue;
        void **storage = magazine->limit - heap->capacity[class_index];
        CHECK(*storage == NULL);
        CHECK(magazine->top >= storage);
        CHECK(magazine->top <= magazine->limit);
        for (void **slot = storage + 1; slot <= magazine->top; slot++) {
            CHECK(*slot != NULL);
            CHECK_EQUAL(heap_use_owner(*slot), heap->id);
            CHECK_EQUAL(hak_slab_examine(*slot, class_index), HAK_MISUSE_NONE);
        }
    }
    hak_heap_flush_above(heap, 0); /* a block that is twice in there would be a double free */
}

static void *adopt(void *argument) {
    uint64_t random = 99;
    for (int i = 0; i < 1000; i++)
        churn(&random);
    CHECK(hak_heap_current()->id <= *(uint32_t *)argument);
    return NULL;
}

/* A lock that is held keeps its own thread out as well: nobody passes through any more. */
static void check_locks_hold(void) HAK_NO_LOCK_ANALYSIS {
    struct hak_lock *lock = &hak_registry_heap(1)->lock;
    CHECK(hak_lock_try_acquire(lock));
    CHECK(!hak_lock_try_acquire(lock));
    hak_lock_release(lock);
}

static void live_in_child(void *argument) {
    check_locks_hold();
    uint32_t count = hak_registry_count();
    uint64_t random = 77;
    size_t own = hak_heap_current() != NULL;
    CHECK_EQUAL(hak_registry_orphan_count(), count - own);
    for (int i = 0; i < 2000; i++)
        churn(&random);
    if (!HARNESS_IS_TSAN) {
        pthread_t thread = harness_thread(adopt, &count);
        harness_join(thread);
        CHECK_EQUAL(hak_registry_count(), count);
    }
    struct hak_heap *orphans[16];
    size_t orphan_count = 0;
    while ((orphans[orphan_count] = hak_registry_take_orphan()) != NULL)
        check_orphan(orphans[orphan_count++]);
    while (orphan_count > 0)
        hak_registry_orphan(orphans[--orphan_count]);
    hak_heap_trim();
    if (argument)
        harness_expect_well(live_in_child, NULL); /* a grandchild */
}

static void fork_under_load(void *argument) {
    pthread_t threads[THREADS];
    heap_use_start(7, 63);
    CHECK_EQUAL(hak_fork_init(), 0);
    uint64_t random = 5;
    churn(&random);
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(churn_until_over, (void *)(uintptr_t)(i + 1));
    while (hak_registry_count() < THREADS + 1)
        churn(&random);
    for (int i = 0; i < FORKS; i++) {
        int with_grandchild;
        harness_expect_well(live_in_child, i % 8 == 0 ? &with_grandchild : NULL);
        for (int k = 0; k < 100; k++)
            churn(&random);
    }
    atomic_store(&g_load.is_over, true);
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    for (int i = 0; i < SLOTS; i++) {
        void *p = atomic_load(&g_load.slots[i]);
        if (p)
            heap_use_free(p);
    }
    hak_heap_trim();
    CHECK_EQUAL(hak_heap_stats().bytes_out, 0); /* forking lost nothing here */
    CHECK_EQUAL(hak_registry_count(), THREADS + 1);
}

static void test_under_load(void **state) {
    harness_expect_well(fork_under_load, NULL);
}

/* The child keeps what the forking thread had: its heap, its magazines, its blocks. */
static void keep_own(void *argument) {
    void **blocks = argument;
    CHECK_EQUAL(hak_heap_current()->id, 1);
    CHECK_EQUAL(hak_registry_orphan_count(), 0);
    for (int i = 0; i < 10; i++) {
        CHECK_EQUAL(*(int *)blocks[i], i);
        heap_use_free(blocks[i]);
    }
    for (int i = 9; i >= 0; i--)
        CHECK(heap_use_alloc(CLASS) == blocks[i]);
}

static void fork_alone(void *argument) {
    void *blocks[10];
    heap_use_start(63, 63);
    CHECK_EQUAL(hak_fork_init(), 0);
    for (int i = 0; i < 10; i++) {
        blocks[i] = heap_use_alloc(CLASS);
        *(int *)blocks[i] = i;
    }
    harness_expect_well(keep_own, blocks);
    for (int i = 0; i < 10; i++) {
        CHECK_EQUAL(*(int *)blocks[i], i);
        heap_use_free(blocks[i]);
    }
}

static void test_alone(void **state) {
    harness_expect_well(fork_alone, NULL);
}

/* ---- other libraries' handlers ---- */

static struct {
    unsigned class_index; /* none of these blocks is in a magazine: each call is a slow path */
    void *block;
    int prepare_count;
    int parent_count;
    int child_count;
} g_library;

static void library_use(void) {
    if (g_library.block)
        heap_use_free(g_library.block);
    for (unsigned i = 0; i < 20; i++)
        heap_use_free(heap_use_alloc(1 + (g_library.class_index + i) % (HAK_CLASS_COUNT - 1)));
    g_library.class_index += 20;
    g_library.block = heap_use_alloc(HAK_CLASS_COUNT - 1);
}

static void library_prepare(void) {
    library_use();
    g_library.prepare_count++;
}

static void library_parent(void) {
    library_use();
    g_library.parent_count++;
}

static void library_child(void) {
    library_use();
    g_library.child_count++;
}

static void after_library(void *argument) {
    uint64_t random = 3;
    CHECK_EQUAL(g_library.child_count, 1);
    CHECK(hak_heap_current() != NULL);
    CHECK_EQUAL(hak_registry_orphan_count(), hak_registry_count() - 1);
    for (int i = 0; i < 1000; i++)
        churn(&random);
    hak_heap_trim();
}

/* Registered before ours: their prepare runs after ours, their parent and child before ours. */
static void fork_with_library(void *argument) {
    uint64_t random = 5;
    CHECK(pthread_atfork(library_prepare, library_parent, library_child) == 0);
    heap_use_start(7, 63);
    CHECK_EQUAL(hak_fork_init(), 0);
    if (argument)
        churn(&random); /* else the handlers get this thread its first heap */
    for (int i = 1; i <= 4; i++) {
        harness_expect_well(after_library, NULL);
        CHECK_EQUAL(g_library.prepare_count, i);
        CHECK_EQUAL(g_library.parent_count, i);
        CHECK_EQUAL(g_library.child_count, 0);
        CHECK_EQUAL(hak_registry_count(), 1);
        for (int k = 0; k < 1000; k++)
            churn(&random);
    }
}

static void test_other_handlers(void **state) {
    int with_heap;
    harness_expect_well(fork_with_library, &with_heap);
    harness_expect_well(fork_with_library, NULL);
}

/* ---- handlers that fork ---- */

enum { FORKER_STATUS = 7, FORKER_ALARM_S = 30 };

static struct {
    int nested;     /* forks by handlers that this process comes from or made */
    bool is_nested; /* the handlers' own fork runs handlers, too: once is enough */
    bool goes_on;   /* its child returns from the handler, and so into the outer fork */
    pid_t told;     /* the last process that was told that it is a child */
} g_forker;

/* Everything that needs a lock of each module, in whatever process this is. */
static void forker_use(void) {
    uint64_t random = 9;
    for (int i = 0; i < 300; i++)
        churn(&random);
    library_use();
}

static void forker_fork(void) {
    if (g_forker.is_nested)
        return;
    g_forker.is_nested = true;
    forker_use();
    pid_t child = fork();
    CHECK(child >= 0);
    g_forker.nested++;
    forker_use();
    if (child == 0 && !g_forker.goes_on) {
        hak_heap_trim();
        _exit(FORKER_STATUS);
    }
    int status = FORKER_STATUS << 8;
    if (child > 0)
        CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQUAL(status, FORKER_STATUS << 8);
    g_forker.is_nested = false;
}

static void *forker_churn(void *argument) {
    uint64_t random = (uintptr_t)argument;
    for (int i = 0; i < 500; i++)
        churn(&random);
    return NULL;
}

/* All locks are free, in the parent, its child, and what their handlers forked: a thread can use all. */
static void forker_check(void) {
    forker_use();
    if (!HARNESS_IS_TSAN)
        harness_join(harness_thread(forker_churn, (void *)3));
    hak_heap_trim();
    CHECK_EQUAL(hak_lock_held_count(), 0);
}

static void forker_note_child(void) {
    g_forker.told = getpid();
}

static void fork_with_forker(void *argument) {
    bool goes_on = *(const bool *)argument;
    CHECK(pthread_atfork(forker_fork, forker_fork, forker_fork) == 0);
    heap_use_start(7, 63);
    CHECK_EQUAL(hak_fork_init(), 0);
    hak_fork_on_child(forker_note_child);
    g_forker.goes_on = goes_on;
    alarm(FORKER_ALARM_S);
    forker_check();
    pid_t outside = getpid();
    pid_t child = fork();
    CHECK(child >= 0);
    g_forker.is_nested = true;
    forker_check();
    CHECK_EQUAL(g_forker.told, getpid() == outside ? 0 : getpid());
    if (child == 0 || getpid() != outside)
        _exit(child == 0 && g_forker.nested == 0 ? 1 : FORKER_STATUS);
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQUAL(status, FORKER_STATUS << 8);
    CHECK_EQUAL(g_forker.nested, 2);
}

/*
 * Registered before ours, so they fork while this thread holds all locks; the fork in between must
 * neither wait for them nor set them free, in the parent or in its children.
 */
static void test_handlers_that_fork(void **state) {
    bool goes_on = false;
    harness_expect_well(fork_with_forker, &goes_on);
    goes_on = true;
    harness_expect_well(fork_with_forker, &goes_on);
}

/* In a thread of its own, which had no heap, while another has one. */
static void *fork_in_thread(void *argument) {
    CHECK(hak_heap_current() == NULL);
    harness_expect_well(after_library, NULL);
    CHECK_EQUAL(hak_heap_current()->id, 2);
    return NULL;
}

static void fork_from_new_thread(void *argument) {
    uint64_t random = 5;
    CHECK(pthread_atfork(library_prepare, library_parent, library_child) == 0);
    heap_use_start(7, 63);
    CHECK_EQUAL(hak_fork_init(), 0);
    churn(&random);
    harness_join(harness_thread(fork_in_thread, NULL));
    for (int i = 0; i < 1000; i++)
        churn(&random);
    hak_heap_trim(); /* both heaps' locks are free */
}

static void test_from_new_thread(void **state) {
    harness_expect_well(fork_from_new_thread, NULL);
}

/* ---- Big blocks ---- */

enum { BIG_SIZE = 65 << 20, BIG_FORKS = 30 / HARNESS_SLOWNESS };

/* In and out of the cache of freed mappings, whose lock fork may find taken at any moment. */
static void churn_big(int turn) {
    bool is_zeroed;
    int *p = hak_big_alloc(BIG_SIZE, 16, &is_zeroed);
    CHECK(p != NULL);
    *p = turn;
    CHECK_EQUAL(hak_big_free(p), HAK_MISUSE_NONE);
    if (turn % 16 == 0)
        hak_big_purge(0, 0, HAK_CAUSE_TRIM);
}

static void *churn_big_until_over(void *argument) {
    for (int turn = 0; !atomic_load_explicit(&g_load.is_over, memory_order_relaxed); turn++)
        churn_big(turn);
    return NULL;
}

static void churn_big_in_child(void *argument) {
    for (int turn = 0; turn < 40; turn++)
        churn_big(turn);
    int *kept = argument;
    CHECK_EQUAL(*kept, 4711);
    kept = hak_big_resize(kept, 3 * (size_t)BIG_SIZE);
    CHECK(kept != NULL);
    CHECK_EQUAL(*kept, 4711);
    CHECK_EQUAL(hak_big_free(kept), HAK_MISUSE_NONE);
}

static void fork_beside_big(void *argument) {
    bool is_zeroed;
    pthread_t threads[THREADS];
    heap_use_start(7, 63);
    CHECK_EQUAL(hak_fork_init(), 0);
    uint64_t random = 5;
    churn(&random); /* makes the first arena, and with it the window */
    int *kept = hak_big_alloc(BIG_SIZE, 16, &is_zeroed);
    CHECK(kept != NULL);
    *kept = 4711;
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(churn_big_until_over, NULL);
    for (int i = 0; i < BIG_FORKS; i++)
        harness_expect_well(churn_big_in_child, kept);
    atomic_store(&g_load.is_over, true);
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    CHECK_EQUAL(*kept, 4711);
    CHECK_EQUAL(hak_big_stats().count, 1);
}

static void test_beside_big(void **state) {
    harness_expect_well(fork_beside_big, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_under_load),     cmocka_unit_test(test_alone),
        cmocka_unit_test(test_other_handlers), cmocka_unit_test(test_from_new_thread),
        cmocka_unit_test(test_beside_big),     cmocka_unit_test(test_handlers_that_fork),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
