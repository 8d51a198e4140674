/* test/unit/slab/test_size_class.c — request size -> size class -> block size. SPDX-License-Identifier: MIT */

/*
 * Goal: every size up to 64 KiB gets the smallest class that holds it, no class wastes more than is
 * promised, in blocks or in slabs, and a block's start is told from any other offset.
 * Method: every size, every class, and every byte offset of every kind of slab, one by one.
 */

#include "arena/unit.h"
#include "base/bits.h"
#include "slab/size_class.h"
#include "unit/harness.h"

enum { WASTE_FREE_UP_TO = 128, BITMAP_LINE_BLOCKS = 128 };
enum { CLASSES = 80, STEPS_PER_DOUBLING = 8, STEPS_FROM = 256 };

static void test_every_size(void **state) {
    for (size_t size = 1; size <= HAK_MID_MAX; size++) {
        unsigned class_index = hak_size_class_of(size);
        CHECK(class_index >= 1);
        CHECK(class_index < HAK_CLASS_COUNT);
        size_t block = hak_size_classes[class_index].size;
        CHECK(block >= size);
        CHECK(hak_size_classes[class_index - 1].size < size); /* the smallest such */
        if (size > WASTE_FREE_UP_TO)
            CHECK((block - size) * 8 <= size); /* 12.5 % of the request */
        else
            CHECK(block - size < 16);
        size_t offset =
            size <= HAK_TINY_MAX ? hak_tiny_class_offset(size) : hak_mid_class_offset(size);
        CHECK_EQUAL(offset, class_index * 16);
        if (size <= HAK_DIRECT_MAX)
            CHECK_EQUAL(offset, block);
        CHECK_EQUAL(hak_size_class_at(offset)->size, block);
    }
}

/* Class 0 is for what must go the slow way: size 0, and nothing is in it. */
static void test_class_zero(void **state) {
    CHECK_EQUAL(hak_tiny_class_offset(0), 0);
    CHECK_EQUAL(hak_size_class_of(0), 0);
    CHECK_EQUAL(hak_size_classes[0].size, 0);
    CHECK_EQUAL(hak_size_classes[0].blocks, 0);
    CHECK_EQUAL(hak_size_classes[0].units, 0);
}

/* The greatest power of two that is not above x. */
static size_t power_below(size_t x) {
    return (size_t)1 << hak_highest_bit(x);
}

static void test_classes(void **state) {
    CHECK_EQUAL(HAK_CLASS_COUNT, 1 + CLASSES);
    CHECK_EQUAL(HAK_MID_MAX, 64 * HAK_KIB);
    CHECK_EQUAL(hak_size_classes[1].size, 16);
    CHECK_EQUAL(hak_size_classes[HAK_CLASS_COUNT - 1].size, HAK_MID_MAX);
    CHECK_EQUAL(hak_size_classes[hak_size_class_of(HAK_TINY_MAX)].size, HAK_TINY_MAX);
    for (unsigned i = 1; i < HAK_CLASS_COUNT; i++) {
        CHECK(hak_size_classes[i].size > hak_size_classes[i - 1].size);
        CHECK_EQUAL(hak_size_classes[i].size % 16, 0);
        CHECK_EQUAL(hak_size_class_of(hak_size_classes[i].size), i);
        size_t last = hak_size_classes[i - 1].size;
        size_t step = last < STEPS_FROM ? 16 : power_below(last) / STEPS_PER_DOUBLING;
        CHECK_EQUAL(hak_size_classes[i].size - last, step);
    }
    /* alignment is served by classes that are multiples of it, so powers of two must be classes */
    for (size_t power = 16; power <= HAK_MID_MAX; power *= 2)
        CHECK_EQUAL(hak_size_classes[hak_size_class_of(power)].size, power);
    /* a class's offset is the low part of a tag, and its magazine's place in a heap */
    CHECK(HAK_CLASS_COUNT * 16 <= 2048);
}

static void test_slabs(void **state) {
    for (unsigned i = 1; i < HAK_CLASS_COUNT; i++) {
        const struct hak_size_class *c = &hak_size_classes[i];
        CHECK(c->units >= 1);
        CHECK(c->units <= 16);
        CHECK(c->blocks >= (c->size <= HAK_UNIT_SIZE ? 8 : 4));
        size_t bytes = c->units * HAK_UNIT_SIZE;
        size_t cut = (size_t)c->blocks * c->size;
        CHECK(cut <= bytes);
        CHECK(bytes - cut < c->size);            /* no room for one block more */
        CHECK((bytes - cut) * 100 <= bytes * 6); /* 6 % */
        if (c->blocks > BITMAP_LINE_BLOCKS)      /* its bitmap lies in the lines of one unit */
            CHECK(c->blocks <= 4096);
    }
}

/* Offset -> block index without a division, for every offset a pointer can have: block starts, no others. */
static void test_locate(void **state) {
    for (unsigned i = 1; i < HAK_CLASS_COUNT; i++) {
        const struct hak_size_class *c = &hak_size_classes[i];
        size_t index = 0;
        size_t start = 0;
        for (size_t offset = 0; offset < c->units * HAK_UNIT_SIZE; offset++) {
            if (offset == start + c->size) {
                index++;
                start = offset;
            }
            uint32_t found;
            bool is_start = hak_size_class_locate(c, offset, &found);
            if (found != index || is_start != (offset == start && index < c->blocks)) {
                CHECK_EQUAL(found, index);
                CHECK_EQUAL(is_start, offset == start && index < c->blocks);
            }
        }
    }
}

/* realloc's short way: half of a block may be unused, and only where a unit is a slab. */
static void test_spare(void **state) {
    for (unsigned i = 0; i < HAK_CLASS_COUNT; i++) {
        const struct hak_size_class *c = &hak_size_classes[i];
        CHECK_EQUAL(c->spare_limit, c->units == 1 ? c->size / 2 + 1 : 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_size), cmocka_unit_test(test_class_zero),
        cmocka_unit_test(test_classes),    cmocka_unit_test(test_slabs),
        cmocka_unit_test(test_locate),     cmocka_unit_test(test_spare),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
