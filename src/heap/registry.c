/* src/heap/registry.c — all heaps: by id, and the orphans. SPDX-License-Identifier: MIT */

#include "heap/registry.h"

#include "arena/meta.h"
#include "base/atomic.h"
#include "base/log.h"

/* Two levels: 512 heaps a leaf, leaves made when their first heap is. */
enum { REGISTRY_LEAF_SHIFT = 9, REGISTRY_LEAF_SIZE = 1 << REGISTRY_LEAF_SHIFT };
enum { REGISTRY_LEAVES = (HAK_TAG_ID_NEVER >> REGISTRY_LEAF_SHIFT) + 1 };

typedef _Atomic(struct hak_heap *) registry_slot;

/*
 * Orphans, by next_orphan to the right, by prev_orphan to the left. Those that were reaped have empty
 * magazines: an adopter takes them last, and no epoch looks at them again.
 *
 *   newest  …  oldest_unreaped | reaped first  …  oldest
 */
static struct {
    struct hak_lock lock;
    struct hak_heap *newest;          /* [lock] */
    struct hak_heap *oldest_unreaped; /* [lock] NULL: all were reaped */
    struct hak_heap *oldest;          /* [lock] */
    _Atomic uint32_t epoch;           /* [S] the current one, for orphan_epoch */
    size_t orphan_count;              /* [lock] */
    _Atomic uint32_t count;           /* [lock] written; read by any thread */
    uint32_t fork_count; /* [lock] heaps whose locks fork took; its thread may make one more */
    _Atomic(registry_slot *) leaves[REGISTRY_LEAVES]; /* [lock] written; read by any thread */
} g_registry = {.lock = HAK_LOCK_INIT(HAK_RANK_REGISTRY)};

struct hak_heap *hak_registry_heap(uint32_t id) {
    if (id == 0 || id > hak_registry_count())
        return NULL;
    /* Acquire: pairs with the release in registry_leaf(); the leaf's slots are there. */
    registry_slot *leaf = hak_atomic_load_acquire(&g_registry.leaves[id >> REGISTRY_LEAF_SHIFT]);
    return hak_atomic_load_acquire(&leaf[id & (REGISTRY_LEAF_SIZE - 1)]);
}

uint32_t hak_registry_count(void) {
    /* Acquire: pairs with the release in registry_make(); heaps up to the count are complete. */
    return hak_atomic_load_acquire(&g_registry.count);
}

size_t hak_registry_orphan_count(void) {
    hak_lock_acquire(&g_registry.lock);
    size_t count = g_registry.orphan_count;
    hak_lock_release(&g_registry.lock);
    return count;
}

/* Leaf for the id, made if need be. NULL: no memory. */
static registry_slot *registry_leaf(uint32_t id) {
    registry_slot *leaf = hak_atomic_load_relaxed(&g_registry.leaves[id >> REGISTRY_LEAF_SHIFT]);
    if (leaf)
        return leaf;
    leaf = hak_meta_alloc(REGISTRY_LEAF_SIZE * sizeof *leaf);
    if (leaf == NULL)
        return NULL;
    for (size_t i = 0; i < REGISTRY_LEAF_SIZE; i++)
        hak_atomic_store_relaxed(&leaf[i], NULL);
    /* Release: the slots are NULL before the leaf is seen. */
    hak_atomic_store_release(&g_registry.leaves[id >> REGISTRY_LEAF_SHIFT], leaf);
    return leaf;
}

static struct hak_heap *registry_make(void) {
    uint32_t id = hak_atomic_load_relaxed(&g_registry.count) + 1;
    if (id >= HAK_TAG_ID_NEVER)
        return NULL;
    registry_slot *leaf = registry_leaf(id);
    struct hak_heap *heap = leaf ? hak_meta_alloc_for_ever(sizeof *heap) : NULL;
    if (heap == NULL)
        return NULL;
    *heap = (struct hak_heap){
        .magazines = hak_heap_empty,
        .id = id,
        .lock = HAK_LOCK_INIT(HAK_RANK_HEAP),
    };
    heap->magazines.tag = id << HAK_TAG_ID_SHIFT;
    /* Release: a heap that can be found is complete. */
    hak_atomic_store_release(&leaf[id & (REGISTRY_LEAF_SIZE - 1)], heap);
    hak_atomic_store_release(&g_registry.count, id);
    hak_log(HAK_LOG_HEAP, "create", heap, id);
    return heap;
}

/* ---- orphans ---- */

static void orphans_push_newest(struct hak_heap *heap) {
    heap->prev_orphan = NULL;
    heap->next_orphan = g_registry.newest;
    if (heap->next_orphan)
        heap->next_orphan->prev_orphan = heap;
    else
        g_registry.oldest = heap;
    g_registry.newest = heap;
    if (g_registry.oldest_unreaped == NULL)
        g_registry.oldest_unreaped = heap;
    g_registry.orphan_count++;
}

static void orphans_push_reaped(struct hak_heap *heap) {
    heap->next_orphan = NULL;
    heap->prev_orphan = g_registry.oldest;
    if (heap->prev_orphan)
        heap->prev_orphan->next_orphan = heap;
    else
        g_registry.newest = heap;
    g_registry.oldest = heap;
    g_registry.orphan_count++;
}

