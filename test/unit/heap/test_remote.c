/* test/unit/heap/test_remote.c — blocks freed by a thread that is not their heap's. SPDX-License-Identifier: MIT */

/*
 * Goal: a block freed elsewhere goes back to its own slab and to nobody else, its owner can have it
 * again, accounts agree; whatever owners do or do not do, freers go on, and what is on its way stays
 * bounded; misuse is found in the freer's hands or when the owner opens its mail; a fork loses no
 * more than the other threads had in their hands.
 * Method: threads that hand blocks over; rings between producers and consumers, every block signed;
 * owners that sleep; a child per test.
 */

#include <sched.h>

#include "arena/pool.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "heap/fork.h"
#include "heap/remote.h"
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

static void foretell(const void *p, const char *function, const char *what) {
    harness_foretell("hakmem: fatal: %s(%p): %s; class %" PRIu32 ", owner heap %" PRIu32 "\n",
                     function, p, what, hak_size_classes[heap_use_class(p)].size,
                     heap_use_owner(p));
}

static void *free_at_offset(void *argument) {
    const struct misuse *m = argument;
    char *p = (char *)(uintptr_t)m->offset;
    hak_heap_free_remote(heap_use_owner(p), heap_use_class(p), p, m->function);
    return NULL;
}

/* By a stranger, at once, though the owner has magazines: the block itself is looked at. */
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
    foretell(p, m.function, m.what);
    m.offset = (ptrdiff_t)(uintptr_t)p;
    harness_join(harness_thread(free_at_offset, &m));
}

/* By a thread with a heap: an interior pointer never gets as far as a record. */
static void *free_inside_with_heap(void *argument) {
    char *p = argument;
    heap_use_free(heap_use_alloc(CLASS));
    heap_use_free(heap_use_alloc(CLASS));
    for (int i = 0; i < 3; i++) { /* the first makes what the others are gathered in */
        void *blocks[] = {p + (i + 1) * (ptrdiff_t)hak_size_classes[CLASS].size, NULL};
        free_all(blocks);
    }
    foretell(p + 16, "free", "inside a block, not its start");
    heap_use_free(p + 16);
    return NULL;
}

static void commit_inside_with_heap(void *argument) {
    char *blocks[8];
    heap_use_start(7, 63);
    do { /* four neighbours */
        for (int i = 0; i < 8; i++)
            blocks[i] = heap_use_alloc(CLASS);
    } while (blocks[3] != blocks[0] + 3 * (ptrdiff_t)hak_size_classes[CLASS].size);
    harness_join(harness_thread(free_inside_with_heap, blocks[0]));
}

/* Twice by the same thread, one after the other: it has the first one still in its hands. */
static void *free_twice_at_once(void *argument) {
    struct owner_blocks {
        void *p[3];
    } *blocks = argument;
    heap_use_free(heap_use_alloc(CLASS));
    heap_use_free(blocks->p[0]); /* makes the heap's remote part */
    heap_use_free(blocks->p[1]);
    foretell(blocks->p[1], "sdallocx", "double free");
    CHECK(!hak_heap_gather(blocks->p[1], hak_pagemap_tag(hak_unit_of(blocks->p[1]))));
    hak_heap_free_remote(heap_use_owner(blocks->p[1]), CLASS, blocks->p[1], "sdallocx");
    return NULL;
}

static void commit_twice_at_once(void *argument) {
    void *blocks[3];
    heap_use_start(7, 63);
    for (int i = 0; i < 3; i++)
        blocks[i] = heap_use_alloc(CLASS);
    harness_join(harness_thread(free_twice_at_once, blocks));
}

/* The same for a block that would have gone home at once, had the owner's lock been free. */
static void *free_large_twice(void *argument) {
    void **blocks = argument;
    heap_use_free(heap_use_alloc(CLASS));
    heap_use_free(blocks[0]);
    heap_use_free(blocks[1]);
    foretell(blocks[1], "free", "double free");
    heap_use_free(blocks[1]);
    return NULL;
}

static void commit_large_twice(void *argument) {
    void *blocks[2];
    heap_use_start(7, 63);
    for (int i = 0; i < 2; i++)
        blocks[i] = heap_use_alloc(hak_size_class_of(8192));
    hak_lock_acquire(&hak_heap_current()->lock);
    harness_join(harness_thread(free_large_twice, blocks));
    hak_lock_release(&hak_heap_current()->lock);
}

/* Twice, by one thread or two, and sent: told when the owner opens its mail, and by the owner. */
struct twice {
    void *keeper; /* keeps the slab */
    void *p;
};

