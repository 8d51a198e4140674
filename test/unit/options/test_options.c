/* test/unit/options/test_options.c — typed values and their parser. SPDX-License-Identifier: MIT */

/*
 * Goal: every option takes every good value from either place, refuses every other with exactly one
 * line, and no environment, however strange, breaks the parser or what follows in it.
 * Method: a child per environment (values are the process's), stderr compared byte by byte.
 */

#include "options/options.h"
#include "unit/harness.h"

struct expectation {
    const char *const *environment; /* NULL-terminated */
    struct hak_options options;
};

static void load(void *argument) {
    const struct expectation *expected = argument;
    hak_options_load((char **)(uintptr_t)expected->environment);
    CHECK_EQUAL(hak_options.checks, expected->options.checks);
    CHECK_EQUAL(hak_options.report, expected->options.report);
    CHECK_EQUAL(hak_options.ace, expected->options.ace);
    CHECK_EQUAL(hak_options.log, HAK_DEBUG >= 1 ? expected->options.log : 0);
}

static void expect(const char *text, struct hak_options options, const char *const *environment) {
    struct expectation expected = {environment, options};
    harness_expect_text(load, &expected, text);
}

static const struct hak_options g_defaults = {.ace = HAK_ACE_ON};

static struct hak_options with_ace(uint32_t ace) {
    struct hak_options options = g_defaults;
    options.ace = ace;
    return options;
}

static struct hak_options with_flags(uint32_t checks, uint32_t report) {
    struct hak_options options = g_defaults;
    options.checks = checks;
    options.report = report;
    return options;
}

static struct hak_options with_log(uint32_t log) {
    struct hak_options options = g_defaults;
    options.log = log;
    return options;
}

#define ENVIRONMENT(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_defaults(void **state) {
    static const char *const nothing[] = {NULL};
    expect("", g_defaults, nothing);
    expect("", g_defaults, ENVIRONMENT("PATH=/bin", "HOME=/", "LANG="));
}

static void test_good_values(void **state) {
    expect("", with_flags(1, 0), ENVIRONMENT("HAKMEM_CHECKS=1"));
    expect("", with_flags(0, 0), ENVIRONMENT("HAKMEM_CHECKS=0"));
    expect("", with_flags(0, 1), ENVIRONMENT("HAKMEM_REPORT=1"));
    expect("", with_flags(0, 0), ENVIRONMENT("HAKMEM_REPORT=0"));
    expect("", with_flags(1, 1), ENVIRONMENT("HAKMEM_REPORT=1", "A=1", "HAKMEM_CHECKS=1"));
    expect("", with_ace(HAK_ACE_OFF), ENVIRONMENT("HAKMEM_ACE=off"));
    expect("", with_ace(HAK_ACE_ON), ENVIRONMENT("HAKMEM_ACE=on"));
    expect("", with_ace(HAK_ACE_FROZEN), ENVIRONMENT("HAKMEM_ACE=frozen"));
    CHECK_EQUAL(HAK_ACE_OFF, 0); /* the table's order is the enumeration's */
    CHECK_EQUAL(HAK_ACE_ON, 1);
    CHECK_EQUAL(HAK_ACE_FROZEN, 2);
}

static void test_case(void **state) {
    expect("", with_ace(HAK_ACE_FROZEN), ENVIRONMENT("HAKMEM_ACE=FROZEN"));
    expect("", with_ace(HAK_ACE_OFF), ENVIRONMENT("HAKMEM_ace=Off"));
    expect("", with_ace(HAK_ACE_OFF), ENVIRONMENT("HAKMEM_CONF=ACE:OFF"));
    expect("", g_defaults,
           ENVIRONMENT("hakmem_ace=off")); /* the prefix is upper case, or not ours */
}

