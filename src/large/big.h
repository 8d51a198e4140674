/* src/large/big.h — Big blocks: each its own mapping. SPDX-License-Identifier: MIT */

/*
 *   | unaligned lead |  header, one OS page  | user's block, whole OS pages | rest |
 *   ^ reservation                            ^ multiple of `align`, >= 64 KiB
 *
 * The header shares no page and no unit with the block. Freed at once: munmap. The tag of the
 * block's first unit says HAK_KIND_BIG, after free HAK_KIND_BIG_FREED.
 *
 * All functions: any thread.
 */
#ifndef HAK_LARGE_BIG_H
#define HAK_LARGE_BIG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/misuse.h"

/*
 * `size` bytes (up to PTRDIFF_MAX) at a multiple of `align` (power of two). The block reads as zero.
 * NULL: no memory, or no place in the window.
 */
void *hak_big_alloc(size_t size, size_t align);
/* `p` lies in a unit tagged HAK_KIND_BIG. Returns the misuse found, and then frees nothing. */
HAK_NODISCARD enum hak_misuse hak_big_free(void *p);
size_t hak_big_size(const void *p);
/* True when the block at `p` can hold `size` bytes where it is and would not waste half of itself. */
bool hak_big_fits(const void *p, size_t size);

struct hak_big_stats {
    size_t count;
    size_t bytes;
};
struct hak_big_stats hak_big_stats(void);

#endif
