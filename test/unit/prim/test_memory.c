/* test/unit/prim/test_memory.c — mapping primitives against the kernel. SPDX-License-Identifier: MIT */

/*
 * Goal: each memory primitive does what prim.h says, returns errno values, and leaves errno.
 * Method: ask the kernel what became of the range: reads and writes by system call (which fail with
 * EFAULT instead of faulting), /proc/self/maps for protection, mincore for residency.
 */

#include <sys/mman.h>

#include "prim/prim.h"
#include "unit/harness.h"

enum { PAGES = 5 };

static struct { size_t page; } g_test;

static char *map_anywhere(size_t pages, enum hak_access access) {
    void *out = NULL;
    CHECK_EQUAL(hak_prim_map(NULL, pages * g_test.page, access, &out), 0);
    CHECK(out != NULL);
    CHECK_EQUAL((uintptr_t)out % g_test.page, 0);
    return out;
}

static void unmap(char *p, size_t pages) {
    CHECK_EQUAL(hak_prim_unmap(p, pages * g_test.page), 0);
}

static void test_access(void **state) {
    static const struct {
        enum hak_access access;
        bool is_readable;
        bool is_writable;
    } cases[] = {{HAK_ACCESS_NONE, false, false},
                 {HAK_ACCESS_READ, true, false},
                 {HAK_ACCESS_READ_WRITE, true, true}};
    for (size_t from = 0; from < 3; from++) {
        for (size_t to = 0; to < 3; to++) {
            char *p = map_anywhere(PAGES, cases[from].access);
            CHECK_EQUAL(harness_is_readable(p), cases[from].is_readable);
            CHECK_EQUAL(harness_is_writable(p + 2 * g_test.page), cases[from].is_writable);
            CHECK_EQUAL(hak_prim_protect(p + g_test.page, g_test.page, cases[to].access), 0);
            CHECK_EQUAL(harness_is_readable(p + g_test.page), cases[to].is_readable);
            CHECK_EQUAL(harness_is_writable(p + g_test.page), cases[to].is_writable);
            /* its neighbours are as they were */
            CHECK_EQUAL(harness_is_writable(p + g_test.page - 1), cases[from].is_writable);
            CHECK_EQUAL(harness_is_writable(p + 2 * g_test.page), cases[from].is_writable);
            unmap(p, PAGES);
        }
    }
}

/* The protection of the mapping that holds `p`, as /proc/self/maps writes it. */
static void read_protection(const char *p, char protection[5]) {
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    uintptr_t start;
    uintptr_t end;
    char line[512];
    strcpy(protection, "gone");
    while (fgets(line, sizeof line, maps)) {
        char found[5];
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s", &start, &end, found) == 3 &&
            (uintptr_t)p >= start && (uintptr_t)p < end)
            strcpy(protection, found);
    }
    fclose(maps);
}

static void test_protection_is_private_and_never_executable(void **state) {
    char protection[5];
    char *p = map_anywhere(1, HAK_ACCESS_NONE);
    read_protection(p, protection);
    assert_string_equal(protection, "---p");
    CHECK_EQUAL(hak_prim_protect(p, g_test.page, HAK_ACCESS_READ), 0);
    read_protection(p, protection);
    assert_string_equal(protection, "r--p");
    CHECK_EQUAL(hak_prim_protect(p, g_test.page, HAK_ACCESS_READ_WRITE), 0);
    read_protection(p, protection);
    assert_string_equal(protection, "rw-p");
    unmap(p, 1);
    read_protection(p, protection);
    assert_string_equal(protection, "gone");
}

static void test_wanted_place(void **state) {
    char *p = map_anywhere(PAGES, HAK_ACCESS_READ_WRITE);
    memset(p, 7, PAGES * g_test.page);
    char *hole = p + 2 * g_test.page;
    unmap(hole, 1);
    CHECK(!harness_is_readable(hole));

    void *out = NULL;
    CHECK_EQUAL(hak_prim_map(hole, g_test.page, HAK_ACCESS_READ_WRITE, &out), 0);
    CHECK(out == hole);
    CHECK(harness_is_zero(hole, g_test.page));
    hole[0] = 9;

    /* Taken, wholly or in part: refused, and nothing is disturbed. */
    void *untouched = &out;
    CHECK_EQUAL(hak_prim_map(hole, g_test.page, HAK_ACCESS_READ_WRITE, &untouched), EEXIST);
    CHECK(untouched == &out);
    unmap(hole, 1);
    CHECK_EQUAL(hak_prim_map(hole, 2 * g_test.page, HAK_ACCESS_READ_WRITE, &untouched), EEXIST);
    CHECK(untouched == &out);
    CHECK(!harness_is_readable(hole));
    CHECK_EQUAL(hole[-1], 7);
    CHECK_EQUAL(hole[g_test.page], 7);
    unmap(p, 2);
    unmap(hole + g_test.page, 2);
}

