/* test/unit/heap/test_remote.c — blocks freed by a thread that is not their heap's. SPDX-License-Identifier: MIT */

/*
 * Goal: a block freed elsewhere goes back to its own slab and to nobody else, its owner can have it
 * again, accounts agree, and misuse is found at once.
 * Method: threads that hand blocks over; rings between producers and consumers, every block signed;
 * a child per test.
 */

#include <sched.h>

#include "unit/heap/heap_use.h"

enum { CLASS = 4 };

static void *free_all(void *argument) {
    void **blocks = argument;
    for (int i = 0; blocks[i]; i++)
        heap_use_free(blocks[i]);
    return NULL;
}

static void come_home(void *argument) {
    enum { COUNT = 100 };
    void *blocks[COUNT + 1] = {NULL};
    heap_use_start(7, 7);
    for (int i = 0; i < COUNT; i++)
        blocks[i] = heap_use_alloc(CLASS);
    struct hak_heap *heap = hak_heap_current();
    size_t held = heap_use_held(heap, CLASS);
    CHECK_EQUAL(hak_heap_examine(heap->id, CLASS, blocks[0]), HAK_MISUSE_NONE);
    harness_join(harness_thread(free_all, blocks));
    hak_heap_stats(); /* drains */
    CHECK_EQUAL(heap->remote_count, COUNT);
    CHECK_EQUAL(heap->bytes_out, held * hak_size_classes[CLASS].size);
    CHECK_EQUAL(heap_use_held(heap, CLASS), held); /* not into the owner's magazine */
    for (int i = 0; i < COUNT; i++)
        CHECK_EQUAL(hak_heap_examine(heap->id, CLASS, blocks[i]), HAK_MISUSE_DOUBLE_FREE);

    /* the owner gets these again before a new slab is made */
    size_t left = COUNT;
    while (held-- > 0)
        heap_use_alloc(CLASS);
    for (int i = 0; i < COUNT; i++) {
        const void *p = heap_use_alloc(CLASS);
        for (int k = 0; k < COUNT; k++)
            left -= blocks[k] == p;
    }
    CHECK_EQUAL(left, 0);
}

/* The freer keeps nothing, even where it has a heap and room of its own. */
static void *free_with_own_heap(void *argument) {
    void *own = heap_use_alloc(CLASS);
    const struct hak_heap *heap = hak_heap_current();
    size_t held = heap_use_held(heap, CLASS);
    free_all(argument);
    CHECK_EQUAL(heap_use_held(heap, CLASS), held);
    CHECK_EQUAL(heap->remote_count, 0);
    heap_use_free(own);
    return NULL;
}

static void stay_apart(void *argument) {
    void *blocks[4] = {NULL};
    heap_use_start(7, 63);
    for (int i = 0; i < 3; i++)
        blocks[i] = heap_use_alloc(CLASS);
    harness_join(harness_thread(free_with_own_heap, blocks));
    hak_heap_stats();
    CHECK_EQUAL(hak_heap_current()->remote_count, 3);
    CHECK_EQUAL(hak_registry_count(), 2);
}

static void test_home(void **state) {
    harness_expect_well(come_home, NULL);
    harness_expect_well(stay_apart, NULL);
}

/* The owner's thread is gone, and its heap is an orphan or somebody else's. */
static void *alloc_three(void *argument) {
    void **blocks = argument;
    for (int i = 0; i < 3; i++)
        blocks[i] = heap_use_alloc(CLASS);
    return NULL;
}

static void outlive_owner(void *argument) {
    void *blocks[3];
    heap_use_start(7, 63);
    void *own = heap_use_alloc(CLASS);
    CHECK_EQUAL(heap_use_owner(own), 1);
    harness_join(harness_thread(alloc_three, blocks));
    CHECK_EQUAL(heap_use_owner(blocks[0]), 2);
    CHECK_EQUAL(hak_registry_orphan_count(), 1);
    heap_use_free(blocks[0]);
    heap_use_free(blocks[1]);
    hak_heap_trim(); /* sends them */
    CHECK_EQUAL(hak_registry_heap(2)->remote_count, 2);
    void *others[3];
    harness_join(harness_thread(alloc_three, others));
    CHECK_EQUAL(heap_use_owner(others[0]), 2); /* adopted meanwhile */
    heap_use_free(blocks[2]);
    for (int i = 0; i < 3; i++)
        heap_use_free(others[i]);
    hak_heap_trim();
    CHECK_EQUAL(hak_registry_heap(2)->remote_count, 6);
    CHECK_EQUAL(hak_heap_stats().bytes_out, hak_size_classes[CLASS].size); /* `own` */
}

static void test_owner_gone(void **state) {
    harness_expect_well(outlive_owner, NULL);
}

/* ---- misuse ---- */

struct misuse {
    ptrdiff_t offset;
    const char *function;
    const char *what;
};

static void *free_at_offset(void *argument) {
    const struct misuse *m = argument;
    char *p = (char *)(uintptr_t)m->offset;
    hak_heap_free_remote(heap_use_owner(p), heap_use_class(p), p, m->function);
    return NULL;
}

