/* src/ace/ace.c — the adaptive cache engine: decides what heaps keep. SPDX-License-Identifier: MIT */

/*
 * A table of magazine capacities by class. A magazine should hold a program's usual batch, but what
 * it holds also pins slabs, so capacity is bounded by bytes, and starts small:
 *
 *   ace=on      8-word storage at first, doubled at each refill or flush up to the limit
 *   ace=off     the limit at once
 *   ace=frozen  the first size for ever
 */

#include "ace/ace.h"

#include <stddef.h>

#include "base/bits.h"
#include "heap/heap.h"
#include "slab/size_class.h"

enum {
    ACE_SLOTS_START = 8,       /* slots with the sentinel: one cache line */
    ACE_SLOTS_MAX = 2048,      /* for blocks up to ACE_SMALL: batches of a thousand stay inside */
    ACE_SMALL = 64,            /* bytes */
    ACE_BYTES_MAX = 64 * 1024, /* bytes of blocks in a magazine of larger ones */
    ACE_SLOTS_MIN = 4
};

static uint16_t ace_capacity_max(size_t block_size) {
    size_t slots = ACE_SLOTS_MAX;
    if (block_size > ACE_SMALL) {
        slots = hak_max(ACE_BYTES_MAX / block_size, ACE_SLOTS_MIN);
        slots = (size_t)1 << hak_highest_bit(slots);
    }
    return (uint16_t)(slots - 1); /* one word of the storage is the sentinel */
}

void hak_ace_init(enum hak_ace_mode mode, bool checks) {
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        uint16_t max = ace_capacity_max(hak_size_classes[class_index].size);
        uint16_t start = (uint16_t)hak_min(ACE_SLOTS_START - 1, max);
        if (mode == HAK_ACE_OFF)
            start = max;
        if (mode == HAK_ACE_FROZEN)
            max = start;
        hak_heap_policy.capacity_start[class_index] = checks ? 0 : start;
        hak_heap_policy.capacity_max[class_index] = checks ? 0 : max;
    }
}
