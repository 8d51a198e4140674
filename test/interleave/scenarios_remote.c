/* test/interleave/scenarios_remote.c — blocks freed by threads that are not their heaps'. SPDX-License-Identifier: MIT */

#include <hakmem/hakmem.h>
#include <pthread.h>

#include "heap/registry.h"
#include "heap/remote.h"
#include "scenarios.h"
#include "scheduled_prim.h"
#include "use.h"

enum { BLOCKS = 8 };

static void *g_blocks[BLOCKS];

/* Thread 0's blocks. */
static void own_blocks(void) {
    for (int i = 0; i < BLOCKS; i++)
        g_blocks[i] = use_alloc(USE_SMALL);
}

static void own_mid_blocks(void) {
    for (int i = 0; i < BLOCKS; i++)
        g_blocks[i] = use_alloc(USE_MID);
}

/* The thread gets a heap, and something to gather blocks in, which its first remote free makes. */
static void gather_first(void) {
    use_free(use_alloc(64));
    use_free(g_blocks[BLOCKS - schedule_self()]);
}

static void send(void) {
    hak_remote_post_all(hak_heap_current());
}

static void send_two(void) {
    use_free(g_blocks[1]);
    use_free(g_blocks[2]);
    send();
}

static void send_two_others(void) {
    use_free(g_blocks[3]);
    use_free(g_blocks[4]);
    send();
}

static void refill_and_flush(void) {
    void *p = use_alloc(USE_SMALL);
    use_free(g_blocks[0]);
    use_free(p);
    use_alloc(USE_SMALL);
}

static void exit_at_once(void) {
}

static void alloc_small(void) {
    use_free(use_alloc(USE_SMALL));
    use_alloc(USE_SMALL);
}

/* The owner drains in each of its slow paths; its last blocks come home by message, and the slab leaves. */
const struct scenario scenario_remote_refill = {
    .name = "remote_refill",
    .setup = use_start,
    .prologue = {own_blocks, gather_first},
    .body = {refill_and_flush, send_two},
    .check = use_balance,
};

static void free_rest_and_refill(void) {
    use_free(g_blocks[0]);
    for (int i = 3; i < BLOCKS - 1; i++)
        use_free(g_blocks[i]);
    use_alloc(USE_SMALL);
}

const struct scenario scenario_remote_last = {
    .name = "remote_last",
    .setup = use_start,
    .prologue = {own_blocks, gather_first},
    .body = {free_rest_and_refill, send_two},
    .check = use_balance,
};

/* Two push onto the inbox that a third takes. */
const struct scenario scenario_remote_two = {
    .name = "remote_two",
    .setup = use_start,
    .prologue = {own_blocks, gather_first, gather_first},
    .body = {alloc_small, send_two, send_two_others},
    .check = use_balance,
};

static void free_mid(void) {
    use_free(g_blocks[1]);
    use_free(g_blocks[2]);
}

static void free_mid_others(void) {
    use_free(g_blocks[3]);
    use_free(g_blocks[4]);
}

static void free_own_mid(void) {
    use_free(g_blocks[0]);
    use_free(g_blocks[BLOCKS - 3]); /* full: flush */
    use_alloc(USE_MID);
    use_alloc(USE_MID); /* empty: refill */
}

/* Blocks that go home at once, or are gathered where the owner is busy. */
const struct scenario scenario_remote_at_once = {
    .name = "remote_at_once",
    .setup = use_start,
    .prologue = {own_mid_blocks, gather_first, gather_first},
    .body = {free_own_mid, free_mid, free_mid_others},
    .check = use_balance,
};

/* The owner ends. */
const struct scenario scenario_remote_exit = {
    .name = "remote_exit",
    .setup = use_start,
    .prologue = {own_blocks, gather_first},
    .body = {exit_at_once, send_two},
    .check = use_balance,
};

/* The owner ends, and another thread takes its heap over. */
const struct scenario scenario_remote_adopt = {
    .name = "remote_adopt",
    .setup = use_start,
    .prologue = {own_blocks, gather_first},
    .body = {exit_at_once, send_two, alloc_small},
    .check = use_balance,
};

/* The owner ends, and its heap is reaped. */
const struct scenario scenario_remote_reap = {
    .name = "remote_reap",
    .setup = use_start,
    .prologue = {own_blocks, gather_first},
    .body = {exit_at_once, send_two, hak_heap_trim},
    .check = use_balance,
};

/* ---- two owners, each with the other's blocks ---- */

static void *g_others[BLOCKS];

