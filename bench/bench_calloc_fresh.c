/* bench/bench_calloc_fresh.c — what does calloc touch? SPDX-License-Identifier: MIT */
/*
 * usage: bench_calloc_fresh MAX_MIB
 * for example  bench_calloc_fresh 1024
 *
 * For each size 64 KiB, 128 KiB, … MAX_MIB, as many blocks as make 16 MiB, but at least one:
 *
 *   fresh       calloc, without touching: the kernel's pages are zero already, so a calloc that
 *               clears them costs a page fault and resident memory for each
 *   recycled    the same blocks are written, freed, and allocated again by calloc
 *
 * The fresh blocks of all sizes stay allocated until all are measured, so none is served from one
 * that was freed. A recycled block may be cleared, or given back to the kernel and mapped again:
 * either costs something, and the table shows which. Every OS page is looked at afterwards: is it
 * zero? Prints per size the minor faults, the growth of RSS and the time per block; then the sums.
 */
#include "bench_common.h"

enum { KIB = 1024, SIZE_MIN_KIB = 64, TOTAL_KIB = 16 * 1024, SIZES_MAX = 24, BLOCKS_MAX = 256 };

struct size_blocks {
    uint64_t size_kib;
    uint64_t count;
    unsigned char *blocks[BLOCKS_MAX];
};

struct measure {
    uint64_t minor_faults;
    int64_t rss_kib; /* growth */
    uint64_t wall_ns;
};

static struct size_blocks g_sizes[SIZES_MAX];

static struct measure calloc_all(struct size_blocks *of) {
    int64_t rss = (int64_t)bench_rss_kib();
    struct bench_cost begin = bench_cost_now();
    for (uint64_t i = 0; i < of->count; i++) {
        of->blocks[i] = calloc(of->size_kib, KIB);
        if (of->blocks[i] == NULL) {
            bench_die("calloc");
        }
    }
    struct bench_cost used = bench_cost_since(&begin);
    return (struct measure){.minor_faults = used.minor_faults,
                            .rss_kib = (int64_t)bench_rss_kib() - rss,
                            .wall_ns = used.wall_ns};
}

/* One word of each 4 KiB, a different one in each. Reading maps the kernel's zero page. */
static void check_zero(const struct size_blocks *of) {
    for (uint64_t i = 0; i < of->count; i++) {
        for (uint64_t page = 0; page < of->size_kib / 4; page++) {
            uint64_t word;
            memcpy(&word, of->blocks[i] + page * 4096 + page * 40 % 4096, sizeof word);
            if (word != 0) {
                bench_corrupt("a block from calloc");
            }
        }
    }
}

static void write_and_free(const struct size_blocks *of) {
    for (uint64_t i = 0; i < of->count; i++) {
        memset(of->blocks[i], 0xA5, of->size_kib * KIB);
    }
    for (uint64_t i = 0; i < of->count; i++) {
        free(of->blocks[i]);
    }
}

static void add(struct measure *sum, const struct measure *one) {
    sum->minor_faults += one->minor_faults;
    sum->rss_kib += one->rss_kib;
    sum->wall_ns += one->wall_ns;
}

static void print_line(const char *what, const struct size_blocks *of, const struct measure *m) {
    printf("%-10s %10" PRIu64 " %7" PRIu64 " %9" PRIu64 " %10" PRId64 " %12.1f\n", what,
           of->size_kib, of->count, m->minor_faults, m->rss_kib,
           (double)m->wall_ns / 1e3 / (double)of->count);
}

static void print_sums(const char *what, const struct measure *sum) {
    printf("%s_faults %" PRIu64 "\n", what, sum->minor_faults);
    printf("%s_rss_kib %" PRId64 "\n", what, sum->rss_kib);
    printf("%s_seconds %.6f\n", what, (double)sum->wall_ns / 1e9);
}

int main(int argc, char **argv) {
    uint64_t max_mib;
    const struct bench_argument argument = {"MAX_MIB", 1, 256 * 1024, &max_mib};
    bench_parse(argc - 1, argv + 1, "MAX_MIB", &argument, 1);
    printf("%-10s %10s %7s %9s %10s %12s\n", "calloc", "size KiB", "blocks", "faults", "RSS KiB",
           "us/block");
    struct measure fresh = {0};
    struct measure recycled = {0};
    size_t sizes = 0;
    for (uint64_t kib = SIZE_MIN_KIB; kib <= max_mib * KIB; kib *= 2) {
        struct size_blocks *of = &g_sizes[sizes++];
        of->size_kib = kib;
        of->count = kib < TOTAL_KIB ? TOTAL_KIB / kib : 1;
        struct measure one = calloc_all(of);
        add(&fresh, &one);
        print_line("fresh", of, &one);
    }
    for (size_t i = 0; i < sizes; i++) {
        check_zero(&g_sizes[i]);
        write_and_free(&g_sizes[i]);
        struct measure one = calloc_all(&g_sizes[i]);
        add(&recycled, &one);
        print_line("recycled", &g_sizes[i], &one);
        check_zero(&g_sizes[i]);
        for (uint64_t j = 0; j < g_sizes[i].count; j++) {
            free(g_sizes[i].blocks[j]);
        }
    }
    print_sums("fresh", &fresh);
    print_sums("recycled", &recycled);
    uint64_t blocks = 0;
    for (size_t i = 0; i < sizes; i++) {
        blocks += 2 * g_sizes[i].count;
    }
    bench_print_result(blocks, fresh.wall_ns + recycled.wall_ns);
    return EXIT_SUCCESS;
}
