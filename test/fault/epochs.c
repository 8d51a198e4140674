/* test/fault/epochs.c — epochs as a program meets them: in its slow paths. SPDX-License-Identifier: MIT */
/*
 * Goal: what a program does not use goes back to the kernel one to two epochs later, from slow paths of
 * malloc and of free alike, in bounded pieces, in few calls, by one thread at a time; nothing hangs when
 * the kernel refuses.
 * Method: the clock stands still and is moved by hand; the ledger tells what each single call cost.
 */

#include <pthread.h>

#include "arena/pool.h"
#include "fault/workload.h"
#include "heap/heap.h"
#include "large/big.h"
#include "stats/ledger.h"
#include "vm/vm.h"

enum {
    EPOCH_MS = 500,
    EPOCH_CALLS = 16,         /* slow paths per look at the clock */
    EPOCH_PIECE_MAX = 66,     /* MiB given back in one slow path: 64, in huge pages */
    EPOCH_CALLS_PER_GIB = 50, /* madvise and process_madvise */
    EPOCH_LARGE = 300 * 1024, /* bytes: each malloc and free is a slow path */
    EPOCH_BLOCKS = 16384
};

static struct work_block g_blocks[EPOCH_BLOCKS];

struct calls {
    uint64_t count;
    uint64_t bytes;
};

/* madvise and process_madvise of a cause. */
static struct calls calls_for(enum hak_cause cause) {
    struct hak_ledger_cell single = hak_ledger_read(HAK_CALL_MADVISE, cause);
    struct hak_ledger_cell many = hak_ledger_read(HAK_CALL_PROCESS_MADVISE, cause);
    return (struct calls){single.count + many.count, single.bytes + many.bytes};
}

static size_t given_back(void) {
    return hak_pool_stats().free_zeroed;
}

static void take(size_t count, size_t size) {
    for (size_t i = 0; i < count; i++)
        FAULT_REQUIRE(work_malloc(&g_blocks[i], size), "no memory");
}

static void give(size_t count) {
    for (size_t i = 0; i < count; i++)
        work_free(&g_blocks[i]);
}

/* Enough slow paths for a look at the clock: mallocs or frees. */
static void tick_by(bool is_malloc) {
    static struct work_block blocks[EPOCH_CALLS];
    for (int i = 0; i < EPOCH_CALLS; i++) {
        if (is_malloc)
            FAULT_REQUIRE(work_malloc(&blocks[i], EPOCH_LARGE), "no memory");
        else
            work_free(&blocks[i]);
    }
}

static void epoch_passes(void) {
    fake_prim_advance_clock(EPOCH_MS);
    tick_by(true);
    tick_by(false);
}

/* ---- who ends epochs ---- */

static void ends_by_malloc(const void *argument) {
    (void)argument;
    take(200, WORK_MIB);
    give(200);
    FAULT_REQUIRE(given_back() == 0, "given back at once");
    for (int epoch = 1; epoch <= 3; epoch++) {
        static struct work_block more[4][EPOCH_CALLS];
        fake_prim_advance_clock(EPOCH_MS);
        for (int i = 0; i < EPOCH_CALLS; i++)
            work_malloc(&more[epoch][i], EPOCH_LARGE);
        if (epoch == 1)
            FAULT_REQUIRE(given_back() == 0, "given back after less than an epoch");
    }
    FAULT_REQUIRE(given_back() > 0, "nothing went back");
}

static void ends_by_free(const void *argument) {
    (void)argument;
    take(600, WORK_MIB);
    give(200);
    size_t refused_frees = given_back();
    for (size_t i = 200; i < 600; i++) { /* from here on nothing is allocated */
        if (i % EPOCH_CALLS == 0)
            fake_prim_advance_clock(EPOCH_MS);
        work_free(&g_blocks[i]);
    }
    FAULT_REQUIRE(refused_frees == 0 && given_back() > 100 * WORK_MIB, "%zu MiB went back",
                  given_back() / WORK_MIB);
}

