/* src/arena/pool.c — the shared pool of free units. SPDX-License-Identifier: MIT */

/*
 * A free run is described in the descriptors of its first and last unit (boundary tags, Knuth 1.5
 * §2.5): `length` is there and nowhere else, so a neighbour finds it in one load. Bins are exact up
 * to 32 units, then 8 per doubling; a bitmap tells which have runs.
 *
 *   take    hak_pool_take -> pool_take_locked -> bins_find          a run that fits best
 *                                             -> frontier_take      untouched units of an arena
 *                                             -> hak_arena_create
 *   put     hak_pool_put -> pool_put_locked                         coalesce, insert
 *
 * What is put back joins free neighbours of the same kind of memory (zeroed or not). No free run
 * reaches above its arena's frontier.
 */

#include "arena/pool.h"

#include "arena/arena.h"
#include "arena/pagemap.h"
#include "base/bits.h"
#include "base/fatal.h"
#include "base/lock.h"
#include "base/log.h"

enum {
    POOL_EXACT_BINS = 32,
    POOL_BINS_PER_DOUBLING = 8,
    POOL_BIN_COUNT = POOL_EXACT_BINS + (24 - 5) * POOL_BINS_PER_DOUBLING,
    POOL_BIN_WORDS = (POOL_BIN_COUNT + 63) / 64,
    /* Runs looked at in one bin at first, for a better fit or a lower address. */
    POOL_SCAN_MAX = 16,
    /* Runs purged per round: bounds what is missing from the pool meanwhile. */
    POOL_PURGE_BATCH = 32
};

/* Overlay of a descriptor while its unit is the first (all fields) or last (`length`) of a run. */
struct run {
    uint32_t length; /* [P] units; 0 in every unit that is not the first or last of a free run */
    hak_unit next;   /* [P] */
    hak_unit prev;   /* [P] HAK_UNIT_NONE: first of its bin */
    bool is_zeroed;  /* [P] */
};

/* A run that is being given back to the kernel: in no bin. */
struct purge {
    hak_unit first;
    uint32_t length;
};

static struct {
    struct hak_lock lock;
    bool is_purging;                        /* [lock] */
    unsigned purging_count;                 /* [lock] */
    struct purge purging[POOL_PURGE_BATCH]; /* [lock] written by the purging thread only */
    size_t free_units;                      /* [lock] */
    size_t free_zeroed_units;               /* [lock] */
    uint64_t bin_bitmap[POOL_BIN_WORDS];    /* [lock] 1: the bin has runs */
    hak_unit bins[POOL_BIN_COUNT];          /* [lock] first runs */
} g_pool = {.lock = HAK_LOCK_INIT(HAK_RANK_POOL)};

static struct run *run_of(hak_unit unit) {
    return hak_unit_descriptor(unit);
}

/* ---- bins ---- */

static unsigned bin_of(uint32_t length) {
    if (length <= POOL_EXACT_BINS)
        return length - 1;
    unsigned log2 = hak_highest_bit(length);
    unsigned eighth = (length >> (log2 - 3)) & 7;
    return POOL_EXACT_BINS + (log2 - 5) * POOL_BINS_PER_DOUBLING + eighth;
}

static void bins_insert(hak_unit first, uint32_t length, bool is_zeroed) {
    unsigned bin = bin_of(length);
    struct run *run = run_of(first);
    run_of(first + length - 1)->length = length;
    run->length = length;
    run->is_zeroed = is_zeroed;
    run->prev = HAK_UNIT_NONE;
    run->next = g_pool.bins[bin];
    if (run->next != HAK_UNIT_NONE)
        run_of(run->next)->prev = first;
    g_pool.bins[bin] = first;
    g_pool.bin_bitmap[bin / 64] |= UINT64_C(1) << (bin % 64);
    g_pool.free_units += length;
    g_pool.free_zeroed_units += is_zeroed ? length : 0;
}

static void bins_remove(hak_unit first) {
    struct run *run = run_of(first);
    unsigned bin = bin_of(run->length);
    if (run->next != HAK_UNIT_NONE)
        run_of(run->next)->prev = run->prev;
    if (run->prev != HAK_UNIT_NONE)
        run_of(run->prev)->next = run->next;
    else
        g_pool.bins[bin] = run->next;
    if (g_pool.bins[bin] == HAK_UNIT_NONE)
        g_pool.bin_bitmap[bin / 64] &= ~(UINT64_C(1) << (bin % 64));
    g_pool.free_units -= run->length;
    g_pool.free_zeroed_units -= run->is_zeroed ? run->length : 0;
    run_of(first + run->length - 1)->length = 0;
    run->length = 0;
}

/* Next non-empty bin at or above `bin`; POOL_BIN_COUNT when there is none. */
static unsigned bins_next(unsigned bin) {
    if (bin >= POOL_BIN_COUNT)
        return POOL_BIN_COUNT;
    unsigned word = bin / 64;
    uint64_t bits = g_pool.bin_bitmap[word] & (~UINT64_C(0) << (bin % 64));
    while (bits == 0) {
        if (++word == POOL_BIN_WORDS)
            return POOL_BIN_COUNT;
        bits = g_pool.bin_bitmap[word];
    }
    return word * 64 + hak_lowest_bit(bits);
}

