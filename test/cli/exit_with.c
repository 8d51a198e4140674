/* test/cli/exit_with.c — exits with the status it is given. SPDX-License-Identifier: MIT */
/* The command under `hakmem run`: linked statically, made setuid, … by test_cli.py. */
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    puts("program ran");
    return argc > 1 ? atoi(argv[1]) : 0;
}
