/* test/unit/large/test_big.c — Big blocks: each its own mapping. SPDX-License-Identifier: MIT */

/*
 * Goal: any size and alignment that can exist does; a new mapping reads as zero; what is freed serves
 * the next block without a system call, or is gone; growing keeps the contents and copies nothing;
 * addresses are used again; misuse is recognized, of blocks that were moved as well.
 * Method: the kernel is asked what is mapped, the ledger what was called; each test in a child.
 */

#include <sys/resource.h>

#include "arena/pagemap.h"
#include "arena/pool.h"
#include "base/bits.h"
#include "large/big.h"
#include "large/big_cache.h"
#include "prim/prim.h"
#include "unit/harness.h"
#include "vm/vm.h"

static uint64_t calls(enum hak_call call) {
    uint64_t count = 0;
    for (unsigned cause = 0; cause < HAK_CAUSE_COUNT; cause++)
        count += hak_ledger_read(call, (enum hak_cause)cause).count;
    return count;
}

static uint64_t all_calls(void) {
    uint64_t count = 0;
    for (unsigned call = 0; call < HAK_CALL_COUNT; call++)
        count += calls((enum hak_call)call);
    return count;
}

static size_t mapped_in_window(void) {
    char line[512];
    size_t bytes = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps)) {
        uintptr_t from;
        uintptr_t to;
        CHECK(sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2);
        if (from - hak_vm_window().base < hak_vm_window().size)
            bytes += to - from;
    }
    fclose(maps);
    return bytes;
}

static bool g_is_window_ours; /* a sanitizer's runtime lives in it as well */

/* Start-up makes the first arena, and with it the pagemap, before any block. */
static void start(void) {
    hak_vm_init();
    CHECK(hak_pool_init());
    g_is_window_ours = mapped_in_window() == HAK_GIB;
}

/* Nothing but the arena is mapped. */
static void check_nothing_left(void) {
    CHECK(!g_is_window_ours || mapped_in_window() == HAK_GIB);
}

static void check_block(char *p, size_t size, size_t align) {
    CHECK(p != NULL);
    CHECK_EQUAL((uintptr_t)p % hak_max(align, 2 * HAK_MIB), 0);
    CHECK(hak_big_size(p) >= size);
    CHECK_EQUAL(hak_big_size(p) % hak_vm_page_size(), 0);
    CHECK_EQUAL(hak_pagemap_tag(hak_unit_of(p)), HAK_KIND_BIG);
}

/* A block in a mapping of its own size: nothing that is kept fits. */
static char *alloc(size_t size, size_t align) {
    bool is_zeroed = false;
    char *p = hak_big_alloc(size, align, &is_zeroed);
    check_block(p, size, align);
    CHECK(is_zeroed);
    CHECK_EQUAL(hak_big_size(p), hak_align_up(size ? size : 1, hak_vm_page_size()));
    CHECK_EQUAL(p[0], 0);
    CHECK_EQUAL(p[hak_big_size(p) - 1], 0);
    CHECK(!harness_is_readable(p + hak_big_size(p)));
    return p;
}

static void expect_free(char *p, enum hak_misuse misuse) {
    struct hak_big_stats before = hak_big_stats();
    size_t size = misuse == HAK_MISUSE_NONE ? hak_big_size(p) : 0;
    CHECK_EQUAL(hak_big_free(p), misuse);
    CHECK_EQUAL(hak_big_stats().bytes, before.bytes - size);
    CHECK_EQUAL(hak_big_stats().count, before.count - (misuse == HAK_MISUSE_NONE));
    if (misuse == HAK_MISUSE_NONE)
        CHECK_EQUAL(hak_pagemap_tag(hak_unit_of(p)), HAK_KIND_BIG_FREED);
}

/* Frees, and keeps nothing. */
static void expect_gone(char *p) {
    expect_free(p, HAK_MISUSE_NONE);
    hak_big_purge(0, 0, HAK_CAUSE_TRIM);
    CHECK_EQUAL(hak_big_stats().cached_bytes, 0);
    CHECK(!harness_is_readable(p));
    CHECK_EQUAL(hak_pagemap_tag(hak_unit_of(p)), HAK_KIND_BIG_FREED);
}

static void run_sizes(void *argument) {
    static const size_t sizes[] = {0,
                                   1,
                                   4096,
                                   4097,
                                   64 * HAK_KIB,
                                   64 * HAK_MIB,
                                   65 * HAK_MIB + 1,
                                   3 * HAK_GIB,
                                   100 * HAK_GIB + 12345};
    start();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t align = 1; align <= 4 * HAK_GIB; align *= 16) {
            char *p = alloc(sizes[i], align);
            p[0] = 1;
            p[hak_big_size(p) - 1] = 1;
            expect_gone(p);
        }
    }
    struct hak_ledger_cell made = hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_BIG);
    CHECK_EQUAL(made.count, calls(HAK_CALL_MUNMAP));
    CHECK_EQUAL(made.bytes, hak_ledger_read(HAK_CALL_MUNMAP, HAK_CAUSE_BIG).bytes +
                                hak_ledger_read(HAK_CALL_MUNMAP, HAK_CAUSE_TRIM).bytes);
}

