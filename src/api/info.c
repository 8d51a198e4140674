/* src/api/info.c — mallinfo and its relatives, answered with hakmem's truth. SPDX-License-Identifier: MIT */

#include <errno.h>
#include <hakmem/hakmem.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#include "api/export.h"
#include "api/start.h"
#include "arena/pool.h"
#include "heap/heap.h"
#include "large/big.h"
#include "observe/report.h"
#include "stats/ledger.h"

#if defined(__GLIBC__)
static int info_int(size_t value) {
    return value > INT_MAX ? INT_MAX : (int)value;
}

HAK_PUBLIC struct mallinfo hakmem_mallinfo(void) {
    struct hak_totals totals = hak_totals();
    return (struct mallinfo){
        .arena = info_int(totals.committed - totals.big_bytes),
        .hblks = info_int(totals.big_count),
        .hblkhd = info_int(totals.big_bytes),
        .uordblks = info_int(hak_totals_in_use(&totals)),
        .fordblks = info_int(hak_totals_rest(&totals)),
        .keepcost = info_int(hak_totals_trimmable(&totals)),
    };
}
HAK_EXPORT(mallinfo);

#if __GLIBC_PREREQ(2, 33)
HAK_PUBLIC struct mallinfo2 hakmem_mallinfo2(void) {
    struct hak_totals totals = hak_totals();
    return (struct mallinfo2){
        .arena = totals.committed - totals.big_bytes,
        .hblks = totals.big_count,
        .hblkhd = totals.big_bytes,
        .uordblks = hak_totals_in_use(&totals),
        .fordblks = hak_totals_rest(&totals),
        .keepcost = hak_totals_trimmable(&totals),
    };
}
HAK_EXPORT(mallinfo2);
#endif
#endif

static void info_ledger_xml(FILE *stream) {
    for (unsigned call = 0; call < HAK_CALL_COUNT; call++) {
        for (unsigned cause = 0; cause < HAK_CAUSE_COUNT; cause++) {
            struct hak_ledger_cell cell =
                hak_ledger_read((enum hak_call)call, (enum hak_cause)cause);
            if (cell.count > 0)
                fprintf(stream,
                        "<call name=\"%s\" cause=\"%s\" count=\"%" PRIu64 "\" bytes=\"%" PRIu64
                        "\"/>\n",
                        hak_ledger_call_words[call], hak_ledger_cause_words[cause], cell.count,
                        cell.bytes);
        }
    }
}

HAK_PUBLIC int hakmem_malloc_info(int options, FILE *stream) {
    if (options != 0)
        return EINVAL;
    struct hak_totals totals = hak_totals();
    fprintf(stream, "<malloc version=\"hakmem-%s\">\n", HAKMEM_VERSION);
    fprintf(stream, "<heaps count=\"%zu\" orphans=\"%zu\"/>\n", totals.heap_count,
            totals.orphan_count);
    fprintf(stream, "<total type=\"small\" size=\"%zu\"/>\n", totals.small_out);
    fprintf(stream, "<total type=\"large\" count=\"%zu\" size=\"%zu\"/>\n", totals.large_count,
            totals.large_bytes);
    fprintf(stream, "<total type=\"mmap\" count=\"%zu\" size=\"%zu\"/>\n", totals.big_count,
            totals.big_bytes);
    fprintf(stream, "<total type=\"rest\" size=\"%zu\"/>\n", totals.pool_free);
    fprintf(stream, "<system type=\"current\" size=\"%zu\"/>\n", totals.committed);
    fprintf(stream, "<aspace type=\"total\" size=\"%zu\"/>\n", totals.reserved);
    info_ledger_xml(stream);
    fprintf(stream, "</malloc>\n");
    return 0;
}
HAK_EXPORT(malloc_info);

HAK_PUBLIC void hakmem_malloc_stats(void) {
    hak_report_print("malloc_stats");
}
HAK_EXPORT(malloc_stats);

HAK_PUBLIC int hakmem_malloc_trim(size_t pad) {
    (void)pad;
    if (!hak_start())
        return 0;
    hak_heap_trim();
    size_t big = hak_big_purge(0, 0, HAK_CAUSE_TRIM);
    size_t pool = hak_pool_purge(HAK_CAUSE_TRIM);
    return big + pool > 0;
}
HAK_EXPORT(malloc_trim);

HAK_PUBLIC int hakmem_mallopt(int parameter, int value) {
    (void)value;
    /* M_MXFAST is 1; the others are -1 (M_TRIM_THRESHOLD) … -8 (M_ARENA_MAX): <malloc.h> */
    return parameter == 1 || (parameter <= -1 && parameter >= -8);
}
HAK_EXPORT(mallopt);
