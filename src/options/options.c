/* src/options/options.c — typed values and their parser. SPDX-License-Identifier: MIT */

#include "options/options.h"

#include <stdbool.h>
#include <stddef.h>

#include "base/log.h"
#include "base/text.h"

enum option_kind { OPTION_BOOL, OPTION_CHOICE, OPTION_WORDS, OPTION_TEXT };

struct option {
    const char *name; /* lower case */
    const char *values;
    enum option_kind kind;
    void *value; /* of the kind's type */
};

struct hak_options hak_options = {
#define HAK_OPTION(name, kind, default_value, values, effect) .name = (default_value),
#include "options/options.def"
#undef HAK_OPTION
};

static const struct option g_options_table[] = {
#define HAK_OPTION(name, kind, default_value, values, effect)                                      \
    {#name, values, OPTION_##kind, &hak_options.name},
#include "options/options.def"
#undef HAK_OPTION
};

/* A piece of the environment; never terminated. */
struct slice {
    const char *start;
    size_t size;
};

static char slice_lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool slice_equals(struct slice slice, const char *string) {
    for (size_t i = 0; i < slice.size; i++) {
        if (slice_lower(slice.start[i]) != string[i])
            return false; /* also where `string` ends first: its 0 differs */
    }
    return string[slice.size] == 0;
}

/* Cuts the slice at the first `separator`; the rest, without it, stays in *rest. */
static struct slice slice_cut(struct slice *rest, char separator) {
    struct slice head = {rest->start, 0};
    while (head.size < rest->size && head.start[head.size] != separator)
        head.size++;
    size_t skipped = head.size + (head.size < rest->size ? 1 : 0);
    rest->start += skipped;
    rest->size -= skipped;
    return head;
}

static struct slice slice_of(const char *string) {
    struct slice slice = {string, 0};
    while (string[slice.size])
        slice.size++;
    return slice;
}

static void options_warn_unknown(struct slice name) {
    char buffer[160];
    struct hak_text text = {.buffer = buffer, .capacity = sizeof buffer - 1};
    hak_text_string(&text, "hakmem: warning: unknown option HAKMEM_");
    for (size_t i = 0; i < name.size; i++) {
        char c = name.start[i];
        char upper = c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
        hak_text_chars(&text, &upper, 1);
    }
    text.capacity++; /* the newline always fits */
    hak_text_string(&text, "\n");
    hak_text_flush(&text);
}

static void options_warn_value(const struct option *option, struct slice value) {
    char buffer[256];
    struct hak_text text = {.buffer = buffer, .capacity = sizeof buffer};
    hak_text_string(&text, "hakmem: warning: HAKMEM_");
    for (const char *c = option->name; *c; c++) {
        char upper = (char)(*c - 'a' + 'A');
        hak_text_chars(&text, &upper, 1);
    }
    hak_text_string(&text, "=");
    hak_text_chars(&text, value.start, value.size < 100 ? value.size : 100);
    hak_text_string(&text, ": expected ");
    struct slice rest = slice_of(option->values);
    while (rest.size > 0) { /* "off|on|frozen" reads "off, on or frozen" */
        struct slice word = slice_cut(&rest, '|');
        hak_text_chars(&text, word.start, word.size);
        bool is_last_but_one = rest.size > 0;
        for (size_t i = 0; i < rest.size; i++)
            is_last_but_one &= rest.start[i] != '|';
        if (rest.size > 0)
            hak_text_string(&text, is_last_but_one ? " or " : ", ");
    }
    hak_text_string(&text, "\n");
    hak_text_flush(&text);
}

static void options_set_text(const struct option *option, struct slice value) {
    char *text = option->value;
    if (value.size >= HAK_OPTION_TEXT_SIZE) {
        options_warn_value(option, value);
        return;
    }
    for (size_t i = 0; i < value.size; i++)
        text[i] = value.start[i];
    text[value.size] = 0;
}

static void options_set(const struct option *option, struct slice value) {
    if (option->kind == OPTION_TEXT) {
        options_set_text(option, value);
        return;
    }
    uint32_t *number = option->value;
    if (option->kind == OPTION_WORDS) {
        *number = 0;
        while (value.size > 0) { /* HAKMEM_CONF uses the comma itself: there the plus separates */
            struct slice words = slice_cut(&value, ',');
            while (words.size > 0) {
                struct slice word = slice_cut(&words, '+');
                *number |= hak_log_stage_bit(word.start, word.size);
            }
        }
        return;
    }
    struct slice rest = slice_of(option->values);
    for (uint32_t index = 0; rest.size > 0; index++) {
        struct slice word = slice_cut(&rest, '|');
        bool is_same = word.size == value.size;
        for (size_t i = 0; is_same && i < word.size; i++)
            is_same = word.start[i] == slice_lower(value.start[i]);
        if (is_same) {
            *number = index; /* BOOL is the choice 0|1 */
            return;
        }
    }
    options_warn_value(option, value);
}

static void options_set_by_name(struct slice name, struct slice value) {
    const size_t count = sizeof g_options_table / sizeof g_options_table[0];
    for (size_t i = 0; i < count; i++) {
        if (slice_equals(name, g_options_table[i].name)) {
            options_set(&g_options_table[i], value);
            return;
        }
    }
    options_warn_unknown(name);
}

/* The variable's name after HAKMEM_, or nothing: name.size == 0. */
static struct slice options_variable(const char *entry, struct slice *value) {
    static const char prefix[] = "HAKMEM_";
    struct slice none = {entry, 0};
    for (size_t i = 0; i < sizeof prefix - 1; i++) {
        if (entry[i] != prefix[i])
            return none;
    }
    *value = slice_of(entry + sizeof prefix - 1);
    return slice_cut(value, '=');
}

void hak_options_load(char **environment) {
    struct slice value;
    for (char **entry = environment; *entry; entry++) {
        struct slice name = options_variable(*entry, &value);
        if (!slice_equals(name, "conf"))
            continue;
        while (value.size > 0) {
            struct slice setting = slice_cut(&value, ',');
            struct slice key = slice_cut(&setting, ':');
            options_set_by_name(key, setting);
        }
    }
    for (char **entry = environment; *entry; entry++) {
        struct slice name = options_variable(*entry, &value);
        bool is_ours = slice_equals(name, "conf") || slice_equals(name, "library");
        if (name.size > 0 && !is_ours) /* HAKMEM_LIBRARY is the tool's */
            options_set_by_name(name, value);
    }
#if HAK_DEBUG >= 1
    hak_log_enable(hak_options.log);
#endif
}
