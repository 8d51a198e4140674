/* test/model/protocol_free.c — remote-free model: the freer's side. SPDX-License-Identifier: MIT */

/*
 *   free -> own block: magazine, or put back under the lock
 *        -> large, or no heap: the owner's lock, apply
 *        -> gather -> post -> send -> drain (idle owner)
 *                          -> no packet free: lock, drain, apply
 *
 * A step touches at most one thing that other threads touch.
 */

#include "protocol.h"

/* ---- free ---- */

static bool free_take(struct run *r) {
    struct thread *t = r->t;
    const struct op *op = run_op(r);
    uint8_t *variable = &r->s->variables[op->argument - 1];
    uint8_t blocks = *variable;
    /* In a child, who was to fill it may have vanished. */
    if (blocks == 0 && !op->may_skip && !r->s->is_child)
        return false;
    *variable = 0;
    if (blocks == 0 || blocks == VARIABLE_FAILED)
        return r->choice == 0 && run_return(r);
    t->blocks = blocks;
    r->s->live &= (uint8_t)~blocks;
    t->owner = r->s->owner[slab_of_word(r->scenario, word_of(r->scenario, blocks))];
    if (t->owner == 0)
        explore_fail("the slab of a live block has no owner");
    bool is_stranger = t->heap == 0;
    if (!is_stranger && t->owner != t->heap && r->choice == 1) /* large, whatever that is */
        return run_go(r, STEP_FREE_TRY);
    if (r->choice == 1)
        return false;
    if (is_stranger && op->may_adopt)
        return run_call(r, STEP_ADOPT_LOCK, STEP_FREE_GIVEN);
    if (is_stranger)
        return run_go(r, STEP_FREE_LOCK);
    if (t->owner == t->heap)
        return run_go(r, STEP_FREE_PUSH);
    return run_go(r, run_is(r, MUTANT_OR_AND_NOTICE) ? STEP_NOTICE_OR : STEP_GATHER_FIND);
}

static bool free_push(struct run *r) {
    struct heap *heap = heap_at(r, r->t->heap);
    if (!r->scenario->has_magazine || heap->magazine)
        return run_go(r, STEP_FREE_LOCK);
    heap->magazine = r->t->blocks;
    r->t->blocks = 0;
    return run_return(r);
}

bool step_free(struct run *r) {
    struct thread *t = r->t;
    if (t->step == STEP_FREE_TAKE)
        return free_take(r);
    switch (t->step) {
    case STEP_FREE_PUSH:
        return free_push(r);
    case STEP_FREE_GIVEN:
        return run_go(r, t->heap ? STEP_GATHER_FIND : STEP_FREE_LOCK);
    case STEP_FREE_TRY:
        if (run_is(r, MUTANT_DIRECT_WITHOUT_LOCK)) {
            t->held = t->owner;
            return run_go(r, STEP_FREE_APPLY);
        }
        if (!heap_lock_is_free(r, t->owner))
            return run_go(r, STEP_GATHER_FIND);
        heap_lock(r, t->owner);
        return run_go(r, STEP_FREE_APPLY);
    case STEP_FREE_LOCK:
        if (!heap_lock(r, t->owner))
            return false;
        /* The owner itself drains whenever it has its lock. */
        return t->owner == t->heap ? run_call(r, STEP_DRAIN_PEEK, STEP_FREE_APPLY)
                                   : run_go(r, STEP_FREE_APPLY);
    case STEP_FREE_APPLY:
        t->apply = (struct record){word_of(r->scenario, t->blocks), t->blocks};
        t->blocks = 0;
        return run_call(r, STEP_APPLY_READ, STEP_FREE_UNLOCK);
    case STEP_FREE_UNLOCK:
        heap_unlock(r);
        return run_return(r);
    default:
        return false;
    }
}

/* ---- gather: blocks into accumulators ---- */

/* The mask first: fork in between loses the blocks, and doubles none. */
static struct record accumulator_take(struct record *accumulator) {
    struct record record = *accumulator;
    accumulator->blocks = 0;
    return record;
}

static struct record *accumulator_of(const struct run *r, uint8_t word) {
    return &heap_at(r, r->t->acting)->gathered[word % r->scenario->gathered];
}

