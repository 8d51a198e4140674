/* src/heap/remote.c — blocks freed by a thread that is not their heap's. SPDX-License-Identifier: MIT */

/*
 * The freer never keeps the block, so memory neither drifts between threads nor is shared line by
 * line, and never touches the slab. It sends *records*, up to 64 blocks each, in packets of its own:
 *
 *   free -> hak_heap_gather                           a bit in an accumulator: (slab, class, word), mask
 *                                -> remote_post       accumulator -> record in the owner's open packet
 *                                -> remote_send       packet -> owner's inbox: one push per 31 records
 *   whoever holds the owner's lock: hak_remote_drain -> record_apply -> hak_slab_set_put_word
 *
 * The message holds the blocks: until a record is applied its blocks are out, so the slab cannot be
 * released or retagged, and the owner read from its tag is right. Blocks of 4 KiB and more go home at once
 * where the owner's lock is free, those of threads without a heap always (hak_heap_free_remote).
 *
 *   packet.in_flight   0: its heap's thread fills it        else: in an inbox, or being drained
 *
 * A. in_flight = 0 is a release, and finding it 0 an acquire: the drainer has read before the sender
 *    writes. B. the push is a release, and taking the inbox an acquire: the sender has written before
 *    the drainer reads. docs/concurrency.md has the protocol, test/model/ checks it.
 *
 * Credit: snmalloc's batches of messages per owner, BatchIt's gathering by slab (ISMM 2024).
 */

#include "heap/remote.h"

#include "arena/meta.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/fatal.h"
#include "heap/registry.h"

enum {
    REMOTE_ACCUMULATORS = 64,
    REMOTE_OPEN = 4,        /* owners written to at a time */
    REMOTE_PACKETS_MAX = 8, /* per heap: bounds what is on its way */
    REMOTE_RECORDS = 31,
    REMOTE_BYTES_MAX = 128 * 1024,  /* bytes of blocks gathered before all is sent */
    REMOTE_BLOCK_COST = 512,        /* bytes that the smallest counts for: at most 256 blocks */
    REMOTE_DIRECT_SIZE = 4096,      /* bytes: such blocks are worth a lock each */
    REMOTE_IDLE_BYTES = 256 * 1024, /* waiting in an inbox: its owner seems idle */
    REMOTE_STRANGER_FREES = 32      /* by a thread without a heap, before it is given one */
};

struct record {
    hak_unit slab;  /* first unit */
    uint32_t place; /* word of its bitmap, and above it the class */
    uint64_t mask;  /* blocks word × 64 … + 63 */
};

/* A block freed twice leaves a record that outlives its slab: the class tells one from the next. */
enum { RECORD_CLASS_SHIFT = 16 };

static uint32_t record_place(unsigned class_index, uint32_t index) {
    return class_index << RECORD_CLASS_SHIFT | index / 64;
}

static unsigned record_class(const struct record *record) {
    return record->place >> RECORD_CLASS_SHIFT;
}

static uint32_t record_word(const struct record *record) {
    return record->place & ((1u << RECORD_CLASS_SHIFT) - 1);
}

struct hak_packet {
    struct hak_packet *next;    /* in an inbox */
    _Atomic uint32_t in_flight; /* [A] 0, or the id of the heap it was sent to */
    uint32_t count;             /* records; written by whoever in_flight says */
    struct record records[REMOTE_RECORDS];
};
_Static_assert(sizeof(struct hak_packet) == 512, "a power of two: nothing lost in metadata");

struct open_packet {
    struct hak_heap *owner;
    struct hak_packet *packet; /* NULL: none */
    uint32_t bytes;            /* of the blocks in it */
};

/* What a heap needs to free others' blocks; made with the first. Its thread only, and fork. */
struct hak_remote {
    struct record gathered[REMOTE_ACCUMULATORS]; /* mask 0: nothing */
    int32_t credit;                              /* bytes that may be gathered until all is sent */
    struct open_packet open[REMOTE_OPEN];
    struct hak_packet *packets[REMOTE_PACKETS_MAX]; /* made one by one; never given back */
};

