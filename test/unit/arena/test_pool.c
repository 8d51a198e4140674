/* test/unit/arena/test_pool.c — the shared pool of free units. SPDX-License-Identifier: MIT */

/*
 * Goal: what the pool hands out is free, aligned and as zero as it says; what comes back coalesces,
 * so that no two free runs touch; the fit is the best there is; purging gives all of it back to the
 * kernel.
 * Method: a shadow knows of each unit whether it is in use, free and dirty, or free and zero. It
 * foretells is_zeroed, the runs that must exist and every dirty bit; the pool's boundary tags and bits
 * (arena/run.h) are compared with it. Units in use are written to, so that a lie about zero is seen.
 */

#include <sys/resource.h>

#include "arena/arena.h"
#include "arena/pool.h"
#include "arena/run.h"
#include "base/bits.h"
#include "options/options.h"
#include "unit/harness.h"

/* ---- the shadow of the first arena of each lane ---- */

enum state { UNTOUCHED, USED, DIRTY, ZEROED }; /* UNTOUCHED: above the frontier */

struct shadow {
    struct hak_arena *arena; /* NULL: the lane has none yet */
    hak_unit frontier;
    unsigned char *state; /* by unit, from the arena's begin */
    size_t dirty_units;
    size_t low_water; /* of this epoch */
};

static struct shadow g_shadow[HAK_LANE_COUNT];
static struct shadow *const g_plain = &g_shadow[HAK_LANE_PLAIN];
static struct shadow *const g_huge = &g_shadow[HAK_LANE_HUGE];

static struct shadow *shadow_of(hak_unit unit) {
    struct shadow *shadow = &g_shadow[hak_arena_of(unit)->lane];
    CHECK(hak_arena_of(unit) == shadow->arena);
    return shadow;
}

static enum state state_of(hak_unit unit) {
    const struct shadow *shadow = shadow_of(unit);
    return shadow->state[unit - shadow->arena->begin];
}

static void state_set(hak_unit unit, enum state state) {
    struct shadow *shadow = shadow_of(unit);
    shadow->dirty_units -= state_of(unit) == DIRTY;
    shadow->dirty_units += state == DIRTY;
    shadow->state[unit - shadow->arena->begin] = (unsigned char)state;
}

static void shadow_open(enum hak_lane lane, struct hak_arena *arena) {
    struct shadow *shadow = &g_shadow[lane];
    CHECK_EQUAL(arena->lane, lane);
    shadow->arena = arena;
    shadow->frontier = arena->begin;
    shadow->state = calloc(arena->end - arena->begin, 1);
    CHECK(shadow->state != NULL);
}

static void note_low_water(struct shadow *shadow) {
    shadow->low_water = hak_min(shadow->low_water, shadow->dirty_units);
}

/* Every word that the check of zero reads is written while the unit is in use. */
static void units_touch(hak_unit first, uint32_t count) {
    for (hak_unit unit = first; unit < first + count; unit++) {
        char *p = hak_unit_address(unit);
        p[0] = 1;
        p[unit * 64 % HAK_UNIT_SIZE] = 1;
        p[HAK_UNIT_SIZE - 1] = 1;
    }
}

static bool units_are_zero(hak_unit first, uint32_t count) {
    for (hak_unit unit = first; unit < first + count; unit++) {
        const char *p = hak_unit_address(unit);
        if (p[0] || p[unit * 64 % HAK_UNIT_SIZE] || p[HAK_UNIT_SIZE - 1])
            return false;
    }
    return true;
}

/* Units between the old and the new frontier that were skipped for alignment are free and zero. */
static void shadow_follow_frontier(struct shadow *shadow) {
    CHECK(shadow->arena->frontier >= shadow->frontier);
    while (shadow->frontier < shadow->arena->frontier)
        state_set(shadow->frontier++, ZEROED);
}

/* Marks them used; returns whether all of them were zero. */
static bool shadow_use(hak_unit first, uint32_t count) {
    bool all_zeroed = true;
    shadow_follow_frontier(shadow_of(first));
    for (hak_unit unit = first; unit < first + count; unit++) {
        CHECK(state_of(unit) == DIRTY || state_of(unit) == ZEROED);
        all_zeroed &= state_of(unit) == ZEROED;
        state_set(unit, USED);
    }
    if (all_zeroed)
        CHECK(units_are_zero(first, count));
    note_low_water(shadow_of(first));
    return all_zeroed;
}

static void shadow_put(hak_unit first, uint32_t count) {
    for (hak_unit unit = first; unit < first + count; unit++) {
        CHECK_EQUAL(state_of(unit), USED);
        state_set(unit, DIRTY);
    }
}

static uint32_t tag_length(hak_unit unit) {
    return hak_run_of(unit)->length;
}

/* The end of the run that starts here: all in use, or all free, dirty or not. */
static hak_unit shadow_run_end(hak_unit unit) {
    const struct shadow *shadow = shadow_of(unit);
    hak_unit end = unit;
    bool is_used = state_of(unit) == USED;
    while (end < shadow->frontier && (state_of(end) == USED) == is_used)
        end++;
    return end;
}

/* The pool has exactly the runs that the shadow has: maximal, with tags at both ends, dirty as it says. */
static size_t compare_lane(const struct shadow *shadow) {
    size_t free_units = 0;
    size_t dirty_units = 0;
    CHECK_EQUAL(shadow->frontier, shadow->arena->frontier);
    hak_unit end;
    for (hak_unit unit = shadow->arena->begin; unit < shadow->frontier; unit = end) {
        uint32_t dirty = 0;
        end = shadow_run_end(unit);
        if (state_of(unit) == USED) {
            for (hak_unit used = unit; used < end; used++)
                CHECK_EQUAL(tag_length(used), 0);
            continue;
        }
        for (hak_unit free = unit; free < end; free++) {
            bool is_dirty = state_of(free) == DIRTY;
            CHECK_EQUAL(hak_dirty_count(free, 1), is_dirty);
            dirty += is_dirty;
        }
        CHECK_EQUAL(tag_length(unit), end - unit);
        CHECK_EQUAL(tag_length(end - 1), end - unit);
        CHECK_EQUAL(hak_run_of(unit)->dirty_count, dirty);
        free_units += end - unit;
        dirty_units += dirty;
    }
    CHECK_EQUAL(dirty_units, shadow->dirty_units);
    return free_units;
}

static void shadow_compare(void) {
    size_t free_units = 0;
    for (int lane = 0; lane < HAK_LANE_COUNT; lane++)
        free_units += g_shadow[lane].arena ? compare_lane(&g_shadow[lane]) : 0;
    size_t zeroed = free_units - g_plain->dirty_units - g_huge->dirty_units;
    CHECK_EQUAL(hak_pool_stats().free, free_units * HAK_UNIT_SIZE);
    CHECK_EQUAL(hak_pool_stats().free_zeroed, zeroed * HAK_UNIT_SIZE);
}

