/* src/vm/vm.h — address space: reserve, commit, purge, release. SPDX-License-Identifier: MIT */

/*
 * Every mapping hakmem makes goes through here, with its cause. All addresses that can reach users
 * lie in one *window* of the address space, so that one table and one compare answer "whose is this
 * pointer" (docs/decisions/e1-pagemap.md). The window is cut into 64 KiB granules; an address book,
 * sorted, says which are taken, and new ranges go first-fit into the gaps: freed addresses are used
 * again and never run out of the window.
 *
 *   window.base                                                        base + window.size
 *   |  arena 1 GiB  |  Big  | gap |  arena 2 GiB  |  taken by somebody else  |  …    |
 *
 * `int` results are 0 or an errno value. All functions may be called from any thread and make at
 * most the system call their name says (reserve: one more for each refused place, 12 at most).
 */
#ifndef HAK_VM_VM_H
#define HAK_VM_VM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/audit.h"
#include "base/compiler.h"
#include "base/lock.h"
#include "prim/prim.h"
#include "stats/ledger.h"

#define HAK_VM_GRANULE ((size_t)64 << 10) /* bytes; alignment and size unit of reservations */

struct hak_vm_window {
    uintptr_t base; /* multiple of 1 GiB, the largest alignment of units; never 0 */
    size_t size;    /* bytes; 0 before the first reservation */
};

/* Reads limits, decides how large the window is. Call once, before anything else here. */
void hak_vm_init(void);

/* The window; fixed by the first successful reservation, which start-up makes. */
struct hak_vm_window hak_vm_window(void);
/* Bytes of addresses the process may still be given by its limit (RLIMIT_AS); SIZE_MAX: no limit. */
size_t hak_vm_address_limit(void);
size_t hak_vm_page_size(void);

/*
 * Reserves `size` bytes (multiple of the granule) inside the window at a multiple of `align` (power
 * of two >= granule), not accessible. ENOMEM when no place is left or the kernel refuses.
 */
HAK_NODISCARD int hak_vm_reserve(size_t size, size_t align, enum hak_cause cause, void **out);
/* Gives the whole reservation, or what is left of it, back. */
void hak_vm_release(void *addr, size_t size, enum hak_cause cause);

/* A zeroed table outside the window: readable; commit parts to write to them. */
HAK_NODISCARD int hak_vm_map_table(size_t size, enum hak_cause cause, void **out);
/* The same, all of it writable at once. */
HAK_NODISCARD int hak_vm_map_notes(size_t size, enum hak_cause cause, void **out);
void hak_vm_unmap_table(void *addr, size_t size, enum hak_cause cause);

/* Makes a range readable and writable; multiples of the OS page. */
HAK_NODISCARD int hak_vm_commit(void *addr, size_t size, enum hak_cause cause);
/* Gives physical memory back; the range stays usable and reads as zero when 0 is returned. */
HAK_NODISCARD int hak_vm_purge(void *addr, size_t size, enum hak_cause cause);
/*
 * hak_vm_purge() of `count` ranges, up to HAK_PRIM_RANGES_MAX, by one system call; where the kernel
 * cannot do that, EAGAIN or ENOSYS, and every range is as it was or purged.
 */
HAK_NODISCARD int hak_vm_purge_ranges(const struct hak_prim_range *ranges, size_t count,
                                      enum hak_cause cause);
/* Has the kernel not refused that yet? */
bool hak_vm_can_purge_ranges(void);
/* Are huge pages to be asked for? The option huge, and a machine whose huge pages have 2 MiB. */
bool hak_vm_has_huge(void);
/* Asks for huge pages in a range that need not be usable yet. Once for each reservation. */
void hak_vm_advise_huge(void *addr, size_t size, enum hak_cause cause);

/*
 * Extents: ranges of the window that are mapped from their start on, as far as they are used. The
 * addresses behind, to grow into, are only held in the address book: that costs neither a mapping nor
 * a part of RLIMIT_AS. A stranger who is put there keeps the extent from growing in place, no more.
 *
 * What is mapped is one mapping of the kernel's, as mremap(2) demands. It would not be if more were
 * made usable by mprotect(2): a mapping that was moved keeps the page numbers of its first place, and
 * does not join what lies behind its second. (It is not where the program itself split it, by
 * mprotect or madvise on a part. Then growing and moving fail with EFAULT.)
 *
 * An extent is changed by its holder alone. Given back by hak_vm_release(start, usable).
 */
struct hak_vm_extent {
    void *start;
    size_t reserved; /* bytes, multiple of the granule */
    size_t usable;   /* bytes, multiple of the OS page, <= reserved */
};
/* Finds a place for extent->reserved bytes and maps extent->usable of them; sets extent->start. */
HAK_NODISCARD int hak_vm_extent_map(struct hak_vm_extent *extent, size_t align,
                                    enum hak_access access, enum hak_cause cause);
/* Reserves addresses behind, to `reserved` bytes in all, as far as nothing is there. No system call. */
void hak_vm_extent_widen(struct hak_vm_extent *extent, size_t reserved);
/* Makes `usable` bytes usable, more than before; what is added reads as zero. */
HAK_NODISCARD int hak_vm_extent_grow(struct hak_vm_extent *extent, size_t usable,
                                     enum hak_cause cause);
/* Gives the end back, all but `usable` bytes; it stays reserved. On error nothing changed. */
HAK_NODISCARD int hak_vm_extent_shrink(struct hak_vm_extent *extent, size_t usable,
                                       enum hak_cause cause);
/*
 * Moves what is usable of `from`, contents and all, to `to`, which was mapped without access, as large
 * or larger; what is added reads as zero. Whatever the result, one of them is left and the other is
 * given back: on error `from` is as it was.
 */
HAK_NODISCARD int hak_vm_extent_move(const struct hak_vm_extent *from,
                                     const struct hak_vm_extent *to, enum hak_cause cause);

/*
 * Line `position` of the address book, ascending by address; false: there are no more. Addresses that are
 * taken by an arena, a Big block, a stranger. The lock is held, by who looks at all of it.
 */
bool hak_vm_book_line(uint32_t position, void **start, size_t *size);
/* Are the book's lines what they should be? The lock is held. */
void hak_vm_audit(struct hak_audit *audit);

/* For who takes all locks. */
struct hak_lock *hak_vm_lock(void);
void hak_vm_fork_prepare(void);
void hak_vm_fork_parent(void);
void hak_vm_fork_child(void);

#endif
