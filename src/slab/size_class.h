/* src/slab/size_class.h — request size -> size class -> block size. SPDX-License-Identifier: MIT */

/*
 * Classes are numbered from 1; class 0 has no blocks and its magazine is always empty, so sizes that
 * must go the slow way (0, and those that wrap) can be mapped to it. A class is mostly handled as
 * its *offset*, class × 16: that is the byte offset of its magazine in a heap and the low part of a
 * slab's tag.
 */
#ifndef HAK_SLAB_SIZE_CLASS_H
#define HAK_SLAB_SIZE_CLASS_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define HAK_SIZE_CLASS_CONSTANTS
#include "slab/size_classes.inc"
#undef HAK_SIZE_CLASS_CONSTANTS

/*
 * spare_limit: realloc leaves a block alone while fewer bytes of it are unused: up to half. 0 for slabs of
 * several units, where the pointer alone does not say how far the slab's start is.
 */
struct hak_size_class {
    alignas(32) uint16_t blocks; /* per slab */
    uint16_t units;              /* per slab */
    uint32_t size;               /* bytes of a block */
    uint32_t spare_limit;        /* bytes */
    uint64_t reciprocal;         /* a little more than 2^64 / size; see hak_size_class_locate() */
};
_Static_assert(sizeof(struct hak_size_class) == 32,
               "indexed by the class part of a tag, times two");

extern HAK_INTERNAL const struct hak_size_class hak_size_classes[HAK_CLASS_COUNT];
extern HAK_INTERNAL const uint16_t hak_size_class_tiny_map[HAK_TINY_MAX + 1];
extern HAK_INTERNAL const uint16_t hak_size_class_mid_map[HAK_MID_MAX / 128 + 1];

/*
 * size <= HAK_TINY_MAX; 0 gives class 0. One entry for each size: an index without arithmetic makes
 * malloc as short as it would be if every multiple of 16 were a class (E2), for 2 KiB of table of
 * which a program touches the lines of the sizes it uses.
 */
HAK_INLINE size_t hak_tiny_class_offset(size_t size) {
    return hak_size_class_tiny_map[size];
}

/* HAK_TINY_MAX < size <= HAK_MID_MAX */
HAK_INLINE size_t hak_mid_class_offset(size_t size) {
    return hak_size_class_mid_map[(size + 127) >> 7];
}

/* The class at `offset`, class × 16: the low part of a slab's tag. */
HAK_INLINE const struct hak_size_class *hak_size_class_at(size_t offset) {
    return &hak_size_classes[offset / 16];
}

/*
 * True where one of the slab's blocks starts, `offset` bytes behind the slab's start; in any case *index
 * is the block that these bytes lead into.
 *
 * One multiplication, as in Lemire, Kaser and Kurz, "Faster remainder by direct computation" (2019): the
 * product's upper half is the quotient, its lower half grows with the remainder. The reciprocal is chosen
 * so that the slab's tail, where another block would begin, is told from a block: tools/size_classes.py
 * proves it.
 */
HAK_INLINE bool hak_size_class_locate(const struct hak_size_class *size_class, size_t offset,
                                      uint32_t *index) {
    unsigned __int128 product = (unsigned __int128)offset * size_class->reciprocal;
    *index = (uint32_t)(product >> 64);
    return (uint64_t)product >> HAK_RECIPROCAL_START_BITS == 0;
}

/* The class of any size up to HAK_MID_MAX. */
HAK_INLINE unsigned hak_size_class_of(size_t size) {
    return (unsigned)((size <= HAK_TINY_MAX ? hak_tiny_class_offset(size)
                                            : hak_mid_class_offset(size)) >>
                      4);
}

#endif