static hak_unit take_in(enum hak_lane lane, uint32_t count, uint32_t align) {
    struct hak_pool_run run = hak_pool_take(count, align, lane);
    CHECK(run.first != HAK_UNIT_NONE);
    if (g_shadow[lane].arena == NULL)
        shadow_open(lane, hak_arena_of(run.first));
    CHECK(hak_arena_of(run.first) == g_shadow[lane].arena); /* tests of the shadow stay there */
    CHECK_EQUAL((uintptr_t)hak_unit_address(run.first) % (align * HAK_UNIT_SIZE), 0);
    CHECK_EQUAL(run.is_zeroed, shadow_use(run.first, count));
    units_touch(run.first, count);
    return run.first;
}

static hak_unit take(uint32_t count, uint32_t align) {
    return take_in(HAK_LANE_PLAIN, count, align);
}

static void put(hak_unit first, uint32_t count) {
    shadow_put(first, count);
    hak_pool_put(first, count);
}

static void shadow_start(void) {
    hak_vm_init();
    CHECK(hak_pool_init());
    CHECK(hak_pool_init()); /* once is enough */
    CHECK_EQUAL(hak_atomic_load_relaxed(&hak_arenas.count), 1);
    shadow_open(HAK_LANE_PLAIN, hak_arenas.list[1]);
    CHECK_EQUAL(take(1, 1), hak_arenas.list[1]->begin);
}

/* What is clean by now and was not: it reads as zero. Returns how many units these are. */
static size_t shadow_follow_purge(void) {
    size_t units = 0;
    for (int lane = 0; lane < HAK_LANE_COUNT; lane++) {
        struct shadow *shadow = &g_shadow[lane];
        if (shadow->arena == NULL)
            continue;
        for (hak_unit unit = shadow->arena->begin; unit < shadow->frontier; unit++) {
            if (state_of(unit) != DIRTY || hak_dirty_count(unit, 1) == 1)
                continue;
            CHECK(units_are_zero(unit, 1));
            state_set(unit, ZEROED);
            units++;
        }
        note_low_water(shadow);
    }
    return units;
}

static void purge(void) {
    size_t dirty = hak_pool_stats().free - hak_pool_stats().free_zeroed;
    CHECK_EQUAL(hak_pool_purge(HAK_CAUSE_TRIM), dirty);
    CHECK_EQUAL(shadow_follow_purge() * HAK_UNIT_SIZE, dirty);
    CHECK_EQUAL(g_plain->dirty_units + g_huge->dirty_units, 0);
}

/* What nobody wanted since the epoch began, and nobody shall keep. */
static size_t unwanted(void) {
    size_t retain = hak_atomic_load_relaxed(&hak_pool_policy.retain_units);
    size_t units = 0;
    for (int lane = 0; lane < HAK_LANE_COUNT; lane++)
        units += g_shadow[lane].low_water > retain ? g_shadow[lane].low_water - retain : 0;
    return units;
}

/* What must be owed when the epoch ends now; the next begins. */
static size_t owed(void) {
    size_t units = unwanted();
    for (int lane = 0; lane < HAK_LANE_COUNT; lane++)
        g_shadow[lane].low_water = g_shadow[lane].dirty_units;
    return units;
}

static void end_epoch(void) {
    size_t units = owed();
    CHECK_EQUAL(hak_pool_epoch(), units * HAK_UNIT_SIZE);
    CHECK_EQUAL(hak_pool_debt(), units * HAK_UNIT_SIZE);
}

/* One payment: what is owed and no more, but for the rest of a huge page; what it says is what is gone. */
static size_t pay(void) {
    size_t debt = hak_pool_debt() / HAK_UNIT_SIZE;
    CHECK(debt <= unwanted());
    uint64_t commits = hak_ledger_read(HAK_CALL_MPROTECT, HAK_CAUSE_ARENA_COMMIT).count;
    size_t paid = hak_pool_pay() / HAK_UNIT_SIZE;
    CHECK_EQUAL(shadow_follow_purge(), paid);
    CHECK(paid <= debt + HAK_SUPERSLAB_UNITS);
    CHECK(paid <= 1024 + HAK_SUPERSLAB_UNITS);
    CHECK(hak_pool_debt() / HAK_UNIT_SIZE + paid <= debt + HAK_SUPERSLAB_UNITS);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MPROTECT, HAK_CAUSE_ARENA_COMMIT).count, commits);
    return paid;
}

/* Payments until nothing is owed any more. */
static size_t pay_all(void) {
    size_t paid = 0;
    for (int calls = 0; hak_pool_debt() > 0; calls++) {
        CHECK(calls < 1000);
        paid += pay();
    }
    CHECK_EQUAL(pay(), 0);
    return paid;
}

/* ---- random ---- */

enum { HELD_MAX = 200, STEPS = 12000 / HARNESS_SLOWNESS, COMPARE_EVERY = 16 };

struct held {
    hak_unit first;
    uint32_t count;
};

static struct {
    struct held list[HELD_MAX];
    size_t count;
} g_held;

static uint32_t random_count(void) {
    static const uint32_t limits[] = {1, 2, 4, 8, 8, 16, 40, 100, 100};
    return 1 + (uint32_t)harness_below(limits[harness_below(sizeof limits / sizeof limits[0])]);
}

static void step_take(void) {
    uint32_t count = random_count();
    uint32_t align = harness_below(4) ? 1 : UINT32_C(1) << harness_below(8);
    enum hak_lane lane = harness_below(2) ? HAK_LANE_PLAIN : HAK_LANE_HUGE;
    g_held.list[g_held.count++] = (struct held){take_in(lane, count, align), count};
}

/* Gives back a part: the front, the back, the middle, or all. */
static void step_put(void) {
    struct held *held = &g_held.list[harness_below(g_held.count)];
    uint32_t from = harness_below(2) ? 0 : (uint32_t)harness_below(held->count);
    uint32_t rest = held->count - from;
    uint32_t count = harness_below(2) ? rest : 1 + (uint32_t)harness_below(rest);
    struct held back = {held->first + from + count, rest - count};
    put(held->first + from, count);
    held->count = from;
    if (from == 0)
        *held = g_held.list[--g_held.count];
    if (back.count > 0 && g_held.count < HELD_MAX)
        g_held.list[g_held.count++] = back;
    else if (back.count > 0)
        put(back.first, back.count);
}

