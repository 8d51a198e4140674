/* test/unit/api/test_observed.c — what an observed process counts. SPDX-License-Identifier: MIT */

/*
 * Goal: every call is counted once, at its entry point; every request once, in the range of its size and
 * the tier that serves it; every free of another thread's block, every failure and every flush once. Who has
 * no counters of its own is counted as well.
 * Method: this program runs itself again with HAKMEM_STAT. Each test reads all counters before and after
 * the calls it makes, and nothing else may have changed.
 */

#include <dirent.h>
#include <hakmem/hakmem.h>

#include "api/observed.h"
#include "base/bits.h"
#include "large/span.h"
#include "unit/harness.h"
#include "vm/share.h"

/* ---- all counters ---- */

struct requests {
    uint64_t count;
    uint64_t bytes;
    uint64_t given; /* usable bytes */
};

struct counts {
    uint64_t entries[HAK_ENTRY_COUNT];
    uint64_t failures;
    uint64_t flushes;
    uint64_t frees_remote;
    struct requests requests[HAKMEM_STAT_RANGES_MAX];
    struct requests elsewhere[HAKMEM_STAT_RANGES_MAX][HAK_TIER_COUNT];
};

static void add_requests(struct requests *sum, const struct hakmem_stat_requests *more,
                         uint64_t block) {
    sum->count += more->count;
    sum->bytes += more->bytes;
    sum->given += more->count * block + more->extra;
}

static void add_heap(struct counts *sum, const struct hakmem_stat_heap *heap) {
    for (int entry = 0; entry < HAK_ENTRY_COUNT; entry++)
        sum->entries[entry] += heap->entries[entry];
    sum->failures += heap->failures;
    sum->flushes += heap->flushes;
    sum->frees_remote += heap->frees_remote;
    for (int range = 0; range < HAKMEM_STAT_RANGES_MAX; range++)
        add_requests(&sum->requests[range], &heap->requests[range],
                     hak_stat_file->header.tables.ranges[range].block);
}

/* Of the first heap and of those without counters. One test's thread has a heap in a chunk: `chunk_heap`. */
static struct counts counts_now(const struct hakmem_stat_heap *chunk_heap) {
    struct counts sum = {.failures = 0};
    add_heap(&sum, &hak_stat_file->first_heap);
    add_heap(&sum, &hak_stat_file->shared);
    if (chunk_heap)
        add_heap(&sum, chunk_heap);
    for (int range = 0; range < HAKMEM_STAT_RANGES_MAX; range++)
        for (int tier = 0; tier < HAK_TIER_COUNT; tier++)
            add_requests(&sum.elsewhere[range][tier], &hak_stat_file->elsewhere[range][tier], 0);
    return sum;
}

static bool is_same(const struct counts *a, const struct counts *b) {
    return memcmp(a, b, sizeof *a) == 0;
}

/* The range that the file says these bytes are counted in. */
static unsigned range_of(size_t size) {
    const struct hakmem_stat_range *ranges = hak_stat_file->header.tables.ranges;
    unsigned range = 1;
    while (ranges[range].request_max < size)
        range++;
    return range;
}

/* Adds to `expected` what a request that got `p` adds. */
static void expect_request(struct counts *expected, size_t size, void *p) {
    unsigned range = range_of(size);
    enum hak_tier tier;
    size_t usable = hak_block_look(p, &tier);
    bool is_usual = tier == (enum hak_tier)hak_stat_file->header.tables.ranges[range].tier;
    struct requests *requests =
        is_usual ? &expected->requests[range] : &expected->elsewhere[range][tier];
    requests->count++;
    requests->bytes += size;
    requests->given += usable;
}

/* ---- ranges ---- */

/* Each begins where the one before ends, no wider than a quarter of a doubling above the classes. */
static void test_ranges(void **state) {
    const struct hakmem_stat_tables *tables = &hak_stat_file->header.tables;
    CHECK_EQUAL(tables->entry_count, HAK_ENTRY_COUNT);
    CHECK_EQUAL(tables->tier_count, HAK_TIER_COUNT);
    CHECK_EQUAL(tables->ranges[0].request_max, 0);
    for (unsigned range = 1; range < tables->range_count; range++) {
        size_t max = tables->ranges[range].request_max;
        size_t last = tables->ranges[range - 1].request_max;
        CHECK(max > last);
        CHECK_EQUAL(tables->ranges[range].tier, hak_block_tier_for(max));
        if (range < HAK_CLASS_COUNT) {
            CHECK_EQUAL(max, hak_size_classes[range].size - HAK_BLOCK_TAIL);
            CHECK_EQUAL(tables->ranges[range].block, max);
            continue;
        }
        CHECK_EQUAL(tables->ranges[range].block, 0);
        CHECK((max - last) * 4 <= last + HAK_BLOCK_TAIL);
    }
    CHECK_EQUAL(tables->ranges[tables->range_count - 1].request_max, HAK_TIB - HAK_BLOCK_TAIL);
}

