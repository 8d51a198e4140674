/* test/interleave/interleave.c — all interleavings of the library's real code in small scenarios. SPDX-License-Identifier: MIT */

/*
 *   interleave [-b PREEMPTIONS] [-l EXECUTIONS] [-v] [NAME...]      all, or the scenarios and mutations named
 *   interleave -n                                                   their names
 *
 *   main -> scenario_run, in a process of its own: setup
 *           -> search -> execute, forked: schedule_run     one interleaving
 *                     -> next_prefix                       the next one, depth first
 *
 * Exhaustive within a bound: no more than so many *preemptions*, switches away from a thread that could go
 * on; switches where a thread sleeps or ends are free (Musuvathi and Qadeer, "Iterative context bounding",
 * PLDI 2007: most known bugs need two at most). Decisions are only where an access goes to what more than
 * one thread uses, and one writes: others change places with whatever the other threads do. What is shared
 * is learned from the executions; when it grows the search begins anew.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "scenarios.h"
#include "schedule.h"

enum { TEXT_SIZE = 512 };

struct outcome {
    bool is_well;
    bool is_broken; /* this program failed, and not the library */
    bool is_complete;
    uint64_t executions;
    uint32_t depth; /* most decisions of one */
    uint64_t mutated;
    char reason[TEXT_SIZE];
};

static struct {
    int bound;      /* preemptions; -1: as each scenario says */
    uint64_t limit; /* executions of a scenario */
    bool is_told;   /* the way to a failure is printed */
    int error_file; /* what executions write on stderr */
    int passed;
    int failed;
} g_run = {.bound = -1, .limit = UINT64_MAX};

static struct outcome *outcome; /* shared with the scenario's process */

static void *share(size_t size) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("interleave: mmap");
        exit(2);
    }
    return memory;
}

/* ---- the search ---- */

/* What comes after `chosen`: first the thread itself if it can go on, then the others. -1: nothing. */
static int next_choice(const struct decision *decision) {
    int first = decision->is_forced ? -1 : decision->current;
    int from = decision->chosen == first ? 0 : decision->chosen + 1;
    for (int i = from; i < SCHEDULE_THREADS_MAX; i++) {
        if (i != first && decision->enabled >> i & 1)
            return i;
    }
    return -1;
}

static bool is_preemption(const struct decision *decision, unsigned chosen) {
    return !decision->is_forced && chosen != decision->current;
}

static unsigned bound_of(const struct scenario *scenario) {
    return g_run.bound >= 0 ? (unsigned)g_run.bound : scenario->bound ? scenario->bound : 1;
}

/* Lays down the decisions of the next execution. False: there is none within the bound. */
static bool next_prefix(unsigned bound) {
    unsigned preemptions = 0;
    for (uint32_t i = 0; i < world->decision_count; i++)
        preemptions += is_preemption(&world->decisions[i], world->decisions[i].chosen);
    for (uint32_t i = world->decision_count; i-- > 0;) {
        struct decision *decision = &world->decisions[i];
        preemptions -= is_preemption(decision, decision->chosen);
        int choice = next_choice(decision);
        if (choice >= 0 && preemptions + is_preemption(decision, (unsigned)choice) <= bound) {
            decision->chosen = (uint8_t)choice;
            world->prefix_count = i + 1;
            return true;
        }
    }
    return false;
}

/* Places that the execution has found to be shared and the decisions do not know yet. */
static bool learn_shared(void) {
    bool has_grown = false;
    for (size_t i = 0; i < SCHEDULE_LOCATIONS; i++) {
        struct location *location = &world->locations[i];
        unsigned touched = location->readers | location->adders | location->writers;
        bool is_changed = (location->writers && __builtin_popcount(touched) > 1) ||
                          (location->adders && location->readers &&
                           __builtin_popcount(location->adders | location->readers) > 1);
        if (is_changed && !location->is_shared) {
            location->is_shared = true;
            has_grown = true;
        }
        location->readers = location->adders = location->writers = 0; /* of one execution */
    }
    return has_grown;
}

