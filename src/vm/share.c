/* src/vm/share.c — the file in which an observed process counts: made, grown, left to the tool. SPDX-License-Identifier: MIT */

#include "vm/share.h"

#include <errno.h>
#include <hakmem/hakmem.h>
#include <string.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/lock.h"
#include "base/text.h"
#include "options/options.h"
#include "prim/prim.h"
#include "stats/ledger.h"
#include "vm/vm.h"

enum {
    SHARE_PATH_SIZE = HAK_OPTION_TEXT_SIZE + 48, /* "/", two numbers, "-" */
    SHARE_NAMES_TRIED = 4
};

static struct {
    struct hak_lock lock;
    char directory[HAK_OPTION_TEXT_SIZE];
    char path[SHARE_PATH_SIZE]; /* of this process's file */
    uint32_t directory_size;    /* bytes, without the final 0 */
    bool has_first_heap;        /* [lock] file->first_heap is taken */
    bool is_full;               /* [lock] a chunk could not be had: nobody asks again */
    uint32_t chunk_count;       /* [lock] */
    uint32_t heaps_taken;       /* [lock] of the last chunk */
    struct hakmem_stat_heap *chunks[HAKMEM_STAT_CHUNKS_MAX]; /* [lock] */
    struct hakmem_stat_file *left; /* child of fork: what is still to be unmapped of its parent's */
    uint32_t chunks_left;          /* the same */
} g_share = {.lock = HAK_LOCK_INIT(HAK_RANK_SHARE)};

/* Calls are noted where they are made and counted when it is known which ledger they go to. */
struct share_calls {
    uint32_t count[HAK_CALL_COUNT];
    uint64_t ns;
};

static void calls_count(const struct share_calls *calls) {
    for (unsigned call = 0; call < HAK_CALL_COUNT; call++) {
        for (uint32_t i = 0; i < calls->count[call]; i++)
            hak_ledger_add((enum hak_call)call, HAK_CAUSE_OBSERVE, 0);
    }
    if (hak_stat_file)
        hak_atomic_add_relaxed(&hak_stat_file->calls[HAK_CALL_OPENAT][HAK_CAUSE_OBSERVE].ns,
                               calls->ns);
}

/* A name that nobody has had: exec keeps the process id, so the clock is part of it. */
static void share_name(uint32_t process_id) {
    struct hak_text text = {.buffer = g_share.path, .capacity = sizeof g_share.path - 1};
    hak_text_chars(&text, g_share.directory, g_share.directory_size);
    hak_text_string(&text, "/");
    hak_text_decimal(&text, process_id);
    hak_text_string(&text, "-");
    hak_text_decimal(&text, hak_prim_clock_ns());
    g_share.path[text.size] = 0;
}

/* Makes sure that [offset, offset + size) of the file is there, and maps it. */
static int share_map(int file, size_t offset, size_t size, void *wanted, void **out,
                     struct share_calls *calls) {
    size_t limit = 0;
    calls->count[HAK_CALL_PRLIMIT]++;
    if (hak_prim_file_size_limit(&limit) != 0 || limit < offset + size)
        return EFBIG; /* the kernel would send SIGXFSZ */
    calls->count[HAK_CALL_FALLOCATE]++;
    int error = hak_prim_file_reserve(file, offset, size);
    if (error)
        return error;
    calls->count[HAK_CALL_MMAP]++;
    return hak_prim_map_file(file, offset, size, wanted, out);
}

static int share_make(uint32_t process_id, void *wanted, void **out, struct share_calls *calls) {
    int file;
    int error = EEXIST;
    for (int i = 0; i < SHARE_NAMES_TRIED && error == EEXIST; i++) {
        share_name(process_id);
        calls->count[HAK_CALL_OPENAT]++;
        error = hak_prim_file_make(g_share.path, &file);
    }
    if (error)
        return error;
    error = share_map(file, 0, HAKMEM_STAT_BASE_BYTES, wanted, out, calls);
    calls->count[HAK_CALL_CLOSE]++;
    hak_prim_file_close(file);
    return error;
}