/* Whether the neighbours allow it is foretold: one free run after the block, or the frontier. */
static void step_extend(void) {
    struct held *held = &g_held.list[harness_below(g_held.count)];
    uint32_t added = 1 + (uint32_t)harness_below(20);
    hak_unit after = held->first + held->count;
    hak_unit frontier = shadow_of(held->first)->frontier;
    bool is_free = after < frontier && state_of(after) != USED;
    hak_unit end = is_free ? shadow_run_end(after) : after;
    bool is_room = end - after >= added || end == frontier;
    CHECK_EQUAL(hak_pool_extend(held->first, held->count, held->count + added), is_room);
    if (is_room) {
        shadow_use(after, added);
        units_touch(after, added);
        held->count += added;
    }
}

static void step_epoch(void) {
    static const size_t retains[] = {0, 0, 10, 1000};
    hak_atomic_store_relaxed(&hak_pool_policy.retain_units, retains[harness_below(4)]);
    end_epoch();
}

static void put_all(void) {
    while (g_held.count > 0) {
        size_t i = harness_below(g_held.count);
        put(g_held.list[i].first, g_held.list[i].count);
        g_held.list[i] = g_held.list[--g_held.count];
    }
    put(g_plain->arena->begin, 1); /* shadow_start() took it */
}

static void run_at_random(void *argument) {
    shadow_start();
    for (int step = 0; step < STEPS; step++) {
        size_t wanted = step / 500 % 2 ? HELD_MAX / 8 : HELD_MAX; /* it fills, and it empties */
        if (g_held.count == 0 || (g_held.count < wanted && harness_below(3)))
            step_take();
        else if (harness_below(4) == 0)
            step_extend();
        else
            step_put();
        if (harness_below(500) == 0)
            purge();
        if (harness_below(100) == 0)
            step_epoch();
        if (harness_below(20) == 0)
            pay();
        if (step % COMPARE_EVERY == 0)
            shadow_compare();
    }
    CHECK_EQUAL(hak_atomic_load_relaxed(&hak_arenas.count), 2); /* the shadow saw everything */
    put_all();
    shadow_compare();
    purge();
    shadow_compare();
    for (int lane = 0; lane < HAK_LANE_COUNT; lane++) { /* all of it is one run again */
        const struct hak_arena *arena = g_shadow[lane].arena;
        uint32_t all = g_shadow[lane].frontier - arena->begin;
        CHECK_EQUAL(tag_length(arena->begin), all);
        CHECK_EQUAL(take_in((enum hak_lane)lane, all, 1), arena->begin);
        CHECK_EQUAL(arena->frontier, g_shadow[lane].frontier);
    }
}

static void test_random(void **state) {
    harness_expect_well(run_at_random, NULL);
}

/* ---- placement ---- */

/* Gaps of 5, 3 and 3 units between blocks in use: the lowest of the smallest that fit. */
static void fit_best(void *argument) {
    shadow_start();
    hak_unit base = take(40, 1);
    hak_unit five = base + 1;
    hak_unit three = base + 10;
    hak_unit other = base + 20;
    put(other, 3);
    put(three, 3);
    put(five, 5);
    CHECK_EQUAL(take(3, 1), three);
    CHECK_EQUAL(take(4, 1), five);
    CHECK_EQUAL(take(3, 1), other);
    CHECK_EQUAL(take(1, 1), five + 4);
    shadow_compare();
    /* larger bins are not exact: a run of the same bin that is too short must be passed over */
    hak_unit long_base = take(200, 1);
    put(long_base + 1, 64);
    put(long_base + 100, 71); /* 64 … 71 units share a bin */
    CHECK_EQUAL(take(65, 1), long_base + 100);
    CHECK_EQUAL(take(64, 1), long_base + 1);
    shadow_compare();
}

/* Many runs of one bin, all but the first a little short: that is found before memory grows. */
static void fit_behind_many(void *argument) {
    enum { SHORT = 100 };
    shadow_start();
    hak_unit base = take(72 + SHORT * 66, 1);
    put(base, 71);
    for (uint32_t i = 0; i < SHORT; i++)
        put(base + 72 + 66 * i, 65);
    CHECK_EQUAL(take(70, 1), base);
    shadow_compare();
}

/* Alignment inside a free run: lead and rest stay free. */
static void fit_aligned(void *argument) {
    shadow_start();
    hak_unit base = take(600, 256);
    if (base > g_plain->arena->begin + 1)
        take(base - g_plain->arena->begin - 1, 1); /* what was skipped would fit as well */
    put(base + 1, 599);
    hak_unit got = take(8, 64);
    CHECK_EQUAL(got, base + 64);
    shadow_compare();
    CHECK_EQUAL(take(63, 1), base + 1); /* the lead fits exactly */
    shadow_compare();
    for (uint32_t align = 1; align <= 16384; align *= 2) /* up to 1 GiB */
        CHECK_EQUAL((uintptr_t)hak_unit_address(hak_pool_take(3, align, HAK_LANE_PLAIN).first) %
                        (align * HAK_UNIT_SIZE),
                    0);
}

/* The free run below the frontier is used before new units are. */
static void join_frontier(void *argument) {
    shadow_start();
    hak_unit base = take(10, 1);
    CHECK_EQUAL(base + 10, g_plain->frontier);
    put(base + 4, 6);
    CHECK_EQUAL(take(20, 1), base + 4);
    CHECK_EQUAL(g_plain->frontier, base + 24);
    shadow_compare();
}

static void test_placement(void **state) {
    harness_expect_well(fit_best, NULL);
    harness_expect_well(fit_behind_many, NULL);
    harness_expect_well(fit_aligned, NULL);
    harness_expect_well(join_frontier, NULL);
}

/* Units skipped above a purged run join it: what is free and zero on both sides is one run. */
static void skip_above_zeroed_tail(void *argument) {
    enum { ALIGN = 64 };
    shadow_start();
    take(2 * ALIGN - g_plain->frontier % ALIGN, 1);
    CHECK_EQUAL(g_plain->frontier % ALIGN, 0);
    take(1, 1);
    hak_unit tail = take(3, 1);
    put(tail, 3);
    purge();
    CHECK_EQUAL(take(ALIGN, ALIGN), tail + ALIGN - 1);
    shadow_compare();
    CHECK_EQUAL(take(ALIGN - 1, 1), tail);
    shadow_compare();
}

static void test_skipped_units(void **state) {
    harness_expect_well(skip_above_zeroed_tail, NULL);
}

/* ---- purge ---- */

/*
 * More dirty runs than one round of the purge takes, and nothing else. A round is one call, or on
 * kernels that cannot do that, one for each run after a first that tried.
 */
