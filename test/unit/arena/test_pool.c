/* test/unit/arena/test_pool.c — the shared pool of free units. SPDX-License-Identifier: MIT */

/*
 * Goal: what the pool hands out is free, aligned and as zero as it says; what comes back coalesces,
 * so that no two free runs touch; the fit is the best there is; purging gives all of it back to the
 * kernel.
 * Method: a shadow knows of each unit whether it is in use, free and dirty, or free and zero. It
 * foretells is_zeroed, the runs that must exist and every dirty bit; the pool's boundary tags and bits
 * (arena/run.h) are compared with it. Units in use are written to, so that a lie about zero is seen.
 */

#include "arena/arena.h"
#include "arena/pool.h"
#include "arena/run.h"
#include "base/bits.h"
#include "unit/harness.h"

/* ---- the shadow of the first arena ---- */

enum state { UNTOUCHED, USED, DIRTY, ZEROED }; /* UNTOUCHED: above the frontier */

static struct {
    struct hak_arena *arena;
    hak_unit frontier;
    unsigned char *state; /* by unit, from the arena's begin */
} g_shadow;

static unsigned char *shadow_of(hak_unit unit) {
    return &g_shadow.state[unit - g_shadow.arena->begin];
}

static void shadow_start(void) {
    hak_vm_init();
    CHECK(hak_pool_init());
    CHECK(hak_pool_init()); /* once is enough */
    CHECK_EQUAL(hak_atomic_load_relaxed(&hak_arenas.count), 1);
    struct hak_pool_run run = hak_pool_take(1, 1, HAK_LANE_PLAIN);
    CHECK(run.first != HAK_UNIT_NONE);
    g_shadow.arena = hak_arenas.list[1];
    CHECK_EQUAL(run.first, g_shadow.arena->begin);
    CHECK(run.is_zeroed);
    g_shadow.state = calloc(g_shadow.arena->end - g_shadow.arena->begin, 1);
    CHECK(g_shadow.state != NULL);
    g_shadow.frontier = g_shadow.arena->frontier;
    *shadow_of(run.first) = USED;
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
static void shadow_follow_frontier(void) {
    CHECK(g_shadow.arena->frontier >= g_shadow.frontier);
    while (g_shadow.frontier < g_shadow.arena->frontier)
        *shadow_of(g_shadow.frontier++) = ZEROED;
}

/* Marks them used; returns whether all of them were zero. */
static bool shadow_use(hak_unit first, uint32_t count) {
    bool all_zeroed = true;
    shadow_follow_frontier();
    for (hak_unit unit = first; unit < first + count; unit++) {
        CHECK(*shadow_of(unit) == DIRTY || *shadow_of(unit) == ZEROED);
        all_zeroed &= *shadow_of(unit) == ZEROED;
        *shadow_of(unit) = USED;
    }
    if (all_zeroed)
        CHECK(units_are_zero(first, count));
    return all_zeroed;
}

static void shadow_put(hak_unit first, uint32_t count) {
    for (hak_unit unit = first; unit < first + count; unit++) {
        CHECK_EQUAL(*shadow_of(unit), USED);
        *shadow_of(unit) = DIRTY;
    }
}

static uint32_t tag_length(hak_unit unit) {
    return hak_run_of(unit)->length;
}

/* The end of the run that starts here: all in use, or all free, dirty or not. */
static hak_unit shadow_run_end(hak_unit unit) {
    hak_unit end = unit;
    bool is_used = *shadow_of(unit) == USED;
    while (end < g_shadow.frontier && (*shadow_of(end) == USED) == is_used)
        end++;
    return end;
}

/* The pool has exactly the runs that the shadow has: maximal, with tags at both ends, dirty as it says. */
static void shadow_compare(void) {
    size_t free_units = 0;
    size_t zeroed_units = 0;
    CHECK_EQUAL(g_shadow.frontier, g_shadow.arena->frontier);
    hak_unit end;
    for (hak_unit unit = g_shadow.arena->begin; unit < g_shadow.frontier; unit = end) {
        uint32_t dirty = 0;
        end = shadow_run_end(unit);
        if (*shadow_of(unit) == USED) {
            for (hak_unit used = unit; used < end; used++)
                CHECK_EQUAL(tag_length(used), 0);
            continue;
        }
        for (hak_unit free = unit; free < end; free++) {
            bool is_dirty = *shadow_of(free) == DIRTY;
            CHECK_EQUAL(hak_dirty_count(free, 1), is_dirty);
            dirty += is_dirty;
        }
        CHECK_EQUAL(tag_length(unit), end - unit);
        CHECK_EQUAL(tag_length(end - 1), end - unit);
        CHECK_EQUAL(hak_run_of(unit)->dirty_count, dirty);
        free_units += end - unit;
        zeroed_units += end - unit - dirty;
    }
    CHECK_EQUAL(hak_pool_stats().free, free_units * HAK_UNIT_SIZE);
    CHECK_EQUAL(hak_pool_stats().free_zeroed, zeroed_units * HAK_UNIT_SIZE);
}

static hak_unit take(uint32_t count, uint32_t align) {
    struct hak_pool_run run = hak_pool_take(count, align, HAK_LANE_PLAIN);
    CHECK(run.first >= g_shadow.arena->begin);
    CHECK(run.first < g_shadow.arena->end); /* tests of the shadow stay in the first arena */
    CHECK_EQUAL((uintptr_t)hak_unit_address(run.first) % (align * HAK_UNIT_SIZE), 0);
    CHECK_EQUAL(run.is_zeroed, shadow_use(run.first, count));
    units_touch(run.first, count);
    return run.first;
}

static void put(hak_unit first, uint32_t count) {
    shadow_put(first, count);
    hak_pool_put(first, count);
}

static void purge(void) {
    size_t dirty = hak_pool_stats().free - hak_pool_stats().free_zeroed;
    CHECK_EQUAL(hak_pool_purge(HAK_CAUSE_TRIM), dirty);
    for (hak_unit unit = g_shadow.arena->begin; unit < g_shadow.frontier; unit++) {
        if (*shadow_of(unit) == DIRTY) {
            *shadow_of(unit) = ZEROED;
            CHECK(units_are_zero(unit, 1));
        }
    }
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
    g_held.list[g_held.count++] = (struct held){take(count, align), count};
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
    bool is_free = after < g_shadow.frontier && *shadow_of(after) != USED;
    hak_unit end = is_free ? shadow_run_end(after) : after;
    bool is_room = end - after >= added || end == g_shadow.frontier;
    CHECK_EQUAL(hak_pool_extend(held->first, held->count, held->count + added), is_room);
    if (is_room) {
        shadow_use(after, added);
        units_touch(after, added);
        held->count += added;
    }
}

static void put_all(void) {
    while (g_held.count > 0) {
        size_t i = harness_below(g_held.count);
        put(g_held.list[i].first, g_held.list[i].count);
        g_held.list[i] = g_held.list[--g_held.count];
    }
    put(g_shadow.arena->begin, 1); /* shadow_start() took it */
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
        if (step % COMPARE_EVERY == 0)
            shadow_compare();
    }
    CHECK_EQUAL(hak_atomic_load_relaxed(&hak_arenas.count), 1); /* the shadow saw everything */
    put_all();
    shadow_compare();
    purge();
    shadow_compare();
    /* all of it is one run again */
    uint32_t all = g_shadow.frontier - g_shadow.arena->begin;
    CHECK_EQUAL(tag_length(g_shadow.arena->begin), all);
    CHECK_EQUAL(take(all, 1), g_shadow.arena->begin);
    CHECK_EQUAL(g_shadow.arena->frontier, g_shadow.frontier);
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
    if (base > g_shadow.arena->begin + 1)
        take(base - g_shadow.arena->begin - 1, 1); /* what was skipped would fit as well */
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
    CHECK_EQUAL(base + 10, g_shadow.frontier);
    put(base + 4, 6);
    CHECK_EQUAL(take(20, 1), base + 4);
    CHECK_EQUAL(g_shadow.frontier, base + 24);
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
    take(2 * ALIGN - g_shadow.frontier % ALIGN, 1);
    CHECK_EQUAL(g_shadow.frontier % ALIGN, 0);
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

/* ---- extend across the frontier, and over the arena's end ---- */

static void extend_to_end(void *argument) {
    shadow_start();
    struct hak_arena *arena = g_shadow.arena;
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
    hak_pool_put(g_shadow.arena->begin, 1);
    hak_pool_purge(HAK_CAUSE_TRIM);
    CHECK_EQUAL(tag_length(g_shadow.arena->begin),
                g_shadow.arena->frontier - g_shadow.arena->begin);
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
    const struct hak_arena *arena = g_shadow.arena;
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
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_fork),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
