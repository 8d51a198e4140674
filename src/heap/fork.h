/* src/heap/fork.h — fork with other threads inside the allocator. SPDX-License-Identifier: MIT */
#ifndef HAK_HEAP_FORK_H
#define HAK_HEAP_FORK_H

#include <stdint.h>

#include "base/compiler.h"

/* Registers the handlers. Once, after start-up: it may allocate. 0 or an errno value. */
HAK_NODISCARD int hak_fork_init(void);

/* How many forks lie between this process and the first: threads of another generation are gone. */
uint32_t hak_fork_generation(void);

/* `run` is called in each forked child, with all locks free, before fork returns. Once, by start-up. */
void hak_fork_on_child(void (*run)(void));

#endif
