/* src/arena/pagemap.c — address -> owner and class. SPDX-License-Identifier: MIT */

#include "arena/pagemap.h"

#include "base/bits.h"
#include "vm/vm.h"

uintptr_t hak_pagemap_base;
size_t hak_pagemap_unit_count;
size_t hak_pagemap_unit_count_all;
_Atomic uint32_t *hak_pagemap_tags;

/* Smallest OS page; larger ones only make a bit stand for part of a page. */
#define PAGEMAP_STEP ((size_t)4096)
#define PAGEMAP_STEP_TAGS (PAGEMAP_STEP / sizeof(uint32_t))
enum { PAGEMAP_STEPS_MAX = HAK_UNIT_COUNT_MAX / (4096 / 4) };

static struct {
    bool is_closed;                                    /* written while one thread runs */
    _Atomic uint64_t writable[PAGEMAP_STEPS_MAX / 64]; /* [A] bit per step of the table; only set */
} g_pagemap;

int hak_pagemap_init(void) {
    struct hak_vm_window window = hak_vm_window();
    size_t unit_count = window.size / HAK_UNIT_SIZE;
    void *table;
    int error = hak_vm_map_table(unit_count * sizeof(uint32_t), HAK_CAUSE_PAGEMAP, &table);
    if (error)
        return error;
    hak_pagemap_tags = table;
    hak_pagemap_base = window.base;
    hak_pagemap_unit_count_all = unit_count;
    hak_pagemap_unit_count = g_pagemap.is_closed ? 0 : unit_count;
    return 0;
}

void hak_pagemap_close(void) {
    g_pagemap.is_closed = true;
    hak_pagemap_unit_count = 0;
}

void hak_pagemap_open(void) {
    g_pagemap.is_closed = false;
    hak_pagemap_unit_count = hak_pagemap_unit_count_all;
}

static bool pagemap_is_writable(size_t step) {
    return hak_atomic_load_relaxed(&g_pagemap.writable[step / 64]) >> (step % 64) & 1;
}

int hak_pagemap_cover(hak_unit first, uint32_t count) {
    size_t page_steps = hak_vm_page_size() / PAGEMAP_STEP;
    size_t begin = hak_align_down(first / PAGEMAP_STEP_TAGS, page_steps);
    size_t end = hak_align_up((first + count - 1) / PAGEMAP_STEP_TAGS + 1, page_steps);
    while (begin < end && pagemap_is_writable(begin))
        begin += page_steps;
    while (begin < end && pagemap_is_writable(end - 1))
        end -= page_steps;
    if (begin == end)
        return 0;
    char *table = (char *)hak_pagemap_tags;
    int error = hak_vm_commit(table + begin * PAGEMAP_STEP, (end - begin) * PAGEMAP_STEP,
                              HAK_CAUSE_PAGEMAP);
    /* Two threads may both commit: the second call changes nothing. */
    for (size_t step = begin; error == 0 && step < end; step++)
        hak_atomic_or_relaxed(&g_pagemap.writable[step / 64], UINT64_C(1) << (step % 64));
    return error;
}
