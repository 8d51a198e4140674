/* test/unit/api/test_info.c — mallinfo and its relatives. SPDX-License-Identifier: MIT */

/*
 * Goal: the numbers are hakmem's own, in glibc's fields; trimming gives back what is free; what is
 * accepted for glibc's sake does nothing.
 * Method: differences around blocks whose sizes are known; the XML read line by line.
 */

#include <hakmem/hakmem.h>

#include "arena/unit.h"
#include "base/bits.h"
#include "observe/report.h"
#include "unit/harness.h"

static void check_mallinfo(void *argument) {
    struct mallinfo2 before = hakmem_mallinfo2();
    char *large = hakmem_malloc(10 * HAK_MIB);
    char *big = hakmem_malloc(100 * HAK_MIB);
    struct mallinfo2 with = hakmem_mallinfo2();
    size_t large_usable = hak_align_up(10 * HAK_MIB + 1, HAK_UNIT_SIZE);
    CHECK_EQUAL(with.hblks, before.hblks + 1);
    CHECK(with.hblkhd >= before.hblkhd + 100 * HAK_MIB);
    CHECK(with.hblkhd <= before.hblkhd + 100 * HAK_MIB + HAK_UNIT_SIZE);
    CHECK(with.uordblks >= before.uordblks + 110 * HAK_MIB);
    CHECK(with.uordblks <= before.uordblks + 100 * HAK_MIB + HAK_UNIT_SIZE + large_usable);
    CHECK(with.arena >= 10 * HAK_MIB);
    CHECK_EQUAL(with.uordblks + with.fordblks, with.arena + with.hblkhd);
    hakmem_free(large);
    hakmem_free(big);
    struct mallinfo2 after = hakmem_mallinfo2();
    CHECK_EQUAL(after.hblks, before.hblks);
    CHECK_EQUAL(after.hblkhd, before.hblkhd);
    CHECK_EQUAL(after.uordblks, before.uordblks);
    CHECK(after.keepcost >= before.keepcost + 10 * HAK_MIB);
    hakmem_malloc_trim(0);
    CHECK_EQUAL(hakmem_mallinfo2().keepcost, 0);
}

/* The old struct has ints: what is too large for them is cut. */
static void check_old_mallinfo(void *argument) {
    struct mallinfo info = hakmem_mallinfo();
    struct mallinfo2 info2 = hakmem_mallinfo2();
    CHECK_EQUAL(info.arena, info2.arena);
    CHECK_EQUAL(info.uordblks, info2.uordblks);
    CHECK_EQUAL(info.fordblks, info2.fordblks);
    char *big = hakmem_malloc(3 * HAK_GIB);
    CHECK(big != NULL);
    info = hakmem_mallinfo();
    CHECK_EQUAL(info.hblks, 1);
    CHECK_EQUAL(info.hblkhd, INT32_MAX);
    CHECK_EQUAL(info.uordblks, INT32_MAX);
    hakmem_free(big);
    CHECK_EQUAL(hakmem_mallinfo().hblkhd, 0);
}

static void test_mallinfo(void **state) {
    harness_expect_well(check_mallinfo, NULL);
    harness_expect_well(check_old_mallinfo, NULL);
}

