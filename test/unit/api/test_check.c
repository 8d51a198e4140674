/* test/unit/api/test_check.c — hakmem_check() finds what is wrong, and nothing else. SPDX-License-Identifier: MIT */

/*
 * Goal: each claim of the check is seen to fail where it does not hold, with the line that says so; a
 * heap in which nothing is wrong passes, whatever it has been through and while threads go on; a lock that is held
 * is said to be, and not waited for.
 * Method: a world with something of everything (live blocks of all tiers, an orphan, a thread that sleeps
 * with packets in its inbox, free runs, kept Big mappings) is looked at, spoilt in one place, and looked at
 * again, in a child for each place. This program runs itself again for options of start-up.
 */

#include <hakmem/hakmem.h>

#include <semaphore.h>

#include "arena/arena.h"
#include "arena/meta.h"
#include "arena/pool.h"
#include "arena/run.h"
#include "base/atomic.h"
#include "base/audit.h"
#include "base/bits.h"
#include "heap/heap.h"
#include "heap/heap_audit.h"
#include "heap/registry.h"
#include "large/big.h"
#include "large/big_cache.h"
#include "large/big_table.h"
#include "large/span.h"
#include "slab/slab.h"
#include "unit/harness.h"
#include "vm/vm.h"

enum {
    ALL = HAKMEM_CHECK_QUIESCENT | HAKMEM_CHECK_WAIT,
    TINY = 16,   /* bytes: 4,096 blocks a slab, a bitmap of 64 words */
    SMALL = 512, /* 128 blocks: the largest bitmap in a descriptor */
    MID = 4000,  /* 16 blocks */
    LONG = 40000 /* a slab of several units */
};

/* As heap/remote.c has them. */
struct record_seen {
    hak_unit slab;
    uint32_t place;
    uint64_t mask;
};
struct packet_seen {
    struct packet_seen *next;
    _Atomic uint32_t in_flight;
    uint32_t count;
    struct record_seen records[31];
};

/* ---- the world ---- */

enum { TINY_COUNT = 12000, SMALL_COUNT = 400, MID_COUNT = 30, LONG_COUNT = 20, SPAN_COUNT = 8 };

static struct {
    void *tiny[TINY_COUNT]; /* the sleeping thread's; every 64th was freed by us */
    void *small[SMALL_COUNT];
    void *mid[MID_COUNT];
    void *longer[LONG_COUNT];
    void *spans[SPAN_COUNT]; /* of two units; 1 and 3 are free */
    void *big;
    void *kept; /* a Big mapping, freed */
    struct hak_heap *own;
    struct hak_heap *sleeper;
    struct hak_heap *orphan;
    sem_t is_asleep;
} g_world;

static void *sleep_with_blocks(void *unused) {
    for (int i = 0; i < TINY_COUNT; i++)
        g_world.tiny[i] = hakmem_malloc(TINY);
    g_world.sleeper = hak_heap_current();
    sem_post(&g_world.is_asleep);
    for (;;)
        pause();
    return unused;
}

static void *live_and_die(void *unused) {
    static void *blocks[SMALL_COUNT];
    for (int i = 0; i < SMALL_COUNT; i++)
        blocks[i] = hakmem_malloc(SMALL);
    for (int i = 0; i < SMALL_COUNT; i += 2)
        hakmem_free(blocks[i]);
    g_world.orphan = hak_heap_current();
    return unused;
}

static int look(unsigned flags) {
    return hakmem_check(flags, NULL, 0);
}

static void make_world(void) {
    sem_init(&g_world.is_asleep, 0, 0);
    for (int i = 0; i < SMALL_COUNT; i++)
        g_world.small[i] = hakmem_malloc(SMALL);
    for (int i = 0; i < MID_COUNT; i++)
        g_world.mid[i] = hakmem_malloc(MID);
    for (int i = 0; i < LONG_COUNT; i++)
        g_world.longer[i] = hakmem_malloc(LONG);
    for (int i = 0; i < SPAN_COUNT; i++)
        g_world.spans[i] = hakmem_malloc(100000);
    hakmem_free(hakmem_malloc(TINY)); /* for the magazine */
    g_world.own = hak_heap_current();
    harness_thread(sleep_with_blocks, NULL);
    sem_wait(&g_world.is_asleep);
    harness_join(harness_thread(live_and_die, NULL));
    for (int i = 0; i < SMALL_COUNT; i += 2)
        hakmem_free(g_world.small[i]);
    for (int i = 0; i < TINY_COUNT; i += 64)
        hakmem_free(g_world.tiny[i]);
    hakmem_free(g_world.spans[1]);
    hakmem_free(g_world.spans[3]);
    g_world.big = hakmem_malloc(70 * HAK_MIB);
    g_world.kept = hakmem_malloc(80 * HAK_MIB);
    hakmem_free(g_world.kept);
    CHECK_EQUAL(look(ALL), 0);
    CHECK_EQUAL(look(HAKMEM_CHECK_WAIT), 0);
}

static unsigned class_of(size_t size) {
    return hak_size_class_of(size);
}

static struct hak_slab *slab_of(const void *p) {
    struct hak_slab *part = hak_unit_descriptor(hak_unit_of(p));
    return hak_unit_descriptor(hak_unit_of(p) - part->distance);
}

static hak_unit head_of(const void *p) {
    return hak_unit_of(p) - ((struct hak_slab *)hak_unit_descriptor(hak_unit_of(p)))->distance;
}

