/* test/fault/held.c — idle slabs while their free pages go back. SPDX-License-Identifier: MIT */
/*
 * Goal: pages without a block go back after the epochs that were promised, and only those; whatever the
 * program does meanwhile, and whatever the kernel says, no block is lost, given twice or changed.
 * Method: slabs with few survivors; the purge is driven by hand and stopped inside the kernel's call,
 * where no lock is held: there the blocks come and go, slabs become empty, processes fork.
 */

#include <pthread.h>

#include "arena/arena.h"
#include "arena/pagemap.h"
#include "fault/workload.h"
#include "heap/heap.h"
#include "slab/slab.h"
#include "vm/vm.h"

enum {
    HELD_SIZE = 3000,
    HELD_BLOCKS = 4000,
    HELD_STEP = 100, /* one of so many survives */
    HELD_EPOCHS = 3  /* after which every idle slab is purged, in the huge lane too */
};

static struct {
    struct work_block blocks[HELD_BLOCKS];
    struct work_block more[HELD_BLOCKS];
    unsigned hook_runs;
} g_held;

static hak_unit held_unit_of(const void *p) {
    hak_unit unit = hak_unit_of(p);
    return unit - ((struct hak_slab *)hak_unit_descriptor(unit))->distance;
}

static struct hak_slab *held_slab_of(const void *p) {
    return hak_unit_descriptor(held_unit_of(p));
}

static void held_flush(void) {
    hak_heap_flush_above(hak_heap_current(), 0); /* nothing waits in magazines */
}

static void held_make(void) {
    fault_doing("slabs with survivors");
    for (int i = 0; i < HELD_BLOCKS; i++)
        FAULT_REQUIRE(work_malloc(&g_held.blocks[i], HELD_SIZE), "no memory");
    for (int i = 0; i < HELD_BLOCKS; i++) { /* no OS page is as it came */
        struct work_block *block = &g_held.blocks[i];
        pattern_fill(block->p, block->size, block->seed);
    }
    for (int i = 0; i < HELD_BLOCKS; i++) {
        if (i % HELD_STEP != 0)
            work_free(&g_held.blocks[i]);
    }
    held_flush();
}

static void held_epoch(void) {
    bool is_new = true;
    int pieces = 0;
    for (; hak_heap_purge_idle(is_new); is_new = false)
        FAULT_REQUIRE(++pieces < 1000, "the purge does not come to an end");
}

/* Of all units with a survivor. */
static size_t held_resident_pages(void) {
    unsigned char present[HAK_UNIT_SIZE / 4096];
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t count = 0;
    uintptr_t last = 0;
    for (int i = 0; i < HELD_BLOCKS; i += HELD_STEP) {
        uintptr_t unit = (uintptr_t)g_held.blocks[i].p & ~(uintptr_t)(HAK_UNIT_SIZE - 1);
        if (unit == last)
            continue;
        last = unit;
        FAULT_REQUIRE(mincore((void *)unit, HAK_UNIT_SIZE, present) == 0, "mincore");
        for (size_t k = 0; k < HAK_UNIT_SIZE / page; k++)
            count += present[k] & 1;
    }
    return count;
}

static void held_check_survivors(void) {
    fault_doing("survivors");
    for (int i = 0; i < HELD_BLOCKS; i += HELD_STEP) {
        const struct work_block *block = &g_held.blocks[i];
        FAULT_REQUIRE(!block->p || pattern_check(block->p, block->size, block->seed) == block->size,
                      "a block lost its contents");
    }
}

static void held_check_none_held(void) {
    for (int i = 0; i < HELD_BLOCKS; i += HELD_STEP) {
        if (g_held.blocks[i].p)
            FAULT_REQUIRE(!held_slab_of(g_held.blocks[i].p)->is_held, "a slab is held for ever");
    }
}

