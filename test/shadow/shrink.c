/* test/shadow/shrink.c — from a failing sequence to one that a person reads. SPDX-License-Identifier: MIT */
/*
 * Goal: the fewest operations that still fail in the same way.
 * Method: delta debugging (Zeller & Hildebrandt, IEEE TSE 2002) by complements: leave out ever smaller
 * parts, keep what still fails. First by slot, as what happens in most slots has nothing to do with
 * it; then by operation, until no single one can be left out. Each attempt is a child process; it
 * also says how far it came, and what follows is left out at once.
 */
#define _GNU_SOURCE /* environ */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "../stress/stress.h"
#include "operation.h"
#include "report.h"
#include "sequence.h"

enum { HANG_S = 10, FINAL_TRIES_MAX = 5, PRINTED_MAX = 100, KEPT_ARGUMENTS_MAX = 2000 };

struct shrinking {
    struct shadow_sequence sequence; /* `kept` is the smallest that fails */
    struct shadow_operation *all;    /* by index */
    uint32_t *kept;
    uint32_t *attempt;
    struct shadow_outcome failure; /* how it has to fail */
    time_t deadline;               /* s, CLOCK_MONOTONIC */
    unsigned long attempts;
};

static void *map(size_t size) {
    void *mapped = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        stress_fail("mmap for shrinking");
    return mapped;
}

static time_t now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* Runs the first `count` of `attempt`; if they fail as the whole did, they are what is kept. */
static bool try_attempt(struct shrinking *s, size_t count) {
    struct shadow_sequence sequence = s->sequence;
    sequence.kept = s->attempt;
    sequence.kept_count = count;
    struct shadow_outcome outcome = shadow_run_child(shadow_sequence_run, &sequence, HANG_S, true);
    s->attempts++;
    if (!shadow_is_alike(&outcome, &s->failure))
        return false;
    if (outcome.begun < count)
        count = outcome.begun;
    memcpy(s->kept, s->attempt, count * sizeof *s->kept);
    s->sequence.kept_count = count;
    return true;
}

/* Copies what is kept to `attempt`, without the slots in [first, end) or the operations in it. */
static size_t leave_out(struct shrinking *s, bool by_slot, size_t first, size_t end) {
    size_t count = 0;
    for (size_t i = 0; i < s->sequence.kept_count; i++) {
        size_t place = by_slot ? s->all[s->kept[i]].slot : i;
        if (place < first || place >= end)
            s->attempt[count++] = s->kept[i];
    }
    return count;
}

/* Tries to leave out each part of `part` slots or operations, last first; true if one could be. */
static bool leave_out_parts(struct shrinking *s, bool by_slot, size_t part) {
    bool has_shrunk = false;
    size_t end = by_slot ? (size_t)SHADOW_SLOTS_MAX : s->sequence.kept_count;
    while (end > 0 && now_s() < s->deadline) {
        size_t first = end > part ? end - part : 0;
        size_t count = leave_out(s, by_slot, first, end);
        if (count < s->sequence.kept_count && try_attempt(s, count))
            has_shrunk = true;
        end = first;
        if (!by_slot && end > s->sequence.kept_count)
            end = s->sequence.kept_count;
    }
    return has_shrunk;
}

static void shrink(struct shrinking *s, bool by_slot) {
    size_t part = by_slot ? (size_t)SHADOW_SLOTS_MAX : s->sequence.kept_count;
    while (part > 1 && now_s() < s->deadline) {
        part = (part + 1) / 2;
        leave_out_parts(s, by_slot, part);
    }
    while (!by_slot && leave_out_parts(s, false, 1)) {
    }
}

static void print_operations(const struct shrinking *s) {
    size_t count = s->sequence.kept_count;
    if (count > PRINTED_MAX)
        tap_note("       %zu operations, then", count - PRINTED_MAX);
    for (size_t i = count > PRINTED_MAX ? count - PRINTED_MAX : 0; i < count; i++) {
        char text[160];
        shadow_describe(&s->all[s->kept[i]], text, sizeof text);
        tap_note("%5zu  %s", i + 1, text);
    }
}

/* The variables that make a difference, the program, and what of the seed is kept. */
static void print_command(const struct shrinking *s, const char *program) {
    static char text[KEPT_ARGUMENTS_MAX * 11 + 4096];
    const struct shadow_sequence *q = &s->sequence;
    size_t used = (size_t)snprintf(text, 8, "env ");
    for (char **variable = environ; *variable != NULL && used < 2048; variable++) {
        if (strncmp(*variable, "HAK", 3) == 0 || strncmp(*variable, "LD_PRELOAD", 10) == 0)
            used += (size_t)snprintf(text + used, 2048, "'%.1000s' ", *variable);
    }
    used += (size_t)snprintf(text + used, 1024, "%.500s -c %lu", program, q->check_every);
    for (size_t i = 0; i < q->kept_count && q->kept_count <= KEPT_ARGUMENTS_MAX; i++)
        used += (size_t)snprintf(text + used, 16, "%s%u", i == 0 ? " -k " : ",", s->kept[i]);
    used += (size_t)snprintf(text + used, 64, " %lu %lu\n", q->count, (unsigned long)q->seed);
    tap_note("repeat with:");
    if (write(STDOUT_FILENO, text, used) != (ssize_t)used)
        _exit(3);
}

void shadow_shrink(const struct shadow_sequence *sequence, unsigned budget_s, const char *program) {
    static size_t sizes[SHADOW_SLOTS_MAX];
    struct shadow_generator generator;
    struct shrinking s = {.sequence = *sequence, .deadline = now_s() + (time_t)budget_s};
    s.all = map(sequence->count * sizeof *s.all + 1);
    s.kept = map(sequence->count * sizeof *s.kept + 1);
    s.attempt = map(sequence->count * sizeof *s.attempt + 1);
    s.sequence.kept = s.kept;
    shadow_generator_begin(&generator, sequence->seed, sizes, 0);
    for (unsigned long i = 0; i < sequence->count; i++) {
        s.all[i] = shadow_generate(&generator);
        s.attempt[i] = (uint32_t)i;
    }
    if (sequence->kept != NULL)
        memcpy(s.attempt, sequence->kept, sequence->kept_count * sizeof *s.attempt);
    size_t count = sequence->kept != NULL ? sequence->kept_count : sequence->count;
    struct shadow_sequence whole = s.sequence;
    whole.kept = s.attempt;
    whole.kept_count = count;
    struct shadow_outcome outcome = shadow_run_child(shadow_sequence_run, &whole, HANG_S, true);
    s.failure = outcome;
    if (outcome.end == SHADOW_AGREES) {
        tap_note("repeated, it does not fail: it may depend on time");
        return;
    }
    if (!try_attempt(&s, outcome.begun < count ? outcome.begun : count)) {
        tap_note("cut where it failed, it does not fail in the same way: it may depend on time");
        return;
    }
    shrink(&s, true);
    shrink(&s, false);
    char text[500];
    for (int i = 0; i < FINAL_TRIES_MAX; i++) { /* where time matters it may not fail each time */
        outcome = shadow_run_child(shadow_sequence_run, &s.sequence, HANG_S, false);
        if (outcome.end != SHADOW_AGREES)
            break;
    }
    shadow_describe_outcome(&outcome, text, sizeof text);
    tap_note("shrunk to %zu operations in %lu attempts%s: %s", s.sequence.kept_count, s.attempts,
             now_s() < s.deadline ? "" : ", when the time was over", text);
    print_operations(&s);
    print_command(&s, program);
}
