/* src/heap/fork.c — fork with other threads inside the allocator. SPDX-License-Identifier: MIT */

/*
 * prepare takes every lock in order (docs/concurrency.md), so no other thread is inside a slow path
 * when memory is copied; a fast path cut in half loses at most one block, because the slot is
 * written before the top. In the child the other threads do not exist: their heaps become orphans,
 * magazines as they are. Until our parent or child handler runs, the forking thread passes through
 * locks freely: handlers of other libraries run in between and allocate.
 *
 * Such a handler may even fork. Then the locks stay with the thread until its outermost fork is over, in
 * each process it is in by then:
 *
 *   prepare           depth 1: takes the locks
 *     prepare         depth 2
 *     parent | child  depth 1: has the locks still | again, after the child's work
 *   parent | child    depth 0: sets them free
 */

#include "heap/fork.h"

#include "arena/meta.h"
#include "arena/pool.h"
#include "base/atomic.h"
#include "base/lock.h"
#include "heap/heap.h"
#include "heap/registry.h"
#include "heap/remote.h"
#include "large/big.h"
#include "prim/prim.h"
#include "stats/ledger.h"
#include "vm/share.h"
#include "vm/vm.h"

static struct {
    _Atomic uint32_t generation;      /* [A] */
    _Atomic(void (*)(void)) on_child; /* [A] NULL: nobody wants to know */
    unsigned depth;                   /* forks within forks; the thread that holds all locks */
    bool is_in_child;                 /* likewise: on_child is due when they are free */
} g_fork;

uint32_t hak_fork_generation(void) {
    return hak_atomic_load_relaxed(&g_fork.generation);
}

static void fork_take_locks(void) {
    hak_registry_fork_prepare();
    hak_big_fork_prepare();
    hak_meta_fork_prepare();
    hak_pool_fork_prepare();
    hak_vm_fork_prepare();
    hak_share_fork_prepare();
    hak_lock_fork_begin();
}

static void fork_free_locks(void) {
    hak_lock_fork_end();
    hak_share_fork_parent();
    hak_vm_fork_parent();
    hak_pool_fork_parent();
    hak_meta_fork_parent();
    hak_big_fork_parent();
    hak_registry_fork_parent();
}

/* Afterwards all locks are free. */
static void fork_clean_child(void) {
    hak_lock_fork_end();
    bool was_observed = hak_stat_file != NULL;
    hak_share_fork_child(); /* first: until then counters are the parent's */
    hak_vm_fork_child();
    hak_pool_fork_child();
    hak_meta_fork_child();
    hak_big_fork_child();
    hak_remote_fork_child();
    hak_registry_fork_child(hak_heap_current());
    if (was_observed) {
        hak_share_fork_child_end();
        hak_heap_close_fork_child();
    }
    hak_heap_purge_fork_child();
    hak_atomic_add_relaxed(&g_fork.generation, 1);
}

static void fork_tell_child(void) {
    void (*on_child)(void) = hak_atomic_load_relaxed(&g_fork.on_child);
    if (on_child)
        on_child();
}

static void fork_prepare(void) {
    if (!hak_lock_is_forking())
        fork_take_locks();
    g_fork.depth++;
}

static void fork_parent(void) {
    if (--g_fork.depth > 0)
        return;
    bool is_in_child = g_fork.is_in_child;
    g_fork.is_in_child = false; /* while the locks are held: the next one may fork at once */
    fork_free_locks();
    if (is_in_child) /* of a handler's fork, which went on into the fork around it */
        fork_tell_child();
}

static void fork_child(void) {
    bool goes_on = --g_fork.depth > 0;
    g_fork.is_in_child = goes_on;
    fork_clean_child();
    if (goes_on)
        fork_take_locks();
    else
        fork_tell_child();
}

void hak_fork_on_child(void (*run)(void)) {
    hak_atomic_store_relaxed(&g_fork.on_child, run);
}

int hak_fork_init(void) {
    return hak_prim_fork_register(fork_prepare, fork_parent, fork_child);
}
