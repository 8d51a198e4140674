/* test/model/weak.h — memory as C11 orders it, in small. SPDX-License-Identifier: MIT */

/*
 * The operational model of Kang, Hur, Lahav, Vafeiadis, Dreyer, "A promising semantics for
 * relaxed-memory concurrency" (POPL 2017), without promises:
 *
 *   cell    an atomic: the messages ever stored, in modification order
 *   view    of a thread: for each cell the oldest message it may still read, and for each thread
 *           how much of what that thread did happens before now (a vector clock)
 *
 *   load    reads any message that is not older than the view allows; the explorer tries each. An
 *           acquire takes over the message's view.
 *   store   puts its message anywhere after what the view allows; a release puts the thread's view
 *           into it, a relaxed store only itself.
 *   RMW     reads the last message and follows it. Its message also carries on the view of the one
 *           it read: the release sequence. (C11 allows an older message where no RMW follows it
 *           yet; cells that see RMWs see nothing else here.)
 *   plain   not atomic: two accesses, one of them a write, neither before the other, are a data
 *           race, whatever values they see. That is the violation.
 *   lock    taking it takes over the view of who gave it back.
 *
 * Load buffering is not there: a load that sees a store which only comes after it. Plain accesses
 * that a machine could reorder so are not ordered by happens-before either, and found as a race.
 */
#ifndef HAKMEM_MODEL_WEAK_H
#define HAKMEM_MODEL_WEAK_H

#include <stdbool.h>
#include <stdint.h>

enum { WEAK_THREADS = 3, WEAK_CELLS = 6, WEAK_MESSAGES = 8, WEAK_PLAINS = 12, WEAK_LOCKS = 3 };

enum weak_order {
    WEAK_RELAXED,
    WEAK_ACQUIRE,
    WEAK_RELEASE,
    WEAK_BROKEN /* release, but the RMW does not continue the release sequence: no such order */
};

struct weak_view {
    uint8_t from[WEAK_CELLS];    /* index of a message */
    uint8_t clock[WEAK_THREADS]; /* what happened before */
};

struct weak_message {
    uint8_t value;
    struct weak_view view;
};

struct weak_cell {
    uint8_t count;
    struct weak_message messages[WEAK_MESSAGES];
};

struct weak_plain {
    uint8_t value;
    uint8_t writer; /* thread, 1 …; 0: nobody yet */
    uint8_t write_clock;
    uint8_t read_clock[WEAK_THREADS]; /* since the last write; 0: not */
};

struct weak_lock {
    uint8_t holder; /* thread, 1 …; 0: free */
    struct weak_view view;
};

struct weak_memory {
    struct weak_view threads[WEAK_THREADS];
    struct weak_cell cells[WEAK_CELLS];
    struct weak_plain plains[WEAK_PLAINS];
    struct weak_lock locks[WEAK_LOCKS];
};

/* All is 0 and known to all threads. */
void weak_init(struct weak_memory *m);

/* False: there are not so many choices. */
bool weak_load(struct weak_memory *m, unsigned thread, unsigned cell, enum weak_order order,
               unsigned choice, uint8_t *value);
bool weak_store(struct weak_memory *m, unsigned thread, unsigned cell, enum weak_order order,
                unsigned choice, uint8_t value);
/* Returns what it replaced. */
uint8_t weak_exchange(struct weak_memory *m, unsigned thread, unsigned cell, enum weak_order order,
                      uint8_t value);
/* False: *expected is now what the cell holds. */
bool weak_compare_exchange(struct weak_memory *m, unsigned thread, unsigned cell,
                           enum weak_order order, uint8_t *expected, uint8_t value);

uint8_t weak_read(struct weak_memory *m, unsigned thread, unsigned plain);
void weak_write(struct weak_memory *m, unsigned thread, unsigned plain, uint8_t value);

bool weak_lock_take(struct weak_memory *m, unsigned thread, unsigned lock); /* false: wait */
void weak_lock_give(struct weak_memory *m, unsigned thread, unsigned lock);

/* The thread waits for the end of another. */
void weak_join(struct weak_memory *m, unsigned thread, unsigned other);

/* Forgets messages that nobody can read any more. After each step. */
void weak_forget(struct weak_memory *m);

#endif
