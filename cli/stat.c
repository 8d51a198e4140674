/* cli/stat.c — `hakmem stat`: a command, and what its processes asked of hakmem and hakmem of the kernel. SPDX-License-Identifier: MIT */
/*
 *   directory of our own -> HAKMEM_STAT -> the command, as `hakmem run` starts it
 *   every process of it  -> a file there, in which it counts (hakmem/stat_format.h)
 *   meanwhile             -> the files of processes that have ended are taken in and removed, now and then:
 *                            a build of thousands of processes leaves no more than those that run
 *   the command has ended -> the others, too; print, and end as the command ended
 */
#define _GNU_SOURCE
#include "cli.h"
#include "launch.h"
#include "stat_read.h"
#include "stat_report.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char help[] =
    "usage: hakmem stat [--json] [--all] [-o FILE] [--lib PATH] [--set NAME=VALUE]... [--strict]\n"
    "                   [--] COMMAND [ARGUMENT]...\n"
    "\n"
    "Runs COMMAND with hakmem as its allocator and then tells what COMMAND and all processes it\n"
    "started asked for, every system call that took hakmem, and which requests led to them.\n"
    "\n"
    "  --json            everything, for each process and in sum, as JSON (docs/stat.md)\n"
    "  --all             every row of the tables\n"
    "  -o FILE           write to FILE instead of standard error\n"
    "  --lib PATH        the library to use, instead of the one found beside this command\n"
    "  --set NAME=VALUE  set an option of hakmem: --set ace=off is HAKMEM_ACE=off\n"
    "  --strict          do not run COMMAND where hakmem could not take effect\n"
    "  --help            this text\n"
    "\n"
    "Signals go to COMMAND, and the exit status is COMMAND's own.\n"
    "\n"
    "environment   HAKMEM_LIBRARY  the library, unless --lib names it\n"
    "              TMPDIR          where the files lie while COMMAND runs, if not in /dev/shm\n"
    "exit status   125  hakmem stat failed, or --strict refused\n"
    "              126  COMMAND cannot be executed      127  COMMAND was not found\n";

struct stat_options {
    struct launch launch;
    const char *output; /* -o, or NULL */
    bool is_json;
    bool is_complete;
};

/* Returns -1 to go on, else the exit status. */
static int parse_options(int argc, char **argv, struct stat_options *options) {
    static const struct option known[] = {
        {"json", no_argument, NULL, 'j'},         {"all", no_argument, NULL, 'a'},
        {"output", required_argument, NULL, 'o'}, {"lib", required_argument, NULL, 'l'},
        {"set", required_argument, NULL, 'S'},    {"strict", no_argument, NULL, 's'},
        {"help", no_argument, NULL, 'h'},         {NULL, 0, NULL, 0},
    };
    opterr = 0; /* its messages would not look like ours */
    for (int option; (option = getopt_long(argc, argv, "+:o:h", known, NULL)) != -1;) {
        switch (option) {
        case 'j':
            options->is_json = true;
            break;
        case 'a':
            options->is_complete = true;
            break;
        case 'o':
            options->output = optarg;
            break;
        case 'l':
            options->launch.library = optarg;
            break;
        case 'S':
            if (!launch_set_option("--set", optarg)) {
                return CLI_EXIT_REFUSED;
            }
            break;
        case 's':
            options->launch.is_strict = true;
            break;
        case 'h':
            fputs(help, stdout);
            return EXIT_SUCCESS;
        default:
            cli_say("error", "stat: %s %s; see hakmem stat --help",
                    option == ':' ? "missing value after" : "unknown option", argv[optind - 1]);
            return CLI_EXIT_REFUSED;
        }
    }
    if (optind == argc) {
        cli_say("error", "stat: no command given; see hakmem stat --help");
        return CLI_EXIT_REFUSED;
    }
    options->launch.command = argv + optind;
    return -1;
}

/* ---- the directory ---- */