/* Alignment is of addresses; the window's base is a multiple of 1 GiB. */
static hak_unit unit_align_up(hak_unit unit, uint32_t align) {
    return (unit + align - 1) & ~(align - 1);
}

/* The run that holds an aligned block and fits best, of equals the lowest; NONE: no such run. */
static hak_unit bins_find(uint32_t count, uint32_t align, uint32_t scan_max) {
    for (unsigned bin = bins_next(bin_of(count)); bin < POOL_BIN_COUNT; bin = bins_next(bin + 1)) {
        hak_unit best = HAK_UNIT_NONE;
        uint32_t best_length = UINT32_MAX;
        hak_unit first = g_pool.bins[bin];
        for (uint32_t i = 0; first != HAK_UNIT_NONE && i < scan_max; i++) {
            const struct run *run = run_of(first);
            uint32_t lead = unit_align_up(first, align) - first;
            bool fits = run->length >= lead && run->length - lead >= count;
            bool is_better =
                run->length < best_length || (run->length == best_length && first < best);
            if (fits && is_better) {
                best = first;
                best_length = run->length;
            }
            first = run->next;
        }
        if (best != HAK_UNIT_NONE)
            return best;
    }
    return HAK_UNIT_NONE;
}

/* ---- put ---- */

static void pool_put_locked(hak_unit first, uint32_t count, bool is_zeroed) {
    hak_lock_assert_held(&g_pool.lock);
    const struct hak_arena *arena = hak_arena_of(first);
    hak_assert(first >= arena->begin);
    hak_assert(first + count <= arena->frontier);
    if (first > arena->begin) {
        uint32_t length = run_of(first - 1)->length;
        if (length > 0 && run_of(first - length)->is_zeroed == is_zeroed) {
            bins_remove(first - length);
            first -= length;
            count += length;
        }
    }
    hak_unit after = first + count;
    if (after < arena->frontier && run_of(after)->length > 0 &&
        run_of(after)->is_zeroed == is_zeroed) {
        uint32_t length = run_of(after)->length;
        bins_remove(after);
        count += length;
    }
    bins_insert(first, count, is_zeroed);
}

void hak_pool_put(hak_unit first, uint32_t count) {
    hak_log(HAK_LOG_POOL, "put", first, count);
    hak_lock_acquire(&g_pool.lock);
    pool_put_locked(first, count, false);
    hak_lock_release(&g_pool.lock);
}

/* ---- take ---- */

/* Cuts [start, start + count) out of a run that was in the bins; the rest goes back there. */
static struct hak_pool_run run_cut(hak_unit first, hak_unit start, uint32_t count) {
    uint32_t length = run_of(first)->length;
    bool is_zeroed = run_of(first)->is_zeroed;
    bins_remove(first);
    if (start > first)
        bins_insert(first, start - first, is_zeroed);
    if (first + length > start + count)
        bins_insert(start + count, first + length - start - count, is_zeroed);
    return (struct hak_pool_run){start, is_zeroed};
}

/* Untouched units above the arena's frontier, joined to a free run just below it. */
static struct hak_pool_run frontier_take(struct hak_arena *arena, uint32_t count, uint32_t align) {
    const struct hak_pool_run none = {HAK_UNIT_NONE, false};
    hak_unit below = arena->frontier;
    uint32_t tail = arena->frontier > arena->begin ? run_of(arena->frontier - 1)->length : 0;
    hak_unit start = unit_align_up(below - tail, align);
    if (start >= below) { /* the tail is of no use */
        tail = 0;
        start = unit_align_up(below, align);
    }
    if (start > arena->end || count > arena->end - start || !hak_arena_commit(arena, start + count))
        return none;
    bool is_zeroed = true;
    if (tail > 0) {
        is_zeroed = run_of(below - tail)->is_zeroed;
        bins_remove(below - tail);
        if (start > below - tail)
            bins_insert(below - tail, start - (below - tail), is_zeroed);
    }
    arena->frontier = start + count;
    if (start > below)
        pool_put_locked(below, start - below, true);
    return (struct hak_pool_run){start, is_zeroed};
}

static struct hak_pool_run pool_take_locked(uint32_t count, uint32_t align) {
    hak_lock_assert_held(&g_pool.lock);
    hak_unit found = bins_find(count, align, POOL_SCAN_MAX);
    /* Before memory grows, look at every run: those in front of a bin may all be a little short. */
    if (found == HAK_UNIT_NONE)
        found = bins_find(count, align, UINT32_MAX);
    if (found != HAK_UNIT_NONE)
        return run_cut(found, unit_align_up(found, align), count);
    for (uint32_t i = 1; i <= hak_atomic_load_relaxed(&hak_arenas.count); i++) {
        struct hak_pool_run run = frontier_take(hak_arenas.list[i], count, align);
        if (run.first != HAK_UNIT_NONE)
            return run;
    }
    struct hak_arena *arena = hak_arena_create(count + align - 1);
    if (arena == NULL)
        return (struct hak_pool_run){HAK_UNIT_NONE, false};
    return frontier_take(arena, count, align);
}

