/* src/vm/vm.c — address space: reserve, commit, purge, release. SPDX-License-Identifier: MIT */

#include "vm/vm.h"

#include <errno.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/fatal.h"
#include "base/lock.h"
#include "base/log.h"
#include "options/options.h"
#include "prim/prim.h"

/*
 * 1 TiB of addresses cost a table of 64 MiB of addresses, untouched. Under an address limit the
 * window shrinks with it: 4 × the limit leaves room for strangers' mappings in between.
 */
#define VM_WINDOW_MAX HAK_TIB
#define VM_WINDOW_MIN HAK_GIB
#define VM_BASE_ALIGN HAK_GIB
enum { VM_PLACES_TRIED = 12 };
/* Huge pages have 2 MiB where the OS page has 4 KiB; 32 MiB with 16 KiB, 512 MiB with 64 KiB: too
 * coarse to ask for. */
#define VM_HUGE_OS_PAGE ((size_t)4096)
/*
 * 16,384 ranges for blocks with a mapping of their own: two mappings each, half of what Linux allows a
 * process (vm.max_map_count). The last lines are for arenas alone: blocks that find the book full are
 * served by an arena, but without a new arena there might be no block of any size.
 */
enum { VM_BOOK_ARENA_LINES = 512, VM_BOOK_MAX = 16384 + VM_BOOK_ARENA_LINES };
/* Below this address limit one lane is all there is room for. */
#define VM_HUGE_LIMIT_MIN (16 * HAK_GIB)
/* Arenas' reservations that the kernel would not take back: of a few sizes, tried again. */
enum { VM_KEPT_MAX = 16 };

struct vm_range { /* granules from the window's base */
    uint32_t start;
    uint32_t count;
};

static struct {
    struct hak_lock lock;
    struct hak_vm_window window;       /* [lock] until set, then fixed */
    size_t window_size;                /* bytes the window will have; fixed by hak_vm_init() */
    size_t address_limit;              /* bytes; fixed */
    size_t page_size;                  /* bytes; fixed */
    _Atomic bool can_purge_ranges;     /* [A] true until the kernel refuses */
    uint32_t kept_count;               /* [lock] */
    struct vm_range kept[VM_KEPT_MAX]; /* [lock] booked, mapped, zero; reserved again first */
    uint32_t book_count;               /* [lock] */
    struct vm_range book[VM_BOOK_MAX]; /* [lock] taken ranges, ascending, disjoint */
} g_vm = {.lock = HAK_LOCK_INIT(HAK_RANK_VM), .can_purge_ranges = true};

void hak_vm_init(void) {
    g_vm.page_size = hak_prim_page_size();
    g_vm.address_limit = SIZE_MAX;
    hak_ledger_add(HAK_CALL_PRLIMIT, HAK_CAUSE_START,
                   0); /* before anyone observes: without its time */
    if (hak_prim_address_space_limit(&g_vm.address_limit) != 0)
        g_vm.address_limit = SIZE_MAX; /* unknown is treated as none: the kernel will say no */
    g_vm.window_size = VM_WINDOW_MAX;
    while (g_vm.window_size > VM_WINDOW_MIN && g_vm.window_size / 4 > g_vm.address_limit)
        g_vm.window_size /= 2;
}

struct hak_vm_window hak_vm_window(void) {
    return g_vm.window;
}

size_t hak_vm_address_limit(void) {
    return g_vm.address_limit;
}

size_t hak_vm_page_size(void) {
    return g_vm.page_size;
}

/* ---- the address book ---- */

static uint32_t vm_granule(uintptr_t address) {
    return (uint32_t)((address - g_vm.window.base) / HAK_VM_GRANULE);
}

static void book_insert(uint32_t position, struct vm_range range) {
    hak_check(g_vm.book_count < VM_BOOK_MAX);
    for (uint32_t i = g_vm.book_count; i > position; i--)
        g_vm.book[i] = g_vm.book[i - 1];
    g_vm.book[position] = range;
    g_vm.book_count++;
}

static uint32_t book_find(uint32_t start) {
    uint32_t i = 0;
    while (i < g_vm.book_count && g_vm.book[i].start != start)
        i++;
    hak_check(i < g_vm.book_count);
    return i;
}

static void book_remove(uint32_t start) {
    uint32_t i = book_find(start);
    g_vm.book_count--;
    for (; i < g_vm.book_count; i++)
        g_vm.book[i] = g_vm.book[i + 1];
}

