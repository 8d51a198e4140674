/* test/unit/api/test_block.c — misuse as the entry points report it. SPDX-License-Identifier: MIT */

/*
 * Goal: each misuse that is promised to be found is found at the promised moment and reported with
 * exactly its line; nothing right is reported.
 * Method: a child per misuse, which knows the pointer and so foretells the line. Options are set
 * before the child's first block, as start-up would have.
 */

#include <hakmem/hakmem.h>
#include <sys/mman.h>

#include "ace/ace.h"
#include "api/block.h"
#include "arena/arena.h"
#include "base/bits.h"
#include "heap/registry.h"
#include "large/span.h"
#include "options/options.h"
#include "unit/harness.h"

static void use_checks(void) {
    hak_options.checks = 1;
    hak_block_init();
    hak_ace_init(HAK_ACE_ON, true);
}

/* ---- entry points that take a pointer ---- */

static void call_free(void *p) {
    hakmem_free(p);
}
static void call_cfree(void *p) {
    hakmem_cfree(p);
}
static void call_realloc(void *p) {
    hakmem_realloc(p, 40);
}
static void call_realloc_to_zero(void *p) {
    hakmem_realloc(p, 0);
}
static void call_usable_size(void *p) {
    CHECK(hakmem_malloc_usable_size(p) != 12345);
}
static void call_free_sized(void *p) {
    hakmem_free_sized(p, 40);
}
static void call_free_aligned_sized(void *p) {
    hakmem_free_aligned_sized(p, 64, 40);
}
static void call_sdallocx(void *p) {
    hakmem_sdallocx(p, 40, 0);
}

static const struct entry {
    void (*call)(void *p);
    const char *name;
} g_entries[] = {{call_free, "free"},
                 {call_cfree, "free"},
                 {call_realloc, "realloc"},
                 {call_realloc_to_zero, "realloc"},
                 {call_usable_size, "malloc_usable_size"},
                 {call_free_sized, "free_sized"},
                 {call_free_aligned_sized, "free_aligned_sized"},
                 {call_sdallocx, "sdallocx"}};
enum { ENTRY_COUNT = sizeof g_entries / sizeof g_entries[0] };

static void foretell(const struct entry *entry, const void *p, const char *what,
                     const char *class_word, const char *owner) {
    harness_foretell("hakmem: fatal: %s(0x%" PRIxPTR "): %s; class %s, owner %s\n", entry->name,
                     (uintptr_t)p, what, class_word, owner);
}

/* ---- pointers that are not ours ---- */

struct case_of {
    const struct entry *entry;
    int which;
};

enum { FOREIGN_COUNT = 14 };

