/* cli/main.c — the `hakmem` command: a table of verbs. SPDX-License-Identifier: MIT */
/* The command is a client like any other program: it sees include/, never src/. */
#include "cli.h"
#include "find_library.h"

#include <hakmem/hakmem.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct verb {
    const char *name;
    int (*function)(int argc, char **argv);
    const char *summary;
};

static const struct verb verbs[] = {
    {"run", cli_run, "run a command with hakmem as its allocator"},
    {"stat", cli_stat, "run a command and tell what it asked for, and every system call that took"},
    {"bench", cli_bench, "run programs under several allocators and compare them"},
};
enum { VERB_COUNT = sizeof verbs / sizeof verbs[0] };

void cli_say(const char *kind, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    /* One write for the line: stderr is unbuffered, and others may write to the same terminal. */
    char line[8192];
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    fprintf(stderr, "hakmem: %s: %s\n", kind, line);
}

static void print_help(FILE *stream) {
    fputs("usage: hakmem VERB [ARGUMENT]...\n"
          "       hakmem VERB --help\n"
          "       hakmem --version | --help\n\n",
          stream);
    for (int i = 0; i < VERB_COUNT; i++) {
        fprintf(stream, "  %-8s %s\n", verbs[i].name, verbs[i].summary);
    }
}

static void print_version(void) {
    struct library_search search;
    printf("hakmem %s\n", HAKMEM_VERSION);
    if (find_library(NULL, &search)) {
        printf("library %s\n", search.path);
    } else {
        printf("library not found\n");
    }
}

/* A full disk or a closed pipe must not look like success. */
static int finish_output(int status) {
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_say("error", "cannot write to standard output");
        return EXIT_FAILURE;
    }
    return status;
}

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        print_version();
        return finish_output(EXIT_SUCCESS);
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return finish_output(EXIT_SUCCESS);
    }
    for (int i = 0; i < VERB_COUNT; i++) {
        if (strcmp(name, verbs[i].name) == 0) {
            return finish_output(verbs[i].function(argc - 1, argv + 1));
        }
    }
    if (argc > 1) {
        cli_say("error", "no such verb: \"%s\"", name);
    }
    print_help(stderr);
    return CLI_EXIT_USAGE;
}