/* Nobody looks at the clock more often than promised, and without time nothing happens. */
static void stands_still(const void *argument) {
    (void)argument;
    take(200, WORK_MIB);
    give(200);
    fake_prim_play((struct fake_script){0});
    for (int i = 0; i < 1000; i++) {
        tick_by(true);
        tick_by(false);
    }
    unsigned long calls = fake_prim_calls(FAKE_PURGE) + fake_prim_calls(FAKE_PURGE_RANGES);
    FAULT_REQUIRE(calls == 0, "%lu calls without an epoch", calls);
}

/* ---- the limit of the control group, before any epoch ---- */

/* Free memory that was not given back. */
static size_t kept(void) {
    struct hak_pool_stats pool = hak_pool_stats();
    return pool.free - pool.free_zeroed + hak_big_stats().cached_bytes;
}

/*
 * Large and Big by turns, neither of which can have what the other one left: what is in use is never more
 * than five eighths of the limit, and what is kept besides must leave the program the rest.
 */
static void heeds_group(const void *argument) {
    const size_t limit = *(const size_t *)argument;
    const size_t allowed = limit / 16 > 16 * WORK_MIB ? limit / 16 : 16 * WORK_MIB;
    const size_t large = limit / 8 < 60 * WORK_MIB ? limit / 8 : 60 * WORK_MIB;
    size_t most = 0;
    fake_prim_limit_group(limit);
    for (int i = 0; i < 60; i++) {
        struct work_block *block = &g_blocks[i % 4];
        work_free(block);
        FAULT_REQUIRE(work_malloc(block, i % 7 < 3 ? large : 70 * WORK_MIB), "no memory");
        size_t in_use = hak_pool_used_units() * HAK_UNIT_SIZE + hak_big_stats().bytes;
        size_t now = kept();
        most = now > most ? now : most;
        FAULT_REQUIRE(in_use + now <= limit - limit / 4 || now <= allowed,
                      "%zu MiB in use, %zu kept of %zu", in_use / WORK_MIB, now / WORK_MIB,
                      limit / WORK_MIB);
    }
    g_fault->nulls = most / WORK_MIB;
    unsigned long calls = fake_prim_calls(FAKE_READ_FILE);
    FAULT_REQUIRE(calls <= 4, "the limit was looked up by %lu reads", calls);
    for (int i = 0; i < 4; i++)
        work_free(&g_blocks[i]);
    fake_prim_limit_group(0);
    hakmem_malloc_trim(0);
    work_check_books(0);
}

/* The kernel takes nothing back: it is asked a few times, not at each call. */
static void heeds_group_refused(const void *argument) {
    const struct fake_script script = *(const struct fake_script *)argument;
    fake_prim_limit_group(128 * WORK_MIB);
    fake_prim_play(script);
    for (int i = 0; i < 200; i++) {
        take(100, WORK_MIB);
        give(100);
    }
    unsigned long asked = fake_prim_calls(FAKE_PURGE) + fake_prim_calls(FAKE_PURGE_RANGES);
    g_fault->nulls = asked;
    FAULT_REQUIRE(asked > 0 && asked <= 40, "%lu calls", asked);
    fake_prim_play((struct fake_script){0});
    fake_prim_limit_group(0);
    hakmem_malloc_trim(0);
    work_check_books(0);
}

/* What magazines and the Big cache may keep follows the limit from the next epoch on. */
static void keeps_share_of_group(const void *argument) {
    const size_t limit = 256 * WORK_MIB;
    (void)argument;
    fake_prim_limit_group(limit);
    take(32, WORK_MIB); /* a process with less in use does not look the limit up */
    epoch_passes();
    epoch_passes();
    size_t budget = atomic_load(&hak_heap_policy.budget_bytes);
    size_t cache = atomic_load(&hak_big_policy.cache_bytes_max);
    FAULT_REQUIRE(budget == limit / 16, "magazines may hold %zu MiB", budget / WORK_MIB);
    FAULT_REQUIRE(cache == limit / 16, "the Big cache may hold %zu MiB", cache / WORK_MIB);
    give(32);
}

/* No file says which group it is: there is no limit then, and nothing to be asked again. */
static void group_unknown(const void *argument) {
    (void)argument;
    fake_prim_play((struct fake_script){
        .series = FAKE_READ_FILE, .first = 1, .count = ULONG_MAX, .error = ENOENT});
    for (int i = 0; i < 20; i++) {
        take(200, WORK_MIB);
        give(200);
    }
    FAULT_REQUIRE(kept() >= 200 * WORK_MIB, "%zu MiB kept before any epoch", kept() / WORK_MIB);
    FAULT_REQUIRE(fake_prim_calls(FAKE_READ_FILE) == 1, "%lu reads",
                  fake_prim_calls(FAKE_READ_FILE));
    fake_prim_play((struct fake_script){0});
    hakmem_malloc_trim(0);
    work_check_books(0);
}

