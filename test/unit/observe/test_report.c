/* test/unit/observe/test_report.c — totals and the printed report. SPDX-License-Identifier: MIT */

/*
 * Goal: totals say what the layers below hold; the report is one write, each line of a form that
 * scripts can read, its ledger complete and its total the sum.
 * Method: blocks of every tier made through the layers below; a socket in stderr's place that keeps
 * the bounds of each write; every line parsed again.
 */

#include <regex.h>
#include <sys/socket.h>

#include "arena/pool.h"
#include "base/bits.h"
#include "heap/heap.h"
#include "large/big.h"
#include "large/span.h"
#include "observe/report.h"
#include "stats/ledger.h"
#include "unit/harness.h"
#include "vm/vm.h"

enum { CLASS = 4, SMALL_COUNT = 3 };

static struct {
    char *large;
    char *big;
} g_held;

/* Three small blocks of the four that a first refill takes, a Large and a Big one. */
static void start(void) {
    bool is_zeroed;
    hak_vm_init();
    CHECK(hak_pool_init());
    CHECK_EQUAL(hak_heap_init(), 0);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        hak_heap_policy.capacity_start[class_index] = 7;
        hak_heap_policy.capacity_max[class_index] = 63;
    }
    struct hak_heap *heap = hak_heap_acquire();
    CHECK(hak_heap_refill(heap, CLASS) != NULL);
    for (int i = 1; i < SMALL_COUNT; i++)
        CHECK(hak_magazine_pop(CLASS * 16) != NULL);
    g_held.large = hak_span_alloc(5 * HAK_UNIT_SIZE, 16, &is_zeroed);
    g_held.big = hak_big_alloc(65 * HAK_MIB, 16, &is_zeroed);
    CHECK(g_held.large != NULL);
    CHECK(g_held.big != NULL);
}

static void check_totals(void *argument) {
    start();
    struct hak_totals totals = hak_totals();
    CHECK_EQUAL(totals.reserved, HAK_GIB);
    CHECK_EQUAL(totals.small_out, 4 * hak_size_classes[CLASS].size);
    CHECK_EQUAL(totals.large_count, 1);
    CHECK_EQUAL(totals.large_bytes, 5 * HAK_UNIT_SIZE);
    CHECK_EQUAL(totals.big_count, 1);
    CHECK_EQUAL(totals.big_bytes, 65 * HAK_MIB);
    CHECK_EQUAL(totals.heap_count, 1);
    CHECK_EQUAL(totals.orphan_count, 0);
    CHECK_EQUAL(totals.refills, 1);
    CHECK_EQUAL(totals.flushes, 0);
    CHECK_EQUAL(totals.remote_frees, 0);
    CHECK_EQUAL(totals.pool_free, 0);
    CHECK_EQUAL(totals.pool_given_back, 0);
    CHECK(totals.metadata > sizeof(struct hak_heap));
    CHECK_EQUAL(totals.big_cached, 0);
    size_t arena_committed = hak_ledger_read(HAK_CALL_MPROTECT, HAK_CAUSE_ARENA_COMMIT).bytes;
    CHECK_EQUAL(totals.committed - totals.big_bytes, arena_committed);
    CHECK_EQUAL(hak_totals_trimmable(&totals), 0);
    size_t in_use = totals.small_out + totals.large_bytes + totals.big_bytes;
    CHECK_EQUAL(hak_totals_in_use(&totals), in_use);
    CHECK_EQUAL(hak_totals_rest(&totals), totals.committed - in_use);

    CHECK_EQUAL(hak_span_free(g_held.large), HAK_MISUSE_NONE);
    CHECK_EQUAL(hak_big_free(g_held.big), HAK_MISUSE_NONE);
    totals = hak_totals();
    CHECK_EQUAL(totals.large_count + totals.big_count, 0);
    CHECK_EQUAL(totals.large_bytes + totals.big_bytes, 0);
    CHECK_EQUAL(totals.pool_free, 5 * HAK_UNIT_SIZE);
    CHECK_EQUAL(totals.big_cached, 65 * HAK_MIB); /* kept, and part of what is usable */
    CHECK_EQUAL(totals.committed, arena_committed + 65 * HAK_MIB);
    CHECK_EQUAL(hak_totals_trimmable(&totals), 65 * HAK_MIB + 5 * HAK_UNIT_SIZE);
    hak_pool_purge(HAK_CAUSE_TRIM);
    CHECK_EQUAL(hak_big_purge(0, 0, HAK_CAUSE_TRIM), 65 * HAK_MIB);
    totals = hak_totals();
    CHECK_EQUAL(totals.committed, arena_committed);
    CHECK_EQUAL(hak_totals_trimmable(&totals), 0);
    CHECK_EQUAL(totals.pool_given_back, 5 * HAK_UNIT_SIZE);
}

