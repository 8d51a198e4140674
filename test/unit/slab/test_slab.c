/* test/unit/slab/test_slab.c — slabs and a heap's set of them. SPDX-License-Identifier: MIT */

/*
 * Goal: no block is handed out twice; blocks come in the promised order from the promised slabs;
 * bins tell the truth; empty slabs leave but the spares; double, interior and premature puts are
 * recognized and change nothing; what is said to be zero is; what is purged was nobody's.
 * Method: random takes and puts of every kind of class beside a shadow that knows which blocks are
 * out, and from which every slab's descriptor and bin is foretold. Blocks are written to while they
 * are out.
 */

#include "arena/arena.h"
#include "arena/pool.h"
#include "base/bits.h"
#include "slab/size_class.h"
#include "slab/slab.h"
#include "unit/harness.h"

enum { OWNER = 5, OWNER_TAG = OWNER << HAK_TAG_ID_SHIFT, OUT_MAX = 20000, BATCH_MAX = 600 };

/* ---- the shadow: which blocks of a class are out ---- */

static struct {
    struct hak_slab_set sets[HAK_CLASS_COUNT]; /* one is used */
    size_t spares;
    unsigned class_index;
    const struct hak_size_class *size_class;
    size_t count;
    void *out[OUT_MAX];
    size_t slab_count;
    struct { /* by order of appearance */
        hak_unit unit;
        unsigned out;
        unsigned fresh;
        uint64_t is_out[4096 / 64];
        bool is_alive;
        bool is_held;
    } slabs[512];
} g_shadow;

static struct hak_slab_hold g_hold;

static void shadow_start(unsigned class_index) {
    memset(&g_shadow, 0, sizeof g_shadow);
    memset(&g_hold, 0, sizeof g_hold);
    g_shadow.class_index = class_index;
    g_shadow.size_class = &hak_size_classes[class_index];
    g_shadow.spares = hak_atomic_load_relaxed(&hak_slab_policy.spares[class_index]);
}

static struct hak_slab_set *set(void) {
    return &g_shadow.sets[g_shadow.class_index];
}

static void set_spares(unsigned spares) {
    hak_atomic_store_relaxed(&hak_slab_policy.spares[g_shadow.class_index], (uint8_t)spares);
    g_shadow.spares = spares;
}

static struct hak_slab *descriptor(hak_unit unit) {
    return hak_unit_descriptor(unit);
}

/* The slab's first unit, found by tags' distances and checked against the class. */
static hak_unit head_of(const void *p) {
    hak_unit unit = hak_unit_of(p);
    hak_unit head = unit - descriptor(unit)->distance;
    CHECK(unit - head < g_shadow.size_class->units);
    CHECK_EQUAL(descriptor(head)->class_index, g_shadow.class_index);
    for (unsigned i = 0; i < g_shadow.size_class->units; i++)
        CHECK_EQUAL(hak_pagemap_tag(head + i), OWNER_TAG | g_shadow.class_index << 4);
    return head;
}

static size_t index_of(const void *p, hak_unit head) {
    size_t offset = (size_t)((const char *)p - (const char *)hak_unit_address(head));
    CHECK_EQUAL(offset % g_shadow.size_class->size, 0);
    CHECK(offset / g_shadow.size_class->size < g_shadow.size_class->blocks);
    return offset / g_shadow.size_class->size;
}

/* Marks in a block that is out: at its ends and in every OS page. */
enum { MARK_EVERY = 4096 };

static void block_sign(char *p) {
    size_t size = g_shadow.size_class->size;
    for (size_t at = 0; at < size; at += MARK_EVERY)
        memcpy(p + at, &(uintptr_t){(uintptr_t)p + at}, sizeof(uintptr_t));
    memcpy(p + size - sizeof(uintptr_t), &(uintptr_t){(uintptr_t)p}, sizeof(uintptr_t));
}

static void block_check(const char *p) {
    size_t size = g_shadow.size_class->size;
    for (size_t at = 0; at < size; at += MARK_EVERY)
        CHECK(memcmp(p + at, &(uintptr_t){(uintptr_t)p + at}, sizeof(uintptr_t)) == 0);
    CHECK(memcmp(p + size - sizeof(uintptr_t), &(uintptr_t){(uintptr_t)p}, sizeof(uintptr_t)) == 0);
}

static size_t shadow_slab(hak_unit head) {
    for (size_t i = 0; i < g_shadow.slab_count; i++) {
        if (g_shadow.slabs[i].is_alive && g_shadow.slabs[i].unit == head)
            return i;
    }
    size_t i = 0;
    while (i < g_shadow.slab_count && g_shadow.slabs[i].is_alive)
        i++;
    CHECK(i < sizeof g_shadow.slabs / sizeof g_shadow.slabs[0]);
    g_shadow.slab_count += i == g_shadow.slab_count;
    memset(&g_shadow.slabs[i], 0, sizeof g_shadow.slabs[i]);
    g_shadow.slabs[i].unit = head;
    g_shadow.slabs[i].is_alive = true;
    return i;
}

/* The block's place in the order in which untouched ones are handed out: round from `first`. */
static unsigned order_of(size_t slab, size_t index) {
    unsigned blocks = g_shadow.size_class->blocks;
    return (unsigned)(index + blocks - descriptor(g_shadow.slabs[slab].unit)->first) % blocks;
}

/* Blocks that were out before come first, ascending; then untouched ones. */
static void check_order(size_t slab, const size_t *last, size_t index, unsigned *taken_fresh) {
    unsigned fresh = g_shadow.slabs[slab].fresh;
    unsigned order = order_of(slab, index);
    if (order >= fresh) {
        CHECK_EQUAL(order, fresh + *taken_fresh); /* the next untouched one */
        ++*taken_fresh;
        return;
    }
    CHECK_EQUAL(*taken_fresh, 0);
    CHECK(last == NULL || *last < index);
}

