/* test/unit/vm/test_vm.c — address space: reserve, commit, purge, release. SPDX-License-Identifier: MIT */

/*
 * Goal: everything reserved lies in one window, aligned, disjoint, not accessible until committed;
 * released addresses are used again; strangers' mappings are stepped around; extents grow, shrink and
 * move with their contents; each system call is in the ledger.
 * Method: a child per test, since the window is found once; reservations are compared with a shadow
 * of the ranges held; the kernel is asked whether memory is accessible.
 */

#include <sched.h>
#include <sys/resource.h>

#include "base/bits.h"
#include "options/options.h"
#include "prim/prim.h"
#include "unit/harness.h"
#include "vm/vm.h"

#define GRANULE HAK_VM_GRANULE

static char *reserve(size_t size, size_t align) {
    void *out = NULL;
    CHECK_EQUAL(hak_vm_reserve(size, align, HAK_CAUSE_ARENA_RESERVE, &out), 0);
    CHECK_EQUAL((uintptr_t)out % align, 0);
    struct hak_vm_window window = hak_vm_window();
    CHECK((uintptr_t)out >= window.base);
    CHECK((uintptr_t)out - window.base <= window.size - size);
    return out;
}

static void release(char *p, size_t size) {
    hak_vm_release(p, size, HAK_CAUSE_ARENA_RESERVE);
}

/* The window lies at the platform's quiet place, not where the kernel chose, among others. */
static bool is_place_quiet(void) {
    uintptr_t hint = hak_prim_address_hint();
    return hint && hak_vm_window().base - hint < 16 * HAK_TIB;
}

/* ---- the window ---- */

static void init_under_limit(void *argument) {
    size_t limit = *(size_t *)argument;
    if (limit != SIZE_MAX)
        harness_set_address_limit((rlim_t)limit);
    hak_vm_init();
    if (limit != SIZE_MAX)
        harness_set_address_limit(RLIM_INFINITY); /* only hak_vm_init() is meant to see it */
    CHECK_EQUAL(hak_vm_page_size(), sysconf(_SC_PAGESIZE));
    CHECK_EQUAL(hak_vm_address_limit(), limit);
    CHECK_EQUAL(hak_vm_has_huge(), limit >= 16 * HAK_GIB && hak_vm_page_size() == 4096);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_PRLIMIT, HAK_CAUSE_START).count, 1);
    CHECK_EQUAL(hak_vm_window().size, 0);

    char *first = reserve(GRANULE, GRANULE);
    struct hak_vm_window window = hak_vm_window();
    CHECK_EQUAL(window.base % HAK_GIB, 0);
    CHECK(hak_is_power_of_two(window.size));
    size_t least = is_place_quiet() ? HAK_GIB : 4 * HAK_GIB;
    CHECK(window.size >= least);
    CHECK(window.size <= HAK_TIB);
    /* four times the limit, and not less than half of that, within these bounds */
    CHECK(window.size == least || window.size / 4 <= limit);
    CHECK(window.size == HAK_TIB || window.size / 2 > limit);
    reserve(GRANULE, GRANULE);
    release(first, GRANULE);
    CHECK_EQUAL(hak_vm_window().base, window.base);
    CHECK_EQUAL(hak_vm_window().size, window.size);
}

static void test_window(void **state) {
    size_t limits[] = {SIZE_MAX,     200 * HAK_MIB, HAK_GIB,       16 * HAK_GIB - 1, 16 * HAK_GIB,
                       65 * HAK_GIB, 256 * HAK_GIB, 257 * HAK_GIB, 4 * HAK_TIB};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        /* below what a sanitizer's shadow takes, the runtime itself cannot live for a moment */
        if (i == 0 || !harness_has_address_limit())
            harness_expect_well(init_under_limit, &limits[i]);
    }
}

/* The first reservation finds the window's place and still keeps its own alignment. */
static void first_is_aligned(void *argument) {
    hak_vm_init();
    reserve(4 * GRANULE, *(size_t *)argument);
}

