/* src/ace/ace.c — the adaptive cache engine: decides what is kept. SPDX-License-Identifier: MIT */

/*
 * Reads counters, writes policies; the layers below know the policies only.
 *
 *   ace=on      capacities start at one cache line of slots, may grow to the class's limit, and the limit
 *               moves with pressure; spares and the delay of giving memory back as well
 *   ace=off     the first limit at once, and nothing moves
 *   ace=frozen  the first size for ever
 *
 * Once an epoch each class is looked at. A decision is an experiment on one value: the events of the next
 * whole epoch are compared with those that led to it; unless they became clearly fewer, the old value
 * comes back and the class rests for a while. Each decision is a receipt.
 *
 * One budget bounds all magazines: 32 MiB and 1/32 of what is in use, and at most 1/16 of the memory limit
 * of the process's control group. It is what 10,000 threads share.
 */

#include "ace/ace.h"

#include <string.h>

#include "arena/pool.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "heap/heap.h"
#include "large/big.h"
#include "slab/size_class.h"
#include "slab/slab.h"
#include "vm/group.h"

enum {
    ACE_SLOTS_START = 8,       /* slots with the sentinel: one cache line */
    ACE_SLOTS_MAX = 2048,      /* at first, for blocks up to ACE_SMALL: batches of a thousand */
    ACE_SLOTS_HARD_MAX = 4096, /* whatever the pressure */
    ACE_SMALL = 64,            /* bytes */
    ACE_BYTES_MAX = 64 * 1024, /* bytes of blocks in a magazine of larger ones, at first */
    ACE_BYTES_HARD_MAX = 512 * 1024,
    ACE_SLOTS_MIN = 4,
    ACE_SPARES_HARD_MAX = 8,
    ACE_SPARE_BYTES_MAX = 2 << 20, /* of one heap and class */
    ACE_EPOCH_MS = 500,            /* what events are counted per */
    ACE_EVENTS_MIN = 256,          /* per epoch: fewer are not worth a decision */
    ACE_CREATED_MIN = 64,          /* slabs made per epoch */
    ACE_REGRET_MIN = 256,          /* units given back and wanted again per epoch: 16 MiB */
    ACE_REST_EPOCHS = 64,          /* after a decision that did not help */
    ACE_RECEIPTS = 64
};

#define ACE_BUDGET_BYTES ((size_t)32 << 20)
#define ACE_BUDGET_SHARE 32 /* and 1/32 of the bytes in use */
#define ACE_BIG_CACHE_BYTES ((size_t)1 << 30)
#define ACE_LIMIT_SHARE 16                /* and at most 1/16 of the limit of the process's group */
#define ACE_LIMIT_FROM ((size_t)16 << 20) /* bytes in use */

const char *const hak_ace_kind_words[HAK_ACE_KIND_COUNT] = {
#define HAK_ACE_KIND(name, word, meaning) word,
#include "ace/kinds.def"
#undef HAK_ACE_KIND
};

/* An experiment of one kind on one class. */
struct experiment {
    struct hak_receipt receipt; /* number 0: none is under way */
    uint8_t age;                /* epochs; the first is cut in two by the decision */
    uint8_t rest;               /* epochs to leave it alone */
};

/* A receipt in the ring. `number` is 0 while it is being written. */
struct receipt_slot {
    _Atomic uint64_t number;
    _Atomic uint64_t words[(sizeof(struct hak_receipt) - sizeof(uint64_t)) / sizeof(uint64_t)];
};

/* The thread in hak_ace_epoch() only, unless it says otherwise. */
static struct {
    enum hak_ace_mode mode; /* fixed by start-up */
    uint64_t receipt_count;
    uint64_t now_ms;                        /* of this epoch's end; 0: none has ended */
    uint64_t elapsed_ms;                    /* in this epoch */
    struct receipt_slot ring[ACE_RECEIPTS]; /* [A] read by any thread */
    struct experiment capacity[HAK_CLASS_COUNT];
    struct experiment spares[HAK_CLASS_COUNT];
    struct experiment delay;
    unsigned calm_epochs; /* without regret */
} g_ace;

/* ---- limits ---- */

static uint16_t ace_slots(size_t block_size, size_t slots_max, size_t bytes_max) {
    size_t slots = slots_max;
    if (block_size > ACE_SMALL) {
        slots = hak_min(hak_max(bytes_max / block_size, ACE_SLOTS_MIN), slots_max);
        slots = (size_t)1 << hak_highest_bit(slots);
    }
    return (uint16_t)(slots - 1); /* one word of the storage is the sentinel */
}

uint16_t hak_ace_capacity_limit(unsigned class_index) {
    return ace_slots(hak_size_classes[class_index].size, ACE_SLOTS_HARD_MAX, ACE_BYTES_HARD_MAX);
}

uint8_t hak_ace_spares_limit(unsigned class_index) {
    size_t slab_bytes = hak_size_classes[class_index].units * HAK_UNIT_SIZE;
    return (uint8_t)hak_min(ACE_SPARE_BYTES_MAX / slab_bytes, ACE_SPARES_HARD_MAX);
}

