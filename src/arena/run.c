/* src/arena/run.c — runs of free units in bins: one lane of the shared pool. SPDX-License-Identifier: MIT */

#include "arena/run.h"

#include "base/bits.h"
#include "base/fatal.h"

/* Runs looked at in one bin at first, for a better fit or a lower address. */
enum { RUN_SCAN_MAX = 16 };

_Static_assert(sizeof(struct hak_run) <= HAK_DESCRIPTOR_SIZE, "a run's descriptor fits");

/* ---- dirty bits ---- */

void hak_dirty_set(hak_unit first, uint32_t count, bool is_dirty) {
    const struct hak_arena *arena = hak_arena_of(first);
    size_t begin = first - arena->first_unit;
    size_t end = begin + count;
    for (size_t i = begin / 64; i <= (end - 1) / 64; i++) {
        uint64_t mask = hak_word_range(i, begin, end);
        arena->dirty[i] = is_dirty ? arena->dirty[i] | mask : arena->dirty[i] & ~mask;
    }
}

uint32_t hak_dirty_count(hak_unit first, uint32_t count) {
    const struct hak_arena *arena = hak_arena_of(first);
    size_t begin = first - arena->first_unit;
    size_t end = begin + count;
    uint32_t dirty = 0;
    for (size_t i = begin / 64; i <= (end - 1) / 64; i++)
        dirty += hak_popcount(arena->dirty[i] & hak_word_range(i, begin, end));
    return dirty;
}

bool hak_dirty_trim(hak_unit *first, uint32_t *count) {
    const struct hak_arena *arena = hak_arena_of(*first);
    size_t begin = *first - arena->first_unit;
    size_t end = begin + *count;
    size_t low = end;
    size_t high = begin;
    for (size_t i = begin / 64; i <= (end - 1) / 64; i++) {
        uint64_t bits = arena->dirty[i] & hak_word_range(i, begin, end);
        if (bits == 0)
            continue;
        low = hak_min(low, i * 64 + hak_lowest_bit(bits));
        high = i * 64 + hak_highest_bit(bits) + 1;
    }
    if (low >= high)
        return false;
    *first = (hak_unit)(arena->first_unit + low);
    *count = (uint32_t)(high - low);
    return true;
}

/* ---- bins ---- */

static unsigned bin_of(uint32_t length) {
    if (length <= HAK_RUN_EXACT_BINS)
        return length - 1;
    unsigned log2 = hak_highest_bit(length);
    unsigned eighth = (length >> (log2 - 3)) & 7;
    return HAK_RUN_EXACT_BINS + (log2 - 5) * HAK_RUN_BINS_PER_DOUBLING + eighth;
}

/* Next non-empty bin at or above `bin`; HAK_RUN_BIN_COUNT when there is none. */
static unsigned bins_next(const struct hak_lane_runs *lane, unsigned bin) {
    if (bin >= HAK_RUN_BIN_COUNT)
        return HAK_RUN_BIN_COUNT;
    unsigned word = bin / 64;
    uint64_t bits = lane->bitmap[word] & (~UINT64_C(0) << (bin % 64));
    while (bits == 0) {
        if (++word == HAK_RUN_BIN_WORDS)
            return HAK_RUN_BIN_COUNT;
        bits = lane->bitmap[word];
    }
    return word * 64 + hak_lowest_bit(bits);
}

static void run_link(struct hak_lane_runs *lane, hak_unit first, uint32_t length) {
    unsigned bin = bin_of(length);
    struct hak_run *run = hak_run_of(first);
    hak_run_of(first + length - 1)->length = length;
    run->length = length;
    run->dirty_count = hak_dirty_count(first, length);
    run->prev = HAK_UNIT_NONE;
    run->next = lane->bins[bin];
    if (run->next != HAK_UNIT_NONE)
        hak_run_of(run->next)->prev = first;
    lane->bins[bin] = first;
    lane->bitmap[bin / 64] |= UINT64_C(1) << (bin % 64);
    lane->free_units += length;
    lane->dirty_units += run->dirty_count;
}

