/* cli/override_check.h — whether a preloaded library takes effect. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_OVERRIDE_CHECK_H
#define HAKMEM_CLI_OVERRIDE_CHECK_H

#include "elf_probe.h"

#include <stdbool.h>

struct override_obstacle {
    /* A predicate for a sentence about the program ("is statically linked"); NULL: there is none. */
    const char *predicate;
    /* Preloading would take effect and break the program: it has to run without. */
    bool is_harmful;
};

/*
 * override_obstacle — why preloading `library` into `program` would have no effect, or a bad one.
 *
 * returns  what stands in the way; a predicate of NULL when nothing does, or nothing is known of the
 *          program
 */
struct override_obstacle override_obstacle(const char *program, const struct elf_probe *library);

#endif
