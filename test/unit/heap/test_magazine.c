/* test/unit/heap/test_magazine.c — refill, flush and growth of magazines. SPDX-License-Identifier: MIT */

/*
 * Goal: magazines grow 7, 15, 31, … up to the policy's limit, refill with half of what they hold
 * and send the oldest half home; every block is in one place at a time; misuse is found when a block
 * comes home, and at once where there are no magazines.
 * Method: one thread, a child per test; magazines are read directly, slabs asked where a block is.
 */

#include "arena/meta.h"
#include "unit/heap/heap_use.h"

enum { CLASS = 4, START = 7, MAX = 63 };

static bool is_home(const void *p) {
    return hak_slab_examine(p, heap_use_class(p)) == HAK_MISUSE_DOUBLE_FREE;
}

/* The storage's shape: a NULL below the first slot, blocks between it and the top. */
static void check_magazine(const struct hak_heap *heap, unsigned class_index) {
    const struct hak_magazine *magazine = &heap->magazines.of_class[class_index];
    if (heap->capacity[class_index] == 0) {
        CHECK(*magazine->top == NULL);
        CHECK(magazine->top == magazine->limit);
        return;
    }
    void **storage = magazine->limit - heap->capacity[class_index];
    CHECK(*storage == NULL);
    CHECK(magazine->top >= storage);
    CHECK(magazine->top <= magazine->limit);
    for (void **slot = storage + 1; slot <= magazine->top; slot++) {
        CHECK(*slot != NULL);
        CHECK_EQUAL(heap_use_owner(*slot), heap->id);
        CHECK_EQUAL(heap_use_class(*slot), class_index);
        CHECK_EQUAL(hak_slab_examine(*slot, class_index), HAK_MISUSE_NONE); /* not also at home */
    }
}

static void use_empty_heap(void *argument) {
    int on_stack;
    heap_use_start(START, MAX);
    CHECK(hak_thread_magazines == &hak_heap_empty);
    CHECK(hak_heap_current() == NULL);
    for (unsigned class_index = 0; class_index < HAK_CLASS_COUNT; class_index++)
        CHECK(hak_magazine_pop(class_index * 16) == NULL);
    CHECK(!hak_magazine_push(NULL));
    CHECK(!hak_magazine_push(&on_stack));
    CHECK(!hak_magazine_push((void *)UINTPTR_MAX));
    CHECK(hak_heap_current() == NULL); /* none of that needed a heap */

    void *p = heap_use_alloc(CLASS);
    const struct hak_heap *heap = hak_heap_current();
    CHECK(heap != NULL);
    CHECK_EQUAL(heap->id, 1);
    CHECK_EQUAL(heap->magazines.tag, 1 << HAK_TAG_ID_SHIFT);
    CHECK(hak_thread_magazines == &heap->magazines);
    CHECK(hak_magazine_pop(0) == NULL); /* class 0 never has any */
    CHECK(!hak_magazine_push(NULL));
    CHECK(!hak_magazine_push(&on_stack));
    CHECK(!hak_magazine_push((void *)(uintptr_t)heap)); /* our own data is no block */
    CHECK(hak_magazine_push(p));
}

static void test_empty_heap(void **state) {
    harness_expect_well(use_empty_heap, NULL);
}

static void use_all(struct hak_heap *heap, unsigned class_index) {
    while (hak_magazine_pop(class_index * 16)) {
    }
    CHECK_EQUAL(heap_use_held(heap, class_index), 0);
}

