/* test/unit/slab/test_slab.c — slabs and a heap's set of them. SPDX-License-Identifier: MIT */

/*
 * Goal: no block is handed out twice; blocks come in the promised order from the promised slabs;
 * bins tell the truth; empty slabs leave but one; double, interior and premature puts are
 * recognized and change nothing.
 * Method: random takes and puts of every kind of class beside a shadow that knows which blocks are
 * out, and from which every slab's descriptor and bin is foretold.
 */

#include "arena/arena.h"
#include "arena/pool.h"
#include "slab/size_class.h"
#include "slab/slab.h"
#include "unit/harness.h"

enum { OWNER = 5, OWNER_TAG = OWNER << HAK_TAG_ID_SHIFT, OUT_MAX = 20000, BATCH_MAX = 600 };

/* ---- the shadow: which blocks of a class are out ---- */

static struct {
    struct hak_slab_set set;
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
    } slabs[512];
} g_shadow;

static void shadow_start(unsigned class_index) {
    memset(&g_shadow, 0, sizeof g_shadow);
    g_shadow.class_index = class_index;
    g_shadow.size_class = &hak_size_classes[class_index];
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

/* Blocks that were out before come first, ascending; then untouched ones, round from `first`. */
static void check_order(size_t slab, const size_t *last, size_t index, unsigned *taken_fresh) {
    unsigned blocks = g_shadow.size_class->blocks;
    unsigned fresh = g_shadow.slabs[slab].fresh;
    size_t order = (index + blocks - descriptor(g_shadow.slabs[slab].unit)->first) % blocks;
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
            CHECK(!(g_shadow.slabs[slab].is_out[index / 64] >> index % 64 & 1));
            g_shadow.slabs[slab].is_out[index / 64] |= UINT64_C(1) << index % 64;
            g_shadow.slabs[slab].out++;
            check_order(slab, is_first ? NULL : &last, index, &taken_fresh);
            last = index;
            is_first = false;
            CHECK(g_shadow.count < OUT_MAX);
            g_shadow.out[g_shadow.count++] = blocks[i];
        }
        g_shadow.slabs[slab].fresh += taken_fresh;
    }
}

/* Forgets one block that is out, at a random place of the list, and gives it back. */
static void *shadow_put_any(void) {
    size_t at = harness_below(g_shadow.count);
    void *p = g_shadow.out[at];
    g_shadow.out[at] = g_shadow.out[--g_shadow.count];
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

/* Descriptors, bins and links agree with the shadow. */
static void shadow_compare(void) {
    size_t in_bins = 0;
    size_t empty = 0;
    for (size_t i = 0; i < g_shadow.slab_count; i++) {
        if (!g_shadow.slabs[i].is_alive)
            continue;
        hak_unit unit = g_shadow.slabs[i].unit;
        uint8_t bin = expected_bin(i);
        bool is_tagged = hak_pagemap_tag(unit) == (OWNER_TAG | g_shadow.class_index << 4);
        const struct hak_slab *slab = descriptor(unit);
        if (bin == HAK_SLAB_BIN_EMPTY && (!is_tagged || slab->bin != bin)) {
            g_shadow.slabs[i].is_alive = false; /* left: the second empty slab of its class */
            continue;
        }
        CHECK(is_tagged);
        CHECK_EQUAL(slab->pool_word, 0);
        CHECK_EQUAL(slab->fresh, g_shadow.slabs[i].fresh);
        CHECK_EQUAL(slab->fresh - slab->free_count, g_shadow.slabs[i].out);
        CHECK_EQUAL(slab->bin, bin);
        in_bins += bin != HAK_SLAB_BIN_NONE;
        empty += bin == HAK_SLAB_BIN_EMPTY;
    }
    CHECK(empty <= 1);
    for (uint8_t bin = 0; bin < HAK_SLAB_BIN_COUNT; bin++) {
        hak_unit prev = HAK_UNIT_NONE;
        for (hak_unit unit = g_shadow.set.bins[bin]; unit != HAK_UNIT_NONE;
             unit = descriptor(unit)->next) {
            CHECK_EQUAL(descriptor(unit)->prev, prev);
            CHECK_EQUAL(descriptor(unit)->bin, bin);
            CHECK(in_bins-- > 0);
            prev = unit;
        }
    }
    CHECK_EQUAL(in_bins, 0);
}

static size_t alive_count(void) {
    size_t count = 0;
    for (size_t i = 0; i < g_shadow.slab_count; i++)
        count += g_shadow.slabs[i].is_alive;
    return count;
}

static size_t available_count(void) {
    size_t count = 0;
    for (size_t i = 0; i < g_shadow.slab_count; i++)
        count += g_shadow.slabs[i].is_alive
                     ? g_shadow.size_class->blocks - (size_t)g_shadow.slabs[i].out
                     : 0;
    return count;
}

static size_t take(size_t wanted) {
    void *blocks[BATCH_MAX];
    size_t slabs = alive_count();
    size_t available = available_count();
    size_t taken =
        hak_slab_set_take(&g_shadow.set, g_shadow.class_index, OWNER_TAG, blocks, wanted);
    shadow_take(blocks, taken);
    /* a new slab only when there was nothing, and then no more than it has */
    if (available > 0)
        CHECK_EQUAL(taken, wanted < available ? wanted : available);
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
    CHECK_EQUAL(hak_slab_set_put(&g_shadow.set, g_shadow.class_index, blocks, count, &done),
                HAK_MISUSE_NONE);
    CHECK_EQUAL(done, count);
}

/* ---- random ---- */

static void run_class(unsigned class_index, int steps) {
    shadow_start(class_index);
    size_t goal = g_shadow.size_class->blocks * (size_t)4;
    for (int step = 0; step < steps; step++) {
        size_t limit = step / 50 % 2 ? goal / 8 : goal;
        size_t batch = 1 + harness_below(harness_below(2) ? 8 : BATCH_MAX);
        if (g_shadow.count < limit && harness_below(3) && g_shadow.count + batch < OUT_MAX)
            take(batch);
        else if (g_shadow.count > 0)
            put(batch < g_shadow.count ? batch : g_shadow.count);
        shadow_compare();
    }
    while (g_shadow.count > 0)
        put(g_shadow.count < BATCH_MAX ? g_shadow.count : BATCH_MAX);
    shadow_compare();
    CHECK(alive_count() <= 1); /* the spare; whether slabs of several units are kept is policy */
    CHECK(alive_count() == 1 || g_shadow.size_class->units > 1);
    hak_slab_set_trim(&g_shadow.set);
    shadow_compare();
    CHECK_EQUAL(alive_count(), 0);
}

static void test_random(void **state) {
    size_t out = hak_pool_stats().free;
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++)
        run_class(class_index, 200 / HARNESS_SLOWNESS);
    CHECK(hak_pool_stats().free >= out); /* every unit went back */
}

