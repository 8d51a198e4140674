/* src/api/tick.h — what slow paths do besides: epochs. SPDX-License-Identifier: MIT */
#ifndef HAK_API_TICK_H
#define HAK_API_TICK_H

/*
 * Called at the end of slow paths, with no lock held: looks at the clock now and then, ends epochs, and
 * gives memory back to the kernel in bounded steps.
 */
void hak_tick(void);

/* Starts the helper thread. Once in a process: by the constructor, and in each forked child. */
void hak_tick_start_helper(void);

#endif