static void shadow_take(void *const *blocks, size_t count) {
    size_t i = 0;
    while (i < count) { /* one slab after the other */
        hak_unit head = head_of(blocks[i]);
        size_t slab = shadow_slab(head);
        unsigned taken_fresh = 0;
        size_t last = 0;
        bool is_first = true;
        for (; i < count && head_of(blocks[i]) == head; i++) {
            size_t index = index_of(blocks[i], head);
            CHECK(!g_shadow.slabs[slab].is_held);
            CHECK(!(g_shadow.slabs[slab].is_out[index / 64] >> index % 64 & 1));
            g_shadow.slabs[slab].is_out[index / 64] |= UINT64_C(1) << index % 64;
            g_shadow.slabs[slab].out++;
            check_order(slab, is_first ? NULL : &last, index, &taken_fresh);
            last = index;
            is_first = false;
            CHECK(g_shadow.count < OUT_MAX);
            g_shadow.out[g_shadow.count++] = blocks[i];
            block_sign(blocks[i]);
        }
        g_shadow.slabs[slab].fresh += taken_fresh;
    }
}

/* Forgets one block that is out, at a random place of the list, and gives it back. */
static void *shadow_put_any(void) {
    size_t at = harness_below(g_shadow.count);
    void *p = g_shadow.out[at];
    g_shadow.out[at] = g_shadow.out[--g_shadow.count];
    block_check(p);
    hak_unit head = head_of(p);
    size_t slab = shadow_slab(head);
    size_t index = index_of(p, head);
    g_shadow.slabs[slab].is_out[index / 64] &= ~(UINT64_C(1) << index % 64);
    g_shadow.slabs[slab].out--;
    return p;
}

static uint8_t expected_bin(size_t slab) {
    unsigned blocks = g_shadow.size_class->blocks;
    unsigned available = blocks - g_shadow.slabs[slab].out;
    if (available == 0)
        return HAK_SLAB_BIN_NONE;
    if (available == blocks)
        return HAK_SLAB_BIN_EMPTY;
    if (available * 2 >= blocks)
        return HAK_SLAB_BIN_MANY;
    return available * 8 >= blocks ? HAK_SLAB_BIN_SOME : HAK_SLAB_BIN_FEW;
}

static size_t alive_count(void) {
    size_t count = 0;
    for (size_t i = 0; i < g_shadow.slab_count; i++)
        count += g_shadow.slabs[i].is_alive;
    return count;
}

/* Descriptors, bins and links agree with the shadow; of what became empty the spares were kept. */
static void compare(bool is_trimmed) {
    size_t in_bins = 0;
    size_t empty = 0; /* in all: kept or gone */
    size_t kept = 0;
    size_t unused = 0; /* made for a block that reads as zero, and not fit for that */
    for (size_t i = 0; i < g_shadow.slab_count; i++) {
        if (!g_shadow.slabs[i].is_alive)
            continue;
        hak_unit unit = g_shadow.slabs[i].unit;
        uint8_t bin = g_shadow.slabs[i].is_held ? HAK_SLAB_BIN_NONE : expected_bin(i);
        bool is_tagged = hak_pagemap_tag(unit) == (OWNER_TAG | g_shadow.class_index << 4);
        const struct hak_slab *slab = descriptor(unit);
        empty += bin == HAK_SLAB_BIN_EMPTY;
        if (bin == HAK_SLAB_BIN_EMPTY && (!is_tagged || slab->bin != bin)) {
            g_shadow.slabs[i].is_alive = false; /* left: one more than the spares */
            continue;
        }
        CHECK(is_tagged);
        CHECK_EQUAL(slab->pool_word, 0);
        CHECK_EQUAL(slab->fresh, g_shadow.slabs[i].fresh);
        CHECK_EQUAL(slab->fresh - slab->free_count, g_shadow.slabs[i].out);
        CHECK_EQUAL(slab->bin, bin);
        in_bins += bin != HAK_SLAB_BIN_NONE;
        kept += bin == HAK_SLAB_BIN_EMPTY;
        unused += bin == HAK_SLAB_BIN_EMPTY && slab->fresh == 0;
    }
    size_t spared = empty < g_shadow.spares ? empty : g_shadow.spares;
    if (is_trimmed)
        CHECK_EQUAL(kept, 0);
    else if (unused == 0 || spared > 0)
        CHECK_EQUAL(kept, spared);
    else
        CHECK_EQUAL(kept, 1);
    CHECK_EQUAL(set()->spare_count, kept);
    CHECK_EQUAL(set()->slab_count, alive_count());
    for (uint8_t bin = 0; bin < HAK_SLAB_BIN_COUNT; bin++) {
        hak_unit prev = HAK_UNIT_NONE;
        for (hak_unit unit = set()->bins[bin]; unit != HAK_UNIT_NONE;
             unit = descriptor(unit)->next) {
            CHECK_EQUAL(descriptor(unit)->prev, prev);
            CHECK_EQUAL(descriptor(unit)->bin, bin);
            CHECK(in_bins-- > 0);
            prev = unit;
        }
    }
    CHECK_EQUAL(in_bins, 0);
}

static void shadow_compare(void) {
    compare(false);
}

static void trim(void) {
    hak_slab_set_trim(set());
    compare(true);
}

static size_t available_count(void) {
    size_t count = 0;
    for (size_t i = 0; i < g_shadow.slab_count; i++)
        count += g_shadow.slabs[i].is_alive && !g_shadow.slabs[i].is_held
                     ? g_shadow.size_class->blocks - (size_t)g_shadow.slabs[i].out
                     : 0;
    return count;
}

static size_t take(size_t wanted) {
    void *blocks[BATCH_MAX];
    size_t slabs = alive_count();
    size_t available = available_count();
    size_t taken = hak_slab_set_take(set(), g_shadow.class_index, OWNER_TAG, blocks, wanted);
    shadow_take(blocks, taken);
    /* a new slab only when there was nothing, and then no more than it has */
    if (available > 0) /* less than all only where freed blocks were enough */
        CHECK(taken == (wanted < available ? wanted : available) ||
              (taken < wanted && taken * 4 >= wanted));
    else
        CHECK_EQUAL(taken,
                    wanted < g_shadow.size_class->blocks ? wanted : g_shadow.size_class->blocks);
    CHECK_EQUAL(alive_count(), slabs + (available == 0));
    return taken;
}

static void put(size_t count) {
    void *blocks[BATCH_MAX];
    size_t done = SIZE_MAX;
    for (size_t i = 0; i < count; i++)
        blocks[i] = shadow_put_any();
    CHECK_EQUAL(hak_slab_set_put(set(), g_shadow.class_index, blocks, count, &done),
                HAK_MISUSE_NONE);
    CHECK_EQUAL(done, count);
}

/* ---- words: many blocks of a slab at once ---- */

