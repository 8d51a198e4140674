/* test/unit/api/test_start.c — start-up, the environment, the exit report. SPDX-License-Identifier: MIT */

/*
 * Goal: any call may be the first, from any thread, before main; the environment is obeyed from the
 * start; a report, and nothing else, is printed at exit when asked for; an observed process's child that
 * cannot be observed is as fast as any.
 * Method: this program runs itself again, with variables set and the name of a scenario. A
 * constructor before all others makes the first call the scenario wants.
 */

#include <dirent.h>
#include <hakmem/hakmem.h>

#include "api/block.h"
#include "api/observed.h"
#include "api/start.h"
#include "arena/pagemap.h"
#include "base/bits.h"
#include "heap/heap.h"
#include "options/options.h"
#include "unit/harness.h"

/* ---- running itself ---- */

struct scenario {
    const char *name;
    const char *variables[4]; /* up to three */
};

static char *g_program;

static void run_scenario(void *argument) {
    const struct scenario *scenario = argument;
    for (size_t i = 0; i < 3 && scenario->variables[i]; i++)
        CHECK(putenv((char *)(uintptr_t)scenario->variables[i]) == 0);
    CHECK(setenv("HAK_TEST_SCENARIO", scenario->name, 1) == 0);
    char *arguments[] = {g_program, NULL};
    execv(g_program, arguments);
    CHECK(!"the program starts");
}

static struct harness_end run(struct scenario scenario) {
    struct harness_end end = harness_run(run_scenario, &scenario);
    if (!WIFEXITED(end.status) || WEXITSTATUS(end.status) != 0)
        print_error("scenario %s: status %#x, stderr:\n%s\n", scenario.name, (unsigned)end.status,
                    end.text);
    return end;
}

/* ---- the first call ---- */

/* Each thread begins in a tier of its own, so that not all of them begin with the same lock. */
static const size_t g_first_sizes[] = {100, 100 * HAK_MIB, HAK_MIB, 300 * HAK_KIB, 20 * HAK_KIB};
enum { FIRST_THREADS = sizeof g_first_sizes / sizeof g_first_sizes[0] };

static void *first_in_thread(void *argument) {
    const size_t *size = argument;
    void *p = hakmem_malloc(*size);
    CHECK(p != NULL);
    memset(p, 7, 100);
    hakmem_free(p);
    return NULL;
}

static void first_in_threads(void) {
    pthread_t threads[FIRST_THREADS];
    for (int i = 0; i < FIRST_THREADS; i++)
        threads[i] = harness_thread(first_in_thread, (void *)(uintptr_t)&g_first_sizes[i]);
    for (int i = 0; i < FIRST_THREADS; i++)
        harness_join(threads[i]);
}

static void first_malloc_info(void) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    CHECK_EQUAL(hakmem_malloc_info(0, stream), 0);
    fclose(stream);
    free(text);
}

static void use(void *p) {
    CHECK(p != NULL);
    memset(p, 7, 64);
    CHECK(hakmem_malloc_usable_size(p) >= 64);
    hakmem_free(p);
}

/* What a scenario first-… does before any other constructor ran. */
static void make_first_call(const char *name) {
    void *p = NULL;
    if (strcmp(name, "malloc") == 0)
        use(hakmem_malloc(64));
    else if (strcmp(name, "calloc") == 0)
        use(hakmem_calloc(8, 8));
    else if (strcmp(name, "realloc") == 0)
        use(hakmem_realloc(NULL, 64));
    else if (strcmp(name, "aligned") == 0)
        use(hakmem_aligned_alloc(256, 64));
    else if (strcmp(name, "large") == 0)
        use(hakmem_malloc(HAK_MIB));
    else if (strcmp(name, "big") == 0)
        use(hakmem_malloc(100 * HAK_MIB));
    else if (strcmp(name, "big-aligned") == 0) {
        CHECK_EQUAL(hakmem_posix_memalign(&p, 16 * HAK_GIB, 64), 0);
        CHECK_EQUAL((uintptr_t)p % (16 * HAK_GIB), 0);
        use(p);
    } else if (strcmp(name, "impossible") == 0)
        CHECK(hakmem_malloc(SIZE_MAX) == NULL);
    else if (strcmp(name, "free") == 0)
        hakmem_free(NULL);
    else if (strcmp(name, "trim") == 0)
        hakmem_malloc_trim(0);
    else if (strcmp(name, "mallinfo") == 0)
        CHECK_EQUAL(hakmem_mallinfo2().uordblks, 0);
    else if (strcmp(name, "info") == 0)
        first_malloc_info();
    else if (strcmp(name, "usable") == 0)
        CHECK_EQUAL(hakmem_malloc_usable_size(NULL), 0);
    else if (strcmp(name, "nallocx") == 0)
        CHECK(hakmem_nallocx(100, 0) >= 100);
    else if (strcmp(name, "threads") == 0)
        first_in_threads();
    else
        CHECK(!"a known first call");
}

