/* cli/launch.h — starting a command with hakmem preloaded. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_LAUNCH_H
#define HAKMEM_CLI_LAUNCH_H

#include <stdbool.h>

struct launch {
    const char *library; /* --lib, or NULL: the one found beside this command */
    bool is_strict;      /* not to run the command where hakmem could not take effect */
    char **command;
};

/* NAME=VALUE becomes HAKMEM_NAME=VALUE in the environment. False: it says what is wrong with `option`. */
bool launch_set_option(const char *option, const char *text);

/*
 * Puts the library into the environment's LD_PRELOAD, first; warns where it could not take effect.
 * False: it said what is wrong, and the command is not to be run.
 */
bool launch_prepare(const struct launch *launch);

/* Becomes the command; returns only when that failed, with the exit status to end with. */
int launch_execute(char **command);

#endif
