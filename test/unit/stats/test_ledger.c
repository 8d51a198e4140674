/* test/unit/stats/test_ledger.c — the ledger of system calls. SPDX-License-Identifier: MIT */

/*
 * Goal: each cell counts its own calls and bytes and nobody else's, from any number of threads;
 * locks and messages, which lie below the ledger, appear in it; observed, calls keep the request they were
 * made for, as long as there is room, and are counted without it where there is none.
 * Method: a different count per cell; threads that add at once; a lock that is really waited for; a file in
 * memory that is filled beyond its last slot.
 */

#include <time.h>

#include "base/lock.h"
#include "base/text.h"
#include "stats/ledger.h"
#include "unit/harness.h"

enum { THREADS = 4, TURNS = 50000 };

static uint64_t expected_count(unsigned call, unsigned cause) {
    return (uint64_t)call * HAK_CAUSE_COUNT + cause;
}

static void fill_cells(void *argument) {
    for (unsigned call = 0; call < HAK_CALL_COUNT; call++) {
        for (unsigned cause = 0; cause < HAK_CAUSE_COUNT; cause++) {
            struct hak_ledger_cell cell =
                hak_ledger_read((enum hak_call)call, (enum hak_cause)cause);
            CHECK_EQUAL(cell.count, 0);
            CHECK_EQUAL(cell.bytes, 0);
            for (uint64_t i = 0; i < expected_count(call, cause); i++)
                hak_ledger_add((enum hak_call)call, (enum hak_cause)cause, 1000 + i);
        }
    }
    for (unsigned call = 0; call < HAK_CALL_COUNT; call++) {
        for (unsigned cause = 0; cause < HAK_CAUSE_COUNT; cause++) {
            uint64_t n = expected_count(call, cause);
            struct hak_ledger_cell cell =
                hak_ledger_read((enum hak_call)call, (enum hak_cause)cause);
            CHECK_EQUAL(cell.count, n);
            CHECK_EQUAL(cell.bytes, n == 0 ? 0 : n * 1000 + n * (n - 1) / 2);
        }
    }
}

static void test_cells(void **state) {
    harness_expect_well(fill_cells, NULL);
}

static void add_huge(void *argument) {
    hak_ledger_add(HAK_CALL_MMAP, HAK_CAUSE_BIG, (size_t)1 << 60);
    hak_ledger_add(HAK_CALL_MMAP, HAK_CAUSE_BIG, (size_t)1 << 60);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_BIG).bytes, (uint64_t)1 << 61);
}

static void test_huge(void **state) {
    harness_expect_well(add_huge, NULL);
}

/* A file that is read costs three calls; one that is not there costs one. */
static void add_files(void *argument) {
    hak_ledger_add_file(HAK_CALL_READ, HAK_CAUSE_POLICY, 100, 0, 0);
    hak_ledger_add_file(HAK_CALL_READ, HAK_CAUSE_POLICY, 0, ENOENT, 0);
    hak_ledger_add_file(HAK_CALL_READ, HAK_CAUSE_POLICY, 0, EIO, 0); /* opened, but not read */
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_OPENAT, HAK_CAUSE_POLICY).count, 3);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_READ, HAK_CAUSE_POLICY).count, 2);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_READ, HAK_CAUSE_POLICY).bytes, 100);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_CLOSE, HAK_CAUSE_POLICY).count, 2);
}

static void test_files(void **state) {
    harness_expect_well(add_files, NULL);
}

static void check_words(const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++) {
        CHECK(words[i] != NULL);
        CHECK(strlen(words[i]) > 0);
        CHECK(strspn(words[i], "abcdefghijklmnopqrstuvwxyz0123456789-_") == strlen(words[i]));
        for (size_t k = 0; k < i; k++)
            CHECK(strcmp(words[i], words[k]) != 0);
    }
}

/* Words appear in reports that scripts read: one word per column, and no two alike. */
static void test_words(void **state) {
    check_words(hak_ledger_call_words, HAK_CALL_COUNT);
    check_words(hak_ledger_cause_words, HAK_CAUSE_COUNT);
    assert_string_equal(hak_ledger_call_words[HAK_CALL_MMAP], "mmap");
    assert_string_equal(hak_ledger_cause_words[HAK_CAUSE_ARENA_RESERVE], "arena-reserve");
}

