/* src/slab/slab.h — slabs of blocks of one size class, and a heap's set of them. SPDX-License-Identifier: MIT */

/*
 * A slab is a run of 1 … 16 units cut into blocks from its first byte:
 *
 *   | block 0 | block 1 | … | first | … | first + fresh - 1 |  never handed out, untouched  | tail |
 *
 * Blocks are handed out from `first` on, around the end to block 0. `first` differs from slab to
 * slab: slabs start at multiples of 64 KiB, so if all began with block 0, the few blocks that a
 * program uses of each class would share the same sets of the first and second level caches
 * (bench_random_mixed, simulated 512 KiB 8-way L2: 231,000 misses in 4 M operations, 2,700 now).
 *
 * Its descriptor is out of line, in the first unit's 64 bytes; a bitmap of exactly one bit per block
 * says which blocks are here: in the descriptor up to 128 blocks, else in the unit's bitmap lines.
 *
 *   |free| + out == fresh      out = live + in magazines (+ on the way home)
 *
 * A *set* is what one heap has of one class: its slabs with blocks to give, in four bins. Slabs with
 * nothing left are in no bin; the pagemap finds them when a block comes home.
 *
 *   [I] fixed while any block is out   [H] under the owning heap's lock   [P] under the pool's lock
 */
#ifndef HAK_SLAB_SLAB_H
#define HAK_SLAB_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena/arena.h"
#include "arena/pagemap.h"
#include "arena/unit.h"
#include "base/compiler.h"
#include "base/misuse.h"
#include "slab/size_class.h"

enum {
    HAK_SLAB_PURGED = UINT8_MAX,
    HAK_SLAB_INLINE_WORDS = 2, /* bitmap words in the descriptor: 128 blocks */
    HAK_SLAB_BIN_FEW = 0,      /* less than 1/8 of the blocks available */
    HAK_SLAB_BIN_SOME = 1,     /* less than half */
    HAK_SLAB_BIN_MANY = 2,     /* half or more, but some are out */
    HAK_SLAB_BIN_EMPTY = 3,    /* nothing is out: the spare */
    HAK_SLAB_BIN_COUNT = 4,
    HAK_SLAB_BIN_NONE = 4 /* nothing available */
};

struct hak_slab {
    uint32_t pool_word;   /* [P] 0 while the unit is ours */
    hak_unit next;        /* [H] in its bin */
    hak_unit prev;        /* [H] HAK_UNIT_NONE: first */
    uint16_t class_index; /* [I] */
    uint16_t fresh;       /* [H] blocks ever handed out */
    uint16_t free_count;  /* [H] bits set in the bitmap */
    uint8_t bin;          /* [H] HAK_SLAB_BIN_… */
    uint8_t distance;     /* [I] units to the slab's first unit; in every unit of the slab */
    uint16_t first;       /* [I] index of the block handed out first */
    bool is_zeroed;       /* [I] its units came clean: what was never handed out reads as zero */
    bool is_held;         /* [H] in no bin while its free pages go back to the kernel */
    uint8_t
        idle_epochs; /* [H] since a block was taken or put; HAK_SLAB_PURGED: nothing left to purge */
    uint64_t free_inline[HAK_SLAB_INLINE_WORDS]; /* [H] 1 = the block is here */
};

/* What ACE decides and sets follow; [A] relaxed, any time. */
struct hak_slab_policy {
    _Atomic uint8_t spares[HAK_CLASS_COUNT]; /* empty slabs that a set keeps */
};
extern HAK_INTERNAL struct hak_slab_policy hak_slab_policy;

struct hak_slab_set {
    hak_unit bins[HAK_SLAB_BIN_COUNT]; /* [H] first slab of each */
    uint32_t slab_count;               /* [H] all slabs, those in no bin too */
    uint32_t spare_count;              /* [H] slabs in the last bin */
};

