/* test/promise/audit.c — preloaded under LD_AUDIT. SPDX-License-Identifier: MIT */
/*
 * Goal: the library works in a process that the dynamic linker lets an audit library watch, which is
 * loaded before it, in a namespace of its own, and allocates whenever an object is opened or a name bound;
 * and also when the audit library itself is linked with hakmem, so that there are two of it.
 * Method: this program, and a real one that loads and unloads libraries, run with LD_AUDIT and
 * LD_PRELOAD; the audit library says that it was there. All tiers are used by the main thread and by
 * others, a forked child works, and the books balance.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/wait.h>

#include "../stress/books.h"

enum { THREADS = 3, STEPS = 3000, KEPT = 64, ALARM_S = 120 };

extern char **environ;

static void *use_allocator(void *seed) {
    uint64_t state = (uintptr_t)seed;
    void *kept[KEPT] = {NULL};
    for (int i = 0; i < STEPS; i++) {
        stamped_free(kept[i % KEPT]);
        kept[i % KEPT] = stamped_new(&state);
    }
    for (int i = 0; i < KEPT; i++)
        stamped_free(kept[i]);
    return NULL;
}

static void use_by_threads(void) {
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&thread[i], NULL, use_allocator, (void *)(uintptr_t)(i + 1)) != 0)
            stress_fail("pthread_create");
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
}

static int audited(void) {
    tap_require_override();
    use_allocator((void *)9);
    use_by_threads();
    struct hakmem_stats before = books_balance();
    for (int i = 0; i < 20; i++) {
        void *handle =
            dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL); /* each is news for the auditor */
        if (handle == NULL)
            stress_fail("dlopen");
        dlclose(handle);
    }
    pid_t child = fork();
    if (child == 0) {
        use_allocator((void *)11);
        use_by_threads();
        _exit(0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0, "a forked child works");
    use_by_threads();
    struct hakmem_stats after = books_balance();
    CHECK(after.large_count == before.large_count && after.big_count == before.big_count,
          "no Large block was lost");
    return tap_end();
}

/* Runs it under the auditor; does it say so and end well? */
static bool run(const char *auditor, char *const *argv, int *status) {
    char said[4096];
    size_t used = 0;
    ssize_t n;
    int ends[2];
    if (pipe(ends) != 0)
        return false;
    pid_t child = fork();
    if (child == 0) {
        setenv("LD_AUDIT", auditor, 1);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        alarm(ALARM_S);
        execvp(argv[0], argv);
        _exit(126);
    }
    close(ends[1]);
    while ((n = read(ends[0], said + used, sizeof said - 1 - used)) > 0)
        used += (size_t)n;
    said[used] = '\0';
    close(ends[0]);
    waitpid(child, status, 0);
    if (strstr(said, "audited\n") == NULL)
        tap_note("it says: %s", said);
    return strstr(said, "audited\n") != NULL && *status == 0;
}

int main(int argc, char **argv) {
    static const char *const auditors[] = {"auditor.so", "auditor_of_its_own.so"};
    char path[4096];
    (void)argv;
    api_load();
    if (argc > 1)
        return audited();
    tap_require_override();
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - 64);
    char *name = size > 0 ? strrchr(path, '/') : NULL;
    if (!CHECK(name != NULL, "where the program lies"))
        return tap_end();
    for (size_t i = 0; i < sizeof auditors / sizeof auditors[0]; i++) {
        char *self[] = {(char *)"/proc/self/exe", (char *)"audited", NULL};
        char *python[] = {(char *)"python3", (char *)"-c",
                          (char *)"import json, ctypes, decimal, sqlite3, threading\n"
                                  "t = [threading.Thread(target=lambda: json.dumps("
                                  "list(range(20000)))) for _ in range(4)]\n"
                                  "[x.start() for x in t]; [x.join() for x in t]",
                          NULL};
        int status = -1;
        strcpy(name + 1, auditors[i]);
        bool is_good = run(path, self, &status);
        CHECK(is_good, "this program under %s (wait status %#x)", auditors[i], (unsigned)status);
        is_good = run(path, python, &status);
        CHECK(is_good, "python3 under %s (wait status %#x)", auditors[i], (unsigned)status);
    }
    return tap_end();
}