static struct hak_magazine *magazine_of(size_t size) {
    struct hak_magazine *magazine = &g_world.own->magazines.of_class[class_of(size)];
    CHECK(*magazine->top != NULL);
    CHECK(*(magazine->top - 1) != NULL);
    return magazine;
}

/* A run of the two spans that are free. */
static hak_unit run_unit(int span) {
    hak_unit unit = hak_unit_of(g_world.spans[span]);
    CHECK_EQUAL(hak_run_of(unit)->length, 2);
    return unit;
}

static struct packet_seen *packet(void) {
    struct packet_seen *first = (void *)hak_atomic_load_relaxed(&g_world.sleeper->inbox);
    CHECK(first != NULL);
    CHECK(first->count > 1);
    return first;
}

/* Of ours, towards the sleeper. */
static struct record_seen *accumulator(void) {
    struct record_seen *record = (struct record_seen *)g_world.own->remote;
    while (record->mask == 0)
        record++;
    return record;
}

static uint64_t *word_of(const void *p) {
    struct hak_slab *slab = slab_of(p);
    const struct hak_size_class *size_class = &hak_size_classes[slab->class_index];
    hak_unit unit;
    uint32_t index;
    CHECK(hak_slab_locate(p, slab->class_index, &unit, &index));
    if (size_class->blocks <= HAK_SLAB_INLINE_WORDS * 64)
        return &slab->free_inline[index / 64];
    return hak_arena_bitmap_line(hak_arena_of(unit), unit, index / 512) + index / 64 % 8;
}

static uint64_t bit_of(const void *p) {
    hak_unit unit;
    uint32_t index;
    CHECK(hak_slab_locate(p, slab_of(p)->class_index, &unit, &index));
    return UINT64_C(1) << index % 64;
}

/* ---- one thing wrong ---- */

static void magazine_has_block_twice(void) {
    struct hak_magazine *magazine = magazine_of(SMALL);
    *magazine->top = *(magazine->top - 1);
}

static void program_frees_twice(void) {
    hakmem_free(g_world.small[1]);
    hakmem_free(g_world.small[1]);
}

static void magazine_has_hole(void) {
    *(magazine_of(SMALL)->top - 1) = NULL;
}

static void magazine_has_inner_pointer(void) {
    *magazine_of(SMALL)->top = (char *)*magazine_of(SMALL)->top + 16;
}

static void magazine_has_other_class(void) {
    *magazine_of(SMALL)->top = g_world.mid[0];
}

static void magazine_has_strangers_block(void) {
    magazine_of(TINY);
    *magazine_of(TINY)->top = g_world.tiny[1];
}

static void magazine_has_free_block(void) {
    void *block = *magazine_of(SMALL)->top;
    *word_of(block) |= bit_of(block);
    slab_of(block)->free_count++;
}

static void magazine_has_untouched_block(void) {
    struct hak_slab *slab = slab_of(g_world.small[SMALL_COUNT - 1]);
    char *base = hak_unit_address(head_of(g_world.small[SMALL_COUNT - 1]));
    unsigned blocks = hak_size_classes[slab->class_index].blocks;
    CHECK(slab->fresh < blocks);
    *magazine_of(SMALL)->top = base + (size_t)((slab->first + slab->fresh) % blocks) * SMALL;
}

static void magazine_has_foreign_pointer(void) {
    *magazine_of(SMALL)->top = &g_world;
}

static void magazine_top_is_below(void) {
    struct hak_magazine *magazine = magazine_of(SMALL);
    magazine->top = magazine->limit - g_world.own->capacity[class_of(SMALL)] - 1;
}

static void magazine_has_no_bottom(void) {
    struct hak_magazine *magazine = magazine_of(SMALL);
    *(magazine->limit - g_world.own->capacity[class_of(SMALL)]) = magazine;
}

static void magazine_lies_elsewhere(void) {
    struct hak_magazine *magazine = magazine_of(SMALL);
    static void *storage[4096];
    magazine->limit = storage + g_world.own->capacity[class_of(SMALL)];
    magazine->top = storage;
}

static void magazine_without_storage_is_not_empty(void) {
    unsigned class_index = class_of(600);
    CHECK_EQUAL(g_world.own->capacity[class_index], 0);
    g_world.own->magazines.of_class[class_index].limit++;
}

static void capacity_is_more_than_counted(void) {
    unsigned class_index = class_of(SMALL);
    struct hak_magazine *magazine = magazine_of(SMALL);
    unsigned capacity = g_world.own->capacity[class_index];
    void **storage = hak_meta_alloc((capacity * 2 + 2) * sizeof *storage);
    size_t held = (size_t)(magazine->top - (magazine->limit - capacity));
    memcpy(storage, magazine->limit - capacity, (capacity + 1) * sizeof *storage);
    magazine->top = storage + held;
    magazine->limit = storage + capacity * 2 + 1;
    g_world.own->capacity[class_index] = (uint16_t)(capacity * 2 + 1);
}

static void orphan_has_block_twice(void) {
    struct hak_magazine *magazine = &g_world.orphan->magazines.of_class[class_of(SMALL)];
    CHECK(*magazine->top && *(magazine->top - 1));
    *magazine->top = *(magazine->top - 1);
}

static void sleeper_has_block_twice(void) {
    struct hak_magazine *magazine = &g_world.sleeper->magazines.of_class[class_of(TINY)];
    CHECK(*magazine->top && *(magazine->top - 1));
    *magazine->top = *(magazine->top - 1);
}