static void purge_many(void *argument) {
    enum { RUNS = 600, ROUND = 256, ROUNDS = (RUNS + ROUND - 1) / ROUND };
    shadow_start();
    hak_unit base = take(3 * RUNS, 1);
    for (uint32_t i = 0; i < RUNS; i++)
        put(base + 3 * i, 1 + i % 2);
    purge();
    shadow_compare();
    bool is_one_call = hak_vm_can_purge_ranges();
    for (int round = 0; round < 2; round++) {
        CHECK_EQUAL(hak_ledger_read(HAK_CALL_PROCESS_MADVISE, HAK_CAUSE_TRIM).count,
                    is_one_call ? ROUNDS : 1);
        CHECK_EQUAL(hak_ledger_read(HAK_CALL_MADVISE, HAK_CAUSE_TRIM).count,
                    is_one_call ? 0 : RUNS);
        CHECK_EQUAL(hak_pool_purge(HAK_CAUSE_TRIM), 0); /* nothing is left to give */
    }
    for (uint32_t i = 0; i < RUNS; i++) /* in use: untouched */
        CHECK_EQUAL(*(char *)hak_unit_address(base + 3 * i + 2), 1);
}

static void test_purge(void **state) {
    harness_expect_well(purge_many, NULL);
}

/* ---- epochs: what nobody wanted for one of them is owed, and paid ---- */

enum { PAY_UNITS_MAX = 1024, PARTIAL_EPOCHS = 2, HUGE_PAGE = HAK_SUPERSLAB_UNITS };

static void owe_what_stayed(void *argument) {
    shadow_start();
    hak_unit base = take(100, 1);
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 0); /* nothing was free */
    put(base, 100);
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 0); /* free, but not from the beginning on */
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 100 * HAK_UNIT_SIZE);

    /* used for a moment: not owed, though it is free again */
    hak_unit used = take(40, 1);
    put(used, 40);
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 60 * HAK_UNIT_SIZE);
    used = take(10, 1);
    put(used, 10);
    used = take(30, 1);
    put(used, 30); /* the deepest moment counts, not the sum */
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 70 * HAK_UNIT_SIZE);

    /* growing in place takes as well */
    used = take(1, 1);
    CHECK(hak_pool_extend(used, 1, 51));
    shadow_use(used + 1, 50);
    put(used, 51);
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 49 * HAK_UNIT_SIZE);

    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 100 * HAK_UNIT_SIZE);
    CHECK_EQUAL(pay(), 100);
    CHECK_EQUAL(hak_pool_debt(), 0);
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 0); /* paid is paid */
    shadow_compare();
}

/* What was given back in an epoch, by whatever call, does not make what comes after it owed. */
static void owe_nothing_new(void *argument) {
    shadow_start();
    hak_unit base = take(400, 1);
    put(base, 100);
    end_epoch();
    end_epoch();
    CHECK_EQUAL(pay(), 100);
    put(base + 100, 100);
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 0);
    purge();
    put(base + 200, 100);
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 0);
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 100 * HAK_UNIT_SIZE);
    shadow_compare();
}

static void keep_retained(void *argument) {
    shadow_start();
    hak_unit base = take(300, 1);
    hak_atomic_store_relaxed(&hak_pool_policy.retain_units, 120);
    put(base, 100);
    end_epoch();
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 0);
    put(base + 150, 100);
    end_epoch();
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 80 * HAK_UNIT_SIZE);
    CHECK_EQUAL(pay_all(), 80);
    CHECK_EQUAL(g_plain->dirty_units, 120);
    end_epoch();
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 0);
    shadow_compare();
}

/* With a delay of some epochs, memory must have been free through all of them. */
static void wait_for_delay(void *argument) {
    enum { DELAY = 4 };
    shadow_start();
    hak_unit base = take(50, 1);
    hak_atomic_store_relaxed(&hak_pool_policy.delay, DELAY);
    for (int i = 0; i < DELAY; i++)
        CHECK_EQUAL(hak_pool_epoch(), 0);
    put(base, 50);
    for (int i = 0; i < 2 * DELAY - 1; i++)
        CHECK_EQUAL(hak_pool_epoch(), 0);
    CHECK_EQUAL(hak_pool_epoch(), 50 * HAK_UNIT_SIZE);
    hak_unit used = take(20, 1); /* early in the delay */
    put(used, 20);
    for (int i = 0; i < DELAY; i++)
        CHECK_EQUAL(hak_pool_epoch(), 30 * HAK_UNIT_SIZE); /* the others are owed no more */
}

/* Taken and put back after the epoch, before the debt is paid: that was wanted, and stays. */
static void forgive_what_is_used(void *argument) {
    shadow_start();
    hak_unit base = take(200, 1);
    put(base, 100);
    end_epoch();
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 100 * HAK_UNIT_SIZE);
    put(base + 100, 100);
    CHECK_EQUAL(hak_pool_debt(), 100 * HAK_UNIT_SIZE); /* more became free: owed is what it was */
    hak_unit used = take(130, 1);
    CHECK_EQUAL(hak_pool_debt(), 70 * HAK_UNIT_SIZE);
    put(used, 130);
    CHECK_EQUAL(hak_pool_debt(), 70 * HAK_UNIT_SIZE);
    CHECK_EQUAL(pay(), 70);
    CHECK_EQUAL(hak_pool_debt(), 0);
    CHECK_EQUAL(pay(), 0);

    /* all of it wanted between two payments */
    used = take(200, 1);
    put(used, 200);
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 0);
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 200 * HAK_UNIT_SIZE);
    used = take(200, 1);
    CHECK_EQUAL(hak_pool_debt(), 0);
    put(used, 200);
    CHECK_EQUAL(pay(), 0);
    CHECK_EQUAL(g_plain->dirty_units, 200);
    shadow_compare();
}

/* What shall be kept is kept though a part of it is in use while the debt is paid. */
static void forgive_what_is_retained(void *argument) {
    enum { RETAIN = 120 };
    shadow_start();
    hak_atomic_store_relaxed(&hak_pool_policy.retain_units, RETAIN);
    hak_unit base = take(300, 1);
    put(base, 200);
    end_epoch();
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 80 * HAK_UNIT_SIZE);
    hak_unit used = take(100, 1);
    CHECK_EQUAL(pay_all(), 0);
    put(used, 100);
    CHECK_EQUAL(pay_all(), 0);
    CHECK_EQUAL(g_plain->dirty_units, 200);
    end_epoch();
    end_epoch();
    CHECK_EQUAL(pay_all(), 80);
    CHECK_EQUAL(g_plain->dirty_units, RETAIN);
    shadow_compare();
}

