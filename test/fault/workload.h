/* test/fault/workload.h — a program in small: every tier, every kind of call. SPDX-License-Identifier: MIT */
/*
 * Goal: reach each place that asks the kernel for something, and notice whatever a refusal breaks.
 * Method: one round allocates in every tier, aligns, grows, clears, trades blocks between threads,
 * trims, and frees everything. Each block carries marks of its own that are looked at before it is
 * freed. An allocation may fail only while the kernel refuses something, and then as promised: NULL,
 * ENOMEM, and a block that was to grow stays as it was.
 *
 * Threads work in step (barriers), so a round asks for the same blocks each time.
 */
#ifndef HAKMEM_TEST_WORKLOAD_H
#define HAKMEM_TEST_WORKLOAD_H

#include <hakmem/hakmem.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "fault/fault.h"
#include "promise/patterns.h"

#define WORK_KIB ((size_t)1 << 10)
#define WORK_MIB ((size_t)1 << 20)

enum {
    WORK_SLOTS = 4096,
    WORK_THREADS = 3,
    WORK_ERRNO = 4242, /* no errno value: seen again, nobody wrote */
    WORK_MARKS = 8     /* of a block above 4 KiB: each costs an OS page */
};

struct work_block {
    unsigned char *p;
    size_t size;
    uint64_t seed;
};

static struct {
    struct work_block blocks[WORK_SLOTS];
    size_t count;
    uint64_t random;
    _Atomic unsigned long nulls;
    _Atomic uint64_t next_seed;
    bool has_epochs;     /* work_under() lets epochs pass as well; the clock must stand still */
    bool has_no_threads; /* the order of calls is the same each time */
} g_work;

/* ---- marks ---- */

static inline size_t work_stride(size_t size) {
    return size <= 4 * WORK_KIB ? 1 : size / WORK_MARKS;
}

static inline void work_mark(const struct work_block *block) {
    pattern_fill_sparse(block->p, block->size, block->seed, work_stride(block->size));
    if (block->size > 0)
        block->p[block->size - 1] = pattern_byte(block->seed, block->size - 1);
}

static inline void work_check(const struct work_block *block) {
    bool holds =
        pattern_holds_sparse(block->p, block->size, block->seed, work_stride(block->size)) &&
        (block->size == 0 ||
         block->p[block->size - 1] == pattern_byte(block->seed, block->size - 1));
    FAULT_REQUIRE(holds, "a block of %zu bytes at %p lost its contents", block->size,
                  (void *)block->p);
}

/* ---- one block ---- */

/* A call returned NULL: only rightly so if the kernel refused something since `failures`. */
static inline void work_null(const char *call, size_t size, size_t align, int error,
                             unsigned long failures) {
    FAULT_REQUIRE(error == ENOMEM, "%s(%zu, align %zu): NULL with errno %d", call, size, align,
                  error);
    FAULT_REQUIRE(fake_prim_failures(FAKE_ANY) > failures,
                  "%s(%zu, align %zu): NULL, and the kernel refused nothing", call, size, align);
    atomic_fetch_add(&g_work.nulls, 1);
}

static inline bool work_adopt(struct work_block *block, const char *call, void *p, size_t size,
                              size_t align, int error, unsigned long failures) {
    *block = (struct work_block){p, size, atomic_fetch_add(&g_work.next_seed, 1)};
    if (p == NULL) {
        work_null(call, size, align, error, failures);
        return false;
    }
    FAULT_REQUIRE(is_aligned(p, align), "%s(%zu, align %zu) = %p", call, size, align, p);
    FAULT_REQUIRE(hakmem_malloc_usable_size(p) >= size, "%s(%zu): usable size is less", call, size);
    work_mark(block);
    return true;
}

static inline bool work_malloc(struct work_block *block, size_t size) {
    unsigned long failures = fake_prim_failures(FAKE_ANY);
    errno = WORK_ERRNO;
    void *p = hakmem_malloc(size);
    return work_adopt(block, "malloc", p, size, 16, errno, failures);
}

static inline bool work_align(struct work_block *block, size_t align, size_t size) {
    unsigned long failures = fake_prim_failures(FAKE_ANY);
    void *p = NULL;
    if (size % 2 == 0) {
        errno = WORK_ERRNO;
        p = hakmem_aligned_alloc(align, size);
        return work_adopt(block, "aligned_alloc", p, size, align, errno, failures);
    }
    int error = hakmem_posix_memalign(&p, align, size);
    FAULT_REQUIRE((error == 0) == (p != NULL), "posix_memalign: %d with %p", error, p);
    return work_adopt(block, "posix_memalign", p, size, align, error, failures);
}

