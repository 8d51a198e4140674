/* test/fault/purge.c — the kernel refuses to take memory back, or to make pages huge. SPDX-License-Identifier: MIT */
/*
 * Goal: what could not be given back is neither lost nor called zero; a kernel without
 * process_madvise for ourselves is served by madvise; one that refuses for good is not asked every
 * epoch, but whenever the program asks; huge pages are a wish.
 * Method: runs of units, some in use and signed, some free and dirty, each case in a child; the fake
 * kernel refuses one call or the other with the errno values there are. Units are looked at one by
 * one afterwards: those in use have their marks, those said to be zero are.
 */

#include "arena/arena.h"
#include "arena/pool.h"
#include "arena/run.h"
#include "fault/workload.h"
#include "heap/heap.h"
#include "vm/vm.h"

enum { RUNS = 600, ROUND = 256, LONG_UNITS = 40 };

static struct {
    hak_unit first;    /* unit 2k is free and dirty, unit 2k + 1 is in use */
    hak_unit long_run; /* LONG_UNITS, free and dirty */
} g_units;

static struct fake_script refuse(enum fake_call series, int error) {
    return (struct fake_script){.series = series, .first = 1, .count = ULONG_MAX, .error = error};
}

static void unit_sign(hak_unit unit) {
    memset(hak_unit_address(unit), (int)(unit % 251) + 1, HAK_UNIT_SIZE);
}

static bool unit_is_signed(hak_unit unit) {
    const unsigned char *p = hak_unit_address(unit);
    return p[0] == unit % 251 + 1 && memcmp(p, p + 1, HAK_UNIT_SIZE - 1) == 0;
}

static bool unit_is_zero(hak_unit unit) {
    const unsigned char *p = hak_unit_address(unit);
    return p[0] == 0 && memcmp(p, p + 1, HAK_UNIT_SIZE - 1) == 0;
}

static hak_unit take(uint32_t count) {
    struct hak_pool_run run = hak_pool_take(count, 1, HAK_LANE_PLAIN);
    FAULT_REQUIRE(run.first != HAK_UNIT_NONE, "no units");
    for (uint32_t i = 0; i < count; i++) {
        FAULT_REQUIRE(!run.is_zeroed || unit_is_zero(run.first + i), "a unit is not zero");
        unit_sign(run.first + i);
    }
    return run.first;
}

static size_t dirty_bytes(void) {
    struct hak_pool_stats stats = hak_pool_stats();
    return stats.free - stats.free_zeroed;
}

static void units_make(void) {
    hakmem_free(hakmem_malloc(1)); /* start-up */
    hakmem_malloc_trim(0);
    FAULT_REQUIRE(dirty_bytes() == 0, "not all was given back");
    g_units.first = take(2 * RUNS);
    g_units.long_run = take(LONG_UNITS);
    take(1);
    for (hak_unit i = 0; i < RUNS; i++)
        hak_pool_put(g_units.first + 2 * i, 1);
    hak_pool_put(g_units.long_run, LONG_UNITS);
    FAULT_REQUIRE(dirty_bytes() == (RUNS + LONG_UNITS) * HAK_UNIT_SIZE, "%zu dirty bytes",
                  dirty_bytes());
}

/* Those in use have their marks; those free are as clean as their bits say, and all are there. */
static void units_check(size_t free_bytes) {
    for (hak_unit i = 0; i < RUNS; i++) {
        hak_unit unit = g_units.first + 2 * i;
        FAULT_REQUIRE(unit_is_signed(unit + 1), "unit %u in use lost its contents", i);
        FAULT_REQUIRE(hak_run_of(unit)->length == 1, "free run %u is lost", i);
        FAULT_REQUIRE(hak_dirty_count(unit, 1) == 1 || unit_is_zero(unit), "unit %u is not zero",
                      i);
    }
    for (hak_unit i = 0; i < LONG_UNITS; i++) {
        hak_unit unit = g_units.long_run + i;
        FAULT_REQUIRE(hak_dirty_count(unit, 1) == 1 || unit_is_zero(unit), "a unit is not zero");
    }
    FAULT_REQUIRE(hak_pool_stats().free == free_bytes, "%zu bytes are free, not %zu",
                  hak_pool_stats().free, free_bytes);
}