static void test_sizes(void **state) {
    harness_expect_well(run_sizes, NULL);
}

static void run_alignments(void *argument) {
    char *held[8];
    start();
    for (int i = 0; i < 8; i++) {
        held[i] = alloc(HAK_MIB, HAK_GIB << i); /* 1 … 128 GiB, all at once */
        held[i][HAK_MIB - 1] = 1;
    }
    for (int i = 0; i < 8; i++)
        expect_free(held[i], HAK_MISUSE_NONE);
}

static void test_alignments(void **state) {
    harness_expect_well(run_alignments, NULL);
}

/* What can never be: NULL at once, and nothing reserved. */
static void run_impossible(void *argument) {
    bool is_zeroed;
    start();
    size_t window = hak_vm_window().size;
    const size_t sizes[] = {SIZE_MAX, (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX, window + 1,
                            window,   window - HAK_MIB,        HAK_TIB - 1, HAK_TIB + 1};
    char *held = alloc(HAK_MIB, 16);
    uint64_t before = all_calls();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        CHECK(hak_big_alloc(sizes[i], 16, &is_zeroed) == NULL);
        CHECK(hak_big_alloc(sizes[i], (size_t)1 << 61, &is_zeroed) == NULL);
        CHECK(hak_big_alloc_growing(sizes[i]) == NULL);
        CHECK(hak_big_resize(held, sizes[i]) == NULL);
    }
    CHECK(hak_big_alloc(1, (size_t)1 << 62, &is_zeroed) == NULL);
    CHECK(hak_big_alloc(1, (size_t)1 << 63, &is_zeroed) == NULL);
    CHECK(hak_big_alloc(1, window * 4, &is_zeroed) == NULL);
    CHECK_EQUAL(all_calls(), before);
    CHECK_EQUAL(hak_big_stats().count, 1);
    check_block(held, HAK_MIB, 16);
    expect_gone(held);
    expect_gone(alloc(HAK_GIB, 16));
}

static void test_impossible(void **state) {
    harness_expect_well(run_impossible, NULL);
}

/* ---- addresses ---- */

static void run_places(void *argument) {
    start();
    char *first = alloc(100 * HAK_GIB, 16);
    expect_gone(first);
    for (int i = 0; i < 100; i++) { /* 10 TiB in a window of 1 */
        char *p = alloc(100 * HAK_GIB, 16);
        CHECK(p == first);
        p[i] = 1;
        expect_gone(p);
    }
    /* many at once, freed in another order, and again at the same places */
    char *held[50];
    uintptr_t sum = 0;
    for (int round = 0; round < 3; round++) {
        uintptr_t round_sum = 0;
        for (int i = 0; i < 50; i++) {
            held[i] = alloc(65 * HAK_MIB, 16);
            round_sum += (uintptr_t)held[i];
        }
        for (int i = 0; i < 50; i++)
            expect_free(held[i * 7 % 50], HAK_MISUSE_NONE);
        hak_big_purge(0, 0, HAK_CAUSE_TRIM);
        CHECK(round == 0 || round_sum == sum);
        sum = round_sum;
    }
}

static void test_places(void **state) {
    harness_expect_well(run_places, NULL);
}

/* A process whose first block is Big: an arena that comes later finds its place beside it. */
static void run_first(void *argument) {
    size_t align = *(size_t *)argument;
    start();
    char *p = alloc(100 * HAK_MIB, align);
    p[100 * HAK_MIB - 1] = 1;
    struct hak_pool_run run =
        hak_pool_take(20000, 1, HAK_LANE_PLAIN); /* more than the first arena */
    CHECK(run.first != HAK_UNIT_NONE);
    CHECK(run.is_zeroed);
    expect_gone(p);
    CHECK(alloc(100 * HAK_MIB, align) == p);
}

static void test_first(void **state) {
    size_t plain = 16;
    size_t aligned = 64 * HAK_GIB;
    harness_expect_well(run_first, &plain);
    harness_expect_well(run_first, &aligned);
}

/* No block touches another. */
static void run_content(void *argument) {
    enum { COUNT = 12 };
    char *held[COUNT];
    size_t size = 300 * HAK_KIB;
    start();
    for (int i = 0; i < COUNT; i++) {
        held[i] = alloc(size + (size_t)i, HAK_UNIT_SIZE << i % 8);
        CHECK(harness_is_zero(held[i], hak_big_size(held[i])));
        memset(held[i], i + 1, hak_big_size(held[i]));
    }
    for (int i = 0; i < COUNT; i++) {
        CHECK_EQUAL(hak_big_size(held[i]), hak_align_up(size + (size_t)i, hak_vm_page_size()));
        CHECK_EQUAL(held[i][0], i + 1);
        CHECK(memcmp(held[i], held[i] + 1, hak_big_size(held[i]) - 1) == 0);
        expect_gone(held[i]);
    }
}

