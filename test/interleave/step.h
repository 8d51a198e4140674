/* test/interleave/step.h — what the library's objects call before each access. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_TEST_INTERLEAVE_STEP_H
#define HAKMEM_TEST_INTERLEAVE_STEP_H

#include <stdbool.h>
#include <stddef.h>

enum step {
    STEP_LOAD,
    STEP_STORE,
    STEP_ADD, /* fetch and add: two of them may change places, where nobody looks at the result */
    STEP_CHANGE, /* exchange, or, compare-and-swap */
    STEP_FENCE   /* a place between plain stores that a fork must see in order */
};

/* How the access is to be made: in one piece, unless a mutation says otherwise. */
enum step_how {
    STEP_WHOLE,
    STEP_SKIPPED, /* a store is not made */
    STEP_LATE,    /* a store is made after the thread's next change of anything */
    STEP_TORN     /* a change is made as a load and, a step later, a store */
};

/*
 * Before an access; another thread may run until this returns. `what`: the operand as it stands in the
 * source, `function`: where.
 */
enum step_how schedule_step(enum step step, const volatile void *address, const char *what,
                            const char *function);
/* The store that was said to be late. */
void schedule_postpone(volatile void *address, const void *value, size_t size);
/* The thread waits by looking again and again. */
void schedule_pause(void);

struct hak_lock;
void schedule_acquire(struct hak_lock *lock, const char *function);
void schedule_acquire_for_fork(struct hak_lock *lock, const char *function);
bool schedule_acquire_among(struct hak_lock *lock, bool may_wait, const char *function);
bool schedule_try_acquire(struct hak_lock *lock, const char *function);
void schedule_release(struct hak_lock *lock);
void schedule_reset(struct hak_lock *lock);
void schedule_assert_held(const struct hak_lock *lock);

#endif
