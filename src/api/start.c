/* src/api/start.c — start-up and the exit report. SPDX-License-Identifier: MIT */

/*
 *   hak_start -> options, policy, limits     no memory needed, no way to fail
 *             -> thread-exit hook
 *             -> the file to count in          if observed: before any block exists
 *             -> first arena                   may fail, and is tried again by the next call
 *             -> fork hooks                  last, without the lock: libc may allocate for them
 *
 * The first arena is made here, so that window and pagemap are fixed before any block or any second
 * thread can exist: the fast paths read them without order.
 */

#include "api/start.h"

#include "ace/ace.h"
#include "api/block.h"
#include "api/observed.h"
#include "api/tick.h"
#include "api/tune.h"
#include "arena/pool.h"
#include "base/atomic.h"
#include "base/lock.h"
#include "heap/fork.h"
#include "heap/heap.h"
#include "observe/report.h"
#include "options/options.h"
#include "prim/prim.h"
#include "stats/ledger.h"
#include "vm/share.h"
#include "vm/vm.h"

static struct {
    struct hak_lock lock;
    _Atomic bool is_ready;
    bool has_limits;      /* [lock] also options, policy, thread-exit hook */
    bool has_environment; /* [lock]; constructors */
    bool has_helper;      /* constructors, then constant */
} g_start = {.lock = HAK_LOCK_INIT(HAK_RANK_INIT)};

/* Before libc knows the environment the defaults hold; start_at_load() then comes again. */
static void start_options(void) {
    char **environment = hak_prim_environment();
    g_start.has_environment = environment != NULL;
    if (environment && !hak_prim_is_secure())
        hak_options_load(environment);
    hak_ace_init((enum hak_ace_mode)hak_options.ace, hak_options.checks);
}

/* From the first block on, so that every thread finds its fast paths closed. */
static void start_observing(void) {
    if (hak_options.stat[0] && hak_stat_file == NULL)
        hak_observed_begin();
}

static bool start_locked(void) {
    if (!g_start.has_limits) {
        start_options();
        hak_vm_init();
        /* With no pthread key left, heaps of exiting threads stay with nobody: a leak, no fault. */
        int error = hak_heap_init();
        (void)error;
        g_start.has_limits = true;
        start_observing();
    }
    if (!hak_pool_init())
        return false;
    hak_block_init();
    return true;
}

/* A child that could get no file is not observed any more: its fast paths are open again, realloc's too. */
static void start_forked_child(void) {
    hak_block_init();
    if (g_start.has_helper)
        hak_tick_start_helper();
}

static bool start_slow(void) {
    bool is_first = false;
    hak_lock_acquire(&g_start.lock);
    if (!hak_atomic_load_relaxed(&g_start.is_ready) && start_locked()) {
        is_first = true;
        /* Release: options and policy are there before anyone sees that start-up is done. Pairs with
         * the acquire in hak_is_started(). */
        hak_atomic_store_release(&g_start.is_ready, true);
    }
    hak_lock_release(&g_start.lock);
    if (is_first)
        hak_fork_on_child(start_forked_child);
    if (is_first && hak_fork_init() != 0)
        return true; /* no memory for libc's list: fork then works as without threads */
    return hak_atomic_load_relaxed(&g_start.is_ready);
}

bool hak_is_started(void) {
    return hak_atomic_load_acquire(&g_start.is_ready);
}

bool hak_start(void) {
    return HAK_LIKELY(hak_is_started()) || start_slow();
}

/* Early, so that our fork handlers are the first registered: prepare then runs last. */
__attribute__((constructor)) static void start_at_load(void) {
    start_slow(); /* to look first, as hak_start() does, costs a page fault more: read, then write */
    if (!g_start.has_environment) {
        struct hak_heap *heap = hak_heap_current();
        if (heap) /* checks=1 finds misuse at once only where there is no magazine */
            hak_heap_drop_magazines(heap);
        start_options();
        start_observing();
        hak_block_init();
    }
    hak_tune_at_start();
    g_start.has_helper = hak_options.helper;
    if (g_start.has_helper)
        hak_tick_start_helper();
}

__attribute__((destructor)) static void start_at_exit(void) {
    if (hak_options.report)
        hak_report_print("report at exit");
    if (hak_stat_file)
        hak_share_end();
}
