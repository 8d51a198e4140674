/* cli/bench.c — `hakmem bench`: programs under several allocators, compared. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "bench.h"

#include "cli.h"
#include "resolve_command.h"

#include <hakmem/hakmem.h>

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: hakmem bench [OPTION]... [WORKLOAD|GROUP]...\n"
    "       hakmem bench [OPTION]... -- COMMAND [ARGUMENT]...\n"
    "       hakmem bench --list\n"
    "\n"
    "Runs workloads, or a command of yours, under several allocators in turn, and says which is\n"
    "faster, by how much, how sure that is, and what memory each takes (docs/benchmarks.md).\n"
    "\n"
    "  --allocators LIST  separated by commas: sys, hakmem, floor, names from --list, "
    "NAME=PATH.so;\n"
    "                     VARIABLE=VALUE sets a variable of the one before it; the others are\n"
    "                     compared with the first (hakmem, sys, all that are installed, floor)\n"
    "  --rounds N         how often each runs (10); fewer than 6 are too few to conclude\n"
    "  --latency N        N more rounds that measure each operation, where a workload can (0)\n"
    "  --by WHAT          compare cpu, wall, user or system time (cpu; workloads that run for a\n"
    "                     time: time per operation)\n"
    "  --timeout S        end a run after S seconds; it counts as failed (300)\n"
    "  --interval MS      how often resident memory is read (10)\n"
    "  --no-trace         without the run under ptrace that sees whether the allocator is in the\n"
    "                     process, and counts system calls\n"
    "  --csv FILE         each run's numbers           --json FILE  the same, and all conclusions\n"
    "  --html FILE        one page with tables and plots\n"
    "  -o FILE            the tables, instead of to standard output\n"
    "  --lib PATH         hakmem's library, instead of the one found beside this command\n"
    "  --list             the allocators and workloads there are\n"
    "  --help             this text\n"
    "\n"
    "environment   HAKMEM_LIBRARY    hakmem's library, unless --lib names it\n"
    "              HAKMEM_BENCH_DIR  where the workloads lie\n"
    "exit status   1    some run failed           125  hakmem bench failed\n"
    "              127  COMMAND was not found\n";

enum output { OUTPUT_TABLE, OUTPUT_CSV, OUTPUT_JSON, OUTPUT_HTML, OUTPUT_COUNT };

struct invocation {
    const char *allocators;
    const char *library;
    const char *paths[OUTPUT_COUNT];
    FILE *files[OUTPUT_COUNT]; /* NULL: not wanted */
    struct bench_options options;
    bool is_list;
    bool is_command; /* what follows is one, not names of workloads */
    char **rest;
};

static int usage_error(const char *what, const char *word) {
    cli_say("error", "bench: %s %s; see hakmem bench --help", what, word);
    return CLI_EXIT_REFUSED;
}

/* False: not a number in min … max. */
static bool parse_number(const char *text, double min, double max, double *value) {
    char *end = NULL;
    errno = 0;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && errno == 0 && *value >= min && *value <= max;
}

static bool parse_count(const char *text, double min, double max, size_t *value) {
    double number;
    if (!parse_number(text, min, max, &number) || number != (double)(size_t)number) {
        return false;
    }
    *value = (size_t)number;
    return true;
}

static bool parse_metric(const char *text, int *metric) {
    static const struct {
        const char *word;
        enum bench_metric metric;
    } known[] = {{"cpu", METRIC_CPU},
                 {"wall", METRIC_WALL},
                 {"user", METRIC_USER},
                 {"system", METRIC_SYSTEM}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(text, known[i].word) == 0) {
            *metric = (int)known[i].metric;
            return true;
        }
    }
    return false;
}

