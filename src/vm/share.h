/* src/vm/share.h — the file in which an observed process counts: made, grown, left to the tool. SPDX-License-Identifier: MIT */

/*
 * One file per process (hakmem/stat_format.h), made in the directory that the option stat names. It is held
 * open for no longer than it takes to map a part: programs close what they do not know. A forked child gets
 * a file of its own in the place of its parent's, at the same addresses.
 *
 * Seven system calls at the start, six in each forked child, one at the end of either; five for each chunk of
 * heaps, and one to unmap what a child has of its parent's. All are in the ledger, cause `observe`.
 */
#ifndef HAK_VM_SHARE_H
#define HAK_VM_SHARE_H

#include <hakmem/stat_format.h>
#include <stdbool.h>

#include "base/compiler.h"

/*
 * Makes and maps the file, moves the ledger there and sets hak_stat_file. `tables`: what the numbers mean; its
 * words for calls and causes, the program and the page size are filled in here. False: a warning, and
 * nothing has changed. While one thread runs.
 */
bool hak_share_begin(const char *directory, struct hakmem_stat_tables *tables);

/*
 * Counters for one more heap, all 0; NULL: there is no room, and will be none. For a heap without lock held.
 */
struct hakmem_stat_heap *hak_share_take_heap(void);

/* Notes in the file that the process ends, and the most memory it had. */
void hak_share_end(void);

void hak_share_fork_prepare(void);
void hak_share_fork_parent(void);
/*
 * Child of an observed process: maps a file of its own. Where it cannot be made, a warning, and the process
 * is not observed any more (hak_stat_file is NULL). Counters that hak_share_take_heap() gave are lost.
 */
void hak_share_fork_child(void);
/* Child, with all locks free again: unmaps what was its parent's. */
void hak_share_fork_child_end(void);

#endif
