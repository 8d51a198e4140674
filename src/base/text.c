/* src/base/text.c — small text built without allocation. SPDX-License-Identifier: MIT */

#include "base/text.h"

#include "base/atomic.h"
#include "base/bits.h"
#include "prim/prim.h"

/* [S] */
static struct { _Atomic uint64_t write_count; } g_text;

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
    hak_atomic_add_relaxed(&g_text.write_count, 1);
    hak_prim_write_error(text->buffer, text->size);
    text->size = 0;
}

uint64_t hak_text_write_count(void) {
    return hak_atomic_load_relaxed(&g_text.write_count);
}
