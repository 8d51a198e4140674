/* test/fault/mappings.c — how many mappings the kernel has to keep for us. SPDX-License-Identifier: MIT */
/*
 * Goal: an arena is at most 4 mappings at any time (descriptors, plain, huge, no access), 6 in a forked
 * child, a Big block at most 3: purges, growth, the huge lane and realloc do not cut them up.
 * Method: a random program with every tier and epochs; /proc/self/maps is read now and then and its lines
 * are counted that lie in each arena, and in each Big block.
 */

#include <fcntl.h>

#include "arena/arena.h"
#include "fault/workload.h"
#include "vm/vm.h"

enum {
    MAPPINGS_ARENA_MAX = 4,
    MAPPINGS_ARENA_MAX_CHILD = 6,
    MAPPINGS_BIG_MAX = 3,
    MAPPINGS_SLOTS = 300,
    MAPPINGS_BIGS = 4,
    MAPPINGS_STEPS = FAULT_SANITIZED ? 6000 : 40000,
    MAPPINGS_LOOK = 200, /* steps from one look to the next */
    MAPPINGS_TEXT = 1 << 22
};

static struct work_block g_slots[MAPPINGS_SLOTS];
static struct work_block g_bigs[MAPPINGS_BIGS];

static char *read_maps(void) {
    static char text[MAPPINGS_TEXT];
    size_t size = 0;
    ssize_t got;
    int fd = open("/proc/self/maps", O_RDONLY);
    FAULT_REQUIRE(fd >= 0, "no /proc/self/maps");
    while ((got = read(fd, text + size, sizeof text - 1 - size)) > 0)
        size += (size_t)got;
    close(fd);
    text[size] = 0;
    return text;
}

static unsigned mappings_in(const char *maps, uintptr_t start, uintptr_t end) {
    unsigned count = 0;
    for (const char *line = maps; *line; line = strchr(line, '\n') + 1) {
        char *rest;
        uintptr_t from = strtoull(line, &rest, 16);
        uintptr_t to = strtoull(rest + 1, NULL, 16);
        count += from < end && to > start;
    }
    return count;
}

static void look(unsigned arena_max) {
    const char *maps = read_maps();
    for (uint32_t i = 1; i <= atomic_load(&hak_arenas.count); i++) {
        const struct hak_arena *arena = hak_arenas.list[i];
        unsigned count = mappings_in(maps, (uintptr_t)hak_unit_address(arena->first_unit),
                                     (uintptr_t)hak_unit_address(arena->end));
        FAULT_REQUIRE(count >= 1 && count <= arena_max, "arena %u has %u mappings", i, count);
        if (count > g_fault->nulls)
            g_fault->nulls = count; /* for the parent to tell */
    }
    for (int i = 0; i < MAPPINGS_BIGS; i++) {
        uintptr_t p = (uintptr_t)g_bigs[i].p;
        unsigned count = p ? mappings_in(maps, p - 4096, p + g_bigs[i].size) : 0;
        FAULT_REQUIRE(count <= MAPPINGS_BIG_MAX, "a Big block has %u mappings", count);
    }
}

static void step(uint64_t *random) {
    uint64_t kind = random_next(random) % 1000;
    struct work_block *slot = &g_slots[random_next(random) % MAPPINGS_SLOTS];
    struct work_block *big = &g_bigs[random_next(random) % MAPPINGS_BIGS];
    if (kind == 0 && big->p)
        work_free(big);
    else if (kind == 0)
        work_malloc(big, 65 * WORK_MIB + random_size(random, 26));
    else if (kind == 1 && big->p)
        work_realloc(big, 65 * WORK_MIB + random_size(random, 26));
    else if (kind == 2)
        hakmem_malloc_trim(0);
    else if (kind < 10)
        fake_prim_advance_clock(500);
    else if (slot->p && kind < 100)
        work_realloc(slot, 1 + random_size(random, 24));
    else if (slot->p)
        work_free(slot);
    else if (kind < 150)
        work_align(slot, (size_t)16 << random_next(random) % 18, 1 + random_size(random, 18));
    else if (kind < 200)
        work_calloc(slot, 1 + random_size(random, 22));
    else
        work_malloc(slot, 1 + random_size(random, kind < 300 ? 24 : 17));
}

static void run_steps(uint64_t seed, int steps, unsigned arena_max) {
    uint64_t random = seed;
    for (int i = 0; i < steps; i++) {
        step(&random);
        if (i % MAPPINGS_LOOK == 0)
            look(arena_max);
    }
}

static void end_all(void) {
    for (int i = 0; i < MAPPINGS_SLOTS; i++)
        work_free(&g_slots[i]);
    for (int i = 0; i < MAPPINGS_BIGS; i++)
        work_free(&g_bigs[i]);
    hakmem_malloc_trim(0);
    work_check_books(0);
}

static void random_program(const void *argument) {
    fault_doing("the parent");
    run_steps(*(const uint64_t *)argument, MAPPINGS_STEPS, MAPPINGS_ARENA_MAX);
    pid_t child = fork();
    if (child == 0) {
        fault_doing("the child");
        alarm(FAULT_ALARM_S);
        run_steps(77, MAPPINGS_STEPS / 4, MAPPINGS_ARENA_MAX_CHILD);
        end_all();
        _exit(0);
    }
    int status = -1;
    FAULT_REQUIRE(waitpid(child, &status, 0) == child && status == 0, "the child: status %#x",
                  (unsigned)status);
    end_all();
    look(MAPPINGS_ARENA_MAX);
}

int main(void) {
    static const uint64_t seeds[] = {1, 20240229, 77777};
    fault_open();
    fake_prim_stop_clock();
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        bool is_good = fault_run(random_program, &seeds[i]);
        CHECK(is_good, "seed %lu: at most %lu mappings an arena%s%s", (unsigned long)seeds[i],
              g_fault->nulls, is_good ? "" : ": ", g_fault->text);
    }
    return tap_end();
}
