/* test/unit/arena/test_run.c — runs of free units in bins: one lane of the shared pool. SPDX-License-Identifier: MIT */

/*
 * Goal: free runs are maximal, tagged at both ends, in the right bin and counted, whatever was put and
 * taken in whatever order; the best fit is found; a dirty bit is its own unit's and nobody else's.
 * Method: small worlds exhaustively (every set of free units, every range that can be put or cut,
 * every dirty pattern), a large one at random, beside a map of bytes; test_run_states.c has what sequences of
 * calls lead to. Nobody else runs, so the pool's lock is not needed.
 */

#include "arena/run.h"
#include "base/bits.h"
#include "unit/harness.h"

/* ---- a world: units from the arena's begin up to its frontier ---- */

enum state { USED, CLEAN, DIRTY };

enum { WORLD_MAX = 4096 };

static struct {
    struct hak_arena *arena;
    uint32_t size; /* units */
    struct hak_lane_runs lane;
    unsigned char state[WORLD_MAX]; /* by unit from `begin` */
} g_world;

/* Tags that belong to nobody, on both sides: a run must not join what they pretend. */
enum { WORLD_FALSE_TAG = 3 };

static void world_start(uint32_t size) {
    hak_vm_init();
    g_world.arena = hak_arena_create(WORLD_MAX, HAK_LANE_PLAIN);
    CHECK(g_world.arena != NULL);
    g_world.size = size;
    g_world.arena->frontier = g_world.arena->begin + size;
    hak_run_of(g_world.arena->begin - 1)->length = WORLD_FALSE_TAG;
    hak_run_of(g_world.arena->frontier)->length = WORLD_FALSE_TAG;
}

static hak_unit at(uint32_t place) {
    return g_world.arena->begin + place;
}

static bool is_free(uint32_t place) {
    return place < g_world.size && g_world.state[place] != USED;
}

static uint32_t run_end(uint32_t place) {
    while (is_free(place))
        place++;
    return place;
}

/* Behind the free run, or the unit in use, that is here. */
static uint32_t next_place(uint32_t place) {
    return is_free(place) ? run_end(place) : place + 1;
}

/* All of it is in use again. */
static void world_clear(void) {
    memset(&g_world.lane, 0, sizeof g_world.lane);
    memset(g_world.state, USED, g_world.size);
    for (uint32_t place = 0; place < g_world.size; place++)
        hak_run_of(at(place))->length = 0;
}

static void insert(uint32_t place, uint32_t count, uint64_t dirty) {
    for (uint32_t i = 0; i < count; i++) {
        bool is_dirty = dirty >> i & 1;
        CHECK_EQUAL(g_world.state[place + i], USED);
        g_world.state[place + i] = is_dirty ? DIRTY : CLEAN;
        hak_dirty_set(at(place + i), 1, is_dirty);
    }
    hak_run_insert(&g_world.lane, at(place), count);
}

static void cut(uint32_t first, uint32_t place, uint32_t count) {
    uint32_t dirty = 0;
    for (uint32_t i = 0; i < count; i++) {
        CHECK(is_free(place + i));
        dirty += g_world.state[place + i] == DIRTY;
        g_world.state[place + i] = USED;
    }
    CHECK_EQUAL(hak_run_cut(&g_world.lane, at(first), at(place), count), dirty);
}

/* The smallest run that holds an aligned piece, of equals the lowest; `size` of the world: none. */
static uint32_t best_fit(uint32_t count, uint32_t align) {
    uint32_t best = g_world.size;
    uint32_t best_length = UINT32_MAX;
    uint32_t end;
    for (uint32_t place = 0; place < g_world.size; place = end) {
        end = next_place(place);
        if (!is_free(place))
            continue;
        uint32_t lead = hak_unit_align_up(at(place), align) - at(place);
        if (end - place >= lead + count && end - place < best_length) {
            best = place;
            best_length = end - place;
        }
    }
    return best;
}

/* ---- comparison ---- */

/* Which bin holds the run, by walking them; the links are checked on the way. */
static size_t listed_runs(void) {
    size_t listed = 0;
    for (unsigned bin = 0; bin < HAK_RUN_BIN_COUNT; bin++) {
        hak_unit prev = HAK_UNIT_NONE;
        CHECK_EQUAL(g_world.lane.bitmap[bin / 64] >> bin % 64 & 1,
                    g_world.lane.bins[bin] != HAK_UNIT_NONE);
        for (hak_unit unit = g_world.lane.bins[bin]; unit != HAK_UNIT_NONE;
             unit = hak_run_of(unit)->next) {
            uint32_t length = hak_run_of(unit)->length;
            CHECK_EQUAL(hak_run_of(unit)->prev, prev);
            CHECK(length <= HAK_RUN_EXACT_BINS ? bin == length - 1 : bin >= HAK_RUN_EXACT_BINS);
            prev = unit;
            listed++;
        }
    }
    return listed;
}

