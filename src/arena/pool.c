/* src/arena/pool.c — the shared pool of free units. SPDX-License-Identifier: MIT */

/*
 *   take    hak_pool_take -> lane_take -> hak_run_find          a free run that fits best
 *                                      -> frontier_take         untouched units of an arena
 *                                      -> hak_arena_create
 *   put     hak_pool_put  -> hak_run_insert                     dirty; joins its neighbours
 *   purge   hak_pool_epoch                                      low water of the epoch = debt
 *           hak_pool_pay  -> pay_begin -> purge_detach          largest runs first, out of the bins
 *                         -> purge_end -> purge_detached        the kernel, without the lock
 *                                      -> purge_return          back into the bins, clean
 *
 * In the huge lane an epoch gives back whole huge pages; parts of them only when the rest of the huge
 * page was not wanted for some epochs more, because what is cut up stays so.
 */

#include "arena/pool.h"

#include <errno.h>

#include "arena/pagemap.h"
#include "arena/run.h"
#include "base/bits.h"
#include "base/fatal.h"
#include "base/lock.h"
#include "base/log.h"

enum {
    /* Ranges per round of a purge: one system call, or each its own on kernels that cannot. */
    POOL_PURGE_BATCH = 256,
    /* Units one payment may give back: 64 MiB take the kernel some 10 ms in 4 KiB pages. */
    POOL_PAY_UNITS_MAX = 1024,
    /* Units of a run worth a system call of its own: at most 16 calls per 32 MiB. */
    POOL_SINGLE_UNITS_MIN = 32,
    /* Epochs of debt after which also parts of huge pages go. */
    POOL_PARTIAL_EPOCHS = 2,
    /*
     * Units of a run whose descriptors go back with it: 8 KiB of them, two OS pages of 4 KiB, and more of bitmap
     * lines. Larger OS pages go back where a run has whole ones.
     */
    POOL_META_UNITS_MIN = 128,
};

/* Bytes of one thing from which it has proved large (docs/decisions/e4-lanes.md). */
#define POOL_PROVED_BYTES ((size_t)256 << 10)
/* Spans this large go to the huge lane whatever the process has. */
#define POOL_HUGE_ALWAYS_BYTES HAK_SUPERSLAB_SIZE

/* A run that is being given back to the kernel: in no bin. */
struct purge {
    hak_unit first;
    uint32_t length;
};

/*
 * Memory is owed that nobody wanted for an epoch, and that nobody wants until it is paid:
 *
 *   debt + retained <= low_water <= dirty and free now          unless debt is 0
 */
struct lane {
    struct hak_lane_runs runs;
    size_t low_water;     /* units: least that was dirty and free since the epoch began */
    size_t debt;          /* units: owed to the kernel */
    unsigned debt_epochs; /* in a row */
    unsigned age;         /* epochs since low_water was begun */
};

static struct {
    struct hak_lock lock;
    struct lane lanes[HAK_LANE_COUNT];      /* [lock] */
    _Atomic size_t used_units;              /* [S] taken and not put back */
    _Atomic size_t debt_bytes;              /* [S] */
    _Atomic size_t dirty_units;             /* [S] free, of both lanes */
    struct hak_pool_regret regret;          /* [lock] */
    _Atomic bool is_epoch_off;              /* [A] the kernel refuses to take memory back */
    bool is_purging;                        /* [lock] */
    unsigned purging_count;                 /* [lock] */
    struct purge purging[POOL_PURGE_BATCH]; /* [lock] written by the purging thread only */
} g_pool = {.lock = HAK_LOCK_INIT(HAK_RANK_POOL)};

/* 4 MiB: below, a process lives in 4 KiB pages and what it does not touch costs nothing (E4). */
struct hak_pool_policy hak_pool_policy = {.huge_from = 64, .delay = 1};

static struct lane *lane_of(hak_unit unit) {
    return &g_pool.lanes[hak_arena_of(unit)->lane];
}

enum hak_lane hak_pool_lane(size_t bytes) {
    if (!hak_vm_has_huge())
        return HAK_LANE_PLAIN;
    size_t from = hak_atomic_load_relaxed(&hak_pool_policy.huge_from);
    bool is_large_process = hak_atomic_load_relaxed(&g_pool.used_units) >= from;
    bool is_huge = (bytes >= POOL_PROVED_BYTES && is_large_process) || from == 0 ||
                   bytes >= POOL_HUGE_ALWAYS_BYTES;
    return is_huge ? HAK_LANE_HUGE : HAK_LANE_PLAIN;
}

