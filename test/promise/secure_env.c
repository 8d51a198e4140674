/* test/promise/secure_env.c — AT_SECURE ignores the environment. SPDX-License-Identifier: MIT */
/*
 * Goal: in a setuid program no HAKMEM_* variable has any effect: no report, no warning, no checks.
 * Method: needs root, else it is skipped visibly. Copies of this program and of the library are put
 * into a fresh directory, once plain and once with the setuid bit of a third user; both run as an
 * unprivileged user with the same variables. ld.so drops LD_PRELOAD there, so the copy loads the
 * library by its absolute path. The plain run must show the variables' effect (else the test would
 * prove nothing), the setuid run must show none.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "tap.h"

enum { USER_RUNS = 65534, USER_OWNS = 65533, NOT_SECURE = 77 };

/* In the copy: use the library once, so that it reads its options. */
static int run_copy(const char *library, bool expect_secure) {
    if (expect_secure && getauxval(AT_SECURE) == 0) {
        return NOT_SECURE;
    }
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        tap_note("%s", dlerror());
        return 2;
    }
    void *(*get)(size_t) = NULL;
    void (*give)(void *) = NULL;
    void *address = dlsym(handle, "malloc");
    memcpy(&get, &address, sizeof address);
    address = dlsym(handle, "free");
    memcpy(&give, &address, sizeof address);
    void *block = get(100);
    if (block == NULL) {
        return 3;
    }
    give(block);
    exit(0);
}

static bool copy_file(const char *from, const char *to, mode_t mode, uid_t owner) {
    char chunk[65536];
    ssize_t n = 0;
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    bool good = in >= 0 && out >= 0;
    while (good && (n = read(in, chunk, sizeof chunk)) > 0) {
        good = write(out, chunk, (size_t)n) == n;
    }
    good = good && n == 0 && fchown(out, owner, (gid_t)-1) == 0 && fchmod(out, mode) == 0;
    close(in);
    close(out);
    return good;
}

/* Runs the copy as the unprivileged user; its stderr goes to `said`. The wait status. */
static int run_as_user(const char *program, const char *library, const char *mode, char *said,
                       size_t said_size) {
    int ends[2];
    size_t used = 0;
    ssize_t n;
    if (pipe(ends) != 0) {
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        char *argv[] = {(char *)program, (char *)mode, (char *)library, NULL};
        char *envp[] = {(char *)"HAKMEM_REPORT=1", (char *)"HAKMEM_CHECKS=1",
                        (char *)"HAKMEM_NO_SUCH_OPTION=1", NULL};
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        if (setgid(USER_RUNS) == 0 && setuid(USER_RUNS) == 0) {
            execve(program, argv, envp);
        }
        _exit(126);
    }
    close(ends[1]);
    while (used < said_size - 1 && (n = read(ends[0], said + used, said_size - 1 - used)) > 0) {
        used += (size_t)n;
    }
    said[used] = '\0';
    close(ends[0]);
    int status = -1;
    waitpid(child, &status, 0);
    return status;
}

static void compare_runs(const char *dir, const char *library_copy) {
    static char said[65536];
    char plain[256];
    char secure[256];
    snprintf(plain, sizeof plain, "%s/plain", dir);
    snprintf(secure, sizeof secure, "%s/secure", dir);
    if (!CHECK(copy_file("/proc/self/exe", plain, 0755, 0) &&
                   copy_file("/proc/self/exe", secure, 04755, USER_OWNS),
               "copies of the program")) {
        return;
    }
    int status = run_as_user(plain, library_copy, "plain", said, sizeof said);
    if (!tap_any_allocator()) {
        CHECK(status == 0 && strstr(said, "unknown option HAKMEM_NO_SUCH_OPTION") != NULL &&
                  strstr(said, "hakmem: ledger total") != NULL,
              "without AT_SECURE the variables have their effect (wait status %#x)",
              (unsigned)status);
    }
    status = run_as_user(secure, library_copy, "secure", said, sizeof said);
    if (WIFEXITED(status) && (WEXITSTATUS(status) == NOT_SECURE || WEXITSTATUS(status) == 126)) {
        tap_skip("AT_SECURE", "this file system does not honour setuid");
    } else {
        CHECK(status == 0, "the setuid program runs (wait status %#x)", (unsigned)status);
        CHECK(said[0] == '\0', "and the variables have no effect: \"%.80s\"", said);
    }
    unlink(plain);
    unlink(secure);
}

int main(int argc, char **argv) {
    if (argc > 2) {
        return run_copy(argv[2], strcmp(argv[1], "secure") == 0);
    }
    const char *library = getenv("HAKTEST_LIB");
    tap_require_override();
    if (!CHECK(library != NULL, "HAKTEST_LIB names the library")) {
        return tap_end();
    }
    if (geteuid() != 0) {
        tap_skip("AT_SECURE", "needs root to make a setuid program of another user");
        return tap_end();
    }
    unsetenv("LD_PRELOAD");
    char dir[] = "/tmp/hakmem-secure-XXXXXX";
    char library_copy[256];
    if (!CHECK(mkdtemp(dir) != NULL && chmod(dir, 0755) == 0, "a directory")) {
        return tap_end();
    }
    snprintf(library_copy, sizeof library_copy, "%s/libhakmem.so.1", dir);
    if (CHECK(copy_file(library, library_copy, 0755, 0), "a copy of the library")) {
        compare_runs(dir, library_copy);
    }
    unlink(library_copy);
    rmdir(dir);
    return tap_end();
}
