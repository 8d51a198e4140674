/* test/fault/start_up.c — the system refuses what the very first allocation needs. SPDX-License-Identifier: MIT */
/*
 * Goal: a start-up that fails is no start-up: NULL with ENOMEM, and the next call tries again.
 * Method: a fresh process for each combination of machine, first operation and k; there the k-th
 * call of any kind since the process began fails, once or twice, or all do from it on until the
 * system recovers. Hooks and limits are asked for before main(), so the script comes by environment.
 */

#include "fault/workload.h"

/* ---- in the started process ---- */

static bool first_malloc(struct work_block *block, size_t size) {
    return work_malloc(block, size);
}

static bool first_tiny(struct work_block *block) {
    return first_malloc(block, 24);
}

static bool first_mid(struct work_block *block) {
    return first_malloc(block, 20 * WORK_KIB);
}

static bool first_large(struct work_block *block) {
    return first_malloc(block, 3 * WORK_MIB);
}

static bool first_big(struct work_block *block) {
    return first_malloc(block, 65 * WORK_MIB);
}

static bool first_aligned_small(struct work_block *block) {
    return work_align(block, 256, 100);
}

static bool first_aligned_large(struct work_block *block) {
    return work_align(block, 4 * WORK_MIB, 101);
}

static bool first_calloc(struct work_block *block) {
    return work_calloc(block, 1000);
}

static void *thread_main(void *block) {
    return work_malloc(block, 500) ? block : NULL;
}

static bool first_in_thread(struct work_block *block) {
    pthread_t thread;
    void *result;
    int error = pthread_create(&thread, NULL, thread_main, block);
    FAULT_REQUIRE(error == 0, "pthread_create: %d", error);
    pthread_join(thread, &result);
    return result != NULL;
}

static const struct {
    const char *name;
    bool (*run)(struct work_block *block);
} g_first_operations[] = {
    {"malloc Tiny", first_tiny},
    {"malloc Mid", first_mid},
    {"malloc Large", first_large},
    {"malloc Big", first_big},
    {"aligned_alloc small", first_aligned_small},
    {"posix_memalign large", first_aligned_large},
    {"calloc", first_calloc},
    {"malloc in a thread", first_in_thread},
};
enum { OPERATION_COUNT = sizeof g_first_operations / sizeof *g_first_operations };

/* What needs no memory works whatever state start-up is in. */
static void harmless_calls(void) {
    hakmem_free(NULL);
    FAULT_REQUIRE(hakmem_malloc_usable_size(NULL) == 0, "malloc_usable_size(NULL)");
    hakmem_malloc_trim(0);
    FAULT_REQUIRE(hakmem_mallopt(M_MMAP_THRESHOLD, 1) == 1, "mallopt");
    (void)hakmem_mallinfo2();
    struct hakmem_stats stats;
    int error = hakmem_stats_get(&stats, sizeof stats);
    FAULT_REQUIRE(error == 0 || fake_prim_failures(FAKE_ANY) > 0, "stats_get: %d", error);
    error = hakmem_policy_save("/dev/null");
    FAULT_REQUIRE(error == 0 || fake_prim_failures(FAKE_ANY) > 0, "policy_save: %d", error);
}

/* The first operation may fail; after recovery it works, and so does everything else. */
static _Noreturn void started(const char *what) {
    int operation = atoi(what);
    bool is_thorough = strchr(what, '+') != NULL;
    struct work_block first;
    struct work_block second;
    struct work_block third;
    FAULT_REQUIRE(operation >= 0 && operation < OPERATION_COUNT, "no operation %s", what);
    fault_doing("the first operation");
    bool is_done = g_first_operations[operation].run(&first);
    unsigned long calls = fake_prim_calls(FAKE_ANY);
    FAULT_REQUIRE(calls > 0, "nothing was asked of the system");
    harmless_calls();
    fault_doing("the second operation");
    bool is_second_done = g_first_operations[operation].run(&second);

    /* Without the thread-exit hook exiting threads' heaps are lost: a leak, and nothing worse. */
    bool has_hook = fake_prim_failures(FAKE_EXIT_REGISTER) == 0;

    fake_prim_play((struct fake_script){0});
    if (is_done)
        work_free(&first);
    if (is_second_done)
        work_free(&second);
    fault_doing("the operation after recovery");
    g_first_operations[operation].run(&third);
    FAULT_REQUIRE(third.p != NULL, "NULL after recovery");
    work_free(&third);
    hakmem_malloc_trim(0);
    if (is_thorough && has_hook)
        work_under((struct fake_script){0});
    else if (is_thorough)
        g_fault->nulls = work_round();
    FAULT_REQUIRE(g_fault->nulls == 0, "%lu allocations fail after recovery", g_fault->nulls);
    g_fault->calls[FAKE_ANY] = calls;
    g_fault->nulls = !is_done;
    fault_started_end();
}

/* ---- in the parent ---- */

/* Sanitized processes are slow to start: every other call is left to the plain build. */
enum { START_UP_STEP = FAULT_PART > 1 ? 2 : 1 };

static void every_k(const char *machine_name, struct fake_machine machine, int operation) {
    static const unsigned long counts[] = {1, 2, ULONG_MAX};
    const bool has_room = machine.address_limit == 0 || machine.address_limit > 4096 * WORK_MIB;
    char what[16];
    char text[120];
    snprintf(text, sizeof text, "%s, first operation %s, k = 1 …", machine_name,
             g_first_operations[operation].name);
    struct sweep sweep = sweep_begin(text);
    unsigned long failed = 0;
    snprintf(what, sizeof what, "%d", operation);
    bool is_good = fault_start(what, machine, (struct fake_script){0}, 0);
    SWEEP(&sweep, is_good && g_fault->nulls == 0, "without failures: %s", g_fault->text);
    unsigned long last = g_fault->calls[FAKE_ANY];
    for (unsigned long k = 1; is_good && k <= last; k += START_UP_STEP) {
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            bool is_thorough = counts[i] == ULONG_MAX;
            struct fake_script script = {
                .series = FAKE_ANY, .first = k, .count = counts[i], .error = ENOMEM};
            snprintf(what, sizeof what, "%d%s", operation, is_thorough && has_room ? "+" : "");
            is_good = fault_start(what, machine, script, 0);
            SWEEP(&sweep, is_good, "k = %lu, %s: %s", k,
                  is_thorough      ? "all from there"
                  : counts[i] == 1 ? "once"
                                   : "twice",
                  g_fault->text);
            failed += g_fault->nulls;
        }
        is_good = true; /* the other k are of interest all the same */
    }
    sweep_end(&sweep);
    CHECK(failed > 0, "%s, first operation %s: NULL where memory is missing", machine_name,
          g_first_operations[operation].name);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        struct fake_machine machine;
    } machines[] = {
        {"this machine", {0}},
        {"no quiet place", {.has_no_hint = true}},
        {"64 KiB pages, limit 8 GiB", {.page_size = 65536, .address_limit = (size_t)8 << 30}},
        {"no quiet place, limit 400 MiB",
         {.address_limit = (size_t)400 << 20, .has_no_hint = true}},
    };
    fault_open();
    if (argc == 2)
        started(argv[1]);
    for (size_t m = 0; m < sizeof machines / sizeof *machines; m++) {
        for (int operation = 0; operation < OPERATION_COUNT; operation++)
            every_k(machines[m].name, machines[m].machine, operation);
    }
    return tap_end();
}