static void test_totals(void **state) {
    harness_expect_well(check_totals, NULL);
}

/* Parts of different moments: never a number below zero. */
static void test_rest(void **state) {
    struct hak_totals totals = {.committed = 10, .small_out = 7, .large_bytes = 2, .big_bytes = 1};
    CHECK_EQUAL(hak_totals_in_use(&totals), 10);
    CHECK_EQUAL(hak_totals_rest(&totals), 0);
    totals.big_bytes = 100;
    CHECK_EQUAL(hak_totals_rest(&totals), 0);
    totals.big_bytes = 0;
    CHECK_EQUAL(hak_totals_rest(&totals), 1);
}

/* ---- the printed report ---- */

static bool is_match(const char *line, const char *pattern) {
    regex_t compiled;
    CHECK(regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB) == 0);
    bool is_matched = regexec(&compiled, line, 0, NULL, 0) == 0;
    regfree(&compiled);
    return is_matched;
}

static uint64_t value_of(const char *report, const char *name) {
    const char *found = strstr(report, name);
    CHECK(found != NULL);
    return strtoull(found + strlen(name), NULL, 10);
}

/* Each line has one of the forms; returns the sum of the ledger's counts. */
static uint64_t check_lines(char *report, int *line_count) {
    uint64_t sum = 0;
    char *rest = NULL;
    *line_count = 0;
    for (char *line = strtok_r(report, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char cause[64];
        uint64_t count;
        if (++*line_count == 1)
            CHECK(is_match(line, "^hakmem: a title, process [0-9]+$"));
        else if (strncmp(line, "hakmem: ledger total ", 21) == 0)
            CHECK_EQUAL(strtoull(line + 21, NULL, 10),
                        sum); /* the last line, all before it added */
        else if (strncmp(line, "hakmem: ledger ", 15) == 0) {
            CHECK(is_match(line, "^hakmem: ledger [a-z0-9]+ [a-z-]+ [0-9]+ [0-9]+$"));
            CHECK(sscanf(line, "hakmem: ledger %*s %63s %" SCNu64, cause, &count) == 2);
            CHECK(count > 0);
            sum += count;
        } else
            CHECK(is_match(line, "^hakmem: (bytes|count) [a-z-]+ [0-9]+$"));
    }
    return sum;
}

static void print_report(void *argument) {
    static char report[16384];
    int sockets[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, sockets) == 0);
    int said_before = dup(STDERR_FILENO);
    start();
    struct hak_totals totals = hak_totals();
    uint64_t writes = hak_ledger_read(HAK_CALL_WRITE, HAK_CAUSE_MESSAGE).count;
    CHECK(dup2(sockets[0], STDERR_FILENO) == STDERR_FILENO);
    hak_report_print("a title");
    CHECK(dup2(said_before, STDERR_FILENO) == STDERR_FILENO);

    ssize_t size = recv(sockets[1], report, sizeof report - 1, MSG_DONTWAIT);
    CHECK(size > 0);
    CHECK(recv(sockets[1], report + size, 1, MSG_DONTWAIT) == -1); /* one write */
    CHECK_EQUAL(report[size - 1], '\n');
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_WRITE, HAK_CAUSE_MESSAGE).count, writes + 1);

    CHECK_EQUAL(value_of(report, ", process "), getpid());
    CHECK_EQUAL(value_of(report, "\nhakmem: bytes reserved "), totals.reserved);
    CHECK_EQUAL(value_of(report, "\nhakmem: bytes committed "), totals.committed);
    CHECK_EQUAL(value_of(report, "\nhakmem: bytes metadata "), totals.metadata);
    CHECK_EQUAL(value_of(report, "\nhakmem: bytes small-out "), totals.small_out);
    CHECK_EQUAL(value_of(report, "\nhakmem: bytes large "), totals.large_bytes);
    CHECK_EQUAL(value_of(report, "\nhakmem: bytes big "), totals.big_bytes);
    CHECK_EQUAL(value_of(report, "\nhakmem: bytes big-cached "), totals.big_cached);
    CHECK_EQUAL(value_of(report, "\nhakmem: count large "), 1);
    CHECK_EQUAL(value_of(report, "\nhakmem: count big "), 1);
    CHECK_EQUAL(value_of(report, "\nhakmem: count heaps "), 1);
    CHECK_EQUAL(value_of(report, "\nhakmem: count refills "), 1);
    CHECK(value_of(report, "\nhakmem: ledger mmap arena-reserve ") >= 1);
    CHECK_EQUAL(value_of(report, "\nhakmem: ledger mprotect arena-commit 1 "),
                totals.committed - totals.big_bytes);
    CHECK_EQUAL(value_of(report, "\nhakmem: ledger mmap big "), 1);
    CHECK_EQUAL(value_of(report, "\nhakmem: ledger write message "), writes + 1); /* itself */
    CHECK_EQUAL(value_of(report, "\nhakmem: ledger getpid message "), 1);
    const char *total = strstr(report, "\nhakmem: ledger total ");
    CHECK(total != NULL);
    CHECK(strchr(total + 1, '\n') == report + size - 1); /* the last line */

    int line_count;
    uint64_t sum = check_lines(report, &line_count);
    uint64_t expected = 0;
    for (unsigned call = 0; call < HAK_CALL_COUNT; call++) {
        for (unsigned cause = 0; cause < HAK_CAUSE_COUNT; cause++)
            expected += hak_ledger_read((enum hak_call)call, (enum hak_cause)cause).count;
    }
    CHECK_EQUAL(sum, expected); /* every cell that is not zero is there */
    CHECK(line_count > 20);
}

