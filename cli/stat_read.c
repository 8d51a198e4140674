/* cli/stat_read.c — what observed processes have counted, read from their files. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "stat_read.h"

#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t load(const _Atomic uint64_t *counter) {
    return atomic_load_explicit((_Atomic uint64_t *)counter, memory_order_relaxed);
}

static uint32_t load_32(const _Atomic uint32_t *counter) {
    return atomic_load_explicit((_Atomic uint32_t *)counter, memory_order_relaxed);
}

/*
 * Read, and not mapped: who has the file open may cut it short, and the kernel answers that with SIGBUS.
 * False: so much is not there, or not to be had.
 */
static bool read_at(int fd, void *to, size_t size, size_t offset) {
    return pread(fd, to, size, (off_t)offset) == (ssize_t)size;
}

/* ---- one process ---- */

/* Adds to the row of the same kind, or makes one. False: no memory. */
static bool add_call(struct stat_process *process, const struct stat_call *call) {
    for (size_t i = 0; i < process->call_count; i++) {
        struct stat_call *row = &process->calls[i];
        if (row->call == call->call && row->cause == call->cause && row->tier == call->tier &&
            row->range == call->range) {
            row->count += call->count;
            row->bytes += call->bytes;
            row->ns += call->ns;
            return true;
        }
    }
    struct stat_call *calls =
        reallocarray(process->calls, process->call_count + 1, sizeof *process->calls);
    if (calls == NULL) {
        return false;
    }
    process->calls = calls;
    process->calls[process->call_count++] = *call;
    return true;
}

/* Does it name rows of the tables, and no others? */
static bool is_key_sound(const struct hakmem_stat_tables *tables, uint32_t key) {
    return key >> 31 != 0 && HAKMEM_STAT_KEY_CALL(key) < tables->call_count &&
           HAKMEM_STAT_KEY_CAUSE(key) < tables->cause_count &&
           HAKMEM_STAT_KEY_TIER(key) < tables->tier_count &&
           HAKMEM_STAT_KEY_RANGE(key) < tables->range_count;
}

static bool read_calls(struct stat_process *process, const struct hakmem_stat_file *file) {
    bool is_complete = true;
    for (uint32_t call = 0; call < HAKMEM_STAT_CALLS_MAX; call++) {
        for (uint32_t cause = 0; cause < HAKMEM_STAT_CAUSES_MAX; cause++) {
            const struct hakmem_stat_call *cell = &file->calls[call][cause];
            struct stat_call row = {
                call,           cause, STAT_NONE, STAT_NONE, load(&cell->count), load(&cell->bytes),
                load(&cell->ns)};
            is_complete = (row.count == 0 || add_call(process, &row)) && is_complete;
        }
    }
    for (size_t i = 0; i < HAKMEM_STAT_SLOTS; i++) {
        const struct hakmem_stat_slot *slot = &file->slots[i];
        uint32_t key = load_32(&slot->key);
        struct stat_call row = {HAKMEM_STAT_KEY_CALL(key),
                                HAKMEM_STAT_KEY_CAUSE(key),
                                (int)HAKMEM_STAT_KEY_TIER(key),
                                (int)HAKMEM_STAT_KEY_RANGE(key),
                                load(&slot->call.count),
                                load(&slot->call.bytes),
                                load(&slot->call.ns)};
        if (row.count > 0 && !is_key_sound(&file->header.tables, key)) {
            process->damaged_count++;
        } else {
            is_complete = (row.count == 0 || add_call(process, &row)) && is_complete;
        }
    }
    return is_complete;
}

/* The same for requests. */
static bool add_requests(struct stat_process *process, const struct stat_requests *requests) {
    for (size_t i = 0; i < process->request_count; i++) {
        struct stat_requests *row = &process->requests[i];
        if (row->range == requests->range && row->tier == requests->tier) {
            row->count += requests->count;
            row->bytes += requests->bytes;
            row->given += requests->given;
            row->misses += requests->misses;
            return true;
        }
    }
    struct stat_requests *rows =
        reallocarray(process->requests, process->request_count + 1, sizeof *process->requests);
    if (rows == NULL) {
        return false;
    }
    process->requests = rows;
    process->requests[process->request_count++] = *requests;
    return true;
}

