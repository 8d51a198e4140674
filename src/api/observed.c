/* src/api/observed.c — what happens past a miss, and what an observed process counts there. SPDX-License-Identifier: MIT */

#include "api/observed.h"

#include <stdint.h>
#include <string.h>

#include "arena/pagemap.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "large/span.h"
#include "options/options.h"
#include "vm/share.h"

static const char *const g_observed_entry_words[HAK_ENTRY_COUNT] = {
#define HAK_ENTRY(name, word) word,
#include "api/entries.def"
#undef HAK_ENTRY
};
static const char *const g_observed_tier_words[HAK_TIER_COUNT] = {"Tiny", "Mid", "Large", "Big"};

_Static_assert((int)HAK_ENTRY_COUNT <= HAKMEM_STAT_ENTRIES_MAX, "all have a place in the file");
_Static_assert((int)HAK_TIER_COUNT <= HAKMEM_STAT_TIERS_MAX, "all have a place in the file");

/* ---- ranges of request sizes ---- */

/*
 * The size classes, then four ranges for each doubling, up to the size of the window: in all that
 * a block carries, tail included, so that a class and its range are the same number.
 */
enum {
    OBSERVED_MID_SHIFT = __builtin_ctz(HAK_MID_MAX),
    OBSERVED_SIZE_SHIFT_MAX = 40,
    OBSERVED_RANGE_COUNT = HAK_CLASS_COUNT + (OBSERVED_SIZE_SHIFT_MAX - OBSERVED_MID_SHIFT) * 4,
};
_Static_assert((HAK_MID_MAX & (HAK_MID_MAX - 1)) == 0, "doublings begin where classes end");
_Static_assert((int)OBSERVED_RANGE_COUNT <= HAKMEM_STAT_RANGES_MAX, "all have a place in the file");

static unsigned observed_range(size_t carried) {
    if (carried <= HAK_MID_MAX)
        return hak_size_class_of(hak_max(carried, 1));
    unsigned high = hak_highest_bit(carried - 1);
    unsigned quarter = (unsigned)((carried - 1) >> (high - 2)) & 3;
    unsigned range = HAK_CLASS_COUNT + (high - OBSERVED_MID_SHIFT) * 4 + quarter;
    return range < OBSERVED_RANGE_COUNT ? range : OBSERVED_RANGE_COUNT - 1;
}

static size_t observed_range_max(unsigned range) {
    if (range < HAK_CLASS_COUNT)
        return hak_size_classes[range].size;
    unsigned step = range - HAK_CLASS_COUNT;
    return (size_t)(5 + step % 4) << (OBSERVED_MID_SHIFT + step / 4 - 2);
}

static void observed_describe(struct hakmem_stat_tables *tables) {
    tables->tier_count = HAK_TIER_COUNT;
    tables->entry_count = HAK_ENTRY_COUNT;
    tables->range_count = OBSERVED_RANGE_COUNT;
    for (unsigned i = 0; i < HAK_TIER_COUNT; i++)
        memcpy(tables->tiers[i], g_observed_tier_words[i], strlen(g_observed_tier_words[i]) + 1);
    for (unsigned i = 0; i < HAK_ENTRY_COUNT; i++)
        memcpy(tables->entries[i], g_observed_entry_words[i],
               strlen(g_observed_entry_words[i]) + 1);
    for (unsigned i = 1; i < OBSERVED_RANGE_COUNT; i++) {
        size_t request_max = observed_range_max(i) - HAK_BLOCK_TAIL;
        tables->ranges[i] = (struct hakmem_stat_range){
            .request_max = request_max,
            .block = i < HAK_CLASS_COUNT ? (uint32_t)request_max : 0,
            .tier = (uint32_t)hak_block_tier_for(request_max),
        };
    }
}

void hak_observed_begin(void) {
    static struct hakmem_stat_tables tables; /* 5 KiB: too much for a small stack */
    observed_describe(&tables);
    if (hak_share_begin(hak_options.stat, &tables))
        hak_heap_close();
}

/* ---- counting ---- */

/* By the only thread that writes it: no locked instruction. */
HAK_INLINE void observed_add(_Atomic uint64_t *counter, uint64_t value) {
    hak_atomic_store_relaxed(counter, hak_atomic_load_relaxed(counter) + value);
}

void hak_observed_call(enum hak_entry entry) {
    if (hak_thread.counters)
        observed_add(&hak_thread.counters->entries[entry], 1);
    else
        hak_atomic_add_relaxed(&hak_stat_file->shared.entries[entry], 1);
}