static void test_report(void **state) {
    harness_expect_well(print_report, NULL);
}

/* The buffer holds the longest report there can be: every cell and every number at its widest. */
static void fill_all_cells(void *argument) {
    hak_vm_init();
    CHECK(hak_pool_init());
    for (unsigned call = 0; call < HAK_CALL_COUNT; call++) {
        for (unsigned cause = 0; cause < HAK_CAUSE_COUNT; cause++) {
            hak_ledger_add((enum hak_call)call, (enum hak_cause)cause, SIZE_MAX / 2);
            for (int i = 0; i < 1000; i++)
                hak_ledger_add((enum hak_call)call, (enum hak_cause)cause, 0);
        }
    }
    hak_report_print("a title that is rather longer than any of those that are in use");
}

static void test_longest(void **state) {
    struct harness_end end = harness_run(fill_all_cells, NULL);
    int lines = 0;
    CHECK_EQUAL(end.status, 0);
    CHECK(end.size < HARNESS_TEXT_MAX);
    for (size_t i = 0; i < end.size; i++)
        lines += end.text[i] == '\n';
    CHECK(lines >= HAK_CALL_COUNT * HAK_CAUSE_COUNT);
    CHECK(strstr(end.text, "\nhakmem: ledger total ") != NULL);
    CHECK_EQUAL(end.text[end.size - 1], '\n');
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_totals),
        cmocka_unit_test(test_rest),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_longest),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
