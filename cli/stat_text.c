/* cli/stat_text.c — `hakmem stat` as tables for people. SPDX-License-Identifier: MIT */
/*
 * The first screen answers three questions: which system calls, for what; which requests, served by whom; and
 * which of the requests cause the calls. The last is why both tables show sizes and tiers, and why a
 * row of the second that causes calls, or goes where its size does not say, comes before a more frequent one.
 */
#include "stat_report.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    TEXT_CALLS_MAX = 6,    /* rows of the first table */
    TEXT_REQUESTS_MAX = 8, /* rows of the second */
    TEXT_WIDTH = 98,       /* columns */
    TEXT_NUMBER_SIZE = 48
};

/* 1234567 -> "1,234,567" */
static const char *grouped(uint64_t number, char text[TEXT_NUMBER_SIZE]) {
    char digits[TEXT_NUMBER_SIZE];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, number);
    char *to = text;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0) {
            *to++ = ',';
        }
        *to++ = digits[i];
    }
    *to = '\0';
    return text;
}

static const char *bytes(uint64_t number, char text[TEXT_NUMBER_SIZE]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)number;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    snprintf(text, TEXT_NUMBER_SIZE, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value,
             units[unit]);
    return text;
}

static const char *duration(uint64_t ns, char text[TEXT_NUMBER_SIZE]) {
    if (ns < 1000000) {
        snprintf(text, TEXT_NUMBER_SIZE, "%.1f us", (double)ns / 1e3);
    } else if (ns < UINT64_C(10000000000)) {
        snprintf(text, TEXT_NUMBER_SIZE, "%.1f ms", (double)ns / 1e6);
    } else {
        snprintf(text, TEXT_NUMBER_SIZE, "%.1f s", (double)ns / 1e9);
    }
    return text;
}

static double share(uint64_t part, uint64_t whole) {
    return whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
}

static const char *plural(uint64_t count, const char *one, const char *many) {
    return count == 1 ? one : many;
}

/* "1009-1024", in bytes, KiB or MiB where both ends are whole ones: "(96K-112K]" reads "97K-112K". */
static const char *range_text(const struct hakmem_stat_tables *tables, int range,
                              char text[TEXT_NUMBER_SIZE]) {
    if (range < 0) {
        return "-";
    }
    static const char units[] = {'\0', 'K', 'M', 'G', 'T'};
    uint64_t min = stat_range_min(tables, range);
    uint64_t max = tables->ranges[range].request_max;
    size_t unit = 0;
    while (min > 1 && (min - 1) % 1024 == 0 && max % 1024 == 0 && unit + 1 < sizeof units) {
        min = (min - 1) / 1024 + 1;
        max /= 1024;
        unit++;
    }
    if (unit == 0) {
        snprintf(text, TEXT_NUMBER_SIZE, "%" PRIu64 "-%" PRIu64, min, max);
    } else {
        snprintf(text, TEXT_NUMBER_SIZE, ">%" PRIu64 "%c-%" PRIu64 "%c", min - 1, units[unit], max,
                 units[unit]);
    }
    return text;
}

/* ---- the head ---- */

static void print_command(FILE *out, const struct stat_run *run) {
    fputs("hakmem stat:", out);
    for (char **word = run->command; *word != NULL; word++) {
        fprintf(out, " %s", *word);
    }
    fputs("\n\n", out);
}

