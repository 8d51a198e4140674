/* test/unit/vm/test_group.c — the memory limit of the process's control group. SPDX-License-Identifier: MIT */

/*
 * Goal: the least limit on the way from the process's group to the root is found, in either version of
 * the hierarchy, and nothing else is taken for one.
 * Method: a file system of strings; which files are asked for is noted. Then the real one, which may
 * say anything but must be read once.
 */

#include "base/bits.h"
#include "stats/ledger.h"
#include "unit/harness.h"
#include "vm/group.h"

struct file {
    const char *path;
    const char *text;
};

enum { FILES_MAX = 8, READS_MAX = 32 };

static struct {
    struct file files[FILES_MAX];
    int read_count;
    char reads[READS_MAX][600];
} g_fs;

static int read_fake(const char *path, char *buffer, size_t capacity, size_t *size) {
    CHECK(g_fs.read_count < READS_MAX);
    snprintf(g_fs.reads[g_fs.read_count++], sizeof g_fs.reads[0], "%s", path);
    *size = 0;
    for (int i = 0; i < FILES_MAX && g_fs.files[i].path; i++) {
        if (strcmp(g_fs.files[i].path, path) != 0)
            continue;
        *size = hak_min(strlen(g_fs.files[i].text), capacity);
        memcpy(buffer, g_fs.files[i].text, *size);
        return 0;
    }
    return ENOENT;
}

struct case_of {
    const char *membership;
    struct file files[FILES_MAX];
    size_t limit;
};

#define V2 "/sys/fs/cgroup"
#define V1 "/sys/fs/cgroup/memory"

static const struct case_of g_cases[] = {
    /* version 2: own limits, those above, and which is least */
    {"0::/a/b\n", {{V2 "/a/b/memory.max", "1000000\n"}}, 1000000},
    {"0::/a/b\n", {{V2 "/a/memory.max", "1000000\n"}}, 1000000},
    {"0::/a/b\n", {{V2 "/a/b/memory.high", "77\n"}, {V2 "/a/b/memory.max", "78\n"}}, 77},
    {"0::/a/b\n", {{V2 "/a/b/memory.max", "500\n"}, {V2 "/a/memory.max", "400\n"}}, 400},
    {"0::/a/b\n", {{V2 "/a/b/memory.max", "300\n"}, {V2 "/a/memory.max", "400\n"}}, 300},
    {"0::/\n", {{V2 "/memory.max", "123\n"}}, 123},
    {"0::/a", {{V2 "/a/memory.max", "123"}}, 123}, /* neither line is ended */
    {"0::/a/b\n", {{V2 "/a/b/memory.max", "max\n"}, {V2 "/a/b/memory.high", "max\n"}}, SIZE_MAX},
    {"0::/a/b\n", {{V2 "/a/b/memory.max", "max\n"}, {V2 "/a/memory.high", "9\n"}}, 9},
    {"0::/a/b\n", {{NULL, NULL}}, SIZE_MAX},
    {"0::/a/b\n", {{V2 "/a/b/memory.max", ""}}, SIZE_MAX},
    {"0::/a/b\n", {{V2 "/a/b/memory.max", "\n"}}, SIZE_MAX},
    {"0::/a/b\n", {{V2 "/a/b/memory.max", "0\n"}}, 0},
    /* other groups are not ours */
    {"0::/a/b\n", {{V2 "/a/bc/memory.max", "1\n"}, {V2 "/b/memory.max", "1\n"}}, SIZE_MAX},
    {"", {{V2 "/memory.max", "1\n"}, {V1 "/memory.limit_in_bytes", "1\n"}}, SIZE_MAX},
    /* version 1, and both */
    {"5:cpu:/x\n4:memory:/y/z\n", {{V1 "/y/z/memory.limit_in_bytes", "4096\n"}}, 4096},
    {"4:memory:/y/z\n", {{V1 "/memory.limit_in_bytes", "4097\n"}}, 4097},
    {"4:memory:/y/z\n", {{V1 "/y/z/memory.max", "1\n"}, {V2 "/y/z/memory.max", "1\n"}}, SIZE_MAX},
    {"4:memory:/y\n0::/z\n",
     {{V1 "/y/memory.limit_in_bytes", "50\n"}, {V2 "/z/memory.max", "60\n"}},
     50},
    {"4:memory:/y\n0::/z\n",
     {{V1 "/y/memory.limit_in_bytes", "70\n"}, {V2 "/z/memory.max", "60\n"}},
     60},
    {"10::/not/version/2\n", {{V2 "/not/version/2/memory.max", "1\n"}}, SIZE_MAX},
    /* large numbers, and larger ones */
    {"4:memory:/\n",
     {{V1 "/memory.limit_in_bytes", "9223372036854771712\n"}},
     9223372036854771712u},
};

