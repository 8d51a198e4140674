/* test/unit/ace/test_ace.c — the engine: what it keeps, tries, and takes back. SPDX-License-Identifier: MIT */

/*
 * Goal: every mode gives every class capacities that heaps can follow (2^k - 1, start to limit by
 * doubling), bounded in bytes; checks leave no magazine at all. An experiment that helps is kept, another
 * is reverted and its class rests; each has one receipt that says what happened; off and frozen never move.
 * Method: the tables that hak_ace_init() writes, class by class; epochs ended by hand, with a time of the
 * test's own, and pressure made by real refills of a real heap.
 */

#include "ace/ace.h"
#include "arena/pool.h"
#include "base/bits.h"
#include "heap/heap.h"
#include "stepping.h"
#include "unit/harness.h"
#include "vm/group.h"
#include "vm/vm.h"

enum {
    START = 7,              /* slots: with the sentinel, one cache line */
    LEAST = 3,              /* slots of the largest blocks that have magazines from the beginning */
    SMALL = 64,             /* bytes: up to here the number of blocks is the bound */
    BYTES_MAX = 128 * 1024, /* no magazine of larger blocks holds more at first */
    BYTES_LIMIT = 512 * 1024,
    SLOTS_LIMIT = 4095,
    SMALL_BATCH = 1000, /* blocks: a batch that a magazine of small ones holds */
    CLASS = 6,
    EPOCH_MS = 500,
    EVENTS = 1000,
    REST = 64, /* epochs after a decision that did not help */
    RING = 64  /* receipts that are kept */
};

/* ---- the tables ---- */

static bool has_first(unsigned class_index) {
    return hak_size_classes[class_index].size <= HAK_UNIT_SIZE;
}

static void run_mode(enum hak_ace_mode mode) {
    hak_ace_init(mode, false);
    CHECK_EQUAL(hak_heap_policy.capacity_start[0], 0);
    CHECK_EQUAL(hak_heap_policy.capacity_max[0], 0);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        unsigned start = hak_heap_policy.capacity_start[class_index];
        unsigned max = hak_heap_policy.capacity_max[class_index];
        CHECK(hak_is_power_of_two(start + 1));
        CHECK(hak_is_power_of_two(max + 1));
        if (!has_first(class_index)) { /* magazines only under pressure, and then small ones */
            CHECK_EQUAL(start, 1);
            CHECK_EQUAL(max, mode == HAK_ACE_FROZEN ? hak_min(max, 1) : 0);
            continue;
        }
        CHECK(start >= LEAST);
        CHECK(start <= max);
        if (mode == HAK_ACE_ON)
            CHECK_EQUAL(start, hak_min(START, max));
        else
            CHECK_EQUAL(start, max);
        if (mode == HAK_ACE_FROZEN)
            CHECK(max <= START);
    }
}

static void test_modes(void **state) {
    run_mode(HAK_ACE_ON);
    run_mode(HAK_ACE_OFF);
    run_mode(HAK_ACE_FROZEN);
    run_mode(HAK_ACE_ON); /* nothing is left of the mode before */
}

static void test_bounds(void **state) {
    unsigned last = UINT16_MAX;
    hak_ace_init(HAK_ACE_ON, false);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        size_t size = hak_size_classes[class_index].size;
        unsigned max = hak_heap_policy.capacity_max[class_index];
        unsigned limit = hak_ace_capacity_limit(class_index);
        if (size <= SMALL)
            CHECK(max >= SMALL_BATCH);
        else
            CHECK(max <= LEAST || max * size <= BYTES_MAX);
        CHECK(max <= last); /* larger blocks, never more of them */
        CHECK(max <= limit);
        CHECK(limit <= SLOTS_LIMIT);
        CHECK(size <= SMALL || limit <= LEAST || limit * size <= BYTES_LIMIT);
        CHECK(hak_is_power_of_two(limit + 1u));
        last = max;
    }
    CHECK(last > 0); /* the largest have magazines too */
}

