/* test/unit/vm/test_group.c — the memory limit of a control group. SPDX-License-Identifier: MIT */

/*
 * Goal: the least limit on the way up counts, in version 2 and version 1; what is no number is no limit;
 * nothing in these texts, which others write, leads out of bounds.
 * Method: hak_vm_group_limit_of() with a file system of the test's own, a table of paths and texts.
 */

#include "unit/harness.h"
#include "vm/group.h"

enum { FILES_MAX = 8, PATH_MAX_READ = 600 };

#define GROUP_MIB ((size_t)1 << 20)

struct file {
    const char *path;
    const char *text;
};

static struct {
    const struct file *files;
    unsigned reads;
    size_t longest_path;
} g_system;

static int read_file(const char *path, char *buffer, size_t capacity, size_t *size) {
    g_system.reads++;
    size_t length = strlen(path);
    if (length > g_system.longest_path)
        g_system.longest_path = length;
    for (const struct file *file = g_system.files; file && file->path; file++) {
        if (strcmp(file->path, path) != 0)
            continue;
        *size = strlen(file->text) < capacity ? strlen(file->text) : capacity;
        memcpy(buffer, file->text, *size);
        return 0;
    }
    return ENOENT;
}

static size_t limit_with(const char *membership, const struct file *files) {
    g_system.files = files;
    g_system.reads = 0;
    g_system.longest_path = 0;
    return hak_vm_group_limit_of(membership, strlen(membership), read_file);
}

struct scene {
    const char *membership;
    struct file files[FILES_MAX];
    size_t limit;
};

static const struct scene g_scenes[] = {
    {"0::/\n", {{0}}, SIZE_MAX},
    {"0::/\n", {{"/sys/fs/cgroup/memory.max", "1048576\n"}}, GROUP_MIB},
    {"0::/\n", {{"/sys/fs/cgroup/memory.max", "max\n"}}, SIZE_MAX},
    /* memory.high is a limit as well: above it the group is slowed down */
    {"0::/a\n",
     {{"/sys/fs/cgroup/a/memory.max", "max\n"}, {"/sys/fs/cgroup/a/memory.high", "2097152\n"}},
     2 * GROUP_MIB},
    /* nested: each level may be the least */
    {"0::/a/b/c\n",
     {{"/sys/fs/cgroup/a/b/c/memory.max", "4194304\n"},
      {"/sys/fs/cgroup/a/b/memory.max", "3145728\n"},
      {"/sys/fs/cgroup/a/memory.max", "8388608\n"}},
     3 * GROUP_MIB},
    {"0::/a/b/c\n", {{"/sys/fs/cgroup/memory.max", "1048576"}}, GROUP_MIB},
    {"0::/a/b/c/\n", {{"/sys/fs/cgroup/a/b/c/memory.max", "1048576\n"}}, GROUP_MIB},
    /* version 1, among other lines, and both at once */
    {"12:cpu,cpuacct:/x\n5:memory:/x/y\n3:pids:/x\n",
     {{"/sys/fs/cgroup/memory/x/y/memory.limit_in_bytes", "9223372036854771712\n"},
      {"/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1048576\n"}},
     GROUP_MIB},
    {"5:memory:/x\n0::/y\n",
     {{"/sys/fs/cgroup/memory/x/memory.limit_in_bytes", "3145728\n"},
      {"/sys/fs/cgroup/y/memory.max", "2097152\n"}},
     2 * GROUP_MIB},
    {"1:name=systemd:/0::/z\n", {{"/sys/fs/cgroup/z/memory.max", "1\n"}}, SIZE_MAX},
    /* outside of the namespace */
    {"0::/../../other\n", {{"/sys/fs/cgroup/memory.max", "1048576\n"}}, GROUP_MIB},
    /* no numbers, and numbers that are too large */
    {"0::/\n", {{"/sys/fs/cgroup/memory.max", ""}}, SIZE_MAX},
    {"0::/\n", {{"/sys/fs/cgroup/memory.max", "\n"}}, SIZE_MAX},
    {"0::/\n", {{"/sys/fs/cgroup/memory.max", "-5\n"}}, SIZE_MAX},
    {"0::/\n", {{"/sys/fs/cgroup/memory.max", "unlimited"}}, SIZE_MAX},
    {"0::/\n", {{"/sys/fs/cgroup/memory.max", "0\n"}}, 0},
    /* no membership to speak of */
    {"", {{"/sys/fs/cgroup/memory.max", "1048576\n"}}, SIZE_MAX},
    {"\n\n\n", {{"/sys/fs/cgroup/memory.max", "1048576\n"}}, SIZE_MAX},
    {"0:", {{"/sys/fs/cgroup/memory.max", "1048576\n"}}, SIZE_MAX},
    {"0::", {{"/sys/fs/cgroup/memory.max", "1048576\n"}}, GROUP_MIB},
    {"10::/\n", {{"/sys/fs/cgroup/memory.max", "1048576\n"}}, SIZE_MAX},
};