/* Each refill finds room doubled, up to the limit, and takes half of it. */
static void grow_by_refill(void *argument) {
    heap_use_start(START, MAX);
    struct hak_heap *heap = hak_heap_acquire();
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        for (unsigned capacity = START, i = 0; i < 6; i++) {
            heap->activity[class_index] = 2; /* what grows has been busy in this epoch */
            void *p = hak_heap_refill(heap, class_index);
            CHECK(p != NULL);
            CHECK_EQUAL(heap->capacity[class_index], capacity);
            size_t taken = (capacity + 1) / 2;
            size_t held = heap_use_held(heap, class_index);
            /* less only where the slabs had no more: none is made for the rest */
            const struct hak_slab_set *set = &heap->slabs[class_index];
            CHECK(held + 1 == taken || harness_is_zero(set->bins, sizeof set->bins));
            CHECK(held + 1 <= taken);
            check_magazine(heap, class_index);
            use_all(heap, class_index);
            capacity = capacity < MAX ? capacity * 2 + 1 : MAX;
        }
    }
    CHECK_EQUAL(heap->refill_count, 6 * (HAK_CLASS_COUNT - 1));
}

static void grow_by_flush(void *argument) {
    void *blocks[200];
    heap_use_start(START, MAX);
    for (int i = 0; i < 200; i++)
        blocks[i] = heap_use_alloc(CLASS);
    struct hak_heap *heap = hak_heap_current();
    use_all(heap, CLASS);
    uint64_t flushes = heap->flush_count;
    heap_use_policy(START, 255);
    for (unsigned i = 0; i < 200; i++) { /* room doubles: nothing goes home */
        heap_use_free(blocks[i]);
        CHECK_EQUAL(heap_use_held(heap, CLASS), i + 1);
        check_magazine(heap, CLASS);
    }
    CHECK_EQUAL(heap->capacity[CLASS], 255);
    CHECK_EQUAL(heap->flush_count, flushes + 2); /* 63 -> 127 -> 255 */
    for (int i = 199; i >= 0; i--)
        CHECK(heap_use_alloc(CLASS) == blocks[i]); /* last in, first out */
}

/* A zeroed block goes past the magazine, but into the books. */
static void take_zeroed(void *argument) {
    const unsigned class_index = hak_size_class_of(8192);
    const size_t size = hak_size_classes[class_index].size;
    heap_use_start(START, MAX);
    struct hak_heap *heap = hak_heap_acquire();
    CHECK(heap != NULL);
    void *p = hak_heap_take_zeroed(heap, class_index);
    CHECK(p != NULL);
    CHECK(harness_is_zero(p, size));
    CHECK_EQUAL(heap->bytes_out, size);
    CHECK_EQUAL(heap_use_held(heap, class_index), 0);
    heap_use_free(p);
    hak_heap_flush_above(heap, 0);
    CHECK_EQUAL(heap->bytes_out, 0);
}

static void test_zeroed(void **state) {
    harness_expect_well(take_zeroed, NULL);
}

static void test_growth(void **state) {
    harness_expect_well(grow_by_refill, NULL);
    harness_expect_well(grow_by_flush, NULL);
}

/* The modes of the engine: full size at once; the first size for ever. */
static void use_fixed_size(void *argument) {
    uint16_t capacity = *(uint16_t *)argument;
    void *blocks[600];
    heap_use_start(capacity, capacity);
    for (int i = 0; i < 600; i++) {
        blocks[i] = heap_use_alloc(CLASS);
        CHECK_EQUAL(hak_heap_current()->capacity[CLASS], capacity);
    }
    for (int i = 0; i < 600; i++) {
        heap_use_free(blocks[i]);
        CHECK_EQUAL(hak_heap_current()->capacity[CLASS], capacity);
        check_magazine(hak_heap_current(), CLASS);
    }
}

static void test_fixed_size(void **state) {
    for (uint16_t capacity = 3; capacity < 2048; capacity = (uint16_t)(capacity * 4 + 3))
        harness_expect_well(use_fixed_size, &capacity);
}

/* Fresh blocks come in ascending order, but for the turn at the end of a slab. */
static void take_in_order(void *argument) {
    heap_use_start(START, MAX);
    uint32_t size = hak_size_classes[CLASS].size;
    const char *last = heap_use_alloc(CLASS);
    int turns = 0;
    for (int i = 1; i < 200; i++) {
        const char *p = heap_use_alloc(CLASS);
        if (p != last + size)
            turns++;
        last = p;
    }
    CHECK(turns <= 1);
}