/* off has the limits of on at once; frozen its beginnings for ever. */
static void test_modes_agree(void **state) {
    struct hak_heap_policy on;
    hak_ace_init(HAK_ACE_ON, false);
    on = hak_heap_policy;
    hak_ace_init(HAK_ACE_OFF, false);
    CHECK(memcmp(hak_heap_policy.capacity_max, on.capacity_max, sizeof on.capacity_max) == 0);
    hak_ace_init(HAK_ACE_FROZEN, false);
    CHECK(memcmp(hak_heap_policy.capacity_start, on.capacity_start, sizeof on.capacity_start) == 0);
}

static void test_checks(void **state) {
    for (int mode = HAK_ACE_OFF; mode <= HAK_ACE_FROZEN; mode++) {
        hak_ace_init((enum hak_ace_mode)mode, true);
        CHECK(hak_heap_policy.is_exact);
        CHECK(
            harness_is_zero(hak_heap_policy.capacity_start, sizeof hak_heap_policy.capacity_start));
        CHECK(harness_is_zero(hak_heap_policy.capacity_max, sizeof hak_heap_policy.capacity_max));
    }
}

/* huge=on: from the first unit on; any other word leaves what was. */
static void all_huge(void *argument) {
    size_t from = hak_pool_policy.huge_from;
    CHECK(from > 0);
    for (uint32_t huge = HAK_HUGE_OFF; huge <= HAK_HUGE_ON; huge++) {
        hak_options.huge = huge;
        hak_ace_init(HAK_ACE_ON, false);
        CHECK_EQUAL(hak_pool_policy.huge_from, huge == HAK_HUGE_ON ? 0 : from);
    }
}

static void test_all_huge(void **state) {
    harness_expect_well(all_huge, NULL);
}

/* A heap reaches exactly the limit, by doubling, in every class. */
static void follow(void *argument) {
    hak_ace_init(*(enum hak_ace_mode *)argument, false);
    hak_vm_init();
    CHECK_EQUAL(hak_heap_init(), 0);
    hak_heap_policy.budget_bytes = SIZE_MAX;
    struct hak_heap *heap = hak_heap_acquire();
    CHECK(heap != NULL);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        unsigned max = hak_heap_policy.capacity_max[class_index];
        unsigned expected = (unsigned)hak_min(hak_heap_policy.capacity_start[class_index], max);
        for (int refill = 0; refill < 14; refill++) {
            heap->activity[class_index] = 2; /* what grows has been busy in this epoch */
            CHECK(hak_heap_refill(heap, class_index) != NULL);
            CHECK_EQUAL(heap->capacity[class_index], expected);
            while (hak_magazine_pop(class_index * 16)) {
            }
            if (expected < max)
                expected = expected * 2 + 1;
        }
        CHECK_EQUAL(heap->capacity[class_index], max);
    }
}

static void test_heaps_follow(void **state) {
    enum hak_ace_mode modes[] = {HAK_ACE_OFF, HAK_ACE_ON, HAK_ACE_FROZEN};
    for (int i = 0; i < 3; i++)
        harness_expect_well(follow, &modes[i]);
}

/* ---- epochs ---- */

static struct {
    struct hak_heap *heap;
    uint64_t now_ms;
    uint32_t epoch;
    void *blocks[SLOTS_LIMIT + 1];
} g_run;

static void run_start(enum hak_ace_mode mode, bool checks) {
    hak_ace_init(mode, checks);
    hak_vm_init();
    CHECK_EQUAL(hak_heap_init(), 0);
    g_run.heap = hak_heap_acquire();
    g_run.now_ms = 10000;
    CHECK(g_run.heap != NULL);
}

