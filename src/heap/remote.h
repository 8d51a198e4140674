/* src/heap/remote.h — messages between heaps: records, packets, inboxes. SPDX-License-Identifier: MIT */
#ifndef HAK_HEAP_REMOTE_H
#define HAK_HEAP_REMOTE_H

#include "base/audit.h"
#include "heap/heap.h"

/* Takes all packets from the heap's inbox and puts their blocks back. */
void hak_remote_drain(struct hak_heap *heap) HAK_REQUIRES(heap->lock);

/*
 * Sends what the heap has gathered for others. The caller is the heap's thread and holds no heap's
 * lock.
 */
void hak_remote_post_all(struct hak_heap *heap);

/* Blocks of one word of a slab, on their way home. */
struct hak_remote_blocks {
    const char *where; /* "accumulator", "open packet", "packet on its way" */
    hak_unit slab;
    unsigned class_index;
    unsigned word;
    uint64_t mask;
};
typedef void hak_remote_visit(void *context, const struct hak_remote_blocks *blocks);
/*
 * Visits what others have sent to the heap. Its lock is held: nothing of it leaves meanwhile, and what comes
 * is not looked at.
 */
void hak_remote_audit_inbox(struct hak_audit *audit, struct hak_heap *heap, hak_remote_visit *visit,
                            void *context);
/* Visits what the heap has gathered and not sent. The caller is its thread, or it has none that runs. */
void hak_remote_audit_gathered(struct hak_audit *audit, const struct hak_heap *heap,
                               hak_remote_visit *visit, void *context);

/*
 * Child of fork: says anew of every packet whether it is in an inbox. A sender that is gone may have
 * marked a packet without pushing it, or pushed it without letting go of it.
 */
void hak_remote_fork_child(void);

#endif
