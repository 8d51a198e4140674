/* test/fuzz/fuzz_calls.c — any calls in any order, on any machine, with any failures. SPDX-License-Identifier: MIT */
/*
 * Goal: no sequence of right calls, whatever the kernel refuses meanwhile, breaks a promise; and after a
 * wrong one the library says so or goes on, but never faults.
 * Method: a model of up to 1,024 blocks, as in test/shadow: no two overlap, contents stay, calloc is
 * zero, realloc keeps the prefix, errno is right, and NULL is returned only when the kernel refused
 * something in that very call. Five threads take turns (world.h), so blocks are freed by others than their
 * owner's, but in one order. At times, and at the end, hakmem_check() looks at all books; then all is freed,
 * and they must balance.
 *
 *   input     machine and options, 4 bytes; then operations
 *   operation 1 byte; its parameters
 */
#include <errno.h>
#include <hakmem/hakmem.h>

#include "fuzz/world.h"
#include "prim/prim.h"
#include "promise/patterns.h"

#define CALLS_KIB ((size_t)1 << 10)
#define CALLS_MIB ((size_t)1 << 20)

enum {
    CALLS_SLOTS = 1024,
    CALLS_OPERATIONS_MAX = 400,
    CALLS_ERRNO = 4242, /* no errno value: seen again, nobody wrote */
    CALLS_MARKS = 8, /* of a block above 4 KiB, each costs an OS page; below four times as many */
    CALLS_RUN_MAX = 255 /* blocks of one operation */
};

/* Bytes an input may ask for, and have cleared or copied: slow inputs find nothing that quick ones do not. */
#define CALLS_LIVE_MAX (700 * CALLS_MIB)
#define CALLS_WORK_MAX (400 * CALLS_MIB)

struct block {
    unsigned char *p; /* NULL: an empty slot */
    size_t size;
    size_t alignment;
    uint64_t seed;
};

static struct {
    struct fuzz_input input;
    struct block blocks[CALLS_SLOTS];
    uint16_t by_address[CALLS_SLOTS]; /* slots of live blocks, by rising address */
    size_t live_count;
    size_t live_bytes;
    size_t work_bytes;
    unsigned next_slot;
    unsigned thread; /* 0: the body's own */
    uint64_t next_seed;
    bool has_limit;         /* of addresses: NULL may need no refusal */
    bool has_checks;        /* the option */
    bool is_arming_refused; /* a thread's heap may have no one to empty it */
    bool is_over;           /* a wrong call was made */
} g_calls;

/* ---- the model ---- */

