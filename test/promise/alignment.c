/* test/promise/alignment.c — alignment 16 for every size. SPDX-License-Identifier: MIT */
/*
 * Goal: alignof(max_align_t), 16 on LP64, for every size and every way to get an unaligned block.
 * Method: each size 0..70,000 (all of Tiny and Mid, the start of Large), then the edges of powers
 * of two to 1 GiB. 64 blocks stay live at a time, so that later blocks of a slab are seen too, and
 * each is written at both ends: a block that lies over another one shows in the marks.
 */
#include "entry_points.h"
#include "patterns.h"
#include "tap.h"

enum { LIVE = 64, SIZE_DENSE_MAX = 70000 };

struct live {
    unsigned char *block;
    size_t size;
};

static bool marks_hold(const struct live *l) {
    if (l->block == NULL || l->size == 0) {
        return true;
    }
    unsigned char first = l->size > 1 ? (unsigned char)(l->size >> 8) : (unsigned char)l->size;
    return l->block[0] == first && l->block[l->size - 1] == (unsigned char)l->size;
}

static void marks_set(struct live *l) {
    if (l->size > 0) {
        l->block[0] = (unsigned char)(l->size >> 8);
        l->block[l->size - 1] = (unsigned char)l->size;
    }
}

static void *by_malloc(size_t size) {
    return api.malloc(size);
}

static void *by_calloc(size_t size) {
    return api.calloc(1, size);
}

static void *by_realloc_new(size_t size) {
    return api.realloc(NULL, size);
}

/* Comes from another class and usually moves. */
static void *by_realloc_grown(size_t size) {
    void *small = api.malloc(size / 2 + 1);
    return small == NULL || size == 0 ? small : api.realloc(small, size);
}

static void *by_reallocarray(size_t size) {
    return api.reallocarray(NULL, 1, size);
}

static void try_size(struct sweep *s, struct live *live, size_t step, void *(*get)(size_t),
                     size_t size) {
    struct live *l = &live[step % LIVE];
    SWEEP(s, marks_hold(l), "contents of a block of %zu changed while it was live", l->size);
    api.free(l->block);
    l->size = size;
    l->block = get(size);
    SWEEP(s, l->block != NULL, "size %zu: NULL", size);
    SWEEP(s, is_aligned(l->block, 16), "size %zu at %p", size, (void *)l->block);
    if (l->block != NULL) {
        marks_set(l);
    }
}

static void sweep_sizes(const char *what, void *(*get)(size_t), size_t stride) {
    struct sweep s = sweep_begin(what);
    struct live live[LIVE] = {{NULL, 0}};
    size_t step = 0;
    for (size_t size = 0; size <= SIZE_DENSE_MAX; size += stride) {
        try_size(&s, live, step++, get, size);
    }
    for (size_t power = (size_t)1 << 17; power <= (size_t)1 << 26; power <<= 1) {
        for (size_t size = power - 17; size <= power + 17; size++) {
            try_size(&s, live, step, get, size);
        }
        step++;
    }
    for (int i = 0; i < LIVE; i++) {
        SWEEP(&s, marks_hold(&live[i]), "contents of the last block of %zu", live[i].size);
        api.free(live[i].block);
    }
    sweep_end(&s);
}

static void sweep_huge(void) {
    struct sweep s = sweep_begin("Big blocks up to 1 GiB are aligned to 16");
    for (size_t power = (size_t)1 << 27; power <= (size_t)1 << 30; power <<= 1) {
        for (int delta = -1; delta <= 1; delta++) {
            struct live l = {NULL, power + (size_t)delta};
            l.block = api.malloc(l.size);
            SWEEP(&s, l.block != NULL && is_aligned(l.block, 16), "size %zu at %p", l.size,
                  (void *)l.block);
            if (l.block != NULL) {
                marks_set(&l);
                SWEEP(&s, marks_hold(&l), "size %zu is not writable to its end", l.size);
            }
            api.free(l.block);
        }
    }
    sweep_end(&s);
}

int main(void) {
    api_load();
    tap_require_override();
    sweep_sizes("malloc aligns to 16", by_malloc, 1);
    sweep_sizes("calloc aligns to 16", by_calloc, 7);
    sweep_sizes("realloc(NULL, n) aligns to 16", by_realloc_new, 1);
    sweep_sizes("a grown block is aligned to 16", by_realloc_grown, 1);
    sweep_sizes("reallocarray aligns to 16", by_reallocarray, 1);
    sweep_huge();
    return tap_end();
}
