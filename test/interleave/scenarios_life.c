/* test/interleave/scenarios_life.c — start-up, heaps from thread to thread, observation. SPDX-License-Identifier: MIT */

#include <dirent.h>
#include <errno.h>
#include <hakmem/hakmem.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/start.h"
#include "heap/registry.h"
#include "scenarios.h"
#include "scheduled_prim.h"
#include "use.h"

/* ---- the process's first call, by several threads at once ---- */

static void first_setup(void) {
    setenv("HAKMEM_HUGE", "off", 1);
    setenv("HAKMEM_ACE", "frozen", 1);
}

static void first_alloc(void) {
    use_alloc(USE_SMALL);
}

static void first_span(void) {
    use_alloc(USE_SPAN);
}

static void first_start(void) {
    EXPECT(hak_start());
}

static void first_check(void) {
    EXPECT(prim_exit_hooks() == 1);
    EXPECT(prim_fork_hooks() == 1);
    EXPECT(hak_arenas.count == 1);
    EXPECT(hak_heap_policy.capacity_start[1] > 0);
    use_balance();
}

const struct scenario scenario_init_two = {
    .name = "init_two",
    .setup = first_setup,
    .body = {first_alloc, first_span},
    .check = first_check,
};

const struct scenario scenario_init_three = {
    .name = "init_three",
    .setup = first_setup,
    .body = {first_alloc, first_alloc, first_start},
    .check = first_check,
};

/* The kernel has no memory for the first who asks. */
static void refused_setup(void) {
    first_setup();
    prim_refuse_maps(10);
}

static void refused_alloc(void) {
    void *p = NULL;
    for (int i = 0; p == NULL; i++) {
        errno = 0;
        p = hakmem_malloc(USE_SMALL);
        EXPECT(p || errno == ENOMEM);
        EXPECT(i < 3);
    }
    hakmem_free(p);
}

const struct scenario scenario_init_refused = {
    .name = "init_refused",
    .setup = refused_setup,
    .body = {refused_alloc, refused_alloc},
    .check = first_check,
};

/* ---- alive, exiting, orphan, adopted ---- */

static void *g_kept[SCHEDULE_THREADS_MAX];

static void *leave_blocks(void *argument) {
    use_free(use_alloc(USE_SMALL));
    use_free(use_alloc(100));
    use_alloc(USE_SMALL);
    prim_thread_exits();
    return argument;
}

static void leave_orphan(void) {
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, leave_blocks, NULL) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
}

static void orphans_setup(void) {
    use_start();
    struct hak_heap *taken[2];
    for (int i = 0; i < 2; i++) {
        leave_orphan();
        taken[i] = hak_registry_take_orphan();
    }
    for (int i = 0; i < 2; i++)
        hak_registry_orphan(taken[i]);
}

static void adopt_and_keep(void) {
    g_kept[schedule_self()] = use_alloc(USE_SMALL);
    use_free(use_alloc(100));
}

static void adopt_and_exit(void) {
    use_free(use_alloc(100));
}

static void reap(void) {
    hak_heap_reap(10);
}

/* A reaper holds one orphan at a time: two are enough for two that want one, and one more. */
static void life_check(void) {
    EXPECT(hak_registry_count() <= 3);
    use_balance();
}

/* malloc_trim holds them all for a while: each may have made one. */
static void trim_check(void) {
    EXPECT(hak_registry_count() <= 4);
    use_balance();
}

/* Two that want a heap and a reaper, who holds one of two orphans for a while. */
const struct scenario scenario_life_reap = {
    .name = "life_reap",
    .setup = orphans_setup,
    .body = {adopt_and_keep, adopt_and_exit, reap},
    .check = life_check,
};

/* The same, and all heaps' empty slabs go to the pool. */
const struct scenario scenario_life_trim = {
    .name = "life_trim",
    .setup = orphans_setup,
    .body = {adopt_and_keep, adopt_and_exit, hak_heap_trim},
    .check = trim_check,
};

static void look(void) {
    struct hakmem_stats stats;
    EXPECT(hakmem_stats_get(&stats, sizeof stats) == 0);
    EXPECT(stats.heap_count <= 1);
}

/* A heap is made while others look through them all. */
const struct scenario scenario_life_make = {
    .name = "life_make",
    .setup = use_start,
    .body = {adopt_and_keep, hak_heap_trim, look},
    .check = life_check,
};