static void *free_once_and_end(void *argument) {
    const struct twice *twice = argument;
    heap_use_free(heap_use_alloc(CLASS));
    void *first = hak_heap_current()->remote ? NULL : twice->keeper;
    if (first)
        heap_use_free(first); /* at once, under the lock */
    heap_use_free(twice->p);
    return NULL;
}

static void *free_twice_with_post(void *argument) {
    const struct twice *twice = argument;
    free_once_and_end(argument);
    hak_remote_post_all(hak_heap_current());
    heap_use_free(twice->p);
    return NULL;
}

static void open_by_refill(void) {
    while (hak_magazine_pop(CLASS * 16)) {
    }
    heap_use_alloc(CLASS);
}

/* Taken before anything is on its way: no refill comes first. */
static void *g_for_flush[64];

static void open_by_flush(void) {
    CHECK(hak_atomic_load_relaxed(&hak_heap_current()->inbox) != NULL);
    for (int i = 0; i < 64; i++)
        heap_use_free(g_for_flush[i]);
}

static void open_by_trim(void) {
    hak_heap_trim();
}

static void open_by_stats(void) {
    hak_heap_stats();
}

static void open_by_epoch(void) {
    hak_heap_note_epoch(hak_heap_current(), 1);
}

struct drain_case {
    void (*open)(void);
    bool is_same_thread;
};

static void commit_twice_and_drain(void *argument) {
    const struct drain_case *c = argument;
    heap_use_start(63, 63);
    void *blocks[70];
    for (int i = 0; i < 70; i++)
        blocks[i] = heap_use_alloc(CLASS);
    for (int i = 0; i < 64; i++)
        g_for_flush[i] = heap_use_alloc(1);
    struct twice twice = {blocks[1], blocks[2]};
    foretell(twice.p, "free", "double free");
    harness_join(
        harness_thread(c->is_same_thread ? free_twice_with_post : free_once_and_end, &twice));
    if (!c->is_same_thread) {
        twice.keeper = blocks[3];
        harness_join(harness_thread(free_once_and_end, &twice));
    }
    c->open();
    CHECK(!"the owner finds it");
}

/* One of them by the owner, into its magazine: found when both have come home. */
static void commit_with_owner(void *argument) {
    heap_use_start(63, 63);
    void *blocks[4];
    for (int i = 0; i < 4; i++)
        blocks[i] = heap_use_alloc(CLASS);
    struct twice twice = {blocks[0], blocks[1]};
    foretell(twice.p, "free", "double free");
    heap_use_free(twice.p);
    harness_join(harness_thread(free_once_and_end, &twice));
    hak_heap_flush_above(hak_heap_current(), 0);
}

/*
 * Twice by two threads, and the first free lets the slab go: the second finds its units in the pool, or
 * in another slab, and must neither believe nor disturb it.
 */
enum stale { STALE_POSTED_LATE, STALE_LEFT, STALE_OTHER_CLASS, STALE_OTHER_OWNER };

static struct {
    void *p;
    void *warm;
    _Atomic int stage;
    bool posts_late;
} g_stale;

static void stale_wait(int stage) {
    while (atomic_load(&g_stale.stage) < stage)
        sched_yield();
}

static void *free_into_record(void *argument) {
    heap_use_free(heap_use_alloc(CLASS));
    heap_use_free(g_stale.warm); /* at once, under the lock */
    heap_use_free(g_stale.p);
    if (!g_stale.posts_late)
        hak_remote_post_all(hak_heap_current());
    atomic_store(&g_stale.stage, 1);
    stale_wait(2);
    hak_remote_post_all(hak_heap_current());
    atomic_store(&g_stale.stage, 3);
    return NULL;
}

static void *free_the_block(void *argument) {
    heap_use_free(g_stale.p); /* by a stranger: at once */
    return NULL;
}

static void *take_the_units(void *argument) {
    unsigned class_index = hak_size_class_of(2048);
    void *p;
    do
        p = heap_use_alloc(class_index);
    while (hak_unit_of(p) != hak_unit_of(g_stale.p));
    return NULL;
}

