/* test/interleave/use.h — what scenarios do with the library, and what must hold afterwards. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_TEST_INTERLEAVE_USE_H
#define HAKMEM_TEST_INTERLEAVE_USE_H

#include <stddef.h>
#include <stdint.h>

#include "heap/heap.h"
#include "schedule.h"

/* Bytes: gathered, of two classes; home at once; a span; Big. */
#define USE_SMALL ((size_t)2000)
#define USE_SMALL_BLOCK ((size_t)2048) /* as large as that is */
#define USE_ODD ((size_t)1000)
#define USE_ODD_BLOCK ((size_t)1024)
#define USE_MID ((size_t)8192)
#define USE_SPAN ((size_t)200 << 10)
#define USE_BIG ((size_t)80 << 20)

/*
 * Starts the library, with magazines of one slot and no spare slabs, so that almost each operation is a slow
 * path and each empty slab goes to the pool.
 */
void use_start(void);
/* Magazines may grow to so many slots, 2^k - 1, from now on. */
void use_magazines_max(uint16_t slots);

/* malloc; fails if the block overlaps one that somebody has. Signed at both ends. */
void *use_alloc(size_t size);
/* free of a block from use_alloc() that nobody has overwritten. */
void use_free(void *p);
/* Free what use_alloc() gave and nobody has freed. */
void use_free_all(void);
/* The block is freed by other means than use_free(). */
void use_forget(void *p);

/* Frees all, has everything sent home, and looks whether each unit, block and mapping is where it belongs. */
void use_balance(void);
/*
 * The same in the child of a fork, whose vanished threads may have lost what they had in their hands: so many
 * bytes of small blocks, and one span or Big block if so. All else is freed and works.
 */
void use_balance_child(size_t small_lost, bool may_lose_large);

/* Calls hak_tick() until the next call of this thread will look at the clock, and finds the epoch over. */
void use_near_epoch(void);

#endif