static void check_xml(void *argument) {
    char *text = NULL;
    size_t size = 0;
    char line[128];
    FILE *stream = open_memstream(&text, &size);
    CHECK(stream != NULL);
    CHECK_EQUAL(hakmem_malloc_info(1, stream), EINVAL);
    CHECK_EQUAL(hakmem_malloc_info(-1, stream), EINVAL);
    fflush(stream);
    CHECK_EQUAL(size, 0);

    char *large = hakmem_malloc(10 * HAK_MIB);
    char *big = hakmem_malloc(100 * HAK_MIB);
    struct hak_totals totals = hak_totals();
    CHECK_EQUAL(hakmem_malloc_info(0, stream), 0);
    fclose(stream);
    static const char head[] = "<malloc version=\"hakmem-" HAKMEM_VERSION "\">\n";
    CHECK(strncmp(text, head, sizeof head - 1) == 0);
    CHECK(strcmp(text + size - 10, "</malloc>\n") == 0);
    snprintf(line, sizeof line, "\n<total type=\"large\" count=\"1\" size=\"%zu\"/>\n",
             totals.large_bytes);
    CHECK(strstr(text, line) != NULL);
    snprintf(line, sizeof line, "\n<total type=\"mmap\" count=\"1\" size=\"%zu\"/>\n",
             totals.big_bytes);
    CHECK(strstr(text, line) != NULL);
    snprintf(line, sizeof line, "\n<system type=\"current\" size=\"%zu\"/>\n", totals.committed);
    CHECK(strstr(text, line) != NULL);
    CHECK(strstr(text, "\n<call name=\"mmap\" cause=\"arena-reserve\" count=\"") != NULL);
    int depth = 0; /* well-formed: each element is closed, on its own line */
    for (const char *at = text; *at; at = strchr(at, '\n') + 1) {
        CHECK_EQUAL(*at, '<');
        CHECK_EQUAL(strchr(at, '\n')[-1], '>');
        depth += strncmp(at, "</", 2) == 0 ? -1 : strchr(at, '\n')[-2] != '/';
    }
    CHECK_EQUAL(depth, 0);
    free(text);
    hakmem_free(large);
    hakmem_free(big);
}

static void test_malloc_info(void **state) {
    harness_expect_well(check_xml, NULL);
}

static void check_trim(void *argument) {
    char *p = hakmem_malloc(10 * HAK_MIB);
    memset(p, 7, 10 * HAK_MIB);
    char *small[1000];
    for (int i = 0; i < 1000; i++)
        small[i] = hakmem_malloc(1000);
    hakmem_free(p);
    for (int i = 0; i < 1000; i++)
        hakmem_free(small[i]);
    CHECK_EQUAL(hakmem_malloc_trim(0), 1);
    CHECK_EQUAL(hakmem_malloc_trim(0), 0); /* all of it has gone */
    struct hak_totals totals = hak_totals();
    CHECK_EQUAL(totals.small_out, 0);
    CHECK_EQUAL(totals.pool_free, totals.pool_given_back);
    CHECK(totals.pool_free >= 11 * HAK_MIB);
    p = hakmem_malloc(10 * HAK_MIB); /* what went back can be had again, as zero */
    CHECK(harness_is_zero(p, 10 * HAK_MIB));
}

static void test_trim(void **state) {
    harness_expect_well(check_trim, NULL);
}

static void test_mallopt(void **state) {
    for (int parameter = -20; parameter <= 20; parameter++) {
        bool is_known = parameter == M_MXFAST || (parameter <= M_TRIM_THRESHOLD && parameter >= -8);
        CHECK_EQUAL(hakmem_mallopt(parameter, 1), is_known);
    }
    CHECK_EQUAL(M_ARENA_MAX, -8);
    char *p = hakmem_malloc(100); /* life goes on */
    CHECK(p != NULL);
    hakmem_free(p);
}

static void print_stats(void *argument) {
    hakmem_free(hakmem_malloc(100));
    hakmem_malloc_stats();
}

static void test_malloc_stats(void **state) {
    struct harness_end end = harness_run(print_stats, NULL);
    CHECK_EQUAL(end.status, 0);
    CHECK(strncmp(end.text, "hakmem: malloc_stats, process ", 30) == 0);
    CHECK(strstr(end.text, "\nhakmem: ledger total ") != NULL);
}

static void test_version(void **state) {
    assert_string_equal(hakmem_version(), HAKMEM_VERSION);
    assert_string_equal(hakmem_version(), "0.1.0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mallinfo),     cmocka_unit_test(test_malloc_info),
        cmocka_unit_test(test_trim),         cmocka_unit_test(test_mallopt),
        cmocka_unit_test(test_malloc_stats), cmocka_unit_test(test_version),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