static void test_first_alignment(void **state) {
    for (size_t align = GRANULE; align <= 256 * HAK_GIB; align *= 4)
        harness_expect_well(first_is_aligned, &align);
}

/* Also the first reservation can be given back: start-up does that when a later step fails. */
static void first_is_released(void *argument) {
    hak_vm_init();
    char *first = reserve(64 * GRANULE, 32 * GRANULE);
    release(first, 64 * GRANULE);
    CHECK(!harness_is_readable(first));
    char *second = reserve(64 * GRANULE, 32 * GRANULE);
    CHECK(!harness_is_readable(second));
    CHECK_EQUAL(hak_vm_commit(second, 64 * GRANULE, HAK_CAUSE_ARENA_COMMIT), 0);
    memset(second, 1, 64 * GRANULE);
}

static void test_first_release(void **state) {
    harness_expect_well(first_is_released, NULL);
}

/* ---- access ---- */

static void use_range(void *argument) {
    hak_vm_init();
    size_t page = hak_vm_page_size();
    char *p = reserve(16 * GRANULE, GRANULE);
    CHECK(!harness_is_readable(p));
    CHECK(!harness_is_readable(p + 16 * GRANULE - 1));
    CHECK_EQUAL(hak_vm_commit(p + page, 2 * page, HAK_CAUSE_ARENA_COMMIT), 0);
    CHECK(!harness_is_readable(p));
    CHECK(!harness_is_readable(p + 3 * page));
    CHECK(harness_is_writable(p + page));
    CHECK(harness_is_zero(p + page, 2 * page));
    memset(p + page, 7, 2 * page);
    CHECK_EQUAL(hak_vm_purge(p + page, page, HAK_CAUSE_TRIM), 0);
    CHECK(harness_is_zero(p + page, page));
    CHECK_EQUAL(p[2 * page], 7);
    CHECK(harness_is_writable(p + page));
    release(p, 16 * GRANULE);
    CHECK(!harness_is_readable(p + page));
    CHECK(hak_vm_commit(p + page, page, HAK_CAUSE_ARENA_COMMIT) != 0);
}

static void test_access(void **state) {
    harness_expect_well(use_range, NULL);
}

static void use_table(void *argument) {
    void *table = NULL;
    hak_vm_init();
    reserve(GRANULE, GRANULE);
    size_t page = hak_vm_page_size();
    CHECK_EQUAL(hak_vm_map_table(64 * HAK_MIB, HAK_CAUSE_PAGEMAP, &table), 0);
    char *bytes = table;
    for (size_t at = 0; at < 64 * HAK_MIB; at += HAK_MIB)
        CHECK_EQUAL(bytes[at], 0);
    CHECK(!harness_is_writable(bytes));
    CHECK_EQUAL(hak_vm_commit(bytes + page, page, HAK_CAUSE_PAGEMAP), 0);
    CHECK(harness_is_writable(bytes + page));
    CHECK(!harness_is_writable(bytes + 2 * page));
    hak_vm_unmap_table(table, 64 * HAK_MIB, HAK_CAUSE_PAGEMAP);
    CHECK(!harness_is_readable(bytes));
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_PAGEMAP).bytes, 64 * HAK_MIB);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MUNMAP, HAK_CAUSE_PAGEMAP).bytes, 64 * HAK_MIB);
}

static void test_table(void **state) {
    harness_expect_well(use_table, NULL);
}

/* ---- ledger ---- */

static void check_cell(enum hak_call call, enum hak_cause cause, uint64_t count, uint64_t bytes) {
    CHECK_EQUAL(hak_ledger_read(call, cause).count, count);
    CHECK_EQUAL(hak_ledger_read(call, cause).bytes, bytes);
}

