/* src/base/log.c — slow-path stages traced on stderr, in debug builds only. SPDX-License-Identifier: MIT */

#include "base/log.h"

#include "base/atomic.h"
#include "base/text.h"

#if HAK_DEBUG >= 1

static const char *const g_log_stage_names[] = {"vm", "arena", "pool", "slab", "large", "heap"};

/* Bits of enum hak_log_stage. */
static struct { _Atomic uint32_t stages; } g_log;

uint32_t hak_log_stage_bit(const char *name, size_t size) {
    for (unsigned stage = 0; stage < sizeof g_log_stage_names / sizeof *g_log_stage_names;
         stage++) {
        const char *known = g_log_stage_names[stage];
        size_t i = 0;
        while (i < size && known[i] == name[i] && known[i])
            i++;
        if (i == size && known[i] == 0)
            return UINT32_C(1) << stage;
    }
    return 0;
}

void hak_log_enable(uint32_t stages) {
    hak_atomic_store_relaxed(&g_log.stages, stages);
}

void hak_log_line(enum hak_log_stage stage, const char *event, uint64_t a, uint64_t b) {
    if (!(hak_atomic_load_relaxed(&g_log.stages) & (UINT32_C(1) << stage)))
        return;
    char buffer[160];
    struct hak_text text = {.buffer = buffer, .capacity = sizeof buffer};
    hak_text_string(&text, "hakmem-trace ");
    hak_text_string(&text, g_log_stage_names[stage]);
    hak_text_string(&text, " ");
    hak_text_string(&text, event);
    hak_text_string(&text, " ");
    hak_text_hex(&text, a);
    hak_text_string(&text, " ");
    hak_text_decimal(&text, b);
    hak_text_string(&text, "\n");
    hak_text_flush(&text);
}

#else

uint32_t hak_log_stage_bit(const char *name, size_t size) {
    (void)name;
    (void)size;
    return 0;
}

#endif
