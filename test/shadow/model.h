/* test/shadow/model.h — what the allocator promises, block by block. SPDX-License-Identifier: MIT */
/*
 * Goal: whatever the order of calls, the allocator keeps every promise at once: blocks never overlap,
 * keep their contents, are aligned, large enough and stable in size; calloc is zero; realloc keeps
 * the prefix; what cannot be served fails with the right errno and changes nothing; what succeeds
 * leaves errno alone.
 * Method: a record says what is in a slot. Every usable byte of a block is painted, not only those that
 * were asked for, so that memory which comes again is dirty to its end. Each operation verifies the
 * block it begins with. Large blocks are painted and verified in samples, one in eight more closely.
 */
#ifndef HAKMEM_TEST_SHADOW_MODEL_H
#define HAKMEM_TEST_SHADOW_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "operation.h"

struct shadow_record {
    uint64_t *block; /* NULL: empty */
    size_t size;     /* bytes, as requested */
    size_t usable;   /* bytes; what malloc_usable_size() said */
    uint32_t salt;   /* of the paint */
    uint8_t align_log2;
};

/* Looks the entry points up; names that are not there stand for their plain forms. */
void shadow_model_load(void);

/* The operation on its slot's record, with all its checks; shadow_fail() if one does not hold. */
void shadow_perform(const struct shadow_operation *op, struct shadow_record *record);
/* Contents and usable size are as they were. */
void shadow_verify(const struct shadow_record *record);
/* Verifies and frees. */
void shadow_clear(struct shadow_record *record);

/*
 * hakmem_check() and the books. The caller sees to it that no other thread is in the library. `live` is
 * the sum of all usable sizes. Nothing under another allocator.
 */
void shadow_audit(size_t live);
/* Notes what is out, later compares: the process has one thread and no block of its own. */
void shadow_books_open(void);
void shadow_books_close(void);

#endif
