/* test/unit/arena/test_run_states.c — every state that a small lane can reach. SPDX-License-Identifier: MIT */

/*
 * Goal: whatever was taken, put, extended, cut and purged before, the next call does what it should: best
 * fit, maximal runs, both tags, bins, counts, dirty bits.
 * Method: a world of a few units begins as one free run. From each state that was reached every call is
 * tried: takes of all sizes and alignments, and for each piece in use and each free run all that can be done
 * to it. The model is three words of bits, compared with all that the lane knows after each call. A state
 * seen before, order within the bins included, is not followed again, so this ends, and then nothing that
 * any sequence of calls could do has been left out.
 */

#include "arena/run.h"
#include "base/bits.h"
#include "unit/harness.h"

enum {
    UNITS = HARNESS_SLOWNESS > 1 ? 7 : 9,
    ALIGN_MAX = 8,
    RUNS_MAX = (UNITS + 1) / 2,
    STATES_MAX = 1 << 18,
    SEEN_BITS = 19,
    SEEN_SLOTS = 1 << SEEN_BITS,
};
_Static_assert(3 * UNITS + 4 * RUNS_MAX < 64, "a state has a number");

/* ---- the model ---- */

struct model {
    uint32_t free;  /* 1 bit a unit */
    uint32_t dirty; /* of the free ones */
    uint32_t start; /* first units of pieces in use */
};

static uint32_t range_bits(uint32_t place, uint32_t count) {
    return ((1u << count) - 1) << place;
}

static bool is_run_start(const struct model *model, uint32_t place) {
    return (model->free >> place & 1) && (place == 0 || !(model->free >> (place - 1) & 1));
}

/* Free units from `place` on. */
static uint32_t run_length(const struct model *model, uint32_t place) {
    return hak_lowest_bit(~((uint64_t)model->free >> place));
}

/* Units of the piece that starts at `place`. */
static uint32_t piece_length(const struct model *model, uint32_t place) {
    uint64_t ends = ((uint64_t)model->free | model->start | UINT64_C(1) << UNITS) >> (place + 1);
    return 1 + hak_lowest_bit(ends);
}

static void model_take(struct model *model, uint32_t place, uint32_t count) {
    model->free &= ~range_bits(place, count);
    model->dirty &= ~range_bits(place, count);
}

static void model_put(struct model *model, uint32_t place, uint32_t count, bool is_dirty) {
    model->free |= range_bits(place, count);
    model->dirty |= is_dirty ? range_bits(place, count) : 0;
    model->start &= ~range_bits(place, count);
}

/* ---- the lane ---- */

static struct {
    struct hak_arena *arena;
    struct hak_lane_runs lane;
    struct model model;
    uint64_t calls;
} g_world;

static hak_unit at(uint32_t place) {
    return g_world.arena->begin + place;
}

static uint32_t place_of(hak_unit unit) {
    return unit - g_world.arena->begin;
}

/* The start of the best place: the shortest run that can hold it, the lowest of these. UNITS: none. */
static uint32_t best_run(uint32_t count, uint32_t align) {
    uint32_t best = UNITS;
    for (uint32_t place = 0; place < UNITS; place++) {
        if (!is_run_start(&g_world.model, place))
            continue;
        uint32_t length = run_length(&g_world.model, place);
        uint32_t lead = hak_unit_align_up(at(place), align) - at(place);
        bool is_better = best == UNITS || length < run_length(&g_world.model, best);
        if (lead + count <= length && is_better)
            best = place;
    }
    return best;
}

/* Walks the bins: each run of the model is in its own, once; nothing else is. The order comes back. */
static uint64_t compare_bins(void) {
    const struct hak_lane_runs *lane = &g_world.lane;
    uint64_t order = 0;
    uint32_t listed = 0;
    uint32_t expected = 0;
    for (uint32_t place = 0; place < UNITS; place++)
        expected |= (uint32_t)is_run_start(&g_world.model, place) << place;
    for (unsigned bin = 0; bin < HAK_RUN_BIN_COUNT; bin++) {
        hak_unit prev = HAK_UNIT_NONE;
        CHECK_EQUAL(lane->bitmap[bin / 64] >> bin % 64 & 1, lane->bins[bin] != HAK_UNIT_NONE);
        for (hak_unit unit = lane->bins[bin]; unit != HAK_UNIT_NONE;
             prev = unit, unit = hak_run_of(unit)->next) {
            uint32_t place = place_of(unit);
            CHECK(place < UNITS);
            CHECK(!(listed >> place & 1));
            CHECK_EQUAL(hak_run_of(unit)->prev, prev);
            CHECK_EQUAL(run_length(&g_world.model, place), bin + 1);
            listed |= 1u << place;
            order = order << 4 | (place + 1);
        }
    }
    CHECK_EQUAL(listed, expected);
    return order;
}

