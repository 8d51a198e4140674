/* test/model/weak_remote.c — remote free under C11's memory orders. SPDX-License-Identifier: MIT */

/*
 * What src/heap/remote.c publishes without a lock, on the memory of weak.h:
 *
 *   A   in_flight = 0 is a release, finding it 0 an acquire
 *   B   the push is a release, taking the inbox an acquire; later pushes continue its sequence
 *
 * Records, packet.next, free bits and the blocks' contents are plain. So it is checked that no two
 * threads ever race for them, and with the contents the whole way: what the freer did to a block
 * happens before what is done with it when it is handed out again. Tags are relaxed, and must never
 * be read stale.
 *
 * A packet has one record, of one block; its count is record != 0. Each freer has one packet. A
 * step is one access to an atomic or a lock, with the plain accesses around it.
 */

#include "weak_remote.h"

#include <stdint.h>
#include <string.h>

#include "weak.h"

enum cell { INBOX_A, INBOX_B, IN_FLIGHT_1, IN_FLIGHT_2, TAG, GIVEN };
enum plain { CONTENT, RECORD_1 = CONTENT + 3, RECORD_2, NEXT_1, NEXT_2, FREE_BITS, POOL };
enum lock { LOCK_A, LOCK_B, LOCK_POOL };
enum { HEAP_A = 1, HEAP_B = 2, SCRIPT_LENGTH = 8 };

enum weak_step {
    DONE,       /* the script's end */
    FREE,       /* read the tag */
    FREE_FIND,  /* is the packet in flight? (A) If not, write the record */
    FREE_MARK,  /* in_flight = 1 */
    FREE_LOAD,  /* read the inbox; packet.next = it */
    FREE_PUSH,  /* push, if the inbox still holds that (B) */
    FREE_TRY,   /* done, or try the owner's lock to drain */
    FREE_LOCK,  /* no packet: lock the owner, to drain and apply */
    DRAIN,      /* lock the heap */
    DRAIN_PEEK, /* anything in the inbox? */
    DRAIN_TAKE, /* take all of it (B) */
    DRAIN_READ, /* read and apply a packet; in_flight = 0 (A) */
    CLEAR_TAG,  /* release the slab: tag = 0 */
    GIVE_POOL,  /* release the slab: into the pool */
    UNLOCK,     /* take blocks if the thread is the owner; unlock; use them */
    INIT,       /* take the slab from the pool, fill the descriptor */
    SET_TAG,    /* tag = heap B */
    GIVE,       /* the program: hand block 2 to another thread */
    AWAIT,      /* the program: wait for it */
    JOIN        /* the program: wait for the other threads' ends */
};

static const char *const g_weak_texts[] = {
    [FREE] = "free: read the tag",
    [FREE_FIND] = "free: read in_flight; 0: write the record",
    [FREE_MARK] = "send: in_flight = 1",
    [FREE_LOAD] = "send: read the inbox, packet.next = it",
    [FREE_PUSH] = "send: push, if the inbox still holds that",
    [FREE_TRY] = "send: done, or try the owner's lock",
    [FREE_LOCK] = "post: no packet, lock the owner",
    [DRAIN] = "drain: lock the heap",
    [DRAIN_PEEK] = "drain: anything in the inbox?",
    [DRAIN_TAKE] = "drain: take all of the inbox",
    [DRAIN_READ] = "drain: read a packet, apply it, in_flight = 0",
    [CLEAR_TAG] = "release: tag = 0",
    [GIVE_POOL] = "release: put the slab into the pool",
    [UNLOCK] = "drain: unlock; the owner uses what came home",
    [INIT] = "refill: take the slab from the pool",
    [SET_TAG] = "refill: tag = heap B",
    [GIVE] = "the program hands a block over",
    [AWAIT] = "the program waits for the block",
    [JOIN] = "the program waits for the other threads",
};

struct weak_op {
    uint8_t step;
    uint8_t argument; /* FREE: set of one block; DRAIN: heap */
};

/* The orders that matter, as a variant of the protocol has them. */
struct orders {
    enum weak_order push;      /* B */
    enum weak_order take;      /* B */
    enum weak_order give_back; /* A: in_flight = 0 */
    enum weak_order find;      /* A: is it 0? */
    enum weak_order hand_over; /* the program's own */
    bool counts_late;          /* the sender looks into the packet after the push */
};

struct weak_variant {
    struct orders orders;
    bool releases; /* a slab that is empty goes into the pool */
    uint8_t blocks;
    struct weak_op script[WEAK_THREADS][SCRIPT_LENGTH];
};

struct weak_thread {
    uint8_t step;
    uint8_t op;
    uint8_t block;   /* in hand: set of one */
    uint8_t owner;   /* heap */
    uint8_t first;   /* packet the inbox held */
    uint8_t drained; /* packet; thread 1's is 1 */
};

