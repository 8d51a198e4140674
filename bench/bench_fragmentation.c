/* bench/bench_fragmentation.c — a long life in which sizes change. SPDX-License-Identifier: MIT */
/*
 * usage: bench_fragmentation MIB PHASES TURNS SEED                  for example 64 12 2 42
 *
 * About MIB are live, all the time. In each phase most new blocks are of another size than in the phase before
 * (16, 40, 100, 250, 640, 1,600, 4,000 and 10,000 bytes, each up to half as much again, in turn up and down; one
 * in eight is of any of them); in a phase as many bytes are replaced as TURNS times all that is live, the victims at
 * random. What lived through a phase lies scattered over memory that was cut for its time's sizes. The allocator
 * that can use such memory for others holds little more than MIB in the end.
 *
 * Prints resident and requested memory after each phase, and their quotient at the end and at its worst. An
 * operation is one replacement. Every OS page of a block is written; its stamp is looked at before it is freed.
 */
#include "bench_memory.h"

static const uint32_t phase_sizes[] = {16, 40, 100, 250, 640, 1600, 4000, 10000};
enum { SIZE_COUNT = sizeof phase_sizes / sizeof phase_sizes[0] };

struct life {
    unsigned char **blocks;
    uint32_t *sizes;
    uint64_t capacity;
    uint64_t count;
    uint64_t live_bytes;
    uint32_t random;
};

/* 0 1 … 7 6 … 1 0 1 … */
static size_t phase_size_index(uint64_t phase) {
    uint64_t place = phase % (2 * SIZE_COUNT - 2);
    return (size_t)(place < SIZE_COUNT ? place : 2 * SIZE_COUNT - 2 - place);
}

static uint32_t pick_life_size(struct life *life, uint64_t phase) {
    uint32_t r = bench_xorshift32(&life->random);
    size_t index = r % 8 == 0 ? bench_scale(bench_xorshift32(&life->random), SIZE_COUNT)
                              : phase_size_index(phase);
    return phase_sizes[index] +
           bench_scale(bench_xorshift32(&life->random), phase_sizes[index] / 2);
}

static void take_one(struct life *life, uint64_t phase) {
    if (life->count == life->capacity) {
        fprintf(stderr, "%s: more blocks than planned\n", program_invocation_short_name);
        exit(EXIT_FAILURE);
    }
    uint32_t size = pick_life_size(life, phase);
    life->blocks[life->count] = take_touched(size, size);
    life->sizes[life->count++] = size;
    life->live_bytes += size;
}

static void free_one(struct life *life, uint64_t victim) {
    life->live_bytes -= life->sizes[victim];
    free_stamped(life->blocks[victim], life->sizes[victim]);
    life->count--;
    life->blocks[victim] = life->blocks[life->count];
    life->sizes[victim] = life->sizes[life->count];
}

/* Returns how many blocks were replaced. */
static uint64_t run_phase(struct life *life, uint64_t phase, uint64_t bytes, uint64_t turns) {
    uint64_t operations = 0;
    for (uint64_t left = bytes * turns; left > 0; operations++) {
        uint64_t victim = bench_scale(bench_xorshift32(&life->random), (uint32_t)life->count);
        uint64_t freed = life->sizes[victim];
        free_one(life, victim);
        while (life->live_bytes < bytes) {
            take_one(life, phase);
        }
        left = left < freed ? 0 : left - freed;
    }
    return operations;
}

int main(int argc, char **argv) {
    uint64_t mib;
    uint64_t phases;
    uint64_t turns;
    uint64_t seed;
    const struct bench_argument arguments[] = {
        {"MIB", 1, 64 * 1024, &mib},
        {"PHASES", 1, 100000, &phases},
        {"TURNS", 1, 100000, &turns},
        {"SEED", 1, UINT32_MAX, &seed},
    };
    bench_parse(argc - 1, argv + 1, "MIB PHASES TURNS SEED", arguments, 4);
    uint64_t bytes = mib * MIB;
    struct life life = {.random = (uint32_t)seed, .capacity = bytes / phase_sizes[0] + 1};
    life.blocks = bench_table(life.capacity, sizeof *life.blocks);
    life.sizes = bench_table(life.capacity, sizeof *life.sizes);
    begin_report();
    uint64_t operations = 0;
    double worst = 0;
    double last = 0;
    uint64_t begin = bench_wall_ns();
    while (life.live_bytes < bytes) {
        take_one(&life, 0);
    }
    for (uint64_t phase = 0; phase < phases; phase++) {
        operations += run_phase(&life, phase, bytes, turns);
        last = (double)report_numbered("phase", phase, life.live_bytes) * KIB /
               (double)life.live_bytes;
        worst = last > worst ? last : worst;
    }
    uint64_t elapsed = bench_wall_ns() - begin;
    while (life.count > 0) {
        free_one(&life, life.count - 1);
    }
    end_report();
    printf("%-20s %.3f\n", "held_per_live_last", last);
    printf("%-20s %.3f\n", "held_per_live_worst", worst);
    bench_print_result(operations, elapsed);
    return EXIT_SUCCESS;
}
