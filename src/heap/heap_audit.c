/* src/heap/heap_audit.c — is each unit and each block in exactly one place? SPDX-License-Identifier: MIT */

/*
 *   hak_heap_audit -> walk_heaps      whose magazines may be looked at
 *                  -> walk_arena      each unit: slab, span, free run, being purged, hakmem's own
 *                  -> walk_book       each heap's counts and bins
 *                  -> walk_outside    each block that is not in its slab: magazines, records on their way
 *                  -> walk_books      pool, metadata, address book, Big
 *
 * All locks are held, so slabs, free runs and inboxes stand still. What others do without a lock meanwhile:
 *
 *   pop and push of their magazines, gathering   not looked at, but for orphans, which nobody can adopt
 *   a packet is pushed onto an inbox             in front of what is looked at; nobody takes any out
 *   a span or Big block is tagged, freed         its units are no pool's yet or no longer: "lost" for so long
 *   a span grows or shrinks                      its units are never more than are its own
 *
 * So whatever is found is a problem. Only what is compared when the caller says that all stand still
 * (is_quiescent) could be a thread on its way.
 */

#include "heap/heap_audit.h"

#include "arena/arena.h"
#include "arena/meta.h"
#include "arena/pagemap.h"
#include "arena/pool.h"
#include "arena/run.h"
#include "base/atomic.h"
#include "base/lock.h"
#include "heap/heap.h"
#include "heap/registry.h"
#include "heap/remote.h"
#include "large/big.h"
#include "large/big_cache.h"
#include "large/span.h"
#include "slab/slab_audit.h"
#include "vm/vm.h"

/* ---- all locks ---- */

/* Those that come after the heaps' in order of rank. */
enum { WALK_LOCKS = 4 };

static HAK_AUDIT struct hak_lock *walk_lock(unsigned number) {
    switch (number) {
    case 0:
        return hak_big_cache_lock();
    case 1:
        return hak_meta_lock();
    case 2:
        return hak_pool_lock();
    default:
        return hak_vm_lock();
    }
}

static HAK_AUDIT void walk_let_go(unsigned locks, uint32_t heaps) HAK_NO_LOCK_ANALYSIS {
    while (locks > 0)
        hak_lock_release(walk_lock(--locks));
    for (; heaps > 0; heaps--)
        hak_lock_release(&hak_registry_heap(heaps)->lock);
    hak_lock_release(hak_registry_lock());
}

HAK_AUDIT bool hak_heap_hold_all(bool may_wait) HAK_NO_LOCK_ANALYSIS {
    unsigned locks = 0;
    uint32_t heaps = 0;
    if (!hak_lock_acquire_among(hak_registry_lock(), may_wait))
        return false;
    uint32_t count = hak_registry_count();
    while (heaps < count && hak_lock_acquire_among(&hak_registry_heap(heaps + 1)->lock, may_wait))
        heaps++;
    while (heaps == count && locks < WALK_LOCKS &&
           hak_lock_acquire_among(walk_lock(locks), may_wait))
        locks++;
    bool has_all = locks == WALK_LOCKS;
    if (!has_all)
        walk_let_go(locks, heaps);
    return has_all;
}

HAK_AUDIT void hak_heap_let_go_all(void) {
    walk_let_go(WALK_LOCKS, hak_registry_count());
}

/* ---- notes ---- */

/* What is found of a heap's slabs, to be compared with what it says itself. */
struct heap_found {
    size_t bytes_out;
    bool is_open; /* its magazines may be looked at */
    struct set_found {
        uint32_t slabs;
        uint32_t in_bins;
    } sets[HAK_CLASS_COUNT];
};

struct walk {
    struct hak_audit *audit;
    struct hak_audit_totals *totals;
    struct heap_found *heaps; /* by id; 0 is nobody's */
    uint32_t heap_count;
    size_t held_slabs;
    size_t excess_bytes; /* of magazines, as the budget counts */
    size_t out_blocks;
    size_t out_bytes;
    size_t elsewhere_bytes; /* of these, in magazines and on their way */
    struct hak_units_found units;
    struct hak_marks marks;
    /* The heap whose records are visited, as a sender or, with `is_inbox`, as the receiver. */
    uint32_t heap_id;
    bool is_inbox;
};

static size_t walk_heaps_bytes(void) {
    return ((size_t)hak_registry_count() + 1) * sizeof(struct heap_found);
}

