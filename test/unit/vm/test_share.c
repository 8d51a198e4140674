/* test/unit/vm/test_share.c — the file in which an observed process counts. SPDX-License-Identifier: MIT */

/*
 * Goal: what is written to a heap's counters is where a reader of the file looks for it, for the first heap
 * and those of every chunk; a forked child has a file of its own and leaves its parent's alone; the calls
 * for all this are in the ledger.
 * Method: children that begin to count in a directory of the test's own; the files are read back.
 */

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "options/options.h"
#include "stats/ledger.h"
#include "unit/harness.h"
#include "vm/share.h"
#include "vm/vm.h"

enum { HEAPS = 400 }; /* beyond the first chunk of 1 MiB */

static char g_directory[] = "/tmp/hakmem-share-XXXXXX";

/* The file of a process, by its id; the test's own directory has no other that begins so. */
static struct hakmem_stat_file *open_file(pid_t process, size_t *size) {
    DIR *directory = opendir(g_directory);
    char start[16];
    void *mapping = NULL;
    struct stat status;
    snprintf(start, sizeof start, "%d-", (int)process);
    CHECK(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (strncmp(entry->d_name, start, strlen(start)) != 0)
            continue;
        int fd = openat(dirfd(directory), entry->d_name, O_RDONLY);
        CHECK(fd >= 0 && fstat(fd, &status) == 0);
        CHECK_EQUAL(status.st_mode & 07777, 0600);
        *size = (size_t)status.st_size;
        mapping = mmap(NULL, *size, PROT_READ, MAP_SHARED, fd, 0);
        CHECK(mapping != MAP_FAILED);
        close(fd);
    }
    closedir(directory);
    CHECK(mapping != NULL);
    return mapping;
}

static void begin(void) {
    static struct hakmem_stat_tables tables = {.tier_count = 4, .range_count = 7};
    hak_vm_init();
    CHECK(hak_share_begin(g_directory, &tables));
    CHECK(hak_stat_file != NULL);
}

static uint64_t calls_to_observe(enum hak_call call) {
    return hak_ledger_read(call, HAK_CAUSE_OBSERVE).count;
}

static void check_layout(void *argument) {
    struct hakmem_stat_heap *heaps[HEAPS];
    size_t size;
    begin();
    for (uint64_t i = 0; i < HEAPS; i++) {
        heaps[i] = hak_share_take_heap();
        CHECK(heaps[i] != NULL);
        CHECK(harness_is_zero(heaps[i], sizeof *heaps[i]));
        atomic_store(&heaps[i]->flushes, i + 1);
        atomic_store(&heaps[i]->requests[HAKMEM_STAT_RANGES_MAX - 1].misses, i + 1);
    }
    struct hakmem_stat_file *file = open_file(getpid(), &size);
    CHECK_EQUAL(file->header.magic, HAKMEM_STAT_MAGIC);
    CHECK_EQUAL(file->header.version, HAKMEM_STAT_VERSION);
    CHECK_EQUAL(file->header.file_bytes, sizeof *file);
    CHECK_EQUAL(file->header.heap_bytes, sizeof *heaps[0]);
    CHECK_EQUAL(file->header.process_id, getpid());
    CHECK_EQUAL(file->header.parent_id, getppid());
    CHECK_EQUAL(file->header.tables.tier_count, 4);
    CHECK_EQUAL(file->header.tables.call_count, HAK_CALL_COUNT);
    CHECK(strcmp(file->header.tables.calls[HAK_CALL_MMAP], "mmap") == 0);
    CHECK(strcmp(file->header.tables.causes[HAK_CAUSE_BIG], "big") == 0);
    CHECK_EQUAL(file->first_heap.flushes, 1);
    uint64_t next = 2;
    unsigned chunk = 0;
    for (; hakmem_stat_chunk_offset(chunk) < size; chunk++) {
        const struct hakmem_stat_heap *in_file =
            (const void *)((const char *)file + hakmem_stat_chunk_offset(chunk));
        for (size_t i = 0; i < hakmem_stat_chunk_heaps(chunk) && next <= HEAPS; i++, next++) {
            CHECK_EQUAL(in_file[i].flushes, next);
            CHECK_EQUAL(in_file[i].requests[HAKMEM_STAT_RANGES_MAX - 1].misses, next);
        }
    }
    CHECK_EQUAL(next, HEAPS + 1);
    CHECK_EQUAL(file->header.chunk_count, chunk);
    CHECK_EQUAL(hakmem_stat_chunk_offset(chunk), size);
    CHECK(chunk >= 5); /* one of each size */
    CHECK_EQUAL(calls_to_observe(HAK_CALL_OPENAT), chunk + 1);
    CHECK_EQUAL(calls_to_observe(HAK_CALL_FALLOCATE), chunk + 1);
    CHECK_EQUAL(calls_to_observe(HAK_CALL_MMAP), chunk + 1);
    CHECK_EQUAL(calls_to_observe(HAK_CALL_CLOSE), chunk + 1);
    CHECK_EQUAL(calls_to_observe(HAK_CALL_PRLIMIT), chunk + 1);
    CHECK_EQUAL(file->calls[HAK_CALL_PRLIMIT][HAK_CAUSE_START].count, 1); /* moved along */
    hak_share_end();
    CHECK(file->header.peak_rss_kib > 0);
    CHECK(file->header.end_ns > file->header.start_ns);
    CHECK_EQUAL(calls_to_observe(HAK_CALL_GETRUSAGE), 1);
}

