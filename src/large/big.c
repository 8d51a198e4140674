/* src/large/big.c — Big blocks: each its own mapping. SPDX-License-Identifier: MIT */

#include "large/big.h"

#include "arena/pagemap.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/fatal.h"
#include "base/log.h"
#include "large/big_cache.h"
#include "large/big_table.h"
#include "large/span.h"
#include "prim/prim.h"
#include "vm/vm.h"

/* Bytes; no window holds more. Twice as much is still a size_t. */
#define BIG_SIZE_LIMIT (HAK_UNIT_COUNT_MAX * HAK_UNIT_SIZE)
/* Below, a block has so few huge pages that its last, half used, outweighs them. */
#define BIG_HUGE_MIN (4 * HAK_MIB)
/*
 * Freed mappings are kept up to a quarter of what is live, as a program that holds much will soon ask
 * for much; or up to 256 MiB, two or three of the smallest blocks that malloc makes Big, as with less
 * a program that holds one at a time would pay its page faults anew each time.
 */
#define BIG_CACHE_BYTES_MIN (256 * HAK_MIB)
enum { BIG_CACHE_LIVE_PART = 4 };
/*
 * A block may lie in a kept mapping that is larger by a quarter: more memory than asked for, but no
 * page faults. One that grows, and will use it, in one that is larger by half.
 */
enum { BIG_WASTE_PART = 4, BIG_WASTE_PART_GROWING = 2 };
/*
 * A block that grows gets an eighth of its size as spare, so that steps of 4 KiB do not each make a
 * system call, and twice its size in addresses, so that it moves at most once per doubling. Spare is
 * not touched, and so costs no memory; the addresses are only kept free.
 */
enum { BIG_SPARE_PART = 8, BIG_RESERVE_FACTOR = 2 };

struct hak_big_policy hak_big_policy = {.cache_bytes_max = HAK_GIB};

static struct {
    _Atomic size_t count; /* [S] */
    _Atomic size_t bytes; /* [S] */
} g_big;

/* ---- mappings ---- */

static size_t big_usable_for(size_t size) {
    return hak_align_up(hak_max(size, 1), hak_vm_page_size());
}

/* At least one OS page behind the block is nobody's: an overrun faults. */
static size_t big_reserved_for(size_t usable) {
    return hak_align_up(usable + hak_vm_page_size(), HAK_UNIT_SIZE);
}

static struct hak_vm_extent big_exact(size_t usable) {
    return (struct hak_vm_extent){.reserved = big_reserved_for(usable), .usable = usable};
}

/* Whole huge pages, so that a block that grows by small steps is made of them as well. */
static size_t big_with_spare(size_t usable) {
    return hak_align_up(usable + usable / BIG_SPARE_PART, HAK_BIG_ALIGN);
}

static struct hak_vm_extent big_growing(size_t usable) {
    struct hak_vm_extent extent = {.usable = big_with_spare(usable)};
    extent.reserved = hak_max(hak_align_up(usable * BIG_RESERVE_FACTOR, HAK_BIG_ALIGN),
                              big_reserved_for(extent.usable));
    return extent;
}

/* Maps the extent, with all that is needed to describe a block there. */
static bool big_map(struct hak_vm_extent *extent, size_t align, enum hak_access access,
                    enum hak_cause cause) {
    if (hak_vm_extent_map(extent, hak_max(align, HAK_BIG_ALIGN), access, cause) != 0)
        return false;
    /* The tag of the first unit is all that is written; that of every unit is made writable, so that
     * the parts of the pagemap in use join: each gap between them costs the kernel two mappings. */
    uint32_t unit_count = (uint32_t)(extent->reserved / HAK_UNIT_SIZE);
    if (hak_big_table_cover(extent->start) &&
        hak_pagemap_cover(hak_unit_of(extent->start), unit_count) == 0)
        return true;
    hak_vm_release(extent->start, extent->usable, cause);
    return false;
}

/* Asks for huge pages once a block has the size; what is added to it later is like it. */
static void big_advise(const struct hak_vm_extent *extent, size_t usable_before) {
    if (usable_before < BIG_HUGE_MIN && extent->usable >= BIG_HUGE_MIN)
        hak_vm_advise_huge(extent->start, extent->usable, HAK_CAUSE_HUGE);
}

static void big_release(const struct hak_big_extents *extents, enum hak_cause cause) {
    for (size_t i = 0; i < extents->count; i++)
        hak_vm_release(extents->list[i].start, extents->list[i].usable, cause);
}

/* ---- allocation ---- */

/* From here on the extent is a block. */
static void *big_tag(const struct hak_vm_extent *extent) {
    hak_big_table_set(extent);
    hak_pagemap_publish(hak_unit_of(extent->start), HAK_KIND_BIG);
    return extent->start;
}