/* A payment in pieces, and units are wanted in between. */
static void forgive_between_pieces(void *argument) {
    enum { ALL = 3 * PAY_UNITS_MAX };
    shadow_start();
    hak_unit base = take(ALL, 1);
    put(base, ALL);
    end_epoch();
    end_epoch();
    CHECK_EQUAL(pay(), PAY_UNITS_MAX);
    hak_unit used = take(PAY_UNITS_MAX / 2, 1);
    put(used, PAY_UNITS_MAX / 2);
    CHECK_EQUAL(hak_pool_debt(), (2 * PAY_UNITS_MAX - PAY_UNITS_MAX / 2) * HAK_UNIT_SIZE);
    CHECK_EQUAL(pay_all(), 2 * PAY_UNITS_MAX - PAY_UNITS_MAX / 2);
    CHECK_EQUAL(g_plain->dirty_units, PAY_UNITS_MAX / 2);
    /* malloc_trim pays as well */
    put(take(ALL, 1), ALL);
    end_epoch();
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), ALL * HAK_UNIT_SIZE);
    purge();
    CHECK_EQUAL(hak_pool_debt(), 0);
    shadow_compare();
}

static void test_debt(void **state) {
    harness_expect_well(forgive_what_is_used, NULL);
    harness_expect_well(forgive_what_is_retained, NULL);
    harness_expect_well(forgive_between_pieces, NULL);
}

static void test_low_water(void **state) {
    harness_expect_well(owe_what_stayed, NULL);
    harness_expect_well(owe_nothing_new, NULL);
    harness_expect_well(keep_retained, NULL);
    harness_expect_well(wait_for_delay, NULL);
}

/* A payment is bounded; the largest runs go first, each from its end. */
static void pay_in_pieces(void *argument) {
    enum { LARGE = 1500, SMALL = 40 };
    shadow_start();
    hak_unit large = take(LARGE, 1);
    take(1, 1);
    hak_unit small = take(SMALL, 1);
    take(1, 1);
    put(large, LARGE);
    put(small, SMALL);
    end_epoch();
    end_epoch();
    CHECK_EQUAL(pay(), PAY_UNITS_MAX);
    CHECK_EQUAL(hak_dirty_count(large, LARGE - PAY_UNITS_MAX), LARGE - PAY_UNITS_MAX);
    CHECK_EQUAL(hak_dirty_count(large, LARGE), LARGE - PAY_UNITS_MAX);
    CHECK_EQUAL(hak_dirty_count(small, SMALL), SMALL);
    shadow_compare();
    CHECK_EQUAL(pay(), LARGE - PAY_UNITS_MAX + SMALL);
    CHECK_EQUAL(hak_pool_debt(), 0);
    shadow_compare();
}

/* Hundreds of runs: one system call for as many as a round has room for. */
static void pay_many(void *argument) {
    enum { RUNS = 600, ROUND = 256 };
    shadow_start();
    hak_unit base = take(2 * RUNS, 1);
    for (uint32_t i = 0; i < RUNS; i++)
        put(base + 2 * i, 1);
    end_epoch();
    end_epoch();
    for (int calls = 1; hak_pool_debt() > 0; calls++) {
        size_t debt = hak_pool_debt() / HAK_UNIT_SIZE;
        size_t paid = pay();
        if (!hak_vm_can_purge_ranges()) { /* single units are not worth a call each */
            CHECK_EQUAL(hak_pool_debt(), 0);
            return;
        }
        CHECK_EQUAL(paid, hak_min(debt, ROUND));
        CHECK_EQUAL(hak_ledger_read(HAK_CALL_PROCESS_MADVISE, HAK_CAUSE_EPOCH).count, calls);
    }
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MADVISE, HAK_CAUSE_EPOCH).count, 0);
    CHECK_EQUAL(g_plain->dirty_units, 0);
    shadow_compare();
}

static size_t resident_pages(struct hak_prim_range range) {
    size_t page = hak_vm_page_size();
    size_t resident = 0;
    for (size_t at = 0; at < range.size; at += page) {
        unsigned char bits;
        CHECK(mincore((char *)range.start + at, page, &bits) == 0);
        resident += bits & 1;
    }
    return resident;
}

/* The descriptors and bitmap lines of a long run go back with it; a short run's stay. */
static void pay_for_descriptors(void *argument) {
    enum { LONG = 600, SHORT = 127 };
    struct hak_prim_range ranges[HAK_ARENA_META_RANGES];
    shadow_start();
    for (uint32_t count = SHORT; count <= LONG; count += LONG - SHORT) {
        hak_unit base = take_in(HAK_LANE_PLAIN, count, 1);
        for (hak_unit unit = base; unit < base + count; unit++) {
            for (unsigned line = 0; line < HAK_BITMAP_LINES; line++) {
                uint64_t *bits = hak_arena_bitmap_line(hak_arena_of(unit), unit, line);
                *bits = 1; /* a slab uses it and clears it */
                *bits = 0;
            }
        }
        unsigned range_count = hak_arena_inner_meta(base, count, ranges);
        put(base, count);
        end_epoch();
        end_epoch();
        CHECK_EQUAL(pay_all(), count);
        size_t kept = 0;
        for (unsigned i = 0; i < range_count; i++)
            kept += resident_pages(ranges[i]);
        CHECK((kept == 0) == (count == LONG));
        shadow_compare();
        CHECK_EQUAL(take_in(HAK_LANE_PLAIN, count, 1), base);
        shadow_compare();
    }
}

static void *pay_on_small_stack(void *argument) {
    return (void *)(uintptr_t)pay_all();
}

/* Any thread may be the one that pays, also one with the smallest stack there is. */
static void pay_by_small_thread(void *argument) {
    shadow_start();
    hak_unit base = take_in(HAK_LANE_PLAIN, 300, 1);
    put(base, 300);
    end_epoch();
    end_epoch();
    pthread_attr_t attributes;
    pthread_t thread;
    void *paid;
    CHECK_EQUAL(pthread_attr_init(&attributes), 0);
    CHECK_EQUAL(pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN)), 0);
    CHECK_EQUAL(pthread_create(&thread, &attributes, pay_on_small_stack, NULL), 0);
    CHECK_EQUAL(pthread_join(thread, &paid), 0);
    CHECK_EQUAL((uintptr_t)paid, 300);
}

static void test_pay(void **state) {
    harness_expect_well(pay_in_pieces, NULL);
    harness_expect_well(pay_many, NULL);
    harness_expect_well(pay_for_descriptors, NULL);
    if (HARNESS_SLOWNESS == 1) /* sanitizers need more stack than that */
        harness_expect_well(pay_by_small_thread, NULL);
}

/* Units of the huge lane from the edge of a huge page on; nothing is free below them. */
static hak_unit take_pages(uint32_t count) {
    hak_unit base = take_in(HAK_LANE_HUGE, count, HUGE_PAGE);
    if (base > g_huge->arena->begin)
        take_in(HAK_LANE_HUGE, base - g_huge->arena->begin, 1);
    return base;
}