static void compare(void) {
    size_t runs = 0;
    size_t free_units = 0;
    size_t dirty_units = 0;
    uint32_t end;
    for (uint32_t place = 0; place < g_world.size; place = end) {
        end = next_place(place);
        const struct hak_run *run = hak_run_of(at(place));
        if (!is_free(place)) {
            CHECK_EQUAL(run->length, 0);
            continue;
        }
        uint32_t dirty = 0;
        for (uint32_t i = place; i < end; i++) {
            CHECK_EQUAL(hak_dirty_count(at(i), 1), g_world.state[i] == DIRTY);
            dirty += g_world.state[i] == DIRTY;
        }
        CHECK_EQUAL(run->length, end - place);
        CHECK_EQUAL(hak_run_of(at(end - 1))->length, end - place);
        CHECK_EQUAL(run->dirty_count, dirty);
        runs++;
        free_units += end - place;
        dirty_units += dirty;
    }
    CHECK_EQUAL(listed_runs(), runs);
    CHECK_EQUAL(g_world.lane.free_units, free_units);
    CHECK_EQUAL(g_world.lane.dirty_units, dirty_units);
    CHECK_EQUAL(hak_run_of(g_world.arena->begin - 1)->length, WORLD_FALSE_TAG);
    CHECK_EQUAL(hak_run_of(g_world.arena->frontier)->length, WORLD_FALSE_TAG);
}

/* ---- every set of free units, every range ---- */

/* Runs are put from the lowest up, or by single units from the highest down: all kinds of joins. */
static void world_make(uint32_t free_set, uint64_t dirty, bool is_by_units) {
    world_clear();
    if (is_by_units) {
        for (uint32_t place = g_world.size; place-- > 0;) {
            if (free_set >> place & 1)
                insert(place, 1, dirty >> place);
        }
        return;
    }
    for (uint32_t place = 0; place < g_world.size; place++) {
        uint32_t count = 0;
        while (free_set >> (place + count) & 1)
            count++;
        if (count > 0)
            insert(place, count, dirty >> place);
        place += count;
    }
}

/* One call on a world just made: puts the range if it is all in use, cuts it if it is all free. */
static void try_range(uint32_t free_set, uint64_t dirty, uint32_t place, uint32_t count) {
    uint32_t range = ((UINT32_C(1) << count) - 1) << place;
    if ((free_set & range) != 0 && (free_set & range) != range)
        return;
    world_make(free_set, dirty, (free_set ^ place ^ count) & 1);
    if (free_set & range) {
        uint32_t first = place;
        while (first > 0 && is_free(first - 1))
            first--;
        cut(first, place, count);
    } else {
        insert(place, count, dirty >> place);
    }
    compare();
}

static void try_world(uint32_t free_set, uint64_t dirty) {
    world_make(free_set, dirty, free_set & 1);
    compare();
    for (uint32_t count = 1; count <= g_world.size; count++) {
        for (uint32_t align = 1; align <= 8; align *= 2) {
            uint32_t best = best_fit(count, align);
            CHECK_EQUAL(hak_run_find(&g_world.lane, count, align),
                        best < g_world.size ? at(best) : HAK_UNIT_NONE);
        }
    }
    CHECK_EQUAL(hak_run_find(&g_world.lane, g_world.size + 1, 1), HAK_UNIT_NONE);
    for (uint32_t place = 0; place < g_world.size; place++) {
        for (uint32_t count = 1; count <= g_world.size - place; count++)
            try_range(free_set, dirty, place, count);
    }
}

static void every_set(void *argument) {
    enum { SIZE = 12 };
    world_start(SIZE);
    for (uint32_t free_set = 0; free_set < UINT32_C(1) << SIZE; free_set += HARNESS_SLOWNESS)
        try_world(free_set, harness_random_of(&g_harness.random));
}

static void every_set_and_pattern(void *argument) {
    enum { SIZE = 6 };
    world_start(SIZE);
    for (uint32_t free_set = 0; free_set < UINT32_C(1) << SIZE; free_set++) {
        for (uint64_t dirty = 0; dirty < UINT64_C(1) << SIZE; dirty += HARNESS_SLOWNESS)
            try_world(free_set, dirty);
    }
}

