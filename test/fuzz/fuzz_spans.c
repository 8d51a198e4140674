/* test/fuzz/fuzz_spans.c — the pool, spans and Big blocks in small arenas. SPDX-License-Identifier: MIT */
/*
 * Goal: no order of taking, giving back, growing, shrinking and purging, whatever the kernel refuses, hands
 * the same units out twice, says of dirty memory that it is zero, or loses any.
 * Method: the layers below the heap alone, on a machine whose addresses are few, so that arenas are small
 * and many, and full. A model knows each piece's range; marks at its ends and where units begin are its own. At
 * the end all is given back, and the pool's totals must say so.
 *
 *   input     limit and options, 2 bytes; then operations
 *   operation 1 byte; its parameters
 */
#include <stdlib.h>

#include "api/start.h"
#include "arena/pool.h"
#include "fuzz/world.h"
#include "large/big.h"
#include "large/span.h"
#include "promise/patterns.h"

#define SPANS_MIB ((size_t)1 << 20)

enum { SPANS_PIECES = 128, SPANS_OPERATIONS_MAX = 500, SPANS_MARKS = 32 };

/* Bytes of Big blocks that an input may move or make; the rest is small. */
#define SPANS_BIG_MAX (600 * SPANS_MIB)

enum piece_kind { PIECE_NONE, PIECE_RUN, PIECE_SPAN, PIECE_BIG };

struct piece {
    enum piece_kind kind;
    unsigned char *p;
    size_t size; /* bytes that are ours */
    uint64_t seed;
};

static struct {
    struct fuzz_input input;
    struct piece pieces[SPANS_PIECES];
    uint64_t next_seed;
    uint64_t now_ms;
    size_t big_bytes;
    bool has_limit;
} g_spans;

/* ---- the model ---- */

/* Bytes between marks, which lie where units begin, as a unit is dirty or not. Each costs an OS page. */
static size_t mark_stride(const struct piece *piece) {
    size_t stride = HAK_UNIT_SIZE;
    while (piece->size / stride > SPANS_MARKS)
        stride *= 2;
    return stride;
}

/* The first mark at or behind `at`; the last byte is always marked. */
static size_t mark_from(const struct piece *piece, size_t at) {
    if (at == 0)
        return 0;
    size_t stride = mark_stride(piece);
    size_t next =
        (((uintptr_t)piece->p + at + stride - 1) & ~(uintptr_t)(stride - 1)) - (uintptr_t)piece->p;
    return next < piece->size - 1 ? next : piece->size - 1;
}

static void piece_paint(struct piece *piece) {
    piece->seed = g_spans.next_seed++;
    for (size_t at = 0; at < piece->size; at = mark_from(piece, at) + 1) {
        size_t mark = mark_from(piece, at);
        piece->p[mark] = pattern_byte(piece->seed, mark);
    }
}

/* Marks of the first `size` bytes, which lie at `p` now. */
static void piece_verify(const struct piece *piece, const unsigned char *p, size_t size) {
    for (size_t at = 0; at < piece->size; at = mark_from(piece, at) + 1) {
        size_t mark = mark_from(piece, at);
        FUZZ_REQUIRE(mark >= size || p[mark] == pattern_byte(piece->seed, mark),
                     "byte %zu of %zu at %p changed", mark, piece->size, (const void *)p);
    }
}

/* Where other pieces may have had marks: the first byte of each unit, and what lies before it. */
static void piece_verify_zero(const struct piece *piece) {
    for (size_t at = 0; at < piece->size; at += HAK_UNIT_SIZE) {
        size_t begin = (((uintptr_t)piece->p + at) & ~(HAK_UNIT_SIZE - 1)) - (uintptr_t)piece->p;
        FUZZ_REQUIRE(piece->p[at] == 0, "byte %zu of %zu at %p is not zero", at, piece->size,
                     (void *)piece->p);
        FUZZ_REQUIRE(begin >= piece->size || piece->p[begin] == 0,
                     "byte %zu of %zu at %p, a unit's first, is not zero", begin, piece->size,
                     (void *)piece->p);
        FUZZ_REQUIRE(begin - 1 >= piece->size || piece->p[begin - 1] == 0,
                     "byte %zu of %zu at %p, a unit's last, is not zero", begin - 1, piece->size,
                     (void *)piece->p);
    }
}

