/* src/large/span.h — Large blocks: spans of units in an arena. SPDX-License-Identifier: MIT */

/*
 * A span is a run of whole units with one block in it:
 *
 *   | colour |  block: whole 4 KiB pages       | rest |
 *   ^ unit                                            ^ unit
 *
 * Blocks begin at different *colours*, multiples of a cache line below 4 KiB, where the rest has room
 * and no alignment was asked for: with equal low address bits a walk over 256 headers of blocks takes
 * three to five times as long (docs/decisions/e9-mid.md). Usable is the size asked for, rounded up to
 * 4 KiB; the rest is realloc's. The span stays in the shared pool, dirty, after free, and is found there
 * by best fit without a system call, until an epoch gives its memory back. The tag of its first unit says
 * HAK_KIND_SPAN while it lives and HAK_KIND_SPAN_FREED after: a double free is seen at once.
 *
 * All functions: any thread.
 */
#ifndef HAK_LARGE_SPAN_H
#define HAK_LARGE_SPAN_H

#include <stdbool.h>
#include <stddef.h>

#include "arena/unit.h"
#include "base/audit.h"
#include "base/compiler.h"
#include "base/misuse.h"

#define HAK_SPAN_GRANULE ((size_t)4096) /* bytes; usable sizes are multiples of it */
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
/* `p` lies in a unit tagged HAK_KIND_SPAN: is it where the block starts? */
bool hak_span_is_start(const void *p);
/* Usable bytes of the block in whose first unit `p` lies, colour left out. */
size_t hak_span_size(const void *p);
/* Bytes of all units of that block. */
size_t hak_span_footprint(const void *p);
/*
 * Tries to make the block at `p` hold `size` bytes (1 … HAK_LARGE_MAX) where it is: grows into free
 * neighbours; gives its end back when less than half would be used. False: it is as it was.
 */
bool hak_span_resize(void *p, size_t size);
/* Would that leave all its units with it? */
bool hak_span_keeps(const void *p, size_t size);

/*
 * Is the block whose first unit this is sound, of `room` units at most? Returns its units, 1 at least. Its
 * holder may grow or shrink it meanwhile. The pool's lock is held.
 */
uint32_t hak_span_audit(struct hak_audit *audit, hak_unit first, uint32_t room);
/* Do the statistics say what was found? For when no thread is on its way. */
void hak_span_audit_stats(struct hak_audit *audit, size_t count, size_t units);

struct hak_span_stats {
    size_t count; /* live blocks */
    size_t bytes; /* their usable bytes */
};
struct hak_span_stats hak_span_stats(void);

#endif
