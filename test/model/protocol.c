/* test/model/protocol.c — threads of the remote-free model: steps, calls, locks. SPDX-License-Identifier: MIT */

/*
 *   explore() -> protocol_step -> step_free, step_gather, step_post, step_send    protocol_free.c
 *                              -> step_refill, step_drain, step_apply             protocol_heap.c
 *                              -> step_exit, step_adopt, step_reap, step_fork     protocol_life.c
 *             -> protocol_check, protocol_check_end                               protocol_check.c
 *
 * A thread runs its script, one operation after the other. What the protocol writes as a call
 * (post calls send, send calls drain, …) is one here: a thread keeps the steps to return to.
 */

#include "protocol.h"

#include <stdio.h>
#include <string.h>

enum concern { SHARED, CHOICE, WRONG, OWN };

static const struct {
    bool (*make)(struct run *r);
    enum concern concerns;
    const char *text;
} g_steps[STEP_COUNT] = {
#define STEP(name, function, concerns, text) [STEP_##name] = {function, concerns, text},
#include "steps.def"
#undef STEP
};

/* By any run so far. */
static bool g_protocol_made[STEP_COUNT];

bool run_is(const struct run *r, enum mutant mutant) {
    return r->mutant == mutant;
}

void run_require(const struct run *r, bool holds, const char *why) {
    if (!holds && r->mutant == MUTANT_NONE)
        explore_fail(why);
}

const struct op *run_op(const struct run *r) {
    const struct scenario *scenario = r->scenario;
    unsigned thread = r->self - 1u;
    return r->s->is_child ? &scenario->child[thread][r->t->op]
                          : &scenario->script[thread][r->t->op];
}

static bool run_start_op(struct run *r) {
    struct thread *t = r->t;
    t->blocks = t->owner = t->slot = t->packet = t->target = t->first = t->value = 0;
    t->acting = t->heap;
    t->step = run_op(r)->step;
    return true;
}

void run_start_script(struct run *r) {
    r->t->op = 0;
    run_start_op(r);
}

bool run_go(struct run *r, enum step step) {
    r->t->step = (uint8_t)step;
    return true;
}

bool run_stop(struct run *r, const char *why) {
    explore_fail(why);
    return run_go(r, STEP_END);
}

bool run_call(struct run *r, enum step step, enum step after) {
    struct thread *t = r->t;
    if (t->calls[CALLS_MAX - 1])
        explore_fail("the model's calls are too deep");
    memmove(t->calls + 1, t->calls, CALLS_MAX - 1);
    t->calls[0] = (uint8_t)after;
    return run_go(r, step);
}

bool run_return(struct run *r) {
    struct thread *t = r->t;
    if (t->calls[0] == 0) { /* the operation is done */
        t->op++;
        return run_start_op(r);
    }
    t->step = t->calls[0];
    memmove(t->calls, t->calls + 1, CALLS_MAX - 1);
    t->calls[CALLS_MAX - 1] = 0;
    return true;
}

struct heap *heap_at(const struct run *r, uint8_t heap) {
    if (heap == 0)
        explore_fail("a heap is used that is none");
    return &r->s->heaps[heap ? heap - 1 : 0];
}

struct packet *packet_at(const struct run *r, uint8_t packet) {
    if (packet == 0)
        explore_fail("a packet is used that is none");
    return &r->s->packets[packet ? packet - 1 : 0];
}

bool lock_take(struct run *r, uint8_t *lock) {
    if (r->s->forker == r->self)
        return true;
    if (*lock)
        return false;
    *lock = r->self;
    return true;
}

void lock_give(struct run *r, uint8_t *lock) {
    run_require(r, *lock == r->self, "a lock is given back that is not held");
    if (r->s->forker != r->self && *lock == r->self)
        *lock = 0;
}

bool heap_lock_is_free(const struct run *r, uint8_t heap) {
    return r->s->forker == r->self || heap_at(r, heap)->lock == 0;
}

bool heap_lock(struct run *r, uint8_t heap) {
    run_require(r, r->t->held == 0, "a thread wants two heaps' locks");
    if (!lock_take(r, &heap_at(r, heap)->lock))
        return false;
    r->t->held = heap;
    return true;
}

void heap_require_lock(const struct run *r, const char *why) {
    run_require(r, r->s->forker == r->self || heap_at(r, r->t->held)->lock == r->self, why);
}

void heap_unlock(struct run *r) {
    lock_give(r, &heap_at(r, r->t->held)->lock);
    r->t->held = 0;
}

bool step_end(struct run *r) {
    switch (r->t->step) {
    case STEP_START:
        if (r->s->forker) /* the child's thread that makes us is not yet through its handlers */
            return false;
        run_start_script(r);
        return true;
    case STEP_WAIT:
        for (unsigned i = 0; i < r->scenario->threads; i++) {
            if (i + 1 != r->self && r->s->threads[i].step != STEP_END)
                return false;
        }
        return run_return(r);
    default:
        return false;
    }
}

static void protocol_init(const void *context, void *state) {
    const struct variant *variant = context;
    struct state *s = state;
    const struct scenario *scenario = variant->scenario;
    s->pool = (uint8_t)((1u << scenario->slabs) - 1);
    for (uint8_t i = 0; i < scenario->threads; i++) {
        struct run run = {scenario, variant->mutant, s, &s->threads[i], (uint8_t)(i + 1), 0};
        run.t->heap = scenario->heap_of[i];
        run_start_script(&run);
    }
}

static void note(const struct run *r) {
    const struct thread *t = r->t;
    char heap[32] = "none";
    if (t->heap)
        snprintf(heap, sizeof heap, "%u", t->heap);
    char acting[32] = "";
    if (t->acting != t->heap)
        snprintf(acting, sizeof acting, ", for heap %u", t->acting);
    const char *text = g_steps[t->step].text;
    const char *second = strchr(text, '|');
    int length = second ? (int)(second - text) : (int)strlen(text);
    if (second && r->choice == 1) {
        text = second + 1;
        length = (int)strlen(text);
    }
    explore_note("%sthread %u, heap %s%s: %.*s", r->s->is_child ? "child, " : "", r->self, heap,
                 acting, length, text);
}

static bool make(struct run *r) {
    if (explore_is_tracing)
        note(r);
    uint8_t step = r->t->step;
    if (!g_steps[step].make(r))
        return false;
    g_protocol_made[step] = true;
    return true;
}

const char *protocol_unmade_step(void) {
    for (unsigned i = STEP_END + 1; i < STEP_COUNT; i++) {
        if (!g_protocol_made[i] && g_steps[i].concerns != WRONG)
            return g_steps[i].text;
    }
    return NULL;
}

static bool protocol_step(const void *context, void *state, unsigned actor, unsigned choice) {
    const struct variant *variant = context;
    struct state *s = state;
    struct run run = {variant->scenario,  variant->mutant,      s,
                      &s->threads[actor], (uint8_t)(actor + 1), choice};
    bool has_choice = g_steps[run.t->step].concerns == CHOICE;
    if (actor >= run.scenario->threads || choice > has_choice)
        return false;
    if (!make(&run))
        return false;
    run.choice = 0;
    while (!run.scenario->is_forking && g_steps[run.t->step].concerns == OWN)
        make(&run);
    return true;
}

const struct explore_model protocol_model = {
    .state_size = sizeof(struct state),
    .actors = THREADS_MAX,
    .init = protocol_init,
    .step = protocol_step,
    .check = protocol_check,
    .check_end = protocol_check_end,
};
