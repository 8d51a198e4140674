/* test/promise/errno_kept.c — free never touches errno. SPDX-License-Identifier: MIT */
/*
 * Goal: every way to free keeps errno on every path, above all on those that make a system call:
 * flush, span and Big release, remote free, a thread's first and only call.
 * Method: a magic errno before each single free; batches large enough to overflow every cache; the
 * same from another thread.
 */
#include <pthread.h>

#include "entry_points.h"
#include "patterns.h"
#include "tap.h"

enum { MAGIC = 4711, BATCH_MAX = 60000 };

static void *g_batch[BATCH_MAX];
static int g_batch_count;
static size_t g_batch_size;

static void by_free(void *block, size_t size) {
    (void)size;
    api.free(block);
}

static void by_cfree(void *block, size_t size) {
    (void)size;
    api.cfree(block);
}

static void by_libc_free(void *block, size_t size) {
    (void)size;
    api.__libc_free(block);
}

static void by_free_sized(void *block, size_t size) {
    api.free_sized(block, size);
}

static void by_free_aligned_sized(void *block, size_t size) {
    api.free_aligned_sized(block, 16, size);
}

static void by_sdallocx(void *block, size_t size) {
    api.sdallocx(block, size, 0);
}

static void by_realloc_zero(void *block, size_t size) {
    (void)size;
    if (api.realloc(block, 0) != NULL) {
        errno = 0;
    }
}

static void by_delete(void *block, size_t size) {
    static void (*operator_delete)(void *);
    (void)size;
    if (operator_delete == NULL) {
        api_set(&operator_delete, "_ZdlPv");
    }
    operator_delete(block);
}

static void by_sized_delete(void *block, size_t size) {
    static void (*operator_delete)(void *, size_t);
    if (operator_delete == NULL) {
        api_set(&operator_delete, "_ZdlPvm");
    }
    operator_delete(block, size);
}

static void batch_allocate(size_t size) {
    size_t count = ((size_t)96 << 20) / (size + 1);
    g_batch_count = count > BATCH_MAX ? BATCH_MAX : count < 4 ? 4 : (int)count;
    g_batch_size = size;
    for (int i = 0; i < g_batch_count; i++) {
        g_batch[i] = api.malloc(size);
        if (g_batch[i] != NULL) {
            *(unsigned char *)g_batch[i] = 1;
        }
    }
}

static void batch_free(struct sweep *s, void (*give)(void *, size_t), const char *who) {
    for (int i = 0; i < g_batch_count; i++) {
        errno = MAGIC;
        give(g_batch[i], g_batch_size);
        SWEEP(s, errno == MAGIC, "%s, size %zu, block %d of %d: errno %d", who, g_batch_size, i,
              g_batch_count, errno);
    }
}

struct remote {
    struct sweep *sweep;
    void (*give)(void *, size_t);
};

static void *thread_body(void *arg) {
    struct remote *r = arg;
    batch_free(r->sweep, r->give, "another thread");
    return NULL;
}

static void sweep_way(const char *name, void (*give)(void *, size_t)) {
    static const size_t sizes[] = {0,       1,       64,       1000,     1025,
                                   8192,    60000,   65536,    65537,    300000,
                                   1 << 20, 5 << 20, 64 << 20, 70 << 20, 200 << 20};
    char what[80];
    snprintf(what, sizeof what, "%s keeps errno", name);
    struct sweep s = sweep_begin(what);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        batch_allocate(sizes[i]);
        batch_free(&s, give, "owner");
        batch_allocate(sizes[i]);
        pthread_t thread;
        struct remote r = {&s, give};
        if (pthread_create(&thread, NULL, thread_body, &r) == 0) {
            pthread_join(thread, NULL);
        }
    }
    sweep_end(&s);
}

int main(void) {
    static const struct {
        const char *name;
        const char *symbol;
        void (*give)(void *, size_t);
    } way[] = {{"free", "free", by_free},
               {"realloc(p, 0)", "realloc", by_realloc_zero},
               {"cfree", "cfree", by_cfree},
               {"__libc_free", "__libc_free", by_libc_free},
               {"free_sized", "free_sized", by_free_sized},
               {"free_aligned_sized", "free_aligned_sized", by_free_aligned_sized},
               {"sdallocx", "sdallocx", by_sdallocx},
               {"operator delete", "_ZdlPv", by_delete},
               {"sized operator delete", "_ZdlPvm", by_sized_delete}};
    api_load();
    tap_require_override();
    for (size_t i = 0; i < sizeof way / sizeof way[0]; i++) {
        if (dlsym(RTLD_DEFAULT, way[i].symbol) != NULL) {
            sweep_way(way[i].name, way[i].give);
        } else {
            CHECK(tap_any_allocator(), "%s is exported", way[i].symbol);
        }
    }
    return tap_end();
}
