/* src/api/block.c — from a request to a block and back: the slow paths. SPDX-License-Identifier: MIT */

#include "api/block.h"

#include <errno.h>
#include <string.h>

#include "api/observed.h"
#include "api/start.h"
#include "api/tick.h"
#include "arena/pagemap.h"
#include "arena/pool.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/fatal.h"
#include "base/misuse.h"
#include "large/big.h"
#include "large/span.h"
#include "options/options.h"
#include "prim/prim.h"

/* ---- what a pointer is ---- */

enum block_tier { BLOCK_SMALL, BLOCK_LARGE, BLOCK_BIG };

struct block_place {
    enum block_tier tier;
    uint32_t owner;       /* heap id; 0 for Large and Big */
    unsigned class_index; /* 0 for Large and Big */
};

static size_t block_class_word(const struct block_place *place) {
    switch (place->tier) {
    case BLOCK_LARGE:
        return HAK_CLASS_WORD_LARGE;
    case BLOCK_BIG:
        return HAK_CLASS_WORD_BIG;
    case BLOCK_SMALL:
        break;
    }
    return hak_size_classes[place->class_index].size;
}

static _Noreturn void block_misuse(const char *function, const void *p, enum hak_misuse what,
                                   const struct block_place *place) {
    hak_misuse_fatal(function, p, what, block_class_word(place), place->owner);
}

/*
 * No live block starts in this unit: say whether `p` lies inside one, or where one was. Goes back
 * over units that say nothing; slow, and the process is over.
 */
static HAK_COLD _Noreturn void block_explain_stray(const char *function, const void *p,
                                                   hak_unit unit) {
    for (hak_unit head = unit; head > 0; head--) {
        uint32_t tag = hak_pagemap_tag(head);
        const void *start = hak_unit_address(head);
        size_t distance = (uintptr_t)p - (uintptr_t)start;
        if (tag == HAK_KIND_SPAN && distance < hak_span_footprint(start))
            hak_misuse_fatal(function, p, HAK_MISUSE_INSIDE, HAK_CLASS_WORD_LARGE, 0);
        if (tag == HAK_KIND_BIG && distance < hak_big_size(start))
            hak_misuse_fatal(function, p, HAK_MISUSE_INSIDE, HAK_CLASS_WORD_BIG, 0);
        if (tag >= HAK_TAG_CLASS_LIMIT || tag == HAK_KIND_META)
            break;
    }
    uint32_t tag = hak_pagemap_tag(unit);
    bool is_unit_start = (uintptr_t)p % HAK_UNIT_SIZE == 0;
    if (tag == HAK_KIND_SPAN_FREED) /* its colour is forgotten: any pointer may be the block's */
        hak_misuse_fatal(function, p, HAK_MISUSE_DOUBLE_FREE, HAK_CLASS_WORD_LARGE, 0);
    if (tag == HAK_KIND_BIG_FREED && is_unit_start)
        hak_misuse_fatal(function, p, HAK_MISUSE_DOUBLE_FREE, HAK_CLASS_WORD_BIG, 0);
    if (tag == HAK_KIND_SLAB_FREED)
        hak_misuse_fatal(function, p, HAK_MISUSE_DOUBLE_FREE, HAK_CLASS_WORD_NONE, 0);
    hak_misuse_fatal(function, p, HAK_MISUSE_NOT_OURS, HAK_CLASS_WORD_NONE, 0);
}

/* Where the block at `p` lives. Reports what cannot be a block's start as far as tags can tell. */
static struct block_place block_locate(const void *p, const char *function) {
    size_t unit;
    if (!hak_pagemap_find_any(p, &unit))
        hak_misuse_fatal(function, p, HAK_MISUSE_NOT_OURS, HAK_CLASS_WORD_NONE, 0);
    uint32_t tag = hak_pagemap_tag(unit);
    if (tag >= HAK_TAG_CLASS_LIMIT)
        return (struct block_place){BLOCK_SMALL, tag >> HAK_TAG_ID_SHIFT,
                                    (tag & (HAK_TAG_CLASS_LIMIT - 1)) >> 4};
    bool is_unit_start = (uintptr_t)p % HAK_UNIT_SIZE == 0;
    if (tag == HAK_KIND_SPAN && hak_span_is_start(p))
        return (struct block_place){BLOCK_LARGE, 0, 0};
    if (tag == HAK_KIND_BIG && is_unit_start)
        return (struct block_place){BLOCK_BIG, 0, 0};
    block_explain_stray(function, p, (hak_unit)unit);
}

