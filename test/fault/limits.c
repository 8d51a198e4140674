/* test/fault/limits.c — address space comes to an end. SPDX-License-Identifier: MIT */
/*
 * Goal: under a limit of address space most of it can be used, the end is NULL with ENOMEM, and what
 * is freed can be had again.
 * Method: a fresh process for each limit and size of block allocates until NULL, frees all of it and
 * does so again: both fills must agree. Only few blocks are written to, so limits may be larger than
 * the machine's memory. Limits are pretended (told to the library and kept by the
 * fake kernel), real (RLIMIT_AS set before start-up), late (RLIMIT_AS set once main() runs, which
 * start-up could not know), or of data (RLIMIT_DATA: reserving is free, making usable is not).
 */

#include <stdint.h>

#include "fault/workload.h"

#if defined(HAK_CANARY) && HAK_CANARY
#define LIMITS_TOUCHES_ALL 1 /* a canary at the end of each block */
#else
#define LIMITS_TOUCHES_ALL 0
#endif

enum { LIMITS_MIXED = 1 }; /* no size of a block: sizes of all tiers by turns */

enum {
    LIMITS_MARK_EVERY = 64, /* blocks: a mark costs an OS page */
    LIMITS_MARK_SIZE = 16
};

struct fill {
    void **blocks;
    size_t capacity;
};

/* ---- in the started process ---- */

/* Room for every block that could fit, got before a late limit is set: it leaves us what
 * start-up has reserved already. Shared memory is not data in the sense of RLIMIT_DATA. */
