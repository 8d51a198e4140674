/* bench/experiments/e1_pagemap.c — three forms of the pagemap, timed. SPDX-License-Identifier: MIT */
/*
 * usage: e1_pagemap [MIB [ROUNDS]]      default 1024 MiB of 64-byte blocks, 9 rounds
 *
 * docs/decisions/e1-pagemap.md. Pushes the addresses of all blocks, in random order, through the hit
 * path of free with each form of address -> tag in turn; full magazines are emptied at once, so only
 * the look-up differs. Blocks are never touched: their addresses are all that matters. With
 * `objdump -d` push_flat, push_window and push_two_level show their instructions.
 */
#define _GNU_SOURCE
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

enum { UNIT_SHIFT = 16, LEAF_SHIFT = 30, CAPACITY = 1023, CLASS_LIMIT = 2048 };
#define USER_BITS 47
#define LEAF_UNITS ((size_t)1 << (LEAF_SHIFT - UNIT_SHIFT))
#define BLOCK ((size_t)64)

struct magazine {
    void **top;
    void **limit;
};
struct heap {
    struct magazine of_class[128];
    uint32_t tag;
};

static void *storage[CAPACITY + 1];
static struct heap one_heap = {.tag = 1 << 11};
_Thread_local struct heap *heap = &one_heap; /* not static: it must be loaded each time */

static uint32_t *flat;        /* 8 GiB of addresses */
static uintptr_t window_base; /* the window: base, size, table */
static size_t window_units;
static uint32_t *window;
static uint32_t *roots[(size_t)1 << (USER_BITS - LEAF_SHIFT)]; /* two levels: 1 MiB of roots */
static uint32_t empty_leaf[LEAF_UNITS];

static inline __attribute__((always_inline)) bool push(uint32_t tag, void *p) {
    struct heap *h = heap;
    uint32_t offset = tag ^ h->tag;
    if (offset >= CLASS_LIMIT)
        return false;
    struct magazine *magazine = (void *)((char *)h + offset);
    void **top = magazine->top;
    if (top == magazine->limit)
        return false;
    top[1] = p;
    magazine->top = top + 1;
    return true;
}

__attribute__((noinline)) static bool push_flat(void *p) {
    return push(flat[(uintptr_t)p >> UNIT_SHIFT], p);
}

__attribute__((noinline)) static bool push_window(void *p) {
    size_t unit = ((uintptr_t)p - window_base) >> UNIT_SHIFT;
    return unit < window_units && push(window[unit], p);
}

__attribute__((noinline)) static bool push_two_level(void *p) {
    size_t root = (uintptr_t)p >> LEAF_SHIFT;
    if (root >= sizeof roots / sizeof *roots)
        return false;
    return push(roots[root][((uintptr_t)p >> UNIT_SHIFT) & (LEAF_UNITS - 1)], p);
}

static void *map(size_t size, int protection) {
    void *p = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        exit(EXIT_FAILURE);
    }
    return p;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double run(bool (*push_form)(void *), void **blocks, size_t count) {
    struct magazine *magazine = &one_heap.of_class[4];
    double begin = seconds();
    for (size_t i = 0; i < count; i++) {
        if (!push_form(blocks[i])) {
            magazine->top = storage;
            if (!push_form(blocks[i])) {
                fputs("a block was not recognized\n", stderr);
                exit(EXIT_FAILURE);
            }
        }
    }
    return (seconds() - begin) / (double)count * 1e9;
}

static void tag_all(uintptr_t base, size_t size, uint32_t tag) {
    flat = map((size_t)1 << (USER_BITS - UNIT_SHIFT + 2), PROT_READ | PROT_WRITE);
    window_base = base;
    window_units = (size_t)1 << 24;
    window = map(window_units * sizeof *window, PROT_READ | PROT_WRITE);
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++)
        roots[i] = empty_leaf;
    for (uintptr_t p = base; p < base + size; p += (uintptr_t)1 << UNIT_SHIFT) {
        uint32_t **root = &roots[p >> LEAF_SHIFT];
        if (*root == empty_leaf)
            *root = map(LEAF_UNITS * sizeof **root, PROT_READ | PROT_WRITE);
        flat[p >> UNIT_SHIFT] = tag;
        window[(p - base) >> UNIT_SHIFT] = tag;
        (*root)[(p >> UNIT_SHIFT) & (LEAF_UNITS - 1)] = tag;
    }
}

int main(int argc, char **argv) {
    size_t size = (argc > 1 ? strtoull(argv[1], NULL, 10) : 1024) << 20;
    int rounds = argc > 2 ? atoi(argv[2]) : 9;
    size_t count = size / BLOCK;
    uintptr_t base = (uintptr_t)map(size + (1 << UNIT_SHIFT), PROT_NONE);
    base = (base + 0xffff) & ~(uintptr_t)0xffff;
    void **blocks = map(count * sizeof *blocks, PROT_READ | PROT_WRITE);
    uint64_t state = 42;
    for (size_t i = 0; i < count; i++) { /* Fisher–Yates, inside out */
        state = state * UINT64_C(6364136223846793005) + 1;
        size_t j = (size_t)((unsigned __int128)state * (i + 1) >> 64);
        blocks[i] = blocks[j];
        blocks[j] = (void *)(base + i * BLOCK);
    }
    one_heap.of_class[4] = (struct magazine){storage, storage + CAPACITY};
    tag_all(base, size, one_heap.tag | 4 << 4);
    puts("ns per free: flat window two-level");
    for (int round = 0; round < rounds; round++) {
        double f = run(push_flat, blocks, count);
        double w = run(push_window, blocks, count);
        double t = run(push_two_level, blocks, count);
        printf("%.3f %.3f %.3f\n", f, w, t);
    }
    return EXIT_SUCCESS;
}
