/* test/cli/dummy_preload.c — a library that says when it is loaded. SPDX-License-Identifier: MIT */
/* Stands in for libhakmem.so.1 where a test of the command asks only whether the loader took it. */
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void say_loaded(void) {
    static const char text[] = "dummy loaded\n";
    if (getenv("DUMMY_SAY") != NULL && write(STDERR_FILENO, text, sizeof text - 1) < 0) {
        _exit(99);
    }
}
