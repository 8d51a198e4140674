/* test/stress/shadow.c — random calls beside a model of the heap. SPDX-License-Identifier: MIT */
/*
 * usage: shadow [OPERATIONS] [SEED]          by default 1000000 1
 *
 * Goal: whatever the order of calls, the allocator keeps every promise at once: blocks never
 * overlap, keep their contents, are aligned, large enough and stable in size; calloc is zero;
 * realloc keeps the prefix; what cannot be served fails with the right errno and changes nothing;
 * free keeps errno.
 * Method: one thread calls all entry points at random on up to 1,500 slots. The model knows every
 * live block: an array sorted by address (for overlap) and each block's size, seed and usable size.
 * Each operation verifies the blocks it touches; every 4,096th verifies all. The same seed gives
 * the same calls, so a failure can be repeated.
 */
#include "stress.h"

enum { SLOTS = 1500, DENSE = 8192, STRIDE = 4099, MAGIC = 4711, REVIEW = 4096 };

struct slot {
    unsigned char *block; /* NULL: empty */
    size_t size;
    size_t usable;
    size_t alignment;
    uint64_t seed;
};

static struct slot g_slot[SLOTS];
static unsigned short g_by_address[SLOTS]; /* indices of live slots, by rising address */
static int g_live;
static uint64_t g_state;
static unsigned long g_operation;

static void fail(const char *what, const struct slot *s) {
    CHECK(false, "operation %lu: %s (block %p, size %zu, usable %zu, alignment %zu)", g_operation,
          what, s != NULL ? (void *)s->block : NULL, s != NULL ? s->size : 0,
          s != NULL ? s->usable : 0, s != NULL ? s->alignment : 0);
    _exit(tap_end());
}

/* ---- the model ---- */