/* ---- bounded pieces, few calls ---- */

struct burst {
    const char *what;
    size_t size;
    size_t count;
    size_t survivors; /* one of so many; 0: none */
};

/* Frees a GiB, lets epochs pass until all that can went back, and watches each single call. */
static void gives_back_in_pieces(const void *argument) {
    const struct burst *burst = argument;
    struct calls most = {0, 0};
    fault_doing("a burst of a GiB");
    take(burst->count, burst->size);
    for (size_t i = 0; i < burst->count; i++) {
        if (burst->survivors == 0 || i % burst->survivors != 0)
            work_free(&g_blocks[i]);
    }
    if (hak_heap_current())
        hak_heap_flush_above(hak_heap_current(), 0); /* nothing waits in magazines */
    struct calls before = calls_for(HAK_CAUSE_EPOCH);
    size_t in_use = hakmem_mallinfo2().uordblks;
    size_t freed = burst->size * burst->count - in_use;
    fault_doing("giving back");
    for (int epoch = 0; epoch < 8; epoch++) {
        fake_prim_advance_clock(EPOCH_MS);
        for (int i = 0; i < 4 * EPOCH_CALLS; i++) {
            struct work_block block;
            struct calls now = calls_for(HAK_CAUSE_EPOCH);
            work_malloc(&block, EPOCH_LARGE);
            struct calls then = calls_for(HAK_CAUSE_EPOCH);
            if (then.bytes - now.bytes > most.bytes)
                most.bytes = then.bytes - now.bytes;
            if (then.count - now.count > most.count)
                most.count = then.count - now.count;
            work_free(&block);
        }
    }
    struct calls after = calls_for(HAK_CAUSE_EPOCH);
    uint64_t calls = after.count - before.count;
    uint64_t bytes = after.bytes - before.bytes;
    g_fault->nulls = calls;
    FAULT_REQUIRE(bytes >= freed / 10 * 9, "%zu of %zu MiB went back, in %zu calls",
                  (size_t)bytes / WORK_MIB, freed / WORK_MIB, (size_t)calls);
    FAULT_REQUIRE(calls * 1024 <= EPOCH_CALLS_PER_GIB * (freed / WORK_MIB + 64), "%zu calls",
                  (size_t)calls);
    /* The tick pays one piece of the pool's and one of the slabs'. */
    FAULT_REQUIRE(most.count <= 4, "%zu calls in one slow path", (size_t)most.count);
    if (burst->survivors == 0)
        FAULT_REQUIRE(most.bytes <= 2 * EPOCH_PIECE_MAX * WORK_MIB, "%zu MiB in one slow path",
                      (size_t)most.bytes / WORK_MIB);
    fault_doing("the books");
    give(burst->count);
    hakmem_malloc_trim(0);
    work_check_books(0);
}

/* ---- several threads ---- */

static struct {
    _Atomic unsigned inside;
    _Atomic unsigned overlaps;
    _Atomic bool is_over;
    _Atomic bool has_run;
} g_watch;

static void *thread_that_pays(void *argument) {
    struct work_block *block = argument;
    for (int i = 0; i < 4; i++) {
        work_malloc(block, EPOCH_LARGE);
        work_free(block);
    }
    return NULL;
}

/* Another thread comes by while this one is in the kernel with the first piece. */
static void hook_pay_elsewhere(void) {
    static struct work_block block;
    pthread_t thread;
    if (atomic_exchange(&g_watch.has_run, true))
        return;
    size_t debt = hak_pool_debt();
    FAULT_REQUIRE(debt > 0, "nothing is owed");
    FAULT_REQUIRE(pthread_create(&thread, NULL, thread_that_pays, &block) == 0, "pthread_create");
    pthread_join(thread, NULL);
    /* The thread used some units itself; these are owed no more. */
    FAULT_REQUIRE(hak_pool_debt() <= debt && hak_pool_debt() >= debt - 2 * WORK_MIB,
                  "the debt was %zu MiB and is %zu", debt / WORK_MIB, hak_pool_debt() / WORK_MIB);
}