static void *foreign(int which) {
    static int in_image;
    static int on_stack_of_caller;
    char *own = hakmem_malloc(100);
    uintptr_t window = hak_vm_window().base;
    size_t size = hak_vm_window().size;
    switch (which) {
    case 0:
        return &in_image;
    case 1:
        return __builtin_frame_address(0);
    case 2:
        return malloc(100); /* libc's */
    case 3:
        return (void *)16;
    case 4:
        return (void *)UINTPTR_MAX;
    case 5:
        return (void *)((uintptr_t)1 << 63); /* not canonical */
    case 6:
        return (void *)((uintptr_t)own ^ (uintptr_t)1 << 47);
    case 7:
        return (void *)window; /* the first arena's own data, or nobody's */
    case 8:
        return (void *)(window + size - HAK_UNIT_SIZE); /* never touched */
    case 9:
        return (void *)(window + size); /* just outside */
    case 10:
        return (void *)(uintptr_t)hak_registry_heap(1); /* our own data */
    case 11:
        return (void *)(uintptr_t)hak_arenas.list[1];
    case 12:
        return hak_unit_address(hak_arenas.list[1]->end - 1); /* above the frontier */
    default:
        return mmap(&on_stack_of_caller, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
}

static void give_foreign(void *argument) {
    const struct case_of *c = argument;
    void *p = foreign(c->which);
    foretell(c->entry, p, "not a block of this allocator", "none", "none");
    c->entry->call(p);
}

static void test_foreign(void **state) {
    for (int entry = 0; entry < ENTRY_COUNT; entry++) {
        for (int which = 0; which < FOREIGN_COUNT; which++) {
            struct case_of c = {&g_entries[entry], which};
            harness_expect_foretold_abort(give_foreign, &c);
        }
    }
}

/* ---- Large and Big ---- */

struct large_case {
    const struct entry *entry;
    size_t size;
    size_t offset;
    const char *class_word;
};

static void give_inside(void *argument) {
    const struct large_case *c = argument;
    char *p = hakmem_malloc(c->size);
    CHECK(p != NULL);
    foretell(c->entry, p + c->offset, "inside a block, not its start", c->class_word, "none");
    c->entry->call(p + c->offset);
}

static void give_twice(void *argument) {
    const struct large_case *c = argument;
    char *p = hakmem_malloc(c->size);
    CHECK(p != NULL);
    hakmem_free(p);
    foretell(c->entry, p, "double free", c->class_word, "none");
    c->entry->call(p);
}

static void test_large(void **state) {
    static const size_t offsets[] = {1, 16, 4096, 65535, 65536, 65536 + 16, 100000};
    for (int entry = 0; entry < ENTRY_COUNT; entry++) {
        struct large_case large = {&g_entries[entry], 400000, 0, "large"};
        struct large_case big = {&g_entries[entry], 70 * HAK_MIB, 0, "big"};
        for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
            large.offset = offsets[i];
            big.offset = offsets[i] * (i > 4 ? 300 : 1);
            harness_expect_foretold_abort(give_inside, &large);
            harness_expect_foretold_abort(give_inside, &big);
        }
        harness_expect_foretold_abort(give_twice, &large);
        harness_expect_foretold_abort(give_twice, &big);
    }
    struct large_case longest = {&g_entries[0], HAK_LARGE_MAX, HAK_LARGE_MAX - 1, "large"};
    harness_expect_foretold_abort(give_inside, &longest);
}

/* A block that realloc made Big, and moved: the pointers from before are freed ones. */
static void give_outgrown(void *argument) {
    const struct large_case *c = argument;
    char *p = hakmem_malloc(c->size);
    if (c->offset) /* Big, and then moved */
        p = hakmem_realloc(p, 5 * HAK_MIB);
    void *in_the_way = hakmem_malloc(70 * HAK_MIB);
    char *moved = hakmem_realloc(p, c->size + 70 * HAK_MIB);
    CHECK(moved != p);
    hakmem_free(in_the_way);
    foretell(c->entry, p, "double free", c->class_word, "none");
    c->entry->call(p);
}

static void give_inside_outgrown(void *argument) {
    const struct large_case *c = argument;
    char *p = hakmem_realloc(hakmem_malloc(c->size), 5 * HAK_MIB);
    foretell(c->entry, p + c->offset, "inside a block, not its start", "big", "none");
    c->entry->call(p + c->offset);
}

static void test_outgrown(void **state) {
    static const size_t offsets[] = {16, 4096, 65536, 2 * HAK_MIB, 5 * HAK_MIB - 1};
    for (int entry = 0; entry < ENTRY_COUNT; entry++) {
        struct large_case from_large = {&g_entries[entry], 300000, 0, "large"};
        struct large_case from_big = {&g_entries[entry], 300000, 1, "big"};
        harness_expect_foretold_abort(give_outgrown, &from_large);
        harness_expect_foretold_abort(give_outgrown, &from_big);
        for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
            from_big.offset = offsets[i];
            harness_expect_foretold_abort(give_inside_outgrown, &from_big);
        }
    }
}

