/* test/unit/heap/test_registry.c — all heaps: by id, and the orphans. SPDX-License-Identifier: MIT */

/*
 * Goal: heaps are numbered from 1 without gaps, found by number, and an orphan is taken before a
 * new heap is made, the newest first; reapers get the oldest that was not reaped, however many were;
 * after a fork every heap but the survivor's is an orphan.
 * Method: the registry alone, without threads; more heaps than one leaf of its table holds.
 */

#include <sys/mman.h>

#include "unit/heap/heap_use.h"

enum { MANY = 1300 }; /* three leaves of 512 */

static void check_fresh(const struct hak_heap *heap, uint32_t id) {
    CHECK_EQUAL(heap->id, id);
    CHECK_EQUAL(heap->magazines.tag, id << HAK_TAG_ID_SHIFT);
    CHECK_EQUAL(heap->bytes_out, 0);
    for (unsigned class_index = 0; class_index < HAK_CLASS_COUNT; class_index++) {
        CHECK(*heap->magazines.of_class[class_index].top == NULL);
        CHECK(heap->magazines.of_class[class_index].top ==
              heap->magazines.of_class[class_index].limit);
        CHECK_EQUAL(heap->capacity[class_index], 0);
    }
    CHECK(harness_is_zero(heap->slabs, sizeof heap->slabs));
}

static void take_many(void *argument) {
    static struct hak_heap *heaps[MANY + 1];
    heap_use_start(7, 63);
    CHECK_EQUAL(hak_registry_count(), 0);
    CHECK(hak_registry_heap(0) == NULL);
    CHECK(hak_registry_heap(1) == NULL);
    CHECK(hak_registry_take_orphan() == NULL);
    for (uint32_t id = 1; id <= MANY; id++) {
        heaps[id] = hak_registry_take();
        CHECK(heaps[id] != NULL);
        check_fresh(heaps[id], id);
        CHECK_EQUAL(hak_registry_count(), id);
        CHECK(hak_registry_heap(id + 1) == NULL);
    }
    for (uint32_t id = 1; id <= MANY; id++) {
        CHECK(hak_registry_heap(id) == heaps[id]);
        CHECK_EQUAL((uintptr_t)heaps[id] % HAK_CACHE_LINE, 0);
    }
    CHECK(hak_registry_heap(0) == NULL);
    CHECK(hak_registry_heap(UINT32_MAX) == NULL);
}

static void test_ids(void **state) {
    harness_expect_well(take_many, NULL);
}

static void orphan_and_take(void *argument) {
    struct hak_heap *heaps[4];
    heap_use_start(7, 63);
    for (int i = 0; i < 4; i++)
        heaps[i] = hak_registry_take();
    hak_registry_orphan(heaps[2]);
    hak_registry_orphan(heaps[0]);
    hak_registry_orphan(heaps[3]);
    CHECK_EQUAL(hak_registry_orphan_count(), 3);
    CHECK(hak_registry_heap(1) == heaps[0]); /* an orphan is still found */
    CHECK(hak_registry_take() == heaps[3]);
    CHECK(hak_registry_take_orphan() == heaps[0]);
    CHECK_EQUAL(hak_registry_orphan_count(), 1);
    CHECK(hak_registry_take() == heaps[2]);
    CHECK_EQUAL(hak_registry_orphan_count(), 0);
    CHECK(hak_registry_take_orphan() == NULL);
    CHECK_EQUAL(hak_registry_count(), 4);
    CHECK_EQUAL(hak_registry_take()->id, 5);
}

static void test_orphans(void **state) {
    harness_expect_well(orphan_and_take, NULL);
}

/*
 * The next one to reap is had without a look at those that were: their links are not even readable, but
 * for the pages of the two at the ends.
 */
enum { REAPED = 1000, ALL_HEAPS = REAPED + 3 };

static bool is_on_page(const struct hak_heap *heap, uintptr_t page) {
    return (uintptr_t)heap < page + hak_vm_page_size() && page < (uintptr_t)(heap + 1);
}

/* The links of all reaped heaps but the first and the last; pages with others on them stay. */
static size_t protect_links(struct hak_heap *const *heaps, int access) {
    size_t count = 0;
    for (int i = 1; i < REAPED - 1; i++) {
        uintptr_t page = (uintptr_t)&heaps[i]->next_orphan & ~(hak_vm_page_size() - 1);
        bool is_shared = is_on_page(heaps[0], page);
        for (int k = REAPED - 1; k < ALL_HEAPS; k++)
            is_shared |= is_on_page(heaps[k], page);
        if (is_shared)
            continue;
        CHECK(mprotect((void *)page, hak_vm_page_size(), access) == 0);
        count++;
    }
    return count;
}

static void reap_past_many(void *argument) {
    static struct hak_heap *heaps[ALL_HEAPS];
    heap_use_start(7, 63);
    for (int i = 0; i < ALL_HEAPS; i++)
        heaps[i] = hak_registry_take();
    CHECK(hak_registry_take_idle_orphan(1) == NULL);
    for (int i = 0; i < REAPED; i++)
        hak_registry_orphan(heaps[i]);
    CHECK(hak_registry_take_idle_orphan(2) == NULL); /* not for an epoch yet */
    for (int i = 0; i < REAPED; i++) {
        CHECK(hak_registry_take_idle_orphan(3) == heaps[i]); /* the oldest first */
        hak_registry_return_reaped(heaps[i]);
    }
    CHECK(hak_registry_take_idle_orphan(100) == NULL);
    for (int i = REAPED; i < ALL_HEAPS; i++)
        hak_registry_orphan(heaps[i]);
    CHECK(hak_registry_take() ==
          heaps[REAPED + 2]); /* an adopter, too, takes one that is not reaped */
    CHECK(protect_links(heaps, PROT_NONE) > REAPED / 2);
    CHECK(hak_registry_take_idle_orphan(102) == heaps[REAPED]);
    CHECK(hak_registry_take_idle_orphan(102) == heaps[REAPED + 1]);
    CHECK(hak_registry_take_idle_orphan(102) == NULL);
    protect_links(heaps, PROT_READ | PROT_WRITE);
    CHECK_EQUAL(hak_registry_orphan_count(), REAPED);
    for (int i = 0; i < REAPED; i++)
        CHECK(hak_registry_take() == heaps[i]);
    CHECK(hak_registry_take_orphan() == NULL);
    /* one of them becomes an orphan as any other */
    hak_registry_orphan(heaps[5]);
    CHECK(hak_registry_take_idle_orphan(200) == heaps[5]);
}

