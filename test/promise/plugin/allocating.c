/* test/promise/plugin/allocating.c — a library that allocates when it is loaded. SPDX-License-Identifier: MIT */
/*
 * What dl_plugin.c loads and unloads: its constructor and destructor allocate and free in all tiers, it
 * has thread-local storage of its own (which libc allocates for each thread that touches it), and a
 * thread-exit handler runs in its code.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCKS = 6, LOCAL_SIZE = 3000 };

/* Blocks that were lost or damaged so far. */
int hakmem_plugin_use(void);

static const size_t sizes[BLOCKS] = {40, 900, 5000, 60000, 300000, 5000000};
static unsigned char *kept[BLOCKS];
static pthread_key_t key;
static int bad;
static _Thread_local unsigned char local[LOCAL_SIZE];

static unsigned char *make(size_t size, int mark) {
    unsigned char *block = malloc(size);
    if (block == NULL) {
        abort();
    }
    block[0] = (unsigned char)mark;
    block[size - 1] = (unsigned char)mark;
    return block;
}

static void give(unsigned char *block, size_t size, int mark) {
    bad += block[0] != mark || block[size - 1] != mark;
    free(block);
}

static void end_of_thread(void *block) {
    give(block, sizes[1], 77);
}

__attribute__((constructor)) static void load(void) {
    for (int i = 0; i < BLOCKS; i++) {
        give(make(sizes[i], i + 50), sizes[i], i + 50);
        kept[i] = make(sizes[i], i);
    }
    if (pthread_key_create(&key, end_of_thread) != 0) {
        abort();
    }
}

__attribute__((destructor)) static void unload(void) {
    for (int i = 0; i < BLOCKS; i++) {
        give(kept[i], sizes[i], i);
    }
    give(make(sizes[2], 9), sizes[2], 9);
    free(pthread_getspecific(key));
    pthread_key_delete(key);
    if (bad != 0) {
        abort();
    }
}

int hakmem_plugin_use(void) {
    if (pthread_getspecific(key) == NULL) {
        pthread_setspecific(key, make(sizes[1], 77));
    }
    memset(local, 1, sizeof local);
    for (int i = 0; i < BLOCKS; i++) {
        kept[i] = realloc(kept[i], sizes[i]);
        bad += kept[i] == NULL || kept[i][0] != i;
    }
    return bad;
}