static bool is_resident(char *p) {
    unsigned char bits = 0;
    CHECK(mincore(p, g_test.page, &bits) == 0);
    return bits & 1;
}

static void test_purge(void **state) {
    char *p = map_anywhere(PAGES, HAK_ACCESS_READ_WRITE);
    CHECK(!is_resident(p));
    memset(p, 7, PAGES * g_test.page);
    CHECK(is_resident(p + g_test.page));
    CHECK_EQUAL(hak_prim_purge(p + g_test.page, 2 * g_test.page), 0);
    CHECK(!is_resident(p + g_test.page));
    CHECK(!is_resident(p + 2 * g_test.page));
    CHECK(harness_is_zero(p + g_test.page, 2 * g_test.page));
    CHECK_EQUAL(p[g_test.page - 1], 7);
    CHECK_EQUAL(p[3 * g_test.page], 7);
    memset(p, 8, PAGES * g_test.page); /* still ours, still writable */
    unmap(p, PAGES);
}

/* Where the kernel can: all ranges, and nothing between them; else an error, and we live without. */
static void test_purge_ranges(void **state) {
    char *p = map_anywhere(8, HAK_ACCESS_READ_WRITE);
    memset(p, 7, 8 * g_test.page);
    const struct hak_prim_range ranges[] = {
        {p + g_test.page, g_test.page}, {p + 5 * g_test.page, 2 * g_test.page}, {p, g_test.page}};
    int error = hak_prim_purge_ranges(ranges, 3);
    for (size_t i = 0; i < 8; i++) {
        bool is_in_range = i <= 1 || i == 5 || i == 6;
        CHECK(error || is_resident(p + i * g_test.page) == !is_in_range);
        if (error == 0 || !is_in_range)
            CHECK_EQUAL(p[i * g_test.page], is_in_range ? 0 : 7);
    }
    memset(p, 8, 8 * g_test.page);
    unmap(p + 5 * g_test.page, 1);
    /* stopped on its way: said so, though something was done */
    CHECK(hak_prim_purge_ranges(ranges, 2) != 0);
    unmap(p, 5);
    unmap(p + 6 * g_test.page, 2);
    /* what is not mapped: said so, by whatever name */
    CHECK(hak_prim_purge_ranges(ranges, 3) != 0);
    if (error)
        skip();
}

/* A wish: the kernel may lack huge pages. The range is as usable as before. */
static void test_advise_huge(void **state) {
    size_t pages = ((size_t)4 << 20) / g_test.page;
    char *p = map_anywhere(pages, HAK_ACCESS_READ_WRITE);
    p[0] = 7;
    int error = hak_prim_advise_huge(p, pages * g_test.page);
    CHECK(error == 0 || error == EINVAL);
    CHECK_EQUAL(p[0], 7);
    memset(p, 8, pages * g_test.page);
    unmap(p, pages);
    CHECK(hak_prim_advise_huge(p, g_test.page) != 0);
}

static void test_move(void **state) {
    char *p = map_anywhere(4, HAK_ACCESS_READ_WRITE);
    char *target = map_anywhere(9, HAK_ACCESS_NONE);
    memset(p, 7, 4 * g_test.page);
    CHECK_EQUAL(
        hak_prim_move(p + g_test.page, 2 * g_test.page, target + g_test.page, 6 * g_test.page), 0);
    CHECK(!harness_is_readable(p + g_test.page));
    CHECK(!harness_is_readable(p + 2 * g_test.page));
    CHECK_EQUAL(p[0], 7);
    CHECK_EQUAL(p[3 * g_test.page], 7);
    CHECK(!harness_is_readable(target));
    CHECK(!harness_is_readable(target + 7 * g_test.page));
    for (size_t i = 0; i < 2 * g_test.page; i++)
        CHECK_EQUAL(target[g_test.page + i], 7);
    CHECK(harness_is_zero(target + 3 * g_test.page, 4 * g_test.page));
    memset(target + g_test.page, 8, 6 * g_test.page);
    unmap(p, 1);
    unmap(p + 3 * g_test.page, 1);
    unmap(target, 9);
}