/* Makes a range longer by `count` granules, or up to the next one; returns how long it is. */
static uint32_t book_widen(uint32_t start, size_t count) {
    uint32_t i = book_find(start);
    struct vm_range *range = &g_vm.book[i];
    size_t end = g_vm.window.size / HAK_VM_GRANULE;
    if (i + 1 < g_vm.book_count)
        end = g_vm.book[i + 1].start;
    range->count = (uint32_t)hak_min(range->count + count, end - start);
    return range->count;
}

/*
 * First fit: takes the lowest gap that holds `size` bytes at `align`; 0 when there is none, or when
 * the book has `lines_max` ranges.
 */
static uintptr_t book_take_gap(size_t size, size_t align, uint32_t lines_max) {
    uintptr_t base = g_vm.window.base;
    uintptr_t gap = base;
    if (g_vm.book_count >= lines_max)
        return 0;
    for (uint32_t i = 0; i <= g_vm.book_count; i++) {
        bool is_last = i == g_vm.book_count;
        uintptr_t gap_end = is_last ? base + g_vm.window.size
                                    : base + (uintptr_t)g_vm.book[i].start * HAK_VM_GRANULE;
        uintptr_t start = hak_align_up(gap, align);
        if (start >= gap && start <= gap_end && size <= gap_end - start) {
            book_insert(i, (struct vm_range){vm_granule(start), (uint32_t)(size / HAK_VM_GRANULE)});
            return start;
        }
        if (!is_last)
            gap = gap_end + (uintptr_t)g_vm.book[i].count * HAK_VM_GRANULE;
    }
    return 0;
}

/* A reservation of just that size that could not be released; 0: there is none. */
static uintptr_t kept_take(size_t size, size_t align) {
    for (uint32_t i = 0; i < g_vm.kept_count; i++) {
        uintptr_t start = g_vm.window.base + (uintptr_t)g_vm.kept[i].start * HAK_VM_GRANULE;
        if ((size_t)g_vm.kept[i].count * HAK_VM_GRANULE != size || start % align != 0)
            continue;
        g_vm.kept[i] = g_vm.kept[--g_vm.kept_count];
        return start;
    }
    return 0;
}

static void kept_put(const void *addr, size_t size) {
    hak_lock_acquire(&g_vm.lock);
    if (g_vm.kept_count < VM_KEPT_MAX)
        g_vm.kept[g_vm.kept_count++] =
            (struct vm_range){vm_granule((uintptr_t)addr), (uint32_t)(size / HAK_VM_GRANULE)};
    hak_lock_release(&g_vm.lock);
}

/* ---- reserve and release ---- */

static int vm_unmap(void *addr, size_t size, enum hak_cause cause) {
    struct hak_ledger_timer timer = hak_ledger_begin(HAK_CALL_MUNMAP, cause, size);
    int error = hak_prim_unmap(addr, size);
    hak_ledger_end(timer);
    hak_log(HAK_LOG_VM, error ? "unmap refused" : "unmap", addr, size);
    return error;
}

static int vm_map(void *wanted, size_t size, enum hak_access access, enum hak_cause cause,
                  void **out) {
    struct hak_ledger_timer timer = hak_ledger_begin(HAK_CALL_MMAP, cause, size);
    int error = hak_prim_map(wanted, size, access, out);
    hak_ledger_end(timer);
    hak_log(HAK_LOG_VM, error ? "map refused" : "map", wanted, size);
    if (error == 0 && wanted && *out != wanted) { /* a kernel before 4.17 */
        error = vm_unmap(*out, size, cause);
        return error ? error : EEXIST;
    }
    return error;
}