/* Given are count × block + extra, modulo 2^64, as they were counted. */
static bool read_requests(struct stat_process *process, const struct hakmem_stat_requests *from,
                          int range, int tier, uint64_t block) {
    uint64_t count = load(&from->count);
    struct stat_requests row = {range,
                                tier,
                                count,
                                load(&from->bytes),
                                count * block + load(&from->extra),
                                load(&from->misses)};
    return (row.count == 0 && row.misses == 0) || add_requests(process, &row);
}

static bool read_heap(struct stat_process *process, const struct hakmem_stat_tables *tables,
                      const struct hakmem_stat_heap *heap) {
    bool is_complete = true;
    for (size_t i = 0; i < HAKMEM_STAT_ENTRIES_MAX; i++) {
        process->entries[i] += load(&heap->entries[i]);
    }
    process->failures += load(&heap->failures);
    process->flushes += load(&heap->flushes);
    process->remote_frees += load(&heap->frees_remote);
    for (int i = 0; i < HAKMEM_STAT_RANGES_MAX; i++) {
        const struct hakmem_stat_range *range = &tables->ranges[i];
        is_complete =
            read_requests(process, &heap->requests[i], i, (int)range->tier, range->block) &&
            is_complete;
    }
    return is_complete;
}

static bool read_heaps(struct stat_process *process, const struct hakmem_stat_file *file, int fd) {
    const struct hakmem_stat_tables *tables = &file->header.tables;
    bool is_complete = read_heap(process, tables, &file->first_heap);
    is_complete = read_heap(process, tables, &file->shared) && is_complete;
    for (int i = 0; i < HAKMEM_STAT_RANGES_MAX; i++) {
        for (int tier = 0; tier < HAKMEM_STAT_TIERS_MAX; tier++) {
            is_complete =
                read_requests(process, &file->elsewhere[i][tier], i, tier, 0) && is_complete;
        }
    }
    for (unsigned chunk = 0; chunk < HAKMEM_STAT_CHUNKS_MAX; chunk++) {
        size_t offset = hakmem_stat_chunk_offset(chunk);
        for (size_t i = 0; i < hakmem_stat_chunk_heaps(chunk); i++) {
            struct hakmem_stat_heap heap;
            if (!read_at(fd, &heap, sizeof heap, offset + i * sizeof heap)) {
                return is_complete;
            }
            is_complete = read_heap(process, tables, &heap) && is_complete;
        }
    }
    return is_complete;
}

/*
 * Does somebody have the file mapped, or open, to write to it? The kernel grants a lease on reading only if
 * not (fcntl(2), F_SETLEASE). That holds in whatever process namespace, and ends with exec and with
 * the process. Where leases are not to be had, the process id has to do.
 */
static bool is_in_use(int fd, uint32_t process_id) {
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        return false; /* closing the file gives the lease back */
    }
    return errno == EAGAIN || process_id == 0 || kill((pid_t)process_id, 0) == 0 || errno == EPERM;
}

static bool read_process(struct stat_process *process, const struct hakmem_stat_file *file,
                         int fd) {
    const struct hakmem_stat_header *header = &file->header;
    *process = (struct stat_process){
        .process_id = header->process_id,
        .parent_id = header->parent_id,
        .is_forked = header->is_forked,
        .start_ns = header->start_ns,
        .end_ns = load(&header->end_ns),
        .peak_rss_kib = load(&header->peak_rss_kib),
        .threads = load_32(&header->thread_count),
    };
    memcpy(process->program, header->tables.program, sizeof process->program - 1);
    bool has_heaps = read_heaps(process, file, fd);
    return read_calls(process, file) && has_heaps;
}

/* ---- the tree ---- */