static void accumulator_has_free_block(void) {
    struct record_seen *record = accumulator();
    unsigned word = record->place & 0xffff;
    uint64_t *bits = hak_arena_bitmap_line(hak_arena_of(record->slab), record->slab, word / 8);
    bits[word % 8] |= record->mask;
    struct hak_slab *slab = hak_unit_descriptor(record->slab);
    slab->free_count++;
}

static void accumulator_has_own_block(void) {
    accumulator()->slab = head_of(g_world.small[0]);
    accumulator()->place = class_of(SMALL) << 16;
}

static void accumulator_names_other_class(void) {
    accumulator()->place += 1u << 16;
}

static void accumulator_names_no_slab(void) {
    accumulator()->slab = hak_unit_of(g_world.spans[0]);
}

static void packet_has_block_twice(void) {
    packet()->records[0] = packet()->records[1];
}

static void packet_has_word_too_far(void) {
    packet()->records[0].place += 64;
}

static void packet_was_sent_elsewhere(void) {
    packet()->in_flight = g_world.own->id;
}

static void packet_came_to_wrong_heap(void) {
    packet()->records[0].slab = head_of(g_world.small[0]);
    packet()->records[0].place = class_of(SMALL) << 16;
}

static void packet_has_too_many_records(void) {
    packet()->count = 32;
}

static void inbox_is_circle(void) {
    packet()->next = packet();
}

static void free_packet_has_records(void) {
    struct packet_seen *seen = packet();
    hak_atomic_store_relaxed(&g_world.sleeper->inbox, (void *)seen->next);
    seen->in_flight = 0;
}

static void slab_counts_wrong(void) {
    slab_of(g_world.mid[0])->free_count++;
}

static void slab_bit_is_beyond(void) {
    struct hak_slab *slab = slab_of(g_world.mid[0]);
    CHECK(hak_size_classes[slab->class_index].blocks < 64);
    slab->free_inline[0] |= UINT64_C(1) << 63;
    slab->free_count++;
}

static void slab_fresh_is_too_much(void) {
    slab_of(g_world.mid[0])->fresh = 1000;
}

static void slab_is_in_wrong_bin(void) {
    slab_of(g_world.tiny[TINY_COUNT - 1])->bin ^= 3;
}

static void slab_has_other_class(void) {
    slab_of(g_world.mid[0])->class_index++;
}

static void slab_unit_is_elsewhere(void) {
    hak_unit head = head_of(g_world.longer[0]);
    ((struct hak_slab *)hak_unit_descriptor(head + 1))->distance++;
}

static void slab_unit_has_other_tag(void) {
    hak_pagemap_set(head_of(g_world.longer[0]) + 1, HAK_KIND_NONE);
}

static void slab_has_unknown_owner(void) {
    hak_pagemap_set(hak_unit_of(g_world.mid[0]), (uint32_t)1000 << HAK_TAG_ID_SHIFT | 16);
}

static void slab_is_held_by_nobody(void) {
    struct hak_slab_set *set = &g_world.own->slabs[class_of(SMALL)];
    for (unsigned bin = 0; bin < HAK_SLAB_BIN_COUNT; bin++) {
        hak_unit unit = set->bins[bin];
        if (unit == HAK_UNIT_NONE)
            continue;
        ((struct hak_slab *)hak_unit_descriptor(unit))->is_held = true;
        return;
    }
    CHECK(!"the set has a slab in a bin");
}

static void bin_leads_nowhere(void) {
    g_world.own->slabs[class_of(SMALL)].bins[HAK_SLAB_BIN_MANY] = hak_unit_of(g_world.spans[0]);
}

static void bin_link_is_one_way(void) {
    struct hak_slab_set *set = &g_world.own->slabs[class_of(SMALL)];
    for (unsigned bin = 0; bin < HAK_SLAB_BIN_COUNT; bin++) {
        if (set->bins[bin] != HAK_UNIT_NONE) {
            ((struct hak_slab *)hak_unit_descriptor(set->bins[bin]))->prev = set->bins[bin];
            return;
        }
    }
    CHECK(!"the set has a slab in a bin");
}

static void set_lost_a_slab(void) {
    struct hak_slab_set *set = &g_world.own->slabs[class_of(SMALL)];
    for (unsigned bin = 0; bin < HAK_SLAB_BIN_COUNT; bin++)
        set->bins[bin] = HAK_UNIT_NONE;
}

static void set_counts_slabs_wrong(void) {
    g_world.own->slabs[class_of(MID)].slab_count++;
}

static void set_counts_spares_wrong(void) {
    g_world.own->slabs[class_of(MID)].spare_count++;
}

static void heap_counts_bytes_wrong(void) {
    g_world.own->bytes_out += 16;
}

static void heap_has_other_tag(void) {
    g_world.orphan->magazines.tag += 1u << HAK_TAG_ID_SHIFT;
}

static void orphan_links_are_wrong(void) {
    g_world.orphan->prev_orphan = g_world.orphan;
}

static void orphans_are_too_many(void) {
    g_world.orphan->next_orphan = g_world.sleeper;
    g_world.sleeper->prev_orphan = g_world.orphan;
}

static void span_has_no_tag(void) {
    hak_pagemap_set(hak_unit_of(g_world.spans[0]), HAK_KIND_NONE);
}