struct weak_state {
    struct weak_memory memory;
    struct weak_thread threads[WEAK_THREADS];
    uint8_t home; /* blocks that were applied */
};

struct weak_run {
    const struct weak_variant *v;
    struct weak_state *s;
    struct weak_memory *m;
    struct weak_thread *t;
    unsigned self; /* from 0 */
    unsigned choice;
};

static bool weak_go(struct weak_run *r, enum weak_step step) {
    r->t->step = (uint8_t)step;
    return true;
}

static bool weak_next_op(struct weak_run *r) {
    r->t->op++;
    r->t->block = r->t->owner = r->t->first = r->t->drained = 0;
    return weak_go(r, r->v->script[r->self][r->t->op].step);
}

static unsigned inbox_of(uint8_t heap) {
    return heap == HEAP_A ? INBOX_A : INBOX_B;
}

static unsigned lock_of(uint8_t heap) {
    return heap == HEAP_A ? LOCK_A : LOCK_B;
}

/* ---- the freer ---- */

/* Block 2 of a variant that releases lives in the slab's second life. */
static uint8_t owner_of(const struct weak_run *r, uint8_t block) {
    return r->v->releases && block == 2 ? HEAP_B : HEAP_A;
}

static bool free_tag(struct weak_run *r) {
    struct weak_thread *t = r->t;
    t->block = r->v->script[r->self][t->op].argument;
    weak_write(r->m, r->self, CONTENT + t->block / 2, (uint8_t)(r->self + 1)); /* its last use */
    if (!weak_load(r->m, r->self, TAG, WEAK_RELAXED, r->choice, &t->owner))
        return false;
    if (t->owner != owner_of(r, t->block))
        explore_fail("a stale tag is read");
    return weak_go(r, FREE_FIND);
}

static bool free_find(struct weak_run *r) {
    uint8_t in_flight;
    if (!weak_load(r->m, r->self, IN_FLIGHT_1 + r->self - 1, r->v->orders.find, r->choice,
                   &in_flight))
        return false;
    if (in_flight)
        return weak_go(r, FREE_LOCK);
    weak_write(r->m, r->self, RECORD_1 + r->self - 1, r->t->block);
    r->t->block = 0;
    return weak_go(r, FREE_MARK);
}

static bool free_push(struct weak_run *r) {
    uint8_t packet = (uint8_t)r->self;
    if (!weak_compare_exchange(r->m, r->self, inbox_of(r->t->owner), r->v->orders.push,
                               &r->t->first, packet)) {
        weak_write(r->m, r->self, NEXT_1 + r->self - 1, r->t->first);
        return true;
    }
    if (r->v->orders.counts_late)
        weak_read(r->m, r->self, RECORD_1 + r->self - 1);
    r->t->first = 0;
    return weak_go(r, FREE_TRY);
}

static bool step_freer(struct weak_run *r) {
    struct weak_thread *t = r->t;
    bool has_choice = t->step == FREE || t->step == FREE_FIND || t->step == FREE_MARK ||
                      t->step == FREE_LOAD || t->step == FREE_TRY;
    if (r->choice > 0 && !has_choice)
        return false;
    switch (t->step) {
    case FREE:
        return free_tag(r);
    case FREE_FIND:
        return free_find(r);
    case FREE_MARK:
        return weak_store(r->m, r->self, IN_FLIGHT_1 + r->self - 1, WEAK_RELAXED, r->choice, 1) &&
               weak_go(r, FREE_LOAD);
    case FREE_LOAD:
        if (!weak_load(r->m, r->self, inbox_of(t->owner), WEAK_RELAXED, r->choice, &t->first))
            return false;
        weak_write(r->m, r->self, NEXT_1 + r->self - 1, t->first);
        return weak_go(r, FREE_PUSH);
    case FREE_PUSH:
        return free_push(r);
    case FREE_TRY:
        if (r->choice == 0)
            return weak_next_op(r);
        return r->choice == 1 && weak_lock_take(r->m, r->self, lock_of(t->owner)) &&
               weak_go(r, DRAIN_PEEK);
    case FREE_LOCK:
        return weak_lock_take(r->m, r->self, lock_of(t->owner)) && weak_go(r, DRAIN_PEEK);
    default:
        return false;
    }
}

/* ---- under the owner's lock ---- */

static void apply(struct weak_run *r, uint8_t block) {
    if (block == 0)
        explore_fail("a record is read that was not written");
    if (r->s->home & block)
        explore_fail("a block comes home twice");
    uint8_t free_bits = weak_read(r->m, r->self, FREE_BITS);
    weak_write(r->m, r->self, FREE_BITS, free_bits | block);
    r->s->home |= block;
}