static struct fill fill_make(size_t limit, size_t size) {
    size_t addresses = limit + fake_prim_mapped();
    struct fill fill = {.capacity = addresses / (size == LIMITS_MIXED ? 512 : size) + 16};
    fill.blocks = mmap(NULL, fill.capacity * sizeof *fill.blocks, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    FAULT_REQUIRE(fill.blocks != MAP_FAILED, "no room for the list of blocks");
    return fill;
}

enum { LIMITS_MIXED_BITS = 21 }; /* below 2 MiB */

static size_t fill_size(size_t size, uint64_t *random) {
    return size == LIMITS_MIXED ? LIMITS_MARK_SIZE + random_size(random, LIMITS_MIXED_BITS) : size;
}

/* Allocates until NULL, frees all; how many blocks that were, of mixed sizes how many bytes. */
static size_t fill_once(const struct fill *fill, size_t size) {
    uint64_t random = 99;
    size_t count = 0;
    size_t bytes = 0;
    for (;;) {
        size_t wanted = fill_size(size, &random);
        errno = WORK_ERRNO;
        void *p = hakmem_malloc(wanted);
        if (p == NULL)
            break;
        FAULT_REQUIRE(count < fill->capacity, "more blocks than fit under the limit");
        fill->blocks[count] = p;
        bytes += wanted;
        if (count++ % LIMITS_MARK_EVERY == 0)
            pattern_fill(p, LIMITS_MARK_SIZE, count);
    }
    FAULT_REQUIRE(errno == ENOMEM, "NULL with errno %d", errno);
    for (size_t i = 0; i < count; i++) {
        FAULT_REQUIRE(i % LIMITS_MARK_EVERY != 0 || pattern_check(fill->blocks[i], LIMITS_MARK_SIZE,
                                                                  i + 1) == LIMITS_MARK_SIZE,
                      "block %zu lost its contents", i);
        hakmem_free(fill->blocks[i]);
    }
    return size == LIMITS_MIXED ? bytes : count;
}

/* But for 2 % and two blocks; of mixed sizes two of the largest, which may be the one to end it. */
static bool fills_agree(size_t size, size_t a, size_t b) {
    size_t difference = a > b ? a - b : b - a;
    return difference <= (size == LIMITS_MIXED ? (size_t)2 << LIMITS_MIXED_BITS : 2) + a / 50;
}

/*
 * The part of the limit that must be usable for blocks, in percent. Of 64 MiB the program's own mappings,
 * and what start-up reserves, are a quarter; above, a tenth with what is lost to
 * rounding.
 */
static size_t usable_min(size_t limit) {
    return limit / 100 * (limit <= 64 * WORK_MIB ? 60 : 85);
}

static void fill_again_and_again(const struct fill *fill, size_t limit, size_t size,
                                 bool must_use) {
    fault_doing("filling");
    size_t first = fill_once(fill, size);
    g_fault->nulls = first; /* for the parent to tell */
    if (must_use)
        FAULT_REQUIRE((first + 1) * size > usable_min(limit), "only %zu blocks of %zu bytes", first,
                      size);
    fault_doing("filling again");
    size_t second = fill_once(fill, size);
    FAULT_REQUIRE(fills_agree(size, first, second), "%zu, then %zu", first, second);
    hakmem_malloc_trim(0);
    work_check_books(0);
    fault_doing("filling after malloc_trim");
    size_t third = fill_once(fill, size);
    FAULT_REQUIRE(fills_agree(size, first, third), "%zu, after malloc_trim %zu", first, third);
    hakmem_malloc_trim(0);
    work_check_books(0);
    fault_doing("a small block afterwards");
    struct work_block block;
    FAULT_REQUIRE(work_malloc(&block, 100), "NULL");
    work_free(&block);
}

/* Memory that small blocks had can be had by large ones. */
static void fill_other_tier(const struct fill *fill, size_t limit) {
    fault_doing("filling with Tiny");
    size_t tiny = fill_once(fill, 512);
    hakmem_malloc_trim(0);
    fault_doing("then with Large");
    size_t large = fill_once(fill, WORK_MIB);
    size_t tiny_bytes = tiny * 512;
    FAULT_REQUIRE(tiny_bytes >= usable_min(limit), "only %zu Tiny blocks", tiny);
    FAULT_REQUIRE(large * WORK_MIB >= usable_min(tiny_bytes),
                  "%zu MiB as Tiny blocks, but only %zu MiB as Large ones", tiny_bytes / WORK_MIB,
                  large);
    g_fault->nulls = large;
}

/*
 * Of which blocks must the limit hold its percentage? Mixed sizes end with the first large one that
 * does not fit. Under a late limit start-up has reserved too much already for Big blocks.
 */
static bool must_use_limit(size_t size, bool is_late) {
    return size != LIMITS_MIXED && !(is_late && size > 64 * WORK_MIB);
}

/* The part's arguments: kind of limit, limit, size of block; 0: fill_other_tier(). */
static _Noreturn void started(const char *what) {
    char kind[16];
    size_t limit;
    size_t size;
    FAULT_REQUIRE(sscanf(what, "%15s %zu %zu", kind, &limit, &size) == 3, "no part %s", what);
    struct fill fill = fill_make(limit, size == 0 ? 512 : size);
    const struct rlimit value = {limit, limit};
    bool is_late = strcmp(kind, "late") == 0;
    if (is_late)
        FAULT_REQUIRE(setrlimit(RLIMIT_AS, &value) == 0, "setrlimit(RLIMIT_AS)");
    if (strcmp(kind, "data") == 0)
        FAULT_REQUIRE(setrlimit(RLIMIT_DATA, &value) == 0, "setrlimit(RLIMIT_DATA)");
    if (size == 0)
        fill_other_tier(&fill, limit);
    else
        fill_again_and_again(&fill, limit, size, must_use_limit(size, is_late));
    fault_started_end();
}

/* ---- in the parent ---- */

static void limit_and_size(const char *kind, size_t limit, size_t size) {
    char what[80];
    char blocks[40];
    snprintf(what, sizeof what, "%s %zu %zu", kind, limit, size);
    struct fake_machine machine = {.address_limit = strcmp(kind, "pretended") == 0 ? limit : 0};
    size_t real_limit = strcmp(kind, "real") == 0 ? limit : 0;
    bool is_good = fault_start(what, machine, (struct fake_script){0}, real_limit);
    snprintf(blocks, sizeof blocks, size == LIMITS_MIXED ? "blocks of all sizes" : "%zu bytes",
             size);
    CHECK(is_good, "%s limit %zu MiB, %s: %lu%s%s", kind, limit / WORK_MIB,
          size == 0 ? "Tiny, then Large" : blocks, g_fault->nulls, is_good ? "" : ": ",
          g_fault->text);
}

int main(int argc, char **argv) {
    static const char *const kinds[] = {"pretended", "real", "late", "data"};
    static const size_t limits[] = {64 * WORK_MIB,   256 * WORK_MIB,  1024 * WORK_MIB,
                                    2048 * WORK_MIB, 4096 * WORK_MIB, 8192 * WORK_MIB};
    static const size_t sizes[] = {20 * WORK_KIB, WORK_MIB, 70 * WORK_MIB, LIMITS_MIXED, 300,
                                   1000,          0};
    enum { SIZES = sizeof sizes / sizeof *sizes, SIZES_ABOVE_TINY = 4 };
    fault_open();
    if (argc == 2)
        started(argv[1]);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        if (FAULT_SANITIZED && k > 0) {
            tap_skip(kinds[k], "a sanitizer's own address space is beyond any limit");
            continue;
        }
        for (size_t l = 0; l < sizeof limits / sizeof *limits; l++) {
            if (LIMITS_TOUCHES_ALL && limits[l] > 256 * WORK_MIB) {
                tap_skip("limit of a GiB and more", "canaries touch every OS page of it");
                continue;
            }
            /* Tiny blocks by the ten million would only take time. */
            size_t count = limits[l] > 1024 * WORK_MIB ? SIZES_ABOVE_TINY : SIZES;
            for (size_t s = 0; s < count; s++)
                limit_and_size(kinds[k], limits[l], sizes[s]);
        }
    }
    return tap_end();
}
