/* test/port/smoke.c — the prefixed static library on another libc or processor. SPDX-License-Identifier: MIT */
/*
 * Goal: what is built for musl or aarch64 is an allocator, not only an archive that links.
 * Method: one program without a framework, linked statically: each entry point, every tier and
 * alignment, threads that free each other's blocks, fork with threads at work, and random operations
 * whose blocks carry patterns. It also runs under an emulator, so it is kept small: seconds at most.
 */

#include <errno.h>
#include <hakmem/hakmem.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

enum { KEPT_ERRNO = 4242 }; /* no errno value: seen again, nobody wrote */

static struct {
    int passed;
    int failed;
} g_smoke;

static void check(bool holds, const char *what) {
    printf("%s - %s\n", holds ? "ok" : "not ok", what);
    g_smoke.passed += holds;
    g_smoke.failed += !holds;
}

/* ---- patterns ---- */

/* xorshift64* (Vigna 2016). */
static uint64_t random_next(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(0x2545F4914F6CDD1D);
}

/* As many small sizes as large ones, octave by octave. */
static size_t random_size(uint64_t *state, unsigned bits) {
    unsigned octave = (unsigned)(random_next(state) % (bits + 1));
    return (size_t)random_next(state) & (((size_t)1 << octave) - 1);
}

static unsigned char pattern_byte(uint64_t seed, size_t index) {
    return (unsigned char)(((seed + index) * UINT64_C(0x9E3779B97F4A7C15)) >> 56);
}

/* Large blocks carry their pattern at one byte in so many: emulated pages are slow. */
static size_t pattern_stride(size_t size) {
    return size <= 4 * KIB ? 1 : 509;
}

static void pattern_fill(unsigned char *p, size_t size, uint64_t seed) {
    for (size_t i = 0; i < size; i += pattern_stride(size))
        p[i] = pattern_byte(seed, i);
}

/* Looks at the first `kept` bytes of what was filled as `size` bytes. */
static bool pattern_holds(const unsigned char *p, size_t size, size_t kept, uint64_t seed) {
    for (size_t i = 0; i < kept; i += pattern_stride(size)) {
        if (p[i] != pattern_byte(seed, i))
            return false;
    }
    return true;
}

static bool is_zero(const unsigned char *p, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (p[i] != 0)
            return false;
    }
    return true;
}

static bool is_aligned(const void *p, size_t align) {
    return p != NULL && (uintptr_t)p % align == 0;
}

/* ---- entry points ---- */

static bool works_as_block(void *block, size_t size) {
    unsigned char *p = block;
    if (p == NULL || hakmem_malloc_usable_size(p) < size)
        return false;
    pattern_fill(p, size, size);
    return pattern_holds(p, size, size, size);
}

static void test_malloc_and_free(void) {
    static const size_t sizes[] = {0,    1,       16,       17,           1024,
                                   1025, 4096,    30 * KIB, 64 * KIB,     64 * KIB + 1,
                                   MIB,  5 * MIB, 64 * MIB, 64 * MIB + 1, 100 * MIB};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    void *blocks[COUNT];
    bool all_work = true;
    for (int i = 0; i < COUNT; i++) {
        blocks[i] = hakmem_malloc(sizes[i]);
        all_work &= is_aligned(blocks[i], 16) && works_as_block(blocks[i], sizes[i]);
    }
    check(all_work, "malloc in every tier");
    bool all_hold = true;
    errno = KEPT_ERRNO;
    for (int i = 0; i < COUNT; i++) {
        all_hold &= pattern_holds(blocks[i], sizes[i], sizes[i], sizes[i]);
        hakmem_free(blocks[i]);
    }
    check(all_hold, "contents stay while others are written");
    check(errno == KEPT_ERRNO, "free keeps errno");
    void *p = hakmem_malloc(0);
    void *q = hakmem_malloc(0);
    check(p != NULL && q != NULL && p != q, "malloc(0) is unique");
    hakmem_free(p);
    hakmem_cfree(q);
    hakmem_free(NULL);
    hakmem_cfree(NULL);
    hakmem_free_sized(hakmem_malloc(50), 50);
    hakmem_free_aligned_sized(hakmem_aligned_alloc(256, 50), 256, 50);
    hakmem_sdallocx(hakmem_malloc(5000), 5000, 0);
    p = hakmem_malloc(50);
    check(works_as_block(p, 50), "malloc after the sized forms of free");
    hakmem_free(p);
}

