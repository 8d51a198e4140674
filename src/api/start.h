/* src/api/start.h — start-up. SPDX-License-Identifier: MIT */
#ifndef HAK_API_START_H
#define HAK_API_START_H

#include <stdbool.h>

/*
 * Any entry point may be the first call of the process, before libc's constructors: the first slow
 * path of a thread without a heap comes here. False: no memory for hakmem itself.
 */
bool hak_start(void);

/* Has that been done? Takes no lock. */
bool hak_is_started(void);

#endif