static void use_with_causes(void *argument) {
    void *p;
    hak_vm_init();
    reserve(GRANULE, GRANULE);
    CHECK_EQUAL(hak_vm_reserve(4 * GRANULE, GRANULE, HAK_CAUSE_BIG, &p), 0);
    CHECK_EQUAL(hak_vm_commit(p, 2 * GRANULE, HAK_CAUSE_BIG), 0);
    CHECK_EQUAL(hak_vm_commit(p, 4 * GRANULE, HAK_CAUSE_BIG), 0);
    CHECK_EQUAL(hak_vm_purge(p, GRANULE, HAK_CAUSE_OUT_OF_MEMORY), 0);
    hak_vm_release(p, 4 * GRANULE, HAK_CAUSE_BIG);
    check_cell(HAK_CALL_MMAP, HAK_CAUSE_BIG, 1, 4 * GRANULE);
    check_cell(HAK_CALL_MPROTECT, HAK_CAUSE_BIG, 2, 6 * GRANULE);
    check_cell(HAK_CALL_MADVISE, HAK_CAUSE_OUT_OF_MEMORY, 1, GRANULE);
    check_cell(HAK_CALL_MUNMAP, HAK_CAUSE_BIG, 1, 4 * GRANULE);
    CHECK(hak_vm_commit(p, GRANULE, HAK_CAUSE_TRIM) != 0); /* failed calls count too */
    check_cell(HAK_CALL_MPROTECT, HAK_CAUSE_TRIM, 1, GRANULE);
}

/* Many ranges by one call where the kernel can; where it cannot, it is asked once. */
static void purge_ranges(void *argument) {
    hak_vm_init();
    size_t page = hak_vm_page_size();
    char *p = reserve(GRANULE, GRANULE);
    CHECK_EQUAL(hak_vm_commit(p, GRANULE, HAK_CAUSE_ARENA_COMMIT), 0);
    memset(p, 7, GRANULE);
    const struct hak_prim_range ranges[] = {{p, page}, {p + GRANULE - page, page}};
    int error = hak_vm_purge_ranges(ranges, 2, HAK_CAUSE_EPOCH);
    check_cell(HAK_CALL_PROCESS_MADVISE, HAK_CAUSE_EPOCH, 1, 2 * page);
    for (size_t i = page; i < GRANULE - page; i += page)
        CHECK_EQUAL(p[i], 7);
    if (error) {
        CHECK_EQUAL(hak_vm_purge_ranges(ranges, 2, HAK_CAUSE_EPOCH), ENOSYS);
        check_cell(HAK_CALL_PROCESS_MADVISE, HAK_CAUSE_EPOCH, 1, 2 * page);
        return;
    }
    CHECK(harness_is_zero(p, page));
    CHECK(harness_is_zero(p + GRANULE - page, page));
    CHECK(harness_is_writable(p));
}

static void test_purge_ranges(void **state) {
    harness_expect_well(purge_ranges, NULL);
}

static void advise_huge(void *argument) {
    hak_vm_init();
    hak_options.huge = *(uint32_t *)argument;
    CHECK_EQUAL(hak_vm_has_huge(), hak_options.huge != HAK_HUGE_OFF && hak_vm_page_size() == 4096);
    char *p = reserve(64 * GRANULE, 32 * GRANULE);
    hak_vm_advise_huge(p, 64 * GRANULE, HAK_CAUSE_HUGE); /* nothing is usable yet */
    check_cell(HAK_CALL_MADVISE, HAK_CAUSE_HUGE, hak_vm_has_huge(),
               hak_vm_has_huge() ? 64 * GRANULE : 0);
    CHECK_EQUAL(hak_vm_commit(p, 64 * GRANULE, HAK_CAUSE_ARENA_COMMIT), 0);
    memset(p, 1, 64 * GRANULE);
    release(p, 64 * GRANULE);
}

static void test_advise_huge(void **state) {
    uint32_t modes[] = {HAK_HUGE_OFF, HAK_HUGE_AUTO, HAK_HUGE_ON};
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        harness_expect_well(advise_huge, &modes[i]);
}

static void test_ledger(void **state) {
    harness_expect_well(use_with_causes, NULL);
}

/* ---- the address book ---- */