static void test_every_set(void **state) {
    harness_expect_well(every_set, NULL);
    harness_expect_well(every_set_and_pattern, NULL);
}

/* ---- bins of every length ---- */

static unsigned only_bin(const struct hak_lane_runs *lane) {
    unsigned found = HAK_RUN_BIN_COUNT;
    for (unsigned bin = 0; bin < HAK_RUN_BIN_COUNT; bin++) {
        if (lane->bins[bin] == HAK_UNIT_NONE)
            continue;
        CHECK_EQUAL(found, HAK_RUN_BIN_COUNT);
        found = bin;
    }
    return found;
}

/* A run of each length: the bin never falls, exact up to 32, then 8 per doubling. */
static void every_length(void *argument) {
    enum { LENGTH_MAX = 1 << 18 };
    struct hak_lane_runs lane = {0};
    hak_vm_init();
    struct hak_arena *arena = hak_arena_create(LENGTH_MAX, HAK_LANE_PLAIN);
    CHECK(arena != NULL);
    arena->frontier = arena->begin + LENGTH_MAX;
    unsigned last_bin = 0;
    for (uint32_t length = 1; length <= LENGTH_MAX;) {
        hak_run_insert(&lane, arena->begin, length);
        unsigned bin = only_bin(&lane);
        CHECK(bin < HAK_RUN_BIN_COUNT);
        if (length <= HAK_RUN_EXACT_BINS)
            CHECK_EQUAL(bin, length - 1);
        unsigned log2 = hak_highest_bit(length);
        uint32_t step = UINT32_C(1) << (log2 > 3 ? log2 - 3 : 0);
        bool begins = length <= HAK_RUN_EXACT_BINS || length % step == 0;
        /* the bin of 32 … 35 is empty but for 33 … 35: 32 has one of its own */
        begins |= length == HAK_RUN_EXACT_BINS + 1;
        CHECK_EQUAL(bin > last_bin, begins && length > 1);
        last_bin = bin;
        CHECK_EQUAL(hak_run_find(&lane, length, 1), arena->begin);
        CHECK_EQUAL(hak_run_find(&lane, length + 1, 1), HAK_UNIT_NONE);
        hak_run_remove(&lane, arena->begin);
        CHECK_EQUAL(only_bin(&lane), HAK_RUN_BIN_COUNT);
        /* all short ones, and of the long ones those around each bin's edge */
        uint32_t next = (length / step + 1) * step;
        length = length < 600 || length + 1 >= next ? length + 1 : next - 1;
    }
    CHECK_EQUAL(hak_run_find(&lane, HAK_UNIT_COUNT_MAX, 1), HAK_UNIT_NONE);
    CHECK_EQUAL(hak_run_find(&lane, UINT32_MAX, 1), HAK_UNIT_NONE);
}

static void test_every_length(void **state) {
    harness_expect_well(every_length, NULL);
}

/* ---- dirty bits ---- */

enum { BITS = 12, BITS_AROUND = 4 };

static hak_unit g_bits; /* the first of BITS units, over the edge of a word */

static uint32_t bits_read(hak_unit first, uint32_t count) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < count; i++)
        bits |= hak_dirty_count(first + i, 1) << i;
    return bits;
}

static void bits_write(uint32_t bits) {
    for (uint32_t i = 0; i < BITS; i++)
        hak_dirty_set(g_bits + i, 1, bits >> i & 1);
}

static void try_bits(uint32_t bits, uint32_t place, uint32_t count) {
    uint32_t range = ((UINT32_C(1) << count) - 1) << place;
    uint32_t inside = bits & range;
    CHECK_EQUAL(hak_dirty_count(g_bits + place, count), hak_popcount(inside));
    hak_unit first = g_bits + place;
    uint32_t length = count;
    CHECK_EQUAL(hak_dirty_trim(&first, &length), inside != 0);
    if (inside) {
        CHECK_EQUAL(first, g_bits + hak_lowest_bit(inside));
        CHECK_EQUAL(first + length, g_bits + hak_highest_bit(inside) + 1);
    }
    for (int value = 0; value < 2; value++) {
        hak_dirty_set(g_bits + place, count, value);
        CHECK_EQUAL(bits_read(g_bits, BITS), value ? bits | range : bits & ~range);
        bits_write(bits);
    }
}