static bool add_process(struct stat_process *sum, const struct stat_process *process) {
    bool is_complete = true;
    sum->threads += process->threads;
    sum->failures += process->failures;
    sum->flushes += process->flushes;
    sum->remote_frees += process->remote_frees;
    sum->damaged_count += process->damaged_count;
    sum->peak_rss_kib =
        process->peak_rss_kib > sum->peak_rss_kib ? process->peak_rss_kib : sum->peak_rss_kib;
    for (size_t i = 0; i < HAKMEM_STAT_ENTRIES_MAX; i++) {
        sum->entries[i] += process->entries[i];
    }
    for (size_t i = 0; i < process->request_count; i++) {
        is_complete = add_requests(sum, &process->requests[i]) && is_complete;
    }
    for (size_t i = 0; i < process->call_count; i++) {
        is_complete = add_call(sum, &process->calls[i]) && is_complete;
    }
    return is_complete;
}

/* Printable ASCII, and ended. */
static bool is_word(const char word[HAKMEM_STAT_WORD_SIZE]) {
    size_t length = 0;
    while (length < HAKMEM_STAT_WORD_SIZE && word[length] >= ' ' && word[length] <= '~') {
        length++;
    }
    return length < HAKMEM_STAT_WORD_SIZE && word[length] == '\0';
}

static bool are_words(const char words[][HAKMEM_STAT_WORD_SIZE], size_t count) {
    size_t i = 0;
    while (i < count && is_word(words[i])) {
        i++;
    }
    return i == count;
}

/* Counts and tiers index arrays of ours: a file that was tampered with must not lead outside. */
static bool are_tables_sound(const struct hakmem_stat_tables *tables) {
    for (size_t i = 0; i < HAKMEM_STAT_RANGES_MAX; i++) {
        if (tables->ranges[i].tier >= HAKMEM_STAT_TIERS_MAX) {
            return false;
        }
    }
    return tables->call_count <= HAKMEM_STAT_CALLS_MAX &&
           tables->cause_count <= HAKMEM_STAT_CAUSES_MAX &&
           tables->tier_count <= HAKMEM_STAT_TIERS_MAX &&
           tables->entry_count <= HAKMEM_STAT_ENTRIES_MAX &&
           tables->range_count <= HAKMEM_STAT_RANGES_MAX &&
           are_words(tables->calls, HAKMEM_STAT_CALLS_MAX) &&
           are_words(tables->causes, HAKMEM_STAT_CAUSES_MAX) &&
           are_words(tables->tiers, HAKMEM_STAT_TIERS_MAX) &&
           are_words(tables->entries, HAKMEM_STAT_ENTRIES_MAX) && is_word(tables->library);
}

/* Not one of another version, and all that is added up must mean the same. */
static bool is_readable(const struct stat_tree *tree, const struct hakmem_stat_file *file) {
    const struct hakmem_stat_header *header = &file->header;
    if (load(&header->magic) != HAKMEM_STAT_MAGIC || header->version != HAKMEM_STAT_VERSION ||
        header->file_bytes != sizeof *file || header->heap_bytes != sizeof file->first_heap ||
        !are_tables_sound(&header->tables)) {
        return false;
    }
    return tree->process_count == 0 || memcmp(&tree->tables, &header->tables,
                                              offsetof(struct hakmem_stat_tables, program)) == 0;
}

/* What the file holds becomes a process of the tree, or one that cannot be told of. */
static bool take_in(struct stat_tree *tree, int fd, bool is_running) {
    static struct hakmem_stat_file file;
    if (!read_at(fd, &file, sizeof file, 0) || !is_readable(tree, &file)) {
        tree->unreadable_count++;
        return true;
    }
    struct stat_process *processes =
        reallocarray(tree->processes, tree->process_count + 1, sizeof *processes);
    if (processes == NULL) {
        tree->unreadable_count++;
        return false;
    }
    if (tree->process_count == 0) {
        tree->tables = file.header.tables;
        memset(tree->tables.program, 0, sizeof tree->tables.program);
    }
    tree->processes = processes;
    struct stat_process *process = &tree->processes[tree->process_count++];
    bool is_complete = read_process(process, &file, fd);
    process->is_running = is_running;
    return is_complete;
}