static void test_calloc(void) {
    static const size_t sizes[] = {1, 24, 300, 1000, 9000, 64 * KIB, 300 * KIB, 65 * MIB};
    bool all_zero = true;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t looked_at = sizes[i] <= MIB ? sizes[i] : MIB;
            unsigned char *p = hakmem_calloc(sizes[i], 1);
            all_zero &= p != NULL && is_zero(p, looked_at);
            if (p)
                memset(p, 0xdf, looked_at);
            hakmem_free(p);
        }
    }
    check(all_zero, "calloc is zero, also where others wrote before");
    errno = 0;
    check(hakmem_calloc(SIZE_MAX / 2, 3) == NULL && errno == ENOMEM, "calloc sees overflow");
}

static void test_realloc(void) {
    bool all_kept = true;
    size_t size = 10;
    unsigned char *p = hakmem_realloc(NULL, size);
    for (size_t next = 20; p && next <= 70 * MIB; next = next * 3 + 7) {
        pattern_fill(p, size, next);
        p = hakmem_realloc(p, next);
        all_kept &= p != NULL && pattern_holds(p, size, size, next);
        size = next;
    }
    while (p && size > 100) {
        pattern_fill(p, size, size);
        p = hakmem_realloc(p, size / 3);
        all_kept &= p != NULL && pattern_holds(p, size, size / 3, size);
        size /= 3;
    }
    check(p != NULL && all_kept, "realloc keeps contents through all tiers, up and down");
    errno = 0;
    check(hakmem_reallocarray(p, SIZE_MAX / 2, 3) == NULL && errno == ENOMEM,
          "reallocarray sees overflow");
    p = hakmem_reallocarray(p, 40, 50);
    check(works_as_block(p, 2000), "reallocarray");
    check(hakmem_realloc(p, 0) == NULL, "realloc(p, 0) frees");
}

static void test_alignment(void) {
    bool all_aligned = true;
    for (size_t align = 1; align <= 256 * MIB; align *= 2) {
        size_t size = align < MIB ? align + 3 : 1000;
        void *p = hakmem_aligned_alloc(align, size);
        void *q = hakmem_memalign(align, 33);
        all_aligned &= is_aligned(p, align) && works_as_block(p, size);
        all_aligned &= is_aligned(q, align) && works_as_block(q, 33);
        hakmem_free(p);
        hakmem_free(q);
    }
    check(all_aligned, "aligned_alloc and memalign, 1 byte to 256 MiB");
    void *p = NULL;
    check(hakmem_posix_memalign(&p, 4096, 10) == 0 && is_aligned(p, 4096), "posix_memalign");
    hakmem_free(p);
    check(hakmem_posix_memalign(&p, 3, 10) == EINVAL, "posix_memalign refuses 3");
    errno = 0;
    check(hakmem_aligned_alloc(24, 10) == NULL && errno == EINVAL, "aligned_alloc refuses 24");
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    p = hakmem_valloc(100);
    void *q = hakmem_pvalloc(page + 1);
    check(is_aligned(p, page) && is_aligned(q, page) && works_as_block(q, 2 * page),
          "valloc and pvalloc");
    hakmem_free(p);
    hakmem_free(q);
}

static void test_limits(void) {
    volatile size_t too_much = (size_t)PTRDIFF_MAX + 1;
    errno = 0;
    check(hakmem_malloc(too_much) == NULL && errno == ENOMEM, "malloc above PTRDIFF_MAX");
    void *p = hakmem_malloc(64);
    errno = 0;
    check(hakmem_realloc(p, too_much) == NULL && errno == ENOMEM, "realloc above PTRDIFF_MAX");
    check(works_as_block(p, 64), "a block that could not grow stays");
    hakmem_free(p);
    errno = 0;
    check(hakmem_malloc((size_t)1 << 60) == NULL && errno == ENOMEM, "malloc beyond any machine");
}

