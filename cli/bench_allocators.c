/* cli/bench_allocators.c — which allocators `hakmem bench` compares. SPDX-License-Identifier: MIT */
/*
 *   LIST  item,item,…              a comma within an item is written \,
 *   item  NAME                     sys, floor, hakmem, or one that is found installed
 *         NAME=PATH                a library; a PATH without a slash is such a name: mine=hakmem
 *         VARIABLE=VALUE           belongs to the allocator before it, and to no other
 *
 * Names begin with a small letter, variables with a capital letter or _: that tells them apart.
 */
#define _GNU_SOURCE
#include "bench.h"

#include "cli.h"
#include "elf_probe.h"
#include "find_library.h"

#include <ctype.h>
#include <elf.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Where distributions and `make install` put them; of several versions the last one in order counts. */
static const struct {
    const char *name;
    const char *files; /* as glob(3) has it */
} known[] = {
    {"jemalloc", "libjemalloc.so.[0-9]*"},
    {"mimalloc", "libmimalloc.so.[0-9]*"},
    {"tcmalloc", "libtcmalloc.so.[0-9]*"},
    {"tcmalloc-minimal", "libtcmalloc_minimal.so.[0-9]*"},
    {"snmalloc", "libsnmallocshim.so*"},
    {"rpmalloc", "librpmalloc*.so*"},
    {"hoard", "libhoard.so*"},
    {"mesh", "libmesh.so*"},
    {"scudo", "libscudo.so*"},
    {"hardened-malloc", "libhardened_malloc.so*"},
};
enum { KNOWN_COUNT = sizeof known / sizeof known[0] };

/* A library of its own memory, or NULL. */
static char *find_installed(size_t index) {
    /* One that ends with a slash has a folder for each kind of machine. */
    static const char *const folders[] = {"/usr/local/lib", "/usr/lib/", "/usr/lib64", "/usr/lib"};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        char pattern[PATH_MAX];
        bool is_multiarch = folders[i][strlen(folders[i]) - 1] == '/';
        snprintf(pattern, sizeof pattern, "%s%s/%s", folders[i],
                 is_multiarch ? find_multiarch_triplet : "", known[index].files);
        glob_t found;
        char *path = NULL;
        if (glob(pattern, 0, NULL, &found) == 0) {
            path = realpath(found.gl_pathv[found.gl_pathc - 1], NULL);
            globfree(&found);
        }
        if (path != NULL) {
            return path;
        }
    }
    return NULL;
}

static char *find_hakmem(const char *given) {
    static struct library_search search; /* 36 KiB */
    return find_library(given, &search) ? strdup(search.path) : NULL;
}

/* A name that needs no path. False: there is none, or it is not installed. */
static bool resolve_name(const char *name, const char *hakmem, struct bench_allocator *allocator) {
    allocator->library = NULL;
    if (strcmp(name, "sys") == 0) {
        allocator->kind = ALLOCATOR_SYSTEM;
        return true;
    }
    if (strcmp(name, "floor") == 0) {
        allocator->kind = ALLOCATOR_FLOOR;
        return true;
    }
    allocator->kind = ALLOCATOR_LIBRARY;
    if (strcmp(name, "hakmem") == 0) {
        allocator->library = find_hakmem(hakmem);
    }
    for (size_t i = 0; i < KNOWN_COUNT && allocator->library == NULL; i++) {
        if (strcmp(name, known[i].name) == 0) {
            allocator->library = find_installed(i);
        }
    }
    return allocator->library != NULL;
}

/* LD_PRELOAD takes what it cannot use without an error status: look at the file beforehand. */
static bool resolve_path(const char *path, struct bench_allocator *allocator) {
    allocator->kind = ALLOCATOR_LIBRARY;
    allocator->library = realpath(path, NULL);
    if (allocator->library == NULL) {
        cli_say("error", "bench: %s: no file %s", allocator->name, path);
        return false;
    }
    struct elf_probe probe = elf_probe_file(allocator->library);
    bool is_elf = probe.kind == ELF_STATIC || probe.kind == ELF_DYNAMIC;
    if (!is_elf || probe.type != ET_DYN) {
        cli_say("error", "bench: %s: %s is not a shared library", allocator->name, path);
        return false;
    }
    if (strpbrk(allocator->library, " :") != NULL) {
        cli_say("error", "bench: %s: LD_PRELOAD cannot hold a path with a blank or a colon",
                allocator->library);
        return false;
    }
    return true;
}

static struct bench_allocator *append(struct bench_allocators *allocators, const char *name) {
    for (size_t i = 0; i < allocators->count; i++) {
        if (strcmp(allocators->items[i].name, name) == 0) {
            cli_say("error", "bench: two allocators are called %s", name);
            return NULL;
        }
    }
    if (allocators->count == BENCH_ALLOCATORS_MAX) {
        cli_say("error", "bench: more than %d allocators", BENCH_ALLOCATORS_MAX);
        return NULL;
    }
    struct bench_allocator *allocator = &allocators->items[allocators->count++];
    *allocator = (struct bench_allocator){.name = name};
    return allocator;
}

