/* src/base/misuse.c — the vocabulary of what users do wrong. SPDX-License-Identifier: MIT */

#include "base/misuse.h"

#include "base/fatal.h"
#include "base/text.h"

static const char *const g_misuse_words[] = {
    [HAK_MISUSE_NONE] = "no misuse",
    [HAK_MISUSE_NOT_OURS] = "not a block of this allocator",
    [HAK_MISUSE_INSIDE] = "inside a block, not its start",
    [HAK_MISUSE_DOUBLE_FREE] = "double free",
    [HAK_MISUSE_WRONG_SIZE] = "wrong size",
    [HAK_MISUSE_CANARY] = "canary overwritten",
};

_Noreturn void hak_misuse_fatal(const char *function, const void *pointer, enum hak_misuse what,
                                size_t class_size, uint32_t owner) {
    char buffer[192];
    struct hak_text text = {.buffer = buffer, .capacity = sizeof buffer - 1};
    hak_text_string(&text, function);
    hak_text_string(&text, "(");
    hak_text_hex(&text, (uintptr_t)pointer);
    hak_text_string(&text, "): ");
    hak_text_string(&text, g_misuse_words[what]);
    hak_text_string(&text, "; class ");
    if (class_size == HAK_CLASS_WORD_NONE)
        hak_text_string(&text, "none");
    else if (class_size == HAK_CLASS_WORD_LARGE)
        hak_text_string(&text, "large");
    else if (class_size == HAK_CLASS_WORD_BIG)
        hak_text_string(&text, "big");
    else
        hak_text_decimal(&text, class_size);
    hak_text_string(&text, ", owner ");
    if (owner) {
        hak_text_string(&text, "heap ");
        hak_text_decimal(&text, owner);
    } else {
        hak_text_string(&text, "none");
    }
    buffer[text.size] = 0;
    hak_fatal(buffer);
}
