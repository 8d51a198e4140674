/* bench/bench_common.h — clocks, random numbers and arguments. SPDX-License-Identifier: MIT */
/*
 * Every benchmark is a plain program that knows nothing of hakmem: it calls malloc and free, and
 * whoever runs it chooses the allocator by LD_PRELOAD. So these functions must not disturb what is
 * measured: their tables come from mmap, never from malloc, and none is costly in a timed loop.
 */
#ifndef HAKMEM_BENCH_COMMON_H
#define HAKMEM_BENCH_COMMON_H

#define _GNU_SOURCE /* program_invocation_short_name */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BENCH_EXIT_USAGE = 2 };

/* Exit after a message: a benchmark that could not do all of its work must not print a rate. */
__attribute__((noreturn)) static inline void bench_die(const char *what) {
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
    exit(EXIT_FAILURE);
}

/* --- time and memory ----------------------------------------------------------------------- */

static inline uint64_t bench_clock_ns(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        bench_die("clock_gettime");
    }
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Time as a user waits for it. */
static inline uint64_t bench_wall_ns(void) {
    return bench_clock_ns(CLOCK_MONOTONIC);
}

/* CPU time of all threads, the kernel's share included: page faults are the allocator's doing. */
static inline uint64_t bench_cpu_ns(void) {
    return bench_clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* One number of a file in /proc whose lines are `Name:  number kB`; 0 when the kernel has none. */
static inline uint64_t bench_proc_kib(const char *path, const char *name) {
    char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    if (length <= 0) {
        return 0;
    }
    text[length] = '\0';
    const char *field = strstr(text, name);
    return field == NULL ? 0 : strtoull(field + strlen(name), NULL, 10);
}

/*
 * Peak resident memory in KiB; 0 when the kernel does not tell. From VmHWM, because getrusage's
 * ru_maxrss also remembers the program that called exec for us.
 */
static inline uint64_t bench_peak_rss_kib(void) {
    return bench_proc_kib("/proc/self/status", "VmHWM:");
}

/*
 * Resident memory in KiB now. smaps_rollup walks the page tables; the counters behind statm and
 * VmRSS are kept per processor and lag behind by some dozens of pages each (Linux 6.2).
 */
static inline uint64_t bench_rss_kib(void) {
    uint64_t exact = bench_proc_kib("/proc/self/smaps_rollup", "\nRss:");
    return exact != 0 ? exact : bench_proc_kib("/proc/self/status", "VmRSS:");
}

/* What a stretch of the program cost: a point in time, or the difference of two. */
struct bench_cost {
    uint64_t wall_ns;
    uint64_t user_us;   /* the kernel splits CPU time by sampling: user + system is exact, */
    uint64_t system_us; /* each of them alone is not */
    uint64_t minor_faults;
};

static inline struct bench_cost bench_cost_now(void) {
    struct rusage used;
    if (getrusage(RUSAGE_SELF, &used) != 0) {
        bench_die("getrusage");
    }
    return (struct bench_cost){
        .wall_ns = bench_wall_ns(),
        .user_us = (uint64_t)used.ru_utime.tv_sec * 1000000 + (uint64_t)used.ru_utime.tv_usec,
        .system_us = (uint64_t)used.ru_stime.tv_sec * 1000000 + (uint64_t)used.ru_stime.tv_usec,
        .minor_faults = (uint64_t)used.ru_minflt,
    };
}

static inline struct bench_cost bench_cost_since(const struct bench_cost *begin) {
    struct bench_cost now = bench_cost_now();
    return (struct bench_cost){
        .wall_ns = now.wall_ns - begin->wall_ns,
        .user_us = now.user_us - begin->user_us,
        .system_us = now.system_us - begin->system_us,
        .minor_faults = now.minor_faults - begin->minor_faults,
    };
}

static inline void bench_print_cost(const struct bench_cost *used) {
    printf("%-20s %.6f\n", "seconds", (double)used->wall_ns / 1e9);
    printf("%-20s %.6f\n", "cpu_seconds", (double)(used->user_us + used->system_us) / 1e6);
    printf("%-20s %.6f\n", "user_seconds", (double)used->user_us / 1e6);
    printf("%-20s %.6f\n", "system_seconds", (double)used->system_us / 1e6);
    printf("%-20s %" PRIu64 "\n", "minor_faults", used->minor_faults);
}

static inline void bench_print_count(const char *name, uint64_t count) {
    printf("%-20s %" PRIu64 "\n", name, count);
}

static inline void bench_sleep_until(uint64_t wall_ns) {
    struct timespec end = {.tv_sec = (time_t)(wall_ns / UINT64_C(1000000000)),
                           .tv_nsec = (long)(wall_ns % UINT64_C(1000000000))};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR) {
    }
}