static size_t block_place_usable(const void *p, const struct block_place *place) {
    if (place->tier == BLOCK_LARGE)
        return hak_span_size(p) - HAK_BLOCK_TAIL;
    if (place->tier == BLOCK_BIG)
        return hak_big_size(p) - HAK_BLOCK_TAIL;
    return hak_size_classes[place->class_index].size - HAK_BLOCK_TAIL;
}

/* ---- allocation ---- */

/* By request: what a block carries extra never moves it to another tier. */
#define BLOCK_LARGE_MAX (HAK_LARGE_MAX + HAK_BLOCK_TAIL)
/*
 * A block that realloc makes as large as this becomes Big: from then on growth moves page tables, so
 * no more than this is ever copied. docs/decisions/e7-realloc-growth.md compares 1, 4 and 16 MiB.
 */
#define BLOCK_GROWN_BIG_MIN ((size_t)4 << 20)

/* The smallest class that holds `size` at `align`; 0: not a small block. */
static unsigned block_class_for(size_t size, size_t align) {
    if (size > HAK_MID_MAX || align > HAK_UNIT_SIZE || block_is_misrouted(size))
        return 0;
    unsigned class_index = hak_size_class_of(hak_max(size, align));
    /* Slabs start at a multiple of 64 KiB and have no header: a class whose size is a multiple of
     * the alignment has all its blocks aligned. Powers of two are classes, so there is one. */
    while (hak_size_classes[class_index].size & (align - 1))
        class_index++;
    return class_index;
}

/* From this size on clearing costs more than a turn past the magazine. */
enum { BLOCK_ZEROED_SIZE_MIN = 4096 };

static void *block_alloc_small(unsigned class_index, bool *is_zeroed) {
    struct hak_heap *heap = hak_heap_acquire();
    if (heap == NULL)
        return NULL;
    /* The magazine may have blocks: alignment and late threads come here without trying it. */
    struct hak_magazine *magazine = &heap->magazines.of_class[class_index];
    void *p = *magazine->top;
    bool wants_zeroed = *is_zeroed && hak_size_classes[class_index].size >= BLOCK_ZEROED_SIZE_MIN;
    *is_zeroed = false;
    if (p) {
        magazine->top--;
    } else {
        if (wants_zeroed)
            p = hak_heap_take_zeroed(heap, class_index);
        *is_zeroed = p != NULL;
        if (p == NULL)
            p = hak_heap_refill(heap, class_index);
    }
    hak_heap_return(heap);
    return p;
}

static enum hak_tier block_class_tier(unsigned class_index) {
    return hak_size_classes[class_index].size <= HAK_TINY_MAX ? HAK_TIER_TINY : HAK_TIER_MID;
}

/* Observed: system calls from here on are made for such a request. */
HAK_INLINE void block_context_begin(size_t carried, enum hak_tier tier) {
    if (HAK_UNLIKELY(hak_stat_file != NULL))
        hak_ledger_context = hak_observed_context(carried, tier);
}

HAK_INLINE void block_context_end(void) {
    if (HAK_UNLIKELY(hak_stat_file != NULL))
        hak_ledger_context = 0;
}

/* *is_zeroed: in: zeroes are wanted; out: the block has nothing else. */
static void *block_alloc_any(size_t carried, size_t align, bool *is_zeroed) {
    unsigned class_index = block_class_for(carried, align);
    if (class_index) {
        block_context_begin(carried, block_class_tier(class_index));
        return block_alloc_small(class_index, is_zeroed);
    }
    if (carried <= BLOCK_LARGE_MAX && align <= HAK_LARGE_ALIGN_MAX &&
        !block_is_misrouted(carried)) {
        block_context_begin(carried, HAK_TIER_LARGE);
        return hak_span_alloc(carried, align, is_zeroed);
    }
    block_context_begin(carried, HAK_TIER_BIG);
    return hak_big_alloc(carried, align, is_zeroed);
}