void hak_run_remove(struct hak_lane_runs *lane, hak_unit first) {
    struct hak_run *run = hak_run_of(first);
    unsigned bin = bin_of(run->length);
    if (run->next != HAK_UNIT_NONE)
        hak_run_of(run->next)->prev = run->prev;
    if (run->prev != HAK_UNIT_NONE)
        hak_run_of(run->prev)->next = run->next;
    else
        lane->bins[bin] = run->next;
    if (lane->bins[bin] == HAK_UNIT_NONE)
        lane->bitmap[bin / 64] &= ~(UINT64_C(1) << (bin % 64));
    lane->free_units -= run->length;
    lane->dirty_units -= run->dirty_count;
    hak_run_of(first + run->length - 1)->length = 0;
    run->length = 0;
}

void hak_run_insert(struct hak_lane_runs *lane, hak_unit first, uint32_t count) {
    const struct hak_arena *arena = hak_arena_of(first);
    hak_assert(first >= arena->begin);
    hak_assert(first + count <= arena->frontier);
    if (first > arena->begin) {
        uint32_t length = hak_run_of(first - 1)->length;
        if (length > 0) {
            hak_run_remove(lane, first - length);
            first -= length;
            count += length;
        }
    }
    hak_unit after = first + count;
    if (after < arena->frontier) {
        uint32_t length = hak_run_of(after)->length;
        if (length > 0) {
            hak_run_remove(lane, after);
            count += length;
        }
    }
    run_link(lane, first, count);
}

uint32_t hak_run_cut(struct hak_lane_runs *lane, hak_unit first, hak_unit start, uint32_t count) {
    hak_unit end = first + hak_run_of(first)->length;
    hak_assert(start >= first);
    hak_assert(start + count <= end);
    hak_run_remove(lane, first);
    if (start > first)
        run_link(lane, first, start - first);
    if (end > start + count)
        run_link(lane, start + count, end - (start + count));
    return hak_dirty_count(start, count);
}

/* ---- best fit ---- */

static hak_unit bin_find(const struct hak_lane_runs *lane, unsigned bin, uint32_t count,
                         uint32_t align, uint32_t scan_max) {
    hak_unit best = HAK_UNIT_NONE;
    uint32_t best_length = UINT32_MAX;
    hak_unit first = lane->bins[bin];
    for (uint32_t i = 0; first != HAK_UNIT_NONE && i < scan_max; i++) {
        const struct hak_run *run = hak_run_of(first);
        uint32_t lead = hak_unit_align_up(first, align) - first;
        bool fits = run->length >= lead && run->length - lead >= count;
        bool is_better = run->length < best_length || (run->length == best_length && first < best);
        if (fits && is_better) {
            best = first;
            best_length = run->length;
        }
        first = run->next;
    }
    return best;
}

hak_unit hak_run_find(const struct hak_lane_runs *lane, uint32_t count, uint32_t align) {
    /* Before memory grows, look at every run: those in front of a bin may all be a little short. */
    static const uint32_t scans[] = {RUN_SCAN_MAX, UINT32_MAX};
    for (int scan = 0; scan < 2; scan++) {
        unsigned bin = bins_next(lane, bin_of(count));
        for (; bin < HAK_RUN_BIN_COUNT; bin = bins_next(lane, bin + 1)) {
            hak_unit best = bin_find(lane, bin, count, align, scans[scan]);
            if (best != HAK_UNIT_NONE)
                return best;
        }
    }
    return HAK_UNIT_NONE;
}

/* ---- looking ---- */

static HAK_AUDIT struct hak_place run_place(hak_unit first) {
    return (struct hak_place){"free run", (uintptr_t)hak_unit_address(first), 0, 0};
}

/* Units may be anything where links are broken. */
static HAK_AUDIT bool run_is_possible(hak_unit first, enum hak_lane which) {
    const struct hak_arena *arena = hak_arena_find(first);
    return arena && arena->lane == which && first >= arena->begin && first < arena->frontier;
}

