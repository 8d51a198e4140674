/* test/unit/heap/test_lifecycle.c — a thread's heap from its first call to its last. SPDX-License-Identifier: MIT */

/*
 * Goal: a thread gets a heap with its first allocation and no sooner; when it exits, the next
 * thread gets the same heap as it was left; allocation works in other libraries' thread destructors, in
 * every round, before ours and after; trimming gives back what nobody uses.
 * Method: real threads and pthread keys made before and after ours; a child per test.
 */

#include "arena/pool.h"
#include "unit/heap/heap_use.h"

enum { CLASS = 4, THREADS = 8 };

/* ---- who gets which heap ---- */

static void *note_id(void *argument) {
    void *p = heap_use_alloc(CLASS);
    *(uint32_t *)argument = hak_heap_current()->id;
    heap_use_free(p);
    return NULL;
}

static void one_after_the_other(void *argument) {
    heap_use_start(7, 63);
    for (int i = 0; i < 20; i++) {
        uint32_t id = 0;
        harness_join(harness_thread(note_id, &id));
        CHECK_EQUAL(id, 1);
        CHECK_EQUAL(hak_registry_orphan_count(), 1);
    }
    CHECK_EQUAL(hak_registry_count(), 1);
    heap_use_alloc(CLASS);
    CHECK_EQUAL(hak_heap_current()->id, 1); /* the main thread adopts as well */
    CHECK_EQUAL(hak_registry_orphan_count(), 0);
    uint32_t id = 0;
    harness_join(harness_thread(note_id, &id));
    CHECK_EQUAL(id, 2);
}

static struct {
    pthread_barrier_t barrier;
    uint32_t ids[THREADS];
} g_together;

static void *note_id_together(void *argument) {
    uint32_t *id = argument;
    void *p = heap_use_alloc(CLASS);
    *id = hak_heap_current()->id;
    pthread_barrier_wait(&g_together.barrier);
    CHECK_EQUAL(heap_use_owner(p), *id);
    heap_use_free(p);
    CHECK_EQUAL(hak_heap_current()->id, *id);
    return NULL;
}

static void all_at_once(void *argument) {
    pthread_t threads[THREADS];
    heap_use_start(7, 63);
    CHECK(pthread_barrier_init(&g_together.barrier, NULL, THREADS) == 0);
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < THREADS; i++)
            threads[i] = harness_thread(note_id_together, &g_together.ids[i]);
        for (int i = 0; i < THREADS; i++)
            harness_join(threads[i]);
        uint32_t seen = 0;
        for (int i = 0; i < THREADS; i++) {
            CHECK(g_together.ids[i] >= 1);
            CHECK(g_together.ids[i] <= THREADS);
            seen |= UINT32_C(1) << g_together.ids[i];
        }
        CHECK_EQUAL(seen, (1 << (THREADS + 1)) - 2); /* each heap once */
        CHECK_EQUAL(hak_registry_count(), THREADS);
        CHECK_EQUAL(hak_registry_orphan_count(), THREADS);
    }
}

static void test_adoption(void **state) {
    harness_expect_well(one_after_the_other, NULL);
    harness_expect_well(all_at_once, NULL);
}

/* The heap comes with its magazines of small blocks: the first one is the last one freed. */
static void *free_one(void *argument) {
    void *p = heap_use_alloc(1);
    heap_use_free(p);
    *(void **)argument = p;
    return NULL;
}

static void *take_one(void *argument) {
    *(void **)argument = heap_use_alloc(1);
    return NULL;
}

static void start_warm(void *argument) {
    void *freed = NULL;
    void *taken = NULL;
    heap_use_start(7, 63);
    harness_join(harness_thread(free_one, &freed));
    uint64_t refills = hak_heap_stats().refills;
    harness_join(harness_thread(take_one, &taken));
    CHECK(taken == freed);
    CHECK_EQUAL(hak_heap_stats().refills, refills);
}

