/* src/stats/ledger.c — the ledger: system calls by call and cause (data only). SPDX-License-Identifier: MIT */

#include "stats/ledger.h"

#include <errno.h>

#include "base/atomic.h"
#include "base/lock.h"
#include "base/text.h"

const char *const hak_ledger_call_words[HAK_CALL_COUNT] = {
#define HAK_LEDGER_CALL(name, word) word,
#include "stats/ledger.def"
#undef HAK_LEDGER_CALL
};

const char *const hak_ledger_cause_words[HAK_CAUSE_COUNT] = {
#define HAK_LEDGER_CAUSE(name, word, meaning) word,
#include "stats/ledger.def"
#undef HAK_LEDGER_CAUSE
};

static struct {
    struct {
        _Atomic uint64_t count; /* [S] */
        _Atomic uint64_t bytes; /* [S] */
    } cells[HAK_CALL_COUNT][HAK_CAUSE_COUNT];
} g_ledger;

void hak_ledger_add(enum hak_call call, enum hak_cause cause, size_t bytes) {
    hak_atomic_add_relaxed(&g_ledger.cells[call][cause].count, 1);
    hak_atomic_add_relaxed(&g_ledger.cells[call][cause].bytes, bytes);
}

void hak_ledger_add_file(enum hak_call call, enum hak_cause cause, size_t bytes, int error) {
    hak_ledger_add(HAK_CALL_OPENAT, cause, 0);
    if (error == 0 || error == EIO) {
        hak_ledger_add(call, cause, bytes);
        hak_ledger_add(HAK_CALL_CLOSE, cause, 0);
    }
}

struct hak_ledger_cell hak_ledger_read(enum hak_call call, enum hak_cause cause) {
    struct hak_ledger_cell cell = {
        .count = hak_atomic_load_relaxed(&g_ledger.cells[call][cause].count),
        .bytes = hak_atomic_load_relaxed(&g_ledger.cells[call][cause].bytes),
    };
    /* Locks and messages live below the ledger and count for themselves. */
    if (call == HAK_CALL_FUTEX && cause == HAK_CAUSE_LOCK)
        cell.count += hak_lock_wait_count() + hak_lock_wake_count();
    if (call == HAK_CALL_WRITE && cause == HAK_CAUSE_MESSAGE)
        cell.count += hak_text_write_count();
    return cell;
}
