/* test/death/death.h — what programs of wrong calls share. SPDX-License-Identifier: MIT */
/*
 * A program has a table of cases and does the one it is told to. It prints the line
 *
 *   about <pointer> <usable size, 0 = not a block>
 *
 * then does one wrong thing, prints "returned", gives the allocator every occasion to notice, and prints
 * "survived". Nothing here says which of these lines must appear: the expectations are run_death.py's.
 */
#ifndef HAKMEM_TEST_DEATH_H
#define HAKMEM_TEST_DEATH_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../promise/entry_points.h"

struct misuse_case {
    const char *name;
    void (*run)(const struct misuse_case *);
    void (*function)(void *); /* the wrong call */
    size_t size;
    ptrdiff_t offset;
    const char *text;
};

/* Formats on the stack: between the misuse and the report nothing may allocate. */
__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...) {
    char text[200];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (size < 0 || write(STDOUT_FILENO, text, (size_t)size) != size)
        _exit(99);
}

static inline void *about_foreign(void *p) {
    say("about %p 0\n", p);
    return p;
}

/* `block` is the one whose class and owner the message should name; `p` is what is passed. */
static inline void *about_block(void *block, void *p) {
    say("about %p %zu\n", p, api.malloc_usable_size(block));
    return p;
}

static inline void *shift(void *p, ptrdiff_t bytes) {
    return (void *)((uintptr_t)p + (uintptr_t)bytes);
}

static inline void *must(void *block) {
    if (block == NULL) {
        say("no memory\n");
        exit(98);
    }
    return block;
}

static inline int death_main(int argc, char **argv, const struct misuse_case *cases, size_t count) {
    api_load();
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (size_t i = 0; i < count; i++)
            say("%s\n", cases[i].name);
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (argc == 2 && strcmp(argv[1], cases[i].name) == 0) {
            cases[i].run(&cases[i]);
            say("survived\n");
            return 0;
        }
    }
    say("usage: %s CASE | --list\n", argv[0]);
    return 2;
}

#endif
