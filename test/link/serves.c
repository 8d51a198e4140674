/* test/link/serves.c — whoever links hakmem is served by it. SPDX-License-Identifier: MIT */
/*
 * Goal: each way to link the override (shared, archive, object; with a dynamic and with a static C
 * library) takes malloc away from libc, for the program's calls and for libc's own.
 * Method: 20 bytes are a block of 32 here and one of 24 in glibc; blocks come from malloc, from
 * strdup (a call inside libc) and from a second thread, and each is resized and freed.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hakmem/hakmem.h>

enum { REQUEST = 20, BLOCK = 32 };

static const char text[REQUEST] = "nineteen characters";
static int failed;

static void expect_ours(const char *who, char *block) {
    size_t usable = malloc_usable_size(block);
    int is_ours = block != NULL && usable == BLOCK;
    printf("%s - %s: %zu usable bytes\n", is_ours ? "ok" : "not ok", who, usable);
    failed += !is_ours;
    char *larger = realloc(block, 100000);
    if (larger == NULL || memcmp(larger, text, REQUEST) != 0) {
        printf("not ok - %s: realloc lost the contents\n", who);
        failed++;
    }
    free(larger);
}

static void *second_thread(void *block) {
    free(block); /* the first thread's */
    return strdup(text);
}

int main(void) {
    char *block = malloc(REQUEST);
    if (block != NULL)
        memcpy(block, text, REQUEST);
    expect_ours("malloc", block);
    expect_ours("strdup", strdup(text));
    pthread_t thread;
    void *result = NULL;
    if (pthread_create(&thread, NULL, second_thread, malloc(REQUEST)) != 0 ||
        pthread_join(thread, &result) != 0)
        return 2;
    expect_ours("a thread that has ended", result);
    printf("version %s\n", hakmem_version());
    return failed != 0;
}