static void have_heap(void) {
    g_kept[schedule_self()] = use_alloc(USE_SMALL);
    use_free(use_alloc(100));
}

static void exit_late(void) {
    use_free(g_kept[0]);
    prim_thread_exits();
    EXPECT(hak_heap_is_late());
    void *p = use_alloc(USE_SMALL); /* borrowed */
    use_free(use_alloc(100));
    use_free(p);
}

/* One ends, and goes on allocating without a heap, one begins, one frees what the first had. */
const struct scenario scenario_life_exit = {
    .name = "life_exit",
    .setup = use_start,
    .prologue = {have_heap, have_heap},
    .body = {exit_late, adopt_and_exit, adopt_and_keep},
    .check = life_check,
};

/* ---- hakmem_check() while others are at it ---- */

static void check_all(void) {
    EXPECT(hakmem_check(HAKMEM_CHECK_WAIT, NULL, 0) == 0);
}

static void free_others(void) {
    use_free(g_kept[1]);
    use_free(use_alloc(USE_SMALL));
}

const struct scenario scenario_life_check = {
    .name = "life_check",
    .setup = use_start,
    .prologue = {NULL, have_heap, have_heap},
    .body = {check_all, adopt_and_exit, free_others},
    .check = life_check,
};

/* ---- observed ---- */

static char g_directory[64];
static char g_elsewhere[sizeof g_directory + 8]; /* its name while it cannot be found */

/* Files of processes that are over: the first is the scenario's own, which stays for its executions. */
static void files_remove(bool are_all) {
    char own[32];
    snprintf(own, sizeof own, "%d-", (int)getpid());
    DIR *directory = opendir(g_directory);
    EXPECT(directory != NULL);
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        char path[sizeof g_directory + sizeof entry->d_name + 1];
        snprintf(path, sizeof path, "%s/%s", g_directory, entry->d_name);
        if (entry->d_name[0] != '.' && (are_all || strncmp(entry->d_name, own, strlen(own)) == 0))
            unlink(path);
    }
    closedir(directory);
    if (are_all)
        rmdir(g_directory);
}

/* The file outlives executions, as it is there for: each begins with an empty one. */
static void observe_begin(void) {
    DIR *directory = opendir(g_directory);
    const struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        char path[sizeof g_directory + sizeof entry->d_name + 1];
        snprintf(path, sizeof path, "%s/%s", g_directory, entry->d_name);
        if (entry->d_name[0] != '.')
            EXPECT(truncate(path, HAKMEM_STAT_BASE_BYTES) == 0);
    }
    closedir(directory);
    memset(&hak_stat_file->shared, 0, sizeof hak_stat_file->shared);
    memset(&hak_stat_file->first_heap, 0, sizeof hak_stat_file->first_heap);
    hak_stat_file->header.thread_count = 1;
    hak_stat_file->header.chunk_count = 0;
}

static void observe_teardown(void) {
    rename(g_elsewhere, g_directory); /* where a mutation was found meanwhile */
    files_remove(true);
}

static void observe_setup(void) {
    strcpy(g_directory, "/tmp/interleave-XXXXXX");
    EXPECT(mkdtemp(g_directory) != NULL);
    snprintf(g_elsewhere, sizeof g_elsewhere, "%s-gone", g_directory);
    setenv("HAKMEM_STAT", g_directory, 1);
    use_start();
    EXPECT(hak_stat_file != NULL);
    use_free(use_alloc(USE_SMALL)); /* takes the first heap's place in the file */
    EXPECT(hak_thread.counters == &hak_stat_file->first_heap);
}

static struct hakmem_stat_heap *g_counters[SCHEDULE_THREADS_MAX];

static void count_calls(void) {
    use_free(use_alloc(USE_SMALL));
    use_free(use_alloc(USE_SMALL));
    g_counters[schedule_self()] = hak_thread.counters;
    EXPECT(hak_thread.counters != NULL);
}

static void count_span(void) {
    use_free(use_alloc(USE_SPAN)); /* no heap: counted in the shared set */
}

static uint64_t requests(const struct hakmem_stat_heap *heap) {
    uint64_t sum = 0;
    for (unsigned i = 0; i < HAKMEM_STAT_RANGES_MAX; i++)
        sum += heap->requests[i].count;
    return sum;
}

