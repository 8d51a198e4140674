/* test/promise/dl_tls.c — twenty libraries with thread-local storage. SPDX-License-Identifier: MIT */
/*
 * Goal: the library can be loaded late when twenty others, half of them initial-exec, have taken of the
 * static TLS that the dynamic linker keeps for such; preloaded, it serves what libc allocates for the
 * others' storage in each thread, however often they come and go.
 * Method: plugin/tls_storage.c, built twenty times. Preloaded: all are loaded, touched by threads that live
 * on and by new ones, and unloaded, 30 times; the books after it are those after 5. Then the program
 * runs itself without LD_PRELOAD, loads the twenty, touches them, and only then loads the library.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "../stress/books.h"

enum { LIBRARIES = 20, THREADS = 3, ROUNDS = 30, WARM_UP_ROUNDS = 5 };

struct storage {
    void *handle;
    int (*use)(int from, int to);
};

static char g_folder[4096];
static struct storage g_storage[LIBRARIES];

static bool load_all(void) {
    for (int i = 0; i < LIBRARIES; i++) {
        char path[sizeof g_folder + 32];
        snprintf(path, sizeof path, "%s/tls_%d.so", g_folder, i + 1);
        g_storage[i].handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (g_storage[i].handle == NULL) {
            tap_note("%s", dlerror());
            return false;
        }
        void *address = dlsym(g_storage[i].handle, "hakmem_storage_use");
        memcpy(&g_storage[i].use, &address, sizeof address);
    }
    return true;
}

/* Last in, first out: the dynamic linker reuses static TLS only from its end. */
static void unload_all(void) {
    for (int i = LIBRARIES - 1; i >= 0; i--) {
        dlclose(g_storage[i].handle);
        g_storage[i] = (struct storage){NULL, NULL};
    }
}

static int use_all(int from, int to) {
    int bad = 0;
    for (int i = 0; i < LIBRARIES; i++)
        bad += g_storage[i].use(from, to);
    return bad;
}

static void *short_body(void *bad) {
    atomic_fetch_add((atomic_int *)bad, use_all(0, 3) + use_all(3, 4));
    return NULL;
}

static int use_by_threads(void) {
    atomic_int bad = 0;
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&thread[i], NULL, short_body, &bad) != 0)
            stress_fail("pthread_create");
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    return atomic_load(&bad);
}

static struct hakmem_stats run_rounds(struct sweep *s, int rounds) {
    for (int round = 0; round < rounds; round++) {
        if (!load_all())
            stress_fail("dlopen");
        SWEEP(s, use_all(0, 1) == 0, "round %d: storage is not zero", round);
        SWEEP(s, use_by_threads() == 0, "round %d: storage of a thread", round);
        SWEEP(s, use_all(1, 2) == 0, "round %d: storage has changed", round);
        unload_all();
    }
    return books_balance();
}

/* ---- without LD_PRELOAD ---- */

struct late {
    void *(*malloc)(size_t);
    void (*free)(void *);
    bool uses_storage;
    atomic_int bad;
};

static void *late_body(void *argument) {
    struct late *late = argument;
    int bad = late->uses_storage ? use_all(0, 7) : 0;
    for (size_t size = 1; size < 300000; size = size * 2 + 1) {
        unsigned char *block = late->malloc(size);
        if (block == NULL) {
            bad++;
            continue;
        }
        pattern_fill(block, size, size);
        bad += pattern_check(block, size, size) != size;
        late->free(block);
    }
    if (late->uses_storage)
        bad += use_all(7, 8);
    atomic_fetch_add(&late->bad, bad);
    return NULL;
}

static int run_late(const char *library) {
    struct late late = {.uses_storage = true};
    pthread_t thread[THREADS];
    CHECK(dlsym(RTLD_DEFAULT, "hakmem_version") == NULL, "not preloaded");
    if (!CHECK(load_all(), "%d libraries with thread-local storage are loaded late", LIBRARIES))
        return tap_end();
    CHECK(use_all(0, 1) == 0 && use_by_threads() == 0, "and used");
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (!CHECK(handle != NULL, "then hakmem is loaded: %s", handle != NULL ? "yes" : dlerror()))
        return tap_end();
    void *address = dlsym(handle, "malloc");
    memcpy(&late.malloc, &address, sizeof address);
    address = dlsym(handle, "free");
    memcpy(&late.free, &address, sizeof address);
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&thread[i], NULL, late_body, &late) != 0)
            stress_fail("pthread_create");
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    CHECK(atomic_load(&late.bad) == 0 && use_all(1, 2) == 0, "and serves threads of all");
    unload_all();
    dlclose(handle);
    late.uses_storage = false;
    late_body(&late);
    CHECK(atomic_load(&late.bad) == 0, "its code stays when all are closed");
    return tap_end();
}

int main(int argc, char **argv) {
    const char *library = getenv("HAKTEST_LIB");
    ssize_t size = readlink("/proc/self/exe", g_folder, sizeof g_folder - 1);
    char *name = size > 0 ? strrchr(g_folder, '/') : NULL;
    if (!CHECK(name != NULL && library != NULL, "where program and library lie"))
        return tap_end();
    *name = '\0';
    api_load();
    if (argc > 1)
        return run_late(library);
    tap_require_override();
    struct sweep s = sweep_begin("twenty libraries loaded, used by four threads, and unloaded");
    struct hakmem_stats before = run_rounds(&s, WARM_UP_ROUNDS);
    struct hakmem_stats after = run_rounds(&s, ROUNDS);
    sweep_end(&s);
    books_note("before", &before);
    books_note("after", &after);
    CHECK(books_agree(&before, &after), "nothing was left behind, nothing freed twice");
    if (g_tap.failed != 0)
        return tap_end();
    unsetenv("LD_PRELOAD");
    char *next[] = {argv[0], (char *)"late", NULL};
    execv("/proc/self/exe", next);
    CHECK(false, "exec without LD_PRELOAD");
    return tap_end();
}