/* A huge page goes back whole, if all of it is free; its parts stay for some epochs more. */
static void pay_whole_pages(void *argument) {
    shadow_start();
    hak_unit base = take_pages(8 * HUGE_PAGE);
    put(base + 20, 3 * HUGE_PAGE); /* page 1, page 2, and parts of pages 0 and 3 */
    put(base + 4 * HUGE_PAGE, 5);  /* a part of page 4 */
    put(base + 6 * HUGE_PAGE, HUGE_PAGE);
    size_t owed_units = 4 * HUGE_PAGE + 5;
    end_epoch();
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), owed_units * HAK_UNIT_SIZE);
    CHECK_EQUAL(pay_all(), 3 * HUGE_PAGE);
    CHECK_EQUAL(hak_dirty_count(base + 20, HUGE_PAGE - 20), HUGE_PAGE - 20);
    CHECK_EQUAL(hak_dirty_count(base + HUGE_PAGE, 2 * HUGE_PAGE), 0);
    CHECK_EQUAL(hak_dirty_count(base + 3 * HUGE_PAGE, 20), 20);
    CHECK_EQUAL(hak_dirty_count(base + 4 * HUGE_PAGE, 5), 5);
    CHECK_EQUAL(hak_dirty_count(base + 6 * HUGE_PAGE, HUGE_PAGE), 0);
    shadow_compare();
    for (int epoch = 2; epoch < PARTIAL_EPOCHS; epoch++) {
        end_epoch();
        CHECK_EQUAL(pay_all(), 0);
    }
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), (owed_units - 3 * HUGE_PAGE) * HAK_UNIT_SIZE);
    CHECK_EQUAL(pay_all(), owed_units - 3 * HUGE_PAGE);
    CHECK_EQUAL(g_huge->dirty_units, 0);
    shadow_compare();
    /* paid in full: the count of epochs begins anew */
    end_epoch();
    put(base + 7 * HUGE_PAGE, 5);
    end_epoch();
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 5 * HAK_UNIT_SIZE);
    CHECK_EQUAL(pay_all(), 0);
}

/* Dirty in places: the page is whole also where it is free and clean; a clean page is not called for. */
static void pay_pages_clean_in_part(void *argument) {
    enum { PAGES = 6, ALL = PAGES * HUGE_PAGE };
    shadow_start();
    hak_unit base = take_pages(ALL + 8);
    put(base, ALL);
    purge();
    CHECK_EQUAL(take_in(HAK_LANE_HUGE, ALL, 1), base);
    put(base + 4, ALL - 8);
    purge();
    put(base, 4);           /* page 0 is dirty at its front, pages 1 … 4 are clean */
    put(base + ALL - 4, 8); /* page 5 is dirty at its end, page 6 is dirty in part */
    shadow_compare();
    end_epoch();
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 12 * HAK_UNIT_SIZE);
    uint64_t bytes = hak_ledger_read(HAK_CALL_MADVISE, HAK_CAUSE_EPOCH).bytes +
                     hak_ledger_read(HAK_CALL_PROCESS_MADVISE, HAK_CAUSE_EPOCH).bytes;
    CHECK_EQUAL(pay_all(), 8);
    shadow_compare();
    CHECK_EQUAL(hak_dirty_count(base, ALL), 0);
    CHECK_EQUAL(hak_dirty_count(base + ALL, 4), 4);
    bytes = hak_ledger_read(HAK_CALL_MADVISE, HAK_CAUSE_EPOCH).bytes +
            hak_ledger_read(HAK_CALL_PROCESS_MADVISE, HAK_CAUSE_EPOCH).bytes - bytes;
    CHECK_EQUAL(bytes, 2 * HUGE_PAGE * HAK_UNIT_SIZE);
}

/* Dirty only where the run's last huge page is not whole: nothing is taken apart, nothing is lost. */
static void pay_nothing_but_a_part(void *argument) {
    enum { PAGES = 3, ALL = PAGES * HUGE_PAGE };
    shadow_start();
    hak_unit base = take_pages(ALL + 8);
    put(base, ALL + 4);
    purge();
    CHECK_EQUAL(take_in(HAK_LANE_HUGE, ALL + 4, 1), base);
    put(base + 4, ALL - 4);
    purge();
    put(base + ALL, 4);
    put(base, 4);
    shadow_compare();
    hak_atomic_store_relaxed(&hak_pool_policy.retain_units, 4);
    end_epoch();
    end_epoch();
    CHECK_EQUAL(hak_pool_debt(), 4 * HAK_UNIT_SIZE);
    for (int calls = 0; calls < 10; calls++) {
        pay();
        shadow_compare();
    }
    CHECK_EQUAL(hak_dirty_count(base, ALL), 0);
    CHECK_EQUAL(hak_dirty_count(base + ALL, 4), 4);
}

static void test_pay_huge(void **state) {
    harness_expect_well(pay_whole_pages, NULL);
    harness_expect_well(pay_pages_clean_in_part, NULL);
    harness_expect_well(pay_nothing_but_a_part, NULL);
}

/* Units that were given back and are wanted again are counted; untouched ones are not. */
static void count_regret(void *argument) {
    shadow_start();
    hak_unit base = take(100, 1);
    struct hak_pool_regret regret = hak_pool_take_regret();
    CHECK_EQUAL(regret.given_back, 0);
    CHECK_EQUAL(regret.wanted_again, 0); /* from the frontier */
    put(base, 80);
    end_epoch();
    end_epoch();
    pay_all();
    CHECK_EQUAL(hak_pool_take_regret().given_back, 80);
    put(base + 80, 20);
    take(90, 1); /* 80 clean ones and 10 that are dirty */
    regret = hak_pool_take_regret();
    CHECK_EQUAL(regret.given_back, 0);
    CHECK_EQUAL(regret.wanted_again, 80);
    CHECK_EQUAL(hak_pool_take_regret().wanted_again, 0);
}

static void test_regret(void **state) {
    harness_expect_well(count_regret, NULL);
}

/* ---- lanes ---- */

static void lanes_apart(void *argument) {
    shadow_start();
    hak_unit plain = take(10, 1);
    hak_unit huge = take_in(HAK_LANE_HUGE, 10, 1);
    CHECK_EQUAL(hak_arena_of(plain)->lane, HAK_LANE_PLAIN);
    CHECK_EQUAL(hak_arena_of(huge)->lane, HAK_LANE_HUGE);
    put(huge, 10);
    CHECK(take(10, 1) != huge);
    CHECK_EQUAL(take_in(HAK_LANE_HUGE, 10, 1), huge);
    put(plain, 10);
    CHECK(take_in(HAK_LANE_HUGE, 10, 1) != plain);
    CHECK_EQUAL(take(10, 1), plain);
    CHECK_EQUAL(hak_atomic_load_relaxed(&hak_arenas.count), 2);
    shadow_compare();
}