void hak_observed_request(enum hak_entry entry, size_t size, const void *p) {
    hak_observed_call(entry);
    if (p == NULL) {
        if (hak_thread.counters)
            observed_add(&hak_thread.counters->failures, 1);
        else
            hak_atomic_add_relaxed(&hak_stat_file->shared.failures, 1);
        return;
    }
    unsigned range = observed_range(size + HAK_BLOCK_TAIL);
    const struct hakmem_stat_range *described = &hak_stat_file->header.tables.ranges[range];
    enum hak_tier tier;
    size_t given = hak_block_look(p, &tier);
    uint64_t extra = given - described->block; /* wraps where the block is smaller */
    if (tier == described->tier && hak_thread.counters) {
        struct hakmem_stat_requests *requests = &hak_thread.counters->requests[range];
        observed_add(&requests->count, 1);
        observed_add(&requests->bytes, size);
        observed_add(&requests->extra, extra);
        return;
    }
    struct hakmem_stat_requests *requests = tier == described->tier
                                                ? &hak_stat_file->shared.requests[range]
                                                : &hak_stat_file->elsewhere[range][tier];
    if (tier != described->tier)
        extra = given;
    hak_atomic_add_relaxed(&requests->count, 1);
    hak_atomic_add_relaxed(&requests->bytes, size);
    hak_atomic_add_relaxed(&requests->extra, extra);
}

void hak_observed_free(const void *p) {
    size_t unit;
    if (!hak_pagemap_find_any(p, &unit) || hak_pagemap_tag(unit) < HAK_TAG_CLASS_LIMIT)
        return;
    const struct hak_heap *heap = hak_heap_current();
    if (heap && hak_pagemap_tag(unit) >> HAK_TAG_ID_SHIFT == heap->id)
        return;
    if (hak_thread.counters)
        observed_add(&hak_thread.counters->frees_remote, 1);
    else
        hak_atomic_add_relaxed(&hak_stat_file->shared.frees_remote, 1);
}

uint32_t hak_observed_context(size_t carried, enum hak_tier tier) {
    return HAK_LEDGER_CONTEXT(tier, observed_range(carried));
}

/* ---- past a miss ---- */

/* The real magazine's block, counted; NULL: there is none, or nowhere to count it. */
HAK_INLINE void *observed_take(size_t size, enum hak_entry entry) {
    struct hakmem_stat_heap *counters = hak_thread.counters;
    if (HAK_UNLIKELY(counters == NULL) || HAK_CANARY || size > HAK_MID_MAX ||
        block_is_misrouted(size))
        return NULL;
    size_t offset =
        HAK_LIKELY(size <= HAK_TINY_MAX) ? hak_tiny_class_offset(size) : hak_mid_class_offset(size);
    void *p = hak_magazine_take(&hak_thread.heap->magazines, offset);
    if (HAK_UNLIKELY(p == NULL))
        return NULL;
    struct hakmem_stat_requests *requests = &counters->requests[offset / 16];
    observed_add(&requests->count, 1);
    observed_add(&requests->bytes, size);
    observed_add(&counters->entries[entry], 1);
    return p;
}

void *hak_observed_take(size_t size, enum hak_entry entry) {
    return observed_take(size, entry);
}

static HAK_COLD void *miss_malloc_cold(size_t size) {
    void *p = hak_block_alloc((struct hak_block_request){size, HAK_BLOCK_ALIGN, false});
    hak_observed_request(HAK_ENTRY_MALLOC, size, p);
    return p;
}

void *hak_miss_malloc(size_t size) {
    if (HAK_LIKELY(hak_stat_file == NULL))
        return hak_block_alloc((struct hak_block_request){size, HAK_BLOCK_ALIGN, false});
    void *p = observed_take(size, HAK_ENTRY_MALLOC);
    return HAK_LIKELY(p != NULL) ? p : miss_malloc_cold(size);
}

void *hak_miss_alloc(struct hak_block_request request, enum hak_entry entry) {
    if (HAK_LIKELY(hak_stat_file == NULL))
        return hak_block_alloc(request);
    void *p = request.align == HAK_BLOCK_ALIGN ? observed_take(request.size, entry) : NULL;
    if (p && request.must_be_zero)
        memset(p, 0, request.size);
    if (p)
        return p;
    p = hak_block_alloc(request);
    hak_observed_request(entry, request.size, p);
    return p;
}

static HAK_NOINLINE void miss_free_slow(enum hak_entry entry, void *p, size_t size,
                                        bool is_aligned) {
    hak_observed_call(entry);
    hak_observed_free(p);
    hak_block_free(p, size, g_observed_entry_words[entry], is_aligned);
}

void hak_miss_free(void *p) {
    size_t unit;
    if (HAK_LIKELY(hak_stat_file == NULL)) {
        if (!block_gather(p)) /* here, where only the pointer has to outlive it */
            hak_block_free(p, HAK_SIZE_UNKNOWN, "free", false);
        return;
    }
    struct hakmem_stat_heap *counters = hak_thread.counters;
    if (HAK_UNLIKELY(counters == NULL) || !hak_pagemap_find_any(p, &unit) ||
        !hak_magazine_put(&hak_thread.heap->magazines, unit, p)) {
        miss_free_slow(HAK_ENTRY_FREE, p, HAK_SIZE_UNKNOWN, false);
        return;
    }
    observed_add(&counters->entries[HAK_ENTRY_FREE], 1);
}

void hak_miss_free_as(void *p, size_t size, enum hak_entry entry, bool is_aligned) {
    if (HAK_LIKELY(hak_stat_file == NULL))
        hak_block_free(p, size, g_observed_entry_words[entry], is_aligned);
    else
        miss_free_slow(entry, p, size, is_aligned);
}