/* ---- take ---- */

static void debt_publish(void) {
    size_t units = g_pool.lanes[HAK_LANE_PLAIN].debt + g_pool.lanes[HAK_LANE_HUGE].debt;
    hak_atomic_store_relaxed(&g_pool.debt_bytes, units * HAK_UNIT_SIZE);
}

static void dirty_publish(void) {
    hak_atomic_store_relaxed(&g_pool.dirty_units, g_pool.lanes[HAK_LANE_PLAIN].runs.dirty_units +
                                                      g_pool.lanes[HAK_LANE_HUGE].runs.dirty_units);
}

static void lane_set_debt(struct lane *lane, size_t units) {
    if (lane->debt != units) {
        lane->debt = units;
        debt_publish();
    }
}

/* Units that were dirty and free all the time, but for those that shall be kept. */
static size_t lane_unwanted(const struct lane *lane) {
    size_t retain = hak_atomic_load_relaxed(&hak_pool_policy.retain_units);
    return lane->low_water > retain ? lane->low_water - retain : 0;
}

/* Units were taken: what of them comes back before the debt is paid is not owed any more. */
static void lane_note_low_water(struct lane *lane) {
    lane->low_water = hak_min(lane->low_water, lane->runs.dirty_units);
    dirty_publish();
    lane_set_debt(lane, hak_min(lane->debt, lane_unwanted(lane)));
}

/* Untouched units above the arena's frontier, joined to a free run just below it. */
static struct hak_pool_run frontier_take(struct lane *lane, struct hak_arena *arena, uint32_t count,
                                         uint32_t align) {
    const struct hak_pool_run none = {HAK_UNIT_NONE, false};
    hak_unit below = arena->frontier;
    uint32_t tail = below > arena->begin ? hak_run_of(below - 1)->length : 0;
    hak_unit start = hak_unit_align_up(below - tail, align);
    if (start > arena->end || count > arena->end - start)
        return none;
    hak_unit end = start + count;
    if (!hak_arena_commit(arena, end))
        return none;
    arena->frontier = (hak_unit)hak_max(end, below);
    if (arena->frontier > below)
        hak_run_insert(&lane->runs, below, arena->frontier - below); /* joins the tail */
    uint32_t dirty = hak_run_cut(&lane->runs, below - tail, start, count);
    return (struct hak_pool_run){start, dirty == 0};
}

static struct hak_pool_run lane_take(enum hak_lane which, uint32_t count, uint32_t align,
                                     bool may_reserve) {
    struct lane *lane = &g_pool.lanes[which];
    struct hak_pool_run run = {HAK_UNIT_NONE, false};
    hak_unit found = hak_run_find(&lane->runs, count, align);
    if (found != HAK_UNIT_NONE) {
        run.first = hak_unit_align_up(found, align);
        uint32_t dirty = hak_run_cut(&lane->runs, found, run.first, count);
        run.is_zeroed = dirty == 0;
        g_pool.regret.wanted_again += count - dirty;
    }
    uint32_t arena_count = hak_atomic_load_relaxed(&hak_arenas.count);
    for (uint32_t i = 1; i <= arena_count && run.first == HAK_UNIT_NONE; i++) {
        if (hak_arenas.list[i]->lane == which)
            run = frontier_take(lane, hak_arenas.list[i], count, align);
    }
    struct hak_arena *arena = NULL;
    if (run.first == HAK_UNIT_NONE && may_reserve)
        arena = hak_arena_create(count + align - 1, which);
    if (arena)
        run = frontier_take(lane, arena, count, align);
    lane_note_low_water(lane);
    return run;
}

bool hak_pool_init(void) {
    hak_lock_acquire(&g_pool.lock);
    bool is_ready = hak_atomic_load_relaxed(&hak_arenas.count) > 0 ||
                    hak_arena_create(1, HAK_LANE_PLAIN) != NULL;
    hak_lock_release(&g_pool.lock);
    return is_ready;
}

