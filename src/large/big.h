/* src/large/big.h — Big blocks: each its own mapping. SPDX-License-Identifier: MIT */

/*
 *   | user's block, whole OS pages | spare | addresses, nothing mapped |
 *   ^ multiple of `align`, >= 2 MiB        ^ usable                    ^ reserved; usable < reserved
 *
 *   malloc   a freed mapping of about the size, else a new one of exactly the size
 *   realloc  the mapping grows into the addresses behind it; when they are used up, the kernel moves
 *            its pages to a place with twice the size: nothing is ever copied
 *   free     the mapping is kept for the next block, within bounds; else unmapped
 *
 * There is no header (large/big_table.h), and no block begins where another ends: an overrun meets an
 * OS page that is nobody's. The tag of the block's first unit says HAK_KIND_BIG, after free, and where
 * a block was moved away, HAK_KIND_BIG_FREED. From 4 MiB on huge pages are asked for, once a block.
 *
 * All functions: any thread. No lock is held over a system call.
 */
#ifndef HAK_LARGE_BIG_H
#define HAK_LARGE_BIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/audit.h"
#include "base/compiler.h"
#include "base/misuse.h"
#include "stats/ledger.h"

struct hak_big_policy {
    /* Freed mappings are kept up to so many bytes, whatever else allows more. Default 1 GiB. */
    _Atomic size_t cache_bytes_max; /* [A] written by any higher layer at any time */
};
extern HAK_INTERNAL struct hak_big_policy hak_big_policy;

/*
 * `size` bytes (up to PTRDIFF_MAX) at a multiple of `align` (power of two). *is_zeroed: the block
 * reads as zero. NULL: no memory, or no place in the window.
 */
void *hak_big_alloc(size_t size, size_t align, bool *is_zeroed);
/* The same for a block that has grown to `size` and may grow on: with spare, if that can be had. */
void *hak_big_alloc_growing(size_t size);
/* `p` lies in a unit tagged HAK_KIND_BIG. Returns the misuse found, and then frees nothing. */
HAK_NODISCARD enum hak_misuse hak_big_free(void *p);
/* Usable bytes of the block that starts at `p`. */
size_t hak_big_size(const void *p);
/*
 * Makes the block at `p` hold `size` bytes, 1 or more, and returns where it is now: grown, perhaps with
 * spare, or its end given back, which never fails. NULL: no memory, and all is as it was.
 */
void *hak_big_resize(void *p, size_t size);
/*
 * Gives mappings back to the kernel that were freed `age_ms` or longer before `now_ms` (of
 * hak_prim_clock_ms(); age 0: all) and not used again. Returns their usable bytes.
 */
size_t hak_big_purge(uint64_t now_ms, uint64_t age_ms, enum hak_cause cause);

struct hak_big_stats {
    size_t count;        /* live blocks */
    size_t bytes;        /* their usable bytes */
    size_t cached_bytes; /* usable bytes of mappings that are kept */
};
struct hak_big_stats hak_big_stats(void);

/*
 * Are all blocks and kept mappings booked, once each, and as the tables say? All locks are held. Returns
 * live blocks, the kept in *kept_count.
 */
size_t hak_big_audit(struct hak_audit *audit, size_t *kept_count);

void hak_big_fork_prepare(void);
void hak_big_fork_parent(void);
void hak_big_fork_child(void);

#endif
