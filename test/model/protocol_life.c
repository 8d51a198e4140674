/* test/model/protocol_life.c — remote-free model: exit, adoption, reaping, fork. SPDX-License-Identifier: MIT */

/*
 *   exit    post all; lock, drain, unlock; the heap onto the orphans' list
 *   adopt   the newest orphan off the list; the thread has it, with all that is in it
 *   reap    an orphan off the list; for it: post all; lock, drain, empty the magazine, unlock; back
 *   fork    prepare: the registry's and all heaps' locks, then other libraries' handlers, which
 *           pass through locks; fork: the explorer follows both sides; handlers again; done
 */

#include "protocol.h"

#include <string.h>

/* ---- exit ---- */

bool step_exit(struct run *r) {
    struct thread *t = r->t;
    struct state *s = r->s;
    switch (t->step) {
    case STEP_EXIT_POST:
        if (t->heap == 0) /* it was never given one */
            return run_return(r);
        if (run_is(r, MUTANT_EXIT_WITHOUT_POST) || run_is(r, MUTANT_EXIT_POSTS_LOCKED))
            return run_go(r, STEP_EXIT_LOCK);
        if (run_is(r, MUTANT_EXIT_ORPHANS_FIRST))
            return run_call(r, STEP_ORPHAN_LOCK, STEP_EXIT_LOCK);
        return run_call(r, STEP_ALL_NEXT, STEP_EXIT_LOCK);
    case STEP_EXIT_LOCK:
        if (!heap_lock(r, t->acting))
            return false;
        if (run_is(r, MUTANT_EXIT_POSTS_LOCKED) && t->value == 0) {
            t->value = 1;
            return run_call(r, STEP_ALL_NEXT, STEP_EXIT_UNLOCK);
        }
        return run_call(r, STEP_DRAIN_PEEK, STEP_EXIT_UNLOCK);
    case STEP_EXIT_UNLOCK:
        t->held = t->acting; /* a mutant locked others in between */
        heap_unlock(r);
        if (run_is(r, MUTANT_EXIT_ORPHANS_FIRST))
            return run_call(r, STEP_ALL_NEXT, STEP_DIE);
        t->heap = 0;
        return run_go(r, STEP_ORPHAN_LOCK);
    case STEP_DIE:
        t->heap = 0;
        /* Who finds it later lists it; the order of events is the same. */
        return run_is(r, MUTANT_EXIT_ORPHANS_FIRST) ? run_return(r) : run_go(r, STEP_ORPHAN_LOCK);
    case STEP_ORPHAN_LOCK:
        return lock_take(r, &s->registry_lock) && run_go(r, STEP_ORPHAN_PUSH);
    case STEP_ORPHAN_PUSH:
        heap_at(r, t->acting)->next_orphan = s->orphans;
        s->orphans = t->acting;
        return run_go(r, STEP_ORPHAN_UNLOCK);
    case STEP_ORPHAN_UNLOCK:
        lock_give(r, &s->registry_lock);
        return run_return(r);
    default:
        return false;
    }
}

/* ---- adopt ---- */

/* The operation waits for an orphan; a free that is given a heap does not. */
bool step_adopt(struct run *r) {
    struct thread *t = r->t;
    struct state *s = r->s;
    switch (t->step) {
    case STEP_ADOPT_LOCK:
        if (s->orphans == 0 && run_op(r)->step == STEP_ADOPT_LOCK)
            return false;
        if (!run_is(r, MUTANT_ADOPT_WITHOUT_LOCK) && !lock_take(r, &s->registry_lock))
            return false;
        return run_go(r, STEP_ADOPT_READ);
    case STEP_ADOPT_READ:
        t->acting = s->orphans;
        if (s->orphans == 0 && run_is(r, MUTANT_ADOPT_WITHOUT_LOCK))
            return run_go(r, STEP_ADOPT_LOCK); /* somebody was faster: wait again */
        return run_go(r, s->orphans ? STEP_ADOPT_POP : STEP_ADOPT_UNLOCK);
    case STEP_ADOPT_POP:
        s->orphans = heap_at(r, t->acting)->next_orphan;
        heap_at(r, t->acting)->next_orphan = 0;
        return run_go(r, STEP_ADOPT_UNLOCK);
    case STEP_ADOPT_UNLOCK:
        t->heap = t->acting;
        if (!run_is(r, MUTANT_ADOPT_WITHOUT_LOCK))
            lock_give(r, &s->registry_lock);
        return run_return(r);
    default:
        return false;
    }
}

/* ---- reap ---- */

/* Where the list names the heap; NULL: nowhere. */
static uint8_t *orphan_link(struct run *r, uint8_t heap) {
    uint8_t *link = &r->s->orphans;
    while (*link && *link != heap)
        link = &heap_at(r, *link)->next_orphan;
    return *link ? link : NULL;
}

static bool reap_pop(struct run *r) {
    uint8_t heap = run_op(r)->argument;
    uint8_t *link = orphan_link(r, heap);
    if (link == NULL) /* it has a thread, or another reaper */
        return run_go(r, STEP_ORPHAN_UNLOCK);
    r->t->acting = heap;
    if (!run_is(r, MUTANT_REAP_KEEPS_LISTED)) {
        *link = heap_at(r, heap)->next_orphan;
        heap_at(r, heap)->next_orphan = 0;
    }
    return run_go(r, STEP_REAP_UNLOCK);
}

