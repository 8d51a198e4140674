/* src/hakmem.c — all of hakmem in one translation unit, bottom to top. SPDX-License-Identifier: MIT */

/*
 * For embedding: cc -std=gnu17 -O2 -fno-builtin -Isrc -Iinclude -c src/hakmem.c
 * With -DHAK_OVERRIDE=0 it defines only hakmem_* and leaves malloc alone.
 */

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "prim/linux/memory.c"
#include "prim/linux/process.c"
#include "prim/linux/thread.c"

#include "base/audit.c"
#include "base/fatal.c"
#include "base/lock.c"
#include "base/log.c"
#include "base/misuse.c"
#include "base/text.c"

#include "options/options.c"

#include "stats/ledger.c"

#include "vm/group.c"
#include "vm/share.c"
#include "vm/vm.c"

#include "arena/arena.c"
#include "arena/meta.c"
#include "arena/pagemap.c"
#include "arena/pool.c"
#include "arena/run.c"

#include "slab/size_class.c"
#include "slab/slab.c"
#include "slab/slab_audit.c"

#include "large/big.c"
#include "large/big_cache.c"
#include "large/big_table.c"
#include "large/span.c"

#include "heap/fork.c"
#include "heap/heap_audit.c"
#include "heap/lifecycle.c"
#include "heap/magazine.c"
#include "heap/purge.c"
#include "heap/registry.c"
#include "heap/remote.c"

#include "ace/ace.c"
#include "ace/policy.c"

#include "observe/report.c"

#include "api/aligned.c"
#include "api/block.c"
#include "api/check.c"
#include "api/entry.c"
#include "api/info.c"
#include "api/observed.c"
#include "api/operators.c"
#include "api/start.c"
#include "api/tick.c"
#include "api/tune.c"
