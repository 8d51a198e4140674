/* test/model/scenarios.h — what the threads of the remote-free model do. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_MODEL_SCENARIOS_H
#define HAKMEM_MODEL_SCENARIOS_H

#include "protocol.h"

extern const struct scenario scenarios[];
extern const unsigned scenario_count;

struct mutation {
    const char *name;
    const char *scenario; /* the one that shows it */
    const char *change;
};
extern const struct mutation mutations[MUTANT_COUNT]; /* by enum mutant */

/* NULL: there is none of that name. */
const struct scenario *scenario_find(const char *name);

#endif
