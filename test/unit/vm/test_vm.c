/* test/unit/vm/test_vm.c — address space: reserve, commit, purge, release. SPDX-License-Identifier: MIT */

/*
 * Goal: everything reserved lies in one window, aligned, disjoint, not accessible until committed;
 * released addresses are used again; strangers' mappings are stepped around; each system call is in
 * the ledger.
 * Method: a child per test, since the window is found once; reservations are compared with a shadow
 * of the ranges held; the kernel is asked whether memory is accessible.
 */

#include <sched.h>
#include <sys/resource.h>

#include "base/bits.h"
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

static void set_address_limit(rlim_t soft) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    limit.rlim_cur = soft;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

static bool is_limit_free(void) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
    return limit.rlim_cur == RLIM_INFINITY;
}

/* ---- the window ---- */

static void init_under_limit(void *argument) {
    size_t limit = *(size_t *)argument;
    if (limit != SIZE_MAX)
        set_address_limit((rlim_t)limit);
    hak_vm_init();
    if (limit != SIZE_MAX)
        set_address_limit(RLIM_INFINITY); /* only hak_vm_init() is meant to see it */
    CHECK_EQUAL(hak_vm_page_size(), sysconf(_SC_PAGESIZE));
    CHECK_EQUAL(hak_vm_address_limit(), limit);
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
    size_t limits[] = {SIZE_MAX,     200 * HAK_MIB, HAK_GIB,       8 * HAK_GIB,
                       65 * HAK_GIB, 256 * HAK_GIB, 257 * HAK_GIB, 4 * HAK_TIB};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        /* below what a sanitizer's shadow takes, the runtime itself cannot live for a moment */
        if (i == 0 || is_limit_free())
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
    set_address_limit(HAK_MIB); /* the kernel now refuses whatever is asked */
    int error = hak_vm_reserve(GRANULE, GRANULE, HAK_CAUSE_BIG, &out);
    set_address_limit(RLIM_INFINITY);
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
    if (!is_limit_free())
        skip();
    harness_expect_well(be_refused, NULL);
}

/* As many reservations as the book has lines: then ENOMEM, and room again after one release. */
static void fill_book(void *argument) {
    enum { ENOUGH = 17000 };
    void *out = NULL;
    char *last = NULL;
    size_t count = 0;
    hak_vm_init();
    while (count < ENOUGH && hak_vm_reserve(GRANULE, GRANULE, HAK_CAUSE_BIG, &out) == 0) {
        last = out;
        count++;
    }
    CHECK(count >= 16384);
    CHECK(count < ENOUGH);
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
        cmocka_unit_test(test_window),        cmocka_unit_test(test_first_alignment),
        cmocka_unit_test(test_first_release), cmocka_unit_test(test_access),
        cmocka_unit_test(test_table),         cmocka_unit_test(test_ledger),
        cmocka_unit_test(test_gaps),          cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_random),        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_refusals),      cmocka_unit_test(test_book_full),
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_fork),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
