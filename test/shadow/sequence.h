/* test/shadow/sequence.h — one thread's run, whole or in part. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_TEST_SHADOW_SEQUENCE_H
#define HAKMEM_TEST_SHADOW_SEQUENCE_H

#include <stddef.h>
#include <stdint.h>

struct shadow_sequence {
    uint64_t seed;
    unsigned long count;       /* operations of the seed */
    unsigned long check_every; /* operations between two audits; 0: only at the end */
    const uint32_t *kept;      /* NULL: all; else the indices of those that are done, ascending */
    size_t kept_count;
};

/* Body of a child: the operations, then everything is freed and the books must balance. */
void shadow_sequence_run(const void *sequence);

/*
 * Shrinks a failing sequence and prints what is left, operation by operation, and how to repeat it. To be
 * called after the run that failed, by the parent; takes some budget_s seconds at most.
 */
void shadow_shrink(const struct shadow_sequence *sequence, unsigned budget_s, const char *program);

#endif
