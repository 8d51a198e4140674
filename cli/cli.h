/* cli/cli.h — what the verbs of the `hakmem` command share. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_CLI_H
#define HAKMEM_CLI_CLI_H

/* Exit statuses of our own, as env(1), nohup(1) and the shells have them. */
enum {
    CLI_EXIT_USAGE = 2,            /* no such verb or option */
    CLI_EXIT_REFUSED = 125,        /* the verb itself failed, COMMAND was not started */
    CLI_EXIT_NOT_EXECUTABLE = 126, /* COMMAND was found, but cannot be executed */
    CLI_EXIT_NOT_FOUND = 127,      /* COMMAND was not found */
};

/* Each verb is one file: cli/<verb>.c. argv[0] is the verb. Returns the exit status. */
int cli_run(int argc, char **argv);
int cli_stat(int argc, char **argv);
int cli_bench(int argc, char **argv);

/* One line on stderr, `hakmem: <kind>: …`; kind is "error" or "warning". */
__attribute__((format(printf, 2, 3))) void cli_say(const char *kind, const char *format, ...);

#endif