/* So many refills, whatever the capacity; the blocks go home by the back door. */
static void press(unsigned class_index, unsigned events) HAK_NO_LOCK_ANALYSIS {
    for (unsigned i = 0; i < events; i++) {
        size_t count = 0;
        g_run.blocks[count++] = hak_heap_refill(g_run.heap, class_index);
        CHECK(g_run.blocks[0] != NULL);
        while ((g_run.blocks[count] = hak_magazine_pop(class_index * 16)) != NULL)
            count++;
        hak_lock_acquire(&g_run.heap->lock);
        hak_heap_put(g_run.heap, class_index, g_run.blocks, count, "free");
        hak_lock_release(&g_run.heap->lock);
    }
}

static void end_epoch_after(uint64_t ms) {
    g_run.now_ms += ms;
    hak_heap_note_epoch(g_run.heap, ++g_run.epoch);
    hak_ace_epoch(g_run.now_ms);
}

static void epoch_with(unsigned events) {
    press(CLASS, events);
    end_epoch_after(EPOCH_MS);
}

/* The newest receipt of that kind, of any kind: HAK_ACE_KIND_COUNT. */
static struct hak_receipt newest(enum hak_ace_kind kind) {
    struct hak_receipt receipt;
    for (uint64_t below = UINT64_MAX; hak_ace_receipt_below(below, &receipt);
         below = receipt.number) {
        if (kind == HAK_ACE_KIND_COUNT || receipt.kind == kind)
            return receipt;
    }
    return (struct hak_receipt){0};
}

static unsigned limit_now(void) {
    return hak_atomic_load_relaxed(&hak_heap_policy.capacity_max[CLASS]);
}

static void check_pending(const struct hak_receipt *receipt, unsigned before, unsigned evidence) {
    CHECK_EQUAL(receipt->kind, HAK_ACE_CAPACITY);
    CHECK_EQUAL(receipt->verdict, HAK_ACE_PENDING);
    CHECK_EQUAL(receipt->class_size, hak_size_classes[CLASS].size);
    CHECK_EQUAL(receipt->before, before);
    CHECK_EQUAL(receipt->after, before * 2 + 1);
    CHECK_EQUAL(receipt->evidence, evidence);
    CHECK_EQUAL(receipt->predicted, evidence / 2);
    CHECK_EQUAL(receipt->observed, 0);
    CHECK_EQUAL(receipt->time_ms, g_run.now_ms);
}

/* The same pressure with twice the room: the old value comes back, and the class rests. */
static void revert(void *argument) {
    run_start(HAK_ACE_ON, false);
    unsigned before = limit_now();
    epoch_with(EVENTS);
    CHECK_EQUAL(newest(HAK_ACE_CAPACITY).number, 0); /* how long the first took is not known */
    epoch_with(EVENTS);
    struct hak_receipt receipt = newest(HAK_ACE_CAPACITY);
    check_pending(&receipt, before, EVENTS);
    CHECK_EQUAL(limit_now(), before * 2 + 1);
    uint64_t number = receipt.number;
    epoch_with(EVENTS); /* the epoch of the change itself proves nothing */
    CHECK_EQUAL(newest(HAK_ACE_CAPACITY).verdict, HAK_ACE_PENDING);
    epoch_with(EVENTS);
    receipt = newest(HAK_ACE_CAPACITY);
    CHECK_EQUAL(receipt.number, number);
    CHECK_EQUAL(receipt.verdict, HAK_ACE_REVERTED);
    CHECK_EQUAL(receipt.observed, EVENTS);
    CHECK_EQUAL(limit_now(), before);
    for (int i = 0; i < REST; i++) {
        epoch_with(EVENTS);
        CHECK_EQUAL(newest(HAK_ACE_CAPACITY).number, number);
        CHECK_EQUAL(limit_now(), before);
        CHECK(g_run.heap->capacity[CLASS] <= before); /* heaps follow */
    }
    epoch_with(EVENTS); /* it may be tried again */
    CHECK(newest(HAK_ACE_CAPACITY).number > number);
    CHECK_EQUAL(limit_now(), before * 2 + 1);
}