/* Of the blocks word × 64 + k those that are out, and those that ever were. */
static uint64_t word_handed_out(size_t slab, unsigned word) {
    uint64_t bits = 0;
    for (unsigned k = 0; k < 64 && word * 64 + k < g_shadow.size_class->blocks; k++)
        bits |= (uint64_t)(order_of(slab, word * 64 + k) < g_shadow.slabs[slab].fresh) << k;
    return bits;
}

static void shadow_forget_word(size_t slab, unsigned word, uint64_t mask) {
    const char *base = hak_unit_address(g_shadow.slabs[slab].unit);
    size_t size = g_shadow.size_class->size;
    size_t kept = 0;
    for (size_t i = 0; i < g_shadow.count; i++) {
        size_t index = (size_t)((char *)g_shadow.out[i] - base) / size; /* huge: below the slab */
        bool is_put = index / 64 == word && (mask >> index % 64 & 1);
        if (is_put)
            block_check(g_shadow.out[i]);
        else
            g_shadow.out[kept++] = g_shadow.out[i];
    }
    unsigned count = (unsigned)__builtin_popcountll(mask);
    CHECK_EQUAL(g_shadow.count - kept, count);
    g_shadow.count = kept;
    g_shadow.slabs[slab].is_out[word] &= ~mask;
    g_shadow.slabs[slab].out -= count;
}

/* Any mask: what it must answer is foretold, and what is wrong changes nothing. */
static void put_word(size_t slab, unsigned word, uint64_t mask) {
    uint64_t wrong = 0;
    uint64_t not_handed_out = mask & ~word_handed_out(slab, word);
    uint64_t not_out = mask & ~g_shadow.slabs[slab].is_out[word];
    enum hak_misuse expected = HAK_MISUSE_NONE;
    if (not_handed_out)
        expected = HAK_MISUSE_INSIDE;
    else if (not_out)
        expected = HAK_MISUSE_DOUBLE_FREE;
    if (expected == HAK_MISUSE_NONE)
        shadow_forget_word(slab, word, mask);
    CHECK_EQUAL(hak_slab_set_put_word(set(), g_shadow.class_index, g_shadow.slabs[slab].unit, word,
                                      mask, &wrong),
                expected);
    CHECK_EQUAL(wrong, not_handed_out ? not_handed_out : not_out);
}

static uint64_t random_mask(void) {
    uint64_t mask = harness_random_of(&g_harness.random);
    if (harness_below(2))
        mask &= harness_random_of(&g_harness.random);
    return harness_below(4) ? mask : UINT64_C(1) << harness_below(64);
}

static size_t random_slab(void) {
    size_t slab;
    do
        slab = harness_below(g_shadow.slab_count);
    while (!g_shadow.slabs[slab].is_alive);
    return slab;
}

static void put_any_word(void) {
    if (alive_count() == 0)
        return;
    size_t slab = random_slab();
    unsigned word = (unsigned)harness_below((g_shadow.size_class->blocks + 63u) / 64);
    uint64_t mask = random_mask();
    if (harness_below(4)) /* else most would be wrong */
        mask &= g_shadow.slabs[slab].is_out[word];
    if (mask)
        put_word(slab, word, mask);
}

/* ---- zero ---- */

/* A block that was never handed out and reads as zero, from the slab whose turn it is; or none. */
static void take_zeroed(void) {
    void *p = hak_slab_set_take_zeroed(set(), g_shadow.class_index, OWNER_TAG);
    if (p == NULL) {
        /* nothing was taken, but there may be a slab more, empty */
        hak_unit empty = set()->bins[HAK_SLAB_BIN_EMPTY];
        if (empty != HAK_UNIT_NONE)
            shadow_slab(empty);
        return;
    }
    CHECK(harness_is_zero(p, g_shadow.size_class->size));
    hak_unit head = head_of(p);
    size_t slab = shadow_slab(head);
    CHECK(descriptor(head)->is_zeroed);
    CHECK_EQUAL(order_of(slab, index_of(p, head)), g_shadow.slabs[slab].fresh); /* untouched */
    size_t index = index_of(p, head);
    CHECK(!g_shadow.slabs[slab].is_held);
    g_shadow.slabs[slab].is_out[index / 64] |= UINT64_C(1) << index % 64;
    g_shadow.slabs[slab].out++;
    g_shadow.slabs[slab].fresh++;
    CHECK(g_shadow.count < OUT_MAX);
    g_shadow.out[g_shadow.count++] = p;
    block_sign(p);
}

/* ---- idle slabs ---- */

static bool page_is_vacant(size_t slab, size_t at, size_t page) {
    size_t size = g_shadow.size_class->size;
    for (size_t index = at / size; index < g_shadow.size_class->blocks && index * size < at + page;
         index++) {
        if (g_shadow.slabs[slab].is_out[index / 64] >> index % 64 & 1)
            return false;
    }
    return true;
}

/*
 * Exactly the pages of the slab in which nothing is, in runs of two at least, follow in the list; a run
 * that is nothing but tail has never been used.
 */
static uint32_t check_held_ranges(size_t slab, uint32_t next) {
    size_t page = hak_vm_page_size();
    size_t bytes = g_shadow.size_class->units * HAK_UNIT_SIZE;
    char *base = hak_unit_address(g_shadow.slabs[slab].unit);
    for (size_t at = 0; at < bytes;) {
        size_t end = at;
        while (end < bytes && page_is_vacant(slab, end, page))
            end += page;
        size_t tail = g_shadow.size_class->blocks * (size_t)g_shadow.size_class->size;
        if (end >= at + 2 * page && at < tail) {
            CHECK(next < g_hold.range_count);
            CHECK(g_hold.ranges[next].start == base + at);
            CHECK_EQUAL(g_hold.ranges[next].size, end - at);
            next++;
        }
        at = end + page;
    }
    return next;
}

/*
 * Holds what is idle, gives its pages back, and meanwhile goes on with the set: held slabs give no
 * blocks, but take some.
 */