static void test_content(void **state) {
    harness_expect_well(run_content, NULL);
}

/* ---- mappings of the kernel, huge pages ---- */

static size_t mapping_count(void) {
    char line[512];
    size_t count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps))
        count++;
    fclose(maps);
    return count;
}

/* As realloc does: nothing while it fits. */
static char *grow(char *p, size_t size) {
    if (size > hak_big_size(p))
        p = hak_big_resize(p, size);
    check_block(p, size, 1);
    return p;
}

/* Three mappings a block at most, the pagemap's share included; for blocks that grew and moved too. */
static void run_mappings(void *argument) {
    enum { COUNT = 60 };
    char *held[COUNT];
    start();
    mapping_count(); /* what stdio needs is there */
    size_t before = mapping_count();
    for (size_t i = 0; i < COUNT; i++) {
        held[i] =
            i % 2 ? hak_big_alloc_growing((4 + i) * HAK_MIB) : alloc((65 + i * i) * HAK_MIB, 16);
        held[i][0] = 1;
    }
    CHECK(mapping_count() <= before + 3 * COUNT);
    for (size_t step = 1; step <= 6; step++) {
        for (size_t i = 0; i < COUNT; i++) {
            held[i] = grow(held[i], hak_big_size(held[i]) + step * i * HAK_MIB + 1);
            held[i][hak_big_size(held[i]) - 1] = 1;
        }
        CHECK(mapping_count() <= before + 3 * COUNT);
    }
    CHECK(hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_BIG_GROW).count > COUNT); /* many have moved */
    for (size_t i = 0; i < COUNT; i++)
        expect_gone(held[i]);
    CHECK(mapping_count() <= before + 2 * COUNT); /* the pagemap's parts stay */
}

static void test_mappings(void **state) {
    harness_expect_well(run_mappings, NULL);
}

/* Bytes of the block's mapping in huge pages, as /proc/self/smaps has it. */
static size_t huge_bytes(const char *p) {
    char line[512];
    bool is_ours = false;
    size_t kib = 0;
    FILE *smaps = fopen("/proc/self/smaps", "r");
    CHECK(smaps != NULL);
    while (fgets(line, sizeof line, smaps)) {
        uintptr_t from;
        uintptr_t to;
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2)
            is_ours = (uintptr_t)p >= from && (uintptr_t)p < to;
        else if (is_ours && sscanf(line, "AnonHugePages: %zu kB", &kib) == 1)
            break;
    }
    fclose(smaps);
    return kib * HAK_KIB;
}

static bool kernel_has_huge(void) {
    char text[64] = "";
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
    if (file == NULL)
        return false;
    bool is_read = fgets(text, sizeof text, file) != NULL;
    fclose(file);
    return is_read && strstr(text, "[never]") == NULL && hak_vm_page_size() == 4096;
}

/* One advice a block, from 4 MiB on; whatever it grows by later is like it. */
static void run_huge(void *argument) {
    bool is_zeroed;
    start();
    char *small = hak_big_alloc(3 * HAK_MIB, 16, &is_zeroed); /* not touched */
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MADVISE, HAK_CAUSE_HUGE).count, 0);
    char *p = hak_big_alloc_growing(4 * HAK_MIB);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MADVISE, HAK_CAUSE_HUGE).count, 1);
    char *in_the_way = alloc(HAK_MIB, 16);
    for (size_t size = 5; size < 100; size += 5)
        p = grow(p, size * HAK_MIB);
    memset(p, 1, 95 * HAK_MIB);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MADVISE, HAK_CAUSE_HUGE).count, 1);
    CHECK(!kernel_has_huge() || huge_bytes(p) >= 94 * HAK_MIB);
    small = grow(small, 4 * HAK_MIB + 1); /* the size at which it is worth it */
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MADVISE, HAK_CAUSE_HUGE).count, 2);
    memset(small, 1, 4 * HAK_MIB);
    CHECK(!kernel_has_huge() || huge_bytes(small) >= 4 * HAK_MIB);
    expect_gone(in_the_way);
    expect_gone(small);
    expect_gone(p);
}

static void test_huge(void **state) {
    harness_expect_well(run_huge, NULL);
}

/* ---- the cache ---- */