static void test_order(void **state) {
    harness_expect_well(take_in_order, NULL);
}

static void flush_oldest(void *argument) {
    void *blocks[20];
    heap_use_start(START, START);
    for (int i = 0; i < 20; i++)
        blocks[i] = heap_use_alloc(CLASS);
    struct hak_heap *heap = hak_heap_current();
    uint32_t size = hak_size_classes[CLASS].size;
    CHECK_EQUAL(heap_use_held(heap, CLASS), 0); /* five refills of four */
    CHECK_EQUAL(heap->bytes_out, 20 * size);
    for (int i = 0; i < START; i++)
        heap_use_free(blocks[i]);
    CHECK_EQUAL(heap->flush_count, 0);
    CHECK_EQUAL(heap_use_held(heap, CLASS), START);
    CHECK_EQUAL(heap->bytes_out, 20 * size); /* in a magazine is still out */
    heap_use_free(blocks[START]);
    CHECK_EQUAL(heap->flush_count, 1);
    CHECK_EQUAL(heap_use_held(heap, CLASS), 4);
    CHECK_EQUAL(heap->bytes_out, 16 * size);
    for (int i = 0; i <= START; i++)
        CHECK_EQUAL(is_home(blocks[i]), i < 4);
    for (int i = START; i >= 4; i--)
        CHECK(hak_magazine_pop(CLASS * 16) == blocks[i]);
    CHECK(hak_magazine_pop(CLASS * 16) == NULL);
}

static void flush_everything(void *argument) {
    void *blocks[100];
    heap_use_start(START, MAX);
    for (int i = 0; i < 100; i++)
        blocks[i] = heap_use_alloc(1 + (unsigned)i % (HAK_CLASS_COUNT - 1));
    for (int i = 0; i < 90; i++)
        heap_use_free(blocks[i]);
    struct hak_heap *heap = hak_heap_current();
    hak_heap_flush_above(heap, 0);
    size_t bytes = 0;
    for (int i = 90; i < 100; i++)
        bytes += hak_size_classes[heap_use_class(blocks[i])].size;
    CHECK_EQUAL(heap->bytes_out, bytes);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        CHECK_EQUAL(heap_use_held(heap, class_index), 0);
        check_magazine(heap, class_index);
    }
    hak_heap_flush_above(heap, 0); /* nothing to do */
    CHECK_EQUAL(heap->bytes_out, bytes);
    for (int i = 90; i < 100; i++)
        heap_use_free(blocks[i]);
    hak_heap_flush_above(heap, 0);
    CHECK_EQUAL(heap->bytes_out, 0);
    CHECK(harness_is_zero(heap->slabs, sizeof heap->slabs)); /* empty slabs went to the pool */
}

/* Only blocks above a size leave. */
static void flush_above(void *argument) {
    size_t limit = *(size_t *)argument;
    heap_use_start(START, MAX);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++)
        heap_use_free(heap_use_alloc(class_index));
    struct hak_heap *heap = hak_heap_current();
    size_t kept = 0;
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++)
        if (hak_size_classes[class_index].size <= limit)
            kept += heap_use_held(heap, class_index) * hak_size_classes[class_index].size;
    hak_heap_flush_above(heap, limit);
    CHECK_EQUAL(heap->bytes_out, kept);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        bool is_kept = hak_size_classes[class_index].size <= limit;
        CHECK_EQUAL(heap_use_held(heap, class_index) > 0, is_kept);
        CHECK_EQUAL(harness_is_zero(&heap->slabs[class_index], sizeof heap->slabs[class_index]),
                    !is_kept);
        check_magazine(heap, class_index);
    }
}

static void test_flush(void **state) {
    harness_expect_well(flush_oldest, NULL);
    harness_expect_well(flush_everything, NULL);
    size_t limits[] = {0, 16, 1024, 1025, 65535, 65536, HAK_MID_MAX - 1, HAK_MID_MAX};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        harness_expect_well(flush_above, &limits[i]);
}

