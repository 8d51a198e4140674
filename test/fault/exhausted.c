/* test/fault/exhausted.c — memory is refused for good, and the program goes on. SPDX-License-Identifier: MIT */
/*
 * Goal: a program that lives with NULL can do so for ever: refused allocations cost nothing, and
 * before it sees NULL, everything that the library keeps for later has been used.
 * Method: from some moment on the kernel refuses; what is counted then must not change any more.
 */

#include "fault/workload.h"

enum { EXHAUSTED_PASSES = 40 };

/* One block of each tier and of an alignment that takes an arena of its own; whatever comes is freed. */
static void one_of_each(void) {
    static const size_t sizes[] = {20,       700,           5000,         40 * WORK_KIB,
                                   WORK_MIB, 30 * WORK_MIB, 70 * WORK_MIB};
    struct work_block block;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (work_malloc(&block, sizes[i]))
            work_free(&block);
    }
    if (work_align(&block, 512 * WORK_MIB, 1000))
        work_free(&block);
    if (work_align(&block, 4096 * WORK_MIB, 1000))
        work_free(&block);
}

/* A refusal midway (reserved, not committed) must be undone; once more and once more would add up. */
static void refused_again_and_again(const void *argument) {
    const struct fake_script script = *(const struct fake_script *)argument;
    struct work_block keeper;
    fault_doing("warming up");
    work_malloc(&keeper, 100);
    fake_prim_play(script);
    fault_doing("the first refusals");
    one_of_each();
    size_t mapped = fake_prim_mapped();
    fault_doing("further refusals");
    for (int i = 0; i < EXHAUSTED_PASSES; i++)
        one_of_each();
    g_fault->nulls = atomic_load(&g_work.nulls);
    FAULT_REQUIRE(fake_prim_mapped() <= mapped, "%zu bytes of addresses lost in %d passes",
                  fake_prim_mapped() - mapped, EXHAUSTED_PASSES);
    work_free(&keeper);
    fake_prim_play((struct fake_script){0});
    hakmem_malloc_trim(0);
    work_under((struct fake_script){0});
    FAULT_REQUIRE(g_fault->nulls == 0, "%lu allocations fail after recovery", g_fault->nulls);
    g_fault->nulls = 1;
}

/* Blocks of every class come and go: magazines and spare slabs are left behind. */
static void fill_caches(void) {
    for (size_t size = 16; size <= 64 * WORK_KIB; size += size < WORK_KIB ? 16 : size / 8) {
        struct work_block block;
        if (work_malloc(&block, size))
            work_free(&block);
    }
}

static size_t take_all(size_t size) {
    size_t count = 0;
    void *p;
    while ((p = hakmem_malloc(size)) != NULL) {
        work_slot()->p = p;
        count++;
    }
    return count;
}

/* After a NULL the library has nothing left that malloc_trim() could still turn up. */
static void nothing_kept_back(const void *argument) {
    const size_t size = *(const size_t *)argument;
    fill_caches();
    fake_prim_play((struct fake_script){.series = FAKE_ANY_MEMORY, .first = 1, .count = ULONG_MAX});
    fault_doing("taking all there is");
    size_t count = take_all(size);
    hakmem_malloc_trim(0);
    fault_doing("after malloc_trim");
    size_t more = take_all(size);
    FAULT_REQUIRE(count > 0, "no block at all");
    FAULT_REQUIRE(more == 0, "%zu blocks of %zu bytes, after malloc_trim %zu more", count, size,
                  more);
    for (size_t i = 0; i < g_work.count; i++)
        hakmem_free(g_work.blocks[i].p);
}

/* A smaller block cannot be had, so a block that shrinks stays as it is: no program expects NULL there. */
static void shrinks_without_memory(const void *argument) {
    const size_t size = *(const size_t *)argument;
    const size_t small = 100;
    struct work_block block;
    FAULT_REQUIRE(work_malloc(&block, size), "no block to shrink");
    fake_prim_play((struct fake_script){.series = FAKE_ANY_MEMORY, .first = 1, .count = ULONG_MAX});
    fault_doing("taking all there is");
    take_all(16 * WORK_KIB);
    take_all(small);
    fault_doing("shrinking");
    errno = WORK_ERRNO;
    unsigned char *p = hakmem_realloc(block.p, small);
    FAULT_REQUIRE(p == block.p, "realloc of %zu bytes to %zu: %p, errno %d", size, small, (void *)p,
                  errno);
    work_check(&block);
}

enum { WANT_THREADS = 4, WANT_SLOTS = 96, WANT_OPERATIONS = FAULT_SANITIZED ? 1500 : 6000 };

