/* test/model/scenarios.c — tables of scenarios and mutants. SPDX-License-Identifier: MIT */

#include "scenarios.h"

#include <string.h>

/* clang-format off */
#define END                     {0, 0, false, false}
#define ALLOC(variable)         {STEP_ALLOC_POP, variable, false, false}
#define FREE(variable)          {STEP_FREE_TAKE, variable, false, false}
#define FREE_ADOPTING(variable) {STEP_FREE_TAKE, variable, true, false}
#define FREE_IF_ANY(variable)   {STEP_FREE_TAKE, variable, false, true}
#define TRIM(heap)              {STEP_TRIM_LOCK, heap, false, false}
#define EXIT                    {STEP_EXIT_POST, 0, false, false}
#define DIE                     {STEP_DIE, 0, false, false}
#define ADOPT                   {STEP_ADOPT_LOCK, 0, false, false}
#define REAP(heap)              {STEP_REAP_LOCK, heap, false, false}
#define WAIT                    {STEP_WAIT, 0, false, false}
#define PREPARE                 {STEP_PREPARE_REGISTRY, 0, false, false}
#define FORK                    {STEP_FORK, 0, false, false}
#define DONE                    {STEP_FORK_DONE, 0, false, false}
/* clang-format on */

const struct scenario scenarios[] = {
#include "scenarios.def"
};
const unsigned scenario_count = sizeof scenarios / sizeof scenarios[0];

const struct mutation mutations[MUTANT_COUNT] = {
#define MUTANT(name, scenario, change) [MUTANT_##name] = {#name, #scenario, change},
#include "mutants.def"
#undef MUTANT
};

const struct scenario *scenario_find(const char *name) {
    for (unsigned i = 0; i < scenario_count; i++) {
        if (strcmp(scenarios[i].name, name) == 0)
            return &scenarios[i];
    }
    return NULL;
}