static size_t model_rank(const unsigned char *p) {
    size_t low = 0;
    size_t high = g_calls.live_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (g_calls.blocks[g_calls.by_address[middle]].p <= p)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static size_t model_extent(const struct block *block) {
    return block->size > 0 ? block->size : 1;
}

static void model_add(unsigned slot) {
    const struct block *block = &g_calls.blocks[slot];
    size_t rank = model_rank(block->p);
    if (rank > 0) {
        const struct block *below = &g_calls.blocks[g_calls.by_address[rank - 1]];
        FUZZ_REQUIRE(below->p + model_extent(below) <= block->p, "%p, %zu bytes, overlaps %p, %zu",
                     (void *)block->p, block->size, (void *)below->p, below->size);
    }
    if (rank < g_calls.live_count) {
        const struct block *above = &g_calls.blocks[g_calls.by_address[rank]];
        FUZZ_REQUIRE(block->p + model_extent(block) <= above->p, "%p, %zu bytes, overlaps %p",
                     (void *)block->p, block->size, (void *)above->p);
    }
    memmove(&g_calls.by_address[rank + 1], &g_calls.by_address[rank],
            (g_calls.live_count - rank) * sizeof g_calls.by_address[0]);
    g_calls.by_address[rank] = (uint16_t)slot;
    g_calls.live_count++;
    g_calls.live_bytes += block->size;
}

static void model_remove(unsigned slot) {
    size_t rank = model_rank(g_calls.blocks[slot].p) - 1;
    g_calls.live_count--;
    g_calls.live_bytes -= g_calls.blocks[slot].size;
    memmove(&g_calls.by_address[rank], &g_calls.by_address[rank + 1],
            (g_calls.live_count - rank) * sizeof g_calls.by_address[0]);
}

static size_t block_stride(size_t size) {
    if (size <= 4 * CALLS_KIB)
        return size / (4 * CALLS_MARKS) + 1;
    return size / CALLS_MARKS;
}

static void block_paint(struct block *block) {
    block->seed = g_calls.next_seed++;
    pattern_fill_sparse(block->p, block->size, block->seed, block_stride(block->size));
    if (block->size > 0)
        block->p[block->size - 1] = pattern_byte(block->seed, block->size - 1);
}

/* The first `size` bytes, which lie at `p` now. */
static void block_verify_prefix(const struct block *block, const unsigned char *p, size_t size) {
    for (size_t i = 0; i < size; i += block_stride(block->size))
        FUZZ_REQUIRE(p[i] == pattern_byte(block->seed, i), "byte %zu of %zu at %p changed", i,
                     block->size, (const void *)p);
}

static void block_verify(const struct block *block) {
    block_verify_prefix(block, block->p, block->size);
    if (block->size > 0)
        FUZZ_REQUIRE(block->p[block->size - 1] == pattern_byte(block->seed, block->size - 1),
                     "the last byte of %zu at %p changed", block->size, (void *)block->p);
}

/* ---- sizes ---- */

/* Two bytes: an octave and a place in it, or a place around a boundary. Up to 128 MiB. */
static size_t pick_size(void) {
    uint8_t octave = fuzz_byte(&g_calls.input);
    uint8_t place = fuzz_byte(&g_calls.input);
    unsigned bits = octave % 28;
    size_t size = (size_t)1 << bits;
    if (octave >= 224) /* a multiple of 64 KiB or of a page, more or less */
        size = (octave & 1 ? 64 * CALLS_KIB : 4 * CALLS_KIB) * (place >> 3) + place % 8 - 4;
    else if (octave >= 112)
        size += (size_t)place - 128; /* below 0: too large, and refused */
    else
        size += size / 256 * place;
    if (size > 128 * CALLS_MIB && size <= PTRDIFF_MAX)
        size = 128 * CALLS_MIB;
    return size;
}

/* What all operations together may cost is limited: later ones are small. */
static size_t pick_affordable(size_t cost) {
    size_t size = pick_size();
    if (size > PTRDIFF_MAX)
        return size;
    bool is_affordable = g_calls.live_bytes + size <= CALLS_LIVE_MAX &&
                         g_calls.work_bytes + size / 16 * cost <= CALLS_WORK_MAX;
    if (!is_affordable)
        size %= 4 * CALLS_KIB;
    g_calls.work_bytes += size / 16 * cost;
    return size;
}

static size_t pick_alignment(void) {
    uint8_t byte = fuzz_byte(&g_calls.input);
    return (size_t)1 << (byte < 240 ? byte % 17 : byte % 34);
}

/* ---- allocating ---- */

struct outcome {
    void *p;
    int error;
    unsigned long failures; /* calls that the kernel had refused before */
};

static struct outcome outcome_begin(void) {
    errno = CALLS_ERRNO;
    return (struct outcome){.failures = fake_prim_failures(FAKE_ANY)};
}

static void outcome_end(struct outcome *outcome, void *p) {
    outcome->p = p;
    outcome->error = errno;
}

/* An allocation of `size` gave NULL. */
static void refusal_verify(const struct outcome *outcome, size_t size) {
    bool has_reason =
        size > PTRDIFF_MAX || g_calls.has_limit || fake_prim_failures(FAKE_ANY) > outcome->failures;
    FUZZ_REQUIRE(has_reason, "NULL for %zu bytes, and the kernel refused nothing", size);
    FUZZ_REQUIRE(outcome->error == ENOMEM, "NULL for %zu bytes with errno %d", size,
                 outcome->error);
}

static void zero_verify(const unsigned char *p, size_t size) {
    for (size_t i = 0; p && i < size; i += block_stride(size))
        FUZZ_REQUIRE(p[i] == 0, "calloc(%zu): byte %zu of %p is not 0", size, i, (const void *)p);
    if (p && size > 0)
        FUZZ_REQUIRE(p[size - 1] == 0, "calloc(%zu): the last byte of %p is not 0", size,
                     (const void *)p);
}

static void *get_posix(size_t alignment, size_t size) {
    void *const untouched = &g_calls;
    void *p = untouched;
    int error = hakmem_posix_memalign(&p, alignment, size);
    FUZZ_REQUIRE(errno == CALLS_ERRNO, "posix_memalign wrote errno");
    FUZZ_REQUIRE((error == 0) == (p != untouched), "posix_memalign: %d with %p", error, p);
    errno = error;
    return error ? NULL : p;
}

enum get_kind {
    GET_MALLOC,
    GET_CALLOC,
    GET_REALLOC,
    GET_REALLOCARRAY,
    GET_ALIGNED_ALLOC,
    GET_MEMALIGN,
    GET_POSIX_MEMALIGN,
    GET_VALLOC,
    GET_PVALLOC,
    GET_KINDS
};

static void *get(enum get_kind kind, size_t alignment, size_t size) {
    void *p;
    switch (kind) {
    case GET_CALLOC:
        p = size % 8 == 0 ? hakmem_calloc(size / 8, 8) : hakmem_calloc(1, size);
        zero_verify(p, size);
        return p;
    case GET_REALLOC:
        return hakmem_realloc(NULL, size);
    case GET_REALLOCARRAY:
        return hakmem_reallocarray(NULL, 1, size);
    case GET_ALIGNED_ALLOC:
        return hakmem_aligned_alloc(alignment, size);
    case GET_MEMALIGN:
        return hakmem_memalign(alignment, size);
    case GET_POSIX_MEMALIGN:
        return get_posix(alignment < sizeof(void *) ? sizeof(void *) : alignment, size);
    case GET_VALLOC:
        return hakmem_valloc(size);
    case GET_PVALLOC:
        return hakmem_pvalloc(size);
    default:
        return hakmem_malloc(size);
    }
}

struct get_work {
    enum get_kind kind;
    size_t alignment;
    size_t size;
    unsigned count;
};

/* Fills the next empty slots. */
static void do_get(void *argument) {
    const struct get_work *work = argument;
    for (unsigned i = 0; i < work->count && g_calls.live_count < CALLS_SLOTS; i++) {
        while (g_calls.blocks[g_calls.next_slot].p)
            g_calls.next_slot = (g_calls.next_slot + 1) % CALLS_SLOTS;
        struct block *block = &g_calls.blocks[g_calls.next_slot];
        struct outcome outcome = outcome_begin();
        outcome_end(&outcome, get(work->kind, work->alignment, work->size));
        if (outcome.p == NULL) {
            refusal_verify(&outcome, work->size);
            return;
        }
        *block = (struct block){.p = outcome.p, .size = work->size, .alignment = work->alignment};
        size_t usable = hakmem_malloc_usable_size(block->p);
        FUZZ_REQUIRE(usable >= work->size, "usable %zu of %zu", usable, work->size);
        FUZZ_REQUIRE(is_aligned(block->p, work->alignment), "%p is not aligned to %zu",
                     (void *)block->p, work->alignment);
        model_add(g_calls.next_slot);
        block_paint(block);
    }
}

/* ---- freeing ---- */

enum put_kind { PUT_FREE, PUT_CFREE, PUT_SIZED, PUT_SDALLOCX, PUT_REALLOC, PUT_KINDS };

static unsigned log_of(size_t alignment) {
    return (unsigned)__builtin_ctzll(alignment);
}

static void put_block(enum put_kind kind, const struct block *block) {
    switch (kind) {
    case PUT_CFREE:
        hakmem_cfree(block->p);
        break;
    case PUT_SIZED: /* C23: each form for the blocks of its own kind */
        if (block->alignment > 16)
            hakmem_free_aligned_sized(block->p, block->alignment, block->size);
        else
            hakmem_free_sized(block->p, block->size);
        break;
    case PUT_SDALLOCX:
        hakmem_sdallocx(block->p, block->size,
                        block->alignment > 16 ? (int)log_of(block->alignment) : 0);
        break;
    case PUT_REALLOC:
        FUZZ_REQUIRE(hakmem_realloc(block->p, 0) == NULL, "realloc(p, 0) is not NULL");
        errno = CALLS_ERRNO; /* realloc may write it */
        break;
    default:
        hakmem_free(block->p);
    }
}

static void put_slot(enum put_kind kind, unsigned slot) {
    struct block *block = &g_calls.blocks[slot];
    if (block->p == NULL)
        return;
    block_verify(block);
    model_remove(slot);
    errno = CALLS_ERRNO;
    put_block(kind, block);
    FUZZ_REQUIRE(errno == CALLS_ERRNO, "free of %zu bytes wrote errno", block->size);
    block->p = NULL;
}

struct put_work {
    enum put_kind kind;
    unsigned slot;
    unsigned step; /* to the next slot */
    unsigned count;
};

static void do_put(void *argument) {
    const struct put_work *work = argument;
    for (unsigned i = 0; i < work->count; i++)
        put_slot(work->kind, (work->slot + i * work->step) % CALLS_SLOTS);
}

/* ---- resizing ---- */

struct resize_work {
    unsigned slot;
    size_t size;
    bool is_array;
};

static void do_resize(void *argument) {
    const struct resize_work *work = argument;
    struct block *block = &g_calls.blocks[work->slot];
    size_t size = work->size > 0 ? work->size : 1;
    if (block->p == NULL)
        return;
    block_verify(block);
    model_remove(work->slot);
    struct outcome outcome = outcome_begin();
    outcome_end(&outcome, work->is_array ? hakmem_reallocarray(block->p, size, 1)
                                         : hakmem_realloc(block->p, size));
    if (outcome.p == NULL) {
        refusal_verify(&outcome, size);
        block_verify(block);
        model_add(work->slot);
        return;
    }
    block_verify_prefix(block, outcome.p, size < block->size ? size : block->size);
    *block = (struct block){.p = outcome.p, .size = size, .alignment = 16};
    FUZZ_REQUIRE(hakmem_malloc_usable_size(block->p) >= size, "realloc(%zu): usable is less", size);
    FUZZ_REQUIRE(is_aligned(block->p, 16), "realloc(%zu) = %p", size, outcome.p);
    model_add(work->slot);
    block_paint(block);
}

/* ---- the rest of the interface ---- */

/* The other threads wait for their turn: all magazines may be looked at. Less than 0: not checked. */
static void check_claims(void) {
    int problems = hakmem_check(HAKMEM_CHECK_QUIESCENT | HAKMEM_CHECK_WAIT, NULL, 0);
    FUZZ_REQUIRE(problems <= 0, "%d problems:\n%s", problems, world_messages());
}

static void read_totals(void) {
    struct hakmem_stats stats;
    struct hakmem_receipt receipts[4];
    if (hakmem_stats_get(&stats, sizeof stats) != 0) {
        FUZZ_REQUIRE(g_calls.live_count == 0, "there are blocks, and nothing has started");
        return;
    }
    size_t in_use = stats.small_out + stats.large_bytes + stats.big_bytes;
    FUZZ_REQUIRE(in_use >= g_calls.live_bytes, "%zu bytes in use, %zu handed out", in_use,
                 g_calls.live_bytes);
    FUZZ_REQUIRE(stats.pool_given_back <= stats.pool_free, "more given back than is free");
    FUZZ_REQUIRE(hakmem_receipts(receipts, 4) <= 4, "more receipts than there is room for");
    (void)hakmem_mallinfo2();
    (void)hakmem_mallinfo();
    hakmem_malloc_stats();
}

static void read_good_sizes(void) {
    size_t size = pick_size();
    int flags = fuzz_byte(&g_calls.input) % 24;
    size_t good = hakmem_nallocx(size, flags);
    FUZZ_REQUIRE(good == 0 ? size > PTRDIFF_MAX : good >= size, "nallocx(%zu, %d) = %zu", size,
                 flags, good);
}

static void do_other(void *argument) {
    switch (*(const uint8_t *)argument % 8) {
    case 0:
        check_claims();
        break;
    case 1:
        hakmem_malloc_trim(0);
        break;
    case 2:
        read_totals();
        break;
    case 3:
        read_good_sizes();
        break;
    case 4:
        (void)hakmem_prewarm(pick_affordable(32) % (80 * CALLS_MIB),
                             fuzz_byte(&g_calls.input) % 16);
        break;
    case 5:
        (void)hakmem_policy_save("served by nobody");
        break;
    case 6:
        errno = CALLS_ERRNO;
        hakmem_free(NULL);
        FUZZ_REQUIRE(errno == CALLS_ERRNO && hakmem_malloc_usable_size(NULL) == 0, "NULL");
        break;
    default:
        FUZZ_REQUIRE(hakmem_aligned_alloc(24, 1) == NULL && errno == EINVAL, "alignment 24");
    }
}

/* ---- wrong calls ---- */

struct wrong_work {
    uint8_t kind;
    void *p;
    size_t size;
};

static void call_wrongly(void *argument) {
    const struct wrong_work *work = argument;
    switch (work->kind % 6) {
    case 0:
        hakmem_free(work->p);
        break;
    case 1:
        (void)hakmem_realloc(work->p, work->size);
        break;
    case 2:
        (void)hakmem_malloc_usable_size(work->p);
        break;
    case 3:
        hakmem_free_sized(work->p, work->size);
        break;
    case 4:
        hakmem_free_aligned_sized(work->p, 64, work->size);
        break;
    default:
        hakmem_sdallocx(work->p, work->size, 0);
    }
}

/*
 * The last operation: a pointer near a block, in its place after its free, or anything at all. With
 * checks=1 a pointer inside a live block is found at once, by all but malloc_usable_size, and realloc to a
 * size that cannot be; else it is enough that nothing faults.
 */
static void do_wrong(void *argument) {
    struct fuzz_input *input = &g_calls.input;
    struct wrong_work work = {.kind = fuzz_byte(input)};
    struct block *block = &g_calls.blocks[*(const unsigned *)argument];
    uint8_t way = fuzz_byte(input);
    work.size = (size_t)fuzz_number(input, way & 4 ? 8 : 2);
    bool is_inside = false;
    g_calls.is_over = true;
    if (way % 4 == 0 || block->p == NULL) {
        work.p = (void *)(uintptr_t)fuzz_number(input, 8);
    } else {
        ptrdiff_t offset = (ptrdiff_t)(int32_t)fuzz_number(input, way & 8 ? 4 : 1);
        work.p = (void *)((uintptr_t)block->p + (uintptr_t)offset);
        is_inside = offset > 0 && (size_t)offset < block->size;
        if (way % 4 == 3) { /* the block's own place */
            work.p = block->p;
            hakmem_free(block->p);
            is_inside = false;
        }
    }
    const char *said = world_catch_fatal(call_wrongly, &work);
    bool is_looked_at = work.kind % 6 != 2 && !(work.kind % 6 == 1 && work.size > PTRDIFF_MAX);
    FUZZ_REQUIRE(said != NULL || !is_inside || !g_calls.has_checks || !is_looked_at,
                 "call %d of %p, inside a block of %zu bytes at %p, is accepted", work.kind % 6,
                 work.p, block->size, (void *)block->p);
    FUZZ_REQUIRE(said == NULL || strstr(said, "internal check failed") == NULL, "%s", said);
}

/* ---- operations ---- */

static void run(void (*work)(void *), void *argument) {
    if (g_calls.thread == 0)
        work(argument);
    else
        world_run_in(g_calls.thread, work, argument);
}

static unsigned pick_slot(void) {
    return (unsigned)fuzz_number(&g_calls.input, 2) % CALLS_SLOTS;
}

static void operate_get(uint8_t code, unsigned count) {
    struct get_work work = {.kind = (enum get_kind)(code % GET_KINDS), .count = count};
    bool has_alignment = work.kind >= GET_ALIGNED_ALLOC && work.kind <= GET_POSIX_MEMALIGN;
    bool is_paged = work.kind == GET_VALLOC || work.kind == GET_PVALLOC;
    work.alignment = has_alignment ? pick_alignment() : is_paged ? hak_prim_page_size() : 16;
    work.size = pick_affordable((work.kind == GET_CALLOC ? 16 : 1) * count);
    run(do_get, &work);
}

static void operate_put(uint8_t code, bool is_many) {
    struct put_work work = {
        .kind = (enum put_kind)(code % PUT_KINDS), .slot = pick_slot(), .step = 1, .count = 1};
    if (is_many) {
        work.step = fuzz_byte(&g_calls.input);
        work.count = fuzz_byte(&g_calls.input);
    }
    run(do_put, &work);
}

static void operate_script(void) {
    struct fuzz_input *input = &g_calls.input;
    uint8_t what = fuzz_byte(input);
    struct fake_script script = {0};
    if (what & 1) {
        script.series = (enum fake_call)(fuzz_byte(input) % FAKE_SERIES_COUNT);
        script.first = fuzz_byte(input) % 32 + 1u;
        script.count = what & 2 ? ULONG_MAX : fuzz_byte(input) % 4 + 1u;
    } else if (what & 2) {
        script.series = what & 4 ? FAKE_ANY : FAKE_ANY_MEMORY;
        script.random_permille = fuzz_byte(input) * 2u;
        script.seed = fuzz_byte(input);
    }
    bool is_of_threads = script.series == FAKE_ANY || script.series == FAKE_EXIT_ARM ||
                         script.series == FAKE_EXIT_REGISTER;
    g_calls.is_arming_refused |= is_of_threads;
    fake_prim_play(script);
}

/* Half seconds, and slow paths enough to notice each. */
static void do_epoch(void *unused) {
    (void)unused;
    for (int i = 0; i < 17; i++)
        hakmem_free(hakmem_malloc(300 * CALLS_KIB));
}

static void operate(uint8_t code) {
    switch (code % 16) {
    case 0:
    case 1:
    case 2:
        operate_get(code / 16, 1);
        break;
    case 3:
        operate_get(code / 16, fuzz_byte(&g_calls.input));
        break;
    case 4:
    case 5:
        operate_put(code / 16, false);
        break;
    case 6:
        operate_put(code / 16, true);
        break;
    case 7:
    case 8: {
        struct resize_work work = {.slot = pick_slot(), .is_array = code >= 128};
        work.size = pick_affordable(16);
        run(do_resize, &work);
        break;
    }
    case 9:
    case 10:
        g_calls.thread = code / 16 % (WORLD_THREADS + 1);
        break;
    case 11:
        if (g_calls.thread != 0)
            world_end_thread(g_calls.thread);
        g_calls.thread = 0;
        break;
    case 12:
        operate_script();
        break;
    case 13:
        for (int i = 0; i <= code / 64; i++) {
            fake_prim_advance_clock(500);
            run(do_epoch, NULL);
        }
        break;
    case 14: {
        uint8_t what = code / 16;
        run(do_other, &what);
        break;
    }
    default: {
        unsigned slot = pick_slot();
        if (code >= 192)
            do_wrong(&slot); /* in this thread: it ends with it */
        else if (g_calls.blocks[slot].p)
            block_verify(&g_calls.blocks[slot]);
    }
    }
}

/* ---- an input ---- */

/* All is free, threads are gone, and the kernel refuses nothing any more. */
static void check_books(void) {
    struct hakmem_stats stats;
    world_end_threads();
    check_claims();
    if (g_calls.has_limit)
        return; /* not even the first arena may be there */
    fake_prim_play((struct fake_script){0});
    hakmem_malloc_trim(0);
    FUZZ_REQUIRE(hakmem_stats_get(&stats, sizeof stats) == 0, "hakmem_stats_get");
    FUZZ_REQUIRE(stats.large_count == 0 && stats.large_bytes == 0, "%zu Large blocks, %zu bytes",
                 stats.large_count, stats.large_bytes);
    FUZZ_REQUIRE(stats.big_count == 0 && stats.big_bytes == 0, "%zu Big blocks, %zu bytes",
                 stats.big_count, stats.big_bytes);
    if (!g_calls.is_arming_refused)
        FUZZ_REQUIRE(stats.small_out == 0, "%zu bytes of small blocks are out", stats.small_out);
    FUZZ_REQUIRE(stats.pool_free == stats.pool_given_back,
                 "%zu bytes are free, %zu of them given back", stats.pool_free,
                 stats.pool_given_back);
}

static void recover(void) {
    static const size_t sizes[] = {0, 100, 3000, 60000, 100000};
    fake_prim_play((struct fake_script){0});
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *p = hakmem_calloc(1, sizes[i]);
        FUZZ_REQUIRE(p != NULL || g_calls.has_limit, "%zu bytes are refused after recovery",
                     sizes[i]);
        zero_verify(p, sizes[i]);
        hakmem_free(p);
    }
    void *big = hakmem_malloc(70 * CALLS_MIB);
    FUZZ_REQUIRE(big != NULL || g_calls.has_limit, "Big is refused after recovery");
    hakmem_free(big);
}