/* Everything can be had again, each block once; then nothing is out. */
static void held_use_and_end(void) {
    held_check_none_held();
    fault_doing("using all of it again");
    for (int i = 0; i < HELD_BLOCKS; i++)
        FAULT_REQUIRE(work_malloc(&g_held.more[i], HELD_SIZE), "no memory");
    held_check_survivors();
    for (int i = 0; i < HELD_BLOCKS; i++)
        work_free(&g_held.more[i]);
    for (int i = 0; i < HELD_BLOCKS; i++) {
        g_held.blocks[i].size = g_held.blocks[i].size ? HELD_SIZE : 0;
        work_free(&g_held.blocks[i]);
    }
    hakmem_malloc_trim(0);
    work_check_books(0);
}

/* ---- what happens when nothing comes between ---- */

static void purges_idle_slabs(const void *argument) {
    (void)argument;
    held_make();
    size_t before = held_resident_pages();
    fake_prim_play((struct fake_script){0});
    fault_doing("the first epoch");
    held_epoch();
    FAULT_REQUIRE(fake_prim_calls(FAKE_ANY_MEMORY) == 0, "purged what was in use an epoch ago");
    for (int i = 1; i < HELD_EPOCHS; i++)
        held_epoch();
    size_t after = held_resident_pages();
    unsigned long calls = fake_prim_calls(FAKE_PURGE_RANGES);
    FAULT_REQUIRE(calls >= 1 && calls <= 4, "%lu calls", calls);
    FAULT_REQUIRE(after <= before / 4, "%zu pages resident, %zu before", after, before);
    held_check_survivors();
    for (int i = 0; i < 10; i++)
        held_epoch();
    FAULT_REQUIRE(fake_prim_calls(FAKE_ANY_MEMORY) == calls, "purged again what is purged");
    g_fault->nulls = before - after;
    held_use_and_end();
}

static void *thread_that_makes(void *argument) {
    held_make();
    return argument;
}

/* Also those of a heap that is not the first, and whose thread is gone. */
static void purges_every_heap(const void *argument) {
    pthread_t thread;
    struct work_block keeper;
    (void)argument;
    FAULT_REQUIRE(work_malloc(&keeper, 100), "no memory"); /* the first heap is this thread's */
    FAULT_REQUIRE(pthread_create(&thread, NULL, thread_that_makes, NULL) == 0, "pthread_create");
    pthread_join(thread, NULL);
    size_t before = held_resident_pages();
    for (int i = 0; i < HELD_EPOCHS; i++)
        held_epoch();
    size_t after = held_resident_pages();
    FAULT_REQUIRE(after <= before / 4, "%zu pages resident, %zu before", after, before);
    held_check_survivors();
    work_free(&keeper);
    held_use_and_end();
}

/* A slab is idle only while no block of it comes or goes. */
static void leaves_busy_slabs(const void *argument) {
    (void)argument;
    held_make();
    struct work_block spare;
    fake_prim_play((struct fake_script){0});
    for (int epoch = 0; epoch < 10; epoch++) {
        for (int i = 0; i < HELD_BLOCKS; i += HELD_STEP) {
            work_malloc(&spare, 100);
            work_free(&g_held.blocks[i]); /* by way of the magazine, which is emptied */
            work_free(&spare);
        }
        held_flush();
        for (int i = 0; i < HELD_BLOCKS; i += HELD_STEP)
            work_malloc(&g_held.blocks[i], HELD_SIZE);
        held_epoch();
    }
    for (int i = 0; i < HELD_BLOCKS; i += HELD_STEP)
        pattern_fill(g_held.blocks[i].p, HELD_SIZE, g_held.blocks[i].seed);
    held_use_and_end();
}

/* ---- inside the kernel's call ---- */

static void hook_take_and_put(void) {
    bool has_held = false;
    g_held.hook_runs++;
    for (int i = 0; i < HELD_BLOCKS; i += HELD_STEP)
        has_held |= held_slab_of(g_held.blocks[i].p)->is_held;
    FAULT_REQUIRE(has_held, "nothing is held inside the call");
    for (int i = 0; i < HELD_BLOCKS / 4; i++) {
        work_malloc(&g_held.more[i], HELD_SIZE);
        FAULT_REQUIRE(!held_slab_of(g_held.more[i].p)->is_held, "a block of a held slab");
    }
    for (int i = 0; i < HELD_BLOCKS / 4; i++)
        work_free(&g_held.more[i]);
    for (int i = 0; i < HELD_BLOCKS; i += 2 * HELD_STEP) /* slabs get blocks back while held */
        work_free(&g_held.blocks[i]);
    held_flush();
}

