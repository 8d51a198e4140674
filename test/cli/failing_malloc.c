/* test/cli/failing_malloc.c — preloaded: a program's one allocation fails. SPDX-License-Identifier: MIT */
/*
 * environment   FAILING_PROGRAM  its name     FAILING_CALL  which call of malloc or realloc returns NULL, from 1 on
 *
 * The call after which memory has run out is all that fails, so a failure that nobody looks at is seen in
 * what the program makes of the rest.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static long g_calls_left; /* 0: none fails any more */

__attribute__((constructor)) static void begin(void) {
    const char *program = getenv("FAILING_PROGRAM");
    const char *call = getenv("FAILING_CALL");
    if (program != NULL && call != NULL && strcmp(program_invocation_short_name, program) == 0) {
        g_calls_left = atol(call);
    }
}

static int is_failing(void) {
    return g_calls_left > 0 && --g_calls_left == 0;
}

void *malloc(size_t size) {
    static void *(*next)(size_t);
    if (next == NULL) {
        *(void **)&next = dlsym(RTLD_NEXT, "malloc");
    }
    if (is_failing()) {
        errno = ENOMEM;
        return NULL;
    }
    return next(size);
}

void *realloc(void *p, size_t size) {
    static void *(*next)(void *, size_t);
    if (next == NULL) {
        *(void **)&next = dlsym(RTLD_NEXT, "realloc");
    }
    if (is_failing()) {
        errno = ENOMEM;
        return NULL;
    }
    return next(p, size);
}
