/* test/model/explore.c — breadth-first search over hashed states. SPDX-License-Identifier: MIT */

/*
 *   states   | state 0 | state 1 | …          in the order found: a state's parent comes before it
 *   origins  | parent, actor, choice | …      the step that found it
 *   table    hash -> index of a state         open addressing, at most half full
 *
 * Cycles: each state counts the steps that lead to it. States that none is left for are taken away
 * again and again (Kahn 1962); what remains, if anything, holds a cycle.
 */

#include "explore.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATES_START = 1 << 12, MIB_MAX = 900 }; /* a model that needs more is wrong */

struct origin {
    uint32_t parent;
    uint8_t actor;
    uint8_t choice;
};

struct slot {
    uint32_t hash;
    uint32_t index; /* + 1; 0: empty */
};

struct search {
    const struct explore_model *model;
    size_t size; /* bytes per state */
    size_t count;
    size_t capacity;
    unsigned char *states;
    struct origin *origins;
    uint32_t *arrivals; /* steps that lead to the state; for cycles */
    struct slot *table; /* capacity × 2 slots */
};

static struct {
    const char *violation;
    unsigned traced_step; /* being printed; 0: not tracing, or not the first line of it */
} g_explore;

bool explore_is_tracing;

void explore_fail(const char *why) {
    if (g_explore.violation == NULL)
        g_explore.violation = why;
}