static void piece_verify_apart(const struct piece *piece) {
    for (unsigned i = 0; i < SPANS_PIECES; i++) {
        const struct piece *other = &g_spans.pieces[i];
        if (other != piece && other->kind != PIECE_NONE)
            FUZZ_REQUIRE(piece->p + piece->size <= other->p || other->p + other->size <= piece->p,
                         "%p, %zu bytes, overlaps %p, %zu", (void *)piece->p, piece->size,
                         (void *)other->p, other->size);
    }
}

/* It is ours from now on. */
static void piece_begin(struct piece *piece, enum piece_kind kind, void *p, size_t size,
                        bool is_zeroed) {
    *piece = (struct piece){.kind = kind, .p = p, .size = size};
    piece_verify_apart(piece);
    if (is_zeroed)
        piece_verify_zero(piece);
    piece_paint(piece);
}

static struct piece *pick_piece(void) {
    return &g_spans.pieces[fuzz_byte(&g_spans.input) % SPANS_PIECES];
}

static struct piece *empty_piece(void) {
    struct piece *piece = pick_piece();
    return piece->kind == PIECE_NONE ? piece : NULL;
}

/* ---- operations ---- */

static void refusal_verify(unsigned long failures, const char *what, size_t size) {
    FUZZ_REQUIRE(g_spans.has_limit || fake_prim_failures(FAKE_ANY) > failures,
                 "%s of %zu is refused, and the kernel refused nothing", what, size);
}

static size_t unit_count(void) {
    uint8_t byte = fuzz_byte(&g_spans.input);
    return byte < 128 ? byte % 16 + 1u : byte < 224 ? byte - 100u : (byte - 220u) * 29u;
}

static void take_run(void) {
    struct piece *piece = empty_piece();
    uint32_t count = (uint32_t)unit_count();
    uint8_t how = fuzz_byte(&g_spans.input);
    uint32_t align = UINT32_C(1) << (how % 4 == 0 ? how / 4 % 12 : 0);
    if (piece == NULL)
        return;
    unsigned long failures = fake_prim_failures(FAKE_ANY);
    struct hak_pool_run run =
        hak_pool_take(count, align, how & 128 ? HAK_LANE_HUGE : HAK_LANE_PLAIN);
    if (run.first == HAK_UNIT_NONE) {
        refusal_verify(failures, "a run", count);
        return;
    }
    void *p = hak_unit_address(run.first);
    FUZZ_REQUIRE(is_aligned(p, align * HAK_UNIT_SIZE), "%p is not aligned to %u units", p, align);
    for (uint32_t i = 0; i < count; i++)
        hak_pagemap_set(run.first + i, HAK_KIND_NONE);
    piece_begin(piece, PIECE_RUN, p, count * HAK_UNIT_SIZE, run.is_zeroed);
}

static size_t span_size(void) {
    size_t size = unit_count() * HAK_UNIT_SIZE;
    size_t less = fuzz_number(&g_spans.input, 2);
    return less < size ? size - less : size;
}

static void take_span(void) {
    struct piece *piece = empty_piece();
    size_t size = span_size();
    uint8_t how = fuzz_byte(&g_spans.input);
    size_t align = how & 1 ? (size_t)16 << how / 2 % 24 : 16;
    if (piece == NULL)
        return;
    unsigned long failures = fake_prim_failures(FAKE_ANY);
    bool is_zeroed = false;
    void *p = hak_span_alloc(size, align, &is_zeroed);
    if (p == NULL) {
        refusal_verify(failures, "a span", size);
        return;
    }
    FUZZ_REQUIRE(is_aligned(p, align), "%p is not aligned to %zu", p, align);
    FUZZ_REQUIRE(hak_span_is_start(p) && hak_span_size(p) >= size, "usable %zu of %zu",
                 hak_span_size(p), size);
    piece_begin(piece, PIECE_SPAN, p, hak_span_size(p), is_zeroed);
}

/* What realloc makes Big first: smaller ones do not grow. */
#define SPANS_GROWN_MIN (4 * SPANS_MIB)

static size_t big_size(void) {
    size_t size = fuzz_number(&g_spans.input, 2) * 4096 % (96 * SPANS_MIB) + 1;
    if (g_spans.big_bytes + size > SPANS_BIG_MAX)
        size %= SPANS_MIB;
    g_spans.big_bytes += size;
    return size;
}