static void hold_and_purge(void) {
    uint32_t next = 0;
    CHECK_EQUAL(g_hold.slab_count, 0);
    CHECK_EQUAL(g_hold.range_count, 0);
    bool is_all = hak_slab_set_hold_idle(set(), g_shadow.class_index, &g_hold);
    CHECK(is_all || g_hold.slab_count > 0);
    for (uint32_t i = 0; i < g_hold.slab_count; i++) {
        size_t slab = shadow_slab(g_hold.slabs[i]);
        uint8_t bin = expected_bin(slab);
        CHECK(bin == HAK_SLAB_BIN_MANY || bin == HAK_SLAB_BIN_EMPTY);
        g_shadow.slabs[slab].is_held = true;
        uint32_t before = next;
        next = check_held_ranges(slab, next);
        CHECK(next > before);
    }
    CHECK_EQUAL(next, g_hold.range_count);
    for (uint32_t i = 0; i < g_hold.range_count; i++)
        CHECK_EQUAL(hak_vm_purge(g_hold.ranges[i].start, g_hold.ranges[i].size, HAK_CAUSE_EPOCH),
                    0);
    if (harness_below(2)) {
        take(1 + harness_below(8));
        for (size_t i = harness_below(8); i > 0 && g_shadow.count > 0; i--)
            put(1);
        shadow_compare();
        put_any_word();
        shadow_compare();
    }
    for (size_t i = 0; i < g_shadow.slab_count; i++)
        g_shadow.slabs[i].is_held = false;
    hak_slab_release_held(g_shadow.sets, &g_hold, harness_below(4) != 0);
}

/* ---- random ---- */

static void step(size_t limit) {
    size_t batch = 1 + harness_below(harness_below(2) ? 8 : BATCH_MAX);
    bool has_room = g_shadow.count + batch < OUT_MAX;
    switch (harness_below(8)) {
    case 0:
        put_any_word();
        return;
    case 1:
        if (has_room && g_shadow.count < limit)
            take_zeroed();
        return;
    case 2:
        if (harness_below(8) == 0)
            hak_pool_purge(HAK_CAUSE_TRIM);
        return;
    default:
        if (has_room && g_shadow.count < limit && harness_below(3))
            take(batch);
        else if (g_shadow.count > 0)
            put(batch < g_shadow.count ? batch : g_shadow.count);
    }
}

static void put_all(void) {
    while (g_shadow.count > 0)
        put(g_shadow.count < BATCH_MAX ? g_shadow.count : BATCH_MAX);
}

static void run_class(unsigned class_index, unsigned spares, int steps) {
    shadow_start(class_index);
    set_spares(spares);
    size_t goal = g_shadow.size_class->blocks * (size_t)4;
    for (int i = 0; i < steps; i++) {
        step(i / 50 % 2 ? goal / 8 : goal);
        shadow_compare();
        for (int epochs = harness_below(16) ? 0 : 4; epochs > 0; epochs--) {
            hold_and_purge();
            shadow_compare();
        }
        if (harness_below(100) == 0)
            trim();
    }
    for (size_t i = 0; i < g_shadow.count; i++)
        block_check(g_shadow.out[i]);
    put_all();
    shadow_compare();
    CHECK(alive_count() <= spares || alive_count() == 1); /* or one that was never used */
    trim();
    CHECK_EQUAL(alive_count(), 0);
}

static void test_random(void **state) {
    size_t out = hak_pool_stats().free;
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        bool is_small = hak_size_classes[class_index].units == 1; /* as is the policy at first */
        CHECK_EQUAL(hak_atomic_load_relaxed(&hak_slab_policy.spares[class_index]), is_small);
        run_class(class_index, is_small, 200 / HARNESS_SLOWNESS);
    }
    CHECK(hak_pool_stats().free >= out); /* every unit went back */
}

static void test_random_long(void **state) {
    /* the smallest, the edges of the inline bitmap, several units, the largest */
    static const size_t sizes[] = {16, 48, 480, 512, 576, 5120, 61440, 65536};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        run_class(hak_size_class_of(sizes[i]), (unsigned)i % 4, 1500 / HARNESS_SLOWNESS);
}

/* Blocks do not overlap, nor reach beyond their slab: every byte of three slabs is written. */
static void test_every_byte(void **state) {
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        shadow_start(class_index);
        size_t size = g_shadow.size_class->size;
        size_t wanted = g_shadow.size_class->blocks * (size_t)2 + 1;
        while (g_shadow.count < wanted)
            take(wanted - g_shadow.count < BATCH_MAX ? wanted - g_shadow.count : BATCH_MAX);
        CHECK_EQUAL(alive_count(), 3);
        for (size_t i = 0; i < g_shadow.count; i++)
            memset(g_shadow.out[i], (int)(i % 251), size);
        for (size_t i = 0; i < g_shadow.count; i++) {
            const unsigned char *p = g_shadow.out[i];
            CHECK_EQUAL(p[0], i % 251);
            CHECK_EQUAL(p[size - 1], i % 251);
            CHECK(memcmp(p, p + 1, size - 1) == 0);
        }
        shadow_compare(); /* no descriptor was hit */
        for (size_t i = 0; i < g_shadow.count; i++)
            block_sign(g_shadow.out[i]); /* as before */
        put_all();
        trim();
    }
}

/* ---- which slab ---- */

static hak_unit take_one(void) {
    CHECK_EQUAL(take(1), 1);
    return head_of(g_shadow.out[g_shadow.count - 1]);
}

/* Gives back blocks of one slab until `out` are left out. */
static void drain(hak_unit head, unsigned out) {
    size_t slab = shadow_slab(head);
    for (size_t i = g_shadow.count; i-- > 0 && g_shadow.slabs[slab].out > out;) {
        if (head_of(g_shadow.out[i]) != head)
            continue;
        size_t done;
        void *p = g_shadow.out[i];
        size_t index = index_of(p, head);
        g_shadow.out[i] = g_shadow.out[--g_shadow.count];
        g_shadow.slabs[slab].is_out[index / 64] &= ~(UINT64_C(1) << index % 64);
        g_shadow.slabs[slab].out--;
        CHECK_EQUAL(hak_slab_set_put(set(), g_shadow.class_index, &p, 1, &done), HAK_MISUSE_NONE);
    }
}