/* Blocks before libc knows the environment: so many of a size that its magazine grows. */
static void call_before_environment(void) {
    enum { COUNT = 1000 };
    static void *blocks[COUNT];
    char **known = environ;
    environ = NULL;
    for (int i = 0; i < COUNT; i++)
        blocks[i] = hakmem_malloc(64);
    for (int i = 0; i < COUNT; i++)
        use(blocks[i]);
    CHECK(hak_heap_budget_used() > 0);
    environ = known;
}

/* 101 is the first priority that is not the implementation's. */
__attribute__((constructor(101))) static void call_before_main(void) {
    const char *scenario = getenv("HAK_TEST_SCENARIO");
    if (scenario && strncmp(scenario, "early-", 6) == 0) {
        g_harness.is_child = true;
        call_before_environment();
    }
    if (scenario && strncmp(scenario, "first-", 6) == 0) {
        g_harness.is_child = true;
        make_first_call(scenario + 6);
    }
}

static void test_first_call(void **state) {
    static const char *const names[] = {"first-malloc",      "first-calloc",     "first-realloc",
                                        "first-aligned",     "first-large",      "first-big",
                                        "first-big-aligned", "first-impossible", "first-free",
                                        "first-trim",        "first-mallinfo",   "first-info",
                                        "first-usable",      "first-nallocx",    "first-threads"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct harness_end end = run((struct scenario){names[i], {NULL}});
        CHECK_EQUAL(end.status, 0);
        CHECK_EQUAL(end.size, 0);
        end = run((struct scenario){names[i], {"HAKMEM_CHECKS=1", "HAKMEM_ACE=off"}});
        CHECK_EQUAL(end.status, 0);
        CHECK_EQUAL(end.size, 0);
    }
}

/* A foreign pointer may be the first that hakmem ever sees. */
static void free_foreign_first(void) {
    int on_stack;
    hakmem_free(&on_stack);
}

static void test_first_call_is_misuse(void **state) {
    struct scenario scenario = {"then-free-foreign", {NULL}};
    struct harness_end end = harness_run(run_scenario, &scenario);
    CHECK(WIFSIGNALED(end.status));
    CHECK_EQUAL(WTERMSIG(end.status), SIGABRT);
    CHECK(strncmp(end.text, "hakmem: fatal: free(0x", 22) == 0);
    CHECK(strstr(end.text, "): not a block of this allocator; class none, owner none\n") != NULL);
}

/* ---- the environment ---- */

static void print_capacity(void) {
    hakmem_free(hakmem_malloc(64));
    unsigned class_index = hak_size_class_of(64 + HAK_BLOCK_TAIL);
    dprintf(STDERR_FILENO, "%u of %u\n", hak_heap_current()->capacity[class_index],
            hak_heap_policy.capacity_max[class_index]);
}

static unsigned capacity_with(const char *variable, unsigned *max) {
    unsigned capacity = 0;
    struct harness_end end = run((struct scenario){"then-capacity", {variable}});
    CHECK_EQUAL(end.status, 0);
    CHECK(sscanf(end.text, "%u of %u\n", &capacity, max) == 2);
    return capacity;
}

static void test_ace(void **state) {
    unsigned on;
    unsigned max;
    CHECK_EQUAL(capacity_with(NULL, &on), 7);
    CHECK_EQUAL(capacity_with("HAKMEM_ACE=on", &max), 7);
    CHECK_EQUAL(max, on);
    CHECK_EQUAL(capacity_with("HAKMEM_ACE=off", &max), on);
    CHECK_EQUAL(max, on);
    CHECK_EQUAL(capacity_with("HAKMEM_ACE=frozen", &max), 7);
    CHECK_EQUAL(max, 7);
    CHECK_EQUAL(capacity_with("HAKMEM_CONF=ace:frozen", &max), 7);
    CHECK_EQUAL(max, 7);
    CHECK_EQUAL(capacity_with("HAKMEM_CHECKS=1", &max), 0);
    CHECK_EQUAL(max, 0);
}

