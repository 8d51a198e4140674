/* test/model/protocol.h — the state of the remote-free model. SPDX-License-Identifier: MIT */

/*
 * The model is src/heap/remote.c and what it stands on, as far as threads can tell:
 *
 *   block       one of 4, two to a slab; a set of blocks is a byte, one bit each
 *   slab        who owns it (its tag) and which of its blocks are free, which were ever handed out
 *   word        1 or 2 blocks that share an accumulator's key
 *   magazine    room for one block
 *   program     variables through which threads hand blocks to each other; empty until one is there
 *   sizes       not there: whether a free is large, a batch full, an owner idle is a choice of the
 *               explorer, so every threshold is covered, and bytes are not counted
 *   the pool    a set of slabs; its lock is above the heaps' and held for one step
 *
 * Ids count from 1, and 0 means none, so that a zeroed state is an empty one. Memory is
 * sequentially consistent here; weak.h has the other model.
 */
#ifndef HAKMEM_MODEL_PROTOCOL_H
#define HAKMEM_MODEL_PROTOCOL_H

#include <stdbool.h>
#include <stdint.h>

#include "explore.h"

enum {
    THREADS_MAX = 4,
    HEAPS_MAX = 3,
    SLABS_MAX = 2,
    SLAB_BLOCKS = 2,
    BLOCKS_MAX = SLABS_MAX * SLAB_BLOCKS,
    HEAP_PACKETS_MAX = 2,
    PACKETS_MAX = HEAPS_MAX * HEAP_PACKETS_MAX,
    RECORDS_MAX = 2,
    GATHERED_MAX = 2,
    OPEN_MAX = 2,
    VARIABLES_MAX = 5,
    CALLS_MAX = 6,
    SCRIPT_MAX = 12,
    VARIABLE_FAILED = 255 /* the allocation that fills the variable found no memory */
};

enum step {
#define STEP(name, function, concerns, text) STEP_##name,
#include "steps.def"
#undef STEP
    STEP_COUNT
};

enum mutant {
    MUTANT_NONE,
#define MUTANT(name, scenario, text) MUTANT_##name,
#include "mutants.def"
#undef MUTANT
    MUTANT_COUNT
};

struct record {
    uint8_t word;   /* 1 … */
    uint8_t blocks; /* set; a notice of the OR variant has none */
};

struct packet {
    uint8_t next; /* packet */
    uint8_t in_flight;
    uint8_t count;
    struct record records[RECORDS_MAX];
};

struct open_packet {
    uint8_t owner; /* heap */
    uint8_t packet;
};

struct heap {
    uint8_t lock;        /* thread that holds it */
    uint8_t inbox;       /* packet */
    uint8_t next_orphan; /* heap */
    uint8_t magazine;    /* set of blocks, at most one */
    struct record gathered[GATHERED_MAX];
    struct open_packet open[OPEN_MAX];
};

/* A thread is a step to make next, where to go on after it, and what it has in its hands. */
struct thread {
    uint8_t step;
    uint8_t calls[CALLS_MAX]; /* steps to return to, innermost first */
    uint8_t op;               /* of the thread's script */
    uint8_t heap;             /* its own; none: a stranger */
    uint8_t acting;           /* heap it works for: its own, or the orphan it reaps */
    uint8_t held;             /* heap whose lock it holds */
    uint8_t blocks;           /* in hand: set, at most one */
    uint8_t owner;            /* heap the block or record in hand goes to */
    struct record post;       /* record in hand, between accumulator and packet */
    uint8_t slot;             /* open packet */
    uint8_t packet;           /* found, or being sent */
    uint8_t target;           /* heap it is sent to */
    uint8_t first;            /* packet that the inbox held */
    uint8_t drained;          /* packet being read, its successor, and the next record's index */
    uint8_t next;
    uint8_t index;
    struct record apply; /* record being applied */
    uint8_t value;       /* read, to be written back changed */
};

struct state {
    struct thread threads[THREADS_MAX];
    struct heap heaps[HEAPS_MAX];
    struct packet packets[PACKETS_MAX]; /* heap 1's, heap 2's, … */
    uint8_t owner[SLABS_MAX];           /* heap; the tag of the slab's units */
    uint8_t pool;                       /* set of slabs */
    uint8_t free;                       /* set of blocks, as the rest */
    uint8_t fresh;                      /* ever handed out since the slab came from the pool */
    uint8_t live;                       /* in the program's hands, or on the way there */
    uint8_t noticed;                    /* OR variant: remote bits of all slabs */
    uint8_t lost;                       /* in the hands of threads that vanished in a fork */
    uint8_t variables[VARIABLES_MAX];   /* set of one block, or VARIABLE_FAILED */
    uint8_t registry_lock;              /* thread */
    uint8_t orphans;                    /* heap, newest; then by next_orphan */
    uint8_t forker;                     /* thread that passes through every lock */
    uint8_t is_child;
};

