/* src/stats/ledger.c — the ledger: system calls by call, cause and request (data only). SPDX-License-Identifier: MIT */

#include "stats/ledger.h"

#include <errno.h>

#include "base/atomic.h"
#include "base/lock.h"
#include "base/text.h"
#include "prim/prim.h"

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

_Static_assert((int)HAK_CALL_COUNT <= HAKMEM_STAT_CALLS_MAX, "all have a place in the file");
_Static_assert((int)HAK_CAUSE_COUNT <= HAKMEM_STAT_CAUSES_MAX, "all have a place in the file");

struct hakmem_stat_file *hak_stat_file;
_Thread_local uint32_t hak_ledger_context;

/* Of a process that is not observed. [S] */
static struct { struct hakmem_stat_call calls[HAK_CALL_COUNT][HAK_CAUSE_COUNT]; } g_ledger;

static struct hakmem_stat_call *ledger_cell(enum hak_call call, enum hak_cause cause) {
    return hak_stat_file ? &hak_stat_file->calls[call][cause] : &g_ledger.calls[call][cause];
}

/* The slot with that key, taken now if it is new; NULL: none is free. */
static struct hakmem_stat_call *ledger_slot(uint32_t key) {
    uint32_t first = (key * UINT32_C(0x9e3779b1)) >> 24; /* Fibonacci hashing (Knuth 6.4) */
    _Static_assert(HAKMEM_STAT_SLOTS == 256, "8 bits of the hash");
    for (uint32_t i = 0; i < HAKMEM_STAT_SLOTS; i++) {
        struct hakmem_stat_slot *slot = &hak_stat_file->slots[(first + i) % HAKMEM_STAT_SLOTS];
        uint32_t found = hak_atomic_load_relaxed(&slot->key);
        /* Relaxed: the counters behind a new key are 0 from the beginning. */
        if (found == 0 && hak_atomic_cas_relaxed(&slot->key, &found, key))
            found = key;
        if (found == key)
            return &slot->call;
    }
    return NULL;
}

struct hak_ledger_timer hak_ledger_begin(enum hak_call call, enum hak_cause cause, size_t bytes) {
    struct hakmem_stat_call *cell = NULL;
    if (hak_ledger_context && hak_stat_file)
        cell = ledger_slot(hak_ledger_context | HAKMEM_STAT_KEY(call, cause, 0, 0));
    if (cell == NULL)
        cell = ledger_cell(call, cause);
    hak_atomic_add_relaxed(&cell->count, 1);
    hak_atomic_add_relaxed(&cell->bytes, bytes);
    return (struct hak_ledger_timer){cell, hak_ledger_clock()};
}

void hak_ledger_end(struct hak_ledger_timer timer) {
    if (timer.start_ns)
        hak_atomic_add_relaxed(&timer.cell->ns, hak_prim_clock_ns() - timer.start_ns);
}

void hak_ledger_add(enum hak_call call, enum hak_cause cause, size_t bytes) {
    struct hakmem_stat_call *cell = ledger_cell(call, cause);
    hak_atomic_add_relaxed(&cell->count, 1);
    hak_atomic_add_relaxed(&cell->bytes, bytes);
}

uint64_t hak_ledger_clock(void) {
    return hak_stat_file ? hak_prim_clock_ns() : 0;
}

void hak_ledger_add_file(enum hak_call call, enum hak_cause cause, size_t bytes, int error,
                         uint64_t start_ns) {
    struct hakmem_stat_call *opened = ledger_cell(HAK_CALL_OPENAT, cause);
    hak_ledger_add(HAK_CALL_OPENAT, cause, 0);
    hak_ledger_end((struct hak_ledger_timer){opened, start_ns});
    if (error == 0 || error == EIO) {
        hak_ledger_add(call, cause, bytes);
        hak_ledger_add(HAK_CALL_CLOSE, cause, 0);
    }
}

static void cell_add(struct hak_ledger_cell *sum, const struct hakmem_stat_call *cell) {
    sum->count += hak_atomic_load_relaxed(&cell->count);
    sum->bytes += hak_atomic_load_relaxed(&cell->bytes);
}

struct hak_ledger_cell hak_ledger_read(enum hak_call call, enum hak_cause cause) {
    struct hak_ledger_cell sum = {0, 0};
    const struct hakmem_stat_call *cell = ledger_cell(call, cause);
    cell_add(&sum, cell);
    /* Locks and messages live below the ledger and count for themselves, in its cell while observed. */
    if (call == HAK_CALL_FUTEX && cause == HAK_CAUSE_LOCK && hak_lock_cell() != cell)
        cell_add(&sum, hak_lock_cell());
    if (call == HAK_CALL_WRITE && cause == HAK_CAUSE_MESSAGE && hak_text_cell() != cell)
        cell_add(&sum, hak_text_cell());
    for (uint32_t i = 0; hak_stat_file && i < HAKMEM_STAT_SLOTS; i++) {
        const struct hakmem_stat_slot *slot = &hak_stat_file->slots[i];
        uint32_t key = hak_atomic_load_relaxed(&slot->key);
        if (key && HAKMEM_STAT_KEY_CALL(key) == call && HAKMEM_STAT_KEY_CAUSE(key) == cause)
            cell_add(&sum, &slot->call);
    }
    return sum;
}

void hak_ledger_move(struct hakmem_stat_file *file) {
    hak_stat_file = file;
    for (unsigned call = 0; call < HAK_CALL_COUNT; call++) {
        for (unsigned cause = 0; cause < HAK_CAUSE_COUNT; cause++) {
            struct hakmem_stat_call *from = &g_ledger.calls[call][cause];
            uint64_t count = hak_atomic_exchange_relaxed(&from->count, 0);
            uint64_t bytes = hak_atomic_exchange_relaxed(&from->bytes, 0);
            if (file) {
                hak_atomic_add_relaxed(&file->calls[call][cause].count, count);
                hak_atomic_add_relaxed(&file->calls[call][cause].bytes, bytes);
            }
        }
    }
    hak_lock_count_in(file ? &file->calls[HAK_CALL_FUTEX][HAK_CAUSE_LOCK] : NULL, file != NULL);
    hak_text_count_in(file ? &file->calls[HAK_CALL_WRITE][HAK_CAUSE_MESSAGE] : NULL, file != NULL);
}