/* A request of each range's least and greatest size, as far as there is memory: counted there. */
static void test_requests(void **state) {
    const struct hakmem_stat_tables *tables = &hak_stat_file->header.tables;
    for (unsigned range = 1; tables->ranges[range].request_max <= HAK_GIB; range++) {
        size_t sizes[] = {tables->ranges[range - 1].request_max + (range > 1),
                          tables->ranges[range].request_max};
        for (int i = 0; i < 2; i++) {
            CHECK_EQUAL(range_of(sizes[i]), range);
            struct counts expected = counts_now(NULL);
            void *p = hakmem_malloc(sizes[i]);
            CHECK(p != NULL);
            expected.entries[HAK_ENTRY_MALLOC]++;
            expect_request(&expected, sizes[i], p);
            struct counts now = counts_now(NULL);
            CHECK(is_same(&now, &expected));
            hakmem_free(p);
            expected.entries[HAK_ENTRY_FREE]++;
            now = counts_now(NULL);
            CHECK(is_same(&now, &expected));
        }
    }
}

/* ---- entry points ---- */

static void *call_malloc(size_t size) {
    return hakmem_malloc(size);
}
static void *call_calloc(size_t size) {
    return hakmem_calloc(1, size);
}
static void *call_realloc(size_t size) {
    return hakmem_realloc(NULL, size);
}
static void *call_reallocarray(size_t size) {
    return hakmem_reallocarray(NULL, 1, size);
}
static void *call_aligned_alloc(size_t size) {
    return hakmem_aligned_alloc(16, size);
}
static void *call_aligned_alloc_64(size_t size) {
    return hakmem_aligned_alloc(64, size);
}
static void *call_memalign(size_t size) {
    return hakmem_memalign(8, size);
}
static void *call_posix_memalign(size_t size) {
    void *p = NULL;
    return hakmem_posix_memalign(&p, 256 * HAK_KIB, size) == 0 ? p : NULL;
}
static void *call_valloc(size_t size) {
    return hakmem_valloc(size);
}

static void free_plainly(void *p, size_t size) {
    (void)size;
    hakmem_free(p);
}
static void free_sized(void *p, size_t size) {
    hakmem_free_sized(p, size);
}
static void free_aligned_sized(void *p, size_t size) {
    hakmem_free_aligned_sized(p, 1, size);
}
static void free_sdallocx(void *p, size_t size) {
    hakmem_sdallocx(p, size, 0);
}

static void try_entry(void *(*take)(size_t size), enum hak_entry entry, size_t size,
                      void (*give)(void *p, size_t size), enum hak_entry give_entry) {
    struct counts expected = counts_now(NULL);
    char *p = take(size);
    CHECK(p != NULL);
    CHECK(entry != HAK_ENTRY_CALLOC || harness_is_zero(p, size));
    memset(p, 0xa5, size);
    expected.entries[entry]++;
    expect_request(&expected, size, p);
    struct counts now = counts_now(NULL);
    CHECK(is_same(&now, &expected));
    give(p, size);
    expected.entries[give_entry]++;
    now = counts_now(NULL);
    CHECK(is_same(&now, &expected));
}