/* Takes all of them, writes to them, and puts them back. */
static void units_use_again(void) {
    for (hak_unit i = 0; i < RUNS; i++) {
        hak_unit place = take(1) - g_units.first;
        FAULT_REQUIRE(place < 2 * RUNS && place % 2 == 0, "not a run that fits");
    }
    FAULT_REQUIRE(take(LONG_UNITS) == g_units.long_run, "not the run that fits");
    for (hak_unit i = 0; i < RUNS; i++)
        hak_pool_put(g_units.first + 2 * i, 1);
    hak_pool_put(g_units.long_run, LONG_UNITS);
}

static size_t purge_all(void) {
    return hak_pool_purge(HAK_CAUSE_TRIM);
}

static void require_calls(unsigned long ranges, unsigned long singles) {
    FAULT_REQUIRE(fake_prim_calls(FAKE_PURGE_RANGES) == ranges &&
                      fake_prim_calls(FAKE_PURGE) == singles,
                  "%lu calls for ranges and %lu single ones, not %lu and %lu",
                  fake_prim_calls(FAKE_PURGE_RANGES), fake_prim_calls(FAKE_PURGE), ranges, singles);
}

/* ---- the cases ---- */

/* No process_madvise, or not for ourselves: one try, then madvise for each run, for ever. */
static void no_ranges(const void *argument) {
    int error = *(const int *)argument;
    units_make();
    size_t free_bytes = hak_pool_stats().free;
    size_t dirty = dirty_bytes();
    fault_doing("malloc_trim");
    fake_prim_play(refuse(FAKE_PURGE_RANGES, error));
    size_t purged = purge_all();
    FAULT_REQUIRE(purged == dirty, "%zu of %zu bytes were given back", purged, dirty);
    require_calls(1, RUNS + 1);
    FAULT_REQUIRE(!hak_vm_can_purge_ranges(), "it would be tried again");
    FAULT_REQUIRE(dirty_bytes() == 0, "%zu bytes are still dirty", dirty_bytes());
    units_check(free_bytes);

    fault_doing("an epoch");
    units_use_again();
    hak_pool_epoch();
    hak_pool_epoch();
    FAULT_REQUIRE(hak_pool_debt() == dirty, "%zu bytes are owed, not %zu", hak_pool_debt(), dirty);
    fake_prim_play(refuse(FAKE_PURGE_RANGES, error));
    size_t paid = 0;
    while (hak_pool_debt() > 0)
        paid += hak_pool_pay();
    /* single units are not worth a call each */
    FAULT_REQUIRE(paid == LONG_UNITS * HAK_UNIT_SIZE, "%zu bytes were paid", paid);
    require_calls(0, 1);
    units_check(free_bytes);
}

/* Interrupted on its way: madvise for that round, and the next is tried again. */
static void ranges_later(const void *argument) {
    units_make();
    size_t free_bytes = hak_pool_stats().free;
    size_t dirty = dirty_bytes();
    fake_prim_play(refuse(FAKE_PURGE_RANGES, EAGAIN));
    size_t purged = purge_all();
    FAULT_REQUIRE(purged == dirty, "%zu of %zu bytes were given back", purged, dirty);
    require_calls((RUNS + 1 + ROUND - 1) / ROUND, RUNS + 1);
    FAULT_REQUIRE(hak_vm_can_purge_ranges(), "it was given up");
    units_check(free_bytes);
}

