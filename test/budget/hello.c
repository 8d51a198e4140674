/* test/budget/hello.c — the smallest program that allocates. SPDX-License-Identifier: MIT */
/* stdio's buffer is the one allocation of a hello world: start-up is paid, and nothing else. */
#include <stdio.h>

int main(void) {
    return puts("hello") < 0;
}
