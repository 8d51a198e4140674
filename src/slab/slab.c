/* src/slab/slab.c — slabs of blocks of one size class, and a heap's set of them. SPDX-License-Identifier: MIT */

/*
 *   take   hak_slab_set_take -> bin_take_freed        what was handed out once, of all slabs
 *                            -> set_next              fullest slab with untouched blocks
 *                               -> slab_create        units from the pool
 *   put    hak_slab_set_put  -> hak_slab_set_put_word up to 64 bits; a set bit is a double free
 *                            -> set_settle            bin changes, empty slabs leave
 *   purge  hak_slab_set_hold_idle -> slab_gather_pages   hak_slab_release_held
 */

#include "slab/slab.h"

#include "arena/arena.h"
#include "arena/pagemap.h"
#include "arena/pool.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/fatal.h"
#include "base/log.h"
#include "slab/size_class.h"

enum {
    SLAB_WORDS_PER_LINE = 8,
    SLAB_FREED_ENOUGH = 4,  /* a quarter of what is wanted suffices, if it is freed blocks */
    SLAB_SCAN_MAX = 32,     /* slabs of a bin looked at for freed blocks in one take */
    SLAB_FIRST_PAGE = 4096, /* bytes: pages as most machines have them */
    SLAB_FIRST_ROOM =
        1024,           /* bytes in that page for a slab's first blocks, 8 of them if they fit */
    SLAB_PUT_BATCH = 32 /* blocks whose bits are fetched together: covers a miss to memory */
};

_Static_assert(sizeof(struct hak_slab) <= HAK_DESCRIPTOR_SIZE, "a slab's descriptor fits");
_Static_assert(HAK_BITMAP_LINES *SLAB_WORDS_PER_LINE * 64 >= HAK_UNIT_SIZE / 16,
               "a bit for each block of the smallest class");

/* One spare where it is small. Larger slabs cost the pool a visit per 8 blocks or more, and kept by each
 * heap and class would be most of its memory. */
struct hak_slab_policy hak_slab_policy = {.spares = {
                                              0,
#define HAK_SIZE_CLASS(size, units, blocks, reciprocal) (units) == 1,
#include "slab/size_classes.inc"
#undef HAK_SIZE_CLASS
                                          }};

static struct {
    _Atomic uint32_t created[HAK_CLASS_COUNT]; /* [S] see hak_slab_take_created() */
} g_slab;

static struct hak_slab *slab_at(hak_unit unit) {
    return hak_unit_descriptor(unit);
}

static unsigned slab_available(const struct hak_slab *slab,
                               const struct hak_size_class *size_class) {
    return (unsigned)slab->free_count + size_class->blocks - slab->fresh;
}

HAK_INLINE uint64_t *slab_word_in(const struct hak_arena *arena, struct hak_slab *slab,
                                  hak_unit unit, const struct hak_size_class *size_class,
                                  unsigned word) {
    if (size_class->blocks <= HAK_SLAB_INLINE_WORDS * 64)
        return &slab->free_inline[word];
    return hak_arena_bitmap_line(arena, unit, word / SLAB_WORDS_PER_LINE) +
           word % SLAB_WORDS_PER_LINE;
}

static uint64_t *slab_word(struct hak_slab *slab, hak_unit unit,
                           const struct hak_size_class *size_class, unsigned word) {
    return slab_word_in(hak_arena_of(unit), slab, unit, size_class, word);
}

static bool slab_is_valid(struct hak_slab *slab, hak_unit unit,
                          const struct hak_size_class *size_class) {
    unsigned count = 0;
    for (unsigned word = 0; word * 64 < size_class->blocks; word++)
        count += hak_popcount(*slab_word(slab, unit, size_class, word));
    return count == slab->free_count && slab->free_count <= slab->fresh &&
           slab->fresh <= size_class->blocks;
}

/* ---- bins ---- */

static uint8_t slab_bin_for(const struct hak_slab *slab, const struct hak_size_class *size_class) {
    unsigned available = slab_available(slab, size_class);
    if (available == 0)
        return HAK_SLAB_BIN_NONE;
    if (available == size_class->blocks)
        return HAK_SLAB_BIN_EMPTY;
    if (available * 2 >= size_class->blocks)
        return HAK_SLAB_BIN_MANY;
    return available * 8 >= size_class->blocks ? HAK_SLAB_BIN_SOME : HAK_SLAB_BIN_FEW;
}