/* "… in the program+0x123": the function there, if addr2line knows. */
static void name_function(char *reason) {
    static const char mark[] = "the program+";
    char command[128];
    char name[128] = "";
    char *at = strstr(reason, mark);
    if (at == NULL)
        return;
    snprintf(command, sizeof command, "addr2line -fe /proc/%d/exe %#llx 2>/dev/null", (int)getpid(),
             strtoull(at + sizeof mark - 1, NULL, 16) - 1);
    FILE *pipe = popen(command, "r");
    if (pipe && fgets(name, sizeof name, pipe) && name[0] != '?') {
        name[strcspn(name, "\n")] = 0;
        snprintf(at, TEXT_SIZE - (size_t)(at - reason), "%s", name);
    }
    if (pipe)
        pclose(pipe);
}

/* The first line that the execution wrote on stderr. */
static void read_error(char text[TEXT_SIZE]) {
    ssize_t size = pread(g_run.error_file, text, TEXT_SIZE - 1, 0);
    text[size > 0 ? size : 0] = 0;
    text[strcspn(text, "\n")] = 0;
}

static bool ended_well(const struct scenario *scenario, int status) {
    char text[TEXT_SIZE];
    if (scenario->aborts == NULL)
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
    read_error(text);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(text, scenario->aborts);
}