/* Of large blocks nothing stays with an orphan: their slabs are in the pool. */
static void *use_large(void *argument) {
    void *small = heap_use_alloc(1);
    void *large = heap_use_alloc(HAK_CLASS_COUNT - 1);
    heap_use_free(small);
    heap_use_free(large);
    return NULL;
}

static void keep_only_small(void *argument) {
    heap_use_start(7, 63);
    harness_join(harness_thread(use_large, NULL));
    const struct hak_heap *heap = hak_registry_heap(1);
    CHECK(heap_use_held(heap, 1) > 0);
    CHECK_EQUAL(heap_use_held(heap, HAK_CLASS_COUNT - 1), 0);
    CHECK(harness_is_zero(&heap->slabs[HAK_CLASS_COUNT - 1], sizeof heap->slabs[0]));
    CHECK_EQUAL(heap->bytes_out, heap_use_held(heap, 1) * hak_size_classes[1].size);
}

static void test_warm_start(void **state) {
    harness_expect_well(start_warm, NULL);
    harness_expect_well(keep_only_small, NULL);
}

static void *free_without_heap(void *argument) {
    void **blocks = argument;
    for (int i = 0; i < 10; i++) {
        heap_use_free(blocks[i]);
        CHECK(hak_heap_current() == NULL);
    }
    return NULL;
}

static void free_elsewhere(void *argument) {
    void *blocks[10];
    heap_use_start(7, 63);
    for (int i = 0; i < 10; i++)
        blocks[i] = heap_use_alloc(CLASS);
    harness_join(harness_thread(free_without_heap, blocks));
    CHECK_EQUAL(hak_registry_count(), 1);
    CHECK_EQUAL(hak_heap_stats().remote_frees, 10);
}

static void test_freeing_needs_no_heap(void **state) {
    harness_expect_well(free_elsewhere, NULL);
}

/* ---- the thread's end ---- */

enum { ROUNDS = HARNESS_EXIT_ROUNDS };

struct library { /* some library with a thread destructor that allocates and frees */
    pthread_key_t key;
    int rounds;
    int rounds_without_heap;
    void *old[ROUNDS + 1];
};

static struct library g_libraries[2]; /* keys made before and after ours */

static void library_destructor(void *value) {
    struct library *library = value;
    void *blocks[3];
    for (unsigned i = 0; i < 3; i++) {
        blocks[i] = heap_use_alloc(CLASS + i);
        memset(blocks[i], 0xee, hak_size_classes[CLASS + i].size);
    }
    heap_use_free(library->old[library->rounds]); /* of an earlier round, or of the thread's life */
    heap_use_free(blocks[0]);
    heap_use_free(blocks[1]);
    library->rounds_without_heap += hak_heap_current() == NULL;
    library->rounds++;
    library->old[library->rounds] = blocks[2];
    if (library->rounds < ROUNDS)
        CHECK(pthread_setspecific(library->key, library) == 0);
}

static void *live_and_die(void *argument) {
    for (int i = 0; i < 2; i++) {
        struct library *library = &g_libraries[i];
        library->rounds = 0;
        library->rounds_without_heap = 0;
        library->old[0] = heap_use_alloc(CLASS);
        CHECK(pthread_setspecific(library->key, library) == 0);
    }
    return NULL;
}

static void die_with_destructors(void *argument) {
    CHECK(pthread_key_create(&g_libraries[0].key, library_destructor) == 0);
    heap_use_start(7, 63);
    CHECK(pthread_key_create(&g_libraries[1].key, library_destructor) == 0);
    for (int life = 0; life < 3; life++) {
        harness_join(harness_thread(live_and_die, NULL));
        for (int i = 0; i < 2; i++) {
            CHECK_EQUAL(g_libraries[i].rounds, ROUNDS);
            heap_use_free(g_libraries[i].old[ROUNDS]);
        }
        /* Whoever comes after ours borrows, and gives back. */
        CHECK_EQUAL(g_libraries[0].rounds_without_heap, ROUNDS - 1);
        CHECK_EQUAL(g_libraries[1].rounds_without_heap, ROUNDS);
        CHECK_EQUAL(hak_registry_count(), 1);
        CHECK_EQUAL(hak_registry_orphan_count(), 1);
    }
    hak_heap_trim();
    CHECK_EQUAL(hak_heap_stats().bytes_out, 0); /* nothing was lost on the way */
}

