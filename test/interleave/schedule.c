/* test/interleave/schedule.c — one execution: threads that run one at a time, as they are told. SPDX-License-Identifier: MIT */

#include "schedule.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/lock.h"
#include "races.h"
#include "scheduled_prim.h"
#include "step.h"

enum { STACK_SIZE = 256 * 1024, SKIPPED_MAX = 16, LATE_SIZE_MAX = 8, EXECUTION_SECONDS = 60 };

struct thread {
    sem_t turn;
    pthread_t handle;
    unsigned index;
    bool is_alive;
    const volatile void *waits_for; /* NULL: it can run */
    unsigned wait_turn;             /* who waited first is woken first */
    bool is_spinning;
    const struct hak_lock *skipped[SKIPPED_MAX]; /* locks that a mutation has it go without */
    unsigned skipped_count;
    volatile void *late; /* NULL: no store is late */
    unsigned late_age;
    unsigned char late_value[LATE_SIZE_MAX];
    size_t late_size;
};

struct world *world;
const struct mutation *schedule_mutation;

static struct {
    const struct scenario *scenario;
    struct thread threads[SCHEDULE_THREADS_MAX];
    unsigned thread_count;
    bool is_running;
    bool has_forked;
    const char *watched; /* NULL: no function */
    unsigned watched_stores;
    unsigned waits;
    sem_t done; /* main waits for it */
} g_schedule;

static _Thread_local struct thread *t_thread;
static unsigned char g_stacks[SCHEDULE_THREADS_MAX][STACK_SIZE] __attribute__((aligned(4096)));

unsigned schedule_self(void) {
    return t_thread->index;
}

bool schedule_is_running(void) {
    return g_schedule.is_running && t_thread != NULL;
}

_Noreturn static void fail(const char *text) {
    snprintf(world->reason, sizeof world->reason, "%s", text);
    _exit(1);
}

/* Nothing was found out: it is this program that cannot go on. */
_Noreturn static void give_up(const char *text) {
    world->is_broken = true;
    fail(text);
}

_Noreturn void schedule_fail(const char *file, int line, const char *text) {
    const char *name = strrchr(file, '/');
    snprintf(world->reason, sizeof world->reason, "%s:%d: not true: %s", name ? name + 1 : file,
             line, text);
    _exit(1);
}

_Noreturn void schedule_fail_full(void) {
    give_up("more places than the table has");
}

_Noreturn void schedule_fail_race(const char *text, const void *code) {
    Dl_info info;
    uintptr_t base = dladdr(code, &info) ? (uintptr_t)info.dli_fbase : 0;
    snprintf(world->reason, sizeof world->reason, "%s in the program+%#zx", text,
             (size_t)((uintptr_t)code - base));
    _exit(1);
}

__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...) {
    if (!world->is_told)
        return;
    va_list arguments;
    va_start(arguments, format);
    vdprintf(STDERR_FILENO, format, arguments);
    va_end(arguments);
}

/* ---- decisions ---- */

static void switch_to(unsigned next) {
    struct thread *self = t_thread;
    if (self == &g_schedule.threads[next])
        return;
    bool is_over = !self->is_alive;
    sem_post(&g_schedule.threads[next].turn);
    if (!is_over) {
        while (sem_wait(&self->turn) != 0)
            ;
    }
}

static uint8_t enabled_threads(void) {
    uint8_t enabled = 0;
    for (unsigned i = 0; i < g_schedule.thread_count; i++) {
        const struct thread *thread = &g_schedule.threads[i];
        if (thread->is_alive && thread->waits_for == NULL)
            enabled |= (uint8_t)(1u << i);
    }
    return enabled;
}

/* Who runs next. `is_forced`: the thread that asks cannot. Returns its number. */
static unsigned choose(unsigned current, bool is_forced) {
    uint8_t enabled = enabled_threads();
    if (enabled == 0)
        fail("deadlock: nobody can run");
    unsigned lowest = (unsigned)__builtin_ctz(enabled);
    unsigned chosen = is_forced ? lowest : current;
    if (__builtin_popcount(enabled) == 1)
        return lowest;
    uint32_t number = world->decision_count++;
    if (number == SCHEDULE_DECISIONS_MAX)
        give_up("too many decisions");
    struct decision *decision = &world->decisions[number];
    if (number < world->prefix_count) {
        if (decision->enabled != enabled || decision->current != current ||
            decision->is_forced != is_forced)
            give_up("the same decisions did not lead to the same place");
        chosen = decision->chosen;
    }
    *decision = (struct decision){enabled, (uint8_t)current, is_forced, (uint8_t)chosen};
    return chosen;
}

static void decide(struct thread *self, const char *what, const char *function) {
    unsigned next = choose(self->index, false);
    if (next != self->index)
        tell("  %u stops at %s in %s; %u goes on\n", self->index, what, function, next);
    switch_to(next);
}

/* ---- steps ---- */

