/* test/fuzz/world.c — a library that has never been called, for each input. SPDX-License-Identifier: MIT */

#include "world.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <unistd.h>

#include "base/compiler.h"
#include "fake_prim/real_prim.h"

struct world_thread {
    bool is_running;
    pthread_t id;
    sem_t go;
    sem_t done;
    void (*work)(void *); /* NULL: end */
    void *argument;
};

static struct {
    struct world_thread threads[WORLD_THREADS];
    bool has_begun;    /* some input has run */
    bool is_dead;      /* a wrong call was made: threads end without the library's help */
    bool is_catching;  /* a fatal message is what is expected */
    sigjmp_buf caught; /* in the thread that makes the wrong call */
    void (*body)(void *);
    void *argument;
    uint64_t trace;
    size_t text_size;
    char text[WORLD_TEXT_MAX + 1];
} g_world;

/* ---- the library's variables ---- */

/* The linker's names of the sections that fuzz.cmake makes. */
extern char __start_hak_state_data[];
extern char __stop_hak_state_data[];
extern char __start_hak_state_bss[];
extern char __stop_hak_state_bss[];

struct world_section {
    char *start;
    char *end;
    char *copy;
};

static struct world_section g_sections[] = {
    {__start_hak_state_data, __stop_hak_state_data, NULL},
    {__start_hak_state_bss, __stop_hak_state_bss, NULL},
};
enum { WORLD_SECTIONS = sizeof g_sections / sizeof g_sections[0], WORLD_PIECE = 512 };

/* Not memcpy and memcmp: the address sanitizer's look at what they touch (fuzz.cmake). */
static void world_copy(char *to, const char *from, size_t size) {
    for (size_t i = 0; i < size; i++)
        ((volatile char *)to)[i] = from[i];
}

static bool world_is_same(const char *a, const char *b, size_t size) {
    unsigned differs = 0;
    for (size_t i = 0; i < size; i++)
        differs |= (unsigned)(a[i] ^ b[i]);
    return differs == 0;
}

/* After the sanitizers' runtime and the fake's, before the library's own constructor, which has no priority. */
__attribute__((constructor(102))) static void world_remember(void) {
    for (int i = 0; i < WORLD_SECTIONS; i++) {
        struct world_section *section = &g_sections[i];
        size_t size = (size_t)(section->end - section->start);
        void *copy;
        /* One piece more: pages of its own, aligned as the section is. */
        if (real_hak_prim_map(NULL, (size + 65535) / 65536 * 65536, HAK_ACCESS_READ_WRITE, &copy))
            fuzz_fail("no memory for a copy of %zu bytes", size);
        section->copy = copy;
        world_copy(section->copy, section->start, size);
    }
}

/* Most pieces are as they were; writing only the others keeps untouched pages untouched. */
static void world_forget(void) {
    for (int i = 0; i < WORLD_SECTIONS; i++) {
        const struct world_section *section = &g_sections[i];
        size_t size = (size_t)(section->end - section->start);
        for (size_t at = 0; at < size; at += WORLD_PIECE) {
            size_t piece = size - at < WORLD_PIECE ? size - at : WORLD_PIECE;
            if (!world_is_same(section->start + at, section->copy + at, piece))
                world_copy(section->start + at, section->copy + at, piece);
        }
    }
}

/* ---- messages ---- */

uint64_t world_trace(void) {
    return g_world.trace;
}

const char *world_messages(void) {
    return g_world.text;
}

static void world_hear(const char *text, size_t size) {
    static const char fatal[] = "hakmem: fatal: ";
    size_t room = WORLD_TEXT_MAX - g_world.text_size;
    size_t kept = size < room ? size : room;
    memcpy(g_world.text + g_world.text_size, text, kept);
    g_world.text_size += kept;
    g_world.text[g_world.text_size] = 0;
    if (size < sizeof fatal - 1 || memcmp(text, fatal, sizeof fatal - 1) != 0)
        return;
    if (g_world.is_catching)
        siglongjmp(g_world.caught, 1);
    fwrite(text, 1, size, stderr);
    fflush(stderr);
}

const char *world_catch_fatal(void (*call)(void *), void *argument) {
    size_t before = g_world.text_size;
    g_world.is_dead = true;
    if (sigsetjmp(g_world.caught, 0) != 0) {
        g_world.is_catching = false;
        return g_world.text + before;
    }
    g_world.is_catching = true;
    call(argument);
    g_world.is_catching = false;
    return NULL;
}

/* ---- threads ---- */

/* The library's hook at the thread's end would find locks that nobody will release. */
static void world_leave(void) {
    if (g_world.is_dead)
        real_hak_prim_thread_exit_arm(NULL);
}

static void *world_thread_main(void *argument) {
    struct world_thread *thread = argument;
    for (;;) {
        sem_wait(&thread->go);
        if (thread->work == NULL)
            break;
        thread->work(thread->argument);
        sem_post(&thread->done);
    }
    world_leave();
    return NULL;
}

static void world_start(pthread_t *id, void *(*start)(void *), void *argument) {
    int error = pthread_create(id, NULL, start, argument);
    FUZZ_REQUIRE(error == 0, "pthread_create: %d", error);
}

void world_run_in(unsigned number, void (*work)(void *), void *argument) {
    struct world_thread *thread = &g_world.threads[number - 1];
    if (!thread->is_running) {
        sem_init(&thread->go, 0, 0);
        sem_init(&thread->done, 0, 0);
        thread->is_running = true;
        world_start(&thread->id, world_thread_main, thread);
    }
    thread->work = work;
    thread->argument = argument;
    sem_post(&thread->go);
    sem_wait(&thread->done);
}

void world_end_thread(unsigned number) {
    struct world_thread *thread = &g_world.threads[number - 1];
    if (!thread->is_running)
        return;
    thread->work = NULL;
    sem_post(&thread->go);
    pthread_join(thread->id, NULL);
    sem_destroy(&thread->go);
    sem_destroy(&thread->done);
    thread->is_running = false;
}

void world_end_threads(void) {
    for (unsigned number = 1; number <= WORLD_THREADS; number++)
        world_end_thread(number);
}

static void *world_main(void *unused) {
    g_world.body(g_world.argument);
    world_leave();
    return unused;
}

/* ---- one input ---- */

void world_run(struct fake_machine machine, char **environment, void (*body)(void *),
               void *argument) {
    pthread_t id;
    char **before = environ;
    g_world.body = body;
    g_world.argument = argument;
    g_world.is_dead = false;
    g_world.text_size = 0;
    g_world.text[0] = 0;
    machine.places = 1;
    fake_prim_restart(machine);
    if (!g_world.has_begun) /* the library's constructor has run */
        world_forget();
    g_world.has_begun = true;
    fake_prim_on_message(world_hear);
    environ = environment;
    world_start(&id, world_main, NULL);
    pthread_join(id, NULL);
    world_end_threads();
    environ = before;
    g_world.trace = fake_prim_trace();
    FUZZ_REQUIRE(fake_prim_breaches() == 0, "%lu breaches of prim.h", fake_prim_breaches());
    fake_prim_restart((struct fake_machine){0});
    world_forget(); /* now, because the library's destructor may be next */
}
