/* test/interleave/scenarios_pool.c — units, Big mappings, epochs, and the lock under all. SPDX-License-Identifier: MIT */

#include <hakmem/hakmem.h>

#include "api/tick.h"
#include "arena/pool.h"
#include "base/lock.h"
#include "large/big.h"
#include "large/span.h"
#include "scenarios.h"
#include "scheduled_prim.h"
#include "step.h"
#include "use.h"

/* ---- the pool: take, put, extend, and memory on its way to the kernel ---- */

static void *g_spans[3];

static void pool_setup(void) {
    use_start();
    for (int i = 0; i < 3; i++)
        g_spans[i] = use_alloc(USE_SPAN);
    use_free(g_spans[1]); /* dirty, between two that live */
}

static void purge(void) {
    hak_pool_owe_all();
    hak_pool_pay();
}

static void use_span(void) {
    use_free(use_alloc(USE_SPAN));
    use_alloc(USE_SPAN / 2);
}

static void grow_span(void) {
    use_forget(g_spans[0]);
    char *p = hakmem_realloc(g_spans[0], 3 * USE_SPAN / 2);
    EXPECT(p != NULL);
    hakmem_free(p);
}

const struct scenario scenario_pool_purge = {
    .name = "pool_purge",
    .setup = pool_setup,
    .body = {purge, use_span, grow_span},
    .check = use_balance,
};

/* The kernel refuses, and epochs give nothing back any more. */
static void refused_setup(void) {
    pool_setup();
    prim_refuse_purges();
}

static void refused_check(void) {
    EXPECT(hak_pool_debt() == 0);
    hak_pool_epoch();
    hak_pool_epoch();
    EXPECT(hak_pool_pay() == 0);
    EXPECT(hak_pool_debt() == 0);
    hak_pool_epoch();
    hak_pool_epoch();
    EXPECT(hak_pool_debt() == 0); /* it has been asked now */
    use_free_all();
    EXPECT(hak_span_stats().count == 0);
}

const struct scenario scenario_pool_refused = {
    .name = "pool_refused",
    .setup = refused_setup,
    .body = {purge, use_span, grow_span},
    .check = refused_check,
};

/* What is owed is free and dirty, at each moment that nobody is at it. */
static void debt_check(void) {
    struct hak_pool_stats stats = hak_pool_stats();
    EXPECT(hak_pool_debt() <= stats.free - stats.free_zeroed);
    use_balance();
}

static void owe(void) {
    hak_pool_epoch();
    hak_pool_epoch();
}

static void pay(void) {
    hak_pool_pay();
    hak_pool_pay();
}

const struct scenario scenario_pool_debt = {
    .name = "pool_debt",
    .setup = pool_setup,
    .body = {owe, use_span, pay},
    .check = debt_check,
};

/* ---- of two that free the same block one is told ---- */

static void *g_twice;
static enum hak_misuse g_told[2];

static void twice_span_setup(void) {
    use_start();
    g_twice = use_alloc(USE_SPAN);
    use_forget(g_twice);
}

static void twice_big_setup(void) {
    use_start();
    g_twice = use_alloc(USE_BIG);
    use_forget(g_twice);
}

static void free_span_twice(void) {
    g_told[schedule_self()] = hak_span_free(g_twice);
}

static void free_big_twice(void) {
    g_told[schedule_self()] = hak_big_free(g_twice);
}

static void twice_check(void) {
    EXPECT((g_told[0] == HAK_MISUSE_NONE) != (g_told[1] == HAK_MISUSE_NONE));
    EXPECT(g_told[0] == HAK_MISUSE_DOUBLE_FREE || g_told[1] == HAK_MISUSE_DOUBLE_FREE);
    use_balance();
}

const struct scenario scenario_span_twice = {
    .name = "span_twice",
    .setup = twice_span_setup,
    .body = {free_span_twice, free_span_twice},
    .check = twice_check,
};

const struct scenario scenario_big_twice = {
    .name = "big_twice",
    .setup = twice_big_setup,
    .body = {free_big_twice, free_big_twice},
    .check = twice_check,
};

/* ---- Big blocks ---- */

static void *g_big;

static void big_setup(void) {
    use_start();
    g_big = use_alloc(USE_BIG);
}

static void free_big(void) {
    use_free(g_big);
}

static void take_big(void) {
    use_alloc(USE_BIG);
}

static void drain_big(void) {
    hak_big_purge(0, 0, HAK_CAUSE_TRIM);
}

const struct scenario scenario_big_cache = {
    .name = "big_cache",
    .setup = big_setup,
    .body = {free_big, take_big, drain_big},
    .check = use_balance,
};

/* The first two, which both need the table of where they end. */
static void *g_bigs[2];