/* A small process keeps too little to look a limit up. */
static size_t ace_group_limit(size_t in_use) {
    return in_use < ACE_LIMIT_FROM ? SIZE_MAX : hak_vm_group_limit();
}

/* Near the group's limit nothing is kept longer than an epoch. */
static bool ace_is_pressed(size_t in_use) {
    return in_use > ace_group_limit(in_use) / 2;
}

static void ace_set_budget(void) {
    size_t in_use = hak_pool_used_units() * HAK_UNIT_SIZE;
    size_t budget = ACE_BUDGET_BYTES + in_use / ACE_BUDGET_SHARE;
    budget = hak_min(budget, ace_group_limit(in_use) / ACE_LIMIT_SHARE);
    hak_atomic_store_relaxed(&hak_heap_policy.budget_bytes, budget);
    hak_atomic_store_relaxed(
        &hak_big_policy.cache_bytes_max,
        hak_min(ACE_BIG_CACHE_BYTES, ace_group_limit(in_use) / ACE_LIMIT_SHARE));
}

void hak_ace_init(enum hak_ace_mode mode, bool checks) {
    g_ace.mode = mode;
    hak_heap_policy.is_exact = checks;
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        uint16_t max = ace_slots(hak_size_classes[class_index].size, ACE_SLOTS_MAX, ACE_BYTES_MAX);
        uint16_t start = (uint16_t)hak_min(ACE_SLOTS_START - 1, max);
        if (mode == HAK_ACE_OFF)
            start = max;
        if (mode == HAK_ACE_FROZEN)
            max = start;
        hak_heap_policy.capacity_start[class_index] = checks ? 0 : start;
        hak_atomic_store_relaxed(&hak_heap_policy.capacity_max[class_index], checks ? 0 : max);
    }
    if (hak_options.huge == HAK_HUGE_ON)
        hak_atomic_store_relaxed(&hak_pool_policy.huge_from, 0);
    ace_set_budget();
}

/* ---- receipts ---- */

/* A receipt that is judged when its slot has been used again is not written any more. */
static void receipt_publish(const struct hak_receipt *receipt) {
    struct receipt_slot *out = &g_ace.ring[(receipt->number - 1) % ACE_RECEIPTS];
    if (hak_atomic_load_relaxed(&out->number) > receipt->number)
        return;
    uint64_t words[sizeof *receipt / sizeof(uint64_t)];
    memcpy(words, receipt, sizeof words);
    hak_atomic_store_relaxed(&out->number, 0);
    /* Release: a reader that saw a new word sees that the number is gone. Pairs with the fence in
     * receipt_read(). */
    atomic_thread_fence(memory_order_release);
    for (unsigned i = 1; i < sizeof words / sizeof words[0]; i++)
        hak_atomic_store_relaxed(&out->words[i - 1], words[i]);
    /* Release: the words before the number. Pairs with the acquire in receipt_read(). */
    hak_atomic_store_release(&out->number, words[0]);
}

static bool receipt_read(struct receipt_slot *slot, struct hak_receipt *out) {
    uint64_t words[sizeof *out / sizeof(uint64_t)];
    /* Acquire: pairs with the release in receipt_publish(). */
    words[0] = hak_atomic_load_acquire(&slot->number);
    for (unsigned i = 1; i < sizeof words / sizeof words[0]; i++)
        words[i] = hak_atomic_load_relaxed(&slot->words[i - 1]);
    /* Acquire: a number that is the same after the words was the same before them. */
    atomic_thread_fence(memory_order_acquire);
    memcpy(out, words, sizeof words);
    return words[0] != 0 && hak_atomic_load_relaxed(&slot->number) == words[0];
}

bool hak_ace_receipt_below(uint64_t below, struct hak_receipt *out) {
    struct hak_receipt receipt;
    out->number = 0;
    for (unsigned slot = 0; slot < ACE_RECEIPTS; slot++) {
        if (receipt_read(&g_ace.ring[slot], &receipt) && receipt.number < below &&
            receipt.number > out->number)
            *out = receipt;
    }
    return out->number != 0;
}

/* ---- experiments ---- */

static void experiment_begin(struct experiment *experiment, struct hak_receipt receipt) {
    receipt.number = ++g_ace.receipt_count;
    receipt.time_ms = g_ace.now_ms;
    receipt.predicted = receipt.evidence / 2;
    *experiment = (struct experiment){.receipt = receipt};
    receipt_publish(&experiment->receipt);
}

enum ace_step { ACE_FREE, ACE_BUSY, ACE_HELPED, ACE_FAILED };