struct hak_pool_run hak_pool_take(uint32_t count, uint32_t align, enum hak_lane lane) {
    hak_assert(count > 0);
    hak_assert(hak_is_power_of_two(align));
    enum hak_lane other = lane == HAK_LANE_PLAIN ? HAK_LANE_HUGE : HAK_LANE_PLAIN;
    hak_lock_acquire(&g_pool.lock);
    struct hak_pool_run run = lane_take(lane, count, align, true);
    if (HAK_UNLIKELY(run.first == HAK_UNIT_NONE))
        run = lane_take(other, count, align, false);
    hak_lock_release(&g_pool.lock);
    if (run.first != HAK_UNIT_NONE)
        hak_atomic_add_relaxed(&g_pool.used_units, count);
    hak_log(HAK_LOG_POOL, "take", run.first, count);
    return run;
}

/* ---- put, extend ---- */

void hak_pool_put(hak_unit first, uint32_t count) {
    hak_log(HAK_LOG_POOL, "put", first, count);
    hak_atomic_sub_relaxed(&g_pool.used_units, count);
    hak_lock_acquire(&g_pool.lock);
    hak_dirty_set(first, count, true);
    hak_run_insert(&lane_of(first)->runs, first, count);
    dirty_publish();
    hak_lock_release(&g_pool.lock);
}

static bool extend_locked(struct hak_arena *arena, hak_unit after, uint32_t added) {
    struct lane *lane = &g_pool.lanes[arena->lane];
    uint32_t length = after < arena->frontier ? hak_run_of(after)->length : 0;
    if (length < added) {
        hak_unit end = after + added;
        if (after + length != arena->frontier || added > arena->end - after ||
            !hak_arena_commit(arena, end))
            return false;
        hak_unit below = arena->frontier;
        arena->frontier = end;
        hak_run_insert(&lane->runs, below, end - below);
    }
    hak_run_cut(&lane->runs, after, after, added);
    lane_note_low_water(lane);
    return true;
}

bool hak_pool_extend(hak_unit first, uint32_t old_count, uint32_t new_count) {
    uint32_t added = new_count - old_count;
    hak_lock_acquire(&g_pool.lock);
    bool is_grown = extend_locked(hak_arena_of(first), first + old_count, added);
    hak_lock_release(&g_pool.lock);
    if (is_grown)
        hak_atomic_add_relaxed(&g_pool.used_units, added);
    return is_grown;
}

/* ---- purge ---- */

/* What of the run may be given back now: in the huge lane whole huge pages, unless parts may go too. */
static bool purge_part(hak_unit first, enum hak_lane lane, bool whole_pages_only, size_t units_max,
                       struct purge *out) {
    hak_unit start = first;
    uint32_t count = hak_run_of(first)->length;
    if (!hak_dirty_trim(&start, &count))
        return false;
    hak_unit end = start + count;
    if (lane == HAK_LANE_HUGE && whole_pages_only) {
        /* The page is whole also where its edge is free and clean. */
        hak_unit run_end = first + hak_run_of(first)->length;
        start = hak_unit_align_up((hak_unit)hak_max(first, start & ~(HAK_SUPERSLAB_UNITS - 1)),
                                  HAK_SUPERSLAB_UNITS);
        end = (hak_unit)hak_min(hak_unit_align_up(end, HAK_SUPERSLAB_UNITS), run_end) &
              ~(HAK_SUPERSLAB_UNITS - 1);
        if (start >= end)
            return false;
        /* What made it dirty may lie in the parts left out: the last page shall have some of it. */
        count = end - start;
        if (!hak_dirty_trim(&start, &count))
            return false;
        end = hak_unit_align_up(start + count, HAK_SUPERSLAB_UNITS);
        start &= ~(HAK_SUPERSLAB_UNITS - 1);
        units_max = hak_max(units_max & ~(size_t)(HAK_SUPERSLAB_UNITS - 1), HAK_SUPERSLAB_UNITS);
    }
    count = (uint32_t)hak_min(end - start, units_max); /* from the end: low addresses serve first */
    *out = (struct purge){end - count, count};
    return true;
}

struct purge_wish {
    size_t units_max;  /* in all */
    uint32_t part_min; /* units: smaller ones stay */
    bool whole_pages_only;
};

