/* src/heap/magazine.c — refill, flush and growth of magazines. SPDX-License-Identifier: MIT */

/*
 *   malloc, magazine empty -> hak_heap_refill -> magazine_grow           larger storage, if policy allows
 *                                             -> hak_slab_set_take       half a magazine of blocks
 *   free, magazine full    -> hak_heap_flush  -> magazine_grow           room, and nothing to flush
 *                                             -> hak_slab_set_put        the oldest half goes home
 *
 * Everything here runs under the heap's lock, also what only the owner touches: a fork that waits
 * for the lock then never sees half a change.
 */

#include <string.h>

#include "arena/meta.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/fatal.h"
#include "base/log.h"
#include "heap/heap.h"
#include "heap/remote.h"
#include "stats/ledger.h"

/* Hard limit of a magazine's slots. */
enum { MAGAZINE_CAPACITY_MAX = 4095 };

struct hak_heap_policy hak_heap_policy = {.budget_bytes = SIZE_MAX};

static struct {
    _Atomic size_t budget_used;                 /* [S] bytes: see hak_heap_budget_used() */
    _Atomic uint32_t pressure[HAK_CLASS_COUNT]; /* [S] see hak_heap_take_pressure() */
} g_magazine;

/* What every magazine of the empty heap points to: both empty (*top == NULL) and full (top == limit). */
static void *const g_magazine_null = NULL;

const struct hak_magazines hak_heap_empty = {
    .of_class = {[0 ... HAK_CLASS_COUNT - 1] = {(void **)&g_magazine_null,
                                                (void **)&g_magazine_null}},
    .tag = UINT32_MAX, /* HAK_TAG_ID_NEVER: no tag in the table matches */
};

_Thread_local struct hak_magazines *hak_thread_magazines =
    (struct hak_magazines *)&hak_heap_empty; /* never written through */

static void **magazine_storage(const struct hak_heap *heap, unsigned class_index) {
    return heap->magazines.of_class[class_index].limit - heap->capacity[class_index];
}

/* Bytes of blocks that so many slots hold and the first size does not: what counts for the budget. */
static size_t capacity_excess(unsigned class_index, unsigned capacity) {
    unsigned start = hak_heap_policy.capacity_start[class_index];
    return capacity > start ? (size_t)(capacity - start) * hak_size_classes[class_index].size : 0;
}

static size_t storage_bytes(unsigned capacity) {
    return (capacity + 1u) * sizeof(void *); /* a power of two: nothing lost in metadata */
}

/*
 * Puts the magazine's blocks, which must fit, into storage of another capacity. False: no memory.
 */
static bool magazine_move(struct hak_heap *heap, unsigned class_index, unsigned capacity)
    HAK_REQUIRES(heap->lock) {
    unsigned old_capacity = heap->capacity[class_index];
    void **storage = hak_meta_alloc(storage_bytes(capacity));
    if (storage == NULL)
        return false;
    struct hak_magazine *magazine = &heap->magazines.of_class[class_index];
    size_t held = 0;
    storage[0] = NULL;
    if (old_capacity > 0) {
        void **old_storage = magazine_storage(heap, class_index);
        held = (size_t)(magazine->top - old_storage);
        memcpy(storage + 1, old_storage + 1, held * sizeof(void *));
        hak_meta_free(old_storage, storage_bytes(old_capacity));
    }
    hak_assert(held <= capacity);
    magazine->top = storage + held;
    magazine->limit = storage + capacity;
    heap->capacity[class_index] = (uint16_t)capacity;
    size_t before = capacity_excess(class_index, old_capacity);
    hak_atomic_add_relaxed(&g_magazine.budget_used, /* unsigned: a smaller capacity wraps rightly */
                           capacity_excess(class_index, capacity) - before);
    hak_log(HAK_LOG_HEAP, "magazine", class_index, capacity);
    return true;
}