static void test_introspection(void) {
    check(strcmp(hakmem_version(), HAKMEM_VERSION) == 0, "version");
    check(hakmem_malloc_usable_size(NULL) == 0, "usable size of NULL");
    void *p = hakmem_malloc(3000);
    check(hakmem_malloc_usable_size(p) == hakmem_nallocx(3000, 0), "nallocx foretells usable size");
    hakmem_free(p);
    check(hakmem_mallopt(-1, 1) == 1 && hakmem_mallopt(12345, 1) == 0, "mallopt");
    p = hakmem_malloc(3 * MIB);
#if defined(__GLIBC__) /* other libcs have no struct mallinfo */
    check((size_t)hakmem_mallinfo().uordblks >= 3 * MIB, "mallinfo counts a Large block");
#endif
#if defined(__GLIBC__) && (__GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 33))
    check(hakmem_mallinfo2().uordblks >= 3 * MIB, "mallinfo2 counts a Large block");
#endif
    memset(p, 1, 3 * MIB);
    hakmem_free(p);
    check(hakmem_malloc_trim(0) == 1, "malloc_trim gives a freed Large block back");
    check(hakmem_malloc_trim(0) == 0, "and then has nothing more to give");
    char text[8192] = {0};
    FILE *stream = fmemopen(text, sizeof text, "w");
    int result = stream ? hakmem_malloc_info(0, stream) : -1;
    if (stream)
        fclose(stream);
    check(result == 0 && strncmp(text, "<malloc", 7) == 0 && strstr(text, "</malloc>"),
          "malloc_info writes a whole document");
    check(hakmem_malloc_info(1, stdout) == EINVAL, "malloc_info refuses options");
    hakmem_malloc_stats(); /* on stderr */
}

/* ---- threads ---- */

enum { THREADS = 4, THREAD_ROUNDS = 1500, MAILBOXES = 64 };

/* Blocks change hands here: a thread puts its own in and frees what it finds. */
static _Atomic(unsigned char *) g_mailboxes[MAILBOXES];
static _Atomic int g_thread_failures;

/* A mailed block says its size and seed in its first bytes. */
struct letter {
    size_t size;
    uint64_t seed;
};

static void letter_open(unsigned char *p) {
    struct letter letter;
    memcpy(&letter, p, sizeof letter);
    if (!pattern_holds(p + sizeof letter, letter.size, letter.size, letter.seed))
        atomic_fetch_add(&g_thread_failures, 1);
    hakmem_free(p);
}

static void *mail_thread(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument * 7919 + 1;
    for (int i = 0; i < THREAD_ROUNDS; i++) {
        struct letter letter = {random_size(&random, i % 100 == 0 ? 18 : 12), random};
        unsigned char *p = hakmem_malloc(sizeof letter + letter.size);
        if (p == NULL) {
            atomic_fetch_add(&g_thread_failures, 1);
            continue;
        }
        memcpy(p, &letter, sizeof letter);
        pattern_fill(p + sizeof letter, letter.size, letter.seed);
        unsigned char *other = atomic_exchange(&g_mailboxes[random_next(&random) % MAILBOXES], p);
        if (other)
            letter_open(other);
    }
    return NULL;
}

static bool threads_run(void *(*run)(void *), int rounds) {
    bool all_started = true;
    for (int round = 0; round < rounds; round++) {
        pthread_t threads[THREADS];
        int count = 0;
        while (count < THREADS && pthread_create(&threads[count], NULL, run,
                                                 (void *)(uintptr_t)(round * THREADS + count)) == 0)
            count++;
        all_started &= count == THREADS;
        while (count > 0)
            pthread_join(threads[--count], NULL);
    }
    return all_started;
}

static void test_threads(void) {
    check(threads_run(mail_thread, 5), "twenty threads, four at a time");
    for (int i = 0; i < MAILBOXES; i++) {
        unsigned char *p = atomic_exchange(&g_mailboxes[i], NULL);
        if (p)
            letter_open(p);
    }
    check(g_thread_failures == 0, "blocks freed by other threads were whole");
}

/* ---- fork ---- */

static _Atomic bool g_stop;

static void *busy_thread(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument + 17;
    void *blocks[32] = {0};
    while (!atomic_load(&g_stop)) {
        size_t i = (size_t)(random_next(&random) % 32);
        hakmem_free(blocks[i]);
        blocks[i] = hakmem_malloc(random_size(&random, 17));
    }
    for (int i = 0; i < 32; i++)
        hakmem_free(blocks[i]);
    return NULL;
}

