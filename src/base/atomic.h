/* src/base/atomic.h — atomics whose names say their order. SPDX-License-Identifier: MIT */

/*
 * A bare `=` on an _Atomic would be sequentially consistent without saying so. Each use of acquire
 * and release names its partner in a comment where it stands. Type-generic, hence macros.
 */
#ifndef HAK_BASE_ATOMIC_H
#define HAK_BASE_ATOMIC_H

#include <stdatomic.h>

#define hak_atomic_load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define hak_atomic_load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define hak_atomic_store_relaxed(p, v) atomic_store_explicit((p), (v), memory_order_relaxed)
#define hak_atomic_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define hak_atomic_exchange_release(p, v) atomic_exchange_explicit((p), (v), memory_order_release)
#define hak_atomic_exchange_relaxed(p, v) atomic_exchange_explicit((p), (v), memory_order_relaxed)
#define hak_atomic_exchange_acquire(p, v) atomic_exchange_explicit((p), (v), memory_order_acquire)
#define hak_atomic_add_relaxed(p, v) atomic_fetch_add_explicit((p), (v), memory_order_relaxed)
#define hak_atomic_sub_relaxed(p, v) atomic_fetch_sub_explicit((p), (v), memory_order_relaxed)
#define hak_atomic_or_relaxed(p, v) atomic_fetch_or_explicit((p), (v), memory_order_relaxed)
#define hak_atomic_cas_acquire(p, expected, v)                                                     \
    atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_acquire,            \
                                            memory_order_relaxed)
#define hak_atomic_cas_release(p, expected, v)                                                     \
    atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_release,            \
                                            memory_order_relaxed)
#define hak_atomic_cas_weak_release(p, expected, v)                                                \
    atomic_compare_exchange_weak_explicit((p), (expected), (v), memory_order_release,              \
                                          memory_order_relaxed)
#define hak_atomic_cas_relaxed(p, expected, v)                                                     \
    atomic_compare_exchange_strong_explicit((p), (expected), (v), memory_order_relaxed,            \
                                            memory_order_relaxed)

#endif
