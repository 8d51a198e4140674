/* test/death/misuse.c — one misuse per invocation. SPDX-License-Identifier: MIT */
/*
 * usage: misuse CASE            misuse --list
 *
 * Goal: give run_death.py one process per kind of misuse of a pointer, with everything it needs to know
 * what the library must say about it.
 * Method: death.h. After the wrong call the allocator is given every occasion to notice: enough blocks of
 * the same class are freed to flush any magazine.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "misuse.h"

/* ---- what the cases share ---- */

/*
 * Blocks of the class that will go through its magazine after the misuse: many times the capacity
 * any class may have. Allocated before, because an allocation would hand the freed block out again.
 */
static struct {
    void **block;
    size_t count;
} g_flush;

static void prepare_flush(size_t size) {
    g_flush.count = size <= 2000 ? 100000 : size <= 20000 ? 4000 : 1500;
    g_flush.block = must(mmap(NULL, g_flush.count * sizeof(void *), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    for (size_t i = 0; i < g_flush.count; i++)
        g_flush.block[i] = must(api.malloc(size));
}

static void flush(void) {
    for (size_t i = 0; i < g_flush.count; i++)
        api.free(g_flush.block[i]);
}

/*
 * The other thread, begun before the misuse and with a heap of its own already: starting it takes
 * memory, and might take the very units that a free has just given back.
 */
static struct {
    pthread_t thread;
    void (*function)(void *);
    void *argument;
    int is_ready;
    int go;
} g_other;

static void *other_body(void *unused) {
    api.free(api.malloc(100));
    __atomic_store_n(&g_other.is_ready, 1, __ATOMIC_RELEASE);
    while (!__atomic_load_n(&g_other.go, __ATOMIC_ACQUIRE))
        usleep(100);
    g_other.function(g_other.argument);
    return unused;
}

static void other_start(void) {
    if (pthread_create(&g_other.thread, NULL, other_body, NULL) != 0)
        exit(97);
    while (!__atomic_load_n(&g_other.is_ready, __ATOMIC_ACQUIRE))
        usleep(100);
}

static void other_run(void (*function)(void *), void *argument) {
    g_other.function = function;
    g_other.argument = argument;
    __atomic_store_n(&g_other.go, 1, __ATOMIC_RELEASE);
    pthread_join(g_other.thread, NULL);
}

static void (*operator_named(const char *name))(void *) {
    void (*operator_delete)(void *) = NULL;
    api_set(&operator_delete, name);
    return operator_delete;
}

static void call_free(void *p) {
    api.free(p);
}
static void call_cfree(void *p) {
    api.cfree(p);
}
static void call_libc_free(void *p) {
    api.__libc_free(p);
}
static void call_realloc(void *p) {
    (void)api.realloc(p, 100000);
}
static void call_realloc_smaller(void *p) {
    (void)api.realloc(p, 1);
}
static void call_realloc_same(void *p) {
    (void)api.realloc(p, api.malloc_usable_size(p));
}
static void call_realloc_zero(void *p) {
    (void)api.realloc(p, 0);
}
static void call_reallocarray(void *p) {
    (void)api.reallocarray(p, 10, 10000);
}
static void call_usable_size(void *p) {
    (void)api.malloc_usable_size(p);
}
static void call_free_sized(void *p) {
    api.free_sized(p, 64);
}
static void call_free_aligned_sized(void *p) {
    api.free_aligned_sized(p, 64, 64);
}
static void call_sdallocx(void *p) {
    api.sdallocx(p, 64, 0);
}
static void call_delete(void *p) {
    operator_named("_ZdlPv")(p);
}
static void call_delete_array(void *p) {
    operator_named("_ZdaPv")(p);
}
static void call_delete_nothrow(void *p) {
    void (*delete_nothrow)(void *, const void *) = NULL;
    static const char nothrow;
    api_set(&delete_nothrow, "_ZdlPvRKSt9nothrow_t");
    delete_nothrow(p, &nothrow);
}

/* `size` as the program states it; the other parameters by the form. */
static void free_with_size(const char *form, void *p, size_t size) {
    void (*sized)(void *, size_t) = NULL;
    void (*sized_aligned)(void *, size_t, size_t) = NULL;
    if (strcmp(form, "free_sized") == 0) {
        api.free_sized(p, size);
    } else if (strcmp(form, "free_aligned_sized") == 0) {
        api.free_aligned_sized(p, 16, size);
    } else if (strcmp(form, "sdallocx") == 0) {
        api.sdallocx(p, size, 0);
    } else if (strstr(form, "align") != NULL) {
        api_set(&sized_aligned, form);
        sized_aligned(p, size, 16);
    } else {
        api_set(&sized, form);
        sized(p, size);
    }
}

/* ---- pointers that are no blocks ---- */

static char g_static[64];
static _Thread_local char g_thread_local[64];

static void *mapped(size_t size) {
    return must(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static void *mapped_without_access(void) {
    return must(mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

/* Bytes from a small block of a young process: in its arena, where nothing was handed out yet; and beyond. */
#define FAR_OFFSET ((size_t)256 << 20)
#define VERY_FAR_OFFSET ((size_t)8 << 30)

static void *unmapped(void) {
    char *p = mapped(1 << 20);
    munmap(p, 1 << 20);
    return p + (1 << 19);
}

/* From libc's own malloc, reached past every override. */
static void *libc_block(void) {
    void *(*libc_malloc)(size_t) = NULL;
    void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    void *address = libc != NULL ? dlsym(libc, "malloc") : NULL;
    memcpy(&libc_malloc, &address, sizeof address);
    return must(libc_malloc != NULL ? libc_malloc(100) : NULL);
}

static void *library_data(void) {
    return must(dlsym(RTLD_DEFAULT, "hakmem_version"));
}

static void wild(void (*function)(void *), void *p) {
    about_foreign(p);
    function(p);
    say("returned\n");
}

static void free_wild(void (*function)(void *), const char *what) {
    char on_stack[64];
    if (strcmp(what, "stack") == 0)
        wild(function, on_stack + 16);
    else if (strcmp(what, "static") == 0)
        wild(function, g_static + 16);
    else if (strcmp(what, "thread local") == 0)
        wild(function, g_thread_local + 16);
    else if (strcmp(what, "literal") == 0)
        wild(function, (void *)(uintptr_t) "a string literal");
    else if (strcmp(what, "code") == 0)
        wild(function, (void *)(uintptr_t)free_wild);
    else if (strcmp(what, "environment") == 0)
        wild(function, getenv("PATH"));
    else if (strcmp(what, "mmap") == 0)
        wild(function, mapped(4096));
    else if (strcmp(what, "mmap, no access") == 0)
        wild(function, mapped_without_access());
    else if (strcmp(what, "far") == 0)
        wild(function, shift(must(api.malloc(100)), (ptrdiff_t)FAR_OFFSET));
    else if (strcmp(what, "very far") == 0)
        wild(function, shift(must(api.malloc(100)), (ptrdiff_t)VERY_FAR_OFFSET));
    else if (strcmp(what, "mmap, unit-aligned") == 0)
        wild(function, (void *)(((uintptr_t)mapped(1 << 20) + 65535) & ~(uintptr_t)65535));
    else if (strcmp(what, "unmapped") == 0)
        wild(function, unmapped());
    else if (strcmp(what, "libc's block") == 0)
        wild(function, libc_block());
    else if (strcmp(what, "library's code") == 0)
        wild(function, library_data());
    else
        wild(function, (void *)strtoul(what, NULL, 16));
}

/* ---- cases with an argument each: see misuse.h for the table ---- */

static void run_foreign(const struct misuse_case *c) {
    if (c->size != 0)
        api.free(must(api.malloc(c->size)));
    free_wild(c->function, c->text);
}

/* Another block's free lies between the two, or many. */
static void run_interleaved(const struct misuse_case *c) {
    enum { BETWEEN_MAX = 300 };
    void *between[BETWEEN_MAX];
    void *p = must(api.malloc(c->size));
    for (ptrdiff_t i = 0; i < c->offset; i++)
        between[i] = must(api.malloc(c->size));
    if (c->size <= MID_MAX)
        prepare_flush(c->size);
    about_block(p, p);
    api.free(p);
    for (ptrdiff_t i = 0; i < c->offset; i++)
        api.free(between[i]);
    c->function(p);
    say("returned\n");
    flush();
}

/* The second free by the same thread. */
static void run_twice(const struct misuse_case *c) {
    void *p = must(api.malloc(c->size));
    if (c->size <= MID_MAX)
        prepare_flush(c->size);
    about_block(p, p);
    api.free(p);
    c->function(p);
    say("returned\n");
    flush();
}

/* A pointer into the block, `offset` bytes from its start (from its usable end, if ONE_PAST). */
static void run_inside(const struct misuse_case *c) {
    void *p = must(api.malloc(c->size));
    ptrdiff_t offset = c->offset == ONE_PAST ? (ptrdiff_t)api.malloc_usable_size(p) : c->offset;
    if (c->size <= MID_MAX)
        prepare_flush(c->size);
    void *wrong = about_block(p, shift(p, offset));
    c->function(wrong);
    say("returned\n");
    flush();
}

/* Freed by its owner, then by another thread. */
static void run_owner_then_other(const struct misuse_case *c) {
    other_start();
    void *p = must(api.malloc(c->size));
    if (c->size <= MID_MAX)
        prepare_flush(c->size);
    about_block(p, p);
    api.free(p);
    other_run(c->function, p);
    say("returned\n");
    flush();
}

static void free_twice(void *p) {
    api.free(p);
    api.free(p);
}

static void run_other_twice(const struct misuse_case *c) {
    other_start();
    void *p = must(api.malloc(c->size));
    if (c->size <= MID_MAX)
        prepare_flush(c->size);
    about_block(p, p);
    other_run(free_twice, p);
    say("returned\n");
    flush();
}

/*
 * Two others free the block, one after the other. Each frees another one first, so that it has
 * something to gather blocks in; the owner hears of both later.
 */
static void *gather_and_free(void *blocks) {
    api.free(must(api.malloc(100)));
    api.free(((void **)blocks)[0]);
    api.free(((void **)blocks)[1]);
    return NULL;
}

static void run_two_others(const struct misuse_case *c) {
    void *others[] = {must(api.malloc(c->size)), must(api.malloc(c->size))};
    void *p = must(api.malloc(c->size));
    about_block(p, p);
    prepare_flush(c->size);
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        void *blocks[2] = {others[i], p};
        if (pthread_create(&thread, NULL, gather_and_free, blocks) != 0)
            exit(97);
        pthread_join(thread, NULL);
    }
    say("returned\n");
    flush();
}

static void run_inside_by_other(const struct misuse_case *c) {
    other_start();
    void *p = must(api.malloc(c->size));
    prepare_flush(c->size);
    void *wrong = about_block(p, shift(p, c->offset));
    other_run(c->function, wrong);
    say("returned\n");
    flush();
}

/* Allocated by a thread that lives on, so that its heap is not the main thread's. */
static void *g_handed;
static int g_handed_ready;

static void *thread_hands_over(void *size) {
    void *block = must(api.malloc(*(size_t *)size));
    must(api.malloc(*(size_t *)size)); /* stays: else the slab would be gone with its last block */
    __atomic_store_n(&g_handed, block, __ATOMIC_RELAXED);
    __atomic_store_n(&g_handed_ready, 1, __ATOMIC_RELEASE);
    pause();
    return NULL;
}

static void run_owner_is_thread(const struct misuse_case *c) {
    pthread_t thread;
    size_t size = c->size;
    api.free(must(api.malloc(100)));
    if (pthread_create(&thread, NULL, thread_hands_over, &size) != 0)
        exit(97);
    while (!__atomic_load_n(&g_handed_ready, __ATOMIC_ACQUIRE))
        usleep(100);
    void *wrong = about_block(g_handed, shift(g_handed, c->offset));
    c->function(wrong);
    if (c->offset == 0)
        c->function(wrong);
    say("returned\n");
}

/* `text` names the form of free, `offset` is the wrong size. */
static void run_wrong_size(const struct misuse_case *c) {
    void *p = must(api.malloc(c->size));
    about_block(p, p);
    free_with_size(c->text, p, (size_t)c->offset);
    say("returned\n");
}

/* No misuse: the alignment `offset` may have made the block much larger than `size`. */
static void run_right_aligned(const struct misuse_case *c) {
    size_t alignment = (size_t)c->offset;
    void *p = must(api.aligned_alloc(alignment, c->size));
    about_block(p, p);
    api.free_aligned_sized(p, alignment, c->size);
    p = must(api.memalign(alignment, c->size));
    api.sdallocx(p, c->size, __builtin_ctzl(alignment));
    say("returned\n");
}

/* No misuse: realloc grew the block, beside another so that it moves, or shrank it. */
static void run_right_resized(const struct misuse_case *c) {
    static const size_t tenths[] = {30, 15, 12, 4, 2, 20, 33};
    about_foreign(NULL);
    for (size_t i = 0; i < sizeof tenths / sizeof tenths[0]; i++) {
        void *p = must(api.malloc(c->size));
        void *beside = must(api.malloc(c->size));
        size_t size = c->size / 10 * tenths[i];
        p = must(api.realloc(p, size));
        api.free_sized(p, size);
        api.free_sized(beside, c->size);
    }
    say("returned\n");
}

/* A memaligned block lies among others of its class: the places beside it. */
static void run_beside_aligned(const struct misuse_case *c) {
    void *p = must(api.memalign(4096, 100));
    size_t usable = api.malloc_usable_size(p);
    prepare_flush(usable);
    void *wrong = about_block(p, shift(p, c->offset));
    c->function(wrong);
    say("returned\n");
    flush();
}

/* Two neighbours freed and merged, then the upper one again; and one whose memory others have. */
static void run_large_merged(const struct misuse_case *c) {
    char *a = must(api.malloc(c->size));
    char *b = must(api.malloc(c->size));
    char *upper = a < b ? b : a;
    about_block(upper, upper);
    api.free(a);
    api.free(b);
    c->function(upper);
    say("returned\n");
}

static void run_in_fork_child(const struct misuse_case *c) {
    void *p = must(api.malloc(c->size));
    about_block(p, p);
    pid_t child = fork();
    if (child == 0) {
        api.free(p);
        c->function(p);
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        raise(WTERMSIG(status));
    say("returned\n");
}

static pthread_key_t g_key;

static void key_destructor(void *p) {
    free_twice(p);
}

static void set_key(void *p) {
    pthread_setspecific(g_key, p);
}

static void run_in_thread_exit(const struct misuse_case *c) {
    other_start();
    api.free(must(api.malloc(100)));
    pthread_key_create(&g_key, key_destructor);
    void *p = must(api.malloc(c->size));
    about_block(p, p);
    other_run(set_key, p);
    say("returned\n");
}

static void *g_at_exit;

static void at_exit(void) {
    free_twice(g_at_exit);
}

static void run_in_atexit(const struct misuse_case *c) {
    g_at_exit = must(api.malloc(c->size));
    about_block(g_at_exit, g_at_exit);
    atexit(at_exit);
    exit(0);
}

static void run_abort_ignored(const struct misuse_case *c) {
    signal(SIGABRT, SIG_IGN);
    run_twice(c);
}

static void run_abort_blocked(const struct misuse_case *c) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    run_twice(c);
}

static void run_stderr_closed(const struct misuse_case *c) {
    close(STDERR_FILENO);
    run_twice(c);
}

/* Only canary builds notice: one byte written just behind the usable size. */
static void run_overflow(const struct misuse_case *c) {
    unsigned char *p = must(api.malloc(c->size));
    size_t usable = api.malloc_usable_size(p);
    about_block(p, p);
    ((volatile unsigned char *)p)[usable] ^= 0x41;
    c->function(p);
    say("returned\n");
}

/* ---- the table, and main ---- */

#define CASE(name_, run_, function_, size_, offset_, text_)                                        \
    {.name = name_,                                                                                \
     .run = run_,                                                                                  \
     .function = function_,                                                                        \
     .size = size_,                                                                                \
     .offset = offset_,                                                                            \
     .text = text_},
static const struct misuse_case g_cases[] = {MISUSE_CASES(CASE)};
#undef CASE

int main(int argc, char **argv) {
    return death_main(argc, argv, g_cases, sizeof g_cases / sizeof g_cases[0]);
}
