/* bench/bench_latency.h — how long single operations take. SPDX-License-Identifier: MIT */
/*
 * With BENCH_LATENCY=1 in the environment a program that can reads the clock around each operation and counts
 * the times in buckets: 32 in each doubling, so a bucket is at most 1/32 of its time wide. Reading the clock
 * takes some 20 to 50 ns, and this time is in every one of them; what an operation of `floor` takes is just that.
 * Such a run's total time means nothing.
 */
#ifndef HAKMEM_BENCH_LATENCY_H
#define HAKMEM_BENCH_LATENCY_H

#include "bench_common.h"

enum {
    LATENCY_FINE_LOG2 = 5, /* buckets per doubling */
    LATENCY_FINE = 1 << LATENCY_FINE_LOG2,
    LATENCY_DOUBLINGS = 36, /* 2^36 ns are 69 s; what is longer counts there */
    LATENCY_BUCKETS = (LATENCY_DOUBLINGS - LATENCY_FINE_LOG2 + 1) * LATENCY_FINE,
};

/* Of one thread. */
struct bench_latency {
    uint64_t counts[LATENCY_BUCKETS];
    uint64_t operations;
    uint64_t max_ns;
};

/* NULL: not wanted. */
static inline struct bench_latency *bench_latency_new(void) {
    const char *wanted = getenv("BENCH_LATENCY");
    if (wanted == NULL || strcmp(wanted, "1") != 0) {
        return NULL;
    }
    return bench_table(1, sizeof(struct bench_latency));
}

/* Below 32 ns a bucket for each; above, the five bits below the highest one choose it. */
static inline size_t bench_latency_bucket(uint64_t ns) {
    uint64_t limited = ns >> LATENCY_DOUBLINGS != 0 ? (UINT64_C(1) << LATENCY_DOUBLINGS) - 1 : ns;
    if (limited < LATENCY_FINE) {
        return (size_t)limited;
    }
    unsigned shift = 63U - (unsigned)__builtin_clzll(limited) - LATENCY_FINE_LOG2;
    return (size_t)shift * LATENCY_FINE + (size_t)(limited >> shift);
}

/* The least time of a bucket. */
static inline uint64_t bench_latency_floor_ns(size_t bucket) {
    if (bucket < 2 * LATENCY_FINE) {
        return bucket;
    }
    size_t shift = bucket / LATENCY_FINE - 1;
    return (uint64_t)(bucket - shift * LATENCY_FINE) << shift;
}

static inline void bench_latency_add(struct bench_latency *latency, uint64_t ns) {
    latency->counts[bench_latency_bucket(ns)]++;
    latency->operations++;
    latency->max_ns = ns > latency->max_ns ? ns : latency->max_ns;
}

static inline void bench_latency_merge(struct bench_latency *into,
                                       const struct bench_latency *from) {
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        into->counts[i] += from->counts[i];
    }
    into->operations += from->operations;
    into->max_ns = from->max_ns > into->max_ns ? from->max_ns : into->max_ns;
}

/* The least time of the bucket in which the operation lies that `share` of all are not slower than. */
static inline uint64_t bench_latency_percentile(const struct bench_latency *latency, double share) {
    uint64_t wanted = (uint64_t)(share * (double)(latency->operations - 1));
    uint64_t seen = 0;
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        seen += latency->counts[i];
        if (seen > wanted) {
            return bench_latency_floor_ns(i);
        }
    }
    return latency->max_ns;
}

/* A result line of its own: `hakmem bench` takes them together. */
static inline void bench_print_latency(const struct bench_latency *latency) {
    if (latency == NULL || latency->operations == 0) {
        return;
    }
    printf("result %s p50_ns=%" PRIu64 " p99_ns=%" PRIu64 " p99.9_ns=%" PRIu64 " max_ns=%" PRIu64
           " latency=",
           program_invocation_short_name, bench_latency_percentile(latency, 0.5),
           bench_latency_percentile(latency, 0.99), bench_latency_percentile(latency, 0.999),
           latency->max_ns);
    const char *comma = "";
    for (size_t i = 0; i < LATENCY_BUCKETS; i++) {
        if (latency->counts[i] != 0) {
            printf("%s%" PRIu64 ":%" PRIu64, comma, bench_latency_floor_ns(i), latency->counts[i]);
            comma = ",";
        }
    }
    printf("\n");
}

#endif