static void test_reaped(void **state) {
    harness_expect_well(reap_past_many, NULL);
}

/* An orphan is taken as it was left: magazines filled. */
static void keep_blocks(void *argument) {
    heap_use_start(7, 63);
    struct hak_heap *heap = hak_registry_take();
    CHECK(hak_heap_refill(heap, 3) != NULL);
    size_t held = heap_use_held(heap, 3);
    size_t bytes_out = heap->bytes_out;
    CHECK(held > 0);
    hak_registry_orphan(heap);
    CHECK(hak_registry_take() == heap);
    CHECK_EQUAL(heap_use_held(heap, 3), held);
    CHECK_EQUAL(heap->bytes_out, bytes_out);
}

static void test_orphans_keep_blocks(void **state) {
    harness_expect_well(keep_blocks, NULL);
}

/* ---- fork, without the handlers of the layers below ---- */

struct fork_case {
    struct hak_heap *heaps[5];
    struct hak_heap *survivor;
};

static void after_fork(void *argument) {
    const struct fork_case *c = argument;
    bool is_seen[6] = {false};
    hak_registry_fork_child(c->survivor);
    CHECK_EQUAL(hak_registry_orphan_count(), c->survivor ? 4 : 5);
    struct hak_heap *heap;
    while ((heap = hak_registry_take_orphan()) != NULL) {
        CHECK(heap != c->survivor);
        CHECK(heap->id <= 5);
        CHECK(!is_seen[heap->id]);
        is_seen[heap->id] = true;
        CHECK(hak_heap_refill(heap, 1) != NULL); /* its lock is free */
    }
    CHECK_EQUAL(hak_registry_orphan_count(), 0);
    CHECK_EQUAL(hak_registry_take()->id, 6);
}

static void fork_with_heaps(void *argument) {
    struct fork_case c;
    heap_use_start(7, 63);
    for (int i = 0; i < 5; i++)
        c.heaps[i] = hak_registry_take();
    hak_registry_orphan(c.heaps[1]);
    c.survivor = argument ? c.heaps[3] : NULL;
    hak_registry_fork_prepare();
    harness_expect_well(after_fork, &c);
    hak_registry_fork_parent();
    CHECK_EQUAL(hak_registry_orphan_count(), 1);
    CHECK(hak_registry_take() == c.heaps[1]);
    for (int i = 0; i < 5; i++)
        CHECK(hak_heap_refill(c.heaps[i], 1) != NULL); /* all locks are free again */
}

static void test_fork(void **state) {
    int with_survivor;
    harness_expect_well(fork_with_heaps, NULL);
    harness_expect_well(fork_with_heaps, &with_survivor);
}

/* ---- threads ---- */

enum { THREADS = 4, TURNS = 5000 };

static void *take_and_orphan(void *argument) {
    for (int i = 0; i < TURNS; i++) {
        struct hak_heap *heap = hak_registry_take();
        CHECK(heap != NULL);
        CHECK(hak_registry_heap(heap->id) == heap);
        heap->epoch++; /* nobody else has it: the thread sanitizer would know */
        hak_registry_orphan(heap);
    }
    return NULL;
}

static void share_between_threads(void *argument) {
    pthread_t threads[THREADS];
    heap_use_start(7, 63);
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(take_and_orphan, NULL);
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    CHECK(hak_registry_count() <= THREADS);
    CHECK_EQUAL(hak_registry_orphan_count(), hak_registry_count());
}

static _Atomic bool g_is_over;

/* Whatever the count includes is complete, though no lock is taken. */
static void *look_at_all(void *argument) {
    while (!atomic_load_explicit(&g_is_over, memory_order_relaxed)) {
        uint32_t count = hak_registry_count();
        for (uint32_t id = 1; id <= count; id++) {
            const struct hak_heap *heap = hak_registry_heap(id);
            CHECK(heap != NULL);
            CHECK_EQUAL(heap->id, id);
            CHECK_EQUAL(heap->magazines.tag, id << HAK_TAG_ID_SHIFT);
        }
    }
    return NULL;
}

static void make_while_others_look(void *argument) {
    enum { HEAPS = 600 }; /* more than a leaf */
    heap_use_start(7, 63);
    pthread_t thread = harness_thread(look_at_all, NULL);
    for (int i = 0; i < HEAPS; i++)
        CHECK(hak_registry_take() != NULL);
    atomic_store(&g_is_over, true);
    harness_join(thread);
    CHECK_EQUAL(hak_registry_count(), HEAPS);
}

static void test_threads(void **state) {
    harness_expect_well(share_between_threads, NULL);
    harness_expect_well(make_while_others_look, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),    cmocka_unit_test(test_orphans),
        cmocka_unit_test(test_reaped), cmocka_unit_test(test_orphans_keep_blocks),
        cmocka_unit_test(test_fork),   cmocka_unit_test(test_threads),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