static void test_bad_values(void **state) {
    static const char bool_words[] = ": expected 0 or 1\n";
    static const char *const bad[] = {"",   "2",  "-1",   "01",  "10", "1 ",
                                      " 1", "on", "true", "yes", "00", "0|1"};
    char variable[64];
    char text[128];
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(variable, sizeof variable, "HAKMEM_CHECKS=%s", bad[i]);
        snprintf(text, sizeof text, "hakmem: warning: HAKMEM_CHECKS=%s%s", bad[i], bool_words);
        expect(text, g_defaults, ENVIRONMENT(variable));
    }
    expect("hakmem: warning: HAKMEM_REPORT=x: expected 0 or 1\n", g_defaults,
           ENVIRONMENT("HAKMEM_REPORT=x"));
    expect("hakmem: warning: HAKMEM_ACE=purple: expected off, on or frozen\n", g_defaults,
           ENVIRONMENT("HAKMEM_ACE=purple"));
    expect("hakmem: warning: HAKMEM_ACE=offf: expected off, on or frozen\n", g_defaults,
           ENVIRONMENT("HAKMEM_ACE=offf"));
    expect("hakmem: warning: HAKMEM_ACE=of: expected off, on or frozen\n", g_defaults,
           ENVIRONMENT("HAKMEM_ACE=of"));
    expect("hakmem: warning: HAKMEM_ACE=off|on: expected off, on or frozen\n", g_defaults,
           ENVIRONMENT("HAKMEM_ACE=off|on"));
    expect("hakmem: warning: HAKMEM_ACE=a=b: expected off, on or frozen\n", g_defaults,
           ENVIRONMENT("HAKMEM_ACE=a=b"));
    expect("hakmem: warning: HAKMEM_ACE=: expected off, on or frozen\n", g_defaults,
           ENVIRONMENT("HAKMEM_ACE")); /* no '=' at all: putenv(3) permits that */
}

static void test_unknown_names(void **state) {
    expect("hakmem: warning: unknown option HAKMEM_FOO\n", g_defaults, ENVIRONMENT("HAKMEM_FOO=1"));
    expect("hakmem: warning: unknown option HAKMEM_FOO\n", g_defaults, ENVIRONMENT("HAKMEM_foo=1"));
    expect("hakmem: warning: unknown option HAKMEM_CHECK\n", g_defaults,
           ENVIRONMENT("HAKMEM_CHECK=1"));
    expect("hakmem: warning: unknown option HAKMEM_CHECKSS\n", g_defaults,
           ENVIRONMENT("HAKMEM_CHECKSS=1"));
    expect("hakmem: warning: unknown option HAKMEM_ACE_X\n", g_defaults,
           ENVIRONMENT("HAKMEM_ACE_X"));
    /* not ours */
    expect("", g_defaults,
           ENVIRONMENT("HAKMEM=1", "HAKMEMX=1", "XHAKMEM_ACE=off", "HAKME", "", "="));
    expect("", g_defaults, ENVIRONMENT("HAKMEM_LIBRARY=/usr/lib/libhakmem.so.1")); /* the tool's */
}

/* One bad setting warns once and the others still count, before and after it. */
static void test_the_rest_still_counts(void **state) {
    expect("hakmem: warning: unknown option HAKMEM_FOO\n"
           "hakmem: warning: HAKMEM_ACE=purple: expected off, on or frozen\n",
           with_flags(1, 1),
           ENVIRONMENT("HAKMEM_CHECKS=1", "HAKMEM_FOO=", "HAKMEM_ACE=purple", "HAKMEM_REPORT=1"));
    expect("hakmem: warning: HAKMEM_CHECKS=9: expected 0 or 1\n"
           "hakmem: warning: unknown option HAKMEM_NO\n",
           with_flags(0, 1), ENVIRONMENT("HAKMEM_CONF=checks:9,no:1,report:1"));
}