/* Observed: the magazine may hold a block, though it looked empty. Nothing else of the slow path then. */
static void *block_alloc_closed(const struct hak_block_request *request) {
    struct hak_heap *heap = hak_heap_current();
    if (heap == NULL || request->size > PTRDIFF_MAX)
        return NULL;
    unsigned class_index =
        block_class_for(hak_max(request->size + HAK_BLOCK_TAIL, 1), request->align);
    void *p = hak_magazine_take(&heap->magazines, (size_t)class_index << 4);
    if (p && request->must_be_zero)
        memset(p, 0, request->size);
    if (HAK_CANARY && p)
        hak_canary_set(p);
    return p;
}

/* No memory: gives back what is kept for later. False: `size` bytes there can never be. */
static bool block_make_room(size_t size) {
    if (size >= HAK_TIB) /* the window's size */
        return false;
    hak_heap_trim();
    hak_big_purge(0, 0, HAK_CAUSE_OUT_OF_MEMORY);
    hak_pool_purge(HAK_CAUSE_OUT_OF_MEMORY);
    return true;
}

void *hak_block_alloc(struct hak_block_request request) {
    void *p = NULL;
    bool is_zeroed = request.must_be_zero;
    if (HAK_UNLIKELY(hak_stat_file != NULL) && (p = block_alloc_closed(&request)) != NULL)
        return p;
    if (request.size <= PTRDIFF_MAX && hak_start()) {
        size_t carried = hak_max(request.size + HAK_BLOCK_TAIL, 1);
        p = block_alloc_any(carried, request.align, &is_zeroed);
        if (p == NULL && block_make_room(request.size)) { /* what others keep may serve: once */
            is_zeroed = request.must_be_zero;
            p = block_alloc_any(carried, request.align, &is_zeroed);
        }
    }
    block_context_end();
    if (p == NULL) {
        errno = ENOMEM;
        return NULL;
    }
    hak_tick();
    if (request.must_be_zero && !is_zeroed)
        memset(p, 0, request.size);
    if (HAK_CANARY)
        hak_canary_set(p);
    return p;
}

void *hak_block_alloc_growing(size_t size, size_t usable) {
    void *p = NULL;
    if (size >= BLOCK_GROWN_BIG_MIN) {
        block_context_begin(size + HAK_BLOCK_TAIL, HAK_TIER_BIG);
        p = hak_big_alloc_growing(size + HAK_BLOCK_TAIL);
        block_context_end();
        if (HAK_CANARY && p)
            hak_canary_set(p);
    } else if (usable > HAK_MID_MAX) {
        /* A large block that grows will grow again: half as much again makes all its moves together
         * linear in its final size. The spare is not touched, so it costs addresses only. */
        size_t most = BLOCK_GROWN_BIG_MIN - HAK_BLOCK_TAIL; /* more would never become Big */
        size_t with_spare = hak_max(size, hak_min(size + size / 2, most));
        p = hak_block_alloc((struct hak_block_request){with_spare, HAK_BLOCK_ALIGN, false});
    }
    return p ? p : hak_block_alloc((struct hak_block_request){size, HAK_BLOCK_ALIGN, false});
}

size_t hak_block_good_size(size_t size, size_t align) {
    if (size >= HAK_TIB || align >= HAK_TIB) /* the window's size */
        return 0;
    size_t carried = hak_max(size + HAK_BLOCK_TAIL, 1);
    unsigned class_index = block_class_for(carried, hak_max(align, HAK_BLOCK_ALIGN));
    if (class_index)
        return hak_size_classes[class_index].size - HAK_BLOCK_TAIL;
    bool is_large = carried <= BLOCK_LARGE_MAX && align <= HAK_LARGE_ALIGN_MAX;
    size_t granule =
        is_large ? HAK_SPAN_GRANULE : hak_prim_page_size(); /* vm may not know it yet */
    return hak_align_up(carried, granule) - HAK_BLOCK_TAIL;
}