static struct location *location_of(const volatile void *address) {
    uintptr_t key = (uintptr_t)address;
    uint32_t first = (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 40);
    for (uint32_t i = 0; i < SCHEDULE_LOCATIONS; i++) {
        struct location *location = &world->locations[(first + i) % SCHEDULE_LOCATIONS];
        if (location->address == 0)
            location->address = key;
        if (location->address == key)
            return location;
    }
    give_up("more places than the table has");
}

/* Additions whose result is looked at: they do not change places. */
static bool add_is_seen(const char *function) {
    return strcmp(function, "remote_send") == 0 || strcmp(function, "span_colour") == 0;
}

static bool mutation_is_here(enum mutation_kind kind, const char *what, const char *function) {
    const struct mutation *mutation = schedule_mutation;
    if (mutation == NULL || mutation->kind != kind || strcmp(mutation->function, function) != 0 ||
        strstr(what, mutation->what) == NULL)
        return false;
    world->mutated++;
    return true;
}

static enum step_how how(enum step step, const char *what, const char *function) {
    if (schedule_mutation == NULL)
        return STEP_WHOLE;
    if (step != STEP_FENCE && schedule_is_running() &&
        mutation_is_here(MUTATION_RELAX, what, function))
        races_relax_next();
    if ((step == STEP_STORE || step == STEP_ADD) &&
        mutation_is_here(MUTATION_SKIP_STORE, what, function))
        return STEP_SKIPPED;
    if (step == STEP_STORE && schedule_is_running() &&
        mutation_is_here(MUTATION_LATE_STORE, what, function))
        return STEP_LATE;
    if ((step == STEP_ADD || step == STEP_CHANGE) &&
        mutation_is_here(MUTATION_TEAR, what, function))
        return STEP_TORN;
    return STEP_WHOLE;
}

static void late_make(struct thread *self) {
    volatile unsigned char *to = self->late;
    for (size_t i = 0; to && i < self->late_size; i++)
        to[i] = self->late_value[i];
    self->late = NULL;
}

void schedule_postpone(volatile void *address, const void *value, size_t size) {
    struct thread *self = t_thread;
    late_make(self);
    self->late = address;
    self->late_age = 0;
    self->late_size = size;
    memcpy(self->late_value, value, size);
}

enum step_how schedule_step(enum step step, const volatile void *address, const char *what,
                            const char *function) {
    struct thread *self = t_thread;
    if (++world->steps > SCHEDULE_STEPS_MAX)
        fail("a run that does not end");
    if (g_schedule.watched && step == STEP_STORE && strcmp(function, g_schedule.watched) == 0)
        g_schedule.watched_stores++;
    if (!schedule_is_running())
        return how(step, what, function);
    bool is_point = g_schedule.scenario->forks && !g_schedule.has_forked && step != STEP_LOAD &&
                    step != STEP_ADD;
    if (step != STEP_LOAD)
        self->is_spinning = false;
    if (address) {
        struct location *location = location_of(address);
        uint8_t bit = (uint8_t)(1u << self->index);
        if (step == STEP_LOAD)
            location->readers |= bit;
        else if (step == STEP_ADD && !add_is_seen(function))
            location->adders |= bit;
        else
            location->writers |= bit;
        is_point |= location->is_shared;
    }
    if (is_point && !self->is_spinning)
        decide(self, what, function);
    if (self->late && step != STEP_LOAD && step != STEP_FENCE && self->late_age++ > 0)
        late_make(self);
    return how(step, what, function);
}

void schedule_plain_store(void) {
    if (g_schedule.scenario->forks && !g_schedule.has_forked)
        schedule_step(STEP_FENCE, NULL, "a plain store", "");
}

/*
 * Looking again finds something else only when another thread has run: of all the looks that follow only
 * those after a change count, and those the first look and the sleep after the last one stand for.
 */
void schedule_pause(void) {
    if (t_thread)
        t_thread->is_spinning = true;
}

/* ---- locks ---- */

static bool lock_skips(struct hak_lock *lock, const char *function) {
    struct thread *self = t_thread;
    if (!schedule_is_running() || !mutation_is_here(MUTATION_SKIP_LOCK, "", function) ||
        self->skipped_count == SKIPPED_MAX)
        return false;
    self->skipped[self->skipped_count++] = lock;
    return true;
}

static bool lock_was_skipped(const struct hak_lock *lock) {
    struct thread *self = t_thread;
    for (unsigned i = 0; self && i < self->skipped_count; i++) {
        if (self->skipped[i] == lock) {
            self->skipped[i] = self->skipped[--self->skipped_count];
            return true;
        }
    }
    return false;
}

void schedule_acquire(struct hak_lock *lock, const char *function) {
    if (!lock_skips(lock, function))
        hak_lock_acquire(lock);
}

void schedule_acquire_for_fork(struct hak_lock *lock, const char *function) {
    if (!lock_skips(lock, function))
        hak_lock_acquire_for_fork(lock);
}

bool schedule_acquire_among(struct hak_lock *lock, bool may_wait, const char *function) {
    return lock_skips(lock, function) || hak_lock_acquire_among(lock, may_wait);
}