static bool drain_read(struct weak_run *r) {
    struct weak_thread *t = r->t;
    unsigned index = t->drained - 1u;
    uint8_t next = weak_read(r->m, r->self, NEXT_1 + index);
    apply(r, weak_read(r->m, r->self, RECORD_1 + index));
    weak_write(r->m, r->self, RECORD_1 + index, 0); /* count = 0 */
    if (!weak_store(r->m, r->self, IN_FLIGHT_1 + index, r->v->orders.give_back, r->choice, 0))
        return false;
    t->drained = next;
    if (next)
        return true;
    bool is_empty = r->v->releases && t->owner == HEAP_A;
    return weak_go(r, is_empty ? CLEAR_TAG : UNLOCK);
}

static bool unlock(struct weak_run *r) {
    struct weak_thread *t = r->t;
    if (t->block)
        apply(r, t->block);
    uint8_t got = 0;
    if (r->self == 0 && !r->v->releases) { /* the owner: refill */
        got = weak_read(r->m, r->self, FREE_BITS);
        weak_write(r->m, r->self, FREE_BITS, 0);
    }
    weak_lock_give(r->m, r->self, lock_of(t->owner));
    for (unsigned i = 0; i < 3; i++) {
        if (got >> i & 1)
            weak_write(r->m, r->self, CONTENT + i, 0);
    }
    return weak_next_op(r);
}

static bool step_holder(struct weak_run *r) {
    struct weak_thread *t = r->t;
    bool has_choice = t->step == DRAIN_PEEK || t->step == DRAIN_READ || t->step == CLEAR_TAG;
    if (r->choice > 0 && !has_choice)
        return false;
    uint8_t first;
    switch (t->step) {
    case DRAIN:
        t->owner = r->v->script[r->self][t->op].argument;
        return weak_lock_take(r->m, r->self, lock_of(t->owner)) && weak_go(r, DRAIN_PEEK);
    case DRAIN_PEEK:
        return weak_load(r->m, r->self, inbox_of(t->owner), WEAK_RELAXED, r->choice, &first) &&
               weak_go(r, first ? DRAIN_TAKE : UNLOCK);
    case DRAIN_TAKE:
        t->drained = weak_exchange(r->m, r->self, inbox_of(t->owner), r->v->orders.take, 0);
        return weak_go(r, DRAIN_READ);
    case DRAIN_READ:
        return drain_read(r);
    case CLEAR_TAG:
        return weak_store(r->m, r->self, TAG, WEAK_RELAXED, r->choice, 0) && weak_go(r, GIVE_POOL);
    case GIVE_POOL:
        if (!weak_lock_take(r->m, r->self, LOCK_POOL))
            return false;
        weak_write(r->m, r->self, POOL, 1);
        weak_lock_give(r->m, r->self, LOCK_POOL);
        return weak_go(r, UNLOCK);
    case UNLOCK:
        return unlock(r);
    default:
        return false;
    }
}

/* ---- the second owner, and the program ---- */

static bool init_slab(struct weak_run *r) {
    /* It waits for the slab; that it looks before it has the lock is the explorer's doing. */
    if (r->m->plains[POOL].value == 0 || !weak_lock_take(r->m, r->self, LOCK_POOL))
        return false;
    weak_write(r->m, r->self, POOL, 0);
    weak_lock_give(r->m, r->self, LOCK_POOL);
    weak_write(r->m, r->self, FREE_BITS, 0);
    return weak_go(r, SET_TAG);
}

static bool join(struct weak_run *r) {
    for (unsigned i = 0; i < WEAK_THREADS; i++) {
        if (i != r->self && r->s->threads[i].step != DONE)
            return false;
    }
    for (unsigned i = 0; i < WEAK_THREADS; i++)
        weak_join(r->m, r->self, i);
    return weak_next_op(r);
}

static bool step_program(struct weak_run *r) {
    uint8_t given;
    switch (r->t->step) {
    case INIT:
        return r->choice == 0 && init_slab(r);
    case SET_TAG:
        return weak_store(r->m, r->self, TAG, WEAK_RELAXED, r->choice, HEAP_B) && weak_go(r, GIVE);
    case GIVE:
        return weak_store(r->m, r->self, GIVEN, r->v->orders.hand_over, r->choice, 1) &&
               weak_next_op(r);
    case AWAIT: /* the only message that is not 0 is the last */
        if (r->choice > 0 || r->m->cells[GIVEN].messages[r->m->cells[GIVEN].count - 1].value == 0)
            return false;
        r->choice = r->m->cells[GIVEN].count - 1u - r->m->threads[r->self].from[GIVEN];
        return weak_load(r->m, r->self, GIVEN, WEAK_ACQUIRE, r->choice, &given) && weak_next_op(r);
    case JOIN:
        return r->choice == 0 && join(r);
    default:
        return false;
    }
}