/* All that the lane knows is what the model says. Returns the state's number. */
static uint64_t compare(void) {
    const struct model *model = &g_world.model;
    CHECK_EQUAL(g_world.lane.free_units, hak_popcount(model->free));
    CHECK_EQUAL(g_world.lane.dirty_units, hak_popcount(model->dirty));
    for (uint32_t place = 0; place < UNITS; place++) {
        uint32_t bit = 1u << place;
        bool is_first = is_run_start(model, place);
        bool is_last = (model->free & bit) && !(model->free >> 1 & bit);
        const struct hak_run *run = hak_run_of(at(place));
        if (model->free & bit)
            CHECK_EQUAL(hak_dirty_count(at(place), 1), (model->dirty & bit) != 0);
        if (is_first) {
            uint32_t length = run_length(model, place);
            CHECK_EQUAL(run->length, length);
            CHECK_EQUAL(run->dirty_count, hak_popcount(model->dirty & range_bits(place, length)));
            CHECK_EQUAL(hak_run_of(at(place + length - 1))->length, length);
        } else if (!is_last) {
            CHECK_EQUAL(run->length, 0); /* or a neighbour would join it */
        }
    }
    uint64_t order = compare_bins();
    return order << 3 * UNITS | (uint64_t)model->start << 2 * UNITS |
           (uint64_t)model->dirty << UNITS | model->free;
}

/* ---- states ---- */

struct state {
    struct model model;
    struct hak_run runs[UNITS];
    size_t free_units;
    size_t dirty_units;
    uint64_t bins_used;
    hak_unit bins[UNITS];
};

static struct {
    struct state *list;
    uint32_t count;
    uint64_t *seen; /* by hash; 0: free */
} g_states;

/* True: it is new. Numbers differ wherever states do. */
static bool seen_add(uint64_t number) {
    uint64_t slot = (number + 1) * UINT64_C(0x9e3779b97f4a7c15) >> (64 - SEEN_BITS);
    while (g_states.seen[slot % SEEN_SLOTS] != 0) {
        if (g_states.seen[slot % SEEN_SLOTS] == number + 1)
            return false;
        slot++;
    }
    g_states.seen[slot % SEEN_SLOTS] = number + 1;
    return true;
}

static void state_save(void) {
    CHECK(g_states.count < STATES_MAX);
    struct state *state = &g_states.list[g_states.count++];
    state->model = g_world.model;
    for (uint32_t place = 0; place < UNITS; place++)
        state->runs[place] = *hak_run_of(at(place));
    state->free_units = g_world.lane.free_units;
    state->dirty_units = g_world.lane.dirty_units;
    state->bins_used = g_world.lane.bitmap[0];
    memcpy(state->bins, g_world.lane.bins, sizeof state->bins);
}

/* compare() has seen that the bins of longer runs are empty. */
static void state_load(const struct state *state) {
    g_world.model = state->model;
    for (uint32_t place = 0; place < UNITS; place++) {
        *hak_run_of(at(place)) = state->runs[place];
        hak_dirty_set(at(place), 1, state->model.dirty >> place & 1);
    }
    g_world.lane.free_units = state->free_units;
    g_world.lane.dirty_units = state->dirty_units;
    g_world.lane.bitmap[0] = state->bins_used;
    memcpy(g_world.lane.bins, state->bins, sizeof state->bins);
}

/* After each call: looks at everything, and keeps what is new. */
static void arrive(void) {
    g_world.calls++;
    if (seen_add(compare()))
        state_save();
}

/* ---- calls ---- */

static void call_take(const struct state *from, uint32_t count, uint32_t align) {
    state_load(from);
    uint32_t best = best_run(count, align);
    hak_unit found = hak_run_find(&g_world.lane, count, align);
    CHECK_EQUAL(found, best == UNITS ? HAK_UNIT_NONE : at(best));
    if (found == HAK_UNIT_NONE)
        return;
    hak_unit start = hak_unit_align_up(found, align);
    uint32_t dirty = hak_popcount(g_world.model.dirty & range_bits(place_of(start), count));
    CHECK_EQUAL(hak_run_cut(&g_world.lane, found, start, count), dirty);
    model_take(&g_world.model, place_of(start), count);
    g_world.model.start |= 1u << place_of(start);
    arrive();
}

/* The piece, or its end from `kept` units on. */
static void call_put(const struct state *from, uint32_t place, uint32_t kept, bool is_dirty) {
    state_load(from);
    uint32_t count = piece_length(&g_world.model, place) - kept;
    hak_dirty_set(at(place + kept), count, is_dirty);
    hak_run_insert(&g_world.lane, at(place + kept), count);
    model_put(&g_world.model, place + kept, count, is_dirty);
    arrive();
}

/* The piece grows over the beginning of the run behind it. */
static void call_extend(const struct state *from, uint32_t place, uint32_t added) {
    state_load(from);
    uint32_t after = place + piece_length(&g_world.model, place);
    uint32_t dirty = hak_popcount(g_world.model.dirty & range_bits(after, added));
    CHECK_EQUAL(hak_run_cut(&g_world.lane, at(after), at(after), added), dirty);
    model_take(&g_world.model, after, added);
    arrive();
}

