/* cli/stat_json.c — `hakmem stat --json`. SPDX-License-Identifier: MIT */
#include "json_text.h"
#include "stat_report.h"

/*
 * jansson's setters and json_pack() take NULL for what could not be made, and fail with it. Arrays and objects
 * that could not be filled become NULL here, so that what they belong to fails, too.
 */

static json_t *number(uint64_t value) {
    return json_integer((json_int_t)value);
}

static json_t *range_end(const struct hakmem_stat_tables *tables, int range, bool is_max) {
    if (range < 0) {
        return json_null();
    }
    return number(is_max ? tables->ranges[range].request_max : stat_range_min(tables, range));
}

static json_t *tier_word(const struct hakmem_stat_tables *tables, int tier) {
    return tier < 0 ? json_null() : json_text(tables->tiers[tier]);
}

static json_t *calls(const struct hakmem_stat_tables *tables, const struct stat_process *process) {
    json_t *rows = json_array();
    for (size_t i = 0; i < process->call_count; i++) {
        const struct stat_call *row = &process->calls[i];
        json_append(&rows, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "call",
                                     json_text(tables->calls[row->call]), "cause",
                                     json_text(tables->causes[row->cause]), "count",
                                     number(row->count), "bytes", number(row->bytes), "ns",
                                     number(row->ns), "tier", tier_word(tables, row->tier),
                                     "request_min", range_end(tables, row->range, false),
                                     "request_max", range_end(tables, row->range, true)));
    }
    return rows;
}

static json_t *requests(const struct hakmem_stat_tables *tables,
                        const struct stat_process *process) {
    json_t *rows = json_array();
    for (size_t i = 0; i < process->request_count; i++) {
        const struct stat_requests *row = &process->requests[i];
        json_append(&rows, json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "request_min",
                                     range_end(tables, row->range, false), "request_max",
                                     range_end(tables, row->range, true), "tier",
                                     tier_word(tables, row->tier), "usual_tier",
                                     tier_word(tables, (int)tables->ranges[row->range].tier),
                                     "count", number(row->count), "bytes", number(row->bytes),
                                     "given", number(row->given), "refills", number(row->misses)));
    }
    return rows;
}

static json_t *entries(const struct hakmem_stat_tables *tables,
                       const struct stat_process *process) {
    json_t *object = json_object();
    for (uint32_t i = 0; i < tables->entry_count; i++) {
        if (json_object_set_new(object, tables->entries[i], number(process->entries[i])) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

/* What a process and a sum of processes have. */
static json_t *counts(const struct hakmem_stat_tables *tables, const struct stat_process *process) {
    struct stat_requests sum = stat_requests_sum(process);
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "threads",
        number(process->threads), "system_call_count", number(stat_calls_count(process)),
        "system_calls", calls(tables, process), "request_count", number(sum.count), "request_bytes",
        number(sum.bytes), "given_bytes", number(sum.given), "requests", requests(tables, process),
        "entry_points", entries(tables, process), "failed_requests", number(process->failures),
        "refills", number(sum.misses), "flushes", number(process->flushes), "remote_frees",
        number(process->remote_frees), "damaged_records", number(process->damaged_count));
}

static json_t *process_object(const struct hakmem_stat_tables *tables,
                              const struct stat_process *process) {
    json_t *object =
        json_pack("{s:o, s:o, s:o, s:b, s:b, s:o, s:o, s:o}", "process_id",
                  number(process->process_id), "parent_id", number(process->parent_id), "program",
                  json_text(process->program), "is_forked", process->is_forked, "is_running",
                  process->is_running, "start_ns", number(process->start_ns), "end_ns",
                  process->end_ns == 0 ? json_null() : number(process->end_ns), "peak_rss_bytes",
                  process->peak_rss_kib == 0 ? json_null() : number(process->peak_rss_kib * 1024));
    json_t *more = counts(tables, process);
    if (json_object_update(object, more) != 0) {
        json_decref(object);
        object = NULL;
    }
    json_decref(more);
    return object;
}

static json_t *processes(const struct stat_tree *tree) {
    json_t *array = json_array();
    for (size_t i = 0; i < tree->process_count; i++) {
        json_append(&array, process_object(&tree->tables, &tree->processes[i]));
    }
    return array;
}

bool stat_print_json(FILE *out, const struct stat_run *run, const struct stat_tree *tree) {
    json_t *root =
        json_pack("{s:s, s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i, s:o, s:o}", "format",
                  "hakmem-stat", "version", HAKMEM_STAT_VERSION, "hakmem", tree->tables.library,
                  "command", json_words((const char *const *)run->command), "exit_status",
                  run->exit_status < 0 ? json_null() : number((uint64_t)run->exit_status), "signal",
                  run->signal == 0 ? json_null() : number((uint64_t)run->signal), "wall_ns",
                  number(run->wall_ns), "user_us", number(run->user_us), "system_us",
                  number(run->system_us), "peak_rss_bytes", number(run->peak_rss_kib * 1024),
                  "unobserved_processes", (int)tree->unreadable_count, "total",
                  counts(&tree->tables, &tree->sum), "processes", processes(tree));
    bool is_printed = root != NULL && json_dumpf(root, out, JSON_INDENT(1)) == 0;
    json_decref(root);
    fputs("\n", out);
    return is_printed;
}