/* ---- free ---- */

/* [A] relaxed: who frees a block has it from who shrank it. */
static struct { _Atomic bool has_unshrunk; } g_block;

void hak_block_note_unshrunk(void) {
    hak_atomic_store_relaxed(&g_block.has_unshrunk, true);
}

/*
 * checks=1: could this block have been requested with `size`? realloc leaves at most half of a block
 * unused, in place or as spare, unless memory was short; an alignment may have asked for a larger class.
 */
static bool block_size_is_possible(const void *p, size_t size, bool is_aligned,
                                   const struct block_place *place) {
    size_t usable = block_place_usable(p, place);
    if (size > usable)
        return false;
    if (size >= usable / 2 || hak_atomic_load_relaxed(&g_block.has_unshrunk))
        return true;
    size_t carried = hak_max(size + HAK_BLOCK_TAIL, 1);
    if (place->tier == BLOCK_LARGE)
        return hak_align_up(carried, HAK_UNIT_SIZE) == hak_span_footprint(p) ||
               (carried > HAK_MID_MAX && hak_span_keeps(p, carried));
    return is_aligned ||
           (place->tier == BLOCK_SMALL && hak_size_class_of(carried) == place->class_index);
}

/* True: the block is in a magazine that looked full (observed), and nothing else is to be done. */
static bool block_free_small(void *p, const char *function, const struct block_place *place) {
    struct hak_heap *own = hak_heap_current();
    if (own == NULL || own->id != place->owner) {
        hak_heap_free_remote(place->owner, place->class_index, p, function);
        return false;
    }
    if (HAK_UNLIKELY(hak_stat_file != NULL) &&
        hak_magazine_put(&own->magazines, (hak_unit)hak_unit_of(p), p))
        return true;
    hak_heap_flush(own, place->class_index, p, function);
    return false;
}

void hak_block_free(void *p, size_t size, const char *function, bool is_aligned) {
    if (p == NULL || block_gather(p))
        return;
    struct block_place place = block_locate(p, function);
    enum hak_misuse misuse = HAK_MISUSE_NONE;
    if (HAK_UNLIKELY(hak_options.checks) && size != HAK_SIZE_UNKNOWN &&
        !block_size_is_possible(p, size, is_aligned, &place))
        block_misuse(function, p, HAK_MISUSE_WRONG_SIZE, &place);
    switch (place.tier) {
    case BLOCK_SMALL:
        if (block_free_small(p, function, &place))
            return;
        break;
    case BLOCK_LARGE:
        misuse = hak_span_free(p);
        break;
    case BLOCK_BIG:
        block_context_begin(hak_big_size(p), HAK_TIER_BIG); /* it may be unmapped */
        misuse = hak_big_free(p);
        block_context_end();
        break;
    }
    if (misuse != HAK_MISUSE_NONE)
        block_misuse(function, p, misuse, &place);
    hak_tick();
}

/* ---- looking at a block ---- */

size_t hak_block_stay_units;

void hak_block_init(void) {
    hak_block_stay_units = hak_options.checks ? 0 : hak_pagemap_unit_count;
}

size_t hak_block_usable_slow(const void *p, const char *function) {
    if (p == NULL)
        return 0;
    struct block_place place = block_locate(p, function);
    return block_place_usable(p, &place);
}

size_t hak_block_look(const void *p, enum hak_tier *tier) {
    struct block_place place = block_locate(p, "malloc");
    *tier = place.tier == BLOCK_SMALL   ? block_class_tier(place.class_index)
            : place.tier == BLOCK_LARGE ? HAK_TIER_LARGE
                                        : HAK_TIER_BIG;
    return block_place_usable(p, &place);
}

enum hak_tier hak_block_tier_for(size_t size) {
    size_t carried = hak_max(size + HAK_BLOCK_TAIL, 1);
    if (carried <= HAK_MID_MAX)
        return carried <= HAK_TINY_MAX ? HAK_TIER_TINY : HAK_TIER_MID;
    return carried <= BLOCK_LARGE_MAX ? HAK_TIER_LARGE : HAK_TIER_BIG;
}