/* checks=1: no magazines; every block goes straight from its slab and back. */
static void use_without_magazines(void *argument) {
    void *blocks[100];
    heap_use_start(0, 0);
    for (unsigned i = 0; i < 100; i++) {
        blocks[i] = heap_use_alloc(1 + i % (HAK_CLASS_COUNT - 1));
        CHECK_EQUAL(hak_heap_current()->capacity[heap_use_class(blocks[i])], 0);
    }
    for (int i = 0; i < 100; i++) {
        unsigned class_index = heap_use_class(blocks[i]);
        CHECK(!is_home(blocks[i]));
        CHECK(!hak_magazine_push(blocks[i]));
        heap_use_free(blocks[i]);
        if (heap_use_owner(blocks[i]) == 1) /* else its slab, empty, has left already */
            CHECK_EQUAL(hak_heap_examine(1, class_index, blocks[i]), HAK_MISUSE_DOUBLE_FREE);
    }
    CHECK_EQUAL(hak_heap_current()->bytes_out, 0);
}

static void test_without_magazines(void **state) {
    harness_expect_well(use_without_magazines, NULL);
}

/* ---- random ---- */

enum { HELD_MAX = 3000, STEPS = 200000 / HARNESS_SLOWNESS };

static struct {
    uint64_t *p;
    uint64_t mark;
} g_held[HELD_MAX];

static void run_at_random(void *argument) {
    heap_use_start(START, MAX);
    size_t bytes = 0;
    for (int step = 0; step < STEPS; step++) {
        size_t i = harness_below(step / 20000 % 2 ? HELD_MAX / 10 : HELD_MAX);
        if (g_held[i].p == NULL) {
            unsigned limit = harness_below(20) ? 40 : HAK_CLASS_COUNT - 1;
            g_held[i].p = heap_use_alloc(1 + (unsigned)harness_below(limit));
            g_held[i].mark = harness_random_of(&g_harness.random);
            size_t size = hak_size_classes[heap_use_class(g_held[i].p)].size;
            g_held[i].p[0] = g_held[i].mark;
            g_held[i].p[size / 8 - 1] = g_held[i].mark;
            bytes += size;
        } else {
            size_t size = hak_size_classes[heap_use_class(g_held[i].p)].size;
            CHECK_EQUAL(g_held[i].p[0], g_held[i].mark);
            CHECK_EQUAL(g_held[i].p[size / 8 - 1], g_held[i].mark);
            g_held[i].p[0] = 0;
            g_held[i].p[size / 8 - 1] = 0;
            heap_use_free(g_held[i].p);
            g_held[i].p = NULL;
            bytes -= size;
        }
        if (step % 1000 == 0) {
            size_t in_magazines = 0;
            for (unsigned c = 1; c < HAK_CLASS_COUNT; c++) {
                check_magazine(hak_heap_current(), c);
                in_magazines += heap_use_held(hak_heap_current(), c) * hak_size_classes[c].size;
            }
            CHECK_EQUAL(hak_heap_current()->bytes_out, bytes + in_magazines);
        }
    }
}

static void test_random(void **state) {
    harness_expect_well(run_at_random, NULL);
}

/* ---- misuse ---- */

static void foretell(const void *p, const char *function, const char *what) {
    harness_foretell("hakmem: fatal: %s(%p): %s; class %" PRIu32 ", owner heap 1\n", function, p,
                     what, hak_size_classes[heap_use_class(p)].size);
}

/* Freed twice into the magazine: told when the second copy comes home. */
static void free_twice(void *argument) {
    void *blocks[40];
    heap_use_start(START, START);
    for (int i = 0; i < 40; i++)
        blocks[i] = heap_use_alloc(CLASS);
    foretell(blocks[0], "free", "double free");
    heap_use_free(blocks[0]);
    heap_use_free(blocks[0]);
    for (int i = 1; i < 40; i++)
        heap_use_free(blocks[i]);
}

static void free_inside(void *argument) {
    heap_use_start(START, START);
    char *p = heap_use_alloc(CLASS);
    foretell(p + 16, "free", "inside a block, not its start");
    heap_use_free(p + 16);
    hak_heap_flush_above(hak_heap_current(), 0);
}