/* Clearly fewer events, and it stays; so up to the limit and no further. */
static void keep(void *argument) {
    run_start(HAK_ACE_ON, false);
    epoch_with(0);
    unsigned limit = hak_ace_capacity_limit(CLASS);
    while (limit_now() < limit) {
        unsigned before = limit_now();
        epoch_with(EVENTS);
        struct hak_receipt receipt = newest(HAK_ACE_CAPACITY);
        check_pending(&receipt, before, EVENTS);
        epoch_with(EVENTS);
        epoch_with(EVENTS * 3 / 4);
        receipt = newest(HAK_ACE_CAPACITY);
        CHECK_EQUAL(receipt.verdict, HAK_ACE_KEPT);
        CHECK_EQUAL(receipt.observed, EVENTS * 3 / 4);
        CHECK_EQUAL(limit_now(), before * 2 + 1);
    }
    uint64_t number = newest(HAK_ACE_CAPACITY).number;
    for (int i = 0; i < 4; i++)
        epoch_with(EVENTS);
    CHECK_EQUAL(limit_now(), limit);
    CHECK_EQUAL(newest(HAK_ACE_CAPACITY).number, number);
}

/* Few events are not worth a decision; an epoch that lasts longer has more of them. */
static void compare_rates(void *argument) {
    run_start(HAK_ACE_ON, false);
    epoch_with(0);
    for (int i = 0; i < 10; i++)
        epoch_with(200);
    press(CLASS, EVENTS);
    end_epoch_after(EPOCH_MS * 10);
    CHECK_EQUAL(newest(HAK_ACE_CAPACITY).number, 0);
    press(CLASS, EVENTS);
    end_epoch_after(EPOCH_MS * 2);
    CHECK_EQUAL(newest(HAK_ACE_CAPACITY).evidence, EVENTS / 2);
    epoch_with(0);
    press(CLASS, EVENTS);
    end_epoch_after(EPOCH_MS * 4);
    CHECK_EQUAL(newest(HAK_ACE_CAPACITY).observed, EVENTS / 4);
    CHECK_EQUAL(newest(HAK_ACE_CAPACITY).verdict, HAK_ACE_KEPT);
    press(CLASS, EVENTS);
    end_epoch_after(0); /* a clock that stood still */
}

static void test_experiments(void **state) {
    harness_expect_well(revert, NULL);
    harness_expect_well(keep, NULL);
    harness_expect_well(compare_rates, NULL);
}

/* ---- receipts ---- */

/* All receipts there are: newest first, each number once, none missing; returns how many. */
static unsigned count_receipts(uint64_t *highest) {
    struct hak_receipt receipt;
    unsigned count = 0;
    uint64_t last = 0;
    for (uint64_t below = UINT64_MAX; hak_ace_receipt_below(below, &receipt);
         below = receipt.number) {
        CHECK(receipt.number < below);
        CHECK(count == 0 || receipt.number == last - 1);
        CHECK(receipt.kind < HAK_ACE_KIND_COUNT);
        CHECK(receipt.verdict <= HAK_ACE_REVERTED);
        if (count++ == 0)
            *highest = receipt.number;
        last = receipt.number;
    }
    return count;
}

static void overflow_ring(void *argument) {
    uint64_t highest = 0;
    run_start(HAK_ACE_ON, false);
    CHECK_EQUAL(count_receipts(&highest), 0);
    for (int epoch = 0; epoch < 13;
         epoch++) { /* the first counts for nothing; then tried, tried, kept */
        for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
            if (has_first(class_index) && hak_size_classes[class_index].size >= 4096)
                press(class_index, epoch % 3 == 0 ? 260 : 600);
        }
        end_epoch_after(EPOCH_MS);
        uint64_t before = highest;
        unsigned count = count_receipts(&highest);
        CHECK_EQUAL(count, hak_min(highest, RING));
        CHECK(highest >= before);
    }
    unsigned kept = 0;
    struct hak_receipt receipt;
    for (uint64_t below = UINT64_MAX; hak_ace_receipt_below(below, &receipt);
         below = receipt.number)
        kept += receipt.verdict == HAK_ACE_KEPT;
    CHECK_EQUAL(count_receipts(&highest), RING);
    CHECK(highest > RING + 10);
    CHECK(kept > 0);
}