static void run_reuse(void *argument) {
    bool is_zeroed = true;
    start();
    char *p = alloc(100 * HAK_MIB, 16);
    p[5] = 7;
    p[100 * HAK_MIB - 1] = 8;
    expect_free(p, HAK_MISUSE_NONE);
    CHECK_EQUAL(hak_big_stats().cached_bytes, 100 * HAK_MIB);
    uint64_t before = all_calls();
    for (int i = 0; i < 1000; i++) {
        char *q = hak_big_alloc((80 + (size_t)i % 21) * HAK_MIB, 2 * HAK_MIB, &is_zeroed);
        CHECK(q == p);
        check_block(q, 80 * HAK_MIB, 2 * HAK_MIB);
        CHECK(!is_zeroed);
        CHECK_EQUAL(hak_big_size(q), 100 * HAK_MIB); /* all of it is the block's */
        CHECK_EQUAL(q[5], 7);
        CHECK_EQUAL(q[100 * HAK_MIB - 1], 8);
        CHECK_EQUAL(hak_big_stats().cached_bytes, 0);
        expect_free(q, HAK_MISUSE_NONE);
    }
    CHECK(hak_big_alloc_growing(90 * HAK_MIB) == p);
    CHECK_EQUAL(all_calls(), before);
    char *other = alloc(90 * HAK_MIB, 16); /* nothing is left */
    CHECK(other != p);
    expect_free(p, HAK_MISUSE_NONE);
    CHECK(alloc(79 * HAK_MIB, 16) != p);      /* wastes too much of it */
    CHECK(alloc(100 * HAK_MIB + 1, 16) != p); /* does not fit */
    size_t align = ((uintptr_t)p & -(uintptr_t)p) * 2;
    CHECK(alloc(100 * HAK_MIB, align) != p); /* lies elsewhere */
}

static void test_reuse(void **state) {
    harness_expect_well(run_reuse, NULL);
}

static size_t cached(void) {
    return hak_big_stats().cached_bytes;
}

/* 256 MiB or a quarter of what is live, and never more than the policy says. */
static void run_cache_bounds(void *argument) {
    char *held[8];
    start();
    for (int i = 0; i < 8; i++)
        held[i] = alloc(100 * HAK_MIB, 16);
    for (int i = 0; i < 8; i++) {
        expect_free(held[i], HAK_MISUSE_NONE);
        CHECK_EQUAL(cached(), (i == 0 ? 100 : 200) * HAK_MIB);
        CHECK_EQUAL(harness_is_readable(held[i]), true);
        CHECK(i < 2 || !harness_is_readable(held[i - 2])); /* the oldest had to go */
    }
    expect_free(alloc(257 * HAK_MIB, 16), HAK_MISUSE_NONE); /* goes itself */
    CHECK_EQUAL(cached(), 200 * HAK_MIB);
    char *live = alloc(2 * HAK_GIB, 16);
    expect_free(alloc(300 * HAK_MIB, 16), HAK_MISUSE_NONE);
    CHECK_EQUAL(cached(), 500 * HAK_MIB);
    hak_atomic_store_relaxed(&hak_big_policy.cache_bytes_max, 150 * HAK_MIB);
    expect_free(alloc(120 * HAK_MIB, 16), HAK_MISUSE_NONE);
    CHECK_EQUAL(cached(), 120 * HAK_MIB);
    hak_atomic_store_relaxed(&hak_big_policy.cache_bytes_max, 0);
    expect_free(alloc(200 * HAK_MIB, 16), HAK_MISUSE_NONE);
    CHECK_EQUAL(cached(), 120 * HAK_MIB);
    CHECK_EQUAL(hak_big_purge(0, 0, HAK_CAUSE_TRIM), 120 * HAK_MIB);
    expect_gone(live);
    check_nothing_left();
}

static void test_cache_bounds(void **state) {
    harness_expect_well(run_cache_bounds, NULL);
}

static void run_purge(void *argument) {
    start();
    char *a = alloc(70 * HAK_MIB, 16);
    char *b = alloc(80 * HAK_MIB, 16);
    expect_free(a, HAK_MISUSE_NONE);
    expect_free(b, HAK_MISUSE_NONE);
    uint64_t now = hak_prim_clock_ms();
    CHECK_EQUAL(hak_big_purge(now, 10000, HAK_CAUSE_EPOCH), 0);
    CHECK_EQUAL(hak_big_purge(now + 10000, 10000, HAK_CAUSE_EPOCH), 150 * HAK_MIB);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MUNMAP, HAK_CAUSE_EPOCH).count, 2);
    CHECK(!harness_is_readable(a));
    CHECK(!harness_is_readable(b));
    CHECK_EQUAL(hak_big_purge(now + 20000, 0, HAK_CAUSE_EPOCH), 0);
    expect_free(alloc(70 * HAK_MIB, 16), HAK_MISUSE_NONE);
    CHECK_EQUAL(hak_big_purge(0, 0, HAK_CAUSE_OUT_OF_MEMORY), 70 * HAK_MIB);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MUNMAP, HAK_CAUSE_OUT_OF_MEMORY).count, 1);
}