/* What a child does with an allocator that was copied in the middle of other threads' work. */
static bool child_works(unsigned char *inherited, size_t size) {
    bool works = pattern_holds(inherited, size, size, 5);
    hakmem_free(inherited);
    for (size_t bytes = 1; bytes <= 4 * MIB; bytes *= 3) {
        void *p = hakmem_malloc(bytes);
        works &= works_as_block(p, bytes);
        hakmem_free(p);
    }
    hakmem_malloc_trim(0);
    return works;
}

static void test_fork(void) {
    enum { FORKS = 20, SIZE = 3000 };
    pthread_t threads[2];
    int started = 0;
    int good = 0;
    while (started < 2 &&
           pthread_create(&threads[started], NULL, busy_thread, (void *)(uintptr_t)started) == 0)
        started++;
    unsigned char *inherited = hakmem_malloc(SIZE);
    if (inherited)
        pattern_fill(inherited, SIZE, 5);
    for (int i = 0; inherited && i < FORKS; i++) {
        int status = -1;
        pid_t child = fork();
        if (child == 0) {
            alarm(60); /* a lock left behind would hang the child */
            _exit(child_works(inherited, SIZE) ? 0 : 1);
        }
        if (child > 0 && waitpid(child, &status, 0) == child && status == 0)
            good++;
    }
    check(inherited && pattern_holds(inherited, SIZE, SIZE, 5), "the parent's block is its own");
    hakmem_free(inherited);
    atomic_store(&g_stop, true);
    while (started > 0)
        pthread_join(threads[--started], NULL);
    check(good == FORKS, "children of fork work while the parent's threads allocate");
}

/* ---- random operations ---- */

struct slot {
    unsigned char *p;
    size_t size;
    uint64_t seed;
};

static bool slot_drop(struct slot *slot) {
    bool holds = !slot->p || pattern_holds(slot->p, slot->size, slot->size, slot->seed);
    hakmem_free(slot->p);
    slot->p = NULL;
    return holds;
}

static bool slot_fill(struct slot *slot, uint64_t *random) {
    slot->size = random_size(random, random_next(random) % 50 == 0 ? 22 : 14);
    slot->seed = *random;
    switch (random_next(random) % 3) {
    case 0:
        slot->p = hakmem_malloc(slot->size);
        break;
    case 1:
        slot->p = hakmem_calloc(1, slot->size);
        if (slot->p && !is_zero(slot->p, slot->size))
            return false;
        break;
    default:
        slot->p = hakmem_aligned_alloc((size_t)1 << random_next(random) % 14, slot->size);
        break;
    }
    if (slot->p)
        pattern_fill(slot->p, slot->size, slot->seed);
    return slot->p != NULL;
}

static bool slot_resize(struct slot *slot, uint64_t *random) {
    size_t size = 1 + random_size(random, 15);
    size_t kept = size < slot->size ? size : slot->size;
    unsigned char *p = hakmem_realloc(slot->p, size);
    if (p == NULL)
        return false;
    bool holds = pattern_holds(p, slot->size, kept, slot->seed);
    slot->p = p;
    slot->size = size;
    pattern_fill(p, size, slot->seed);
    return holds;
}

static void test_random(void) {
    enum { SLOTS = 400, OPERATIONS = 20000 };
    static struct slot slots[SLOTS];
    uint64_t random = 20240611;
    int wrong = 0;
    for (int i = 0; i < OPERATIONS; i++) {
        struct slot *slot = &slots[random_next(&random) % SLOTS];
        if (slot->p == NULL)
            wrong += !slot_fill(slot, &random);
        else if (random_next(&random) % 4 == 0)
            wrong += !slot_resize(slot, &random);
        else
            wrong += !slot_drop(slot);
    }
    for (int i = 0; i < SLOTS; i++)
        wrong += !slot_drop(&slots[i]);
    check(wrong == 0, "random operations keep every pattern");
}

int main(void) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* nothing waits in a buffer that a child would inherit */
    test_malloc_and_free();
    test_calloc();
    test_realloc();
    test_alignment();
    test_limits();
    test_introspection();
    test_threads();
    test_fork();
    test_random();
    printf("%d passed, %d failed\n", g_smoke.passed, g_smoke.failed);
    return g_smoke.failed != 0 || g_smoke.passed == 0;
}