static void span_has_unknown_tag(void) {
    hak_pagemap_set(hak_unit_of(g_world.spans[0]), 9);
}

/* The words of a span's descriptor: the pool's, units, colour, usable. */
static uint32_t *span_words(int span) {
    return hak_unit_descriptor(hak_unit_of(g_world.spans[span]));
}

static void span_is_too_long(void) {
    span_words(0)[1] = 1u << 20;
}

static void span_ends_in_free_run(void) {
    hak_unit end = hak_unit_of(g_world.spans[0]) + span_words(0)[1];
    CHECK(hak_run_of(end)->length > 0);
    span_words(0)[1]++;
}

static void span_colour_is_odd(void) {
    span_words(0)[2] ^= 32;
}

static void span_uses_more_than_it_has(void) {
    span_words(0)[3] = 3 << 16;
}

static void span_has_tag_inside(void) {
    hak_pagemap_set(hak_unit_of(g_world.spans[0]) + 1, HAK_KIND_SPAN);
}

static void unit_is_lost(void) {
    CHECK(hak_pool_take(1, 1, HAK_LANE_PLAIN).first != HAK_UNIT_NONE);
}

static void run_has_no_end(void) {
    hak_run_of(run_unit(1) + 1)->length = 0;
}

static void run_is_in_wrong_bin(void) {
    hak_run_of(run_unit(1))->length = 1;
}

static void run_is_too_long(void) {
    hak_run_of(run_unit(1))->length = 1u << 20;
}

static void run_has_length_inside(void) {
    hak_unit first = hak_unit_of(g_world.spans[1]);
    hakmem_free(g_world.spans[2]); /* a run of six units and more */
    hak_run_of(first + 2)->length = 1;
}

static void run_links_are_wrong(void) {
    hak_run_of(run_unit(1))->prev = run_unit(1);
}

static void run_is_in_no_bin(void) {
    hak_unit first = hak_run_of(run_unit(1))->prev == HAK_UNIT_NONE ? run_unit(1) : run_unit(3);
    hak_run_of(first)->next = HAK_UNIT_NONE;
}

static void run_link_leads_nowhere(void) {
    hak_unit first = hak_run_of(run_unit(1))->prev == HAK_UNIT_NONE ? run_unit(1) : run_unit(3);
    hak_run_of(first)->next = HAK_UNIT_COUNT_MAX + 7;
}

static void run_counts_dirty_wrong(void) {
    hak_run_of(run_unit(1))->dirty_count--;
}

static void run_has_clean_unit(void) {
    hak_dirty_set(run_unit(1), 1, false);
}

static void free_unit_has_live_tag(void) {
    hak_pagemap_set(run_unit(1) + 1, HAK_KIND_META);
}

static void free_unit_has_bitmap(void) {
    *hak_arena_bitmap_line(hak_arena_of(run_unit(1)), run_unit(1), 3) = 1;
}

static void free_neighbours_are_apart(void) {
    hak_unit first = run_unit(1);
    hak_run_of(first)->length = 1;
    hak_run_of(first + 1)->length = 1;
}

static void arena_has_no_order(void) {
    hak_arenas.list[1]->committed = hak_arenas.list[1]->frontier - 1;
}

static void arena_unit_has_other_tag(void) {
    hak_pagemap_set(hak_arenas.list[1]->first_unit + 1, HAK_KIND_NONE);
}

static void arena_lost_a_superslab(void) {
    hak_unit last = hak_arenas.list[1]->end - 1;
    hak_atomic_store_relaxed(&hak_arenas.of_superslab[last / HAK_SUPERSLAB_UNITS], 0);
}

static void metadata_is_free_twice(void) {
    void *piece = hak_meta_alloc(64);
    hak_meta_free(piece, 64);
    hak_meta_free(piece, 64);
}

static void metadata_is_users(void) {
    hak_meta_free(g_world.small[1], 64);
}

static void big_has_no_tag(void) {
    hak_pagemap_set(hak_unit_of(g_world.big), HAK_KIND_BIG_FREED);
}

static void big_is_not_booked(void) {
    hak_vm_release(g_world.big, hak_big_size(g_world.big), HAK_CAUSE_BIG);
}

static void big_uses_more_than_is_booked(void) {
    struct hak_vm_extent extent = hak_big_table_get(g_world.big);
    extent.reserved *= 4;
    hak_big_table_set(&extent);
}

static void kept_has_live_tag(void) {
    hak_pagemap_set(hak_unit_of(g_world.kept), HAK_KIND_BIG);
}

static void kept_has_other_size(void) {
    struct hak_vm_extent extent = hak_big_table_get(g_world.kept);
    extent.usable -= 2 * HAK_MIB;
    hak_big_table_set(&extent);
}

static void kept_is_there_twice(void) {
    struct hak_vm_extent extent = hak_big_table_get(g_world.kept);
    struct hak_big_extents rejected;
    hak_big_cache_put(&extent, 0, HAK_GIB, &rejected);
}

static void kept_is_not_booked(void) {
    hak_vm_release(g_world.kept, hak_big_size(g_world.kept), HAK_CAUSE_BIG);
}