static void keep_big(void) {
    g_bigs[schedule_self()] = use_alloc(USE_BIG);
}

static void big_first_check(void) {
    for (int i = 0; i < 2; i++)
        EXPECT(hakmem_malloc_usable_size(g_bigs[i]) >= USE_BIG);
    use_balance();
}

const struct scenario scenario_big_first = {
    .name = "big_first",
    .setup = use_start,
    .body = {keep_big, keep_big},
    .check = big_first_check,
};

/* ---- epochs ---- */

static void tick_setup(void) {
    use_start();
    use_free(use_alloc(USE_SPAN));
    hak_tick_start_helper(); /* as with the option; prim_run_helper() is it */
}

static void near_tick(void) {
    use_free(use_alloc(USE_SMALL));
    use_near_epoch();
}

static void next_epoch(void) {
    prim_advance_clock(600);
    hak_tick();
}

static unsigned g_epochs; /* ended while threads ran */
static unsigned g_inside;

/* wrap.c: instead of hak_ace_epoch(). */
unsigned scenario_epochs;

void scenario_epoch_begins(void) {
    scenario_epochs++;
    if (!schedule_is_running())
        return;
    g_inside++;
    schedule_step(STEP_STORE, &g_inside, "epoch", __func__);
    EXPECT(g_inside == 1);
    g_epochs++;
}

void scenario_epoch_ends(void) {
    if (schedule_is_running())
        g_inside--;
}

static void one_epoch_check(void) {
    EXPECT(g_epochs == 1);
    use_balance();
}

const struct scenario scenario_tick_two = {
    .name = "tick_two",
    .setup = tick_setup,
    .prologue = {near_tick, near_tick},
    .body = {hak_tick, hak_tick},
    .check = one_epoch_check,
};

const struct scenario scenario_tick_helper = {
    .name = "tick_helper",
    .setup = tick_setup,
    .prologue = {near_tick},
    .body = {hak_tick, prim_run_helper},
    .check = one_epoch_check,
};

/* The next epoch is over while a thread is still at the last: two are never at it. */
static void epochs_check(void) {
    EXPECT(g_epochs >= 1);
    use_balance();
}

const struct scenario scenario_tick_next = {
    .name = "tick_next",
    .bound = 2,
    .setup = tick_setup,
    .prologue = {near_tick, near_tick},
    .body = {hak_tick, next_epoch},
    .check = epochs_check,
};

/* Pages of idle slabs go to the kernel while their owner uses them. */
enum { IDLE_BLOCKS = 24 };

static void *g_idle[IDLE_BLOCKS];

static void have_idle(void) {
    use_free(use_alloc(64));
    use_near_epoch();
    for (int i = 0; i < IDLE_BLOCKS; i++)
        g_idle[i] = use_alloc(USE_SMALL);
    for (int i = 2; i < IDLE_BLOCKS; i++)
        use_free(g_idle[i]);
    use_near_epoch(); /* the magazine's last block goes home with the next */
}

static void use_idle(void) {
    void *p = use_alloc(USE_SMALL);
    use_alloc(USE_SMALL);
    use_free(g_idle[0]);
    use_free(p);
    use_free(g_idle[1]);
}

const struct scenario scenario_tick_idle = {
    .name = "tick_idle",
    .setup = use_start,
    .prologue = {have_idle, near_tick},
    .body = {use_idle, hak_tick},
    .check = use_balance,
};

/* ---- the lock ---- */

static struct hak_lock g_lock = HAK_LOCK_INIT(HAK_RANK_POOL);
static unsigned g_count;

static void count_under_lock(void) {
    for (int i = 0; i < 2; i++) {
        hak_lock_acquire(&g_lock);
        schedule_step(STEP_LOAD, &g_count, "count", __func__);
        unsigned count = g_count;
        schedule_step(STEP_STORE, &g_count, "count", __func__);
        g_count = count + 1;
        hak_lock_release(&g_lock);
    }
}

static void count_by_trying(void) {
    if (hak_lock_try_acquire(&g_lock)) {
        schedule_step(STEP_LOAD, &g_count, "count", __func__);
        unsigned count = g_count;
        schedule_step(STEP_STORE, &g_count, "count", __func__);
        g_count = count + 2;
        hak_lock_release(&g_lock);
    } else {
        hak_lock_acquire(&g_lock);
        g_count += 2;
        hak_lock_release(&g_lock);
    }
}

static void count_check(void) {
    EXPECT(g_count == 6);
    EXPECT(g_lock.state == 0);
}

const struct scenario scenario_lock_three = {
    .name = "lock_three",
    .bound = 2,
    .body = {count_under_lock, count_under_lock, count_by_trying},
    .check = count_check,
};
