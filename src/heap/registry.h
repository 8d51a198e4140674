/* src/heap/registry.h — all heaps: by id, and the orphans. SPDX-License-Identifier: MIT */
#ifndef HAK_HEAP_REGISTRY_H
#define HAK_HEAP_REGISTRY_H

#include <stddef.h>
#include <stdint.h>

#include "base/audit.h"
#include "heap/heap.h"

/* An orphan, newest first, or a new heap. NULL: no memory. */
struct hak_heap *hak_registry_take(void);
/* The orphan that nobody has adopted for the longest time, an epoch at least; NULL: there is none. */
struct hak_heap *hak_registry_take_idle_orphan(uint32_t epoch);
/* Gives such an orphan back, its magazines empty. */
void hak_registry_return_reaped(struct hak_heap *heap);
/* An orphan; NULL when there is none. The taker is its thread until it orphans it again. */
struct hak_heap *hak_registry_take_orphan(void);
/* The heap's thread is gone: its next taker gets it as it is. */
void hak_registry_orphan(struct hak_heap *heap);

/* NULL when there is no such heap. Any thread, no lock: heaps never die. */
struct hak_heap *hak_registry_heap(uint32_t id);
/* Ids are 1 … count. */
uint32_t hak_registry_count(void);
size_t hak_registry_orphan_count(void);

/*
 * The orphan that comes after `heap` in the list; after NULL the newest. Is the list sound? NULL: it ends
 * there, or a problem was noted. The registry's lock is held.
 */
struct hak_heap *hak_registry_audit_orphan(struct hak_audit *audit, const struct hak_heap *heap);
/* Does the list say how many it has, and which is the oldest? */
void hak_registry_audit(struct hak_audit *audit, size_t orphan_count,
                        const struct hak_heap *oldest);

/* For who takes all locks. */
struct hak_lock *hak_registry_lock(void);

/* fork: the registry's lock and then every heap's, in order of id. */
void hak_registry_fork_prepare(void);
void hak_registry_fork_parent(void);
/* Every heap but `survivor` (NULL: none) becomes an orphan, its magazines untouched. */
void hak_registry_fork_child(struct hak_heap *survivor);

#endif
