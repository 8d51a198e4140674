/* src/observe/report.h — what hakmem knows of itself, in words and numbers. SPDX-License-Identifier: MIT */
#ifndef HAK_OBSERVE_REPORT_H
#define HAK_OBSERVE_REPORT_H

#include <stddef.h>
#include <stdint.h>

/*
 * Bytes, at one moment per part but not of one moment altogether.
 *
 * Blocks in magazines count as in use: the fast paths count nothing, so the number of blocks that
 * the program itself holds is not known without observation.
 */
struct hak_totals {
    size_t reserved;  /* addresses of the arenas */
    size_t committed; /* made usable, arenas and Big, cached ones too */
    size_t metadata;  /* descriptors and bitmaps of the arenas, and heaps */
    size_t small_out; /* Tiny and Mid blocks outside their slabs */
    size_t large_count;
    size_t large_bytes;
    size_t big_count;
    size_t big_bytes;
    size_t big_cached;      /* bytes of freed Big blocks that are kept for the next */
    size_t pool_free;       /* free units, backed by memory or not */
    size_t pool_given_back; /* of these, given back to the kernel */
    size_t heap_count;
    size_t orphan_count;
    uint64_t refills;
    uint64_t flushes;
    uint64_t remote_frees;
};

/* Any thread; takes each heap's lock for a moment. */
struct hak_totals hak_totals(void);
/* In use: small_out + large_bytes + big_bytes. */
size_t hak_totals_in_use(const struct hak_totals *totals);

/* Made usable and not in use; 0 where parts of different moments would say less. */
size_t hak_totals_rest(const struct hak_totals *totals);

/* Free, and still backed by memory: what malloc_trim() would give back. */
size_t hak_totals_trimmable(const struct hak_totals *totals);

/* Prints totals and the ledger on stderr; allocates nothing. */
void hak_report_print(const char *title);

#endif