static void set_unlink(struct hak_slab_set *set, struct hak_slab *slab) {
    if (slab->bin == HAK_SLAB_BIN_NONE)
        return;
    if (slab->next != HAK_UNIT_NONE)
        slab_at(slab->next)->prev = slab->prev;
    if (slab->prev != HAK_UNIT_NONE)
        slab_at(slab->prev)->next = slab->next;
    else
        set->bins[slab->bin] = slab->next;
    set->spare_count -= slab->bin == HAK_SLAB_BIN_EMPTY;
    slab->bin = HAK_SLAB_BIN_NONE;
}

static void set_link(struct hak_slab_set *set, struct hak_slab *slab, hak_unit unit, uint8_t bin) {
    slab->bin = bin;
    slab->prev = HAK_UNIT_NONE;
    slab->next = set->bins[bin];
    if (slab->next != HAK_UNIT_NONE)
        slab_at(slab->next)->prev = unit;
    set->bins[bin] = unit;
    set->spare_count += bin == HAK_SLAB_BIN_EMPTY;
}

/* ---- life of a slab ---- */

/*
 * Multiplicative hashing (Knuth 6.4) chooses a page of the slab and a place in it: neighbouring slabs begin
 * far apart, and the first blocks of a slab still share a page. (1,000 threads with 4 blocks of each of 20
 * sizes: bench_memory live_threads.)
 */
static uint16_t slab_first_block(hak_unit unit, const struct hak_size_class *size_class) {
    size_t room = hak_min(hak_max(SLAB_FIRST_ROOM, 8 * (size_t)size_class->size), SLAB_FIRST_PAGE);
    uint32_t hash = unit * UINT32_C(2654435761);
    size_t pages = size_class->units * (HAK_UNIT_SIZE / SLAB_FIRST_PAGE);
    size_t offset =
        ((uint64_t)hash * pages >> 32) * SLAB_FIRST_PAGE + hash % (SLAB_FIRST_PAGE - room + 1);
    uint32_t index;
    hak_size_class_locate(size_class, offset + size_class->size - 1, &index);
    return (uint16_t)(index < size_class->blocks ? index : 0);
}

static enum hak_lane set_lane(const struct hak_slab_set *set,
                              const struct hak_size_class *size_class) {
    return hak_pool_lane((size_t)set->slab_count * size_class->units * HAK_UNIT_SIZE);
}

static struct hak_slab *slab_create(struct hak_slab_set *set, unsigned class_index,
                                    uint32_t owner_tag, hak_unit *out) {
    const struct hak_size_class *size_class = &hak_size_classes[class_index];
    struct hak_pool_run run = hak_pool_take(size_class->units, 1, set_lane(set, size_class));
    if (run.first == HAK_UNIT_NONE)
        return NULL;
    const struct hak_arena *arena = hak_arena_of(run.first);
    for (unsigned i = size_class->units; i-- > 0;) {
        struct hak_slab *part = hak_arena_descriptor(arena, run.first + i);
        part->distance = (uint8_t)i;
    }
    struct hak_slab *slab = slab_at(run.first);
    slab->class_index = (uint16_t)class_index;
    slab->fresh = 0;
    slab->first = slab_first_block(run.first, size_class);
    slab->is_zeroed = run.is_zeroed;
    slab->is_held = false;
    slab->free_count = 0;
    for (unsigned word = 0; word < HAK_SLAB_INLINE_WORDS; word++)
        slab->free_inline[word] = 0; /* bitmap lines are zero already */
    set_link(set, slab, run.first, HAK_SLAB_BIN_EMPTY);
    set->slab_count++;
    hak_atomic_add_relaxed(&g_slab.created[class_index], 1);
    /* Tags last: readers reach the slab only through a block, which the program hands over. */
    uint32_t tag = owner_tag | class_index << 4;
    for (unsigned i = 0; i < size_class->units; i++)
        hak_pagemap_set(run.first + i, tag);
    *out = run.first;
    hak_log(HAK_LOG_SLAB, "create", run.first, size_class->size);
    return slab;
}

/*
 * A slab leaves its bitmap lines as it found them: of a fresh arena they read as zero without being there, and
 * a slab of which little is handed out touches few of them.
 */