static void *add_many(void *argument) {
    for (int i = 0; i < TURNS; i++)
        hak_ledger_add(HAK_CALL_MADVISE, HAK_CAUSE_TRIM, 3);
    return NULL;
}

static void test_threads(void **state) {
    pthread_t threads[THREADS];
    struct hak_ledger_cell before = hak_ledger_read(HAK_CALL_MADVISE, HAK_CAUSE_TRIM);
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(add_many, NULL);
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    struct hak_ledger_cell after = hak_ledger_read(HAK_CALL_MADVISE, HAK_CAUSE_TRIM);
    CHECK_EQUAL(after.count - before.count, THREADS * TURNS);
    CHECK_EQUAL(after.bytes - before.bytes, 3 * THREADS * TURNS);
}

static struct hak_lock g_lock = HAK_LOCK_INIT(HAK_RANK_VM);

static void *wait_for_lock(void *argument) HAK_NO_LOCK_ANALYSIS {
    hak_lock_acquire(&g_lock);
    hak_lock_release(&g_lock);
    return NULL;
}

static void test_locks_are_in_it(void **state) HAK_NO_LOCK_ANALYSIS {
    struct hak_ledger_cell before = hak_ledger_read(HAK_CALL_FUTEX, HAK_CAUSE_LOCK);
    hak_lock_acquire(&g_lock);
    pthread_t thread = harness_thread(wait_for_lock, NULL);
    while (hak_ledger_read(HAK_CALL_FUTEX, HAK_CAUSE_LOCK).count == before.count) {
        struct timespec moment = {0, 100000};
        nanosleep(&moment, NULL);
    }
    hak_lock_release(&g_lock);
    harness_join(thread);
    /* one wait at least, and the wakes of the holder and of the sleeper */
    CHECK(hak_ledger_read(HAK_CALL_FUTEX, HAK_CAUSE_LOCK).count >= before.count + 2);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_FUTEX, HAK_CAUSE_LOCK).count, hak_lock_cell()->count);
}

static void write_messages(void *argument) {
    char buffer[8];
    struct hak_text text = {.buffer = buffer, .capacity = sizeof buffer};
    for (int i = 0; i < 5; i++) {
        hak_text_string(&text, "x");
        hak_text_flush(&text);
    }
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_WRITE, HAK_CAUSE_MESSAGE).count, 5);
}

static void test_messages_are_in_it(void **state) {
    harness_expect_text(write_messages, NULL, "xxxxx");
}

/* ---- observed ---- */

static struct hakmem_stat_file g_file;

/* Calls of all slots, and of the cells without context. */
static uint64_t count_slots(size_t *used) {
    uint64_t count = 0;
    *used = 0;
    for (size_t i = 0; i < HAKMEM_STAT_SLOTS; i++) {
        count += atomic_load(&g_file.slots[i].call.count);
        *used += atomic_load(&g_file.slots[i].key) != 0;
    }
    return count;
}

static void call_once(unsigned range) {
    hak_ledger_context = HAK_LEDGER_CONTEXT(3, range);
    hak_ledger_end(hak_ledger_begin(HAK_CALL_MMAP, HAK_CAUSE_BIG, 10));
    hak_ledger_context = 0;
}

/* What was counted before is moved along; then every slot is taken, twice, and more is asked for. */
static void fill_slots(void *argument) {
    size_t used;
    hak_ledger_add(HAK_CALL_MMAP, HAK_CAUSE_BIG, 1);
    hak_ledger_add(HAK_CALL_MUNMAP, HAK_CAUSE_BIG, 2);
    hak_ledger_move(&g_file);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_BIG).bytes, 1);
    for (unsigned turn = 1; turn <= 2; turn++) {
        for (unsigned range = 0; range < HAKMEM_STAT_SLOTS; range++)
            call_once(range);
        CHECK_EQUAL(count_slots(&used), turn * HAKMEM_STAT_SLOTS);
        CHECK_EQUAL(used, HAKMEM_STAT_SLOTS);
    }
    for (unsigned range = 0; range < 2 * HAKMEM_STAT_SLOTS; range++)
        call_once(range); /* the second half has no slot */
    CHECK_EQUAL(count_slots(&used), 3 * HAKMEM_STAT_SLOTS);
    CHECK_EQUAL(g_file.calls[HAK_CALL_MMAP][HAK_CAUSE_BIG].count, HAKMEM_STAT_SLOTS + 1);
    struct hak_ledger_cell all = hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_BIG);
    CHECK_EQUAL(all.count, 4 * HAKMEM_STAT_SLOTS + 1);
    CHECK_EQUAL(all.bytes, 40 * HAKMEM_STAT_SLOTS + 1);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MUNMAP, HAK_CAUSE_BIG).bytes, 2);
    for (size_t i = 0; i < HAKMEM_STAT_SLOTS; i++) {
        uint32_t key = g_file.slots[i].key;
        CHECK_EQUAL(HAKMEM_STAT_KEY_CALL(key), HAK_CALL_MMAP);
        CHECK_EQUAL(HAKMEM_STAT_KEY_CAUSE(key), HAK_CAUSE_BIG);
        CHECK_EQUAL(HAKMEM_STAT_KEY_TIER(key), 3);
        CHECK(HAKMEM_STAT_KEY_RANGE(key) < HAKMEM_STAT_SLOTS);
        CHECK_EQUAL(g_file.slots[i].call.count, 3);
    }
    hak_ledger_move(NULL); /* and begins anew */
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_BIG).count, 0);
}