static bool gather_find(struct run *r) {
    uint8_t word = word_of(r->scenario, r->t->blocks);
    struct record *accumulator = accumulator_of(r, word);
    enum step next = run_is(r, MUTANT_MASK_BEFORE_KEY) ? STEP_GATHER_MASK : STEP_GATHER_KEY;
    if (accumulator->word == word)
        return run_go(r, STEP_GATHER_MASK);
    if (accumulator->blocks == 0)
        return run_go(r, next);
    if (run_is(r, MUTANT_GATHER_IGNORES_KEY))
        return run_go(r, STEP_GATHER_MASK);
    if (run_is(r, MUTANT_CLEAR_MASK_LATE)) {
        r->t->post = *accumulator;
        return run_call(r, STEP_POST_OWNER, STEP_GATHER_CLEAR);
    }
    r->t->post = accumulator_take(accumulator);
    return run_call(r, STEP_POST_OWNER, next);
}

static bool gather_key(struct run *r) {
    uint8_t word = word_of(r->scenario, r->t->blocks);
    accumulator_of(r, word)->word = word;
    if (!run_is(r, MUTANT_MASK_BEFORE_KEY))
        return run_go(r, STEP_GATHER_MASK);
    r->t->blocks = 0;
    return run_go(r, STEP_GATHER_DONE);
}

/* Empties the next accumulator, then sends the next open packet. */
static bool all_next(struct run *r) {
    struct heap *heap = heap_at(r, r->t->acting);
    for (unsigned i = 0; i < r->scenario->gathered; i++) {
        if (heap->gathered[i].blocks) {
            r->t->post = accumulator_take(&heap->gathered[i]);
            return run_call(r, STEP_POST_OWNER, STEP_ALL_NEXT);
        }
    }
    for (unsigned i = 0; i < r->scenario->open; i++) {
        if (heap->open[i].packet) {
            r->t->slot = (uint8_t)i;
            return run_call(r, STEP_SEND_MARK, STEP_ALL_NEXT);
        }
    }
    return run_return(r);
}

bool step_gather(struct run *r) {
    struct thread *t = r->t;
    if (t->step == STEP_GATHER_DONE && r->choice == 1)
        return run_go(r, STEP_ALL_NEXT);
    struct record *accumulator;
    switch (t->step) {
    case STEP_GATHER_FIND:
        return gather_find(r);
    case STEP_GATHER_CLEAR: /* a mutant's */
        accumulator_of(r, word_of(r->scenario, t->blocks))->blocks = 0;
        return run_go(r, STEP_GATHER_KEY);
    case STEP_GATHER_KEY:
        return gather_key(r);
    case STEP_GATHER_MASK:
        accumulator = accumulator_of(r, word_of(r->scenario, t->blocks));
        if (accumulator->blocks & t->blocks)
            explore_fail("a block is freed twice");
        accumulator->blocks |= t->blocks;
        if (run_is(r, MUTANT_MASK_BEFORE_KEY))
            return run_go(r, STEP_GATHER_KEY);
        t->blocks = 0;
        return run_go(r, STEP_GATHER_DONE);
    case STEP_GATHER_DONE:
        return run_return(r);
    case STEP_NOTICE_OR:
        r->s->noticed |= t->blocks;
        t->post = (struct record){word_of(r->scenario, t->blocks), 0};
        t->blocks = 0;
        return run_go(r, STEP_NOTICE_POST);
    case STEP_NOTICE_POST:
        return run_call(r, STEP_POST_SLOT, STEP_ALL_NEXT);
    case STEP_ALL_NEXT:
        return all_next(r);
    default:
        return false;
    }
}

/* ---- post: a record into the owner's open packet ---- */

static struct open_packet *open_at(const struct run *r) {
    return &heap_at(r, r->t->acting)->open[r->t->slot];
}