static void free_twice_without_magazines(void *argument) {
    heap_use_start(0, 0);
    void *p = heap_use_alloc(CLASS);
    void *keeper = heap_use_alloc(CLASS); /* the slab stays */
    CHECK(hak_unit_of(keeper) == hak_unit_of(p));
    foretell(p, "free_sized", "double free");
    heap_use_free(p);
    hak_heap_flush(hak_heap_current(), CLASS, p, "free_sized");
}

/* All blocks of a slab come home, and it leaves, before the second copy of one does. */
static void free_twice_the_last(void *argument) {
    heap_use_start(START, START);
    void *p = heap_use_alloc(CLASS);
    foretell(p, "free", "double free");
    heap_use_free(p);
    heap_use_free(p);
    hak_heap_flush_above(hak_heap_current(), 0);
}

static void test_misuse(void **state) {
    harness_expect_foretold_abort(free_twice, NULL);
    harness_expect_foretold_abort(free_twice_the_last, NULL);
    harness_expect_foretold_abort(free_inside, NULL);
    harness_expect_foretold_abort(free_twice_without_magazines, NULL);
}

/* ---- epochs ---- */

enum { EPOCHS = 16 };

/* A burst of a thousand blocks, once. */
static struct hak_heap *use_burst(size_t count) {
    void **blocks = malloc(count * sizeof *blocks);
    for (size_t i = 0; i < count; i++)
        blocks[i] = heap_use_alloc(CLASS);
    for (size_t i = 0; i < count; i++)
        heap_use_free(blocks[i]);
    free(blocks);
    return hak_heap_current();
}

/* Idle magazines are emptied, their slabs leave, and their room goes back to where it began. */
static void idle_burst(void *argument) {
    heap_use_start(START, 2047);
    heap_use_free(heap_use_alloc(CLASS));
    size_t budget = hak_heap_budget_used();
    struct hak_heap *heap = use_burst(5000);
    CHECK_EQUAL(heap->capacity[CLASS], 2047);
    CHECK(hak_heap_budget_used() > budget);
    uint32_t epoch = 1;
    hak_heap_note_epoch(heap, epoch++); /* the burst was in it: nothing happens */
    CHECK_EQUAL(heap->capacity[CLASS], 2047);
    CHECK(hak_heap_take_pressure(CLASS) > 0);
    CHECK_EQUAL(hak_heap_take_pressure(CLASS), 0);
    for (int i = 0; i < EPOCHS; i++) {
        unsigned before = heap->capacity[CLASS];
        hak_heap_note_epoch(heap, epoch++);
        CHECK(heap->capacity[CLASS] == before / 2 || before == START); /* by steps */
        check_magazine(heap, CLASS);
    }
    CHECK_EQUAL(heap_use_held(heap, CLASS), 0);
    CHECK_EQUAL(heap->slabs[CLASS].slab_count, 1); /* the spare */
    CHECK_EQUAL(heap->capacity[CLASS], START);
    CHECK_EQUAL(hak_heap_budget_used(), budget);
    CHECK_EQUAL(heap->bytes_out, 0);
    CHECK_EQUAL(hak_heap_take_pressure(CLASS), 0);
}

/* A magazine that hits is not idle, though no slow path sees it: half of it stays from epoch to epoch. */
static void busy_without_refill(void *argument) {
    void *blocks[8];
    heap_use_start(START, 63);
    struct hak_heap *heap = use_burst(200);
    uint32_t epoch = 1;
    hak_heap_note_epoch(heap, epoch++);
    for (int i = 0; i < 3; i++) {
        size_t held = heap_use_held(heap, CLASS);
        CHECK(held > 1);
        blocks[i] = heap_use_alloc(CLASS); /* another fill than before */
        hak_heap_note_epoch(heap, epoch++);
        CHECK(heap_use_held(heap, CLASS) > 0);
        check_magazine(heap, CLASS);
    }
    for (int i = 0; i < 3; i++)
        heap_use_free(blocks[i]);
}