static void note_reason(int status) {
    char text[TEXT_SIZE];
    read_error(text);
    outcome->is_broken = world->is_broken || (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
    if (world->reason[0] == 0)
        snprintf(world->reason, sizeof world->reason,
                 WIFSIGNALED(status) ? "signal %d" : "status %d",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    snprintf(outcome->reason, TEXT_SIZE, "%.200s%s%.200s", world->reason, text[0] ? "; " : "",
             text);
    name_function(outcome->reason);
}

/* One interleaving, in a process of its own. */
static bool execute(const struct scenario *scenario) {
    world->decision_count = 0;
    world->steps = 0;
    world->reason[0] = 0;
    if (lseek(g_run.error_file, 0, SEEK_SET) != 0 || ftruncate(g_run.error_file, 0) != 0)
        _exit(2);
    pid_t child = fork();
    if (child < 0) {
        perror("interleave: fork");
        _exit(2);
    }
    if (child == 0) {
        if (!world->is_told)
            dup2(g_run.error_file, STDERR_FILENO);
        schedule_run(scenario);
        _exit(0);
    }
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (ended_well(scenario, status))
        return true;
    if (!world->is_told)
        note_reason(status);
    return false;
}

static void search(const struct scenario *scenario) {
    world->prefix_count = 0;
    outcome->is_well = true;
    do {
        outcome->is_well = execute(scenario);
        outcome->executions++;
        outcome->mutated = world->mutated;
        if (world->decision_count > outcome->depth)
            outcome->depth = world->decision_count;
        if (!outcome->is_well)
            return;
        if (learn_shared()) {
            world->decision_count = 0;
            world->prefix_count = 0;
        } else if (!next_prefix(bound_of(scenario))) {
            outcome->is_complete = true;
            return;
        }
    } while (outcome->executions < g_run.limit);
}

/* The failure once more, step by step. */
static void show(const struct scenario *scenario) {
    world->prefix_count = world->decision_count;
    world->is_told = true;
    execute(scenario);
    world->is_told = false;
}

static struct outcome scenario_run(const struct scenario *scenario,
                                   const struct mutation *mutation) {
    fflush(NULL);
    memset(outcome, 0, sizeof *outcome);
    memset(world, 0, sizeof *world);
    pid_t child = fork();
    if (child == 0) {
        schedule_mutation = mutation;
        if (scenario->setup)
            scenario->setup();
        search(scenario);
        if (!outcome->is_well && g_run.is_told)
            show(scenario);
        if (scenario->teardown)
            scenario->teardown();
        _exit(0);
    }
    int status = -1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (child < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        outcome->is_well = false;
        outcome->is_broken = true;
        snprintf(outcome->reason, TEXT_SIZE, "its process ended with status %#x", (unsigned)status);
    }
    return *outcome;
}

/* ---- what is run ---- */

static void count(bool is_passed) {
    g_run.passed += is_passed;
    g_run.failed += !is_passed;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void run_whole(const struct scenario *scenario) {
    double start = seconds();
    struct outcome result = scenario_run(scenario, NULL);
    count(result.is_well);
    printf("%s %-22s %7llu executions, %3u decisions deep, %s %u preemptions, %.1f s\n",
           result.is_well ? "ok    " : "FAILED", scenario->name,
           (unsigned long long)result.executions, result.depth,
           result.is_complete ? "all with" : "not all with", bound_of(scenario), seconds() - start);
    if (!result.is_well)
        printf("       %s\n", result.reason);
}

static void run_mutated(const struct mutation *mutation) {
    const struct scenario *scenario = scenario_find(mutation->scenario);
    if (scenario == NULL) {
        printf("FAILED %s: there is no scenario %s\n", mutation->name, mutation->scenario);
        count(false);
        return;
    }
    struct outcome result = scenario_run(scenario, mutation);
    bool is_found = !result.is_well && !result.is_broken && result.mutated > 0;
    count(is_found);
    printf("%s %-26s %s, %llu executions: %s\n", is_found ? "ok    " : "FAILED", mutation->name,
           mutation->scenario, (unsigned long long)result.executions,
           result.mutated == 0            ? "the place was never reached"
           : is_found || result.is_broken ? result.reason
                                          : "nothing is wrong");
}

/* A scenario that no mutation needs may be one that sees nothing. */
static void expect_mutation(const struct scenario *scenario) {
    for (const struct mutation *mutation = mutations; mutation->name; mutation++) {
        if (strcmp(mutation->scenario, scenario->name) == 0)
            return;
    }
    printf("FAILED %s: no mutation is found by it\n", scenario->name);
    count(false);
}

static bool is_wanted(const char *name, char **names) {
    if (*names == NULL)
        return true;
    for (; *names; names++) {
        if (strcmp(*names, name) == 0)
            return true;
    }
    return false;
}

static void list(void) {
    for (size_t i = 0; scenarios[i]; i++) {
        printf("%s\n", scenarios[i]->name);
        for (const struct mutation *mutation = mutations; mutation->name; mutation++) {
            if (strcmp(mutation->scenario, scenarios[i]->name) == 0)
                printf("    %s\n", mutation->name);
        }
    }
}

/* Addresses are the same in each run: so are the number of executions and the order they come in. */
static void fix_addresses(char **arguments) {
    int before = personality(0xffffffff);
    if (before == -1 || before & ADDR_NO_RANDOMIZE ||
        personality((unsigned)before | ADDR_NO_RANDOMIZE) == -1)
        return;
    execv("/proc/self/exe", arguments);
}

int main(int argument_count, char **arguments) {
    int option;
    fix_addresses(arguments);
    while ((option = getopt(argument_count, arguments, "b:l:nv")) != -1) {
        if (option == 'b')
            g_run.bound = atoi(optarg);
        else if (option == 'l')
            g_run.limit = strtoull(optarg, NULL, 10);
        else if (option == 'n') {
            list();
            return 0;
        } else if (option == 'v')
            g_run.is_told = true;
        else
            return 2;
    }
    char **names = arguments + optind;
    setvbuf(stdout, NULL, _IOLBF, 0);
    world = share(sizeof *world);
    outcome = share(sizeof *outcome);
    g_run.error_file = memfd_create("stderr of executions", MFD_CLOEXEC);
    for (size_t i = 0; scenarios[i]; i++) {
        expect_mutation(scenarios[i]);
        if (is_wanted(scenarios[i]->name, names))
            run_whole(scenarios[i]);
    }
    for (const struct mutation *mutation = mutations; mutation->name; mutation++) {
        if (is_wanted(mutation->name, names))
            run_mutated(mutation);
    }
    printf("%d passed, %d failed\n", g_run.passed, g_run.failed);
    return g_run.failed > 0 || g_run.passed == 0;
}