static void slab_clear_lines(struct hak_slab *slab, hak_unit unit,
                             const struct hak_size_class *size_class) {
    if (size_class->blocks <= HAK_SLAB_INLINE_WORDS * 64)
        return;
    for (unsigned word = 0; word * 64 < size_class->blocks; word++) {
        uint64_t *bits = slab_word(slab, unit, size_class, word);
        if (*bits != 0)
            *bits = 0;
    }
}

/* Nothing is out, so no pointer, record or magazine names the slab any more. */
static void slab_destroy(struct hak_slab_set *set, struct hak_slab *slab, hak_unit unit) {
    const struct hak_size_class *size_class = &hak_size_classes[slab->class_index];
    hak_assert(slab->free_count == slab->fresh);
    hak_log(HAK_LOG_SLAB, "destroy", unit, size_class->size);
    set_unlink(set, slab);
    set->slab_count--;
    slab_clear_lines(slab, unit, size_class);
    slab->class_index = 0; /* who comes with one of its blocks after the last is told by this */
    for (unsigned i = 0; i < size_class->units; i++)
        hak_pagemap_set(unit + i, HAK_KIND_SLAB_FREED);
    hak_pool_put(unit, size_class->units);
}

static HAK_NOINLINE bool set_move(struct hak_slab_set *set, struct hak_slab *slab, hak_unit unit,
                                  uint8_t bin) {
    if (slab->is_held) /* in no bin until its pages have gone back */
        return true;
    unsigned spares = hak_atomic_load_relaxed(&hak_slab_policy.spares[slab->class_index]);
    if (bin == HAK_SLAB_BIN_EMPTY && set->spare_count >= spares) {
        slab_destroy(set, slab, unit);
        return false;
    }
    set_unlink(set, slab);
    if (bin != HAK_SLAB_BIN_NONE)
        set_link(set, slab, unit, bin);
    return true;
}

/*
 * Puts the slab into the bin that fits its fill. An empty one leaves, unless it is kept as a spare; then
 * false: the descriptor is nobody's, or somebody else's already.
 */
HAK_INLINE bool set_settle(struct hak_slab_set *set, struct hak_slab *slab, hak_unit unit,
                           const struct hak_size_class *size_class) {
    hak_assert_deep(slab_is_valid(slab, unit, size_class));
    slab->idle_epochs = 0;
    uint8_t bin = slab_bin_for(slab, size_class);
    return HAK_LIKELY(bin == slab->bin) || set_move(set, slab, unit, bin);
}

uint32_t hak_slab_take_created(unsigned class_index) {
    return hak_atomic_exchange_relaxed(&g_slab.created[class_index], 0);
}

void hak_slab_set_trim(struct hak_slab_set *set) {
    hak_unit unit;
    while ((unit = set->bins[HAK_SLAB_BIN_EMPTY]) != HAK_UNIT_NONE)
        slab_destroy(set, slab_at(unit), unit);
}

/* ---- take ---- */

/*
 * Fuller slabs first, so that emptier ones drain and leave; but slabs with few blocks wait while
 * others exist, as each of them costs two cache misses for a block or two.
 */
static const uint8_t set_order[HAK_SLAB_BIN_COUNT] = {HAK_SLAB_BIN_SOME, HAK_SLAB_BIN_MANY,
                                                      HAK_SLAB_BIN_FEW, HAK_SLAB_BIN_EMPTY};

static hak_unit set_pick(const struct hak_slab_set *set) {
    for (int i = 0; i < HAK_SLAB_BIN_COUNT; i++) {
        if (set->bins[set_order[i]] != HAK_UNIT_NONE)
            return set->bins[set_order[i]];
    }
    return HAK_UNIT_NONE;
}

static size_t slab_wrap(size_t index, const struct hak_size_class *size_class) {
    return index < size_class->blocks ? index : index - size_class->blocks;
}

static size_t slab_take_freed(struct hak_slab *slab, hak_unit unit,
                              const struct hak_size_class *size_class, void **out, size_t wanted) {
    char *base = hak_unit_address(unit);
    size_t taken = 0;
    for (unsigned word = 0; slab->free_count > 0 && taken < wanted; word++) {
        uint64_t *bits = slab_word(slab, unit, size_class, word);
        uint64_t left = *bits;
        if (left == 0)
            continue;
        size_t before = taken;
        while (left != 0 && taken < wanted) {
            out[taken++] = base + (word * 64 + hak_lowest_bit(left)) * (size_t)size_class->size;
            left &= left - 1;
        }
        *bits = left;
        slab->free_count = (uint16_t)(slab->free_count - (taken - before));
    }
    return taken;
}

