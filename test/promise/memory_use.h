/* test/promise/memory_use.h — what the kernel says of us. SPDX-License-Identifier: MIT */
/*
 * Goal: resident memory and mappings of the process, read without allocating.
 * Method: read(2) of /proc/self into the stack. smaps_rollup is walked page by page, hence exact;
 * VmRSS is summed from per-CPU counters and may be off by some hundred KiB.
 */
#ifndef HAKMEM_TEST_MEMORY_USE_H
#define HAKMEM_TEST_MEMORY_USE_H

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The number after `key` in a file of /proc, or -1. */
static inline long proc_number(const char *path, const char *key) {
    char text[8192];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    size_t used = 0;
    ssize_t n;
    while (used < sizeof text - 1 && (n = read(fd, text + used, sizeof text - 1 - used)) > 0) {
        used += (size_t)n;
    }
    close(fd);
    text[used] = '\0';
    const char *found = strstr(text, key);
    return found != NULL ? strtol(found + strlen(key), NULL, 10) : -1;
}

static inline long resident_kib(void) {
    long kib = proc_number("/proc/self/smaps_rollup", "\nRss:");
    return kib >= 0 ? kib : proc_number("/proc/self/status", "\nVmRSS:");
}

static inline long thread_count(void) {
    return proc_number("/proc/self/status", "\nThreads:");
}

static inline long mapping_count(void) {
    char text[4096];
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    long lines = 0;
    ssize_t n;
    while ((n = read(fd, text, sizeof text)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            lines += text[i] == '\n';
        }
    }
    close(fd);
    return lines;
}

#endif
