/* test/fuzz/fuzz_stat.c — hostile files of observed processes. SPDX-License-Identifier: MIT */
/*
 * Goal: `hakmem stat` reads whatever lies in its directory, adds it up and prints it, without a fault and
 * without a byte that a terminal or a JSON reader would not take for text.
 * Method: up to three files, each a sound one with changes, since random bytes would not get past the
 * magic; the report as text and as JSON, which is parsed again.
 *
 *   input   files - 1, 1 byte; per file: bytes to cut off, 3; changes, 1; then the changes
 *   change  offset, 3 bytes; size, 1; what stands there
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <hakmem/stat_format.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/stat_read.h"
#include "cli/stat_report.h"
#include "fuzz/fuzz.h"

/* A file with its first chunk of heaps. */
enum { STAT_BYTES = 2 * HAKMEM_STAT_BASE_BYTES, STAT_CALLS = 13, STAT_FILES_MAX = 3 };

static struct {
    char directory[64];
    int folder;
    union {
        struct hakmem_stat_file file;
        unsigned char bytes[STAT_BYTES];
    } sound;
    unsigned char changed[STAT_BYTES];
} g_stat;

/* What the command says on stderr is of no interest. */
void cli_say(const char *kind, const char *format, ...) {
    (void)kind, (void)format;
}

/* ---- a sound file ---- */

static void name_all(char words[][HAKMEM_STAT_WORD_SIZE], int count, const char *what) {
    for (int i = 0; i < count; i++)
        snprintf(words[i], HAKMEM_STAT_WORD_SIZE, "%s %d", what, i);
}

static void describe(struct hakmem_stat_tables *tables) {
    tables->call_count = STAT_CALLS;
    tables->cause_count = STAT_CALLS;
    tables->tier_count = HAKMEM_STAT_TIERS_MAX;
    tables->entry_count = HAKMEM_STAT_ENTRIES_MAX;
    tables->range_count = HAKMEM_STAT_RANGES_MAX;
    tables->page_size = 4096;
    name_all(tables->calls, STAT_CALLS, "call");
    name_all(tables->causes, STAT_CALLS, "cause");
    name_all(tables->tiers, HAKMEM_STAT_TIERS_MAX, "tier");
    name_all(tables->entries, HAKMEM_STAT_ENTRIES_MAX, "entry");
    for (uint32_t i = 1; i < HAKMEM_STAT_RANGES_MAX; i++)
        tables->ranges[i] = (struct hakmem_stat_range){i * 64, i * 64, i / 64};
    snprintf(tables->program, sizeof tables->program, "/bin/program");
    snprintf(tables->library, sizeof tables->library, "0.1.0");
}

static void fill_sound(void) {
    struct hakmem_stat_file *file = &g_stat.sound.file;
    struct hakmem_stat_header *header = &file->header;
    header->magic = HAKMEM_STAT_MAGIC;
    header->version = HAKMEM_STAT_VERSION;
    header->file_bytes = sizeof *file;
    header->heap_bytes = sizeof file->first_heap;
    header->process_id = 1234567;
    header->start_ns = 1000;
    header->end_ns = 2000000;
    header->thread_count = 2;
    header->chunk_count = 1;
    describe(&header->tables);
    file->calls[1][2].count = 5;
    file->slots[0].key = HAKMEM_STAT_KEY(1, 2, 1, 100);
    file->slots[0].call.count = 3;
    file->shared.entries[0] = 7;
    file->first_heap.requests[100].count = 9;
    file->first_heap.requests[100].bytes = 9 * 6400;
    file->elsewhere[3][2].count = 1;
}

static void remove_directory(void) {
    rmdir(g_stat.directory);
}

static void begin(void) {
    snprintf(g_stat.directory, sizeof g_stat.directory, "%s/hakmem-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    FUZZ_REQUIRE(mkdtemp(g_stat.directory) != NULL, "mkdtemp: %s", strerror(errno));
    atexit(remove_directory);
    g_stat.folder = open(g_stat.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    FUZZ_REQUIRE(g_stat.folder >= 0, "%s cannot be opened", g_stat.directory);
    fill_sound();
}

/* ---- an input ---- */

static void write_file(struct fuzz_input *input, int number) {
    char name[16];
    size_t cut = fuzz_number(input, 3) % (STAT_BYTES + 1);
    unsigned changes = fuzz_byte(input);
    memcpy(g_stat.changed, g_stat.sound.bytes, STAT_BYTES);
    for (unsigned i = 0; i < changes && !fuzz_is_empty(input); i++) {
        size_t offset = fuzz_number(input, 3) % STAT_BYTES;
        unsigned size = fuzz_byte(input);
        for (unsigned k = 0; k < size && offset + k < STAT_BYTES && !fuzz_is_empty(input); k++)
            g_stat.changed[offset + k] = fuzz_byte(input);
    }
    snprintf(name, sizeof name, "%d", number);
    int fd = openat(g_stat.folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    size_t size = STAT_BYTES - cut;
    FUZZ_REQUIRE(fd >= 0 && write(fd, g_stat.changed, size) == (ssize_t)size, "write: %s",
                 strerror(errno));
    close(fd);
}

static char *print(const struct stat_run *run, const struct stat_tree *tree, bool is_json,
                   bool is_complete, size_t *size) {
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    FUZZ_REQUIRE(out != NULL, "open_memstream");
    if (is_json)
        FUZZ_REQUIRE(stat_print_json(out, run, tree), "no JSON");
    else
        stat_print_text(out, run, tree, is_complete);
    fclose(out);
    return text;
}

static void check_text(const struct stat_run *run, const struct stat_tree *tree, bool is_complete) {
    size_t size;
    char *text = print(run, tree, false, is_complete, &size);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        FUZZ_REQUIRE(c == '\n' || (c >= ' ' && c != 127), "byte %u at %zu of:\n%s", c, i, text);
    }
    free(text);
}

static void check_json(const struct stat_run *run, const struct stat_tree *tree) {
    size_t size;
    json_error_t error;
    char *text = print(run, tree, true, true, &size);
    json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    FUZZ_REQUIRE(json != NULL, "%s, line %d, of:\n%s", error.text, error.line, text);
    json_decref(json);
    free(text);
}

void fuzz_one(const uint8_t *data, size_t size) {
    struct fuzz_input input = {data, data + size};
    char word[] = "command";
    char *command[] = {word, NULL};
    const struct stat_run run = {.command = command, .is_started = true, .wall_ns = 1};
    struct stat_tree tree = {.process_count = 0};
    if (g_stat.directory[0] == 0)
        begin();
    int files = fuzz_byte(&input) % STAT_FILES_MAX + 1;
    for (int i = 0; i < files; i++)
        write_file(&input, i);
    FUZZ_REQUIRE(stat_gather(g_stat.directory, &tree, false), "gather");
    FUZZ_REQUIRE(stat_gather(g_stat.directory, &tree, true), "gather");
    FUZZ_REQUIRE(tree.process_count + tree.unreadable_count == (size_t)files, "%zu and %zu of %d",
                 tree.process_count, tree.unreadable_count, files);
    FUZZ_REQUIRE(stat_finish(&tree), "finish");
    check_text(&run, &tree, false);
    check_text(&run, &tree, true);
    check_json(&run, &tree);
    stat_free(&tree);
}