/* Zeroed, already resident memory for a benchmark's own tables; lives as long as the process. */
static inline void *bench_table(size_t count, size_t item_size) {
    if (count > (SIZE_MAX >> 1) / item_size) {
        errno = ENOMEM;
        bench_die("table");
    }
    void *table = mmap(NULL, count * item_size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (table == MAP_FAILED) {
        bench_die("table");
    }
    return table;
}

/* --- random numbers ------------------------------------------------------------------------ */

/* Marsaglia 2003, "Xorshift RNGs", triple (13, 17, 5): full period over all states but 0. */
static inline uint32_t bench_xorshift32(uint32_t *state) {
    uint32_t r = *state;
    r ^= r << 13;
    r ^= r >> 17;
    r ^= r << 5;
    *state = r;
    return r;
}

/* r scaled to 0 … range - 1 by a multiplication: a division would cost as much as a malloc. */
static inline uint32_t bench_scale(uint32_t r, uint32_t range) {
    return (uint32_t)(((uint64_t)r * range) >> 32);
}

/* --- blocks -------------------------------------------------------------------------------- */

/* Allocate `size` bytes and write the first one, as any user of a block would. */
static inline unsigned char *bench_take_block(size_t size, unsigned char first_byte) {
    unsigned char *block = malloc(size);
    if (block == NULL) {
        bench_die("malloc");
    }
    block[0] = first_byte;
    /* Let the block escape: compilers may remove a malloc whose block is only written and freed. */
    __asm__ volatile("" : : "r"(block) : "memory");
    return block;
}

/* Exit after a message: a block does not hold what was written into it. */
__attribute__((noreturn)) static inline void bench_corrupt(const char *what) {
    fprintf(stderr, "%s: %s: wrong contents\n", program_invocation_short_name, what);
    exit(EXIT_FAILURE);
}

/* Fisher and Yates: every order of the `count` pointers equally likely. */
static inline void bench_shuffle(unsigned char **blocks, uint64_t count, uint32_t *random) {
    for (uint32_t left = (uint32_t)count; left > 1; left--) {
        uint32_t other = bench_scale(bench_xorshift32(random), left);
        unsigned char *block = blocks[left - 1];
        blocks[left - 1] = blocks[other];
        blocks[other] = block;
    }
}

/* --- arguments ----------------------------------------------------------------------------- */

/* One positional argument: a whole number in min … max. */
struct bench_argument {
    const char *name;
    uint64_t min;
    uint64_t max;
    uint64_t *value;
};

static inline uint64_t bench_parse_number(const char *name, const char *text, uint64_t min,
                                          uint64_t max) {
    char *end = NULL;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    bool is_number = text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
    if (!is_number || value < min || value > max) {
        fprintf(stderr,
                "%s: %s is \"%s\": expected a whole number from %" PRIu64 " to %" PRIu64 "\n",
                program_invocation_short_name, name, text, min, max);
        exit(BENCH_EXIT_USAGE);
    }
    return value;
}

__attribute__((noreturn)) static inline void bench_usage(FILE *stream, int status,
                                                         const char *usage) {
    fprintf(stream, "usage: %s %s\n", program_invocation_short_name, usage);
    exit(status);
}

/*
 * The first argument, a word: one of several shapes of a workload. Takes it and the program's name
 * off *argc and *argv, so that the numbers behind it are left for bench_parse().
 */
static inline const char *bench_parse_shape(int *argc, char ***argv, const char *usage) {
    if (*argc < 2) {
        bench_usage(stderr, BENCH_EXIT_USAGE, usage);
    }
    const char *shape = (*argv)[1];
    if (strcmp(shape, "--help") == 0 || strcmp(shape, "-h") == 0) {
        bench_usage(stdout, EXIT_SUCCESS, usage);
    }
    *argc -= 2;
    *argv += 2;
    return shape;
}

/* Is the last argument the word `floor`? Then takes it off *argc. */
static inline bool bench_take_floor(int *argc, char **argv) {
    bool is_floor = *argc > 1 && strcmp(argv[*argc - 1], "floor") == 0;
    *argc -= is_floor;
    return is_floor;
}

/* Fill in all `count` arguments from argv[0 … argc - 1], or say what is wrong and exit. */
static inline void bench_parse(int argc, char **argv, const char *usage,
                               const struct bench_argument *arguments, int count) {
    if (argc > 0 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
        bench_usage(stdout, EXIT_SUCCESS, usage);
    }
    if (argc != count) {
        fprintf(stderr, "%s: %d arguments given, %d expected\n", program_invocation_short_name,
                argc, count);
        bench_usage(stderr, BENCH_EXIT_USAGE, usage);
    }
    for (int i = 0; i < count; i++) {
        const struct bench_argument *a = &arguments[i];
        *a->value = bench_parse_number(a->name, argv[i], a->min, a->max);
    }
}

/*
 * The line that `hakmem bench` reads: what the program says of itself, last (docs/benchmarks.md). More words may
 * follow: bench_print_latency(). `operations` are what the program's own text calls so.
 */
static inline void bench_print_result(uint64_t operations, uint64_t elapsed_ns) {
    printf("result %s operations=%" PRIu64 " seconds=%.9f\n", program_invocation_short_name,
           operations, (double)elapsed_ns / 1e9);
}

/* The lines that every throughput benchmark ends with; tools/demo.py reads them. */
static inline void bench_print_rate(uint64_t operations, uint64_t elapsed_ns) {
    double seconds = (double)elapsed_ns / 1e9;
    printf("operations %" PRIu64 "\n", operations);
    printf("seconds    %.6f\n", seconds);
    printf("ops/s      %.0f\n", seconds > 0 ? (double)operations / seconds : 0.0);
    bench_print_result(operations, elapsed_ns);
}

#endif
