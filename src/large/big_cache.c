/* src/large/big_cache.c — freed Big mappings, kept for the next block. SPDX-License-Identifier: MIT */

#include "large/big_cache.h"

#include "arena/pagemap.h"
#include "base/atomic.h"
#include "base/fatal.h"
#include "base/lock.h"
#include "large/big_table.h"

struct cache_entry {
    struct hak_vm_extent extent;
    uint64_t put_ms;
};

/* entries[0 … count): oldest first. bytes == sum of usable over them. */
static struct {
    struct hak_lock lock;
    size_t count;                                  /* [lock] */
    _Atomic size_t bytes;                          /* [lock] written; read by any thread */
    struct cache_entry entries[HAK_BIG_CACHE_MAX]; /* [lock] */
} g_big_cache = {.lock = HAK_LOCK_INIT(HAK_RANK_LARGE)};

static struct hak_vm_extent cache_remove_locked(size_t index) {
    struct hak_vm_extent extent = g_big_cache.entries[index].extent;
    hak_assert(index < g_big_cache.count);
    hak_assert(extent.usable <= hak_big_cache_bytes());
    hak_atomic_sub_relaxed(&g_big_cache.bytes, extent.usable);
    g_big_cache.count--;
    for (size_t i = index; i < g_big_cache.count; i++)
        g_big_cache.entries[i] = g_big_cache.entries[i + 1];
    return extent;
}

bool hak_big_cache_take(size_t size_min, size_t size_max, size_t align, struct hak_vm_extent *out) {
    size_t best = HAK_BIG_CACHE_MAX;
    size_t best_size = size_max;
    hak_lock_acquire(&g_big_cache.lock);
    for (size_t i = 0; i < g_big_cache.count; i++) {
        const struct hak_vm_extent *extent = &g_big_cache.entries[i].extent;
        if (extent->usable < size_min || extent->usable > best_size ||
            (uintptr_t)extent->start % align != 0)
            continue;
        best = i; /* of equals the newest: more of it is in the processor's caches */
        best_size = extent->usable;
    }
    if (best < HAK_BIG_CACHE_MAX)
        *out = cache_remove_locked(best);
    hak_lock_release(&g_big_cache.lock);
    return best < HAK_BIG_CACHE_MAX;
}

void hak_big_cache_put(const struct hak_vm_extent *extent, uint64_t now_ms, size_t bytes_max,
                       struct hak_big_extents *rejected) {
    rejected->count = 0;
    if (extent->usable > bytes_max) {
        rejected->list[rejected->count++] = *extent;
        return;
    }
    hak_lock_acquire(&g_big_cache.lock);
    while (g_big_cache.count == HAK_BIG_CACHE_MAX ||
           (g_big_cache.count > 0 && hak_big_cache_bytes() > bytes_max - extent->usable))
        rejected->list[rejected->count++] = cache_remove_locked(0);
    g_big_cache.entries[g_big_cache.count++] = (struct cache_entry){*extent, now_ms};
    hak_atomic_add_relaxed(&g_big_cache.bytes, extent->usable);
    hak_lock_release(&g_big_cache.lock);
}

void hak_big_cache_drain(uint64_t now_ms, uint64_t age_ms, struct hak_big_extents *drained) {
    drained->count = 0;
    hak_lock_acquire(&g_big_cache.lock);
    for (size_t i = 0; i < g_big_cache.count;) {
        /* Read before a block came in just now, the clock may be behind it. */
        uint64_t put_ms = g_big_cache.entries[i].put_ms;
        uint64_t kept_ms = now_ms > put_ms ? now_ms - put_ms : 0;
        if (kept_ms >= age_ms)
            drained->list[drained->count++] = cache_remove_locked(i);
        else
            i++;
    }
    hak_lock_release(&g_big_cache.lock);
}

size_t hak_big_cache_bytes(void) {
    return hak_atomic_load_relaxed(&g_big_cache.bytes);
}

/* ---- looking ---- */

HAK_AUDIT bool hak_big_cache_has(const void *start) {
    size_t i = 0;
    while (i < g_big_cache.count && g_big_cache.entries[i].extent.start != start)
        i++;
    return i < g_big_cache.count;
}

static HAK_AUDIT void cache_audit_entry(struct hak_audit *audit, size_t index) {
    const struct hak_vm_extent *extent = &g_big_cache.entries[index].extent;
    struct hak_place place = {"kept Big mapping", (uintptr_t)extent->start, 0, 0};
    struct hak_vm_extent told = hak_big_table_get(extent->start);
    size_t same = 0;
    for (size_t i = 0; i < g_big_cache.count; i++)
        same += g_big_cache.entries[i].extent.start == extent->start;
    hak_audit_expect(audit, &place, "entries for it", same, 1);
    hak_audit_expect(audit, &place, "its tag", hak_pagemap_look(hak_unit_of(extent->start)),
                     HAK_KIND_BIG_FREED);
    hak_audit_expect(audit, &place, "usable bytes in its entry", extent->usable, told.usable);
    hak_audit_expect(audit, &place, "reserved bytes in its entry", extent->reserved, told.reserved);
}

HAK_AUDIT size_t hak_big_cache_audit(struct hak_audit *audit) {
    struct hak_place place = {.part = "cache of Big mappings"};
    size_t bytes = 0;
    if (!hak_audit_expect(audit, &place, "it has no more entries than places",
                          g_big_cache.count <= HAK_BIG_CACHE_MAX, 1))
        return 0;
    for (size_t i = 0; i < g_big_cache.count; i++) {
        cache_audit_entry(audit, i);
        bytes += g_big_cache.entries[i].extent.usable;
    }
    hak_audit_expect(audit, &place, "bytes counted", hak_big_cache_bytes(), bytes);
    return g_big_cache.count;
}

struct hak_lock *hak_big_cache_lock(void) {
    return &g_big_cache.lock;
}

void hak_big_cache_fork_prepare(void) HAK_NO_LOCK_ANALYSIS {
    hak_lock_acquire_for_fork(&g_big_cache.lock);
}

void hak_big_cache_fork_parent(void) HAK_NO_LOCK_ANALYSIS {
    hak_lock_release(&g_big_cache.lock);
}

void hak_big_cache_fork_child(void) {
    hak_lock_reset(&g_big_cache.lock);
}
