/* test/model/protocol_heap.c — remote-free model: under the owner's lock. SPDX-License-Identifier: MIT */

/*
 *   alloc -> magazine, or refill: lock, drain, take from a slab or the pool, unlock
 *   drain -> apply each record -> release a slab of which nothing is out
 *
 * A slab goes back at once: an allocator that keeps a spare does less.
 */

#include "protocol.h"

/* ---- alloc and refill ---- */

bool step_alloc(struct run *r) {
    struct thread *t = r->t;
    struct state *s = r->s;
    if (t->step == STEP_ALLOC_POP) {
        struct heap *heap = heap_at(r, t->heap);
        if (heap->magazine == 0)
            return run_go(r, STEP_REFILL_LOCK);
        t->blocks = heap->magazine;
        heap->magazine = 0;
        return run_go(r, STEP_ALLOC_GIVE);
    }
    uint8_t *variable = &s->variables[run_op(r)->argument - 1];
    if (*variable)
        return false;
    if (s->live & t->blocks)
        explore_fail("a block is handed out twice");
    *variable = t->blocks ? t->blocks : VARIABLE_FAILED;
    s->live |= t->blocks;
    t->blocks = 0;
    return run_return(r);
}

static uint8_t lowest(uint8_t set) {
    return (uint8_t)(set & -set);
}

static bool refill_take(struct run *r) {
    struct state *s = r->s;
    uint8_t own = 0;
    for (unsigned i = 0; i < r->scenario->slabs; i++) {
        if (s->owner[i] == r->t->heap)
            own |= slab_blocks(i);
    }
    uint8_t block = lowest(s->free & own);
    if (block == 0)
        block = lowest((uint8_t)(own & ~s->fresh));
    if (block == 0 && s->pool)
        return run_go(r, STEP_REFILL_POOL);
    s->free &= (uint8_t)~block;
    s->fresh |= block;
    r->t->blocks = block;
    return run_go(r, STEP_REFILL_UNLOCK);
}

bool step_refill(struct run *r) {
    struct thread *t = r->t;
    struct state *s = r->s;
    switch (t->step) {
    case STEP_REFILL_LOCK:
        return heap_lock(r, t->heap) && run_call(r, STEP_DRAIN_PEEK, STEP_REFILL_TAKE);
    case STEP_REFILL_TAKE:
        return refill_take(r);
    case STEP_REFILL_POOL:
        if (s->pool == 0) /* somebody was faster */
            return run_go(r, STEP_REFILL_UNLOCK);
        t->value = s->pool & 1 ? 0 : 1;
        s->pool &= (uint8_t) ~(1u << t->value);
        return run_go(r, STEP_REFILL_INIT);
    case STEP_REFILL_INIT:
        run_require(r, s->owner[t->value] == 0, "a slab from the pool has an owner");
        s->free &= (uint8_t)~slab_blocks(t->value);
        s->fresh &= (uint8_t)~slab_blocks(t->value);
        s->owner[t->value] = t->heap;
        t->value = 0;
        return run_go(r, STEP_REFILL_TAKE);
    case STEP_REFILL_UNLOCK:
        heap_unlock(r);
        return run_go(r, STEP_ALLOC_GIVE);
    default:
        return false;
    }
}

/* ---- drain ---- */

static bool drain_take(struct run *r) {
    struct thread *t = r->t;
    uint8_t *inbox = &heap_at(r, t->held)->inbox;
    heap_require_lock(r, "an inbox is taken without the lock");
    t->drained = *inbox;
    if (run_is(r, MUTANT_DRAIN_RESETS))
        return run_go(r, STEP_DRAIN_RESET);
    *inbox = 0;
    return t->drained ? run_go(r, STEP_DRAIN_NEXT) : run_return(r);
}

static bool drain_return(struct run *r) {
    struct thread *t = r->t;
    packet_at(r, t->drained)->in_flight = 0;
    t->index = 0;
    t->drained = t->next;
    t->next = 0;
    if (run_is(r, MUTANT_DRAIN_TAKES_ONE))
        t->drained = 0;
    return t->drained ? run_go(r, STEP_DRAIN_NEXT) : run_return(r);
}