static void test_purge(void **state) {
    harness_expect_well(run_purge, NULL);
}

/* Blocks that grow again and again: what the last one left serves the next, shortened. */
static void run_reuse_growing(void *argument) {
    start();
    char *first = NULL;
    uint64_t mmaps = 0;
    for (int round = 0; round < 20; round++) {
        char *p = hak_big_alloc_growing(4 * HAK_MIB);
        check_block(p, 4 * HAK_MIB, 16);
        CHECK(first == NULL || p == first);
        CHECK(hak_big_size(p) <= 6 * HAK_MIB);
        CHECK_EQUAL(cached(), 0);
        mmaps = first ? mmaps : calls(HAK_CALL_MMAP);
        first = p;
        for (size_t size = 5 * HAK_MIB; size <= 50 * HAK_MIB; size += 5 * HAK_MIB)
            CHECK(hak_big_resize(p, size) == p);
        expect_free(p, HAK_MISUSE_NONE);
    }
    CHECK_EQUAL(calls(HAK_CALL_MMAP), mmaps);
    /* one that is large by half at most is taken as it is; one for malloc is left alone */
    size_t kept = cached();
    char *p = hak_big_alloc_growing(kept / 3 * 2 + 1);
    CHECK(p == first);
    CHECK_EQUAL(hak_big_size(p), kept);
    expect_gone(p);
    p = alloc(65 * HAK_MIB, 16);
    expect_free(p, HAK_MISUSE_NONE);
    CHECK(hak_big_alloc_growing(4 * HAK_MIB) != p);
    CHECK_EQUAL(cached(), 65 * HAK_MIB);
}

static void test_reuse_growing(void **state) {
    harness_expect_well(run_reuse_growing, NULL);
}

/* ---- growing and shrinking ---- */

static uint64_t *words_of(char *p) {
    return (uint64_t *)(void *)p;
}

static void write_pattern(char *p, size_t from, size_t to) {
    for (size_t i = hak_align_up(from, 4096) / 8; i < to / 8; i += 512)
        words_of(p)[i] = i * UINT64_C(0x9E3779B97F4A7C15);
}

static void check_pattern(char *p, size_t size) {
    for (size_t i = 0; i < size / 8; i += 512)
        CHECK_EQUAL(words_of(p)[i], i * UINT64_C(0x9E3779B97F4A7C15));
}

/* By 4 KiB to 1 GiB, and every page there is used. */
static void run_growth(void *argument) {
    size_t end = HAK_GIB / HARNESS_SLOWNESS;
    start();
    char *p = hak_big_alloc_growing(4 * HAK_MIB);
    uint64_t before = all_calls();
    size_t moves = 0;
    write_pattern(p, 0, 4 * HAK_MIB);
    for (size_t size = 4 * HAK_MIB; size < end;) {
        size += 4096;
        char *q = grow(p, size);
        moves += q != p;
        p = q;
        write_pattern(p, size - 4096, size);
        CHECK(hak_big_size(p) <= size + size / 8 + 2 * HAK_MIB);
    }
    check_pattern(p, end);
    CHECK_EQUAL(moves, 0); /* nothing was behind it */
    /* in steps of an eighth: 48 for a factor of 256, and the pagemap's and the table's parts */
    CHECK(all_calls() - before <= 60);
    CHECK_EQUAL(hak_big_stats().bytes, hak_big_size(p));
    expect_gone(p);
}

static void test_growth(void **state) {
    harness_expect_well(run_growth, NULL);
}

/* Beside others it moves when its addresses are used up: at each doubling, and nothing is copied. */
static void run_moves(void *argument) {
    enum { BLOCKS = 3 };
    char *held[BLOCKS];
    size_t moves = 0;
    start();
    for (int i = 0; i < BLOCKS; i++) {
        held[i] = hak_big_alloc_growing(4 * HAK_MIB);
        write_pattern(held[i], 0, 4 * HAK_MIB);
    }
    uint64_t mremaps = calls(HAK_CALL_MREMAP);
    for (size_t size = 4 * HAK_MIB; size < 200 * HAK_MIB; size += size / 20 / 4096 * 4096) {
        size_t next = size + size / 20 / 4096 * 4096;
        for (int i = 0; i < BLOCKS; i++) {
            char *old = held[i];
            held[i] = grow(old, next);
            write_pattern(held[i], size, next);
            if (held[i] == old)
                continue;
            moves++;
            CHECK(hak_pagemap_tag(hak_unit_of(old)) != HAK_KIND_BIG || old == held[(i + 1) % 3] ||
                  old == held[(i + 2) % 3]);
            check_pattern(held[i], next);
        }
    }
    CHECK(moves >= BLOCKS * 3);
    CHECK(moves <= BLOCKS * 7);
    CHECK(calls(HAK_CALL_MREMAP) > mremaps);
    CHECK_EQUAL(hak_big_stats().count, BLOCKS);
    size_t bytes = 0;
    for (int i = 0; i < BLOCKS; i++) {
        check_pattern(held[i], 200 * HAK_MIB);
        bytes += hak_big_size(held[i]);
    }
    CHECK_EQUAL(hak_big_stats().bytes, bytes);
    for (int i = 0; i < BLOCKS; i++)
        expect_gone(held[i]);
}

