/* src/vm/group.c — the memory limit of the process's control group. SPDX-License-Identifier: MIT */

#include "vm/group.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "prim/prim.h"
#include "stats/ledger.h"

enum {
    GROUP_TEXT_SIZE = 1024, /* bytes of /proc/self/cgroup looked at */
    GROUP_PATH_SIZE = 512,
    GROUP_LEVELS_MAX = 6 /* groups on the way up */
};

/* Bytes; 0: not looked up. Two threads may both look. [A] */
static struct { _Atomic size_t limit; } g_group;

/* A hierarchy and the files of it that limit. */
struct hierarchy {
    const char *mark; /* in a line of /proc/self/cgroup, before the path */
    const char *mount;
    const char *files[2];
};

static const struct hierarchy g_hierarchies[] = {
    {"0::", "/sys/fs/cgroup", {"/memory.max", "/memory.high"}},
    {":memory:", "/sys/fs/cgroup/memory", {"/memory.limit_in_bytes", NULL}},
};

static size_t group_append(char *path, size_t length, const char *text, size_t size) {
    size = hak_min(size, GROUP_PATH_SIZE - 1 - length);
    memcpy(path + length, text, size);
    path[length + size] = 0;
    return length + size;
}

/* "max" and what is no number are no limit. */
static size_t group_number(const char *text, size_t size) {
    size_t number = 0;
    size_t i = 0;
    for (; i < size && text[i] >= '0' && text[i] <= '9'; i++)
        number = hak_min(number, SIZE_MAX / 16) * 10 + (size_t)(text[i] - '0');
    return i > 0 ? number : SIZE_MAX;
}

/* The least limit of the group at `path` and those above it. */
static size_t group_walk(const struct hierarchy *hierarchy, const char *group, size_t size,
                         hak_vm_read_file *read) {
    size_t limit = SIZE_MAX;
    for (int level = 0; level < GROUP_LEVELS_MAX; level++) {
        while (size > 0 && group[size - 1] == '/')
            size--;
        for (int i = 0; i < 2 && hierarchy->files[i]; i++) {
            char path[GROUP_PATH_SIZE];
            char text[32];
            size_t read_size = 0;
            size_t length = group_append(path, 0, hierarchy->mount, strlen(hierarchy->mount));
            length = group_append(path, length, group, size);
            group_append(path, length, hierarchy->files[i], strlen(hierarchy->files[i]));
            if (read(path, text, sizeof text, &read_size) == 0)
                limit = hak_min(limit, group_number(text, read_size));
        }
        if (size == 0)
            break;
        while (size > 0 && group[size - 1] != '/')
            size--;
    }
    return limit;
}

/* The path behind `mark` in one of the lines; false: no line has it. */
static bool group_find(const char *text, size_t size, const char *mark, const char **path,
                       size_t *path_size) {
    size_t mark_size = strlen(mark);
    for (size_t i = 0; i + mark_size <= size; i++) {
        bool is_line_start = i == 0 || text[i - 1] == '\n' || mark[0] == ':';
        if (!is_line_start || memcmp(text + i, mark, mark_size) != 0)
            continue;
        *path = text + i + mark_size;
        *path_size = 0;
        while (*path + *path_size < text + size && (*path)[*path_size] != '\n')
            ++*path_size;
        return true;
    }
    return false;
}

size_t hak_vm_group_limit_of(const char *membership, size_t size, hak_vm_read_file *read) {
    size_t limit = SIZE_MAX;
    for (size_t i = 0; i < sizeof g_hierarchies / sizeof g_hierarchies[0]; i++) {
        const char *path;
        size_t path_size;
        if (group_find(membership, size, g_hierarchies[i].mark, &path, &path_size))
            limit = hak_min(limit, group_walk(&g_hierarchies[i], path, path_size, read));
    }
    return limit;
}

static int group_read(const char *path, char *buffer, size_t capacity, size_t *size) {
    uint64_t start = hak_ledger_clock();
    int error = hak_prim_read_file(path, buffer, capacity, size);
    hak_ledger_add_file(HAK_CALL_READ, HAK_CAUSE_LIMITS, *size, error, start);
    return error;
}

size_t hak_vm_group_limit(void) {
    size_t limit = hak_atomic_load_relaxed(&g_group.limit);
    if (limit != 0)
        return limit;
    char text[GROUP_TEXT_SIZE];
    size_t size = 0;
    limit = SIZE_MAX;
    if (group_read("/proc/self/cgroup", text, sizeof text, &size) == 0)
        limit = hak_max(hak_vm_group_limit_of(text, size, group_read), 1);
    hak_atomic_store_relaxed(&g_group.limit, limit);
    return limit;
}