static void take_big(void) {
    struct piece *piece = empty_piece();
    size_t size = big_size();
    uint8_t how = fuzz_byte(&g_spans.input);
    size_t align = how & 1 ? (size_t)16 << how / 4 % 29 : 16;
    if (how & 2)
        size += SPANS_GROWN_MIN;
    if (piece == NULL)
        return;
    unsigned long failures = fake_prim_failures(FAKE_ANY);
    bool is_zeroed = false;
    void *p = how & 2 ? hak_big_alloc_growing(size) : hak_big_alloc(size, align, &is_zeroed);
    if (p == NULL) {
        refusal_verify(failures, "Big", size);
        return;
    }
    FUZZ_REQUIRE(how & 2 || is_aligned(p, align), "%p is not aligned to %zu", p, align);
    FUZZ_REQUIRE(hak_big_size(p) >= size, "usable %zu of %zu", hak_big_size(p), size);
    piece_begin(piece, PIECE_BIG, p, hak_big_size(p), is_zeroed);
}

static void give_back(struct piece *piece) {
    enum hak_misuse misuse = HAK_MISUSE_NONE;
    if (piece->kind == PIECE_NONE)
        return;
    piece_verify(piece, piece->p, piece->size);
    if (piece->kind == PIECE_RUN)
        hak_pool_put(hak_unit_of(piece->p), (uint32_t)(piece->size / HAK_UNIT_SIZE));
    else
        misuse = piece->kind == PIECE_SPAN ? hak_span_free(piece->p) : hak_big_free(piece->p);
    FUZZ_REQUIRE(misuse == HAK_MISUSE_NONE, "a right free is misuse %d", (int)misuse);
    piece->kind = PIECE_NONE;
}

static void resize_run(struct piece *piece) {
    uint32_t old_count = (uint32_t)(piece->size / HAK_UNIT_SIZE);
    uint32_t new_count = (uint32_t)unit_count();
    hak_unit first = hak_unit_of(piece->p);
    if (new_count < old_count) {
        hak_pool_put(first + new_count, old_count - new_count);
    } else if (new_count == old_count || !hak_pool_extend(first, old_count, new_count)) {
        return;
    }
    for (uint32_t i = old_count; i < new_count; i++)
        hak_pagemap_set(first + i, HAK_KIND_NONE);
    piece_begin(piece, PIECE_RUN, piece->p, new_count * HAK_UNIT_SIZE, false);
}

static void resize_span(struct piece *piece) {
    size_t size = span_size();
    if (!hak_span_resize(piece->p, size)) {
        piece_verify(piece, piece->p, piece->size);
        return;
    }
    FUZZ_REQUIRE(hak_span_size(piece->p) >= size, "resized: usable %zu of %zu",
                 hak_span_size(piece->p), size);
    piece_verify(piece, piece->p, size < piece->size ? size : piece->size);
    piece_begin(piece, PIECE_SPAN, piece->p, hak_span_size(piece->p), false);
}

static void resize_big(struct piece *piece) {
    size_t size = big_size();
    unsigned long failures = fake_prim_failures(FAKE_ANY);
    bool is_less = size <= piece->size;
    unsigned char *p = hak_big_resize(piece->p, size);
    if (p == NULL) {
        FUZZ_REQUIRE(!is_less, "Big cannot shrink from %zu to %zu", piece->size, size);
        refusal_verify(failures, "resizing Big", size);
        piece_verify(piece, piece->p, piece->size);
        return;
    }
    size_t usable = hak_big_size(p);
    FUZZ_REQUIRE(usable >= size, "resized: usable %zu of %zu", usable, size);
    piece_verify(piece, p, usable < piece->size ? usable : piece->size);
    piece_begin(piece, PIECE_BIG, p, usable, false);
}

static void resize(void) {
    struct piece *piece = pick_piece();
    if (piece->kind == PIECE_NONE)
        return;
    piece_verify(piece, piece->p, piece->size);
    if (piece->kind == PIECE_RUN)
        resize_run(piece);
    else if (piece->kind == PIECE_SPAN)
        resize_span(piece);
    else
        resize_big(piece);
}

static void pass_time(uint8_t how) {
    g_spans.now_ms += how & 16 ? 500 : 100;
    fake_prim_advance_clock(how & 16 ? 500 : 100);
    switch (how / 32) {
    case 0:
        hak_pool_purge(HAK_CAUSE_TRIM);
        break;
    case 1:
        hak_big_purge(0, 0, HAK_CAUSE_TRIM);
        break;
    case 2:
        hak_big_purge(hak_prim_clock_ms(), 500, HAK_CAUSE_TRIM);
        break;
    case 3:
        hak_pool_owe_all();
        break;
    case 4:
        (void)hak_pool_take_regret();
        break;
    default:
        (void)hak_pool_epoch();
        while (how & 1 && hak_pool_pay() > 0)
            ;
        (void)hak_pool_pay();
    }
}

