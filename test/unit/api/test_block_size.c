/* test/unit/api/test_block_size.c — which block serves which request. SPDX-License-Identifier: MIT */

/*
 * Goal: for every size from 0 to 1 MiB and every alignment, the block is of the smallest class that holds
 * the size and whose blocks all have the alignment; above Mid it is of no class; what is wasted is bounded.
 * Method: every size, with a walk over the table of classes as the model; blocks themselves at the sizes
 * where the answer changes.
 */

#include <hakmem/hakmem.h>

#include "api/block.h"
#include "arena/pagemap.h"
#include "base/bits.h"
#include "large/span.h"
#include "slab/size_class.h"
#include "vm/vm.h"
#include "unit/harness.h"

enum { SIZE_MAX_TRIED = 1 << 20, ALIGN_LOG2_MAX = 40, BLOCK_ALIGN_LOG2_MAX = 21 };

/* What the request asks for, with what the block carries extra. */
static size_t carried_by(size_t size) {
    return size + HAK_BLOCK_TAIL > 0 ? size + HAK_BLOCK_TAIL : 1;
}

/*
 * The first class from `from` on that serves `carried` bytes at `align`; HAK_CLASS_COUNT: none. For sizes that
 * grow, the last answer is where to go on.
 */
static unsigned class_from(unsigned from, size_t carried, size_t align) {
    while (from < HAK_CLASS_COUNT &&
           (hak_size_classes[from].size < carried || hak_size_classes[from].size % align != 0))
        from++;
    return from;
}

/* Every block of the class is a multiple of `align`: slabs begin at multiples of 64 KiB. */
static unsigned class_of_request(unsigned from, size_t carried, size_t align) {
    return align > HAK_UNIT_SIZE ? HAK_CLASS_COUNT : class_from(from, carried, align);
}

static void test_every_size(void **state) {
    for (unsigned log2 = 0; log2 < ALIGN_LOG2_MAX; log2++) {
        size_t align = (size_t)1 << log2;
        size_t granule = align > HAK_LARGE_ALIGN_MAX ? hak_vm_page_size() : HAK_SPAN_GRANULE;
        unsigned class_index = 1;
        for (size_t size = 0; size <= SIZE_MAX_TRIED; size++) {
            size_t carried = carried_by(size);
            class_index = class_of_request(class_index, carried, align);
            size_t expected = class_index < HAK_CLASS_COUNT ? hak_size_classes[class_index].size
                                                            : hak_align_up(carried, granule);
            CHECK_EQUAL(hak_block_good_size(size, align), expected - HAK_BLOCK_TAIL);
        }
    }
}

/* Without an alignment: an eighth of the request, or 15 bytes; above Mid less than a page. */
static void test_waste(void **state) {
    for (size_t size = 0; size <= SIZE_MAX_TRIED; size++) {
        size_t carried = carried_by(size);
        size_t waste = hak_block_good_size(size, HAK_BLOCK_ALIGN) + HAK_BLOCK_TAIL - carried;
        size_t most = carried <= 128 ? 15 : carried <= HAK_MID_MAX ? carried / 8 : 4095;
        CHECK(waste <= most);
    }
}

static void test_every_tier(void **state) {
    for (size_t size = 0; size <= SIZE_MAX_TRIED; size++) {
        size_t carried = carried_by(size);
        CHECK_EQUAL(hak_block_tier_for(size), carried <= 1024        ? HAK_TIER_TINY
                                              : carried <= 64 * 1024 ? HAK_TIER_MID
                                                                     : HAK_TIER_LARGE);
    }
    CHECK_EQUAL(hak_block_tier_for(HAK_LARGE_MAX), HAK_TIER_LARGE);
    CHECK_EQUAL(hak_block_tier_for(HAK_LARGE_MAX + 1), HAK_TIER_BIG);
}

/* One block, and what the pagemap says of it. */
static void try_block(size_t size, size_t align) {
    size_t carried = carried_by(size);
    unsigned class_index = class_of_request(1, carried, align);
    char *p = hakmem_aligned_alloc(align, size);
    CHECK(p != NULL);
    CHECK_EQUAL((uintptr_t)p % align, 0);
    uint32_t tag = hak_pagemap_tag(hak_unit_of(p));
    enum hak_tier tier;
    CHECK_EQUAL(hak_block_look(p, &tier), hakmem_malloc_usable_size(p));
    CHECK_EQUAL(hakmem_malloc_usable_size(p), hak_block_good_size(size, align));
    if (class_index < HAK_CLASS_COUNT) {
        CHECK(tag >= HAK_TAG_CLASS_LIMIT);
        CHECK_EQUAL(hak_tag_class_offset(tag), class_index * 16);
        CHECK_EQUAL(tier,
                    hak_size_classes[class_index].size <= 1024 ? HAK_TIER_TINY : HAK_TIER_MID);
    } else {
        CHECK_EQUAL(tag, HAK_KIND_SPAN);
        CHECK_EQUAL(tier, HAK_TIER_LARGE);
    }
    memset(p, 1, size);
    hakmem_free(p);
}

/* Around the end of each class and of each page above, at every alignment. */
static void test_blocks(void **state) {
    for (unsigned log2 = 0; log2 <= BLOCK_ALIGN_LOG2_MAX; log2++) {
        size_t align = (size_t)1 << log2;
        try_block(0, align);
        for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
            size_t end = hak_size_classes[class_index].size - HAK_BLOCK_TAIL;
            for (size_t size = end - 1; size <= end + 1; size++)
                try_block(size, align);
        }
        for (size_t end = HAK_MID_MAX; end < SIZE_MAX_TRIED; end += 60 * 1024) {
            for (size_t size = end - 1; size <= end + 1; size++)
                try_block(size, align);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_size),
        cmocka_unit_test(test_waste),
        cmocka_unit_test(test_every_tier),
        cmocka_unit_test(test_blocks),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