/*
 * Takes up to `wanted` blocks of the class, from several slabs if need be: freed ones, ascending, of all
 * slabs; untouched ones only if those are less than a quarter of what is wanted; makes a new slab (tagged
 * `owner_tag`: heap id and nothing else) only when none has any. Owner's lock held. Returns how many; 0: no memory.
 */
size_t hak_slab_set_take(struct hak_slab_set *set, unsigned class_index, uint32_t owner_tag,
                         void **out, size_t wanted);

/*
 * Takes one block, never handed out before and zero, if the slab whose turn it is has such a one: what
 * calloc would else have to clear. Owner's lock held. NULL: take another.
 */
void *hak_slab_set_take_zeroed(struct hak_slab_set *set, unsigned class_index, uint32_t owner_tag);

/*
 * Puts blocks back. Owner's lock held; all blocks' tags name this owner and class. Slabs that become
 * empty go to the pool, beyond the spares. Stops at the first misuse: *done blocks were put
 * back and blocks[*done] is the culprit.
 */
enum hak_misuse hak_slab_set_put(struct hak_slab_set *set, unsigned class_index,
                                 void *const *blocks, size_t count, size_t *done);

/*
 * Idle slabs in the hands of a purge. Their free pages are gathered under the owner's lock, given back
 * without it, and the slabs released under it again. Held, a slab gives no blocks; it takes some back.
 */
enum { HAK_SLAB_HOLD_MAX = 512 };
struct hak_slab_hold {
    uint32_t slab_count;
    uint32_t range_count;
    bool
        is_cut_off; /* the last set was too much for one hold: the epoch is counted, go on holding */
    hak_unit slabs[HAK_SLAB_HOLD_MAX];
    struct hak_prim_range
        ranges[HAK_PRIM_RANGES_MAX]; /* whole OS pages without a block that is out */
};
/*
 * Counts an epoch for the half empty slabs of a set, and holds those idle for some. Owner's lock held.
 * False: the hold is full, the rest of the set has not been looked at.
 */
bool hak_slab_set_hold_idle(struct hak_slab_set *set, unsigned class_index,
                            struct hak_slab_hold *hold);
/* Owner's lock held, the same for all slabs held; `sets`: the owner's, by class. */
void hak_slab_release_held(struct hak_slab_set *sets, struct hak_slab_hold *hold, bool is_purged);

/* Slabs of a class made since the last call, by all heaps. */
uint32_t hak_slab_take_created(unsigned class_index);

/* Gives empty slabs back to the pool. Owner's lock held. */
void hak_slab_set_trim(struct hak_slab_set *set);

/*
 * Where a pointer lies whose tag names the class: the slab's first unit, the block's index in it.
 * False: it is not the start of a block. Reads only what is fixed while a block is out: no lock.
 */
HAK_INLINE bool hak_slab_locate(const void *p, unsigned class_index, hak_unit *slab,
                                uint32_t *index) {
    const struct hak_size_class *size_class = &hak_size_classes[class_index];
    hak_unit head = hak_unit_of(p);
    if (size_class->units > 1) /* only slabs of several units need to look */
        head -= ((const struct hak_slab *)hak_unit_descriptor(head))->distance;
    size_t offset = (uintptr_t)p - (uintptr_t)hak_unit_address(head);
    *slab = head;
    return hak_size_class_locate(size_class, offset, index);
}

/*
 * Puts back up to 64 blocks of one slab: those of `mask`, bit k standing for block word × 64 + k. Owner's
 * lock held. On misuse nothing is put back, and *wrong has the culprits' bits.
 */
enum hak_misuse hak_slab_set_put_word(struct hak_slab_set *set, unsigned class_index, hak_unit slab,
                                      unsigned word, uint64_t mask, uint64_t *wrong);

/*
 * Is this the start of a block that has been handed out and is not known to be free? For a pointer
 * whose tag names the class. Reads the bitmap: owner's lock held.
 */
enum hak_misuse hak_slab_examine(const void *p, unsigned class_index);

#endif