static _Atomic bool g_is_over;

static void *read_receipts(void *argument) {
    while (!atomic_load_explicit(&g_is_over, memory_order_relaxed)) {
        struct hak_receipt receipt;
        uint64_t time_ms = UINT64_MAX;
        for (uint64_t below = UINT64_MAX; hak_ace_receipt_below(below, &receipt);
             below = receipt.number) {
            /* Never half of one and half of another, nor a later one under the number of an earlier one. */
            CHECK(receipt.time_ms <= time_ms);
            time_ms = receipt.time_ms;
            CHECK_EQUAL(receipt.predicted, receipt.evidence / 2);
            CHECK(receipt.after == receipt.before * 2 + 1 || receipt.after == receipt.before + 1 ||
                  receipt.after == receipt.before * 2);
            CHECK(receipt.verdict != HAK_ACE_PENDING || receipt.observed == 0);
        }
    }
    return NULL;
}

static void read_while_written(void *argument) {
    run_start(HAK_ACE_ON, false);
    pthread_t reader = harness_thread(read_receipts, NULL);
    for (int epoch = 0; epoch < 400 / HARNESS_SLOWNESS; epoch++) {
        for (unsigned class_index = 50; class_index < 70; class_index++)
            press(class_index, 260 + (unsigned)(epoch % 3) * 20);
        end_epoch_after(EPOCH_MS);
    }
    atomic_store(&g_is_over, true);
    harness_join(reader);
}

#if STEPPING_CAN
static void *end_epoch_in_steps(void *argument) {
    stepping_begin();
    hak_ace_epoch(g_run.now_ms);
    stepping_end();
    return NULL;
}

static bool are_equal(const struct hak_receipt *a, const struct hak_receipt *b) {
    return a->number == b->number && a->verdict == b->verdict && a->observed == b->observed;
}

/* At each instruction of the epoch that judges it, a receipt is what it was, or what it will be, or not there. */
static void read_at_each_step(void *argument) {
    enum { STEPS_MAX = 100000, SEEN_MAX = 8 };
    struct hak_receipt seen[SEEN_MAX];
    unsigned seen_count = 0;
    run_start(HAK_ACE_ON, false);
    for (int i = 0; i < 3; i++)
        epoch_with(EVENTS);
    const struct hak_receipt before = newest(HAK_ACE_CAPACITY);
    CHECK_EQUAL(before.verdict, HAK_ACE_PENDING);
    press(CLASS, EVENTS);
    g_run.now_ms += EPOCH_MS;
    hak_heap_note_epoch(g_run.heap, ++g_run.epoch);
    CHECK(stepping_open(1));
    pthread_t thread = harness_thread(end_epoch_in_steps, NULL);
    for (unsigned steps = 0; stepping_next(); stepping_go()) {
        struct hak_receipt now = newest(HAK_ACE_CAPACITY);
        bool is_known = now.number == 0 || are_equal(&now, &before);
        for (unsigned i = 0; i < seen_count; i++)
            is_known |= are_equal(&now, &seen[i]);
        if (!is_known && seen_count < SEEN_MAX)
            seen[seen_count++] = now;
        CHECK(++steps < STEPS_MAX);
    }
    harness_join(thread);
    stepping_close();
    const struct hak_receipt after = newest(HAK_ACE_CAPACITY);
    CHECK_EQUAL(after.verdict, HAK_ACE_REVERTED);
    CHECK_EQUAL(seen_count, 1);
    CHECK(are_equal(&seen[0], &after));
}
#endif

