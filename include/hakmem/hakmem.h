/* include/hakmem/hakmem.h — hakmem's own names for the allocation functions. SPDX-License-Identifier: MIT */

/*
 * The prefixed libraries (libhakmem-prefixed) export only these names and leave malloc alone; the
 * override libraries export them beside malloc and its family. A block from any of them may be given
 * to any other: hakmem_free(malloc(1)) is right where the override is in force.
 *
 * For all functions, unless stated otherwise:
 *   threads    any thread; free from any thread; not async-signal-safe
 *   errors     ENOMEM no memory, or a size above PTRDIFF_MAX; NULL is returned
 *   alignment  16 bytes at least, for every size
 *   misuse     a pointer that is no live block: one line on stderr, then abort (docs/misuse.md)
 */
#ifndef HAKMEM_HAKMEM_H
#define HAKMEM_HAKMEM_H

#include <malloc.h>
#include <stddef.h>
#include <stdio.h>

#define HAKMEM_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * hakmem_malloc — allocate a block.
 *
 * size       bytes; 0 yields a unique pointer that must be freed
 * returns    at least `size` usable bytes, contents indeterminate; NULL on failure
 * cost       one magazine pop up to 64 KiB, most often; see ARCHITECTURE.md
 * source     C17 7.22.3.4
 */
void *hakmem_malloc(size_t size);

/*
 * hakmem_calloc — allocate a block of `count` × `size` zero bytes.
 *
 * errors     ENOMEM also when the product overflows
 * source     C17 7.22.3.2
 */
void *hakmem_calloc(size_t count, size_t size);

/*
 * hakmem_realloc — make a block larger or smaller, moving it if need be.
 *
 * p          NULL: as hakmem_malloc(size)
 * size       bytes; 0 frees `p` and returns NULL, as glibc does
 * returns    the block, its first min(old, new) bytes kept; NULL on failure, and `p` is as it was
 * source     C17 7.22.3.5
 */
void *hakmem_realloc(void *p, size_t size);

/*
 * hakmem_reallocarray — hakmem_realloc(p, count × size), failing with ENOMEM on overflow.
 *
 * source     POSIX.1-2024
 */
void *hakmem_reallocarray(void *p, size_t count, size_t size);

/*
 * hakmem_free — give a block back. NULL is ignored; errno is kept.
 *
 * source     POSIX.1-2024 (errno); C17 7.22.3.3
 */
void hakmem_free(void *p);
void hakmem_cfree(void *p);

/*
 * hakmem_free_sized, hakmem_free_aligned_sized — free a block whose size the caller knows.
 *
 * size       bytes, as requested; looked at only with the option checks=1
 * alignment  as requested
 * source     C23 7.24.3.4, 7.24.3.5
 */
void hakmem_free_sized(void *p, size_t size);
void hakmem_free_aligned_sized(void *p, size_t alignment, size_t size);

/*
 * hakmem_aligned_alloc, hakmem_memalign — allocate a block at a given alignment.
 *
 * alignment  bytes; a power of two
 * size       bytes; need not be a multiple of the alignment
 * errors     EINVAL the alignment is not a power of two
 * source     C17 7.22.3.1, as glibc >= 2.38 checks it; memalign(3)
 */
void *hakmem_aligned_alloc(size_t alignment, size_t size);
void *hakmem_memalign(size_t alignment, size_t size);

/*
 * hakmem_posix_memalign — allocate a block at a given alignment into *out.
 *
 * alignment  bytes; a power of two and a multiple of sizeof(void *)
 * returns    0; EINVAL or ENOMEM, and *out and errno are as they were
 * source     POSIX.1-2017
 */
int hakmem_posix_memalign(void **out, size_t alignment, size_t size);

/* At an OS page; hakmem_pvalloc() rounds the size up to whole pages. Source: valloc(3). */
void *hakmem_valloc(size_t size);
void *hakmem_pvalloc(size_t size);

/*
 * hakmem_malloc_usable_size — bytes the caller may use of a block; 0 for NULL.
 *
 * source     malloc_usable_size(3)
 */
size_t hakmem_malloc_usable_size(void *p);

/*
 * hakmem_nallocx, hakmem_sdallocx — good size and sized free, as jemalloc names them.
 *
 * flags      the low 6 bits are the alignment's logarithm; others are ignored
 * returns    the least that malloc_usable_size will say of such a block; 0 when it cannot exist
 * source     jemalloc(3)
 */
size_t hakmem_nallocx(size_t size, int flags);
void hakmem_sdallocx(void *p, size_t size, int flags);

/*
 * hakmem_mallinfo2, hakmem_mallinfo — totals. arena: bytes made usable; hblks, hblkhd: Big blocks;
 * uordblks: bytes in blocks that left their slabs, those in magazines too; fordblks: the rest.
 *
 * source     mallinfo(3), glibc only; mallinfo's fields are cut to INT_MAX, mallinfo2 needs glibc 2.33
 */
#if defined(__GLIBC__) /* musl has neither struct */
struct mallinfo hakmem_mallinfo(void);
#if __GLIBC_PREREQ(2, 33)
struct mallinfo2 hakmem_mallinfo2(void);
#endif
#endif

/* Totals and the ledger as XML on `stream`. Returns 0; EINVAL when `options` is not 0. */
int hakmem_malloc_info(int options, FILE *stream);
/* Totals and the ledger in words on stderr. */
void hakmem_malloc_stats(void);

/*
 * hakmem_malloc_trim — give free memory back to the kernel now.
 *
 * pad        ignored
 * returns    1 when memory went back, 0 when there was none to give
 * source     malloc_trim(3)
 */
