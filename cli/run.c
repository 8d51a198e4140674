/* cli/run.c — `hakmem run`: a command with hakmem as its allocator. SPDX-License-Identifier: MIT */
/*
 * Sets the environment and becomes the command by exec. So there is no process in between: signals,
 * exit status, terminal and process id are the command's own. cli/launch.c does the work.
 */
#define _GNU_SOURCE
#include "cli.h"
#include "launch.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static const char help[] =
    "usage: hakmem run [--lib PATH] [-o NAME=VALUE]... [--strict] [--] COMMAND [ARGUMENT]...\n"
    "\n"
    "Runs COMMAND with hakmem as its allocator. Signals and the exit status are COMMAND's own.\n"
    "\n"
    "  --lib PATH       the library to use, instead of the one found beside this command\n"
    "  -o NAME=VALUE    set an option of hakmem: -o report=1 is HAKMEM_REPORT=1\n"
    "  --strict         do not run COMMAND where hakmem could not take effect\n"
    "  --help           this text\n"
    "\n"
    "A warning tells when hakmem cannot take effect: COMMAND is statically linked, has raised\n"
    "privileges (setuid, setgid, file capabilities), or is of another kind of machine. A program\n"
    "built with a sanitizer, whose allocator is part of it, is left alone.\n"
    "\n"
    "environment   HAKMEM_LIBRARY  the library, unless --lib names it\n"
    "              LD_PRELOAD      kept; hakmem comes first\n"
    "exit status   125  hakmem run failed, or --strict refused\n"
    "              126  COMMAND cannot be executed      127  COMMAND was not found\n";

/* Returns -1 to go on, else the exit status. */
static int parse_options(int argc, char **argv, struct launch *launch) {
    static const struct option known[] = {
        {"lib", required_argument, NULL, 'l'},
        {"strict", no_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    opterr = 0; /* its messages would not look like ours */
    for (int option; (option = getopt_long(argc, argv, "+:o:h", known, NULL)) != -1;) {
        switch (option) {
        case 'l':
            launch->library = optarg;
            break;
        case 'o':
            if (!launch_set_option("-o", optarg)) {
                return CLI_EXIT_REFUSED;
            }
            break;
        case 's':
            launch->is_strict = true;
            break;
        case 'h':
            fputs(help, stdout);
            return EXIT_SUCCESS;
        default:
            cli_say("error", "run: %s %s; see hakmem run --help",
                    option == ':' ? "missing value after" : "unknown option", argv[optind - 1]);
            return CLI_EXIT_REFUSED;
        }
    }
    if (optind == argc) {
        cli_say("error", "run: no command given; see hakmem run --help");
        return CLI_EXIT_REFUSED;
    }
    launch->command = argv + optind;
    return -1;
}

int cli_run(int argc, char **argv) {
    struct launch launch = {0};
    int status = parse_options(argc, argv, &launch);
    if (status != -1) {
        return status;
    }
    if (!launch_prepare(&launch)) {
        return CLI_EXIT_REFUSED;
    }
    return launch_execute(launch.command);
}
