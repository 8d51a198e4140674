/* test/interleave/scenarios_fork.c — a thread forks while another is anywhere inside the library. SPDX-License-Identifier: MIT */

/*
 * Thread 0 forks; fork(2) itself is real, and so is the child: its memory is what it was when the kernel
 * copied it, with thread 1 between any two of its stores. What that one had in its hands is lost, and
 * nothing else (docs/concurrency.md).
 */

#include <hakmem/hakmem.h>
#include <pthread.h>
#include <string.h>

#include "api/tick.h"
#include "arena/meta.h"
#include "arena/pagemap.h"
#include "arena/pool.h"
#include "heap/remote.h"
#include "large/big.h"
#include "scenarios.h"
#include "scheduled_prim.h"
#include "use.h"

static void *g_own[2]; /* the forking thread's */
static void *g_odd;
static void *g_other[4];

static void have_blocks(void) {
    for (int i = 0; i < 2; i++)
        g_own[i] = use_alloc(USE_SMALL);
    g_odd = use_alloc(USE_ODD);
}

static void small_check(void) {
    use_balance_child(USE_SMALL_BLOCK, false);
}

static void fork_first(void) {
    schedule_fork(NULL, small_check);
    use_free(use_alloc(USE_SMALL));
}

static void large_check(void) {
    use_balance_child(0, true);
}

static void fork_large(void) {
    schedule_fork(NULL, large_check);
    use_free(use_alloc(USE_SMALL));
}

static void nothing_check(void) {
    use_balance_child(0, false);
}

static void fork_nothing(void) {
    schedule_fork(NULL, nothing_check);
    use_free(use_alloc(USE_SMALL));
}

/* ---- refill, flush, and the first slow path of all, which takes a heap ---- */

static void refill_and_flush(void) {
    void *p = use_alloc(USE_SMALL);
    use_free(use_alloc(USE_SMALL));
    use_free(p);
    use_alloc(100);
}

const struct scenario scenario_fork_small = {
    .name = "fork_small",
    .forks = true,
    .setup = use_start,
    .prologue = {have_blocks},
    .body = {fork_first, refill_and_flush},
    .check = use_balance,
};

/* hakmem's own memory goes over into its next unit, when the first remote free needs some. */
static void meta_full(void) {
    uintptr_t end;
    use_free(use_alloc(64));
    use_alloc(USE_SPAN);
    do
        end = (uintptr_t)hak_meta_alloc_for_ever(HAK_CACHE_LINE) + HAK_CACHE_LINE;
    while (end % HAK_UNIT_SIZE != 0);
}

static void free_remote(void) {
    use_free(g_own[0]);
    use_free(g_own[1]);
}

static void meta_check(void) {
    for (int i = 0; i < 40; i++) {
        char *piece = hak_meta_alloc(4096);
        EXPECT(hak_pagemap_tag(hak_unit_of(piece)) == HAK_KIND_META);
        EXPECT(hak_pagemap_tag(hak_unit_of(piece + 4095)) == HAK_KIND_META);
        memset(piece, 1, 4096);
    }
    /* A record of both, where thread 0 was busy. */
    use_balance_child(2 * USE_SMALL_BLOCK, false);
}

static void fork_meta(void) {
    schedule_fork(NULL, meta_check);
}

const struct scenario scenario_fork_meta = {
    .name = "fork_meta",
    .forks = true,
    .setup = use_start,
    .prologue = {have_blocks, meta_full},
    .body = {fork_meta, free_remote},
    .check = use_balance,
};

/* Other libraries' handlers allocate and free between ours. */
static void between(void) {
    use_free(use_alloc(USE_SMALL));
    use_free(use_alloc(USE_SPAN));
    void *p = use_alloc(USE_ODD);
    use_alloc(USE_ODD);
    use_free(p);
}

static void fork_with_handlers(void) {
    schedule_fork(between, small_check);
}

const struct scenario scenario_fork_handlers = {
    .name = "fork_handlers",
    .forks = true,
    .setup = use_start,
    .prologue = {have_blocks},
    .body = {fork_with_handlers, refill_and_flush},
    .check = use_balance,
};

/* ---- remote frees: the other thread sends, and the other thread drains ---- */

static void gather_first(void) {
    use_free(use_alloc(64));
    use_free(g_own[0]);
}

/* The child's next thread takes the vanished one's heap over, and sends before anybody has drained. */
static void *adopt_and_send(void *argument) {
    struct hak_heap *heap = hak_heap_acquire();
    EXPECT(heap->remote != NULL);
    hak_remote_post_all(heap);
    prim_thread_exits();
    return argument;
}

static void adopted_check(void) {
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, adopt_and_send, NULL) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
    use_balance_child(USE_SMALL_BLOCK, false);
}

static void fork_adopted(void) {
    schedule_fork(NULL, adopted_check);
    use_free(use_alloc(USE_SMALL));
}

