/* src/large/big.c — Big blocks: each its own mapping. SPDX-License-Identifier: MIT */

#include "large/big.h"

#include <stdint.h>

#include "arena/pagemap.h"
#include "base/bits.h"
#include "base/fatal.h"
#include "base/log.h"
#include "vm/vm.h"

/* Lies in the last OS page before the block; written once. */
struct big_header {
    void *reservation;
    size_t reserved; /* bytes of the whole reservation */
    size_t usable;   /* bytes of the block */
};

static struct {
    _Atomic size_t count; /* [S] */
    _Atomic size_t bytes; /* [S] */
} g_big;

static struct big_header *big_header_of(const void *p) {
    return (struct big_header *)((uintptr_t)p - hak_vm_page_size());
}

void *hak_big_alloc(size_t size, size_t align) {
    size_t page = hak_vm_page_size();
    if (size > PTRDIFF_MAX || align > PTRDIFF_MAX / 4)
        return NULL;
    align = hak_max(align, HAK_UNIT_SIZE);
    size_t usable = hak_align_up(hak_max(size, 1), page);
    size_t reserved = hak_align_up(usable, HAK_UNIT_SIZE) + align; /* no sum exceeds 2^63 + 2^62 */
    if (reserved / HAK_UNIT_SIZE >= HAK_UNIT_COUNT_MAX)
        return NULL;
    /* The reservation is aligned, so the first aligned place with room for a header before it lies
     * `align` bytes on; the lead is addresses only. */
    void *reservation;
    if (hak_vm_reserve(reserved, align, HAK_CAUSE_BIG, &reservation) != 0)
        return NULL;
    char *block = (char *)reservation + align;
    if (hak_pagemap_cover(hak_unit_of(block), 1) != 0 ||
        hak_vm_commit(block - page, page + usable, HAK_CAUSE_BIG) != 0) {
        hak_vm_release(reservation, reserved, HAK_CAUSE_BIG);
        return NULL;
    }
    *big_header_of(block) = (struct big_header){reservation, reserved, usable};
    hak_pagemap_set(hak_unit_of(block), HAK_KIND_BIG);
    hak_atomic_add_relaxed(&g_big.count, 1);
    hak_atomic_add_relaxed(&g_big.bytes, usable);
    hak_log(HAK_LOG_LARGE, "big alloc", block, usable);
    return block;
}

enum hak_misuse hak_big_free(void *p) {
    hak_unit unit = hak_unit_of(p);
    if (p != hak_unit_address(unit))
        return HAK_MISUSE_INSIDE;
    /* Of two threads that free the same block only one turns the tag. */
    uint32_t expected = HAK_KIND_BIG;
    if (!hak_atomic_cas_relaxed(&hak_pagemap_tags[unit], &expected, HAK_KIND_BIG_FREED))
        return HAK_MISUSE_DOUBLE_FREE;
    struct big_header header = *big_header_of(p);
    hak_atomic_sub_relaxed(&g_big.count, 1);
    hak_atomic_sub_relaxed(&g_big.bytes, header.usable);
    hak_log(HAK_LOG_LARGE, "big free", p, header.usable);
    hak_vm_release(header.reservation, header.reserved, HAK_CAUSE_BIG);
    return HAK_MISUSE_NONE;
}

size_t hak_big_size(const void *p) {
    return big_header_of(p)->usable;
}

bool hak_big_fits(const void *p, size_t size) {
    size_t usable = hak_big_size(p);
    return size <= usable && size >= usable / 2;
}

struct hak_big_stats hak_big_stats(void) {
    return (struct hak_big_stats){
        .count = hak_atomic_load_relaxed(&g_big.count),
        .bytes = hak_atomic_load_relaxed(&g_big.bytes),
    };
}
