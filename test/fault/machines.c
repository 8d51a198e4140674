/* test/fault/machines.c — larger OS pages, no quiet place, an old kernel, strangers in the window. SPDX-License-Identifier: MIT */
/*
 * Goal: nothing depends on the machine that hakmem was written on.
 * Method: on each pretended machine the workload runs without failures and must be served in full;
 * then again with every seventh call failing once, and with all calls failing from there on. The
 * fake kernel refuses addresses and sizes that are no multiples of its OS page.
 */

#include <stdint.h>

#include "fault/workload.h"
#include "vm/vm.h"

/* Coprime to the calls of a round: together with every_call.c each kind of place is reached. */
enum { MACHINES_STEP = FAULT_PART > 1 ? 35 : 7 };

static void under_script(const void *argument) {
    work_under(*(const struct fake_script *)argument);
}

/* ---- in the started process ---- */

static void started_workload(void) {
    work_under((struct fake_script){0});
    FAULT_REQUIRE(g_fault->nulls == 0, "%lu allocations fail", g_fault->nulls);
    bool is_small = hak_vm_page_size() != 4096 || hak_vm_address_limit() < (size_t)16 << 30;
    FAULT_REQUIRE(!is_small || fake_prim_calls(FAKE_HUGE) == 0, "huge pages of another size");
}

/* fault_run() leaves its finding where the parent of this process looks for ours. */
static void started_faults(unsigned long count) {
    const struct fake_script none = {0};
    if (!fault_run(under_script, &none))
        _exit(1);
    unsigned long last = g_fault->calls[FAKE_ANY_MEMORY];
    struct fake_script script = {.series = FAKE_ANY_MEMORY, .count = count};
    for (script.first = 1; script.first <= last; script.first += MACHINES_STEP) {
        alarm(FAULT_ALARM_S);
        if (!fault_run(under_script, &script)) {
            char text[sizeof g_fault->text];
            memcpy(text, g_fault->text, sizeof text);
            fault_fail("k = %lu: %.200s", script.first, text);
        }
    }
}

/*
 * Pages of somebody else wherever the library would like to go next. Their place is asked of the
 * kernel as any program would: the library has to find out by itself, and to leave them alone.
 */
static void started_strangers(void) {
    enum { STRANGERS = 40 };
    const size_t gib = (size_t)1 << 30;
    unsigned char *strangers[STRANGERS] = {0};
    void *first = hakmem_malloc(100);
    void *big = hakmem_malloc(100 * WORK_MIB);
    FAULT_REQUIRE(first != NULL && big != NULL, "the first allocations");
    FAULT_REQUIRE((uintptr_t)big - hak_vm_window().base >= HAK_VM_GRANULE,
                  "a block in the window's first unit, whose index says \"none\"");
    hakmem_free(big);
    for (int i = 0; i < STRANGERS; i++) {
        uintptr_t wanted = ((uintptr_t)first & ~(gib - 1)) + gib + (uintptr_t)i * (gib / 4 * 3);
        strangers[i] = mmap((void *)wanted, 4096, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (strangers[i] == MAP_FAILED)
            strangers[i] = NULL;
        else
            pattern_fill(strangers[i], 4096, (uint64_t)i);
    }
    hakmem_free(first);
    /* Places found taken may first cost refusals; they are remembered, so this comes to an end. */
    fault_doing("rounds among strangers");
    unsigned long nulls = 1;
    for (int i = 0; i < 8 && nulls > 0; i++)
        nulls = work_round();
    FAULT_REQUIRE(nulls == 0, "%lu allocations still fail after eight rounds", nulls);
    hakmem_malloc_trim(0);
    work_check_books(0);
    for (int i = 0; i < STRANGERS; i++)
        FAULT_REQUIRE(!strangers[i] || pattern_check(strangers[i], 4096, (uint64_t)i) == 4096,
                      "a page of somebody else was written to");
}

static _Noreturn void started(const char *what) {
    fault_doing(what);
    if (strcmp(what, "workload") == 0)
        started_workload();
    else if (strcmp(what, "once") == 0)
        started_faults(1);
    else if (strcmp(what, "for good") == 0)
        started_faults(ULONG_MAX);
    else if (strcmp(what, "strangers") == 0)
        started_strangers();
    else
        fault_fail("no such part: %s", what);
    fault_started_end();
}

/* ---- in the parent ---- */

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        struct fake_machine machine;
    } machines[] = {
        {"4 KiB pages", {.page_size = 4096}},
        {"16 KiB pages", {.page_size = 16384}},
        {"64 KiB pages", {.page_size = 65536}},
        {"no quiet place", {.has_no_hint = true}},
        {"no quiet place, 64 KiB pages", {.page_size = 65536, .has_no_hint = true}},
        {"limit 16 GiB, 16 KiB pages", {.page_size = 16384, .address_limit = (size_t)16 << 30}},
        {"a kernel before 4.17", {.is_before_4_17 = true}},
        {"limit 16 GiB, no quiet place", {.address_limit = (size_t)16 << 30, .has_no_hint = true}},
    };
    static const char *const parts[] = {"workload", "once", "for good", "strangers"};
    fault_open();
    if (argc == 2)
        started(argv[1]);
    for (size_t m = 0; m < sizeof machines / sizeof *machines; m++) {
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            if (FAULT_SANITIZED && strcmp(parts[i], "strangers") == 0) {
                tap_skip(parts[i], "a sanitizer forbids places outside its own layout");
                continue;
            }
            bool is_good = fault_start(parts[i], machines[m].machine, (struct fake_script){0}, 0);
            CHECK(is_good, "%s: %s%s%s", machines[m].name, parts[i], is_good ? "" : ": ",
                  g_fault->text);
        }
    }
    return tap_end();
}