static void *big_count_and_tag(const struct hak_vm_extent *extent) {
    hak_atomic_add_relaxed(&g_big.count, 1);
    hak_atomic_add_relaxed(&g_big.bytes, extent->usable);
    hak_log(HAK_LOG_LARGE, "big alloc", extent->start, extent->usable);
    return big_tag(extent);
}

/* A new mapping. NULL: no memory, or no place. */
static void *big_make(struct hak_vm_extent extent, size_t align) {
    if (!big_map(&extent, align, HAK_ACCESS_READ_WRITE, HAK_CAUSE_BIG))
        return NULL;
    big_advise(&extent, 0);
    return big_count_and_tag(&extent);
}

void *hak_big_alloc(size_t size, size_t align, bool *is_zeroed) {
    struct hak_vm_extent kept;
    /* A window that holds a multiple of such an alignment does so by chance. */
    if (size >= BIG_SIZE_LIMIT || align >= BIG_SIZE_LIMIT)
        return NULL;
    size_t usable = big_usable_for(size);
    *is_zeroed = !hak_big_cache_take(usable, usable + usable / BIG_WASTE_PART, align, &kept);
    return *is_zeroed ? big_make(big_exact(usable), align) : big_count_and_tag(&kept);
}

/*
 * A kept mapping for a block that grows. One that is too large, but that malloc has no use for, is
 * shortened: blocks that grow large time and again would else fill the cache with what none of them
 * fits when it is small.
 */
static bool big_take_growing(size_t usable, struct hak_vm_extent *extent) {
    if (hak_big_cache_take(usable, usable + usable / BIG_WASTE_PART_GROWING, HAK_BIG_ALIGN, extent))
        return true;
    size_t with_spare = big_with_spare(usable);
    if (!hak_big_cache_take(with_spare, HAK_LARGE_MAX, HAK_BIG_ALIGN, extent))
        return false;
    if (hak_vm_extent_shrink(extent, with_spare, HAK_CAUSE_BIG) == 0)
        return true;
    hak_vm_release(extent->start, extent->usable, HAK_CAUSE_BIG);
    return false;
}

void *hak_big_alloc_growing(size_t size) {
    struct hak_vm_extent kept;
    if (size >= BIG_SIZE_LIMIT)
        return NULL;
    size_t usable = big_usable_for(size);
    if (big_take_growing(usable, &kept))
        return big_count_and_tag(&kept);
    void *p = big_make(big_growing(usable), HAK_BIG_ALIGN);
    return p ? p : big_make(big_exact(usable), HAK_BIG_ALIGN);
}

/* ---- free ---- */

static size_t big_cache_bytes_max(void) {
    size_t live = hak_atomic_load_relaxed(&g_big.bytes);
    return hak_min(hak_atomic_load_relaxed(&hak_big_policy.cache_bytes_max),
                   hak_max(BIG_CACHE_BYTES_MIN, live / BIG_CACHE_LIVE_PART));
}

/* Of two threads that free or move the same block only one turns the tag. */
static bool big_untag(const void *p) {
    uint32_t expected = HAK_KIND_BIG;
    return hak_atomic_cas_relaxed(&hak_pagemap_tags[hak_unit_of(p)], &expected, HAK_KIND_BIG_FREED);
}

enum hak_misuse hak_big_free(void *p) {
    struct hak_big_extents rejected;
    if (p != hak_unit_address(hak_unit_of(p)))
        return HAK_MISUSE_INSIDE;
    if (!big_untag(p))
        return HAK_MISUSE_DOUBLE_FREE;
    struct hak_vm_extent extent = hak_big_table_get(p);
    hak_atomic_sub_relaxed(&g_big.count, 1);
    hak_atomic_sub_relaxed(&g_big.bytes, extent.usable);
    hak_log(HAK_LOG_LARGE, "big free", p, extent.usable);
    hak_big_cache_put(&extent, hak_prim_clock_ms(), big_cache_bytes_max(), &rejected);
    big_release(&rejected, HAK_CAUSE_BIG);
    return HAK_MISUSE_NONE;
}

size_t hak_big_purge(uint64_t now_ms, uint64_t age_ms, enum hak_cause cause) {
    struct hak_big_extents drained;
    size_t bytes = 0;
    hak_big_cache_drain(now_ms, age_ms, &drained);
    for (size_t i = 0; i < drained.count; i++)
        bytes += drained.list[i].usable;
    big_release(&drained, cause);
    return bytes;
}

/* ---- growing and shrinking ---- */

/* The block has a new end. */
static void big_note_end(const struct hak_vm_extent *extent, size_t usable_before) {
    hak_atomic_add_relaxed(&g_big.bytes, extent->usable - usable_before); /* shrinking, it wraps */
    hak_big_table_set(extent);
}

