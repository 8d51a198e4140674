/* test/shadow/sequence.c — a seed's operations, one after the other. SPDX-License-Identifier: MIT */

#include "sequence.h"

#include "model.h"
#include "operation.h"
#include "report.h"

enum { REVIEW_EVERY = 16384 };

static struct {
    struct shadow_record record[SHADOW_SLOTS_MAX];
    size_t sizes[SHADOW_SLOTS_MAX];
    struct shadow_generator generator;
} g_sequence;

/* Verifies every block; returns the sum of their usable sizes. */
static size_t review(void) {
    size_t live = 0;
    for (unsigned i = 0; i < g_sequence.generator.slot_count; i++) {
        const struct shadow_record *r = &g_sequence.record[i];
        shadow_verify(r);
        live += r->block != NULL ? r->usable : 0;
    }
    return live;
}

static void perform(const struct shadow_operation *op) {
    shadow_begin_operation(op);
    shadow_perform(op, &g_sequence.record[op->slot]);
}

void shadow_sequence_run(const void *argument) {
    const struct shadow_sequence *s = argument;
    size_t next = 0;
    shadow_books_open();
    shadow_generator_begin(&g_sequence.generator, s->seed, g_sequence.sizes, 0);
    for (unsigned long i = 0; i < s->count; i++) {
        struct shadow_operation op = shadow_generate(&g_sequence.generator);
        if (s->kept != NULL && (next == s->kept_count || s->kept[next] != i))
            continue;
        next++;
        perform(&op);
        if (next % REVIEW_EVERY == 0)
            review();
        if (s->check_every != 0 && next % s->check_every == 0)
            shadow_audit(review());
    }
    shadow_audit(review());
    for (unsigned i = 0; i < g_sequence.generator.slot_count; i++)
        shadow_clear(&g_sequence.record[i]);
    shadow_books_close();
    shadow_audit(0);
}
