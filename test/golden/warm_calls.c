/* test/golden/warm_calls.c — one warm call per entry point, between breakpoints. SPDX-License-Identifier: MIT */
/*
 * tools/fast_path.py runs this program with the library preloaded and steps it from one breakpoint to
 * the next. Before each call its entry point is warmed up, so that the magazine is neither empty nor
 * full. What the tool needs to know is printed, each line before the breakpoint it is about:
 *
 *   text library|program <base> <begin> <end> <path>     addresses in hexadecimal
 *   case <name> size <bytes> block argument|result
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARM_ROUNDS = 200, WARM_BLOCKS = 4 };

/* Entry points by type; looked up by name, so that no PLT entry and no builtin gets in between. */
typedef void *give_fn(size_t size);
typedef void *give_cleared_fn(size_t count, size_t size);
typedef void *resize_fn(void *block, size_t size);
typedef size_t measure_fn(void *block);
typedef void take_fn(void *block);
typedef void take_sized_fn(void *block, size_t size);

enum shape { GIVE, GIVE_CLEARED, RESIZE, MEASURE, TAKE, TAKE_SIZED };

struct warm_case {
    const char *name;
    const char *symbol;
    enum shape shape;
    size_t size;
};

static const struct warm_case cases[] = {
    {"malloc_64", "malloc", GIVE, 64},
    {"malloc_2000", "malloc", GIVE, 2000},
    {"free_64", "free", TAKE, 64},
    {"free_2000", "free", TAKE, 2000},
    {"calloc_16", "calloc", GIVE_CLEARED, 16},
    {"calloc_64", "calloc", GIVE_CLEARED, 64},
    {"calloc_256", "calloc", GIVE_CLEARED, 256},
    {"realloc_64_to_60", "realloc", RESIZE, 64},
    {"malloc_usable_size_64", "malloc_usable_size", MEASURE, 64},
    {"free_sized_64", "free_sized", TAKE_SIZED, 64},
    {"new_64", "_Znwm", GIVE, 64},
    {"delete_64", "_ZdlPv", TAKE, 64},
    {"delete_sized_64", "_ZdlPvm", TAKE_SIZED, 64},
};
enum { CASE_COUNT = sizeof cases / sizeof cases[0] };

static void *entry_point(const char *symbol) {
    void *address = dlsym(RTLD_DEFAULT, symbol);
    if (!address) {
        fprintf(stderr, "warm_calls: no %s in the process\n", symbol);
        exit(1);
    }
    return address;
}

static bool gives(const struct warm_case *c) {
    return c->shape == GIVE || c->shape == GIVE_CLEARED;
}

static bool takes(const struct warm_case *c) {
    return c->shape == TAKE || c->shape == TAKE_SIZED;
}

/* Prints the executable segments of this program (the first object) and of malloc's. */
static int print_text(struct dl_phdr_info *info, size_t size, void *malloc_address) {
    (void)size;
    static bool has_program;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X))
            continue;
        uintptr_t begin = info->dlpi_addr + segment->p_vaddr;
        uintptr_t end = begin + segment->p_memsz;
        bool is_library = (uintptr_t)malloc_address >= begin && (uintptr_t)malloc_address < end;
        if (is_library || !has_program)
            printf("text %s %jx %jx %jx %s\n", is_library ? "library" : "program",
                   (uintmax_t)info->dlpi_addr, (uintmax_t)begin, (uintmax_t)end,
                   info->dlpi_name[0] ? info->dlpi_name : "-");
        has_program = true;
    }
    return 0;
}

static void breakpoint(void) {
#if defined(__x86_64__)
    __asm__ volatile("int3" ::: "memory");
#elif defined(__aarch64__)
    __asm__ volatile("brk #0" ::: "memory");
#else
#error "which instruction stops the tracer here?"
#endif
}

/* After this a magazine of the class holds at least WARM_BLOCKS blocks and has room for as many. */
static void warm_up(size_t size) {
    give_fn *give = (give_fn *)entry_point("malloc");
    take_fn *take = (take_fn *)entry_point("free");
    void *blocks[2 * WARM_BLOCKS];
    for (int round = 0; round < WARM_ROUNDS; round++) {
        for (int i = 0; i < 2 * WARM_BLOCKS; i++)
            blocks[i] = give(size);
        for (int i = 0; i < 2 * WARM_BLOCKS; i++)
            take(blocks[i]);
    }
    for (int i = 0; i < WARM_BLOCKS; i++)
        blocks[i] = give(size);
    for (int i = 0; i < WARM_BLOCKS; i++)
        take(blocks[i]);
}

/* One warm call between two breakpoints, after a first one that binds what is lazy. */
static void call_case(const struct warm_case *c) {
    void *entry = entry_point(c->symbol);
    give_fn *give = (give_fn *)entry_point("malloc");
    take_fn *take = (take_fn *)entry_point("free");
    printf("case %s size %zu block %s\n", c->name, c->size, gives(c) ? "result" : "argument");
    fflush(stdout);
    warm_up(c->size);
    for (bool is_measured = false;; is_measured = true) {
        void *block = gives(c) ? NULL : give(c->size);
        if (is_measured)
            breakpoint();
        switch (c->shape) {
        case GIVE:
            block = ((give_fn *)entry)(c->size);
            break;
        case GIVE_CLEARED:
            block = ((give_cleared_fn *)entry)(1, c->size);
            break;
        case RESIZE:
            block = ((resize_fn *)entry)(block, c->size - 4);
            break;
        case MEASURE:
            ((measure_fn *)entry)(block);
            break;
        case TAKE:
            ((take_fn *)entry)(block);
            break;
        case TAKE_SIZED:
            ((take_sized_fn *)entry)(block, c->size);
            break;
        }
        if (is_measured)
            breakpoint();
        if (!takes(c))
            take(block);
        if (is_measured)
            return;
    }
}

static bool is_asked_for(const struct warm_case *c, int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], c->name) == 0)
            return true;
    return argc < 2;
}

/* Arguments: the names of the cases to run; none for all. */
int main(int argc, char **argv) {
    dl_iterate_phdr(print_text, entry_point("malloc"));
    for (int i = 0; i < CASE_COUNT; i++)
        if (is_asked_for(&cases[i], argc, argv))
            call_case(&cases[i]);
    return 0;
}