/* Grows into the addresses behind. False: they do not suffice, or no memory. */
static bool big_extend(struct hak_vm_extent *extent, size_t usable) {
    size_t before = extent->usable;
    size_t with_spare = big_with_spare(usable);
    hak_vm_extent_widen(extent, big_reserved_for(with_spare));
    size_t room = extent->reserved - hak_vm_page_size();
    if (usable > room)
        return false;
    if (hak_vm_extent_grow(extent, hak_min(with_spare, room), HAK_CAUSE_BIG_GROW) != 0 &&
        hak_vm_extent_grow(extent, usable, HAK_CAUSE_BIG_GROW) != 0)
        return false;
    big_advise(extent, before);
    big_note_end(extent, before);
    return true;
}

/*
 * Unmaps the end and keeps its addresses: one system call, as giving back only the memory would be,
 * but what malloc_usable_size() says and what limits count shrink with it. It grows again in place.
 */
static void big_shorten(struct hak_vm_extent *extent, size_t usable) {
    size_t before = extent->usable;
    if (hak_vm_extent_shrink(extent, usable, HAK_CAUSE_BIG) == 0) /* else it fits as it is */
        big_note_end(extent, before);
}

/* The kernel moves the block's pages to a new extent like `to`. NULL: nothing has changed. */
static void *big_move(const struct hak_vm_extent *from, struct hak_vm_extent to) {
    if (!big_map(&to, HAK_BIG_ALIGN, HAK_ACCESS_NONE, HAK_CAUSE_BIG_GROW))
        return NULL;
    /* Before the move: afterwards the old place may be somebody else's at once, tag and all. */
    if (!big_untag(
            from->start)) { /* freed by another thread meanwhile: the caller's free finds it */
        hak_vm_release(to.start, to.usable, HAK_CAUSE_BIG_GROW);
        return NULL;
    }
    if (hak_vm_extent_move(from, &to, HAK_CAUSE_BIG_GROW) != 0) {
        hak_pagemap_set(hak_unit_of(from->start), HAK_KIND_BIG);
        return NULL;
    }
    big_advise(&to, from->usable);
    hak_atomic_add_relaxed(&g_big.bytes, to.usable - from->usable);
    hak_log(HAK_LOG_LARGE, "big move", from->start, to.usable);
    return big_tag(&to);
}

void *hak_big_resize(void *p, size_t size) {
    if (size >= BIG_SIZE_LIMIT)
        return NULL;
    struct hak_vm_extent extent = hak_big_table_get(p);
    size_t usable = big_usable_for(size);
    if (usable <= extent.usable) {
        if (usable < extent.usable)
            big_shorten(&extent, usable);
        return p;
    }
    if (big_extend(&extent, usable))
        return p;
    void *moved = big_move(&extent, big_growing(usable));
    return moved ? moved : big_move(&extent, big_exact(usable));
}

/* ---- looking ---- */

size_t hak_big_size(const void *p) {
    return hak_big_table_get(p).usable;
}

struct hak_big_stats hak_big_stats(void) {
    return (struct hak_big_stats){
        .count = hak_atomic_load_relaxed(&g_big.count),
        .bytes = hak_atomic_load_relaxed(&g_big.bytes),
        .cached_bytes = hak_big_cache_bytes(),
    };
}

static HAK_AUDIT void big_audit_block(struct hak_audit *audit, const void *start, size_t booked) {
    struct hak_place place = {"Big block", (uintptr_t)start, 0, 0};
    struct hak_vm_extent told = hak_big_table_get(start);
    hak_audit_expect(audit, &place, "it begins at a multiple of 2 MiB",
                     (uintptr_t)start % HAK_BIG_ALIGN, 0);
    hak_audit_expect(audit, &place, "usable < reserved <= booked",
                     told.usable > 0 && told.usable < told.reserved && told.reserved <= booked, 1);
}

HAK_AUDIT size_t hak_big_audit(struct hak_audit *audit, size_t *kept_count) {
    struct hak_place place = {.part = "Big blocks"};
    void *start;
    size_t booked;
    size_t count = 0;
    size_t bytes = 0;
    size_t kept = 0;
    for (uint32_t line = 0; hak_vm_book_line(line, &start, &booked); line++) {
        bool is_kept = hak_big_cache_has(start);
        bool is_live = hak_pagemap_look(hak_unit_of(start)) == HAK_KIND_BIG;
        kept += is_kept;
        count += is_live;
        if (is_live || is_kept)
            big_audit_block(audit, start, booked);
        if (is_live)
            bytes += hak_big_table_get(start).usable;
    }
    *kept_count = hak_big_cache_audit(audit);
    hak_audit_expect(audit, &place, "kept mappings that are booked", kept, *kept_count);
    if (audit->is_quiescent) {
        hak_audit_expect(audit, &place, "counted", hak_atomic_load_relaxed(&g_big.count), count);
        hak_audit_expect(audit, &place, "usable bytes counted",
                         hak_atomic_load_relaxed(&g_big.bytes), bytes);
    }
    return count;
}

void hak_big_fork_prepare(void) {
    hak_big_cache_fork_prepare();
}

void hak_big_fork_parent(void) {
    hak_big_cache_fork_parent();
}

void hak_big_fork_child(void) {
    hak_big_cache_fork_child();
}