static void test_receipts(void **state) {
    harness_expect_well(overflow_ring, NULL);
    harness_expect_well(read_while_written, NULL);
#if STEPPING_CAN
    harness_expect_well(read_at_each_step, NULL);
#endif
}

/* ---- what never moves ---- */

static void stay(void *argument) {
    const bool *is = argument; /* frozen, checks */
    run_start(is[0] ? HAK_ACE_FROZEN : HAK_ACE_OFF, is[1]);
    char before[8192];
    char after[8192];
    size_t size = hak_ace_write_policy(before, sizeof before);
    for (int i = 0; i < 10; i++)
        epoch_with(EVENTS);
    CHECK_EQUAL(hak_ace_write_policy(after, sizeof after), size);
    CHECK(memcmp(before, after, size) == 0);
    CHECK_EQUAL(newest(HAK_ACE_KIND_COUNT).number, 0);
}

static void test_other_modes_stay(void **state) {
    for (int i = 0; i < 4; i++) {
        bool is[2] = {i & 1, i & 2};
        harness_expect_well(stay, is);
    }
}

/* ---- spares and the delay ---- */

/* Slabs of the class come and go: each press of a full slab makes one and gives it back. */
static void churn_slabs(unsigned class_index, unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        unsigned blocks = hak_size_classes[class_index].blocks + 1u;
        void *taken[32];
        CHECK(blocks <= 32);
        for (unsigned k = 0; k < blocks; k++) {
            taken[k] = hak_magazine_pop(class_index * 16);
            if (taken[k] == NULL)
                taken[k] = hak_heap_refill(g_run.heap, class_index);
        }
        for (unsigned k = 0; k < blocks; k++) {
            if (!hak_magazine_push(taken[k]))
                hak_heap_flush(g_run.heap, class_index, taken[k], "free");
        }
        hak_heap_flush_above(g_run.heap, 0);
    }
}

static void spare(void *argument) {
    unsigned class_index = 1;
    run_start(HAK_ACE_ON, false);
    while (hak_size_classes[class_index].blocks > 20)
        class_index++;
    unsigned before = hak_slab_policy.spares[class_index];
    CHECK(before < hak_ace_spares_limit(class_index));
    end_epoch_after(EPOCH_MS);
    churn_slabs(class_index, 100);
    end_epoch_after(EPOCH_MS);
    struct hak_receipt receipt = newest(HAK_ACE_SPARES);
    CHECK_EQUAL(receipt.class_size, hak_size_classes[class_index].size);
    CHECK_EQUAL(receipt.before, before);
    CHECK_EQUAL(receipt.after, before + 1);
    CHECK(receipt.evidence >= 100);
    CHECK_EQUAL(hak_slab_policy.spares[class_index], before + 1);
    for (int i = 0; i < 2; i++) {
        churn_slabs(class_index, 200); /* worse */
        end_epoch_after(EPOCH_MS);
    }
    CHECK_EQUAL(newest(HAK_ACE_SPARES).verdict, HAK_ACE_REVERTED);
    CHECK_EQUAL(hak_slab_policy.spares[class_index], before);
}

/* Memory goes back each epoch and is wanted again at once: it is kept longer. */
static void delay(void *argument) {
    run_start(HAK_ACE_ON, false);
    end_epoch_after(EPOCH_MS);
    CHECK_EQUAL(hak_pool_policy.delay, 1);
    enum { UNITS = 512 };
    hak_unit run[UNITS / 16];
    unsigned highest = 1;
    for (int epoch = 0; epoch < 12; epoch++) {
        for (int i = 0; i < UNITS / 16; i++)
            run[i] = hak_pool_take(16, 1, HAK_LANE_PLAIN).first;
        for (int i = 0; i < UNITS / 16; i++)
            hak_pool_put(run[i], 16);
        CHECK(hak_pool_purge(HAK_CAUSE_TRIM) > 0);
        end_epoch_after(EPOCH_MS);
        highest = (unsigned)hak_max(highest, hak_pool_policy.delay);
        CHECK(hak_pool_policy.delay <= HAK_ACE_DELAY_MAX);
    }
    CHECK(highest > 1);
    struct hak_receipt receipt = newest(HAK_ACE_DELAY);
    CHECK_EQUAL(receipt.after, receipt.before * 2);
    CHECK_EQUAL(receipt.verdict,
                HAK_ACE_REVERTED); /* this test wants it again whatever the delay */
    CHECK_EQUAL(hak_pool_policy.delay, 1);
}

