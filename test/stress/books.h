/* test/stress/books.h — what the library says is out. SPDX-License-Identifier: MIT */
/*
 * Goal: notice a block that was lost or freed twice though every block's contents are right.
 * Method: hakmem_stats_get() before and after. Blocks in other threads' magazines count as out, so the
 * books are exact only when the caller is the process's one thread.
 */
#ifndef HAKMEM_TEST_BOOKS_H
#define HAKMEM_TEST_BOOKS_H

#include <hakmem/hakmem.h>

#include "stress.h"

static inline struct hakmem_stats books_read(void) {
    static int (*get)(struct hakmem_stats *, size_t);
    struct hakmem_stats stats;
    memset(&stats, 0, sizeof stats);
    if (get == NULL)
        api_set(&get, "hakmem_stats_get");
    if (get == NULL || get(&stats, sizeof stats) != 0)
        stress_fail("hakmem_stats_get");
    return stats;
}

/* With empty magazines: the caller's, and those of threads that have ended. */
static inline struct hakmem_stats books_balance(void) {
    api.malloc_trim(0);
    return books_read();
}

static inline bool books_agree(const struct hakmem_stats *a, const struct hakmem_stats *b) {
    return a->small_out == b->small_out && a->large_count == b->large_count &&
           a->large_bytes == b->large_bytes && a->big_count == b->big_count &&
           a->big_bytes == b->big_bytes;
}

static inline void books_note(const char *when, const struct hakmem_stats *stats) {
    tap_note("%s: small %zu, Large %zu of %zu, Big %zu of %zu bytes out; heaps %zu, orphans %zu",
             when, stats->small_out, stats->large_count, stats->large_bytes, stats->big_count,
             stats->big_bytes, stats->heap_count, stats->orphan_count);
}

/*
 * hakmem_check() finds nothing wrong. `flags`: HAKMEM_CHECK_QUIESCENT where no other thread is inside, nor was at
 * the last fork. It waits in any case.
 */
static inline void books_check(const char *when, unsigned flags) {
    static int (*check)(unsigned, struct hakmem_check_result *, size_t);
    if (check == NULL)
        api_set(&check, "hakmem_check");
    if (check == NULL || check(flags | HAKMEM_CHECK_WAIT, NULL, 0) != 0)
        stress_fail(when);
}

#endif