static void hook_empty_all(void) {
    g_held.hook_runs++;
    for (int i = 0; i < HELD_BLOCKS; i += HELD_STEP)
        work_free(&g_held.blocks[i]);
    held_flush();
}

/* Whoever survives the fork finds no slab held, and all memory usable. */
static void fork_and_use(void) {
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        alarm(FAULT_ALARM_S);
        fake_prim_on(FAKE_PURGE_RANGES, NULL);
        held_check_none_held();
        held_check_survivors();
        for (int i = 0; i < HELD_EPOCHS; i++)
            held_epoch();
        held_check_survivors();
        held_use_and_end();
        _exit(0);
    }
    int status = -1;
    FAULT_REQUIRE(waitpid(child, &status, 0) == child && status == 0, "the child: status %#x",
                  (unsigned)status);
}

static void hook_fork(void) {
    if (g_held.hook_runs++ == 0)
        fork_and_use();
}

static void *thread_that_forks(void *argument) {
    fork_and_use();
    return argument;
}

static void hook_fork_elsewhere(void) {
    pthread_t thread;
    if (g_held.hook_runs++ > 0)
        return;
    FAULT_REQUIRE(pthread_create(&thread, NULL, thread_that_forks, NULL) == 0, "pthread_create");
    pthread_join(thread, NULL);
}

static void *thread_that_takes(void *argument) {
    work_malloc(argument, HELD_SIZE);
    return NULL;
}

/* The slab's units may serve another heap before the purging thread looks again. */
static void hook_empty_and_trim(void) {
    pthread_t thread;
    hook_empty_all();
    hakmem_malloc_trim(0);
    FAULT_REQUIRE(pthread_create(&thread, NULL, thread_that_takes, &g_held.more[0]) == 0,
                  "pthread_create");
    pthread_join(thread, NULL);
}

static void with_hook(const void *argument) {
    void (*const *hook)(void) = argument;
    held_make();
    fake_prim_on(FAKE_PURGE_RANGES, *hook);
    for (int i = 0; i < HELD_EPOCHS; i++)
        held_epoch();
    fake_prim_on(FAKE_PURGE_RANGES, NULL);
    FAULT_REQUIRE(g_held.hook_runs > 0, "nothing was purged");
    held_check_survivors();
    work_free(&g_held.more[0]);
    held_use_and_end();
}

/* ---- the kernel refuses ---- */

static void refused(const void *argument) {
    int error = *(const int *)argument;
    held_make();
    size_t before = held_resident_pages();
    fake_prim_play((struct fake_script){
        .series = FAKE_PURGE_RANGES, .first = 1, .count = ULONG_MAX, .error = error});
    for (int i = 0; i < 10; i++)
        held_epoch();
    unsigned long calls = fake_prim_calls(FAKE_PURGE_RANGES);
    FAULT_REQUIRE(fake_prim_calls(FAKE_ANY_MEMORY) == calls, "a call for each range");
    FAULT_REQUIRE(error == EAGAIN ? calls > 1 : calls == 1, "%lu calls", calls);
    held_check_none_held();
    held_check_survivors();
    FAULT_REQUIRE(held_resident_pages() == before, "pages went though the kernel refused");
    fake_prim_play((struct fake_script){0});
    for (int i = 0; i < HELD_EPOCHS + 1; i++)
        held_epoch();
    bool is_purged = held_resident_pages() <= before / 4;
    FAULT_REQUIRE(is_purged == (error == EAGAIN), "tried again: %d", is_purged);
    held_use_and_end();
}

/* ---- more slabs than one call takes ---- */