static void debt_stands(const void *argument) {
    (void)argument;
    take(512, WORK_MIB);
    give(512);
    fake_prim_on(FAKE_PURGE, hook_pay_elsewhere);
    fake_prim_on(FAKE_PURGE_RANGES, hook_pay_elsewhere);
    for (int i = 0; i < 4; i++)
        epoch_passes();
    FAULT_REQUIRE(atomic_load(&g_watch.has_run), "nothing was purged");
    FAULT_REQUIRE(given_back() > 400 * WORK_MIB, "only %zu MiB went back", given_back() / WORK_MIB);
}

/* Slabs with survivors, and nothing else to purge. */
static void make_idle_slabs(void) {
    enum { COUNT = 4000, STEP = 50 };
    take(COUNT, 3000);
    for (int i = 0; i < COUNT; i++) {
        if (i % STEP)
            work_free(&g_blocks[i]);
    }
    hakmem_malloc_trim(0);
}

static void *thread_of_an_hour_later(void *argument) {
    fake_prim_advance_clock(3600000);
    for (int i = 0; i < 4 * EPOCH_CALLS; i++)
        thread_that_pays(argument);
    return NULL;
}

/* The process was stopped in the middle of an epoch's work, for long; its other threads go on first. */
static void hook_stopped(void) {
    static struct work_block block;
    pthread_t thread;
    if (atomic_fetch_add(&g_watch.inside, 1) > 0)
        atomic_fetch_add(&g_watch.overlaps, 1);
    if (!atomic_exchange(&g_watch.has_run, true)) {
        FAULT_REQUIRE(pthread_create(&thread, NULL, thread_of_an_hour_later, &block) == 0,
                      "pthread_create");
        pthread_join(thread, NULL);
    }
    atomic_fetch_sub(&g_watch.inside, 1);
}

static void one_at_a_time(const void *argument) {
    (void)argument;
    make_idle_slabs();
    fake_prim_on(FAKE_PURGE_RANGES, hook_stopped);
    for (int i = 0; i < 8; i++)
        epoch_passes();
    FAULT_REQUIRE(atomic_load(&g_watch.has_run), "nothing was purged");
    FAULT_REQUIRE(atomic_load(&g_watch.overlaps) == 0, "two threads purge slabs at a time");
    give(4000);
    hakmem_malloc_trim(0);
    work_check_books(0);
}

/* ---- a fork while a thread is in the kernel ---- */

static struct work_block g_child_blocks[200];
enum { CHILD_BLOCKS = sizeof g_child_blocks / sizeof *g_child_blocks };

/* Nobody is at the epoch's work any more. */
static void child_ends_epochs(void) {
    size_t before = given_back();
    for (int i = 0; i < CHILD_BLOCKS; i++)
        FAULT_REQUIRE(work_malloc(&g_child_blocks[i], WORK_MIB), "no memory");
    for (int i = 0; i < CHILD_BLOCKS; i++)
        work_free(&g_child_blocks[i]);
    for (int i = 0; i < 4; i++)
        epoch_passes();
    FAULT_REQUIRE(given_back() > before + 100 * WORK_MIB, "no epoch ends");
}

/* What was on its way to the kernel is here, as it was: no OS page of it reads as zero. */
static void child_clears(void) {
    for (int i = 0; i < CHILD_BLOCKS; i++) {
        const unsigned char *p = hakmem_calloc(1, WORK_MIB);
        FAULT_REQUIRE(p != NULL, "no memory");
        for (size_t at = 0; at < WORK_MIB; at += 4096)
            FAULT_REQUIRE(p[at] == 0, "calloc: byte %zu is not zero", at);
    }
}

static void (*g_in_child)(void);

static void *thread_that_forks(void *argument) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(FAULT_ALARM_S);
        fake_prim_on(FAKE_PURGE_RANGES, NULL);
        g_in_child();
        _exit(0);
    }
    int status = -1;
    FAULT_REQUIRE(waitpid(child, &status, 0) == child && status == 0, "the child: status %#x",
                  (unsigned)status);
    return argument;
}

