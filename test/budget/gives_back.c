/* test/budget/gives_back.c — frees much, lets time pass. SPDX-License-Identifier: MIT */
/*
 * usage: gives_back MIB ROUNDS          prints "<MiB freed> <KiB resident when full> <KiB at the end>"
 *
 * Each round allocates MIB of blocks of all sizes up to 1 MiB, frees all but one in 512, and then allocates
 * and frees a little, as a program does that waits for work, until most of it went back to the kernel or
 * a few epochs have passed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../promise/memory_use.h"
#include "../promise/patterns.h"

enum { SIZE_BITS = 20, SIZE_MIN = 16, KEPT_EVERY = 512, NAP_US = 20000, NAPS_MAX = 250 };

/* A block begins with the next one's address. */
static void **make_chain(size_t bytes, uint64_t *state, size_t *count) {
    void **chain = NULL;
    for (size_t made = 0; made < bytes; (*count)++) {
        size_t size = SIZE_MIN + random_size(state, SIZE_BITS);
        void **block = malloc(size);
        if (block == NULL)
            exit(2);
        memset(block, 1, size);
        *block = (void *)chain;
        chain = block;
        made += size;
    }
    return chain;
}

/* What is kept stays for good: one block in 512. */
static void free_chain(void **chain) {
    for (size_t i = 1; chain != NULL; i++) {
        void **next = *chain;
        if (i % KEPT_EVERY != 0)
            free(chain);
        chain = next;
    }
}

static void wait_for_work(long full_kib) {
    for (int i = 0; i < NAPS_MAX && resident_kib() > full_kib / 4; i++) {
        for (int k = 0; k < 40; k++) {
            void *volatile block = malloc(70000);
            free(block);
        }
        usleep(NAP_US);
    }
}

int main(int argc, char **argv) {
    size_t mib = argc > 2 ? strtoul(argv[1], NULL, 10) : 0;
    unsigned long rounds = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    uint64_t state = 17;
    size_t count = 0;
    long full_kib = 0;
    for (unsigned long i = 0; i < rounds; i++) {
        void **chain = make_chain(mib << 20, &state, &count);
        full_kib = resident_kib();
        free_chain(chain);
        wait_for_work(full_kib);
    }
    return printf("%zu %ld %ld\n", mib * rounds, full_kib, resident_kib()) < 0;
}
