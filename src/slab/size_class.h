/* src/slab/size_class.h — request size -> size class -> block size. SPDX-License-Identifier: MIT */

/*
 * Classes are numbered from 1; class 0 has no blocks and its magazine is always empty, so sizes that
 * must go the slow way (0, and those that wrap) can be mapped to it. A class is mostly handled as
 * its *offset*, class × 16: that is the byte offset of its magazine in a heap and the low part of a
 * slab's tag.
 */
#ifndef HAK_SLAB_SIZE_CLASS_H
#define HAK_SLAB_SIZE_CLASS_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define HAK_SIZE_CLASS_CONSTANTS
#include "slab/size_classes.inc"
#undef HAK_SIZE_CLASS_CONSTANTS

struct hak_size_class {
    uint32_t size;       /* bytes of a block */
    uint16_t blocks;     /* per slab */
    uint16_t units;      /* per slab */
    uint64_t reciprocal; /* ceil(2^HAK_RECIPROCAL_SHIFT / size) */
};
_Static_assert(sizeof(struct hak_size_class) == 16, "indexed by the class part of a tag");

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

/* Block bytes of the class at `offset`, class × 16: the low part of a slab's tag. */
HAK_INLINE uint32_t hak_class_offset_size(size_t offset) {
    return ((const struct hak_size_class *)((uintptr_t)hak_size_classes + offset))->size;
}

/* The class of any size up to HAK_MID_MAX. */
HAK_INLINE unsigned hak_size_class_of(size_t size) {
    return (unsigned)((size <= HAK_TINY_MAX ? hak_tiny_class_offset(size)
                                            : hak_mid_class_offset(size)) >>
                      4);
}

#endif