/* Takes and gives back at random, mostly in vain; some blocks are left for others to free. */
static void *thread_in_want(void *argument) {
    struct work_block *slots = argument;
    uint64_t random = (uint64_t)(slots - g_work.blocks) + 5;
    for (int i = 0; i < WANT_OPERATIONS; i++) {
        struct work_block *slot = &slots[random_next(&random) % WANT_SLOTS];
        if (slot->p && random_next(&random) % 4 == 0)
            work_realloc(slot, 1 + random_size(&random, 19));
        else if (slot->p)
            work_free(slot);
        else
            work_malloc(slot, 1 + random_size(&random, 19));
    }
    return NULL;
}

/* Several threads at once find no memory, trim, and take what others have just freed. */
static void threads_in_want(const void *argument) {
    (void)argument;
    struct work_block keeper;
    work_malloc(&keeper, 100);
    work_free(&keeper);
    fake_prim_play((struct fake_script){.series = FAKE_ANY_MEMORY, .first = 1, .count = ULONG_MAX});
    fault_doing("threads in want");
    for (int round = 0; round < 3; round++) {
        pthread_t threads[WANT_THREADS];
        for (int i = 0; i < WANT_THREADS; i++) {
            int error = pthread_create(&threads[i], NULL, thread_in_want,
                                       &g_work.blocks[(i + round) % WANT_THREADS * WANT_SLOTS]);
            FAULT_REQUIRE(error == 0, "pthread_create: %d", error);
        }
        for (int i = 0; i < WANT_THREADS; i++)
            pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < WANT_THREADS * WANT_SLOTS; i++)
        work_free(&g_work.blocks[i]);
    unsigned long nulls = atomic_load(&g_work.nulls);
    FAULT_REQUIRE(nulls > WANT_THREADS, "only %lu allocations returned NULL", nulls);
    fake_prim_play((struct fake_script){0});
    hakmem_malloc_trim(0);
    work_check_books(0);
    work_under((struct fake_script){0});
    FAULT_REQUIRE(g_fault->nulls == 0, "%lu allocations fail after recovery", g_fault->nulls);
}

/* All that is left goes into a chain: not even the smallest block is to be had. */
static void *chain_all(void) {
    void *chain = NULL;
    void *p;
    while ((p = hakmem_malloc(sizeof chain)) != NULL) {
        memcpy(p, &chain, sizeof chain);
        chain = p;
    }
    return chain;
}

static const struct unshrunk {
    size_t before;
    size_t after;
} g_unshrunk[] = {{900, 1},
                  {20 * WORK_KIB, 100},
                  {500 * WORK_KIB, 2000},
                  {30 * WORK_MIB, 1},
                  {90 * WORK_MIB, 5 * WORK_MIB}};

/*
 * With checks=1: a block that could not be made smaller has, rightly, any size that was asked for. One block a
 * process: the library notes that there was one.
 */
static _Noreturn void unshrunk_is_freed(const struct unshrunk *it) {
    void *block = hakmem_malloc(it->before);
    fake_prim_play((struct fake_script){.series = FAKE_ANY_MEMORY, .first = 1, .count = ULONG_MAX});
    void *chain = chain_all();
    fault_doing("realloc to less without memory");
    FAULT_REQUIRE(hakmem_realloc(block, it->after) == block, "%zu bytes do not stay where they are",
                  it->before);
    fault_doing("a sized free of it");
    hakmem_free_sized(block, it->after);
    while (chain) {
        void *p = chain;
        memcpy(&chain, p, sizeof chain);
        hakmem_free_sized(p, sizeof chain);
    }
    fault_started_end();
}

static void check_unshrunk(void) {
    setenv("HAKMEM_CHECKS", "1", 1);
    for (size_t i = 0; i < sizeof g_unshrunk / sizeof *g_unshrunk; i++) {
        char what[8];
        snprintf(what, sizeof what, "%zu", i);
        bool is_good = fault_start(what, (struct fake_machine){0}, (struct fake_script){0}, 0);
        CHECK(is_good, "%zu bytes that could not be made %zu are freed as that, checks=1%s%s",
              g_unshrunk[i].before, g_unshrunk[i].after, is_good ? "" : ": ", g_fault->text);
    }
    unsetenv("HAKMEM_CHECKS");
}

enum { POOR_THREADS = 24, POOR_FREES = 40 };

static struct {
    pthread_barrier_t barrier;
    _Atomic unsigned nulls; /* threads whose first request got nothing */
} g_poor;