static inline bool work_calloc(struct work_block *block, size_t size) {
    unsigned long failures = fake_prim_failures(FAKE_ANY);
    errno = WORK_ERRNO;
    unsigned char *p = hakmem_calloc(1, size);
    int error = errno;
    for (size_t i = 0; p && i < size; i += work_stride(size))
        FAULT_REQUIRE(p[i] == 0, "calloc(%zu): byte %zu is not 0", size, i);
    return work_adopt(block, "calloc", p, size, 16, error, failures);
}

/* Grows or shrinks; on failure the block must be what it was. */
static inline void work_realloc(struct work_block *block, size_t size) {
    unsigned long failures = fake_prim_failures(FAKE_ANY);
    work_check(block);
    errno = WORK_ERRNO;
    unsigned char *p = hakmem_realloc(block->p, size);
    if (p == NULL) {
        work_null("realloc", size, 16, errno, failures);
        work_check(block);
        return;
    }
    size_t kept = size < block->size ? size : block->size;
    block->p = p;
    FAULT_REQUIRE(hakmem_malloc_usable_size(p) >= size, "realloc(%zu): usable size is less", size);
    for (size_t i = 0; i < kept; i += work_stride(block->size))
        FAULT_REQUIRE(p[i] == pattern_byte(block->seed, i), "realloc(%zu): byte %zu is lost", size,
                      i);
    block->size = size;
    work_mark(block);
}

static inline void work_free(struct work_block *block) {
    if (block->p == NULL)
        return;
    work_check(block);
    errno = WORK_ERRNO;
    hakmem_free(block->p);
    FAULT_REQUIRE(errno == WORK_ERRNO, "free(%zu bytes) wrote errno", block->size);
    block->p = NULL;
}

/* ---- many blocks ---- */

static inline struct work_block *work_slot(void) {
    FAULT_REQUIRE(g_work.count < WORK_SLOTS, "the workload has too few slots");
    struct work_block *block = &g_work.blocks[g_work.count++];
    block->p = NULL;
    return block;
}

static inline size_t work_between(size_t low, size_t high) {
    return low + (size_t)(random_next(&g_work.random) % (high - low + 1));
}

static inline void work_tier(const char *what, int count, size_t low, size_t high) {
    fault_doing(what);
    for (int i = 0; i < count; i++) {
        size_t size = work_between(low, high);
        if (i % 3 == 2)
            work_calloc(work_slot(), size);
        else
            work_malloc(work_slot(), size);
    }
}

/* Blocks that may lie where others were: to clear them would touch, and so make, each OS page. */
static inline void work_tier_again(const char *what, int count, size_t low, size_t high) {
    fault_doing(what);
    for (int i = 0; i < count; i++)
        work_malloc(work_slot(), work_between(low, high));
}

/* Frees every block whose number leaves `rest` when divided by `step`. */
static inline void work_free_some(size_t step, size_t rest) {
    fault_doing("free");
    for (size_t i = rest; i < g_work.count; i += step)
        work_free(&g_work.blocks[i]);
}

/* ---- parts of a round ---- */

static inline void work_alignments(void) {
    fault_doing("alignment");
    for (size_t align = 32; align <= 4 * WORK_MIB; align *= 2)
        work_align(work_slot(), align, align / 2 + 1 + align / 32 % 2);
    work_align(work_slot(), 64 * WORK_MIB, 100 * WORK_KIB);
    work_align(work_slot(), 2048 * WORK_MIB, 1); /* Big, however small */
}

/*
 * Two blocks that become Big and then grow by turns: past each other, so they are moved, and in place.
 * A third is Big from the start and has something behind it at once.
 */
static inline void work_big_growth(void) {
    fault_doing("growth of Big");
    struct work_block *blocks[] = {work_slot(), work_slot(), work_slot()};
    work_malloc(blocks[0], 3 * WORK_MIB);
    work_malloc(blocks[1], 60 * WORK_KIB);
    work_malloc(blocks[2], 65 * WORK_MIB);
    for (size_t size = 5 * WORK_MIB; size < 80 * WORK_MIB; size += size / 3 / 16 * 16) {
        for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
            if (blocks[i]->p)
                work_realloc(blocks[i], i == 2 ? size + 60 * WORK_MIB : size);
        }
    }
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        if (blocks[i]->p)
            work_realloc(blocks[i], 12 * WORK_MIB); /* less than half: the end goes back */
        if (blocks[i]->p)
            work_realloc(blocks[i], i == 1 ? WORK_MIB : 14 * WORK_MIB);
    }
}

