/* src/ace/policy.c — what ACE has learned, as text. SPDX-License-Identifier: MIT */

#include "ace/ace.h"
#include "arena/pool.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/text.h"
#include "heap/heap.h"
#include "slab/size_class.h"
#include "slab/slab.h"

static void policy_line(struct hak_text *text, const char *word, uint64_t a, uint64_t b) {
    hak_text_string(text, word);
    hak_text_string(text, " ");
    hak_text_decimal(text, a);
    hak_text_string(text, " ");
    hak_text_decimal(text, b);
    hak_text_string(text, "\n");
}

size_t hak_ace_write_policy(char *text, size_t size) {
    struct hak_text out = {.capacity = size};
    out.buffer = text;
    policy_line(&out, "hakmem-policy", 1, HAK_CLASS_COUNT);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        size_t bytes = hak_size_classes[class_index].size;
        policy_line(&out, "capacity", bytes,
                    hak_atomic_load_relaxed(&hak_heap_policy.capacity_max[class_index]));
        policy_line(&out, "spares", bytes,
                    hak_atomic_load_relaxed(&hak_slab_policy.spares[class_index]));
    }
    policy_line(&out, "delay", 0, hak_atomic_load_relaxed(&hak_pool_policy.delay));
    return out.size;
}

/* A line cut into a word and two numbers. */
struct policy_words {
    const char *word;
    size_t word_size;
    uint64_t numbers[2];
};

static const char *policy_cut(const char *at, const char *end, struct policy_words *out) {
    *out = (struct policy_words){.word = at};
    while (at < end && *at != ' ' && *at != '\n')
        at++;
    out->word_size = (size_t)(at - out->word);
    for (int i = 0; i < 2; i++) {
        while (at < end && *at == ' ')
            at++;
        for (; at < end && *at >= '0' && *at <= '9'; at++)
            out->numbers[i] = hak_min(out->numbers[i] * 10 + (uint64_t)(*at - '0'), UINT32_MAX);
    }
    while (at < end && *at != '\n')
        at++;
    return at < end ? at + 1 : end;
}

static bool policy_is(const struct policy_words *line, const char *word) {
    size_t i = 0;
    while (i < line->word_size && word[i] && line->word[i] == word[i])
        i++;
    return i == line->word_size && word[i] == 0;
}

static void policy_set_capacity(unsigned class_index, uint64_t slots) {
    size_t now = hak_atomic_load_relaxed(&hak_heap_policy.capacity_max[class_index]);
    size_t first = hak_min(now, hak_heap_policy.capacity_start[class_index]);
    if (slots >= first && slots <= hak_ace_capacity_limit(class_index) &&
        (slots & (slots + 1)) == 0)
        hak_atomic_store_relaxed(&hak_heap_policy.capacity_max[class_index], (uint16_t)slots);
}

void hak_ace_read_policy(const char *text, size_t size) {
    struct policy_words line;
    const char *end = text + size;
    for (const char *at = text; at < end;) {
        at = policy_cut(at, end, &line);
        uint64_t bytes = line.numbers[0];
        uint64_t value = line.numbers[1];
        bool is_class = bytes >= 1 && bytes <= HAK_MID_MAX;
        unsigned class_index = is_class ? hak_size_class_of((size_t)bytes) : 0;
        if (policy_is(&line, "capacity") && is_class)
            policy_set_capacity(class_index, value);
        if (policy_is(&line, "spares") && is_class && value <= hak_ace_spares_limit(class_index))
            hak_atomic_store_relaxed(&hak_slab_policy.spares[class_index], (uint8_t)value);
        if (policy_is(&line, "delay") && value >= 1 && value <= HAK_ACE_DELAY_MAX)
            hak_atomic_store_relaxed(&hak_pool_policy.delay, (uint32_t)value);
    }
}