static bool magazine_is_affordable(unsigned class_index, unsigned old_capacity, unsigned capacity) {
    size_t budget = hak_atomic_load_relaxed(&hak_heap_policy.budget_bytes);
    size_t bytes =
        capacity_excess(class_index, capacity) - capacity_excess(class_index, old_capacity);
    return bytes == 0 || hak_atomic_load_relaxed(&g_magazine.budget_used) + bytes <= budget;
}

/* Refills and flushes of a class in one epoch, until its magazine grows: a rare one proves no need. */
enum { MAGAZINE_GROW_ACTIVITY = 3 };

/* First storage, or twice the room. False: policy or budget say no, or no memory. */
static bool magazine_grow(struct hak_heap *heap, unsigned class_index) HAK_REQUIRES(heap->lock) {
    unsigned old_capacity = heap->capacity[class_index];
    unsigned start = hak_heap_policy.capacity_start[class_index];
    unsigned capacity = old_capacity == 0 ? start : old_capacity * 2 + 1;
    if (capacity == 0 ||
        capacity > hak_atomic_load_relaxed(&hak_heap_policy.capacity_max[class_index]))
        return false;
    if (old_capacity > 0 && heap->activity[class_index] < MAGAZINE_GROW_ACTIVITY)
        return false;
    if (!magazine_is_affordable(class_index, old_capacity, capacity))
        return false;
    return magazine_move(heap, class_index, capacity);
}

size_t hak_heap_budget_used(void) {
    return hak_atomic_load_relaxed(&g_magazine.budget_used);
}

static size_t heap_take(struct hak_heap *heap, unsigned class_index, void **out, size_t wanted)
    HAK_REQUIRES(heap->lock) {
    size_t taken =
        hak_slab_set_take(&heap->slabs[class_index], class_index, heap->magazines.tag, out, wanted);
    heap->bytes_out += taken * hak_size_classes[class_index].size;
    return taken;
}

void hak_heap_put(struct hak_heap *heap, unsigned class_index, void *const *blocks, size_t count,
                  const char *function) {
    size_t done;
    enum hak_misuse misuse =
        hak_slab_set_put(&heap->slabs[class_index], class_index, blocks, count, &done);
    uint32_t size = hak_size_classes[class_index].size;
    if (HAK_UNLIKELY(misuse != HAK_MISUSE_NONE)) {
        hak_lock_release(&heap->lock); /* a handler of SIGABRT may allocate on its way out */
        hak_misuse_fatal(function, blocks[done], misuse, size, heap->id);
    }
    heap->bytes_out -= count * size;
}

static void reverse(void **blocks, size_t count) {
    for (size_t i = 0, j = count; i + 1 < j; i++) {
        j--;
        void *block = blocks[i];
        blocks[i] = blocks[j];
        blocks[j] = block;
    }
}

/* Observed: in the heap's counters, or where all count who have none. */
static HAK_COLD void heap_count_miss(struct hak_heap *heap, unsigned class_index) {
    struct hakmem_stat_heap *counters = heap->counters ? heap->counters : &hak_stat_file->shared;
    hak_atomic_add_relaxed(&counters->requests[class_index].misses, 1);
}

static HAK_COLD void heap_count_flush(struct hak_heap *heap) {
    struct hakmem_stat_heap *counters = heap->counters ? heap->counters : &hak_stat_file->shared;
    hak_atomic_add_relaxed(&counters->flushes, 1);
}

void *hak_heap_refill(struct hak_heap *heap, unsigned class_index) {
    void *block = NULL;
    hak_lock_acquire(&heap->lock);
    heap->refill_count++;
    if (hak_stat_file)
        heap_count_miss(heap, class_index);
    heap->activity[class_index]++;
    hak_remote_drain(heap);
    magazine_grow(heap, class_index);
    unsigned capacity = heap->capacity[class_index];
    if (capacity == 0) { /* no magazine by policy, or no memory for one */
        heap_take(heap, class_index, &block, 1);
    } else {
        void **storage = magazine_storage(heap, class_index);
        hak_assert(heap->magazines.of_class[class_index].top == storage);
        size_t taken = heap_take(heap, class_index, storage + 1, (capacity + 1) / 2);
        if (taken > 0) {
            reverse(storage + 1, taken); /* malloc hands out ascending addresses */
            block = storage[taken];
            heap->magazines.of_class[class_index].top = storage + taken - 1;
        }
    }
    hak_lock_release(&heap->lock);
    return block;
}