/* The kernel reserves nothing any more: each lane lives on the other, as clean as it says. */
static void lanes_help_out(void *argument) {
    shadow_start();
    hak_unit huge = take_in(HAK_LANE_HUGE, 10, 1);
    uint32_t rest = g_huge->arena->end - (huge + 10);
    CHECK_EQUAL(take_in(HAK_LANE_HUGE, rest, 1), huge + 10);
    hak_unit dirty = take(20, 1);
    put(dirty, 20);
    harness_set_address_limit(HAK_MIB);
    struct hak_pool_run run = hak_pool_take(15, 1, HAK_LANE_HUGE);
    CHECK_EQUAL(run.first, dirty);
    CHECK_EQUAL(run.is_zeroed, shadow_use(run.first, 15));
    CHECK(!run.is_zeroed);
    run = hak_pool_take(50, 1, HAK_LANE_HUGE); /* above the other's frontier, and what is below */
    CHECK_EQUAL(run.first, dirty + 15);
    CHECK_EQUAL(run.is_zeroed, shadow_use(run.first, 50));
    shadow_compare();
    uint32_t last = g_plain->arena->end - (run.first + 50);
    take(last, 1);
    CHECK_EQUAL(hak_pool_take(1, 1, HAK_LANE_HUGE).first, HAK_UNIT_NONE);
    CHECK_EQUAL(hak_pool_take(1, 1, HAK_LANE_PLAIN).first, HAK_UNIT_NONE);
    put(huge, 3);
    run = hak_pool_take(2, 1, HAK_LANE_PLAIN);
    CHECK_EQUAL(run.first, huge);
    shadow_use(run.first, 2);
    put(huge, 2); /* and it goes back to its own */
    harness_set_address_limit(RLIM_INFINITY);
    shadow_compare();
}

/* What is huge: from 256 KiB where the process is large, from 2 MiB always, without huge pages never. */
static void choose_lane(void *argument) {
    enum { KIB = 1024 };
    shadow_start();
    hak_atomic_store_relaxed(&hak_pool_policy.huge_from, 64);
    hak_options.huge = HAK_HUGE_AUTO;
    if (!hak_vm_has_huge()) {
        CHECK_EQUAL(hak_pool_lane(SIZE_MAX), HAK_LANE_PLAIN);
        return;
    }
    CHECK_EQUAL(hak_pool_used_units(), 1);
    hak_unit some = take(62, 1); /* 63 in all */
    CHECK_EQUAL(hak_pool_lane(256 * KIB), HAK_LANE_PLAIN);
    CHECK_EQUAL(hak_pool_lane(2048 * KIB - 1), HAK_LANE_PLAIN);
    CHECK_EQUAL(hak_pool_lane(2048 * KIB), HAK_LANE_HUGE);
    CHECK_EQUAL(hak_pool_lane(SIZE_MAX), HAK_LANE_HUGE);
    CHECK(hak_pool_extend(some, 62, 63)); /* growing counts, and giving back */
    shadow_use(some + 62, 1);
    CHECK_EQUAL(hak_pool_used_units(), 64);
    CHECK_EQUAL(hak_pool_lane(0), HAK_LANE_PLAIN);
    CHECK_EQUAL(hak_pool_lane(256 * KIB - 1), HAK_LANE_PLAIN);
    CHECK_EQUAL(hak_pool_lane(256 * KIB), HAK_LANE_HUGE);
    put(some, 1);
    CHECK_EQUAL(hak_pool_lane(256 * KIB), HAK_LANE_PLAIN);
    CHECK_EQUAL(hak_pool_take(HAK_UNIT_COUNT_MAX, 1, HAK_LANE_PLAIN).first, HAK_UNIT_NONE);
    CHECK_EQUAL(hak_pool_used_units(), 63); /* a refusal does not count */
    hak_atomic_store_relaxed(&hak_pool_policy.huge_from, 0);
    CHECK_EQUAL(hak_pool_lane(0), HAK_LANE_HUGE);
    hak_atomic_store_relaxed(&hak_pool_policy.huge_from, SIZE_MAX);
    take_in(HAK_LANE_HUGE, 100, 1);
    CHECK_EQUAL(hak_pool_lane(1024 * KIB), HAK_LANE_PLAIN);
    hak_options.huge = HAK_HUGE_OFF;
    hak_atomic_store_relaxed(&hak_pool_policy.huge_from, 0);
    CHECK_EQUAL(hak_pool_lane(SIZE_MAX), HAK_LANE_PLAIN);
}

static void test_lanes(void **state) {
    harness_expect_well(lanes_apart, NULL);
    harness_expect_well(choose_lane, NULL);
    if (!harness_has_address_limit())
        harness_expect_well(lanes_help_out, NULL);
}

/* ---- extend across the frontier, and over the arena's end ---- */

static void extend_to_end(void *argument) {
    shadow_start();
    struct hak_arena *arena = g_plain->arena;
    hak_unit base = take(4, 1);
    uint32_t most = arena->end - base;
    CHECK(!hak_pool_extend(base, 4, most + 1));
    CHECK_EQUAL(arena->frontier, base + 4);
    CHECK(hak_pool_extend(base, 4, most));
    CHECK_EQUAL(arena->frontier, arena->end);
    CHECK(!hak_pool_extend(base, most, most + 1));
    ((char *)hak_unit_address(arena->end - 1))[HAK_UNIT_SIZE - 1] = 1; /* committed */
    hak_pool_put(base, most);
    struct hak_pool_run run = hak_pool_take(most, 1, HAK_LANE_PLAIN);
    CHECK_EQUAL(run.first, base);
    CHECK(!run.is_zeroed);
}

static void test_extend(void **state) {
    harness_expect_well(extend_to_end, NULL);
}

/* ---- several arenas ---- */