/* The start of a file whose process counts in it. False: there is none, or not yet. */
static bool read_head(int fd, struct hakmem_stat_header *header) {
    /* The magic is written last: what is read after this has the rest. */
    return read_at(fd, header, offsetof(struct hakmem_stat_header, tables), 0) &&
           load(&header->magic) == HAKMEM_STAT_MAGIC;
}

/*
 * Until the end a file without magic is left alone: its process has made it, perhaps, and not yet opened or
 * mapped it. A lease would be granted then, and the file be lost.
 */
static void gather_file(struct stat_tree *tree, int directory, const char *name, bool is_last) {
    struct hakmem_stat_header header = {.process_id = 0};
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    bool has_begun = fd >= 0 && read_head(fd, &header);
    if (is_last || has_begun) {
        bool is_running = has_begun && is_in_use(fd, header.process_id);
        if (is_last || !is_running) {
            tree->has_gap = !take_in(tree, fd, is_running) || tree->has_gap;
            unlinkat(directory, name, 0);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
}

static int by_start(const void *a, const void *b) {
    const struct stat_process *first = a;
    const struct stat_process *second = b;
    return (first->start_ns > second->start_ns) - (first->start_ns < second->start_ns);
}

static int by_count(const void *a, const void *b) {
    const struct stat_call *first = a;
    const struct stat_call *second = b;
    if (first->count != second->count) {
        return first->count < second->count ? 1 : -1;
    }
    return (first->ns < second->ns) - (first->ns > second->ns);
}

static int by_size(const void *a, const void *b) {
    const struct stat_requests *first = a;
    const struct stat_requests *second = b;
    return first->range != second->range ? first->range - second->range
                                         : first->tier - second->tier;
}

static void sort_rows(struct stat_process *process) {
    if (process->call_count > 0) {
        qsort(process->calls, process->call_count, sizeof *process->calls, by_count);
    }
    if (process->request_count > 0) {
        qsort(process->requests, process->request_count, sizeof *process->requests, by_size);
    }
}

bool stat_gather(const char *directory, struct stat_tree *tree, bool is_last) {
    DIR *files = opendir(directory);
    if (files == NULL) {
        cli_say("error", "stat: %s: %s", directory, strerror(errno));
        return false;
    }
    for (struct dirent *entry; (entry = readdir(files)) != NULL;) {
        if (entry->d_name[0] != '.') {
            gather_file(tree, dirfd(files), entry->d_name, is_last);
        }
    }
    closedir(files);
    return true;
}

bool stat_finish(struct stat_tree *tree) {
    bool is_complete = !tree->has_gap;
    if (tree->process_count > 0) {
        qsort(tree->processes, tree->process_count, sizeof *tree->processes, by_start);
    }
    for (size_t i = 0; i < tree->process_count; i++) {
        sort_rows(&tree->processes[i]);
        is_complete = add_process(&tree->sum, &tree->processes[i]) && is_complete;
    }
    sort_rows(&tree->sum);
    if (!is_complete) {
        cli_say("error", "stat: no memory to add everything up");
    }
    return is_complete;
}

void stat_free(struct stat_tree *tree) {
    for (size_t i = 0; i < tree->process_count; i++) {
        free(tree->processes[i].calls);
        free(tree->processes[i].requests);
    }
    free(tree->processes);
    free(tree->sum.calls);
    free(tree->sum.requests);
}

/* ---- sums ---- */

struct stat_requests stat_requests_sum(const struct stat_process *process) {
    struct stat_requests sum = {.range = STAT_NONE, .tier = STAT_NONE};
    for (size_t i = 0; i < process->request_count; i++) {
        const struct stat_requests *from = &process->requests[i];
        sum.count += from->count;
        sum.bytes += from->bytes;
        sum.given += from->given;
        sum.misses += from->misses;
    }
    return sum;
}

uint64_t stat_calls_count(const struct stat_process *process) {
    uint64_t count = 0;
    for (size_t i = 0; i < process->call_count; i++) {
        count += process->calls[i].count;
    }
    return count;
}

uint64_t stat_range_min(const struct hakmem_stat_tables *tables, int range) {
    return range <= 1 ? 0 : tables->ranges[range - 1].request_max + 1;
}
