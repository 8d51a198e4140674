/* test/promise/atfork.c — other libraries' fork handlers allocate and fork. SPDX-License-Identifier: MIT */
/*
 * Goal: handlers of pthread_atfork(3) may use the allocator, and may fork, whether they were registered
 * before the library's own or after: while other threads allocate, in the parent, in the child, and in
 * the children of the handlers, which may end in the handler or go on into the fork around it.
 * Method: the program runs itself once per case, so that one set of handlers is registered before any
 * constructor (.preinit_array) and one in main. Threads exchange stamped blocks; each process frees some
 * that others made, starts a thread, and says in shared memory that it ended well. A process that hangs
 * dies by its alarm.
 * Not promised: that a handler may wait for another thread which allocates. Handlers registered before
 * the library's run while the forking thread holds all its locks.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../stress/stress.h"

enum { THREADS = 3, MAILBOXES = 128, FORKS = 25, ALARM_S = 60, NAP_US = 500 };
enum phase { PREPARE, PARENT, CHILD, NO_PHASE };
enum order { EARLY, LATE };

extern char **environ;

/* Who forks, and how many processes each fork of main's then adds. */
static const struct fork_case {
    const char *name;
    enum phase phase;
    enum order order;
    bool goes_on;
    unsigned long processes;
} g_cases[] = {
    {"no handler forks", NO_PHASE, EARLY, false, 1},
    {"an early prepare forks", PREPARE, EARLY, false, 2},
    {"an early parent forks", PARENT, EARLY, false, 2},
    {"an early child forks", CHILD, EARLY, false, 2},
    {"an early prepare forks, and both go on", PREPARE, EARLY, true, 3},
    {"an early parent forks, and both go on", PARENT, EARLY, true, 2},
    {"an early child forks, and both go on", CHILD, EARLY, true, 2},
    {"a late prepare forks", PREPARE, LATE, false, 2},
    {"a late parent forks", PARENT, LATE, false, 2},
    {"a late child forks", CHILD, LATE, false, 2},
    {"a late prepare forks, and both go on", PREPARE, LATE, true, 3},
    {"a late parent forks, and both go on", PARENT, LATE, true, 2},
    {"a late child forks, and both go on", CHILD, LATE, true, 2},
};

enum { CASES = sizeof g_cases / sizeof g_cases[0] };

static struct {
    const struct fork_case *fork_case; /* NULL: main process of the test */
    pid_t outside;                     /* the process whose main forks */
    bool is_nested;                    /* in a handler's own fork, whose handlers only allocate */
    bool is_over_here;                 /* the children's own forks are plain ones */
    atomic_ulong *ended;               /* shared: processes that ended well */
    atomic_ulong handler_calls;
    atomic_int is_over;
    _Atomic(void *) mailbox[MAILBOXES];
} g;

static void exchange_some(uint64_t *state, int steps) {
    for (int i = 0; i < steps; i++) {
        void *fresh = stamped_new(state);
        if (fresh == NULL)
            stress_fail("out of memory");
        stamped_free(atomic_exchange(&g.mailbox[random_next(state) % MAILBOXES], fresh));
    }
}

static void *thread_body(void *seed) {
    uint64_t state = (uintptr_t)seed;
    while (atomic_load(&g.is_over) == 0) {
        exchange_some(&state, 100);
        usleep(NAP_US);
    }
    return NULL;
}

static void *short_thread_body(void *seed) {
    uint64_t state = (uintptr_t)seed;
    exchange_some(&state, 100);
    return NULL;
}

static void use_thread(uint64_t *state) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, short_thread_body, (void *)7) != 0)
        stress_fail("pthread_create");
    exchange_some(state, 100);
    pthread_join(thread, NULL);
}

static void end_well(bool in_handler) {
    uint64_t state = (uint64_t)getpid();
    exchange_some(&state, 100);
    if (!in_handler)
        use_thread(&state);
    api.malloc_trim(0);
    atomic_fetch_add(g.ended, 1);
    _exit(0);
}

static void wait_for(pid_t child) {
    int status = -1;
    if (waitpid(child, &status, 0) != child || status != 0)
        stress_fail("a child of a handler");
}