/* A freed block's address lies inside a new, larger one: it is now inside that. */
static void give_stale(void *argument) {
    char *first = hakmem_malloc(300000);
    char *second = hakmem_malloc(300000);
    hakmem_free(first);
    hakmem_free(second);
    char *both = hakmem_malloc(600000);
    CHECK_EQUAL(hak_unit_of(both), hak_unit_of(first));
    CHECK(second > both);
    CHECK(second < both + 600000);
    foretell(argument, second, "inside a block, not its start", "large", "none");
    ((const struct entry *)argument)->call(second);
}

static void test_stale(void **state) {
    for (int entry = 0; entry < ENTRY_COUNT; entry++) {
        struct entry e = g_entries[entry];
        harness_expect_foretold_abort(give_stale, &e);
    }
}

/* ---- small blocks ---- */

static const char *class_word(size_t size) {
    static char word[16];
    snprintf(word, sizeof word, "%u", hak_size_classes[hak_size_class_of(size)].size);
    return word;
}

/* Without checks: told when the block comes home, here because the program trims. */
static void free_small_twice(void *argument) {
    char *p = hakmem_malloc(40);
    hakmem_free(p);
    hakmem_free(p);
    foretell(&g_entries[0], p, "double free", class_word(40 + HAK_BLOCK_TAIL), "heap 1");
    hakmem_malloc_trim(0);
}

/* … or because the magazine overflows. */
static void free_small_twice_and_more(void *argument) {
    enum { COUNT = 100000 };
    static char *blocks[COUNT];
    for (int i = 0; i < COUNT; i++)
        blocks[i] = hakmem_malloc(40);
    foretell(&g_entries[0], blocks[0], "double free", class_word(40 + HAK_BLOCK_TAIL), "heap 1");
    hakmem_free(blocks[0]);
    hakmem_free(blocks[0]);
    for (int i = 1; i < COUNT; i++)
        hakmem_free(blocks[i]);
}

/* The slab has left: nothing there is anybody's block. */
static void free_after_slab_left(void *argument) {
    char *p = hakmem_malloc(40);
    hakmem_free(p);
    hakmem_malloc_trim(0);
    foretell(argument, p, "double free", "none", "none");
    ((const struct entry *)argument)->call(p);
}

static void *free_it(void *p) {
    hakmem_free(p);
    return NULL;
}

static void free_remotely_twice(void *argument) {
    char *p = hakmem_malloc(40);
    harness_join(harness_thread(free_it, p));
    foretell(&g_entries[0], p, "double free", class_word(40 + HAK_BLOCK_TAIL), "heap 1");
    harness_join(harness_thread(free_it, p));
}

static void free_remotely_inside(void *argument) {
    char *p = hakmem_malloc(40);
    foretell(&g_entries[0], p + 16, "inside a block, not its start",
             class_word(40 + HAK_BLOCK_TAIL), "heap 1");
    harness_join(harness_thread(free_it, p + 16));
}

static void realloc_inside(void *argument) {
    char *p = hakmem_malloc(40);
    foretell(&g_entries[2], p + 16, "inside a block, not its start",
             class_word(40 + HAK_BLOCK_TAIL), "heap 1");
    hakmem_realloc(p + 16, 100);
}

static void test_small(void **state) {
    harness_expect_foretold_abort(free_small_twice, NULL);
    harness_expect_foretold_abort(free_small_twice_and_more, NULL);
    harness_expect_foretold_abort(free_remotely_twice, NULL);
    harness_expect_foretold_abort(free_remotely_inside, NULL);
    harness_expect_foretold_abort(realloc_inside, NULL);
    for (int entry = 0; entry < ENTRY_COUNT; entry++) {
        struct entry e = g_entries[entry];
        harness_expect_foretold_abort(free_after_slab_left, &e);
    }
}

/* ---- checks=1 ---- */

static void check_twice(void *argument) {
    use_checks();
    char *other = hakmem_malloc(40); /* keeps the slab */
    char *p = hakmem_malloc(40);
    CHECK(other != p);
    hakmem_free(p);
    foretell(argument, p, "double free", class_word(40 + HAK_BLOCK_TAIL), "heap 1");
    ((const struct entry *)argument)->call(p);
}