/* The platform offers no quiet place: put the window around wherever the kernel likes. */
static int vm_reserve_first_anywhere(size_t size, size_t align, enum hak_cause cause, void **out) {
    void *mapping;
    size_t with_slack = size + align; /* the slack stays mapped, without access: no trimming */
    int error = vm_map(NULL, with_slack, HAK_ACCESS_NONE, cause, &mapping);
    if (error)
        return error;
    uintptr_t start = (uintptr_t)mapping;
    uintptr_t base = hak_align_down(start, VM_BASE_ALIGN);
    if (base < VM_BASE_ALIGN) { /* the first GiB is no place for a window */
        vm_unmap(mapping, with_slack, cause);
        return ENOMEM;
    }
    /* Half of the window below, half above; never address 0, which means "no place". */
    size_t window_size = hak_max(g_vm.window_size, 4 * VM_BASE_ALIGN);
    g_vm.window.base = base - hak_min(base - VM_BASE_ALIGN, window_size / 2);
    g_vm.window.size = window_size;
    uintptr_t ours = hak_align_up(start, align);
    uint32_t first = vm_granule(hak_align_down(start, HAK_VM_GRANULE));
    uint32_t end = vm_granule(hak_align_up(start + with_slack, HAK_VM_GRANULE));
    uint32_t ours_first = vm_granule(ours);
    uint32_t ours_end = vm_granule(ours + size);
    if (first > 0) /* the window's first unit is nobody's: its index says "none" (arena/unit.h) */
        book_insert(g_vm.book_count, (struct vm_range){0, 1});
    if (first < ours_first)
        book_insert(g_vm.book_count, (struct vm_range){first, ours_first - first});
    book_insert(g_vm.book_count, (struct vm_range){ours_first, ours_end - ours_first});
    if (ours_end < end)
        book_insert(g_vm.book_count, (struct vm_range){ours_end, end - ours_end});
    *out = (void *)ours;
    return 0;
}

/* Finds the window's place with the first reservation. Start-up holds its own lock. */
static int vm_reserve_first(size_t size, size_t align, enum hak_cause cause, void **out) {
    uintptr_t hint = hak_prim_address_hint();
    for (int i = 0; hint && i < VM_PLACES_TRIED; i++) {
        uintptr_t base =
            hak_align_up(hint + (uintptr_t)i * g_vm.window_size, hak_max(VM_BASE_ALIGN, align));
        int error = vm_map((void *)base, size, HAK_ACCESS_NONE, cause, out);
        if (error == 0) {
            g_vm.window.base = base;
            g_vm.window.size = g_vm.window_size;
            book_insert(0, (struct vm_range){0, (uint32_t)(size / HAK_VM_GRANULE)});
            return 0;
        }
        if (error != EEXIST)
            break;
    }
    return vm_reserve_first_anywhere(size, align, cause, out);
}

static void vm_unbook(void *reservation) {
    hak_lock_acquire(&g_vm.lock);
    book_remove(vm_granule((uintptr_t)reservation));
    hak_lock_release(&g_vm.lock);
}

/* Takes `booked` bytes of the window and maps the first `size` of them. */
static int vm_reserve_in_window(size_t booked, size_t size, size_t align, enum hak_access access,
                                enum hak_cause cause, void **out) {
    uint32_t lines_max =
        cause == HAK_CAUSE_ARENA_RESERVE ? VM_BOOK_MAX : VM_BOOK_MAX - VM_BOOK_ARENA_LINES;
    for (int i = 0; i < VM_PLACES_TRIED; i++) {
        hak_lock_acquire(&g_vm.lock);
        uintptr_t place = book_take_gap(booked, align, lines_max);
        hak_lock_release(&g_vm.lock);
        if (place == 0)
            return ENOMEM;
        int error = vm_map((void *)place, size, access, cause, out);
        if (error == 0)
            return 0;
        if (error != EEXIST) {
            vm_unbook((void *)place);
            return error;
        }
        /* Somebody else lives there, who may be much larger: the place stays booked, and each time
         * twice as much behind it, so that it is neither asked for again nor crept past. */
        hak_lock_acquire(&g_vm.lock);
        book_widen(vm_granule(place), (booked << i) / HAK_VM_GRANULE);
        hak_lock_release(&g_vm.lock);
    }
    return ENOMEM;
}

int hak_vm_reserve(size_t size, size_t align, enum hak_cause cause, void **out) {
    hak_assert(size % HAK_VM_GRANULE == 0);
    hak_assert(align >= HAK_VM_GRANULE);
    if (g_vm.window.size == 0)
        return vm_reserve_first(size, align, cause, out);
    hak_lock_acquire(&g_vm.lock);
    uintptr_t kept = kept_take(size, align);
    hak_lock_release(&g_vm.lock);
    if (kept) {
        *out = (void *)kept;
        return 0;
    }
    return vm_reserve_in_window(size, size, align, HAK_ACCESS_NONE, cause, out);
}

