/* test/stress/fork_in_flight.c — fork while frees are on their way. SPDX-License-Identifier: MIT */
/*
 * usage: fork_in_flight [FORKS] [THREADS] [SEED]          by default 500 6 1
 *
 * Goal: what other threads had gathered, posted and sent when the process forked comes home in the child;
 * lost is no more than each vanished thread had in its hands (docs/concurrency.md, "fork"), and nothing
 * is handed out twice.
 * Method: the threads stand in a ring. Each allocates small blocks for the next one's mailboxes and frees
 * what it finds in its own, so every free is remote; a mailbox is only ever exchanged. The main thread
 * forks. The child frees all blocks it can see, allocates and verifies more than there were, frees these,
 * and compares the library's books with those of before the storm, when the threads had allocated
 * nothing: what is out is lost. On average that is a block a thread, its size below the largest. hakmem_check()
 * finds nothing wrong in what the threads left, nor at the child's end.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "books.h"

enum {
    THREADS_MAX = 32,
    MAILBOXES = 512, /* a thread */
    SIZE_MAX_BITS = 9,
    SIZE_LARGEST = sizeof(struct stamp) + (1 << SIZE_MAX_BITS),
    CHILD_BLOCKS = 20000,
    CHILD_ALARM_S = 60,
    WHOLE_ALARM_S = 900,
    NAP_EVERY = 2000, /* exchanges; children need a processor, too */
    NAP_US = 500,
    /* Blocks that a thread may lose: a record, one in the library, one in the program. */
    LOSS_MAX = 64 + 2,
    LOSS_MEAN_MAX = 1
};

static struct {
    _Atomic(void *) mailboxes[THREADS_MAX][MAILBOXES];
    unsigned long threads;
    pthread_barrier_t barrier;
    atomic_int is_over;
    struct hakmem_stats before;
    struct { /* shared with the children */
        atomic_ulong lost_bytes;
        atomic_ulong lost_bytes_max;
        atomic_ulong on_their_way; /* blocks */
    } * told;
} g_flight;

static void *small_new(uint64_t *state) {
    size_t size = sizeof(struct stamp) + random_size(state, SIZE_MAX_BITS);
    void *block = stamp_block(api.malloc(size), size, random_next(state));
    if (block == NULL)
        stress_fail("out of memory");
    return block;
}

static void *thread_body(void *argument) {
    unsigned long self = (uintptr_t)argument;
    unsigned long next = (self + 1) % g_flight.threads;
    uint64_t state = self + 1;
    pthread_barrier_wait(&g_flight.barrier);
    for (unsigned long i = 1; atomic_load(&g_flight.is_over) == 0; i++) {
        uint64_t r = random_next(&state);
        _Atomic(void *) *to = &g_flight.mailboxes[next][r % MAILBOXES];
        _Atomic(void *) *from = &g_flight.mailboxes[self][(r >> 32) % MAILBOXES];
        void *unread = atomic_exchange(to, small_new(&state));
        stamped_free(unread); /* our own, or nothing */
        stamped_free(atomic_exchange(from, NULL));
        if (i % NAP_EVERY == 0)
            usleep(NAP_US);
    }
    return NULL;
}

/* ---- in the child ---- */

static void child_free_mailboxes(void) {
    for (unsigned long i = 0; i < g_flight.threads; i++) {
        for (int k = 0; k < MAILBOXES; k++)
            stamped_free(atomic_exchange(&g_flight.mailboxes[i][k], NULL));
    }
}