static inline void work_growth(void) {
    fault_doing("realloc growth");
    struct work_block *block = work_slot();
    if (!work_malloc(block, 1))
        return;
    for (size_t size = 24; size <= 300 * WORK_KIB; size = size * 2 - size / 8)
        work_realloc(block, size);
    work_realloc(block, 66 * WORK_MIB); /* Big from here on */
    work_realloc(block, 65 * WORK_MIB);
    work_realloc(block, 90 * WORK_KIB);
    work_realloc(block, 100);
    work_big_growth();
}

struct work_thread {
    pthread_t id;
    int number;
    pthread_barrier_t *barrier;
    struct work_block blocks[200];
    struct work_thread *neighbour;
};

/* Allocates, frees the neighbour's, allocates again, and leaves some for whoever joins it. */
static inline void *work_thread_main(void *argument) {
    struct work_thread *self = argument;
    enum { COUNT = sizeof self->blocks / sizeof *self->blocks };
    uint64_t random = (uint64_t)self->number + 77;
    for (int i = 0; i < COUNT; i++) {
        size_t size = 1 + random_size(&random, i % 16 == 0 ? 18 : 11);
        work_malloc(&self->blocks[i], size);
    }
    pthread_barrier_wait(self->barrier);
    for (int i = 0; i < COUNT; i += 2)
        work_free(&self->neighbour->blocks[i]);
    pthread_barrier_wait(self->barrier);
    for (int i = 0; i < COUNT; i += 4)
        work_malloc(&self->blocks[i], 1 + random_size(&random, 12));
    pthread_barrier_wait(self->barrier);
    return NULL;
}

static inline void work_threads(void) {
    if (g_work.has_no_threads)
        return;
    fault_doing("threads");
    static struct work_thread threads[WORK_THREADS];
    pthread_barrier_t barrier;
    pthread_attr_t attributes;
    pthread_barrier_init(&barrier, NULL, WORK_THREADS);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 256 * WORK_KIB);
    memset(threads, 0, sizeof threads);
    for (int i = 0; i < WORK_THREADS; i++) {
        struct work_thread *thread = &threads[i];
        thread->number = i;
        thread->barrier = &barrier;
        thread->neighbour = &threads[(i + 1) % WORK_THREADS];
        int error = pthread_create(&thread->id, &attributes, work_thread_main, thread);
        FAULT_REQUIRE(error == 0, "pthread_create: %d", error);
    }
    for (int i = 0; i < WORK_THREADS; i++)
        pthread_join(threads[i].id, NULL);
    for (int i = 0; i < WORK_THREADS; i++) {
        for (size_t k = 0; k < sizeof threads[i].blocks / sizeof *threads[i].blocks; k++)
            work_free(&threads[i].blocks[k]);
    }
    pthread_attr_destroy(&attributes);
    pthread_barrier_destroy(&barrier);
}

static inline void work_trim(void) {
    fault_doing("malloc_trim");
    hakmem_malloc_trim(0);
    for (size_t i = 0; i < g_work.count; i++) {
        if (g_work.blocks[i].p)
            work_check(&g_work.blocks[i]);
    }
}

/* One round; returns how many allocations failed. Everything is free at its end. */
static inline unsigned long work_round(void) {
    unsigned long before = atomic_load(&g_work.nulls);
    g_work.random = 20240229;
    g_work.count = 0;
    work_tier("Tiny", 400, 0, 1024);
    work_tier("Mid", 50, 1025, 64 * WORK_KIB);
    work_tier("Large", 10, 64 * WORK_KIB + 1, 5 * WORK_MIB);
    work_tier("Big", 12, 64 * WORK_MIB + 1, 130 * WORK_MIB);
    work_alignments();
    work_threads();
    work_free_some(2, 0);
    work_trim();
    work_growth();
    work_tier("Tiny again", 300, 0, 1024);
    work_tier("Mid again", 40, 1025, 64 * WORK_KIB);
    work_tier("Large, the largest", 1, 64 * WORK_MIB, 64 * WORK_MIB);
    work_free_some(3, 1);
    work_threads();
    work_tier("Large again", 5, 64 * WORK_KIB + 1, 5 * WORK_MIB);
    work_tier_again("Big again", 9, 64 * WORK_MIB + 1, 90 * WORK_MIB);
    work_free_some(1, 0);
    work_trim();
    return atomic_load(&g_work.nulls) - before;
}