static void copy_word(char *to, size_t size, const char *word) {
    size_t length = hak_min(strlen(word), size - 1);
    memcpy(to, word, length);
    to[length] = 0;
}

static void share_describe(struct hakmem_stat_tables *tables) {
    tables->call_count = HAK_CALL_COUNT;
    tables->cause_count = HAK_CAUSE_COUNT;
    tables->page_size = (uint32_t)hak_vm_page_size();
    for (unsigned i = 0; i < HAK_CALL_COUNT; i++)
        copy_word(tables->calls[i], HAKMEM_STAT_WORD_SIZE, hak_ledger_call_words[i]);
    for (unsigned i = 0; i < HAK_CAUSE_COUNT; i++)
        copy_word(tables->causes[i], HAKMEM_STAT_WORD_SIZE, hak_ledger_cause_words[i]);
    copy_word(tables->program, HAKMEM_STAT_PATH_SIZE, hak_prim_program());
    copy_word(tables->library, HAKMEM_STAT_WORD_SIZE, HAKMEM_VERSION);
}

static void share_warn(int error) {
    char buffer[HAK_OPTION_TEXT_SIZE + 128];
    struct hak_text text = {.buffer = buffer, .capacity = sizeof buffer};
    hak_text_string(&text, "hakmem: warning: HAKMEM_STAT=");
    hak_text_chars(&text, g_share.directory, g_share.directory_size);
    hak_text_string(&text, ": no file can be made there (error ");
    hak_text_decimal(&text, (uint64_t)error);
    hak_text_string(&text, "); this process is not observed\n");
    hak_text_flush(&text);
}

/* The file is new and reads as zero. */
static void share_write_header(struct hakmem_stat_file *file, uint32_t process_id,
                               uint32_t parent_id, bool is_forked,
                               const struct hakmem_stat_tables *tables) {
    struct hakmem_stat_header *header = &file->header;
    header->version = HAKMEM_STAT_VERSION;
    header->file_bytes = sizeof(struct hakmem_stat_file);
    header->heap_bytes = sizeof(struct hakmem_stat_heap);
    header->process_id = process_id;
    header->parent_id = parent_id;
    header->is_forked = is_forked;
    header->start_ns = hak_prim_clock_ns();
    header->tables = *tables;
    /* Release: whoever finds the magic finds the rest. Pairs with the tool, which reads it first. */
    hak_atomic_store_release(&header->magic, HAKMEM_STAT_MAGIC);
}

bool hak_share_begin(const char *directory, struct hakmem_stat_tables *tables) {
    struct share_calls calls = {.count = {0}};
    void *mapping;
    copy_word(g_share.directory, sizeof g_share.directory, directory);
    g_share.directory_size = (uint32_t)strlen(g_share.directory);
    uint64_t start = hak_prim_clock_ns();
    calls.count[HAK_CALL_GETPID]++;
    uint32_t process_id = hak_prim_process_id();
    calls.count[HAK_CALL_GETPPID]++;
    uint32_t parent_id = hak_prim_parent_id();
    int error = share_make(process_id, NULL, &mapping, &calls);
    calls.ns = hak_prim_clock_ns() - start;
    if (error == 0) {
        share_describe(tables);
        share_write_header(mapping, process_id, parent_id, false, tables);
        hak_ledger_move(mapping);
    }
    calls_count(&calls);
    if (error)
        share_warn(error);
    return error == 0;
}

/* ---- heaps ---- */

static struct hakmem_stat_heap *share_map_chunk(uint32_t chunk) {
    struct share_calls calls = {.count = {0}};
    uint64_t start = hak_prim_clock_ns();
    void *mapping = NULL;
    int file;
    calls.count[HAK_CALL_OPENAT]++;
    int error = hak_prim_file_open(g_share.path, &file);
    if (error == 0) {
        error = share_map(file, hakmem_stat_chunk_offset(chunk), hakmem_stat_chunk_bytes(chunk),
                          NULL, &mapping, &calls);
        calls.count[HAK_CALL_CLOSE]++;
        hak_prim_file_close(file);
    }
    calls.ns = hak_prim_clock_ns() - start;
    calls_count(&calls);
    return error ? NULL : mapping;
}