static void test_others(void **state) {
    harness_expect_well(spare, NULL);
    harness_expect_well(delay, NULL);
}

/* ---- the budget ---- */

static void budget(void *argument) {
    const size_t least = (size_t)32 << 20;
    run_start(HAK_ACE_ON, false);
    CHECK_EQUAL(hak_heap_policy.budget_bytes, least);
    struct hak_pool_run run = hak_pool_take(4096, 1, HAK_LANE_PLAIN); /* 256 MiB in use */
    CHECK(run.first != HAK_UNIT_NONE);
    end_epoch_after(EPOCH_MS);
    size_t with_share = least + hak_pool_used_units() * HAK_UNIT_SIZE / 32;
    size_t allowed = hak_vm_group_limit() / 16; /* of the group that runs this test */
    CHECK_EQUAL(hak_heap_policy.budget_bytes, hak_min(with_share, allowed));
    hak_pool_put(run.first, 4096);
    end_epoch_after(EPOCH_MS);
    CHECK(hak_heap_policy.budget_bytes >= hak_min(least, allowed));
    CHECK(hak_heap_policy.budget_bytes < with_share);
}

static void test_budget(void **state) {
    harness_expect_well(budget, NULL);
}

/* ---- saved policies ---- */

static void check_policy_is_sound(void) {
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        unsigned max = hak_heap_policy.capacity_max[class_index];
        unsigned start = hak_heap_policy.capacity_start[class_index];
        CHECK(hak_is_power_of_two(max + 1));
        CHECK(max <= hak_ace_capacity_limit(class_index));
        CHECK(max >= start || !has_first(class_index)); /* nobody is left without magazines */
        CHECK(hak_slab_policy.spares[class_index] <= hak_ace_spares_limit(class_index) ||
              hak_slab_policy.spares[class_index] <= 1);
    }
    CHECK(hak_pool_policy.delay >= 1);
    CHECK(hak_pool_policy.delay <= HAK_ACE_DELAY_MAX);
}

static void test_policy_round_trip(void **state) {
    static char text[16384];
    static char again[16384];
    hak_ace_init(HAK_ACE_ON, false);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        hak_heap_policy.capacity_max[class_index] = hak_ace_capacity_limit(class_index);
        hak_slab_policy.spares[class_index] = hak_ace_spares_limit(class_index);
    }
    hak_pool_policy.delay = 8;
    size_t size = hak_ace_write_policy(text, sizeof text);
    CHECK(size < 8192); /* what hakmem_policy_save() has room for */
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++)
        hak_slab_policy.spares[class_index] = 0;
    hak_pool_policy.delay = 1;
    hak_ace_init(HAK_ACE_ON, false);
    hak_ace_read_policy(text, size);
    CHECK_EQUAL(hak_ace_write_policy(again, sizeof again), size);
    CHECK(memcmp(text, again, size) == 0);
    CHECK_EQUAL(hak_pool_policy.delay, 8);
    for (size_t cut = 0; cut < size; cut += 7) { /* half a file is half a policy */
        hak_ace_read_policy(text, cut);
        check_policy_is_sound();
        CHECK(hak_ace_write_policy(again, cut) <= cut);
    }
    hak_pool_policy.delay = 1;
}

