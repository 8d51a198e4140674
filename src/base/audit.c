/* src/base/audit.c — what a walk over all books has found. SPDX-License-Identifier: MIT */

#include "base/audit.h"

#include "base/text.h"

HAK_AUDIT void hak_audit_note(struct hak_audit *audit, const struct hak_place *place,
                              const char *what, uint64_t found, uint64_t expected) {
    if (audit->problem_count < HAK_AUDIT_LINES_MAX)
        audit->problems[audit->problem_count] = (struct hak_problem){*place, what, found, expected};
    audit->problem_count++;
}

static HAK_AUDIT void audit_print_problem(const struct hak_problem *problem) {
    char buffer[256];
    struct hak_text text = {.buffer = buffer, .capacity = sizeof buffer};
    const struct hak_place *place = &problem->place;
    hak_text_string(&text, "hakmem: check: ");
    hak_text_string(&text, place->part);
    if (place->address) {
        hak_text_string(&text, " ");
        hak_text_hex(&text, place->address);
    }
    if (place->class_size) {
        hak_text_string(&text, ", class ");
        hak_text_decimal(&text, place->class_size);
    }
    if (place->heap) {
        hak_text_string(&text, ", heap ");
        hak_text_decimal(&text, place->heap);
    }
    hak_text_string(&text, ": ");
    hak_text_string(&text, problem->what);
    hak_text_string(&text, ": ");
    hak_text_decimal(&text, problem->found);
    hak_text_string(&text, ", not ");
    hak_text_decimal(&text, problem->expected);
    hak_text_string(&text, "\n");
    hak_text_flush(&text);
}

HAK_AUDIT void hak_audit_print(const struct hak_audit *audit) {
    for (size_t i = 0; i < audit->problem_count && i < HAK_AUDIT_LINES_MAX; i++)
        audit_print_problem(&audit->problems[i]);
    if (audit->problem_count > HAK_AUDIT_LINES_MAX) {
        char buffer[64];
        struct hak_text text = {.buffer = buffer, .capacity = sizeof buffer};
        hak_text_string(&text, "hakmem: check: and ");
        hak_text_decimal(&text, audit->problem_count - HAK_AUDIT_LINES_MAX);
        hak_text_string(&text, " more\n");
        hak_text_flush(&text);
    }
}