static const struct option known_options[] = {
    {"allocators", required_argument, NULL, 'a'},
    {"rounds", required_argument, NULL, 'r'},
    {"latency", required_argument, NULL, 'L'},
    {"by", required_argument, NULL, 'b'},
    {"timeout", required_argument, NULL, 't'},
    {"interval", required_argument, NULL, 'i'},
    {"no-trace", no_argument, NULL, 'n'},
    {"csv", required_argument, NULL, 'c'},
    {"json", required_argument, NULL, 'j'},
    {"html", required_argument, NULL, 'H'},
    {"output", required_argument, NULL, 'o'},
    {"lib", required_argument, NULL, 'l'},
    {"list", no_argument, NULL, 'T'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* False: the value is not one. */
static bool take_option(int option, const char *value, struct invocation *invocation) {
    struct bench_options *options = &invocation->options;
    switch (option) {
    case 'a':
        invocation->allocators = value;
        return true;
    case 'r':
        return parse_count(value, 1, BENCH_VALUES_MAX, &options->rounds);
    case 'L':
        return parse_count(value, 0, BENCH_VALUES_MAX, &options->latency_rounds);
    case 'b':
        return parse_metric(value, &options->by);
    case 't':
        return parse_number(value, 0.001, 1e6, &options->timeout_s);
    case 'i':
        if (!parse_number(value, 0.1, 1e6, &options->interval_s)) {
            return false;
        }
        options->interval_s /= 1000;
        return true;
    case 'n':
        options->has_trace = false;
        return true;
    case 'c':
        invocation->paths[OUTPUT_CSV] = value;
        return true;
    case 'j':
        invocation->paths[OUTPUT_JSON] = value;
        return true;
    case 'H':
        invocation->paths[OUTPUT_HTML] = value;
        return true;
    case 'o':
        invocation->paths[OUTPUT_TABLE] = value;
        return true;
    case 'l':
        invocation->library = value;
        return true;
    default:
        invocation->is_list = true;
        return true;
    }
}

/* Returns -1 to go on, else the exit status. */
static int parse_options(int argc, char **argv, struct invocation *invocation) {
    const char *last_value = NULL;
    opterr = 0; /* its messages would not look like ours */
    for (int option; (option = getopt_long(argc, argv, "+:o:h", known_options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(help, stdout);
            return EXIT_SUCCESS;
        }
        if (option == ':' || option == '?') {
            return usage_error(option == ':' ? "missing value after" : "unknown option",
                               argv[optind - 1]);
        }
        last_value = optarg;
        if (!take_option(option, optarg, invocation)) {
            return usage_error("not a value that it takes:", optarg);
        }
    }
    invocation->rest = argv + optind;
    invocation->is_command = strcmp(argv[optind - 1], "--") == 0 && argv[optind - 1] != last_value;
    if (invocation->is_command && optind == argc) {
        return usage_error("no command behind", "--");
    }
    for (int i = optind; !invocation->is_command && i < argc; i++) {
        if (argv[i][0] == '-') {
            return usage_error("options come before workloads:", argv[i]);
        }
    }
    return -1;
}

/* Before anything runs: an hour's results that cannot be written would be lost. */
static bool open_files(struct invocation *invocation) {
    for (int i = 0; i < OUTPUT_COUNT; i++) {
        const char *path = invocation->paths[i];
        if (path != NULL && (invocation->files[i] = fopen(path, "we")) == NULL) {
            cli_say("error", "bench: %s: %s", path, strerror(errno));
            return false;
        }
    }
    if (invocation->files[OUTPUT_TABLE] == NULL) {
        invocation->files[OUTPUT_TABLE] = stdout;
    }
    return true;
}

static bool write_files(const struct invocation *invocation, const struct bench_report *report) {
    static bool (*const print[OUTPUT_COUNT])(FILE *, const struct bench_report *) = {
        [OUTPUT_CSV] = bench_print_csv,
        [OUTPUT_JSON] = bench_print_json,
        [OUTPUT_HTML] = bench_print_html,
    };
    bool is_written = true;
    for (int i = 0; i < OUTPUT_COUNT; i++) {
        FILE *file = invocation->files[i];
        if (file == NULL) {
            continue;
        }
        bool is_good = print[i] == NULL || print[i](file, report);
        is_good = fflush(file) == 0 && ferror(file) == 0 && is_good;
        if (!is_good) {
            cli_say("error", "bench: %s cannot be written",
                    invocation->paths[i] == NULL ? "standard output" : invocation->paths[i]);
        }
        is_written = is_written && is_good;
    }
    return is_written;
}

static void print_ended_row(const struct bench_report *report, size_t row, void *context) {
    FILE *out = context;
    bench_print_row(out, report, row);
    fflush(out);
}

/* As the shells expect of a program that was interrupted. */
static int end_by(int number) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, number);
    signal(number, SIG_DFL);
    raise(number);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    return 128 + number;
}

static bool list_all(const char *library) {
    bench_list_allocators(stdout, library);
    return bench_list_workloads(stdout);
}

int cli_bench(int argc, char **argv) {
    static struct bench_report report;
    static struct bench_workload command;
    struct invocation invocation = {
        .options =
            {.rounds = 10, .timeout_s = 300, .interval_s = 0.01, .has_trace = true, .by = -1},
    };
    int status = parse_options(argc, argv, &invocation);
    if (status != -1) {
        return status;
    }
    if (invocation.is_list) {
        return list_all(invocation.library) ? EXIT_SUCCESS : CLI_EXIT_REFUSED;
    }
    report.options = invocation.options;
    report.hakmem_version = HAKMEM_VERSION;
    if (!bench_find_allocators(invocation.allocators, invocation.library, &report.allocators)) {
        return CLI_EXIT_REFUSED;
    }
    if (invocation.is_command) {
        if (!command_exists(invocation.rest[0])) {
            cli_say("error", "%s: No such file or directory", invocation.rest[0]);
            return CLI_EXIT_NOT_FOUND;
        }
        bench_command_workload(invocation.rest, &command);
        report.workloads = (struct bench_workloads){&command, 1};
    } else if (!bench_find_workloads(invocation.rest, &report.workloads)) {
        return CLI_EXIT_REFUSED;
    }
    if (!open_files(&invocation)) {
        return CLI_EXIT_REFUSED;
    }
    FILE *table = invocation.files[OUTPUT_TABLE];
    bench_describe_machine(&report);
    bench_print_machine(table, &report);
    fflush(table);
    bool is_run = bench_run_all(&report, print_ended_row, table);
    bench_print_totals(table, &report);
    if (report.signal != 0) {
        cli_say("warning", "bench: interrupted: what is reported is what was done by then");
    }
    bool is_written = write_files(&invocation, &report);
    if (report.signal != 0) {
        return end_by(report.signal);
    }
    if (!is_run || !is_written) {
        return CLI_EXIT_REFUSED;
    }
    return bench_has_failures(&report) ? EXIT_FAILURE : EXIT_SUCCESS;
}
