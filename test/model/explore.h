/* test/model/explore.h — every reachable state of a small concurrent model. SPDX-License-Identifier: MIT */

/*
 * A model is a block of bytes (the state) and a function that makes one atomic step of one actor.
 * explore() tries every step from every state, breadth first, keeps each state once and compares
 * whole states, not hashes. It reports the first thing wrong, by a shortest path:
 *
 *   - what a step itself finds wrong (explore_fail());
 *   - what check() finds wrong in a state;
 *   - what check_end() finds wrong in a state without a next step: a deadlock, or something lost;
 *   - a cycle. Without one every run ends, however the actors are scheduled: nobody waits in a loop
 *     for somebody else, and the checks of the end are reached.
 *
 * Bytes that mean nothing must be 0, or equal states count as different.
 */
#ifndef HAKMEM_MODEL_EXPLORE_H
#define HAKMEM_MODEL_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>

struct explore_model {
    const void *context; /* handed to the functions */
    size_t state_size;   /* bytes */
    unsigned actors;
    void (*init)(const void *context, void *state); /* the state comes zeroed */
    /*
     * Makes the choice-th of the steps that the actor can make. False: there are not so many; the
     * state may then be half changed.
     */
    bool (*step)(const void *context, void *state, unsigned actor, unsigned choice);
    const char *(*check)(const void *context,
                         const void *state); /* NULL: good; may be no function */
    const char *(*check_end)(const void *context, const void *state);
};

struct explore_result {
    const char *violation; /* NULL: none */
    size_t states;         /* found; all of them if there is no violation */
    unsigned steps;        /* on the path to the violation */
};

/* is_traced: the path to a violation is printed, step by step. */
struct explore_result explore(const struct explore_model *model, bool is_traced);

/* For a model's step(): the step is wrong. The first reason counts. */
void explore_fail(const char *why);

/* For a model's step(): a line for the trace. Nothing happens unless a path is being printed. */
extern bool explore_is_tracing;
void explore_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