static void test_conf(void **state) {
    struct hak_options all = {.checks = 1, .report = 1, .ace = HAK_ACE_FROZEN};
    expect("", all, ENVIRONMENT("HAKMEM_CONF=checks:1,report:1,ace:frozen"));
    expect("", all, ENVIRONMENT("HAKMEM_CONF=ace:off,report:1,ace:frozen,checks:1,"));
    expect("", g_defaults, ENVIRONMENT("HAKMEM_CONF="));
    expect("", g_defaults, ENVIRONMENT("HAKMEM_CONF"));
    /* the single variable wins, wherever it stands */
    expect("", with_ace(HAK_ACE_OFF), ENVIRONMENT("HAKMEM_CONF=ace:frozen", "HAKMEM_ACE=off"));
    expect("", with_ace(HAK_ACE_OFF), ENVIRONMENT("HAKMEM_ACE=off", "HAKMEM_CONF=ace:frozen"));
    expect("", with_flags(0, 0), ENVIRONMENT("HAKMEM_CHECKS=0", "HAKMEM_CONF=checks:1"));
    /* without a value, with two, with the wrong sign */
    expect("hakmem: warning: HAKMEM_ACE=: expected off, on or frozen\n", g_defaults,
           ENVIRONMENT("HAKMEM_CONF=ace"));
    expect("hakmem: warning: HAKMEM_ACE=on:off: expected off, on or frozen\n", g_defaults,
           ENVIRONMENT("HAKMEM_CONF=ace:on:off"));
    expect("hakmem: warning: unknown option HAKMEM_ACE=OFF\n", g_defaults,
           ENVIRONMENT("HAKMEM_CONF=ace=off"));
    /* CONF does not nest */
    expect("hakmem: warning: unknown option HAKMEM_CONF\n", g_defaults,
           ENVIRONMENT("HAKMEM_CONF=conf:1"));
}

static void test_log(void **state) {
    enum {
        VM = 1 << 0,
        ARENA = 1 << 1,
        POOL = 1 << 2,
        SLAB = 1 << 3,
        LARGE = 1 << 4,
        HEAP = 1 << 5
    };
    expect("", with_log(VM), ENVIRONMENT("HAKMEM_LOG=vm"));
    expect("", with_log(VM | ARENA | POOL | SLAB | LARGE | HEAP),
           ENVIRONMENT("HAKMEM_LOG=heap,large,slab,pool,arena,vm"));
    expect("", with_log(POOL), ENVIRONMENT("HAKMEM_LOG=,pool,,pool,"));
    expect("", with_log(0), ENVIRONMENT("HAKMEM_LOG="));
    expect("", with_log(POOL | VM), ENVIRONMENT("HAKMEM_LOG=vm+pool"));
    expect("", with_log(POOL | VM | HEAP), ENVIRONMENT("HAKMEM_LOG=+vm++heap,pool+"));
    expect("", with_log(VM), ENVIRONMENT("HAKMEM_LOG=vm,everything,v,vmm"));
    expect("", with_log(SLAB), ENVIRONMENT("HAKMEM_CONF=log:slab"));
    expect("", with_log(SLAB | ARENA), ENVIRONMENT("HAKMEM_CONF=log:slab+arena,ace:on"));
    expect("", with_log(POOL), ENVIRONMENT("HAKMEM_CONF=log:vm", "HAKMEM_LOG=pool"));
}

/* ---- long and strange ---- */

static void load_long(void *argument) {
    const char *const environment[] = {argument, "HAKMEM_REPORT=1", NULL};
    hak_options_load((char **)(uintptr_t)environment);
    CHECK_EQUAL(hak_options.report, 1);
    CHECK_EQUAL(hak_options.ace, HAK_ACE_ON);
}

static void expect_one_line(char *variable, const char *start) {
    struct harness_end end = harness_run(load_long, variable);
    CHECK_EQUAL(end.status, 0);
    CHECK(strncmp(end.text, start, strlen(start)) == 0);
    CHECK(strchr(end.text, '\n') == end.text + end.size - 1);
    CHECK(end.size < 300);
}

