/* test/unit/heap/heap_use.h — malloc and free as the heap's tests need them. SPDX-License-Identifier: MIT */

/*
 * The fast paths and what follows when they miss, without the layers above: sizes are given as
 * classes, and the policy is written by the test instead of the engine.
 */
#ifndef HAKMEM_TEST_UNIT_HEAP_USE_H
#define HAKMEM_TEST_UNIT_HEAP_USE_H

#include "heap/heap.h"
#include "heap/registry.h"
#include "unit/harness.h"
#include "vm/vm.h"

/* Slots of every class's magazine: 2^k - 1, or 0 for none at all. */
static inline void heap_use_policy(uint16_t start, uint16_t max) {
    hak_heap_policy.is_exact = max == 0;
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        hak_heap_policy.capacity_start[class_index] = start;
        hak_heap_policy.capacity_max[class_index] = max;
    }
}

static inline void heap_use_start(uint16_t start, uint16_t max) {
    hak_vm_init();
    heap_use_policy(start, max);
    CHECK_EQUAL(hak_heap_init(), 0);
}

static inline void *heap_use_alloc(unsigned class_index) {
    void *p = hak_magazine_pop(class_index * 16);
    if (p)
        return p;
    struct hak_heap *heap = hak_heap_acquire();
    CHECK(heap != NULL);
    struct hak_magazine *magazine = &heap->magazines.of_class[class_index];
    p = *magazine->top; /* an adopted heap has blocks */
    if (p)
        magazine->top--;
    else
        p = hak_heap_refill(heap, class_index);
    hak_heap_return(heap);
    CHECK(p != NULL);
    return p;
}

static inline uint32_t heap_use_owner(const void *p) {
    return hak_pagemap_tag(hak_unit_of(p)) >> HAK_TAG_ID_SHIFT;
}

static inline unsigned heap_use_class(const void *p) {
    return (hak_pagemap_tag(hak_unit_of(p)) & (HAK_TAG_CLASS_LIMIT - 1)) >> 4;
}

static inline void heap_use_free(void *p) {
    if (hak_magazine_push(p) || hak_heap_gather(p, hak_pagemap_tag(hak_unit_of(p))))
        return;
    struct hak_heap *own = hak_heap_current();
    if (own && own->id == heap_use_owner(p))
        hak_heap_flush(own, heap_use_class(p), p, "free");
    else
        hak_heap_free_remote(heap_use_owner(p), heap_use_class(p), p, "free");
}

/* Blocks in a magazine now. */
static inline size_t heap_use_held(const struct hak_heap *heap, unsigned class_index) {
    if (heap->capacity[class_index] == 0)
        return 0;
    const struct hak_magazine *magazine = &heap->magazines.of_class[class_index];
    return heap->capacity[class_index] - (size_t)(magazine->limit - magazine->top);
}

#endif