static bool post_slot(struct run *r) {
    r->t->slot = r->t->owner % r->scenario->open;
    const struct open_packet *open = open_at(r);
    if (open->packet == 0)
        return run_go(r, STEP_POST_FIND);
    bool is_full = packet_at(r, open->packet)->count == r->scenario->records;
    bool is_others = open->owner != r->t->owner;
    /* Full: fork took its thread before it sent the packet, and we adopted or reap the heap. */
    if ((is_full && !run_is(r, MUTANT_FULL_NOT_CHECKED)) ||
        (is_others && !run_is(r, MUTANT_POST_IGNORES_OWNER)))
        return run_call(r, STEP_SEND_MARK, STEP_POST_SLOT);
    return run_go(r, run_is(r, MUTANT_COUNT_BEFORE_RECORD) ? STEP_POST_COUNT : STEP_POST_WRITE);
}

static bool post_find(struct run *r) {
    uint8_t first = (uint8_t)((r->t->acting - 1) * HEAP_PACKETS_MAX + 1);
    for (uint8_t packet = first; packet < first + r->scenario->heap_packets; packet++) {
        bool is_open = false;
        for (unsigned i = 0; i < r->scenario->open; i++)
            is_open |= heap_at(r, r->t->acting)->open[i].packet == packet;
        bool is_busy = packet_at(r, packet)->in_flight && !run_is(r, MUTANT_POST_WITHOUT_PACKET);
        if (is_open || is_busy)
            continue;
        r->t->packet = packet;
        return run_go(r, run_is(r, MUTANT_OPEN_BEFORE_OWNER) ? STEP_POST_OPEN : STEP_POST_DEST);
    }
    return run_go(r, STEP_POST_LOCK);
}

static bool post_write(struct run *r) {
    struct packet *packet = packet_at(r, open_at(r)->packet);
    run_require(r, packet->in_flight == 0, "a packet in flight is written");
    bool is_counted = run_is(r, MUTANT_COUNT_BEFORE_RECORD);
    unsigned index = packet->count - (is_counted ? 1u : 0u);
    if (index >= r->scenario->records)
        return run_stop(r, "a record past the packet's end");
    packet->records[index] = r->t->post;
    if (!is_counted)
        return run_go(r, STEP_POST_COUNT);
    r->t->post = (struct record){0};
    return packet->count == r->scenario->records ? run_go(r, STEP_SEND_MARK) : run_return(r);
}

static bool post_count(struct run *r) {
    struct packet *packet = packet_at(r, open_at(r)->packet);
    if (packet->count >= r->scenario->records)
        return run_stop(r, "a record past the packet's end");
    packet->count++;
    if (run_is(r, MUTANT_COUNT_BEFORE_RECORD))
        return run_go(r, STEP_POST_WRITE);
    r->t->post = (struct record){0};
    return packet->count == r->scenario->records ? run_go(r, STEP_SEND_MARK) : run_return(r);
}

/* A mutant: the packet that gets full is pushed first; its last record is written afterwards. */
static bool post_push_first(struct run *r) {
    struct thread *t = r->t;
    if (t->value) { /* pushed */
        packet_at(r, t->value)->records[r->scenario->records - 1] = t->post;
        t->value = 0;
        t->post = (struct record){0};
        return run_return(r);
    }
    struct packet *packet = packet_at(r, open_at(r)->packet);
    if (packet->count + 1 < r->scenario->records)
        return post_write(r);
    packet->count++;
    t->value = open_at(r)->packet;
    return run_call(r, STEP_SEND_MARK, STEP_POST_WRITE);
}

