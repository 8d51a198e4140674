/* cli/launch.c — starting a command with hakmem preloaded. SPDX-License-Identifier: MIT */
/*
 * Preloading is the dynamic loader's work, and it silently does nothing for programs that have no
 * loader or run with raised privileges. This breaks that silence: it says so beforehand.
 */
#define _GNU_SOURCE
#include "launch.h"

#include "cli.h"
#include "elf_probe.h"
#include "find_library.h"
#include "override_check.h"
#include "resolve_command.h"

#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool launch_set_option(const char *option, const char *text) {
    const char *equals = strchr(text, '=');
    char name[128] = "HAKMEM_";
    size_t length = strlen(name);
    if (equals == NULL || equals == text || (size_t)(equals - text) >= sizeof name - length) {
        cli_say("error", "%s %s: expected NAME=VALUE", option, text);
        return false;
    }
    for (const char *c = text; c < equals; c++) {
        bool is_letter = isalnum((unsigned char)*c) && (unsigned char)*c < 0x80;
        if (!is_letter && *c != '_' && *c != '-') {
            cli_say("error", "%s %s: a name has letters, digits, - and _", option, text);
            return false;
        }
        name[length++] = (char)(*c == '-' ? '_' : toupper((unsigned char)*c));
    }
    name[length] = '\0';
    if (setenv(name, equals + 1, 1) != 0) {
        cli_say("error", "%s: %s", name, strerror(errno));
        return false;
    }
    return true;
}

/* Find the library and make sure that it is one; says what is wrong. */
static bool choose_library(const char *given, struct library_search *search,
                           struct elf_probe *library) {
    if (!find_library(given, search)) {
        cli_say("error", "libhakmem.so.1 not found; looked for:");
        for (int i = 0; i < search->tried_count; i++) {
            fprintf(stderr, "  %s\n", search->tried[i]);
        }
        fputs("name it by --lib PATH or HAKMEM_LIBRARY=PATH\n", stderr);
        return false;
    }
    *library = elf_probe_file(search->path);
    bool is_shared_object = library->kind == ELF_STATIC || library->kind == ELF_DYNAMIC;
    if (!is_shared_object || library->type != ET_DYN) {
        cli_say("error", "%s is not a shared library", search->path);
        return false;
    }
    if (strpbrk(search->path, " :") != NULL) {
        cli_say("error", "%s: LD_PRELOAD cannot hold a path with a blank or a colon", search->path);
        return false;
    }
    return true;
}

static bool is_same_file(const char *a, const char *b) {
    struct stat status_a;
    struct stat status_b;
    return stat(a, &status_a) == 0 && stat(b, &status_b) == 0 &&
           status_a.st_dev == status_b.st_dev && status_a.st_ino == status_b.st_ino;
}

/* Put the library before all that LD_PRELOAD names already; a second mention of it goes. */
static bool prepend_preload(const char *library) {
    const char *before = getenv("LD_PRELOAD");
    char *entries = strdup(before == NULL ? "" : before);
    size_t size = strlen(library) + (before == NULL ? 0 : strlen(before)) + 2;
    char *preload = malloc(size);
    bool is_set = false;
    if (entries != NULL && preload != NULL) {
        char *end = stpcpy(preload, library);
        char *rest = NULL;
        /* The loader takes both separators (ld.so(8)). */
        for (char *entry = strtok_r(entries, " :", &rest); entry != NULL;
             entry = strtok_r(NULL, " :", &rest)) {
            if (!is_same_file(entry, library)) {
                *end++ = ':';
                end = stpcpy(end, entry);
            }
        }
        is_set = setenv("LD_PRELOAD", preload, 1) == 0;
    }
    free(entries);
    free(preload);
    if (!is_set) {
        cli_say("error", "LD_PRELOAD: %s", strerror(errno));
    }
    return is_set;
}

/*
 * Say so if the command would run without hakmem; false when the user does not want it then.
 * *has_preload: it is to be run with the library preloaded.
 */
static bool check_override(const struct launch *launch, const struct elf_probe *library,
                           bool *has_preload) {
    *has_preload = true;
    struct resolved_command resolved;
    if (!resolve_command(launch->command, &resolved)) {
        return true; /* exec knows better, and has the right error number */
    }
    struct override_obstacle obstacle = {"is started by env without our LD_PRELOAD", false};
    if (!resolved.loses_preload) {
        obstacle = override_obstacle(resolved.program, library);
    }
    if (obstacle.predicate == NULL) {
        return true;
    }
    if (launch->is_strict) {
        cli_say("error", "%s %s: not run (--strict)", resolved.program, obstacle.predicate);
        return false;
    }
    cli_say("warning", "%s %s: it runs without hakmem", resolved.program, obstacle.predicate);
    *has_preload = !obstacle.is_harmful;
    return true;
}

/* As the shells and env(1) tell the two apart. */
int launch_execute(char **command) {
    execvp(command[0], command);
    int error = errno;
    if (error == EACCES && !command_exists(command[0])) {
        error = ENOENT;
    }
    cli_say("error", "%s: %s", command[0], strerror(error));
    return error == ENOENT ? CLI_EXIT_NOT_FOUND : CLI_EXIT_NOT_EXECUTABLE;
}

bool launch_prepare(const struct launch *launch) {
    static struct library_search search; /* 36 KiB */
    struct elf_probe library;
    bool has_preload;
    return choose_library(launch->library, &search, &library) &&
           check_override(launch, &library, &has_preload) &&
           (!has_preload || prepend_preload(search.path));
}
