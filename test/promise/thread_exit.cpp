/* test/promise/thread_exit.cpp — a thread's destructors free and allocate. SPDX-License-Identifier: MIT */
/*
 * Goal: while a thread ends, destructors of other libraries run before and after the library's own; in
 * all of them blocks of other threads can be freed and new ones had, and what the thread leaves is used
 * by the next: no block and no heap is lost.
 * Method: 64 thread-specific keys, half of them made before the library makes its own (which the gap
 * in their numbers shows), each with a destructor that comes again in all rounds, and thread_local
 * objects of C++. All exchange stamped blocks with threads that live on. At the end the library's books
 * are those after a few threads, and there are no more heaps than threads were alive at a time.
 */
#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>

extern "C" {
#include "../stress/books.h"
}

namespace {

enum { KEYS = 64, EARLY_KEYS = 32, ROUNDS = 4, MAILBOXES = 256 };
enum { FEEDERS = 2, AT_A_TIME = 4, WAVES = 60, WARM_UP_WAVES = 10, BLOCKS = 200 };

pthread_key_t g_keys[KEYS];
std::atomic<void *> g_mailbox[MAILBOXES];
std::atomic<bool> g_is_over;
std::atomic<unsigned long> g_destroyed[ROUNDS];
std::atomic<unsigned long> g_objects;

/* A block of ours for whatever is in the mailbox, which is another thread's most often. */
void exchange_some(uint64_t *state, int count) {
    for (int i = 0; i < count; i++) {
        void *fresh = stamped_new(state);
        if (fresh == nullptr)
            stress_fail("out of memory");
        stamped_free(g_mailbox[random_next(state) % MAILBOXES].exchange(fresh));
    }
}

/* Whoever serves a thread in its last moments, what calloc gives is zero. */
void check_calloc(uint64_t *state) {
    size_t size = 16 + random_next(state) % 1000;
    auto *fresh = static_cast<unsigned char *>(api.calloc(1, size));
    if (fresh == nullptr)
        stress_fail("out of memory");
    for (size_t i = 0; i < size; i++) {
        if (fresh[i] != 0)
            stress_fail("a block of calloc is not zero");
    }
    memset(fresh, 0xdf, size);
    api.free(fresh);
}

/* ---- keys ---- */

struct key_value {
    int index;
    int round;
};

void key_destructor(void *value);

void set_key(int index, int round) {
    auto *value = static_cast<key_value *>(api.malloc(sizeof(key_value)));
    *value = {index, round};
    if (pthread_setspecific(g_keys[index], value) != 0)
        stress_fail("pthread_setspecific");
}

void key_destructor(void *argument) {
    key_value value = *static_cast<key_value *>(argument);
    uint64_t state = reinterpret_cast<uintptr_t>(argument) + static_cast<unsigned>(value.round) + 1;
    exchange_some(&state, 3);
    check_calloc(&state);
    api.free(argument);
    g_destroyed[value.round]++;
    if (value.round + 1 < ROUNDS)
        set_key(value.index, value.round + 1);
}

void make_keys(int from, int to) {
    for (int i = from; i < to; i++) {
        if (pthread_key_create(&g_keys[i], key_destructor) != 0)
            stress_fail("pthread_key_create");
    }
}

/* Before any library's constructor. */
void before_constructors(int, char **, char **) {
    make_keys(0, EARLY_KEYS);
}

__attribute__((section(".preinit_array"), used)) void (*g_preinit)(int, char **,
                                                                   char **) = before_constructors;

/* ---- thread_local objects ---- */

struct local_object {
    std::string text;
    std::map<int, std::string> table;
    uint64_t state = 1;

    void use(uint64_t seed) {
        state = seed | 1;
        text.assign(300, 'x');
        for (int i = 0; i < 20; i++)
            table[i] = std::string(static_cast<size_t>(20 + i), 'y');
    }
    ~local_object() {
        exchange_some(&state, 20);
        table.clear();
        g_objects++;
    }
};

thread_local local_object t_first;
thread_local std::vector<std::string> t_second;
thread_local local_object t_third;

/* ---- threads ---- */

void feed() {
    uint64_t state = 4711;
    while (!g_is_over) {
        exchange_some(&state, 100);
        std::this_thread::yield();
    }
}

void live_once(uint64_t seed) {
    uint64_t state = seed;
    t_first.use(seed);
    t_second.assign(50, std::string(60, 'z'));
    t_third.use(seed + 1);
    for (int i = 0; i < KEYS; i++)
        set_key(i, 0);
    exchange_some(&state, BLOCKS);
}

/* Only frees what others made, until its destructors run. */
void free_only() {
    for (int i = 0; i < KEYS; i++)
        stamped_free(g_mailbox[i].exchange(nullptr));
    for (int i = 0; i < KEYS; i++)
        set_key(i, 0);
}

void run_wave(uint64_t seed) {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i + 1 < AT_A_TIME; i++)
        threads.emplace_back(live_once, seed + i);
    threads.emplace_back(free_only);
    for (std::thread &thread : threads)
        thread.join();
}

void run_waves_beside_feeders(int waves, uint64_t seed) {
    std::vector<std::thread> feeders;
    g_is_over = false;
    for (int i = 0; i < FEEDERS; i++)
        feeders.emplace_back(feed);
    for (int wave = 0; wave < waves; wave++)
        run_wave(seed + static_cast<unsigned>(wave) * AT_A_TIME);
    g_is_over = true;
    for (std::thread &thread : feeders)
        thread.join();
}

/* Returns the books when all threads have ended and all blocks are free. */
hakmem_stats run_waves(int waves, uint64_t seed) {
    run_waves_beside_feeders(waves, seed);
    for (auto &mailbox : g_mailbox)
        stamped_free(mailbox.exchange(nullptr));
    return books_balance();
}

} // namespace

int main() {
    api_load();
    tap_require_override();
    make_keys(EARLY_KEYS, KEYS);
    CHECK(g_keys[EARLY_KEYS] > g_keys[EARLY_KEYS - 1] + 1,
          "the library's key is between ours: early ones to %u, late ones from %u",
          static_cast<unsigned>(g_keys[EARLY_KEYS - 1]), static_cast<unsigned>(g_keys[EARLY_KEYS]));
    hakmem_stats before = run_waves(WARM_UP_WAVES, 1000);
    hakmem_stats after = run_waves(WAVES, 2000);
    books_note("before", &before);
    books_note("after", &after);
    unsigned long threads = (WARM_UP_WAVES + WAVES) * AT_A_TIME;
    for (int round = 0; round < ROUNDS; round++)
        CHECK(g_destroyed[round] == threads * KEYS, "round %d: %lu destructors of keys", round + 1,
              g_destroyed[round].load());
    unsigned long objects = (WARM_UP_WAVES + WAVES) * (AT_A_TIME - 1) * 2;
    CHECK(g_objects == objects, "%lu thread_local objects destroyed", g_objects.load());
    CHECK(books_agree(&before, &after), "no block was lost, none freed twice");
    CHECK(after.heap_count <= FEEDERS + 2 * AT_A_TIME + 1, "%zu heaps for %d threads at a time",
          after.heap_count, FEEDERS + AT_A_TIME + 1);
    return tap_end();
}