/* checks=1: there is nothing to shrink, and epochs cost nothing. */
static void epochs_without_magazines(void *argument) {
    hak_heap_policy.is_exact = true;
    heap_use_start(0, 0);
    struct hak_heap *heap = use_burst(100);
    void *p = heap_use_alloc(CLASS);
    size_t meta = hak_meta_bytes();
    for (uint32_t epoch = 1; epoch < 100; epoch++)
        hak_heap_note_epoch(heap, epoch);
    CHECK_EQUAL(hak_meta_bytes(), meta);
    CHECK_EQUAL(heap->capacity[CLASS], 0);
    CHECK_EQUAL(hak_heap_budget_used(), 0);
    heap_use_free(p);
}

/* A limit that was taken back binds magazines that had grown to it. */
static void limit_taken_back(void *argument) {
    heap_use_start(START, 255);
    struct hak_heap *heap = use_burst(1000);
    CHECK_EQUAL(heap->capacity[CLASS], 255);
    CHECK(heap_use_held(heap, CLASS) > 63);
    heap_use_policy(START, 63);
    hak_heap_note_epoch(heap, 1);
    CHECK_EQUAL(heap->capacity[CLASS], 63);
    check_magazine(heap, CLASS);
    size_t out = heap_use_held(heap, CLASS) * hak_size_classes[CLASS].size;
    CHECK_EQUAL(heap->bytes_out, out);
    use_burst(1000);
    CHECK_EQUAL(heap->capacity[CLASS], 63);
}

static void test_epochs(void **state) {
    harness_expect_well(idle_burst, NULL);
    harness_expect_well(busy_without_refill, NULL);
    harness_expect_well(epochs_without_magazines, NULL);
    harness_expect_well(limit_taken_back, NULL);
}

/* ---- the budget ---- */

/* The first size of each magazine is free of the budget. */
static void grow_within_budget(void *argument) {
    size_t size = hak_size_classes[CLASS].size;
    heap_use_start(START, 2047);
    hak_heap_policy.budget_bytes = 0;
    struct hak_heap *heap = use_burst(500);
    CHECK_EQUAL(heap->capacity[CLASS], START);
    hak_heap_policy.budget_bytes = 40 * size;
    use_burst(500);
    CHECK_EQUAL(heap->capacity[CLASS], 31); /* the next would be 63: 56 slots more than the first */
    CHECK_EQUAL(hak_heap_budget_used(), (31 - START) * size);
    CHECK(hak_heap_prewarm(heap, CLASS, 60) < 60);
    CHECK_EQUAL(heap->capacity[CLASS], 31);
    hak_heap_policy.budget_bytes = SIZE_MAX;
    use_burst(5000);
    CHECK_EQUAL(heap->capacity[CLASS], 2047);
    hak_heap_trim();
    CHECK_EQUAL(hak_heap_budget_used(), 0);
}

static void *burst_in_thread(void *argument) {
    use_burst(5000);
    return NULL;
}

/* What threads used comes back when they are gone and their heaps were emptied. */
static void budget_balances(void *argument) {
    enum { THREADS = 6 };
    pthread_t threads[THREADS];
    heap_use_start(START, 2047);
    use_burst(1);
    CHECK_EQUAL(hak_heap_budget_used(), 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < THREADS; i++)
            threads[i] = harness_thread(burst_in_thread, NULL);
        for (int i = 0; i < THREADS; i++)
            harness_join(threads[i]);
        CHECK(hak_heap_budget_used() > 0);
        if (round % 2) /* an epoch's reaping does what trim does, for those idle */
            hak_heap_reap((uint32_t)round * 10);
        else
            hak_heap_trim();
        CHECK_EQUAL(hak_heap_budget_used(), 0);
    }
    hak_heap_trim();
    CHECK_EQUAL(hak_heap_stats().bytes_out, 0);
}

static void test_budget(void **state) {
    harness_expect_well(grow_within_budget, NULL);
    harness_expect_well(budget_balances, NULL);
}

