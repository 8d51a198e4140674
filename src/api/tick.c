/* src/api/tick.c — what slow paths do besides: epochs. SPDX-License-Identifier: MIT */

/*
 *   slow path -> hak_tick -> tick_process    one thread, when an epoch is over: idle orphans, what is owed
 *                                            to the kernel, ACE, idle slabs
 *                         -> hak_heap_note_epoch   each thread for its own heap, once an epoch
 *                         -> hak_pool_pay          any thread, while something is owed: a bounded piece
 *                         -> tick_heed_group       any thread, near the limit of the control group
 *
 * A process that stops calling malloc never ticks. The helper thread, if asked for, does it then.
 */

#include "api/tick.h"

#include <stdint.h>

#include "ace/ace.h"
#include "arena/pool.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/compiler.h"
#include "heap/fork.h"
#include "heap/heap.h"
#include "large/big.h"
#include "prim/prim.h"
#include "stats/ledger.h"
#include "vm/group.h"

enum {
    TICK_EPOCH_MS = 500,     /* memory goes back when it was free for one to two of them */
    TICK_CALLS = 16,         /* slow paths per look at the clock: at 100 a second, 0.16 s */
    TICK_LIMIT_SHARE = 16,   /* near the group's limit 1/16 of it is kept at most, */
    TICK_KEPT_MIN = 16 << 20 /* or so many bytes: 2 to 8 ms of page faults */
};

static struct {
    _Atomic uint64_t epoch_end_ms; /* [A] 0: none has begun */
    _Atomic uint32_t epoch;        /* [A] number of the current one */
    _Atomic uint32_t processing;   /* [A] hak_fork_generation() + 1 of who is at it; 0: nobody */
    _Atomic bool has_idle_slabs;   /* [A] not all have been looked at in this epoch */
    _Atomic size_t kept_max;       /* [A] bytes kept for later, from which on the limit matters */
} g_tick = {.kept_max = TICK_KEPT_MIN};

static _Thread_local uint32_t t_tick_calls;

/*
 * One thread at a time; the next one sees what it wrote. However long it takes (the process may have been
 * stopped meanwhile), only in a forked child is it gone.
 */
static bool tick_begin(void) {
    uint32_t self = hak_fork_generation() + 1;
    uint32_t processing = hak_atomic_load_relaxed(&g_tick.processing);
    if (processing == self)
        return false;
    /* Acquire: pairs with the release in tick_end(); ACE's books, the purge's. */
    return hak_atomic_cas_acquire(&g_tick.processing, &processing, self);
}

static void tick_end(void) {
    /* Release: as above. */
    hak_atomic_store_release(&g_tick.processing, 0);
}

static void tick_process(uint64_t now) {
    if (!tick_begin())
        return;
    uint32_t epoch = hak_atomic_load_relaxed(&g_tick.epoch) + 1;
    hak_atomic_store_relaxed(&g_tick.epoch, epoch);
    hak_heap_reap(epoch);
    hak_big_purge(now, TICK_EPOCH_MS, HAK_CAUSE_EPOCH);
    hak_pool_epoch();
    hak_ace_epoch(now);
    hak_atomic_store_relaxed(&g_tick.has_idle_slabs, hak_heap_purge_idle(true));
    tick_end();
}

/* Gives back a bounded piece of what epochs have found. True: it did, and there may be more. */
static bool tick_pay(void) {
    bool has_paid = hak_pool_debt() > 0 && hak_pool_pay() > 0;
    if (hak_atomic_load_relaxed(&g_tick.has_idle_slabs) && tick_begin()) {
        hak_atomic_store_relaxed(&g_tick.has_idle_slabs, hak_heap_purge_idle(false));
        tick_end();
        has_paid = true;
    }
    return has_paid;
}

/* Bytes of free memory that nobody has given back yet. */
static size_t tick_kept(void) {
    return hak_pool_kept() + hak_big_stats().cached_bytes;
}

/*
 * Near the limit of the process's control group what is kept goes back at once: before the next epoch the
 * kernel might have killed the process for it. In large steps, so that it does not fault in again and
 * again what it gave back.
 */
static HAK_NOINLINE void tick_heed_group(void) {
    size_t limit = hak_vm_group_limit();
    if (limit == SIZE_MAX) {
        hak_atomic_store_relaxed(&g_tick.kept_max, SIZE_MAX);
        return;
    }
    size_t step = hak_max(limit / TICK_LIMIT_SHARE, TICK_KEPT_MIN);
    size_t in_use = hak_pool_used_units() * HAK_UNIT_SIZE + hak_big_stats().bytes;
    size_t kept_max = step;
    if (tick_kept() > step && in_use + tick_kept() > limit - limit / 4) {
        hak_big_purge(0, 0, HAK_CAUSE_EPOCH);
        hak_pool_owe_all();
        while (hak_pool_pay() > 0)
            ;
        if (tick_kept() > step) /* the kernel refuses, or it lies in pieces that stay */
            kept_max = tick_kept() + step;
    }
    hak_atomic_store_relaxed(&g_tick.kept_max, kept_max);
}

/* Is the epoch over? Of several threads one is told so. */
static bool tick_is_due(uint64_t now) {
    uint64_t end = hak_atomic_load_relaxed(&g_tick.epoch_end_ms);
    return now >= end && hak_atomic_cas_relaxed(&g_tick.epoch_end_ms, &end, now + TICK_EPOCH_MS) &&
           end != 0;
}

void hak_tick(void) {
    if (HAK_UNLIKELY(hak_pool_debt() > 0 || hak_atomic_load_relaxed(&g_tick.has_idle_slabs)))
        tick_pay();
    if (HAK_UNLIKELY(tick_kept() > hak_atomic_load_relaxed(&g_tick.kept_max)))
        tick_heed_group();
    if (HAK_LIKELY(++t_tick_calls % TICK_CALLS != 0))
        return;
    uint64_t now = hak_prim_clock_ms();
    bool is_due = tick_is_due(now);
    struct hak_heap *heap = hak_heap_current();
    uint32_t epoch = hak_atomic_load_relaxed(&g_tick.epoch) + is_due;
    if (heap && heap->epoch != epoch)
        hak_heap_note_epoch(heap, epoch); /* first: what it frees counts for the next epoch whole */
    if (is_due)
        tick_process(now);
}

/* ---- the helper thread ---- */

static void tick_help(void) {
    for (;;) {
        /* Without its time: sleeping costs nothing. */
        hak_ledger_add(HAK_CALL_CLOCK_NANOSLEEP, HAK_CAUSE_HELPER, 0);
        hak_prim_sleep_ms(TICK_EPOCH_MS);
        uint64_t now = hak_prim_clock_ms();
        if (tick_is_due(now))
            tick_process(now);
        while (tick_pay())
            ;
    }
}

/*
 * Not from a slow path, though one would know best when it is needed: libc calls malloc and free in the
 * middle of pthread_create and pthread_join, with the lock in its hand that starting a thread takes. So at
 * load, and in each forked child before anything else; where there is no thread to be had, there is none.
 */
void hak_tick_start_helper(void) {
    int error = hak_prim_thread_start(tick_help);
    (void)error; /* memory goes back when slow paths pass by, as without the option */
}
