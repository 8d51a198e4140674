/* src/large/big_table.c — where each Big block ends. SPDX-License-Identifier: MIT */

#include "large/big_table.h"

#include "arena/meta.h"
#include "arena/pagemap.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/fatal.h"

#define TABLE_USABLE_STEP ((size_t)4096) /* bytes: the smallest OS page */
enum { TABLE_LEAF_WORDS = 512, TABLE_LEAF_UNITS = TABLE_LEAF_WORDS * HAK_SUPERSLAB_UNITS };
enum { TABLE_LEAVES = HAK_UNIT_COUNT_MAX / TABLE_LEAF_UNITS };

_Static_assert(HAK_UNIT_COUNT_MAX *(HAK_UNIT_SIZE / TABLE_USABLE_STEP) <= UINT32_MAX,
               "the largest block's end fits its half of a word");

typedef _Atomic uint64_t table_word; /* [A] written by the block's holder */

static struct { _Atomic(table_word *) leaves[TABLE_LEAVES]; /* [A] set once each */ } g_big_table;

/* NULL: not covered. */
static table_word *table_find(const void *start) {
    hak_unit unit = hak_unit_of(start);
    /* Acquire: pairs with the release in hak_big_table_cover(); the leaf's words are zero. */
    table_word *leaf = hak_atomic_load_acquire(&g_big_table.leaves[unit / TABLE_LEAF_UNITS]);
    return leaf ? &leaf[unit % TABLE_LEAF_UNITS / HAK_SUPERSLAB_UNITS] : NULL;
}

bool hak_big_table_cover(const void *start) {
    if (table_find(start))
        return true;
    table_word *leaf = hak_meta_alloc(TABLE_LEAF_WORDS * sizeof *leaf);
    if (leaf == NULL)
        return false;
    for (size_t i = 0; i < TABLE_LEAF_WORDS; i++)
        hak_atomic_store_relaxed(&leaf[i], 0);
    table_word *expected = NULL;
    /* Release: the words are zero before the leaf is seen. Pairs with the acquire in table_find(). */
    if (!hak_atomic_cas_release(&g_big_table.leaves[hak_unit_of(start) / TABLE_LEAF_UNITS],
                                &expected, leaf))
        hak_meta_free(leaf, TABLE_LEAF_WORDS * sizeof *leaf); /* another thread was first */
    return true;
}

void hak_big_table_set(const struct hak_vm_extent *extent) {
    hak_assert((uintptr_t)extent->start % HAK_BIG_ALIGN == 0);
    hak_assert(extent->usable <= extent->reserved);
    uint64_t granules = extent->reserved / HAK_VM_GRANULE;
    hak_atomic_store_relaxed(table_find(extent->start),
                             granules << 32 | extent->usable / TABLE_USABLE_STEP);
}

struct hak_vm_extent hak_big_table_get(const void *start) {
    const table_word *word = table_find(start);
    uint64_t value = word ? hak_atomic_load_relaxed(word) : 0;
    return (struct hak_vm_extent){
        .start = (void *)(uintptr_t)start,
        .reserved = (size_t)(value >> 32) * HAK_VM_GRANULE,
        .usable = (size_t)(uint32_t)value * TABLE_USABLE_STEP,
    };
}