void hak_vm_release(void *addr, size_t size, enum hak_cause cause) {
    /* At the kernel's limit of mappings munmap can fail, mprotect as well: arenas would be reserved and
     * given up again and again. The place stays booked, its memory goes back, and the next reservation
     * of that size gets it. */
    if (vm_unmap(addr, size, cause) != 0) {
        if (hak_vm_purge(addr, size, cause) == 0 && cause == HAK_CAUSE_ARENA_RESERVE)
            kept_put(addr, size); /* else nothing more can be done: the pages stay ours, unused */
        return;
    }
    vm_unbook(addr);
}

/* ---- extents ---- */

int hak_vm_extent_map(struct hak_vm_extent *extent, size_t align, enum hak_access access,
                      enum hak_cause cause) {
    hak_assert(extent->reserved % HAK_VM_GRANULE == 0);
    hak_assert(extent->usable <= extent->reserved);
    return vm_reserve_in_window(extent->reserved, extent->usable, align, access, cause,
                                &extent->start);
}

void hak_vm_extent_widen(struct hak_vm_extent *extent, size_t reserved) {
    hak_assert(reserved % HAK_VM_GRANULE == 0);
    if (reserved <= extent->reserved)
        return;
    hak_lock_acquire(&g_vm.lock);
    size_t count = book_widen(vm_granule((uintptr_t)extent->start),
                              (reserved - extent->reserved) / HAK_VM_GRANULE);
    hak_lock_release(&g_vm.lock);
    extent->reserved = count * HAK_VM_GRANULE;
}

int hak_vm_extent_grow(struct hak_vm_extent *extent, size_t usable, enum hak_cause cause) {
    hak_assert(usable <= extent->reserved);
    struct hak_ledger_timer timer =
        hak_ledger_begin(HAK_CALL_MREMAP, cause, usable - extent->usable);
    int error = hak_prim_extend(extent->start, extent->usable, usable);
    hak_ledger_end(timer);
    hak_log(HAK_LOG_VM, error ? "extend refused" : "extend", extent->start, usable);
    if (error == 0)
        extent->usable = usable;
    return error;
}

int hak_vm_extent_shrink(struct hak_vm_extent *extent, size_t usable, enum hak_cause cause) {
    int error = vm_unmap((char *)extent->start + usable, extent->usable - usable, cause);
    if (error == 0)
        extent->usable = usable;
    return error;
}

/*
 * Nothing was moved, but Linux before 6.17 unmaps the target first and only then looks whether the
 * source is one mapping and whether limits allow the growth. Such a hole is filled again, so that no
 * stranger's mapping is unmapped for ours; EEXIST says that there is none.
 */
static void vm_unmap_target(const struct hak_vm_extent *to, enum hak_cause cause) {
    void *filled;
    int error = vm_map(to->start, to->usable, HAK_ACCESS_NONE, cause, &filled);
    if (error == 0 || error == EEXIST)
        hak_vm_release(to->start, to->usable, cause);
    else
        vm_unbook(to->start);
}

int hak_vm_extent_move(const struct hak_vm_extent *from, const struct hak_vm_extent *to,
                       enum hak_cause cause) {
    hak_assert(from->usable <= to->usable);
    struct hak_ledger_timer timer = hak_ledger_begin(HAK_CALL_MREMAP, cause, to->usable);
    int error = hak_prim_move(from->start, from->usable, to->start, to->usable);
    hak_ledger_end(timer);
    hak_log(HAK_LOG_VM, error ? "move refused" : "move", from->start, to->usable);
    if (error)
        vm_unmap_target(to, cause);
    else
        vm_unbook(from->start); /* nothing of it is mapped any more */
    return error;
}

int hak_vm_map_table(size_t size, enum hak_cause cause, void **out) {
    return vm_map(NULL, size, HAK_ACCESS_READ, cause, out);
}

HAK_AUDIT int hak_vm_map_notes(size_t size, enum hak_cause cause, void **out) {
    return vm_map(NULL, size, HAK_ACCESS_READ_WRITE, cause, out);
}

void hak_vm_unmap_table(void *addr, size_t size, enum hak_cause cause) {
    int error = vm_unmap(addr, size, cause);
    (void)error; /* unused address space is all that is lost */
}

int hak_vm_commit(void *addr, size_t size, enum hak_cause cause) {
    struct hak_ledger_timer timer = hak_ledger_begin(HAK_CALL_MPROTECT, cause, size);
    int error = hak_prim_protect(addr, size, HAK_ACCESS_READ_WRITE);
    hak_ledger_end(timer);
    hak_log(HAK_LOG_VM, error ? "commit refused" : "commit", addr, size);
    return error;
}

