/* test/shadow/threads.c — lanes, mailboxes, and threads that come and go. SPDX-License-Identifier: MIT */
/*
 * Goal: the model's promises hold for blocks that change threads, whoever allocates, resizes and frees
 * them, and outlive the threads that they came from.
 * Method: a lane has slots, each with a record; a mailbox has a record, too. To swap is to exchange two
 * pointers to records. A thread lives on a lane for some operations and leaves it, blocks and all, to
 * the next one; it does everything, or mostly allocates, or only frees. Half of them go on in a key's
 * destructor, after the library has taken their heap away, for up to three rounds.
 *
 *   supervisor: wait for ended threads, join them, start the next ones; audit when it is time
 *   thread:     take a share of what is left | pause for an audit | operation … ; ended
 *
 * An audit stops the world: each thread waits between two operations, or has been joined, so that its
 * heap has been given back as well.
 */
#include "threads.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "../stress/stress.h"
#include "model.h"
#include "operation.h"
#include "ownership.h"
#include "report.h"

/*
 * libc makes 4 rounds of key destructors, and in the last the thread sanitizer takes its own state down
 * before ours and the library's may run; the library's come a round later for who needed a heap in ours.
 */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREADS_ARE_WATCHED 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define THREADS_ARE_WATCHED 1
#endif
#ifndef THREADS_ARE_WATCHED
#define THREADS_ARE_WATCHED 0
#endif

enum {
    SLOTS = 64, /* of a lane */
    MAILBOXES = 256,
    SHARE = 64,           /* operations that a thread takes at a time */
    LIFE_LOG2 = 14,       /* a thread's operations are below 2^this */
    EXIT_OPERATIONS = 32, /* in a round of the key's destructor */
    EXIT_ROUNDS_MAX = THREADS_ARE_WATCHED ? 2 : 3,
    STACK_SIZE =
        256 << 10 /* all stacks fit into the C library's cache, so that the books are exact */
};

struct lane {
    struct shadow_record *slot[SLOTS]; /* the lane's thread only */
    size_t sizes[SLOTS];
    struct shadow_generator generator;
    pthread_t thread;
    unsigned number;
    unsigned exit_rounds; /* left */
    bool has_ended;       /* under the mutex; to be joined */
    bool is_alive;        /* supervisor only: not joined yet */
};

static struct {
    struct lane lane[SHADOW_LANES_MAX];
    struct shadow_record record[SHADOW_LANES_MAX * SLOTS + MAILBOXES];
    _Atomic(struct shadow_record *) mailbox[MAILBOXES];
    const struct shadow_threads *setting;
    pthread_key_t key;
    pthread_mutex_t mutex;  /* guards the four below and has_ended */
    pthread_cond_t changed; /* for the supervisor: somebody paused or ended */
    pthread_cond_t go_on;   /* for the paused */
    unsigned paused;
    unsigned ended;
    unsigned long audits;
    atomic_bool is_pausing; /* also read without the mutex: an operation later is early enough */
    atomic_ulong left;      /* operations that nobody has taken */
} g_threads = {.mutex = PTHREAD_MUTEX_INITIALIZER,
               .changed = PTHREAD_COND_INITIALIZER,
               .go_on = PTHREAD_COND_INITIALIZER};

/* ---- a thread ---- */

static unsigned long take_share(void) {
    unsigned long left = atomic_load(&g_threads.left);
    while (left > 0) {
        unsigned long share = left < SHARE ? left : SHARE;
        if (atomic_compare_exchange_weak(&g_threads.left, &left, left - share))
            return share;
    }
    return 0;
}

/* Acquire and release: the record and the block's contents go with the pointer. */
static void swap(struct lane *lane, const struct shadow_operation *op) {
    struct shadow_record **slot = &lane->slot[op->slot];
    shadow_verify(*slot);
    *slot = atomic_exchange_explicit(&g_threads.mailbox[op->salt % MAILBOXES], *slot,
                                     memory_order_acq_rel);
    shadow_verify(*slot);
    shadow_generator_correct(&lane->generator, op->slot,
                             (*slot)->block != NULL ? (*slot)->size : SHADOW_EMPTY);
}

