/* src/arena/unit.h — units and superslabs, the coin of this layer. SPDX-License-Identifier: MIT */
#ifndef HAK_ARENA_UNIT_H
#define HAK_ARENA_UNIT_H

#include <stddef.h>
#include <stdint.h>

#include "vm/vm.h"

#define HAK_UNIT_SHIFT 16
#define HAK_UNIT_SIZE ((size_t)1 << HAK_UNIT_SHIFT) /* bytes: 64 KiB, the granule of the pagemap */
#define HAK_SUPERSLAB_UNITS 32u                     /* 2 MiB: granule of arenas and huge pages */
#define HAK_SUPERSLAB_SIZE (HAK_SUPERSLAB_UNITS * HAK_UNIT_SIZE)

_Static_assert(HAK_UNIT_SIZE == HAK_VM_GRANULE, "reservations are whole units");

/*
 * A unit's index: its distance from the window's base, in units. The window has 2^24 units at most.
 * Index 0 doubles as "none" in links: the window's first units hold the first arena's descriptors
 * or are never ours.
 */
typedef uint32_t hak_unit;
#define HAK_UNIT_NONE 0u
#define HAK_UNIT_COUNT_MAX (UINT32_C(1) << 24)

#endif