/*
 * Takes dirty runs of a lane out of the bins, largest first, so that the kernel can be called without
 * the lock. They stay listed meanwhile: a child forked now finds them there. Returns dirty units.
 */
static size_t purge_detach(enum hak_lane which, struct purge_wish wish) {
    struct hak_lane_runs *runs = &g_pool.lanes[which].runs;
    size_t units = 0;
    for (unsigned bin = HAK_RUN_BIN_COUNT; bin-- > 0 && runs->dirty_units > 0;) {
        hak_unit next;
        for (hak_unit first = runs->bins[bin]; first != HAK_UNIT_NONE; first = next) {
            const struct hak_run *run = hak_run_of(first);
            next = run->next;
            struct purge part;
            if (units >= wish.units_max || g_pool.purging_count == POOL_PURGE_BATCH)
                return units;
            if (run->dirty_count == 0 ||
                !purge_part(first, which, wish.whole_pages_only, wish.units_max - units, &part) ||
                part.length < wish.part_min)
                continue;
            units += hak_run_cut(runs, first, part.first, part.length);
            g_pool.purging[g_pool.purging_count++] = part;
        }
    }
    return units;
}

/* The purging thread's: too much for a small stack. */
static struct hak_prim_range g_pool_ranges[HAK_PRIM_RANGES_MAX];

/* Calls the kernel for what is listed; false: it refused. Only this thread changes the list. */
static bool purge_detached(enum hak_cause cause) {
    struct hak_prim_range *ranges = g_pool_ranges;
    const unsigned count = g_pool.purging_count;
    for (unsigned i = 0; i < count; i++)
        ranges[i] = (struct hak_prim_range){hak_unit_address(g_pool.purging[i].first),
                                            g_pool.purging[i].length * HAK_UNIT_SIZE};
    unsigned with_meta = count;
    for (unsigned i = 0; i < count && with_meta + HAK_ARENA_META_RANGES <= HAK_PRIM_RANGES_MAX;
         i++) {
        struct purge run = g_pool.purging[i];
        if (run.length >= POOL_META_UNITS_MIN)
            with_meta += hak_arena_inner_meta(run.first, run.length, &ranges[with_meta]);
    }
    if (with_meta > 1 && hak_vm_purge_ranges(ranges, with_meta, cause) == 0)
        return true;
    int error = 0;
    for (unsigned i = 0; i < count && error == 0; i++)
        error = hak_vm_purge(ranges[i].start, ranges[i].size, cause);
    return error == 0;
}

static void purge_return(bool is_purged) {
    while (g_pool.purging_count > 0) {
        struct purge done = g_pool.purging[--g_pool.purging_count];
        if (is_purged)
            hak_dirty_set(done.first, done.length, false);
        hak_run_insert(&lane_of(done.first)->runs, done.first, done.length);
    }
    dirty_publish();
}

/*
 * One round: purge_begin() under the lock, the kernel without it. One thread purges at a time (is_purging):
 * others have nothing to wait for.
 */
static size_t purge_begin(enum hak_lane lane, struct purge_wish wish) {
    hak_assert(!g_pool.is_purging);
    size_t units = purge_detach(lane, wish);
    g_pool.is_purging = units > 0;
    return units;
}

/* Returns the units given back. */
static size_t purge_end(size_t units, enum hak_cause cause) {
    if (units == 0)
        return 0;
    bool is_purged = purge_detached(cause);
    hak_lock_acquire(&g_pool.lock);
    purge_return(is_purged);
    g_pool.is_purging = false;
    if (cause == HAK_CAUSE_EPOCH && is_purged)
        g_pool.regret.given_back += units;
    if (cause == HAK_CAUSE_EPOCH && !is_purged) {
        hak_atomic_store_relaxed(&g_pool.is_epoch_off, true);
        for (int i = 0; i < HAK_LANE_COUNT; i++)
            lane_set_debt(&g_pool.lanes[i], 0);
    }
    hak_lock_release(&g_pool.lock);
    return is_purged ? units : 0;
}

