/* test/promise/calloc_zero.c — calloc is zero, always. SPDX-License-Identifier: MIT */
/*
 * Goal: calloc's memory is zero after every kind of recycling: magazine, slab, span, Big, thread
 * exit, remote free, purge, and other size classes having used the memory.
 * Method: dirty memory on purpose: blocks are filled with 0xDF over their whole usable size, freed,
 * and asked for again by calloc; each byte asked for is checked.
 */
#include <pthread.h>

#include "entry_points.h"
#include "patterns.h"
#include "tap.h"

enum { DIRT = 0xDF, BATCH_MAX = 3000 };

static const size_t g_sizes[] = {
    1,     8,     16,    17,     48,     64,     100,     255,           256,     257,
    512,   1000,  1008,  1016,   1023,   1024,   1025,    1040,          2048,    2049,
    4095,  4096,  4097,  8192,   8193,   16000,  32768,   32769,         60000,   65535,
    65536, 65537, 70000, 131072, 262144, 262145, 1 << 20, (1 << 20) + 1, 4 << 20, (4 << 20) + 4096};

enum { SIZE_COUNT = sizeof g_sizes / sizeof g_sizes[0] };

static void *g_batch[BATCH_MAX];

static int batch_count(size_t size) {
    size_t count = ((size_t)24 << 20) / (size + 1);
    return count > BATCH_MAX ? BATCH_MAX : count < 3 ? 3 : (int)count;
}

static void dirty(void *block) {
    if (block != NULL) {
        memset(block, DIRT, api.malloc_usable_size(block));
    }
}

static void expect_zero(struct sweep *s, const void *block, size_t size, const char *how) {
    SWEEP(s, block != NULL, "%s %zu: NULL", how, size);
    if (block != NULL) {
        size_t zeros = zero_check(block, size);
        SWEEP(s, zeros == size, "%s %zu: byte %zu is not zero", how, size, zeros);
    }
}

static void batch_dirty_and_free(size_t size) {
    int count = batch_count(size);
    for (int i = 0; i < count; i++) {
        g_batch[i] = api.malloc(size);
        dirty(g_batch[i]);
    }
    for (int i = 0; i < count; i++) {
        api.free(g_batch[i]);
    }
}

static void batch_calloc_and_check(struct sweep *s, size_t size, const char *how) {
    int count = batch_count(size);
    for (int i = 0; i < count; i++) {
        g_batch[i] = i & 1 ? api.calloc(1, size) : api.calloc(size, 1);
        expect_zero(s, g_batch[i], size, how);
        dirty(g_batch[i]);
    }
    for (int i = count - 1; i >= 0; i--) {
        api.free(g_batch[i]);
    }
}

static void check_same_size(void) {
    struct sweep s = sweep_begin("calloc after free of the same size");
    for (int i = 0; i < SIZE_COUNT; i++) {
        batch_calloc_and_check(&s, g_sizes[i], "fresh");
        batch_dirty_and_free(g_sizes[i]);
        batch_calloc_and_check(&s, g_sizes[i], "recycled");
    }
    sweep_end(&s);
}

/* Memory that one class gave back is cut for another: clean-page knowledge must not survive. */
static void check_other_sizes(void) {
    struct sweep s = sweep_begin("calloc from memory that other sizes used");
    for (int i = 0; i < SIZE_COUNT; i++) {
        batch_dirty_and_free(g_sizes[i]);
        int j = (i * 7 + 3) % SIZE_COUNT;
        batch_calloc_and_check(&s, g_sizes[j], "other size");
    }
    sweep_end(&s);
}

static void check_after_trim(void) {
    struct sweep s = sweep_begin("calloc after malloc_trim");
    for (int i = 0; i < SIZE_COUNT; i++) {
        batch_dirty_and_free(g_sizes[i]);
        api.malloc_trim(0);
        batch_calloc_and_check(&s, g_sizes[i], "trimmed");
    }
    sweep_end(&s);
}

static void check_after_realloc(void) {
    struct sweep s = sweep_begin("calloc from the pieces realloc gave back");
    for (int i = 0; i < SIZE_COUNT; i++) {
        for (int j = 0; j < 6; j++) {
            void *block = api.malloc(g_sizes[i]);
            dirty(block);
            block = api.realloc(block, g_sizes[i] / 3 + 1);
            void *zeroed = api.calloc(1, g_sizes[i] / 2 + 1);
            expect_zero(&s, zeroed, g_sizes[i] / 2 + 1, "after shrink");
            dirty(zeroed);
            block = api.realloc(block, g_sizes[i] * 2);
            dirty(block);
            void *zeroed2 = api.calloc(1, g_sizes[i]);
            expect_zero(&s, zeroed2, g_sizes[i], "after growth");
            api.free(zeroed);
            api.free(zeroed2);
            api.free(block);
        }
    }
    sweep_end(&s);
}

static void *thread_dirty_and_free(void *size) {
    void *block[200];
    for (int i = 0; i < 200; i++) {
        block[i] = api.malloc(*(size_t *)size);
        dirty(block[i]);
    }
    for (int i = 0; i < 200; i++) {
        api.free(block[i]);
    }
    return NULL;
}

static void *thread_free_batch(void *size) {
    for (int i = 0; i < batch_count(*(size_t *)size); i++) {
        api.free(g_batch[i]);
    }
    return NULL;
}

static void run_thread(void *(*body)(void *), void *arg) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, arg) == 0) {
        pthread_join(thread, NULL);
    }
}

static void check_threads(void) {
    struct sweep s = sweep_begin("calloc after thread exit and after remote free");
    for (int i = 0; i < SIZE_COUNT; i++) {
        size_t size = g_sizes[i];
        if (size <= (1 << 20)) {
            run_thread(thread_dirty_and_free, &size);
            batch_calloc_and_check(&s, size, "dead thread's");
        }
        for (int b = 0; b < batch_count(size); b++) {
            g_batch[b] = api.malloc(size);
            dirty(g_batch[b]);
        }
        run_thread(thread_free_batch, &size);
        batch_calloc_and_check(&s, size, "remotely freed");
    }
    sweep_end(&s);
}

static void check_big(void) {
    static const size_t sizes[] = {63 << 20, 64 << 20, 65 << 20, 90 << 20};
    struct sweep s = sweep_begin("calloc of Large and Big after use");
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            void *block = api.malloc(sizes[i]);
            dirty(block);
            api.free(block);
            size_t wanted = sizes[(i + 2) % 4];
            block = api.calloc(wanted, 1);
            expect_zero(&s, block, wanted, "Big");
            api.free(block);
        }
    }
    sweep_end(&s);
}

int main(void) {
    api_load();
    tap_require_override();
    check_same_size();
    check_other_sizes();
    check_after_trim();
    check_after_realloc();
    check_threads();
    check_big();
    return tap_end();
}
