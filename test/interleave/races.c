/* test/interleave/races.c — accesses that no synchronization puts in order. SPDX-License-Identifier: MIT */

#include "races.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "schedule.h"

enum { CELLS = 1 << 17, CELL_BYTES = 4, SYNCS = 1 << 12 };

/* Steps of each thread that are known to have happened. */
struct clock {
    uint32_t of[SCHEDULE_THREADS_MAX];
};

/* When each thread last touched any of 4 bytes, and which it has touched; 0: never. */
struct trace {
    struct clock when;
    uint8_t bytes[SCHEDULE_THREADS_MAX]; /* bit per byte */
};

struct cell {
    uintptr_t key;
    struct trace read;
    struct trace write;
    struct trace atomic_read;
    struct trace atomic_write;
};

/* What an acquire finds at an atomic object. */
struct sync {
    uintptr_t key;
    struct clock released;
};

static struct {
    struct clock threads[SCHEDULE_THREADS_MAX];
    bool is_relaxed[SCHEDULE_THREADS_MAX];
    struct cell cells[CELLS];
    struct sync syncs[SYNCS];
} g_races;

void races_begin(void) {
    for (unsigned i = 0; i < SCHEDULE_THREADS_MAX; i++)
        g_races.threads[i].of[i] = 1;
}

void races_relax_next(void) {
    g_races.is_relaxed[schedule_self()] = true;
}

/* Neighbours lie side by side: an execution touches few pages of the table. */
static struct cell *cell_of(uintptr_t key) {
    for (size_t i = 0; i < CELLS; i++) {
        struct cell *cell = &g_races.cells[(key + i) % CELLS];
        if (cell->key == 0)
            cell->key = key;
        if (cell->key == key)
            return cell;
    }
    return NULL;
}

static struct sync *sync_of(const volatile void *p) {
    uintptr_t key = (uintptr_t)p;
    for (size_t i = 0; i < SYNCS; i++) {
        struct sync *sync = &g_races.syncs[(key / CELL_BYTES + i) % SYNCS];
        if (sync->key == 0)
            sync->key = key;
        if (sync->key == key)
            return sync;
    }
    return NULL;
}

static void clock_join(struct clock *to, const struct clock *from) {
    for (unsigned i = 0; i < SCHEDULE_THREADS_MAX; i++)
        to->of[i] = to->of[i] > from->of[i] ? to->of[i] : from->of[i];
}

/* Has another thread done something to these bytes that this one does not know of? */
static bool is_unordered(const struct trace *trace, uint8_t bytes, const struct clock *known,
                         unsigned self) {
    for (unsigned i = 0; i < SCHEDULE_THREADS_MAX; i++) {
        if (i != self && trace->bytes[i] & bytes && trace->when.of[i] > known->of[i])
            return true;
    }
    return false;
}

static void touch(const volatile void *p, size_t size, bool is_write, bool is_atomic,
                  const void *code) {
    if (!schedule_is_running())
        return;
    if (is_write && !is_atomic)
        schedule_plain_store();
    unsigned self = schedule_self();
    const struct clock *known = &g_races.threads[self];
    uintptr_t end = (uintptr_t)p + size;
    for (uintptr_t start = (uintptr_t)p; start < end;) {
        struct cell *cell = cell_of(start / CELL_BYTES);
        uint8_t bytes = 0;
        do
            bytes |= (uint8_t)(1u << start % CELL_BYTES);
        while (++start < end && start % CELL_BYTES != 0);
        if (cell == NULL)
            schedule_fail_full();
        if (is_unordered(&cell->write, bytes, known, self) ||
            (is_write && is_unordered(&cell->read, bytes, known, self)) ||
            (!is_atomic && is_unordered(&cell->atomic_write, bytes, known, self)) ||
            (!is_atomic && is_write && is_unordered(&cell->atomic_read, bytes, known, self)))
            schedule_fail_race(is_write ? "a data race: a write" : "a data race: a read", code);
        struct trace *trace = is_write ? (is_atomic ? &cell->atomic_write : &cell->write)
                                       : (is_atomic ? &cell->atomic_read : &cell->read);
        trace->when.of[self] = known->of[self];
        trace->bytes[self] |= bytes;
    }
}

enum { ATOMIC_LOAD = 1, ATOMIC_STORE = 2, ATOMIC_BOTH = 3 };

static void touch_atomic(const volatile void *p, size_t size, unsigned what, int order,
                         const void *code) {
    if (!schedule_is_running())
        return;
    touch(p, size, what & ATOMIC_STORE, true, code);
    unsigned self = schedule_self();
    struct clock *known = &g_races.threads[self];
    struct sync *sync = sync_of(p);
    if (sync == NULL)
        schedule_fail_full();
    if (g_races.is_relaxed[self])
        order = __ATOMIC_RELAXED;
    g_races.is_relaxed[self] = false;
    bool is_acquire =
        order == __ATOMIC_ACQUIRE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
    bool is_release =
        order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
    if (what & ATOMIC_LOAD && is_acquire)
        clock_join(known, &sync->released);
    if (what ==
        ATOMIC_STORE) /* a read-modify-write continues the release sequence, a store ends it */
        sync->released = (struct clock){{0}};
    if (what & ATOMIC_STORE && is_release) {
        clock_join(&sync->released, known);
        known->of[self]++;
    }
}