bool step_drain(struct run *r) {
    struct thread *t = r->t;
    switch (t->step) {
    case STEP_DRAIN_PEEK:
        return heap_at(r, t->held)->inbox ? run_go(r, STEP_DRAIN_TAKE) : run_return(r);
    case STEP_DRAIN_TAKE:
        return drain_take(r);
    case STEP_DRAIN_RESET: /* a mutant's */
        heap_at(r, t->held)->inbox = 0;
        return t->drained ? run_go(r, STEP_DRAIN_NEXT) : run_return(r);
    case STEP_DRAIN_NEXT:
        run_require(r, packet_at(r, t->drained)->in_flight, "a packet is read, not in flight");
        t->next = packet_at(r, t->drained)->next;
        packet_at(r, t->drained)->next = 0; /* means nothing from now on */
        if (run_is(r, MUTANT_RETURN_BEFORE_READ))
            packet_at(r, t->drained)->in_flight = 0;
        return run_go(r, STEP_DRAIN_RECORD);
    case STEP_DRAIN_RECORD:
        if (t->index >= packet_at(r, t->drained)->count)
            return run_go(r, STEP_DRAIN_COUNT);
        t->apply = packet_at(r, t->drained)->records[t->index++];
        return run_call(r, STEP_APPLY_READ, STEP_DRAIN_RECORD);
    case STEP_DRAIN_COUNT:
        if (!run_is(r, MUTANT_DRAIN_KEEPS_COUNT))
            packet_at(r, t->drained)->count = 0;
        return run_go(r, STEP_DRAIN_RETURN);
    case STEP_DRAIN_RETURN:
        return drain_return(r);
    default:
        return false;
    }
}

/* ---- apply and release ---- */

static bool apply_read(struct run *r) {
    struct state *s = r->s;
    struct record *record = &r->t->apply;
    heap_require_lock(r, "a slab is changed without the lock");
    if (record->word == 0)
        return run_stop(r, "a record is read that was not written");
    unsigned slab = slab_of_word(r->scenario, record->word);
    if (s->owner[slab] != r->t->held)
        explore_fail("a message reaches a slab of another owner");
    if (record->blocks == 0) { /* OR variant: a notice, collect what was ORed */
        record->blocks = s->noticed & slab_blocks(slab);
        s->noticed &= (uint8_t)~slab_blocks(slab);
    } else if (record->blocks & ~word_blocks(r->scenario, record->word)) {
        explore_fail("a record names blocks of another word");
    }
    if (record->blocks & ~s->fresh)
        explore_fail("a message frees what was never handed out");
    if (record->blocks & (s->free | s->live))
        explore_fail("a message frees a block twice");
    r->t->value = (uint8_t)((s->free & slab_blocks(slab)) | record->blocks);
    return run_go(r, STEP_APPLY_WRITE);
}

/* Whether no block of the slab is out; the early mutant looks only at what the program has. */
static bool slab_is_empty(const struct run *r, unsigned slab) {
    const struct state *s = r->s;
    uint8_t out = (uint8_t)(slab_blocks(slab) & s->fresh & ~s->free);
    return out == 0 || (run_is(r, MUTANT_RELEASE_EARLY) && (out & s->live) == 0);
}

static bool apply_write(struct run *r) {
    struct state *s = r->s;
    unsigned slab = slab_of_word(r->scenario, r->t->apply.word);
    s->free = (uint8_t)((s->free & ~slab_blocks(slab)) | r->t->value);
    r->t->apply = (struct record){0};
    r->t->value = 0;
    if (!slab_is_empty(r, slab))
        return run_return(r);
    r->t->value = (uint8_t)slab;
    return run_go(r, run_is(r, MUTANT_RELEASE_POOL_FIRST) ? STEP_RELEASE_POOL : STEP_RELEASE_TAG);
}

static bool release_tag(struct run *r) {
    struct state *s = r->s;
    unsigned slab = r->t->value;
    uint8_t places[BLOCKS_MAX];
    count_places(r->scenario, s, places);
    for (unsigned i = 0; i < SLAB_BLOCKS; i++) {
        unsigned block = slab * SLAB_BLOCKS + i;
        if (places[block] > (s->free >> block & 1))
            explore_fail("a slab is released, but a block of it is out");
    }
    s->owner[slab] = 0;
    s->free &= (uint8_t)~slab_blocks(slab);
    s->fresh &= (uint8_t)~slab_blocks(slab);
    if (!run_is(r, MUTANT_RELEASE_POOL_FIRST))
        return run_go(r, STEP_RELEASE_POOL);
    r->t->value = 0;
    return run_return(r);
}

bool step_apply(struct run *r) {
    struct state *s = r->s;
    switch (r->t->step) {
    case STEP_APPLY_READ:
        return apply_read(r);
    case STEP_APPLY_WRITE:
        return apply_write(r);
    case STEP_RELEASE_TAG:
        return release_tag(r);
    case STEP_RELEASE_POOL:
        if (s->pool >> r->t->value & 1)
            explore_fail("a slab is put into the pool twice");
        s->pool |= (uint8_t)(1u << r->t->value);
        if (run_is(r, MUTANT_RELEASE_POOL_FIRST))
            return run_go(r, STEP_RELEASE_TAG);
        r->t->value = 0;
        return run_return(r);
    default:
        return false;
    }
}

/* ---- trim: any thread drains any heap ---- */

bool step_trim(struct run *r) {
    if (r->t->step == STEP_TRIM_LOCK)
        return heap_lock(r, run_op(r)->argument) && run_call(r, STEP_DRAIN_PEEK, STEP_TRIM_UNLOCK);
    heap_unlock(r);
    return run_return(r);
}
