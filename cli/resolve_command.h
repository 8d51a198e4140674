/* cli/resolve_command.h — which program a command ends up running. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_RESOLVE_COMMAND_H
#define HAKMEM_CLI_RESOLVE_COMMAND_H

#include <limits.h>
#include <stdbool.h>

struct resolved_command {
    char program[PATH_MAX]; /* the file that the kernel will execute at the end */
    bool loses_preload;     /* env(1) on the way takes LD_PRELOAD away or sets it anew */
};

/*
 * resolve_command — follow PATH, `#!` lines and env(1) to the program that allocates in the end.
 *
 * argv     as for execvp()
 * returns  false when that is not known: not found, too many interpreters, an env option or a
 *          quoting we do not follow. The answer is advice: exec itself decides again.
 */
bool resolve_command(char *const argv[], struct resolved_command *resolved);

/*
 * command_exists — whether a command is a file somewhere in PATH, executable or not.
 *
 * A name with a slash counts as one. For any other, execvp() reports "permission denied" when PATH
 * has a directory that we may not enter, even if the command is nowhere: "not found" for shells.
 */
bool command_exists(const char *name);

#endif
