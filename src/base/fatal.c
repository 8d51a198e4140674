/* src/base/fatal.c — one line on stderr, then abort. SPDX-License-Identifier: MIT */

#include "base/fatal.h"

#include <stdint.h>

#include "base/text.h"
#include "prim/prim.h"

_Noreturn void hak_fatal(const char *message) {
    char buffer[256];
    struct hak_text text = {.buffer = buffer, .capacity = sizeof buffer - 1};
    hak_text_string(&text, "hakmem: fatal: ");
    hak_text_string(&text, message);
    text.capacity++; /* the newline always fits */
    hak_text_string(&text, "\n");
    hak_text_flush(&text);
    hak_prim_abort();
}

_Noreturn void hak_fatal_check(const char *condition, const char *file, int line) {
    char buffer[256];
    struct hak_text text = {.buffer = buffer, .capacity = sizeof buffer};
    hak_text_string(&text, "internal check failed: ");
    hak_text_string(&text, condition);
    hak_text_string(&text, " at ");
    hak_text_string(&text, file);
    hak_text_string(&text, ":");
    hak_text_decimal(&text, (uint64_t)line);
    hak_text_chars(&text, "", 1); /* hak_fatal wants a terminated string */
    buffer[sizeof buffer - 1] = 0;
    hak_fatal(buffer);
}
