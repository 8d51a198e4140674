/* test/model/model.c — checks the remote-free protocol, and that the check finds mistakes. SPDX-License-Identifier: MIT */

/*
 * usage: model [NAME...]          by default all; the path to a named one's violation is printed
 *
 * Goal: no interleaving of threads breaks what src/heap/remote.c relies on, nor does a fork at any
 * point, nor what C11 lets memory do.
 * Method: all states of each scenario are visited (explore.h). Then each mutant, the protocol with
 * one step wrong, must be found wrong by the same check; a mutant that passes fails the test, as
 * does a step of the protocol that no scenario ever makes.
 */

#include <stdio.h>
#include <string.h>

#include "explore.h"
#include "scenarios.h"
#include "weak_remote.h"

static struct {
    char **names; /* of the command line; none: all */
    int name_count;
    unsigned passed;
    unsigned failed;
} g_model;

static bool is_named(const char *name) {
    for (int i = 0; i < g_model.name_count; i++) {
        if (strcmp(g_model.names[i], name) == 0)
            return true;
    }
    return false;
}

static bool is_wanted(const char *name) {
    return g_model.name_count == 0 || is_named(name);
}

static void count(bool is_passed) {
    if (is_passed)
        g_model.passed++;
    else
        g_model.failed++;
    fflush(stdout);
}

/* The protocol as it is: every state is good. */
static void check_model(const char *name, struct explore_model model, const void *context) {
    if (!is_wanted(name))
        return;
    model.context = context;
    struct explore_result result = explore(&model, true);
    if (result.violation)
        printf("not ok model.%s in %u steps: %s\n", name, result.steps, result.violation);
    else
        printf("ok model.%s states %zu\n", name, result.states);
    count(result.violation == NULL);
}

/* The protocol with a mistake: some state is bad. */
static void check_mutant(const char *name, const char *change, struct explore_model model,
                         const void *context) {
    if (!is_wanted(name))
        return;
    model.context = context;
    struct explore_result result = explore(&model, is_named(name));
    if (result.violation)
        printf("ok caught %s in %u steps: %s\n", name, result.steps, result.violation);
    else
        printf("not ok %s (%s) passed %zu states\n", name, change, result.states);
    count(result.violation != NULL);
}

static void check_steps(void) {
    const char *step = protocol_unmade_step();
    if (g_model.name_count > 0)
        return;
    if (step)
        printf("not ok steps: no scenario makes \"%s\"\n", step);
    else
        printf("ok steps: each is made in some scenario\n");
    count(step == NULL);
}

int main(int argc, char **argv) {
    g_model.names = argv + 1;
    g_model.name_count = argc - 1;
    for (unsigned i = 0; i < scenario_count; i++) {
        struct variant variant = {&scenarios[i], MUTANT_NONE};
        check_model(scenarios[i].name, protocol_model, &variant);
    }
    check_steps();
    for (unsigned i = MUTANT_NONE + 1; i < MUTANT_COUNT; i++) {
        const struct mutation *mutation = &mutations[i];
        struct variant variant = {scenario_find(mutation->scenario), (enum mutant)i};
        check_mutant(mutation->name, mutation->change, protocol_model, &variant);
    }
    for (unsigned i = 0; i < weak_case_count; i++) {
        const struct weak_case *weak = &weak_cases[i];
        if (weak->change)
            check_mutant(weak->name, weak->change, weak_model, weak->variant);
        else
            check_model(weak->name, weak_model, weak->variant);
    }
    printf("%u passed, %u failed\n", g_model.passed, g_model.failed);
    return g_model.failed > 0 || g_model.passed == 0;
}
