/* test/unit/large/test_span_sequences.c — every sequence of a few calls on spans. SPDX-License-Identifier: MIT */

/*
 * Goal: whatever was allocated, freed and resized before, a span lies in the shortest run of free units that
 * can hold it, the lowest of these, or behind them all; it grows where it is exactly when what is behind it
 * is free; what it gives back can be used again; nothing is lost.
 * Method: every sequence of calls to a depth, each from all units free, beside a map with a byte for each
 * unit. A block keeps its number in its first and last bytes.
 */

#include "arena/arena.h"
#include "arena/pagemap.h"
#include "arena/pool.h"
#include "base/bits.h"
#include "large/span.h"
#include "unit/harness.h"

#define UNIT HAK_UNIT_SIZE

enum {
    DEPTH = HARNESS_SLOWNESS > 1 ? 5 : 6,
    DEPTH_FRESH = HARNESS_SLOWNESS > 1 ? 3 : 4,
    WORLD = 128 /* units */
};

/* ---- the model ---- */

struct piece {
    char *p;
    uint32_t place;
    uint32_t count; /* units */
    size_t usable;
    uint64_t mark;
};

static struct {
    hak_unit begin;
    uint32_t frontier; /* units that were handed out once */
    bool is_used[WORLD];
    struct piece pieces[DEPTH];
    uint32_t piece_count;
    uint64_t next_mark;
} g_world;

static uint32_t run_length(uint32_t place) {
    uint32_t length = 0;
    while (place + length < g_world.frontier && !g_world.is_used[place + length])
        length++;
    return length;
}

static uint32_t align_up(uint32_t place, uint32_t align) {
    return (uint32_t)hak_align_up(g_world.begin + place, align) - g_world.begin;
}

/* Where a span must come to lie. */
static uint32_t place_for(uint32_t count, uint32_t align) {
    uint32_t best = WORLD;
    uint32_t best_length = UINT32_MAX;
    uint32_t last = g_world.frontier; /* start of the run below the frontier, if there is one */
    for (uint32_t place = 0; place < g_world.frontier;) {
        uint32_t length = run_length(place);
        if (length > 0 && length < best_length &&
            align_up(place, align) + count <= place + length) {
            best = place;
            best_length = length;
        }
        if (length > 0 && place + length == g_world.frontier)
            last = place;
        place += length > 0 ? length : 1;
    }
    return align_up(best < WORLD ? best : last, align);
}

static void use(uint32_t place, uint32_t count) {
    CHECK(place + count <= WORLD);
    for (uint32_t i = place; i < place + count; i++) {
        CHECK(!g_world.is_used[i]);
        g_world.is_used[i] = true;
    }
    g_world.frontier = (uint32_t)hak_max(g_world.frontier, place + count);
}

static void leave(uint32_t place, uint32_t count) {
    memset(&g_world.is_used[place], 0, count);
}

/* ---- blocks ---- */

static uint64_t *last_word(const struct piece *piece) {
    return (uint64_t *)(void *)(piece->p + piece->usable) - 1;
}

static void sign(struct piece *piece) {
    piece->usable = hak_span_size(piece->p);
    *(uint64_t *)(void *)piece->p = piece->mark;
    *last_word(piece) = piece->mark;
}

static void check(void) {
    size_t free_units = 0;
    for (uint32_t place = 0; place < g_world.frontier; place++)
        free_units += !g_world.is_used[place];
    CHECK_EQUAL(hak_pool_stats().free, free_units * UNIT);
    CHECK_EQUAL(hak_span_stats().count, g_world.piece_count);
    CHECK_EQUAL(hak_span_stats().bytes, (g_world.frontier - free_units) * UNIT);
    for (uint32_t i = 0; i < g_world.piece_count; i++) {
        const struct piece *piece = &g_world.pieces[i];
        hak_unit unit = g_world.begin + piece->place;
        CHECK_EQUAL(hak_unit_of(piece->p), unit);
        CHECK_EQUAL(hak_pagemap_tag(unit), HAK_KIND_SPAN);
        for (uint32_t k = 1; k < piece->count; k++)
            CHECK(hak_pagemap_tag(unit + k) != HAK_KIND_SPAN);
        CHECK_EQUAL(hak_span_footprint(piece->p), piece->count * UNIT);
        CHECK_EQUAL(*(uint64_t *)(void *)piece->p, piece->mark);
        CHECK_EQUAL(*last_word(piece), piece->mark);
    }
}

/* ---- calls ---- */

static void call_alloc(size_t size, uint32_t align) {
    bool is_zeroed;
    uint32_t count = (uint32_t)(hak_align_up(size, UNIT) / UNIT);
    uint32_t place = place_for(count, align);
    struct piece *piece = &g_world.pieces[g_world.piece_count++];
    *piece = (struct piece){.p = hak_span_alloc(size, align > 1 ? align * UNIT : 16, &is_zeroed),
                            .place = place,
                            .count = count,
                            .mark = ++g_world.next_mark};
    CHECK(piece->p != NULL);
    CHECK_EQUAL(hak_unit_of(piece->p) - g_world.begin, place);
    use(place, count);
    CHECK(hak_span_size(piece->p) >= size);
    sign(piece);
}