/* Slabs with a fair run of blocks, fuller ones first; then those with few; the empty one last. */
static void test_preference(void **state) {
    enum { BLOCKS = 64 };
    hak_unit slabs[4];
    shadow_start(hak_size_class_of(1024));
    CHECK_EQUAL(g_shadow.size_class->blocks, BLOCKS);
    for (int i = 0; i < 4; i++) {
        CHECK_EQUAL(take(BLOCKS), BLOCKS);
        slabs[i] = head_of(g_shadow.out[g_shadow.count - 1]);
    }
    drain(slabs[0], 0);           /* empty: the spare */
    drain(slabs[1], BLOCKS - 4);  /* few: 4 are available */
    drain(slabs[2], BLOCKS - 48); /* many: 48 */
    drain(slabs[3], BLOCKS - 20); /* some: 20 */
    shadow_compare();
    for (unsigned available = 20; available >= BLOCKS / 8; available--)
        CHECK_EQUAL(take_one(), slabs[3]);
    for (unsigned available = 48; available >= BLOCKS / 8; available--)
        CHECK_EQUAL(take_one(), slabs[2]);
    shadow_compare();
    for (int left = 4 + 2 * (BLOCKS / 8 - 1); left > 0; left--)
        CHECK(take_one() != slabs[0]);
    CHECK_EQUAL(take_one(), slabs[0]);
    CHECK_EQUAL(alive_count(), 4);
    put_all();
    trim();
}

/* As many empty slabs as are spared stay; the next leaves: its units are in the pool, tags say so. */
static void leave_but(unsigned spares, size_t size) {
    enum { SLABS = 4 };
    hak_unit slabs[SLABS];
    shadow_start(hak_size_class_of(size));
    set_spares(spares);
    size_t bytes = g_shadow.size_class->units * HAK_UNIT_SIZE;
    for (int k = 0; k < SLABS; k++) {
        for (size_t left = g_shadow.size_class->blocks; left > 0;)
            left -= take(left < BATCH_MAX ? left : BATCH_MAX);
        slabs[k] = head_of(g_shadow.out[g_shadow.count - 1]);
    }
    size_t before = hak_pool_stats().free;
    for (unsigned k = 0; k < SLABS; k++) {
        drain(slabs[k], 0);
        shadow_compare();
        size_t gone = k + 1 > spares ? k + 1 - spares : 0;
        CHECK_EQUAL(hak_pool_stats().free, before + gone * bytes);
        for (unsigned unit = 0; gone > 0 && unit < g_shadow.size_class->units; unit++)
            CHECK_EQUAL(hak_pagemap_tag(slabs[k] + unit), HAK_KIND_SLAB_FREED);
    }
    trim();
    CHECK_EQUAL(hak_pool_stats().free, before + SLABS * bytes);
    CHECK_EQUAL(hak_pagemap_tag(slabs[0]), HAK_KIND_SLAB_FREED);
    trim(); /* nothing to do */
    CHECK_EQUAL(hak_pool_stats().free, before + SLABS * bytes);
}

/* What the next slab relies on: a free unit's bitmap lines are zero. */
static void check_lines_are_zero(hak_unit unit) {
    for (unsigned line = 0; line < HAK_BITMAP_LINES; line++)
        CHECK(harness_is_zero(hak_arena_bitmap_line(hak_arena_of(unit), unit, line),
                              HAK_DESCRIPTOR_SIZE));
}

/* However much was handed out, once or twice, in whatever order. */
static void test_lines_left_zero(void **state) {
    static const size_t sizes[] = {16, 48, 128, 480};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        shadow_start(hak_size_class_of(sizes[i]));
        set_spares(1);
        for (unsigned round = 0; round < 3; round++) {
            size_t wanted = round == 0 ? 3 : g_shadow.size_class->blocks;
            while (g_shadow.count < wanted)
                take(hak_min(wanted - g_shadow.count, BATCH_MAX));
            hak_unit unit = head_of(g_shadow.out[0]);
            put_all();
            CHECK(!harness_is_zero(hak_arena_bitmap_line(hak_arena_of(unit), unit, 0),
                                   HAK_DESCRIPTOR_SIZE) ||
                  wanted == 3);
            trim();
            check_lines_are_zero(unit);
        }
    }
}

static void test_spares(void **state) {
    static const size_t sizes[] = {16, 1024, 61440, 65536};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (unsigned spares = 0; spares < 4; spares++)
            leave_but(spares, sizes[i]);
    }
}

/* Slabs made are counted, by class. */
static void test_created(void **state) {
    unsigned class_index = hak_size_class_of(1024);
    hak_slab_take_created(class_index);
    hak_slab_take_created(class_index + 1);
    shadow_start(class_index);
    for (int i = 0; i < 5; i++)
        take(g_shadow.size_class->blocks);
    CHECK_EQUAL(hak_slab_take_created(class_index), 5);
    CHECK_EQUAL(hak_slab_take_created(class_index), 0);
    CHECK_EQUAL(hak_slab_take_created(class_index + 1), 0);
    put_all();
    trim();
}

/* ---- where a pointer lies ---- */

/* Every byte of a slab of every class: the start of which block, if of any. */
static void test_locate(void **state) {
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        shadow_start(class_index);
        take(1);
        hak_unit head = head_of(g_shadow.out[0]);
        const char *base = hak_unit_address(head);
        size_t size = g_shadow.size_class->size;
        size_t bytes = g_shadow.size_class->units * HAK_UNIT_SIZE;
        size_t step = HARNESS_SLOWNESS == 1 ? 1 : 7;
        for (size_t at = class_index % step; at < bytes; at += step) {
            hak_unit slab;
            uint32_t index;
            bool is_start = hak_slab_locate(base + at, class_index, &slab, &index);
            if (is_start != (at % size == 0 && at / size < g_shadow.size_class->blocks))
                CHECK_EQUAL(at, SIZE_MAX); /* says where */
            if (slab != head || (is_start && index != at / size))
                CHECK_EQUAL(at, SIZE_MAX);
        }
        put_all();
        trim();
    }
}

/* ---- words, one by one ---- */

/* A slab of which `out` blocks were handed out, in whatever place its turn begins. */
static size_t slab_with(size_t out) {
    for (size_t left = out; left > 0;)
        left -= take(left < BATCH_MAX ? left : BATCH_MAX);
    CHECK_EQUAL(alive_count(), 1);
    return shadow_slab(head_of(g_shadow.out[0]));
}