/* All are out at once: a block that is handed out twice has another one's stamp. */
static void child_allocate(uint64_t *state) {
    void **blocks = mmap(NULL, CHILD_BLOCKS * sizeof *blocks, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (blocks == MAP_FAILED)
        stress_fail("mmap");
    for (int i = 0; i < CHILD_BLOCKS; i++)
        blocks[i] = small_new(state);
    for (int i = 0; i < CHILD_BLOCKS; i++)
        stamped_free(blocks[i]);
    munmap(blocks, CHILD_BLOCKS * sizeof *blocks);
}

static void child(uint64_t seed) {
    uint64_t state = seed;
    alarm(CHILD_ALARM_S);
    books_check("hakmem_check in the child", 0);
    bool is_first_to_look = seed % 2;
    uint64_t arrived = is_first_to_look ? books_read().remote_frees : 0;
    if (!is_first_to_look)
        child_allocate(&state); /* heaps are adopted as the threads left them */
    struct hakmem_stats balance = books_balance();
    if (is_first_to_look)
        atomic_fetch_add(&g_flight.told->on_their_way, balance.remote_frees - arrived);
    child_free_mailboxes();
    child_allocate(&state);
    balance = books_balance();
    if (balance.small_out < g_flight.before.small_out ||
        balance.large_count != g_flight.before.large_count)
        stress_fail("the child has freed what was not out");
    books_check("hakmem_check at the child's end", 0);
    unsigned long lost = balance.small_out - g_flight.before.small_out;
    atomic_fetch_add(&g_flight.told->lost_bytes, lost);
    unsigned long max = atomic_load(&g_flight.told->lost_bytes_max);
    atomic_store(&g_flight.told->lost_bytes_max, lost > max ? lost : max);
    if (seed % 8 == 0)
        exit(0);
    _exit(0);
}

/* ---- in the parent ---- */

static bool storm(unsigned long forks, uint64_t seed) {
    for (unsigned long i = 0; i < forks; i++) {
        pid_t pid = fork();
        if (pid == 0)
            child(seed + i);
        int status = -1;
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
            return CHECK(false, "child %lu: wait status %#x%s", i, (unsigned)status,
                         WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ", it hung" : "");
    }
    return true;
}

static void judge(unsigned long forks) {
    double blocks = (double)g_flight.threads * SIZE_LARGEST;
    unsigned long mean = atomic_load(&g_flight.told->lost_bytes) / forks;
    unsigned long max = atomic_load(&g_flight.told->lost_bytes_max);
    CHECK((double)max <= blocks * LOSS_MAX, "no child lost more than %lu bytes", max);
    CHECK((double)mean <= blocks * LOSS_MEAN_MAX, "a child lost %lu bytes on average", mean);
    CHECK(atomic_load(&g_flight.told->on_their_way) > 0, "%lu blocks were gathered when %lu forked",
          atomic_load(&g_flight.told->on_their_way), forks);
}

int main(int argc, char **argv) {
    unsigned long forks = stress_argument(argc, argv, 1, 500);
    unsigned long threads = stress_argument(argc, argv, 2, 6);
    unsigned long seed = stress_argument(argc, argv, 3, 1);
    pthread_t thread[THREADS_MAX];
    api_load();
    tap_require_override();
    tap_note("forks %lu, threads %lu, seed %lu", forks, threads, seed);
    g_flight.threads = threads < 2 ? 2 : threads > THREADS_MAX ? THREADS_MAX : threads;
    g_flight.told = mmap(NULL, sizeof *g_flight.told, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (forks == 0 || g_flight.told == MAP_FAILED)
        stress_fail("mmap, or no forks");
    alarm(WHOLE_ALARM_S);
    pthread_barrier_init(&g_flight.barrier, NULL, (unsigned)g_flight.threads + 1);
    for (unsigned long i = 0; i < g_flight.threads; i++) {
        if (pthread_create(&thread[i], NULL, thread_body, (void *)i) != 0)
            stress_fail("pthread_create");
    }
    g_flight.before = books_balance();
    pthread_barrier_wait(&g_flight.barrier);
    if (storm(forks, seed))
        judge(forks);
    atomic_store(&g_flight.is_over, 1);
    for (unsigned long i = 0; i < g_flight.threads; i++)
        pthread_join(thread[i], NULL);
    child_free_mailboxes();
    struct hakmem_stats after = books_balance();
    books_check("hakmem_check at the end", HAKMEM_CHECK_QUIESCENT);
    books_note("before", &g_flight.before);
    books_note("after", &after);
    CHECK(after.small_out <= g_flight.before.small_out, "the parent lost nothing");
    return tap_end();
}