static void test_moves(void **state) {
    harness_expect_well(run_moves, NULL);
}

/* A block of an exact mapping; the old pointer is a freed one, and its place is used again. */
static void run_moved_misuse(void *argument) {
    start();
    char *p = alloc(100 * HAK_MIB, 16);
    char *in_the_way = alloc(HAK_MIB, 16);
    write_pattern(p, 0, 100 * HAK_MIB);
    char *moved = grow(p, 103 * HAK_MIB);
    CHECK(moved != p);
    check_pattern(moved, 100 * HAK_MIB);
    CHECK(harness_is_zero(moved + 100 * HAK_MIB, 3 * HAK_MIB)); /* not promised, but so it is */
    CHECK(!harness_is_readable(p));
    CHECK_EQUAL(hak_pagemap_tag(hak_unit_of(p)), HAK_KIND_BIG_FREED);
    CHECK_EQUAL(hak_big_free(p), HAK_MISUSE_DOUBLE_FREE);
    expect_free(moved + 4096, HAK_MISUSE_INSIDE);
    CHECK(alloc(100 * HAK_MIB, 16) == p);
    /* Freed by another thread while it grows: it is not moved, and the free is found. */
    size_t mapped = mapped_in_window();
    hak_pagemap_set(hak_unit_of(p), HAK_KIND_BIG_FREED);
    CHECK(hak_big_resize(p, 200 * HAK_MIB) == NULL);
    CHECK_EQUAL(hak_big_free(p), HAK_MISUSE_DOUBLE_FREE);
    CHECK_EQUAL(mapped_in_window(), mapped);
    hak_pagemap_set(hak_unit_of(p), HAK_KIND_BIG);
    expect_gone(p);
    expect_gone(moved);
    expect_gone(in_the_way);
}

static void test_moved_misuse(void **state) {
    harness_expect_well(run_moved_misuse, NULL);
}

static void run_shrinking(void *argument) {
    start();
    char *p = alloc(100 * HAK_MIB, 16);
    write_pattern(p, 0, 100 * HAK_MIB);
    uint64_t before = all_calls();
    CHECK(hak_big_resize(p, 100 * HAK_MIB) == p);
    CHECK_EQUAL(all_calls(), before);
    CHECK(hak_big_resize(p, 50 * HAK_MIB - 4096) == p);
    CHECK_EQUAL(hak_big_size(p), 50 * HAK_MIB - 4096);
    CHECK_EQUAL(all_calls(), before + 1);
    CHECK(!harness_is_readable(p + 50 * HAK_MIB - 4096));
    CHECK_EQUAL(hak_big_stats().bytes, 50 * HAK_MIB - 4096);
    /* up again where it was, also to the old end, although another block came */
    char *in_the_way = alloc(100 * HAK_MIB, 16);
    CHECK(grow(p, 99 * HAK_MIB) == p);
    check_pattern(p, 50 * HAK_MIB - 4096);
    CHECK(harness_is_zero(p + 50 * HAK_MIB, 49 * HAK_MIB));
    CHECK(hak_big_resize(p, 1) == p);
    CHECK_EQUAL(hak_big_size(p), hak_vm_page_size());
    CHECK_EQUAL(words_of(p)[0], 0);
    expect_gone(in_the_way);
    expect_gone(p);
}

static void test_shrinking(void **state) {
    harness_expect_well(run_shrinking, NULL);
}

/* ---- under limits ---- */

static void set_limit(bool is_data, rlim_t soft) {
    struct rlimit limit = {soft, RLIM_INFINITY};
    CHECK(setrlimit(is_data ? RLIMIT_DATA : RLIMIT_AS, &limit) == 0);
}

/* So many bytes more than the process has now. */
static void set_limit_above_use(bool is_data, size_t more) {
    const char *key = is_data ? "VmData:" : "VmSize:";
    char line[256];
    size_t kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    CHECK(status != NULL);
    while (fgets(line, sizeof line, status)) {
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtoull(line + strlen(key), NULL, 10);
    }
    fclose(status);
    CHECK(kib > 0);
    set_limit(is_data, (rlim_t)(kib * HAK_KIB + more));
}

