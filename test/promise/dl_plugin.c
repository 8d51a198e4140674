/* test/promise/dl_plugin.c — a library that allocates comes and goes. SPDX-License-Identifier: MIT */
/*
 * Goal: a library that is loaded late, allocates in its constructor, in its functions, in its
 * thread-local storage and in its destructor, and is unloaded again, leaves nothing behind, however often.
 * Method: plugin/allocating.c is loaded, used and really unloaded 200 times; each time short threads use
 * it, too, and other threads allocate, free and load it meanwhile (dlopen and dlclose allocate in libc).
 * The library's books after 200 rounds are those after 20.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>

#include "../stress/books.h"

enum { ROUNDS = 200, WARM_UP_ROUNDS = 20, USERS = 3, MAILBOXES = 64 };

static char g_plugin[4096];
static _Atomic(void *) g_mailbox[MAILBOXES];
static atomic_int g_is_over;

static void exchange_some(uint64_t *state, int steps) {
    for (int i = 0; i < steps; i++) {
        void *fresh = stamped_new(state);
        if (fresh == NULL)
            stress_fail("out of memory");
        stamped_free(atomic_exchange(&g_mailbox[random_next(state) % MAILBOXES], fresh));
    }
}

static void *plugin_open(void) {
    void *handle = dlopen(g_plugin, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        tap_note("%s", dlerror());
        stress_fail("dlopen");
    }
    return handle;
}

static void plugin_use(void *handle) {
    int (*use)(void);
    void *address = dlsym(handle, "hakmem_plugin_use");
    memcpy(&use, &address, sizeof use);
    if (address == NULL || use() != 0)
        stress_fail("a block of the plug-in");
}

/* The first use in this thread makes its thread-local storage, its end gives it back. */
static void *user_body(void *handle) {
    uint64_t state = (uintptr_t)&state | 1;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock); /* the plug-in's blocks are shared */
    plugin_use(handle);
    pthread_mutex_unlock(&lock);
    exchange_some(&state, 20);
    return NULL;
}

static void round_of_use(uint64_t *state) {
    pthread_t users[USERS];
    void *handle = plugin_open();
    plugin_use(handle);
    for (int i = 0; i < USERS; i++) {
        if (pthread_create(&users[i], NULL, user_body, handle) != 0)
            stress_fail("pthread_create");
    }
    for (int i = 0; i < USERS; i++)
        pthread_join(users[i], NULL);
    exchange_some(state, 20);
    if (dlclose(handle) != 0)
        stress_fail("dlclose");
}

static void *stranger_body(void *argument) {
    uint64_t state = (uintptr_t)argument;
    while (atomic_load(&g_is_over) == 0) {
        exchange_some(&state, 50);
        usleep(200);
    }
    return NULL;
}

static struct hakmem_stats run_rounds(int rounds) {
    pthread_t strangers[2];
    uint64_t state = 99;
    atomic_store(&g_is_over, 0);
    for (size_t i = 0; i < 2; i++) {
        if (pthread_create(&strangers[i], NULL, stranger_body, (void *)(i + 1)) != 0)
            stress_fail("pthread_create");
    }
    struct sweep s = sweep_begin("loaded, used by four threads, and unloaded");
    for (int i = 0; i < rounds; i++) {
        round_of_use(&state);
        void *left = dlopen(g_plugin, RTLD_NOW | RTLD_NOLOAD);
        SWEEP(&s, left == NULL, "round %d: it is still loaded", i);
    }
    sweep_end(&s);
    atomic_store(&g_is_over, 1);
    for (int i = 0; i < 2; i++)
        pthread_join(strangers[i], NULL);
    for (int i = 0; i < MAILBOXES; i++)
        stamped_free(atomic_exchange(&g_mailbox[i], NULL));
    return books_balance();
}

int main(void) {
    api_load();
    tap_require_override();
    ssize_t size = readlink("/proc/self/exe", g_plugin, sizeof g_plugin - 32);
    char *name = size > 0 ? strrchr(g_plugin, '/') : NULL;
    if (!CHECK(name != NULL, "where the program lies"))
        return tap_end();
    strcpy(name + 1, "allocating.so");
    struct hakmem_stats before = run_rounds(WARM_UP_ROUNDS);
    struct hakmem_stats after = run_rounds(ROUNDS);
    books_note("before", &before);
    books_note("after", &after);
    CHECK(books_agree(&before, &after), "nothing was left behind, nothing freed twice");
    return tap_end();
}