/* ---- what the compiler calls ---- */

#define HERE __builtin_return_address(0)

void __tsan_init(void);
void __tsan_func_entry(void *code);
void __tsan_func_exit(void);
void __tsan_read_range(void *p, size_t size);
void __tsan_write_range(void *p, size_t size);
void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_thread_fence(int order);

void __tsan_init(void) {
}

void __tsan_func_entry(void *code) {
    (void)code;
}

void __tsan_func_exit(void) {
}

void __tsan_read_range(void *p, size_t size) {
    touch(p, size, false, false, HERE);
}

void __tsan_write_range(void *p, size_t size) {
    touch(p, size, true, false, HERE);
}

void __tsan_atomic_signal_fence(int order) {
    (void)order;
}

void __tsan_atomic_thread_fence(int order) {
    (void)order;
}

#define PLAIN(size)                                                                                \
    void __tsan_read##size(void *p);                                                               \
    void __tsan_write##size(void *p);                                                              \
    void __tsan_unaligned_read##size(void *p);                                                     \
    void __tsan_unaligned_write##size(void *p);                                                    \
    void __tsan_volatile_read##size(void *p);                                                      \
    void __tsan_volatile_write##size(void *p);                                                     \
    void __tsan_read##size(void *p) {                                                              \
        touch(p, size, false, false, HERE);                                                        \
    }                                                                                              \
    void __tsan_write##size(void *p) {                                                             \
        touch(p, size, true, false, HERE);                                                         \
    }                                                                                              \
    void __tsan_unaligned_read##size(void *p) {                                                    \
        touch(p, size, false, false, HERE);                                                        \
    }                                                                                              \
    void __tsan_unaligned_write##size(void *p) {                                                   \
        touch(p, size, true, false, HERE);                                                         \
    }                                                                                              \
    void __tsan_volatile_read##size(void *p) {                                                     \
        touch(p, size, false, false, HERE);                                                        \
    }                                                                                              \
    void __tsan_volatile_write##size(void *p) {                                                    \
        touch(p, size, true, false, HERE);                                                         \
    }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

#define MODIFY(bits, name, builtin)                                                                \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *p, uint##bits##_t v,      \
                                                int order);                                        \
    uint##bits##_t __tsan_atomic##bits##_##name(volatile uint##bits##_t *p, uint##bits##_t v,      \
                                                int order) {                                       \
        touch_atomic(p, sizeof *p, ATOMIC_BOTH, order, HERE);                                      \
        return builtin(p, v, __ATOMIC_SEQ_CST);                                                    \
    }

#define EXCHANGE(bits, name)                                                                       \
    int __tsan_atomic##bits##_compare_exchange_##name(volatile uint##bits##_t *p,                  \
                                                      uint##bits##_t *expected, uint##bits##_t v,  \
                                                      int order, int failure);                     \
    int __tsan_atomic##bits##_compare_exchange_##name(volatile uint##bits##_t *p,                  \
                                                      uint##bits##_t *expected, uint##bits##_t v,  \
                                                      int order, int failure) {                    \
        if (*p == *expected)                                                                       \
            touch_atomic(p, sizeof *p, ATOMIC_BOTH, order, HERE);                                  \
        else                                                                                       \
            touch_atomic(p, sizeof *p, ATOMIC_LOAD, failure, HERE);                                \
        return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST,                \
                                           __ATOMIC_SEQ_CST);                                      \
    }

#define ATOMIC(bits)                                                                               \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *p, int order);        \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *p, uint##bits##_t v, int order);     \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *p, int order) {       \
        touch_atomic(p, sizeof *p, ATOMIC_LOAD, order, HERE);                                      \
        return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                               \
    }                                                                                              \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *p, uint##bits##_t v, int order) {    \
        touch_atomic(p, sizeof *p, ATOMIC_STORE, order, HERE);                                     \
        __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                  \
    }                                                                                              \
    MODIFY(bits, exchange, __atomic_exchange_n)                                                    \
    MODIFY(bits, fetch_add, __atomic_fetch_add)                                                    \
    MODIFY(bits, fetch_sub, __atomic_fetch_sub)                                                    \
    MODIFY(bits, fetch_or, __atomic_fetch_or)                                                      \
    EXCHANGE(bits, strong)                                                                         \
    EXCHANGE(bits, weak)
ATOMIC(8)
ATOMIC(16)
ATOMIC(32)
ATOMIC(64)
