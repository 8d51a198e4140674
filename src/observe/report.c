/* src/observe/report.c — what hakmem knows of itself, in words and numbers. SPDX-License-Identifier: MIT */

#include "observe/report.h"

#include "arena/meta.h"
#include "arena/pool.h"
#include "base/text.h"
#include "heap/heap.h"
#include "large/big.h"
#include "large/span.h"
#include "prim/prim.h"
#include "stats/ledger.h"

/* The whole report goes out in one write, so that processes that share stderr do not mix lines. */
enum { REPORT_BYTES_MAX = 20480 };

struct hak_totals hak_totals(void) {
    struct hak_pool_stats pool = hak_pool_stats();
    struct hak_heap_stats heaps = hak_heap_stats();
    struct hak_span_stats spans = hak_span_stats();
    struct hak_big_stats big = hak_big_stats();
    return (struct hak_totals){
        .reserved = pool.reserved,
        .committed = pool.committed + big.bytes + big.cached_bytes,
        .metadata = pool.metadata + hak_meta_bytes(),
        .small_out = heaps.bytes_out,
        .large_count = spans.count,
        .large_bytes = spans.bytes,
        .big_count = big.count,
        .big_bytes = big.bytes,
        .big_cached = big.cached_bytes,
        .pool_free = pool.free,
        .pool_given_back = pool.free_zeroed,
        .heap_count = heaps.heap_count,
        .orphan_count = heaps.orphan_count,
        .refills = heaps.refills,
        .flushes = heaps.flushes,
        .remote_frees = heaps.remote_frees,
    };
}

size_t hak_totals_in_use(const struct hak_totals *totals) {
    return totals->small_out + totals->large_bytes + totals->big_bytes;
}

size_t hak_totals_rest(const struct hak_totals *totals) {
    size_t in_use = hak_totals_in_use(totals);
    return totals->committed > in_use ? totals->committed - in_use : 0;
}

size_t hak_totals_trimmable(const struct hak_totals *totals) {
    return totals->pool_free - totals->pool_given_back + totals->big_cached;
}

static void report_line(struct hak_text *text, const char *name, uint64_t value) {
    hak_text_string(text, "hakmem: ");
    hak_text_string(text, name);
    hak_text_string(text, " ");
    hak_text_decimal(text, value);
    hak_text_string(text, "\n");
}

static void report_totals(struct hak_text *text) {
    struct hak_totals totals = hak_totals();
    report_line(text, "bytes reserved", totals.reserved);
    report_line(text, "bytes committed", totals.committed);
    report_line(text, "bytes metadata", totals.metadata);
    report_line(text, "bytes small-out", totals.small_out);
    report_line(text, "bytes large", totals.large_bytes);
    report_line(text, "bytes big", totals.big_bytes);
    report_line(text, "bytes big-cached", totals.big_cached);
    report_line(text, "bytes pool-free", totals.pool_free);
    report_line(text, "bytes pool-given-back", totals.pool_given_back);
    report_line(text, "count large", totals.large_count);
    report_line(text, "count big", totals.big_count);
    report_line(text, "count heaps", totals.heap_count);
    report_line(text, "count orphans", totals.orphan_count);
    report_line(text, "count refills", totals.refills);
    report_line(text, "count flushes", totals.flushes);
    report_line(text, "count remote-frees", totals.remote_frees);
}

static uint64_t report_ledger_cell(struct hak_text *text, enum hak_call call,
                                   enum hak_cause cause) {
    struct hak_ledger_cell cell = hak_ledger_read(call, cause);
    /* This report is itself one write: it counts itself, or its total would be one short. */
    if (call == HAK_CALL_WRITE && cause == HAK_CAUSE_MESSAGE)
        cell.count++;
    if (cell.count == 0)
        return 0;
    hak_text_string(text, "hakmem: ledger ");
    hak_text_string(text, hak_ledger_call_words[call]);
    hak_text_string(text, " ");
    hak_text_string(text, hak_ledger_cause_words[cause]);
    hak_text_string(text, " ");
    hak_text_decimal(text, cell.count);
    hak_text_string(text, " ");
    hak_text_decimal(text, cell.bytes);
    hak_text_string(text, "\n");
    return cell.count;
}

void hak_report_print(const char *title) {
    char buffer[REPORT_BYTES_MAX];
    struct hak_text text = {.buffer = buffer, .capacity = sizeof buffer};
    uint64_t total = 0;
    hak_ledger_add(HAK_CALL_GETPID, HAK_CAUSE_MESSAGE, 0);
    hak_text_string(&text, "hakmem: ");
    hak_text_string(&text, title);
    hak_text_string(&text, ", process ");
    hak_text_decimal(&text, hak_prim_process_id());
    hak_text_string(&text, "\n");
    report_totals(&text);
    for (unsigned call = 0; call < HAK_CALL_COUNT; call++) {
        for (unsigned cause = 0; cause < HAK_CAUSE_COUNT; cause++)
            total += report_ledger_cell(&text, (enum hak_call)call, (enum hak_cause)cause);
    }
    report_line(&text, "ledger total", total);
    hak_text_flush(&text);
}
