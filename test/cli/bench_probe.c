/* test/cli/bench_probe.c — a workload that tells under what it ran. SPDX-License-Identifier: MIT */
/*
 * usage: bench_probe LOG MIB MS [floor]
 *
 * Appends a line to LOG: LD_PRELOAD's file name, the variables PROBE, BENCH_LATENCY and MALLOC_PROBE, the
 * arguments' number. Then it touches MIB of memory, waits MS milliseconds, and prints a result.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value == NULL ? "-" : value;
}

int main(int argc, char **argv) {
    FILE *log = argc < 4 ? NULL : fopen(argv[1], "a");
    if (log == NULL) {
        return 2;
    }
    const char *preload = strrchr(variable("LD_PRELOAD"), '/');
    fprintf(log, "%s %s %s %s %d\n", preload == NULL ? "-" : preload + 1, variable("PROBE"),
            variable("BENCH_LATENCY"), variable("MALLOC_PROBE"), argc - 1);
    fclose(log);
    size_t size = strtoul(argv[2], NULL, 10) << 20;
    if (size != 0) {
        void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) {
            return 2;
        }
        memset(memory, 1, size);
    }
    long ms = strtol(argv[3], NULL, 10);
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
    puts("result bench_probe operations=1000 seconds=0.002");
    if (getenv("BENCH_LATENCY") != NULL) {
        puts("result bench_probe p50_ns=20 p99_ns=30 p99.9_ns=40 max_ns=50 "
             "latency=20:990,30:9,50:1");
    }
    return 0;
}
