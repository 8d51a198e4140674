/* test/unit/api/test_tune.c — prewarm, saved policies, statistics, receipts. SPDX-License-Identifier: MIT */

/*
 * Goal: prewarmed blocks are had without a refill and without a page fault, by call and by option; a saved
 * policy is loaded at start, and a bad one is a warning at most; statistics serve callers of other
 * versions; receipts are copied newest first.
 * Method: the kernel's count of page faults and the heap's count of refills around plain allocations;
 * programs started anew with the options set.
 */

#include <fcntl.h>
#include <sys/resource.h>

#include <hakmem/hakmem.h>

#include "ace/ace.h"
#include "arena/pool.h"
#include "base/bits.h"
#include "heap/heap.h"
#include "options/options.h"
#include "unit/harness.h"

enum { COUNT = 64, SMALL = 100, MID = 20000 };

static long page_faults(void) {
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    return usage.ru_minflt;
}

/* Takes and writes `count` blocks; returns the page faults. */
static long take(void **blocks, size_t size, size_t count) {
    long before = page_faults();
    for (size_t i = 0; i < count; i++) {
        blocks[i] = hakmem_malloc(size);
        CHECK(blocks[i] != NULL);
        for (size_t at = 0; at < size; at += 4096)
            ((volatile char *)blocks[i])[at] = 1;
        ((volatile char *)blocks[i])[size - 1] = 1;
    }
    return page_faults() - before;
}

static void give(void **blocks, size_t count) {
    for (size_t i = 0; i < count; i++)
        hakmem_free(blocks[i]);
}

/* Sanitizers fault by themselves. */
static void check_faults(long faults, long at_most) {
    if (HARNESS_SLOWNESS == 1)
        CHECK(faults <= at_most);
}

/* ---- prewarm ---- */

static void prewarm_sizes(void *argument) {
    static const size_t sizes[] = {1, 16, SMALL, 1024, 5000, MID, 65536 - 64};
    static void *blocks[COUNT];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i];
        memset(blocks, 0, sizeof blocks);
        CHECK_EQUAL(hakmem_prewarm(size, COUNT), COUNT);
        uint64_t refills = hak_heap_stats().refills;
        long faults = take(blocks, size, COUNT);
        CHECK_EQUAL(hak_heap_stats().refills, refills);
        check_faults(faults, 2); /* a table of the kernel's own */
        give(blocks, COUNT);
        CHECK_EQUAL(hakmem_prewarm(size, COUNT), COUNT); /* they are back */
    }
}

static void prewarm_large(void *argument) {
    static void *blocks[COUNT];
    CHECK_EQUAL(hakmem_prewarm(3 * HAK_MIB, 10), 10);
    long faults = take(blocks, 3 * HAK_MIB, 10);
    check_faults(faults, 8);
    give(blocks, 10);
    for (int i = 0; i < 5; i++)
        hak_pool_epoch();
    while (hak_pool_debt() > 0 && hak_pool_pay() > 0) {
    }
    faults = take(blocks, 3 * HAK_MIB, 10); /* epochs left them alone */
    check_faults(faults, 8);
    give(blocks, 10);
    CHECK_EQUAL(hakmem_prewarm(HAK_MIB, 1000), 64); /* as documented */
}

static void prewarm_limits(void *argument) {
    CHECK_EQUAL(hakmem_prewarm(100, 0), 0);
    CHECK_EQUAL(hakmem_prewarm(SIZE_MAX, 1), 0);
    CHECK_EQUAL(hakmem_prewarm((size_t)PTRDIFF_MAX + 1, 1), 0);
    CHECK_EQUAL(hakmem_prewarm(PTRDIFF_MAX, 1), 0);
    CHECK_EQUAL(hakmem_prewarm(0, 5), 5);
    CHECK_EQUAL(hakmem_prewarm(16, SIZE_MAX), 4095);
    CHECK(hakmem_prewarm(60000, SIZE_MAX) < 4095); /* the budget of magazines */
    hakmem_malloc_trim(0);
    CHECK_EQUAL(hakmem_mallinfo2().uordblks, 0);
}

