/* test/promise/usable_size.c — malloc_usable_size and nallocx. SPDX-License-Identifier: MIT */
/*
 * Goal: the usable size is at least the request, may be written to its end without reaching any
 * other block, stays the same while the block lives, and is what nallocx foretold.
 * Method: every size 0..70,000 in groups of eight live neighbours, each filled to its usable end
 * with its own pattern and checked after all are filled; then the edges of Large and Big.
 */
#include "entry_points.h"
#include "patterns.h"
#include "tap.h"

enum { GROUP = 8, SPARSE = 4096 };

static void try_group(struct sweep *s, size_t size, size_t stride) {
    void *block[GROUP];
    size_t usable[GROUP];
    for (int i = 0; i < GROUP; i++) {
        block[i] = api.malloc(size);
        SWEEP(s, block[i] != NULL, "malloc(%zu)", size);
        if (block[i] == NULL) {
            return;
        }
        usable[i] = api.malloc_usable_size(block[i]);
        SWEEP(s, usable[i] >= size, "size %zu: usable %zu", size, usable[i]);
        pattern_fill_sparse(block[i], usable[i], (uint64_t)i << 40, stride);
        if (usable[i] > 0) {
            ((unsigned char *)block[i])[usable[i] - 1] = pattern_byte((uint64_t)i << 40, 0);
        }
    }
    for (int i = 0; i < GROUP; i++) {
        size_t body = usable[i] > 0 ? usable[i] - 1 : 0;
        SWEEP(s, pattern_holds_sparse(block[i], body, (uint64_t)i << 40, stride),
              "size %zu: contents changed", size);
        SWEEP(s,
              usable[i] == 0 ||
                  ((unsigned char *)block[i])[body] == pattern_byte((uint64_t)i << 40, 0),
              "size %zu: last byte changed", size);
        SWEEP(s, api.malloc_usable_size(block[i]) == usable[i], "size %zu: not stable", size);
    }
    for (int i = 0; i < GROUP; i++) {
        api.free(block[(i * 3) % GROUP]);
    }
}

static void check_usable(void) {
    struct sweep s = sweep_begin("usable size: enough, writable to the end, stable");
    for (size_t size = 0; size <= 70000; size += size < 9000 ? 1 : 13) {
        try_group(&s, size, 1);
    }
    for (size_t power = (size_t)1 << 17; power <= (size_t)1 << 27; power <<= 1) {
        try_group(&s, power - 1, SPARSE);
        try_group(&s, power, SPARSE);
        try_group(&s, power + 1, SPARSE);
    }
    sweep_end(&s);
}

static void check_after_realloc(void) {
    struct sweep s = sweep_begin("usable size after realloc: enough, and writable");
    uint64_t state = 7;
    unsigned char *block = NULL;
    for (int i = 0; i < 4000; i++) {
        size_t size = random_size(&state, 22) + 1;
        unsigned char *moved = api.realloc(block, size);
        SWEEP(&s, moved != NULL, "to %zu", size);
        if (moved != NULL) {
            block = moved;
            size_t usable = api.malloc_usable_size(block);
            SWEEP(&s, usable >= size, "to %zu: usable %zu", size, usable);
            block[usable - 1] = 1;
        }
    }
    api.free(block);
    sweep_end(&s);
}

/*
 * Up to 64 MiB the two are equal; above, a block may be served by a mapping that was kept, up to a quarter
 * larger.
 */
static void check_nallocx(void) {
    if (api.nallocx == NULL) {
        CHECK(tap_any_allocator(), "nallocx is exported");
        return;
    }
    struct sweep s = sweep_begin("nallocx agrees with malloc_usable_size");
    for (size_t size = 1; size <= 66000; size++) {
        void *block = api.malloc(size);
        size_t foretold = api.nallocx(size, 0);
        size_t usable = api.malloc_usable_size(block);
        SWEEP(&s, foretold >= size && usable == foretold, "size %zu: nallocx %zu, usable %zu", size,
              foretold, usable);
        api.free(block);
    }
    for (size_t power = (size_t)1 << 17; power <= (size_t)1 << 28; power <<= 1) {
        for (int delta = -1; delta <= 1; delta++) {
            size_t size = power + (size_t)delta;
            void *block = api.malloc(size);
            size_t foretold = api.nallocx(size, 0);
            size_t usable = api.malloc_usable_size(block);
            bool is_kept =
                size > (size_t)64 << 20 && usable > foretold && usable / 5 * 4 <= foretold;
            SWEEP(&s, foretold >= size && (usable == foretold || is_kept),
                  "size %zu: nallocx %zu, usable %zu", size, foretold,
                  api.malloc_usable_size(block));
            api.free(block);
        }
    }
    sweep_end(&s);

    s = sweep_begin("nallocx with an alignment agrees with aligned_alloc");
    for (int lg = 4; lg <= 20; lg++) {
        for (size_t size = 1; size <= 400000; size = size * 5 / 4 + 3) {
            void *block = api.aligned_alloc((size_t)1 << lg, size);
            size_t foretold = api.nallocx(size, lg);
            SWEEP(&s, foretold >= size && api.malloc_usable_size(block) == foretold,
                  "alignment 2^%d size %zu: nallocx %zu, usable %zu", lg, size, foretold,
                  api.malloc_usable_size(block));
            api.free(block);
        }
    }
    sweep_end(&s);
}

int main(void) {
    api_load();
    tap_require_override();
    check_usable();
    check_after_realloc();
    check_nallocx();
    return tap_end();
}