/* Part of a run is taken out, given to the kernel, and put back. */
static void call_purge(const struct state *from, uint32_t first, uint32_t place, uint32_t count) {
    state_load(from);
    uint32_t dirty = hak_popcount(g_world.model.dirty & range_bits(place, count));
    hak_unit trimmed = at(place);
    uint32_t trimmed_count = count;
    CHECK_EQUAL(hak_dirty_trim(&trimmed, &trimmed_count), dirty > 0);
    if (dirty == 0)
        return;
    uint32_t dirty_bits = g_world.model.dirty & range_bits(place, count);
    CHECK_EQUAL(place_of(trimmed), hak_lowest_bit(dirty_bits));
    CHECK_EQUAL(place_of(trimmed) + trimmed_count, hak_highest_bit(dirty_bits) + 1);
    CHECK_EQUAL(hak_run_cut(&g_world.lane, at(first), at(place), count), dirty);
    model_take(&g_world.model, place, count);
    compare();
    hak_dirty_set(at(place), count, false);
    hak_run_insert(&g_world.lane, at(place), count);
    model_put(&g_world.model, place, count, false);
    arrive();
}

/* ---- all of it ---- */

static void calls_on_piece(const struct state *from, uint32_t place) {
    uint32_t length = piece_length(&from->model, place);
    for (uint32_t kept = 0; kept < length; kept++) {
        call_put(from, place, kept, true);
        call_put(from, place, kept, false);
    }
    for (uint32_t added = 1; added <= run_length(&from->model, place + length); added++)
        call_extend(from, place, added);
}

static void calls_on_run(const struct state *from, uint32_t first) {
    uint32_t end = first + run_length(&from->model, first);
    for (uint32_t place = first; place < end; place++)
        for (uint32_t count = 1; place + count <= end; count++)
            call_purge(from, first, place, count);
}

static void all_calls(const struct state *from) {
    for (uint32_t align = 1; align <= ALIGN_MAX; align *= 2)
        for (uint32_t count = 1; count <= UNITS; count++)
            call_take(from, count, align);
    for (uint32_t place = 0; place < UNITS; place++) {
        if (from->model.start >> place & 1)
            calls_on_piece(from, place);
        if (is_run_start(&from->model, place))
            calls_on_run(from, place);
    }
}

static void world_start(bool is_dirty) {
    hak_vm_init();
    g_world.arena = hak_arena_create(UNITS, HAK_LANE_PLAIN);
    CHECK(g_world.arena != NULL);
    g_world.arena->frontier = g_world.arena->begin + UNITS;
    g_states.list = mmap(NULL, STATES_MAX * sizeof *g_states.list, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    g_states.seen = calloc(SEEN_SLOTS, sizeof *g_states.seen);
    CHECK(g_states.list != MAP_FAILED);
    CHECK(g_states.seen != NULL);
    hak_dirty_set(at(0), UNITS, is_dirty);
    hak_run_insert(&g_world.lane, at(0), UNITS);
    model_put(&g_world.model, 0, UNITS, is_dirty);
    arrive();
}

/* How often a piece of `length` units can be laid out is known: so is the number of states. */
static uint32_t states_without_order(void) {
    uint32_t free_last = 1; /* sequences that end with a free unit, with one in use; none is free */
    uint32_t used_last = 0;
    for (int place = 0; place < UNITS; place++) {
        uint32_t free_now = 2 * (free_last + used_last);         /* clean or dirty */
        uint32_t used_now = (free_last + used_last) + used_last; /* a start, or it goes on */
        free_last = free_now;
        used_last = used_now;
    }
    return free_last + used_last;
}

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint32_t states_reached_without_order(void) {
    uint64_t *numbers = calloc(g_states.count, sizeof *numbers);
    uint32_t distinct = 0;
    CHECK(numbers != NULL);
    for (uint32_t i = 0; i < g_states.count; i++) {
        const struct model *model = &g_states.list[i].model;
        numbers[i] =
            (uint64_t)model->start << 2 * UNITS | (uint64_t)model->dirty << UNITS | model->free;
    }
    qsort(numbers, g_states.count, sizeof *numbers, by_value);
    for (uint32_t i = 0; i < g_states.count; i++)
        distinct += i == 0 || numbers[i] != numbers[i - 1];
    free(numbers);
    return distinct;
}

static void every_state(void *argument) {
    world_start(false);
    for (uint32_t next = 0; next < g_states.count; next++) {
        struct state from = g_states.list[next];
        all_calls(&from);
    }
    dprintf(STDOUT_FILENO, "%u states, %" PRIu64 " calls\n", g_states.count, g_world.calls);
    CHECK_EQUAL(states_reached_without_order(), states_without_order());
}

static void test_every_state(void **state) {
    harness_expect_well(every_state, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_state)};
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
