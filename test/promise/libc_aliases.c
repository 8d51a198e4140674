/* test/promise/libc_aliases.c — the __libc_ names are ours too. SPDX-License-Identifier: MIT */
/*
 * Goal: a program or library that calls __libc_malloc and its relatives gets blocks of the same
 * allocator, so that they may be mixed freely with malloc, realloc and free.
 * Method: every way to get x every way to resize or give, with contents checked.
 */
#include "entry_points.h"
#include "patterns.h"
#include "tap.h"

static void *libc_posix_memalign(size_t size) {
    void *block = NULL;
    return api.__posix_memalign(&block, 64, size) == 0 ? block : NULL;
}

static void *get_block(int way, size_t size) {
    switch (way) {
    case 0:
        return api.malloc(size);
    case 1:
        return api.__libc_malloc(size);
    case 2:
        return api.__libc_calloc(1, size);
    case 3:
        return api.__libc_realloc(NULL, size);
    case 4:
        return api.__libc_memalign(128, size);
    case 5:
        return api.__libc_valloc(size);
    case 6:
        return api.__libc_pvalloc(size);
    default:
        return libc_posix_memalign(size);
    }
}

static void *resize_block(int way, void *block, size_t size) {
    return way == 0 ? api.realloc(block, size) : api.__libc_realloc(block, size);
}

static void give_block(int way, void *block) {
    switch (way) {
    case 0:
        api.free(block);
        break;
    case 1:
        api.__libc_free(block);
        break;
    default:
        api.__libc_cfree(block);
        break;
    }
}

static void try_combination(struct sweep *s, int get, int resize, int give, size_t size) {
    unsigned char *block = get_block(get, size);
    SWEEP(s, block != NULL && is_aligned(block, 16), "way %d size %zu: %p", get, size,
          (void *)block);
    if (block == NULL) {
        return;
    }
    SWEEP(s, get != 2 || zero_check(block, size) == size, "__libc_calloc(%zu) is not zero", size);
    SWEEP(s, api.malloc_usable_size(block) >= size, "way %d size %zu: usable size", get, size);
    pattern_fill(block, size, size);
    unsigned char *moved = resize_block(resize, block, size * 2 + 1);
    SWEEP(s, moved != NULL && pattern_check(moved, size, size) == size,
          "way %d resized by way %d: contents, size %zu", get, resize, size);
    give_block(give, moved != NULL ? moved : block);
}

static bool aliases_present(void) {
    return api.__libc_malloc != NULL && api.__libc_calloc != NULL && api.__libc_realloc != NULL &&
           api.__libc_free != NULL && api.__libc_cfree != NULL && api.__libc_memalign != NULL &&
           api.__libc_valloc != NULL && api.__libc_pvalloc != NULL && api.__posix_memalign != NULL;
}

int main(void) {
    static const size_t sizes[] = {1, 24, 1000, 1025, 9000, 65536, 65537, 1 << 20};
    api_load();
    tap_require_override();
    if (!aliases_present() && tap_any_allocator()) {
        tap_skip("__libc_ aliases", "not all exported by this allocator");
        CHECK(true, "nothing to try");
        return tap_end();
    }
    if (!CHECK(aliases_present(), "the nine aliases are exported")) {
        return tap_end();
    }
    struct sweep s = sweep_begin("blocks of __libc_ names and plain names mix");
    for (int get = 0; get < 8; get++) {
        for (int resize = 0; resize < 2; resize++) {
            for (int give = 0; give < 3; give++) {
                for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                    try_combination(&s, get, resize, give, sizes[i]);
                }
            }
        }
    }
    sweep_end(&s);
    errno = 0;
    CHECK(api.__libc_malloc(SIZE_MAX) == NULL && errno == ENOMEM,
          "__libc_malloc(SIZE_MAX): NULL and ENOMEM");
    return tap_end();
}
