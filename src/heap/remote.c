/* src/heap/remote.c — blocks freed by a thread that is not their heap's. SPDX-License-Identifier: MIT */

/*
 * The freer takes the owner's lock and puts the block back into its slab; it never keeps the block
 * for itself, so memory neither drifts between threads nor is shared line by line. While any block
 * of a slab is out, its tag is exact, and heaps never die: the owner read from the tag is the owner.
 */

#include "base/fatal.h"
#include "heap/heap.h"
#include "heap/registry.h"

void hak_heap_free_remote(uint32_t owner_id, unsigned class_index, void *p, const char *function) {
    struct hak_heap *owner = hak_registry_heap(owner_id);
    hak_check(owner != NULL);
    hak_lock_acquire(&owner->lock);
    hak_heap_put(owner, class_index, &p, 1, function);
    owner->remote_count++;
    hak_lock_release(&owner->lock);
}

enum hak_misuse hak_heap_examine(uint32_t owner_id, unsigned class_index, const void *p) {
    struct hak_heap *owner = hak_registry_heap(owner_id);
    hak_check(owner != NULL);
    hak_lock_acquire(&owner->lock);
    enum hak_misuse misuse = hak_slab_examine(p, class_index);
    hak_lock_release(&owner->lock);
    return misuse;
}