static void free_twice(void) {
    char *p = hakmem_malloc(64);
    char *other = hakmem_malloc(64);
    hakmem_free(p);
    hakmem_free(p);
    CHECK(other != p);
}

static void test_checks(void **state) {
    struct scenario with_checks = {"then-free-twice", {"HAKMEM_CHECKS=1"}};
    struct harness_end end = harness_run(run_scenario, &with_checks);
    CHECK(WIFSIGNALED(end.status));
    CHECK_EQUAL(WTERMSIG(end.status), SIGABRT);
    CHECK(strstr(end.text, "): double free; class ") != NULL);
    CHECK(strstr(end.text, ", owner heap 1\n") != NULL);
    end = run((struct scenario){"then-free-twice", {NULL}}); /* not looked for, not harmed */
    CHECK_EQUAL(end.status, 0);
}

static void test_warnings(void **state) {
    struct harness_end end =
        run((struct scenario){"then-nothing", {"HAKMEM_FOO=1", "HAKMEM_ACE=purple"}});
    CHECK_EQUAL(end.status, 0);
    static const char unknown[] = "hakmem: warning: unknown option HAKMEM_FOO\n";
    static const char bad[] = "hakmem: warning: HAKMEM_ACE=purple: expected off, on or frozen\n";
    CHECK_EQUAL(end.size, sizeof unknown + sizeof bad - 2); /* each once */
    CHECK(strstr(end.text, unknown) != NULL);
    CHECK(strstr(end.text, bad) != NULL);
}

static void test_report(void **state) {
    struct harness_end end = run((struct scenario){"then-malloc", {"HAKMEM_REPORT=1"}});
    CHECK_EQUAL(end.status, 0);
    CHECK(strncmp(end.text, "hakmem: report at exit, process ", 32) == 0);
    CHECK(strstr(end.text, "\nhakmem: count large 1\n") != NULL);
    CHECK(strstr(end.text, "\nhakmem: ledger prlimit64 start 1 0\n") != NULL);
    CHECK(strstr(end.text, "\nhakmem: ledger total ") != NULL);
    end = run((struct scenario){"then-malloc", {"HAKMEM_REPORT=0"}});
    CHECK_EQUAL(end.size, 0);
    end = run((struct scenario){"then-malloc", {NULL}});
    CHECK_EQUAL(end.size, 0);
}

static void test_log(void **state) {
    struct harness_end end = run((struct scenario){"then-malloc", {"HAKMEM_LOG=large"}});
    CHECK_EQUAL(end.status, 0);
    if (HAK_DEBUG >= 1)
        CHECK(strncmp(end.text, "hakmem-trace large alloc 0x", 27) == 0);
    else
        CHECK_EQUAL(end.size, 0);
}

static void start_again(void *argument) {
    CHECK(hak_start());
    uint64_t calls = hak_ledger_read(HAK_CALL_PRLIMIT, HAK_CAUSE_START).count;
    CHECK_EQUAL(calls, 1);
    calls = hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_ARENA_RESERVE).count;
    for (int i = 0; i < 10; i++)
        CHECK(hak_start());
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_PRLIMIT, HAK_CAUSE_START).count, 1);
    CHECK_EQUAL(hak_ledger_read(HAK_CALL_MMAP, HAK_CAUSE_ARENA_RESERVE).count, calls);
}

static void test_once(void **state) {
    harness_expect_well(start_again, NULL);
}

/* ---- blocks before the environment ---- */

/* All of the environment counts from the constructor on, whatever was done before. */
static void look_at_checks(void) {
    CHECK_EQUAL(hak_options.checks, 1);
    CHECK_EQUAL(hak_block_stay_units, 0);
    CHECK(hak_heap_policy.is_exact);
    CHECK_EQUAL(hak_heap_budget_used(), 0);
    free_twice();
}

static void look_at_counters(void) {
    CHECK(hak_stat_file != NULL);
    CHECK(hak_thread.counters == &hak_stat_file->first_heap);
    CHECK_EQUAL(hak_pagemap_unit_count, 0);
    CHECK_EQUAL(hak_block_stay_units, 0);
    CHECK_EQUAL(hak_stat_file->header.thread_count, 1);
    uint64_t calls = hak_thread.counters->entries[HAK_ENTRY_MALLOC];
    uint64_t frees = hak_thread.counters->entries[HAK_ENTRY_FREE];
    use(hakmem_malloc(64));
    CHECK_EQUAL(hak_thread.counters->entries[HAK_ENTRY_MALLOC], calls + 1);
    CHECK_EQUAL(hak_thread.counters->entries[HAK_ENTRY_FREE], frees + 1);
    CHECK_EQUAL(hak_thread.counters->frees_remote, 0);
}

