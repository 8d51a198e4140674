/* src/api/block.h — from a request to a block and back: what all entry points share. SPDX-License-Identifier: MIT */

/*
 *   malloc -> block_pop                     hit: the magazine's top block
 *          -> hak_miss_malloc -> hak_block_alloc -> hak_heap_refill | hak_span_alloc | hak_big_alloc
 *   free   -> hak_magazine_push             hit: the block goes on top
 *          -> hak_miss_free -> hak_block_free -> hak_heap_flush | hak_heap_free_remote | hak_span_free | hak_big_free
 *   realloc -> hak_block_resize             stays, or its pages are moved
 *           -> hak_block_alloc_growing      … or is copied to this
 *
 * Canary builds (HAK_CANARY=1) make every block carry 8 bytes more, at its end, and check them on
 * free: they prove that what a block carries extra never changes how its tier behaves.
 */
#ifndef HAK_API_BLOCK_H
#define HAK_API_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "heap/heap.h"
#include "slab/size_class.h"

#ifndef HAK_CANARY
#define HAK_CANARY 0
#endif

#define HAK_BLOCK_ALIGN 16u /* bytes; alignof(max_align_t) and the SysV ABI's stack alignment */
#define HAK_BLOCK_TAIL (HAK_CANARY ? sizeof(uint64_t) : 0) /* bytes carried extra */
#define HAK_SIZE_UNKNOWN SIZE_MAX

enum hak_tier { HAK_TIER_TINY, HAK_TIER_MID, HAK_TIER_LARGE, HAK_TIER_BIG, HAK_TIER_COUNT };

struct hak_block_request {
    size_t size;  /* bytes, without the tail */
    size_t align; /* power of two, at least HAK_BLOCK_ALIGN */
    bool must_be_zero;
};

/* The slow path of every allocation: any size, any alignment. NULL with errno = ENOMEM. */
HAK_COLD void *hak_block_alloc(struct hak_block_request request);

/*
 * The slow path of every free. `size`: what the caller says was requested, or HAK_SIZE_UNKNOWN. `function`:
 * the entry point's name for messages. The order is that of sized frees: they move no argument to get here.
 */
HAK_NOINLINE void hak_block_free(void *p, size_t size, const char *function, bool is_aligned);

/* Usable bytes, 0 for NULL. `function` for messages: reports misuse and does not return. */
HAK_NOINLINE size_t hak_block_usable_slow(const void *p, const char *function);

/*
 * Tries to make the block hold `size` bytes, 1 … PTRDIFF_MAX, without copying it; returns where it is
 * then: a Big block may have been moved by the kernel. NULL: it is as it was; *usable is what it holds.
 */
void *hak_block_resize(void *p, size_t size, size_t *usable);
/*
 * Told by realloc: a block stays as large as it was, because there was no memory to make it smaller. From
 * then on checks=1 takes any size up to a block's own for the one that was asked for.
 */
HAK_COLD void hak_block_note_unshrunk(void);

/*
 * A block for the contents of one that has outgrown its `usable` bytes, with spare if that can be had:
 * `size` bytes, up to PTRDIFF_MAX, or more. NULL with errno = ENOMEM.
 */
HAK_COLD void *hak_block_alloc_growing(size_t size, size_t usable);

/* The tier that serves requests of this size, where no more than the usual alignment is asked for. */
enum hak_tier hak_block_tier_for(size_t size);
/* Usable bytes of a live block, and the tier it is of. */
size_t hak_block_look(const void *p, enum hak_tier *tier);

/* What hak_block_alloc() would give for this request; 0: it cannot be. */
size_t hak_block_good_size(size_t size, size_t align);

/*
 * Units of the window in which realloc may leave a block alone without a closer look: all, but none before
 * start-up, none with checks=1, and none while the process is observed. A bound, and no flag: the fast path
 * has to compare with one anyway. hak_block_init() sets it, at start-up once options and pagemap are there,
 * after later options, and in a forked child.
 */
extern HAK_INTERNAL size_t hak_block_stay_units;
void hak_block_init(void);

/* Canary builds: sets the block's tail; reports a changed one. p != NULL. */
void hak_canary_set(void *p);
void hak_canary_check(const void *p, const char *function);

/*
 * Tests build a library that sends these requests to Big: the fault that hakmem was made after, and that
 * `hakmem stat` has to show. In the product there is no such size.
 */
HAK_INLINE bool block_is_misrouted(size_t size) {
#ifdef HAK_MISROUTED_MIN
    return size >= HAK_MISROUTED_MIN && size <= HAK_MISROUTED_MAX;
#else
    (void)size;
    return false;
#endif
}

/* A small block from the magazine; NULL: the slow path decides, whatever the reason. */
HAK_INLINE void *block_pop(size_t size) {
    if (HAK_CANARY && HAK_UNLIKELY(size > PTRDIFF_MAX))
        return NULL; /* size + tail would wrap */
    if (block_is_misrouted(size))
        return NULL;
    size_t carried = size + HAK_BLOCK_TAIL;
    void *p;
    if (HAK_LIKELY(carried <= HAK_TINY_MAX))
        p = hak_magazine_pop(hak_tiny_class_offset(carried));
    else if (HAK_LIKELY(carried <= HAK_MID_MAX))
        p = hak_magazine_pop(hak_mid_class_offset(carried));
    else
        return NULL;
    if (HAK_CANARY && p)
        hak_canary_set(p);
    return p;
}

/* Takes the block if it is another heap's: it will be sent home. False: hak_block_free() decides. */
HAK_INLINE bool block_gather(const void *p) {
    size_t unit;
    if (!hak_pagemap_find_any(p, &unit))
        return false;
    uint32_t tag = hak_pagemap_tag(unit);
    return tag >= HAK_TAG_CLASS_LIMIT && hak_heap_gather(p, tag);
}

/* Takes the block if it is the thread's own and its magazine has room. */
HAK_INLINE bool block_push(void *p, const char *function) {
    if (HAK_CANARY && p)
        hak_canary_check(p, function);
    return hak_magazine_push(p);
}

HAK_INLINE size_t block_usable(const void *p, const char *function) {
    size_t unit;
    if (!HAK_CANARY && HAK_LIKELY(hak_pagemap_find(p, &unit))) {
        size_t size = hak_size_class_at(hak_tag_class_offset(hak_pagemap_tag(unit)))->size;
        if (HAK_LIKELY(size != 0)) /* it lies in a slab */
            return size;
    }
    return hak_block_usable_slow(p, function);
}

/*
 * True: the block has room for `size` bytes, which are at least half of it, and that is all there is to
 * realloc. False: hak_block_resize() has to look closer.
 */
HAK_INLINE bool block_stays(const void *p, size_t size) {
    size_t unit = hak_pagemap_index(p);
    if (HAK_CANARY || HAK_UNLIKELY(unit >= hak_block_stay_units))
        return false;
    const struct hak_size_class *size_class =
        hak_size_class_at(hak_tag_class_offset(hak_pagemap_tag(unit)));
    uint32_t index;
    return HAK_LIKELY(size_class->size - size < size_class->spare_limit) &&
           HAK_LIKELY(hak_size_class_locate(size_class, (uintptr_t)p % HAK_UNIT_SIZE, &index));
}

#endif
