/* src/stats/ledger.h — the ledger: system calls by call, cause and request (data only). SPDX-License-Identifier: MIT */

/*
 *   entry      (call, cause)              count, bytes, time       always
 *   slot       (call, cause, tier, range) the same                 while observed, for calls a request led to
 *
 * The slow path that may lead to a call names its request in hak_ledger_context. A call that finds no free
 * slot is counted in its entry: nothing is lost but the context. Any thread; fixed memory, no lock.
 */
#ifndef HAK_STATS_LEDGER_H
#define HAK_STATS_LEDGER_H

#include <hakmem/stat_format.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum hak_call {
#define HAK_LEDGER_CALL(name, word) HAK_CALL_##name,
#include "stats/ledger.def"
#undef HAK_LEDGER_CALL
    HAK_CALL_COUNT
};

enum hak_cause {
#define HAK_LEDGER_CAUSE(name, word, meaning) HAK_CAUSE_##name,
#include "stats/ledger.def"
#undef HAK_LEDGER_CAUSE
    HAK_CAUSE_COUNT
};

/* What is known of a call and cause, or of all: relaxed sums, of about one moment. */
struct hak_ledger_cell {
    uint64_t count; /* calls, failed ones too: the kernel was asked */
    uint64_t bytes; /* bytes asked for */
};

extern HAK_INTERNAL const char *const hak_ledger_call_words[HAK_CALL_COUNT];
extern HAK_INTERNAL const char *const hak_ledger_cause_words[HAK_CAUSE_COUNT];

/* The file that this process counts in; NULL: it is not observed. Changes while one thread runs. */
extern HAK_INTERNAL struct hakmem_stat_file *hak_stat_file;

/*
 * The request that the calling thread's system calls are made for: HAK_LEDGER_CONTEXT, or 0 for none. Set
 * while observed only, by whoever knows the request, and taken back by the same.
 */
#define HAK_LEDGER_CONTEXT(tier, range) HAKMEM_STAT_KEY(0, 0, (tier), (range))
extern HAK_INTERNAL _Thread_local uint32_t hak_ledger_context;

struct hak_ledger_timer {
    struct hakmem_stat_call *cell;
    uint64_t start_ns; /* 0: nobody wants to know */
};
/* Counts a call that is about to be made; end adds the time it took. */
struct hak_ledger_timer hak_ledger_begin(enum hak_call call, enum hak_cause cause, size_t bytes);
void hak_ledger_end(struct hak_ledger_timer timer);

/* Counts a call whose time does not matter. */
void hak_ledger_add(enum hak_call call, enum hak_cause cause, size_t bytes);
/* Now, in nanoseconds, for hak_ledger_add_file(); 0 while not observed. */
uint64_t hak_ledger_clock(void);
/*
 * What hak_prim_read_file() or _write_file() did since `start_ns`, by its result: openat, `call`, close. The
 * time of all three is openat's.
 */
void hak_ledger_add_file(enum hak_call call, enum hak_cause cause, size_t bytes, int error,
                         uint64_t start_ns);
/* With context and without. */
struct hak_ledger_cell hak_ledger_read(enum hak_call call, enum hak_cause cause);

/*
 * From now on the ledger is kept in `file`, and what it has is added there; NULL: in this process alone, and
 * it begins anew. While one thread runs.
 */
void hak_ledger_move(struct hakmem_stat_file *file);

#endif
