/* test/unit/base/test_text.c — text built without allocation. SPDX-License-Identifier: MIT */

/*
 * Goal: numbers are spelt right, nothing is ever written past the buffer, and a flush is one write
 * of exactly the bytes gathered.
 * Method: compare with snprintf; guard bytes around the buffer; a socket in stderr's place that
 * keeps the bounds of each write.
 */

#include <sys/socket.h>

#include "base/text.h"
#include "unit/harness.h"

enum { RANDOM_COUNT = 20000, CAPACITY_MAX = 48 };

static void check_number(uint64_t value) {
    char buffer[64];
    char expected[64];
    struct hak_text text = {.buffer = buffer, .capacity = sizeof buffer};
    hak_text_decimal(&text, value);
    hak_text_string(&text, " ");
    hak_text_hex(&text, value);
    hak_text_chars(&text, "", 1);
    snprintf(expected, sizeof expected, "%" PRIu64 " 0x%" PRIx64, value, value);
    assert_string_equal(buffer, expected);
    CHECK_EQUAL(text.size, strlen(expected) + 1);
}

static void test_numbers(void **state) {
    check_number(0);
    check_number(UINT64_MAX);
    for (uint64_t power = 1; power <= UINT64_MAX / 10; power *= 10) {
        check_number(power - 1);
        check_number(power);
    }
    for (unsigned bit = 0; bit < 64; bit++)
        check_number(UINT64_C(1) << bit);
    for (int i = 0; i < RANDOM_COUNT; i++)
        check_number(harness_random_of(&g_harness.random) >> harness_below(64));
}

/* The same pieces into every capacity: the result is the full text, cut. */
static void test_cut(void **state) {
    static const char full[] = "abc0x1fdef4294967296ghi12345";
    for (size_t capacity = 0; capacity < CAPACITY_MAX; capacity++) {
        char guarded[CAPACITY_MAX + 2];
        memset(guarded, '#', sizeof guarded);
        struct hak_text text = {.buffer = guarded + 1, .capacity = capacity};
        hak_text_string(&text, "abc");
        hak_text_hex(&text, 31);
        hak_text_chars(&text, "defxyz", 3);
        hak_text_decimal(&text, UINT64_C(1) << 32);
        hak_text_string(&text, "");
        hak_text_string(&text, "ghi");
        hak_text_decimal(&text, 12345);
        size_t expected = capacity < sizeof full - 1 ? capacity : sizeof full - 1;
        CHECK_EQUAL(text.size, expected);
        CHECK(memcmp(guarded + 1, full, expected) == 0);
        CHECK_EQUAL(guarded[0], '#');
        for (size_t i = expected + 1; i < sizeof guarded; i++)
            CHECK_EQUAL(guarded[i], '#');
    }
}

static void flush_in_child(void *argument) {
    int sockets[2];
    char buffer[16];
    char got[64];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets) == 0);
    CHECK(dup2(sockets[0], STDERR_FILENO) == STDERR_FILENO);
    struct hak_text text = {.buffer = buffer, .capacity = sizeof buffer};

    hak_text_flush(&text); /* nothing there: no write */
    CHECK_EQUAL(atomic_load(&hak_text_cell()->count), 0);
    CHECK(recv(sockets[1], got, sizeof got, MSG_DONTWAIT) == -1);

    hak_text_string(&text, "first ");
    hak_text_decimal(&text, 1);
    hak_text_flush(&text);
    CHECK_EQUAL(text.size, 0);
    CHECK_EQUAL(atomic_load(&hak_text_cell()->count), 1);
    CHECK_EQUAL(recv(sockets[1], got, sizeof got, MSG_DONTWAIT), 7);
    CHECK(memcmp(got, "first 1", 7) == 0);

    hak_text_string(&text, "far too long for the buffer");
    hak_text_flush(&text);
    hak_text_flush(&text);
    CHECK_EQUAL(atomic_load(&hak_text_cell()->count), 2);
    CHECK_EQUAL(recv(sockets[1], got, sizeof got, MSG_DONTWAIT), sizeof buffer);
    CHECK(memcmp(got, "far too long for", sizeof buffer) == 0);
    CHECK(recv(sockets[1], got, sizeof got, MSG_DONTWAIT) == -1);
}

static void test_flush(void **state) {
    harness_expect_well(flush_in_child, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_flush),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