/* Counts the epoch for an experiment. ACE_FREE: none is under way and one may begin. */
static enum ace_step experiment_step(struct experiment *experiment, uint32_t events) {
    struct hak_receipt *receipt = &experiment->receipt;
    if (receipt->number == 0) {
        bool is_free = experiment->rest == 0;
        if (!is_free)
            experiment->rest--;
        return is_free ? ACE_FREE : ACE_BUSY;
    }
    if (++experiment->age < 2)
        return ACE_BUSY;
    receipt->observed = events;
    /* Fewer by a quarter, half of what was hoped for. */
    bool has_helped = events <= receipt->evidence - receipt->evidence / 4;
    receipt->verdict = has_helped ? HAK_ACE_KEPT : HAK_ACE_REVERTED;
    receipt_publish(receipt);
    receipt->number = 0;
    experiment->rest = has_helped ? 0 : ACE_REST_EPOCHS;
    return has_helped ? ACE_HELPED : ACE_FAILED;
}

/* Epochs end when somebody looks at the clock: events are compared per time. */
static uint32_t ace_rate(uint64_t events) {
    return (uint32_t)hak_min(events * ACE_EPOCH_MS / hak_max(g_ace.elapsed_ms, 1), UINT32_MAX);
}

static void ace_judge_capacity(unsigned class_index) {
    uint32_t events = ace_rate(hak_heap_take_pressure(class_index));
    struct experiment *experiment = &g_ace.capacity[class_index];
    enum ace_step step = experiment_step(experiment, events);
    if (step == ACE_FAILED)
        hak_atomic_store_relaxed(&hak_heap_policy.capacity_max[class_index],
                                 (uint16_t)experiment->receipt.before);
    uint16_t max = hak_atomic_load_relaxed(&hak_heap_policy.capacity_max[class_index]);
    if (step != ACE_FREE || events < ACE_EVENTS_MIN || max >= hak_ace_capacity_limit(class_index))
        return;
    uint16_t wanted = (uint16_t)(max * 2 + 1);
    hak_atomic_store_relaxed(&hak_heap_policy.capacity_max[class_index], wanted);
    experiment_begin(experiment,
                     (struct hak_receipt){.kind = HAK_ACE_CAPACITY,
                                          .class_size = hak_size_classes[class_index].size,
                                          .before = max,
                                          .after = wanted,
                                          .evidence = events});
}

static void ace_judge_spares(unsigned class_index) {
    uint32_t created = ace_rate(hak_slab_take_created(class_index));
    struct experiment *experiment = &g_ace.spares[class_index];
    enum ace_step step = experiment_step(experiment, created);
    if (step == ACE_FAILED)
        hak_atomic_store_relaxed(&hak_slab_policy.spares[class_index],
                                 (uint8_t)experiment->receipt.before);
    uint8_t spares = hak_atomic_load_relaxed(&hak_slab_policy.spares[class_index]);
    if (step != ACE_FREE || created < ACE_CREATED_MIN ||
        spares >= hak_ace_spares_limit(class_index))
        return;
    hak_atomic_store_relaxed(&hak_slab_policy.spares[class_index], (uint8_t)(spares + 1));
    experiment_begin(experiment,
                     (struct hak_receipt){.kind = HAK_ACE_SPARES,
                                          .class_size = hak_size_classes[class_index].size,
                                          .before = spares,
                                          .after = spares + 1u,
                                          .evidence = created});
}

static void ace_judge_delay(void) {
    struct hak_pool_regret regret = hak_pool_take_regret();
    uint32_t events = ace_rate(regret.wanted_again);
    uint32_t delay = hak_atomic_load_relaxed(&hak_pool_policy.delay);
    enum ace_step step = experiment_step(&g_ace.delay, events);
    if (step == ACE_FAILED)
        delay = g_ace.delay.receipt.before;
    g_ace.calm_epochs = events < ACE_REGRET_MIN ? g_ace.calm_epochs + 1 : 0;
    if (step == ACE_FREE && events >= ACE_REGRET_MIN && delay < HAK_ACE_DELAY_MAX) {
        experiment_begin(&g_ace.delay, (struct hak_receipt){.kind = HAK_ACE_DELAY,
                                                            .before = delay,
                                                            .after = delay * 2,
                                                            .evidence = events});
        delay *= 2;
    } else if (step == ACE_FREE && g_ace.calm_epochs > 4 * HAK_ACE_DELAY_MAX && delay > 1) {
        delay /= 2; /* memory that nobody wants again need not be kept long */
        g_ace.calm_epochs = 0;
    }
    bool is_pressed = ace_is_pressed(hak_pool_used_units() * HAK_UNIT_SIZE);
    hak_atomic_store_relaxed(&hak_pool_policy.delay, is_pressed ? 1 : delay);
}

void hak_ace_epoch(uint64_t now_ms) {
    ace_set_budget();
    if (g_ace.mode != HAK_ACE_ON || hak_heap_policy.is_exact)
        return;
    g_ace.elapsed_ms =
        g_ace.now_ms ? now_ms - g_ace.now_ms : UINT64_MAX; /* the first proves nothing */
    g_ace.now_ms = now_ms;
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        ace_judge_capacity(class_index);
        ace_judge_spares(class_index);
    }
    ace_judge_delay();
}