static void handler(enum order order, enum phase phase) {
    const struct fork_case *c = g.fork_case;
    uint64_t state = (uint64_t)phase + 100;
    if (c == NULL)
        return;
    exchange_some(&state, 30);
    atomic_fetch_add(&g.handler_calls, 1);
    if (g.is_nested || g.is_over_here || c->phase != phase || c->order != order)
        return;
    g.is_nested = true;
    pid_t child = fork();
    exchange_some(&state, 30);
    if (child < 0)
        stress_fail("fork in a handler");
    if (child == 0) {
        alarm(ALARM_S);
        g.is_over_here = true;
        if (!c->goes_on)
            end_well(true);
    } else {
        wait_for(child);
    }
    g.is_nested = false;
}

static void early_prepare(void) {
    handler(EARLY, PREPARE);
}
static void early_parent(void) {
    handler(EARLY, PARENT);
}
static void early_child(void) {
    handler(EARLY, CHILD);
}
static void late_prepare(void) {
    handler(LATE, PREPARE);
}
static void late_parent(void) {
    handler(LATE, PARENT);
}
static void late_child(void) {
    handler(LATE, CHILD);
}

static void before_constructors(int argc, char **argv, char **envp) {
    (void)argv;
    (void)envp;
    if (argc > 1 && pthread_atfork(early_prepare, early_parent, early_child) != 0)
        _exit(4);
}

__attribute__((section(".preinit_array"),
               used)) static void (*g_preinit)(int, char **, char **) = before_constructors;

static void fork_once(void) {
    pid_t child = fork();
    if (child < 0)
        stress_fail("fork");
    if (child == 0) {
        alarm(ALARM_S);
        g.is_over_here = true;
        end_well(false);
    }
    int status = -1;
    pid_t waited = waitpid(child, &status, 0);
    bool is_original = getpid() == g.outside;
    if (waited == child ? status != 0
                        : is_original) /* a handler's child is not the child's parent */
        stress_fail("a child");
    if (!is_original)
        end_well(false);
}

static int run_case(const struct fork_case *c) {
    pthread_t thread[THREADS];
    uint64_t state = 1;
    alarm(ALARM_S);
    g.ended =
        mmap(NULL, sizeof *g.ended, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (g.ended == MAP_FAILED || pthread_atfork(late_prepare, late_parent, late_child) != 0)
        return 5;
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&thread[i], NULL, thread_body, (void *)(uintptr_t)(i + 1)) != 0)
            return 6;
    }
    g.outside = getpid();
    g.fork_case = c;
    for (int i = 0; i < FORKS; i++) {
        exchange_some(&state, 20);
        fork_once();
    }
    g.fork_case = NULL;
    atomic_store(&g.is_over, 1);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < MAILBOXES; i++)
        stamped_free(atomic_exchange(&g.mailbox[i], NULL));
    unsigned long forks_here = c->phase == PREPARE || c->phase == PARENT ? 2 : 1;
    bool is_good = atomic_load(g.ended) == c->processes * FORKS &&
                   atomic_load(&g.handler_calls) == FORKS * forks_here * 4;
    if (!is_good)
        tap_note("%lu processes ended well, %lu handlers ran", atomic_load(g.ended),
                 atomic_load(&g.handler_calls));
    return is_good ? 0 : 7;
}

static void try_case(int number) {
    char text[16];
    snprintf(text, sizeof text, "%d", number);
    pid_t child = fork();
    if (child == 0) {
        char *argv[] = {(char *)"atfork", text, NULL};
        setpgid(0, 0);
        execve("/proc/self/exe", argv, environ);
        _exit(126);
    }
    int status = -1;
    waitpid(child, &status, 0);
    kill(-child, SIGKILL); /* what hangs inside fork has no alarm yet */
    CHECK(status == 0, "%s: %d forks, %lu processes each (wait status %#x)", g_cases[number].name,
          FORKS, g_cases[number].processes, (unsigned)status);
}

int main(int argc, char **argv) {
    api_load();
    if (argc > 1)
        return run_case(&g_cases[atoi(argv[1]) % CASES]);
    tap_require_override();
    for (int i = 0; i < CASES; i++)
        try_case(i);
    return tap_end();
}
