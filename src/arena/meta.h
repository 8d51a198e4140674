/* src/arena/meta.h — hakmem's own memory: heaps, magazines, records. SPDX-License-Identifier: MIT */
#ifndef HAK_ARENA_META_H
#define HAK_ARENA_META_H

#include <stddef.h>

#include "base/audit.h"
#include "base/compiler.h"
#include "base/lock.h"

/*
 * Memory for hakmem's own data, outside users' slabs, aligned to 16 bytes (to a cache line from
 * 64 bytes on). Sizes, 32 KiB at most, are rounded up to a power of two. Contents indeterminate.
 * NULL: no memory. Any thread; may grow an arena under its lock.
 */
void *hak_meta_alloc(size_t size);
/* The same for memory that is never freed: rounded up to a cache line only. */
void *hak_meta_alloc_for_ever(size_t size);
/* `size` as given to hak_meta_alloc(). The memory is kept for the next such request. */
void hak_meta_free(void *memory, size_t size);
/* Bytes handed out and not returned. */
size_t hak_meta_bytes(void);

/* Do all kept pieces lie in units of this memory, and is the room behind what was handed out? Lock held. */
void hak_meta_audit(struct hak_audit *audit);

/* For who takes all locks. */
struct hak_lock *hak_meta_lock(void);
void hak_meta_fork_prepare(void);
void hak_meta_fork_parent(void);
void hak_meta_fork_child(void);

#endif