/* The k-th madvise fails: what the round had before is not trusted, and nothing is lost. */
static void single_fails(const void *argument) {
    const struct fake_script script = *(const struct fake_script *)argument;
    units_make();
    size_t free_bytes = hak_pool_stats().free;
    size_t dirty = dirty_bytes();
    fake_prim_play(refuse(FAKE_PURGE_RANGES, ENOSYS));
    hak_pool_purge(HAK_CAUSE_TRIM); /* there it is found out */
    units_use_again();
    fake_prim_play(script);
    size_t purged = purge_all();
    size_t whole_rounds = (script.first - 1) / ROUND;
    FAULT_REQUIRE(purged == dirty - dirty_bytes(), "%zu bytes were given back, %zu are clean",
                  purged, dirty - dirty_bytes());
    FAULT_REQUIRE(whole_rounds == 0 || purged >= whole_rounds * ROUND * HAK_UNIT_SIZE,
                  "%zu bytes after %zu rounds", purged, whole_rounds);
    units_check(free_bytes);
    fake_prim_play((struct fake_script){0});
    FAULT_REQUIRE(purge_all() == dirty - purged, "the rest was not given back");
    FAULT_REQUIRE(dirty_bytes() == 0, "something is left");
    units_check(free_bytes);
}

/* Everything is refused: epochs give up, malloc_trim never does, and all of it is there. */
static void all_refused(const void *argument) {
    int error = *(const int *)argument;
    units_make();
    size_t free_bytes = hak_pool_stats().free;
    size_t dirty = dirty_bytes();
    fault_doing("malloc_trim");
    fake_prim_play(refuse(FAKE_ANY_MEMORY, error));
    FAULT_REQUIRE(hakmem_malloc_trim(0) == 0, "malloc_trim says it gave something back");
    FAULT_REQUIRE(dirty_bytes() >= dirty, "what is dirty was called clean");
    units_check(hak_pool_stats().free);
    free_bytes = hak_pool_stats().free;

    fault_doing("an epoch");
    hak_pool_epoch();
    FAULT_REQUIRE(hak_pool_epoch() >= dirty, "nothing is owed"); /* trim did not switch it off */
    size_t paid = hak_pool_pay();
    FAULT_REQUIRE(paid == 0 && hak_pool_debt() == 0, "%zu bytes were paid, %zu are owed", paid,
                  hak_pool_debt());
    units_check(free_bytes);
    unsigned long calls = fake_prim_calls(FAKE_ANY_MEMORY);
    for (int i = 0; i < 5; i++) {
        FAULT_REQUIRE(hak_pool_epoch() == 0, "epochs go on asking");
        FAULT_REQUIRE(hak_pool_pay() == 0, "something was paid");
    }
    FAULT_REQUIRE(fake_prim_calls(FAKE_ANY_MEMORY) == calls, "the kernel was asked again");

    fault_doing("malloc_trim again");
    FAULT_REQUIRE(hakmem_malloc_trim(0) == 0, "malloc_trim says it gave something back");
    FAULT_REQUIRE(fake_prim_calls(FAKE_ANY_MEMORY) > calls, "malloc_trim did not try");
    units_check(free_bytes);
    fake_prim_play((struct fake_script){0});
    FAULT_REQUIRE(hakmem_malloc_trim(0) == 1, "malloc_trim gave nothing back after recovery");
    FAULT_REQUIRE(dirty_bytes() == 0, "%zu bytes are left", dirty_bytes());
    units_check(free_bytes);
}

/* Out of memory asks as well, and lives with the answer. */
static void refused_in_want(const void *argument) {
    units_make();
    size_t free_bytes = hak_pool_stats().free;
    fake_prim_play(refuse(FAKE_ANY_MEMORY, ENOMEM));
    struct work_block block;
    FAULT_REQUIRE(!work_malloc(&block, 60 * WORK_MIB), "there was memory after all");
    fake_prim_play((struct fake_script){0});
    FAULT_REQUIRE(hak_pool_stats().free >= free_bytes, "units are missing");
    units_check(hak_pool_stats().free);
    FAULT_REQUIRE(work_malloc(&block, 60 * WORK_MIB), "NULL after recovery");
    work_free(&block);
}