static void commit_stale(void *argument) {
    enum stale kind = *(enum stale *)argument;
    heap_use_start(7, 63);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++)
        hak_atomic_store_relaxed(&hak_slab_policy.spares[class_index], 0);
    g_stale.warm = heap_use_alloc(CLASS + 1);
    struct hak_heap *heap = hak_heap_current();
    unsigned blocks = hak_size_classes[CLASS].blocks;
    void **all = malloc(blocks * sizeof(void *));
    for (unsigned i = 0; i < blocks; i++) /* a slab of its own, all of it out */
        all[i] = heap_use_alloc(CLASS);
    g_stale.p = all[0];
    g_stale.posts_late = kind == STALE_POSTED_LATE;
    harness_foretell("hakmem: fatal: free(%p): double free; class %" PRIu32 ", owner %s\n",
                     g_stale.p, hak_size_classes[CLASS].size,
                     g_stale.posts_late ? "none" : "heap 1");
    pthread_t thread = harness_thread(free_into_record, NULL);
    stale_wait(1);
    for (unsigned i = 1; i < blocks; i++) { /* home, but nobody opens the mail */
        hak_lock_acquire(&heap->lock);
        hak_heap_put(heap, CLASS, &all[i], 1, "free");
        hak_lock_release(&heap->lock);
    }
    harness_join(harness_thread(free_the_block, NULL));
    CHECK_EQUAL(hak_pagemap_tag(hak_unit_of(g_stale.p)), HAK_KIND_SLAB_FREED);
    if (kind == STALE_OTHER_CLASS) {
        unsigned class_index = hak_size_class_of(4096);
        hak_pool_purge(HAK_CAUSE_TRIM);
        const void *p;
        do
            p = hak_heap_take_zeroed(heap, class_index); /* past the mail */
        while (hak_unit_of(p) != hak_unit_of(g_stale.p));
    }
    if (kind == STALE_OTHER_OWNER)
        harness_join(harness_thread(take_the_units, NULL));
    atomic_store(&g_stale.stage, 2);
    stale_wait(3);
    harness_join(thread);
    hak_heap_stats(); /* opens the mail */
    CHECK(!"it is found");
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
    harness_expect_foretold_abort(commit_inside_with_heap, NULL);
    harness_expect_foretold_abort(commit_twice_at_once, NULL);
    harness_expect_foretold_abort(commit_large_twice, NULL);
    harness_expect_foretold_abort(commit_with_owner, NULL);
    enum stale stale[] = {STALE_POSTED_LATE, STALE_LEFT, STALE_OTHER_CLASS, STALE_OTHER_OWNER};
    for (size_t i = 0; i < sizeof stale / sizeof stale[0]; i++)
        harness_expect_foretold_abort(commit_stale, &stale[i]);
    static void (*const ways[])(void) = {open_by_refill, open_by_flush, open_by_trim, open_by_stats,
                                         open_by_epoch};
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        for (int k = 0; k < 2; k++) {
            struct drain_case c = {ways[i], k == 1};
            harness_expect_foretold_abort(commit_twice_and_drain, &c);
        }
    }
}

/* ---- freers that do nothing more ---- */

/* Gathers a block that is too little to be sent, and notices an epoch. */
static void *gather_one(void *argument) {
    void **blocks = argument;
    heap_use_free(heap_use_alloc(CLASS));
    heap_use_free(blocks[0]); /* makes the heap's remote part */
    heap_use_free(blocks[1]);
    CHECK(hak_atomic_load_relaxed(&hak_registry_heap(1)->inbox) == NULL);
    hak_heap_note_epoch(hak_heap_current(), 1);
    CHECK(hak_atomic_load_relaxed(&hak_registry_heap(1)->inbox) != NULL);
    return NULL;
}

static void send_at_epoch(void *argument) {
    void *blocks[2];
    heap_use_start(7, 63);
    for (int i = 0; i < 2; i++)
        blocks[i] = heap_use_alloc(CLASS);
    harness_join(harness_thread(gather_one, blocks));
}

static void test_epoch(void **state) {
    harness_expect_well(send_at_epoch, NULL);
}

/* ---- owners that do nothing ---- */

/* Allocates what it is told to, then sleeps with its heap until it is woken, and ends. */
struct owner {
    pthread_t thread;
    struct hak_heap *heap;
    void **blocks;
    size_t count;
    unsigned class_first; /* classes by turns */
    unsigned class_count;
    _Atomic int stage; /* 0: allocates, 1: sleeps, 2: may end */
};

static void *owner_live(void *argument) {
    struct owner *owner = argument;
    for (size_t i = 0; i < owner->count; i++)
        owner->blocks[i] = heap_use_alloc(owner->class_first + (unsigned)(i % owner->class_count));
    owner->heap = hak_heap_current();
    atomic_store(&owner->stage, 1);
    while (atomic_load(&owner->stage) != 2)
        sched_yield();
    return NULL;
}

