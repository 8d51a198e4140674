/* test/promise/exports.c — names are bound to the library. SPDX-License-Identifier: MIT */
/*
 * Goal: each function a complete drop-in must export is there, and the program's reference to it
 * resolves to the library under test and not to libc or libstdc++.
 * Method: dlsym in the global scope, dladdr on the result, the file compared by device and inode
 * (the library may be reached by several paths).
 */
#define _GNU_SOURCE
#include <sys/stat.h>

#include "entry_points.h"
#include "tap.h"

static bool is_same_file(const char *a, const char *b) {
    struct stat x;
    struct stat y;
    return a != NULL && b != NULL && stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

static void check_name(const char *library, const char *name) {
    Dl_info where;
    void *address = dlsym(RTLD_DEFAULT, name);
    if (address == NULL || dladdr(address, &where) == 0) {
        CHECK(false, "%s is exported", name);
        return;
    }
    CHECK(is_same_file(where.dli_fname, library), "%s is bound to the library (%s)", name,
          where.dli_fname);
}

/* What the program itself calls, past any table: the addresses the linker resolved. */
static void check_direct_references(const char *library) {
    Dl_info where;
    const struct {
        const char *name;
        void *address;
    } direct[] = {{"malloc", (void *)(uintptr_t)malloc},
                  {"free", (void *)(uintptr_t)free},
                  {"realloc", (void *)(uintptr_t)realloc},
                  {"posix_memalign", (void *)(uintptr_t)posix_memalign}};
    for (size_t i = 0; i < sizeof direct / sizeof direct[0]; i++) {
        CHECK(dladdr(direct[i].address, &where) != 0 && is_same_file(where.dli_fname, library),
              "the program's own reference to %s is bound to the library", direct[i].name);
    }
}

static void check_version(void) {
    const char *version = api.hakmem_version();
    int major = -1;
    int minor = -1;
    int patch = -1;
    char rest = 0;
    CHECK(sscanf(version, "%d.%d.%d%c", &major, &minor, &patch, &rest) == 3 && major >= 0,
          "hakmem_version() is three numbers: %s", version);
}

int main(void) {
    const char *library = getenv("HAKTEST_LIB");
    api_load();
    tap_require_override();
    if (tap_any_allocator()) {
        tap_skip("bindings", "HAKTEST_ANY=1");
        CHECK(dlsym(RTLD_DEFAULT, "malloc") != NULL, "malloc is exported");
        return tap_end();
    }
    if (!CHECK(library != NULL, "HAKTEST_LIB names the library")) {
        return tap_end();
    }
#define X(type, name, params) check_name(library, #name);
    ENTRY_POINTS(X)
#undef X
#define X(name) check_name(library, #name);
    ENTRY_POINTS_CXX(X)
#undef X
    check_direct_references(library);
    check_version();
    return tap_end();
}