/* In memory if that can be had. False: it said what failed. */
static bool make_directory(char path[PATH_MAX]) {
    const char *places[] = {"/dev/shm", getenv("TMPDIR"), "/tmp"};
    int error = ENOENT;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (places[i] == NULL || places[i][0] != '/') {
            continue; /* the command may go to another directory */
        }
        int length = snprintf(path, PATH_MAX, "%s/hakmem-stat-XXXXXX", places[i]);
        if (length < PATH_MAX && mkdtemp(path) != NULL) {
            return true;
        }
        error = errno;
    }
    cli_say("error", "stat: no directory for the counts can be made: %s", strerror(error));
    return false;
}

static void remove_directory(const char *path) {
    DIR *files = opendir(path);
    for (struct dirent *entry; files != NULL && (entry = readdir(files)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            unlinkat(dirfd(files), entry->d_name, 0);
        }
    }
    if (files != NULL) {
        closedir(files);
    }
    if (rmdir(path) != 0) {
        cli_say("warning", "stat: %s: %s", path, strerror(errno));
    }
}

/* ---- the command ---- */

static volatile sig_atomic_t g_child; /* 0: none */

/*
 * What a terminal sends goes to the whole group, the command included; the rest is passed on. What a process
 * sends to the group is so sent to the command twice: nothing tells it from what was sent to us alone.
 */
static void forward(int number, siginfo_t *info, void *context) {
    (void)context;
    if (g_child != 0 && info->si_code != SI_KERNEL) {
        int error = errno;
        kill(g_child, number);
        errno = error;
    }
}

static const int forwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM};
enum { FORWARDED_COUNT = sizeof forwarded / sizeof forwarded[0] };