/* Twice each: the first may be a miss, the second finds the block in the magazine. */
static void test_entries(void **state) {
    static const struct {
        void *(*call)(size_t size);
        enum hak_entry entry;
    } takes[] = {
        {call_malloc, HAK_ENTRY_MALLOC},
        {call_calloc, HAK_ENTRY_CALLOC},
        {call_realloc, HAK_ENTRY_REALLOC},
        {call_reallocarray, HAK_ENTRY_REALLOCARRAY},
        {call_aligned_alloc, HAK_ENTRY_ALIGNED_ALLOC},
        {call_aligned_alloc_64, HAK_ENTRY_ALIGNED_ALLOC},
        {call_memalign, HAK_ENTRY_MEMALIGN},
        {call_posix_memalign, HAK_ENTRY_POSIX_MEMALIGN},
        {call_valloc, HAK_ENTRY_VALLOC},
    };
    static const struct {
        void (*call)(void *p, size_t size);
        enum hak_entry entry;
    } gives[] = {
        {free_plainly, HAK_ENTRY_FREE},
        {free_sized, HAK_ENTRY_FREE_SIZED},
        {free_aligned_sized, HAK_ENTRY_FREE_ALIGNED_SIZED},
        {free_sdallocx, HAK_ENTRY_SDALLOCX},
    };
    static const size_t sizes[] = {0, 1, 200, 1000, 1025, 50000, 65536, 65537, 300000};
    for (size_t i = 0; i < sizeof takes / sizeof takes[0]; i++)
        for (size_t k = 0; k < sizeof gives / sizeof gives[0]; k++)
            for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
                for (int turn = 0; turn < 2; turn++)
                    try_entry(takes[i].call, takes[i].entry, sizes[s], gives[k].call,
                              gives[k].entry);
}

/* pvalloc asks for whole pages. */
static void test_pvalloc(void **state) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct counts expected = counts_now(NULL);
    void *p = hakmem_pvalloc(1);
    expected.entries[HAK_ENTRY_PVALLOC]++;
    expect_request(&expected, page, p);
    hakmem_free(p);
    expected.entries[HAK_ENTRY_FREE]++;
    struct counts now = counts_now(NULL);
    CHECK(is_same(&now, &expected));
}

/* A realloc is one request, whether the block stays or is copied; to 0 it is a call and no request. */
static void test_resizing(void **state) {
    static const size_t sizes[] = {90, 100, 5000, 300000, 290000, 5 * HAK_MIB, 40};
    struct counts expected = counts_now(NULL);
    char *p = NULL;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        p = i % 2 ? hakmem_reallocarray(p, 1, sizes[i]) : hakmem_realloc(p, sizes[i]);
        CHECK(p != NULL);
        expected.entries[i % 2 ? HAK_ENTRY_REALLOCARRAY : HAK_ENTRY_REALLOC]++;
        expect_request(&expected, sizes[i], p);
    }
    CHECK(hakmem_realloc(p, 0) == NULL);
    expected.entries[HAK_ENTRY_REALLOC]++;
    struct counts now = counts_now(NULL);
    CHECK(is_same(&now, &expected));
}

/* ---- failures ---- */

static void test_failures(void **state) {
    struct counts expected = counts_now(NULL);
    void *p = hakmem_malloc(100);
    void *out;
    expected.entries[HAK_ENTRY_MALLOC]++;
    expect_request(&expected, 100, p);
    CHECK(hakmem_malloc(SIZE_MAX) == NULL);
    CHECK(hakmem_malloc(2 * HAK_TIB) == NULL);
    expected.entries[HAK_ENTRY_MALLOC] += 2;
    CHECK(hakmem_calloc(SIZE_MAX, 2) == NULL);
    expected.entries[HAK_ENTRY_CALLOC]++;
    CHECK(hakmem_realloc(p, SIZE_MAX) == NULL);
    expected.entries[HAK_ENTRY_REALLOC]++;
    CHECK_EQUAL(hakmem_posix_memalign(&out, 64, SIZE_MAX), ENOMEM);
    expected.entries[HAK_ENTRY_POSIX_MEMALIGN]++;
    expected.failures += 5;
    hakmem_free(p);
    expected.entries[HAK_ENTRY_FREE]++;
    struct counts now = counts_now(NULL);
    CHECK(is_same(&now, &expected));
}

/* ---- threads ---- */

/* Frees are these threads' first calls: they have no heap, and so no counters of their own. */
static void *strangely_free(void *p) {
    hakmem_free(p);
    return NULL;
}
static void *strangely_free_sized(void *p) {
    hakmem_free_sized(p, 1);
    return NULL;
}
static void *strangely_fail(void *p) {
    CHECK(hakmem_malloc(SIZE_MAX) == NULL);
    return p;
}
static void *strangely_take(void *p) {
    return p ? p : hakmem_malloc(300000);
}