/* Slow paths enough for a look at the clock, half a second later. */
static inline void work_epoch(void) {
    fake_prim_advance_clock(500);
    for (int i = 0; i < 10; i++) {
        struct work_block block;
        if (work_malloc(&block, 300 * WORK_KIB))
            work_free(&block);
    }
}

/*
 * Time passes: slabs with survivors are idle, spans of both lanes are not wanted again, Big mappings are kept
 * for a while; each turn asks the kernel for all of it anew.
 */
static inline void work_epochs(void) {
    enum { TURNS = 24 };
    for (int turn = 0; turn < TURNS; turn++) {
        g_work.count = 0;
        work_tier("blocks that will be idle", 60, 3000, 60 * WORK_KIB);
        work_tier("Large of the plain lane", 6, 300 * WORK_KIB, WORK_MIB);
        work_tier("Large of the huge lane", 6, 2 * WORK_MIB, 9 * WORK_MIB);
        work_tier("Big, kept", 2, 64 * WORK_MIB + 1, 70 * WORK_MIB);
        size_t count = g_work.count;
        for (size_t i = 0; i < count; i++) {
            if (i % 20 != 0)
                work_free(&g_work.blocks[i]);
        }
        fault_doing("epochs");
        for (int i = 0; i < 8; i++)
            work_epoch();
        work_free_some(1, 0);
        work_trim();
    }
}

/*
 * Whatever the kernel refused before: each unit and block is in one place, and all counts agree. No other
 * thread works. The check needs memory for notes, which a limit may refuse.
 */
static inline void work_check_everything(void) {
    fault_doing("hakmem_check");
    unsigned long failures = fake_prim_failures(FAKE_ANY);
    int problems = hakmem_check(HAKMEM_CHECK_QUIESCENT | HAKMEM_CHECK_WAIT, NULL, 0);
    bool is_refused = problems == -ENOMEM && fake_prim_failures(FAKE_ANY) > failures;
    FAULT_REQUIRE(problems == 0 || is_refused, "it says %d", problems);
}

/* After a round without failures: nothing is in use and nothing waits to be given back. */
static inline void work_check_books(size_t in_use_at_start) {
    fault_doing("the books");
    struct mallinfo2 info = hakmem_mallinfo2();
    FAULT_REQUIRE(info.uordblks == in_use_at_start, "%zu bytes in use after all was freed, not %zu",
                  info.uordblks, in_use_at_start);
    FAULT_REQUIRE(info.hblks == 0 && info.hblkhd == 0,
                  "%zu Big blocks, %zu bytes after all was freed", info.hblks, info.hblkhd);
    FAULT_REQUIRE(info.keepcost == 0, "%zu free bytes not given back by malloc_trim",
                  info.keepcost);
    work_check_everything();
}

/*
 * The highest alignment of Large. Not part of a round: an arena has a place or two so aligned, and
 * which rounds find them free is chance.
 */
static inline void work_highest_alignment(void) {
    struct work_block blocks[2];
    fault_doing("the highest alignment");
    work_malloc(&blocks[0], 24);
    work_align(&blocks[1], 1024 * WORK_MIB, 100 * WORK_KIB + 1);
    work_free(&blocks[0]);
    work_free(&blocks[1]);
}

/*
 * A round under the script, then the kernel recovers: all must be as if nothing had happened, but
 * for address space that a refused unmap lost. Of that, another round must not need more.
 */
static inline void work_under(struct fake_script script) {
    size_t in_use = hakmem_mallinfo2().uordblks;
    unsigned long nulls_before = atomic_load(&g_work.nulls);
    fake_prim_play(script);
    work_highest_alignment();
    work_round();
    if (g_work.has_epochs)
        work_epochs();
    g_fault->nulls = atomic_load(&g_work.nulls) - nulls_before;
    for (int i = 0; i < FAKE_SERIES_COUNT; i++)
        g_fault->calls[i] = fake_prim_calls((enum fake_call)i);

    fake_prim_play((struct fake_script){0});
    work_check_everything();
    unsigned long nulls = work_round();
    FAULT_REQUIRE(nulls == 0, "%lu allocations fail after recovery", nulls);
    work_check_books(in_use);
    size_t mapped = fake_prim_mapped();
    size_t peak = fake_prim_mapped_peak();
    work_round();
    work_check_books(in_use);
    fault_doing("the round after recovery");
    FAULT_REQUIRE(fake_prim_mapped() <= mapped, "%zu bytes of addresses more",
                  fake_prim_mapped() - mapped);
    FAULT_REQUIRE(fake_prim_mapped_peak() <= peak, "%zu bytes of addresses more at the peak",
                  fake_prim_mapped_peak() - peak);
}

#endif
