/* src/api/entry.c — malloc, calloc, realloc, free and their sized forms. SPDX-License-Identifier: MIT */

#include <errno.h>
#include <hakmem/hakmem.h>
#include <stdint.h>
#include <string.h>

#include "api/block.h"
#include "api/export.h"
#include "api/observed.h"

/* Blocks up to this size are cleared in line: a call to memset costs more. */
enum { ENTRY_CLEAR_INLINE_MAX = 256 };
_Static_assert(ENTRY_CLEAR_INLINE_MAX <= HAK_DIRECT_MAX,
               "calloc takes the class's offset for a size");

HAK_FAST_ENTRY HAK_PUBLIC void *hakmem_malloc(size_t size) {
    void *p = block_pop(size);
    if (HAK_LIKELY(p != NULL))
        return p;
    return hak_miss_malloc(size); /* apart, so that malloc itself needs no stack */
}
HAK_EXPORT(malloc);
HAK_EXPORT_AS(__libc_malloc, malloc);

HAK_FAST_ENTRY HAK_PUBLIC void hakmem_free(void *p) {
    entry_free(HAK_ENTRY_FREE, "free", p, HAK_SIZE_UNKNOWN, false);
}
HAK_EXPORT(free);
HAK_EXPORT_AS(__libc_free, free);
HAK_EXPORT_AS(cfree, free);
HAK_EXPORT_AS(__libc_cfree, free);
extern HAK_PUBLIC void hakmem_cfree(void *p) __attribute__((alias("hakmem_free")));

/*
 * Clears a block of `size` bytes, a multiple of 16 up to ENTRY_CLEAR_INLINE_MAX. From both ends to the
 * middle: where the two meet, stores overlap, so that three comparisons do for any size.
 */
HAK_INLINE void *entry_clear(void *p, size_t size) {
    typedef uint64_t pair __attribute__((vector_size(16), may_alias));
    const pair zero = {0, 0};
    pair *first = p;
    pair *last = (void *)((char *)p + size - sizeof(pair));
    first[0] = last[0] = zero;
    if (size <= 32)
        return p;
    first[1] = last[-1] = zero;
    if (size <= 64)
        return p;
    first[2] = first[3] = last[-2] = last[-3] = zero;
    if (size <= 128)
        return p;
    first[4] = first[5] = first[6] = first[7] = zero;
    last[-4] = last[-5] = last[-6] = last[-7] = zero;
    return p;
}

/* Larger blocks, and those that no magazine has; apart, so that calloc itself needs no stack. */
static HAK_NOINLINE void *entry_calloc_slow(size_t total) {
    void *p = block_pop(total);
    if (p == NULL)
        return hak_miss_alloc((struct hak_block_request){total, HAK_BLOCK_ALIGN, true},
                              HAK_ENTRY_CALLOC);
    return memset(p, 0, total);
}

HAK_PUBLIC void *hakmem_calloc(size_t count, size_t size) {
    size_t total;
    if (HAK_UNLIKELY(__builtin_mul_overflow(count, size, &total)))
        total = SIZE_MAX; /* cannot be had either */
    if (!HAK_CANARY && HAK_LIKELY(total <= ENTRY_CLEAR_INLINE_MAX)) {
        void *p = block_pop(total);
        if (HAK_LIKELY(p != NULL))
            return entry_clear(p, hak_tiny_class_offset(total));
    }
    return entry_calloc_slow(total);
}
HAK_EXPORT(calloc);
HAK_EXPORT_AS(__libc_calloc, calloc);

/* What realloc asks for and gives back by itself: nobody counts it. */
static void *entry_take(size_t size) {
    void *p = block_pop(size);
    if (p)
        return p;
    return hak_block_alloc((struct hak_block_request){size, HAK_BLOCK_ALIGN, false});
}

static void entry_give_back(void *p, const char *function) {
    if (block_push(p, function))
        return;
    if (HAK_UNLIKELY(hak_stat_file != NULL))
        hak_observed_free(p);
    hak_block_free(p, HAK_SIZE_UNKNOWN, function, false);
}

static void *entry_realloc_any(void *p, size_t size) {
    if (p == NULL)
        return entry_take(size);
    if (size == 0) {
        entry_give_back(p, "realloc");
        return NULL;
    }
    if (size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    size_t usable;
    void *moved = hak_block_resize(p, size, &usable);
    if (moved)
        return moved;
    bool has_outgrown = size > usable && size > HAK_MID_MAX;
    moved = has_outgrown ? hak_block_alloc_growing(size, usable) : entry_take(size);
    if (moved == NULL && size <= usable) {
        hak_block_note_unshrunk();
        return p; /* shrinking never fails: programs do not expect it to */
    }
    if (moved == NULL)
        return NULL;
    memcpy(moved, p, usable < size ? usable : size);
    entry_give_back(p, "free");
    return moved;
}

/* While observed block_stays() is never true, so that every call comes here. */
static HAK_NOINLINE void *entry_realloc_slow(void *p, size_t size, enum hak_entry entry) {
    void *moved = entry_realloc_any(p, size);
    if (HAK_LIKELY(hak_stat_file == NULL))
        return moved;
    if (moved == NULL && p != NULL && size == 0)
        hak_observed_call(entry);
    else
        hak_observed_request(entry, size, moved);
    return moved;
}

HAK_PUBLIC void *hakmem_realloc(void *p, size_t size) {
    if (HAK_LIKELY(block_stays(p, size)))
        return p;
    return entry_realloc_slow(p, size, HAK_ENTRY_REALLOC);
}
HAK_EXPORT(realloc);
HAK_EXPORT_AS(__libc_realloc, realloc);

HAK_PUBLIC void *hakmem_reallocarray(void *p, size_t count, size_t size) {
    size_t total;
    if (HAK_UNLIKELY(__builtin_mul_overflow(count, size, &total))) {
        errno = ENOMEM;
        return NULL;
    }
    if (HAK_LIKELY(block_stays(p, total)))
        return p;
    return entry_realloc_slow(p, total, HAK_ENTRY_REALLOCARRAY);
}
HAK_EXPORT(reallocarray);

HAK_PUBLIC void hakmem_free_sized(void *p, size_t size) {
    entry_free(HAK_ENTRY_FREE_SIZED, "free_sized", p, size, false);
}
HAK_EXPORT(free_sized);

HAK_PUBLIC void hakmem_free_aligned_sized(void *p, size_t alignment, size_t size) {
    (void)alignment;
    entry_free(HAK_ENTRY_FREE_ALIGNED_SIZED, "free_aligned_sized", p, size, true);
}
HAK_EXPORT(free_aligned_sized);

HAK_PUBLIC void hakmem_sdallocx(void *p, size_t size, int flags) {
    entry_free(HAK_ENTRY_SDALLOCX, "sdallocx", p, size, flags != 0);
}
HAK_EXPORT(sdallocx);

HAK_PUBLIC size_t hakmem_malloc_usable_size(void *p) {
    return block_usable(p, "malloc_usable_size");
}
HAK_EXPORT(malloc_usable_size);

HAK_PUBLIC const char *hakmem_version(void) {
    return HAKMEM_VERSION;
}
