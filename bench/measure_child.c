/* bench/measure_child.c — runs one command and says what it cost. SPDX-License-Identifier: MIT */
/*
 * usage: measure_child [-e NAME=VALUE]... RESULT COMMAND [ARGUMENT]...
 *
 * Runs COMMAND with the given additions to its environment and writes to the file RESULT, one
 * `name value` a line: exit or signal, wall_ns, user_us, system_us, peak_rss_kib, minor_faults.
 *
 * Why not simply wait4() in the script that compares allocators: a process begins with the peak RSS
 * of the image that called exec (Linux, exec_mmap() → setmax_mm_hiwater_rss()). Started by an
 * interpreter of 10 MB, a program of 2 MB would be reported as 10. This one is smaller than what it
 * measures, and posix_spawn() lends its memory to the child until exec, so no page is copied.
 */
#include "bench_common.h"

#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

static const char usage[] = "[-e NAME=VALUE]... RESULT COMMAND [ARGUMENT]...";

static uint64_t timeval_us(struct timeval time) {
    return (uint64_t)time.tv_sec * UINT64_C(1000000) + (uint64_t)time.tv_usec;
}

static void write_result(const char *path, int status, uint64_t wall_ns,
                         const struct rusage *used) {
    FILE *result = fopen(path, "we");
    if (result == NULL) {
        bench_die(path);
    }
    if (WIFSIGNALED(status)) {
        fprintf(result, "signal %d\n", WTERMSIG(status));
    } else {
        fprintf(result, "exit %d\n", WEXITSTATUS(status));
    }
    fprintf(result, "wall_ns %" PRIu64 "\n", wall_ns);
    fprintf(result, "user_us %" PRIu64 "\n", timeval_us(used->ru_utime));
    fprintf(result, "system_us %" PRIu64 "\n", timeval_us(used->ru_stime));
    fprintf(result, "peak_rss_kib %ld\n", used->ru_maxrss);
    fprintf(result, "minor_faults %ld\n", used->ru_minflt);
    if (fclose(result) != 0) {
        bench_die(path);
    }
}

int main(int argc, char **argv) {
    /* "+": an option behind COMMAND is COMMAND's own. */
    for (int option; (option = getopt(argc, argv, "+e:h")) != -1;) {
        if (option == 'h') {
            bench_usage(stdout, EXIT_SUCCESS, usage);
        }
        /* This process keeps its allocator: its own loader has done its work already. */
        if (option != 'e' || strchr(optarg, '=') == NULL || putenv(optarg) != 0) {
            bench_usage(stderr, BENCH_EXIT_USAGE, usage);
        }
    }
    if (argc - optind < 2) {
        bench_usage(stderr, BENCH_EXIT_USAGE, usage);
    }
    const char *result = argv[optind];
    char **command = argv + optind + 1;

    pid_t child;
    uint64_t begin = bench_wall_ns();
    errno = posix_spawnp(&child, command[0], NULL, NULL, command, environ);
    if (errno != 0) {
        bench_die(command[0]);
    }
    int status;
    struct rusage used;
    while (wait4(child, &status, 0, &used) < 0) {
        if (errno != EINTR) {
            bench_die("wait4");
        }
    }
    write_result(result, status, bench_wall_ns() - begin, &used);
    return EXIT_SUCCESS;
}
