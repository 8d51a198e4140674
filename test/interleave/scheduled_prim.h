/* test/interleave/scheduled_prim.h — where the library asks its threads and its kernel. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_TEST_INTERLEAVE_SCHEDULED_PRIM_H
#define HAKMEM_TEST_INTERLEAVE_SCHEDULED_PRIM_H

#include <stdbool.h>
#include <stdint.h>

/* The calling thread's destructors, as often as they are armed again. */
void prim_thread_exits(void);

void prim_fork_prepare(void);
void prim_fork_parent(void);
void prim_fork_child(void);

/* The clock stands still until it is told to go on. */
void prim_advance_clock(uint64_t ms);
/* So many of the next mappings of memory are refused. */
void prim_refuse_maps(unsigned count);
/* From now on the kernel takes no memory back. */
void prim_refuse_purges(void);
/* Hooks that the library has registered; 1 of each, or 0. */
unsigned prim_exit_hooks(void);
unsigned prim_fork_hooks(void);

/* What the helper thread does, for one period; it was started by the library. */
void prim_run_helper(void);

#endif