static void test_early_checks(void **state) {
    struct scenario scenario = {"early-checks", {"HAKMEM_CHECKS=1"}};
    struct harness_end end = harness_run(run_scenario, &scenario);
    CHECK(WIFSIGNALED(end.status));
    CHECK_EQUAL(WTERMSIG(end.status), SIGABRT);
    CHECK(strstr(end.text, "): double free; class ") != NULL);
}

/* ---- observed, and then not any more ---- */

/* The directory goes away, so a forked child gets no file: all its fast paths are open again. */
static void fork_unobserved(void) {
    const char *directory = getenv("HAKMEM_STAT");
    char away[64];
    snprintf(away, sizeof away, "%s.away", directory);
    use(hakmem_malloc(64));
    CHECK(hak_stat_file != NULL);
    CHECK_EQUAL(hak_pagemap_unit_count, 0);
    CHECK_EQUAL(hak_block_stay_units, 0);
    CHECK(rename(directory, away) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(hak_stat_file == NULL);
        CHECK_EQUAL(hak_pagemap_unit_count, hak_pagemap_unit_count_all);
        CHECK_EQUAL(hak_block_stay_units, hak_pagemap_unit_count_all);
        use(hakmem_realloc(hakmem_malloc(100), 90));
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQUAL(status, 0);
    CHECK(rename(away, directory) == 0);
}

/* Each thread counts in a place of its own. */
static void fail_observed(void) {
    use(hakmem_malloc(64));
    CHECK(hakmem_malloc(SIZE_MAX) == NULL);
    CHECK_EQUAL(hak_thread.counters->failures, 1);
    CHECK_EQUAL(hak_stat_file->shared.failures, 0);
}

static struct harness_end run_observed(const char *name) {
    char variable[] = "HAKMEM_STAT=/tmp/hakmem-start-XXXXXX";
    char *path = strchr(variable, '=') + 1;
    CHECK(mkdtemp(path) != NULL);
    struct harness_end end = run((struct scenario){name, {variable}});
    CHECK_EQUAL(end.status, 0);
    DIR *directory = opendir(path);
    CHECK(directory != NULL);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;)
        unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    CHECK(rmdir(path) == 0);
    return end;
}

static void test_fork_unobserved(void **state) {
    struct harness_end end = run_observed("then-fork-unobserved");
    CHECK(strstr(end.text, "this process is not observed\n") != NULL);
}

static void test_early_observed(void **state) {
    CHECK_EQUAL(run_observed("early-observed").size, 0);
}

static void test_fail_observed(void **state) {
    CHECK_EQUAL(run_observed("then-fail-observed").size, 0);
}

/* The second half of a scenario: in main, after which the process exits by itself. */
static int run_second_half(const char *scenario) {
    g_harness.is_child = true;
    if (strcmp(scenario, "then-capacity") == 0)
        print_capacity();
    else if (strcmp(scenario, "then-free-twice") == 0)
        free_twice();
    else if (strcmp(scenario, "then-free-foreign") == 0)
        free_foreign_first();
    else if (strcmp(scenario, "then-fork-unobserved") == 0)
        fork_unobserved();
    else if (strcmp(scenario, "then-fail-observed") == 0)
        fail_observed();
    else if (strcmp(scenario, "early-checks") == 0)
        look_at_checks();
    else if (strcmp(scenario, "early-observed") == 0)
        look_at_counters();
    else if (strcmp(scenario, "then-malloc") == 0)
        CHECK(hakmem_malloc(HAK_MIB) != NULL);
    else
        use(hakmem_malloc(100));
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_call),
        cmocka_unit_test(test_first_call_is_misuse),
        cmocka_unit_test(test_ace),
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_report),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_early_checks),
        cmocka_unit_test(test_early_observed),
        cmocka_unit_test(test_fork_unobserved),
        cmocka_unit_test(test_fail_observed),
    };
    const char *scenario = getenv("HAK_TEST_SCENARIO");
    if (scenario)
        return run_second_half(scenario);
    g_program = argc > 0 ? argv[0] : NULL;
    harness_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