static void *prewarm_in_thread(void *argument) {
    static _Thread_local void *blocks[COUNT];
    CHECK_EQUAL(hakmem_prewarm(SMALL, COUNT), COUNT);
    take(blocks, SMALL, COUNT);
    give(blocks, COUNT);
    return NULL;
}

/* Each thread has its own; when it is gone, nothing of it is out. */
static void prewarm_threads(void *argument) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        threads[i] = harness_thread(prewarm_in_thread, NULL);
    for (int i = 0; i < 4; i++)
        harness_join(threads[i]);
    hakmem_malloc_trim(0);
    CHECK_EQUAL(hakmem_mallinfo2().uordblks, 0);
    CHECK_EQUAL(hak_heap_budget_used(), 0);
}

static void test_prewarm(void **state) {
    harness_expect_well(prewarm_sizes, NULL);
    harness_expect_well(prewarm_large, NULL);
    harness_expect_well(prewarm_limits, NULL);
    harness_expect_well(prewarm_threads, NULL);
}

/* ---- statistics ---- */

static void stats_of_all_sizes(void *argument) {
    struct hakmem_stats whole;
    struct {
        struct hakmem_stats stats;
        unsigned char behind[64];
    } larger;
    void *p = hakmem_malloc(SMALL);
    CHECK_EQUAL(hakmem_stats_get(&whole, sizeof whole), 0);
    CHECK_EQUAL(whole.version, HAKMEM_STATS_VERSION);
    CHECK(whole.small_out >= SMALL);
    CHECK(whole.heap_count >= 1);
    CHECK(whole.committed <= whole.reserved);
    for (size_t size = 0; size <= sizeof whole; size++) {
        memset(&larger, 0xa5, sizeof larger);
        int error = hakmem_stats_get(&larger.stats, size);
        CHECK_EQUAL(error, size < sizeof whole.version ? EINVAL : 0);
        const unsigned char *bytes = (const unsigned char *)&larger;
        for (size_t i = error ? 0 : size; i < sizeof larger; i++)
            CHECK_EQUAL(bytes[i], 0xa5); /* nothing behind what was asked for */
    }
    memset(&larger, 0xa5, sizeof larger);
    CHECK_EQUAL(hakmem_stats_get(&larger.stats, sizeof larger), 0);
    CHECK_EQUAL(larger.stats.version, HAKMEM_STATS_VERSION);
    for (size_t i = 0; i < sizeof larger.behind; i++)
        CHECK_EQUAL(larger.behind[i], 0xa5); /* fields this version does not know */
    hakmem_free(p);
}

static void stats_agree(void *argument) {
    struct hakmem_stats before;
    struct hakmem_stats after;
    CHECK_EQUAL(hakmem_stats_get(&before, sizeof before), 0);
    void *large = hakmem_malloc(3 * HAK_MIB);
    void *big = hakmem_malloc(100 * HAK_MIB);
    CHECK_EQUAL(hakmem_stats_get(&after, sizeof after), 0);
    CHECK_EQUAL(after.large_count, before.large_count + 1);
    CHECK(after.large_bytes >= before.large_bytes + 3 * HAK_MIB);
    CHECK_EQUAL(after.big_count, before.big_count + 1);
    CHECK(after.big_bytes >= before.big_bytes + 100 * HAK_MIB);
    hakmem_free(large);
    hakmem_free(big);
    CHECK_EQUAL(hakmem_stats_get(&after, sizeof after), 0);
    CHECK_EQUAL(after.large_count, before.large_count);
    CHECK_EQUAL(after.big_bytes, before.big_bytes);
    CHECK(after.pool_free >= 3 * HAK_MIB);
    CHECK(after.pool_given_back <= after.pool_free);
}

static void test_stats(void **state) {
    harness_expect_well(stats_of_all_sizes, NULL);
    harness_expect_well(stats_agree, NULL);
}

/* ---- receipts ---- */