void explore_note(const char *format, ...) {
    if (!explore_is_tracing)
        return;
    if (g_explore.traced_step)
        printf("%4u  ", g_explore.traced_step);
    else
        printf("      ");
    g_explore.traced_step = 0;
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

static void *grow(void *old, size_t bytes) {
    void *grown = realloc(old, bytes);
    if (grown == NULL) {
        fprintf(stderr, "explore: out of memory\n");
        exit(2);
    }
    return grown;
}

static unsigned char *state_at(const struct search *search, size_t index) {
    return search->states + index * search->size;
}

/* Multiply and fold, 8 bytes at a time (as in wyhash). */
static uint32_t hash_of(const unsigned char *bytes, size_t size) {
    uint64_t hash = UINT64_C(0x9E3779B97F4A7C15);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t part = 0;
        memcpy(&part, bytes + i, size - i < 8 ? size - i : 8);
        __extension__ unsigned __int128 product =
            (unsigned __int128)(hash ^ part) * UINT64_C(0xD6E8FEB86659FD93);
        hash = (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    return (uint32_t)(hash ^ hash >> 32);
}

static void table_put(struct search *search, uint32_t hash, uint32_t index) {
    size_t mask = search->capacity * 2 - 1;
    size_t at = hash & mask;
    while (search->table[at].index)
        at = (at + 1) & mask;
    search->table[at] = (struct slot){hash, index + 1};
}

static void search_grow(struct search *search) {
    size_t capacity = search->capacity ? search->capacity * 2 : STATES_START;
    size_t bytes = search->size + sizeof *search->origins + sizeof *search->arrivals;
    if (search->count * 2 * bytes > (size_t)MIB_MAX << 20) {
        fprintf(stderr, "explore: more states than fit\n");
        exit(2);
    }
    search->capacity = capacity;
    search->states = grow(search->states, capacity * search->size);
    search->origins = grow(search->origins, capacity * sizeof *search->origins);
    search->arrivals = grow(search->arrivals, capacity * sizeof *search->arrivals);
    free(search->table);
    search->table = grow(NULL, capacity * 2 * sizeof *search->table);
    memset(search->table, 0, capacity * 2 * sizeof *search->table);
    for (size_t i = 0; i < search->count; i++)
        table_put(search, hash_of(state_at(search, i), search->size), (uint32_t)i);
}

/* The state's index; it is added if it is new. */
static size_t search_find(struct search *search, const unsigned char *state, struct origin origin) {
    uint32_t hash = hash_of(state, search->size);
    size_t mask = search->capacity * 2 - 1;
    for (size_t at = hash & mask; search->table[at].index; at = (at + 1) & mask) {
        size_t index = search->table[at].index - 1;
        if (search->table[at].hash == hash &&
            memcmp(state_at(search, index), state, search->size) == 0)
            return index;
    }
    if (search->count == search->capacity)
        search_grow(search);
    size_t index = search->count++;
    memcpy(state_at(search, index), state, search->size);
    search->origins[index] = origin;
    search->arrivals[index] = 0;
    table_put(search, hash, (uint32_t)index);
    return index;
}

/* The state after a step, in `next`. False: there is no such step. */
static bool search_step(const struct search *search, size_t from, struct origin step,
                        unsigned char *next) {
    const struct explore_model *model = search->model;
    memcpy(next, state_at(search, from), search->size);
    return model->step(model->context, next, step.actor, step.choice);
}

/* Tries every step from the state. False: g_explore.violation says why; *bad is where. */
static bool search_expand(struct search *search, size_t from, unsigned char *next,
                          struct origin *bad) {
    const struct explore_model *model = search->model;
    bool is_end = true;
    struct origin step = {.parent = (uint32_t)from};
    for (step.actor = 0; step.actor < model->actors; step.actor++) {
        for (step.choice = 0; search_step(search, from, step, next); step.choice++) {
            is_end = false;
            if (g_explore.violation == NULL && model->check)
                explore_fail(model->check(model->context, next));
            *bad = step;
            if (g_explore.violation)
                return false;
            size_t index = search_find(search, next, step);
            search->arrivals[index]++;
        }
    }
    if (is_end)
        explore_fail(model->check_end(model->context, state_at(search, from)));
    *bad = search->origins[from];
    return g_explore.violation == NULL;
}

/* Whether some run never ends; *on: a state on its way. */
static bool search_has_cycle(struct search *search, unsigned char *next, size_t *on) {
    uint32_t *ready = grow(NULL, search->count * sizeof *ready);
    size_t done = 0;
    size_t count = 1;
    ready[0] = 0; /* the initial state: all others have a way from it */
    if (search->arrivals[0] > 0)
        count = 0;
    for (; done < count; done++) {
        struct origin step = {.parent = ready[done]};
        for (step.actor = 0; step.actor < search->model->actors; step.actor++) {
            for (step.choice = 0; search_step(search, ready[done], step, next); step.choice++) {
                size_t index = search_find(search, next, step);
                if (--search->arrivals[index] == 0)
                    ready[count++] = (uint32_t)index;
            }
        }
    }
    free(ready);
    for (*on = 0; done < search->count && search->arrivals[*on] == 0;)
        ++*on;
    return done < search->count;
}

/* Steps on the shortest path that ends with `last`; prints it if asked to. */
static unsigned search_path(const struct search *search, struct origin last, unsigned char *next,
                            bool is_traced) {
    unsigned count = 1;
    for (size_t at = last.parent; at != 0; at = search->origins[at].parent)
        count++;
    if (!is_traced)
        return count;
    struct origin *path = grow(NULL, count * sizeof *path);
    struct origin step = last;
    for (unsigned i = count; i-- > 0; step = search->origins[step.parent])
        path[i] = step;
    explore_is_tracing = true;
    for (unsigned i = 0; i < count; i++) {
        g_explore.traced_step = i + 1;
        search_step(search, path[i].parent, path[i], next);
    }
    explore_is_tracing = false;
    free(path);
    return count;
}

struct explore_result explore(const struct explore_model *model, bool is_traced) {
    struct search search = {.model = model, .size = model->state_size};
    search_grow(&search);
    unsigned char *next = grow(NULL, search.size);
    memset(next, 0, search.size);
    g_explore.violation = NULL;
    model->init(model->context, next);
    search_find(&search, next, (struct origin){0});

    struct origin bad = {0};
    for (size_t at = 0; at < search.count; at++) {
        if (!search_expand(&search, at, next, &bad))
            break;
    }
    size_t on = 0;
    if (g_explore.violation == NULL && search_has_cycle(&search, next, &on)) {
        explore_fail("a run that never ends");
        bad = search.origins[on];
    }
    struct explore_result result = {g_explore.violation, search.count, 0};
    if (result.violation) {
        result.steps = search_path(&search, bad, next, is_traced);
        if (is_traced)
            printf("      => %s\n", result.violation);
    }
    free(next);
    free(search.states);
    free(search.origins);
    free(search.arrivals);
    free(search.table);
    return result;
}