static void check_inside(void *argument) {
    const struct case_of *c = argument;
    use_checks();
    char *p = hakmem_malloc(40);
    foretell(c->entry, p + c->which, "inside a block, not its start",
             class_word(40 + HAK_BLOCK_TAIL), "heap 1");
    c->entry->call(p + c->which);
}

static void test_checks(void **state) {
    for (int entry = 0; entry < ENTRY_COUNT; entry++) {
        struct entry e = g_entries[entry];
        if (e.call == call_usable_size)
            continue; /* promised only for what frees and moves */
        harness_expect_foretold_abort(check_twice, &e);
        for (int offset = 1; offset < 48; offset += 15) {
            struct case_of c = {&e, offset};
            harness_expect_foretold_abort(check_inside, &c);
        }
    }
}

struct sized_case {
    size_t size;
    size_t said;
    const char *class_word;
    const char *owner;
};

static void check_wrong_size(void *argument) {
    const struct sized_case *c = argument;
    struct entry entry = {NULL, "free_sized"};
    use_checks();
    char *p = hakmem_malloc(c->size);
    foretell(&entry, p, "wrong size",
             c->class_word ? c->class_word : class_word(c->size + HAK_BLOCK_TAIL), c->owner);
    hakmem_free_sized(p, c->said);
}

static void test_wrong_size(void **state) {
    static const struct sized_case cases[] = {
        {40, 400, NULL, "heap 1"},         {40, 65, NULL, "heap 1"},
        {40, 0, NULL, "heap 1"},           {40, 16, NULL, "heap 1"},
        {1000, 400, NULL, "heap 1"},       {1000, SIZE_MAX - 1, NULL, "heap 1"},
        {30000, 60000, NULL, "heap 1"},    {30000, 100, NULL, "heap 1"},
        {200000, 300000, "large", "none"}, {400000, 1000000, "large", "none"},
        {400000, 100, "large", "none"},    {70 * HAK_MIB, 80 * HAK_MIB, "big", "none"},
        {70 * HAK_MIB, 100, "big", "none"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sized_case c = cases[i];
        harness_expect_foretold_abort(check_wrong_size, &c);
    }
}

/* What is right stays unreported, whatever way the block came to its size. */
static void check_right_sizes(void *argument) {
    use_checks();
    for (size_t size = 0; size < 600000; size += size < 1100 ? 1 : size < 70000 ? 97 : 2777) {
        hakmem_free_sized(hakmem_malloc(size), size);
        hakmem_sdallocx(hakmem_calloc(1, size), size, 0);
        char *p = hakmem_realloc(hakmem_malloc(size), size + size / 3 + 1);
        hakmem_free_sized(p, size + size / 3 + 1);
        p = hakmem_realloc(hakmem_malloc(size + 1), size / 2 + 1);
        hakmem_free_sized(p, size / 2 + 1);
        for (unsigned log2 = 4; log2 < 17; log2++) {
            p = hakmem_aligned_alloc((size_t)1 << log2, size);
            hakmem_free_aligned_sized(p, (size_t)1 << log2, size);
            p = hakmem_memalign((size_t)1 << log2, size);
            hakmem_sdallocx(p, size, (int)log2);
        }
        size_t usable = hakmem_nallocx(size, 0);
        hakmem_free_sized(hakmem_malloc(size), usable);
    }
}

struct resize {
    size_t from;
    size_t to;
};

static void check_right_after_realloc(void *argument) {
    const struct resize *resize = argument;
    use_checks();
    void *p = hakmem_malloc(resize->from);
    void *in_the_way = hakmem_malloc(HAK_MIB);
    p = hakmem_realloc(p, resize->to);
    CHECK(p != NULL);
    hakmem_free_sized(p, resize->to);
    /* again, where a Big one may lie in what is kept of the first */
    p = hakmem_realloc(hakmem_malloc(resize->from), resize->to);
    hakmem_free_sized(p, resize->to);
    hakmem_free(in_the_way);
}

/* Small sizes at alignments that only Large and Big blocks have. */
static void check_right_when_aligned(void *argument) {
    use_checks();
    for (unsigned log2 = 16; log2 <= 33; log2++) {
        static const size_t sizes[] = {0, 1, 100, 5000, 70000, HAK_MIB};
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            char *p = hakmem_aligned_alloc((size_t)1 << log2, sizes[i]);
            CHECK(p != NULL);
            hakmem_free_aligned_sized(p, (size_t)1 << log2, sizes[i]);
            p = hakmem_aligned_alloc((size_t)1 << log2, sizes[i]);
            p = hakmem_realloc(p, 2 * sizes[i] + 4097);
            CHECK(p != NULL);
            hakmem_free_sized(p, 2 * sizes[i] + 4097);
        }
    }
}

