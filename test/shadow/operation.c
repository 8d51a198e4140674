/* test/shadow/operation.c — which operations there are, in which mixture. SPDX-License-Identifier: MIT */

#include "operation.h"

#include <inttypes.h>
#include <stdio.h>

#include "../promise/patterns.h"

/* The first kind of each group; the kinds of a group are contiguous. */
static const uint8_t g_first[SHADOW_GROUP_COUNT + 1] = {
    [SHADOW_GROUP_TAKE] = SHADOW_MALLOC,
    [SHADOW_GROUP_TAKE_ALIGNED] = SHADOW_ALIGNED_ALLOC,
    [SHADOW_GROUP_TAKE_PAGES] = SHADOW_VALLOC,
    [SHADOW_GROUP_GIVE] = SHADOW_FREE,
    [SHADOW_GROUP_RESIZE] = SHADOW_REALLOC,
    [SHADOW_GROUP_REFUSE] = SHADOW_REFUSE_MALLOC,
    [SHADOW_GROUP_ASK] = SHADOW_USABLE_SIZE_NULL,
    [SHADOW_GROUP_SWAP] = SHADOW_SWAP,
    [SHADOW_GROUP_COUNT] = SHADOW_KIND_COUNT,
};

static const char *const g_words[SHADOW_KIND_COUNT] = {
#define OPERATION(name, word) word,
#include "operations.def"
#undef OPERATION
};

enum shadow_group shadow_group_of(unsigned kind) {
    unsigned group = 0;
    while (kind >= g_first[group + 1])
        group++;
    return (enum shadow_group)group;
}

void shadow_describe(const struct shadow_operation *op, char *text, size_t room) {
    const char *word = op->kind < SHADOW_KIND_COUNT ? g_words[op->kind] : "?";
    switch (shadow_group_of(op->kind)) {
    case SHADOW_GROUP_TAKE:
    case SHADOW_GROUP_TAKE_PAGES:
        snprintf(text, room, "slot %u = %s, %" PRIu64 " bytes", op->slot, word, op->size);
        break;
    case SHADOW_GROUP_TAKE_ALIGNED:
        snprintf(text, room, "slot %u = %s, %" PRIu64 " bytes at %" PRIu64, op->slot, word,
                 op->size, UINT64_C(1) << op->align_log2);
        break;
    case SHADOW_GROUP_RESIZE:
        snprintf(text, room, "slot %u resized by %s to %" PRIu64 " bytes", op->slot, word,
                 op->size);
        break;
    case SHADOW_GROUP_REFUSE:
        snprintf(text, room, "slot %u: %s, %#" PRIx64 " bytes", op->slot, word, op->size);
        break;
    case SHADOW_GROUP_ASK:
        snprintf(text, room, "%s (%" PRIu64 ")", word, op->size);
        break;
    default:
        snprintf(text, room, "slot %u: %s", op->slot, word);
    }
}

/* ---- sizes ---- */

/* More than this is not asked for while so much is out: a machine has to hold it. */
#define LIVE_BYTES_MAX (UINT64_C(1) << 30)

/* Where classes may end: each multiple of 16 to 256, then 8 per doubling. */
static size_t class_edge(uint64_t r) {
    if (r % 4 == 0)
        return (size_t)(16 + (r >> 8) % 16 * 16);
    return (size_t)(9 + (r >> 8) % 8) << (5 + (r >> 16) % 9); /* 288 … 128 KiB */
}

/* Where one tier ends and the next begins. */
static size_t tier_edge(uint64_t r) {
    static const size_t edges[] = {1 << 10, 64 << 10, 64 << 10, 1 << 20, 4 << 20, 64 << 20};
    size_t edge = edges[(r >> 8) % (sizeof edges / sizeof edges[0])];
    return edge >= (4 << 20) && (r >> 16) % 16 != 0 ? 1 << 10 : edge;
}

static size_t near(size_t edge, uint64_t r, size_t distance) {
    size_t size = edge + r % (2 * distance + 1);
    return size > distance ? size - distance : 0;
}

static size_t pick_size(struct shadow_generator *g) {
    uint64_t r = random_next(&g->state);
    uint64_t more = random_next(&g->state);
    size_t size;
    if (g->focus != 0 && r % 4 != 0)
        return near(g->focus, more, 8);
    r >>= 2;
    if (r % 64 == 0)
        return 0;
    if (r % 8 == 1)
        size = near(class_edge(more), more >> 40, 2);
    else if (r % 64 == 2)
        size = near(tier_edge(more), more >> 40, 17);
    else if (r % 32 == 3)
        size = near((size_t)1 << more % ((more >> 8) % 32 == 0 ? 27 : 18), more >> 40, 17);
    else if (r % 8192 == 4)
        size = random_size(&g->state, 27);
    else
        size = random_size(&g->state, r % 128 == 5 ? 22 : r % 16 == 6 ? 17 : g->small_bits);
    return g->live_bytes > LIVE_BYTES_MAX ? size % 65536 : size;
}

static uint8_t pick_alignment(struct shadow_generator *g) {
    uint64_t r = random_next(&g->state);
    if (r % 4096 == 0)
        return 30;
    return (uint8_t)(3 + (r >> 16) % (r % 64 == 1 ? 24 : 10)); /* 8 … 4096, or 64 MiB */
}

/* ---- choosing ---- */

void shadow_generator_correct(struct shadow_generator *g, unsigned slot, size_t size) {
    if (g->sizes[slot] != SHADOW_EMPTY)
        g->live_bytes -= g->sizes[slot];
    if (size != SHADOW_EMPTY)
        g->live_bytes += size;
    g->sizes[slot] = size;
}