void *hak_heap_take_zeroed(struct hak_heap *heap, unsigned class_index) {
    hak_lock_acquire(&heap->lock);
    void *block =
        hak_slab_set_take_zeroed(&heap->slabs[class_index], class_index, heap->magazines.tag);
    if (block)
        heap->bytes_out += hak_size_classes[class_index].size;
    hak_lock_release(&heap->lock);
    return block;
}

/* Sends the oldest blocks home: they have been cold longest. */
static void magazine_flush(struct hak_heap *heap, unsigned class_index, size_t count,
                           const char *function) HAK_REQUIRES(heap->lock) {
    struct hak_magazine *magazine = &heap->magazines.of_class[class_index];
    void **storage = magazine_storage(heap, class_index);
    size_t held = (size_t)(magazine->top - storage);
    hak_heap_put(heap, class_index, storage + 1, count, function);
    memmove(storage + 1, storage + 1 + count, (held - count) * sizeof(void *));
    magazine->top = storage + held - count;
}

static size_t magazine_held(const struct hak_heap *heap, unsigned class_index) {
    if (heap->capacity[class_index] == 0)
        return 0;
    return (size_t)(heap->magazines.of_class[class_index].top -
                    magazine_storage(heap, class_index));
}

void hak_heap_flush(struct hak_heap *heap, unsigned class_index, void *p, const char *function) {
    struct hak_magazine *magazine = &heap->magazines.of_class[class_index];
    hak_lock_acquire(&heap->lock);
    heap->flush_count++;
    if (hak_stat_file)
        heap_count_flush(heap);
    heap->activity[class_index]++;
    hak_remote_drain(heap);
    if (!magazine_grow(heap, class_index) && heap->capacity[class_index] > 0)
        magazine_flush(heap, class_index, (magazine_held(heap, class_index) + 1) / 2, function);
    if (heap->capacity[class_index] > 0) {
        magazine->top[1] = p;
        magazine->top++;
    } else {
        hak_heap_put(heap, class_index, &p, 1, function);
    }
    hak_lock_release(&heap->lock);
}

void hak_heap_flush_above(struct hak_heap *heap, size_t size) {
    hak_lock_acquire(&heap->lock);
    hak_remote_drain(heap);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        if (heap->capacity[class_index] == 0 || hak_size_classes[class_index].size <= size)
            continue;
        magazine_flush(heap, class_index, magazine_held(heap, class_index), "free");
        heap->prewarmed[class_index] = 0;
        unsigned start = hak_heap_policy.capacity_start[class_index];
        if (heap->capacity[class_index] > start)
            magazine_move(heap, class_index, start); /* or stays as it is */
        hak_slab_set_trim(&heap->slabs[class_index]);
    }
    hak_lock_release(&heap->lock);
}

void hak_heap_drop_magazines(struct hak_heap *heap) {
    hak_lock_acquire(&heap->lock);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        unsigned capacity = heap->capacity[class_index];
        if (capacity == 0)
            continue;
        void **storage = magazine_storage(heap, class_index);
        magazine_flush(heap, class_index, magazine_held(heap, class_index), "free");
        heap->magazines.of_class[class_index] = hak_heap_empty.of_class[class_index];
        heap->capacity[class_index] = 0;
        hak_meta_free(storage, storage_bytes(capacity));
        hak_atomic_sub_relaxed(&g_magazine.budget_used, capacity_excess(class_index, capacity));
    }
    hak_lock_release(&heap->lock);
}

/* ---- epochs ---- */

