/* test/fault/every_call.c — each system call fails once, and each is the first of many. SPDX-License-Identifier: MIT */
/*
 * Goal: no place that asks the kernel takes its answer for granted.
 * Method: SQLite's out-of-memory loop. The workload is run once to count its calls; then again and
 * again, the k-th call failing, for every k: of all calls with each errno value, of each primitive,
 * and with all calls failing from the k-th on. After each, the kernel recovers (workload.h).
 */

#include "fault/workload.h"

/* Fewer would mean that the workload no longer reaches what it is meant to. */
enum { EVERY_CALL_MIN = 100, EVERY_CALL_MIN_EPOCHS = 300 };

static void under_script(const void *argument) {
    fake_prim_stop_clock();
    work_under(*(const struct fake_script *)argument);
}

/* Without these calls more memory is used, or more is copied, but none is missed. */
static bool is_optional(enum fake_call series) {
    switch (series) {
    case FAKE_UNMAP:
    case FAKE_PURGE:
    case FAKE_PURGE_RANGES:
    case FAKE_HUGE:
    case FAKE_MOVE:
    case FAKE_EXTEND:
        return true;
    default:
        return false;
    }
}

static unsigned long calls_of(enum fake_call series) {
    const struct fake_script none = {0};
    bool is_good = fault_run(under_script, &none);
    CHECK(is_good && g_fault->nulls == 0, "the workload without failures %s", g_fault->text);
    return g_fault->calls[series];
}

/* `script.first` runs from 1 to `last`, in steps of `step`. */
static void every_k(const char *what, struct fake_script script, unsigned long last,
                    unsigned long step) {
    char text[80];
    unsigned long failed_allocations = 0;
    snprintf(text, sizeof text, "%s, k = 1 … %lu", what, last);
    struct sweep sweep = sweep_begin(text);
    for (script.first = 1; script.first <= last; script.first += step) {
        bool is_good = fault_run(under_script, &script);
        SWEEP(&sweep, is_good, "k = %lu: %s", script.first, g_fault->text);
        failed_allocations += g_fault->nulls;
    }
    sweep_end(&sweep);
    tap_note("allocations that returned NULL: %lu", failed_allocations);
    if (script.count == 1)
        CHECK(failed_allocations == 0, "%s: the second try serves every allocation", what);
    else if (!is_optional(script.series))
        CHECK(failed_allocations > 0, "%s: some allocation notices", what);
}

/* The longest script: the workload, and then time passes. Each call of all is once the one that fails. */
static void with_epochs(unsigned long step) {
    g_work.has_epochs = true;
    unsigned long count = calls_of(FAKE_ANY_MEMORY);
    CHECK(count >= EVERY_CALL_MIN_EPOCHS, "with epochs it makes %lu memory calls", count);
    struct fake_script script = {.series = FAKE_ANY_MEMORY, .count = 1};
    every_k("with epochs, the k-th call fails", script, count, step);
    script.count = ULONG_MAX;
    every_k("with epochs, all calls from the k-th on fail", script, count, 7 * step);
    g_work.has_epochs = false;
}

int main(void) {
    static const struct {
        const char *name;
        int value;
    } errors[] = {{"ENOMEM", ENOMEM}, {"EAGAIN", EAGAIN}, {"EINVAL", EINVAL}, {"EPERM", EPERM}};
    static const struct {
        const char *name;
        enum fake_call call;
    } calls[] = {{"map", FAKE_MAP},
                 {"unmap", FAKE_UNMAP},
                 {"protect", FAKE_PROTECT},
                 {"purge", FAKE_PURGE},
                 {"purge-ranges", FAKE_PURGE_RANGES},
                 {"huge", FAKE_HUGE},
                 {"move", FAKE_MOVE},
                 {"extend", FAKE_EXTEND}};
    char what[80];
    fault_open();
    const unsigned long step = FAULT_PART;
    unsigned long count = calls_of(FAKE_ANY_MEMORY);
    CHECK(count >= EVERY_CALL_MIN, "the workload makes %lu memory calls", count);

    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        snprintf(what, sizeof what, "the k-th call fails with %s", errors[i].name);
        struct fake_script script = {
            .series = FAKE_ANY_MEMORY, .count = 1, .error = errors[i].value};
        every_k(what, script, count, step);
    }
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        snprintf(what, sizeof what, "the k-th %s fails", calls[i].name);
        unsigned long calls_made = calls_of(calls[i].call);
        if (calls_made == 0) {
            tap_skip(what, "there is none");
            continue;
        }
        struct fake_script script = {.series = calls[i].call, .count = 1};
        every_k(what, script, calls_made, step);
        snprintf(what, sizeof what, "every %s from the k-th on fails", calls[i].name);
        script.count = ULONG_MAX;
        every_k(what, script, calls_made, step);
    }
    with_epochs(step);
    struct fake_script script = {.series = FAKE_ANY_MEMORY, .count = ULONG_MAX, .error = ENOMEM};
    every_k("all calls from the k-th on fail", script, count, step);
    return tap_end();
}