/* Each bit of each word, and all of them: of a slab hardly begun, half begun, and full. */
static void words_of_class(unsigned class_index, size_t out) {
    shadow_start(class_index);
    size_t slab = slab_with(out);
    unsigned words = (g_shadow.size_class->blocks + 63u) / 64;
    for (unsigned word = 0; word < words; word++) {
        put_word(slab, word, ~word_handed_out(slab, word));
        for (unsigned k = 0; k < 64; k++) {
            uint64_t mask = UINT64_C(1) << k;
            bool is_out = g_shadow.slabs[slab].is_out[word] & mask;
            if (g_shadow.count > 1 || !is_out)
                put_word(slab, word, mask);
            if (g_shadow.count > 1)
                put_word(slab, word, mask); /* again: a double free, if the first was right */
            shadow_compare();
        }
        put_word(slab, word, UINT64_MAX);
        if (word_handed_out(slab, word) & ~g_shadow.slabs[slab].is_out[word])
            put_word(slab, word, word_handed_out(slab, word));
    }
    shadow_compare();
    put_all();
    trim();
}

/* Words and bits behind the last block, of a slab that has handed out all it has. */
static void words_behind(unsigned class_index) {
    shadow_start(class_index);
    size_t slab = slab_with(g_shadow.size_class->blocks);
    hak_unit unit = g_shadow.slabs[slab].unit;
    uint64_t wrong = 0;
    unsigned blocks = g_shadow.size_class->blocks;
    for (unsigned word = (blocks + 63) / 64; word < 64; word++) {
        CHECK_EQUAL(hak_slab_set_put_word(set(), class_index, unit, word, 5, &wrong),
                    HAK_MISUSE_INSIDE);
        CHECK_EQUAL(wrong, 5);
    }
    if (blocks % 64) {
        CHECK_EQUAL(hak_slab_set_put_word(set(), class_index, unit, blocks / 64,
                                          UINT64_C(1) << blocks % 64 | 1, &wrong),
                    HAK_MISUSE_INSIDE);
        CHECK_EQUAL(wrong, UINT64_C(1) << blocks % 64);
    }
    shadow_compare();
    put_all();
    trim();
}

static void test_words(void **state) {
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        unsigned blocks = hak_size_classes[class_index].blocks;
        words_of_class(class_index, 2);
        words_of_class(class_index, blocks / 2);
        words_of_class(class_index, blocks);
        words_behind(class_index);
    }
}

/* ---- zeroed blocks ---- */

static void *take_one_zeroed(void) {
    size_t before = g_shadow.count;
    take_zeroed();
    shadow_compare();
    return g_shadow.count > before ? g_shadow.out[before] : NULL;
}

static void zeroed_of_class(unsigned class_index) {
    shadow_start(class_index);
    set_spares(1);
    hak_pool_purge(HAK_CAUSE_TRIM); /* all units read as zero */
    size_t blocks = g_shadow.size_class->blocks;
    for (size_t i = 0; i < blocks; i++)
        CHECK(take_one_zeroed() != NULL);
    CHECK_EQUAL(alive_count(), 1);
    CHECK(take_one_zeroed() != NULL); /* of a slab made for it */
    CHECK_EQUAL(alive_count(), 2);

    /* blocks that came back are not zero: the turn of a slab that has only those gives nothing */
    hak_unit full = head_of(g_shadow.out[0]);
    drain(head_of(g_shadow.out[blocks]), 0);
    trim();
    CHECK_EQUAL(alive_count(), 1);
    drain(full, (unsigned)blocks - 1);
    CHECK(take_one_zeroed() == NULL);
    CHECK_EQUAL(alive_count(), 1); /* it is its turn still */
    CHECK_EQUAL(take(1), 1);

    /* a slab that has both gives the untouched one */
    put_all();
    trim();
    CHECK_EQUAL(alive_count(), 0);
    hak_pool_purge(HAK_CAUSE_TRIM);
    CHECK_EQUAL(take(2), 2);
    void *first = g_shadow.out[0];
    hak_unit head = head_of(first);
    drain(head, 1);
    void *p = take_one_zeroed();
    CHECK(p != NULL);
    CHECK(p != first);
    CHECK_EQUAL(head_of(p), head);

    /* units that have been used before: no block of theirs is known to be zero */
    put_all();
    trim();
    CHECK_EQUAL(take(1), 1);
    if (!descriptor(head_of(g_shadow.out[0]))->is_zeroed) {
        CHECK(take_one_zeroed() == NULL);
        CHECK_EQUAL(g_shadow.count, 1);
    }
    put_all();
    trim();
    CHECK(take_one_zeroed() == NULL || descriptor(head_of(g_shadow.out[0]))->is_zeroed);
    put_all();
    trim();
}

static void test_zeroed(void **state) {
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++)
        zeroed_of_class(class_index);
}

/* ---- idle ---- */

/* How many epochs a half empty slab lies untouched until its pages go back, and when again. */
static void idle(enum hak_lane lane) {
    shadow_start(hak_size_class_of(1024));
    CHECK_EQUAL(take(64), 64);
    drain(head_of(g_shadow.out[0]), 1);
    hak_unit head = head_of(g_shadow.out[0]);
    CHECK_EQUAL(hak_arena_of(head)->lane, lane);
    unsigned epochs = lane == HAK_LANE_HUGE ? 3 : 2;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned epoch = 1; epoch <= epochs; epoch++) {
            CHECK(hak_slab_set_hold_idle(set(), g_shadow.class_index, &g_hold));
            CHECK_EQUAL(g_hold.slab_count, epoch == epochs);
        }
        CHECK_EQUAL(g_hold.slabs[0], head);
        CHECK_EQUAL(descriptor(head)->bin, HAK_SLAB_BIN_NONE);
        bool is_purged = round != 0;
        hak_slab_release_held(g_shadow.sets, &g_hold, is_purged);
        CHECK_EQUAL(g_hold.slab_count, 0);
        CHECK_EQUAL(g_hold.range_count, 0);
        shadow_compare();
        if (!is_purged)
            continue; /* the kernel refused: it is tried again after as many epochs */
        for (int epoch = 0; epoch < 5; epoch++) { /* nothing is left to give */
            CHECK(hak_slab_set_hold_idle(set(), g_shadow.class_index, &g_hold));
            CHECK_EQUAL(g_hold.slab_count, 0);
        }
        CHECK_EQUAL(take(1), 1); /* touched: counted anew */
    }
    /* The page of a block that comes home while its slab is held was not listed: it goes the next time. */
    for (int round = 0; round < 2; round++) {
        for (unsigned epoch = 1; epoch <= epochs; epoch++)
            CHECK(hak_slab_set_hold_idle(set(), g_shadow.class_index, &g_hold));
        CHECK_EQUAL(g_hold.slab_count, 1);
        g_shadow.slabs[shadow_slab(head)].is_held = true;
        put(1);
        g_shadow.slabs[shadow_slab(head)].is_held = false;
        hak_slab_release_held(g_shadow.sets, &g_hold, true);
        shadow_compare();
    }
    put_all();
    trim();
}

