/* src/slab/slab_audit.c — are slabs what they say they are? SPDX-License-Identifier: MIT */

#include "slab/slab_audit.h"

#include "arena/pagemap.h"
#include "base/bits.h"

static HAK_AUDIT struct hak_place slab_place(hak_unit first, uint32_t tag) {
    return (struct hak_place){"slab", (uintptr_t)hak_unit_address(first),
                              hak_size_class_at(hak_tag_class_offset(tag))->size,
                              tag >> HAK_TAG_ID_SHIFT};
}

static uint64_t slab_audit_word(hak_unit first, const struct hak_size_class *size_class,
                                unsigned word) {
    const struct hak_slab *slab = hak_unit_descriptor(first);
    if (size_class->blocks <= HAK_SLAB_INLINE_WORDS * 64)
        return slab->free_inline[word];
    return hak_arena_bitmap_line(hak_arena_of(first), first, word / 8)[word % 8];
}

/* Words that a bitmap of the class has room for. */
static unsigned slab_audit_words(const struct hak_size_class *size_class) {
    return size_class->blocks <= HAK_SLAB_INLINE_WORDS * 64 ? HAK_SLAB_INLINE_WORDS
                                                            : HAK_MARKS_WORDS;
}

/* The blocks of a word that were ever handed out: their distance from the first is below fresh. */
static uint64_t slab_audit_handed_out(const struct hak_slab *slab,
                                      const struct hak_size_class *size_class, unsigned word) {
    uint64_t bits = 0;
    for (unsigned bit = 0; bit < 64; bit++) {
        unsigned index = word * 64 + bit;
        unsigned distance =
            index >= slab->first ? index - slab->first : index + size_class->blocks - slab->first;
        if (index < size_class->blocks && distance < slab->fresh)
            bits |= UINT64_C(1) << bit;
    }
    return bits;
}

static HAK_AUDIT unsigned slab_audit_bin(const struct hak_slab *slab,
                                         const struct hak_size_class *size_class) {
    unsigned available = slab->free_count + (unsigned)size_class->blocks - slab->fresh;
    if (slab->is_held || available == 0)
        return HAK_SLAB_BIN_NONE;
    if (available == size_class->blocks)
        return HAK_SLAB_BIN_EMPTY;
    if (available * 8 < size_class->blocks)
        return HAK_SLAB_BIN_FEW;
    return available * 2 < size_class->blocks ? HAK_SLAB_BIN_SOME : HAK_SLAB_BIN_MANY;
}

static HAK_AUDIT void slab_audit_units(struct hak_audit *audit, hak_unit first, uint32_t tag,
                                       uint32_t units) {
    struct hak_place place = slab_place(first, tag);
    for (uint32_t i = 0; i < units; i++) {
        const struct hak_slab *part = hak_unit_descriptor(first + i);
        place.address = (uintptr_t)hak_unit_address(first + i);
        hak_audit_expect(audit, &place, "units to the slab's first", part->distance, i);
        hak_audit_expect(audit, &place, "no free run begins or ends inside", part->pool_word, 0);
        hak_audit_expect(audit, &place, "tag", hak_pagemap_look(first + i), tag);
    }
}

static HAK_AUDIT void slab_audit_bitmap(struct hak_audit *audit, hak_unit first, uint32_t tag) {
    const struct hak_slab *slab = hak_unit_descriptor(first);
    const struct hak_size_class *size_class = hak_size_class_at(hak_tag_class_offset(tag));
    struct hak_place place = slab_place(first, tag);
    unsigned free_count = 0;
    uint64_t beyond = 0;
    for (unsigned word = 0; word < slab_audit_words(size_class); word++) {
        uint64_t bits = slab_audit_word(first, size_class, word);
        free_count += hak_popcount(bits);
        if (bits)
            beyond |= bits & ~slab_audit_handed_out(slab, size_class, word);
    }
    hak_audit_expect(audit, &place, "free blocks counted", slab->free_count, free_count);
    hak_audit_expect(audit, &place, "free blocks that were never handed out", beyond != 0, 0);
}

HAK_AUDIT struct hak_slab_found hak_slab_audit(struct hak_audit *audit, hak_unit first,
                                               uint32_t tag, uint32_t room) {
    const struct hak_slab *slab = hak_unit_descriptor(first);
    const struct hak_size_class *size_class = hak_size_class_at(hak_tag_class_offset(tag));
    struct hak_place place = slab_place(first, tag);
    struct hak_slab_found found = {.units = 1, .blocks = size_class->blocks};
    if (!hak_audit_expect(audit, &place, "its first unit lies here", slab->distance, 0) ||
        !hak_audit_expect(audit, &place, "it ends at the frontier or before",
                          size_class->units <= room, 1) ||
        !hak_audit_expect(audit, &place, "class in its descriptor", slab->class_index,
                          hak_tag_class_offset(tag) / 16))
        return found;
    found.units = size_class->units;
    slab_audit_units(audit, first, tag, found.units);
    bool has_order = slab->free_count <= slab->fresh && slab->fresh <= size_class->blocks &&
                     slab->first < size_class->blocks;
    if (!hak_audit_expect(audit, &place, "free <= fresh <= blocks, first < blocks", has_order, 1))
        return found;
    slab_audit_bitmap(audit, first, tag);
    hak_audit_expect(audit, &place, "bin", slab->bin, slab_audit_bin(slab, size_class));
    found.out = (uint32_t)(slab->fresh - slab->free_count);
    found.is_held = slab->is_held;
    found.is_sound = true;
    return found;
}