static _Thread_local unsigned t_remote_stranger_frees;

static struct hak_heap *remote_owner(uint32_t id) {
    struct hak_heap *owner = hak_registry_heap(id);
    hak_check(owner != NULL);
    return owner;
}

/* ---- the owner's side ---- */

/* No lock is held. `owner_id` 0: the slab has left. */
static _Noreturn void record_misuse(uint32_t owner_id, const struct record *record,
                                    enum hak_misuse misuse, uint64_t wrong) {
    size_t size = hak_size_classes[record_class(record)].size;
    size_t index = (size_t)record_word(record) * 64 + hak_lowest_bit(wrong);
    const char *block = (const char *)hak_unit_address(record->slab) + index * size;
    hak_misuse_fatal("free", block, misuse, size, owner_id);
}

static void record_apply(struct hak_heap *owner, const struct record *record)
    HAK_REQUIRES(owner->lock) {
    unsigned class_index = record_class(record);
    enum hak_misuse misuse = HAK_MISUSE_DOUBLE_FREE;
    uint64_t wrong = record->mask;
    /* The record's blocks are out and the tag cannot change, but for blocks that were free already. */
    if (HAK_LIKELY(hak_pagemap_tag(record->slab) == (owner->magazines.tag | class_index << 4)))
        misuse = hak_slab_set_put_word(&owner->slabs[class_index], class_index, record->slab,
                                       record_word(record), record->mask, &wrong);
    if (HAK_UNLIKELY(misuse != HAK_MISUSE_NONE)) {
        hak_lock_release(&owner->lock); /* a handler of SIGABRT may allocate on its way out */
        record_misuse(owner->id, record, misuse, wrong);
    }
    unsigned count = hak_popcount(record->mask);
    owner->bytes_out -= (size_t)count * hak_size_classes[class_index].size;
    owner->remote_count += count;
}

void hak_remote_drain(struct hak_heap *heap) {
    if (hak_atomic_load_relaxed(&heap->inbox) == NULL)
        return;
    /* Acquire (B): pairs with the release in remote_send(); all is taken, so there is no ABA. */
    struct hak_packet *packet = hak_atomic_exchange_acquire(&heap->inbox, NULL);
    hak_atomic_store_relaxed(&heap->inbox_bytes, 0);
    while (packet) {
        struct hak_packet *next = packet->next;
        hak_assert(packet->count <= REMOTE_RECORDS);
        for (uint32_t i = 0; i < packet->count; i++)
            record_apply(heap, &packet->records[i]);
        packet->count = 0;
        /* Release (A): we have read before its heap writes. Pairs with packet_find(). */
        hak_atomic_store_release(&packet->in_flight, 0);
        packet = next;
    }
}

/* ---- the freer's side ---- */

static void remote_send(struct open_packet *open) {
    struct hak_heap *owner = open->owner;
    struct hak_packet *packet = open->packet;
    hak_atomic_store_relaxed(&packet->in_flight, owner->id);
    struct hak_packet *first = hak_atomic_load_relaxed(&owner->inbox);
    do {
        packet->next = first;
        /* Release (B): the records are visible before the packet. Pairs with hak_remote_drain();
         * later pushes continue the release sequence, being read-modify-writes. */
    } while (!hak_atomic_cas_weak_release(&owner->inbox, &first, packet));
    uint32_t waiting = hak_atomic_add_relaxed(&owner->inbox_bytes, open->bytes) + open->bytes;
    atomic_signal_fence(memory_order_release); /* a fork never finds it in neither place */
    open->packet = NULL;
    open->bytes = 0;
    if (waiting > REMOTE_IDLE_BYTES && hak_lock_try_acquire(&owner->lock)) {
        hak_remote_drain(owner);
        hak_lock_release(&owner->lock);
    }
}