static void test_right_sizes(void **state) {
    harness_expect_text(check_right_sizes, NULL, "");
}

static void test_right_sizes_aligned(void **state) {
    harness_expect_text(check_right_when_aligned, NULL, "");
}

static void test_right_sizes_after_realloc(void **state) {
    struct resize resizes[] = {{300000, 700000},
                               {700000, 5 * HAK_UNIT_SIZE},
                               {10 * HAK_UNIT_SIZE, HAK_MID_MAX + 1},
                               {HAK_MIB, 2 * HAK_MIB},
                               {3 * HAK_MIB, HAK_MIB},
                               {50 * HAK_MIB, 60 * HAK_MIB},
                               {70 * HAK_MIB, 100 * HAK_MIB},
                               {100, 4 * HAK_MIB},
                               {3 * HAK_MIB, 4 * HAK_MIB},
                               {3 * HAK_MIB, 200 * HAK_MIB},
                               {100 * HAK_MIB, 40 * HAK_MIB},
                               {100 * HAK_MIB, 4 * HAK_MIB},
                               {100 * HAK_MIB, 3 * HAK_MIB},
                               {100 * HAK_MIB, 100},
                               {100 * HAK_MIB, 66 * HAK_MIB}};
    for (size_t i = 0; i < sizeof resizes / sizeof resizes[0]; i++)
        harness_expect_text(check_right_after_realloc, &resizes[i], "");
}

/* ---- canaries ---- */

struct overflow {
    size_t size;
    const struct entry *entry;
};

static void write_beyond(void *argument) {
    const struct overflow *o = argument;
    char *p = hakmem_malloc(o->size);
    size_t usable = hakmem_malloc_usable_size(p);
    memset(p, 0, usable); /* all of it is the caller's */
    bool is_small = o->size <= HAK_MID_MAX - 100;
    foretell(o->entry, p, "canary overwritten",
             is_small ? class_word(o->size + HAK_BLOCK_TAIL)
                      : (o->size > HAK_LARGE_MAX ? "big" : "large"),
             is_small ? "heap 1" : "none");
    p[usable] ^= 1;
    o->entry->call(p);
}

static void test_canary(void **state) {
    static const size_t sizes[] = {1, 24, 1000, 40000, 200000, 400000, 70 * HAK_MIB};
    if (!HAK_CANARY)
        skip();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (int entry = 0; entry < ENTRY_COUNT; entry++) {
            struct overflow o = {sizes[i], &g_entries[entry]};
            if (o.entry->call != call_usable_size)
                harness_expect_foretold_abort(write_beyond, &o);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foreign),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_stale),
        cmocka_unit_test(test_outgrown),
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_wrong_size),
        cmocka_unit_test(test_right_sizes),
        cmocka_unit_test(test_right_sizes_aligned),
        cmocka_unit_test(test_canary),
        cmocka_unit_test(test_right_sizes_after_realloc),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
