/* test/promise/tap.h — TAP-like lines, without allocating. SPDX-License-Identifier: MIT */
/*
 * Goal: report results from inside a process whose allocator is the thing under test.
 * Method: every line is formatted on the stack and written with write(2), so that reporting neither
 * allocates (which would hide a "first call") nor is lost when the process dies.
 *
 * A program calls tap_require_override(), then CHECK() or a sweep per promise, then tap_end().
 * HAKTEST_ANY=1 lets the programs run on another allocator, to try the tests themselves; what
 * only this library promises is then skipped, visibly.
 */
#ifndef HAKMEM_TEST_TAP_H
#define HAKMEM_TEST_TAP_H

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef RTLD_DEFAULT
#define RTLD_DEFAULT ((void *)0) /* glibc and musl agree; hidden without _GNU_SOURCE */
#endif

static struct {
    int passed;
    int failed;
    int skipped;
} g_tap;

__attribute__((format(printf, 2, 0))) static inline void tap_vline(const char *head,
                                                                   const char *fmt, va_list args) {
    char text[512];
    size_t used = (size_t)snprintf(text, sizeof text, "%s", head);
    int more = vsnprintf(text + used, sizeof text - used - 1, fmt, args);
    used += more > 0 ? (size_t)more : 0;
    if (used > sizeof text - 2) {
        used = sizeof text - 2;
    }
    text[used++] = '\n';
    for (size_t sent = 0; sent < used;) {
        ssize_t n = write(STDOUT_FILENO, text + sent, used - sent);
        if (n <= 0) {
            return;
        }
        sent += (size_t)n;
    }
}

/* A comment line: a seed, a measured value. */
__attribute__((format(printf, 1, 2))) static inline void tap_note(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    tap_vline("# ", fmt, args);
    va_end(args);
}

__attribute__((format(printf, 2, 3))) static inline bool tap_check(bool holds, const char *fmt,
                                                                   ...) {
    va_list args;
    va_start(args, fmt);
    tap_vline(holds ? "ok - " : "not ok - ", fmt, args);
    va_end(args);
    if (holds) {
        g_tap.passed++;
    } else {
        g_tap.failed++;
    }
    return holds;
}

#define CHECK(condition, ...) tap_check((condition), __VA_ARGS__)

static inline void tap_skip(const char *what, const char *why) {
    g_tap.skipped++;
    tap_note("SKIP %s: %s", what, why);
}

/* The value of main(): prints the closing line. */
static inline int tap_end(void) {
    char text[80];
    int n = snprintf(text, sizeof text, "%d passed, %d failed\n", g_tap.passed, g_tap.failed);
    if (write(STDOUT_FILENO, text, (size_t)n) != n) {
        return 1;
    }
    return g_tap.failed != 0 || g_tap.passed == 0;
}

static inline bool tap_any_allocator(void) {
    const char *any = getenv("HAKTEST_ANY");
    return any != NULL && strcmp(any, "1") == 0;
}

/* A test of the wrong allocator proves nothing: refuse to run unless the override is in force. */
static inline void tap_require_override(void) {
    if (tap_any_allocator()) {
        tap_skip("override in force", "HAKTEST_ANY=1");
        return;
    }
    if (!tap_check(dlsym(RTLD_DEFAULT, "hakmem_version") != NULL, "override in force")) {
        exit(tap_end());
    }
}

/*
 * A sweep: one promise tried on many values, one line for all. The first failure is kept as text:
 *
 *     struct sweep s = sweep_begin("malloc aligns to 16");
 *     for (...) SWEEP(&s, ok, "size %zu", n);
 *     sweep_end(&s);
 */
struct sweep {
    const char *what;
    unsigned long tried;
    unsigned long failed;
    char first_failure[200];
};

static inline struct sweep sweep_begin(const char *what) {
    struct sweep s;
    memset(&s, 0, sizeof s);
    s.what = what;
    return s;
}

__attribute__((format(printf, 2, 3))) static inline void sweep_failure(struct sweep *s,
                                                                       const char *fmt, ...) {
    if (s->failed++ == 0) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(s->first_failure, sizeof s->first_failure, fmt, args);
        va_end(args);
    }
}

#define SWEEP(sweep, condition, ...)                                                               \
    ((sweep)->tried++, (condition) ? (void)0 : sweep_failure((sweep), __VA_ARGS__))

/* A sweep that tried nothing has shown nothing, hence fails. */
static inline void sweep_end(const struct sweep *s) {
    if (s->failed == 0) {
        tap_check(s->tried > 0, "%s (%lu tried)", s->what, s->tried);
    } else {
        tap_check(false, "%s: %lu of %lu, first: %s", s->what, s->failed, s->tried,
                  s->first_failure);
    }
}

#endif