static void orphans_remove(struct hak_heap *heap) {
    if (g_registry.oldest_unreaped == heap)
        g_registry.oldest_unreaped = heap->prev_orphan;
    if (heap->prev_orphan)
        heap->prev_orphan->next_orphan = heap->next_orphan;
    else
        g_registry.newest = heap->next_orphan;
    if (heap->next_orphan)
        heap->next_orphan->prev_orphan = heap->prev_orphan;
    else
        g_registry.oldest = heap->prev_orphan;
    g_registry.orphan_count--;
}

struct hak_heap *hak_registry_take(void) {
    hak_lock_acquire(&g_registry.lock);
    struct hak_heap *heap = g_registry.newest;
    if (heap)
        orphans_remove(heap);
    else
        heap = registry_make();
    hak_lock_release(&g_registry.lock);
    return heap;
}

struct hak_heap *hak_registry_take_orphan(void) {
    hak_lock_acquire(&g_registry.lock);
    struct hak_heap *heap = g_registry.newest;
    if (heap)
        orphans_remove(heap);
    hak_lock_release(&g_registry.lock);
    return heap;
}

struct hak_heap *hak_registry_take_idle_orphan(uint32_t epoch) {
    hak_atomic_store_relaxed(&g_registry.epoch, epoch);
    hak_lock_acquire(&g_registry.lock);
    struct hak_heap *heap = g_registry.oldest_unreaped;
    if (heap && heap->orphan_epoch + 1 < epoch)
        orphans_remove(heap);
    else
        heap = NULL;
    hak_lock_release(&g_registry.lock);
    return heap;
}

void hak_registry_return_reaped(struct hak_heap *heap) {
    hak_lock_acquire(&g_registry.lock);
    orphans_push_reaped(heap);
    hak_lock_release(&g_registry.lock);
}

void hak_registry_orphan(struct hak_heap *heap) {
    hak_log(HAK_LOG_HEAP, "orphan", heap, heap->id);
    hak_lock_acquire(&g_registry.lock);
    heap->orphan_epoch = hak_atomic_load_relaxed(&g_registry.epoch);
    orphans_push_newest(heap);
    hak_lock_release(&g_registry.lock);
}

/* ---- looking ---- */

HAK_AUDIT struct hak_heap *hak_registry_audit_orphan(struct hak_audit *audit,
                                                     const struct hak_heap *heap) {
    struct hak_heap *next = heap ? heap->next_orphan : g_registry.newest;
    struct hak_place place = {.part = "orphan", .heap = next ? next->id : 0};
    /* A circle would come back to an orphan with another predecessor. */
    bool is_sound = next == NULL || hak_audit_expect(audit, &place, "the orphan before it",
                                                     (uintptr_t)next->prev_orphan, (uintptr_t)heap);
    return is_sound ? next : NULL;
}

HAK_AUDIT void hak_registry_audit(struct hak_audit *audit, size_t orphan_count,
                                  const struct hak_heap *oldest) {
    struct hak_place place = {.part = "registry"};
    hak_audit_expect(audit, &place, "orphans counted", g_registry.orphan_count, orphan_count);
    hak_audit_expect(audit, &place, "the oldest orphan", (uintptr_t)g_registry.oldest,
                     (uintptr_t)oldest);
    for (uint32_t id = 1; id <= hak_registry_count(); id++) {
        const struct hak_heap *heap = hak_registry_heap(id);
        place.heap = id;
        if (hak_audit_expect(audit, &place, "there is such a heap", heap != NULL, 1))
            hak_audit_expect(audit, &place, "id of the heap", heap->id, id);
    }
}

/* ---- fork ---- */

struct hak_lock *hak_registry_lock(void) {
    return &g_registry.lock;
}

void hak_registry_fork_prepare(void) HAK_NO_LOCK_ANALYSIS {
    hak_lock_acquire_for_fork(&g_registry.lock);
    g_registry.fork_count = hak_registry_count();
    for (uint32_t id = 1; id <= g_registry.fork_count; id++)
        hak_lock_acquire_for_fork(&hak_registry_heap(id)->lock);
}

void hak_registry_fork_parent(void) HAK_NO_LOCK_ANALYSIS {
    for (uint32_t id = g_registry.fork_count; id > 0; id--)
        hak_lock_release(&hak_registry_heap(id)->lock);
    hak_lock_release(&g_registry.lock);
}

void hak_registry_fork_child(struct hak_heap *survivor) {
    g_registry.newest = NULL;
    g_registry.oldest = NULL;
    g_registry.oldest_unreaped = NULL;
    g_registry.orphan_count = 0;
    for (uint32_t id = 1; id <= hak_registry_count(); id++) {
        struct hak_heap *heap = hak_registry_heap(id);
        if (id <= g_registry.fork_count)
            hak_lock_reset(&heap->lock);
        if (heap->counters)
            heap->counters = NULL; /* they are the parent's */
        if (heap == survivor)
            continue;
        heap->orphan_epoch = hak_atomic_load_relaxed(&g_registry.epoch);
        orphans_push_newest(heap);
    }
    hak_lock_reset(&g_registry.lock);
}
