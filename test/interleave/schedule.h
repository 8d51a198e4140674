/* test/interleave/schedule.h — one execution: threads that run one at a time, as they are told. SPDX-License-Identifier: MIT */

/*
 * A scenario's threads are real threads, of which one runs. Before each access to something that threads
 * share, before each change that a fork could see (scenarios that fork), and where a thread sleeps or ends,
 * there is a *decision*: who runs next? The search (interleave.c) lays the first decisions down in the
 * shared `world`; after those a thread goes on until it has to stop.
 *
 *   interleave.c: search -> fork, per execution -> schedule_run -> thread_main -> body, exit
 *   library: shadow/base/atomic.h -> schedule_step -> decide -> switch_to
 */
#ifndef HAKMEM_TEST_INTERLEAVE_SCHEDULE_H
#define HAKMEM_TEST_INTERLEAVE_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SCHEDULE_THREADS_MAX = 3,
    SCHEDULE_DECISIONS_MAX = 1 << 14,
    SCHEDULE_LOCATIONS = 1 << 13, /* a power of two */
    SCHEDULE_STEPS_MAX = 1 << 20, /* more: it does not end */
    SCHEDULE_REASON_SIZE = 256
};

/* What a scenario consists of. */
struct scenario {
    const char *name;
    bool forks;          /* a thread calls schedule_fork() */
    unsigned bound;      /* preemptions in ./dev test; 0: 1 */
    const char *aborts;  /* each execution ends by a message with these words */
    void (*setup)(void); /* once, in the process that executions are forked from */
    void (*begin)(void); /* before each execution, in its process; NULL: nothing */
    /* Of each thread, one after the other; NULL: nothing. */
    void (*prologue[SCHEDULE_THREADS_MAX])(void);
    /* What is interleaved, and the threads' ends after it; NULL: there is no such thread. */
    void (*body[SCHEDULE_THREADS_MAX])(void);
    void (*check)(void);    /* afterwards, alone */
    void (*teardown)(void); /* once, where setup ran; NULL: nothing */
};

enum mutation_kind {
    MUTATION_NONE,
    MUTATION_SKIP_LOCK, /* `function` does not take the lock that it takes; of a try: as if it had */
    MUTATION_SKIP_STORE, /* a store or an addition in `function` is not made */
    MUTATION_LATE_STORE, /* a store in `function` is made after the next change */
    MUTATION_RELAX,      /* an access in `function` is relaxed */
    MUTATION_TEAR,       /* a change in `function` is a load and a store */
    MUTATION_SKIP_CALL   /* `function` is not called (wrap.c has those that can be skipped) */
};

/* One place in which the library is broken. */
struct mutation {
    const char *name;
    const char *scenario; /* that finds it */
    enum mutation_kind kind;
    const char *function;
    const char *what; /* part of the operand, as it stands in the source; "": any */
};

struct decision {
    uint8_t enabled; /* bit per thread */
    uint8_t current; /* the thread that came here */
    bool is_forced;  /* it cannot go on: to switch costs nothing */
    uint8_t chosen;
};

/* Who touched it in this execution, a bit per thread. */
struct location {
    uintptr_t address;
    uint8_t readers;
    uint8_t adders;
    uint8_t writers;
    bool is_shared; /* by the executions before this one: accesses are decisions */
};

/* Shared by all executions of a scenario and the search. */
struct world {
    struct decision decisions[SCHEDULE_DECISIONS_MAX];
    uint32_t decision_count;
    uint32_t prefix_count; /* decisions laid down */
    uint32_t steps;
    bool is_broken;                    /* the execution could not be made */
    uint64_t mutated;                  /* accesses changed by the mutation */
    bool is_told;                      /* says on stderr what happens */
    char reason[SCHEDULE_REASON_SIZE]; /* why it failed */
    struct location locations[SCHEDULE_LOCATIONS];
};

extern struct world *world;
extern const struct mutation *schedule_mutation; /* NULL: none */

/* Runs the scenario once; returns if all went well, else ends the process with status 1, or by a signal. */
void schedule_run(const struct scenario *scenario);

/* ---- for scenarios ---- */

_Noreturn void schedule_fail(const char *file, int line, const char *text);
/* A table is too small. */
_Noreturn void schedule_fail_full(void);
/* `code`: the instruction that made the access. */
_Noreturn void schedule_fail_race(const char *text, const void *code);
#define EXPECT(x) ((x) ? (void)0 : schedule_fail(__FILE__, __LINE__, #x))

/* The calling thread's number. */
unsigned schedule_self(void);
/*
 * The library's handlers and fork(2) between them: `check` runs in the child, alone; then the parent goes on.
 * `between`, or NULL: what other libraries' handlers do, before fork and after it in both processes.
 */
void schedule_fork(void (*between)(void), void (*check)(void));
/* Counts stores made by that function of the library from now on; returns the count so far of the last one. */
unsigned schedule_watch(const char *function);
/* Is `function` to be left out? For wrap.c. */
bool schedule_is_skipped(const char *function);

/* ---- for scheduled_prim.c and races.c ---- */

bool schedule_is_running(void);
/* A plain store follows: a fork that comes sees it made, or not. */
void schedule_plain_store(void);
void schedule_wait(_Atomic uint32_t *word, uint32_t expected);
void schedule_wake_one(const _Atomic uint32_t *word);
/* The thread ends here and now. */
_Noreturn void schedule_end_thread(void);

#endif
