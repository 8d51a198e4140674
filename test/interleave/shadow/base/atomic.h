/* test/interleave/shadow/base/atomic.h — src/base/atomic.h, with a step before each access. SPDX-License-Identifier: MIT */

/*
 * Found before src/base/atomic.h, which it includes and leaves as it is: its macros end in those of
 * <stdatomic.h>, and these are replaced. gcc only, whose builtins take pointers to _Atomic.
 */
#ifndef HAKMEM_TEST_INTERLEAVE_SHADOW_ATOMIC_H
#define HAKMEM_TEST_INTERLEAVE_SHADOW_ATOMIC_H

#include "../../../../src/base/atomic.h"
#include "../../step.h"

/* A value may itself be read by one of these macros. */
#pragma GCC diagnostic ignored "-Wshadow"

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#undef atomic_signal_fence
#undef atomic_thread_fence
#undef atomic_fetch_and_explicit
#undef atomic_fetch_xor_explicit
#undef atomic_load
#undef atomic_store

#define atomic_load_explicit(p, order)                                                             \
    __extension__({                                                                                \
        __auto_type step_p = (p);                                                                  \
        schedule_step(STEP_LOAD, step_p, #p, __func__);                                            \
        __atomic_load_n(step_p, order);                                                            \
    })

#define atomic_store_explicit(p, v, order)                                                         \
    __extension__({                                                                                \
        __auto_type step_p = (p);                                                                  \
        __typeof__((void)0, *step_p) step_new = (v);                                               \
        enum step_how step_how = schedule_step(STEP_STORE, step_p, #p, __func__);                  \
        if (step_how == STEP_WHOLE)                                                                \
            __atomic_store_n(step_p, step_new, order);                                             \
        else if (step_how == STEP_LATE)                                                            \
            schedule_postpone(step_p, &step_new, sizeof step_new);                                 \
        (void)0;                                                                                   \
    })

/* Replaces *p by `result`, an expression of step_old: by `builtin`, or torn in two. */
#define STEP_MODIFY(step, p, v, order, result, builtin)                                            \
    __extension__({                                                                                \
        __auto_type step_p = (p);                                                                  \
        __typeof__((void)0, *step_p) step_new = (__typeof__((void)0, *step_p))(v);                 \
        __typeof__((void)0, *step_p) step_old;                                                     \
        enum step_how step_how = schedule_step(step, step_p, #p, __func__);                        \
        if (step_how == STEP_TORN) {                                                               \
            step_old = __atomic_load_n(step_p, __ATOMIC_SEQ_CST);                                  \
            schedule_step(STEP_STORE, step_p, #p, __func__);                                       \
            __atomic_store_n(step_p, (__typeof__((void)0, *step_p))(result), __ATOMIC_SEQ_CST);    \
        } else if (step_how == STEP_SKIPPED) {                                                     \
            step_old = __atomic_load_n(step_p, __ATOMIC_SEQ_CST);                                  \
        } else {                                                                                   \
            step_old = builtin(step_p, step_new, order);                                           \
        }                                                                                          \
        step_old;                                                                                  \
    })

#define atomic_exchange_explicit(p, v, order)                                                      \
    STEP_MODIFY(STEP_CHANGE, p, v, order, step_new, __atomic_exchange_n)
#define atomic_fetch_add_explicit(p, v, order)                                                     \
    STEP_MODIFY(STEP_ADD, p, v, order, step_old + step_new, __atomic_fetch_add)
#define atomic_fetch_sub_explicit(p, v, order)                                                     \
    STEP_MODIFY(STEP_ADD, p, v, order, step_old - step_new, __atomic_fetch_sub)
#define atomic_fetch_or_explicit(p, v, order)                                                      \
    STEP_MODIFY(STEP_CHANGE, p, v, order, step_old | step_new, __atomic_fetch_or)

#define atomic_compare_exchange_strong_explicit(p, e, v, success, failure)                         \
    __extension__({                                                                                \
        __auto_type step_p = (p);                                                                  \
        __auto_type step_expected = (e);                                                           \
        __typeof__((void)0, *step_p) step_new = (v);                                               \
        bool step_done;                                                                            \
        if (schedule_step(STEP_CHANGE, step_p, #p, __func__) == STEP_TORN) {                       \
            __typeof__((void)0, *step_p) step_old = __atomic_load_n(step_p, __ATOMIC_SEQ_CST);     \
            step_done = step_old == *step_expected;                                                \
            schedule_step(STEP_STORE, step_p, #p, __func__);                                       \
            if (step_done)                                                                         \
                __atomic_store_n(step_p, step_new, __ATOMIC_SEQ_CST);                              \
            else                                                                                   \
                *step_expected = step_old;                                                         \
        } else {                                                                                   \
            step_done = __atomic_compare_exchange_n(step_p, step_expected, step_new, false,        \
                                                    success, failure);                             \
        }                                                                                          \
        step_done;                                                                                 \
    })
#define atomic_compare_exchange_weak_explicit(p, e, v, success, failure)                           \
    atomic_compare_exchange_strong_explicit(p, e, v, success, failure)

/* One thread runs at a time: for both a compiler's fence is enough. */
#define atomic_signal_fence(order)                                                                 \
    do {                                                                                           \
        schedule_step(STEP_FENCE, NULL, "fence", __func__);                                        \
        __asm__ volatile("" ::: "memory");                                                         \
    } while (0)
#define atomic_thread_fence(order) atomic_signal_fence(order)

#define __builtin_ia32_pause() schedule_pause()

/* Others have no step yet: who needs one gives it one here. */
#pragma GCC poison atomic_fetch_and_explicit atomic_fetch_xor_explicit atomic_load atomic_store

#endif