bool step_reap(struct run *r) {
    struct thread *t = r->t;
    struct state *s = r->s;
    switch (t->step) {
    case STEP_REAP_LOCK:
        return lock_take(r, &s->registry_lock) && run_go(r, STEP_REAP_POP);
    case STEP_REAP_POP:
        return reap_pop(r);
    case STEP_REAP_UNLOCK:
        lock_give(r, &s->registry_lock);
        if (run_is(r, MUTANT_REAP_WITHOUT_POST))
            return run_go(r, STEP_REAP_HEAP);
        return run_call(r, STEP_ALL_NEXT, STEP_REAP_HEAP);
    case STEP_REAP_HEAP:
        if (run_is(r, MUTANT_REAP_WITHOUT_LOCK))
            t->held = t->acting;
        else if (!heap_lock(r, t->acting))
            return false;
        return run_call(r, STEP_DRAIN_PEEK, STEP_REAP_FLUSH);
    case STEP_REAP_FLUSH: {
        struct heap *heap = heap_at(r, t->acting);
        if (heap->magazine == 0)
            return run_go(r, STEP_REAP_DONE);
        t->apply = (struct record){word_of(r->scenario, heap->magazine), heap->magazine};
        heap->magazine = 0;
        return run_call(r, STEP_APPLY_READ, STEP_REAP_DONE);
    }
    case STEP_REAP_DONE:
        heap_unlock(r);
        return run_is(r, MUTANT_REAP_KEEPS_LISTED) ? run_return(r) : run_go(r, STEP_ORPHAN_LOCK);
    default:
        return false;
    }
}

/* ---- fork ---- */

static bool prepare_heaps(struct run *r) {
    struct thread *t = r->t;
    if (t->value == r->scenario->heaps || run_is(r, MUTANT_FORK_WITHOUT_LOCKS)) {
        if (!run_is(r, MUTANT_HANDLERS_TAKE_LOCKS))
            r->s->forker = r->self; /* from now on it passes through locks */
        return run_return(r);
    }
    uint8_t *lock = &r->s->heaps[t->value].lock;
    if (!lock_take(r, lock))
        return false;
    t->value++;
    return true;
}

/* The child's memory: the other threads are not there, what they had in hand is lost. */
static void fork_child(struct run *r) {
    struct state *s = r->s;
    s->is_child = 1;
    for (unsigned i = 0; i < r->scenario->threads; i++) {
        struct thread *thread = &s->threads[i];
        if (i + 1 == r->self)
            continue;
        run_require(r, thread->held == 0, "a thread vanishes under a lock");
        s->lost |= thread->blocks | thread->post.blocks;
        memset(thread, 0, sizeof *thread);
        thread->step = STEP_START;
    }
    run_start_script(r);
}

static bool packet_is_waiting(const struct run *r, uint8_t packet) {
    for (unsigned i = 0; i < r->scenario->heaps; i++) {
        for (uint8_t at = r->s->heaps[i].inbox; at; at = packet_at(r, at)->next) {
            if (at == packet)
                return true;
        }
    }
    return false;
}

/* A packet is in flight if an inbox has it; an open one that was pushed is not open any more. */
static void child_settle_packets(struct run *r) {
    if (run_is(r, MUTANT_CHILD_LEAVES_PACKETS))
        return;
    for (uint8_t i = 1; i <= PACKETS_MAX; i++) {
        struct packet *packet = packet_at(r, i);
        if (run_is(r, MUTANT_CHILD_DISTRUSTS_MARK))
            packet->in_flight &= packet_is_waiting(r, i);
        else if (!run_is(r, MUTANT_CHILD_TRUSTS_MARK))
            packet->in_flight = packet_is_waiting(r, i);
    }
    for (uint8_t i = 1; i <= r->scenario->heaps; i++) {
        for (unsigned k = 0; k < r->scenario->open; k++) {
            struct open_packet *open = &heap_at(r, i)->open[k];
            if (open->packet && packet_at(r, open->packet)->in_flight &&
                !run_is(r, MUTANT_CHILD_DISTRUSTS_MARK))
                *open = (struct open_packet){0};
        }
    }
}

/* All heaps but the survivor's are orphans, whatever their threads were doing with them. */
static void child_list_orphans(struct run *r) {
    r->s->orphans = 0;
    for (uint8_t i = 1; i <= r->scenario->heaps; i++) {
        if (i == r->t->heap)
            continue;
        heap_at(r, i)->next_orphan = r->s->orphans;
        r->s->orphans = i;
    }
}

static bool fork_done(struct run *r) {
    struct state *s = r->s;
    if (s->is_child) {
        child_settle_packets(r);
        if (!run_is(r, MUTANT_CHILD_FORGETS_ORPHANS))
            child_list_orphans(r);
    }
    s->forker = 0;
    s->registry_lock = 0;
    for (unsigned i = 0; i < r->scenario->heaps; i++) {
        if (s->is_child || s->heaps[i].lock == r->self)
            s->heaps[i].lock = 0; /* a mutant did not take it */
    }
    return run_return(r);
}

bool step_fork(struct run *r) {
    struct thread *t = r->t;
    if (t->step == STEP_FORK && r->choice == 1) {
        fork_child(r);
        return true;
    }
    switch (t->step) {
    case STEP_PREPARE_REGISTRY:
        return lock_take(r, &r->s->registry_lock) && run_go(r, STEP_PREPARE_HEAPS);
    case STEP_PREPARE_HEAPS:
        return prepare_heaps(r);
    case STEP_FORK:
        return run_return(r); /* the parent */
    case STEP_FORK_DONE:
        return fork_done(r);
    default:
        return false;
    }
}