static void copy_receipts(void *argument) {
    struct hakmem_receipt receipts[100];
    CHECK_EQUAL(hakmem_receipts(receipts, 100), 0);
    struct hak_heap *heap = hak_heap_acquire();
    uint64_t now = 1000;
    for (uint32_t epoch = 1; epoch < 8; epoch++) { /* pressure on some classes, and nothing helps */
        for (unsigned class_index = 50; class_index < 54; class_index++) {
            for (int i = 0; i < 300; i++) {
                void *blocks[600];
                size_t count = 0;
                blocks[count++] = hak_heap_refill(heap, class_index);
                while ((blocks[count] = hak_magazine_pop(class_index * 16)) != NULL)
                    count++;
                hak_lock_acquire(&heap->lock);
                hak_heap_put(heap, class_index, blocks, count, "free");
                hak_lock_release(&heap->lock);
            }
        }
        hak_heap_note_epoch(heap, epoch);
        hak_ace_epoch(now += 500);
    }
    size_t count = hakmem_receipts(receipts, 100);
    CHECK(count >= 4);
    for (size_t i = 0; i < count; i++) {
        CHECK(i == 0 || receipts[i].number == receipts[i - 1].number - 1);
        bool is_known = strcmp(receipts[i].kind, "capacity") == 0 ||
                        strcmp(receipts[i].kind, "spares") == 0 ||
                        strcmp(receipts[i].kind, "delay") == 0;
        CHECK(is_known);
        CHECK(strcmp(receipts[i].verdict, "pending") == 0 ||
              strcmp(receipts[i].verdict, "kept") == 0 ||
              strcmp(receipts[i].verdict, "reverted") == 0);
    }
    struct hakmem_receipt two[3];
    memset(two, 0xa5, sizeof two);
    CHECK_EQUAL(hakmem_receipts(two, 2), 2);
    CHECK_EQUAL(two[0].number, receipts[0].number);
    CHECK_EQUAL(two[1].number, receipts[1].number);
    CHECK(two[2].number == 0xa5a5a5a5a5a5a5a5);
    CHECK_EQUAL(hakmem_receipts(NULL, 0), 0);
}

static void test_receipts(void **state) {
    harness_expect_well(copy_receipts, NULL);
}

/* ---- in programs of their own: what start-up does ---- */

static char *g_program;
static char g_policy[64];

struct scenario {
    const char *name;
    char variables[2][128];
};

static void run_again(void *argument) {
    struct scenario *scenario = argument;
    for (int i = 0; i < 2; i++)
        CHECK(scenario->variables[i][0] == 0 || putenv(scenario->variables[i]) == 0);
    CHECK(setenv("HAK_TEST_SCENARIO", scenario->name, 1) == 0);
    CHECK(setenv("HAK_TEST_POLICY", g_policy, 1) == 0);
    char *arguments[] = {g_program, NULL};
    execv(g_program, arguments);
    CHECK(!"the program starts");
}

static void scenario_prewarm(void) {
    static void *blocks[COUNT];
    uint64_t refills = hak_heap_stats().refills;
    check_faults(take(blocks, SMALL, COUNT), 2);
    check_faults(take(blocks, MID, 10), 2);
    CHECK_EQUAL(hak_heap_stats().refills, refills);
}

static void scenario_save(void) {
    hak_heap_policy.capacity_max[hak_size_class_of(64)] = 511;
    hak_heap_policy.capacity_max[hak_size_class_of(MID)] = 15;
    hak_pool_policy.delay = 4;
    CHECK_EQUAL(hakmem_policy_save(getenv("HAK_TEST_POLICY")), 0);
    CHECK_EQUAL(hakmem_policy_save("/nonexistent/policy"), ENOENT);
    CHECK(hakmem_policy_save("/dev/full") != 0);
}

static void scenario_load(void) {
    CHECK_EQUAL(hak_heap_policy.capacity_max[hak_size_class_of(64)], 511);
    CHECK_EQUAL(hak_heap_policy.capacity_max[hak_size_class_of(MID)], 15);
    CHECK_EQUAL(hak_pool_policy.delay, 4);
}

