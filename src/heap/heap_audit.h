/* src/heap/heap_audit.h — is each unit and each block in exactly one place? SPDX-License-Identifier: MIT */
#ifndef HAK_HEAP_HEAP_AUDIT_H
#define HAK_HEAP_HEAP_AUDIT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/audit.h"

/* What there is; blocks of slabs but for the last two. */
struct hak_audit_totals {
    size_t live_blocks; /* and those in magazines and accumulators that were not looked at */
    size_t live_bytes;
    size_t magazine_blocks;
    size_t travelling_blocks; /* in accumulators and packets */
    size_t free_blocks;       /* in their slabs: freed, or never handed out */
    size_t slabs;
    size_t slab_units;
    size_t spans;
    size_t span_units;
    size_t meta_units; /* but for descriptors and bitmaps */
    size_t free_runs;
    size_t free_units; /* those too that are being given back to the kernel */
    size_t lost_units; /* found nowhere; a thread may have them in its hands */
    size_t big_blocks;
    size_t big_kept;
    size_t heaps;
    size_t orphans;
    size_t heaps_looked_into; /* whose magazines and accumulators were looked at */
};

/*
 * Takes all locks but INIT and SHARE, in the order of docs/concurrency.md. False: one is held, and it may not
 * wait; then none is.
 */
HAK_NODISCARD bool hak_heap_hold_all(bool may_wait);
void hak_heap_let_go_all(void);

/* Bytes of notes that an audit needs as things are. All locks are held. */
size_t hak_heap_audit_bytes(void);
/*
 * Looks at everything, with all locks held. `notes`: so many bytes, zero. Magazines and accumulators are
 * looked at of the calling thread and of orphans, and, if audit->is_quiescent, of all.
 */
void hak_heap_audit(struct hak_audit *audit, void *notes, struct hak_audit_totals *totals);

#endif