static void test_idle(void **state) {
    idle(HAK_LANE_PLAIN);
    size_t before = hak_atomic_load_relaxed(&hak_pool_policy.huge_from);
    hak_atomic_store_relaxed(&hak_pool_policy.huge_from,
                             0); /* everything there, where there is such a lane */
    idle(hak_vm_has_huge() ? HAK_LANE_HUGE : HAK_LANE_PLAIN);
    hak_atomic_store_relaxed(&hak_pool_policy.huge_from, before);
}

/* More idle slabs, or more ranges in them, than a hold has room for: the rest comes later, none twice. */
static void idle_many(unsigned kept_set, uint32_t ranges_per_slab) {
    enum { SLABS = HAK_SLAB_HOLD_MAX + 100, BLOCKS = 8 };
    static void *kept[SLABS][BLOCKS];
    struct hak_slab_set *only = g_shadow.sets;
    unsigned class_index = hak_size_class_of(8192);
    size_t done;
    shadow_start(class_index);
    for (size_t i = 0; i < SLABS; i++) {
        void *blocks[BLOCKS];
        CHECK_EQUAL(hak_slab_set_take(&only[class_index], class_index, OWNER_TAG, blocks, BLOCKS),
                    BLOCKS);
        for (size_t k = 0; k < BLOCKS; k++)
            kept[i][(uintptr_t)blocks[k] % HAK_UNIT_SIZE / 8192] = blocks[k];
    }
    for (size_t i = 0; i < SLABS; i++) {
        for (unsigned k = 0; k < BLOCKS; k++) {
            if (!(kept_set >> k & 1))
                CHECK_EQUAL(
                    hak_slab_set_put(&only[class_index], class_index, &kept[i][k], 1, &done),
                    HAK_MISUSE_NONE);
        }
    }
    uint32_t held = 0;
    for (int call = 0; call < 12; call++) {
        bool is_all = hak_slab_set_hold_idle(&only[class_index], class_index, &g_hold);
        CHECK(is_all || g_hold.slab_count > 0);
        CHECK_EQUAL(g_hold.range_count, g_hold.slab_count * ranges_per_slab);
        held += g_hold.slab_count;
        for (uint32_t i = 0; i < g_hold.range_count; i++)
            CHECK_EQUAL(
                hak_vm_purge(g_hold.ranges[i].start, g_hold.ranges[i].size, HAK_CAUSE_EPOCH), 0);
        hak_slab_release_held(only, &g_hold, true);
    }
    CHECK_EQUAL(held, SLABS);
    for (size_t i = 0; i < SLABS; i++) {
        for (unsigned k = 0; k < BLOCKS; k++) {
            if (kept_set >> k & 1)
                CHECK_EQUAL(
                    hak_slab_set_put(&only[class_index], class_index, &kept[i][k], 1, &done),
                    HAK_MISUSE_NONE);
        }
    }
    hak_slab_set_trim(&only[class_index]);
    CHECK_EQUAL(only[class_index].slab_count, 0);
}

static void test_idle_many(void **state) {
    idle_many(1 << 0, 1);
    idle_many(1 << 0 | 1 << 3 | 1 << 6, 3);
}

/* ---- misuse ---- */

static void expect_misuse(const void *p, enum hak_misuse misuse) {
    void *block = (void *)(uintptr_t)p;
    size_t done = SIZE_MAX;
    CHECK_EQUAL(hak_slab_examine(p, g_shadow.class_index), misuse);
    CHECK_EQUAL(hak_slab_set_put(set(), g_shadow.class_index, &block, 1, &done), misuse);
    CHECK_EQUAL(done, 0);
    shadow_compare(); /* nothing changed */
}

static bool is_block_start(const void *p, unsigned class_index) {
    hak_unit slab;
    uint32_t index;
    return hak_slab_locate(p, class_index, &slab, &index);
}

/* Blocks in every state there is, of classes with both kinds of bitmap and several units. */
static void misuse_class(unsigned class_index) {
    shadow_start(class_index);
    size_t size = g_shadow.size_class->size;
    size_t blocks = g_shadow.size_class->blocks;
    size_t out = blocks > 6 ? 6 : blocks - 1; /* all of one slab, which keeps an untouched one */
    CHECK_EQUAL(take(out), out);
    char *live = g_shadow.out[1];
    hak_unit head = head_of(live);
    char *base = hak_unit_address(head);
    CHECK_EQUAL(hak_slab_examine(live, class_index), HAK_MISUSE_NONE);
    CHECK(is_block_start(live, class_index));

    static const size_t inside[] = {1, 8, 15, 16, 17};
    for (size_t i = 0; i < sizeof inside / sizeof inside[0]; i++) {
        if (inside[i] < size) {
            CHECK(!is_block_start(live + inside[i], class_index));
            expect_misuse(live + inside[i], HAK_MISUSE_INSIDE);
        }
    }
    expect_misuse(live + size / 2, HAK_MISUSE_INSIDE);
    expect_misuse(live + size - 1, HAK_MISUSE_INSIDE);

    /* a block that never was handed out; the tail after the last one */
    size_t first = descriptor(head)->first;
    expect_misuse(base + (first + out) % blocks * size, HAK_MISUSE_INSIDE);
    expect_misuse(base + (first + blocks - 1) % blocks * size, HAK_MISUSE_INSIDE);
    size_t end = g_shadow.size_class->units * HAK_UNIT_SIZE;
    if (end > blocks * size) {
        CHECK(!is_block_start(base + blocks * size, class_index));
        expect_misuse(base + blocks * size, HAK_MISUSE_INSIDE);
        expect_misuse(base + end - 1, HAK_MISUSE_INSIDE);
    }

    void *freed = shadow_put_any();
    size_t done;
    CHECK_EQUAL(hak_slab_set_put(set(), class_index, &freed, 1, &done), HAK_MISUSE_NONE);
    expect_misuse(freed, HAK_MISUSE_DOUBLE_FREE);
    CHECK(is_block_start(freed, class_index));

    /* in the middle of a batch: those before it are back, those after it are not */
    void *batch[6];
    size_t before = out / 3;
    size_t count = 0;
    while (count < before)
        batch[count++] = shadow_put_any();
    batch[count++] = freed;
    for (size_t i = 0; i < g_shadow.count && i < 2; i++)
        batch[count++] = g_shadow.out[i];
    CHECK(count > before + 1);
    CHECK_EQUAL(hak_slab_set_put(set(), class_index, batch, count, &done), HAK_MISUSE_DOUBLE_FREE);
    CHECK_EQUAL(done, before);
    shadow_compare();
    CHECK_EQUAL(hak_slab_examine(batch[0], class_index), HAK_MISUSE_DOUBLE_FREE);
    CHECK_EQUAL(hak_slab_examine(batch[before + 1], class_index), HAK_MISUSE_NONE);

    put_all();
    trim();
}