static void test_thread_end(void **state) {
    harness_expect_well(die_with_destructors, NULL);
}

/* A thread that gets its first heap in a destructor, in each round. */
static pthread_key_t g_late_key;
static int g_late_rounds;

static void late_destructor(void *value) {
    int first = *(int *)value;
    if (++g_late_rounds >= first) {
        void *p = heap_use_alloc(CLASS);
        memset(p, 0xee, hak_size_classes[CLASS].size);
        heap_use_free(p);
    }
    if (g_late_rounds < ROUNDS)
        CHECK(pthread_setspecific(g_late_key, value) == 0);
}

static void *use_late_key(void *argument) {
    CHECK(pthread_setspecific(g_late_key, argument) == 0);
    return NULL;
}

static void begin_late(void *argument) {
    bool is_before = argument != NULL;
    if (is_before)
        CHECK(pthread_key_create(&g_late_key, late_destructor) == 0);
    heap_use_start(7, 63);
    if (!is_before)
        CHECK(pthread_key_create(&g_late_key, late_destructor) == 0);
    for (int first = 1; first <= ROUNDS; first++) {
        g_late_rounds = 0;
        harness_join(harness_thread(use_late_key, &first));
        CHECK_EQUAL(g_late_rounds, ROUNDS);
        CHECK_EQUAL(hak_registry_count(), 1);
        /* Behind our hook in the last round: nobody tells us, and the heap stays with who is gone. */
        CHECK_EQUAL(hak_registry_orphan_count(), is_before || first < ROUNDS);
    }
}

static void test_late_first_call(void **state) {
    int before;
    if (HARNESS_IS_TSAN)
        skip(); /* our hook would run in the round that the sanitizer does not survive */
    harness_expect_well(begin_late, &before);
    harness_expect_well(begin_late, NULL);
}

/* ---- trim ---- */

static void *fill_and_free(void *argument) {
    enum { COUNT = 500 };
    void *blocks[COUNT];
    for (unsigned i = 0; i < COUNT; i++)
        blocks[i] = heap_use_alloc(1 + i % (HAK_CLASS_COUNT - 1));
    if (argument)
        pthread_barrier_wait(&g_together.barrier);
    for (int i = 0; i < COUNT; i++)
        heap_use_free(blocks[i]);
    return NULL;
}

static void trim_all(void *argument) {
    pthread_t threads[THREADS];
    heap_use_start(7, 63);
    CHECK(pthread_barrier_init(&g_together.barrier, NULL, THREADS) == 0);
    heap_use_free(heap_use_alloc(CLASS));
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(fill_and_free, &g_together);
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    fill_and_free(NULL);
    CHECK(hak_heap_stats().bytes_out > 0);
    CHECK_EQUAL(hak_heap_stats().orphan_count, THREADS);
    hak_heap_trim();
    CHECK_EQUAL(hak_heap_stats().bytes_out, 0);
    CHECK_EQUAL(hak_heap_stats().orphan_count, THREADS); /* they are all there, emptied */
    for (uint32_t id = 1; id <= hak_registry_count(); id++) {
        const struct hak_heap *heap = hak_registry_heap(id);
        CHECK(harness_is_zero(heap->slabs, sizeof heap->slabs)); /* no slab is left */
    }
    hak_heap_trim(); /* nothing to do */
    fill_and_free(NULL);
    CHECK_EQUAL(hak_heap_current()->id, 1);
}

static void *trim(void *argument) {
    hak_heap_trim();
    return NULL;
}

/* Holds a heap's lock from the first to the second time that all have come to the barrier. */
static void *hold(void *argument) {
    struct hak_heap *heap = argument;
    hak_lock_acquire(&heap->lock);
    pthread_barrier_wait(&g_together.barrier);
    pthread_barrier_wait(&g_together.barrier);
    hak_lock_release(&heap->lock);
    return NULL;
}