static void work(struct lane *lane, unsigned long operations) {
    for (unsigned long i = 0; i < operations; i++) {
        struct shadow_operation op = shadow_generate(&lane->generator);
        shadow_begin_operation(&op);
        if (op.kind == SHADOW_SWAP)
            swap(lane, &op);
        else
            shadow_perform(&op, lane->slot[op.slot]);
    }
}

static void pause_for_audit(void) {
    pthread_mutex_lock(&g_threads.mutex);
    if (atomic_load(&g_threads.is_pausing)) {
        unsigned long audit = g_threads.audits;
        g_threads.paused++;
        pthread_cond_signal(&g_threads.changed);
        while (g_threads.audits == audit)
            pthread_cond_wait(&g_threads.go_on, &g_threads.mutex);
        g_threads.paused--;
    }
    pthread_mutex_unlock(&g_threads.mutex);
}

static void say_ended(struct lane *lane) {
    pthread_mutex_lock(&g_threads.mutex);
    lane->has_ended = true;
    g_threads.ended++;
    pthread_cond_signal(&g_threads.changed);
    pthread_mutex_unlock(&g_threads.mutex);
}

/* The destructor of the key: the C library calls it again when it has set the key again. */
static void work_in_exit(void *argument) {
    struct lane *lane = argument;
    work(lane, EXIT_OPERATIONS);
    if (--lane->exit_rounds > 0 && pthread_setspecific(g_threads.key, lane) == 0)
        return;
    say_ended(lane);
}

static enum shadow_role pick_role(uint64_t r) {
    return r % 4 == 0 ? SHADOW_PRODUCER : r % 4 == 1 ? SHADOW_CONSUMER : SHADOW_MIXED;
}

static void *live(void *argument) {
    struct lane *lane = argument;
    struct shadow_generator *g = &lane->generator;
    g_shadow_lane = lane->number;
    uint64_t way = random_next(&g->state);
    g->role = pick_role(way >> 8);
    unsigned long life = (unsigned long)random_size(&g->state, LIFE_LOG2) + 1;
    unsigned long share;
    while (life > 0 && (share = take_share()) > 0) {
        if (atomic_load_explicit(&g_threads.is_pausing, memory_order_relaxed))
            pause_for_audit();
        work(lane, share);
        life -= life < share ? life : share;
    }
    if (way % 4 == 0) { /* leaves nothing to the next one */
        for (unsigned i = 0; i < SLOTS; i++) {
            shadow_clear(lane->slot[i]);
            shadow_generator_correct(g, i, SHADOW_EMPTY);
        }
    }
    lane->exit_rounds = (unsigned)(way >> 16) % (2 * EXIT_ROUNDS_MAX);
    if (lane->exit_rounds > EXIT_ROUNDS_MAX || lane->exit_rounds == 0 ||
        pthread_setspecific(g_threads.key, lane) != 0)
        say_ended(lane);
    return NULL;
}

/* ---- the supervisor ---- */

static void start(struct lane *lane, void *(*body)(void *), void *argument) {
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0 ||
        pthread_attr_setstacksize(&attributes, STACK_SIZE) != 0 ||
        pthread_create(&lane->thread, &attributes, body, argument) != 0)
        stress_fail("pthread_create");
    pthread_attr_destroy(&attributes);
    lane->is_alive = true;
    g_shadow_report->lane[lane->number].life++;
}

static void join(struct lane *lane) {
    if (pthread_join(lane->thread, NULL) != 0)
        stress_fail("pthread_join");
    lane->is_alive = false;
    atomic_fetch_add(&g_shadow_report->lives, 1);
}

/* Joins who has ended; `mutex` is held, and let go meanwhile: it may take their key destructors' time. */
static unsigned join_ended_locked(void) {
    unsigned joined = 0;
    for (unsigned i = 0; i < g_threads.setting->threads; i++) {
        struct lane *lane = &g_threads.lane[i];
        if (!lane->has_ended)
            continue;
        lane->has_ended = false;
        g_threads.ended--;
        pthread_mutex_unlock(&g_threads.mutex);
        join(lane);
        pthread_mutex_lock(&g_threads.mutex);
        joined++;
    }
    return joined;
}