/* ---- sets ---- */

/* Links may lead anywhere where they are broken: to a slab of this tag? */
static HAK_AUDIT bool slab_audit_is_head(hak_unit unit, uint32_t tag) {
    const struct hak_arena *arena = hak_arena_find(unit);
    return arena && unit >= arena->begin && unit < arena->frontier &&
           hak_pagemap_look(unit) == tag &&
           ((const struct hak_slab *)hak_unit_descriptor(unit))->distance == 0;
}

static HAK_AUDIT size_t set_audit_bin(struct hak_audit *audit, hak_unit first, unsigned bin,
                                      uint32_t tag) {
    size_t count = 0;
    hak_unit prev = HAK_UNIT_NONE;
    for (hak_unit unit = first; unit != HAK_UNIT_NONE; count++) {
        struct hak_place place = slab_place(unit, tag);
        if (!hak_audit_expect(audit, &place, "a bin's link leads to a slab of its class and heap",
                              slab_audit_is_head(unit, tag), 1))
            break;
        const struct hak_slab *slab = hak_unit_descriptor(unit);
        /* A circle would come back to a slab with another predecessor. */
        if (!hak_audit_expect(audit, &place, "the slab before it in its bin", slab->prev, prev))
            break;
        hak_audit_expect(audit, &place, "bin that it is in", bin, slab->bin);
        prev = unit;
        unit = slab->next;
    }
    return count;
}

HAK_AUDIT size_t hak_slab_set_audit(struct hak_audit *audit, const struct hak_slab_set *set,
                                    unsigned class_index, uint32_t owner_tag) {
    uint32_t tag = owner_tag | class_index << 4;
    struct hak_place place = {"set of slabs", 0, hak_size_classes[class_index].size,
                              owner_tag >> HAK_TAG_ID_SHIFT};
    size_t count = 0;
    size_t spares = 0;
    for (unsigned bin = 0; bin < HAK_SLAB_BIN_COUNT; bin++) {
        size_t in_bin = set_audit_bin(audit, set->bins[bin], bin, tag);
        spares = bin == HAK_SLAB_BIN_EMPTY ? in_bin : spares;
        count += in_bin;
    }
    hak_audit_expect(audit, &place, "spares counted", set->spare_count, spares);
    return count;
}

/* ---- blocks outside ---- */

static uint64_t *marks_word(const struct hak_marks *marks, hak_unit first, unsigned word) {
    unsigned number =
        hak_atomic_load_relaxed(&hak_arenas.of_superslab[first / HAK_SUPERSLAB_UNITS]);
    size_t unit = marks->first_of[number] + (first - hak_arenas.list[number]->begin);
    return &marks->words[unit * HAK_MARKS_WORDS + word];
}

HAK_AUDIT unsigned hak_slab_audit_out(struct hak_audit *audit, const struct hak_marks *marks,
                                      const struct hak_place *place, uint32_t tag, hak_unit first,
                                      unsigned word, uint64_t mask) {
    const struct hak_size_class *size_class = hak_size_class_at(hak_tag_class_offset(tag));
    if (!hak_audit_expect(audit, place, "it names a slab of its class and heap",
                          slab_audit_is_head(first, tag), 1))
        return 0;
    const struct hak_slab *slab = hak_unit_descriptor(first);
    uint64_t handed_out =
        word < slab_audit_words(size_class) ? slab_audit_handed_out(slab, size_class, word) : 0;
    hak_audit_expect(audit, place, "blocks that were never handed out", mask & ~handed_out, 0);
    mask &= handed_out;
    if (mask == 0)
        return 0;
    uint64_t *seen = marks_word(marks, first, word);
    hak_audit_expect(audit, place, "blocks that are free in their slab as well",
                     mask & slab_audit_word(first, size_class, word), 0);
    hak_audit_expect(audit, place, "blocks that are in another place as well", mask & *seen, 0);
    *seen |= mask;
    return hak_popcount(mask);
}

HAK_AUDIT unsigned hak_slab_audit_pointer(struct hak_audit *audit, const struct hak_marks *marks,
                                          const struct hak_place *place, uint32_t tag,
                                          const void *p) {
    struct hak_place here = *place;
    size_t unit;
    hak_unit first = HAK_UNIT_NONE;
    uint32_t index = 0;
    here.address = (uintptr_t)p;
    bool is_ours = hak_pagemap_find_any(p, &unit) && hak_arena_find((hak_unit)unit) &&
                   hak_pagemap_look((hak_unit)unit) == tag &&
                   hak_slab_locate(p, (unsigned)(hak_tag_class_offset(tag) / 16), &first, &index);
    if (!hak_audit_expect(audit, &here, "it is a block of its class and heap", is_ours, 1))
        return 0;
    return hak_slab_audit_out(audit, marks, &here, tag, first, index / 64,
                              UINT64_C(1) << (index % 64));
}