static void body(void *unused) {
    (void)unused;
    for (int i = 0; i < CALLS_OPERATIONS_MAX && !fuzz_is_empty(&g_calls.input); i++) {
        operate(fuzz_byte(&g_calls.input));
        if (g_calls.is_over)
            return;
    }
    check_claims();
    for (unsigned slot = 0; slot < CALLS_SLOTS; slot++)
        put_slot(PUT_FREE, slot);
    recover();
    check_books();
}

static int read_nothing(const char *path, char *buffer, size_t capacity, size_t *size) {
    (void)path, (void)buffer, (void)capacity;
    *size = 0;
    return ENOENT;
}

static void body_with_files(void *limit) {
    fake_prim_serve_files(read_nothing);
    fake_prim_limit_group(*(const size_t *)limit);
    body(NULL);
}

void fuzz_one(const uint8_t *data, size_t size) {
    static const char *const environments[][3] = {
        {NULL},
        {"HAKMEM_ACE=off", NULL},
        {"HAKMEM_CHECKS=1", NULL},
        {"HAKMEM_HUGE=on", NULL},
        {"HAKMEM_STAT=served", NULL},
        {"HAKMEM_STAT=served", "HAKMEM_CHECKS=1", NULL},
        {"HAKMEM_ACE=frozen", "HAKMEM_HUGE=off", NULL},
        {"HAKMEM_HUGE=on", "HAKMEM_ACE=off", NULL},
    };
    static const size_t pages[] = {0, 0, 16 * CALLS_KIB, 64 * CALLS_KIB};
    static const size_t limits[] = {0, 0, 0, 0, 96, 256, 1024, 20000}; /* MiB */
    static const size_t groups[] = {0, 0, 0, 0, 0, 64, 256, 1024};     /* MiB */
    memset(&g_calls, 0, sizeof g_calls);
    g_calls.input = (struct fuzz_input){data, data + size};
    g_calls.next_seed = 1;
    struct fake_machine machine = {.page_size = pages[fuzz_byte(&g_calls.input) % 4],
                                   .address_limit =
                                       limits[fuzz_byte(&g_calls.input) % 8] * CALLS_MIB};
    size_t group = groups[fuzz_byte(&g_calls.input) % 8] * CALLS_MIB;
    unsigned options = fuzz_byte(&g_calls.input) % 8;
    g_calls.has_limit = machine.address_limit != 0;
    g_calls.has_checks = options == 2 || options == 5;
    world_run(machine, (char **)(uintptr_t)environments[options], body_with_files, &group);
}