/* What is refused leaves the block as it was; without spare it may yet be had. */
static void run_limits(void *argument) {
    bool is_data = argument != NULL;
    bool is_zeroed;
    start();
    char *p = alloc(96 * HAK_MIB, 16);
    char *in_the_way = alloc(HAK_MIB, 16);
    write_pattern(p, 0, 96 * HAK_MIB);
    set_limit_above_use(is_data, 50 * HAK_MIB);
    CHECK(hak_big_alloc(51 * HAK_MIB, 16, &is_zeroed) == NULL);
    CHECK(hak_big_resize(p, 97 * HAK_MIB + 50 * HAK_MIB) == NULL);
    check_block(p, 96 * HAK_MIB, 16);
    CHECK_EQUAL(hak_big_size(p), 96 * HAK_MIB);
    CHECK_EQUAL(hak_big_stats().count, 2);
    check_pattern(p, 96 * HAK_MIB);
    char *q = hak_big_alloc_growing(48 * HAK_MIB); /* an eighth more would be too much */
    check_block(q, 48 * HAK_MIB, 16);
    CHECK_EQUAL(hak_big_size(q), 48 * HAK_MIB);
    expect_gone(q);
    expect_gone(in_the_way); /* 51 MiB, and they lie behind it */
    CHECK(grow(p, 144 * HAK_MIB) == p);
    CHECK_EQUAL(hak_big_size(p), 144 * HAK_MIB);
    check_pattern(p, 96 * HAK_MIB);
    set_limit(is_data, RLIM_INFINITY);
    char *moved = grow(p, 150 * HAK_MIB);
    check_pattern(moved, 96 * HAK_MIB);
    expect_gone(moved);
}

static void test_limits(void **state) {
    int data;
    if (harness_has_address_limit())
        skip();
    harness_expect_well(run_limits, NULL);
    harness_expect_well(run_limits, &data);
}

