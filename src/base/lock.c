/* src/base/lock.c — a futex lock with a rank. SPDX-License-Identifier: MIT */

#include "base/lock.h"

#include "base/atomic.h"
#include "base/fatal.h"
#include "prim/prim.h"

enum { LOCK_FREE, LOCK_HELD, LOCK_CONTENDED };

/* Tries before sleeping: a slow path holds a lock for some hundred instructions. */
enum { LOCK_SPINS = 64 };

static struct {
    _Atomic uintptr_t forking_thread;        /* [A] holds every lock while it forks; 0: nobody */
    _Atomic(struct hakmem_stat_call *) cell; /* [A] where futex calls are counted; NULL: in `own` */
    _Atomic bool is_timed;                   /* [A] */
    struct hakmem_stat_call own;             /* [S] */
} g_lock;

#if HAK_DEBUG >= 1
static _Thread_local unsigned t_lock_held[HAK_RANK_SHARE + 1]; /* locks held, by rank */

static void lock_note_acquire(const struct hak_lock *lock, bool is_try) {
    for (unsigned rank = lock->rank; !is_try && rank <= HAK_RANK_SHARE; rank++)
        hak_check(t_lock_held[rank] == 0);
    t_lock_held[lock->rank]++;
}

static void lock_note_release(const struct hak_lock *lock) {
    hak_check(t_lock_held[lock->rank] > 0);
    t_lock_held[lock->rank]--;
}

static void lock_note_check(const struct hak_lock *lock) {
    hak_check(t_lock_held[lock->rank] > 0);
}

static unsigned lock_noted(void) {
    unsigned count = 0;
    for (unsigned rank = 0; rank <= HAK_RANK_SHARE; rank++)
        count += t_lock_held[rank];
    return count;
}
#else
static void lock_note_acquire(const struct hak_lock *lock, bool is_try) {
    (void)lock;
    (void)is_try;
}

static void lock_note_release(const struct hak_lock *lock) {
    (void)lock;
}

static void lock_note_check(const struct hak_lock *lock) {
    (void)lock;
}

static unsigned lock_noted(void) {
    return 0;
}
#endif

static struct hakmem_stat_call *lock_cell(void) {
    struct hakmem_stat_call *cell = hak_atomic_load_relaxed(&g_lock.cell);
    return cell ? cell : &g_lock.own;
}

const struct hakmem_stat_call *hak_lock_cell(void) {
    return lock_cell();
}

void hak_lock_count_in(struct hakmem_stat_call *cell, bool is_timed) {
    hak_atomic_store_relaxed(&g_lock.cell, cell);
    hak_atomic_store_relaxed(&g_lock.is_timed, is_timed);
    uint64_t count = hak_atomic_exchange_relaxed(&g_lock.own.count, 0);
    if (cell)
        hak_atomic_add_relaxed(&cell->count, count);
}

/* Counts a futex call; its start, or 0. */
static uint64_t lock_call_begin(void) {
    hak_atomic_add_relaxed(&lock_cell()->count, 1);
    return hak_atomic_load_relaxed(&g_lock.is_timed) ? hak_prim_clock_ns() : 0;
}

static void lock_call_end(uint64_t start) {
    if (start)
        hak_atomic_add_relaxed(&lock_cell()->ns, hak_prim_clock_ns() - start);
}

/* Relaxed: only the forking thread can see its own identity here, and it wrote it itself. */
static bool lock_is_forking(void) {
    return HAK_UNLIKELY(hak_atomic_load_relaxed(&g_lock.forking_thread) == hak_prim_thread_self());
}

static bool lock_take_free(struct hak_lock *lock) {
    uint32_t expected = LOCK_FREE;
    /* Acquire: pairs with the release in hak_lock_release(). */
    return hak_atomic_cas_acquire(&lock->state, &expected, LOCK_HELD);
}

static HAK_COLD void lock_acquire_slow(struct hak_lock *lock) {
    for (int spin = 0; spin < LOCK_SPINS; spin++) {
        if (hak_atomic_load_relaxed(&lock->state) == LOCK_FREE && lock_take_free(lock))
            return;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }
    /* Acquire: as above. The state stays 2, so our own release wakes the next sleeper. */
    while (hak_atomic_exchange_acquire(&lock->state, LOCK_CONTENDED) != LOCK_FREE) {
        uint64_t start = lock_call_begin();
        hak_prim_futex_wait(&lock->state, LOCK_CONTENDED);
        lock_call_end(start);
    }
}

void hak_lock_acquire(struct hak_lock *lock) HAK_NO_LOCK_ANALYSIS {
    if (lock_is_forking())
        return;
    lock_note_acquire(lock, false);
    if (HAK_UNLIKELY(!lock_take_free(lock)))
        lock_acquire_slow(lock);
}

void hak_lock_acquire_for_fork(struct hak_lock *lock) HAK_NO_LOCK_ANALYSIS {
    if (!lock_take_free(lock))
        lock_acquire_slow(lock);
    lock_note_acquire(lock, true);
}

bool hak_lock_try_acquire(struct hak_lock *lock) HAK_NO_LOCK_ANALYSIS {
    if (lock_is_forking())
        return true;
    if (!lock_take_free(lock))
        return false;
    lock_note_acquire(lock, true);
    return true;
}

bool hak_lock_acquire_among(struct hak_lock *lock, bool may_wait) HAK_NO_LOCK_ANALYSIS {
    if (hak_lock_try_acquire(lock))
        return true;
    if (may_wait)
        hak_lock_acquire_for_fork(lock);
    return may_wait;
}

void hak_lock_release(struct hak_lock *lock) HAK_NO_LOCK_ANALYSIS {
    if (lock_is_forking())
        return;
    lock_note_release(lock);
    /* Release: what the lock guards is visible to the next holder. */
    if (HAK_UNLIKELY(hak_atomic_exchange_release(&lock->state, LOCK_FREE) == LOCK_CONTENDED)) {
        uint64_t start = lock_call_begin();
        hak_prim_futex_wake_one(&lock->state);
        lock_call_end(start);
    }
}

void hak_lock_assert_held(const struct hak_lock *lock) {
    if (!lock_is_forking())
        lock_note_check(lock);
}

unsigned hak_lock_held_count(void) {
    return lock_is_forking() ? 0 : lock_noted();
}

void hak_lock_fork_begin(void) {
    hak_atomic_store_relaxed(&g_lock.forking_thread, hak_prim_thread_self());
}

void hak_lock_fork_end(void) {
    hak_atomic_store_relaxed(&g_lock.forking_thread, 0);
}

bool hak_lock_is_forking(void) {
    return lock_is_forking();
}

void hak_lock_reset(struct hak_lock *lock) {
    lock_note_release(lock);
    hak_atomic_store_relaxed(&lock->state, LOCK_FREE);
}