enum { MANY_SIZE = 40000, MANY_SLABS = 3 * HAK_SLAB_HOLD_MAX };

static void purges_many(const void *argument) {
    (void)argument;
    static struct work_block keepers[MANY_SLABS];
    static struct work_block rest[MANY_SLABS * 32];
    size_t kept = 0;
    size_t count = 0;
    hak_unit last = 0;
    fault_doing("many slabs");
    while (kept < MANY_SLABS && count < sizeof rest / sizeof *rest) { /* one block of each slab */
        struct work_block block;
        FAULT_REQUIRE(work_malloc(&block, MANY_SIZE), "no memory");
        if (held_unit_of(block.p) != last && kept < MANY_SLABS) {
            last = held_unit_of(block.p);
            keepers[kept++] = block;
        } else {
            rest[count++] = block;
        }
    }
    for (size_t i = 0; i < count; i++)
        work_free(&rest[i]);
    held_flush();
    fake_prim_play((struct fake_script){0});
    fault_doing("the first epoch of many slabs");
    held_epoch();
    FAULT_REQUIRE(fake_prim_calls(FAKE_PURGE_RANGES) == 0, "purged after one epoch");
    for (int i = 1; i < HELD_EPOCHS; i++) {
        for (size_t k = 0; k < kept; k += 7) /* a block came or went */
            held_slab_of(keepers[k].p)->idle_epochs = 0;
        held_epoch();
        for (size_t k = 0; k < kept; k += 7)
            FAULT_REQUIRE(held_slab_of(keepers[k].p)->idle_epochs == 1, "an epoch counts %u times",
                          held_slab_of(keepers[k].p)->idle_epochs);
    }
    unsigned long calls = fake_prim_calls(FAKE_PURGE_RANGES);
    FAULT_REQUIRE(calls >= 2 && calls <= 16, "%lu calls for %zu slabs", calls, kept);
    g_fault->nulls = calls;
    for (size_t i = 0; i < kept; i++)
        work_free(&keepers[i]);
    hakmem_malloc_trim(0);
    work_check_books(0);
}

int main(void) {
    static const struct {
        const char *what;
        void (*hook)(void);
    } hooks[] = {
        {"blocks are taken and put while slabs are held", hook_take_and_put},
        {"slabs become empty while they are held", hook_empty_all},
        {"slabs become empty while held, and another heap takes their units", hook_empty_and_trim},
        {"the purging thread forks inside the call", hook_fork},
        {"another thread forks meanwhile", hook_fork_elsewhere},
    };
    static const int errors[] = {EAGAIN, ENOSYS, EPERM, EINVAL, ENOMEM, EBADF};
    fault_open();
    fake_prim_stop_clock(); /* epochs are what the tests call so */
    bool is_good = fault_run(purges_idle_slabs, NULL);
    CHECK(is_good, "free pages of idle slabs go back: %lu OS pages%s%s", g_fault->nulls,
          is_good ? "" : ": ", g_fault->text);
    is_good = fault_run(purges_every_heap, NULL);
    CHECK(is_good, "those of all heaps%s%s", is_good ? "" : ": ", g_fault->text);
    is_good = fault_run(leaves_busy_slabs, NULL);
    CHECK(is_good, "slabs in use are left alone%s%s", is_good ? "" : ": ", g_fault->text);
    for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++) {
        is_good = fault_run(with_hook, &hooks[i].hook);
        CHECK(is_good, "%s%s%s", hooks[i].what, is_good ? "" : ": ", g_fault->text);
    }
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        is_good = fault_run(refused, &errors[i]);
        CHECK(is_good, "the kernel refuses with %s%s%s", strerrorname_np(errors[i]),
              is_good ? "" : ": ", g_fault->text);
    }
    is_good = fault_run(purges_many, NULL);
    CHECK(is_good, "more slabs than one call takes: %lu calls for %d%s%s", g_fault->nulls,
          (int)MANY_SLABS, is_good ? "" : ": ", g_fault->text);
    return tap_end();
}