/* A packet of the heap that is neither open nor on its way. NULL: all are, or no memory. */
static struct hak_packet *packet_find(struct hak_remote *remote) {
    for (unsigned i = 0; i < REMOTE_PACKETS_MAX; i++) {
        struct hak_packet *packet = remote->packets[i];
        if (packet == NULL) {
            packet = hak_meta_alloc(sizeof *packet);
            if (packet == NULL)
                return NULL;
            hak_atomic_store_relaxed(&packet->in_flight, 0);
            packet->count = 0;
            atomic_signal_fence(memory_order_release); /* a fork sees it made */
            remote->packets[i] = packet;
            return packet;
        }
        bool is_open = false;
        for (unsigned k = 0; k < REMOTE_OPEN; k++)
            is_open |= remote->open[k].packet == packet;
        /* Acquire (A): pairs with the release in hak_remote_drain(). */
        if (!is_open && hak_atomic_load_acquire(&packet->in_flight) == 0)
            return packet;
    }
    return NULL;
}

/* Gets packets back from owners that let them lie. */
static void packets_recall(const struct hak_remote *remote) {
    for (unsigned i = 0; i < REMOTE_PACKETS_MAX && remote->packets[i]; i++) {
        uint32_t id = hak_atomic_load_relaxed(&remote->packets[i]->in_flight);
        struct hak_heap *owner = id == 0 ? NULL : remote_owner(id);
        if (owner && hak_lock_try_acquire(&owner->lock)) {
            hak_remote_drain(owner);
            hak_lock_release(&owner->lock);
        }
    }
}

static void remote_post(struct hak_remote *remote, struct record record) {
    uint32_t tag = hak_pagemap_tag(record.slab); /* the record pins the slab */
    if (HAK_UNLIKELY((tag & (HAK_TAG_CLASS_LIMIT - 1)) != record_class(&record) << 4))
        record_misuse(0, &record, HAK_MISUSE_DOUBLE_FREE, record.mask);
    struct hak_heap *owner = remote_owner(tag >> HAK_TAG_ID_SHIFT);
    struct open_packet *open = &remote->open[owner->id % REMOTE_OPEN];
    /* Full and still open: a fork came between, and we are its child. */
    if (open->packet && (open->owner != owner || open->packet->count == REMOTE_RECORDS))
        remote_send(open);
    if (open->packet == NULL) {
        open->owner = owner;
        atomic_signal_fence(memory_order_release); /* a fork sees no packet without an owner */
        open->packet = packet_find(remote);
    }
    if (open->packet == NULL) {
        packets_recall(remote);
        open->packet = packet_find(remote);
    }
    if (open->packet == NULL) { /* memory is bounded, and progress needs nobody's help */
        hak_lock_acquire(&owner->lock);
        hak_remote_drain(owner);
        record_apply(owner, &record);
        hak_lock_release(&owner->lock);
        return;
    }
    struct hak_packet *packet = open->packet;
    hak_assert(packet->count < REMOTE_RECORDS);
    packet->records[packet->count] = record;
    atomic_signal_fence(memory_order_release); /* a fork in between loses the record, no more */
    packet->count++;
    open->bytes += hak_popcount(record.mask) * hak_size_class_at(hak_tag_class_offset(tag))->size;
    if (packet->count == REMOTE_RECORDS)
        remote_send(open);
}

/* Empties an accumulator. The mask first: a fork in between loses its blocks, and doubles none. */
static struct record accumulator_take(struct record *accumulator) {
    struct record record = *accumulator;
    accumulator->mask = 0;
    atomic_signal_fence(memory_order_release);
    return record;
}

