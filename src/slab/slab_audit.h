/* src/slab/slab_audit.h — are slabs what they say they are? SPDX-License-Identifier: MIT */

/*
 * For who looks at all of them, with all locks held. What is worked out here is worked out anew, not by what
 * slab.c has: an error there shall not hide itself.
 */
#ifndef HAK_SLAB_SLAB_AUDIT_H
#define HAK_SLAB_SLAB_AUDIT_H

#include "arena/arena.h"
#include "base/audit.h"
#include "slab/slab.h"

/*
 * One bit for each block that was found outside its slab: 64 words for each unit that arenas have handed
 * out, by a unit's number in its arena. Zero at first.
 */
enum { HAK_MARKS_WORDS = HAK_UNIT_SIZE / 16 / 64 };
struct hak_marks {
    uint64_t *words;
    size_t first_of[HAK_ARENAS_MAX + 1]; /* units of the arenas before */
};

struct hak_slab_found {
    uint32_t units; /* 1 at least, also where nothing was found that makes sense */
    uint32_t blocks;
    uint32_t out;
    bool is_held;
    bool is_sound; /* what the rest says is worth something */
};
/* The slab that begins at `first`, of `room` units at most, with that tag. */
struct hak_slab_found hak_slab_audit(struct hak_audit *audit, hak_unit first, uint32_t tag,
                                     uint32_t room);

/* Are the bins sound lists of slabs of this owner, class and fill? Returns how many slabs are in them. */
size_t hak_slab_set_audit(struct hak_audit *audit, const struct hak_slab_set *set,
                          unsigned class_index, uint32_t owner_tag);

/*
 * Blocks of a word of a slab's bitmap were found in `place`, outside the slab. Is each out, and found for the
 * first time? `tag`: of the slab they should be of. Returns how many they are.
 */
unsigned hak_slab_audit_out(struct hak_audit *audit, const struct hak_marks *marks,
                            const struct hak_place *place, uint32_t tag, hak_unit first,
                            unsigned word, uint64_t mask);
/* The same for a pointer, which may be anything. Returns 1 or, where it is no block, 0. */
unsigned hak_slab_audit_pointer(struct hak_audit *audit, const struct hak_marks *marks,
                                const struct hak_place *place, uint32_t tag, const void *p);

#endif
