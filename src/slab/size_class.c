/* src/slab/size_class.c — the tables of size classes. SPDX-License-Identifier: MIT */

#include "slab/size_class.h"

const struct hak_size_class hak_size_classes[HAK_CLASS_COUNT] = {
    {0, 0, 0, 0, 0},
#define HAK_SIZE_CLASS(size, units, blocks, reciprocal)                                            \
    {blocks, units, size, (units) == 1 ? (size) / 2 + 1 : 0, reciprocal},
#include "slab/size_classes.inc"
#undef HAK_SIZE_CLASS
};

const uint16_t hak_size_class_tiny_map[HAK_TINY_MAX + 1] = {
#define HAK_SIZE_CLASS_TINY_MAP
#include "slab/size_classes.inc"
#undef HAK_SIZE_CLASS_TINY_MAP
};

const uint16_t hak_size_class_mid_map[HAK_MID_MAX / 128 + 1] = {
#define HAK_SIZE_CLASS_MID_MAP
#include "slab/size_classes.inc"
#undef HAK_SIZE_CLASS_MID_MAP
};
