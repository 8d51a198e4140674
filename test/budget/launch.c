/* test/budget/launch.c — one program's peak RSS and faults. SPDX-License-Identifier: MIT */
/*
 * usage: launch PRELOAD COMMAND [ARGUMENT]...     prints "<peak RSS, KiB> <minor faults> <status>"
 *
 * A process inherits the peak RSS of the image that called exec, so the launcher must be smaller
 * than what it measures; hence C, linked statically, and nothing in it. The child's stdout goes to
 * /dev/null.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char preload[4200];
    char *environment[] = {preload, NULL};
    posix_spawn_file_actions_t actions;
    struct rusage used;
    pid_t child;
    int status;
    char text[100];
    if (argc < 3 || strlen(argv[1]) > 4096)
        return 2;
    strcpy(preload, "LD_PRELOAD=");
    strcat(preload, argv[1]);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    if (posix_spawn(&child, argv[2], &actions, NULL, argv + 2, environment) != 0 ||
        wait4(child, &status, 0, &used) != child)
        return 3;
    int size = snprintf(text, sizeof text, "%ld %ld %d\n", used.ru_maxrss, used.ru_minflt, status);
    return write(STDOUT_FILENO, text, (size_t)size) != size;
}