/* Units that arenas have handed out. */
static size_t walk_unit_count(struct hak_marks *marks) {
    size_t units = 0;
    uint32_t arenas = hak_atomic_load_relaxed(&hak_arenas.count);
    for (uint32_t i = 1; i <= arenas; i++) {
        marks->first_of[i] = units;
        units += hak_arenas.list[i]->frontier - hak_arenas.list[i]->begin;
    }
    return units;
}

HAK_AUDIT size_t hak_heap_audit_bytes(void) {
    struct hak_marks marks;
    return walk_heaps_bytes() + walk_unit_count(&marks) * HAK_MARKS_WORDS * sizeof(uint64_t);
}

/* ---- units ---- */

static HAK_AUDIT uint32_t walk_slab(struct walk *walk, hak_unit unit, uint32_t tag, uint32_t room) {
    uint32_t owner = tag >> HAK_TAG_ID_SHIFT;
    unsigned class_index = (unsigned)(hak_tag_class_offset(tag) / 16);
    struct hak_place place = {"slab", (uintptr_t)hak_unit_address(unit), 0, owner};
    bool is_tag = owner <= walk->heap_count && class_index > 0 && class_index < HAK_CLASS_COUNT &&
                  tag % 16 == 0;
    if (!hak_audit_expect(walk->audit, &place, "its tag names a heap and a class", is_tag, 1))
        return 1;
    struct hak_slab_found found = hak_slab_audit(walk->audit, unit, tag, room);
    const struct hak_slab *slab = hak_unit_descriptor(unit);
    struct heap_found *heap = &walk->heaps[owner];
    walk->totals->slabs++;
    walk->totals->slab_units += found.units;
    walk->units.used += found.units;
    if (!found.is_sound)
        return found.units;
    size_t bytes = (size_t)found.out * hak_size_classes[class_index].size;
    heap->sets[class_index].slabs++;
    heap->sets[class_index].in_bins += slab->bin != HAK_SLAB_BIN_NONE;
    heap->bytes_out += bytes;
    walk->held_slabs += found.is_held;
    walk->out_blocks += found.out;
    walk->out_bytes += bytes;
    walk->totals->free_blocks += found.blocks - found.out;
    return found.units;
}

static HAK_AUDIT uint32_t walk_free_run(struct walk *walk, const struct hak_arena *arena,
                                        hak_unit unit) {
    uint32_t count = hak_run_audit(walk->audit, unit);
    walk->totals->free_runs++;
    walk->totals->free_units += count;
    walk->units.runs[arena->lane]++;
    walk->units.free[arena->lane] += count;
    return count;
}

static HAK_AUDIT uint32_t walk_span(struct walk *walk, hak_unit unit, uint32_t room) {
    uint32_t count = hak_span_audit(walk->audit, unit, room);
    walk->totals->spans++;
    walk->totals->span_units += count;
    walk->units.used += count;
    return count;
}

/* In no free run and of no live kind: on its way between two, or lost. */
static HAK_AUDIT uint32_t walk_other(struct walk *walk, hak_unit unit, uint32_t tag,
                                     uint32_t room) {
    struct hak_place place = {"unit", (uintptr_t)hak_unit_address(unit), 0, 0};
    uint32_t count = hak_pool_purging_at(unit);
    if (count > 0) {
        hak_audit_expect(walk->audit, &place, "what is purged ends at the frontier or before",
                         count <= room, 1);
        walk->units.purging += count;
        walk->totals->free_units += count;
        return count <= room ? count : room;
    }
    if (tag == HAK_KIND_META) {
        walk->totals->meta_units++;
        walk->units.used++;
        return 1;
    }
    hak_audit_expect(walk->audit, &place, "its tag has a meaning", tag < HAK_KIND_META, 1);
    hak_audit_expect(walk->audit, &place, "no Big block lies in an arena", tag == HAK_KIND_BIG, 0);
    if (walk->audit->is_quiescent)
        hak_audit_note(walk->audit, &place, "places it is found in", 0, 1);
    walk->totals->lost_units++;
    return 1;
}