static void own_others(void) {
    for (int i = 0; i < BLOCKS; i++)
        g_others[i] = use_alloc(USE_SMALL);
    use_free(g_blocks[BLOCKS - 1]);
}

static void send_others_and_exit(void) {
    use_free(g_others[0]); /* its first: home at once */
    use_free(g_others[1]);
    use_free(g_others[2]);
}

static void send_blocks_and_exit(void) {
    use_free(g_blocks[0]);
    use_free(g_blocks[1]);
}

const struct scenario scenario_remote_cross = {
    .name = "remote_cross",
    .setup = use_start,
    .prologue = {own_blocks, own_others},
    .body = {send_others_and_exit, send_blocks_and_exit},
    .check = use_balance,
};

/* ---- one block, freed by two ---- */

static void free_one_and_send(void) {
    hakmem_free(g_blocks[1]);
    send();
}

static void flush(void) {
    use_free(g_blocks[0]);
    use_free(g_blocks[2]);
}

static void forget_one(void) {
    own_blocks();
    use_forget(g_blocks[1]);
}

/* Whoever is second is told, when the owner or the last who looks opens the message. */
const struct scenario scenario_remote_twice = {
    .name = "remote_twice",
    .aborts = "double free",
    .setup = use_start,
    .prologue = {forget_one, gather_first, gather_first},
    .body = {flush, free_one_and_send, free_one_and_send},
    .check = hak_heap_trim,
};

/* ---- no packet is left ---- */

enum {
    FULL_SLABS = 5,
    FULL_SLAB_BLOCKS = 4096, /* of 16 bytes: 64 words of its bitmap */
    FULL_RECORDS = 8 * 31,   /* all packets of a heap */
    FULL_KEPT = FULL_RECORDS + 8
};

static void *g_full[FULL_KEPT]; /* each in a word of its own */

static void *full_owner(void *argument) {
    static void *all[FULL_SLABS * FULL_SLAB_BLOCKS];
    uintptr_t words[FULL_KEPT] = {0};
    unsigned kept = 0;
    use_magazines_max(1023); /* quicker */
    for (size_t i = 0; i < FULL_SLABS * FULL_SLAB_BLOCKS; i++)
        all[i] = hakmem_malloc(16);
    for (size_t i = 0; i < FULL_SLABS * FULL_SLAB_BLOCKS; i++) {
        uintptr_t word = (uintptr_t)all[i] >> 10;
        bool is_new = kept < FULL_KEPT;
        for (unsigned k = 0; k < kept; k++)
            is_new = is_new && words[k] != word;
        if (is_new) {
            words[kept] = word;
            g_full[kept++] = all[i];
        } else {
            hakmem_free(all[i]);
        }
    }
    EXPECT(kept == FULL_KEPT);
    use_magazines_max(1);
    hak_heap_flush_above(hak_heap_current(), 0);
    prim_thread_exits();
    return argument;
}

static void *full_freer(void *argument) {
    use_free(use_alloc(64));
    for (unsigned i = 0; i <= FULL_RECORDS; i++) /* the first goes home at once */
        hakmem_free(g_full[i]);
    send();
    prim_thread_exits();
    return argument;
}

static void run_thread(void *(*body)(void *)) {
    pthread_t thread;
    EXPECT(pthread_create(&thread, NULL, body, NULL) == 0);
    EXPECT(pthread_join(thread, NULL) == 0);
}

static void full_start(void) {
    use_start();
    run_thread(full_owner);
    struct hak_heap *owner = hak_registry_take_orphan(); /* nobody adopts it */
    run_thread(full_freer);
    hak_registry_orphan(owner); /* the newest: thread 0 takes it, thread 1 the freer's */
}

/* Without a slow path: the owner leaves its inbox alone. */
static void adopt(void) {
    EXPECT(hak_heap_acquire() != NULL);
}

static void full_send(void) {
    hakmem_free(g_full[FULL_RECORDS + 1]);
    hakmem_free(g_full[FULL_RECORDS + 2]);
    send();
    hakmem_free(g_full[FULL_RECORDS + 3]);
    send();
}

static void full_refill(void) {
    use_alloc(16);
    use_free(use_alloc(16));
}

static void full_check(void) {
    for (unsigned i = FULL_RECORDS + 4; i < FULL_KEPT; i++)
        hakmem_free(g_full[i]);
    use_balance();
}

const struct scenario scenario_remote_recall = {
    .name = "remote_recall",
    .setup = full_start,
    .prologue = {adopt, adopt},
    .body = {full_refill, full_send},
    .check = full_check,
};