static void fit_gaps(void *argument) {
    hak_vm_init();
    reserve(GRANULE, GRANULE);
    char *a = reserve(8 * GRANULE, GRANULE);
    char *b = reserve(8 * GRANULE, GRANULE);
    char *c = reserve(8 * GRANULE, GRANULE);
    CHECK(b == a + 8 * GRANULE);
    CHECK(c == b + 8 * GRANULE);
    release(b, 8 * GRANULE);
    CHECK(reserve(9 * GRANULE, GRANULE) == c + 8 * GRANULE); /* does not fit the gap */
    CHECK(reserve(3 * GRANULE, GRANULE) == b);               /* the lowest gap, from its start */
    CHECK(reserve(5 * GRANULE, GRANULE) == b + 3 * GRANULE); /* the gap's rest, exactly */
    release(a, 8 * GRANULE);
    release(c, 8 * GRANULE);
    CHECK(reserve(8 * GRANULE, GRANULE) == a);
    CHECK(reserve(8 * GRANULE, GRANULE) == c);
}

static void test_gaps(void **state) {
    harness_expect_well(fit_gaps, NULL);
}

/* Far more than the window holds, one after the other: it must not run out. */
static void reuse_addresses(void *argument) {
    hak_vm_init();
    reserve(GRANULE, GRANULE);
    size_t size = hak_vm_window().size / 4;
    char *first = reserve(size, HAK_GIB);
    release(first, size);
    for (int i = 0; i < 100; i++) {
        char *p = reserve(size, HAK_GIB);
        CHECK(p == first);
        release(p, size);
    }
}

static void test_reuse(void **state) {
    harness_expect_well(reuse_addresses, NULL);
}

enum { HELD_MAX = 200, STEPS = 20000 / HARNESS_SLOWNESS };

struct held {
    uintptr_t start;
    size_t size;
};

static void check_disjoint(const struct held *held, size_t count, const struct held *added) {
    for (size_t i = 0; i < count; i++) {
        bool is_apart = held[i].start + held[i].size <= added->start ||
                        added->start + added->size <= held[i].start;
        CHECK(is_apart);
    }
}

static void reserve_at_random(void *argument) {
    struct held held[HELD_MAX];
    size_t count = 0;
    hak_vm_init();
    for (int step = 0; step < STEPS; step++) {
        if (count < HELD_MAX && harness_below(count < HELD_MAX / 2 ? 3 : 2) != 0) {
            size_t size = (1 + harness_below(64)) * GRANULE << (harness_below(4) ? 0 : 4);
            size_t align = GRANULE << harness_below(16); /* up to 2 GiB */
            align = harness_below(50) ? align : HAK_GIB * 8;
            struct held added = {(uintptr_t)reserve(size, align), size};
            check_disjoint(held, count, &added);
            held[count++] = added;
        } else if (count > 0) {
            size_t i = harness_below(count);
            release((char *)held[i].start, held[i].size);
            held[i] = held[--count];
        }
    }
    while (count-- > 0)
        release((char *)held[count].start, held[count].size);
    /* nothing is left in the book: the window is one gap, but for a stranger here and there */
    char *half = reserve(hak_vm_window().size / 2 - HAK_GIB, HAK_GIB);
    release(half, hak_vm_window().size / 2 - HAK_GIB);
}

static void test_random(void **state) {
    harness_expect_well(reserve_at_random, NULL);
}

/* ---- extents ---- */

static struct hak_vm_extent extent_map(size_t reserved, size_t usable) {
    struct hak_vm_extent extent = {NULL, reserved, usable};
    CHECK_EQUAL(hak_vm_extent_map(&extent, 32 * GRANULE, HAK_ACCESS_READ_WRITE, HAK_CAUSE_BIG), 0);
    CHECK_EQUAL((uintptr_t)extent.start % (32 * GRANULE), 0);
    CHECK_EQUAL(extent.reserved, reserved);
    CHECK_EQUAL(extent.usable, usable);
    return extent;
}