static void print_head(FILE *out, const struct stat_run *run, const struct stat_tree *tree) {
    char a[TEXT_NUMBER_SIZE];
    char b[TEXT_NUMBER_SIZE];
    char c[TEXT_NUMBER_SIZE];
    size_t running = 0;
    for (size_t i = 0; i < tree->process_count; i++) {
        running += tree->processes[i].is_running;
    }
    struct stat_requests requests = stat_requests_sum(&tree->sum);
    print_command(out, run);
    fprintf(out, "  %s %s, %s %s, %s elapsed", grouped(tree->process_count, a),
            plural(tree->process_count, "process", "processes"), grouped(tree->sum.threads, b),
            plural(tree->sum.threads, "thread", "threads"), duration(run->wall_ns, c));
    fprintf(out, ", peak RSS %s\n", bytes(run->peak_rss_kib * 1024, a));
    fprintf(out, "  %s %s for %s, ", grouped(requests.count, a),
            plural(requests.count, "request", "requests"), bytes(requests.bytes, b));
    fprintf(out, "and %s more lost to rounding (%.1f%%)\n",
            bytes(requests.given - requests.bytes, a),
            share(requests.given - requests.bytes, requests.given));
    if (running > 0) {
        fprintf(out, "  %zu %s still running: counted up to now\n", running,
                plural(running, "process is", "processes are"));
    }
    if (tree->unreadable_count > 0) {
        fprintf(out, "  %zu %s not be observed, and %s missing here\n", tree->unreadable_count,
                plural(tree->unreadable_count, "process could", "processes could"),
                plural(tree->unreadable_count, "is", "are"));
    }
    if (tree->sum.damaged_count > 0) {
        fprintf(out, "  %s damaged %s of system calls %s left out\n",
                grouped(tree->sum.damaged_count, a),
                plural(tree->sum.damaged_count, "record", "records"),
                plural(tree->sum.damaged_count, "is", "are"));
    }
}

/* ---- system calls ---- */

/* Calls that were made only because somebody observes: they are told apart. */
static bool is_own(const struct stat_tree *tree, const struct stat_call *row) {
    return strcmp(tree->tables.causes[row->cause], "observe") == 0;
}

static uint64_t own_count(const struct stat_tree *tree) {
    uint64_t count = 0;
    for (size_t i = 0; i < tree->sum.call_count; i++) {
        count += is_own(tree, &tree->sum.calls[i]) ? tree->sum.calls[i].count : 0;
    }
    return count;
}

static void print_call(FILE *out, const struct stat_tree *tree, const struct stat_call *row,
                       uint64_t total) {
    char a[TEXT_NUMBER_SIZE];
    char b[TEXT_NUMBER_SIZE];
    char c[TEXT_NUMBER_SIZE];
    char d[TEXT_NUMBER_SIZE];
    fprintf(out, "%10s %5.1f%%  %-15s %-13s %-5s %-15s %10s %10s\n", grouped(row->count, a),
            share(row->count, total), tree->tables.calls[row->call],
            tree->tables.causes[row->cause], row->tier < 0 ? "-" : tree->tables.tiers[row->tier],
            range_text(&tree->tables, row->range, d), row->bytes == 0 ? "-" : bytes(row->bytes, b),
            row->ns == 0 ? "-" : duration(row->ns, c));
}

static void print_calls(FILE *out, const struct stat_tree *tree, bool is_complete) {
    const struct stat_process *sum = &tree->sum;
    char a[TEXT_NUMBER_SIZE];
    char b[TEXT_NUMBER_SIZE];
    char c[TEXT_NUMBER_SIZE];
    uint64_t own = own_count(tree);
    uint64_t total = stat_calls_count(sum) - own;
    uint64_t ns = 0;
    for (size_t i = 0; i < sum->call_count; i++) {
        ns += is_own(tree, &sum->calls[i]) ? 0 : sum->calls[i].ns;
    }
    uint64_t rest = total;
    size_t rows = 0;
    fprintf(out, "\n  system calls: %s in %s, and %s to observe\n", grouped(total, a),
            duration(ns, c), grouped(own, b));
    for (size_t i = 0; i < sum->call_count; i++) {
        const struct stat_call *row = &sum->calls[i];
        if (is_own(tree, row)) {
            continue;
        }
        if (rows == 0) {
            fprintf(out, "%10s %6s  %-15s %-13s %-5s %-15s %10s %10s\n", "count", "%", "call",
                    "cause", "tier", "request size", "bytes", "time");
        }
        if (++rows <= TEXT_CALLS_MAX || is_complete) {
            print_call(out, tree, row, total);
            rest -= row->count;
        }
    }
    if (rest > 0) {
        fprintf(out, "%10s %5.1f%%  in %zu more rows (--all)\n", grouped(rest, a),
                share(rest, total), rows - TEXT_CALLS_MAX);
    }
}