static void test_layout(void **state) {
    harness_expect_well(check_layout, NULL);
}

static void check_fork(void *argument) {
    size_t size;
    begin();
    struct hakmem_stat_heap *heap = NULL;
    for (int i = 0; i < 30; i++)
        heap = hak_share_take_heap();
    atomic_store(&heap->flushes, 5);
    uint64_t calls = calls_to_observe(HAK_CALL_OPENAT);
    struct hakmem_stat_file *before = hak_stat_file;
    hak_share_fork_prepare();
    pid_t child = fork();
    if (child == 0) {
        hak_share_fork_child();
        hak_share_fork_child_end();
        CHECK(hak_stat_file == before); /* at the same place */
        CHECK_EQUAL(before->header.is_forked, 1);
        CHECK_EQUAL(before->header.parent_id, getppid());
        CHECK_EQUAL(before->header.process_id, getpid());
        CHECK_EQUAL(before->header.tables.range_count, 7);
        CHECK_EQUAL(calls_to_observe(HAK_CALL_OPENAT), 1);
        CHECK_EQUAL(calls_to_observe(HAK_CALL_MUNMAP), 2); /* the parent's chunks */
        struct hakmem_stat_heap *own = hak_share_take_heap();
        CHECK(own == &before->first_heap);
        CHECK(harness_is_zero(own, sizeof *own));
        atomic_store(&own->flushes, 7);
        _exit(0);
    }
    hak_share_fork_parent();
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK_EQUAL(heap->flushes, 5);
    CHECK_EQUAL(before->first_heap.flushes, 0);
    CHECK_EQUAL(calls_to_observe(HAK_CALL_OPENAT), calls);
    CHECK_EQUAL(open_file(child, &size)->first_heap.flushes, 7);
    CHECK_EQUAL(size, HAKMEM_STAT_BASE_BYTES);
}

static void test_fork(void **state) {
    harness_expect_well(check_fork, NULL);
}

/* One call, one warning, and all is as before. */
static void begin_nowhere(void *argument) {
    static struct hakmem_stat_tables tables;
    hak_vm_init();
    CHECK(!hak_share_begin("/nonexistent", &tables));
    CHECK(hak_stat_file == NULL);
    CHECK_EQUAL(calls_to_observe(HAK_CALL_OPENAT), 1);
    CHECK_EQUAL(calls_to_observe(HAK_CALL_MMAP), 0);
}

static void test_nowhere(void **state) {
    harness_expect_text(begin_nowhere, NULL,
                        "hakmem: warning: HAKMEM_STAT=/nonexistent: no file can be made there "
                        "(error 2); this process is not observed\n");
}

/* The kernel would send SIGXFSZ for a file beyond the limit: none is made as long. */
static void begin_beyond_limit(void *argument) {
    static struct hakmem_stat_tables tables;
    const struct rlimit limit = {4096, 4096};
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    hak_vm_init();
    CHECK(!hak_share_begin(g_directory, &tables));
    CHECK(hak_stat_file == NULL);
}

static void test_size_limit(void **state) {
    char text[160];
    snprintf(
        text, sizeof text,
        "hakmem: warning: HAKMEM_STAT=%s: no file can be made there (error %d); this process is "
        "not observed\n",
        g_directory, EFBIG);
    harness_expect_text(begin_beyond_limit, NULL, text);
}

static int make_directory(void **state) {
    return mkdtemp(g_directory) ? 0 : -1;
}

static int remove_directory(void **state) {
    DIR *directory = opendir(g_directory);
    for (struct dirent *entry; directory && (entry = readdir(directory)) != NULL;)
        unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory)
        closedir(directory);
    return rmdir(g_directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_nowhere),
        cmocka_unit_test(test_size_limit),
    };
    harness_start();
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