static void owner_start(struct owner *owner, size_t count, unsigned class_first,
                        unsigned class_count) {
    *owner = (struct owner){.count = count, .class_first = class_first, .class_count = class_count};
    owner->blocks = malloc((count + 1) * sizeof(void *));
    CHECK(owner->blocks != NULL);
    owner->blocks[count] = NULL;
    owner->thread = harness_thread(owner_live, owner);
    while (atomic_load(&owner->stage) == 0)
        sched_yield();
}

static void owner_end(struct owner *owner) {
    atomic_store(&owner->stage, 2);
    harness_join(owner->thread);
    free(owner->blocks);
}

static size_t held_bytes(const struct hak_heap *heap) {
    size_t bytes = 0;
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++)
        bytes += heap_use_held(heap, class_index) * hak_size_classes[class_index].size;
    return bytes;
}

/* All its blocks are home: each once, none missing. */
static void owner_check_home(const struct owner *owner) {
    CHECK_EQUAL(owner->heap->remote_count, owner->count);
    CHECK_EQUAL(owner->heap->bytes_out, held_bytes(owner->heap));
}

static void shuffle(void **blocks, size_t count) {
    for (size_t i = count; i > 1; i--) {
        size_t other = harness_below(i);
        void *p = blocks[i - 1];
        blocks[i - 1] = blocks[other];
        blocks[other] = p;
    }
}

/* More owners than a heap writes to at a time, in no order: packets are sent before they are full. */
static void free_for_many(void *argument) {
    enum { OWNERS = 11, COUNT = 3000 / HARNESS_SLOWNESS, ALL = OWNERS * COUNT };
    static struct owner owners[OWNERS];
    static void *all[ALL];
    heap_use_start(7, 63);
    heap_use_free(heap_use_alloc(CLASS)); /* a heap of our own */
    for (int i = 0; i < OWNERS; i++) {
        owner_start(&owners[i], COUNT, 1, 45);
        memcpy(all + (size_t)i * COUNT, owners[i].blocks, COUNT * sizeof(void *));
    }
    shuffle(all, ALL);
    for (size_t i = 0; i < ALL; i++)
        heap_use_free(all[i]);
    hak_remote_post_all(hak_heap_current());
    hak_heap_stats(); /* drains */
    for (int i = 0; i < OWNERS; i++)
        owner_check_home(&owners[i]);
    for (int i = 0; i < OWNERS; i++)
        owner_end(&owners[i]);
    hak_heap_trim();
    CHECK_EQUAL(hak_heap_stats().bytes_out, 0);
}

/* The same by several threads at once. */
static struct owner g_owners[6];

static void *free_share(void *argument) {
    size_t share = (uintptr_t)argument;
    heap_use_free(heap_use_alloc(CLASS));
    for (size_t i = 0; i < g_owners[0].count; i++) {
        for (int k = 0; k < 6; k++) {
            if ((i + (size_t)k) % 4 == share)
                heap_use_free(g_owners[k].blocks[i]);
        }
    }
    return NULL;
}

static void free_for_many_by_many(void *argument) {
    pthread_t threads[4];
    heap_use_start(7, 63);
    for (int i = 0; i < 6; i++)
        owner_start(&g_owners[i], 20000 / HARNESS_SLOWNESS, 1, 20);
    for (size_t i = 0; i < 4; i++)
        threads[i] = harness_thread(free_share, (void *)i);
    for (int i = 0; i < 4; i++)
        harness_join(threads[i]);
    hak_heap_stats();
    for (int i = 0; i < 6; i++)
        owner_check_home(&g_owners[i]);
    for (int i = 0; i < 6; i++)
        owner_end(&g_owners[i]);
    hak_heap_trim();
    CHECK_EQUAL(hak_heap_stats().bytes_out, 0);
}

static void test_many_owners(void **state) {
    harness_expect_well(free_for_many, NULL);
    harness_expect_well(free_for_many_by_many, NULL);
}

/*
 * One owner sleeps, and each block is a record of its own (they lie in as many words), so all packets
 * are soon on their way. They come back from an owner whose lock is free; nothing is lost.
 */
static void sleep_through_packets(void *argument) {
    enum { COUNT = 64 * 2000 / HARNESS_SLOWNESS };
    struct owner owner;
    heap_use_start(7, 63);
    heap_use_free(heap_use_alloc(CLASS));
    owner_start(&owner, COUNT, 1, 1);
    for (size_t place = 0; place < 64; place++) {
        for (size_t i = place; i < COUNT; i += 64)
            heap_use_free(owner.blocks[i]);
    }
    hak_remote_post_all(hak_heap_current());
    hak_heap_stats();
    owner_check_home(&owner);
    owner_end(&owner);
}

