/* test/unit/base/test_log.c — the stage log of debug builds. SPDX-License-Identifier: MIT */

/*
 * Goal: in debug builds each enabled stage writes its line and no other does; in release builds the
 * log is nothing at all, and its arguments are not evaluated.
 * Method: children whose stderr is compared byte by byte.
 */

#include "base/log.h"
#include "unit/harness.h"

static const char *const g_names[] = {"vm", "arena", "pool", "slab", "large", "heap"};
enum { STAGES = sizeof g_names / sizeof g_names[0] };

static void test_names(void **state) {
    for (unsigned stage = 0; stage < STAGES; stage++) {
        uint32_t expected = HAK_DEBUG >= 1 ? UINT32_C(1) << stage : 0;
        size_t length = strlen(g_names[stage]);
        char unterminated[16] = "################";
        memcpy(unterminated, g_names[stage], length);
        CHECK_EQUAL(hak_log_stage_bit(unterminated, length), expected);
        CHECK_EQUAL(hak_log_stage_bit(unterminated, length - 1), 0);
        CHECK_EQUAL(hak_log_stage_bit(unterminated, length + 1), 0);
    }
    CHECK_EQUAL(hak_log_stage_bit("", 0), 0);
    CHECK_EQUAL(hak_log_stage_bit("VM", 2), 0);
    CHECK_EQUAL(hak_log_stage_bit("everything", 10), 0);
}

static int g_evaluated;

__attribute__((unused)) static int evaluate(void) { /* release builds do not call it */
    return ++g_evaluated;
}

static void log_all(void) {
    for (unsigned stage = 0; stage < STAGES; stage++)
        hak_log((enum hak_log_stage)stage, "event", 0x1f0 + stage,
                UINT64_MAX - (uint64_t)evaluate());
}

static void log_before_enabled(void *argument) {
    log_all();
}

static void log_some(void *argument) {
#if HAK_DEBUG >= 1
    hak_log_enable(UINT32_C(1) << HAK_LOG_VM | UINT32_C(1) << HAK_LOG_LARGE);
    CHECK_EQUAL(HAK_LOG_HEAP, STAGES - 1);
#endif
    log_all();
    CHECK_EQUAL(g_evaluated, HAK_DEBUG >= 1 ? STAGES : 0);
}

/* A line longer than its buffer is cut, never overrun. */
static void log_long(void *argument) {
    char event[500];
    memset(event, 'e', sizeof event - 1);
    event[sizeof event - 1] = 0;
#if HAK_DEBUG >= 1
    hak_log_enable(UINT32_MAX);
#endif
    hak_log(HAK_LOG_VM, event, 1, 2);
    (void)event;
}

static void test_lines(void **state) {
    harness_expect_text(log_before_enabled, NULL, "");
    harness_expect_text(log_some, NULL,
                        HAK_DEBUG >= 1 ? "hakmem-trace vm event 0x1f0 18446744073709551614\n"
                                         "hakmem-trace large event 0x1f4 18446744073709551610\n"
                                       : "");
    struct harness_end end = harness_run(log_long, NULL);
    CHECK_EQUAL(end.status, 0);
    CHECK(HAK_DEBUG >= 1 ? end.size > 100 && end.size < 500 : end.size == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_lines),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
