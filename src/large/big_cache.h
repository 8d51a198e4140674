/* src/large/big_cache.h — freed Big mappings, kept for the next block. SPDX-License-Identifier: MIT */

/*
 * A mapping made anew costs three system calls and a page fault for each OS page that is touched; one
 * that was kept costs neither. The cache holds a few, as their blocks left them: dirty, tag
 * HAK_KIND_BIG_FREED. It makes no system call itself: what it does not keep it gives back to the
 * caller, who releases it without a lock.
 *
 * All functions: any thread.
 */
#ifndef HAK_LARGE_BIG_CACHE_H
#define HAK_LARGE_BIG_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/audit.h"
#include "base/compiler.h"
#include "base/lock.h"
#include "vm/vm.h"

/* Mappings; a search looks at each. 256 MiB, what may be kept at least, hold so many of 4 MiB. */
enum { HAK_BIG_CACHE_MAX = 64 };

struct hak_big_extents {
    size_t count;
    struct hak_vm_extent list[HAK_BIG_CACHE_MAX];
};

/*
 * The smallest mapping at a multiple of `align` with `size_min` … `size_max` usable bytes, of equals
 * the newest. False: none.
 */
HAK_NODISCARD bool hak_big_cache_take(size_t size_min, size_t size_max, size_t align,
                                      struct hak_vm_extent *out);
/*
 * Keeps a mapping; *rejected are those that have no room now, the oldest first, or the mapping itself
 * when it alone is more than `bytes_max`.
 */
void hak_big_cache_put(const struct hak_vm_extent *extent, uint64_t now_ms, size_t bytes_max,
                       struct hak_big_extents *rejected);
/* Takes out all that were put `age_ms` or longer before `now_ms`; with age 0 all. */
void hak_big_cache_drain(uint64_t now_ms, uint64_t age_ms, struct hak_big_extents *drained);
/* Usable bytes of the mappings kept. No lock. */
size_t hak_big_cache_bytes(void);

/* Is this mapping kept? Lock held. */
bool hak_big_cache_has(const void *start);
/* Is what is kept what the tables say, once each, and counted? Lock held. Returns how many. */
size_t hak_big_cache_audit(struct hak_audit *audit);

/* For who takes all locks. */
struct hak_lock *hak_big_cache_lock(void);
void hak_big_cache_fork_prepare(void);
void hak_big_cache_fork_parent(void);
void hak_big_cache_fork_child(void);

#endif
