/* src/base/text.c — small text built without allocation. SPDX-License-Identifier: MIT */

#include "base/text.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "prim/prim.h"

static struct {
    _Atomic(struct hakmem_stat_call *) cell; /* [A] where writes are counted; NULL: in `own` */
    _Atomic bool is_timed;                   /* [A] */
    struct hakmem_stat_call own;             /* [S] */
} g_text;

static struct hakmem_stat_call *text_cell(void) {
    struct hakmem_stat_call *cell = hak_atomic_load_relaxed(&g_text.cell);
    return cell ? cell : &g_text.own;
}

const struct hakmem_stat_call *hak_text_cell(void) {
    return text_cell();
}

void hak_text_count_in(struct hakmem_stat_call *cell, bool is_timed) {
    hak_atomic_store_relaxed(&g_text.cell, cell);
    hak_atomic_store_relaxed(&g_text.is_timed, is_timed);
    uint64_t count = hak_atomic_exchange_relaxed(&g_text.own.count, 0);
    if (cell)
        hak_atomic_add_relaxed(&cell->count, count);
}

void hak_text_chars(struct hak_text *text, const char *chars, size_t count) {
    size_t fitting = hak_min(count, text->capacity - text->size);
    for (size_t i = 0; i < fitting; i++)
        text->buffer[text->size++] = chars[i];
}

void hak_text_string(struct hak_text *text, const char *string) {
    size_t length = 0;
    while (string[length])
        length++;
    hak_text_chars(text, string, length);
}

static void text_number(struct hak_text *text, uint64_t value, unsigned base) {
    char digits[20]; /* 2^64 has 20 decimal digits */
    size_t start = sizeof digits;
    do {
        digits[--start] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value > 0);
    hak_text_chars(text, digits + start, sizeof digits - start);
}

void hak_text_decimal(struct hak_text *text, uint64_t value) {
    text_number(text, value, 10);
}

void hak_text_hex(struct hak_text *text, uint64_t value) {
    hak_text_string(text, "0x");
    text_number(text, value, 16);
}

void hak_text_flush(struct hak_text *text) {
    if (text->size == 0)
        return;
    bool is_timed = hak_atomic_load_relaxed(&g_text.is_timed);
    uint64_t start = is_timed ? hak_prim_clock_ns() : 0;
    hak_atomic_add_relaxed(&text_cell()->count, 1);
    hak_prim_write_error(text->buffer, text->size);
    if (is_timed)
        hak_atomic_add_relaxed(&text_cell()->ns, hak_prim_clock_ns() - start);
    text->size = 0;
}