/* Its first call is a free, of the others' blocks, then it asks for one: there may be no memory for a heap. */
static void *poor_thread(void *argument) {
    struct work_block *blocks = argument;
    struct work_block first;
    for (int i = 0; i < POOR_FREES; i++)
        work_free(&blocks[i]);
    bool has_first = work_malloc(&first, 100);
    if (!has_first)
        atomic_fetch_add(&g_poor.nulls, 1);
    size_t prewarmed = hakmem_prewarm(100, 3);
    FAULT_REQUIRE(has_first || prewarmed == 0, "prewarmed %zu blocks in no heap", prewarmed);
    pthread_barrier_wait(&g_poor.barrier); /* all want one of their own */
    if (has_first)
        work_free(&first);
    return NULL;
}

/*
 * Not one unit is free, so neither heaps nor what they are described in can be made. Whoever has none still
 * frees what others allocated.
 */
static void threads_without_heap(const void *argument) {
    const struct fake_script script = *(const struct fake_script *)argument;
    pthread_t threads[POOR_THREADS];
    for (int i = 0; i < POOR_THREADS * POOR_FREES; i++)
        FAULT_REQUIRE(work_malloc(&g_work.blocks[i], 1000), "a block of the main thread's");
    g_work.count = POOR_THREADS * POOR_FREES;
    fake_prim_play(script);
    fault_doing("taking all there is");
    size_t from = g_work.count;
    size_t count = take_all(1000);
    fault_doing("threads without a heap");
    pthread_barrier_init(&g_poor.barrier, NULL, POOR_THREADS);
    for (int i = 0; i < POOR_THREADS; i++) {
        int error = pthread_create(&threads[i], NULL, poor_thread, &g_work.blocks[i * POOR_FREES]);
        FAULT_REQUIRE(error == 0, "pthread_create: %d", error);
    }
    for (int i = 0; i < POOR_THREADS; i++)
        pthread_join(threads[i], NULL);
    unsigned nulls = atomic_load(&g_poor.nulls);
    FAULT_REQUIRE(nulls > 0, "every thread has a heap");
    fault_doing("Big without a table");
    struct work_block big;
    if (work_malloc(&big, 70 * WORK_MIB))
        work_free(&big);
    for (size_t i = from; i < from + count; i++)
        hakmem_free(g_work.blocks[i].p);
    fake_prim_play((struct fake_script){0});
    hakmem_malloc_trim(0);
    work_check_books(0);
    work_under((struct fake_script){0});
    FAULT_REQUIRE(g_fault->nulls == 0, "%lu allocations fail after recovery", g_fault->nulls);
    g_fault->nulls = nulls;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        enum fake_call series;
    } refused[] = {{"map", FAKE_MAP}, {"protect", FAKE_PROTECT}};
    static const size_t sizes[] = {16 * WORK_KIB, 60 * WORK_KIB, 200 * WORK_KIB, WORK_MIB};
    fault_open();
    if (argc == 2)
        unshrunk_is_freed(&g_unshrunk[atoi(argv[1])]);
    check_unshrunk();
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        for (unsigned long first = 1; first <= 4; first++) {
            const struct fake_script script = {
                .series = refused[i].series, .first = first, .count = ULONG_MAX, .error = ENOMEM};
            bool is_good = fault_run(refused_again_and_again, &script);
            CHECK(is_good, "every %s from the %lu. on is refused: nothing adds up%s%s",
                  refused[i].name, first, is_good ? "" : ": ", g_fault->text);
        }
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        bool is_good = fault_run(nothing_kept_back, &sizes[i]);
        CHECK(is_good, "NULL for %zu bytes comes when nothing is kept back%s%s", sizes[i],
              is_good ? "" : ": ", g_fault->text);
    }
    static const size_t shrunk[] = {5000, 60 * WORK_KIB, WORK_MIB, 70 * WORK_MIB};
    for (size_t i = 0; i < sizeof shrunk / sizeof *shrunk; i++) {
        bool is_good = fault_run(shrinks_without_memory, &shrunk[i]);
        CHECK(is_good, "a block of %zu bytes shrinks though there is no memory%s%s", shrunk[i],
              is_good ? "" : ": ", g_fault->text);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const struct fake_script script = {
            .series = i ? FAKE_PROTECT : FAKE_ANY_MEMORY, .first = 1, .count = ULONG_MAX};
        bool is_good = fault_run(threads_without_heap, &script);
        CHECK(is_good, "%s refused: %lu threads without a heap%s%s", i ? "protect" : "all",
              g_fault->nulls, is_good ? "" : ": ", g_fault->text);
    }
    bool is_good = fault_run(threads_in_want, NULL);
    CHECK(is_good, "threads in want of memory leave every block and the books whole%s%s",
          is_good ? "" : ": ", g_fault->text);
    return tap_end();
}