/* Somebody has the owner's lock for long: the freer waits for it when all its packets are on their way. */
static struct {
    struct owner owner;
    _Atomic size_t freed;
    _Atomic bool is_warm;
    _Atomic bool is_held;
} g_wait;

static void *free_scattered(void *argument) {
    heap_use_free(heap_use_alloc(CLASS));  /* a heap of its own */
    heap_use_free(g_wait.owner.blocks[0]); /* and something to gather in; this one goes at once */
    atomic_store(&g_wait.is_warm, true);
    while (!atomic_load(&g_wait.is_held))
        sched_yield();
    for (size_t place = 0; place < 64; place++) {
        for (size_t i = place ? place : 64; i < g_wait.owner.count; i += 64) {
            heap_use_free(g_wait.owner.blocks[i]);
            atomic_fetch_add(&g_wait.freed, 1);
        }
    }
    return NULL;
}

static void wait_for_owner(void *argument) {
    enum { COUNT = 64 * 2000 / HARNESS_SLOWNESS, RECORDS = 8 * 31, ROUNDS = 200 };
    heap_use_start(7, 63);
    owner_start(&g_wait.owner, COUNT, 1, 1);
    struct hak_heap *heap = g_wait.owner.heap;
    pthread_t thread = harness_thread(free_scattered, NULL);
    while (!atomic_load(&g_wait.is_warm))
        sched_yield();
    hak_lock_acquire(&heap->lock);
    atomic_store(&g_wait.is_held, true);
    size_t freed = 0;
    for (int still = 0; still < ROUNDS; still++) { /* until it does not get on */
        usleep(1000);
        if (atomic_load(&g_wait.freed) != freed)
            still = 0;
        freed = atomic_load(&g_wait.freed);
    }
    CHECK(freed >= RECORDS); /* so far it needed nobody */
    CHECK(freed < RECORDS + 64 * 32 + 64);
    CHECK(hak_atomic_load_relaxed(&heap->inbox) != NULL);
    hak_lock_release(&heap->lock);
    harness_join(thread);
    hak_heap_stats();
    owner_check_home(&g_wait.owner);
    owner_end(&g_wait.owner);
}

/* Blocks of 4 KiB and more are gathered, too, while somebody has the owner's lock: nobody waits. */
static void *free_large_ones(void *argument) {
    heap_use_free(heap_use_alloc(CLASS));
    heap_use_free(g_wait.owner.blocks[0]);
    atomic_store(&g_wait.is_warm, true);
    while (!atomic_load(&g_wait.is_held))
        sched_yield();
    for (size_t i = 1; i < g_wait.owner.count; i++) {
        heap_use_free(g_wait.owner.blocks[i]);
        atomic_fetch_add(&g_wait.freed, 1);
    }
    return NULL;
}

static void free_past_lock(void *argument) {
    enum { COUNT = 32, PATIENCE_MS = 20000 }; /* few enough for a heap's packets */
    unsigned first = hak_size_class_of(4096);
    heap_use_start(7, 63);
    owner_start(&g_wait.owner, COUNT, first, HAK_CLASS_COUNT - first);
    struct hak_heap *heap = g_wait.owner.heap;
    pthread_t thread = harness_thread(free_large_ones, NULL);
    while (!atomic_load(&g_wait.is_warm))
        sched_yield();
    hak_lock_acquire(&heap->lock);
    CHECK_EQUAL(heap->remote_count, 1); /* at once: the lock was free */
    atomic_store(&g_wait.is_held, true);
    for (int ms = 0; atomic_load(&g_wait.freed) < COUNT - 1; ms++) {
        CHECK(ms < PATIENCE_MS);
        usleep(1000);
    }
    CHECK_EQUAL(heap->remote_count, 1);
    hak_lock_release(&heap->lock);
    harness_join(thread);
    hak_heap_stats();
    owner_check_home(&g_wait.owner);
    owner_end(&g_wait.owner);
}

static void test_packets(void **state) {
    harness_expect_well(sleep_through_packets, NULL);
    harness_expect_well(wait_for_owner, NULL);
    harness_expect_well(free_past_lock, NULL);
}