/* How many live blocks begin at or below `address`. */
static int rank_of(uintptr_t address) {
    int low = 0;
    int high = g_live;
    while (low < high) {
        int middle = (low + high) / 2;
        if ((uintptr_t)g_slot[g_by_address[middle]].block <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static size_t extent(const struct slot *s) {
    return s->usable > 0 ? s->usable : 1;
}

static void model_insert(int index) {
    struct slot *s = &g_slot[index];
    int rank = rank_of((uintptr_t)s->block);
    if (rank > 0) {
        const struct slot *below = &g_slot[g_by_address[rank - 1]];
        if ((uintptr_t)below->block + extent(below) > (uintptr_t)s->block)
            fail("overlaps the live block below it", s);
    }
    if (rank < g_live) {
        const struct slot *above = &g_slot[g_by_address[rank]];
        if ((uintptr_t)s->block + extent(s) > (uintptr_t)above->block)
            fail("overlaps the live block above it", s);
    }
    memmove(&g_by_address[rank + 1], &g_by_address[rank],
            (size_t)(g_live - rank) * sizeof g_by_address[0]);
    g_by_address[rank] = (unsigned short)index;
    g_live++;
}

static void model_remove(int index) {
    int rank = rank_of((uintptr_t)g_slot[index].block) - 1;
    if (rank < 0 || g_by_address[rank] != index)
        fail("the model lost a block", &g_slot[index]);
    g_live--;
    memmove(&g_by_address[rank], &g_by_address[rank + 1],
            (size_t)(g_live - rank) * sizeof g_by_address[0]);
}

/* The seed's pattern: all of the first bytes, samples above, and the last byte. */
static void paint(const struct slot *s) {
    size_t dense = s->size < DENSE ? s->size : DENSE;
    pattern_fill(s->block, dense, s->seed);
    for (size_t i = dense; i < s->size; i += STRIDE)
        s->block[i] = pattern_byte(s->seed, i);
    if (s->size > 0)
        s->block[s->size - 1] = pattern_byte(s->seed, s->size - 1);
}

static void verify_prefix(const struct slot *s, const unsigned char *block, size_t size) {
    size_t dense = size < DENSE ? size : DENSE;
    if (pattern_check(block, dense, s->seed) != dense)
        fail("contents changed", s);
    for (size_t i = dense; i < size; i += STRIDE) {
        if (block[i] != pattern_byte(s->seed, i))
            fail("contents changed", s);
    }
}

static void verify(const struct slot *s) {
    verify_prefix(s, s->block, s->size);
    if (s->size > 0 && s->block[s->size - 1] != pattern_byte(s->seed, s->size - 1))
        fail("the last byte changed", s);
    if (api.malloc_usable_size(s->block) != s->usable)
        fail("the usable size changed", s);
}

static void review_all(void) {
    for (int i = 0; i < g_live; i++)
        verify(&g_slot[g_by_address[i]]);
}

/* ---- operations ---- */

static size_t pick_size(void) {
    uint64_t r = random_next(&g_state);
    if (r % 64 == 0)
        return 0;
    if (r % 16 == 1) { /* around a boundary */
        size_t edge = (size_t)16 << ((r >> 8) % 14);
        return edge + (r >> 32) % 5 - 2;
    }
    if (r % 4096 == 2)
        return ((size_t)60 << 20) + (r >> 32) % ((size_t)10 << 20);
    return random_size(&g_state, r % 64 == 3 ? 22 : r % 8 == 4 ? 17 : 11);
}

static void *get_plain(uint64_t way, size_t size) {
    switch (way % 5) {
    case 0:
        return api.__libc_malloc(size);
    case 1:
        return api.realloc(NULL, size);
    case 2:
        return api.reallocarray(NULL, size, 1);
    default:
        return api.malloc(size);
    }
}

static void *get_zeroed(uint64_t way, size_t size) {
    size_t count = way % 3 == 0 && size % 4 == 0 ? size / 4 : size;
    size_t each = count == size ? 1 : 4;
    unsigned char *block = way % 2 == 0 ? api.calloc(count, each) : api.__libc_calloc(count, each);
    size_t checked = size < (1 << 21) ? size : 1 << 21;
    if (block != NULL && zero_check(block, checked) != checked)
        fail("calloc is not zero", NULL);
    return block;
}

static void *get_aligned(uint64_t way, size_t alignment, size_t size) {
    void *block = NULL;
    switch (way % 5) {
    case 0:
        return api.aligned_alloc(alignment, size);
    case 1:
        return api.memalign(alignment, size);
    case 2:
        return api.__libc_memalign(alignment, size);
    default:
        return api.posix_memalign(&block, alignment, size) == 0 ? block : NULL;
    }
}

static void *get_pages(uint64_t way, size_t size) {
    return way % 2 == 0 ? api.valloc(size) : api.pvalloc(size);
}

static void fill_slot(int index) {
    struct slot *s = &g_slot[index];
    uint64_t way = random_next(&g_state);
    s->size = pick_size();
    s->seed = random_next(&g_state);
    s->alignment = 16;
    switch (way % 16) {
    case 0:
    case 1:
    case 2:
        s->block = get_zeroed(way >> 8, s->size);
        break;
    case 3:
    case 4:
        s->alignment = (size_t)8 << (way >> 8) % ((way >> 16) % 64 == 0 ? 20 : 11);
        s->block = get_aligned(way >> 24, s->alignment, s->size);
        break;
    case 5:
        s->alignment = 4096;
        s->block = way >> 8 & 15 ? get_plain(way >> 16, s->size) : get_pages(way >> 16, s->size);
        if (way >> 8 & 15)
            s->alignment = 16;
        break;
    default:
        s->block = get_plain(way >> 8, s->size);
    }
    if (s->block == NULL)
        fail("out of memory", s);
    s->usable = api.malloc_usable_size(s->block);
    if (s->usable < s->size)
        fail("the usable size is below the request", s);
    if (!is_aligned(s->block, s->alignment) || !is_aligned(s->block, 16))
        fail("the block is not aligned", s);
    model_insert(index);
    paint(s);
}

/* As sdallocx takes an alignment. */
static int lg(size_t alignment) {
    return __builtin_ctzl(alignment);
}

static void empty_slot(int index) {
    struct slot *s = &g_slot[index];
    uint64_t way = random_next(&g_state);
    verify(s);
    model_remove(index);
    errno = MAGIC;
    switch (way % 12) {
    case 0: /* C23: each sized form is for the blocks of its own kind */
        if (s->alignment > 16)
            api.free_aligned_sized(s->block, s->alignment, s->size);
        else
            api.free_sized(s->block, s->size);
        break;
    case 1:
        api.sdallocx(s->block, s->size, s->alignment > 16 ? lg(s->alignment) : 0);
        break;
    case 2:
        api.cfree(s->block);
        break;
    case 3:
        api.__libc_free(s->block);
        break;
    case 4:
        if (api.realloc(s->block, 0) != NULL)
            fail("realloc(p, 0) is not NULL", s);
        errno = MAGIC; /* realloc may set it */
        break;
    default:
        api.free(s->block);
    }
    if (errno != MAGIC)
        fail("free changed errno", s);
    s->block = NULL;
}

static void resize_slot(int index) {
    struct slot *s = &g_slot[index];
    uint64_t way = random_next(&g_state);
    size_t size = pick_size();
    if (size == 0)
        size = 1;
    verify(s);
    model_remove(index);
    unsigned char *moved = way % 3 == 0   ? api.__libc_realloc(s->block, size)
                           : way % 3 == 1 ? api.reallocarray(s->block, 1, size)
                                          : api.realloc(s->block, size);
    if (moved == NULL)
        fail("realloc: out of memory", s);
    verify_prefix(s, moved, size < s->size ? size : s->size);
    s->block = moved;
    s->size = size;
    s->usable = api.malloc_usable_size(moved);
    s->alignment = 16;
    if (s->usable < size || !is_aligned(moved, 16))
        fail("realloc: usable size or alignment", s);
    model_insert(index);
    s->seed = random_next(&g_state);
    paint(s);
}

/* What must fail, and must leave everything as it was. */
static void try_impossible(int index) {
    struct slot *s = &g_slot[index];
    uint64_t way = random_next(&g_state);
    size_t huge = (size_t)PTRDIFF_MAX + 1 + (size_t)(way >> 2);
    void *block = NULL;
    errno = 0;
    switch (way % 6) {
    case 0:
        block = api.malloc(huge);
        break;
    case 1:
        block = api.calloc(huge, 2);
        break;
    case 2:
        block = s->block != NULL ? api.realloc(s->block, huge) : NULL;
        errno = s->block != NULL ? errno : ENOMEM;
        break;
    case 3:
        block = api.reallocarray(s->block, huge, 8);
        break;
    case 4:
        block = api.aligned_alloc(64, huge);
        break;
    default:
        block = &block;
        if (api.posix_memalign(&block, 64, huge) != ENOMEM || block != (void *)&block)
            fail("posix_memalign of a huge size", s);
        block = NULL;
        errno = ENOMEM;
    }
    if (block != NULL || errno != ENOMEM)
        fail("a huge size was not refused with ENOMEM", s);
    if (s->block != NULL)
        verify(s);
}

static void step(void) {
    uint64_t r = random_next(&g_state);
    int index = (int)(r % SLOTS);
    /* Phases of growth and of shrinking, so that slabs and spans empty and refill. */
    bool growing = (g_operation >> 16) % 2 == 0;
    if ((r >> 20) % 256 == 0) {
        try_impossible(index);
    } else if (g_slot[index].block == NULL) {
        if (growing || (r >> 30) % 4 == 0)
            fill_slot(index);
    } else if ((r >> 32) % 4 == 0) {
        resize_slot(index);
    } else if (!growing || (r >> 36) % 2 == 0) {
        empty_slot(index);
    }
    if (g_operation % REVIEW == 0)
        review_all();
    if (g_operation % 50000 == 49999)
        api.malloc_trim(0);
}

/* Under another allocator the names it lacks stand for their plain forms. */
static void plain_free_sized(void *block, size_t size) {
    (void)size;
    api.free(block);
}
static void plain_free_aligned_sized(void *block, size_t alignment, size_t size) {
    (void)alignment;
    (void)size;
    api.free(block);
}
static void plain_sdallocx(void *block, size_t size, int flags) {
    (void)size;
    (void)flags;
    api.free(block);
}

static void lend_missing_names(void) {
    api.free_sized = plain_free_sized;
    api.free_aligned_sized = plain_free_aligned_sized;
    api.sdallocx = plain_sdallocx;
    api.cfree = api.__libc_free = api.free;
    api.__libc_malloc = api.malloc;
    api.__libc_calloc = api.calloc;
    api.__libc_realloc = api.realloc;
    api.__libc_memalign = api.memalign;
}

int main(int argc, char **argv) {
    unsigned long operations = stress_argument(argc, argv, 1, 1000000);
    unsigned long seed = stress_argument(argc, argv, 2, 1);
    api_load();
    tap_require_override();
    if (tap_any_allocator())
        lend_missing_names();
    tap_note("operations %lu, seed %lu", operations, seed);
    g_state = seed * 0x9E3779B97F4A7C15ULL + 1;
    for (g_operation = 0; g_operation < operations; g_operation++)
        step();
    review_all();
    for (int i = 0; i < SLOTS; i++) {
        if (g_slot[i].block != NULL)
            empty_slot(i);
    }
    CHECK(g_live == 0, "%lu operations agree with the model, seed %lu", operations, seed);
    return tap_end();
}
