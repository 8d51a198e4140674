/* test/stress/stress.h — sizes, stamped blocks and mailboxes. SPDX-License-Identifier: MIT */
/*
 * Goal: blocks that any thread (or a forked child) can verify without knowing where they come from.
 * Method: a block begins with its size and seed; the rest is that seed's pattern, checked in full
 * up to 4 KiB and in samples above. A mailbox is a slot that is only ever exchanged: who takes a
 * block out owns it, in the parent as in a forked child.
 */
#ifndef HAKMEM_TEST_STRESS_H
#define HAKMEM_TEST_STRESS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../promise/entry_points.h"
#include "../promise/patterns.h"
#include "../promise/tap.h"

enum { STAMP_DENSE = 4096, STAMP_STRIDE = 1021 };

struct stamp {
    size_t size;
    uint64_t seed;
};

/* Mostly small, now and then Mid, Large; what programs do, with every tier in it. */
static inline size_t stress_size(uint64_t *state) {
    uint64_t kind = random_next(state) % 1000;
    unsigned bits = kind < 900 ? 10 : kind < 990 ? 14 : kind < 999 ? 17 : 21;
    return sizeof(struct stamp) + random_size(state, bits);
}

/* NULL stays NULL: the caller says whether memory may run out. */
static inline void *stamp_block(void *block, size_t size, uint64_t seed) {
    if (block == NULL)
        return NULL;
    struct stamp stamp = {size, seed};
    memcpy(block, &stamp, sizeof stamp);
    unsigned char *body = (unsigned char *)block + sizeof stamp;
    size_t length = size - sizeof stamp;
    size_t dense = length < STAMP_DENSE ? length : (size_t)STAMP_DENSE;
    pattern_fill(body, dense, seed);
    for (size_t i = dense; i < length; i += STAMP_STRIDE)
        body[i] = pattern_byte(seed, i);
    return block;
}

static inline bool stamp_holds(const void *block) {
    struct stamp stamp;
    memcpy(&stamp, block, sizeof stamp);
    const unsigned char *body = (const unsigned char *)block + sizeof stamp;
    if (stamp.size < sizeof stamp || stamp.size > (size_t)1 << 32)
        return false;
    size_t length = stamp.size - sizeof stamp;
    size_t dense = length < STAMP_DENSE ? length : (size_t)STAMP_DENSE;
    if (pattern_check(body, dense, stamp.seed) != dense)
        return false;
    for (size_t i = dense; i < length; i += STAMP_STRIDE) {
        if (body[i] != pattern_byte(stamp.seed, i))
            return false;
    }
    return true;
}

static inline void *stamped_new(uint64_t *state) {
    size_t size = stress_size(state);
    return stamp_block(api.malloc(size), size, random_next(state));
}

/* Ends the process at once: after a corruption nothing that follows means anything. */
static inline void stress_fail(const char *what) {
    char text[160];
    int size = snprintf(text, sizeof text, "not ok - %s, process %d\n", what, (int)getpid());
    if (write(STDOUT_FILENO, text, (size_t)size) != size)
        _exit(3);
    _exit(2);
}

static inline void stamped_free(void *block) {
    if (block == NULL)
        return;
    if (!stamp_holds(block))
        stress_fail("a block's contents are not its own");
    api.free(block);
}

/* The n-th argument as a number, or its default. */
static inline unsigned long stress_argument(int argc, char **argv, int index,
                                            unsigned long fallback) {
    return argc > index ? strtoul(argv[index], NULL, 0) : fallback;
}

#endif