/* A policy saved where there are no magazines does not take them away elsewhere. */
static void test_policy_of_checks(void **state) {
    static char text[8192];
    hak_ace_init(HAK_ACE_ON, true);
    size_t size = hak_ace_write_policy(text, sizeof text);
    hak_ace_init(HAK_ACE_ON, false);
    hak_ace_read_policy(text, size);
    check_policy_is_sound();
    hak_ace_init(HAK_ACE_ON, true); /* nor does any give them to a process that checks */
    hak_ace_read_policy("capacity 64 2047\n", 17);
    CHECK_EQUAL(hak_heap_policy.capacity_start[hak_size_class_of(64)], 0);
}

static void test_policy_lines(void **state) {
    static const struct {
        const char *text;
        unsigned capacity; /* of 64 bytes */
    } cases[] = {
        {"capacity 64 4095\n", 4095},
        {"capacity 64 8191\n", 0},
        {"capacity 64 1000\n", 0}, /* no 2^k - 1 */
        {"capacity 64 3\n", 0},    /* below the first */
        {"capacity 64 0\n", 0},
        {"capacity 64 18446744073709551615\n", 0},
        {"capacity 64 4294967807\n", 0}, /* 2^32 + 511 */
        {"capacity 64 99999999999999999999999999\n", 0},
        {"capacity 64 -1\n", 0},
        {"capacity  64   511", 511},
        {"Capacity 64 511\n", 0},
        {"capacityx 64 511\n", 0},
        {"capacity 0 511\n", 0},
        {"capacity 262145 1\n", 0},
        {"capacity\n64 511\n", 0},
        {"\n\n  \ncapacity 64 511 and more\n", 511},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hak_ace_init(HAK_ACE_ON, false);
        unsigned before = hak_heap_policy.capacity_max[hak_size_class_of(64)];
        hak_ace_read_policy(cases[i].text, strlen(cases[i].text));
        unsigned after = hak_heap_policy.capacity_max[hak_size_class_of(64)];
        CHECK_EQUAL(after, cases[i].capacity ? cases[i].capacity : before);
        check_policy_is_sound();
    }
    hak_ace_read_policy("capacity 65536 4095\n", 20); /* 256 MiB in a magazine */
    check_policy_is_sound();
}

/* Whatever stands in the file: nothing breaks, and the policy stays within its limits. */
static void test_policy_hostile(void **state) {
    static const char *const pieces[] = {
        "capacity", "spares", "delay",      " ",      "\n", "0",  "1",  "3",    "7",
        "255",      "65536",  "4294967295", "hakmem", "-",  "\t", "64", "1024", "262144"};
    enum { PIECES = sizeof pieces / sizeof *pieces };
    for (int round = 0; round < 20000 / HARNESS_SLOWNESS; round++) {
        char text[300];
        size_t size = 0;
        bool is_words = round % 2;
        hak_ace_init(HAK_ACE_ON, false);
        while (size < sizeof text - 20) {
            if (is_words) {
                const char *piece = pieces[harness_below(PIECES)];
                memcpy(text + size, piece, strlen(piece));
                size += strlen(piece);
            } else {
                text[size++] = (char)harness_below(256);
            }
        }
        char *exact = malloc(size); /* its end is the memory's */
        memcpy(exact, text, size);
        hak_ace_read_policy(exact, harness_below(size + 1));
        free(exact);
        check_policy_is_sound();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_modes),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_modes_agree),
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_all_huge),
        cmocka_unit_test(test_heaps_follow),
        cmocka_unit_test(test_experiments),
        cmocka_unit_test(test_receipts),
        cmocka_unit_test(test_other_modes_stay),
        cmocka_unit_test(test_others),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_policy_round_trip),
        cmocka_unit_test(test_policy_of_checks),
        cmocka_unit_test(test_policy_lines),
        cmocka_unit_test(test_policy_hostile),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