/* The sum of the usable sizes of all blocks, each verified. Nobody else is running. */
static size_t review(void) {
    size_t live_bytes = 0;
    for (size_t i = 0; i < sizeof g_threads.record / sizeof g_threads.record[0]; i++) {
        const struct shadow_record *r = &g_threads.record[i];
        shadow_verify(r);
        live_bytes += r->block != NULL ? r->usable : 0;
    }
    return live_bytes;
}

/* `alive` threads are not joined; returns how many then are. */
static unsigned audit_locked(unsigned alive) {
    atomic_store(&g_threads.is_pausing, true);
    while (g_threads.paused < alive) {
        alive -= join_ended_locked();
        if (g_threads.paused < alive && g_threads.ended == 0)
            pthread_cond_wait(&g_threads.changed, &g_threads.mutex);
    }
    shadow_audit(review());
    atomic_store(&g_threads.is_pausing, false);
    g_threads.audits++;
    pthread_cond_broadcast(&g_threads.go_on);
    return alive;
}

static void start_missing(void) {
    for (unsigned i = 0; i < g_threads.setting->threads; i++) {
        if (!g_threads.lane[i].is_alive)
            start(&g_threads.lane[i], live, &g_threads.lane[i]);
    }
}

static void supervise(void) {
    const struct shadow_threads *s = g_threads.setting;
    unsigned long next_audit = s->check_every;
    unsigned alive = s->threads;
    start_missing();
    pthread_mutex_lock(&g_threads.mutex);
    while (alive > 0) {
        if (g_threads.ended == 0)
            pthread_cond_wait(&g_threads.changed, &g_threads.mutex);
        alive -= join_ended_locked();
        unsigned long done = s->count - atomic_load(&g_threads.left);
        if (s->check_every != 0 && done >= next_audit) {
            alive = audit_locked(alive);
            next_audit = done + s->check_every;
        }
        if (atomic_load(&g_threads.left) > 0) {
            pthread_mutex_unlock(&g_threads.mutex);
            start_missing();
            pthread_mutex_lock(&g_threads.mutex);
            alive = s->threads;
        }
    }
    pthread_mutex_unlock(&g_threads.mutex);
}

/* All threads at once, so that the C library has all the stacks it will need before the books open. */
static void *wait_for_all(void *barrier) {
    pthread_barrier_wait(barrier);
    return NULL;
}

static void warm_up(unsigned threads) {
    pthread_barrier_t barrier;
    if (pthread_barrier_init(&barrier, NULL, threads) != 0)
        stress_fail("pthread_barrier_init");
    for (unsigned i = 0; i < threads; i++)
        start(&g_threads.lane[i], wait_for_all, &barrier);
    for (unsigned i = 0; i < threads; i++)
        join(&g_threads.lane[i]);
    pthread_barrier_destroy(&barrier);
}

static void set_up(const struct shadow_threads *s) {
    size_t next = 0;
    uint64_t state = (s->seed + 1) * 0x9E3779B97F4A7C15ULL;
    g_threads.setting = s;
    atomic_store(&g_threads.left, s->count);
    if (pthread_key_create(&g_threads.key, work_in_exit) != 0)
        stress_fail("pthread_key_create");
    for (unsigned i = 0; i < s->threads; i++) {
        struct lane *lane = &g_threads.lane[i];
        lane->number = i;
        shadow_generator_begin(&lane->generator, random_next(&state), lane->sizes, SLOTS);
        lane->generator.has_mailboxes = true;
        for (unsigned k = 0; k < SLOTS; k++)
            lane->slot[k] = &g_threads.record[next++];
    }
    for (unsigned i = 0; i < MAILBOXES; i++)
        atomic_store(&g_threads.mailbox[i], &g_threads.record[next++]);
}

void shadow_threads_run(const void *argument) {
    const struct shadow_threads *s = argument;
    set_up(s);
    warm_up(s->threads);
    shadow_books_open();
    shadow_ownership_share();
    supervise();
    shadow_audit(review());
    for (size_t i = 0; i < sizeof g_threads.record / sizeof g_threads.record[0]; i++)
        shadow_clear(&g_threads.record[i]);
    shadow_books_close();
    shadow_audit(0);
}