bool hak_pool_init(void) {
    hak_lock_acquire(&g_pool.lock);
    bool is_ready = hak_atomic_load_relaxed(&hak_arenas.count) > 0 || hak_arena_create(1) != NULL;
    hak_lock_release(&g_pool.lock);
    return is_ready;
}

struct hak_pool_run hak_pool_take(uint32_t count, uint32_t align) {
    hak_assert(count > 0);
    hak_assert(hak_is_power_of_two(align));
    hak_lock_acquire(&g_pool.lock);
    struct hak_pool_run run = pool_take_locked(count, align);
    hak_lock_release(&g_pool.lock);
    hak_log(HAK_LOG_POOL, "take", run.first, count);
    return run;
}

bool hak_pool_extend(hak_unit first, uint32_t old_count, uint32_t new_count) {
    struct hak_arena *arena = hak_arena_of(first);
    uint32_t added = new_count - old_count;
    hak_unit after = first + old_count;
    bool is_grown = false;
    hak_lock_acquire(&g_pool.lock);
    uint32_t length = after < arena->frontier ? run_of(after)->length : 0;
    if (length >= added) {
        run_cut(after, after, added);
        is_grown = true;
    } else if (after + length == arena->frontier && added <= arena->end - after &&
               hak_arena_commit(arena, after + added)) {
        if (length > 0)
            bins_remove(after);
        arena->frontier = after + added;
        is_grown = true;
    }
    hak_lock_release(&g_pool.lock);
    return is_grown;
}

/* ---- purge ---- */

/*
 * Takes dirty runs out of the bins, so that the kernel can be called without the lock. They stay
 * listed meanwhile: a child forked now finds them there.
 */
static unsigned purge_detach(void) {
    unsigned count = 0;
    hak_lock_acquire(&g_pool.lock);
    for (unsigned bin = bins_next(0); bin < POOL_BIN_COUNT && count < POOL_PURGE_BATCH;
         bin = bins_next(bin + 1)) {
        hak_unit next;
        for (hak_unit first = g_pool.bins[bin]; first != HAK_UNIT_NONE && count < POOL_PURGE_BATCH;
             first = next) {
            struct run *run = run_of(first);
            next = run->next;
            if (run->is_zeroed)
                continue;
            g_pool.purging[count++] = (struct purge){first, run->length};
            bins_remove(first);
        }
    }
    g_pool.purging_count = count;
    hak_lock_release(&g_pool.lock);
    return count;
}

static void purge_return(bool is_purged) {
    hak_lock_acquire(&g_pool.lock);
    struct purge done = g_pool.purging[--g_pool.purging_count];
    pool_put_locked(done.first, done.length, is_purged);
    hak_lock_release(&g_pool.lock);
}

/* One thread purges at a time; others have nothing to wait for. */
static bool purge_begin(void) {
    hak_lock_acquire(&g_pool.lock);
    bool may_begin = !g_pool.is_purging;
    g_pool.is_purging = true;
    hak_lock_release(&g_pool.lock);
    return may_begin;
}

size_t hak_pool_purge(enum hak_cause cause) {
    size_t bytes = 0;
    bool is_refused = false;
    unsigned count = POOL_PURGE_BATCH;
    if (!purge_begin())
        return 0;
    /* A refused run goes back dirty; one refusal ends the purge, or it would be found again. */
    while (count == POOL_PURGE_BATCH && !is_refused) {
        count = purge_detach();
        for (unsigned i = count; i-- > 0;) {
            struct purge run = g_pool.purging[i]; /* only this thread changes the list */
            size_t size = run.length * HAK_UNIT_SIZE;
            is_refused = is_refused || hak_vm_purge(hak_unit_address(run.first), size, cause) != 0;
            bytes += is_refused ? 0 : size;
            purge_return(!is_refused);
        }
    }
    hak_lock_acquire(&g_pool.lock);
    g_pool.is_purging = false;
    hak_lock_release(&g_pool.lock);
    return bytes;
}

struct hak_pool_stats hak_pool_stats(void) {
    struct hak_pool_stats stats = {0};
    hak_lock_acquire(&g_pool.lock);
    for (uint32_t i = 1; i <= hak_atomic_load_relaxed(&hak_arenas.count); i++) {
        const struct hak_arena *arena = hak_arenas.list[i];
        stats.reserved += (arena->end - arena->first_unit) * HAK_UNIT_SIZE;
        stats.committed += (arena->committed - arena->first_unit) * HAK_UNIT_SIZE;
        stats.metadata += (arena->begin - arena->first_unit) * HAK_UNIT_SIZE;
    }
    stats.free = g_pool.free_units * HAK_UNIT_SIZE;
    stats.free_zeroed = g_pool.free_zeroed_units * HAK_UNIT_SIZE;
    hak_lock_release(&g_pool.lock);
    return stats;
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
    while (g_pool.purging_count > 0)
        purge_return(false);
    g_pool.is_purging = false;
}
