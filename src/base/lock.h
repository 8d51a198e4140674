/* src/base/lock.h — a futex lock with a rank. SPDX-License-Identifier: MIT */

/*
 * Held for well under a microsecond in slow paths. State 0 free, 1 held, 2 held and someone may
 * sleep (Drepper, "Futexes are tricky", mutex 2). Debug builds abort when a thread takes a lock
 * whose rank is not above all it holds; docs/concurrency.md lists the order.
 *
 * fork: the prepare handler takes every lock but start-up's and then calls hak_lock_fork_begin(). Until
 * hak_lock_fork_end() that thread owns them all, so for it taking and releasing are no-ops: atfork
 * handlers of other libraries may call malloc in between.
 */
#ifndef HAK_BASE_LOCK_H
#define HAK_BASE_LOCK_H

#include <hakmem/stat_format.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

enum hak_lock_rank {
    HAK_RANK_INIT,
    HAK_RANK_REGISTRY,
    HAK_RANK_HEAP, /* one at a time; only fork and hakmem_check() take several, in order of id */
    HAK_RANK_LARGE,
    HAK_RANK_META,
    HAK_RANK_POOL,
    HAK_RANK_VM,
    HAK_RANK_SHARE
};

struct HAK_CAPABILITY hak_lock {
    _Atomic uint32_t state;
    uint32_t rank; /* enum hak_lock_rank; fixed */
};

#define HAK_LOCK_INIT(r)                                                                           \
    { .state = 0, .rank = (r) }

void hak_lock_acquire(struct hak_lock *lock) HAK_ACQUIRES(lock);
bool hak_lock_try_acquire(struct hak_lock *lock) HAK_TRY_ACQUIRES(true, lock);
void hak_lock_release(struct hak_lock *lock) HAK_RELEASES(lock);
/*
 * Locks the calling thread holds, in debug builds; 0 in others, and while it forks. For tests: what calls
 * the kernel with a lock held?
 */
unsigned hak_lock_held_count(void);
/* Debug builds abort unless the calling thread holds a lock of this rank. */
void hak_lock_assert_held(const struct hak_lock *lock);

/*
 * For who takes all locks but INIT and SHARE, in the order of docs/concurrency.md, and several of one rank: waits
 * for it, or, unless it may, returns false where it is held.
 */
HAK_NODISCARD bool hak_lock_acquire_among(struct hak_lock *lock, bool may_wait);
/* For fork's prepare handler, which takes several locks of one rank in an order of its own. */
void hak_lock_acquire_for_fork(struct hak_lock *lock) HAK_ACQUIRES(lock);
/* The forking thread holds every lock between these. */
void hak_lock_fork_begin(void);
void hak_lock_fork_end(void);
/* Is the caller between the two, in an atfork handler of another library? */
bool hak_lock_is_forking(void);
/* Child: the lock's holder does not exist here; forget it. */
void hak_lock_reset(struct hak_lock *lock);

/*
 * Futex calls of all locks are counted in `cell` from now on, and what was counted so far is added to it;
 * NULL: in a cell of this module's own, from 0. With `is_timed`, their time too. While one thread runs.
 */
void hak_lock_count_in(struct hakmem_stat_call *cell, bool is_timed);
/* Where they are counted. */
const struct hakmem_stat_call *hak_lock_cell(void);

#endif