/* The limit may have come down since the magazine grew: an experiment that did not help. */
static void magazine_follow(struct hak_heap *heap, unsigned class_index) HAK_REQUIRES(heap->lock) {
    unsigned max = hak_atomic_load_relaxed(&hak_heap_policy.capacity_max[class_index]);
    max = (unsigned)hak_max(max, hak_heap_policy.capacity_start[class_index]);
    size_t held = magazine_held(heap, class_index);
    if (max == 0 || heap->capacity[class_index] <= max || heap->prewarmed[class_index] > max)
        return;
    if (held > max)
        magazine_flush(heap, class_index, held - max, "free");
    magazine_move(heap, class_index, max); /* or stays as it is */
}

/*
 * The fast paths leave no trace of how deep they dug. No refill and no flush in a whole epoch, and the same
 * fill as before: nothing was used. Another fill: what both have in common may lie there untouched, and half
 * of it goes where it is much.
 */
enum { MAGAZINE_PARKED_MIN = 32 };

static void magazine_note_epoch(struct hak_heap *heap, unsigned class_index)
    HAK_REQUIRES(heap->lock) {
    magazine_follow(heap, class_index);
    size_t held = magazine_held(heap, class_index);
    size_t kept = heap->prewarmed[class_index];
    unsigned activity = heap->activity[class_index];
    if (activity > 0) {
        hak_atomic_add_relaxed(&g_magazine.pressure[class_index], activity);
    } else {
        /* Spares stay where they are: given to other classes they would be touched all over, and their
         * pages go back as those of idle slabs do. */
        size_t last_held = heap->last_held[class_index];
        size_t parked = hak_min(held, last_held) > kept ? hak_min(held, last_held) - kept : 0;
        if (parked > 0 && held == last_held)
            magazine_flush(heap, class_index, parked, "free");
        else if (parked >= MAGAZINE_PARKED_MIN)
            magazine_flush(heap, class_index, parked / 2, "free");
        unsigned half = heap->capacity[class_index] / 2u;
        if (half > 0 && half >= hak_heap_policy.capacity_start[class_index] &&
            magazine_held(heap, class_index) <= half && kept <= half)
            magazine_move(heap, class_index, half); /* or stays as it is */
    }
    heap->activity[class_index] = 0;
    heap->last_held[class_index] = (uint16_t)magazine_held(heap, class_index);
}

void hak_heap_note_epoch(struct hak_heap *heap, uint32_t epoch) {
    heap->epoch = epoch;
    hak_remote_post_all(heap);
    hak_lock_acquire(&heap->lock);
    hak_remote_drain(heap);
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        bool has_grown = heap->capacity[class_index] > hak_heap_policy.capacity_start[class_index];
        if (heap->slabs[class_index].slab_count > 0 || heap->activity[class_index] > 0 || has_grown)
            magazine_note_epoch(heap, class_index);
    }
    hak_lock_release(&heap->lock);
}

uint32_t hak_heap_take_pressure(unsigned class_index) {
    return hak_atomic_exchange_relaxed(&g_magazine.pressure[class_index], 0);
}

size_t hak_heap_prewarm(struct hak_heap *heap, unsigned class_index, size_t count) {
    count = hak_min(count, MAGAZINE_CAPACITY_MAX);
    unsigned capacity = 1;
    while (capacity < count)
        capacity = capacity * 2 + 1;
    hak_lock_acquire(&heap->lock);
    bool has_room = heap->capacity[class_index] >= capacity ||
                    (!hak_heap_policy.is_exact &&
                     magazine_is_affordable(class_index, heap->capacity[class_index], capacity) &&
                     magazine_move(heap, class_index, capacity));
    size_t held = magazine_held(heap, class_index);
    if (has_room && held < count) {
        struct hak_magazine *magazine = &heap->magazines.of_class[class_index];
        size_t taken;
        do { /* each time from one new slab at most */
            taken = heap_take(heap, class_index, magazine->top + 1, count - held);
            magazine->top += taken;
            held += taken;
        } while (taken > 0 && held < count);
    }
    heap->prewarmed[class_index] = (uint16_t)hak_min(held, count);
    hak_lock_release(&heap->lock);
    return held;
}