size_t hak_pool_purge(enum hak_cause cause) {
    const struct purge_wish all = {.units_max = SIZE_MAX};
    size_t paid = 0;
    for (int i = 0; i < HAK_LANE_COUNT; i++) {
        size_t units;
        do {
            hak_lock_acquire(&g_pool.lock);
            units = g_pool.is_purging ? 0 : purge_begin((enum hak_lane)i, all);
            lane_note_low_water(
                &g_pool.lanes[i]); /* what becomes dirty next is new in this epoch */
            hak_lock_release(&g_pool.lock);
            units = purge_end(units, cause);
            paid += units;
        } while (units > 0);
    }
    return paid * HAK_UNIT_SIZE;
}

/* ---- epochs ---- */

size_t hak_pool_debt(void) {
    return hak_atomic_load_relaxed(&g_pool.debt_bytes);
}

size_t hak_pool_epoch(void) {
    bool is_off = hak_atomic_load_relaxed(&g_pool.is_epoch_off);
    hak_lock_acquire(&g_pool.lock);
    for (int i = 0; i < HAK_LANE_COUNT; i++) {
        struct lane *lane = &g_pool.lanes[i];
        if (++lane->age < hak_atomic_load_relaxed(&hak_pool_policy.delay))
            continue;
        lane->age = 0;
        lane_set_debt(lane, is_off ? 0 : lane_unwanted(lane));
        lane->debt_epochs = lane->debt > 0 ? lane->debt_epochs + 1 : 0;
        lane->low_water = lane->runs.dirty_units;
    }
    hak_lock_release(&g_pool.lock);
    return hak_pool_debt();
}

size_t hak_pool_kept(void) {
    size_t units = hak_atomic_load_relaxed(&g_pool.dirty_units);
    size_t retain = hak_atomic_load_relaxed(&hak_pool_policy.retain_units);
    return units > retain ? (units - retain) * HAK_UNIT_SIZE : 0;
}

void hak_pool_owe_all(void) {
    bool is_off = hak_atomic_load_relaxed(&g_pool.is_epoch_off);
    hak_lock_acquire(&g_pool.lock);
    for (int i = 0; i < HAK_LANE_COUNT && !is_off; i++) {
        struct lane *lane = &g_pool.lanes[i];
        lane->low_water = lane->runs.dirty_units; /* as if it had been free all the time */
        lane->debt_epochs = POOL_PARTIAL_EPOCHS;
        lane_set_debt(lane, lane_unwanted(lane));
    }
    hak_lock_release(&g_pool.lock);
}

struct hak_pool_regret hak_pool_take_regret(void) {
    hak_lock_acquire(&g_pool.lock);
    struct hak_pool_regret regret = g_pool.regret;
    g_pool.regret = (struct hak_pool_regret){0, 0};
    hak_lock_release(&g_pool.lock);
    return regret;
}

size_t hak_pool_used_units(void) {
    return hak_atomic_load_relaxed(&g_pool.used_units);
}

/* The next piece of what a lane owes, at most `units_max`, taken out of the bins: dirty units. */
static size_t pay_begin(enum hak_lane which, size_t units_max) {
    struct lane *lane = &g_pool.lanes[which];
    struct purge_wish wish = {
        .units_max = hak_min(lane->debt, units_max),
        .part_min = hak_vm_can_purge_ranges() ? 1 : POOL_SINGLE_UNITS_MIN,
        .whole_pages_only = lane->debt_epochs < POOL_PARTIAL_EPOCHS,
    };
    if (wish.units_max == 0)
        return 0;
    size_t units = purge_begin(which, wish);
    /* Nothing found: the rest of the debt lies in pieces that stay. */
    lane_set_debt(lane, units > 0 ? lane->debt - hak_min(units, lane->debt) : 0);
    lane_note_low_water(lane); /* what becomes dirty next is new in this epoch */
    return units;
}

size_t hak_pool_pay(void) {
    size_t paid = 0;
    for (int i = 0; i < HAK_LANE_COUNT; i++) {
        hak_lock_acquire(&g_pool.lock);
        bool is_busy = g_pool.is_purging; /* another thread is at it; the debt stands */
        size_t units = is_busy ? 0 : pay_begin((enum hak_lane)i, POOL_PAY_UNITS_MAX - paid);
        hak_lock_release(&g_pool.lock);
        if (is_busy)
            break;
        paid += purge_end(units, HAK_CAUSE_EPOCH);
    }
    return paid * HAK_UNIT_SIZE;
}

/* ---- looking ---- */