static void call_free(uint32_t which) {
    struct piece piece = g_world.pieces[which];
    CHECK_EQUAL(hak_span_free(piece.p), HAK_MISUSE_NONE);
    leave(piece.place, piece.count);
    g_world.piece_count--;
    for (uint32_t i = which; i < g_world.piece_count; i++)
        g_world.pieces[i] = g_world.pieces[i + 1];
}

static void call_resize(uint32_t which, size_t size) {
    struct piece *piece = &g_world.pieces[which];
    uint32_t colour = (uint32_t)((uintptr_t)piece->p % UNIT);
    uint32_t count =
        (uint32_t)(hak_align_up(colour + hak_align_up(size, HAK_SPAN_GRANULE), UNIT) / UNIT);
    uint32_t after = piece->place + piece->count;
    bool is_possible = count <= piece->count || after + run_length(after) == g_world.frontier ||
                       run_length(after) >= count - piece->count;
    CHECK_EQUAL(hak_span_resize(piece->p, size), is_possible);
    if (!is_possible)
        return;
    CHECK(hak_span_size(piece->p) >= size);
    CHECK_EQUAL(*(uint64_t *)(void *)piece->p, piece->mark);
    for (uint32_t place = after; place < piece->place + count; place++)
        CHECK_EQUAL(hak_pagemap_tag(g_world.begin + place),
                    HAK_KIND_NONE); /* freed spans were there */
    if (count > piece->count)
        use(after, count - piece->count);
    else if (count < piece->count / 2)
        leave(piece->place + count, piece->count - count);
    else
        count = piece->count;
    piece->count = count;
    sign(piece);
}

enum { CALLS = 11 };

/* False: there is nothing to do it to, and a shorter sequence has the rest. */
static bool call(uint32_t number) {
    uint32_t newest = g_world.piece_count - 1;
    if (number > 4 && g_world.piece_count == 0)
        return false;
    if ((number == 6 || number == 10) && newest == 0)
        return false; /* the oldest, too */
    switch (number) {
    case 0:
        call_alloc(UNIT, 1);
        break;
    case 1:
        call_alloc(2 * UNIT, 1);
        break;
    case 2:
        call_alloc(3 * UNIT, 1);
        break;
    case 3:
        call_alloc(UNIT + 1, 1); /* coloured */
        break;
    case 4:
        call_alloc(UNIT, 4);
        break;
    case 5:
        call_free(0);
        break;
    case 6:
        call_free(newest);
        break;
    case 7:
        call_resize(0, g_world.pieces[0].usable + UNIT + 1);
        break;
    case 8:
        call_resize(newest, g_world.pieces[newest].count * UNIT); /* more, if it is coloured */
        break;
    case 9:
        call_resize(0, 1);
        break;
    default:
        call_resize(newest, 1);
        break;
    }
    return true;
}

static void sequence_try(const uint32_t *numbers, int depth) {
    for (int i = 0; i < depth && call(numbers[i]); i++)
        check();
    while (g_world.piece_count > 0)
        call_free(0);
    check();
}

/* Counts up; false: all were there. */
static bool sequence_next(uint32_t *numbers, int depth) {
    for (int i = depth; i-- > 0; numbers[i] = 0) {
        if (++numbers[i] < CALLS)
            return true;
    }
    return false;
}

/* Makes the arena. One unit has been handed out and is free. */
static void world_start(void) {
    bool is_zeroed;
    char *p = hak_span_alloc(UNIT, 16, &is_zeroed);
    CHECK(p != NULL);
    g_world.begin = hak_unit_of(p);
    CHECK_EQUAL(g_world.begin, hak_arenas.list[1]->begin);
    CHECK_EQUAL(hak_span_free(p), HAK_MISUSE_NONE);
    g_world.frontier = 1;
}

/* One after the other: the frontier rises to where it was highest, and all but a few find room below it. */
static void every_sequence(void *argument) {
    uint32_t numbers[DEPTH] = {0};
    world_start();
    do
        sequence_try(numbers, DEPTH);
    while (sequence_next(numbers, DEPTH));
}

/* Each in a child: the frontier is low. */
static void every_sequence_fresh(void *argument) {
    uint32_t numbers[DEPTH_FRESH] = {0};
    world_start();
    do {
        if (numbers[0] > 4)
            continue; /* nothing is there to be freed or resized */
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            sequence_try(numbers, DEPTH_FRESH);
            _exit(0);
        }
        int status = -1;
        CHECK(waitpid(child, &status, 0) == child);
        CHECK_EQUAL(status, 0);
    } while (sequence_next(numbers, DEPTH_FRESH));
}

static void test_every_sequence(void **state) {
    harness_expect_well(every_sequence, NULL);
    harness_expect_well(every_sequence_fresh, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_sequence)};
    harness_start();
    hak_vm_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
