/* cli/stat_read.h — what observed processes have counted, read from their files. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_STAT_READ_H
#define HAKMEM_CLI_STAT_READ_H

#include <hakmem/stat_format.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STAT_NONE = -1 };

struct stat_requests {
    int range; /* their size */
    int tier;  /* that served them; both index the tables, here and below */
    uint64_t count;
    uint64_t bytes; /* asked for */
    uint64_t given; /* usable */
    uint64_t misses;
};

struct stat_call {
    uint32_t call;
    uint32_t cause;
    int tier;  /* of the request it was made for; STAT_NONE: for none */
    int range; /* its size; STAT_NONE: as above */
    uint64_t count;
    uint64_t bytes;
    uint64_t ns;
};

/* One process, or the sum of several. */
struct stat_process {
    uint32_t process_id;
    uint32_t parent_id;
    bool is_forked;
    bool is_running; /* what it counts from now on is not here */
    char program[HAKMEM_STAT_PATH_SIZE];
    uint64_t start_ns;
    uint64_t end_ns;       /* 0: it did not end by exit */
    uint64_t peak_rss_kib; /* 0: as above; of a sum: the largest */
    uint64_t threads;
    uint64_t entries[HAKMEM_STAT_ENTRIES_MAX];
    uint64_t failures;
    uint64_t flushes;
    uint64_t remote_frees;
    uint64_t damaged_count; /* records that name no row of the tables: they are not in `calls` */
    size_t request_count;
    struct stat_requests *requests; /* rows; no two alike, small sizes first */
    size_t call_count;
    struct stat_call *calls; /* rows; no two alike, those with most calls first */
};

struct stat_tree {
    struct hakmem_stat_tables tables; /* what the numbers mean; the program's name is empty */
    size_t process_count;
    struct stat_process *processes; /* in the order of their start */
    struct stat_process sum;
    bool has_gap;            /* memory ran out while one was taken in */
    size_t unreadable_count; /* files of processes that could not count, or of another version */
};

/* The sum of all rows of requests. */
struct stat_requests stat_requests_sum(const struct stat_process *process);
/* All its system calls. */
uint64_t stat_calls_count(const struct stat_process *process);
/* The smallest request of a range; the largest is in its table. */
uint64_t stat_range_min(const struct hakmem_stat_tables *tables, int range);

/*
 * Takes in, and removes, the files of processes that have ended; with `is_last`, all of them: who still has
 * a file mapped is running. False: it said what failed, and nothing was done.
 */
bool stat_gather(const char *directory, struct stat_tree *tree, bool is_last);
/* Puts processes and rows in order, and adds up. False: it said so, and something is missing. */
bool stat_finish(struct stat_tree *tree);
void stat_free(struct stat_tree *tree);

#endif