static void test_very_long(void **state) {
    enum { LONG = 100000 };
    char *variable = malloc(LONG + 1);
    CHECK(variable != NULL);
    memset(variable, 'X', LONG);
    variable[LONG] = 0;
    memcpy(variable, "HAKMEM_", 7);
    expect_one_line(variable, "hakmem: warning: unknown option HAKMEM_XXXXXXXX");
    variable[LONG / 2] = '=';
    expect_one_line(variable, "hakmem: warning: unknown option HAKMEM_XXXXXXXX");
    memcpy(variable, "HAKMEM_ACE=", 11);
    expect_one_line(variable, "hakmem: warning: HAKMEM_ACE=XXXXXXXX");
    memcpy(variable, "HAKMEM_CONF=ace:", 16);
    expect_one_line(variable, "hakmem: warning: HAKMEM_ACE=XXXXXXXX");

    /* Thousands of settings: the last of each name counts. */
    size_t size = (size_t)snprintf(variable, LONG, "HAKMEM_CONF=");
    while (size < LONG - 32)
        size += (size_t)snprintf(variable + size, LONG - size, "ace:off,report:0,ace:on,");
    harness_expect_text(load_long, variable, "");
    free(variable);
}

/* A text and its final 0 fit, or it is refused whole: what lies behind it is as it was. */
static void load_text(void *argument) {
    const size_t *length = argument;
    char variable[HAK_OPTION_TEXT_SIZE + 32];
    const char *const environment[] = {"HAKMEM_STAT=kept", variable, NULL};
    memset(variable, 'x', sizeof variable);
    memcpy(variable, "HAKMEM_POLICY=", 14);
    variable[14 + *length] = 0;
    hak_options_load((char **)(uintptr_t)environment);
    bool fits = *length < HAK_OPTION_TEXT_SIZE;
    CHECK_EQUAL(strlen(hak_options.policy), fits ? *length : 0);
    CHECK(strcmp(hak_options.stat, "kept") == 0);
}

static void test_text_that_just_fits(void **state) {
    for (size_t length = HAK_OPTION_TEXT_SIZE - 2; length <= HAK_OPTION_TEXT_SIZE + 1; length++) {
        struct harness_end end = harness_run(load_text, &length);
        CHECK_EQUAL(end.status, 0);
        CHECK_EQUAL(end.size > 0, length >= HAK_OPTION_TEXT_SIZE);
    }
}

/* Names and values at each length around the parser's buffers: one whole line, always. */
static void test_every_length(void **state) {
    char variable[400];
    for (size_t length = 1; length < 300; length += length < 90 || length > 170 ? 7 : 1) {
        memset(variable, 'v', sizeof variable);
        memcpy(variable, "HAKMEM_ACE=", 11);
        variable[11 + length] = 0;
        expect_one_line(variable, "hakmem: warning: HAKMEM_ACE=v");
        memset(variable + 7, 'n', 5);
        expect_one_line(variable, "hakmem: warning: unknown option HAKMEM_NNNN");
    }
}

static void load_noise(void *argument) {
    char variable[64];
    const char *const environment[] = {variable, NULL};
    for (int i = 0; i < 5000; i++) {
        static const char alphabet[] = "HAKMEM_CONF=ACEace:,:,10|\xff\n";
        size_t length = harness_below(sizeof variable - 12);
        memcpy(variable, "HAKMEM_CONF=", 12);
        size_t start = harness_below(2) ? 7 : 12;
        for (size_t k = start; k < start + length; k++)
            variable[k] = alphabet[harness_below(sizeof alphabet - 1)];
        variable[start + length] = 0;
        hak_options_load((char **)(uintptr_t)environment);
        CHECK(hak_options.ace <= HAK_ACE_FROZEN);
        CHECK(hak_options.checks <= 1);
        CHECK(hak_options.report <= 1);
    }
}

/* Anything may stand in the environment: no crash, and no value that an option cannot have. */
static void test_noise(void **state) {
    harness_expect_well(load_noise, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),      cmocka_unit_test(test_good_values),
        cmocka_unit_test(test_case),          cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_unknown_names), cmocka_unit_test(test_the_rest_still_counts),
        cmocka_unit_test(test_conf),          cmocka_unit_test(test_log),
        cmocka_unit_test(test_very_long),     cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_noise),         cmocka_unit_test(test_text_that_just_fits),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