static void every_dirty_pattern(void *argument) {
    world_start(WORLD_MAX);
    const hak_unit base = g_world.arena->first_unit;
    g_bits = base + (hak_unit)hak_align_up(at(64) - base, 64) - BITS / 2;
    for (int value = 0; value < 2; value++) { /* what lies around stays, whatever it is */
        hak_dirty_set(g_bits - BITS_AROUND, BITS + 2 * BITS_AROUND, value);
        uint32_t around = value ? (1 << BITS_AROUND) - 1 : 0;
        for (uint32_t bits = 0; bits < UINT32_C(1) << BITS; bits += HARNESS_SLOWNESS) {
            bits_write(bits);
            CHECK_EQUAL(bits_read(g_bits, BITS), bits);
            for (uint32_t place = 0; place < BITS; place++) {
                for (uint32_t count = 1; count <= BITS - place; count++)
                    try_bits(bits, place, count);
            }
            CHECK_EQUAL(bits_read(g_bits - BITS_AROUND, BITS_AROUND), around);
            CHECK_EQUAL(bits_read(g_bits + BITS, BITS_AROUND), around);
        }
    }
}

/* Over many words, and to both ends of the arena. */
static void long_dirty_ranges(void *argument) {
    static unsigned char shadow[HAK_GIB / HAK_UNIT_SIZE];
    hak_vm_init();
    struct hak_arena *arena = hak_arena_create(1, HAK_LANE_PLAIN);
    CHECK(arena != NULL);
    uint32_t units = arena->end - arena->first_unit;
    CHECK(units <= sizeof shadow);
    for (int i = 0; i < 4000 / HARNESS_SLOWNESS; i++) {
        uint32_t place = harness_below(8) ? (uint32_t)harness_below(units) : 0;
        uint32_t most = (uint32_t)hak_min(units - place, harness_below(2) ? 200 : 5000);
        uint32_t count = harness_below(8) ? 1 + (uint32_t)harness_below(most) : units - place;
        hak_unit first = arena->first_unit + place;
        uint32_t dirty = 0;
        uint32_t low = count;
        uint32_t high = 0;
        for (uint32_t k = 0; k < count; k++) {
            if (shadow[place + k]) {
                dirty++;
                low = (uint32_t)hak_min(low, k);
                high = k + 1;
            }
        }
        CHECK_EQUAL(hak_dirty_count(first, count), dirty);
        hak_unit start = first;
        uint32_t length = count;
        CHECK_EQUAL(hak_dirty_trim(&start, &length), dirty > 0);
        CHECK_EQUAL(start, dirty ? first + low : first);
        CHECK_EQUAL(length, dirty ? high - low : count);
        bool value = harness_below(3) == 0;
        hak_dirty_set(first, count, value);
        memset(&shadow[place], value, count);
    }
}

static void test_dirty(void **state) {
    harness_expect_well(every_dirty_pattern, NULL);
    harness_expect_well(long_dirty_ranges, NULL);
}

/* ---- a large world at random ---- */

/* More runs of one bin than a first look takes: what is found fits, and what fits is found. */
static void check_find(void) {
    uint32_t count = 1 + (uint32_t)harness_below(harness_below(3) ? 40 : 300);
    uint32_t align = UINT32_C(1) << harness_below(7);
    hak_unit found = hak_run_find(&g_world.lane, count, align);
    CHECK_EQUAL(found == HAK_UNIT_NONE, best_fit(count, align) == g_world.size);
    if (found == HAK_UNIT_NONE)
        return;
    CHECK(is_free(found - at(0)));
    CHECK(found == at(0) || !is_free(found - at(0) - 1));
    uint32_t lead = hak_unit_align_up(found, align) - found;
    CHECK(hak_run_of(found)->length >= lead + count);
}

static void large_world(void *argument) {
    world_start(WORLD_MAX);
    world_clear();
    for (int step = 0; step < 60000 / HARNESS_SLOWNESS; step++) {
        bool fills = step / 2000 % 2;
        uint32_t place = (uint32_t)harness_below(WORLD_MAX);
        uint32_t most = 1 + (uint32_t)harness_below(harness_below(4) ? 6 : 150);
        uint32_t count = 0;
        bool was_free = is_free(place);
        while (count < most && place + count < WORLD_MAX && is_free(place + count) == was_free)
            count++;
        if (!was_free) {
            if (fills || harness_below(4) == 0)
                insert(place, count > 64 ? 64 : count, harness_random_of(&g_harness.random));
        } else if (!fills || harness_below(4) == 0) {
            uint32_t first = place;
            while (first > 0 && is_free(first - 1))
                first--;
            cut(first, place, count);
        }
        check_find();
        if (step % 64 == 0)
            compare();
    }
}

static void test_large_world(void **state) {
    harness_expect_well(large_world, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_set),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_dirty),
        cmocka_unit_test(test_large_world),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