struct op {
    uint8_t step;     /* first of the operation; 0 (END) ends the script */
    uint8_t argument; /* variable or heap, 1 … */
    bool may_adopt; /* a free by a thread without a heap: it is given one first, if there is one */
    bool may_skip;  /* a free: nothing to do if the variable is empty; else the thread waits */
};

struct scenario {
    const char *name;
    uint8_t threads;
    uint8_t heaps;
    uint8_t slabs;
    uint8_t word_blocks;  /* 1 or 2 */
    uint8_t gathered;     /* accumulators per heap */
    uint8_t open;         /* open packets per heap */
    uint8_t heap_packets; /* per heap */
    uint8_t records;      /* per packet */
    bool has_magazine;
    bool is_forking;
    uint8_t heap_of[THREADS_MAX]; /* at the start */
    struct op script[THREADS_MAX][SCRIPT_MAX];
    struct op child[THREADS_MAX][SCRIPT_MAX]; /* after fork, in the child */
};

/* What a run of the explorer is about: the model's context. */
struct variant {
    const struct scenario *scenario;
    enum mutant mutant;
};

/* One step being made. */
struct run {
    const struct scenario *scenario;
    enum mutant mutant;
    struct state *s;
    struct thread *t;
    uint8_t self; /* thread, 1 … */
    unsigned choice;
};

extern const struct explore_model protocol_model; /* its context is to be a struct variant */

/* What a step does that no run has made yet; NULL: all were made that are not a mutant's. */
const char *protocol_unmade_step(void);

/* ---- protocol.c ---- */

/* Continue at a step; at one, and then at another; where the innermost call wants it. All true. */
bool run_go(struct run *r, enum step step);
bool run_call(struct run *r, enum step step, enum step after);
bool run_return(struct run *r);
bool run_stop(struct run *r, const char *why); /* wrong, and the thread cannot go on */
void run_start_script(struct run *r);          /* at its first operation */
const struct op *run_op(const struct run *r);

/* What an id says; none is a violation. */
struct heap *heap_at(const struct run *r, uint8_t heap);
struct packet *packet_at(const struct run *r, uint8_t packet);

/* Locks: false, and the thread must wait. The forking thread passes. */
bool lock_take(struct run *r, uint8_t *lock);
void lock_give(struct run *r, uint8_t *lock);
bool heap_lock(struct run *r, uint8_t heap);
void heap_unlock(struct run *r);
bool heap_lock_is_free(const struct run *r, uint8_t heap);

/* Rules that only the protocol as written must keep: a mutant is judged by what comes of it. */
void heap_require_lock(const struct run *r, const char *why); /* of the heap that t->held names */
void run_require(const struct run *r, bool holds, const char *why);
bool run_is(const struct run *r, enum mutant mutant);

/* ---- protocol_check.c ---- */

/* Sets of blocks; slabs count from 0. */
uint8_t slab_blocks(unsigned slab);
uint8_t word_blocks(const struct scenario *scenario, uint8_t word);
unsigned slab_of_word(const struct scenario *scenario, uint8_t word);
uint8_t word_of(const struct scenario *scenario, uint8_t block_set); /* of a set of one block */
/* In how many places each block is: slabs, magazines, messages, hands. */
void count_places(const struct scenario *scenario, const struct state *s,
                  uint8_t places[BLOCKS_MAX]);
const char *protocol_check(const void *context, const void *state);
const char *protocol_check_end(const void *context, const void *state);

/* ---- the steps, by file ---- */

bool step_end(struct run *r);  /* protocol.c */
bool step_free(struct run *r); /* protocol_free.c: the freer */
bool step_gather(struct run *r);
bool step_post(struct run *r);
bool step_send(struct run *r);
bool step_alloc(struct run *r); /* protocol_heap.c: the holder of the lock */
bool step_refill(struct run *r);
bool step_drain(struct run *r);
bool step_apply(struct run *r);
bool step_trim(struct run *r);
bool step_exit(struct run *r); /* protocol_life.c: threads and processes */
bool step_adopt(struct run *r);
bool step_reap(struct run *r);
bool step_fork(struct run *r);

#endif
