/* test/model/weak_remote.h — remote free under C11's memory orders. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_MODEL_WEAK_REMOTE_H
#define HAKMEM_MODEL_WEAK_REMOTE_H

#include "explore.h"

struct weak_variant;

struct weak_case {
    const char *name;
    const char *change; /* what is wrong; NULL: nothing */
    const struct weak_variant *variant;
};

extern const struct explore_model weak_model; /* its context is to be a struct weak_variant */
extern const struct weak_case weak_cases[];
extern const unsigned weak_case_count;

#endif
