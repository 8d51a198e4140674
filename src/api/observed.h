/* src/api/observed.h — what happens past a miss, and what an observed process counts there. SPDX-License-Identifier: MIT */

/*
 *   malloc -> miss -> hak_miss_malloc     observed: the real magazine's block, counted
 *                                         else hak_block_alloc
 *   free   -> miss -> hak_miss_free       observed: onto the real magazine, counted
 *                                         else hak_block_free
 *   others -> miss -> hak_miss_alloc | hak_miss_free_as      the same, by way of the general slow path
 *
 * The first two are all that a hit costs while observed (heap/heap.h, "closed"), so nothing cold is in them.
 * Not observed, a miss passes one branch here. What realloc, prewarm and others ask for by themselves goes
 * to hak_block_alloc() and hak_block_free() directly and is not counted.
 */
#ifndef HAK_API_OBSERVED_H
#define HAK_API_OBSERVED_H

#include <stdbool.h>
#include <stddef.h>

#include "api/block.h"
#include "base/compiler.h"
#include "stats/ledger.h"

enum hak_entry {
#define HAK_ENTRY(name, word) HAK_ENTRY_##name,
#include "api/entries.def"
#undef HAK_ENTRY
    HAK_ENTRY_COUNT
};

/* Begins to observe the process, as the option stat says; a warning where that cannot be. Start-up only. */
void hak_observed_begin(void);

/* The block for malloc(size) whose magazine was empty, or closed. NULL with errno = ENOMEM. */
HAK_NOINLINE void *hak_miss_malloc(size_t size);
/* What free(p) does that was not its thread's own, or found its magazine full, or closed. */
HAK_NOINLINE void hak_miss_free(void *p);

/* The same for other entry points. */
HAK_COLD void *hak_miss_alloc(struct hak_block_request request, enum hak_entry entry);
HAK_NOINLINE void hak_miss_free_as(void *p, size_t size, enum hak_entry entry, bool is_aligned);

/* Observed: a block of the thread's magazine, counted as a request of `size` bytes; NULL: take the slow path. */
HAK_NOINLINE void *hak_observed_take(size_t size, enum hak_entry entry);
/* Observed: counts a call, and a request of `size` bytes that got `p`; NULL: it got no memory. */
HAK_NOINLINE void hak_observed_request(enum hak_entry entry, size_t size, const void *p);
/* Observed: counts a call that asks for nothing. */
HAK_COLD void hak_observed_call(enum hak_entry entry);
/* Observed: counts that the block is about to be freed, if it is of another thread's heap. */
HAK_NOINLINE void hak_observed_free(const void *p);
/* Observed: for hak_ledger_context, of a request that this tier is to serve. */
HAK_COLD uint32_t hak_observed_context(size_t carried, enum hak_tier tier);

/* free and its sized forms: a hit, or the slow path that fits. `function` for messages. */
HAK_INLINE void entry_free(enum hak_entry entry, const char *function, void *p, size_t size,
                           bool is_aligned) {
    if (HAK_LIKELY(block_push(p, function)))
        return;
    if (entry == HAK_ENTRY_FREE) /* what only free() passes, its miss knows */
        hak_miss_free(p);
    else
        hak_miss_free_as(p, size, entry, is_aligned);
}

#endif