static struct hakmem_stat_heap *share_take_heap_locked(void) HAK_REQUIRES(g_share.lock) {
    if (!g_share.has_first_heap) {
        g_share.has_first_heap = true;
        return &hak_stat_file->first_heap;
    }
    uint32_t count = g_share.chunk_count;
    if (count == 0 || g_share.heaps_taken == hakmem_stat_chunk_heaps(count - 1)) {
        if (g_share.is_full || count == HAKMEM_STAT_CHUNKS_MAX)
            return NULL;
        g_share.chunks[count] = share_map_chunk(count);
        if (g_share.chunks[count] == NULL) {
            g_share.is_full = true;
            return NULL;
        }
        g_share.chunk_count = ++count;
        g_share.heaps_taken = 0;
        hak_atomic_store_relaxed(&hak_stat_file->header.chunk_count, count);
    }
    return &g_share.chunks[count - 1][g_share.heaps_taken++];
}

struct hakmem_stat_heap *hak_share_take_heap(void) {
    hak_lock_acquire(&g_share.lock);
    struct hakmem_stat_heap *heap = share_take_heap_locked();
    hak_lock_release(&g_share.lock);
    return heap;
}

/* ---- the end ---- */

void hak_share_end(void) {
    uint64_t peak = 0;
    struct hak_ledger_timer timer = hak_ledger_begin(HAK_CALL_GETRUSAGE, HAK_CAUSE_OBSERVE, 0);
    int error = hak_prim_peak_rss_kib(&peak);
    hak_ledger_end(timer);
    if (error == 0)
        hak_atomic_store_relaxed(&hak_stat_file->header.peak_rss_kib, peak);
    hak_atomic_store_relaxed(&hak_stat_file->header.end_ns, hak_prim_clock_ns());
}

/* ---- fork ---- */

void hak_share_fork_prepare(void) HAK_NO_LOCK_ANALYSIS {
    hak_lock_acquire_for_fork(&g_share.lock);
}

void hak_share_fork_parent(void) HAK_NO_LOCK_ANALYSIS {
    hak_lock_release(&g_share.lock);
}

void hak_share_fork_child(void) {
    hak_lock_reset(&g_share.lock);
    struct hakmem_stat_file *file = hak_stat_file;
    if (file == NULL)
        return;
    /* Until the child's own file lies there, this is the parent's: read it, and write nothing. */
    struct share_calls calls = {.count = {0}};
    static struct hakmem_stat_tables tables; /* 5 KiB: too much for a small stack */
    tables = file->header.tables;
    uint32_t parent_id = file->header.process_id;
    uint64_t start = hak_prim_clock_ns();
    void *mapping;
    calls.count[HAK_CALL_GETPID]++;
    uint32_t process_id = hak_prim_process_id();
    int error = share_make(process_id, file, &mapping, &calls);
    calls.ns = hak_prim_clock_ns() - start;
    if (error == 0)
        share_write_header(file, process_id, parent_id, true, &tables);
    else
        hak_ledger_move(NULL);
    calls_count(&calls);
    g_share.left = error ? file : NULL;
    g_share.chunks_left = g_share.chunk_count;
    g_share.chunk_count = 0;
    g_share.has_first_heap = false;
    g_share.is_full = g_share.chunks_left > 0; /* until the table of chunks is free */
    if (error)
        share_warn(error);
}

void hak_share_fork_child_end(void) {
    if (g_share.left)
        hak_vm_unmap_table(g_share.left, HAKMEM_STAT_BASE_BYTES, HAK_CAUSE_OBSERVE);
    for (uint32_t i = 0; i < g_share.chunks_left; i++)
        hak_vm_unmap_table(g_share.chunks[i], hakmem_stat_chunk_bytes(i), HAK_CAUSE_OBSERVE);
    g_share.left = NULL;
    g_share.chunks_left = 0;
    g_share.is_full = false;
}
