/* cli/find_library.h — where libhakmem.so.1 lies. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_FIND_LIBRARY_H
#define HAKMEM_CLI_FIND_LIBRARY_H

#include <limits.h>
#include <stdbool.h>

enum { LIBRARY_PLACES_MAX = 8 };

struct library_search {
    char path[PATH_MAX]; /* absolute; valid when found */
    int tried_count;
    char tried[LIBRARY_PLACES_MAX][PATH_MAX]; /* in order, the last one is `path` when found */
};

/*
 * find_library — look for the library in the places where builds and installations put it.
 *
 * given    path named by the user, or NULL; then $HAKMEM_LIBRARY counts, if set
 * returns  whether it was found. A path named by the user is the only one tried: running under
 *          another library than the one asked for would be worse than not running.
 */
bool find_library(const char *given, struct library_search *search);

/* The directory of this executable, without a trailing slash; false when it is not known. */
bool find_own_directory(char directory[PATH_MAX]);

/* As in Debian's /usr/lib/<triplet>. */
extern const char find_multiarch_triplet[];

#endif
