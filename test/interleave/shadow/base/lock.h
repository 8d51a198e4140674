/* test/interleave/shadow/base/lock.h — src/base/lock.h, whose callers are known by name. SPDX-License-Identifier: MIT */

/*
 * The lock is the library's own, and its accesses are steps like any; but a mutation may have a function
 * go without it.
 */
#ifndef HAKMEM_TEST_INTERLEAVE_SHADOW_LOCK_H
#define HAKMEM_TEST_INTERLEAVE_SHADOW_LOCK_H

#include "../../../../src/base/lock.h"
#include "../../step.h"

#ifndef INTERLEAVE_REAL_LOCK /* the layer that the lock is in, and the scheduler */
#define hak_lock_acquire(lock) schedule_acquire((lock), __func__)
#define hak_lock_acquire_for_fork(lock) schedule_acquire_for_fork((lock), __func__)
#define hak_lock_acquire_among(lock, may_wait) schedule_acquire_among((lock), (may_wait), __func__)
#define hak_lock_try_acquire(lock) schedule_try_acquire((lock), __func__)
#define hak_lock_release(lock) schedule_release(lock)
#define hak_lock_reset(lock) schedule_reset(lock)
#define hak_lock_assert_held(lock) schedule_assert_held(lock)
#endif

#endif
