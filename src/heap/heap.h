/* src/heap/heap.h — a thread's allocator state. SPDX-License-Identifier: MIT */

/*
 * A heap is a set of magazines, which only its thread touches and which is all that malloc and free
 * see while they hit, and the slabs behind them, guarded by the heap's lock: any thread may put a
 * block back into another heap's slab by taking that lock.
 *
 *   magazine:   storage                         top                 limit
 *               | NULL | block | block | block  |  free slot  | … | |
 *
 *   storage[0] == NULL: malloc finds an empty magazine without a bounds check
 *   top in storage … limit; empty: top == storage; full: top == limit = storage + capacity
 *
 * Heaps live in metadata and never die. A thread without one points to the *empty heap*, whose
 * magazines are all both empty and full and whose tag matches nothing: its first operation takes
 * the slow path by itself. An exiting thread's heap becomes an *orphan*, magazines filled, and is
 * adopted whole by the next thread that needs one.
 *
 * While the process is observed its fast paths are *closed*: the thread points to the empty heap though it
 * has one, which lies beside (hak_thread.heap), and the pagemap's fast view is empty. Each operation
 * misses, takes the slow path, is counted there and then works on the real magazines at once. Not
 * observed, nothing of this costs an instruction.
 */
#ifndef HAK_HEAP_HEAP_H
#define HAK_HEAP_HEAP_H

#include <hakmem/stat_format.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena/pagemap.h"
#include "base/compiler.h"
#include "base/lock.h"
#include "base/misuse.h"
#include "slab/size_class.h"
#include "slab/slab.h"

struct hak_magazine {
    void **top;   /* the block malloc gives next; *top == NULL: empty */
    void **limit; /* the last slot */
};

_Static_assert(sizeof(struct hak_magazine) == 16,
               "a class's offset, class × 16, is its magazine's");

/* What the fast paths see of a heap. Owner thread only. */
struct hak_magazines {
    struct hak_magazine of_class[HAK_CLASS_COUNT];
    uint32_t tag; /* id in place, class 0; fixed */
};

struct hak_packet; /* heap/remote.c */
struct hak_remote;

struct hak_heap {
    struct hak_magazines magazines;     /* first: the thread's pointer is to both */
    struct hakmem_stat_heap *counters;  /* owner thread; NULL: not observed, or no room for them */
    uint32_t id;                        /* fixed; 1 … HAK_TAG_ID_NEVER - 1 */
    struct hak_remote *remote;          /* owner thread: what it sends to others; NULL: never did */
    uint16_t capacity[HAK_CLASS_COUNT]; /* owner thread, under the lock: slots; 0: no storage yet */
    uint32_t epoch;                     /* owner thread: the last one it took note of */
    /* For epochs; owner thread, under the lock. */
    uint32_t activity[HAK_CLASS_COUNT];  /* refills and flushes in this epoch */
    uint16_t last_held[HAK_CLASS_COUNT]; /* blocks in the magazine when it began */
    uint16_t prewarmed[HAK_CLASS_COUNT]; /* blocks that no epoch sends home */
    /* Others write here; alone on its line. */
    alignas(HAK_CACHE_LINE) _Atomic(struct hak_packet *) inbox; /* [A] anyone pushes */
    _Atomic uint32_t inbox_bytes;                               /* [S] in blocks that wait there */
    alignas(HAK_CACHE_LINE) struct hak_lock lock; /* guards the rest and all [H] of its slabs */
    size_t bytes_out; /* bytes in blocks outside the slabs: live + in magazines */
    uint64_t refill_count;
    uint64_t flush_count;
    uint64_t remote_count;        /* blocks put back by other threads */
    struct hak_heap *next_orphan; /* [R] under the registry's lock */
    struct hak_heap *prev_orphan; /* [R] */
    uint32_t orphan_epoch;        /* [R] when it became one */
    struct hak_slab_set slabs[HAK_CLASS_COUNT];
};