static const struct wrong {
    void (*make)(void);
    const char *line; /* from the part of it that comes first */
    unsigned flags;   /* 0: any */
} g_wrongs[] = {
    {magazine_has_block_twice, "class 512, heap 1: blocks that are in another place as well", 0},
    {program_frees_twice, "class 512, heap 1: blocks that are in another place as well", 0},
    {magazine_has_hole, "magazine, class 512, heap 1: it is a block of its class and heap", 0},
    {magazine_has_inner_pointer, "class 512, heap 1: it is a block of its class and heap", 0},
    {magazine_has_other_class, "class 512, heap 1: it is a block of its class and heap", 0},
    {magazine_has_strangers_block, "class 16, heap 1: it is a block of its class and heap", 0},
    {magazine_has_free_block, "heap 1: blocks that are free in their slab as well", 0},
    {magazine_has_untouched_block, "class 512, heap 1: blocks that were never handed out", 0},
    {magazine_has_foreign_pointer, "class 512, heap 1: it is a block of its class and heap", 0},
    {magazine_top_is_below, "class 512, heap 1: its top lies in its storage: 0, not 1", 0},
    {magazine_has_no_bottom, "class 512, heap 1: the slot below its first block", 0},
    {magazine_lies_elsewhere, "its storage is a piece of hakmem's own memory: 0, not 1", 0},
    {magazine_without_storage_is_not_empty, "without storage it is empty and full: 0, not 1", 0},
    {capacity_is_more_than_counted, "heaps: bytes that magazines take of the budget: ", 0},
    {orphan_has_block_twice, "class 512, heap 3: blocks that are in another place as well", 0},
    {sleeper_has_block_twice, "heap 2: blocks that are in another place as well", ALL},
    {accumulator_has_free_block, "heap 1: blocks that are free in their slab as well", 0},
    {accumulator_has_own_block, "heap 1: a record names another heap's slab: 0, not 1", 0},
    {accumulator_names_other_class, "heap 1: class of the slab that a record names: 16, not 32", 0},
    {accumulator_names_no_slab, "heap 1: class of the slab that a record names: 1, not 16", 0},
    {packet_has_block_twice, "heap 2: blocks that are in another place as well", 0},
    {packet_has_word_too_far, "heap 2: blocks that were never handed out", 0},
    {packet_was_sent_elsewhere, "heap 2: heap it was sent to: 1, not 2", 0},
    {packet_came_to_wrong_heap, "heap 2: owner of the slab that a record names: 1, not 2", 0},
    {packet_has_too_many_records, "heap 2: records it has room for: 0, not 1", 0},
    {inbox_is_circle, "heap 2: the inbox ends: 0, not 1", 0},
    {free_packet_has_records, "heap 1: records of a packet that is free: 31, not 0", 0},
    {slab_counts_wrong, "heap 1: free blocks counted: ", 0},
    {slab_bit_is_beyond, "heap 1: free blocks that were never handed out: 1, not 0", 0},
    {slab_fresh_is_too_much, "heap 1: free <= fresh <= blocks, first < blocks: 0, not 1", 0},
    {slab_is_in_wrong_bin, "class 16, heap 2: bin: ", 0},
    {slab_has_other_class, "heap 1: class in its descriptor: ", 0},
    {slab_unit_is_elsewhere, "heap 1: units to the slab's first: 2, not 1", 0},
    {slab_unit_has_other_tag, "heap 1: tag: 0, not ", 0},
    {slab_has_unknown_owner, "heap 1000: its tag names a heap and a class: 0, not 1", 0},
    {slab_is_held_by_nobody, "heaps: slabs held for a purge: 0, not 1", 0},
    {bin_leads_nowhere, "a bin's link leads to a slab of its class and heap: 0, not 1", 0},
    {bin_link_is_one_way, "class 512, heap 1: the slab before it in its bin: ", 0},
    {set_lost_a_slab, "class 512, heap 1: slabs in bins: 0, not ", 0},
    {set_counts_slabs_wrong, "heap 1: slabs counted: ", 0},
    {set_counts_spares_wrong, "heap 1: spares counted: ", 0},
    {heap_counts_bytes_wrong, "heap, heap 1: bytes outside its slabs: ", 0},
    {heap_has_other_tag, "heap, heap 3: tag of its blocks: 8192, not 6144", 0},
    {orphan_links_are_wrong, "orphan, heap 3: the orphan before it: ", 0},
    {orphans_are_too_many, "registry: orphans counted: 1, not 2", 0},
    {span_has_no_tag, ": places it is found in: 0, not 1", ALL},
    {span_has_no_tag, "spans: counted: 6, not 5", ALL},
    {span_has_unknown_tag, ": its tag has a meaning: 0, not 1", 0},
    {span_is_too_long, ": it has units, and they end at the frontier or before: 0, not 1", 0},
    {span_ends_in_free_run, ": no free run begins or ends inside: 2, not 0", 0},
    {span_colour_is_odd, ": its colour is a cache line of the first page: 0, not 1", 0},
    {span_uses_more_than_it_has, ": the usable part lies in its units: 0, not 1", ALL},
    {span_has_tag_inside, ": tag inside a span: 1, not 0", 0},
    {unit_is_lost, ": places it is found in: 0, not 1", ALL},
    {unit_is_lost, "pool: units in use: ", ALL},
    {run_has_no_end, ": length at its end: 0, not 2", 0},
    {run_is_in_wrong_bin, ": the bin of its length: 1, not 0", 0},
    {run_is_too_long, ": the run ends at the frontier or before: 0, not 1", 0},
    {run_has_length_inside, ": length inside a free run: 1, not 0", 0},
    {run_links_are_wrong, ": the run before it in its bin: ", 0},
    {run_is_in_no_bin, "plain lane: free runs in its bins: ", 0},
    {run_link_leads_nowhere, ": a bin's link leads to a unit of its lane: 0, not 1", 0},
    {run_counts_dirty_wrong, ": its dirty units: 1, not 2", 0},
    {run_counts_dirty_wrong, "plain lane: its dirty units: ", 0},
    {run_has_clean_unit, ": its dirty units: 2, not 1", 0},
    {free_unit_has_live_tag, ": its tag is one of free units: 6, not 0", 0},
    {free_unit_has_bitmap, ": bitmap lines of free units are zero: 0, not 1", 0},
    {free_neighbours_are_apart, ": no free run begins behind it: 1, not 0", 0},
    {arena_has_no_order, ": first < begin <= frontier <= committed <= end: 0, not 1", 0},
    {arena_unit_has_other_tag, ": tag of its own units: 0, not 6", 0},
    {arena_lost_a_superslab, ": number of the arena of its superslabs: 0, not 1", 0},
    {metadata_is_free_twice, ": its list ends: 1, not 0", 0},
    {metadata_is_users, ", class 64: it is a piece of hakmem's own memory: 0, not 1", 0},
    {big_has_no_tag, "Big blocks: counted: 1, not 0", ALL},
    {big_is_not_booked, "Big blocks: usable bytes counted: 73400320, not 0", ALL},
    {big_uses_more_than_is_booked, ": usable < reserved <= booked: 0, not 1", 0},
    {kept_has_live_tag, ": its tag: 3, not 4", 0},
    {kept_has_other_size, ": usable bytes in its entry: 83886080, not 81788928", 0},
    {kept_is_there_twice, ": entries for it: 2, not 1", 0},
    {kept_is_not_booked, "Big blocks: kept mappings that are booked: 0, not 1", 0},
};
enum { WRONGS = sizeof g_wrongs / sizeof g_wrongs[0] };