/* realloc needs to know what it copies; with checks=1 also that nobody has freed it. */
static void block_examine(const void *p, const char *function, const struct block_place *place) {
    enum hak_misuse misuse = HAK_MISUSE_NONE;
    hak_unit slab;
    uint32_t index;
    if (place->tier != BLOCK_SMALL)
        return;
    if (hak_options.checks)
        misuse = hak_heap_examine(place->owner, place->class_index, p);
    else if (!hak_slab_locate(p, place->class_index, &slab, &index))
        misuse = HAK_MISUSE_INSIDE;
    if (misuse != HAK_MISUSE_NONE)
        block_misuse(function, p, misuse, place);
}

/* Shrinking in place while at least half is used. */
static bool block_resize_small(size_t size, size_t usable, unsigned class_index) {
    return size <= usable && (size >= usable / 2 ||
                              hak_size_class_of(hak_max(size + HAK_BLOCK_TAIL, 1)) == class_index);
}

static bool block_resize_large(void *p, size_t size, size_t usable) {
    size_t carried = size + HAK_BLOCK_TAIL;
    if (carried <= HAK_MID_MAX || carried > BLOCK_LARGE_MAX)
        return false;
    /* One that grows past the bound becomes Big while there is little to copy. One that was
     * allocated above it grows into its neighbours first: that copies nothing. */
    bool was_below = usable < BLOCK_GROWN_BIG_MIN + HAK_UNIT_SIZE; /* it ends with a whole unit */
    if (size > usable && size >= BLOCK_GROWN_BIG_MIN && was_below)
        return false;
    return hak_span_resize(p, carried);
}

/* It stays as it is while half of it is used, and Big down to what a growing block becomes Big at. */
static void *block_resize_big(void *p, size_t size, size_t usable) {
    if (size <= usable && size >= usable / 2)
        return p;
    if (size < BLOCK_GROWN_BIG_MIN)
        return NULL;
    block_context_begin(size + HAK_BLOCK_TAIL, HAK_TIER_BIG);
    void *resized = hak_big_resize(p, size + HAK_BLOCK_TAIL);
    if (resized == NULL && block_make_room(size))
        resized = hak_big_resize(p, size + HAK_BLOCK_TAIL);
    block_context_end();
    if (resized && size < (hak_big_size(resized) - HAK_BLOCK_TAIL) / 2)
        hak_block_note_unshrunk();
    return resized;
}

void *hak_block_resize(void *p, size_t size, size_t *usable) {
    struct block_place place = block_locate(p, "realloc");
    block_examine(p, "realloc", &place);
    if (HAK_CANARY)
        hak_canary_check(p, "realloc");
    *usable = block_place_usable(p, &place);
    void *resized = NULL;
    switch (place.tier) {
    case BLOCK_SMALL:
        resized = block_resize_small(size, *usable, place.class_index) ? p : NULL;
        break;
    case BLOCK_LARGE:
        resized = block_resize_large(p, size, *usable) ? p : NULL;
        break;
    case BLOCK_BIG:
        resized = block_resize_big(p, size, *usable);
        break;
    }
    if (HAK_CANARY && resized)
        hak_canary_set(resized);
    return resized;
}

/* ---- canaries ---- */

static uint64_t canary_value(const void *p) {
    return (uint64_t)(uintptr_t)p * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

void hak_canary_set(void *p) {
    uint64_t value = canary_value(p);
    memcpy((char *)p + hak_block_usable_slow(p, "malloc"), &value, sizeof value);
}

void hak_canary_check(const void *p, const char *function) {
    uint64_t value;
    struct block_place place = block_locate(p, function);
    block_examine(p, function, &place); /* an interior pointer has no canary to look at */
    memcpy(&value, (const char *)p + block_place_usable(p, &place), sizeof value);
    if (value != canary_value(p))
        block_misuse(function, p, HAK_MISUSE_CANARY, &place);
}