static size_t slab_take_fresh(struct hak_slab *slab, hak_unit unit,
                              const struct hak_size_class *size_class, void **out, size_t wanted) {
    char *base = hak_unit_address(unit);
    size_t fresh = hak_min(wanted, (size_t)size_class->blocks - slab->fresh);
    size_t index = slab->first + slab->fresh;
    for (size_t i = 0; i < fresh; i++, index++)
        out[i] = base + slab_wrap(index, size_class) * size_class->size;
    slab->fresh = (uint16_t)(slab->fresh + fresh);
    return fresh;
}

/* Freed blocks, from the slabs of one bin. */
static size_t bin_take_freed(struct hak_slab_set *set, unsigned bin,
                             const struct hak_size_class *size_class, void **out, size_t wanted) {
    size_t taken = 0;
    hak_unit next;
    hak_unit unit = set->bins[bin];
    for (int i = 0; unit != HAK_UNIT_NONE && taken < wanted && i < SLAB_SCAN_MAX;
         i++, unit = next) {
        struct hak_slab *slab = slab_at(unit);
        next = slab->next;
        if (slab->free_count == 0)
            continue;
        taken += slab_take_freed(slab, unit, size_class, out + taken, wanted - taken);
        set_settle(set, slab, unit, size_class);
    }
    return taken;
}

/* The slab whose turn it is, made if need be. NULL: no memory. */
static struct hak_slab *set_next(struct hak_slab_set *set, unsigned class_index, uint32_t owner_tag,
                                 hak_unit *unit) {
    *unit = set_pick(set);
    return *unit != HAK_UNIT_NONE ? slab_at(*unit) : slab_create(set, class_index, owner_tag, unit);
}

void *hak_slab_set_take_zeroed(struct hak_slab_set *set, unsigned class_index, uint32_t owner_tag) {
    const struct hak_size_class *size_class = &hak_size_classes[class_index];
    hak_unit unit;
    struct hak_slab *slab = set_next(set, class_index, owner_tag, &unit);
    if (slab == NULL || !slab->is_zeroed || slab->fresh == size_class->blocks)
        return NULL;
    size_t index = slab_wrap((size_t)slab->first + slab->fresh, size_class);
    slab->fresh++;
    set_settle(set, slab, unit, size_class);
    return (char *)hak_unit_address(unit) + index * size_class->size;
}

size_t hak_slab_set_take(struct hak_slab_set *set, unsigned class_index, uint32_t owner_tag,
                         void **out, size_t wanted) {
    const struct hak_size_class *size_class = &hak_size_classes[class_index];
    size_t taken = 0;
    /* What was handed out once is in memory already. Untouched blocks only where that is too little. */
    for (int i = 0; i < HAK_SLAB_BIN_COUNT && taken < wanted; i++)
        taken += bin_take_freed(set, set_order[i], size_class, out + taken, wanted - taken);
    if (taken * SLAB_FREED_ENOUGH >= wanted)
        return taken;
    while (taken < wanted && (taken == 0 || set_pick(set) != HAK_UNIT_NONE)) {
        hak_unit unit;
        struct hak_slab *slab = set_next(set, class_index, owner_tag, &unit);
        if (slab == NULL)
            break;
        taken += slab_take_fresh(slab, unit, size_class, out + taken, wanted - taken);
        set_settle(set, slab, unit, size_class);
        if (slab->bin != HAK_SLAB_BIN_NONE)
            break; /* with freed blocks that the scan did not reach */
    }
    return taken;
}

/* ---- put ---- */

/* The blocks of word `word` that were ever handed out: [first, first + fresh), around the end. */
static uint64_t slab_handed_out(const struct hak_slab *slab,
                                const struct hak_size_class *size_class, unsigned word) {
    size_t blocks = size_class->blocks;
    size_t end = (size_t)slab->first + slab->fresh;
    uint64_t bits = hak_word_range(word, slab->first, hak_min(end, blocks));
    return end > blocks ? bits | hak_word_range(word, 0, end - blocks) : bits;
}