/* As it was for us, so it is for the command: what is ignored (nohup) stays ignored. */
static void forward_signals(void) {
    for (int i = 0; i < FORWARDED_COUNT; i++) {
        struct sigaction action = {.sa_sigaction = forward, .sa_flags = SA_SIGINFO | SA_RESTART};
        struct sigaction before;
        sigemptyset(&action.sa_mask);
        if (sigaction(forwarded[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) {
            sigaction(forwarded[i], &action, NULL);
        }
    }
}

/* SIGCHLD, too, and not ignored: the kernel would keep the child's end from us (wait(2)). */
static void block_signals(sigset_t *before, struct sigaction *child_ended) {
    struct sigaction by_default = {.sa_handler = SIG_DFL};
    sigset_t blocked;
    sigemptyset(&by_default.sa_mask);
    sigaction(SIGCHLD, &by_default, child_ended);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    for (int i = 0; i < FORWARDED_COUNT; i++) {
        sigaddset(&blocked, forwarded[i]);
    }
    sigprocmask(SIG_BLOCK, &blocked, before);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t microseconds(struct timeval time) {
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

/*
 * Until the child has ended, takes in what others have left behind. SIGCHLD is blocked, so that it
 * cannot come between looking and waiting. False: it said why the end cannot be known.
 */
static bool wait_for(pid_t child, const char *directory, struct stat_tree *tree, int *status,
                     struct rusage *usage) {
    static const struct timespec interval = {0, 250000000};
    sigset_t ended;
    sigemptyset(&ended);
    sigaddset(&ended, SIGCHLD);
    for (;;) {
        pid_t got = wait4(child, status, WNOHANG, usage);
        if (got == child) {
            return true;
        }
        if (got < 0 && errno != EINTR) {
            cli_say("error", "stat: wait4: %s", strerror(errno));
            return false;
        }
        if (sigtimedwait(&ended, NULL, &interval) < 0 && errno == EAGAIN) {
            stat_gather(directory, tree, false);
        }
    }
}

/*
 * In the child: becomes the command. Where that fails it says so in *is_refused, which the parent shares; the
 * exit status alone could be the command's own.
 */
static _Noreturn void become_command(const struct launch *launch, const char *directory,
                                     bool *is_refused) {
    int status = CLI_EXIT_REFUSED;
    if (setenv("HAKMEM_STAT", directory, 1) != 0) {
        cli_say("error", "stat: HAKMEM_STAT: %s", strerror(errno));
    } else if (launch_prepare(launch)) {
        status = launch_execute(launch->command);
    }
    *is_refused = true;
    _exit(status);
}

/* Runs the command to its end. False: it said what failed. */
static bool run_command(const struct launch *launch, const char *directory, struct stat_run *run,
                        struct stat_tree *tree) {
    int status = 0;
    struct rusage usage = {.ru_maxrss = 0};
    struct sigaction child_ended;
    sigset_t before;
    bool *is_refused =
        mmap(NULL, sizeof *is_refused, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (is_refused == MAP_FAILED) {
        cli_say("error", "stat: mmap: %s", strerror(errno));
        return false;
    }
    uint64_t start = now_ns();
    block_signals(&before, &child_ended); /* none may come between fork and the handlers */
    pid_t child = fork();
    if (child == 0) {
        sigaction(SIGCHLD, &child_ended, NULL); /* as it was for us, so it is for the command */
        sigprocmask(SIG_SETMASK, &before, NULL);
        become_command(launch, directory, is_refused);
    }
    if (child < 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        cli_say("error", "stat: fork: %s", strerror(errno));
        return false;
    }
    g_child = child;
    forward_signals();
    signal(SIGIO, SIG_IGN); /* somebody opens a file that we hold a lease on for a moment */
    sigaddset(&before, SIGCHLD);
    sigprocmask(SIG_SETMASK, &before, NULL);
    bool has_ended = wait_for(child, directory, tree, &status, &usage);
    g_child = 0;
    *run = (struct stat_run){
        .command = launch->command,
        .is_started = !*is_refused,
        .exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
        .signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
        .wall_ns = now_ns() - start,
        .user_us = microseconds(usage.ru_utime),
        .system_us = microseconds(usage.ru_stime),
        .peak_rss_kib = (uint64_t)usage.ru_maxrss,
    };
    return has_ended;
}

/* Ends as the command ended; without a core file of ours in the place of its own. */
static int end_like(const struct stat_run *run) {
    if (run->signal == 0) {
        return run->exit_status;
    }
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    signal(run->signal, SIG_DFL);
    raise(run->signal);
    return 128 + run->signal;
}

/* ---- the report ---- */

static bool print_report(FILE *out, const struct stat_options *options, const struct stat_run *run,
                         const struct stat_tree *tree) {
    bool is_printed = true;
    if (options->is_json) {
        is_printed = stat_print_json(out, run, tree);
    } else {
        stat_print_text(out, run, tree, options->is_complete);
    }
    return fflush(out) == 0 && !ferror(out) && is_printed;
}

int cli_stat(int argc, char **argv) {
    struct stat_options options = {.output = NULL};
    struct stat_run run;
    static struct stat_tree tree;
    char directory[PATH_MAX];
    int status = parse_options(argc, argv, &options);
    if (status != -1) {
        return status;
    }
    FILE *out = options.output == NULL ? stderr : fopen(options.output, "we");
    if (out == NULL) {
        cli_say("error", "stat: %s: %s", options.output, strerror(errno));
        return CLI_EXIT_REFUSED;
    }
    if (!make_directory(directory)) {
        return CLI_EXIT_REFUSED;
    }
    bool has_run = run_command(&options.launch, directory, &run, &tree);
    bool is_complete = has_run && stat_gather(directory, &tree, true) && stat_finish(&tree);
    remove_directory(directory);
    if (!is_complete) {
        return CLI_EXIT_REFUSED;
    }
    if (run.is_started && !print_report(out, &options, &run, &tree)) {
        cli_say("error", "stat: the report cannot be written");
        return CLI_EXIT_REFUSED;
    }
    stat_free(&tree);
    return end_like(&run);
}