static void take_more_than_an_arena(void *argument) {
    struct hak_pool_run runs[6];
    hak_vm_init();
    for (uint32_t i = 0; i < 6; i++) { /* 0.75 GiB each: two to the second arena, … */
        runs[i] = hak_pool_take(12288, 1, HAK_LANE_PLAIN);
        CHECK(runs[i].first != HAK_UNIT_NONE);
        CHECK(runs[i].is_zeroed);
        const struct hak_arena *arena = hak_arena_of(runs[i].first);
        CHECK(runs[i].first >= arena->begin);
        CHECK(runs[i].first + 12288 <= arena->frontier);
        for (uint32_t k = 0; k < i; k++)
            CHECK(runs[k].first + 12288 <= runs[i].first || runs[i].first + 12288 <= runs[k].first);
    }
    CHECK(hak_atomic_load_relaxed(&hak_arenas.count) >= 2);
    struct hak_pool_run huge =
        hak_pool_take(100000, 4096, HAK_LANE_PLAIN); /* more than the next would have */
    CHECK(huge.first != HAK_UNIT_NONE);
    CHECK_EQUAL(huge.first % 4096, 0);
    /* each goes back to its own arena: what is free there is one run */
    for (uint32_t i = 0; i < 6; i++)
        hak_pool_put(runs[i].first, 12288);
    for (uint32_t i = 1; i <= hak_atomic_load_relaxed(&hak_arenas.count); i++) {
        const struct hak_arena *arena = hak_arenas.list[i];
        if (huge.first < arena->first_unit || huge.first >= arena->end)
            CHECK_EQUAL(tag_length(arena->begin), arena->frontier - arena->begin);
    }
    struct hak_pool_stats stats = hak_pool_stats();
    CHECK_EQUAL(stats.free % HAK_UNIT_SIZE, 0);
    CHECK(stats.free >= 6 * 12288 * HAK_UNIT_SIZE);
    CHECK(stats.committed <= stats.reserved);
    CHECK(stats.metadata < stats.committed);
    CHECK(hak_pool_take(HAK_UNIT_COUNT_MAX, 1, HAK_LANE_PLAIN).first ==
          HAK_UNIT_NONE); /* more than the window */
}

static void test_arenas(void **state) {
    harness_expect_well(take_more_than_an_arena, NULL);
}

/* ---- threads and fork ---- */

enum { THREADS = 4, TURNS = 4000 / HARNESS_SLOWNESS, OWN = 16 };

static void *take_and_sign(void *argument) {
    uint64_t random = (uintptr_t)argument;
    struct held own[OWN] = {0};
    for (int i = 0; i < TURNS; i++) {
        struct held *held = &own[harness_random_of(&random) % OWN];
        for (hak_unit unit = held->first; unit < held->first + held->count; unit++)
            CHECK(*(void **)hak_unit_address(unit) == argument);
        if (held->count > 0)
            hak_pool_put(held->first, held->count);
        held->count = 1 + (uint32_t)(harness_random_of(&random) % 12);
        struct hak_pool_run run = hak_pool_take(
            held->count, UINT32_C(1) << harness_random_of(&random) % 4, HAK_LANE_PLAIN);
        held->first = run.first;
        CHECK(run.first != HAK_UNIT_NONE);
        for (hak_unit unit = held->first; unit < held->first + held->count; unit++) {
            CHECK(!run.is_zeroed || *(void **)hak_unit_address(unit) == NULL);
            *(void **)hak_unit_address(unit) = argument;
        }
        if (i % 512 == 0)
            hak_pool_purge(HAK_CAUSE_TRIM);
    }
    for (int i = 0; i < OWN; i++) {
        if (own[i].count)
            hak_pool_put(own[i].first, own[i].count);
    }
    return NULL;
}

static void share_between_threads(void *argument) {
    pthread_t threads[THREADS];
    shadow_start();
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(take_and_sign, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    hak_pool_put(g_plain->arena->begin, 1);
    hak_pool_purge(HAK_CAUSE_TRIM);
    CHECK_EQUAL(tag_length(g_plain->arena->begin),
                g_plain->arena->frontier - g_plain->arena->begin);
}

static void test_threads(void **state) {
    harness_expect_well(share_between_threads, NULL);
}

static void after_fork(void *argument) {
    hak_vm_fork_child();
    hak_pool_fork_child();
    struct hak_pool_run run = hak_pool_take(100, 1, HAK_LANE_PLAIN);
    CHECK(run.first != HAK_UNIT_NONE);
    hak_pool_put(run.first, 100);
}

static void fork_while_locked(void *argument) {
    shadow_start();
    hak_pool_fork_prepare();
    hak_vm_fork_prepare();
    harness_expect_well(after_fork, NULL);
    hak_vm_fork_parent();
    hak_pool_fork_parent();
    take(100, 1);
}

/* Forks while another thread purges: the runs it has taken out of the bins are not lost. */
static _Atomic bool g_is_over;
static _Atomic bool g_is_holding;

static void *purge_until_over(void *argument) {
    while (!atomic_load(&g_is_over)) {
        atomic_store(&g_is_holding, true);
        struct hak_pool_run run = hak_pool_take(200, 1, HAK_LANE_PLAIN);
        units_touch(run.first, 200); /* the kernel shall have something to do */
        hak_pool_put(run.first, 200);
        atomic_store(&g_is_holding, false);
        hak_pool_purge(HAK_CAUSE_TRIM);
    }
    return NULL;
}

static void count_after_fork(void *argument) {
    const struct hak_arena *arena = g_plain->arena;
    hak_vm_fork_child();
    hak_pool_fork_child();
    size_t in_use = *(size_t *)argument;
    size_t handed_out = arena->frontier - arena->begin - hak_pool_stats().free / HAK_UNIT_SIZE;
    CHECK(handed_out == in_use || (handed_out == in_use + 200 && atomic_load(&g_is_holding)));
    hak_pool_purge(HAK_CAUSE_TRIM); /* nobody purges any more */
    CHECK_EQUAL(hak_pool_stats().free, hak_pool_stats().free_zeroed);
}

static void fork_while_purging(void *argument) {
    shadow_start();
    size_t in_use = 1;
    pthread_t thread = harness_thread(purge_until_over, NULL);
    for (int i = 0; i < 60 / HARNESS_SLOWNESS; i++) {
        hak_pool_fork_prepare();
        hak_vm_fork_prepare();
        struct harness_end end = harness_run(count_after_fork, &in_use);
        hak_vm_fork_parent();
        hak_pool_fork_parent();
        CHECK_EQUAL(end.status, 0);
    }
    atomic_store(&g_is_over, true);
    harness_join(thread);
}

static void test_fork(void **state) {
    harness_expect_well(fork_while_locked, NULL);
    harness_expect_well(fork_while_purging, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),        cmocka_unit_test(test_placement),
        cmocka_unit_test(test_skipped_units), cmocka_unit_test(test_purge),
        cmocka_unit_test(test_extend),        cmocka_unit_test(test_arenas),
        cmocka_unit_test(test_low_water),     cmocka_unit_test(test_debt),
        cmocka_unit_test(test_pay),           cmocka_unit_test(test_pay_huge),
        cmocka_unit_test(test_regret),        cmocka_unit_test(test_lanes),
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_fork),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