/* The extent's own marks from one granule to another. */
static void mark(const struct hak_vm_extent *extent, size_t from, size_t to) {
    for (size_t i = from; i < to; i++)
        ((char *)extent->start)[i * GRANULE] = (char)(i + 1);
}

static void check_marks(const struct hak_vm_extent *extent, size_t count) {
    for (size_t i = 0; i < count; i++)
        CHECK_EQUAL(((char *)extent->start)[i * GRANULE], (char)(i + 1));
    CHECK(harness_is_writable((char *)extent->start + extent->usable - 1));
    CHECK(!harness_is_readable((char *)extent->start + extent->usable));
}

static void resize_extent(void *argument) {
    hak_vm_init();
    reserve(GRANULE, GRANULE);
    struct hak_vm_extent extent = extent_map(40 * GRANULE, 8 * GRANULE);
    check_cell(HAK_CALL_MMAP, HAK_CAUSE_BIG, 1, 8 * GRANULE); /* the rest is only booked */
    mark(&extent, 0, 8);
    check_marks(&extent, 8);
    CHECK_EQUAL(hak_vm_extent_grow(&extent, 40 * GRANULE, HAK_CAUSE_BIG_GROW), 0);
    check_cell(HAK_CALL_MREMAP, HAK_CAUSE_BIG_GROW, 1, 32 * GRANULE);
    check_marks(&extent, 8);
    CHECK(harness_is_zero((char *)extent.start + 8 * GRANULE, 32 * GRANULE));
    mark(&extent, 8, 40);
    CHECK_EQUAL(hak_vm_extent_shrink(&extent, 3 * GRANULE, HAK_CAUSE_BIG), 0);
    check_cell(HAK_CALL_MUNMAP, HAK_CAUSE_BIG, 1, 37 * GRANULE);
    CHECK_EQUAL(extent.reserved, 40 * GRANULE);
    check_marks(&extent, 3);
    /* its addresses are still its own, and more behind them can be had as far as they are free */
    struct hak_vm_extent other = extent_map(8 * GRANULE, GRANULE);
    CHECK((char *)other.start == (char *)extent.start + 64 * GRANULE);
    hak_vm_extent_widen(&extent, 39 * GRANULE);
    CHECK_EQUAL(extent.reserved, 40 * GRANULE);
    hak_vm_extent_widen(&extent, 50 * GRANULE);
    CHECK_EQUAL(extent.reserved, 50 * GRANULE);
    hak_vm_extent_widen(&extent, 1000 * GRANULE);
    CHECK_EQUAL(extent.reserved, 64 * GRANULE);
    hak_vm_extent_widen(&other, hak_vm_window().size * 2);
    /* to the window's end, or to an arena there where the platform had no quiet place */
    CHECK((char *)other.start + other.reserved <=
          (char *)hak_vm_window().base + hak_vm_window().size);
    CHECK_EQUAL(hak_vm_extent_grow(&extent, 63 * GRANULE, HAK_CAUSE_BIG_GROW), 0);
    check_marks(&extent, 3);
    release(other.start, other.usable);
    CHECK(reserve(GRANULE, GRANULE) != extent.start);
    release(extent.start, extent.usable);
    CHECK(!harness_is_readable(extent.start));
    struct hak_vm_extent again = extent_map(64 * GRANULE, GRANULE);
    CHECK(again.start == extent.start); /* all of it was given back, and all of the other's */
    hak_vm_extent_widen(&again, hak_vm_window().size * 2);
    CHECK((char *)again.start + again.reserved <=
          (char *)hak_vm_window().base + hak_vm_window().size);
}

static void test_extent(void **state) {
    harness_expect_well(resize_extent, NULL);
}

static struct hak_vm_extent extent_target(size_t reserved, size_t usable) {
    struct hak_vm_extent extent = {NULL, reserved, usable};
    CHECK_EQUAL(hak_vm_extent_map(&extent, 32 * GRANULE, HAK_ACCESS_NONE, HAK_CAUSE_BIG_GROW), 0);
    CHECK(!harness_is_readable(extent.start));
    return extent;
}

