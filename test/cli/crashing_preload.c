/* test/cli/crashing_preload.c — an allocator that kills its program. SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

__attribute__((constructor)) static void crash(void) {
    fputs("crashing_preload: out of luck\n", stderr);
    abort();
}