bool schedule_try_acquire(struct hak_lock *lock, const char *function) {
    return lock_skips(lock, function) || hak_lock_try_acquire(lock);
}

void schedule_release(struct hak_lock *lock) {
    if (!lock_was_skipped(lock))
        hak_lock_release(lock);
}

void schedule_reset(struct hak_lock *lock) {
    if (lock_was_skipped(lock))
        lock->state = 0;
    else
        hak_lock_reset(lock);
}

void schedule_assert_held(const struct hak_lock *lock) {
    if (t_thread == NULL || t_thread->skipped_count == 0)
        hak_lock_assert_held(lock);
}

unsigned schedule_watch(const char *function) {
    unsigned stores = g_schedule.watched_stores;
    g_schedule.watched = function;
    g_schedule.watched_stores = 0;
    return stores;
}

bool schedule_is_skipped(const char *function) {
    return mutation_is_here(MUTATION_SKIP_CALL, "", function);
}

/* ---- sleep ---- */

void schedule_wait(_Atomic uint32_t *word, uint32_t expected) {
    struct thread *self = t_thread;
    if (schedule_step(STEP_LOAD, word, "futex", "hak_prim_futex_wait"), *word != expected)
        return;
    if (!schedule_is_running())
        fail("deadlock: the lock's holder does not exist here");
    self->waits_for = word;
    self->wait_turn = ++g_schedule.waits;
    unsigned next = choose(self->index, true);
    tell("  %u sleeps; %u goes on\n", self->index, next);
    switch_to(next);
}

void schedule_wake_one(const _Atomic uint32_t *word) {
    struct thread *first = NULL;
    for (unsigned i = 0; i < g_schedule.thread_count; i++) {
        struct thread *thread = &g_schedule.threads[i];
        if (thread->waits_for == word && (first == NULL || thread->wait_turn < first->wait_turn))
            first = thread;
    }
    if (first)
        first->waits_for = NULL;
}

/* ---- threads ---- */

_Noreturn void schedule_end_thread(void) {
    struct thread *self = t_thread;
    late_make(self);
    self->is_alive = false;
    bool is_last = true;
    for (unsigned i = 0; i < g_schedule.thread_count; i++)
        is_last &= !g_schedule.threads[i].is_alive;
    if (is_last) {
        sem_post(&g_schedule.done);
    } else {
        unsigned next = choose(self->index, true);
        tell("  %u ends; %u goes on\n", self->index, next);
        switch_to(next);
    }
    t_thread = NULL;
    pthread_exit(NULL);
}

static void *thread_main(void *argument) {
    struct thread *self = argument;
    t_thread = self;
    if (g_schedule.scenario->prologue[self->index])
        g_schedule.scenario->prologue[self->index]();
    sem_post(&g_schedule.done);
    while (sem_wait(&self->turn) != 0)
        ;
    g_schedule.scenario->body[self->index]();
    prim_thread_exits();
    schedule_end_thread();
}

static void thread_start(struct thread *thread) {
    pthread_attr_t attributes;
    sem_init(&thread->turn, 0, 0);
    thread->is_alive = true;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, g_stacks[thread->index], STACK_SIZE);
    if (pthread_create(&thread->handle, &attributes, thread_main, thread) != 0)
        give_up("no thread");
    while (sem_wait(&g_schedule.done) != 0)
        ;
}

void schedule_run(const struct scenario *scenario) {
    alarm(EXECUTION_SECONDS);
    g_schedule.scenario = scenario;
    sem_init(&g_schedule.done, 0, 0);
    if (scenario->begin)
        scenario->begin();
    for (unsigned i = 0; i < SCHEDULE_THREADS_MAX && scenario->body[i]; i++) {
        g_schedule.threads[i].index = i;
        thread_start(&g_schedule.threads[i]);
        g_schedule.thread_count++;
    }
    races_begin();
    g_schedule.is_running = true;
    unsigned first = choose(0, true);
    tell("  %u begins\n", first);
    sem_post(&g_schedule.threads[first].turn);
    while (sem_wait(&g_schedule.done) != 0)
        ;
    g_schedule.is_running = false;
    for (unsigned i = 0; i < g_schedule.thread_count; i++)
        pthread_join(g_schedule.threads[i].handle, NULL);
    if (scenario->check)
        scenario->check();
}

/* ---- fork ---- */

void schedule_fork(void (*between)(void), void (*check)(void)) {
    prim_fork_prepare();
    if (between)
        between();
    g_schedule.has_forked = true;
    tell("  %u forks\n", t_thread->index);
    pid_t child = fork();
    if (child < 0)
        give_up("no child");
    if (child == 0) {
        alarm(EXECUTION_SECONDS);
        g_schedule.is_running = false;
        if (between)
            between();
        prim_fork_child();
        t_thread = NULL;
        check();
        _exit(0);
    }
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        if (world->reason[0] == 0)
            snprintf(world->reason, sizeof world->reason, "the child ends by signal %d",
                     WTERMSIG(status));
        _exit(1);
    }
    if (between)
        between();
    prim_fork_parent();
}
