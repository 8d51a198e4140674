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

#include "base/compiler.h"
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
/* Gives the whole reservation back. */
void hak_vm_release(void *addr, size_t size, enum hak_cause cause);

/* A zeroed table outside the window: readable; commit parts to write to them. */
HAK_NODISCARD int hak_vm_map_table(size_t size, enum hak_cause cause, void **out);
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

struct hak_vm_part { /* a usable part of a reservation */
    void *reservation;
    size_t reserved; /* bytes */
    void *start;
    size_t size; /* bytes */
};
/*
 * Moves a part, contents and all, to `target`, `size` bytes inside another reservation; what is added
 * reads as zero. Gives the rest of the old reservation back. On error nothing has changed.
 */
HAK_NODISCARD int hak_vm_move(const struct hak_vm_part *from, void *target, size_t size,
                              enum hak_cause cause);

void hak_vm_fork_prepare(void);
void hak_vm_fork_parent(void);
void hak_vm_fork_child(void);

#endif
