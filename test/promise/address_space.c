/* test/promise/address_space.c — life under RLIMIT_AS and RLIMIT_DATA. SPDX-License-Identifier: MIT */
/*
 * Goal: modest use of virtual space: the library starts under `ulimit -v` and `ulimit -d`, serves a fair share of
 * what the limit leaves, answers NULL with ENOMEM when it is spent, and works again after free.
 * Method: the program runs itself anew under each limit (so that start-up is limited too) and fills
 * the space with blocks of one size, twice: the second filling must reach nearly the first.
 */
#include <sys/resource.h>
#include <sys/wait.h>

#include "entry_points.h"
#include "memory_use.h"
#include "patterns.h"
#include "tap.h"

extern char **environ;

/* Allocates until NULL, checks, frees all; the number of bytes that were had. */
static size_t fill_once(struct sweep *s, size_t size) {
    void **chain = NULL;
    size_t bytes = 0;
    errno = 0;
    for (;;) {
        void **block = api.malloc(size);
        if (block == NULL) {
            break;
        }
        block[0] = chain;
        block[1] = (void *)((uintptr_t)block ^ 0x5555);
        chain = block;
        bytes += size;
    }
    SWEEP(s, errno == ENOMEM, "blocks of %zu: errno %d at the end", size, errno);
    void *small = NULL;
    for (int i = 0; i < 3; i++) { /* asking again while nothing is left stays harmless */
        errno = 0;
        small = api.malloc((size_t)1 << 32);
        SWEEP(s, small == NULL && errno == ENOMEM, "4 GiB beyond the limit: %p", small);
    }
    while (chain != NULL) {
        void **next = chain[0];
        SWEEP(s, chain[1] == (void *)((uintptr_t)chain ^ 0x5555), "a block was overwritten");
        api.free(chain);
        chain = next;
    }
    void *again = api.malloc(size);
    SWEEP(s, again != NULL, "blocks of %zu: none after all were freed", size);
    api.free(again);
    return bytes;
}

static int run_limited(const char *kind, size_t limit) {
    static const size_t sizes[] = {1 << 20, 100, 8192, 60000, 3 << 20};
    char what[80];
    snprintf(what, sizeof what, "under %s of %zu MiB", kind, limit >> 20);
    struct sweep s = sweep_begin(what);
    bool is_tight = limit < (size_t)32 << 20; /* the program's own mappings are half of it */
    size_t size_count = sizeof sizes / sizeof sizes[0] - is_tight;
    for (size_t i = 0; i < size_count; i++) {
        size_t first = fill_once(&s, sizes[i]);
        size_t second = fill_once(&s, sizes[i]);
        tap_note("limit %zu MiB, blocks of %zu: %zu KiB, again %zu KiB", limit >> 20, sizes[i],
                 first >> 10, second >> 10);
        SWEEP(&s, first >= limit / (is_tight ? 8 : 4), "blocks of %zu: only %zu KiB", sizes[i],
              first >> 10);
        SWEEP(&s, second >= first / 8 * 7, "blocks of %zu: %zu KiB, then %zu KiB", sizes[i],
              first >> 10, second >> 10);
    }
    sweep_end(&s);
    return tap_end();
}

static const struct {
    const char *name;
    int resource;
} g_kinds[] = {{"RLIMIT_AS", RLIMIT_AS}, {"RLIMIT_DATA", RLIMIT_DATA}};

static void try_limit(int kind, size_t limit) {
    char text[32];
    snprintf(text, sizeof text, "%zu", limit);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit value = {limit, limit};
        char *argv[] = {(char *)"address_space", (char *)g_kinds[kind].name, text, NULL};
        if (setrlimit((__rlimit_resource_t)g_kinds[kind].resource, &value) == 0) {
            execve("/proc/self/exe", argv, environ);
        }
        _exit(126);
    }
    int status = -1;
    bool ended = child > 0 && waitpid(child, &status, 0) == child;
    CHECK(ended && status == 0, "%s of %zu MiB: wait status %#x", g_kinds[kind].name, limit >> 20,
          (unsigned)status);
}

/* The kernel allows 65,530 mappings; one that is split by each purge would spend them. */
static void check_mappings(void) {
    enum { COUNT = 20000 };
    static void *block[COUNT];
    uint64_t state = 42;
    long before = mapping_count();
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < COUNT; i++) {
            if (random_next(&state) & 1) {
                api.free(block[i]);
                block[i] = api.malloc(random_size(&state, 16));
            }
        }
    }
    long grown = mapping_count() - before;
    for (int i = 0; i < COUNT; i++) {
        api.free(block[i]);
        block[i] = NULL;
    }
    CHECK(before > 0 && grown <= 64, "200 MiB of churn added %ld mappings (at most 64)", grown);
}

int main(int argc, char **argv) {
    api_load();
    if (argc > 2) {
        return run_limited(argv[1], strtoul(argv[2], NULL, 10));
    }
    tap_require_override();
    check_mappings();
    static const size_t limits_mib[] = {16, 32, 64, 128, 512, 2048};
    for (int kind = 0; kind < 2; kind++) {
        for (size_t i = 0; i < sizeof limits_mib / sizeof limits_mib[0]; i++) {
            if (g_kinds[kind].resource == RLIMIT_AS || limits_mib[i] <= 512)
                try_limit(kind, limits_mib[i] << 20);
        }
    }
    return tap_end();
}
