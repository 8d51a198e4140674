/* src/arena/arena.c — reserved ranges and the descriptors of their units. SPDX-License-Identifier: MIT */

#include "arena/arena.h"

#include <errno.h>

#include "base/bits.h"
#include "base/fatal.h"
#include "base/log.h"
#include "vm/vm.h"

/*
 * Reservation: 1 GiB for a lane's first arena, each later one twice as large, under an address limit
 * 1/16 and 1/8 of it. Addresses are free, but a modest VSZ is a promise, small limits are common
 * (ulimit -v), and descriptors, 0.9 % of the addresses, count as data (ulimit -d) though untouched.
 */
#define ARENA_SIZE_FIRST HAK_GIB
#define ARENA_SIZE_MAX (64 * HAK_GIB)
#define ARENA_SIZE_MIN HAK_SUPERSLAB_SIZE

/* Commit doubles what is there: few calls for large heaps, little charge for small ones. */
enum { ARENA_COMMIT_UNITS_MIN = 16, ARENA_COMMIT_UNITS_MAX = 512 }; /* 1 MiB … 32 MiB */

/* Room for struct hak_arena before the descriptors. */
enum { ARENA_HEADER_SIZE = 2 * HAK_CACHE_LINE };

/* Lines of equal number would share cache sets at a power-of-two distance; one line more cures it. */
enum { ARENA_LINE_STAGGER = HAK_CACHE_LINE };

struct hak_arenas hak_arenas;

_Static_assert(sizeof(struct hak_arena) <= ARENA_HEADER_SIZE, "the header holds the struct");

static uint32_t arena_units_for_descriptors(size_t units) {
    size_t line_stride = units * HAK_DESCRIPTOR_SIZE + ARENA_LINE_STAGGER;
    size_t dirty = hak_align_up(units, 64) / 8;
    size_t bytes =
        ARENA_HEADER_SIZE + units * HAK_DESCRIPTOR_SIZE + HAK_BITMAP_LINES * line_stride + dirty;
    return (uint32_t)(hak_align_up(bytes, HAK_UNIT_SIZE) / HAK_UNIT_SIZE);
}

/* Smallest multiple of a superslab that has room for `unit_count` units beside its descriptors. */
static size_t arena_size_for(uint32_t unit_count) {
    size_t units = hak_align_up(unit_count, HAK_SUPERSLAB_UNITS);
    while (units - arena_units_for_descriptors(units) < unit_count)
        units += HAK_SUPERSLAB_UNITS;
    return units * HAK_UNIT_SIZE;
}

static size_t arena_size_wanted(enum hak_lane lane) {
    uint32_t count = 0;
    for (uint32_t i = 1; i <= hak_atomic_load_relaxed(&hak_arenas.count); i++)
        count += hak_arenas.list[i]->lane == lane;
    size_t limit = hak_vm_address_limit();
    size_t wanted = count == 0 ? ARENA_SIZE_FIRST : ARENA_SIZE_FIRST << hak_min(count, 6);
    wanted = hak_min(wanted, ARENA_SIZE_MAX);
    if (limit != SIZE_MAX)
        wanted = hak_min(wanted, limit / (count == 0 ? 16 : 8));
    return hak_max(hak_align_down(wanted, HAK_SUPERSLAB_SIZE), ARENA_SIZE_MIN);
}

/* Reserves the wanted size, or less on refusal, but never less than `least`. */
static int arena_reserve(size_t least, enum hak_lane lane, size_t *size, void **out) {
    size_t wanted = hak_max(arena_size_wanted(lane), least);
    for (;;) {
        int error = hak_vm_reserve(wanted, HAK_SUPERSLAB_SIZE, HAK_CAUSE_ARENA_RESERVE, out);
        if (error == 0 || wanted == least) {
            *size = wanted;
            return error;
        }
        wanted = hak_max(hak_align_down(wanted / 2, HAK_SUPERSLAB_SIZE), least);
    }
}

/* The window exists from the first reservation on, and the pagemap is made to cover it. */
static int arena_cover(hak_unit *first, void *base, size_t size) {
    if (hak_pagemap_tags == NULL) {
        int error = hak_pagemap_init();
        if (error)
            return error;
    }
    *first = hak_unit_of(base);
    return hak_pagemap_cover(*first, (uint32_t)(size / HAK_UNIT_SIZE));
}

struct hak_arena *hak_arena_create(uint32_t unit_count, enum hak_lane lane) {
    uint32_t number = hak_atomic_load_relaxed(&hak_arenas.count) + 1;
    if (number > HAK_ARENAS_MAX || unit_count > HAK_UNIT_COUNT_MAX / 2)
        return NULL;
    void *base;
    size_t size;
    if (arena_reserve(arena_size_for(unit_count), lane, &size, &base) != 0)
        return NULL;
    hak_unit first;
    uint32_t units = (uint32_t)(size / HAK_UNIT_SIZE);
    uint32_t meta_units = arena_units_for_descriptors(units);
    uint32_t usable = (uint32_t)hak_min(meta_units + ARENA_COMMIT_UNITS_MIN, units);
    if (arena_cover(&first, base, size) != 0 ||
        hak_vm_commit(base, usable * HAK_UNIT_SIZE, HAK_CAUSE_ARENA_COMMIT) != 0) {
        hak_vm_release(base, size, HAK_CAUSE_ARENA_RESERVE);
        return NULL;
    }

