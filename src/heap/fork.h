/* src/heap/fork.h — fork with other threads inside the allocator. SPDX-License-Identifier: MIT */
#ifndef HAK_HEAP_FORK_H
#define HAK_HEAP_FORK_H

#include "base/compiler.h"

/* Registers the handlers. Once, after start-up: it may allocate. 0 or an errno value. */
HAK_NODISCARD int hak_fork_init(void);

#endif
