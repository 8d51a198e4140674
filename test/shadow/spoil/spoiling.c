/* test/shadow/spoil/spoiling.c — a realloc that changes a byte, for the model's own test. SPDX-License-Identifier: MIT */
/* Preloaded in front of the library: the first byte that realloc has to keep is wrong for one size in 64. */
#define _GNU_SOURCE /* RTLD_NEXT */
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

void *realloc(void *p, size_t size);

void *realloc(void *p, size_t size) {
    void *(*next)(void *, size_t) = NULL;
    void *address = dlsym(RTLD_NEXT, "realloc");
    memcpy(&next, &address, sizeof next);
    unsigned char *moved = next(p, size);
    if (p != NULL && moved != NULL && size < 4096 && size % 64 == 7)
        moved[0] ^= 1;
    return moved;
}
