/* src/heap/remote.h — messages between heaps: records, packets, inboxes. SPDX-License-Identifier: MIT */
#ifndef HAK_HEAP_REMOTE_H
#define HAK_HEAP_REMOTE_H

#include "heap/heap.h"

/* Takes all packets from the heap's inbox and puts their blocks back. */
void hak_remote_drain(struct hak_heap *heap) HAK_REQUIRES(heap->lock);

/*
 * Sends what the heap has gathered for others. The caller is the heap's thread and holds no heap's
 * lock.
 */
void hak_remote_post_all(struct hak_heap *heap);

/*
 * Child of fork: says anew of every packet whether it is in an inbox. A sender that is gone may have
 * marked a packet without pushing it, or pushed it without letting go of it.
 */
void hak_remote_fork_child(void);

#endif