static bool add_setting(struct bench_allocators *allocators, const char *setting) {
    if (allocators->count == 0) {
        cli_say("error", "bench: %s belongs to no allocator: name one before it", setting);
        return false;
    }
    struct bench_allocator *allocator = &allocators->items[allocators->count - 1];
    size_t count = 0;
    while (allocator->settings[count] != NULL) {
        count++;
    }
    if (count == BENCH_SETTINGS_MAX) {
        cli_say("error", "bench: %s has more than %d settings", allocator->name,
                BENCH_SETTINGS_MAX);
        return false;
    }
    allocator->settings[count] = setting;
    return true;
}

static bool add_allocator(struct bench_allocators *allocators, char *item, const char *hakmem) {
    char *value = strchr(item, '=');
    if (value != NULL) {
        *value++ = '\0';
    }
    for (const char *letter = item; *letter != '\0'; letter++) {
        if (!isalnum((unsigned char)*letter) && strchr("-_.+", *letter) == NULL) {
            cli_say("error", "bench: %s: a name has letters, digits and - _ . +", item);
            return false;
        }
    }
    struct bench_allocator *allocator = append(allocators, item);
    if (allocator == NULL) {
        return false;
    }
    if (value != NULL && strchr(value, '/') != NULL) {
        return resolve_path(value, allocator);
    }
    const char *name = value == NULL ? item : value;
    if (!resolve_name(name, hakmem, allocator)) {
        cli_say("error",
                "bench: no allocator %s: not known by that name, or not installed; "
                "see hakmem bench --list, or give %s=PATH",
                name, item);
        return false;
    }
    return true;
}

/* Cuts the next item off *rest, in place; NULL at the end. */
static char *next_item(char **rest) {
    char *item = *rest;
    if (item == NULL) {
        return NULL;
    }
    char *to = item;
    for (char *from = item;; from++) {
        if (from[0] == '\\' && from[1] == ',') {
            from++;
        } else if (*from == ',' || *from == '\0') {
            *rest = *from == ',' ? from + 1 : NULL;
            *to = '\0';
            return item;
        }
        *to++ = *from;
    }
}

static bool find_all(const char *hakmem, struct bench_allocators *allocators) {
    static const char *const always[] = {"hakmem", "sys"};
    for (size_t i = 0; i < sizeof always / sizeof always[0]; i++) {
        struct bench_allocator *allocator = append(allocators, always[i]);
        if (!resolve_name(always[i], hakmem, allocator)) {
            cli_say("error", "bench: libhakmem.so.1 not found; name it by --lib PATH");
            return false;
        }
    }
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        char *library = find_installed(i);
        struct bench_allocator *allocator =
            library == NULL ? NULL : append(allocators, known[i].name);
        if (allocator != NULL) {
            allocator->kind = ALLOCATOR_LIBRARY;
            allocator->library = library;
        }
    }
    return resolve_name("floor", hakmem, append(allocators, "floor"));
}

bool bench_find_allocators(const char *list, const char *library,
                           struct bench_allocators *allocators) {
    *allocators = (struct bench_allocators){.count = 0};
    if (list == NULL) {
        return find_all(library, allocators);
    }
    allocators->list = strdup(list);
    char *rest = allocators->list;
    for (char *item; (item = next_item(&rest)) != NULL;) {
        bool is_setting =
            (isupper((unsigned char)*item) || *item == '_') && strchr(item, '=') != NULL;
        if (!is_setting && !islower((unsigned char)*item)) {
            cli_say("error",
                    "bench: \"%s\" in --allocators is neither NAME, NAME=PATH with a small first "
                    "letter, nor VARIABLE=VALUE with a capital one",
                    item);
            return false;
        }
        if (is_setting ? !add_setting(allocators, item)
                       : !add_allocator(allocators, item, library)) {
            return false;
        }
    }
    if (allocators->count == 0 || allocators->items[0].kind == ALLOCATOR_FLOOR) {
        cli_say("error", "bench: --allocators begins with the one that others are compared with");
        return false;
    }
    return true;
}

void bench_list_allocators(FILE *out, const char *library) {
    char *hakmem = find_hakmem(library);
    fprintf(out, "allocators\n  %-18s %s\n  %-18s %s\n", "hakmem",
            hakmem == NULL ? "(not found)" : hakmem, "sys", "the C library's own");
    free(hakmem);
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        char *path = find_installed(i);
        if (path != NULL) {
            fprintf(out, "  %-18s %s\n", known[i].name, path);
        }
        free(path);
    }
    fprintf(out, "  %-18s %s\n", "floor",
            "no allocator: a workload's own loop over a fixed buffer, the least it can take");
}