/* ---- requests ---- */

struct row {
    struct stat_requests requests;
    uint64_t calls; /* system calls they led to */
    bool is_elsewhere;
};

/* What must be seen first: the wrong tier, then system calls, then frequency. */
static int by_weight(const void *a, const void *b) {
    const struct row *first = a;
    const struct row *second = b;
    if (first->is_elsewhere != second->is_elsewhere) {
        return first->is_elsewhere ? -1 : 1;
    }
    if (first->calls != second->calls) {
        return first->calls < second->calls ? 1 : -1;
    }
    return (first->requests.count < second->requests.count) -
           (first->requests.count > second->requests.count);
}

static int by_frequency(const void *a, const void *b) {
    const struct row *first = a;
    const struct row *second = b;
    if (first->requests.count != second->requests.count) {
        return first->requests.count < second->requests.count ? 1 : -1;
    }
    return first->requests.range - second->requests.range;
}

/*
 * A row for each size and tier that has requests, or system calls: a free can cause some, too. No more than
 * there are ranges and tiers, as stat_read.h promises.
 */
static struct row *find_row(struct row *rows, size_t *count, const struct stat_tree *tree,
                            int range, int tier) {
    for (size_t i = 0; i < *count; i++) {
        if (rows[i].requests.range == range && rows[i].requests.tier == tier) {
            return &rows[i];
        }
    }
    rows[*count] = (struct row){
        .requests = {.range = range, .tier = tier},
        .is_elsewhere = (uint32_t)tier != tree->tables.ranges[range].tier,
    };
    return &rows[(*count)++];
}

static size_t collect_rows(const struct stat_tree *tree, struct row *rows) {
    size_t count = 0;
    for (size_t i = 0; i < tree->sum.request_count; i++) {
        const struct stat_requests *requests = &tree->sum.requests[i];
        find_row(rows, &count, tree, requests->range, requests->tier)->requests = *requests;
    }
    for (size_t i = 0; i < tree->sum.call_count; i++) {
        const struct stat_call *call = &tree->sum.calls[i];
        if (call->range >= 0) {
            find_row(rows, &count, tree, call->range, call->tier)->calls += call->count;
        }
    }
    return count;
}

/*
 * Half of the rows are for what is most frequent, the others for what weighs most; each half is
 * chosen from what is left by the other. Moves the chosen ones to the front and returns how many.
 */
static size_t choose_rows(struct row *rows, size_t count) {
    if (count <= TEXT_REQUESTS_MAX + 1) {
        return count;
    }
    qsort(rows, count, sizeof *rows, by_weight);
    size_t weighty = TEXT_REQUESTS_MAX / 2;
    qsort(rows + weighty, count - weighty, sizeof *rows, by_frequency);
    return TEXT_REQUESTS_MAX;
}

static void print_row(FILE *out, const struct stat_tree *tree, const struct row *row,
                      uint64_t requests_total, uint64_t calls_total) {
    char a[TEXT_NUMBER_SIZE];
    char b[TEXT_NUMBER_SIZE];
    char c[TEXT_NUMBER_SIZE];
    char d[TEXT_NUMBER_SIZE];
    char e[TEXT_NUMBER_SIZE];
    const struct stat_requests *requests = &row->requests;
    uint64_t waste = requests->given - requests->bytes;
    fprintf(out, "%12s %6.2f%%  %-15s %-5s %-6s %9s %5.1f%% %10s %10s %5.1f%%\n",
            grouped(requests->count, a), share(requests->count, requests_total),
            range_text(&tree->tables, requests->range, d), tree->tables.tiers[requests->tier],
            row->is_elsewhere ? tree->tables.tiers[tree->tables.ranges[requests->range].tier] : "",
            bytes(waste, b), share(waste, requests->given), grouped(requests->misses, c),
            row->calls == 0 ? "-" : grouped(row->calls, e), share(row->calls, calls_total));
}