enum hak_misuse hak_slab_set_put_word(struct hak_slab_set *set, unsigned class_index, hak_unit unit,
                                      unsigned word, uint64_t mask, uint64_t *wrong) {
    const struct hak_size_class *size_class = &hak_size_classes[class_index];
    struct hak_slab *slab = slab_at(unit);
    if (HAK_UNLIKELY(slab->class_index != class_index)) {
        *wrong = mask; /* its last block came home before this one, and its units are free */
        return HAK_MISUSE_DOUBLE_FREE;
    }
    /* Where all were, and no bit lies behind the last block, there is nothing to look for. A stale record
     * of a slab that has left may name places that this one does not have. */
    if (slab->fresh < size_class->blocks || (word + 1) * 64 > size_class->blocks) {
        *wrong = mask & ~slab_handed_out(slab, size_class, word);
        if (HAK_UNLIKELY(*wrong))
            return HAK_MISUSE_INSIDE; /* where no block was handed out yet */
    }
    uint64_t *bits = slab_word(slab, unit, size_class, word);
    *wrong = mask & *bits;
    if (HAK_UNLIKELY(*wrong))
        return HAK_MISUSE_DOUBLE_FREE;
    *bits |= mask;
    slab->free_count = (uint16_t)(slab->free_count + hak_popcount(mask));
    set_settle(set, slab, unit, size_class);
    return HAK_MISUSE_NONE;
}

/* Where one block's bit is. */
struct slab_place {
    struct hak_slab *slab;
    uint64_t *bits;
    hak_unit unit;
    uint32_t index;
};

/* The places of `count` blocks, which are being fetched to the cache then; how many come before a wrong one. */
static size_t slab_find_places(unsigned class_index, void *const *blocks, size_t count,
                               struct slab_place *out) {
    const struct hak_size_class *size_class = &hak_size_classes[class_index];
    for (size_t i = 0; i < count; i++) {
        hak_unit unit;
        uint32_t index;
        if (HAK_UNLIKELY(!hak_slab_locate(blocks[i], class_index, &unit, &index)))
            return i;
        const struct hak_arena *arena = hak_arena_of(unit);
        struct hak_slab *slab = hak_arena_descriptor(arena, unit);
        uint64_t *bits = slab_word_in(arena, slab, unit, size_class, index / 64);
        __builtin_prefetch(slab, 1);
        __builtin_prefetch(bits, 1);
        out[i] = (struct slab_place){slab, bits, unit, index};
    }
    return count;
}

/* The general way, one by one: is something wrong, or is the slab still being handed out? */
static HAK_NOINLINE enum hak_misuse set_put_places(struct hak_slab_set *set, unsigned class_index,
                                                   const struct slab_place *places, size_t count,
                                                   size_t *done) {
    enum hak_misuse misuse = HAK_MISUSE_NONE;
    for (size_t i = 0; i < count && misuse == HAK_MISUSE_NONE; i++) {
        uint64_t wrong;
        misuse = hak_slab_set_put_word(set, class_index, places[i].unit, places[i].index / 64,
                                       UINT64_C(1) << (places[i].index % 64), &wrong);
        *done += misuse == HAK_MISUSE_NONE;
    }
    return misuse;
}

/* How many places from the first on are in one word, once each. */
HAK_INLINE size_t slab_gather_word(const struct slab_place *places, size_t count, uint64_t *mask) {
    size_t same = 0;
    *mask = 0;
    do {
        uint64_t bit = UINT64_C(1) << (places[same].index % 64);
        if (HAK_UNLIKELY(*mask & bit))
            break;
        *mask |= bit;
        same++;
    } while (same < count && places[same].bits == places[0].bits);
    return same;
}

/* Blocks in any order, up to SLAB_PUT_BATCH: all their lines are on the way before the first is needed. */
static enum hak_misuse set_put_batch(struct hak_slab_set *set, unsigned class_index,
                                     void *const *blocks, size_t count, size_t *done) {
    const struct hak_size_class *size_class = &hak_size_classes[class_index];
    struct slab_place places[SLAB_PUT_BATCH];
    size_t found = slab_find_places(class_index, blocks, count, places);
    size_t same;
    for (size_t i = 0; i < found; i += same) {
        struct hak_slab *slab = places[i].slab;
        uint64_t mask;
        same = slab_gather_word(&places[i], found - i, &mask);
        uint64_t bits = *places[i].bits;
        if (HAK_UNLIKELY(slab->class_index != class_index || slab->fresh != size_class->blocks ||
                         (bits & mask))) {
            enum hak_misuse misuse = set_put_places(set, class_index, &places[i], same, done);
            if (HAK_UNLIKELY(misuse != HAK_MISUSE_NONE))
                return misuse;
            continue;
        }
        *places[i].bits = bits | mask;
        slab->free_count = (uint16_t)(slab->free_count + same);
        set_settle(set, slab, places[i].unit, size_class);
        *done += same;
    }
    return found < count ? HAK_MISUSE_INSIDE : HAK_MISUSE_NONE; /* or in the tail */
}