void hak_remote_post_all(struct hak_heap *heap) {
    struct hak_remote *remote = heap->remote;
    if (remote == NULL)
        return;
    for (unsigned i = 0; i < REMOTE_ACCUMULATORS; i++) {
        struct record record = accumulator_take(&remote->gathered[i]);
        if (record.mask)
            remote_post(remote, record);
    }
    for (unsigned i = 0; i < REMOTE_OPEN; i++) {
        if (remote->open[i].packet)
            remote_send(&remote->open[i]);
    }
    remote->credit = REMOTE_BYTES_MAX;
}

/* Without memory for it blocks go on going home one by one. */
static void remote_make(struct hak_heap *heap) {
    struct hak_remote *remote = hak_meta_alloc(sizeof *remote);
    if (remote) {
        *remote = (struct hak_remote){.credit = REMOTE_BYTES_MAX};
        atomic_signal_fence(memory_order_release); /* a fork sees it made */
        heap->remote = remote;
    }
}

/* Neighbouring words of a slab, and neighbouring slabs, keep apart. */
static unsigned accumulator_of(hak_unit slab, uint32_t place) {
    return (slab * 7 + place) % REMOTE_ACCUMULATORS;
}

/* The accumulator has another word's blocks: they go on their way, and it serves this one. */
static HAK_NOINLINE void accumulator_turn(struct hak_remote *remote, struct record *accumulator,
                                          hak_unit slab, uint32_t place) {
    struct record full = accumulator_take(accumulator);
    if (full.mask)
        remote_post(remote, full);
    accumulator->slab = slab;
    accumulator->place = place;
    atomic_signal_fence(memory_order_release); /* a fork sees a mask with its own key */
}

static int32_t remote_cost(unsigned class_index) {
    uint32_t size = hak_size_classes[class_index].size;
    return (int32_t)(size > REMOTE_BLOCK_COST ? size : REMOTE_BLOCK_COST);
}

static HAK_NOINLINE bool remote_gather_slow(struct hak_heap *heap, struct record *accumulator,
                                            hak_unit slab, uint32_t place, uint64_t bit,
                                            int32_t cost) {
    struct hak_remote *remote = heap->remote;
    if (accumulator->slab != slab || accumulator->place != place)
        accumulator_turn(remote, accumulator, slab, place);
    if (HAK_UNLIKELY(accumulator->mask & bit))
        return false;
    accumulator->mask |= bit;
    remote->credit -= cost;
    if (HAK_UNLIKELY(remote->credit <= 0))
        hak_remote_post_all(heap);
    return true;
}

/*
 * Most often the block's word is being gathered already: one bit, without a stack frame. False: a double free,
 * the block is in its accumulator already.
 */
HAK_INLINE bool remote_gather(struct hak_heap *heap, hak_unit slab, unsigned class_index,
                              uint32_t index) {
    struct hak_remote *remote = heap->remote;
    uint32_t place = record_place(class_index, index);
    struct record *accumulator = &remote->gathered[accumulator_of(slab, place)];
    uint64_t bit = UINT64_C(1) << (index % 64);
    int32_t cost = remote_cost(class_index);
    if (HAK_UNLIKELY(accumulator->slab != slab || accumulator->place != place ||
                     (accumulator->mask & bit) || remote->credit <= cost))
        return remote_gather_slow(heap, accumulator, slab, place, bit, cost);
    accumulator->mask |= bit;
    remote->credit -= cost;
    return true;
}

bool hak_heap_gather(const void *p, uint32_t tag) {
    struct hak_heap *heap = hak_thread.heap;
    if (heap == NULL || heap->remote == NULL || tag >> HAK_TAG_ID_SHIFT == heap->id)
        return false;
    unsigned class_index = (tag & (HAK_TAG_CLASS_LIMIT - 1)) >> 4;
    hak_unit slab;
    uint32_t index;
    return hak_size_classes[class_index].size < REMOTE_DIRECT_SIZE &&
           hak_slab_locate(p, class_index, &slab, &index) &&
           remote_gather(heap, slab, class_index, index);
}