static void hook_fork_elsewhere(void) {
    pthread_t thread;
    if (atomic_exchange(&g_watch.has_run, true))
        return;
    FAULT_REQUIRE(pthread_create(&thread, NULL, thread_that_forks, NULL) == 0, "pthread_create");
    pthread_join(thread, NULL);
}

static void fork_amid_purge(void (*in_child)(void)) {
    g_in_child = in_child;
    fake_prim_on(FAKE_PURGE_RANGES, hook_fork_elsewhere);
    for (int i = 0; i < 8; i++)
        epoch_passes();
    FAULT_REQUIRE(atomic_load(&g_watch.has_run), "nothing was purged");
}

static void goes_on_in_child(const void *argument) {
    (void)argument;
    make_idle_slabs();
    fork_amid_purge(child_ends_epochs);
    give(4000);
    hakmem_malloc_trim(0);
    work_check_books(0);
}

static void is_not_clean_in_child(const void *argument) {
    (void)argument;
    for (int i = 0; i < CHILD_BLOCKS; i++) {
        g_child_blocks[i].p = hakmem_malloc(WORK_MIB);
        FAULT_REQUIRE(g_child_blocks[i].p != NULL, "no memory");
        for (size_t at = 0; at < WORK_MIB; at += 4096)
            g_child_blocks[i].p[at] = 0xdf;
    }
    for (int i = 0; i < CHILD_BLOCKS; i++)
        hakmem_free(g_child_blocks[i].p);
    fork_amid_purge(child_clears);
}

/* ---- many threads ---- */

enum { EPOCHS_UNDER_LOAD = FAULT_SANITIZED ? 300 : 2000 };

static void *thread_that_churns(void *argument) {
    struct work_block *blocks = argument;
    uint64_t random = (uintptr_t)argument | 1;
    enum { SLOTS = 200 };
    while (!atomic_load(&g_watch.is_over)) {
        struct work_block *block = &blocks[random_next(&random) % SLOTS];
        if (block->p)
            work_free(block);
        else
            work_malloc(block, 1 + random_size(&random, 21));
    }
    for (int i = 0; i < SLOTS; i++)
        work_free(&blocks[i]);
    FAULT_REQUIRE(hak_heap_current()->epoch <= EPOCHS_UNDER_LOAD, "%u epochs in the time of %d",
                  hak_heap_current()->epoch, (int)EPOCHS_UNDER_LOAD);
    return NULL;
}