static void test_scenes(void **state) {
    for (size_t i = 0; i < sizeof g_scenes / sizeof *g_scenes; i++) {
        const struct scene *scene = &g_scenes[i];
        size_t limit = limit_with(scene->membership, scene->files);
        if (limit != scene->limit)
            print_error("scene %zu: %s", i, scene->membership);
        CHECK_EQUAL(limit, scene->limit);
        CHECK(g_system.reads <= 16); /* some ten system calls each */
    }
}

/* More digits than 64 bits hold: large, not wrapped around to something small. */
static void test_many_digits(void **state) {
    char text[64];
    for (unsigned digits = 1; digits < 40; digits++) {
        memset(text, '9', digits);
        text[digits] = 0;
        const struct file files[] = {{"/sys/fs/cgroup/memory.max", text}, {0}};
        size_t limit = limit_with("0::/\n", files);
        if (digits < 19)
            CHECK_EQUAL(limit, strtoull(text, NULL, 10));
        else
            CHECK(limit >= SIZE_MAX / 16);
    }
}

/* Deeper than looked at, longer than there is room for: no fault, and what is near the root is found. */
static void test_long_paths(void **state) {
    static char membership[5000];
    const struct file files[] = {{"/sys/fs/cgroup/memory.max", "1048576\n"}, {0}};
    for (size_t length = 1; length < 4000; length += 1 + length / 7) {
        strcpy(membership, "0::/");
        memset(membership + 4, 'x', length);
        strcpy(membership + 4 + length, "\n");
        CHECK_EQUAL(limit_with(membership, files), GROUP_MIB);
        CHECK(g_system.longest_path < PATH_MAX_READ);
        for (size_t i = 4 + 1; i < 4 + length; i += 2) /* many levels: bounded work */
            membership[i] = '/';
        size_t limit = limit_with(membership, files);
        CHECK(limit == GROUP_MIB || limit == SIZE_MAX);
        CHECK(g_system.reads <= 16);
    }
}

/* Bytes of chance, the last of them at the end of what may be read. */
static void test_garbage(void **state) {
    static const char letters[] = "0:/memory\nax1 .,";
    const struct file files[] = {{"/sys/fs/cgroup/memory.max", "1048576\n"}, {0}};
    g_system.files = files;
    for (int round = 0; round < 20000 / HARNESS_SLOWNESS; round++) {
        size_t size = harness_below(80);
        char *text = malloc(size + 1);
        for (size_t i = 0; i < size; i++)
            text[i] =
                round % 4 ? letters[harness_below(sizeof letters - 1)] : (char)harness_below(256);
        char *exact = size ? realloc(text, size) : text;
        size_t limit = hak_vm_group_limit_of(exact, size, read_file);
        CHECK(limit == GROUP_MIB || limit == SIZE_MAX);
        free(exact);
    }
}

/* The real one: whatever this machine says, it says it again. */
static void test_real(void **state) {
    size_t limit = hak_vm_group_limit();
    CHECK(limit > 0);
    CHECK_EQUAL(hak_vm_group_limit(), limit);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scenes),     cmocka_unit_test(test_many_digits),
        cmocka_unit_test(test_long_paths), cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_real),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
