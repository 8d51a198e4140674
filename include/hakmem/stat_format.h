/* include/hakmem/stat_format.h — the file in which an observed process counts. SPDX-License-Identifier: MIT */

/*
 * An observed process (`hakmem stat`, option stat) maps one file and counts in the mapping, so that what it
 * counted is there however it ends: exit, _exit, exec, abort or SIGKILL. The tool reads the files when
 * the processes have ended. Library and tool share this layout and nothing else: all names and size ranges
 * that the numbers belong to are written in the file. It is no interface for programs; another version may
 * have another layout, and then another HAKMEM_STAT_VERSION.
 *
 *   struct hakmem_stat_file                      | chunk | chunk |   …
 *   | header | calls | slots | shared | … | heap |  heaps |  heaps |
 *   0                                   HAKMEM_STAT_BASE_BYTES
 *
 * Counters only grow. A heap's are written by its thread alone, without a locked instruction; `misses` and
 * `flushes`, and all counters that are no heap's, by any thread, by atomic additions. What has no place of its own (a thread without a heap, no memory for a
 * chunk, no free slot) is counted in `shared` or, for a system call, without its context: sums stay exact.
 */
#ifndef HAKMEM_STAT_FORMAT_H
#define HAKMEM_STAT_FORMAT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define HAKMEM_STAT_MAGIC UINT64_C(0x31746174736b6168) /* "hakstat1" */
#define HAKMEM_STAT_BASE_BYTES ((size_t)65536)         /* a multiple of every OS page size */

enum {
    HAKMEM_STAT_VERSION = 1,
    HAKMEM_STAT_WORD_SIZE = 24, /* bytes, the final 0 included */
    HAKMEM_STAT_CALLS_MAX = 20,
    HAKMEM_STAT_CAUSES_MAX = 20,
    HAKMEM_STAT_TIERS_MAX = 4,
    HAKMEM_STAT_ENTRIES_MAX = 20,
    HAKMEM_STAT_RANGES_MAX = 192,
    HAKMEM_STAT_SLOTS = 256,
    HAKMEM_STAT_CHUNKS_MAX = 256,
    HAKMEM_STAT_PATH_SIZE = 256 /* bytes, the final 0 included; longer paths are cut */
};

/* Which requests a range counts. Range 0 is none: its `request_max` is 0. */
struct hakmem_stat_range {
    uint64_t request_max; /* bytes; the range begins one above the one before */
    uint32_t block;       /* bytes usable in a block of `tier`; 0: they differ */
    uint32_t tier;        /* that serves such requests when nothing special is asked for */
};

/* Written before the magic, then constant. */
struct hakmem_stat_tables {
    uint32_t call_count;
    uint32_t cause_count;
    uint32_t tier_count;
    uint32_t entry_count;
    uint32_t range_count;
    uint32_t page_size; /* bytes of an OS page */
    char calls[HAKMEM_STAT_CALLS_MAX][HAKMEM_STAT_WORD_SIZE];
    char causes[HAKMEM_STAT_CAUSES_MAX][HAKMEM_STAT_WORD_SIZE];
    char tiers[HAKMEM_STAT_TIERS_MAX][HAKMEM_STAT_WORD_SIZE];
    char entries[HAKMEM_STAT_ENTRIES_MAX][HAKMEM_STAT_WORD_SIZE];
    struct hakmem_stat_range ranges[HAKMEM_STAT_RANGES_MAX];
    char program[HAKMEM_STAT_PATH_SIZE]; /* as it was executed */
    char library[HAKMEM_STAT_WORD_SIZE]; /* version of hakmem */
};

/* System calls of one kind. */
struct hakmem_stat_call {
    _Atomic uint64_t count; /* failed ones too: the kernel was asked */
    _Atomic uint64_t bytes; /* asked for */
    _Atomic uint64_t ns;    /* monotonic time spent in them */
};

/* System calls that a request led to. */
struct hakmem_stat_slot {
    _Atomic uint32_t key; /* 0: free; see HAKMEM_STAT_KEY */
    uint32_t unused;
    struct hakmem_stat_call call;
};