bool step_post(struct run *r) {
    struct thread *t = r->t;
    switch (t->step) {
    case STEP_POST_OWNER:
        if (t->post.word == 0)
            return run_stop(r, "a record without a key is posted");
        t->owner = r->s->owner[slab_of_word(r->scenario, t->post.word)];
        if (t->owner == 0)
            explore_fail("the slab of a record has no owner");
        return run_go(r, STEP_POST_SLOT);
    case STEP_POST_SLOT:
        return post_slot(r);
    case STEP_POST_FIND:
        return post_find(r);
    case STEP_POST_DEST:
        open_at(r)->owner = t->owner;
        return run_go(r, run_is(r, MUTANT_OPEN_BEFORE_OWNER) ? STEP_POST_SLOT : STEP_POST_OPEN);
    case STEP_POST_OPEN:
        open_at(r)->packet = t->packet;
        return run_go(r, run_is(r, MUTANT_OPEN_BEFORE_OWNER) ? STEP_POST_DEST : STEP_POST_SLOT);
    case STEP_POST_WRITE:
        return run_is(r, MUTANT_PUSH_BEFORE_RECORD) ? post_push_first(r) : post_write(r);
    case STEP_POST_COUNT:
        return post_count(r);
    case STEP_POST_LOCK:
        if (run_is(r, MUTANT_POST_WITHOUT_LOCK)) {
            t->held = t->owner;
            return run_go(r, STEP_POST_APPLY);
        }
        return heap_lock(r, t->owner) && run_call(r, STEP_DRAIN_PEEK, STEP_POST_APPLY);
    case STEP_POST_APPLY:
        t->apply = t->post;
        t->post = (struct record){0};
        return run_call(r, STEP_APPLY_READ, STEP_POST_UNLOCK);
    case STEP_POST_UNLOCK:
        heap_unlock(r);
        return run_return(r);
    default:
        return false;
    }
}

/* ---- send: a packet into its owner's inbox ---- */

static bool send_mark(struct run *r) {
    struct thread *t = r->t;
    const struct open_packet *open = open_at(r);
    t->packet = open->packet;
    t->target = open->owner;
    if (t->target == 0)
        return run_stop(r, "a packet is sent to nobody");
    if (!run_is(r, MUTANT_MARK_AFTER_PUSH))
        packet_at(r, t->packet)->in_flight = 1;
    if (run_is(r, MUTANT_CLOSE_BEFORE_PUSH))
        *open_at(r) = (struct open_packet){0};
    return run_go(r, STEP_SEND_LOAD);
}

static bool send_push(struct run *r) {
    struct thread *t = r->t;
    uint8_t *inbox = &heap_at(r, t->target)->inbox;
    if (*inbox != t->first && run_is(r, MUTANT_PUSH_NEVER_RELOADS))
        return true;
    if (*inbox != t->first && !run_is(r, MUTANT_PUSH_BY_STORE)) {
        t->first = *inbox;
        return run_go(r, STEP_SEND_LINK);
    }
    *inbox = t->packet;
    t->first = 0;
    return run_go(r, run_is(r, MUTANT_MARK_AFTER_PUSH) ? STEP_SEND_MARK_LATE : STEP_SEND_CLOSE);
}

static bool send_try(struct run *r) {
    struct thread *t = r->t;
    uint8_t target = t->target;
    if (r->choice == 1 && !heap_lock_is_free(r, target) && !run_is(r, MUTANT_DRAIN_WITHOUT_LOCK))
        return false;
    t->target = 0;
    t->packet = 0;
    if (r->choice == 0)
        return run_return(r);
    if (run_is(r, MUTANT_DRAIN_WITHOUT_LOCK))
        t->held = target;
    else
        heap_lock(r, target);
    return run_call(r, STEP_DRAIN_PEEK, STEP_SEND_UNLOCK);
}

bool step_send(struct run *r) {
    struct thread *t = r->t;
    if (t->step == STEP_SEND_TRY)
        return send_try(r);
    switch (t->step) {
    case STEP_SEND_MARK:
        return send_mark(r);
    case STEP_SEND_LOAD:
        t->first = heap_at(r, t->target)->inbox;
        return run_go(r, STEP_SEND_LINK);
    case STEP_SEND_LINK:
        packet_at(r, t->packet)->next = t->first;
        return run_go(r, STEP_SEND_PUSH);
    case STEP_SEND_PUSH:
        return send_push(r);
    case STEP_SEND_MARK_LATE: /* a mutant's */
        packet_at(r, t->packet)->in_flight = 1;
        return run_go(r, STEP_SEND_CLOSE);
    case STEP_SEND_CLOSE:
        /* The owner stays in the real slot, and means nothing without a packet. */
        *open_at(r) = (struct open_packet){0};
        return run_go(r, STEP_SEND_TRY);
    case STEP_SEND_UNLOCK:
        heap_unlock(r);
        return run_return(r);
    default:
        return false;
    }
}
