/* test/interleave/races.h — accesses that no synchronization puts in order. SPDX-License-Identifier: MIT */

/*
 * Decisions are made at atomics only. That loses nothing as long as plain accesses are ordered by them; so
 * each plain access is looked at: of two to the same place by different threads, one a write, one happens
 * before the other by C17's rules (5.1.2.4), of acquire and release *as they stand in the source*. A relaxed
 * order in the wrong place shows here, though every execution is sequentially consistent.
 *
 * The compiler tells of all accesses, as it would tell the thread sanitizer (-fsanitize=thread); its
 * runtime is replaced by races.c.
 */
#ifndef HAKMEM_TEST_INTERLEAVE_RACES_H
#define HAKMEM_TEST_INTERLEAVE_RACES_H

/* What was done so far happens before all that the threads do from now on. */
void races_begin(void);
/* The next atomic access of the calling thread counts as relaxed. */
void races_relax_next(void);

#endif