#define HAKMEM_STAT_KEY(call, cause, tier, range)                                                  \
    (UINT32_C(1) << 31 | (uint32_t)(call) << 22 | (uint32_t)(cause) << 16 |                        \
     (uint32_t)(tier) << 12 | (uint32_t)(range))
#define HAKMEM_STAT_KEY_CALL(key) ((key) >> 22 & 511)
#define HAKMEM_STAT_KEY_CAUSE(key) ((key) >> 16 & 63)
#define HAKMEM_STAT_KEY_TIER(key) ((key) >> 12 & 15)
#define HAKMEM_STAT_KEY_RANGE(key) ((key)&4095)

/* Requests of one range that one tier served. Usable bytes given: count × block + extra. */
struct hakmem_stat_requests {
    _Atomic uint64_t count;
    _Atomic uint64_t bytes; /* asked for */
    _Atomic uint64_t
        extra; /* bytes given above the range's `block`; wraps where a block is smaller */
    _Atomic uint64_t misses; /* refills of the class: its magazine was empty */
};

/* What one heap's thread counts. */
struct hakmem_stat_heap {
    _Atomic uint64_t entries[HAKMEM_STAT_ENTRIES_MAX]; /* calls of each entry point */
    _Atomic uint64_t failures;                         /* requests that got no memory */
    _Atomic uint64_t flushes;                          /* of a full magazine */
    _Atomic uint64_t frees_remote;                     /* of blocks of another thread's heap */
    struct hakmem_stat_requests requests[HAKMEM_STAT_RANGES_MAX]; /* by the range's own tier */
};

struct hakmem_stat_header {
    _Atomic uint64_t magic; /* written last */
    uint32_t version;
    uint32_t file_bytes; /* sizeof(struct hakmem_stat_file) */
    uint32_t heap_bytes; /* sizeof(struct hakmem_stat_heap) */
    uint32_t process_id;
    uint32_t parent_id;
    uint32_t is_forked;            /* 1: by fork, without exec since */
    uint64_t start_ns;             /* monotonic clock */
    _Atomic uint64_t end_ns;       /* 0: the process did not end by exit */
    _Atomic uint64_t peak_rss_kib; /* 0: as above */
    _Atomic uint32_t thread_count; /* threads that were given a heap */
    _Atomic uint32_t chunk_count;
    struct hakmem_stat_tables tables;
};

struct hakmem_stat_file {
    struct hakmem_stat_header header;
    struct hakmem_stat_call calls[HAKMEM_STAT_CALLS_MAX]
                                 [HAKMEM_STAT_CAUSES_MAX]; /* without context */
    struct hakmem_stat_slot slots[HAKMEM_STAT_SLOTS];
    struct hakmem_stat_heap shared; /* of whoever has no place of its own */
    /* Served by another tier than the range's own. */
    struct hakmem_stat_requests elsewhere[HAKMEM_STAT_RANGES_MAX][HAKMEM_STAT_TIERS_MAX];
    struct hakmem_stat_heap first_heap;
};
_Static_assert(sizeof(struct hakmem_stat_file) <= HAKMEM_STAT_BASE_BYTES, "chunks follow");

/* Bytes of a chunk: 64 KiB, then twice as much each time, up to 1 MiB. */
static inline size_t hakmem_stat_chunk_bytes(unsigned chunk) {
    return HAKMEM_STAT_BASE_BYTES << (chunk < 4 ? chunk : 4);
}

/* Where it begins in the file. */
static inline size_t hakmem_stat_chunk_offset(unsigned chunk) {
    size_t offset = HAKMEM_STAT_BASE_BYTES;
    for (unsigned i = 0; i < chunk; i++)
        offset += hakmem_stat_chunk_bytes(i);
    return offset;
}

static inline size_t hakmem_stat_chunk_heaps(unsigned chunk) {
    return hakmem_stat_chunk_bytes(chunk) / sizeof(struct hakmem_stat_heap);
}

#endif