static void make_wrong(void *argument) {
    const struct wrong *wrong = argument;
    make_world();
    wrong->make();
    unsigned flags = wrong->flags ? wrong->flags : (unsigned)HAKMEM_CHECK_WAIT;
    struct hakmem_check_result result;
    int problems = hakmem_check(flags, &result, sizeof result);
    CHECK(problems > 0);
    CHECK_EQUAL(result.problems, problems);
}

static void test_wrongs(void **state) {
    if (HAK_CANARY)
        skip(); /* the figures are the plain build's: blocks have a tail here */
    if (HAK_CANARY)
        skip(); /* the figures are the plain build's: blocks have a tail here */
    int missed = 0;
    /* One thread runs: the thread sanitizer has nothing to find, and makes a second of each world. */
    for (int i = 0; i < WRONGS; i += HARNESS_IS_TSAN ? 8 : 1) {
        struct harness_end end = harness_run(make_wrong, (void *)(uintptr_t)&g_wrongs[i]);
        if (end.status != 0 || strncmp(end.text, "hakmem: check: ", 15) != 0 ||
            strstr(end.text, g_wrongs[i].line) == NULL) {
            print_error("number %d: status %#x, stderr:\n%s\nexpected a line with:\n%s\n", i,
                        (unsigned)end.status, end.text, g_wrongs[i].line);
            missed++;
        }
    }
    CHECK_EQUAL(missed, 0);
}

/* ---- nothing wrong ---- */

/* What there is, to the block. */
static void count_world(void *unused) {
    struct hakmem_check_result result;
    make_world();
    CHECK_EQUAL(hakmem_check(ALL, &result, sizeof result), 0);
    CHECK_EQUAL(result.version, HAKMEM_CHECK_VERSION);
    CHECK_EQUAL(result.problems, 0);
    size_t tiny = TINY_COUNT - (TINY_COUNT + 63) / 64;
    size_t small = SMALL_COUNT / 2 + SMALL_COUNT / 2; /* ours and the orphan's */
    CHECK_EQUAL(result.live_blocks, tiny + small + MID_COUNT + LONG_COUNT);
    CHECK_EQUAL(result.live_bytes, tiny * TINY + small * SMALL +
                                       MID_COUNT * (size_t)hak_size_classes[class_of(MID)].size +
                                       LONG_COUNT * (size_t)hak_size_classes[class_of(LONG)].size);
    CHECK(result.travelling_blocks > 0);
    CHECK(result.travelling_blocks <= TINY_COUNT - tiny);
    CHECK_EQUAL(result.spans, SPAN_COUNT - 2);
    CHECK_EQUAL(result.span_units, 2 * (SPAN_COUNT - 2));
    CHECK_EQUAL(result.lost_units, 0);
    CHECK_EQUAL(result.big_blocks, 1);
    CHECK_EQUAL(result.big_kept, 1);
    CHECK_EQUAL(result.heaps, 3);
    CHECK_EQUAL(result.orphans, 1);
    CHECK_EQUAL(result.heaps_looked_into, 3);
    CHECK_EQUAL((result.slab_units + result.span_units + result.meta_units), hak_pool_used_units());
    struct hakmem_check_result less;
    CHECK_EQUAL(hakmem_check(HAKMEM_CHECK_WAIT, &less, sizeof less), 0);
    CHECK_EQUAL(less.heaps_looked_into, 2);
    CHECK(less.live_blocks > result.live_blocks); /* the sleeper's magazines */
    CHECK_EQUAL(less.live_blocks + less.magazine_blocks,
                result.live_blocks + result.magazine_blocks);
    /* A block is live, in a magazine, or free; and out of its slab once. */
    void *block = hakmem_malloc(SMALL);
    CHECK_EQUAL(hakmem_check(ALL, &less, sizeof less), 0);
    CHECK_EQUAL(less.live_blocks, result.live_blocks + 1);
    hakmem_free(block);
    CHECK_EQUAL(hakmem_check(ALL, &less, sizeof less), 0);
    CHECK_EQUAL(less.live_blocks, result.live_blocks);
}

