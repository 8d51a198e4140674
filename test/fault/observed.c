/* test/fault/observed.c — an observed process whose file cannot be had. SPDX-License-Identifier: MIT */
/*
 * Goal: whichever call for the file fails, the program runs as it should; either all it does is counted,
 * or it is told once that the process is not observed.
 * Method: the library is started anew with HAKMEM_STAT and a script in which the n-th call of one kind, or all
 * from it on, fail. Known requests then, by several threads and by a forked child; the counts are read
 * where the library keeps them.
 */

#include <dirent.h>
#include <stdint.h>

#include "fault/workload.h"
#include "stats/ledger.h"

enum { OBSERVED_THREADS = 40, OBSERVED_REQUESTS = 500, OBSERVED_SIZE = 777 };

static char g_directory[64];

static void *request(void *barrier) {
    for (int i = 0; i < OBSERVED_REQUESTS; i++) {
        void *p = hakmem_malloc(OBSERVED_SIZE);
        FAULT_REQUIRE(p != NULL, "malloc");
        memset(p, i, OBSERVED_SIZE);
        hakmem_free(p);
    }
    pthread_barrier_wait(barrier); /* all have a heap at the same time */
    return NULL;
}

static void request_in_threads(void) {
    pthread_t threads[OBSERVED_THREADS];
    pthread_barrier_t barrier;
    pthread_barrier_init(&barrier, NULL, OBSERVED_THREADS);
    for (int i = 0; i < OBSERVED_THREADS; i++)
        FAULT_REQUIRE(pthread_create(&threads[i], NULL, request, &barrier) == 0, "a thread");
    for (int i = 0; i < OBSERVED_THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* The file as it is on disk: chunks included. */
static uint64_t counted_in(const char *path, uint64_t *bytes) {
    struct hakmem_stat_file file;
    uint64_t count = 0;
    FILE *stream = fopen(path, "r");
    if (stream == NULL || fread(&file, sizeof file, 1, stream) != 1)
        fault_fail("%s cannot be read", path);
    *bytes = 0;
    for (int range = 0; range < HAKMEM_STAT_RANGES_MAX; range++) {
        count += file.first_heap.requests[range].count + file.shared.requests[range].count;
        *bytes += file.first_heap.requests[range].bytes + file.shared.requests[range].bytes;
    }
    for (unsigned chunk = 0; chunk < file.header.chunk_count; chunk++) {
        for (size_t i = 0; i < hakmem_stat_chunk_heaps(chunk); i++) {
            struct hakmem_stat_heap heap;
            size_t at = hakmem_stat_chunk_offset(chunk) + i * sizeof heap;
            if (fseek(stream, (long)at, SEEK_SET) != 0 || fread(&heap, sizeof heap, 1, stream) != 1)
                fault_fail("%s has no heap %zu in chunk %u", path, i, chunk);
            for (int range = 0; range < HAKMEM_STAT_RANGES_MAX; range++) {
                count += heap.requests[range].count;
                *bytes += heap.requests[range].bytes;
            }
        }
    }
    fclose(stream);
    return count;
}

/* Counts in all files of the directory; *files: with a magic. */
static uint64_t counted(uint64_t *bytes, int *files) {
    uint64_t count = 0;
    *bytes = 0;
    *files = 0;
    DIR *directory = opendir(getenv("HAKMEM_STAT"));
    FAULT_REQUIRE(directory != NULL, "the directory");
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        char path[400];
        uint64_t magic = 0;
        uint64_t more = 0;
        snprintf(path, sizeof path, "%s/%s", getenv("HAKMEM_STAT"), entry->d_name);
        FILE *stream = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (stream == NULL)
            continue;
        bool is_one = fread(&magic, sizeof magic, 1, stream) == 1 && magic == HAKMEM_STAT_MAGIC;
        fclose(stream);
        if (is_one) {
            count += counted_in(path, &more);
            *bytes += more;
            ++*files;
        }
    }
    closedir(directory);
    return count;
}

static void fork_and_request(void) {
    pid_t child = fork();
    if (child == 0) {
        request_in_threads();
        _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    FAULT_REQUIRE(status == 0, "the child ends with status %#x", (unsigned)status);
}

/* `is_first_sure`: this process must be observed; `is_child_sure`: and its child. */
static void started(bool is_first_sure, bool is_child_sure) {
    uint64_t bytes;
    int files;
    bool is_observed = hak_stat_file != NULL;
    FAULT_REQUIRE(is_observed == is_first_sure, "observed: %d", is_observed);
    request_in_threads();
    fork_and_request();
    uint64_t count = counted(&bytes, &files);
    uint64_t each = OBSERVED_THREADS * OBSERVED_REQUESTS;
    uint64_t expected = is_first_sure + is_child_sure;
    FAULT_REQUIRE(files == (int)expected, "%d files", files);
    FAULT_REQUIRE(count == expected * each, "%lu requests counted, not %lu", (unsigned long)count,
                  (unsigned long)(expected * each));
    FAULT_REQUIRE(bytes == count * OBSERVED_SIZE, "%lu bytes", (unsigned long)bytes);
}

/* ---- in the parent ---- */

static void empty_directory(void) {
    DIR *directory = opendir(g_directory);
    for (struct dirent *entry; directory && (entry = readdir(directory)) != NULL;)
        unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory)
        closedir(directory);
}

/* Runs the part with stderr read: how many warnings came? */
static bool run_part(const char *part, struct fake_script script, int warnings) {
    char text[4096];
    int pipes[2];
    int lines = 0;
    empty_directory();
    if (pipe(pipes) != 0)
        return false;
    int stderr_kept = dup(STDERR_FILENO);
    dup2(pipes[1], STDERR_FILENO);
    close(pipes[1]);
    bool is_good = fault_start(part, (struct fake_machine){0}, script, 0);
    dup2(stderr_kept, STDERR_FILENO);
    close(stderr_kept);
    ssize_t size = read(pipes[0], text, sizeof text - 1);
    close(pipes[0]);
    for (ssize_t i = 0; i < size; i++)
        lines += text[i] == '\n';
    if (is_good && lines != warnings) {
        snprintf(g_fault->text, sizeof g_fault->text, "%d warnings: %.*s", lines,
                 size > 200 ? 200 : (int)size, text);
        return false;
    }
    return is_good;
}

int main(int argc, char **argv) {
    /* What the first process and its child can be sure of when such a call fails. Calls of a process: make,
     * limit, reserve, map; for each of three chunks: open, limit, reserve, map; and so again in the child. */
    static const struct {
        const char *name;
        const char *part;
        struct fake_script script;
        int warnings;
    } cases[] = {
        {"nothing fails", "both", {0}, 0},
        {"a name is taken",
         "both",
         {.series = FAKE_FILE_MAKE, .first = 1, .count = 1, .error = EEXIST},
         0},
        {"all names are taken",
         "none",
         {.series = FAKE_FILE_MAKE, .first = 1, .count = ULONG_MAX, .error = EEXIST},
         1},
        {"no file", "none", {.series = FAKE_FILE_MAKE, .first = 1, .count = 1, .error = EACCES}, 1},
        {"no limit known", "none", {.series = FAKE_FILE_LIMIT, .first = 1, .count = 1}, 1},
        {"no space",
         "none",
         {.series = FAKE_FILE_RESERVE, .first = 1, .count = 1, .error = ENOSPC},
         1},
        {"no mapping",
         "none",
         {.series = FAKE_MAP_FILE, .first = 1, .count = 1, .error = ENOMEM},
         1},
        {"no chunk opened", "both", {.series = FAKE_FILE_OPEN, .first = 1, .count = ULONG_MAX}, 0},
        {"the second chunk not opened",
         "both",
         {.series = FAKE_FILE_OPEN, .first = 2, .count = 1},
         0},
        {"no space for the first chunk",
         "both",
         {.series = FAKE_FILE_RESERVE, .first = 2, .count = 1},
         0},
        {"no mapping of the second chunk",
         "both",
         {.series = FAKE_MAP_FILE, .first = 3, .count = 1},
         0},
        {"no file for the child",
         "first",
         {.series = FAKE_FILE_MAKE, .first = 2, .count = 1, .error = EMFILE},
         1},
        {"no space for the child",
         "first",
         {.series = FAKE_FILE_RESERVE, .first = 5, .count = 1},
         1},
        {"no mapping for the child", "first", {.series = FAKE_MAP_FILE, .first = 5, .count = 1}, 1},
    };
    fault_open();
    if (argc == 2) {
        fault_doing(argv[1]);
        started(strcmp(argv[1], "none") != 0, strcmp(argv[1], "both") == 0);
        fault_started_end();
    }
    snprintf(g_directory, sizeof g_directory, "/tmp/hakmem-observed-XXXXXX");
    if (mkdtemp(g_directory) == NULL || setenv("HAKMEM_STAT", g_directory, 1) != 0) {
        perror(g_directory);
        return 1;
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool is_good = run_part(cases[i].part, cases[i].script, cases[i].warnings);
        CHECK(is_good, "%s%s%s", cases[i].name, is_good ? "" : ": ", g_fault->text);
    }
    empty_directory();
    rmdir(g_directory);
    return tap_end();
}