    struct hak_arena *arena = base;
    uintptr_t descriptors = (uintptr_t)base + ARENA_HEADER_SIZE;
    uintptr_t lines = descriptors + (uintptr_t)units * HAK_DESCRIPTOR_SIZE;
    uintptr_t bias = (uintptr_t)first * HAK_DESCRIPTOR_SIZE;
    arena->descriptor_bias = descriptors - bias;
    arena->line_bias = lines - bias;
    arena->line_stride = (size_t)units * HAK_DESCRIPTOR_SIZE + ARENA_LINE_STAGGER;
    arena->dirty = (uint64_t *)(lines + HAK_BITMAP_LINES * arena->line_stride);
    arena->lane = lane;
    arena->first_unit = first;
    arena->begin = first + meta_units;
    arena->end = first + units;
    arena->frontier = arena->begin;
    arena->committed = first + usable;
    hak_unit huge = (hak_unit)hak_align_up(arena->begin, HAK_SUPERSLAB_UNITS);
    /* While most of it has no access yet: it stays one mapping more. The smallest arenas have no huge page. */
    if (lane == HAK_LANE_HUGE && huge < arena->end)
        hak_vm_advise_huge(hak_unit_address(huge), (arena->end - huge) * HAK_UNIT_SIZE,
                           HAK_CAUSE_HUGE);
    for (hak_unit unit = first; unit < arena->begin; unit++)
        hak_pagemap_set(unit, HAK_KIND_META);
    hak_arenas.list[number] = arena;
    for (hak_unit unit = first; unit < arena->end; unit += HAK_SUPERSLAB_UNITS)
        hak_atomic_store_relaxed(&hak_arenas.of_superslab[unit / HAK_SUPERSLAB_UNITS],
                                 (uint8_t)number);
    hak_atomic_store_relaxed(&hak_arenas.count, number);
    hak_log(HAK_LOG_ARENA, "create", base, size);
    return arena;
}

bool hak_arena_commit(struct hak_arena *arena, hak_unit end) {
    if (end <= arena->committed)
        return true;
    hak_assert(end <= arena->end);
    uint32_t there = arena->committed - arena->begin;
    size_t step = hak_min(hak_max(there, ARENA_COMMIT_UNITS_MIN), ARENA_COMMIT_UNITS_MAX);
    if (arena->lane == HAK_LANE_HUGE)
        step = hak_align_up(step, HAK_SUPERSLAB_UNITS);
    hak_unit generous = (hak_unit)hak_min(hak_max(end, arena->committed + step), arena->end);
    hak_unit tries[] = {generous, end}; /* when memory is short, ask for what is needed only */
    for (unsigned i = 0; i < 2; i++) {
        size_t size = (tries[i] - arena->committed) * HAK_UNIT_SIZE;
        if (hak_vm_commit(hak_unit_address(arena->committed), size, HAK_CAUSE_ARENA_COMMIT) == 0) {
            arena->committed = tries[i];
            return true;
        }
    }
    return false;
}

unsigned hak_arena_inner_meta(hak_unit first, uint32_t count,
                              struct hak_prim_range out[HAK_ARENA_META_RANGES]) {
    const struct hak_arena *arena = hak_arena_of(first);
    size_t page = hak_vm_page_size();
    unsigned ranges = 0;
    for (unsigned i = 0; i < HAK_ARENA_META_RANGES && count > 2; i++) {
        uintptr_t from = i == 0 ? (uintptr_t)hak_arena_descriptor(arena, first + 1)
                                : (uintptr_t)hak_arena_bitmap_line(arena, first + 1, i - 1);
        uintptr_t start = hak_align_up(from, page);
        uintptr_t end = hak_align_down(from + (count - 2) * (size_t)HAK_DESCRIPTOR_SIZE, page);
        if (start < end)
            out[ranges++] = (struct hak_prim_range){(void *)start, end - start};
    }
    return ranges;
}

/* ---- looking ---- */

HAK_AUDIT const struct hak_arena *hak_arena_find(hak_unit unit) {
    if (unit >= hak_pagemap_unit_count_all)
        return NULL;
    return hak_arenas
        .list[hak_atomic_load_relaxed(&hak_arenas.of_superslab[unit / HAK_SUPERSLAB_UNITS])];
}

static HAK_AUDIT bool arena_is_booked(const struct hak_arena *arena) {
    void *start;
    size_t size;
    for (uint32_t line = 0; hak_vm_book_line(line, &start, &size); line++) {
        if (start == hak_unit_address(arena->first_unit))
            return size == (arena->end - arena->first_unit) * HAK_UNIT_SIZE;
    }
    return false;
}

HAK_AUDIT void hak_arena_audit(struct hak_audit *audit, uint32_t number) {
    const struct hak_arena *arena = hak_arenas.list[number];
    struct hak_place place = {"arena", (uintptr_t)arena, 0, 0};
    bool has_order = arena->first_unit < arena->begin && arena->begin <= arena->frontier &&
                     arena->frontier <= arena->committed && arena->committed <= arena->end;
    hak_audit_expect(audit, &place, "first < begin <= frontier <= committed <= end", has_order, 1);
    hak_audit_expect(audit, &place, "it lies where its first unit says",
                     (uintptr_t)hak_unit_address(arena->first_unit), (uintptr_t)arena);
    hak_audit_expect(audit, &place, "its addresses are booked", arena_is_booked(arena), 1);
    for (hak_unit unit = arena->first_unit; unit < arena->end; unit += HAK_SUPERSLAB_UNITS)
        hak_audit_expect(
            audit, &place, "number of the arena of its superslabs",
            hak_atomic_load_relaxed(&hak_arenas.of_superslab[unit / HAK_SUPERSLAB_UNITS]), number);
    for (hak_unit unit = arena->first_unit; unit < arena->begin; unit++)
        hak_audit_expect(audit, &place, "tag of its own units", hak_pagemap_look(unit),
                         HAK_KIND_META);
}
