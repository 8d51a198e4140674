/* src/large/span.h — Large blocks: spans of units in an arena. SPDX-License-Identifier: MIT */

/*
 * A span is one block made of whole units. It stays in the shared pool, dirty, after free, and is
 * found there by best fit without a system call. The tag of its first unit says HAK_KIND_SPAN while
 * it lives and HAK_KIND_SPAN_FREED after: a double free is seen at once.
 *
 * All functions: any thread.
 */
#ifndef HAK_LARGE_SPAN_H
#define HAK_LARGE_SPAN_H

#include <stdbool.h>
#include <stddef.h>

#include "arena/unit.h"
#include "base/compiler.h"
#include "base/misuse.h"

/* Bytes; what is larger or aligned to more is a Big block. */
#define HAK_LARGE_MAX ((size_t)64 << 20)
#define HAK_LARGE_ALIGN_MAX ((size_t)1 << 30)

/*
 * `size` bytes (1 … HAK_LARGE_MAX, and what a block carries extra) at a multiple of `align` (power
 * of two, up to HAK_LARGE_ALIGN_MAX). *is_zeroed: the block reads as zero. NULL: no memory.
 */
void *hak_span_alloc(size_t size, size_t align, bool *is_zeroed);
/* `p` lies in a unit tagged HAK_KIND_SPAN. Returns the misuse found, and then frees nothing. */
HAK_NODISCARD enum hak_misuse hak_span_free(void *p);
/* Usable bytes of the block that starts at `p`. */
size_t hak_span_size(const void *p);
/*
 * Tries to make the block at `p` hold `size` bytes (1 … HAK_LARGE_MAX) where it is: grows into free
 * neighbours; gives its end back when less than half would be used. False: it is as it was.
 */
bool hak_span_resize(void *p, size_t size);
struct hak_span_stats {
    size_t count; /* live blocks */
    size_t bytes; /* their usable bytes */
};
struct hak_span_stats hak_span_stats(void);

#endif
