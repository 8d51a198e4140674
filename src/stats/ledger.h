/* src/stats/ledger.h — the ledger: system calls by call and cause (data only). SPDX-License-Identifier: MIT */
#ifndef HAK_STATS_LEDGER_H
#define HAK_STATS_LEDGER_H

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

struct hak_ledger_cell {
    uint64_t count; /* calls, failed ones too: the kernel was asked */
    uint64_t bytes; /* bytes asked for */
};

extern HAK_INTERNAL const char *const hak_ledger_call_words[HAK_CALL_COUNT];
extern HAK_INTERNAL const char *const hak_ledger_cause_words[HAK_CAUSE_COUNT];

/* Any thread. Relaxed statistics: a reader may see count and bytes of different moments. */
void hak_ledger_add(enum hak_call call, enum hak_cause cause, size_t bytes);
/* What hak_prim_read_file() or _write_file() did, by its result: openat, `call`, close. */
void hak_ledger_add_file(enum hak_call call, enum hak_cause cause, size_t bytes, int error);
struct hak_ledger_cell hak_ledger_read(enum hak_call call, enum hak_cause cause);

#endif