static HAK_AUDIT void walk_arena(struct walk *walk, const struct hak_arena *arena) {
    for (hak_unit unit = arena->begin; unit < arena->frontier;) {
        uint32_t room = arena->frontier - unit;
        uint32_t tag = hak_pagemap_look(unit);
        if (hak_run_of(unit)->length > 0)
            unit += walk_free_run(walk, arena, unit);
        else if (tag >= HAK_TAG_CLASS_LIMIT)
            unit += walk_slab(walk, unit, tag, room);
        else if (tag == HAK_KIND_SPAN)
            unit += walk_span(walk, unit, room);
        else
            unit += walk_other(walk, unit, tag, room);
    }
}

/* ---- blocks outside their slabs ---- */

static HAK_AUDIT void walk_records(void *context, const struct hak_remote_blocks *blocks) {
    struct walk *walk = context;
    hak_unit unit = blocks->slab;
    struct hak_place place = {blocks->where, (uintptr_t)hak_unit_address(unit), 0, walk->heap_id};
    const struct hak_arena *arena = hak_arena_find(unit);
    uint32_t tag = arena ? hak_pagemap_look(unit) : HAK_KIND_NONE;
    if (!hak_audit_expect(walk->audit, &place, "class of the slab that a record names",
                          tag % HAK_TAG_CLASS_LIMIT, (uint64_t)blocks->class_index << 4))
        return;
    place.class_size = hak_size_classes[blocks->class_index].size;
    uint32_t owner = tag >> HAK_TAG_ID_SHIFT;
    if (walk->is_inbox)
        hak_audit_expect(walk->audit, &place, "owner of the slab that a record names", owner,
                         walk->heap_id);
    else
        hak_audit_expect(walk->audit, &place, "a record names another heap's slab",
                         owner != walk->heap_id, 1);
    unsigned count = hak_slab_audit_out(walk->audit, &walk->marks, &place, tag, unit, blocks->word,
                                        blocks->mask);
    walk->totals->travelling_blocks += count;
    walk->elsewhere_bytes += (size_t)count * place.class_size;
}

/* Where the blocks begin, one below the first; NULL: it has no storage, or is not as it should be. */
static HAK_AUDIT void **walk_storage(struct walk *walk, const struct hak_heap *heap,
                                     unsigned class_index) {
    const struct hak_magazine *magazine = &heap->magazines.of_class[class_index];
    const struct hak_magazine *none = &hak_heap_empty.of_class[class_index];
    struct hak_place place = {"magazine", (uintptr_t)magazine->limit,
                              hak_size_classes[class_index].size, heap->id};
    size_t capacity = heap->capacity[class_index];
    if (capacity == 0) {
        hak_audit_expect(walk->audit, &place, "without storage it is empty and full",
                         magazine->top == none->top && magazine->limit == none->limit, 1);
        return NULL;
    }
    void **storage = magazine->limit - capacity;
    size_t unit;
    bool is_ours = hak_pagemap_find_any(storage, &unit) &&
                   hak_pagemap_look((hak_unit)unit) == HAK_KIND_META &&
                   (capacity & (capacity + 1)) == 0;
    bool is_sound =
        hak_audit_expect(walk->audit, &place, "its storage is a piece of hakmem's own memory",
                         is_ours, 1) &&
        hak_audit_expect(walk->audit, &place, "its top lies in its storage",
                         magazine->top >= storage && magazine->top <= magazine->limit, 1) &&
        hak_audit_expect(walk->audit, &place, "the slot below its first block", (uintptr_t)*storage,
                         0);
    return is_sound ? storage : NULL;
}

static HAK_AUDIT void walk_magazine(struct walk *walk, const struct hak_heap *heap,
                                    unsigned class_index) {
    uint32_t tag = heap->magazines.tag | class_index << 4;
    struct hak_place place = {"magazine", 0, hak_size_classes[class_index].size, heap->id};
    void **storage = walk_storage(walk, heap, class_index);
    if (storage == NULL)
        return;
    size_t count = 0;
    for (void **slot = storage + 1; slot <= heap->magazines.of_class[class_index].top; slot++)
        count += hak_slab_audit_pointer(walk->audit, &walk->marks, &place, tag, *slot);
    walk->totals->magazine_blocks += count;
    walk->elsewhere_bytes += count * place.class_size;
}

static HAK_AUDIT void walk_outside(struct walk *walk, struct hak_heap *heap) {
    walk->heap_id = heap->id;
    walk->is_inbox = true;
    hak_remote_audit_inbox(walk->audit, heap, walk_records, walk);
    if (!walk->heaps[heap->id].is_open)
        return;
    walk->totals->heaps_looked_into++;
    walk->is_inbox = false;
    hak_remote_audit_gathered(walk->audit, heap, walk_records, walk);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++)
        walk_magazine(walk, heap, class_index);
}