/* The heap that shall gather blocks; NULL: they go home one by one. */
static struct hak_heap *remote_heap(void) {
    struct hak_heap *heap = hak_heap_current();
    if (heap || ++t_remote_stranger_frees < REMOTE_STRANGER_FREES || hak_heap_is_late())
        return heap;
    return hak_heap_acquire();
}

/* Is the block in an accumulator of ours already? */
static bool remote_has_gathered(const struct hak_heap *heap, hak_unit slab, unsigned class_index,
                                uint32_t index) {
    if (heap == NULL || heap->remote == NULL)
        return false;
    uint32_t place = record_place(class_index, index);
    const struct record *record = &heap->remote->gathered[accumulator_of(slab, place)];
    return record->slab == slab && record->place == place && record->mask >> (index % 64) & 1;
}

/*
 * What hak_heap_gather() did not take: blocks of 4 KiB and more, misuse, and blocks of threads that have
 * nothing to gather them in; they are given it here, for the next time. Who has it does not wait for the owner.
 */
void hak_heap_free_remote(uint32_t owner_id, unsigned class_index, void *p, const char *function) {
    struct hak_heap *owner = remote_owner(owner_id);
    uint32_t size = hak_size_classes[class_index].size;
    hak_unit slab;
    uint32_t index;
    if (HAK_UNLIKELY(!hak_slab_locate(p, class_index, &slab, &index)))
        hak_misuse_fatal(function, p, HAK_MISUSE_INSIDE, size, owner_id);
    struct hak_heap *heap = remote_heap();
    if (HAK_UNLIKELY(remote_has_gathered(heap, slab, class_index, index)))
        hak_misuse_fatal(function, p, HAK_MISUSE_DOUBLE_FREE, size, owner_id);
    if (heap && heap->remote == NULL && !hak_heap_policy.is_exact)
        remote_make(heap);
    if (!hak_lock_try_acquire(&owner->lock)) {
        if (heap && heap->remote && remote_gather(heap, slab, class_index, index))
            return;
        hak_lock_acquire(&owner->lock);
    }
    hak_heap_put(owner, class_index, &p, 1, function);
    owner->remote_count++;
    hak_lock_release(&owner->lock);
}

enum hak_misuse hak_heap_examine(uint32_t owner_id, unsigned class_index, const void *p) {
    struct hak_heap *owner = remote_owner(owner_id);
    hak_lock_acquire(&owner->lock);
    enum hak_misuse misuse = hak_slab_examine(p, class_index);
    hak_lock_release(&owner->lock);
    return misuse;
}

/* ---- looking ---- */

static HAK_AUDIT void record_visit(const struct record *record, const char *where,
                                   hak_remote_visit *visit, void *context) {
    const struct hak_remote_blocks blocks = {where, record->slab, record_class(record),
                                             record_word(record), record->mask};
    visit(context, &blocks);
}

static HAK_AUDIT void packet_visit(struct hak_audit *audit, const struct hak_place *place,
                                   const struct hak_packet *packet, hak_remote_visit *visit,
                                   void *context) {
    if (!hak_audit_expect(audit, place, "records it has room for", packet->count <= REMOTE_RECORDS,
                          1))
        return;
    for (uint32_t i = 0; i < packet->count; i++)
        record_visit(&packet->records[i], place->part, visit, context);
}

/* No inbox has more packets than all heaps together. */
static HAK_AUDIT bool inbox_ends(const struct hak_packet *packet) {
    size_t packets_max = (size_t)hak_registry_count() * REMOTE_PACKETS_MAX;
    size_t count = 0;
    for (; packet && count <= packets_max; packet = packet->next)
        count++;
    return packet == NULL;
}

