/* src/base/text.h — small text built without allocation. SPDX-License-Identifier: MIT */

/*
 * Messages must work when memory is corrupt or absent, so stdio is out. A text is a caller's buffer
 * that is filled and then written in one piece; what does not fit is cut.
 */
#ifndef HAK_BASE_TEXT_H
#define HAK_BASE_TEXT_H

#include <hakmem/stat_format.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hak_text {
    char *buffer;
    size_t capacity; /* bytes */
    size_t size;     /* bytes used, never terminated */
};

void hak_text_string(struct hak_text *text, const char *string);
void hak_text_chars(struct hak_text *text, const char *chars, size_t count);
void hak_text_decimal(struct hak_text *text, uint64_t value);
void hak_text_hex(struct hak_text *text, uint64_t value); /* with 0x */

/* Writes the text to stderr and empties it. */
void hak_text_flush(struct hak_text *text);

/* Where writes to stderr are counted; as hak_lock_count_in() and hak_lock_cell(). */
void hak_text_count_in(struct hakmem_stat_call *cell, bool is_timed);
const struct hakmem_stat_call *hak_text_cell(void);

#endif