static void test_limits(void **state) {
    for (size_t i = 0; i < sizeof g_cases / sizeof g_cases[0]; i++) {
        const struct case_of *c = &g_cases[i];
        memset(&g_fs, 0, sizeof g_fs);
        memcpy(g_fs.files, c->files, sizeof c->files);
        size_t limit = hak_vm_group_limit_of(c->membership, strlen(c->membership), read_fake);
        if (limit != c->limit)
            print_error("case %zu: %s\n", i, c->membership);
        CHECK_EQUAL(limit, c->limit);
    }
}

/* A number beyond all numbers is no small one. */
static void test_overflow(void **state) {
    memset(&g_fs, 0, sizeof g_fs);
    g_fs.files[0] = (struct file){V2 "/memory.max", "99999999999999999999999999999"};
    CHECK(hak_vm_group_limit_of("0::/\n", 5, read_fake) >= SIZE_MAX / 16);
}

/* A deep group: so many levels and no more, from the bottom up. */
static void test_depth(void **state) {
    char membership[400] = "0::";
    memset(&g_fs, 0, sizeof g_fs);
    for (int i = 0; i < 50; i++)
        strcat(membership, "/level");
    CHECK_EQUAL(hak_vm_group_limit_of(membership, strlen(membership), read_fake), SIZE_MAX);
    CHECK(g_fs.read_count <= 16);
    CHECK(strlen(g_fs.reads[0]) > 300);
    CHECK(strlen(g_fs.reads[g_fs.read_count - 1]) < strlen(g_fs.reads[0]));
}

/* A path that is longer than there is room for is cut, and nothing is written behind it. */
static void test_long_path(void **state) {
    static char membership[1024];
    memset(&g_fs, 0, sizeof g_fs);
    memset(membership, 'x', sizeof membership);
    memcpy(membership, "0::/", 4);
    CHECK_EQUAL(hak_vm_group_limit_of(membership, sizeof membership, read_fake), SIZE_MAX);
    CHECK(g_fs.read_count > 0);
    for (int i = 0; i < g_fs.read_count; i++)
        CHECK(strlen(g_fs.reads[i]) < 512);
}

/* The text ends anywhere: what lies behind is not looked at. */
static void test_every_end(void **state) {
    static const char text[] = "5:cpu:/x\n4:memory:/y/z\n0::/a/b\n";
    memset(&g_fs, 0, sizeof g_fs);
    for (size_t size = 0; size < sizeof text; size++) {
        char *exact = malloc(size + 1); /* a sanitizer watches its end */
        CHECK(exact != NULL);
        char *copy = exact + 1;
        memcpy(copy, text, size);
        g_fs.read_count = 0;
        CHECK_EQUAL(hak_vm_group_limit_of(copy, size, read_fake), SIZE_MAX);
        free(exact);
    }
}

static void look_up(void *argument) {
    size_t limit = hak_vm_group_limit();
    uint64_t calls = hak_ledger_read(HAK_CALL_OPENAT, HAK_CAUSE_LIMITS).count;
    CHECK(calls >= 1);
    CHECK(limit > 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(hak_vm_group_limit(), limit);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_OPENAT, HAK_CAUSE_LIMITS).count, calls);
    CHECK(hak_ledger_read(HAK_CALL_CLOSE, HAK_CAUSE_LIMITS).count <= calls);
}

static void test_once(void **state) {
    harness_expect_well(look_up, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),    cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_depth),     cmocka_unit_test(test_long_path),
        cmocka_unit_test(test_every_end), cmocka_unit_test(test_once),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