int hak_vm_purge(void *addr, size_t size, enum hak_cause cause) {
    struct hak_ledger_timer timer = hak_ledger_begin(HAK_CALL_MADVISE, cause, size);
    int error = hak_prim_purge(addr, size);
    hak_ledger_end(timer);
    hak_log(HAK_LOG_VM, error ? "purge refused" : "purge", addr, size);
    return error;
}

int hak_vm_purge_ranges(const struct hak_prim_range *ranges, size_t count, enum hak_cause cause) {
    if (!hak_atomic_load_relaxed(&g_vm.can_purge_ranges))
        return ENOSYS;
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += ranges[i].size;
    struct hak_ledger_timer timer = hak_ledger_begin(HAK_CALL_PROCESS_MADVISE, cause, size);
    int error = hak_prim_purge_ranges(ranges, count);
    hak_ledger_end(timer);
    hak_log(HAK_LOG_VM, error ? "purge of ranges refused" : "purge of ranges", count, size);
    if (error && error != EAGAIN) /* an old kernel, or a filter: it will not change its mind */
        hak_atomic_store_relaxed(&g_vm.can_purge_ranges, false);
    return error;
}

bool hak_vm_can_purge_ranges(void) {
    return hak_atomic_load_relaxed(&g_vm.can_purge_ranges);
}

bool hak_vm_has_huge(void) {
    return hak_options.huge != HAK_HUGE_OFF && g_vm.page_size == VM_HUGE_OS_PAGE &&
           g_vm.address_limit >= VM_HUGE_LIMIT_MIN;
}

void hak_vm_advise_huge(void *addr, size_t size, enum hak_cause cause) {
    if (!hak_vm_has_huge())
        return;
    struct hak_ledger_timer timer = hak_ledger_begin(HAK_CALL_MADVISE, cause, size);
    int error = hak_prim_advise_huge(addr, size);
    hak_ledger_end(timer);
    (void)error; /* a wish: where it is refused, pages are small */
    hak_log(HAK_LOG_VM, error ? "huge pages refused" : "huge pages", addr, size);
}

/* ---- looking ---- */

HAK_AUDIT bool hak_vm_book_line(uint32_t position, void **start, size_t *size) {
    if (position >= g_vm.book_count)
        return false;
    *start = (void *)(g_vm.window.base + (uintptr_t)g_vm.book[position].start * HAK_VM_GRANULE);
    *size = (size_t)g_vm.book[position].count * HAK_VM_GRANULE;
    return true;
}

static HAK_AUDIT struct hak_place book_place(struct vm_range range) {
    return (struct hak_place){"address book",
                              g_vm.window.base + (uintptr_t)range.start * HAK_VM_GRANULE, 0, 0};
}

static HAK_AUDIT bool book_has(struct vm_range range) {
    for (uint32_t i = 0; i < g_vm.book_count; i++) {
        if (g_vm.book[i].start == range.start)
            return g_vm.book[i].count >= range.count;
    }
    return false;
}

HAK_AUDIT void hak_vm_audit(struct hak_audit *audit) {
    uint64_t end = 0;
    for (uint32_t i = 0; i < g_vm.book_count; i++) {
        struct hak_place place = book_place(g_vm.book[i]);
        uint64_t start = g_vm.book[i].start;
        hak_audit_expect(audit, &place, "the line begins behind the one before", start >= end, 1);
        hak_audit_expect(audit, &place, "the line is empty", g_vm.book[i].count == 0, 0);
        end = start + g_vm.book[i].count;
    }
    struct hak_place place = {.part = "address book"};
    hak_audit_expect(audit, &place, "all lines lie in the window",
                     end <= g_vm.window.size / HAK_VM_GRANULE, 1);
    for (uint32_t i = 0; i < g_vm.kept_count; i++) {
        place = book_place(g_vm.kept[i]);
        hak_audit_expect(audit, &place, "a reservation that is kept is booked",
                         book_has(g_vm.kept[i]), 1);
    }
}

struct hak_lock *hak_vm_lock(void) {
    return &g_vm.lock;
}

void hak_vm_fork_prepare(void) HAK_NO_LOCK_ANALYSIS {
    hak_lock_acquire_for_fork(&g_vm.lock);
}

void hak_vm_fork_parent(void) HAK_NO_LOCK_ANALYSIS {
    hak_lock_release(&g_vm.lock);
}

void hak_vm_fork_child(void) {
    hak_lock_reset(&g_vm.lock);
}
