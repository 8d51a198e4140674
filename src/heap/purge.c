/* src/heap/purge.c — free pages of idle slabs go back to the kernel. SPDX-License-Identifier: MIT */

/*
 * A few survivors, or blocks in the magazines of a thread that sleeps, pin slabs which are otherwise
 * empty. Their pages without a block go back; the slabs stay.
 *
 *   hak_heap_purge_idle -> purge_gather       under the heap's lock: hak_slab_set_hold_idle
 *                       -> hak_vm_purge_ranges   without it
 *                       -> hak_slab_release_held
 */

#include "base/atomic.h"
#include "heap/heap.h"
#include "heap/registry.h"
#include "vm/vm.h"

static struct {
    uint32_t heap_id;          /* the next to look at; 0: none */
    unsigned class_index;      /* the next of it */
    uint32_t held_id;          /* whose slabs are held; for the child of a fork */
    struct hak_slab_hold hold; /* written under the heap's lock */
} g_purge;

/* Holds idle slabs of the heap from where the last piece ended. True: the heap is done. */
static bool purge_gather(struct hak_heap *heap) HAK_REQUIRES(heap->lock) {
    for (; g_purge.class_index < HAK_CLASS_COUNT; g_purge.class_index++) {
        struct hak_slab_set *set = &heap->slabs[g_purge.class_index];
        if (set->slab_count > 0 && !hak_slab_set_hold_idle(set, g_purge.class_index, &g_purge.hold))
            return false;
    }
    g_purge.class_index = 1;
    return true;
}

bool hak_heap_purge_idle(bool is_new_epoch) {
    uint32_t count = hak_registry_count();
    if (is_new_epoch && g_purge.heap_id == 0 && count > 0) {
        g_purge.heap_id = 1;
        g_purge.class_index = 1;
    }
    if (g_purge.heap_id == 0 || !hak_vm_can_purge_ranges())
        return false;
    while (g_purge.heap_id != 0 && g_purge.hold.range_count == 0) {
        struct hak_heap *heap = hak_registry_heap(g_purge.heap_id);
        hak_lock_acquire(&heap->lock);
        g_purge.held_id = heap->id;
        bool is_done = purge_gather(heap);
        hak_lock_release(&heap->lock);
        if (is_done)
            g_purge.heap_id = g_purge.heap_id < count ? g_purge.heap_id + 1 : 0;
    }
    if (g_purge.hold.range_count > 0) {
        struct hak_heap *heap = hak_registry_heap(g_purge.held_id);
        /* Single ranges are not worth a system call each where the kernel cannot take many. */
        bool is_purged = hak_vm_purge_ranges(g_purge.hold.ranges, g_purge.hold.range_count,
                                             HAK_CAUSE_EPOCH) == 0;
        hak_lock_acquire(&heap->lock);
        hak_slab_release_held(heap->slabs, &g_purge.hold, is_purged);
        hak_lock_release(&heap->lock);
    }
    return g_purge.heap_id != 0;
}

size_t hak_heap_purge_held(void) {
    return g_purge.hold.slab_count;
}

void hak_heap_purge_fork_child(void) {
    struct hak_heap *heap = hak_registry_heap(g_purge.held_id);
    if (heap && g_purge.hold.slab_count > 0)
        hak_slab_release_held(heap->slabs, &g_purge.hold, false);
    g_purge.hold.is_cut_off = false;
    g_purge.heap_id = 0;
}