/* A stranger behind it, a part that the program protected: it moves, or stays as it was. */
static void run_disturbed(void *argument) {
    start();
    char *p = hak_big_alloc_growing(8 * HAK_MIB); /* 16 MiB of addresses */
    write_pattern(p, 0, 8 * HAK_MIB);
    void *stranger = mmap(p + 12 * HAK_MIB, 4096, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(stranger == p + 12 * HAK_MIB);
    *(char *)stranger = 5;
    char *q = grow(p, 14 * HAK_MIB);
    CHECK(q != p);
    check_pattern(q, 8 * HAK_MIB);
    CHECK_EQUAL(*(char *)stranger, 5);
    expect_gone(q);
    CHECK_EQUAL(*(char *)stranger, 5);

    p = alloc(8 * HAK_MIB, 16);
    write_pattern(p, 0, 8 * HAK_MIB);
    CHECK(mprotect(p + 4 * HAK_MIB, 4096, PROT_READ) == 0);
    CHECK(hak_big_resize(p, 20 * HAK_MIB) == NULL); /* three mappings: the caller copies */
    check_pattern(p, 8 * HAK_MIB);
    check_block(p, 8 * HAK_MIB, 16);
    CHECK(mprotect(p + 4 * HAK_MIB, 4096, PROT_READ | PROT_WRITE) == 0);
    q = grow(p, 20 * HAK_MIB);
    check_pattern(q, 8 * HAK_MIB);
    expect_gone(q);
}

static void test_disturbed(void **state) {
    harness_expect_well(run_disturbed, NULL);
}

/* ---- misuse ---- */

static void run_misuse(void *argument) {
    bool is_zeroed;
    start();
    char *p = alloc(65 * HAK_MIB, 16);
    expect_free(p + 1, HAK_MISUSE_INSIDE);
    expect_free(p + 16, HAK_MISUSE_INSIDE);
    expect_free(p + HAK_UNIT_SIZE - 1, HAK_MISUSE_INSIDE);
    CHECK(harness_is_writable(p));
    expect_free(p, HAK_MISUSE_NONE);
    expect_free(p, HAK_MISUSE_DOUBLE_FREE); /* while it is kept */
    expect_free(p, HAK_MISUSE_DOUBLE_FREE);
    CHECK_EQUAL(cached(), 65 * HAK_MIB);
    char *again = hak_big_alloc(65 * HAK_MIB, 16, &is_zeroed);
    CHECK(again == p);
    expect_gone(again);
    expect_free(p, HAK_MISUSE_DOUBLE_FREE); /* and when it is gone */
    CHECK(alloc(65 * HAK_MIB, 16) == p);
    expect_gone(p);
}

static void test_misuse(void **state) {
    harness_expect_well(run_misuse, NULL);
}

/* ---- threads ---- */

enum { THREADS = 4, TURNS = 300 / HARNESS_SLOWNESS };

static void *alloc_and_free(void *argument) {
    bool is_zeroed;
    for (int i = 0; i < TURNS; i++) {
        size_t size = 65 * HAK_MIB + (size_t)i * 4096;
        void **p = hak_big_alloc(size, 16, &is_zeroed);
        CHECK(p != NULL);
        CHECK(!is_zeroed || *p == NULL);
        *p = argument;
        CHECK(hak_big_size(p) >= size);
        CHECK(*p == argument);
        CHECK_EQUAL(hak_big_free(p), HAK_MISUSE_NONE);
        if (i % 64 == 0)
            hak_big_purge(0, 0, HAK_CAUSE_TRIM);
    }
    return NULL;
}

/* Each thread's block grows beside the others', is shrunk, freed and begun anew. */
static void *grow_and_shrink(void *argument) {
    uint64_t random = (uintptr_t)argument;
    char *p = NULL;
    size_t size = 0;
    for (int i = 0; i < TURNS; i++) {
        if (p == NULL) {
            size = (4 + harness_random_of(&random) % 8) * HAK_MIB;
            p = hak_big_alloc_growing(size);
            CHECK(p != NULL);
            write_pattern(p, 0, size);
        }
        size_t next = size / 4 * (3 + harness_random_of(&random) % 4) / 4096 * 4096;
        p = hak_big_resize(p, next);
        check_block(p, next, 16);
        check_pattern(p, hak_min(size, next));
        if (next > size)
            write_pattern(p, size, next);
        size = next;
        if (size > 60 * HAK_MIB || size < HAK_MIB) {
            CHECK_EQUAL(hak_big_free(p), HAK_MISUSE_NONE);
            p = NULL;
        }
    }
    if (p)
        CHECK_EQUAL(hak_big_free(p), HAK_MISUSE_NONE);
    return NULL;
}

static void run_threads(void *argument) {
    void *(**body)(void *) = argument;
    pthread_t threads[THREADS];
    start();
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(*body, (void *)(uintptr_t)(i + 1));
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    CHECK_EQUAL(hak_big_stats().count, 0);
    CHECK_EQUAL(hak_big_stats().bytes, 0);
    hak_big_purge(0, 0, HAK_CAUSE_TRIM);
    check_nothing_left();
}

static void test_threads(void **state) {
    void *(*body)(void *) = alloc_and_free;
    harness_expect_well(run_threads, &body);
    body = grow_and_shrink;
    harness_expect_well(run_threads, &body);
}

/* ---- fork ---- */

/* A child's inherited block grows as in the parent, by page tables, in place and to another place. */
static void live_in_child(void *argument) {
    char **held = argument;
    bool is_zeroed;
    hak_vm_fork_child();
    hak_big_fork_child();
    size_t count = hak_big_stats().count;
    CHECK(hak_big_alloc(70 * HAK_MIB, 16, &is_zeroed) == held[1]); /* inherited in the cache */
    CHECK(!is_zeroed);
    char *p = grow(held[0], 15 * HAK_MIB);
    CHECK(p == held[0]); /* in place: it has the addresses */
    check_pattern(p, 8 * HAK_MIB);
    write_pattern(p, 8 * HAK_MIB, 15 * HAK_MIB);
    for (size_t size = 16 * HAK_MIB; size <= 200 * HAK_MIB; size += 23 * HAK_MIB) {
        char *q = grow(p, size);
        check_pattern(q, 15 * HAK_MIB);
        p = q;
    }
    CHECK(p != held[0]);
    CHECK_EQUAL(hak_big_stats().count, count + 1);
    expect_gone(p);
}

static void run_fork(void *argument) {
    char *held[3];
    start();
    held[0] = hak_big_alloc_growing(8 * HAK_MIB);
    held[2] = alloc(HAK_MIB, 16); /* in the way */
    held[1] = alloc(70 * HAK_MIB, 16);
    write_pattern(held[0], 0, 8 * HAK_MIB);
    expect_free(held[1], HAK_MISUSE_NONE);
    hak_big_fork_prepare();
    hak_vm_fork_prepare();
    harness_expect_well(live_in_child, held);
    hak_vm_fork_parent();
    hak_big_fork_parent();
    check_pattern(held[0], 8 * HAK_MIB);
    CHECK_EQUAL(cached(), 70 * HAK_MIB);
    expect_gone(held[0]);
}

static void test_fork(void **state) {
    harness_expect_well(run_fork, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),        cmocka_unit_test(test_alignments),
        cmocka_unit_test(test_impossible),   cmocka_unit_test(test_places),
        cmocka_unit_test(test_first),        cmocka_unit_test(test_content),
        cmocka_unit_test(test_mappings),     cmocka_unit_test(test_huge),
        cmocka_unit_test(test_reuse),        cmocka_unit_test(test_reuse_growing),
        cmocka_unit_test(test_cache_bounds), cmocka_unit_test(test_purge),
        cmocka_unit_test(test_growth),       cmocka_unit_test(test_moves),
        cmocka_unit_test(test_moved_misuse), cmocka_unit_test(test_shrinking),
        cmocka_unit_test(test_limits),       cmocka_unit_test(test_disturbed),
        cmocka_unit_test(test_misuse),       cmocka_unit_test(test_threads),
        cmocka_unit_test(test_fork),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
