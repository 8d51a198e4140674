/* test/interleave/scheduled_prim.c — waiting, ends of threads, forks and time in the scheduler's hand. SPDX-License-Identifier: MIT */

/*
 * The linker leads the library's calls of these primitives here (--wrap, interleave.cmake); all others
 * are as they are in the product.
 */

#include "scheduled_prim.h"

#include <errno.h>

#include "prim/prim.h"
#include "schedule.h"

int __real_hak_prim_map(void *wanted, size_t size, enum hak_access access, void **out);
int __real_hak_prim_purge(void *addr, size_t size);

int __wrap_hak_prim_map(void *wanted, size_t size, enum hak_access access, void **out);
int __wrap_hak_prim_purge(void *addr, size_t size);
int __wrap_hak_prim_purge_ranges(const struct hak_prim_range *ranges, size_t count);
uint64_t __wrap_hak_prim_clock_ms(void);
void __wrap_hak_prim_futex_wait(_Atomic uint32_t *word, uint32_t expected);
void __wrap_hak_prim_futex_wake_one(_Atomic uint32_t *word);
int __wrap_hak_prim_thread_exit_register(void (*run)(void *value));
int __wrap_hak_prim_thread_exit_arm(void *value);
int __wrap_hak_prim_thread_start(void (*run)(void));
void __wrap_hak_prim_sleep_ms(uint32_t ms);
int __wrap_hak_prim_fork_register(void (*prepare)(void), void (*parent)(void), void (*child)(void));

static struct {
    uint64_t clock_ms;
    unsigned maps_refused; /* still to be */
    bool is_purge_refused;
    void (*exit)(void *value);
    unsigned exit_hooks;
    void (*prepare)(void);
    void (*parent)(void);
    void (*child)(void);
    unsigned fork_hooks;
    void (*helper)(void);
} g_prim = {.clock_ms = 1000};

static _Thread_local void *t_exit_value;
static _Thread_local unsigned t_sleeps;

/* ---- memory ---- */

void prim_refuse_maps(unsigned count) {
    g_prim.maps_refused = count;
}

void prim_refuse_purges(void) {
    g_prim.is_purge_refused = true;
}

int __wrap_hak_prim_map(void *wanted, size_t size, enum hak_access access, void **out) {
    if (g_prim.maps_refused > 0) {
        g_prim.maps_refused--;
        return ENOMEM;
    }
    return __real_hak_prim_map(wanted, size, access, out);
}

int __wrap_hak_prim_purge(void *addr, size_t size) {
    return g_prim.is_purge_refused ? EINVAL : __real_hak_prim_purge(addr, size);
}

/* Kernels before 6.13 cannot: then range by range, so that scenarios are the same everywhere. */
int __wrap_hak_prim_purge_ranges(const struct hak_prim_range *ranges, size_t count) {
    int error = 0;
    for (size_t i = 0; i < count && error == 0; i++)
        error = __wrap_hak_prim_purge(ranges[i].start, ranges[i].size);
    return error;
}

/* ---- time ---- */

void prim_advance_clock(uint64_t ms) {
    g_prim.clock_ms += ms;
}

uint64_t __wrap_hak_prim_clock_ms(void) {
    return g_prim.clock_ms;
}

/* ---- waiting ---- */

void __wrap_hak_prim_futex_wait(_Atomic uint32_t *word, uint32_t expected) {
    schedule_wait(word, expected);
}

void __wrap_hak_prim_futex_wake_one(_Atomic uint32_t *word) {
    if (!schedule_is_skipped("hak_prim_futex_wake_one"))
        schedule_wake_one(word);
}

/* ---- threads ---- */

int __wrap_hak_prim_thread_exit_register(void (*run)(void *value)) {
    g_prim.exit = run;
    g_prim.exit_hooks++;
    return 0;
}

int __wrap_hak_prim_thread_exit_arm(void *value) {
    t_exit_value = value;
    return 0;
}

void prim_thread_exits(void) {
    void *value;
    while ((value = t_exit_value) != NULL) {
        t_exit_value = NULL;
        g_prim.exit(value);
    }
}

unsigned prim_exit_hooks(void) {
    return g_prim.exit_hooks;
}

int __wrap_hak_prim_thread_start(void (*run)(void)) {
    g_prim.helper = run;
    return 0;
}

/* The second time the helper sleeps its period is over. */
void __wrap_hak_prim_sleep_ms(uint32_t ms) {
    (void)ms;
    if (t_sleeps++ > 0)
        schedule_end_thread();
}

void prim_run_helper(void) {
    g_prim.helper();
}

/* ---- fork ---- */

int __wrap_hak_prim_fork_register(void (*prepare)(void), void (*parent)(void),
                                  void (*child)(void)) {
    g_prim.prepare = prepare;
    g_prim.parent = parent;
    g_prim.child = child;
    g_prim.fork_hooks++;
    return 0;
}

unsigned prim_fork_hooks(void) {
    return g_prim.fork_hooks;
}

void prim_fork_prepare(void) {
    g_prim.prepare();
}

void prim_fork_parent(void) {
    g_prim.parent();
}

void prim_fork_child(void) {
    g_prim.child();
}
