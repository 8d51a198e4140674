/* src/heap/lifecycle.c — which heap a thread works on, from its first call to its last. SPDX-License-Identifier: MIT */

/*
 *   no heap (empty) --first allocation--> has a heap --destructors' first round--> late
 *
 * A thread that only frees stays without one. Late threads (other libraries' destructors come after ours,
 * and libc frees a thread's buffers after them all) borrow an orphan for each allocation and free as
 * strangers.
 */

#include "arena/pagemap.h"
#include "base/atomic.h"
#include "base/fatal.h"
#include "heap/heap.h"
#include "heap/registry.h"
#include "heap/remote.h"
#include "prim/prim.h"
#include "stats/ledger.h"
#include "vm/share.h"

/*
 * Bytes. Larger blocks leave the magazines of an orphan: a few of them pin more memory than they save
 * time (10^5 short threads, 32 at a time: 64 MiB resident at the end, and 174 MiB with all kept).
 */
enum { LIFECYCLE_KEPT_SIZE_MAX = 1024 };

_Thread_local struct hak_thread hak_thread;

struct hak_heap *hak_heap_current(void) {
    return hak_thread.heap;
}

/* ---- closed fast paths ---- */

/* Counters for the heap of the calling thread, and one more thread in the file. */
static void lifecycle_observe(struct hak_heap *heap) {
    if (heap->counters == NULL)
        heap->counters = hak_share_take_heap();
    hak_thread.counters = heap->counters;
    hak_atomic_add_relaxed(&hak_stat_file->header.thread_count, 1);
}

static void lifecycle_point_to(struct hak_heap *heap) {
    hak_thread.heap = heap;
    if (hak_stat_file)
        lifecycle_observe(heap);
    else
        hak_thread_magazines = &heap->magazines;
}

static void lifecycle_point_to_none(void) {
    hak_thread.heap = NULL;
    hak_thread.counters = NULL;
    hak_thread_magazines = (struct hak_magazines *)&hak_heap_empty;
}

void hak_heap_close(void) {
    hak_pagemap_close();
    struct hak_heap *heap = hak_thread.heap;
    if (heap) {
        lifecycle_point_to_none();
        lifecycle_point_to(heap);
    }
}

void hak_heap_close_fork_child(void) {
    struct hak_heap *heap = hak_thread.heap;
    if (hak_stat_file == NULL)
        hak_pagemap_open();
    if (heap) {
        lifecycle_point_to_none();
        lifecycle_point_to(heap);
    }
}

bool hak_heap_is_late(void) {
    return hak_thread.is_late;
}

struct hak_heap *hak_heap_acquire(void) {
    struct hak_heap *heap = hak_heap_current();
    if (heap)
        return heap;
    heap = hak_registry_take();
    if (heap == NULL || hak_thread.is_late)
        return heap;
    lifecycle_point_to(heap); /* before arming, which may allocate */
    /* Without the hook the heap's memory stays with it after the thread's end; nothing breaks. */
    int error = hak_prim_thread_exit_arm(heap);
    (void)error;
    return heap;
}

void hak_heap_return(struct hak_heap *heap) {
    if (heap != hak_heap_current())
        hak_registry_orphan(heap);
}

static void lifecycle_thread_exit(void *value) {
    struct hak_heap *heap = value;
    hak_assert(heap == hak_heap_current());
    /* At once, and not in the last round of destructors: nothing says which round this is. A thread that
     * needed its first heap in a destructor comes here late, and would wait for rounds that never come. */
    hak_remote_post_all(heap);
    hak_heap_flush_above(heap, LIFECYCLE_KEPT_SIZE_MAX);
    hak_thread.is_late = true;
    lifecycle_point_to_none();
    hak_registry_orphan(heap); /* the small magazines stay filled: the next thread starts warm */
}

int hak_heap_init(void) {
    return hak_prim_thread_exit_register(lifecycle_thread_exit);
}

/* The caller is the orphan's thread meanwhile. After a fork it may have gathered something. */
static void lifecycle_empty_orphan(struct hak_heap *heap) {
    hak_remote_post_all(heap);
    hak_heap_flush_above(heap, 0);
}

/* Orphans emptied per epoch: bounds what one slow path pays for. */
enum { LIFECYCLE_REAP_MAX = 64 };

void hak_heap_reap(uint32_t epoch) {
    struct hak_heap *heap;
    for (int i = 0; i < LIFECYCLE_REAP_MAX; i++) {
        heap = hak_registry_take_idle_orphan(epoch);
        if (heap == NULL)
            return;
        lifecycle_empty_orphan(heap);
        hak_registry_return_reaped(heap);
    }
}

/*
 * One at a time, from the newest to the reaped ones: threads that begin meanwhile find the others on the list, and
 * make no heaps that would never die.
 */
static void lifecycle_flush_orphans(void) {
    struct hak_heap *heap;
    for (size_t left = hak_registry_orphan_count(); left > 0; left--) {
        if ((heap = hak_registry_take_orphan()) == NULL)
            return;
        lifecycle_empty_orphan(heap);
        hak_registry_return_reaped(heap);
    }
}

void hak_heap_trim(void) {
    struct hak_heap *own = hak_heap_current();
    if (own) {
        hak_remote_post_all(own);
        hak_heap_flush_above(own, 0);
    }
    lifecycle_flush_orphans();
    for (uint32_t id = 1; id <= hak_registry_count(); id++) {
        struct hak_heap *heap = hak_registry_heap(id);
        hak_lock_acquire(&heap->lock);
        hak_remote_drain(heap);
        for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++)
            hak_slab_set_trim(&heap->slabs[class_index]);
        hak_lock_release(&heap->lock);
    }
}

struct hak_heap_stats hak_heap_stats(void) {
    struct hak_heap_stats stats = {.heap_count = hak_registry_count(),
                                   .orphan_count = hak_registry_orphan_count()};
    for (uint32_t id = 1; id <= stats.heap_count; id++) {
        struct hak_heap *heap = hak_registry_heap(id);
        hak_lock_acquire(&heap->lock);
        hak_remote_drain(heap);
        stats.bytes_out += heap->bytes_out;
        stats.refills += heap->refill_count;
        stats.flushes += heap->flush_count;
        stats.remote_frees += heap->remote_count;
        hak_lock_release(&heap->lock);
    }
    return stats;
}
