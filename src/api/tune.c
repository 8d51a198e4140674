/* src/api/tune.c — prewarm, saved policies, statistics, receipts. SPDX-License-Identifier: MIT */

#include "api/tune.h"

#include <errno.h>
#include <hakmem/hakmem.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "ace/ace.h"
#include "api/block.h"
#include "api/export.h"
#include "api/start.h"
#include "arena/pool.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/text.h"
#include "large/span.h"
#include "observe/report.h"
#include "options/options.h"
#include "prim/prim.h"
#include "stats/ledger.h"
#include "vm/vm.h"

enum {
    TUNE_POLICY_SIZE = 8192, /* bytes: two lines a class */
    TUNE_PREWARM_BATCH = 64  /* blocks without a magazine held at a time */
};

/* ---- prewarm ---- */

/* Writes to every OS page of the block: that is what makes the kernel give memory. */
static void tune_touch(char *p, size_t size) {
    size_t page = hak_vm_page_size();
    for (size_t at = 0; at < size; at += page)
        *(volatile char *)(p + at) = 0;
    *(volatile char *)(p + size - 1) = 0; /* a block need not start with a page */
}

static size_t tune_prewarm_small(unsigned class_index, size_t count) {
    struct hak_heap *heap = hak_heap_acquire();
    if (heap == NULL)
        return 0;
    size_t held = hak_heap_prewarm(heap, class_index, count);
    void **top = heap->magazines.of_class[class_index].top;
    for (size_t i = 0; i < held; i++)
        tune_touch(top[-(ptrdiff_t)i], hak_size_classes[class_index].size);
    hak_heap_return(heap);
    return hak_min(held, count);
}

/* Blocks above Mid wait in the pool, or in the cache of Big mappings. */
static size_t tune_prewarm_large(size_t size, size_t count) {
    void *blocks[TUNE_PREWARM_BATCH];
    size_t made = 0;
    while (made < hak_min(count, TUNE_PREWARM_BATCH) &&
           (blocks[made] = hak_block_alloc(
                (struct hak_block_request){size, HAK_BLOCK_ALIGN, false})) != NULL) {
        tune_touch(blocks[made], size);
        made++;
    }
    for (size_t i = 0; i < made; i++)
        hak_block_free(blocks[i], HAK_SIZE_UNKNOWN, "free", false);
    if (size <= HAK_LARGE_MAX) /* no epoch gives them back */
        hak_atomic_add_relaxed(
            &hak_pool_policy.retain_units,
            made * (hak_align_up(size + HAK_BLOCK_TAIL, HAK_UNIT_SIZE) / HAK_UNIT_SIZE));
    return made;
}

HAK_PUBLIC size_t hakmem_prewarm(size_t size, size_t count) {
    if (size > PTRDIFF_MAX || count == 0 || !hak_start())
        return 0;
    size_t carried = hak_max(size + HAK_BLOCK_TAIL, 1);
    if (carried <= HAK_MID_MAX)
        return tune_prewarm_small(hak_size_class_of(carried), count);
    return tune_prewarm_large(size, count);
}

/* The number at *text, which is moved behind it and behind one character more. */
static size_t tune_number(const char **text) {
    size_t number = 0;
    while (**text >= '0' && **text <= '9')
        number = hak_min(number * 10 + (size_t)(*(*text)++ - '0'), HAK_TIB);
    if (**text)
        ++*text;
    return number;
}

/* ---- policies ---- */

HAK_PUBLIC int hakmem_policy_save(const char *path) {
    char text[TUNE_POLICY_SIZE];
    if (!hak_start())
        return ENOMEM;
    size_t size = hak_ace_write_policy(text, sizeof text);
    uint64_t start = hak_ledger_clock();
    int error = hak_prim_write_file(path, text, size);
    hak_ledger_add_file(HAK_CALL_WRITE, HAK_CAUSE_POLICY, size, error, start);
    return error;
}

static void tune_load_policy(const char *path) {
    char text[TUNE_POLICY_SIZE];
    size_t size = 0;
    uint64_t start = hak_ledger_clock();
    int error = hak_prim_read_file(path, text, sizeof text, &size);
    hak_ledger_add_file(HAK_CALL_READ, HAK_CAUSE_POLICY, size, error, start);
    if (error == 0) {
        hak_ace_read_policy(text, size);
        return;
    }
    struct hak_text warning = {.buffer = text, .capacity = sizeof text};
    hak_text_string(&warning, "hakmem: warning: HAKMEM_POLICY=");
    hak_text_string(&warning, path);
    hak_text_string(&warning, ": cannot be read\n");
    hak_text_flush(&warning);
}

void hak_tune_at_start(void) {
    if (hak_options.policy[0] && hak_options.ace != HAK_ACE_OFF)
        tune_load_policy(hak_options.policy);
    for (const char *text = hak_options.prewarm; *text;) {
        size_t size = tune_number(&text);
        size_t count = tune_number(&text);
        hakmem_prewarm(size, count);
    }
}

/* ---- statistics ---- */

HAK_PUBLIC int hakmem_stats_get(struct hakmem_stats *out, size_t size) {
    if (size < sizeof out->version)
        return EINVAL;
    if (!hak_start())
        return ENOMEM;
    struct hak_totals totals = hak_totals();
    struct hakmem_stats stats = {
        .version = HAKMEM_STATS_VERSION,
        .reserved = totals.reserved,
        .committed = totals.committed,
        .metadata = totals.metadata,
        .small_out = totals.small_out,
        .large_count = totals.large_count,
        .large_bytes = totals.large_bytes,
        .big_count = totals.big_count,
        .big_bytes = totals.big_bytes,
        .pool_free = totals.pool_free,
        .pool_given_back = totals.pool_given_back,
        .heap_count = totals.heap_count,
        .orphan_count = totals.orphan_count,
        .refills = totals.refills,
        .flushes = totals.flushes,
        .remote_frees = totals.remote_frees,
    };
    memcpy(out, &stats, hak_min(size, sizeof stats));
    return 0;
}

HAK_PUBLIC size_t hakmem_receipts(struct hakmem_receipt *out, size_t count) {
    static const char *const verdicts[] = {"pending", "kept", "reverted"};
    size_t found = 0;
    struct hak_receipt receipt;
    for (uint64_t below = UINT64_MAX; found < count && hak_ace_receipt_below(below, &receipt);
         below = receipt.number) {
        out[found++] = (struct hakmem_receipt){
            .number = receipt.number,
            .time_ms = receipt.time_ms,
            .kind = hak_ace_kind_words[receipt.kind],
            .verdict = verdicts[receipt.verdict],
            .class_size = receipt.class_size,
            .before = receipt.before,
            .after = receipt.after,
            .evidence = receipt.evidence,
            .predicted = receipt.predicted,
            .observed = receipt.observed,
        };
    }
    return found;
}