/* At once, though the owner has magazines: the block itself is looked at. */
static void commit_remotely(void *argument) {
    struct misuse m = *(struct misuse *)argument;
    heap_use_start(7, 63);
    char *p = heap_use_alloc(CLASS);
    if (m.offset == 0) { /* it is at home already */
        void *blocks[] = {p, NULL};
        harness_join(harness_thread(free_all, blocks));
    }
    p += m.offset;
    CHECK(hak_heap_examine(1, CLASS, p) != HAK_MISUSE_NONE);
    harness_foretell("hakmem: fatal: %s(%p): %s; class %" PRIu32 ", owner heap 1\n", m.function,
                     (void *)p, m.what, hak_size_classes[CLASS].size);
    m.offset = (ptrdiff_t)(uintptr_t)p;
    harness_join(harness_thread(free_at_offset, &m));
}

static void test_misuse(void **state) {
    static const struct misuse cases[] = {
        {0, "free", "double free"},
        {16, "free", "inside a block, not its start"},
        {1, "sdallocx", "inside a block, not its start"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct misuse m = cases[i];
        harness_expect_foretold_abort(commit_remotely, &m);
    }
}

/* ---- rings: everybody frees what another has allocated ---- */

enum { THREADS = 4, RING = 64, TURNS = 100000 / HARNESS_SLOWNESS };

static struct {
    _Atomic(uint64_t *) slots[THREADS][RING];
    pthread_barrier_t barrier;
} g_rings;

static void *produce_and_consume(void *argument) {
    unsigned self = (unsigned)(uintptr_t)argument;
    uint64_t random = self + 1;
    pthread_barrier_wait(&g_rings.barrier);
    for (unsigned turn = 0; turn < TURNS; turn++) {
        unsigned class_index = 1 + (unsigned)(harness_random_of(&random) % (turn % 64 ? 3 : 60));
        uint64_t *p = heap_use_alloc(class_index);
        size_t words = hak_size_classes[class_index].size / 8;
        p[0] = (uintptr_t)p;
        p[words - 1] = (uintptr_t)p;
        unsigned ring = (unsigned)(harness_random_of(&random) % THREADS);
        uint64_t *got = atomic_exchange(&g_rings.slots[ring][turn % RING], p);
        if (turn % 16 == 0)
            sched_yield();
        if (got == NULL)
            continue;
        words = hak_size_classes[heap_use_class(got)].size / 8;
        CHECK_EQUAL(got[0], (uintptr_t)got);
        CHECK_EQUAL(got[words - 1], (uintptr_t)got);
        got[0] = 0; /* whoever has it next must not find our mark by luck */
        got[words - 1] = 0;
        heap_use_free(got);
    }
    return NULL;
}

static void run_rings(void *argument) {
    pthread_t threads[THREADS];
    heap_use_start(7, 63);
    CHECK(pthread_barrier_init(&g_rings.barrier, NULL, THREADS) == 0);
    for (unsigned i = 0; i < THREADS; i++)
        threads[i] = harness_thread(produce_and_consume, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    for (unsigned ring = 0; ring < THREADS; ring++) {
        for (unsigned slot = 0; slot < RING; slot++) {
            uint64_t *p = atomic_load(&g_rings.slots[ring][slot]);
            if (p)
                heap_use_free(p);
        }
    }
    CHECK(hak_heap_stats().remote_frees > TURNS / 100);
    hak_heap_trim();
    CHECK_EQUAL(hak_heap_stats().bytes_out, 0);
}

static void test_rings(void **state) {
    harness_expect_well(run_rings, NULL);
}

/* ---- many free into the same slabs at once: no bit and no count is lost ---- */

enum { CROWD_BLOCKS = 400000 / HARNESS_SLOWNESS };

static struct {
    void *blocks[CROWD_BLOCKS];
    pthread_barrier_t barrier;
} g_crowd;

static void *free_every_fourth(void *argument) {
    pthread_barrier_wait(&g_crowd.barrier);
    for (size_t i = (uintptr_t)argument; i < CROWD_BLOCKS; i += THREADS)
        heap_use_free(g_crowd.blocks[i]);
    return NULL;
}

static void run_crowd(void *argument) {
    pthread_t threads[THREADS];
    heap_use_start(7, 63);
    CHECK(pthread_barrier_init(&g_crowd.barrier, NULL, THREADS) == 0);
    for (int i = 0; i < CROWD_BLOCKS; i++)
        g_crowd.blocks[i] = heap_use_alloc(1);
    for (unsigned i = 0; i < THREADS; i++)
        threads[i] = harness_thread(free_every_fourth, (void *)(uintptr_t)i);
    for (unsigned i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    struct hak_heap *heap = hak_heap_current();
    hak_heap_stats(); /* drains */
    CHECK_EQUAL(heap->remote_count, CROWD_BLOCKS);
    CHECK_EQUAL(heap->bytes_out, heap_use_held(heap, 1) * hak_size_classes[1].size);
    hak_heap_trim();
    CHECK_EQUAL(heap->bytes_out, 0);
    CHECK(harness_is_zero(heap->slabs, sizeof heap->slabs)); /* every slab was empty, and left */
}

static void test_crowd(void **state) {
    harness_expect_well(run_crowd, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_home),   cmocka_unit_test(test_owner_gone),
        cmocka_unit_test(test_misuse), cmocka_unit_test(test_rings),
        cmocka_unit_test(test_crowd),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