/* ---- books ---- */

static HAK_AUDIT void walk_heaps(struct walk *walk) {
    const struct hak_heap *oldest = NULL;
    const struct hak_heap *own = hak_heap_current();
    for (uint32_t id = 1; id <= walk->heap_count; id++)
        walk->heaps[id].is_open = walk->audit->is_quiescent;
    if (own)
        walk->heaps[own->id].is_open = true;
    const struct hak_heap *orphan = NULL;
    while ((orphan = hak_registry_audit_orphan(walk->audit, orphan)) != NULL) {
        walk->heaps[orphan->id].is_open = true;
        walk->totals->orphans++;
        oldest = orphan;
    }
    hak_registry_audit(walk->audit, walk->totals->orphans, oldest);
}

static HAK_AUDIT void walk_book(struct walk *walk, const struct hak_heap *heap) {
    const struct heap_found *found = &walk->heaps[heap->id];
    struct hak_place place = {.part = "heap", .heap = heap->id};
    hak_audit_expect(walk->audit, &place, "tag of its blocks", heap->magazines.tag,
                     heap->id << HAK_TAG_ID_SHIFT);
    hak_audit_expect(walk->audit, &place, "bytes outside its slabs", heap->bytes_out,
                     found->bytes_out);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        const struct hak_slab_set *set = &heap->slabs[class_index];
        const struct set_found *there = &found->sets[class_index];
        size_t in_bins = hak_slab_set_audit(walk->audit, set, class_index, heap->magazines.tag);
        place.class_size = hak_size_classes[class_index].size;
        hak_audit_expect(walk->audit, &place, "slabs counted", set->slab_count, there->slabs);
        hak_audit_expect(walk->audit, &place, "slabs in bins", in_bins, there->in_bins);
        size_t start = hak_heap_policy.capacity_start[class_index];
        size_t capacity = heap->capacity[class_index];
        if (capacity > start)
            walk->excess_bytes += (capacity - start) * place.class_size;
    }
}

static HAK_AUDIT void walk_books(struct walk *walk) {
    struct hak_place place = {.part = "heaps"};
    hak_audit_expect(walk->audit, &place, "slabs held for a purge", hak_heap_purge_held(),
                     walk->held_slabs);
    hak_audit_expect(walk->audit, &place, "bytes that magazines take of the budget",
                     hak_heap_budget_used(), walk->excess_bytes);
    hak_pool_audit(walk->audit, &walk->units);
    hak_meta_audit(walk->audit);
    hak_vm_audit(walk->audit);
    walk->totals->big_blocks = hak_big_audit(walk->audit, &walk->totals->big_kept);
    if (walk->audit->is_quiescent)
        hak_span_audit_stats(walk->audit, walk->totals->spans, walk->totals->span_units);
}

HAK_AUDIT void hak_heap_audit(struct hak_audit *audit, void *notes,
                              struct hak_audit_totals *totals) {
    struct walk walk = {
        .audit = audit,
        .totals = totals,
        .heaps = notes,
        .heap_count = hak_registry_count(),
    };
    *totals = (struct hak_audit_totals){.heaps = walk.heap_count};
    walk.marks.words = (void *)((char *)notes + walk_heaps_bytes());
    walk_unit_count(&walk.marks);
    walk_heaps(&walk);
    uint32_t arenas = hak_atomic_load_relaxed(&hak_arenas.count);
    for (uint32_t i = 1; i <= arenas; i++) {
        hak_arena_audit(audit, i);
        walk_arena(&walk, hak_arenas.list[i]);
    }
    for (uint32_t id = 1; id <= walk.heap_count; id++) {
        walk_book(&walk, hak_registry_heap(id));
        walk_outside(&walk, hak_registry_heap(id));
    }
    walk_books(&walk);
    size_t elsewhere = totals->magazine_blocks + totals->travelling_blocks;
    struct hak_place place = {.part = "heaps"};
    hak_audit_expect(audit, &place, "blocks in magazines and on their way are out",
                     elsewhere <= walk.out_blocks, 1);
    totals->live_blocks = walk.out_blocks - elsewhere;
    totals->live_bytes = walk.out_bytes - walk.elsewhere_bytes;
}