HAK_AUDIT uint32_t hak_pool_purging_at(hak_unit first) {
    for (unsigned i = 0; i < g_pool.purging_count; i++) {
        if (g_pool.purging[i].first == first)
            return g_pool.purging[i].length;
    }
    return 0;
}

static HAK_AUDIT void lane_audit(struct hak_audit *audit, enum hak_lane which,
                                 const struct hak_units_found *found) {
    const struct lane *lane = &g_pool.lanes[which];
    struct hak_place place = {.part = which == HAK_LANE_PLAIN ? "plain lane" : "huge lane"};
    struct hak_run_totals totals = hak_run_audit_bins(audit, &lane->runs, which);
    hak_audit_expect(audit, &place, "free runs in its bins", totals.runs, found->runs[which]);
    hak_audit_expect(audit, &place, "free units in its bins", totals.units, found->free[which]);
    hak_audit_expect(audit, &place, "its free units", lane->runs.free_units, totals.units);
    hak_audit_expect(audit, &place, "its dirty units", lane->runs.dirty_units, totals.dirty_units);
    hak_audit_expect(audit, &place, "debt <= low water <= dirty units",
                     lane->debt <= lane->low_water && lane->low_water <= lane->runs.dirty_units, 1);
}

HAK_AUDIT void hak_pool_audit(struct hak_audit *audit, const struct hak_units_found *found) {
    const struct hak_place place = {.part = "pool"};
    size_t debt = 0;
    size_t dirty = 0;
    size_t purging = 0;
    for (int i = 0; i < HAK_LANE_COUNT; i++) {
        lane_audit(audit, (enum hak_lane)i, found);
        debt += g_pool.lanes[i].debt;
        dirty += g_pool.lanes[i].runs.dirty_units;
    }
    for (unsigned i = 0; i < g_pool.purging_count; i++)
        purging += g_pool.purging[i].length;
    hak_audit_expect(audit, &place, "published debt in bytes", hak_pool_debt(),
                     debt * HAK_UNIT_SIZE);
    hak_audit_expect(audit, &place, "published dirty units",
                     hak_atomic_load_relaxed(&g_pool.dirty_units), dirty);
    hak_audit_expect(audit, &place, "units being purged", purging, found->purging);
    hak_audit_expect(audit, &place, "a thread purges", g_pool.is_purging, g_pool.purging_count > 0);
    if (audit->is_quiescent) /* else some are taken and not yet counted, or on their way back */
        hak_audit_expect(audit, &place, "units in use", hak_pool_used_units(), found->used);
}

/* ---- statistics, fork ---- */

struct hak_pool_stats hak_pool_stats(void) {
    struct hak_pool_stats stats = {0};
    hak_lock_acquire(&g_pool.lock);
    for (uint32_t i = 1; i <= hak_atomic_load_relaxed(&hak_arenas.count); i++) {
        const struct hak_arena *arena = hak_arenas.list[i];
        stats.reserved += (arena->end - arena->first_unit) * HAK_UNIT_SIZE;
        stats.committed += (arena->committed - arena->first_unit) * HAK_UNIT_SIZE;
        stats.metadata += (arena->begin - arena->first_unit) * HAK_UNIT_SIZE;
    }
    for (int i = 0; i < HAK_LANE_COUNT; i++) {
        const struct hak_lane_runs *runs = &g_pool.lanes[i].runs;
        stats.free += runs->free_units * HAK_UNIT_SIZE;
        stats.free_zeroed += (runs->free_units - runs->dirty_units) * HAK_UNIT_SIZE;
    }
    hak_lock_release(&g_pool.lock);
    return stats;
}

struct hak_lock *hak_pool_lock(void) {
    return &g_pool.lock;
}

void hak_pool_fork_prepare(void) HAK_NO_LOCK_ANALYSIS {
    hak_lock_acquire_for_fork(&g_pool.lock);
}

void hak_pool_fork_parent(void) HAK_NO_LOCK_ANALYSIS {
    hak_lock_release(&g_pool.lock);
}

/* The thread that was purging does not exist here; whether its runs were purged is not known. */
void hak_pool_fork_child(void) {
    hak_lock_reset(&g_pool.lock);
    purge_return(false);
    g_pool.is_purging = false;
}
