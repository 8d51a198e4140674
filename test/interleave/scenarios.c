/* test/interleave/scenarios.c — the tables of what is run. SPDX-License-Identifier: MIT */

#include "scenarios.h"

#include <string.h>

const struct scenario *const scenarios[] = {
#define SCENARIO(name) &scenario_##name,
#include "scenarios.def"
#undef SCENARIO
    NULL,
};

const struct mutation mutations[] = {
#define MUTATION(name, scenario, kind, function, what)                                             \
    {#name, #scenario, MUTATION_##kind, function, what},
#include "mutations.def"
#undef MUTATION
    {NULL, NULL, MUTATION_NONE, NULL, NULL},
};

const struct scenario *scenario_find(const char *name) {
    for (size_t i = 0; scenarios[i]; i++) {
        if (strcmp(scenarios[i]->name, name) == 0)
            return scenarios[i];
    }
    return NULL;
}