static void print_requests(FILE *out, const struct stat_tree *tree, bool is_complete) {
    static struct row rows[HAKMEM_STAT_RANGES_MAX * HAKMEM_STAT_TIERS_MAX];
    char a[TEXT_NUMBER_SIZE];
    uint64_t total = stat_requests_sum(&tree->sum).count;
    uint64_t calls_total = stat_calls_count(&tree->sum) - own_count(tree);
    size_t count = collect_rows(tree, rows);
    size_t shown = is_complete ? count : choose_rows(rows, count);
    fprintf(out, "\n  requests: %s\n", grouped(total, a));
    if (count == 0) {
        return;
    }
    fprintf(out, "%12s %7s  %-15s %-5s %-6s %9s %6s %10s %10s %6s\n", "count", "%", "size", "tier",
            "usual", "rounding", "%", "refills", "sys calls", "%");
    qsort(rows, shown, sizeof *rows, by_frequency);
    uint64_t rest = total;
    for (size_t i = 0; i < shown; i++) {
        rest -= rows[i].requests.count;
        print_row(out, tree, &rows[i], total, calls_total);
    }
    if (shown < count) {
        fprintf(out, "%12s %6.2f%%  in %zu more rows (--all)\n", grouped(rest, a),
                share(rest, total), count - shown);
    }
}

/* ---- the end ---- */

/* Requests that a magazine can serve, and how many it did. */
static void print_magazines(FILE *out, const struct stat_tree *tree) {
    char a[TEXT_NUMBER_SIZE];
    char b[TEXT_NUMBER_SIZE];
    char c[TEXT_NUMBER_SIZE];
    uint64_t small = 0;
    uint64_t misses = stat_requests_sum(&tree->sum).misses;
    for (size_t i = 0; i < tree->sum.request_count; i++) {
        const char *tier = tree->tables.tiers[tree->sum.requests[i].tier];
        if (strcmp(tier, "Tiny") == 0 || strcmp(tier, "Mid") == 0) {
            small += tree->sum.requests[i].count;
        }
    }
    uint64_t hits = small > misses ? small - misses : 0;
    fprintf(out, "\n  magazines: %.2f%% hits, %s refills, %s flushes; remote frees %s",
            share(hits, small), grouped(misses, a), grouped(tree->sum.flushes, b),
            grouped(tree->sum.remote_frees, c));
    if (tree->sum.failures > 0) {
        fprintf(out, "; requests that failed %s", grouped(tree->sum.failures, a));
    }
    fputs("\n", out);
}

/* How often each entry point was called, in lines of TEXT_WIDTH. */
static void print_entries(FILE *out, const struct stat_tree *tree) {
    int width = fprintf(out, "  calls:");
    for (uint32_t i = 0; i < tree->tables.entry_count; i++) {
        char number[TEXT_NUMBER_SIZE];
        char word[HAKMEM_STAT_WORD_SIZE + TEXT_NUMBER_SIZE];
        if (tree->sum.entries[i] == 0) {
            continue;
        }
        int length = snprintf(word, sizeof word, " %s %s", tree->tables.entries[i],
                              grouped(tree->sum.entries[i], number));
        if (width + length > TEXT_WIDTH) {
            width = fprintf(out, "\n        ") - 1;
        }
        width += fprintf(out, "%s", word);
    }
    fputs("\n", out);
}

void stat_print_text(FILE *out, const struct stat_run *run, const struct stat_tree *tree,
                     bool is_complete) {
    if (tree->process_count == 0) {
        print_command(out, run);
        fputs("  No process was observed: none had hakmem, or none could make its file.\n", out);
        return;
    }
    print_head(out, run, tree);
    print_calls(out, tree, is_complete);
    print_requests(out, tree, is_complete);
    print_magazines(out, tree);
    print_entries(out, tree);
}