/* What waits in a sleeper's inbox is bounded: its freers open it. */
static void bound_inbox(void *argument) {
    enum { COUNT = 4000, IDLE_BYTES = 256 * 1024, GATHERED = 128 * 1024 };
    unsigned class_index = hak_size_class_of(2048);
    struct owner owner;
    heap_use_start(7, 63);
    heap_use_free(heap_use_alloc(CLASS));
    owner_start(&owner, COUNT, class_index, 1);
    for (size_t i = 0; i < COUNT; i++) {
        heap_use_free(owner.blocks[i]);
        uint32_t waiting = hak_atomic_load_relaxed(&owner.heap->inbox_bytes);
        CHECK(waiting <= IDLE_BYTES);
        size_t home = owner.heap->remote_count * 2048;
        CHECK((i + 1) * 2048 - home <= IDLE_BYTES + GATHERED);
    }
    CHECK(owner.heap->remote_count > COUNT / 2);
    hak_remote_post_all(hak_heap_current());
    hak_heap_stats();
    owner_check_home(&owner);
    owner_end(&owner);
}

/* Blocks of an OS page and more are not gathered where the owner's lock is free. */
static void large_at_once(void *argument) {
    unsigned first = hak_size_class_of(4096);
    struct owner owner;
    heap_use_start(7, 63);
    heap_use_free(heap_use_alloc(CLASS));
    owner_start(&owner, HAK_CLASS_COUNT - first, first, HAK_CLASS_COUNT - first);
    for (size_t i = 0; i < owner.count; i++) {
        heap_use_free(owner.blocks[i]);
        CHECK_EQUAL(owner.heap->remote_count, i + 1);
    }
    owner_check_home(&owner);
    owner_end(&owner);
}

static void test_bounds(void **state) {
    harness_expect_well(bound_inbox, NULL);
    harness_expect_well(large_at_once, NULL);
}

/* ---- freers that go ---- */

/* A thread ends: what it had gathered goes, however little. */
static void *free_few(void *argument) {
    void **blocks = argument;
    heap_use_free(heap_use_alloc(CLASS));
    const struct hak_heap *owner = hak_registry_heap(heap_use_owner(blocks[1]));
    free_all(blocks);
    CHECK(hak_atomic_load_relaxed(&owner->inbox) == NULL); /* all of it is still gathered */
    return NULL;
}

static void send_at_exit(void *argument) {
    heap_use_start(63, 63);
    for (int round = 1; round <= 20; round++) {
        void *blocks[20] = {NULL};
        for (int i = 0; i < 1 + round % 19; i++)
            blocks[i] = heap_use_alloc(1 + (unsigned)i % 8);
        struct hak_heap *heap = hak_heap_current();
        hak_heap_stats();
        uint64_t before = heap->remote_count;
        harness_join(harness_thread(blocks[1] ? free_few : free_all, blocks));
        hak_heap_stats();
        CHECK_EQUAL(heap->remote_count, before + 1 + (unsigned)round % 19);
        CHECK_EQUAL(heap->bytes_out, held_bytes(heap));
    }
}

/* Its heap, packets and all, is another thread's next, and so again. */
static void *adopt_and_free(void *argument) {
    struct owner *owner = argument;
    static _Atomic size_t next;
    heap_use_free(heap_use_alloc(CLASS));
    CHECK_EQUAL(hak_heap_current()->id, 3); /* main has 1, the owner 2 */
    size_t end = atomic_load(&next) + 97;
    while (atomic_load(&next) < hak_min(end, owner->count))
        heap_use_free(owner->blocks[atomic_fetch_add(&next, 1)]);
    return NULL;
}

static void inherit_packets(void *argument) {
    enum { COUNT = 97 * 60 };
    struct owner owner;
    heap_use_start(7, 63);
    heap_use_free(heap_use_alloc(CLASS));
    owner_start(&owner, COUNT, 1, 7);
    shuffle(owner.blocks, COUNT);
    for (int i = 0; i < COUNT / 97; i++)
        harness_join(harness_thread(adopt_and_free, &owner));
    hak_heap_stats();
    owner_check_home(&owner);
    owner_end(&owner);
}

/* The owner has gone, and what is freed meanwhile is its adopter's. */
static void *take_all_of(void *argument) {
    void **expected = argument;
    size_t left = 0;
    heap_use_free(heap_use_alloc(CLASS + 1));
    CHECK_EQUAL(hak_heap_current()->id, 2);
    while (expected[left])
        left++;
    size_t count = left;
    for (size_t i = 0; i < count + 63; i++) { /* what lies in the adopted magazine first */
        const void *p = heap_use_alloc(CLASS);
        for (size_t k = 0; k < count; k++)
            left -= expected[k] == p;
    }
    CHECK_EQUAL(left, 0);
    return NULL;
}