static void play_script(void) {
    struct fuzz_input *input = &g_spans.input;
    uint8_t what = fuzz_byte(input);
    struct fake_script script = {0};
    if (what & 1) {
        script.series =
            what & 4 ? FAKE_ANY_MEMORY : (enum fake_call)(fuzz_byte(input) % (FAKE_EXTEND + 1));
        script.first = fuzz_byte(input) % 8 + 1u;
        script.count = what & 2 ? ULONG_MAX : what / 8 % 4 + 1u;
    } else if (what & 2) {
        script.series = FAKE_ANY_MEMORY;
        script.random_permille = what * 3u;
        script.seed = fuzz_byte(input);
    }
    fake_prim_play(script);
}

static void check_pool(void) {
    struct hak_pool_stats stats = hak_pool_stats();
    FUZZ_REQUIRE(stats.committed <= stats.reserved, "more is usable than reserved");
    FUZZ_REQUIRE(stats.free_zeroed <= stats.free, "more is given back than free");
    FUZZ_REQUIRE(hak_pool_used_units() * HAK_UNIT_SIZE + stats.free <= stats.committed,
                 "more is used and free than usable");
}

static void operate(uint8_t code) {
    switch (code % 16) {
    case 0:
    case 1:
    case 2:
        take_run();
        break;
    case 3:
    case 4:
    case 5:
        take_span();
        break;
    case 6:
    case 7:
        take_big();
        break;
    case 8:
    case 9:
    case 10:
        give_back(pick_piece());
        break;
    case 11:
    case 12:
        resize();
        break;
    case 13:
        play_script();
        break;
    case 14:
        check_pool();
        break;
    default:
        pass_time(code);
    }
}

/* ---- an input ---- */

/* The library's own, which it keeps: where Big blocks end is written there. */
static size_t own_units(void) {
    size_t count = 0;
    for (uint32_t i = 1; i <= hak_atomic_load_relaxed(&hak_arenas.count); i++) {
        const struct hak_arena *arena = hak_arenas.list[i];
        for (hak_unit unit = arena->begin; unit < arena->frontier; unit++)
            count += hak_pagemap_tag(unit) == HAK_KIND_META;
    }
    return count;
}

static void check_books(void) {
    fake_prim_play((struct fake_script){0});
    hak_pool_purge(HAK_CAUSE_TRIM);
    hak_big_purge(0, 0, HAK_CAUSE_TRIM);
    struct hak_pool_stats stats = hak_pool_stats();
    FUZZ_REQUIRE(hak_pool_used_units() == own_units(), "%zu units are in use, %zu are known",
                 hak_pool_used_units(), own_units());
    FUZZ_REQUIRE(stats.free == stats.free_zeroed, "%zu bytes are free, %zu of them given back",
                 stats.free, stats.free_zeroed);
    struct hak_span_stats spans = hak_span_stats();
    struct hak_big_stats big = hak_big_stats();
    FUZZ_REQUIRE(spans.count == 0 && spans.bytes == 0, "%zu spans, %zu bytes", spans.count,
                 spans.bytes);
    FUZZ_REQUIRE(big.count == 0 && big.bytes == 0 && big.cached_bytes == 0,
                 "%zu Big blocks, %zu bytes, %zu kept", big.count, big.bytes, big.cached_bytes);
}

static void body(void *unused) {
    (void)unused;
    if (!hak_start())
        return; /* too few addresses for the first arena */
    for (int i = 0; i < SPANS_OPERATIONS_MAX && !fuzz_is_empty(&g_spans.input); i++)
        operate(fuzz_byte(&g_spans.input));
    for (unsigned i = 0; i < SPANS_PIECES; i++)
        give_back(&g_spans.pieces[i]);
    check_books();
}

void fuzz_one(const uint8_t *data, size_t size) {
    static const size_t limits[] = {0, 24, 40, 64, 100, 150, 400, 1500}; /* MiB */
    static const char *const environments[][2] = {
        {NULL}, {"HAKMEM_HUGE=on", NULL}, {"HAKMEM_HUGE=off", NULL}, {"HAKMEM_HUGE=auto", NULL}};
    memset(&g_spans, 0, sizeof g_spans);
    g_spans.input = (struct fuzz_input){data, data + size};
    g_spans.next_seed = 1;
    struct fake_machine machine = {.address_limit =
                                       limits[fuzz_byte(&g_spans.input) % 8] * SPANS_MIB};
    g_spans.has_limit = machine.address_limit != 0;
    world_run(machine, (char **)(uintptr_t)environments[fuzz_byte(&g_spans.input) % 4], body, NULL);
}
