/* test/interleave/scenarios.h — the tables of what is run. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_TEST_INTERLEAVE_SCENARIOS_H
#define HAKMEM_TEST_INTERLEAVE_SCENARIOS_H

#include "schedule.h"

#define SCENARIO(name) extern const struct scenario scenario_##name;
#include "scenarios.def"
#undef SCENARIO

extern const struct scenario *const scenarios[]; /* the last is NULL */
extern const struct mutation mutations[];        /* the last has no name */

/* Around the part of an epoch's end that one thread at a time may be at: wrap.c. */
extern unsigned scenario_epochs; /* that have been ended by this process */
void scenario_epoch_begins(void);
void scenario_epoch_ends(void);

/* NULL: there is none. */
const struct scenario *scenario_find(const char *name);

#endif