int hakmem_malloc_trim(size_t pad);

/*
 * hakmem_mallopt — accepts glibc's parameters and ignores them: they tune what hakmem does not have.
 *
 * returns    1 for a parameter of mallopt(3), 0 for any other
 */
int hakmem_mallopt(int parameter, int value);

/*
 * hakmem_prewarm — make blocks ready before they are needed.
 *
 * size, count  bytes and number of blocks; up to 64 KiB they wait in the calling thread's magazine, 4,095
 *            at most; above, in the process's pool, 64 at most
 * returns    how many are ready; fewer where memory or the budget of magazines is short
 * cost       every OS page of each block is written once
 */
size_t hakmem_prewarm(size_t size, size_t count);

/*
 * hakmem_policy_save — write what the adaptive cache engine has learned to a file, as text.
 *
 * path       made anew; the option policy=FILE loads it at start-up
 * returns    0 or an errno value
 */
int hakmem_policy_save(const char *path);

/*
 * hakmem_stats — totals; bytes unless they say otherwise. As in the exit report.
 */
#define HAKMEM_STATS_VERSION 1
struct hakmem_stats {
    size_t version; /* HAKMEM_STATS_VERSION of the library; later versions add fields at the end */
    size_t reserved;
    size_t committed;
    size_t metadata;
    size_t small_out; /* blocks up to 64 KiB outside their slabs, those in magazines too */
    size_t large_count;
    size_t large_bytes;
    size_t big_count;
    size_t big_bytes;
    size_t pool_free;
    size_t pool_given_back;
    size_t heap_count;
    size_t orphan_count;
    size_t refills;
    size_t flushes;
    size_t remote_frees; /* blocks */
};
/*
 * hakmem_stats_get — totals of this moment, part by part.
 *
 * size       sizeof(struct hakmem_stats) as the caller was compiled
 * returns    0; EINVAL for a size below one field, ENOMEM when hakmem could not start
 * cost       each heap's lock for a moment
 */
int hakmem_stats_get(struct hakmem_stats *out, size_t size);

/*
 * hakmem_check — look at all of hakmem's books: is each block in exactly one place, and do all counts agree?
 *
 * flags      HAKMEM_CHECK_QUIESCENT: the caller knows that no other thread is inside the allocator, nor was
 *            when this process was forked; all magazines are looked at then, and all counts compared.
 *            Without it those of the calling thread and of threads that have ended are; blocks in others'
 *            count as live, and memory that nobody has may be in a thread's hands
 *            HAKMEM_CHECK_WAIT: wait for threads that are in a slow path. Without it the call never waits
 *            for anything: in a debugger with all threads stopped, in a signal handler
 * out        what there is; NULL: not asked for
 * size       sizeof(struct hakmem_check_result) as the caller was compiled
 * returns    0: all is well; the number of problems: each one line on stderr ("hakmem: check: …"), 24 at
 *            most and how many more there are; or, not checked, -EBUSY a lock is held, -ENOMEM no memory
 *            for notes (1/128 of the heap's addresses), -EINVAL a flag or size that cannot be
 * threads    any thread; others wait in slow paths meanwhile. Async-signal-safe without HAKMEM_CHECK_WAIT
 * cost       everything is read, nothing written, no block touched: 10^6 blocks take some 10 ms
 * from gdb   call (int)hakmem_check(0, 0, 0)
 */
enum { HAKMEM_CHECK_QUIESCENT = 1, HAKMEM_CHECK_WAIT = 2 };
#define HAKMEM_CHECK_VERSION 1
struct hakmem_check_result {
    size_t version; /* HAKMEM_CHECK_VERSION of the library; later versions add fields at the end */
    size_t problems;
    size_t live_blocks; /* of slabs, as the next four: up to 64 KiB each */
    size_t live_bytes;
    size_t magazine_blocks;
    size_t travelling_blocks; /* freed by another thread, on their way home */
    size_t free_blocks;       /* came home, or were never handed out */
    size_t slabs;
    size_t slab_units; /* units are 64 KiB */
    size_t spans;
    size_t span_units;
    size_t meta_units; /* of hakmem's own data, but for descriptors */
    size_t free_runs;
    size_t free_units;
    size_t lost_units; /* found nowhere: in a thread's hands, or, when quiescent, a problem each */
    size_t big_blocks;
    size_t big_kept; /* mappings kept for the next block */
    size_t heaps;
    size_t orphans;
    size_t heaps_looked_into; /* whose magazines were looked at */
};
int hakmem_check(unsigned flags, struct hakmem_check_result *out, size_t size);

/*
 * hakmem_receipt — a decision of the adaptive cache engine.
 *
 * kind       "capacity": slots of a class's magazines; "spares": empty slabs kept by each heap; "delay":
 *            epochs of half a second until free memory goes back to the kernel
 * verdict    "pending", "kept", "reverted"
 */
struct hakmem_receipt {
    unsigned long long number;  /* 1 for the first */
    unsigned long long time_ms; /* CLOCK_MONOTONIC */
    const char *kind;
    const char *verdict;
    unsigned class_size; /* bytes of a block; 0: of no class */
    unsigned before;
    unsigned after;
    unsigned evidence;  /* events in the epoch that led to it */
    unsigned predicted; /* events per epoch with the new value */
    unsigned observed;  /* events in the epoch that followed; 0 while pending */
};
/* Copies the newest receipts, newest first, 64 at most; returns how many. */
size_t hakmem_receipts(struct hakmem_receipt *out, size_t count);

/* "0.1.0"; also a mark by which a program can tell that hakmem is in the process. */
const char *hakmem_version(void);

#ifdef __cplusplus
}
#endif

#endif
