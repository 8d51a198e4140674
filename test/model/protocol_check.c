/* test/model/protocol_check.c — what must be true of the remote-free model. SPDX-License-Identifier: MIT */

/*
 * In every state, unless the protocol is mutated:
 *
 *   a block that was handed out since its slab came from the pool is in exactly one place    (I1)
 *   (a thread that fork took along loses what it had in its hands: those are in none)
 *
 * At the end of every run, mutated or not: all threads have finished, no lock is held, nothing is
 * on its way, and every block is in its slab, in a magazine, with the program or lost by fork. What
 * is wrong in between (a block freed twice, a message for the wrong heap, a slab released with
 * blocks out) the steps say themselves.
 */

#include "protocol.h"

uint8_t slab_blocks(unsigned slab) {
    return (uint8_t)(((1u << SLAB_BLOCKS) - 1) << (slab * SLAB_BLOCKS));
}

unsigned slab_of_word(const struct scenario *scenario, uint8_t word) {
    return (word - 1u) * scenario->word_blocks / SLAB_BLOCKS;
}

uint8_t word_blocks(const struct scenario *scenario, uint8_t word) {
    return (uint8_t)(((1u << scenario->word_blocks) - 1) << ((word - 1u) * scenario->word_blocks));
}

uint8_t word_of(const struct scenario *scenario, uint8_t block_set) {
    unsigned block = 0;
    while (block < BLOCKS_MAX - 1 && !(block_set >> block & 1))
        block++;
    return (uint8_t)(block / scenario->word_blocks + 1);
}

static void count_set(uint8_t places[BLOCKS_MAX], uint8_t blocks) {
    for (unsigned i = 0; i < BLOCKS_MAX; i++)
        places[i] = (uint8_t)(places[i] + (blocks >> i & 1));
}

/* Records before the one that a drainer reads next are applied already. */
static unsigned first_unread(const struct state *s, unsigned packet) {
    for (unsigned i = 0; i < THREADS_MAX; i++) {
        if (s->threads[i].drained == packet + 1)
            return s->threads[i].index;
    }
    return 0;
}

void count_places(const struct scenario *scenario, const struct state *s,
                  uint8_t places[BLOCKS_MAX]) {
    for (unsigned i = 0; i < BLOCKS_MAX; i++)
        places[i] = 0;
    count_set(places, s->free);
    count_set(places, s->live);
    count_set(places, s->noticed);
    for (unsigned i = 0; i < scenario->heaps; i++) {
        count_set(places, s->heaps[i].magazine);
        for (unsigned k = 0; k < scenario->gathered; k++)
            count_set(places, s->heaps[i].gathered[k].blocks);
    }
    for (unsigned i = 0; i < PACKETS_MAX; i++) {
        for (unsigned k = first_unread(s, i); k < s->packets[i].count; k++)
            count_set(places, s->packets[i].records[k].blocks);
    }
    for (unsigned i = 0; i < scenario->threads; i++) {
        count_set(places, s->threads[i].blocks);
        count_set(places, s->threads[i].post.blocks);
        count_set(places, s->threads[i].apply.blocks);
    }
}

const char *protocol_check(const void *context, const void *state) {
    const struct variant *variant = context;
    const struct state *s = state;
    if (variant->mutant != MUTANT_NONE)
        return NULL;
    uint8_t places[BLOCKS_MAX];
    count_places(variant->scenario, s, places);
    for (unsigned i = 0; i < BLOCKS_MAX; i++) {
        unsigned expected = (s->fresh & ~s->lost) >> i & 1;
        if (places[i] > expected)
            return expected ? "a block is in two places" : "a block is somewhere that is nowhere";
        if (places[i] < expected)
            return "a block is in no place";
    }
    return NULL;
}

static bool heap_is_quiet(const struct scenario *scenario, const struct heap *heap) {
    bool is_quiet = heap->lock == 0 && heap->inbox == 0;
    for (unsigned i = 0; i < scenario->gathered; i++)
        is_quiet &= heap->gathered[i].blocks == 0;
    for (unsigned i = 0; i < scenario->open; i++)
        is_quiet &= heap->open[i].packet == 0;
    return is_quiet;
}

const char *protocol_check_end(const void *context, const void *state) {
    const struct variant *variant = context;
    const struct scenario *scenario = variant->scenario;
    const struct state *s = state;
    for (unsigned i = 0; i < scenario->threads; i++) {
        if (s->threads[i].step != STEP_END)
            return "deadlock";
    }
    for (unsigned i = 0; i < scenario->heaps; i++) {
        if (!heap_is_quiet(scenario, &s->heaps[i]))
            return "something is still on its way at the end";
    }
    for (unsigned i = 0; i < PACKETS_MAX; i++) {
        if (s->packets[i].in_flight || s->packets[i].count)
            return "a packet never comes back";
    }
    if (s->registry_lock || s->forker)
        return "a lock is held at the end";
    uint8_t places[BLOCKS_MAX];
    count_places(scenario, s, places);
    for (unsigned i = 0; i < BLOCKS_MAX; i++) {
        if (places[i] > 1)
            return "a block is in two places";
        if (places[i] == 0 && ((s->fresh & ~s->lost) >> i & 1))
            return "a block is lost";
    }
    return NULL;
}