/* What ACE decides and heaps follow. */
struct hak_heap_policy {
    bool is_exact; /* no magazines, no gathering: misuse is found at once */
    uint16_t capacity_start[HAK_CLASS_COUNT];       /* slots, 2^k - 1; fixed by start-up */
    _Atomic uint16_t capacity_max[HAK_CLASS_COUNT]; /* slots, 2^k - 1 or 0; [A] any time */
    _Atomic size_t budget_bytes; /* [A] that all magazines together may hold beyond their start */
};
extern HAK_INTERNAL struct hak_heap_policy hak_heap_policy;

/*
 * The calling thread's magazines as its fast paths see them; never NULL. Points to hak_heap_empty's while it
 * has no heap, and while the process is observed.
 */
extern HAK_INTERNAL _Thread_local struct hak_magazines *hak_thread_magazines;
extern HAK_INTERNAL const struct hak_magazines hak_heap_empty;

struct hak_thread {
    struct hak_heap *heap;             /* NULL: it has none */
    struct hakmem_stat_heap *counters; /* its heap's; NULL: it has none, or is not observed */
    bool is_late;                      /* its heap has been taken away: it is ending */
};
extern HAK_INTERNAL _Thread_local struct hak_thread hak_thread;

/* ---- the fast paths ---- */

/* A block of the class at `offset` (class × 16), or NULL: the magazine is empty. Touches no block. */
HAK_INLINE void *hak_magazine_take(struct hak_magazines *magazines, size_t offset) {
    struct hak_magazine *magazine = (void *)((char *)magazines + offset);
    void **top = magazine->top;
    void *block = *top;
    if (HAK_LIKELY(block != NULL))
        magazine->top = top - 1;
    return block;
}

/* The calling thread's; NULL: take the slow path. */
HAK_INLINE void *hak_magazine_pop(size_t offset) {
    return hak_magazine_take(hak_thread_magazines, offset);
}

/* Takes the block in that unit if it is of these magazines' heap and there is room; else false. */
HAK_INLINE bool hak_magazine_put(struct hak_magazines *magazines, size_t unit, void *p) {
    uint32_t offset = hak_pagemap_tag(unit) ^ magazines->tag;
    if (HAK_UNLIKELY(offset >= HAK_TAG_CLASS_LIMIT))
        return false;
    struct hak_magazine *magazine = (void *)((char *)magazines + offset);
    void **top = magazine->top;
    if (HAK_UNLIKELY(top == magazine->limit))
        return false;
    top[1] = p; /* before the top: a fork in between must not leave an empty slot below it */
    atomic_signal_fence(memory_order_release);
    magazine->top = top + 1;
    return true;
}

/* Takes the block if it is the calling thread's own and there is room; else false: slow path. */
HAK_INLINE bool hak_magazine_push(void *p) {
    size_t unit;
    if (HAK_UNLIKELY(!hak_pagemap_find(p, &unit)))
        return false;
    return hak_magazine_put(hak_thread_magazines, unit, p);
}

/* ---- the slow paths ---- */

/*
 * The heap to work on: the calling thread's, given to it now if it had none. NULL: no memory. In
 * a thread whose destructors have run it is borrowed, and goes back with hak_heap_return().
 */
struct hak_heap *hak_heap_acquire(void);
void hak_heap_return(struct hak_heap *heap);
/* The calling thread's heap, or NULL when it has none; for free, which needs none. */
struct hak_heap *hak_heap_current(void);

/*
 * Observing begins: closes the fast paths. After hak_share_begin(), and while one thread runs: those that
 * come later find them closed.
 */
void hak_heap_close(void);
/* Child of fork: goes on as observed with counters of its own, or as not observed. */
void hak_heap_close_fork_child(void);
/* The calling thread's destructors have run: it gets no heap any more. */
bool hak_heap_is_late(void);

/* Fills the class's magazine and returns one block more. NULL: no memory. */
void *hak_heap_refill(struct hak_heap *heap, unsigned class_index);
/*
 * A block that reads as zero and was never handed out, past the empty magazine; NULL: there is none at
 * hand, refill.
 */
