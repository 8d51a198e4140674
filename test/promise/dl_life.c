/* test/promise/dl_life.c — dlopen late, dlclose often. SPDX-License-Identifier: MIT */
/*
 * Goal: the library can be loaded late with RTLD_LOCAL beside another allocator (no static-TLS
 * exhaustion), and survives dlclose while threads that used it are alive: its code stays mapped, so
 * that a thread's exit never jumps into a hole.
 * Method: phase 1 runs as started (preloaded): dlopen and dlclose of the library 1,000 times. Then
 * the program runs itself without LD_PRELOAD; phase 2 loads the library late, uses it in threads,
 * closes it 1,000 times, and lets the threads exit after the last close.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "entry_points.h"
#include "patterns.h"
#include "tap.h"

enum { ROUNDS = 1000, THREADS = 8 };

struct late {
    void *handle;
    void *(*malloc)(size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
};

static bool late_open(struct late *l, const char *library) {
    l->handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (l->handle == NULL) {
        tap_note("%s", dlerror());
        return false;
    }
    void *address = dlsym(l->handle, "malloc");
    memcpy(&l->malloc, &address, sizeof address);
    address = dlsym(l->handle, "realloc");
    memcpy(&l->realloc, &address, sizeof address);
    address = dlsym(l->handle, "free");
    memcpy(&l->free, &address, sizeof address);
    return l->malloc != NULL && l->realloc != NULL && l->free != NULL;
}

static bool late_use(const struct late *l, uint64_t seed) {
    bool good = true;
    for (size_t size = 1; size <= 200000; size = size * 3 + 1) {
        unsigned char *block = l->malloc(size);
        good = good && block != NULL;
        pattern_fill(block, size, seed);
        block = l->realloc(block, size * 2);
        good = good && block != NULL && pattern_check(block, size, seed) == size;
        l->free(block);
    }
    return good;
}

static atomic_int g_used;
static atomic_int g_release;
static atomic_int g_bad;

static void *thread_body(void *late) {
    if (!late_use(late, 77)) {
        atomic_fetch_add(&g_bad, 1);
    }
    atomic_fetch_add(&g_used, 1);
    while (atomic_load(&g_release) == 0) {
        usleep(1000);
    }
    return NULL; /* the library's thread-exit code runs here, after the last dlclose */
}

static int run_without_preload(const char *library) {
    struct late l;
    pthread_t thread[THREADS];
    if (!CHECK(dlsym(RTLD_DEFAULT, "hakmem_version") == NULL, "not preloaded in phase 2") ||
        !CHECK(late_open(&l, library), "late dlopen with RTLD_LOCAL")) {
        return tap_end();
    }
    Dl_info where;
    CHECK(dladdr((void *)(uintptr_t)l.malloc, &where) != 0 &&
              strstr(where.dli_fname, "libc.so") == NULL,
          "its malloc is its own");
    CHECK(dladdr((void *)(uintptr_t)malloc, &where) != 0 &&
              strstr(where.dli_fname, "hakmem") == NULL,
          "the program keeps libc's malloc");
    CHECK(late_use(&l, 1), "the late library serves the main thread");
    for (int i = 0; i < THREADS; i++) {
        if (!CHECK(pthread_create(&thread[i], NULL, thread_body, &l) == 0, "thread %d", i)) {
            return tap_end();
        }
    }
    while (atomic_load(&g_used) < THREADS) {
        usleep(1000);
    }
    CHECK(atomic_load(&g_bad) == 0, "the late library serves %d threads", THREADS);
    void *block = l.malloc(1000);
    struct sweep s = sweep_begin("dlclose and dlopen 1,000 times");
    for (int i = 0; i < ROUNDS; i++) {
        dlclose(l.handle);
        SWEEP(&s, late_open(&l, library), "round %d", i);
        SWEEP(&s, l.handle != NULL && late_use(&l, (uint64_t)i), "use in round %d", i);
    }
    sweep_end(&s);
    l.free(block);
    dlclose(l.handle);
    atomic_store(&g_release, 1);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
    }
    CHECK(true, "threads that used the library exit after its dlclose");
    return tap_end();
}

int main(int argc, char **argv) {
    const char *library = getenv("HAKTEST_LIB");
    if (library == NULL) {
        CHECK(false, "HAKTEST_LIB names the library");
        return tap_end();
    }
    if (argc > 1 && strcmp(argv[1], "late") == 0) {
        return run_without_preload(library);
    }
    api_load();
    tap_require_override();
    struct sweep s = sweep_begin("dlclose of the preloaded library 1,000 times");
    void *held = api.malloc(5000);
    for (int i = 0; i < ROUNDS; i++) {
        void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
        void *block = api.malloc((size_t)i * 100);
        SWEEP(&s, handle != NULL && block != NULL, "round %d", i);
        if (handle != NULL) {
            dlclose(handle);
        }
        api.free(block);
    }
    api.free(held);
    sweep_end(&s);
    if (g_tap.failed != 0) {
        return tap_end();
    }
    unsetenv("LD_PRELOAD");
    char *next[] = {argv[0], (char *)"late", NULL};
    execv("/proc/self/exe", next);
    CHECK(false, "exec without LD_PRELOAD");
    return tap_end();
}
