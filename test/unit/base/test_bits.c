/* test/unit/base/test_bits.c — arithmetic on sizes and words of bits. SPDX-License-Identifier: MIT */

/*
 * Goal: each helper is right on its whole domain's edges.
 * Method: compare with a loop that follows the definition, for every power of two and its
 * neighbours, and for random values.
 */

#include "base/bits.h"
#include "unit/harness.h"

enum { RANDOM_COUNT = 20000 };

static bool is_power_of_two_slow(size_t x) {
    for (unsigned bit = 0; bit < 64; bit++) {
        if (x == (size_t)1 << bit)
            return true;
    }
    return false;
}

static void check_bits(uint64_t x) {
    unsigned count = 0;
    unsigned lowest = 64;
    unsigned highest = 64;
    for (unsigned bit = 0; bit < 64; bit++) {
        if (x >> bit & 1) {
            count++;
            highest = bit;
            lowest = lowest == 64 ? bit : lowest;
        }
    }
    CHECK_EQUAL(hak_popcount(x), count);
    CHECK_EQUAL(hak_is_power_of_two(x), is_power_of_two_slow(x));
    if (x != 0) {
        CHECK_EQUAL(hak_lowest_bit(x), lowest);
        CHECK_EQUAL(hak_highest_bit(x), highest);
    }
}

static void test_words(void **state) {
    check_bits(0);
    check_bits(UINT64_MAX);
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t power = UINT64_C(1) << bit;
        check_bits(power);
        check_bits(power - 1);
        check_bits(power + 1);
        check_bits(~power);
    }
    for (int i = 0; i < RANDOM_COUNT; i++)
        check_bits(harness_random_of(&g_harness.random) >> harness_below(64));
}

static void check_align(size_t x, size_t align) {
    CHECK_EQUAL(hak_align_down(x, align), x - x % align);
    if (x <= SIZE_MAX - align)
        CHECK_EQUAL(hak_align_up(x, align), x % align ? x - x % align + align : x);
}

static void test_align(void **state) {
    for (unsigned bit = 0; bit < 63; bit++) {
        size_t align = (size_t)1 << bit;
        check_align(0, align);
        check_align(1, align);
        check_align(align - 1, align);
        check_align(align, align);
        check_align(align + 1, align);
        check_align(SIZE_MAX, align);
        for (int i = 0; i < RANDOM_COUNT / 63; i++)
            check_align((size_t)harness_random_of(&g_harness.random) >> harness_below(64), align);
    }
}

static void test_order(void **state) {
    CHECK_EQUAL(hak_min(1, 2), 1);
    CHECK_EQUAL(hak_min(2, 1), 1);
    CHECK_EQUAL(hak_max(1, 2), 2);
    CHECK_EQUAL(hak_max(2, 1), 2);
    CHECK_EQUAL(hak_min(SIZE_MAX, 0), 0);
    CHECK_EQUAL(hak_max(SIZE_MAX, 0), SIZE_MAX);
    CHECK_EQUAL(hak_min(7, 7), 7);
    CHECK_EQUAL(hak_max(7, 7), 7);
}

/* Every range of the first three words, bit by bit. */
static void test_word_range(void **state) {
    for (size_t begin = 0; begin <= 192; begin++) {
        for (size_t end = begin; end <= 192; end++) {
            for (size_t word = 0; word < 3; word++) {
                uint64_t expected = 0;
                for (size_t bit = begin; bit < end; bit++)
                    expected |= bit / 64 == word ? UINT64_C(1) << (bit % 64) : 0;
                CHECK_EQUAL(hak_word_range(word, begin, end), expected);
            }
        }
    }
}

static void test_units(void **state) {
    CHECK_EQUAL(HAK_KIB, 1024);
    CHECK_EQUAL(HAK_MIB, 1024 * HAK_KIB);
    CHECK_EQUAL(HAK_GIB, 1024 * HAK_MIB);
    CHECK_EQUAL(HAK_TIB, 1024 * HAK_GIB);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words), cmocka_unit_test(test_align),
        cmocka_unit_test(test_order), cmocka_unit_test(test_word_range),
        cmocka_unit_test(test_units),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
