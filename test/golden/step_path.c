/* test/golden/step_path.c — prints each instruction of a warm call. SPDX-License-Identifier: MIT */
/*
 * tools/fast_path.py runs this program with the library preloaded. It forks; the child warms an
 * entry point up, so that its magazine is neither empty nor full, and calls it between two
 * breakpoints; the parent steps the child from one to the other and prints, per instruction inside
 * the library, its offset in the file and the registers before it, from which the script computes
 * the addresses of loads and stores. Parent and child share their address space layout (fork).
 *
 *   library <path>
 *   case <name> size <bytes> block argument|result
 *   <offset> <rax> <rbx> … <r15>                         an instruction of the library
 *   outside                                               one of another library (memset, say)
 *   end <rax>
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WARM_ROUNDS = 200, WARM_BLOCKS = 4, STEPS_MAX = 20000, EXIT_REFUSED = 3 };

/* Entry points by type; looked up by name, so that no PLT entry and no builtin gets in between. */
typedef void *give_fn(size_t size);
typedef void *give_cleared_fn(size_t count, size_t size);
typedef void *resize_fn(void *block, size_t size);
typedef void take_fn(void *block);
typedef void take_sized_fn(void *block, size_t size);

enum shape { GIVE, GIVE_CLEARED, RESIZE, TAKE, TAKE_SIZED };

struct step_case {
    const char *name;
    const char *symbol;
    enum shape shape;
    size_t size;
};

static const struct step_case cases[] = {
    {"malloc_64", "malloc", GIVE, 64},
    {"malloc_2000", "malloc", GIVE, 2000},
    {"free_64", "free", TAKE, 64},
    {"free_2000", "free", TAKE, 2000},
    {"calloc_64", "calloc", GIVE_CLEARED, 64},
    {"realloc_64_to_60", "realloc", RESIZE, 64},
    {"free_sized_64", "free_sized", TAKE_SIZED, 64},
    {"new_64", "_Znwm", GIVE, 64},
    {"delete_64", "_ZdlPv", TAKE, 64},
    {"delete_sized_64", "_ZdlPvm", TAKE_SIZED, 64},
};
enum { CASE_COUNT = sizeof cases / sizeof cases[0] };

struct text {
    uintptr_t base;
    uintptr_t begin;
    uintptr_t end;
};

static struct text library_text;
static struct text program_text;

static void fail(const char *what) {
    fprintf(stderr, "step_path: %s\n", what);
    exit(1);
}

static void *entry_point(const char *symbol) {
    void *address = dlsym(RTLD_DEFAULT, symbol);
    if (!address) {
        fprintf(stderr, "step_path: no %s in the process\n", symbol);
        exit(1);
    }
    return address;
}

/* Finds the executable segments of this program (the first object) and of the preloaded library. */
static int find_text(struct dl_phdr_info *info, size_t size, void *malloc_address) {
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X))
            continue;
        uintptr_t begin = info->dlpi_addr + segment->p_vaddr;
        struct text text = {info->dlpi_addr, begin, begin + segment->p_memsz};
        if (!program_text.end)
            program_text = text;
        if ((uintptr_t)malloc_address >= text.begin && (uintptr_t)malloc_address < text.end) {
            library_text = text;
            printf("library %s\n", info->dlpi_name);
        }
    }
    return 0;
}

static void breakpoint(void) {
    __asm__ volatile("int3" ::: "memory");
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

/* The child: one warm call between two breakpoints, after a first one that binds what is lazy. */
static void call_case(const struct step_case *c) {
    void *entry = entry_point(c->symbol);
    give_fn *give = (give_fn *)entry_point("malloc");
    take_fn *take = (take_fn *)entry_point("free");
    warm_up(c->size);
    for (bool is_measured = false;; is_measured = true) {
        void *block = c->shape == GIVE || c->shape == GIVE_CLEARED ? NULL : give(c->size);
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
        case TAKE:
            ((take_fn *)entry)(block);
            break;
        case TAKE_SIZED:
            ((take_sized_fn *)entry)(block, c->size);
            break;
        }
        if (is_measured) {
            breakpoint();
            return;
        }
        if (c->shape != TAKE && c->shape != TAKE_SIZED)
            take(block);
    }
}

static void run_child(const struct step_case *c) {
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(EXIT_REFUSED);
    call_case(c);
    _exit(0);
}

/* Waits for the child's next stop; true at a breakpoint of its own, false after a single step. */
static bool wait_for_trap(pid_t child) {
    int status;
    if (waitpid(child, &status, 0) != child)
        fail("waitpid failed");
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_REFUSED)
        fail("ptrace is refused here: allow it (kernel.yama.ptrace_scope < 3, and in a container "
             "a seccomp profile with ptrace, as docker has it from kernel 4.8 on)");
    siginfo_t info;
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP ||
        ptrace(PTRACE_GETSIGINFO, child, NULL, &info) != 0)
        fail("the child died in a warm call");
    return info.si_code == SI_KERNEL; /* int3; a step is TRAP_TRACE */
}

static bool is_in(const struct text *text, uintptr_t address) {
    return address >= text->begin && address < text->end;
}

static void print_step(const struct user_regs_struct *r) {
    const unsigned long long values[] = {r->rax, r->rbx, r->rcx, r->rdx, r->rsi, r->rdi,
                                         r->rbp, r->rsp, r->r8,  r->r9,  r->r10, r->r11,
                                         r->r12, r->r13, r->r14, r->r15};
    printf("%llx", r->rip - library_text.base);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        printf(" %llx", values[i]);
    printf("\n");
}

static void step_case(const struct step_case *c) {
    printf("case %s size %zu block %s\n", c->name, c->size,
           c->shape == GIVE || c->shape == GIVE_CLEARED ? "result" : "argument");
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        fail("fork failed");
    if (child == 0)
        run_child(c);
    if (!wait_for_trap(child))
        fail("no first breakpoint");
    unsigned long long result = 0;
    bool was_in_library = false;
    for (int steps = 0;; steps++) {
        struct user_regs_struct regs;
        if (steps == STEPS_MAX)
            fail("the call does not end");
        if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0)
            fail("cannot single-step");
        if (wait_for_trap(child))
            break;
        if (ptrace(PTRACE_GETREGS, child, NULL, &regs) != 0)
            fail("cannot read registers");
        bool is_own = is_in(&program_text, regs.rip);
        if (is_own && was_in_library)
            result = regs.rax;
        was_in_library = !is_own;
        if (is_in(&library_text, regs.rip))
            print_step(&regs);
        else if (!is_own)
            printf("outside\n");
    }
    printf("end %llx\n", result);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static bool is_asked_for(const struct step_case *c, int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], c->name) == 0)
            return true;
    return argc < 2;
}

/* Arguments: the names of the cases to run; none for all. */
int main(int argc, char **argv) {
    dl_iterate_phdr(find_text, entry_point("malloc"));
    if (!library_text.end)
        fail("cannot find the library's text");
    for (int i = 0; i < CASE_COUNT; i++)
        if (is_asked_for(&cases[i], argc, argv))
            step_case(&cases[i]);
    return 0;
}