static void move_extent(void *argument) {
    hak_vm_init();
    reserve(GRANULE, GRANULE);
    struct hak_vm_extent from = extent_map(40 * GRANULE, 40 * GRANULE);
    mark(&from, 0, 40);
    for (int round = 0; round < 20; round++) {
        size_t usable = from.usable + (round % 2 ? 0 : 4 * GRANULE);
        struct hak_vm_extent to = extent_target(usable * 2, usable);
        CHECK_EQUAL(hak_vm_extent_move(&from, &to, HAK_CAUSE_BIG_GROW), 0);
        CHECK(!harness_is_readable(from.start));
        CHECK(!harness_is_readable((char *)from.start + from.usable - 1));
        check_marks(&to, 40);
        /* what was moved grows in place like what was not: it is still one mapping */
        CHECK_EQUAL(hak_vm_extent_grow(&to, usable + 4 * GRANULE, HAK_CAUSE_BIG_GROW), 0);
        check_marks(&to, 40);
        char *gap = reserve(GRANULE, GRANULE); /* the old place is free */
        CHECK(gap <= (char *)from.start || (char *)to.start < (char *)from.start);
        release(gap, GRANULE);
        from = to;
    }
    check_cell(HAK_CALL_MREMAP, HAK_CAUSE_BIG_GROW, 40,
               hak_ledger_read(HAK_CALL_MREMAP, HAK_CAUSE_BIG_GROW).bytes);
    release(from.start, from.usable);
}

static void test_extent_move(void **state) {
    harness_expect_well(move_extent, NULL);
}

/* Refused: the source is as it was, the target is gone, and its place can be had again. */
static void move_extent_in_vain(void *argument) {
    hak_vm_init();
    reserve(GRANULE, GRANULE);
    size_t page = hak_vm_page_size();
    struct hak_vm_extent from = extent_map(50 * GRANULE, 40 * GRANULE);
    mark(&from, 0, 40);
    CHECK_EQUAL(hak_prim_protect((char *)from.start + page, page, HAK_ACCESS_READ), 0);
    for (int round = 0; round < 3; round++) {
        struct hak_vm_extent to = extent_target(80 * GRANULE, 60 * GRANULE);
        CHECK_EQUAL(hak_vm_extent_move(&from, &to, HAK_CAUSE_BIG_GROW), EFAULT);
        check_marks(&from, 40);
        struct hak_vm_extent again = extent_map(80 * GRANULE, GRANULE);
        CHECK(again.start == to.start);
        CHECK(!harness_is_readable((char *)again.start + GRANULE));
        release(again.start, again.usable);
    }
    CHECK_EQUAL(hak_vm_extent_grow(&from, 41 * GRANULE, HAK_CAUSE_BIG_GROW), EFAULT);
    CHECK_EQUAL(from.usable, 40 * GRANULE);
}

static void test_extent_move_in_vain(void **state) {
    harness_expect_well(move_extent_in_vain, NULL);
}

/* A stranger in the addresses behind: told from growth, and left alone by everything. */
static void meet_stranger_behind(void *argument) {
    void *out;
    hak_vm_init();
    reserve(GRANULE, GRANULE);
    struct hak_vm_extent extent = extent_map(40 * GRANULE, 8 * GRANULE);
    char *stranger = (char *)extent.start + 20 * GRANULE;
    CHECK_EQUAL(hak_prim_map(stranger, GRANULE, HAK_ACCESS_READ_WRITE, &out), 0);
    *stranger = 7;
    mark(&extent, 0, 8);
    CHECK_EQUAL(hak_vm_extent_grow(&extent, 40 * GRANULE, HAK_CAUSE_BIG_GROW), ENOMEM);
    check_marks(&extent, 8);
    CHECK_EQUAL(hak_vm_extent_grow(&extent, 20 * GRANULE, HAK_CAUSE_BIG_GROW), 0);
    CHECK_EQUAL(hak_vm_extent_shrink(&extent, 8 * GRANULE, HAK_CAUSE_BIG), 0);
    check_marks(&extent, 8);
    release(extent.start, extent.usable);
    CHECK_EQUAL(*stranger, 7);
}

