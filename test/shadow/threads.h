/* test/shadow/threads.h — many threads that exchange blocks. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_TEST_SHADOW_THREADS_H
#define HAKMEM_TEST_SHADOW_THREADS_H

#include <stdint.h>

struct shadow_threads {
    uint64_t seed;
    unsigned long count;       /* operations of all threads together */
    unsigned long check_every; /* operations between two audits; 0: only at the end */
    unsigned threads;          /* alive at a time, 1 … SHADOW_LANES_MAX */
};

/* Body of a child. */
void shadow_threads_run(const void *threads);

#endif
