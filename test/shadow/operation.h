/* test/shadow/operation.h — an operation as data, and where they come from. SPDX-License-Identifier: MIT */
/*
 * Goal: a run that can be repeated in part, so that a failing one can be shrunk.
 * Method: an operation says all that it does in 16 bytes, and means something whatever was left out
 * before it: what needs a block does nothing on an empty slot, what makes one nothing on a full one.
 * The generator knows which slots are full, and how large, but nothing of the allocator: the same
 * seed gives the same operations anywhere.
 *
 * Each seed tests in its own way (swarm testing: Groce et al., ISSTA 2012): how many slots, how long
 * phases of growth and shrinking last, whether most sizes are near one, how often blocks are aligned.
 */
#ifndef HAKMEM_TEST_SHADOW_OPERATION_H
#define HAKMEM_TEST_SHADOW_OPERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum shadow_kind {
#define OPERATION(name, word) SHADOW_##name,
#include "operations.def"
#undef OPERATION
    SHADOW_KIND_COUNT
};

enum shadow_group {
    SHADOW_GROUP_TAKE,
    SHADOW_GROUP_TAKE_ALIGNED,
    SHADOW_GROUP_TAKE_PAGES,
    SHADOW_GROUP_GIVE,
    SHADOW_GROUP_RESIZE,
    SHADOW_GROUP_REFUSE,
    SHADOW_GROUP_ASK,
    SHADOW_GROUP_SWAP,
    SHADOW_GROUP_COUNT
};

struct shadow_operation {
    uint64_t size;      /* bytes; for ASK a number */
    uint32_t salt;      /* makes the contents of the block, and choices within the operation */
    uint16_t slot;      /* where the block is kept */
    uint8_t kind;       /* enum shadow_kind */
    uint8_t align_log2; /* TAKE_ALIGNED only */
};
_Static_assert(sizeof(struct shadow_operation) == 16, "a soak keeps tens of millions");

/* What a thread does with blocks; a single thread does everything. */
enum shadow_role { SHADOW_MIXED, SHADOW_PRODUCER, SHADOW_CONSUMER };

enum { SHADOW_SLOTS_MAX = 4096 };
#define SHADOW_EMPTY SIZE_MAX /* in place of a slot's size */

struct shadow_generator {
    uint64_t state;
    uint64_t live_bytes; /* of the sizes below */
    size_t *sizes;       /* slot_count of them, as requested; SHADOW_EMPTY */
    size_t focus;        /* bytes; most sizes are near it; 0: they are not */
    unsigned long step;
    unsigned slot_count;
    unsigned phase_log2;   /* growth and shrinking alternate after 2^phase_log2 operations */
    unsigned small_bits;   /* most sizes are below 2^small_bits */
    unsigned aligned_of_8; /* how many blocks of 8 are aligned */
    enum shadow_role role;
    bool has_mailboxes;
};

/* `sizes` has room for SHADOW_SLOTS_MAX; slot_count 0: the seed chooses. */
void shadow_generator_begin(struct shadow_generator *g, uint64_t seed, size_t *sizes,
                            unsigned slot_count);
struct shadow_operation shadow_generate(struct shadow_generator *g);
/* Tells the generator that a slot has changed by something else than its own operations. */
void shadow_generator_correct(struct shadow_generator *g, unsigned slot, size_t size);

enum shadow_group shadow_group_of(unsigned kind);
/* "slot 7 = malloc(40)" */
void shadow_describe(const struct shadow_operation *op, char *text, size_t room);

#endif