static void test_extent_stranger(void **state) {
    harness_expect_well(meet_stranger_behind, NULL);
}

/* ---- strangers ---- */

static void meet_strangers(void *argument) {
    void *out;
    hak_vm_init();
    char *first = reserve(GRANULE, GRANULE);
    char *next = reserve(GRANULE, GRANULE);
    release(next, GRANULE);
    CHECK_EQUAL(hak_prim_map(next, GRANULE, HAK_ACCESS_READ_WRITE, &out), 0);
    *next = 7;
    uint64_t calls = hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_ARENA_RESERVE).count;
    CHECK(reserve(GRANULE, GRANULE) == next + 2 * GRANULE); /* a step of the size of the request */
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_ARENA_RESERVE).count, calls + 2);
    CHECK_EQUAL(*next, 7);
    /* The place is never asked for again, also when the stranger has gone. */
    CHECK_EQUAL(hak_prim_unmap(next, GRANULE), 0);
    CHECK(reserve(GRANULE, GRANULE) == next + 3 * GRANULE);
    release(first, GRANULE);
    if (is_place_quiet()) /* else the window has lower gaps */
        CHECK(reserve(GRANULE, GRANULE) == first);
}

/* A large stranger is stepped over in strides that double; a huge one takes several requests. */
static void meet_large_stranger(void *argument) {
    enum { TRIES = 12 };
    size_t size = *(size_t *)argument;
    void *out;
    hak_vm_init();
    reserve(GRANULE, GRANULE);
    char *next = reserve(GRANULE, GRANULE);
    release(next, GRANULE);
    CHECK_EQUAL(hak_prim_map(next, size, HAK_ACCESS_NONE, &out), 0);
    int error = ENOMEM;
    int requests = 0;
    while (error != 0 && requests < 8) {
        uint64_t calls = hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_BIG).count;
        error = hak_vm_reserve(GRANULE, GRANULE, HAK_CAUSE_BIG, &out);
        calls = hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_BIG).count - calls;
        CHECK(error == 0 ? calls <= TRIES : error == ENOMEM && calls == TRIES);
        requests++;
    }
    CHECK_EQUAL(error, 0);
    CHECK(requests == 1 || size > 1000 * GRANULE);
    CHECK((char *)out >= next + size);
    CHECK((char *)out <= next + 3 * size); /* not far beyond it */
    CHECK_EQUAL(hak_vm_commit(out, GRANULE, HAK_CAUSE_BIG), 0);
}

static void test_strangers(void **state) {
    harness_expect_well(meet_strangers, NULL);
    size_t sizes[] = {2 * GRANULE, 12 * GRANULE, 1000 * GRANULE, HAK_GIB};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        harness_expect_well(meet_large_stranger, &sizes[i]);
}

/* ---- refusals ---- */

static void be_refused(void *argument) {
    void *out;
    hak_vm_init();
    reserve(GRANULE, GRANULE);
    char *place = reserve(GRANULE, GRANULE);
    release(place, GRANULE);
    harness_set_address_limit(HAK_MIB); /* the kernel now refuses whatever is asked */
    int error = hak_vm_reserve(GRANULE, GRANULE, HAK_CAUSE_BIG, &out);
    harness_set_address_limit(RLIM_INFINITY);
    CHECK_EQUAL(error, ENOMEM);
    CHECK(reserve(GRANULE, GRANULE) == place); /* the book forgot the failed try */

    /* larger than any gap, larger than the window */
    size_t size = hak_vm_window().size;
    uint64_t calls = hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_BIG).count;
    CHECK_EQUAL(hak_vm_reserve(size, GRANULE, HAK_CAUSE_BIG, &out), ENOMEM);
    CHECK_EQUAL(hak_vm_reserve(size * 2, GRANULE, HAK_CAUSE_BIG, &out), ENOMEM);
    CHECK_EQUAL(hak_vm_reserve(GRANULE, (size_t)1 << 62, HAK_CAUSE_BIG, &out), ENOMEM);
    CHECK_EQUAL(hak_vm_reserve((size_t)1 << 62, (size_t)1 << 62, HAK_CAUSE_BIG, &out), ENOMEM);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_BIG).count, calls); /* nobody was asked */
    reserve(GRANULE, GRANULE);
}