/* One of a group; of large groups mostly the first, as programs do. */
static uint8_t pick_kind(struct shadow_generator *g, enum shadow_group group) {
    uint64_t r = random_next(&g->state);
    unsigned count = (unsigned)(g_first[group + 1] - g_first[group]);
    return (uint8_t)(g_first[group] + (r % 2 == 0 ? 0 : (r >> 8) % count));
}

static void make_take(struct shadow_generator *g, struct shadow_operation *op) {
    uint64_t r = random_next(&g->state);
    op->size = pick_size(g);
    if (r % 8 < g->aligned_of_8) {
        op->kind = pick_kind(g, SHADOW_GROUP_TAKE_ALIGNED);
        op->align_log2 = pick_alignment(g);
    } else {
        op->kind = pick_kind(g, r % 512 < 8 ? SHADOW_GROUP_TAKE_PAGES : SHADOW_GROUP_TAKE);
    }
    shadow_generator_correct(g, op->slot, op->size);
}

/* Half of the sizes are near the old one: within the block, a little above, half, twice. */
static void make_resize(struct shadow_generator *g, struct shadow_operation *op) {
    uint64_t r = random_next(&g->state);
    size_t old = g->sizes[op->slot];
    size_t size;
    if (r % 8 == 0)
        size = near(old, r >> 8, 16);
    else if (r % 8 == 1)
        size = old / 2;
    else if (r % 8 == 2)
        size = old < (1 << 20) ? old * 2 : old + old / 8;
    else if (r % 8 == 3)
        size = old - old / 8 * ((r >> 8) % 8);
    else
        size = pick_size(g);
    if (g->live_bytes > LIVE_BYTES_MAX)
        size %= 65536;
    op->size = size > 0 ? size : 1; /* 0 would free it */
    op->kind = pick_kind(g, SHADOW_GROUP_RESIZE);
    shadow_generator_correct(g, op->slot, op->size);
}

/* What fails, and what is asked of the process. What gives all memory back is rare: it costs. */
static void make_rare(struct shadow_generator *g, struct shadow_operation *op) {
    uint64_t r = random_next(&g->state);
    if (r % 2 == 0) {
        op->kind = (uint8_t)(g_first[SHADOW_GROUP_REFUSE] +
                             (r >> 8) % (SHADOW_USABLE_SIZE_NULL - SHADOW_REFUSE_MALLOC));
        op->size = (uint64_t)PTRDIFF_MAX + 1 + ((r >> 16) % 2 ? random_next(&g->state) >> 1 : 0);
        if ((r >> 17) % 4 == 0)
            op->size = SIZE_MAX - (r >> 32) % 5000;
        return;
    }
    op->kind =
        (uint8_t)(SHADOW_USABLE_SIZE_NULL + (r >> 8) % (SHADOW_SWAP - SHADOW_USABLE_SIZE_NULL));
    op->size = (r >> 16) % 64;
    if (op->kind == SHADOW_PREWARM)
        op->size = (r >> 24) % 8 == 0 ? random_size(&g->state, 20) : random_size(&g->state, 12);
    if ((op->kind == SHADOW_MALLOC_TRIM || op->kind == SHADOW_MALLOC_INFO) && (r >> 40) % 8 != 0)
        op->kind = SHADOW_MALLOPT;
}

/* False: nothing is to be done with this slot now. */
static bool make_common(struct shadow_generator *g, struct shadow_operation *op, uint64_t wish) {
    bool is_growing =
        g->role == SHADOW_MIXED ? (g->step >> g->phase_log2) % 2 == 0 : g->role == SHADOW_PRODUCER;
    if (g->has_mailboxes && (wish >> 8) % 4 == 0) {
        op->kind = SHADOW_SWAP;
    } else if (g->sizes[op->slot] == SHADOW_EMPTY) {
        if (g->role == SHADOW_CONSUMER)
            op->kind = SHADOW_SWAP;
        else if (is_growing || wish % 8 < 2)
            make_take(g, op);
        else
            return false;
    } else if (g->role != SHADOW_CONSUMER && wish % 8 < 2) {
        make_resize(g, op);
    } else if (!is_growing || wish % 8 < 5) {
        op->kind = pick_kind(g, SHADOW_GROUP_GIVE);
        shadow_generator_correct(g, op->slot, SHADOW_EMPTY);
    } else {
        return false;
    }
    return true;
}

struct shadow_operation shadow_generate(struct shadow_generator *g) {
    struct shadow_operation op = {0};
    uint64_t r;
    g->step++;
    do {
        r = random_next(&g->state);
        op.salt = (uint32_t)(r >> 32);
        op.slot = (uint16_t)((r >> 8) % g->slot_count);
        if (r % 256 == 0) {
            make_rare(g, &op);
            break;
        }
    } while (!make_common(g, &op, random_next(&g->state) >> 20));
    return op;
}

void shadow_generator_begin(struct shadow_generator *g, uint64_t seed, size_t *sizes,
                            unsigned slot_count) {
    uint64_t state = (seed + 1) * 0x9E3779B97F4A7C15ULL;
    random_next(&state);
    uint64_t way = random_next(&state);
    *g = (struct shadow_generator){
        .state = state,
        .sizes = sizes,
        .slot_count = slot_count ? slot_count : 16U << way % 9, /* … 4096 */
        .phase_log2 = 9 + (unsigned)(way >> 8) % 8,
        .small_bits = 8 + (unsigned)(way >> 16) % 5,
        .aligned_of_8 = (way >> 24) % 8 == 0 ? 4 : 1,
    };
    if ((way >> 32) % 4 ==
        0) /* slabs of one class fill up and empty; many large blocks are too much */
        g->focus = random_size(&g->state, g->slot_count <= 256 ? 18 : 13);
    for (unsigned slot = 0; slot < g->slot_count; slot++)
        sizes[slot] = SHADOW_EMPTY;
}
