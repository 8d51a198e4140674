/* test/unit/base/test_fatal.c — one line on stderr, then abort. SPDX-License-Identifier: MIT */

/*
 * Goal: a fatal error writes exactly its line and raises SIGABRT; each assertion tier is compiled
 * into the builds it belongs to and only those.
 * Method: children whose stderr is read back byte by byte.
 */

#include "base/fatal.h"
#include "unit/harness.h"

static void die(void *argument) {
    hak_fatal(argument);
}

static void test_fatal(void **state) {
    char message[] = "double trouble";
    harness_expect_abort(die, message, "hakmem: fatal: double trouble\n", false);
    message[0] = 0;
    harness_expect_abort(die, message, "hakmem: fatal: \n", false);
}

static void die_of_check(void *argument) {
    hak_fatal_check("x == 1", "file.c", 4711);
}

static void test_fatal_check(void **state) {
    harness_expect_abort(die_of_check, NULL,
                         "hakmem: fatal: internal check failed: x == 1 at file.c:4711\n", false);
}

static int g_line; /* of the check that fails */

static void fail_check(void *argument) {
    volatile int two = 2;
    hak_check(two == 2);
    hak_check(two == 3);
}

static void test_check(void **state) {
    g_line = __LINE__ - 4;
    char expected[128];
    snprintf(expected, sizeof expected,
             "hakmem: fatal: internal check failed: two == 3 at test_fatal.c:%d\n", g_line);
    harness_expect_abort(fail_check, NULL, expected, false);
}

static int g_evaluated;

static bool evaluate(bool result) {
    g_evaluated++;
    return result;
}

static void fail_assert(void *argument) {
    hak_assert(evaluate(false));
}

static void fail_assert_deep(void *argument) {
    hak_assert_deep(evaluate(false));
}

static void test_tiers(void **state) {
    static const char start[] = "hakmem: fatal: internal check failed: evaluate(";
    g_evaluated = 0;
    hak_check(evaluate(true));
    CHECK_EQUAL(g_evaluated, 1); /* in every build */
    hak_assert(evaluate(true));
    CHECK_EQUAL(g_evaluated, HAK_DEBUG >= 1 ? 2 : 1);
    hak_assert_deep(evaluate(true));
    CHECK_EQUAL(g_evaluated, 1 + (HAK_DEBUG >= 1) + (HAK_DEBUG >= 2));
    if (HAK_DEBUG >= 1)
        harness_expect_abort(fail_assert, NULL, start, true);
    else
        harness_expect_text(fail_assert, NULL, "");
    if (HAK_DEBUG >= 2)
        harness_expect_abort(fail_assert_deep, NULL, start, true);
    else
        harness_expect_text(fail_assert_deep, NULL, "");
}

/* However long the text, the message is one line: cut, but ended. */
static void test_overlong(void **state) {
    char text[600];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    struct harness_end end = harness_run(die, text);
    CHECK(WIFSIGNALED(end.status));
    CHECK_EQUAL(WTERMSIG(end.status), SIGABRT);
    CHECK(end.size > 64);
    CHECK_EQUAL(strncmp(end.text, "hakmem: fatal: xxxx", 19), 0);
    CHECK_EQUAL(end.text[end.size - 1], '\n');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fatal),    cmocka_unit_test(test_fatal_check),
        cmocka_unit_test(test_check),    cmocka_unit_test(test_tiers),
        cmocka_unit_test(test_overlong),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