/* Of a slab with nothing untouched left a batch goes the short way: the same is found there. */
static void misuse_of_full_slab(unsigned class_index) {
    shadow_start(class_index);
    size_t blocks = g_shadow.size_class->blocks;
    while (g_shadow.count < blocks)
        CHECK(take(hak_min(blocks - g_shadow.count, BATCH_MAX)) > 0);
    CHECK_EQUAL(g_shadow.slab_count, 1);
    void *freed = shadow_put_any();
    size_t done;
    CHECK_EQUAL(hak_slab_set_put(set(), class_index, &freed, 1, &done), HAK_MISUSE_NONE);
    void *batch[] = {shadow_put_any(), freed, g_shadow.out[0]};
    CHECK_EQUAL(hak_slab_set_put(set(), class_index, batch, 3, &done), HAK_MISUSE_DOUBLE_FREE);
    CHECK_EQUAL(done, 1);
    shadow_compare();
    put_all();
    trim();
}

static void test_misuse(void **state) {
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        misuse_class(class_index);
        misuse_of_full_slab(class_index);
    }
}

/*
 * A slab leaves with its last block, and its unit joins a free one on its left, which leaves the descriptor
 * as it was. The block again, in the same list, in a run, or later: a double free, and nothing changes.
 */
static void free_after_leaving(unsigned class_index) {
    static struct hak_slab_set only;
    static void *blocks[2][HAK_UNIT_SIZE / 16];
    size_t size = hak_size_classes[class_index].size;
    size_t count = hak_size_classes[class_index].blocks;
    size_t done;
    memset(&only, 0, sizeof only);
    hak_atomic_store_relaxed(&hak_slab_policy.spares[class_index], 0);
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < 2; i++) {
            for (size_t taken = 0; taken < count;)
                taken += hak_slab_set_take(&only, class_index, OWNER_TAG, blocks[i] + taken,
                                           count - taken);
        }
        bool is_first_left = hak_unit_of(blocks[0][0]) < hak_unit_of(blocks[1][0]);
        void **left = blocks[!is_first_left];
        void **right = blocks[is_first_left];
        CHECK_EQUAL(hak_unit_of(left[0]) + 1, hak_unit_of(right[0]));
        CHECK_EQUAL(hak_slab_set_put(&only, class_index, left, count, &done), HAK_MISUSE_NONE);
        size_t last = 0; /* with its neighbour behind it */
        while ((char *)right[last + 1] != (char *)right[last] + size)
            last++;
        void *twice[] = {right[last], right[last + 1], right[last], right[last + 1]};
        right[last] = right[count - 1];
        right[last + 1] = right[count - 2];
        CHECK_EQUAL(hak_slab_set_put(&only, class_index, right, count - 2, &done), HAK_MISUSE_NONE);
        if (round == 0) { /* runs */
            CHECK_EQUAL(hak_slab_set_put(&only, class_index, twice, 4, &done),
                        HAK_MISUSE_DOUBLE_FREE);
            CHECK_EQUAL(done, 2);
        } else if (round == 1) { /* a batch */
            twice[2] = twice[0];
            twice[0] = twice[1];
            twice[1] = twice[2];
            CHECK_EQUAL(hak_slab_set_put(&only, class_index, twice, 3, &done),
                        HAK_MISUSE_DOUBLE_FREE);
            CHECK_EQUAL(done, 2);
        } else {
            CHECK_EQUAL(hak_slab_set_put(&only, class_index, twice, 2, &done), HAK_MISUSE_NONE);
        }
        CHECK_EQUAL(only.slab_count, 0);
        CHECK_EQUAL(hak_slab_set_put(&only, class_index, twice, 1, &done), HAK_MISUSE_DOUBLE_FREE);
        CHECK_EQUAL(only.slab_count, 0);
        for (unsigned bin = 0; bin < HAK_SLAB_BIN_COUNT; bin++)
            CHECK_EQUAL(only.bins[bin], HAK_UNIT_NONE);
    }
}

static void check_after_leaving(void *argument) {
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        if (hak_size_classes[class_index].units == 1)
            free_after_leaving(class_index);
    }
}

static void test_after_leaving(void **state) {
    harness_expect_well(check_after_leaving, NULL);
}

/* Slabs do not all begin with the same block, but each begins where its descriptor says. */
static void test_first_block_varies(void **state) {
    enum { SLABS = 16 };
    bool is_varied = false;
    shadow_start(hak_size_class_of(1024));
    for (int i = 0; i < SLABS; i++) {
        CHECK_EQUAL(take(64), 64);
        const struct hak_slab *slab = descriptor(head_of(g_shadow.out[g_shadow.count - 1]));
        CHECK(slab->first < g_shadow.size_class->blocks);
        is_varied |= slab->first != descriptor(head_of(g_shadow.out[0]))->first;
    }
    CHECK(is_varied);
    put_all();
    trim();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),        cmocka_unit_test(test_random_long),
        cmocka_unit_test(test_every_byte),    cmocka_unit_test(test_preference),
        cmocka_unit_test(test_misuse),        cmocka_unit_test(test_lines_left_zero),
        cmocka_unit_test(test_spares),        cmocka_unit_test(test_created),
        cmocka_unit_test(test_locate),        cmocka_unit_test(test_words),
        cmocka_unit_test(test_zeroed),        cmocka_unit_test(test_idle),
        cmocka_unit_test(test_idle_many),     cmocka_unit_test(test_first_block_varies),
        cmocka_unit_test(test_after_leaving),
    };
    harness_start();
    hak_vm_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