/* Two records, a block each, in a packet. */
static void free_and_send(void) {
    use_free(g_own[1]);
    use_free(g_odd);
    hak_remote_post_all(hak_heap_current());
}

const struct scenario scenario_fork_remote = {
    .name = "fork_remote",
    .forks = true,
    .setup = use_start,
    .prologue = {have_blocks, gather_first},
    .body = {fork_adopted, free_and_send},
    .check = use_balance,
};

static void have_heap(void) {
    for (int i = 0; i < 4; i++)
        g_other[i] = use_alloc(USE_SMALL);
    use_free(use_alloc(64));
}

static void send_and_fork(void) {
    use_free(use_alloc(64));
    use_free(g_other[0]); /* home at once */
    use_free(g_other[1]);
    use_free(g_other[2]);
    hak_remote_post_all(hak_heap_current());
    schedule_fork(NULL, small_check);
}

const struct scenario scenario_fork_drain = {
    .name = "fork_drain",
    .forks = true,
    .setup = use_start,
    .prologue = {NULL, have_heap},
    .body = {send_and_fork, refill_and_flush},
    .check = use_balance,
};

/* ---- the other thread ends, or empties everybody's heaps ---- */

static void end(void) {
    use_free(g_other[0]);
    use_free(g_own[0]);
}

const struct scenario scenario_fork_exit = {
    .name = "fork_exit",
    .forks = true,
    .setup = use_start,
    .prologue = {have_blocks, have_heap},
    .body = {fork_first, end},
    .check = use_balance,
};

static void trim(void) {
    hakmem_malloc_trim(0);
}

const struct scenario scenario_fork_trim = {
    .name = "fork_trim",
    .forks = true,
    .setup = use_start,
    .prologue = {have_blocks, have_heap},
    .body = {fork_nothing, trim},
    .check = use_balance,
};

/* ---- spans, Big blocks, memory on its way to the kernel ---- */

static void use_span(void) {
    void *p = use_alloc(USE_SPAN);
    use_alloc(USE_SPAN);
    use_free(p);
}

const struct scenario scenario_fork_span = {
    .name = "fork_span",
    .forks = true,
    .setup = use_start,
    .prologue = {have_blocks},
    .body = {fork_large, use_span},
    .check = use_balance,
};

static void have_big(void) {
    use_free(use_alloc(USE_BIG)); /* kept, and its leaf of the table is there */
}

static void use_big(void) {
    use_free(use_alloc(USE_BIG));
    hak_big_purge(0, 0, HAK_CAUSE_TRIM);
    use_alloc(USE_BIG);
}

const struct scenario scenario_fork_big = {
    .name = "fork_big",
    .forks = true,
    .setup = use_start,
    .prologue = {have_blocks, have_big},
    .body = {fork_large, use_big},
    .check = use_balance,
};

static void have_dirty(void) {
    void *p = use_alloc(USE_SPAN);
    void *q = use_alloc(USE_SPAN);
    use_free(p);
    use_free(q);
}

static void purge(void) {
    hak_pool_owe_all();
    hak_pool_pay();
}

const struct scenario scenario_fork_purge = {
    .name = "fork_purge",
    .forks = true,
    .setup = use_start,
    .prologue = {have_blocks, have_dirty},
    .body = {fork_nothing, purge},
    .check = use_balance,
};

/* ---- the epoch's end, with slabs that have been idle ---- */

enum { IDLE_BLOCKS = 24, IDLE_EPOCHS = 2 };

/*
 * The next epoch is the second in which nobody has used the slab, and its pages go: one until the magazine's
 * last block goes home, and one after.
 */
static void near_epoch(void) {
    void *blocks[IDLE_BLOCKS];
    have_heap();
    use_near_epoch();
    for (int i = 0; i < IDLE_BLOCKS; i++)
        blocks[i] = use_alloc(USE_SMALL);
    for (int i = 1; i < IDLE_BLOCKS; i++)
        use_free(blocks[i]);
    for (int i = 0; i < IDLE_EPOCHS; i++)
        use_near_epoch();
}

/* The epoch is the child's to end, whoever was at it. */
static void epoch_check(void) {
    unsigned before = scenario_epochs;
    use_near_epoch();
    hak_tick();
    EXPECT(scenario_epochs > before);
    use_balance_child(0, false);
}

static void fork_epoch(void) {
    schedule_fork(NULL, epoch_check);
}

const struct scenario scenario_fork_epoch = {
    .name = "fork_epoch",
    .forks = true,
    .setup = use_start,
    .prologue = {have_blocks, near_epoch},
    .body = {fork_epoch, hak_tick},
    .check = use_balance,
};

/* A child that ends no epoch: pages of slabs were on their way to the kernel, or not; the slabs are there. */
const struct scenario scenario_fork_idle = {
    .name = "fork_idle",
    .forks = true,
    .setup = use_start,
    .prologue = {have_blocks, near_epoch},
    .body = {fork_nothing, hak_tick},
    .check = use_balance,
};