static HAK_AUDIT void run_audit_bin(struct hak_audit *audit, const struct hak_lane_runs *lane,
                                    enum hak_lane which, unsigned bin,
                                    struct hak_run_totals *totals) {
    hak_unit prev = HAK_UNIT_NONE;
    for (hak_unit first = lane->bins[bin]; first != HAK_UNIT_NONE;) {
        struct hak_place place = run_place(first);
        if (!hak_audit_expect(audit, &place, "a bin's link leads to a unit of its lane",
                              run_is_possible(first, which), 1))
            return;
        const struct hak_run *run = hak_run_of(first);
        /* A circle would come back to a run with another predecessor. */
        if (!hak_audit_expect(audit, &place, "the run before it in its bin", run->prev, prev))
            return;
        if (!hak_audit_expect(audit, &place, "a run in a bin has units", run->length > 0, 1))
            return;
        hak_audit_expect(audit, &place, "the bin of its length", bin, bin_of(run->length));
        totals->runs++;
        totals->units += run->length;
        totals->dirty_units += run->dirty_count;
        prev = first;
        first = run->next;
    }
}

HAK_AUDIT struct hak_run_totals
hak_run_audit_bins(struct hak_audit *audit, const struct hak_lane_runs *lane, enum hak_lane which) {
    struct hak_run_totals totals = {0};
    for (unsigned bin = 0; bin < HAK_RUN_BIN_COUNT; bin++) {
        struct hak_place place = {.part = "bin of free runs"};
        hak_audit_expect(audit, &place, "its bit says whether it has runs",
                         lane->bitmap[bin / 64] >> (bin % 64) & 1,
                         lane->bins[bin] != HAK_UNIT_NONE);
        run_audit_bin(audit, lane, which, bin, &totals);
    }
    return totals;
}

/* Slabs are made of units whose bitmap lines are zero (hak_arena_bitmap_line). */
static HAK_AUDIT bool unit_has_clear_lines(const struct hak_arena *arena, hak_unit unit) {
    uint64_t bits = 0;
    for (unsigned line = 0; line < HAK_BITMAP_LINES; line++) {
        const uint64_t *words = hak_arena_bitmap_line(arena, unit, line);
        for (size_t i = 0; i < HAK_DESCRIPTOR_SIZE / sizeof *words; i++)
            bits |= words[i];
    }
    return bits == 0;
}

static HAK_AUDIT void run_audit_unit(struct hak_audit *audit, const struct hak_arena *arena,
                                     hak_unit unit, bool is_edge) {
    struct hak_place place = {"free unit", (uintptr_t)hak_unit_address(unit), 0, 0};
    uint32_t tag = hak_pagemap_look(unit);
    hak_audit_expect(audit, &place, "its tag is one of free units", hak_tag_is_free(tag) ? 0 : tag,
                     0);
    if (!is_edge)
        hak_audit_expect(audit, &place, "length inside a free run", hak_run_of(unit)->length, 0);
    hak_audit_expect(audit, &place, "bitmap lines of free units are zero",
                     unit_has_clear_lines(arena, unit), 1);
}

HAK_AUDIT uint32_t hak_run_audit(struct hak_audit *audit, hak_unit first) {
    struct hak_place place = run_place(first);
    const struct hak_arena *arena = hak_arena_of(first);
    const struct hak_run *run = hak_run_of(first);
    uint32_t length = run->length;
    if (!hak_audit_expect(audit, &place, "the run ends at the frontier or before",
                          length <= arena->frontier - first, 1))
        return 1;
    hak_unit end = first + length;
    hak_audit_expect(audit, &place, "length at its end", hak_run_of(end - 1)->length, length);
    hak_audit_expect(audit, &place, "its dirty units", run->dirty_count,
                     hak_dirty_count(first, length));
    if (end < arena->frontier)
        hak_audit_expect(audit, &place, "no free run begins behind it", hak_run_of(end)->length, 0);
    for (hak_unit unit = first; unit < end; unit++)
        run_audit_unit(audit, arena, unit, unit == first || unit == end - 1);
    return length;
}