/* Epochs as fast as the threads allow, some of the kernel's answers refusals. */
static void epochs_under_load(const void *argument) {
    enum { THREADS = 4 };
    static struct work_block blocks[THREADS][200];
    pthread_t threads[THREADS];
    fault_doing("threads and epochs");
    work_malloc(&g_blocks[0], 100);
    fake_prim_play(*(const struct fake_script *)argument);
    for (int i = 0; i < THREADS; i++)
        FAULT_REQUIRE(pthread_create(&threads[i], NULL, thread_that_churns, blocks[i]) == 0,
                      "pthread_create");
    for (int i = 0; i < EPOCHS_UNDER_LOAD; i++) {
        fake_prim_advance_clock(EPOCH_MS);
        usleep(500);
    }
    atomic_store(&g_watch.is_over, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    g_fault->nulls = fake_prim_calls(FAKE_PURGE) + fake_prim_calls(FAKE_PURGE_RANGES);
    fake_prim_play((struct fake_script){0});
    work_free(&g_blocks[0]);
    hakmem_malloc_trim(0);
    work_check_books(0);
}

/* ---- refusals ---- */

/* Every madvise fails: a few are tried, then no more, and what is freed is still used again. */
static void refused_for_good(const void *argument) {
    const struct fake_script script = *(const struct fake_script *)argument;
    take(300, WORK_MIB);
    give(300);
    fake_prim_play(script);
    for (int i = 0; i < 20; i++)
        epoch_passes();
    unsigned long asked = fake_prim_calls(FAKE_PURGE) + fake_prim_calls(FAKE_PURGE_RANGES);
    g_fault->nulls = asked;
    FAULT_REQUIRE(asked > 0 && asked <= 40, "%lu calls", asked);
    size_t committed = hak_pool_stats().committed;
    take(250, WORK_MIB);
    FAULT_REQUIRE(hak_pool_stats().committed == committed, "free memory is not used again");
    give(250);
    fake_prim_play((struct fake_script){0});
    hakmem_malloc_trim(0);
    work_check_books(0);
}

int main(void) {
    static const struct {
        const char *what;
        void (*body)(const void *);
    } plain[] = {
        {"epochs end in malloc, and memory goes back", ends_by_malloc},
        {"epochs end in free", ends_by_free},
        {"without time nothing happens", stands_still},
        {"a debt stands while another thread pays", debt_stands},
        {"a process that was stopped long purges once", one_at_a_time},
        {"epochs go on in a child forked amid one", goes_on_in_child},
        {"what was not purged when fork came is not clean", is_not_clean_in_child},
        {"what is kept follows the group's limit", keeps_share_of_group},
        {"a group that cannot be found has no limit", group_unknown},
    };
    static const struct burst bursts[] = {
        {"Mid of 4 KiB, whole", 4096, EPOCH_BLOCKS, 0},
        {"Mid of 16 KiB, whole", 16 * 1024, EPOCH_BLOCKS, 0},
        {"Mid of 64 KiB, whole", 64 * 1024, EPOCH_BLOCKS, 0},
        {"Mid of 64 KiB, 1 % survives", 64 * 1024, EPOCH_BLOCKS, 100},
        {"Mid of 8 KiB, 1 % survives", 8 * 1024, EPOCH_BLOCKS, 100},
        {"Large, whole", WORK_MIB, 1024, 0},
        {"Large, 1 % survives", WORK_MIB, 1024, 100},
        {"Large of 30 MiB, whole", 30 * WORK_MIB, 35, 0},
    };
    static const size_t groups[] = {256 * WORK_MIB, 400 * WORK_MIB, 1024 * WORK_MIB};
    static const struct fake_script scripts[] = {
        {.series = FAKE_PURGE_RANGES, .first = 1, .count = ULONG_MAX, .error = ENOSYS},
        {.series = FAKE_PURGE, .first = 1, .count = ULONG_MAX, .error = EINVAL},
    };
    static const struct fake_script loads[] = {
        {0},
        {.series = FAKE_PURGE_RANGES, .random_permille = 200, .seed = 3, .error = EAGAIN},
        {.series = FAKE_PURGE, .random_permille = 300, .seed = 5, .error = EAGAIN},
    };
    fault_open();
    fake_prim_stop_clock();
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        bool is_good = fault_run(plain[i].body, NULL);
        CHECK(is_good, "%s%s%s", plain[i].what, is_good ? "" : ": ", g_fault->text);
    }
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        bool is_good = fault_run(heeds_group, &groups[i]);
        CHECK(is_good, "in a group of %zu MiB, before any epoch: kept %lu MiB at most%s%s",
              groups[i] / WORK_MIB, g_fault->nulls, is_good ? "" : ": ", g_fault->text);
    }
    bool is_asked_little = fault_run(heeds_group_refused, &scripts[1]);
    CHECK(is_asked_little, "near its limit the kernel refuses: %lu calls%s%s", g_fault->nulls,
          is_asked_little ? "" : ": ", g_fault->text);
    for (size_t i = 0; i < sizeof bursts / sizeof *bursts; i++) {
        bool is_good = fault_run(gives_back_in_pieces, &bursts[i]);
        CHECK(is_good, "%s: %lu calls for %zu MiB%s%s", bursts[i].what, g_fault->nulls,
              bursts[i].size * bursts[i].count / WORK_MIB, is_good ? "" : ": ", g_fault->text);
    }
    for (size_t i = 0; i < 2; i++) {
        bool is_good = fault_run(refused_for_good, &scripts[i]);
        CHECK(is_good, "the kernel refuses %s: %lu calls%s%s", i ? "each range" : "many ranges",
              g_fault->nulls, is_good ? "" : ": ", g_fault->text);
    }
    for (size_t i = 0; i < sizeof loads / sizeof *loads; i++) {
        bool is_good = fault_run(epochs_under_load, &loads[i]);
        CHECK(is_good, "epochs under load, script %zu: %lu calls%s%s", i, g_fault->nulls,
              is_good ? "" : ": ", g_fault->text);
    }
    return tap_end();
}
