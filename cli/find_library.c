/* cli/find_library.c — where libhakmem.so.1 lies. SPDX-License-Identifier: MIT */
/*
 * In this order, the first regular file wins:
 *
 *   --lib PATH, else $HAKMEM_LIBRARY     and then no other
 *   <dir of this executable>/            a build tree
 *   …/../lib/                            an installation that was moved, or unpacked anywhere
 *   …/../lib/<multiarch triplet>/        Debian's place
 *   …/../lib64/                          Fedora's and SUSE's
 *   HAKMEM_LIBDIR                        the libdir this command was configured with
 */
#define _GNU_SOURCE
#include "find_library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef HAKMEM_LIBDIR
#define HAKMEM_LIBDIR "/usr/local/lib"
#endif

#define LIBRARY_NAME "libhakmem.so.1"

#if defined(__GLIBC__)
#define LIBC_NAME "gnu"
#else
#define LIBC_NAME "musl"
#endif

#if defined(__x86_64__)
#define MULTIARCH_TRIPLET "x86_64-linux-" LIBC_NAME
#elif defined(__aarch64__)
#define MULTIARCH_TRIPLET "aarch64-linux-" LIBC_NAME
#else
#error "name this machine's multiarch triplet"
#endif

const char find_multiarch_triplet[] = MULTIARCH_TRIPLET;

/* Try directory + file, or the file alone when there is no directory. */
static bool try_place(struct library_search *search, const char *directory, const char *file) {
    char *place = search->tried[search->tried_count];
    int length =
        snprintf(place, PATH_MAX, "%s%s%s", directory, *directory == '\0' ? "" : "/", file);
    if (length < 0 || length >= PATH_MAX) {
        return false;
    }
    search->tried_count++;
    struct stat status;
    /* realpath: the command may change its directory before it starts another process. */
    if (stat(place, &status) != 0 || !S_ISREG(status.st_mode) ||
        realpath(place, search->path) == NULL) {
        return false;
    }
    return true;
}

bool find_own_directory(char directory[PATH_MAX]) {
    ssize_t length = readlink("/proc/self/exe", directory, PATH_MAX - 1);
    if (length <= 0) {
        return false;
    }
    directory[length] = '\0';
    char *slash = strrchr(directory, '/');
    if (slash == NULL) {
        return false;
    }
    *slash = '\0';
    return true;
}

bool find_library(const char *given, struct library_search *search) {
    search->tried_count = 0;
    const char *named = given != NULL ? given : getenv("HAKMEM_LIBRARY");
    if (named != NULL && *named != '\0') {
        return try_place(search, "", named);
    }
    char directory[PATH_MAX];
    if (find_own_directory(directory)) {
        static const char *const files[] = {
            LIBRARY_NAME,
            "../lib/" LIBRARY_NAME,
            "../lib/" MULTIARCH_TRIPLET "/" LIBRARY_NAME,
            "../lib64/" LIBRARY_NAME,
        };
        for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
            if (try_place(search, directory, files[i])) {
                return true;
            }
        }
    }
    return try_place(search, HAKMEM_LIBDIR, LIBRARY_NAME);
}