/* Neighbours in memory, as a program frees that frees in the order it allocated: one word at a time. */
static size_t slab_run_length(void *const *blocks, size_t count, size_t size) {
    size_t length = 1;
    while (length < count && blocks[length] == (char *)blocks[length - 1] + size)
        length++;
    return length;
}

/* False: one of them is wrong, and none was put back. */
static bool set_put_run(struct hak_slab_set *set, unsigned class_index, void *const *blocks,
                        size_t count, size_t *done) {
    const struct hak_size_class *size_class = &hak_size_classes[class_index];
    hak_unit unit;
    uint32_t index;
    if (HAK_UNLIKELY(!hak_slab_locate(blocks[0], class_index, &unit, &index)))
        return false;
    size_t room = hak_min(64 - index % 64, size_class->blocks - index);
    size_t length = slab_run_length(blocks, hak_min(count, room), size_class->size);
    uint64_t mask = (~UINT64_C(0) >> (64 - length)) << (index % 64);
    uint64_t wrong;
    if (HAK_UNLIKELY(hak_slab_set_put_word(set, class_index, unit, index / 64, mask, &wrong) !=
                     HAK_MISUSE_NONE))
        return false;
    *done += length;
    return true;
}

enum hak_misuse hak_slab_set_put(struct hak_slab_set *set, unsigned class_index,
                                 void *const *blocks, size_t count, size_t *done) {
    size_t size = hak_size_classes[class_index].size;
    enum hak_misuse misuse = HAK_MISUSE_NONE;
    for (*done = 0; *done < count && misuse == HAK_MISUSE_NONE;) {
        void *const *rest = blocks + *done;
        size_t left = count - *done;
        if (left > 1 && rest[1] == (char *)rest[0] + size &&
            set_put_run(set, class_index, rest, left, done))
            continue;
        misuse = set_put_batch(set, class_index, rest, hak_min(left, SLAB_PUT_BATCH), done);
    }
    return misuse;
}

enum hak_misuse hak_slab_examine(const void *p, unsigned class_index) {
    const struct hak_size_class *size_class = &hak_size_classes[class_index];
    hak_unit unit;
    uint32_t index;
    if (!hak_slab_locate(p, class_index, &unit, &index))
        return HAK_MISUSE_INSIDE;
    struct hak_slab *slab = slab_at(unit);
    uint64_t bit = UINT64_C(1) << (index % 64);
    if (!(slab_handed_out(slab, size_class, index / 64) & bit))
        return HAK_MISUSE_INSIDE;
    bool is_free = *slab_word(slab, unit, size_class, index / 64) & bit;
    return is_free ? HAK_MISUSE_DOUBLE_FREE : HAK_MISUSE_NONE;
}

/* ---- idle slabs ---- */

enum {
    SLAB_IDLE_EPOCHS = 2,      /* until the free pages of a slab go back */
    SLAB_IDLE_EPOCHS_HUGE = 3, /* the same in the huge lane, more: what is cut up stays so */
    SLAB_PURGE_PAGES_MIN =
        2 /* OS pages in a row: single ones are a third of the calls for little */
};

/* 1: nothing is in the block; it is free, or was never handed out, or (beyond the last) is the tail. */
static uint64_t slab_vacant(struct hak_slab *slab, hak_unit unit,
                            const struct hak_size_class *size_class, unsigned word) {
    return *slab_word(slab, unit, size_class, word) | ~slab_handed_out(slab, size_class, word);
}

/* The first block at or after `index` that is vacant or not, as asked; `blocks` when there is none. */
static size_t slab_find(struct hak_slab *slab, hak_unit unit,
                        const struct hak_size_class *size_class, size_t index, bool is_vacant) {
    for (; index < size_class->blocks; index = (index | 63) + 1) {
        uint64_t bits = slab_vacant(slab, unit, size_class, (unsigned)(index / 64));
        bits = (is_vacant ? bits : ~bits) & (~UINT64_C(0) << (index % 64));
        if (bits)
            return hak_min((index & ~(size_t)63) + hak_lowest_bit(bits), size_class->blocks);
    }
    return size_class->blocks;
}