static void test_strangers(void **state) {
    void *p = hakmem_malloc(1);
    void *other = hakmem_malloc(1);
    struct counts expected = counts_now(NULL);
    uint64_t shared = hak_stat_file->shared.entries[HAK_ENTRY_FREE];
    harness_join(harness_thread(strangely_free, p));
    harness_join(harness_thread(strangely_free_sized, other));
    CHECK_EQUAL(hak_stat_file->shared.entries[HAK_ENTRY_FREE], shared + 1);
    expected.entries[HAK_ENTRY_FREE]++;
    expected.entries[HAK_ENTRY_FREE_SIZED]++;
    expected.frees_remote += 2;
    harness_join(harness_thread(strangely_fail, NULL));
    expected.entries[HAK_ENTRY_MALLOC]++;
    expected.failures++;
    CHECK_EQUAL(hak_stat_file->shared.failures, 1);
    pthread_t thread = harness_thread(strangely_take, NULL);
    CHECK(pthread_join(thread, &p) == 0);
    expected.entries[HAK_ENTRY_MALLOC]++;
    expect_request(&expected, 300000, p);
    struct counts now = counts_now(NULL);
    CHECK(is_same(&now, &expected));
    hakmem_free(p); /* a span is nobody's: not remote */
    expected.entries[HAK_ENTRY_FREE]++;
    now = counts_now(NULL);
    CHECK(is_same(&now, &expected));
}

struct gifts {
    void *to_free;
    void *to_move;
    void *to_end;
    const struct hakmem_stat_heap *counters;
};

/* The thread has a heap, and so counters in a chunk. */
static void *free_gifts(void *argument) {
    struct gifts *gifts = argument;
    hakmem_free(hakmem_malloc(100));
    gifts->counters = hak_thread.counters;
    CHECK(gifts->counters != NULL);
    struct counts expected = counts_now(gifts->counters);
    hakmem_free(gifts->to_free);
    expected.entries[HAK_ENTRY_FREE]++;
    void *moved = hakmem_realloc(gifts->to_move, 5000);
    expected.entries[HAK_ENTRY_REALLOC]++;
    expect_request(&expected, 5000, moved);
    CHECK(hakmem_realloc(gifts->to_end, 0) == NULL);
    expected.entries[HAK_ENTRY_REALLOC]++;
    expected.frees_remote += 3;
    struct counts now = counts_now(gifts->counters);
    CHECK(is_same(&now, &expected));
    hakmem_free(moved);
    return NULL;
}

static void test_remote_frees(void **state) {
    struct gifts gifts = {hakmem_malloc(100), hakmem_malloc(100), hakmem_malloc(100), NULL};
    harness_join(harness_thread(free_gifts, &gifts));
    CHECK(gifts.counters != &hak_stat_file->first_heap);
    CHECK(gifts.counters != &hak_stat_file->shared);
}

/* ---- flushes ---- */

/* More frees of a class than any magazine holds: each flush is one that the heap knows of as well. */
static void test_flushes(void **state) {
    enum { COUNT = 100000 };
    static void *blocks[COUNT];
    for (int i = 0; i < COUNT; i++)
        blocks[i] = hakmem_malloc(48);
    struct counts before = counts_now(NULL);
    uint64_t flushes = hak_heap_stats().flushes;
    for (int i = 0; i < COUNT; i++)
        hakmem_free(blocks[i]);
    struct counts after = counts_now(NULL);
    CHECK(after.flushes > before.flushes);
    CHECK_EQUAL(after.flushes - before.flushes, hak_heap_stats().flushes - flushes);
    CHECK_EQUAL(after.entries[HAK_ENTRY_FREE] - before.entries[HAK_ENTRY_FREE], COUNT);
}

/* ---- running itself, observed ---- */

static void start_observed(char **argv) {
    char directory[] = "/tmp/hakmem-unit-observed-XXXXXX";
    if (mkdtemp(directory) && setenv("HAKMEM_STAT", directory, 1) == 0)
        execv("/proc/self/exe", argv);
    perror(directory);
    exit(1);
}

static void remove_files(const char *path) {
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory)) != NULL;)
        unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory)
        closedir(directory);
    rmdir(path);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),    cmocka_unit_test(test_requests),
        cmocka_unit_test(test_entries),   cmocka_unit_test(test_pvalloc),
        cmocka_unit_test(test_resizing),  cmocka_unit_test(test_failures),
        cmocka_unit_test(test_strangers), cmocka_unit_test(test_remote_frees),
        cmocka_unit_test(test_flushes),
    };
    const char *directory = getenv("HAKMEM_STAT");
    if (directory == NULL)
        start_observed(argv);
    if (hak_stat_file == NULL) {
        fprintf(stderr, "the process is not observed\n");
        return 1;
    }
    harness_start();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    remove_files(directory);
    return failed;
}