static void test_random_long(void **state) {
    /* the smallest, the edges of the inline bitmap, several units, the largest */
    static const size_t sizes[] = {16, 48, 480, 512, 576, 5120, 61440, 65536, 73728, 262144};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        run_class(hak_size_class_of(sizes[i]), 1500 / HARNESS_SLOWNESS);
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
        while (g_shadow.count > 0)
            put(g_shadow.count < BATCH_MAX ? g_shadow.count : BATCH_MAX);
        hak_slab_set_trim(&g_shadow.set);
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
        CHECK_EQUAL(hak_slab_set_put(&g_shadow.set, g_shadow.class_index, &p, 1, &done),
                    HAK_MISUSE_NONE);
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
    while (g_shadow.count > 0)
        put(g_shadow.count < BATCH_MAX ? g_shadow.count : BATCH_MAX);
    hak_slab_set_trim(&g_shadow.set);
}

/* The second empty slab of a class leaves: its units are in the pool, its tags say so. */
static void test_second_empty_leaves(void **state) {
    static const size_t sizes[] = {16, 1024, 61440};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        shadow_start(hak_size_class_of(sizes[i]));
        size_t blocks = g_shadow.size_class->blocks;
        size_t bytes = g_shadow.size_class->units * HAK_UNIT_SIZE;
        hak_unit slabs[2];
        for (int k = 0; k < 2; k++) {
            for (size_t left = blocks; left > 0;)
                left -= take(left < BATCH_MAX ? left : BATCH_MAX);
            slabs[k] = head_of(g_shadow.out[g_shadow.count - 1]);
        }
        size_t before = hak_pool_stats().free;
        drain(slabs[0], 0);
        bool is_kept = hak_pool_stats().free == before;
        CHECK(is_kept || g_shadow.size_class->units > 1);
        CHECK_EQUAL(g_shadow.set.bins[HAK_SLAB_BIN_EMPTY], is_kept ? slabs[0] : HAK_UNIT_NONE);
        drain(slabs[1], 0);
        CHECK_EQUAL(hak_pool_stats().free, before + (is_kept ? 1 : 2) * bytes);
        CHECK_EQUAL(g_shadow.set.bins[HAK_SLAB_BIN_EMPTY], is_kept ? slabs[0] : HAK_UNIT_NONE);
        for (unsigned unit = 0; unit < g_shadow.size_class->units; unit++)
            CHECK_EQUAL(hak_pagemap_tag(slabs[1] + unit), HAK_KIND_SLAB_FREED);
        hak_slab_set_trim(&g_shadow.set);
        CHECK_EQUAL(hak_pool_stats().free, before + 2 * bytes);
        CHECK_EQUAL(hak_pagemap_tag(slabs[0]), HAK_KIND_SLAB_FREED);
        hak_slab_set_trim(&g_shadow.set); /* nothing to do */
        CHECK_EQUAL(hak_pool_stats().free, before + 2 * bytes);
    }
}

/* ---- misuse ---- */

static void expect_misuse(const void *p, enum hak_misuse misuse) {
    void *block = (void *)(uintptr_t)p;
    size_t done = SIZE_MAX;
    CHECK_EQUAL(hak_slab_examine(p, g_shadow.class_index), misuse);
    CHECK_EQUAL(hak_slab_set_put(&g_shadow.set, g_shadow.class_index, &block, 1, &done), misuse);
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
    CHECK_EQUAL(hak_slab_set_put(&g_shadow.set, class_index, &freed, 1, &done), HAK_MISUSE_NONE);
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
    CHECK_EQUAL(hak_slab_set_put(&g_shadow.set, class_index, batch, count, &done),
                HAK_MISUSE_DOUBLE_FREE);
    CHECK_EQUAL(done, before);
    shadow_compare();
    CHECK_EQUAL(hak_slab_examine(batch[0], class_index), HAK_MISUSE_DOUBLE_FREE);
    CHECK_EQUAL(hak_slab_examine(batch[before + 1], class_index), HAK_MISUSE_NONE);

    while (g_shadow.count > 0)
        put(g_shadow.count);
    shadow_compare();
    hak_slab_set_trim(&g_shadow.set);
}

static void test_misuse(void **state) {
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++)
        misuse_class(class_index);
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
    while (g_shadow.count > 0)
        put(g_shadow.count < BATCH_MAX ? g_shadow.count : BATCH_MAX);
    hak_slab_set_trim(&g_shadow.set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_random_long),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_preference),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_second_empty_leaves),
        cmocka_unit_test(test_first_block_varies),
    };
    harness_start();
    hak_vm_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