static void observe_check(void) {
    const struct hakmem_stat_heap *heaps[2] = {g_counters[0], g_counters[1]};
    bool is_adopted = heaps[0] == heaps[1]; /* one ended before the other began */
    EXPECT(is_adopted == (hak_registry_count() == 2));
    EXPECT(requests(heaps[0]) == (is_adopted ? 4 : 2));
    EXPECT(requests(heaps[1]) == (is_adopted ? 4 : 2));
    EXPECT(requests(&hak_stat_file->shared) == 1);
    EXPECT(hak_stat_file->header.chunk_count == 1);
    EXPECT(hak_stat_file->header.thread_count == 3);
    use_balance();
}

/* Two threads need places in the file, which has to grow, while a third counts in the shared ones. */
const struct scenario scenario_observe_grow = {
    .name = "observe_grow",
    .setup = observe_setup,
    .begin = observe_begin,
    .teardown = observe_teardown,
    .body = {count_calls, count_calls, count_span},
    .check = observe_check,
};

/* A thread forks while another one's place in the file is made; the child has a file of its own. */
static void observed_child(void) {
    EXPECT(hak_stat_file != NULL);
    EXPECT(hak_stat_file->header.process_id == (uint32_t)getpid());
    EXPECT(hak_stat_file->header.chunk_count == 0);
    EXPECT(hak_thread.counters == &hak_stat_file->first_heap);
    EXPECT(hak_pagemap_unit_count == 0);
    uint64_t before = requests(hak_thread.counters);
    EXPECT(before == 0);
    use_free(use_alloc(USE_SMALL));
    EXPECT(requests(hak_thread.counters) == 1);
    use_balance_child(USE_SMALL_BLOCK, false);
    files_remove(false);
}

static void observed_fork(void) {
    schedule_fork(NULL, observed_child);
    use_free(use_alloc(USE_SMALL));
}

const struct scenario scenario_observe_fork = {
    .name = "observe_fork",
    .forks = true,
    .setup = observe_setup,
    .begin = observe_begin,
    .teardown = observe_teardown,
    .prologue = {have_heap},
    .body = {observed_fork, count_calls},
    .check = use_balance,
};

/* The child gets no file: it is not observed any more, and its fast paths are open. */
static void unobserved_check(void) {
    EXPECT(hak_stat_file == NULL);
    EXPECT(hak_thread.counters == NULL);
    EXPECT(hak_thread_magazines == &hak_heap_current()->magazines);
    EXPECT(hak_pagemap_unit_count == hak_pagemap_unit_count_all);
    use_balance_child(USE_SMALL_BLOCK, false);
}

static void unobserved_fork(void) {
    EXPECT(rename(g_directory, g_elsewhere) == 0);
    schedule_fork(NULL, unobserved_check);
    EXPECT(rename(g_elsewhere, g_directory) == 0);
    use_free(use_alloc(USE_SMALL));
}

static void use_observed(void) {
    use_free(use_alloc(USE_SMALL));
    use_alloc(USE_SMALL);
}

const struct scenario scenario_observe_end = {
    .name = "observe_end",
    .forks = true,
    .setup = observe_setup,
    .begin = observe_begin,
    .teardown = observe_teardown,
    .prologue = {have_heap},
    .body = {unobserved_fork, use_observed},
    .check = use_balance,
};

/* Two that need a place in the file, and nothing else. */
static void observe_two_check(void) {
    EXPECT(hak_stat_file->header.thread_count == 3);
    EXPECT((g_counters[0] == g_counters[1]) == (hak_registry_count() == 2));
    EXPECT(hak_stat_file->header.chunk_count == 1);
    use_balance();
}

static void count_call(void) {
    use_alloc(100);
    g_counters[schedule_self()] = hak_thread.counters;
}

const struct scenario scenario_observe_two = {
    .name = "observe_two",
    .setup = observe_setup,
    .begin = observe_begin,
    .teardown = observe_teardown,
    .body = {count_call, count_call},
    .check = observe_two_check,
};

/* Two that have none, and count in the shared ones. */
static void observe_shared_check(void) {
    EXPECT(requests(&hak_stat_file->shared) == 2);
    use_balance();
}

const struct scenario scenario_observe_shared = {
    .name = "observe_shared",
    .setup = observe_setup,
    .begin = observe_begin,
    .teardown = observe_teardown,
    .body = {count_span, count_span},
    .check = observe_shared_check,
};