static void test_extend(void **state) {
    char *p = map_anywhere(8, HAK_ACCESS_READ_WRITE);
    memset(p, 7, 8 * g_test.page);
    unmap(p + 2 * g_test.page, 4);
    CHECK_EQUAL(hak_prim_extend(p, 2 * g_test.page, 5 * g_test.page), 0);
    CHECK_EQUAL(p[0], 7);
    CHECK_EQUAL(p[2 * g_test.page - 1], 7);
    CHECK(harness_is_zero(p + 2 * g_test.page, 3 * g_test.page));
    memset(p, 8, 5 * g_test.page);
    CHECK(!harness_is_readable(p + 5 * g_test.page));
    /* up to what lies behind, and no further */
    CHECK_EQUAL(hak_prim_extend(p, 5 * g_test.page, 7 * g_test.page), ENOMEM);
    CHECK(!harness_is_readable(p + 5 * g_test.page));
    CHECK_EQUAL(hak_prim_extend(p, 5 * g_test.page, 6 * g_test.page), 0);
    CHECK_EQUAL(p[6 * g_test.page], 7);
    /* several mappings, or none */
    CHECK_EQUAL(hak_prim_protect(p, g_test.page, HAK_ACCESS_READ), 0);
    unmap(p + 4 * g_test.page, 4);
    CHECK_EQUAL(hak_prim_extend(p, 4 * g_test.page, 5 * g_test.page), EFAULT);
    unmap(p, 4);
    CHECK_EQUAL(hak_prim_extend(p, g_test.page, 2 * g_test.page), EFAULT);
}

static void test_addresses_cost_nothing(void **state) {
    /* More than any machine's memory: neither charged nor backed before it is made writable. */
    size_t size = (size_t)1 << 40;
    void *out;
    CHECK_EQUAL(hak_prim_map(NULL, size, HAK_ACCESS_NONE, &out), 0);
    CHECK_EQUAL(hak_prim_protect((char *)out + size / 2, g_test.page, HAK_ACCESS_READ_WRITE), 0);
    ((char *)out)[size / 2] = 1;
    CHECK_EQUAL(hak_prim_unmap(out, size), 0);
}

static void test_errors_are_returned_and_errno_is_kept(void **state) {
    void *out = &out;
    char *p = map_anywhere(1, HAK_ACCESS_NONE);
    unmap(p, 1);
    errno = 12345;
    CHECK_EQUAL(hak_prim_map(NULL, 0, HAK_ACCESS_NONE, &out), EINVAL);
    CHECK_EQUAL(hak_prim_map(NULL, (size_t)1 << 60, HAK_ACCESS_NONE, &out), ENOMEM);
    CHECK(out == &out);
    CHECK_EQUAL(hak_prim_unmap(p + 1, g_test.page), EINVAL);
    CHECK_EQUAL(hak_prim_protect(p, g_test.page, HAK_ACCESS_READ_WRITE), ENOMEM);
    CHECK_EQUAL(hak_prim_purge(p, g_test.page), ENOMEM);
    CHECK_EQUAL(hak_prim_extend(p, g_test.page, 2 * g_test.page), EFAULT);
    CHECK_EQUAL(hak_prim_move(p, g_test.page, p + 4 * g_test.page, g_test.page), EFAULT);
    CHECK(hak_prim_advise_huge(p, g_test.page) != 0);
    const struct hak_prim_range range = {p, g_test.page};
    CHECK(hak_prim_purge_ranges(&range, 1) != 0);
    CHECK_EQUAL(errno, 12345);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_protection_is_private_and_never_executable),
        cmocka_unit_test(test_wanted_place),
        cmocka_unit_test(test_purge),
        cmocka_unit_test(test_purge_ranges),
        cmocka_unit_test(test_advise_huge),
        cmocka_unit_test(test_move),
        cmocka_unit_test(test_extend),
        cmocka_unit_test(test_addresses_cost_nothing),
        cmocka_unit_test(test_errors_are_returned_and_errno_is_kept),
    };
    harness_start();
    g_test.page = hak_prim_page_size();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