/* ---- to begin anew ---- */

/* Another policy is about to come: what was grown is gone, and its blocks with it; all can be used again. */
static void drop(void *argument) {
    heap_use_start(START, 2047);
    struct hak_heap *heap = hak_heap_acquire();
    size_t metadata = hak_meta_bytes();
    use_burst(5000);
    void *kept = heap_use_alloc(CLASS);
    CHECK(heap->capacity[CLASS] > START);
    CHECK(hak_heap_budget_used() > 0);
    hak_heap_drop_magazines(heap);
    CHECK_EQUAL(hak_meta_bytes(), metadata);
    CHECK_EQUAL(hak_heap_budget_used(), 0);
    CHECK_EQUAL(heap->bytes_out, hak_size_classes[CLASS].size);
    for (unsigned class_index = 0; class_index < HAK_CLASS_COUNT; class_index++) {
        CHECK_EQUAL(heap->capacity[class_index], 0);
        CHECK(*heap->magazines.of_class[class_index].top == NULL);
        CHECK(heap->magazines.of_class[class_index].top ==
              heap->magazines.of_class[class_index].limit);
    }
    heap_use_policy(0, 0);
    use_burst(100);
    heap_use_free(kept);
    CHECK_EQUAL(heap->bytes_out, 0); /* each free reached its slab at once */
    heap_use_policy(START, 63);
    use_burst(1000);
    CHECK(heap->capacity[CLASS] >= START);
    check_magazine(heap, CLASS);
}

static void test_drop(void **state) {
    harness_expect_well(drop, NULL);
}

/* ---- prewarm ---- */

static void prewarm_stays(void *argument) {
    enum { COUNT = 300 };
    void *blocks[COUNT];
    heap_use_start(START, 63); /* less than what was asked for */
    struct hak_heap *heap = hak_heap_acquire();
    CHECK(hak_heap_prewarm(heap, CLASS, COUNT) >= COUNT);
    CHECK_EQUAL(heap_use_held(heap, CLASS), COUNT);
    check_magazine(heap, CLASS);
    for (uint32_t epoch = 1; epoch < EPOCHS; epoch++)
        hak_heap_note_epoch(heap, epoch);
    CHECK_EQUAL(heap_use_held(heap, CLASS), COUNT);
    uint64_t refills = heap->refill_count;
    for (int i = 0; i < COUNT; i++)
        blocks[i] = heap_use_alloc(CLASS);
    CHECK_EQUAL(heap->refill_count, refills);
    for (int i = 0; i < COUNT; i++)
        heap_use_free(blocks[i]);
    CHECK_EQUAL(hak_heap_prewarm(heap, CLASS, 10), COUNT);      /* has more already */
    CHECK_EQUAL(hak_heap_prewarm(heap, CLASS, SIZE_MAX), 4095); /* of several slabs */
    CHECK_EQUAL(hak_heap_prewarm(heap, HAK_CLASS_COUNT - 1, 20), 20);
    hak_heap_trim(); /* asked for by name: nothing stays */
    CHECK_EQUAL(heap_use_held(heap, CLASS), 0);
    CHECK_EQUAL(heap->capacity[CLASS], START);
    CHECK_EQUAL(heap->bytes_out, 0);
}

static void prewarm_exact(void *argument) {
    hak_heap_policy.is_exact = true;
    heap_use_start(0, 0);
    CHECK_EQUAL(hak_heap_prewarm(hak_heap_acquire(), CLASS, 10), 0);
    CHECK_EQUAL(hak_heap_current()->bytes_out, 0);
}

static void test_prewarm(void **state) {
    harness_expect_well(prewarm_stays, NULL);
    harness_expect_well(prewarm_exact, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_epochs),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_drop),
        cmocka_unit_test(test_prewarm),
        cmocka_unit_test(test_empty_heap),
        cmocka_unit_test(test_growth),
        cmocka_unit_test(test_zeroed),
        cmocka_unit_test(test_fixed_size),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_flush),
        cmocka_unit_test(test_without_magazines),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_misuse),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