/* Nothing of what was saved: ace=off is the allocator without what ACE knows. */
static void scenario_start(void) {
    CHECK(hak_heap_policy.capacity_max[hak_size_class_of(64)] > 511);
    CHECK(hak_heap_policy.capacity_max[hak_size_class_of(MID)] < 15);
    CHECK_EQUAL(hak_pool_policy.delay, 1);
}

/* The allocator works as if nothing had been said. */
static void scenario_works(void) {
    static void *blocks[COUNT];
    take(blocks, SMALL, COUNT);
    take(blocks + 10, MID, 10);
}

static void expect_scenario(const char *name, const char *first, const char *second,
                            const char *text) {
    struct scenario scenario = {.name = name};
    snprintf(scenario.variables[0], sizeof scenario.variables[0], "%s", first);
    snprintf(scenario.variables[1], sizeof scenario.variables[1], "%s", second);
    harness_expect_text(run_again, &scenario, text);
}

static void test_prewarm_option(void **state) {
    expect_scenario("prewarm", "HAKMEM_PREWARM=100:64,20000:10", "", "");
    expect_scenario("prewarm", "HAKMEM_CONF=prewarm:100:64+20000:10", "", "");
    static const char *const hostile[] = {
        "HAKMEM_PREWARM=",          "HAKMEM_PREWARM=abc",
        "HAKMEM_PREWARM=:::,,,+++", "HAKMEM_PREWARM=100",
        "HAKMEM_PREWARM=100:",      "HAKMEM_PREWARM=:5",
        "HAKMEM_PREWARM=-1:-1",     "HAKMEM_PREWARM=99999999999999999999999:99999999999999999999",
        "HAKMEM_PREWARM=0:99999",   "HAKMEM_PREWARM=8796093022208:4",
    };
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++)
        expect_scenario("works", hostile[i], "", "");
}

static void write_policy(const char *text, size_t size) {
    int fd = open(g_policy, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, text, size) == (ssize_t)size);
    close(fd);
}

static void test_policy_file(void **state) {
    char option[128];
    char warning[256];
    snprintf(g_policy, sizeof g_policy, "/tmp/hakmem-policy-%d", (int)getpid());
    snprintf(option, sizeof option, "HAKMEM_POLICY=%s", g_policy);
    snprintf(warning, sizeof warning, "hakmem: warning: %s: cannot be read\n", option);
    expect_scenario("works", option, "", warning); /* it is not there yet */
    expect_scenario("save", "", "", "");
    expect_scenario("load", option, "", "");
    expect_scenario("load", option, "HAKMEM_ACE=frozen", "");
    expect_scenario("start", option, "HAKMEM_ACE=off", ""); /* nor is the file looked at: */
    expect_scenario("start", "HAKMEM_POLICY=/nonexistent/policy", "HAKMEM_ACE=off", "");
    for (int i = 0; i < 20; i++) { /* whatever is in the file, and however long it is */
        static char text[40000];
        size_t size = harness_below(sizeof text);
        for (size_t k = 0; k < size; k++)
            text[k] = (char)harness_below(256);
        write_policy(text, size);
        expect_scenario("works", option, "", "");
    }
    write_policy("", 0);
    expect_scenario("works", option, "", "");
    unlink(g_policy);
    expect_scenario("works", "HAKMEM_POLICY=/", "",
                    "hakmem: warning: HAKMEM_POLICY=/: cannot be read\n");
}

static int run_scenario(const char *name) {
    g_harness.is_child = true;
    if (strcmp(name, "prewarm") == 0)
        scenario_prewarm();
    else if (strcmp(name, "save") == 0)
        scenario_save();
    else if (strcmp(name, "load") == 0)
        scenario_load();
    else if (strcmp(name, "start") == 0)
        scenario_start();
    else
        scenario_works();
    return 0;
}

int main(int argc, char **argv) {
    (void)argc;
    const char *name = getenv("HAK_TEST_SCENARIO");
    if (name)
        return run_scenario(name);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prewarm),     cmocka_unit_test(test_stats),
        cmocka_unit_test(test_receipts),    cmocka_unit_test(test_prewarm_option),
        cmocka_unit_test(test_policy_file),
    };
    g_program = argv[0];
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
