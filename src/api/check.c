/* src/api/check.c — hakmem_check: is each block in exactly one place? SPDX-License-Identifier: MIT */

/*
 *   hakmem_check -> check_begin        all locks are taken, and notes of the size that is needed then
 *                -> hak_heap_audit     everything is looked at; nothing is changed, no system call
 *                -> hak_audit_print    the locks are free again
 */

#include <errno.h>
#include <hakmem/hakmem.h>
#include <limits.h>
#include <string.h>

#include "api/export.h"
#include "api/start.h"
#include "base/audit.h"
#include "base/bits.h"
#include "heap/heap_audit.h"
#include "vm/vm.h"

/* Rounds until the notes suffice: each time they are an eighth larger than what was needed before. */
enum { CHECK_ROUNDS = 8, CHECK_SLACK_PART = 8, CHECK_SLACK_BYTES = 64 << 10 };

/*
 * All locks are held when this returns 0, with notes of *size bytes for what there is then. The kernel is not
 * called with locks held, so the size is known one round later.
 */
static HAK_AUDIT int check_begin(bool may_wait, void **notes, size_t *size) {
    *notes = NULL;
    *size = 0;
    for (int round = 0; round < CHECK_ROUNDS; round++) {
        if (!hak_heap_hold_all(may_wait))
            return EBUSY;
        size_t needed = hak_heap_audit_bytes();
        if (needed <= *size)
            return 0;
        hak_heap_let_go_all();
        if (*notes)
            hak_vm_unmap_table(*notes, *size, HAK_CAUSE_CHECK);
        *notes = NULL;
        *size = hak_align_up(needed + needed / CHECK_SLACK_PART + CHECK_SLACK_BYTES,
                             hak_vm_page_size());
        int error = hak_vm_map_notes(*size, HAK_CAUSE_CHECK, notes);
        if (error)
            return error;
    }
    return EBUSY; /* the process grows faster */
}

static HAK_AUDIT void check_fill(struct hakmem_check_result *result, const struct hak_audit *audit,
                                 const struct hak_audit_totals *totals) {
    *result = (struct hakmem_check_result){
        .version = HAKMEM_CHECK_VERSION,
        .problems = audit->problem_count,
        .live_blocks = totals->live_blocks,
        .live_bytes = totals->live_bytes,
        .magazine_blocks = totals->magazine_blocks,
        .travelling_blocks = totals->travelling_blocks,
        .free_blocks = totals->free_blocks,
        .slabs = totals->slabs,
        .slab_units = totals->slab_units,
        .spans = totals->spans,
        .span_units = totals->span_units,
        .meta_units = totals->meta_units,
        .free_runs = totals->free_runs,
        .free_units = totals->free_units,
        .lost_units = totals->lost_units,
        .big_blocks = totals->big_blocks,
        .big_kept = totals->big_kept,
        .heaps = totals->heaps,
        .orphans = totals->orphans,
        .heaps_looked_into = totals->heaps_looked_into,
    };
}

static HAK_AUDIT int check_run(unsigned flags, struct hak_audit *audit,
                               struct hak_audit_totals *totals) {
    void *notes;
    size_t size;
    int error = check_begin(flags & HAKMEM_CHECK_WAIT, &notes, &size);
    if (error == 0) {
        hak_heap_audit(audit, notes, totals);
        hak_heap_let_go_all();
    }
    if (notes)
        hak_vm_unmap_table(notes, size, HAK_CAUSE_CHECK);
    return error;
}

HAK_PUBLIC HAK_AUDIT int hakmem_check(unsigned flags, struct hakmem_check_result *out,
                                      size_t size) {
    struct hak_audit audit = {.is_quiescent = flags & HAKMEM_CHECK_QUIESCENT};
    struct hak_audit_totals totals = {0};
    if ((flags & ~(unsigned)(HAKMEM_CHECK_QUIESCENT | HAKMEM_CHECK_WAIT)) ||
        (out && size < sizeof out->version))
        return -EINVAL;
    /* Before that there is nothing. */
    int error = hak_is_started() ? check_run(flags, &audit, &totals) : 0;
    if (error)
        return -error;
    hak_audit_print(&audit);
    struct hakmem_check_result result;
    check_fill(&result, &audit, &totals);
    if (out)
        memcpy(out, &result, size < sizeof result ? size : sizeof result);
    return audit.problem_count > INT_MAX ? INT_MAX : (int)audit.problem_count;
}