static void adopt_blocks(void *argument) {
    struct owner owner;
    heap_use_start(7, 63);
    heap_use_free(heap_use_alloc(CLASS));
    owner_start(&owner, 40, CLASS, 1);
    void *blocks[41];
    memcpy(blocks, owner.blocks, sizeof blocks);
    CHECK_EQUAL(owner.heap->id, 2);
    owner_end(&owner);
    free_all(blocks);
    hak_remote_post_all(hak_heap_current());
    CHECK(hak_atomic_load_relaxed(&hak_registry_heap(2)->inbox) != NULL);
    harness_join(harness_thread(take_all_of, blocks));
}

static void test_gone(void **state) {
    harness_expect_well(send_at_exit, NULL);
    harness_expect_well(inherit_packets, NULL);
    harness_expect_well(adopt_blocks, NULL);
}

/* ---- strangers ---- */

enum { STRANGER_FREES = 32 };

/* The first frees of a thread without a heap go home one by one; who frees on is given a heap. */
static void *free_as_stranger(void *argument) {
    struct owner *owner = argument;
    for (uint64_t i = 0; i < owner->count; i++) {
        heap_use_free(owner->blocks[i]);
        if (i + 1 < STRANGER_FREES) {
            CHECK_EQUAL(owner->heap->remote_count, i + 1);
            CHECK(hak_heap_current() == NULL);
        }
    }
    CHECK_EQUAL(hak_heap_current() != NULL, owner->count >= STRANGER_FREES);
    return NULL;
}

static void be_stranger(void *argument) {
    size_t count = *(size_t *)argument;
    struct owner owner;
    heap_use_start(7, 63);
    owner_start(&owner, count, CLASS, 1);
    harness_join(harness_thread(free_as_stranger, &owner));
    CHECK_EQUAL(hak_registry_count(), count >= STRANGER_FREES ? 2 : 1);
    CHECK_EQUAL(hak_registry_orphan_count(), count >= STRANGER_FREES);
    hak_heap_stats();
    owner_check_home(&owner);
    owner_end(&owner);
}

/* The heap it is given may be the very one it frees for. */
static void *free_until_adopted(void *argument) {
    void **blocks = argument;
    uint32_t owner = heap_use_owner(blocks[0]);
    for (int i = 0; blocks[i]; i++)
        heap_use_free(blocks[i]);
    CHECK_EQUAL(hak_heap_current()->id, owner);
    return NULL;
}

static void adopt_own_blocks(void *argument) {
    struct owner owner;
    heap_use_start(7, 63);
    owner_start(&owner, 200, CLASS, 1);
    void *blocks[201];
    memcpy(blocks, owner.blocks, sizeof blocks);
    owner_end(&owner);
    harness_join(harness_thread(free_until_adopted, blocks));
    CHECK_EQUAL(hak_registry_count(), 1);
    hak_heap_trim();
    CHECK_EQUAL(hak_heap_stats().bytes_out, 0);
}

