/* src/base/audit.h — what a walk over all books has found. SPDX-License-Identifier: MIT */

/*
 * Each layer has functions named …_audit that compare its books with what is really there; hakmem_check()
 * calls them all, with every lock held. They change nothing, and make no system call: what they find is
 * noted here and printed when the locks are free again.
 */
#ifndef HAK_BASE_AUDIT_H
#define HAK_BASE_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* What a claim is about. */
struct hak_place {
    const char *part;    /* a word: "slab", "magazine", … */
    uintptr_t address;   /* 0: of no address */
    uint32_t class_size; /* bytes; 0: of no class */
    uint32_t heap;       /* id; 0: of no heap */
};

/* Problems of one walk that are kept in words; of the others only the number is. */
enum { HAK_AUDIT_LINES_MAX = 24 };

struct hak_audit {
    bool is_quiescent; /* no other thread is on its way between two books */
    size_t problem_count;
    struct hak_problem {
        struct hak_place place;
        const char *what; /* the claim that does not hold */
        uint64_t found;
        uint64_t expected;
    } problems[HAK_AUDIT_LINES_MAX];
};

HAK_AUDIT void hak_audit_note(struct hak_audit *audit, const struct hak_place *place,
                              const char *what, uint64_t found, uint64_t expected);

/* `what`: the claim, that `found` is `expected`. Returns whether it holds. */
static inline bool hak_audit_expect(struct hak_audit *audit, const struct hak_place *place,
                                    const char *what, uint64_t found, uint64_t expected) {
    if (HAK_UNLIKELY(found != expected))
        hak_audit_note(audit, place, what, found, expected);
    return found == expected;
}

/* One line on stderr for each problem kept, and one for those that are not. */
void hak_audit_print(const struct hak_audit *audit);

#endif
