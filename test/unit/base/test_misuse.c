/* test/unit/base/test_misuse.c — the vocabulary of what users do wrong. SPDX-License-Identifier: MIT */

/*
 * Goal: every combination of entry point, misuse, class and owner gives exactly its line, and each
 * line has the form that scripts may rely on.
 * Method: a child per combination; bytes compared with snprintf's, and with the promised pattern.
 */

#include <regex.h>

#include "base/misuse.h"
#include "unit/harness.h"

static const char g_pattern[] =
    "^hakmem: fatal: "
    "(free|realloc|malloc_usable_size|free_sized|free_aligned_sized|sdallocx|delete)"
    "\\((0x[0-9a-f]+)\\): (not a block of this allocator|inside a block, not its start|double free"
    "|wrong size|canary overwritten); class ([0-9]+|large|big|none), owner (heap [0-9]+|none)\n$";

struct misuse {
    const char *function;
    const void *pointer;
    enum hak_misuse what;
    size_t class_size;
    uint32_t owner;
};

static void commit(void *argument) {
    const struct misuse *m = argument;
    hak_misuse_fatal(m->function, m->pointer, m->what, m->class_size, m->owner);
}

static void check(const struct misuse *m, const char *words, const char *class_word) {
    regex_t pattern;
    char owner[32] = "none";
    char expected[256];
    if (m->owner)
        snprintf(owner, sizeof owner, "heap %" PRIu32, m->owner);
    snprintf(expected, sizeof expected,
             "hakmem: fatal: %s(0x%" PRIxPTR "): %s; class %s, owner %s\n", m->function,
             (uintptr_t)m->pointer, words, class_word, owner);
    CHECK(regcomp(&pattern, g_pattern, REG_EXTENDED | REG_NOSUB) == 0);
    CHECK(regexec(&pattern, expected, 0, NULL, 0) == 0);
    regfree(&pattern);
    harness_expect_abort(commit, (void *)m, expected, false);
}

static void test_words(void **state) {
    static const struct {
        enum hak_misuse what;
        const char *words;
    } whats[] = {{HAK_MISUSE_NOT_OURS, "not a block of this allocator"},
                 {HAK_MISUSE_INSIDE, "inside a block, not its start"},
                 {HAK_MISUSE_DOUBLE_FREE, "double free"},
                 {HAK_MISUSE_WRONG_SIZE, "wrong size"},
                 {HAK_MISUSE_CANARY, "canary overwritten"}};
    for (size_t i = 0; i < sizeof whats / sizeof whats[0]; i++)
        check(&(struct misuse){"free", (void *)0x1000, whats[i].what, 64, 3}, whats[i].words, "64");
}

static void test_functions(void **state) {
    static const char *const functions[] = {
        "free",     "realloc", "malloc_usable_size", "free_sized", "free_aligned_sized",
        "sdallocx", "delete"};
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++)
        check(&(struct misuse){functions[i], (void *)0xdeadbeef, HAK_MISUSE_DOUBLE_FREE, 16, 1},
              "double free", "16");
}

static void test_classes(void **state) {
    static const struct {
        size_t size;
        const char *word;
    } classes[] = {{HAK_CLASS_WORD_NONE, "none"},
                   {HAK_CLASS_WORD_LARGE, "large"},
                   {HAK_CLASS_WORD_BIG, "big"},
                   {16, "16"},
                   {65536, "65536"}};
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++)
        check(&(struct misuse){"free", (void *)0x7f00, HAK_MISUSE_INSIDE, classes[i].size, 0},
              "inside a block, not its start", classes[i].word);
}

/* The longest line there can be is whole. */
static void test_longest(void **state) {
    check(&(struct misuse){"malloc_usable_size", (void *)UINTPTR_MAX, HAK_MISUSE_NOT_OURS,
                           SIZE_MAX - 2, UINT32_MAX},
          "not a block of this allocator", "18446744073709551613");
    check(&(struct misuse){"free_aligned_sized", NULL, HAK_MISUSE_INSIDE, 65536, UINT32_MAX},
          "inside a block, not its start", "65536");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_functions),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_longest),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
