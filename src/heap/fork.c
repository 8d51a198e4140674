/* src/heap/fork.c — fork with other threads inside the allocator. SPDX-License-Identifier: MIT */

/*
 * prepare takes every lock in order (docs/concurrency.md), so no other thread is inside a slow path
 * when memory is copied; a fast path cut in half loses at most one block, because the slot is
 * written before the top. In the child the other threads do not exist: their heaps become orphans,
 * magazines as they are. Until our parent or child handler runs, the forking thread passes through
 * locks freely: handlers of other libraries run in between and allocate.
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
} g_fork;

uint32_t hak_fork_generation(void) {
    return hak_atomic_load_relaxed(&g_fork.generation);
}

static void fork_prepare(void) {
    hak_registry_fork_prepare();
    hak_big_fork_prepare();
    hak_meta_fork_prepare();
    hak_pool_fork_prepare();
    hak_vm_fork_prepare();
    hak_share_fork_prepare();
    hak_lock_fork_begin();
}

static void fork_parent(void) {
    hak_lock_fork_end();
    hak_share_fork_parent();
    hak_vm_fork_parent();
    hak_pool_fork_parent();
    hak_meta_fork_parent();
    hak_big_fork_parent();
    hak_registry_fork_parent();
}

static void fork_child(void) {
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
    void (*on_child)(void) = hak_atomic_load_relaxed(&g_fork.on_child);
    if (on_child)
        on_child();
}

void hak_fork_on_child(void (*run)(void)) {
    hak_atomic_store_relaxed(&g_fork.on_child, run);
}

int hak_fork_init(void) {
    return hak_prim_fork_register(fork_prepare, fork_parent, fork_child);
}