static void test_counts(void **state) {
    if (HAK_CANARY)
        skip(); /* the figures are the plain build's: blocks have a tail here */
    if (HAK_CANARY)
        skip(); /* the figures are the plain build's: blocks have a tail here */
    harness_expect_well(count_world, NULL);
}

static void pass_in_child(void *unused) {
    CHECK_EQUAL(look(ALL), 0);
}

/* What spoils nothing finds nothing: the same as make_wrong(), and no line. */
static void pass_world(void *unused) {
    make_world();
    CHECK_EQUAL(look(0), 0);
    harness_expect_text(pass_in_child, NULL, ""); /* nobody was inside when we forked */
    hakmem_malloc_trim(0);
    CHECK_EQUAL(look(ALL), 0);
    CHECK_EQUAL(hakmem_prewarm(100, 3000), 3000);
    CHECK_EQUAL(look(ALL), 0);
    CHECK(hakmem_prewarm(HAK_MIB, 5) > 0);
    CHECK_EQUAL(look(ALL), 0);
}

static void test_passes(void **state) {
    harness_expect_well(pass_world, NULL);
}

/* The other threads' magazines are theirs without a promise. */
static void let_sleeper_be(void *unused) {
    make_world();
    sleeper_has_block_twice();
    CHECK_EQUAL(look(HAKMEM_CHECK_WAIT), 0);
    CHECK_EQUAL(look(ALL), 1);
}

/* ---- while threads go on ---- */

enum { THREADS = 3, SLOTS = 64, LOOKS = 400 / HARNESS_SLOWNESS };

static struct {
    _Atomic bool is_over;
    _Atomic(void *) slots[SLOTS];
} g_load;

static size_t churn_size(uint64_t *random) {
    static const size_t largest[] = {64, 512, 8192, 65536, 400000, 3 * HAK_MIB};
    size_t kind = harness_random_of(random) % 64;
    size_t size = kind < 40   ? largest[0]
                  : kind < 52 ? largest[1]
                  : kind < 58 ? largest[2]
                  : kind < 61 ? largest[3]
                  : kind < 63 ? largest[4]
                              : largest[5];
    return 1 + harness_random_of(random) % size;
}

static void churn_once(uint64_t *random) {
    void *p = hakmem_malloc(churn_size(random));
    if (harness_random_of(random) % 4 == 0)
        p = hakmem_realloc(p, churn_size(random));
    if (harness_random_of(random) % 4096 == 0) /* Big, if it grows */
        p = hakmem_realloc(hakmem_realloc(p, 5 * HAK_MIB), 9 * HAK_MIB);
    if (harness_random_of(random) % 4096 == 0)
        hakmem_malloc_trim(0);
    hakmem_free(atomic_exchange(&g_load.slots[harness_random_of(random) % SLOTS], p));
}

static void *churn(void *argument) {
    uint64_t random = (uintptr_t)argument;
    for (int i = 0; i < 5000; i++)
        churn_once(&random);
    return NULL;
}

/* Threads come and go. */
static void *keep_churning(void *argument) {
    uintptr_t seed = (uintptr_t)argument;
    while (!atomic_load_explicit(&g_load.is_over, memory_order_relaxed)) {
        seed += 7919;
        harness_join(harness_thread(churn, (void *)seed));
    }
    return NULL;
}

static void free_slots(void) {
    for (int i = 0; i < SLOTS; i++)
        hakmem_free(atomic_exchange(&g_load.slots[i], NULL));
}

static void look_at_load(void *unused) {
    pthread_t threads[THREADS];
    uint64_t random = 77;
    struct hakmem_check_result result;
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(keep_churning, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < LOOKS; i++) {
        CHECK_EQUAL(look(HAKMEM_CHECK_WAIT), 0);
        for (int k = 0; k < 20; k++)
            churn_once(&random);
        int without_wait = look(0);
        CHECK(without_wait == 0 || without_wait == -EBUSY);
    }
    atomic_store(&g_load.is_over, true);
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    CHECK_EQUAL(look(ALL), 0);
    free_slots();
    CHECK_EQUAL(hakmem_check(ALL, &result, sizeof result), 0);
    CHECK_EQUAL(result.live_blocks, 0);
    CHECK_EQUAL(result.spans + result.big_blocks, 0);
    hakmem_malloc_trim(0);
    CHECK_EQUAL(hakmem_check(ALL, &result, sizeof result), 0);
    CHECK_EQUAL(result.magazine_blocks + result.travelling_blocks, 0);
    CHECK_EQUAL(result.slabs, 0);
}

static void test_under_load(void **state) {
    if (HAK_CANARY)
        skip(); /* the figures are the plain build's: blocks have a tail here */
    if (HAK_CANARY)
        skip(); /* the figures are the plain build's: blocks have a tail here */
    harness_expect_text(look_at_load, NULL, "");
    harness_expect_well(let_sleeper_be, NULL);
}