/* ---- the model ---- */

static void weak_protocol_init(const void *context, void *state) {
    struct weak_state *s = state;
    const struct weak_variant *v = context;
    weak_init(&s->memory);
    s->memory.cells[TAG].messages[0].value = HEAP_A;
    for (unsigned i = 0; i < WEAK_THREADS; i++)
        s->threads[i].step = v->script[i][0].step;
}

static bool weak_protocol_step(const void *context, void *state, unsigned actor, unsigned choice) {
    struct weak_state *s = state;
    struct weak_run run = {context, s, &s->memory, &s->threads[actor], actor, choice};
    unsigned step = run.t->step;
    if (step == DONE)
        return false;
    explore_note("thread %u: %s%s", actor, g_weak_texts[step], choice ? ", not the first way" : "");
    bool is_made = step < DRAIN  ? step_freer(&run)
                   : step < INIT ? step_holder(&run)
                                 : step_program(&run);
    if (is_made)
        weak_forget(&s->memory);
    return is_made;
}

static uint8_t last_value(const struct weak_state *s, enum cell cell) {
    return s->memory.cells[cell].messages[s->memory.cells[cell].count - 1].value;
}

static const char *weak_protocol_check_end(const void *context, const void *state) {
    const struct weak_variant *v = context;
    const struct weak_state *s = state;
    for (unsigned i = 0; i < WEAK_THREADS; i++) {
        if (s->threads[i].step != DONE)
            return "deadlock";
    }
    if (s->home != v->blocks)
        return "a block is lost";
    if (last_value(s, IN_FLIGHT_1) || last_value(s, IN_FLIGHT_2))
        return "a packet never comes back";
    return NULL;
}

const struct explore_model weak_model = {
    .state_size = sizeof(struct weak_state),
    .actors = WEAK_THREADS,
    .init = weak_protocol_init,
    .step = weak_protocol_step,
    .check_end = weak_protocol_check_end,
};

/* Two freers and the owner; a packet is used twice, and anybody may drain. */
#define ORDERS(...)                                                                                \
    &(const struct weak_variant) {                                                                 \
        .orders = {__VA_ARGS__}, .blocks = 7,                                                      \
        .script = {{{DRAIN, HEAP_A}, {DRAIN, HEAP_A}, {JOIN, 0}, {DRAIN, HEAP_A}},                 \
                   {{FREE, 1}, {FREE, 2}},                                                         \
                   {{FREE, 4}}},                                                                   \
    }

/* A slab with two lives: heap A's until block 1 has come home, then heap B's. */
#define LIVES(...)                                                                                 \
    &(const struct weak_variant) {                                                                 \
        .orders = {__VA_ARGS__}, .releases = true, .blocks = 3,                                    \
        .script = {{{DRAIN, HEAP_A}},                                                              \
                   {{FREE, 1}, {DRAIN, HEAP_A}, {AWAIT, 0}, {FREE, 2}},                            \
                   {{INIT, 0}, {JOIN, 0}, {DRAIN, HEAP_B}}},                                       \
    }

#define REL WEAK_RELEASE
#define ACQ WEAK_ACQUIRE
#define RLX WEAK_RELAXED
#define BRK WEAK_BROKEN

const struct weak_case weak_cases[] = {
    /*                              push  take give_back find hand_over */
    {"weak_orders", NULL, ORDERS(REL, ACQ, REL, ACQ, REL, false)},
    {"weak_lives", NULL, LIVES(REL, ACQ, REL, ACQ, REL, false)},
    {"PUSH_RELAXED", "B: the push is no release", ORDERS(RLX, ACQ, REL, ACQ, REL, false)},
    {"TAKE_RELAXED", "B: taking the inbox is no acquire", ORDERS(REL, RLX, REL, ACQ, REL, false)},
    {"PUSH_NOT_RMW", "B: a push ends the release sequence of those before it",
     ORDERS(BRK, ACQ, REL, ACQ, REL, false)},
    {"RETURN_RELAXED", "A: in_flight = 0 is no release", ORDERS(REL, ACQ, RLX, ACQ, REL, false)},
    {"FIND_RELAXED", "A: finding in_flight 0 is no acquire",
     ORDERS(REL, ACQ, REL, RLX, REL, false)},
    {"COUNT_AFTER_PUSH", "the sender reads its packet after the push",
     ORDERS(REL, ACQ, REL, ACQ, REL, true)},
    {"HAND_OVER_RELAXED", "the program hands a pointer over without order",
     LIVES(REL, ACQ, REL, ACQ, RLX, false)},
};
const unsigned weak_case_count = sizeof weak_cases / sizeof weak_cases[0];