static void test_refusals(void **state) {
    if (harness_has_address_limit())
        skip();
    harness_expect_well(be_refused, NULL);
}

/*
 * As many reservations as the book has lines for Big blocks: then ENOMEM, and room again after one
 * release; for arenas there are more.
 */
static void fill_book(void *argument) {
    enum { ENOUGH = 17000, ARENA_LINES = 500 };
    void *out = NULL;
    char *last = NULL;
    size_t count = 0;
    hak_vm_init();
    while (count < ENOUGH && hak_vm_reserve(GRANULE, GRANULE, HAK_CAUSE_BIG, &out) == 0) {
        last = out;
        count++;
    }
    CHECK(count >= 16380);
    CHECK(count < ENOUGH);
    struct hak_vm_extent extent = {NULL, GRANULE, GRANULE};
    CHECK_EQUAL(hak_vm_extent_map(&extent, GRANULE, HAK_ACCESS_NONE, HAK_CAUSE_BIG_GROW), ENOMEM);
    release(last, GRANULE);
    CHECK_EQUAL(hak_vm_reserve(GRANULE, GRANULE, HAK_CAUSE_BIG, &out), 0);
    CHECK(out == last);
    for (int i = 0; i < ARENA_LINES; i++)
        last = reserve(GRANULE, GRANULE);
    release(last, GRANULE);
    CHECK(reserve(GRANULE, GRANULE) == last);
}

static void test_book_full(void **state) {
    harness_expect_well(fill_book, NULL);
}

/* ---- threads and fork ---- */

enum { THREADS = 4, TURNS = 2000 / HARNESS_SLOWNESS };

static void *reserve_and_sign(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument | 1;
    for (int i = 0; i < TURNS; i++) {
        size_t size = (1 + harness_random_of(&random) % 8) * GRANULE;
        void **p = (void *)reserve(size, GRANULE << harness_random_of(&random) % 4);
        CHECK_EQUAL(hak_vm_commit(p, GRANULE, HAK_CAUSE_ARENA_COMMIT), 0);
        CHECK(*p == NULL);
        *p = argument;
        sched_yield();
        CHECK(*p == argument);
        release((char *)p, size);
    }
    return NULL;
}

static void share_between_threads(void *argument) {
    pthread_t threads[THREADS];
    char marks[THREADS];
    hak_vm_init();
    reserve(GRANULE, GRANULE);
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(reserve_and_sign, &marks[i]);
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
}

static void test_threads(void **state) {
    harness_expect_well(share_between_threads, NULL);
}

static void after_fork(void *argument) {
    hak_vm_fork_child();
    char *p = reserve(GRANULE, GRANULE);
    CHECK(p != argument);
    release(p, GRANULE);
}

static void fork_while_locked(void *argument) {
    hak_vm_init();
    char *first = reserve(GRANULE, GRANULE);
    hak_vm_fork_prepare();
    harness_expect_well(after_fork, first);
    hak_vm_fork_parent();
    CHECK(reserve(GRANULE, GRANULE) != NULL);
}

static void test_fork(void **state) {
    harness_expect_well(fork_while_locked, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_first_alignment),
        cmocka_unit_test(test_first_release),
        cmocka_unit_test(test_access),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_ledger),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_book_full),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_purge_ranges),
        cmocka_unit_test(test_advise_huge),
        cmocka_unit_test(test_extent),
        cmocka_unit_test(test_extent_move),
        cmocka_unit_test(test_extent_move_in_vain),
        cmocka_unit_test(test_extent_stranger),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