void *hak_heap_take_zeroed(struct hak_heap *heap, unsigned class_index);
/*
 * Frees a block of this heap whose magazine is full: makes room, then keeps the block. Misuse found
 * among the blocks that go back is reported at once (it does not return).
 */
void hak_heap_flush(struct hak_heap *heap, unsigned class_index, void *p, const char *function);
/*
 * Puts blocks back into their slabs. The heap's lock is held; misuse is reported (without the lock)
 * and does not return.
 */
void hak_heap_put(struct hak_heap *heap, unsigned class_index, void *const *blocks, size_t count,
                  const char *function) HAK_REQUIRES(heap->lock);
/*
 * Empties the magazines of blocks larger than `size` bytes, and gives their empty slabs to the pool.
 * The caller is the heap's thread.
 */
void hak_heap_flush_above(struct hak_heap *heap, size_t size);
/*
 * Empties all magazines and gives their storage back, so that the next refill or flush begins anew by the
 * policy of then. The caller is the heap's thread, and changes the policy afterwards: the budget is counted
 * by the sizes at which magazines begin. Start-up only, before prewarming.
 */
void hak_heap_drop_magazines(struct hak_heap *heap);
/*
 * Gathers a block of another heap, to be sent home with others; `tag` is its unit's and names a slab.
 * False: hak_heap_free_remote() has to look at it. No heap's lock is held.
 */
bool hak_heap_gather(const void *p, uint32_t tag);
/* Puts a block of another heap into its slab, under the owner's lock. No heap's lock is held. */
void hak_heap_free_remote(uint32_t owner_id, unsigned class_index, void *p, const char *function);
/*
 * Looks at a block under its owner's lock: block start, handed out, not free. Exact only when no
 * magazine can hold it (checks=1).
 */
enum hak_misuse hak_heap_examine(uint32_t owner_id, unsigned class_index, const void *p);

/*
 * The heap's thread notes that an epoch has passed: sends what it gathered for others, empties
 * magazines that were idle, and half-empties those that were not short of anything.
 */
void hak_heap_note_epoch(struct hak_heap *heap, uint32_t epoch);
/*
 * Fills the class's magazine with at least `count` blocks, as many as a magazine may hold, and keeps
 * them there: returns how many it has. The heap's thread.
 */
size_t hak_heap_prewarm(struct hak_heap *heap, unsigned class_index, size_t count);
/* Refills and flushes of a class in all heaps since the last call. */
uint32_t hak_heap_take_pressure(unsigned class_index);
/* Bytes that all magazines could hold beyond their start. */
size_t hak_heap_budget_used(void);

/*
 * Gives back free pages of slabs that nobody has touched for some epochs, of all heaps in turn; a bounded
 * piece, in one system call where the kernel can. `is_new_epoch`: begins anew with the first heap. False:
 * all heaps have been looked at. One thread at a time.
 */
bool hak_heap_purge_idle(bool is_new_epoch);
/* Slabs held by the thread that purges now. All locks are held. */
size_t hak_heap_purge_held(void);
/* Child of fork: what another thread was purging is as it was. */
void hak_heap_purge_fork_child(void);

/* Empties a few orphans' magazines that nobody has adopted for an epoch. Any thread. */
void hak_heap_reap(uint32_t epoch);

/* Empties the calling thread's magazines and gives empty slabs of all heaps to the pool. */
void hak_heap_trim(void);

struct hak_heap_stats {
    size_t heap_count; /* ever made */
    size_t orphan_count;
    size_t bytes_out; /* bytes in blocks outside the slabs: live + in magazines */
    uint64_t refills;
    uint64_t flushes;
    uint64_t remote_frees;
};
struct hak_heap_stats hak_heap_stats(void);

/* Registers thread exit. Once, at start-up. 0 or an errno value. */
HAK_NODISCARD int hak_heap_init(void);

#endif