/* Huge pages are refused: the lane is what it was, in small pages. */
static void no_huge(const void *argument) {
    hakmem_free(hakmem_malloc(1));
    fake_prim_play(refuse(FAKE_HUGE, EINVAL));
    struct work_block blocks[20];
    for (int i = 0; i < 20; i++)
        FAULT_REQUIRE(work_malloc(&blocks[i], (size_t)(i + 1) * WORK_MIB), "NULL");
    unsigned long calls = fake_prim_calls(FAKE_HUGE);
    FAULT_REQUIRE(calls == (hak_vm_has_huge() ? 1 : 0), "%lu wishes for one arena", calls);
    for (int i = 0; i < 20; i++)
        work_free(&blocks[i]);
    hakmem_malloc_trim(0);
    work_check_books(0);
}

/* Pages of slabs that lie idle: refused, they are tried again, and their blocks never notice. */
static void idle_slabs(const void *argument) {
    const struct fake_script script = *(const struct fake_script *)argument;
    enum { BLOCKS = 4000, EPOCHS = 6 };
    static struct work_block blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        work_malloc(&blocks[i], 3000);
    for (int i = 0; i < BLOCKS; i++) {
        if (i % 10)
            work_free(&blocks[i]);
    }
    hak_heap_flush_above(hak_heap_current(), 0);
    fault_doing("idle slabs, refused");
    fake_prim_play(script);
    for (int epoch = 0; epoch < EPOCHS; epoch++) {
        bool has_more = hak_heap_purge_idle(true);
        while (has_more)
            has_more = hak_heap_purge_idle(false);
    }
    FAULT_REQUIRE(fake_prim_calls(FAKE_PURGE_RANGES) > 0, "the kernel was not asked");
    for (int i = 0; i < BLOCKS; i += 10)
        work_check(&blocks[i]);
    fault_doing("the same slabs in use");
    fake_prim_play((struct fake_script){0});
    for (int i = 0; i < BLOCKS; i++) {
        if (i % 10)
            work_malloc(&blocks[i], 3000);
    }
    for (int i = 0; i < BLOCKS; i++)
        work_free(&blocks[i]);
    hakmem_malloc_trim(0);
    work_check_books(0);
}

static void check(const char *what, void (*body)(const void *), const void *argument) {
    bool is_good = fault_run(body, argument);
    CHECK(is_good, "%s%s%s", what, is_good ? "" : ": ", g_fault->text);
}

int main(void) {
    static const int errors[] = {ENOSYS, EPERM, EINVAL, EBADF, ENOMEM};
    char what[100];
    fault_open();
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        snprintf(what, sizeof what, "ranges are refused with errno %d: madvise", errors[i]);
        check(what, no_ranges, &errors[i]);
        snprintf(what, sizeof what, "all is refused with errno %d", errors[i]);
        check(what, all_refused, &errors[i]);
    }
    check("ranges are interrupted: madvise, and ranges again", ranges_later, NULL);
    const unsigned long step = FAULT_SANITIZED ? 89 : 29;
    for (unsigned long k = 1; k <= RUNS + 1; k += step) {
        struct fake_script script = {.series = FAKE_PURGE, .first = k, .count = 1, .error = EAGAIN};
        snprintf(what, sizeof what, "madvise number %lu is refused", k);
        check(what, single_fails, &script);
    }
    check("refused when memory is short", refused_in_want, NULL);
    check("huge pages are refused", no_huge, NULL);
    struct fake_script scripts[] = {
        {0}, refuse(FAKE_PURGE_RANGES, EAGAIN), refuse(FAKE_PURGE_RANGES, ENOSYS)};
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
        check("pages of idle slabs", idle_slabs, &scripts[i]);
    return tap_end();
}