/* Lists the OS pages of the slab in which nothing is. False: the list is full, and has none of them. */
static bool slab_gather_pages(struct hak_slab *slab, hak_unit unit,
                              const struct hak_size_class *size_class, struct hak_slab_hold *hold) {
    size_t page = hak_vm_page_size();
    char *base = hak_unit_address(unit);
    uint32_t count = hold->range_count;
    size_t begin = slab_find(slab, unit, size_class, 0, true);
    while (begin < size_class->blocks) {
        size_t end = slab_find(slab, unit, size_class, begin, false);
        size_t end_byte = end == size_class->blocks ? size_class->units * HAK_UNIT_SIZE
                                                    : hak_align_down(end * size_class->size, page);
        size_t begin_byte = hak_align_up(begin * size_class->size, page);
        if (end_byte >= begin_byte + SLAB_PURGE_PAGES_MIN * page) {
            if (count == HAK_PRIM_RANGES_MAX)
                return false;
            hold->ranges[count++] =
                (struct hak_prim_range){base + begin_byte, end_byte - begin_byte};
        }
        begin = slab_find(slab, unit, size_class, end, true);
    }
    hold->range_count = count;
    return true;
}

static bool slab_is_idle(const struct hak_slab *slab, hak_unit unit) {
    bool is_huge = hak_arena_of(unit)->lane == HAK_LANE_HUGE;
    return slab->idle_epochs != HAK_SLAB_PURGED &&
           slab->idle_epochs >= (is_huge ? SLAB_IDLE_EPOCHS_HUGE : SLAB_IDLE_EPOCHS);
}

static const uint8_t g_idle_bins[] = {HAK_SLAB_BIN_MANY, HAK_SLAB_BIN_EMPTY};

static void set_count_epoch(struct hak_slab_set *set) {
    for (unsigned i = 0; i < sizeof g_idle_bins; i++) {
        struct hak_slab *slab;
        for (hak_unit unit = set->bins[g_idle_bins[i]]; unit != HAK_UNIT_NONE; unit = slab->next) {
            slab = slab_at(unit);
            if (slab->idle_epochs < SLAB_IDLE_EPOCHS_HUGE)
                slab->idle_epochs++;
        }
    }
}

bool hak_slab_set_hold_idle(struct hak_slab_set *set, unsigned class_index,
                            struct hak_slab_hold *hold) {
    const struct hak_size_class *size_class = &hak_size_classes[class_index];
    if (!hold->is_cut_off)
        set_count_epoch(set);
    hold->is_cut_off = false;
    for (unsigned i = 0; i < sizeof g_idle_bins; i++) {
        hak_unit next;
        for (hak_unit unit = set->bins[g_idle_bins[i]]; unit != HAK_UNIT_NONE; unit = next) {
            struct hak_slab *slab = slab_at(unit);
            next = slab->next;
            if (!slab_is_idle(slab, unit))
                continue;
            uint32_t before = hold->range_count;
            if (hold->slab_count == HAK_SLAB_HOLD_MAX ||
                !slab_gather_pages(slab, unit, size_class, hold)) {
                hold->is_cut_off = true;
                return false;
            }
            if (hold->range_count == before) {
                slab->idle_epochs = HAK_SLAB_PURGED; /* nothing to be had */
                continue;
            }
            set_unlink(set, slab);
            slab->is_held = true;
            hold->slabs[hold->slab_count++] = unit;
        }
    }
    return true;
}

void hak_slab_release_held(struct hak_slab_set *sets, struct hak_slab_hold *hold, bool is_purged) {
    while (hold->slab_count > 0) {
        hak_unit unit = hold->slabs[--hold->slab_count];
        struct hak_slab *slab = slab_at(unit);
        bool is_clean = is_purged && slab->idle_epochs > 0; /* no block came home meanwhile */
        slab->is_held = false;
        unsigned class_index = slab->class_index;
        if (set_settle(&sets[class_index], slab, unit, &hak_size_classes[class_index]))
            slab->idle_epochs = is_clean ? HAK_SLAB_PURGED : 0;
    }
    hold->range_count = 0;
}