HAK_AUDIT void hak_remote_audit_inbox(struct hak_audit *audit, struct hak_heap *heap,
                                      hak_remote_visit *visit, void *context) {
    struct hak_place place = {.part = "packet on its way", .heap = heap->id};
    /* Acquire (B): pairs with the release in remote_send(). */
    const struct hak_packet *packet = hak_atomic_load_acquire(&heap->inbox);
    if (!hak_audit_expect(audit, &place, "the inbox ends", inbox_ends(packet), 1))
        return;
    for (; packet; packet = packet->next) {
        place.address = (uintptr_t)packet;
        hak_audit_expect(audit, &place, "heap it was sent to",
                         hak_atomic_load_relaxed(&packet->in_flight), heap->id);
        packet_visit(audit, &place, packet, visit, context);
    }
}

static HAK_AUDIT const struct open_packet *packet_opened(const struct hak_remote *remote,
                                                         const struct hak_packet *packet) {
    for (unsigned i = 0; i < REMOTE_OPEN; i++) {
        if (remote->open[i].packet == packet)
            return &remote->open[i];
    }
    return NULL;
}

static HAK_AUDIT void packet_audit(struct hak_audit *audit, const struct hak_heap *heap,
                                   const struct hak_packet *packet, hak_remote_visit *visit,
                                   void *context) {
    struct hak_place place = {"packet", (uintptr_t)packet, 0, heap->id};
    const struct open_packet *open = packet_opened(heap->remote, packet);
    /* Acquire (A): pairs with the release in hak_remote_drain(). */
    bool is_in_flight = hak_atomic_load_acquire(&packet->in_flight) != 0;
    if (open && is_in_flight && !audit->is_quiescent)
        return; /* a signal's handler or a debugger looks, and its thread is sending this one */
    if (open) {
        place.part = "open packet";
        hak_audit_expect(audit, &place, "it is in an inbox as well", is_in_flight, 0);
        packet_visit(audit, &place, packet, visit, context);
    } else if (!is_in_flight) {
        hak_audit_expect(audit, &place, "records of a packet that is free", packet->count, 0);
    }
}

HAK_AUDIT void hak_remote_audit_gathered(struct hak_audit *audit, const struct hak_heap *heap,
                                         hak_remote_visit *visit, void *context) {
    const struct hak_remote *remote = heap->remote;
    if (remote == NULL)
        return;
    for (unsigned i = 0; i < REMOTE_ACCUMULATORS; i++) {
        if (remote->gathered[i].mask)
            record_visit(&remote->gathered[i], "accumulator", visit, context);
    }
    for (unsigned i = 0; i < REMOTE_PACKETS_MAX && remote->packets[i]; i++)
        packet_audit(audit, heap, remote->packets[i], visit, context);
}

/* ---- fork ---- */

static void packet_mark(struct hak_packet *packet, uint32_t in_flight) {
    if (hak_atomic_load_relaxed(&packet->in_flight) != in_flight) /* else no page is copied */
        hak_atomic_store_relaxed(&packet->in_flight, in_flight);
}

void hak_remote_fork_child(void) {
    for (uint32_t id = 1; id <= hak_registry_count(); id++) {
        const struct hak_remote *remote = hak_registry_heap(id)->remote;
        for (unsigned i = 0; remote && i < REMOTE_PACKETS_MAX && remote->packets[i]; i++)
            packet_mark(remote->packets[i], 0);
    }
    for (uint32_t id = 1; id <= hak_registry_count(); id++) {
        struct hak_packet *packet = hak_atomic_load_relaxed(&hak_registry_heap(id)->inbox);
        for (; packet; packet = packet->next)
            packet_mark(packet, id);
    }
    for (uint32_t id = 1; id <= hak_registry_count(); id++) {
        struct hak_remote *remote = hak_registry_heap(id)->remote;
        for (unsigned i = 0; remote && i < REMOTE_OPEN; i++) {
            struct hak_packet *packet = remote->open[i].packet;
            if (packet && hak_atomic_load_relaxed(&packet->in_flight) != 0) {
                remote->open[i].packet = NULL; /* it was pushed: the inbox has it */
                remote->open[i].bytes = 0;
            }
        }
    }
}