static void test_strangers(void **state) {
    size_t counts[] = {1, STRANGER_FREES - 1, STRANGER_FREES, 1000};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        harness_expect_well(be_stranger, &counts[i]);
    harness_expect_well(adopt_own_blocks, NULL);
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

/* ---- fork in the middle of it ---- */

enum { FORK_THREADS = 3, FORK_SLOTS = 4096, FORKS = 120 / HARNESS_SLOWNESS, FORK_AGAIN = 20000 };

static struct {
    _Atomic bool is_over;
    _Atomic(uintptr_t *) slots[FORK_SLOTS]; /* every live block is in one, or in a thread's hands */
} g_fork;

static void exchange(uint64_t *random) {
    uintptr_t *p = heap_use_alloc(CLASS);
    *p = (uintptr_t)p;
    p = atomic_exchange(&g_fork.slots[harness_random_of(random) % FORK_SLOTS], p);
    if (p == NULL)
        return;
    CHECK_EQUAL(*p, (uintptr_t)p);
    *p = 0;
    heap_use_free(p);
}

static void *exchange_until_over(void *argument) {
    uint64_t random = (uintptr_t)argument;
    while (!atomic_load_explicit(&g_fork.is_over, memory_order_relaxed))
        exchange(&random);
    return NULL;
}

/*
 * Every block is in one place: in a slot and out, or home. What the threads that are gone had in their
 * hands may be lost: a block, and one record on its way from an accumulator to a packet, of each.
 */
static void count_in_child(void *argument) {
    static uintptr_t *again[FORK_AGAIN];
    const size_t size = hak_size_classes[CLASS].size;
    for (int i = 0; i < FORK_SLOTS; i++) {
        uintptr_t *p = atomic_exchange(&g_fork.slots[i], NULL);
        if (p == NULL)
            continue;
        CHECK_EQUAL(hak_heap_examine(heap_use_owner(p), CLASS, p), HAK_MISUSE_NONE);
        CHECK_EQUAL(*p, (uintptr_t)p);
        *p = 0; /* in two slots: the second would find this */
        heap_use_free(p);
    }
    hak_heap_trim(); /* whatever is in two places is a double free here */
    size_t lost = hak_heap_stats().bytes_out;
    CHECK_EQUAL(lost % size, 0);
    CHECK(lost / size <= FORK_THREADS * (1 + 64));
    for (uintptr_t i = 0; i < FORK_AGAIN; i++) {
        again[i] = heap_use_alloc(CLASS);
        *again[i] = i;
    }
    for (uintptr_t i = 0; i < FORK_AGAIN; i++) {
        CHECK_EQUAL(*again[i], i); /* none was handed out twice */
        heap_use_free(again[i]);
    }
    hak_heap_trim();
    CHECK_EQUAL(hak_heap_stats().bytes_out, lost);
    if (argument) { /* its heaps are as good as any: again, with what is gathered half way */
        uint64_t random = 7;
        for (int i = 0; i < 3 * FORK_SLOTS; i++)
            exchange(&random);
        hak_heap_trim();
    }
}

/* The child goes on where the others stopped: their packets and accumulators are its orphans'. */
static void go_on_in_child(void *argument) {
    uint64_t random = 5;
    for (int i = 0; i < FORK_SLOTS; i++)
        exchange(&random);
    harness_expect_well(count_in_child, NULL); /* a grandchild */
    count_in_child(argument);
}

static void *adopt_in_child(void *argument) {
    uint64_t random = 9;
    for (int i = 0; i < FORK_SLOTS; i++)
        exchange(&random);
    return NULL;
}

/* New threads adopt the heaps of those that are gone, one after the other, and work with them. */
static void adopt_all_in_child(void *argument) {
    pthread_t threads[FORK_THREADS];
    uint32_t heaps = hak_registry_count();
    for (int i = 0; i < FORK_THREADS; i++)
        threads[i] = harness_thread(adopt_in_child, NULL);
    for (int i = 0; i < FORK_THREADS; i++)
        harness_join(threads[i]);
    CHECK_EQUAL(hak_registry_count(), heaps);
    count_in_child(argument);
}

static void fork_in_the_middle(void *argument) {
    pthread_t threads[FORK_THREADS];
    uint64_t random = 3;
    heap_use_start(7, 63);
    CHECK_EQUAL(hak_fork_init(), 0);
    exchange(&random);
    for (int i = 0; i < FORK_THREADS; i++)
        threads[i] = harness_thread(exchange_until_over, (void *)(uintptr_t)(i + 1));
    while (hak_registry_count() < FORK_THREADS + 1)
        exchange(&random);
    for (int i = 0; i < FORKS; i++) {
        int is_second;
        if (i % 3 == 0)
            harness_expect_well(count_in_child, &is_second);
        else if (i % 3 == 1 || HARNESS_IS_TSAN)
            harness_expect_well(go_on_in_child, NULL);
        else
            harness_expect_well(adopt_all_in_child, NULL);
        for (int k = 0; k < 100; k++)
            exchange(&random);
    }
    atomic_store(&g_fork.is_over, true);
    for (int i = 0; i < FORK_THREADS; i++)
        harness_join(threads[i]);
    for (int i = 0; i < FORK_SLOTS; i++) {
        uintptr_t *p = atomic_load(&g_fork.slots[i]);
        if (p)
            heap_use_free(p);
    }
    hak_heap_trim();
    CHECK_EQUAL(hak_heap_stats().bytes_out, 0); /* and the parent nothing at all */
}

static void test_fork(void **state) {
    harness_expect_well(fork_in_the_middle, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_home),    cmocka_unit_test(test_owner_gone),
        cmocka_unit_test(test_misuse),  cmocka_unit_test(test_many_owners),
        cmocka_unit_test(test_packets), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_gone),    cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_rings),   cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_fork),    cmocka_unit_test(test_epoch),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
