/* test/stress/exchange.c — blocks that change threads, with churn. SPDX-License-Identifier: MIT */
/*
 * usage: exchange [OPERATIONS] [THREADS] [SEED]          by default 4000000 8 1
 *
 * Goal: a block keeps its contents whoever allocated it, whoever resized it and whoever frees it,
 * while threads come and go; every block is freed exactly once.
 * Method: all threads swap stamped blocks through a few mailboxes (so that most frees are remote),
 * verify what they get, resize some, and free the rest. A thread lives for a random number of
 * operations and is replaced. Allocations and frees are counted and must balance at the end. Every 2^16
 * operations all stand still, and hakmem_check() looks at everything.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "../promise/memory_use.h"
#include "books.h"
#include "gate.h"

enum { LOOK_EVERY = 1 << 16, MAILBOXES = 256, THREADS_MAX = 128, LIFE_MAX = 40000, HELD = 64 };

static _Atomic(void *) g_mailbox[MAILBOXES];
static atomic_ulong g_left;
static atomic_ulong g_allocated;
static atomic_ulong g_freed;
static atomic_ulong g_lives;

struct counts {
    unsigned long allocated;
    unsigned long freed;
};

static void *get(struct counts *counts, uint64_t *state) {
    size_t size = stress_size(state);
    uint64_t seed = random_next(state);
    void *block = NULL;
    switch (seed % 8) {
    case 0:
        block = api.calloc(1, size);
        if (block != NULL && zero_check(block, size) != size)
            stress_fail("calloc is not zero");
        break;
    case 1:
        block = api.aligned_alloc((size_t)16 << (seed % 9), size);
        break;
    case 2:
        block = api.realloc(NULL, size);
        break;
    default:
        block = api.malloc(size);
    }
    if (stamp_block(block, size, seed) == NULL)
        stress_fail("out of memory");
    counts->allocated++;
    return block;
}

static void give(struct counts *counts, void *block) {
    if (block != NULL) {
        stamped_free(block);
        counts->freed++;
    }
}

/* Grows or shrinks somebody's block; the stamp's first part must survive. */
static void *resize(uint64_t *state, void *block) {
    struct stamp stamp;
    memcpy(&stamp, block, sizeof stamp);
    size_t size = stress_size(state);
    size_t kept = stamp.size < size ? stamp.size : size;
    size_t dense = kept - sizeof stamp < STAMP_DENSE ? kept - sizeof stamp : STAMP_DENSE;
    unsigned char *moved = api.realloc(block, size);
    if (moved == NULL)
        stress_fail("out of memory");
    if (memcmp(moved, &stamp, sizeof stamp) != 0 ||
        pattern_check(moved + sizeof stamp, dense, stamp.seed) != dense)
        stress_fail("realloc lost the contents");
    return stamp_block(moved, size, random_next(state));
}

/* Takes up to `life` operations from what is left of the whole run. */
static unsigned long take_operations(unsigned long life) {
    unsigned long left = atomic_load(&g_left);
    while (left > 0) {
        unsigned long take = left < life ? left : life;
        if (atomic_compare_exchange_weak(&g_left, &left, left - take))
            return take;
    }
    return 0;
}

static void live_once(uint64_t *state) {
    void *held[HELD] = {NULL};
    struct counts counts = {0, 0};
    unsigned long operations = take_operations(1 + random_next(state) % LIFE_MAX);
    for (unsigned long i = 0; i < operations; i++) {
        gate_pass();
        uint64_t r = random_next(state);
        void **mine = &held[r % HELD];
        if (*mine == NULL)
            *mine = get(&counts, state);
        if (!stamp_holds(*mine))
            stress_fail("a held block changed");
        if ((r >> 8) % 16 == 0)
            *mine = resize(state, *mine);
        *mine = atomic_exchange(&g_mailbox[(r >> 16) % MAILBOXES], *mine);
        if (*mine != NULL && !stamp_holds(*mine))
            stress_fail("a received block is not what was sent");
        if ((r >> 32) % 2 == 0) {
            give(&counts, *mine);
            *mine = NULL;
        }
    }
    for (int i = 0; i < HELD; i++)
        give(&counts, held[i]);
    atomic_fetch_add(&g_allocated, counts.allocated);
    atomic_fetch_add(&g_freed, counts.freed);
    atomic_fetch_add(&g_lives, 1);
}

static void *short_life(void *state) {
    live_once(state);
    return NULL;
}

/* Keeps one thread alive at a time, a new one whenever the last has done its share. */
static void *keeper(void *seed) {
    uint64_t state = (uint64_t)(uintptr_t)seed;
    while (atomic_load(&g_left) > 0) {
        pthread_t thread;
        gate_enter();
        if (pthread_create(&thread, NULL, short_life, &state) != 0)
            stress_fail("pthread_create");
        pthread_join(thread, NULL);
        gate_leave();
    }
    return NULL;
}

/* Until all operations are given out. Returns how often. */
static unsigned long look_now_and_then(void) {
    unsigned long looks = 0;
    unsigned long before = atomic_load(&g_left);
    for (unsigned long left = before; left > 0; left = atomic_load(&g_left)) {
        usleep(200);
        if (before - left < LOOK_EVERY)
            continue;
        before = left;
        gate_close();
        books_check("hakmem_check, all standing still", HAKMEM_CHECK_QUIESCENT);
        gate_open();
        books_check("hakmem_check, while threads go on", 0);
        looks++;
    }
    return looks;
}

int main(int argc, char **argv) {
    unsigned long operations = stress_argument(argc, argv, 1, 4000000);
    unsigned long threads = stress_argument(argc, argv, 2, 8);
    unsigned long seed = stress_argument(argc, argv, 3, 1);
    pthread_t thread[THREADS_MAX];
    struct counts last = {0, 0};
    api_load();
    tap_require_override();
    tap_note("operations %lu, threads %lu, seed %lu", operations, threads, seed);
    if (threads < 1 || threads > THREADS_MAX)
        threads = THREADS_MAX;
    atomic_store(&g_left, operations);
    for (unsigned long i = 0; i < threads; i++) {
        if (pthread_create(&thread[i], NULL, keeper, (void *)(seed * 1000 + i + 1)) != 0)
            stress_fail("pthread_create");
    }
    unsigned long looks = look_now_and_then();
    for (unsigned long i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < MAILBOXES; i++)
        give(&last, atomic_exchange(&g_mailbox[i], NULL));
    unsigned long freed = atomic_load(&g_freed) + last.freed;
    CHECK(freed == atomic_load(&g_allocated) && freed > 0,
          "%lu allocated, %lu freed, all contents right", atomic_load(&g_allocated), freed);
    CHECK(atomic_load(&g_lives) >= threads, "%lu threads lived and died", atomic_load(&g_lives));
    books_check("hakmem_check at the end", HAKMEM_CHECK_QUIESCENT);
    CHECK(looks > 0, "hakmem_check found nothing in %lu looks", looks);
    tap_note("resident at the end: %ld KiB", resident_kib());
    return tap_end();
}
