/* bench/bench_realloc_growth.c — one block that grows and grows. SPDX-License-Identifier: MIT */
/*
 * usage: bench_realloc_growth SHAPE MIB [KIB_BEHIND]
 * for example  bench_realloc_growth geometric 4096, or linear 1024, or pages 64 1
 *
 * realloc, step by step, up to MIB; after each step the new part is touched.
 *
 *   geometric    from 16 B by max(16 B, size / 64): what a growing vector or buffer does
 *   linear       from 1 MiB by 1 MiB
 *   pages        from 4 KiB by 4 KiB
 *
 * An allocator that copies at each step does work that is quadratic in the size for `linear` and
 * `pages`, and 64 times the size for `geometric`. So a line is printed for each doubling: its
 * realloc_seconds should double from line to line and no more. touch_seconds, the page faults of
 * the new part, are the kernel's; huge pages shorten them. Lines come as they are reached: under
 * timeout(1), those of a slow allocator tell how far it came.
 *
 * With KIB_BEHIND, a block of that many KiB is allocated after each step and kept until the end, as
 * by a program that does something else meanwhile: the growing block soon has a neighbour.
 *
 * Contents: a stamp made of its offset lies every 16 bytes up to 64 KiB, and every 4 KiB above. The
 * first and the last are looked at after each step, samples at each doubling, all at the end.
 */
#include "bench_common.h"

enum { STAMP_DENSE = 16, STAMP_DENSE_END = 64 * 1024, STAMP_SPARSE = 4096, SAMPLES = 256 };

struct growth {
    const char *shape;
    size_t first;
    size_t step;     /* bytes; 0 = geometric */
    size_t size_max; /* MIB */
    uint64_t kib_behind;
    void *behind; /* the latest of the blocks behind; the first word of each points to the next */

    unsigned char *block;
    size_t size;
    uint64_t reallocs;
    uint64_t moves;
    uint64_t realloc_ns;
    uint64_t touch_ns;
};

static size_t stamp_stride(size_t offset) {
    return offset < STAMP_DENSE_END ? STAMP_DENSE : STAMP_SPARSE;
}

/* The last offset below `size` with a stamp of its own. */
static size_t last_stamp(size_t size) {
    return (size - 1) / stamp_stride(size - 1) * stamp_stride(size - 1);
}

static uint64_t stamp_of(size_t offset) {
    return offset * UINT64_C(0x9E3779B97F4A7C15) + 1;
}

static void touch(struct growth *run, size_t from) {
    size_t offset = (from + stamp_stride(from) - 1) / stamp_stride(from) * stamp_stride(from);
    for (; offset < run->size; offset += stamp_stride(offset)) {
        uint64_t stamp = stamp_of(offset);
        memcpy(run->block + offset, &stamp, sizeof stamp);
    }
}

static void check(const struct growth *run, size_t offset) {
    uint64_t stamp = stamp_of(offset);
    if (memcmp(run->block + offset, &stamp, sizeof stamp) != 0) {
        bench_corrupt("the grown block");
    }
}

/* The stamps of the first 64 KiB, and every `stride`-th byte's above. */
static void check_all(const struct growth *run, size_t stride) {
    size_t offset = 0;
    for (; offset < run->size && offset < STAMP_DENSE_END; offset += STAMP_DENSE) {
        check(run, offset);
    }
    for (; offset < run->size; offset += stride) {
        check(run, offset);
    }
}

static void keep_behind(struct growth *run) {
    void *behind = bench_take_block(run->kib_behind * 1024, 1);
    memcpy(behind, &run->behind, sizeof run->behind);
    run->behind = behind;
}

static void free_behind(struct growth *run) {
    while (run->behind != NULL) {
        void *behind = run->behind;
        memcpy(&run->behind, behind, sizeof run->behind);
        free(behind);
    }
}

static void grow(struct growth *run) {
    size_t geometric = run->size / 64 < 16 ? 16 : run->size / 64 / 16 * 16;
    size_t step = run->size == 0 ? run->first : run->step != 0 ? run->step : geometric;
    size_t before = run->size;
    size_t size = run->size_max - before < step ? run->size_max : before + step;

    uint64_t begin = bench_wall_ns();
    unsigned char *block = realloc(run->block, size);
    uint64_t end = bench_wall_ns();
    if (block == NULL) {
        bench_die("realloc");
    }
    run->reallocs++;
    run->moves += before != 0 && block != run->block;
    run->realloc_ns += end - begin;
    run->block = block;
    run->size = size;
    if (before != 0) {
        check(run, 0);
        check(run, last_stamp(before));
    }
    if (run->kib_behind != 0) {
        keep_behind(run);
    }
    begin = bench_wall_ns();
    touch(run, before);
    run->touch_ns += bench_wall_ns() - begin;
}

static void print_line(const struct growth *run, const struct growth *before) {
    printf("%16zu %9" PRIu64 " %9" PRIu64 " %16.6f %14.6f\n", run->size,
           run->reallocs - before->reallocs, run->moves - before->moves,
           (double)(run->realloc_ns - before->realloc_ns) / 1e9,
           (double)(run->touch_ns - before->touch_ns) / 1e9);
}

int main(int argc, char **argv) {
    const char *usage = "geometric|linear|pages MIB [KIB_BEHIND]";
    static const struct growth shapes[] = {
        {.shape = "geometric", .first = 16},
        {.shape = "linear", .first = 1 << 20, .step = 1 << 20},
        {.shape = "pages", .first = 4096, .step = 4096},
    };
    struct growth run = {0};
    const char *shape = bench_parse_shape(&argc, &argv, usage);
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (strcmp(shape, shapes[i].shape) == 0) {
            run = shapes[i];
        }
    }
    uint64_t mib;
    const struct bench_argument arguments[] = {
        {"MIB", 1, UINT32_C(1) << 20, &mib},
        {"KIB_BEHIND", 1, UINT32_C(1) << 20, &run.kib_behind},
    };
    if (run.shape == NULL) {
        bench_usage(stderr, BENCH_EXIT_USAGE, usage);
    }
    bench_parse(argc, argv, usage, arguments, argc == 2 ? 2 : 1);
    run.size_max = (size_t)mib << 20;

    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("%16s %9s %9s %16s %14s\n", "up to bytes", "reallocs", "moves", "realloc_seconds",
           "touch_seconds");
    struct bench_cost begin = bench_cost_now();
    struct growth line = run;
    size_t line_end = run.first < 1024 ? 1024 : run.first;
    while (run.size < run.size_max) {
        grow(&run);
        if (run.size >= line_end || run.size == run.size_max) {
            check_all(&run, (run.size / SAMPLES / STAMP_SPARSE + 1) * STAMP_SPARSE);
            print_line(&run, &line);
            line = run;
            line_end *= 2;
        }
    }
    struct bench_cost used = bench_cost_since(&begin);

    check_all(&run, STAMP_SPARSE);
    free(run.block);
    free_behind(&run);
    bench_print_count("reallocs", run.reallocs);
    bench_print_count("moves", run.moves);
    printf("%-20s %.6f\n", "realloc_seconds", (double)run.realloc_ns / 1e9);
    printf("%-20s %.6f\n", "touch_seconds", (double)run.touch_ns / 1e9);
    bench_print_cost(&used);
    bench_print_count("peak_rss_kib", bench_peak_rss_kib());
    bench_print_result(run.reallocs, run.realloc_ns);
    return EXIT_SUCCESS;
}