/* While one orphan is emptied the others can be adopted: who begins meanwhile makes no heap. */
static void trim_one_at_a_time(void *argument) {
    struct hak_heap *heaps[THREADS];
    heap_use_start(7, 63);
    for (int i = 0; i < THREADS; i++)
        heaps[i] = hak_registry_take();
    for (int i = 0; i < THREADS; i++)
        hak_registry_orphan(heaps[i]);
    CHECK(pthread_barrier_init(&g_together.barrier, NULL, 2) == 0);
    pthread_t holder =
        harness_thread(hold, heaps[0]); /* its turn comes last, and then trimming waits */
    pthread_barrier_wait(&g_together.barrier);
    pthread_t trimmer = harness_thread(trim, NULL);
    for (int i = 0; i < 100; i++) {
        CHECK(hak_registry_orphan_count() >= THREADS - 1);
        usleep(1000);
    }
    pthread_barrier_wait(&g_together.barrier);
    harness_join(holder);
    harness_join(trimmer);
    CHECK_EQUAL(hak_registry_orphan_count(), THREADS);
}

static void test_trim(void **state) {
    harness_expect_well(trim_all, NULL);
    harness_expect_well(trim_one_at_a_time, NULL);
}

/* One slow path does not pay for all: 64 orphans an epoch, the oldest first. */
static void reap_many(void *argument) {
    enum { MANY = 150, AT_A_TIME = 64 };
    static struct hak_heap *heaps[MANY];
    heap_use_start(7, 63);
    for (int i = 0; i < MANY; i++) {
        heaps[i] = hak_registry_take();
        CHECK(heaps[i] != NULL);
        void *block = hak_heap_refill(heaps[i], CLASS); /* and three more in the magazine */
        hak_heap_flush(heaps[i], CLASS, block, "free");
    }
    for (int i = 0; i < MANY; i++)
        hak_registry_orphan(heaps[i]);
    hak_heap_reap(1); /* they are not idle yet */
    CHECK(heap_use_held(heaps[0], CLASS) > 0);
    for (int turn = 1; turn <= 3; turn++) {
        hak_heap_reap(10);
        for (int i = 0; i < MANY; i++)
            CHECK_EQUAL(heap_use_held(heaps[i], CLASS) == 0, i < turn * AT_A_TIME);
    }
    CHECK_EQUAL(hak_registry_orphan_count(), MANY);
    CHECK_EQUAL(hak_heap_stats().bytes_out, 0);
}

static void test_reap(void **state) {
    harness_expect_well(reap_many, NULL);
}

static void check_stats(void *argument) {
    heap_use_start(7, 7);
    CHECK_EQUAL(hak_heap_stats().heap_count, 0);
    CHECK_EQUAL(hak_heap_stats().orphan_count, 0);
    void *blocks[9];
    for (int i = 0; i < 9; i++)
        blocks[i] = heap_use_alloc(CLASS);
    struct hak_heap_stats stats = hak_heap_stats();
    CHECK_EQUAL(stats.heap_count, 1);
    CHECK_EQUAL(stats.refills, 3); /* four blocks each */
    CHECK_EQUAL(stats.flushes, 0);
    CHECK_EQUAL(stats.remote_frees, 0);
    CHECK_EQUAL(stats.bytes_out, 12 * hak_size_classes[CLASS].size);
    for (int i = 0; i < 9; i++)
        heap_use_free(blocks[i]);
    CHECK_EQUAL(hak_heap_stats().flushes, 2);
}

static void test_stats(void **state) {
    harness_expect_well(check_stats, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adoption),
        cmocka_unit_test(test_warm_start),
        cmocka_unit_test(test_freeing_needs_no_heap),
        cmocka_unit_test(test_thread_end),
        cmocka_unit_test(test_late_first_call),
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_reap),
        cmocka_unit_test(test_stats),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