static void test_slots(void **state) {
    harness_expect_well(fill_slots, NULL);
}

static void *call_many(void *argument) {
    for (unsigned i = 0; i < TURNS / 10; i++)
        call_once(i % 300); /* more than there are slots */
    return NULL;
}

static void call_from_threads(void *argument) {
    pthread_t threads[THREADS];
    size_t used;
    hak_ledger_move(&g_file);
    for (int i = 0; i < THREADS; i++)
        threads[i] = harness_thread(call_many, NULL);
    for (int i = 0; i < THREADS; i++)
        harness_join(threads[i]);
    uint64_t in_slots = count_slots(&used);
    CHECK_EQUAL(used, HAKMEM_STAT_SLOTS);
    CHECK_EQUAL(in_slots + g_file.calls[HAK_CALL_MMAP][HAK_CAUSE_BIG].count,
                THREADS * (TURNS / 10));
    for (size_t i = 0; i < HAKMEM_STAT_SLOTS; i++) {
        for (size_t k = 0; k < i; k++)
            CHECK(g_file.slots[i].key != g_file.slots[k].key);
    }
}

static void test_slots_by_threads(void **state) {
    harness_expect_well(call_from_threads, NULL);
}

/* Time is measured while observed, for locks and messages too. */
static void measure(void *argument) {
    char buffer[8];
    struct hak_text text = {.buffer = buffer, .capacity = sizeof buffer};
    hak_text_string(&text, "x");
    hak_text_flush(&text);
    hak_ledger_end(hak_ledger_begin(HAK_CALL_MADVISE, HAK_CAUSE_EPOCH, 1));
    hak_ledger_move(&g_file);
    CHECK_EQUAL(g_file.calls[HAK_CALL_WRITE][HAK_CAUSE_MESSAGE].count, 1);
    CHECK_EQUAL(g_file.calls[HAK_CALL_WRITE][HAK_CAUSE_MESSAGE].ns, 0);
    CHECK_EQUAL(g_file.calls[HAK_CALL_MADVISE][HAK_CAUSE_EPOCH].ns, 0);
    struct hak_ledger_timer timer = hak_ledger_begin(HAK_CALL_MADVISE, HAK_CAUSE_EPOCH, 1);
    struct timespec moment = {0, 2000000};
    nanosleep(&moment, NULL);
    hak_ledger_end(timer);
    CHECK(g_file.calls[HAK_CALL_MADVISE][HAK_CAUSE_EPOCH].ns >= 2000000);
    hak_text_string(&text, "y");
    hak_text_flush(&text);
    CHECK_EQUAL(g_file.calls[HAK_CALL_WRITE][HAK_CAUSE_MESSAGE].count, 2);
    CHECK(g_file.calls[HAK_CALL_WRITE][HAK_CAUSE_MESSAGE].ns > 0);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_WRITE, HAK_CAUSE_MESSAGE).count, 2);
}

static void test_time(void **state) {
    harness_expect_text(measure, NULL, "xy");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cells),
        cmocka_unit_test(test_huge),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_locks_are_in_it),
        cmocka_unit_test(test_messages_are_in_it),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_slots_by_threads),
        cmocka_unit_test(test_time),
    };
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
