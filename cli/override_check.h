/* cli/override_check.h — whether a preloaded library takes effect. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_OVERRIDE_CHECK_H
#define HAKMEM_CLI_OVERRIDE_CHECK_H

#include "elf_probe.h"

/*
 * override_obstacle — why preloading `library` into `program` would have no effect.
 *
 * returns  a predicate for a sentence about the program ("is statically linked"); NULL when nothing
 *          stands in the way, or nothing is known of the program
 */
const char *override_obstacle(const char *program, const struct elf_probe *library);

#endif