/* ---- forks ---- */

static void look_in_child(void *unused) {
    uint64_t random = 99;
    CHECK_EQUAL(look(HAKMEM_CHECK_WAIT), 0);
    for (int i = 0; i < 300; i++)
        churn_once(&random);
    free_slots();
    CHECK_EQUAL(look(HAKMEM_CHECK_WAIT), 0);
    hakmem_malloc_trim(0);
    CHECK_EQUAL(look(HAKMEM_CHECK_WAIT), 0);
}

static void fork_under_load(void *unused) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(keep_churning, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < 60 / HARNESS_SLOWNESS; i++)
        harness_expect_text(look_in_child, NULL, "");
    atomic_store(&g_load.is_over, true);
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    CHECK_EQUAL(look(ALL), 0);
}

static void test_forks(void **state) {
    harness_expect_text(fork_under_load, NULL, "");
}

/* ---- answers ---- */

static void answer_busy(void *unused) {
    make_world();
    struct hak_lock *locks[] = {hak_registry_lock(),  &g_world.orphan->lock, &g_world.own->lock,
                                hak_big_cache_lock(), hak_meta_lock(),       hak_pool_lock(),
                                hak_vm_lock()};
    for (size_t i = 0; i < sizeof locks / sizeof locks[0]; i++) {
        hak_lock_acquire(locks[i]);
        CHECK_EQUAL((unsigned)look(0), (unsigned)-EBUSY);
        hak_lock_release(locks[i]);
        CHECK_EQUAL(hak_lock_held_count(), 0);
        CHECK_EQUAL(look(0), 0); /* no lock was kept */
    }
}

static void answer_arguments(void *unused) {
    struct hakmem_check_result result;
    CHECK_EQUAL((unsigned)look(4), (unsigned)-EINVAL);
    CHECK_EQUAL((unsigned)hakmem_check(0, &result, sizeof result.version - 1), (unsigned)-EINVAL);
    memset(&result, 0x5a, sizeof result);
    CHECK_EQUAL(hakmem_check(0, &result, 2 * sizeof(size_t)), 0);
    CHECK_EQUAL(result.version, HAKMEM_CHECK_VERSION);
    CHECK_EQUAL(result.problems, 0);
    CHECK_EQUAL(result.live_blocks, (size_t)0x5a5a5a5a5a5a5a5a);
    CHECK_EQUAL(look(0), 0);
    harness_set_address_limit(1);
    errno = 4242;
    CHECK_EQUAL((unsigned)look(0), (unsigned)-ENOMEM);
    CHECK_EQUAL(errno, 4242);
}

static void note_many(void *unused) {
    struct hak_audit audit = {.problem_count = 0};
    struct hak_place place = {"part", 0x1000, 48, 3};
    CHECK(hak_audit_expect(&audit, &place, "well", 5, 5));
    for (uint64_t i = 0; i < HAK_AUDIT_LINES_MAX + 2; i++)
        CHECK(!hak_audit_expect(&audit, &place, "claim", i, 100));
    place = (struct hak_place){.part = "other"};
    hak_audit_expect(&audit, &place, "not told", 1, 2);
    hak_audit_print(&audit);
}

static void test_answers(void **state) {
    harness_expect_well(answer_busy, NULL);
    harness_expect_text(answer_arguments, NULL, "");
    struct harness_end end = harness_run(note_many, NULL);
    CHECK_EQUAL(end.status, 0);
    static const char first[] = "hakmem: check: part 0x1000, class 48, heap 3: claim: 0, not 100\n";
    CHECK(strncmp(end.text, first, sizeof first - 1) == 0);
    CHECK(strstr(end.text, ": claim: 23, not 100\nhakmem: check: and 3 more\n") != NULL);
}

/* ---- options of start-up ---- */

static int live(void) {
    g_harness.is_child = true;
    alarm(HARNESS_CHILD_SECONDS);
    make_world();
    uint64_t random = 5;
    for (int i = 0; i < 20000; i++)
        churn_once(&random);
    CHECK_EQUAL(look(ALL), 0);
    free_slots();
    hakmem_malloc_trim(0);
    CHECK_EQUAL(look(ALL), 0);
    return 0;
}

static void live_with(void *argument) {
    char *setting = argument;
    putenv(setting);
    execl("/proc/self/exe", "test_check", "live", (char *)NULL);
    CHECK(!"this program runs again");
}

static void test_options(void **state) {
    static char directory[] = "/tmp/hakmem_check_XXXXXX";
    char stat_setting[64];
    CHECK(mkdtemp(directory) != NULL);
    snprintf(stat_setting, sizeof stat_setting, "HAKMEM_STAT=%s", directory);
    static char exact[] = "HAKMEM_CHECKS=1";
    static char helper[] = "HAKMEM_HELPER=on";
    static char plain[] = "HAKMEM_HUGE=off";
    static char huge[] = "HAKMEM_HUGE=on";
    char *settings[] = {exact, helper, plain, huge, stat_setting};
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        harness_expect_well(live_with, settings[i]);
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", directory);
    CHECK_EQUAL(system(command), 0);
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "live") == 0)
        return live();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrongs),  cmocka_unit_test(test_counts),
        cmocka_unit_test(test_passes),  cmocka_unit_test(test_under_load),
        cmocka_unit_test(test_forks),   cmocka_unit_test(test_answers),
        cmocka_unit_test(test_options),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
