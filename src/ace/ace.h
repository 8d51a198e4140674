/* src/ace/ace.h — the adaptive cache engine: decides what is kept. SPDX-License-Identifier: MIT */
#ifndef HAK_ACE_ACE_H
#define HAK_ACE_ACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "options/options.h"

/* What a decision changes. */
enum hak_ace_kind {
#define HAK_ACE_KIND(name, word, meaning) HAK_ACE_##name,
#include "ace/kinds.def"
#undef HAK_ACE_KIND
    HAK_ACE_KIND_COUNT
};
extern HAK_INTERNAL const char *const hak_ace_kind_words[HAK_ACE_KIND_COUNT];

enum hak_ace_verdict { HAK_ACE_PENDING, HAK_ACE_KEPT, HAK_ACE_REVERTED };

/* A decision: what was seen, what was done about it, what came of it. */
struct hak_receipt {
    uint64_t number;  /* 1 for the first; 0: no receipt */
    uint64_t time_ms; /* hak_prim_clock_ms() */
    uint32_t kind;
    uint32_t class_size; /* bytes of a block; 0: of no class */
    uint32_t verdict;
    uint32_t before; /* slots, slabs, epochs: as the kind says */
    uint32_t after;
    uint32_t evidence;  /* events in the epoch that led to it */
    uint32_t predicted; /* events per epoch with the new value */
    uint32_t observed;  /* events in the epoch that followed */
};

/*
 * Writes the policies of the layers below. Before the first heap is used, by start-up. `checks`: no
 * magazines at all, so that each free reaches its slab, and each misuse is seen, at once.
 */
void hak_ace_init(enum hak_ace_mode mode, bool checks);

/* An epoch has passed: judges the last decisions and takes new ones. One thread at a time. */
void hak_ace_epoch(uint64_t now_ms);

/* What no pressure and no saved policy goes beyond. */
enum { HAK_ACE_DELAY_MAX = 16 }; /* epochs */
uint16_t hak_ace_capacity_limit(unsigned class_index);
uint8_t hak_ace_spares_limit(unsigned class_index);

/* The newest receipt with a number below `below`; false: there is none any more. Any thread. */
bool hak_ace_receipt_below(uint64_t below, struct hak_receipt *out);

/*
 * The policy as text, a line each: `capacity BYTES SLOTS`, `spares BYTES SLABS`, `delay EPOCHS`. Writing
 * returns the text's length, cut to `size`; reading ignores lines it does not know, so that versions may
 * differ, values beyond the limits, and capacities below the first: what a run with checks=1 saved is no
 * wish for a process without magazines.
 */
size_t hak_ace_write_policy(char *text, size_t size);
void hak_ace_read_policy(const char *text, size_t size);

#endif
