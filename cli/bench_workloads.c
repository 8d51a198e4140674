/* cli/bench_workloads.c — which programs `hakmem bench` runs. SPDX-License-Identifier: MIT */
/*
 * The programs and the list of them lie in one directory, and the list is read, not compiled in: what is
 * listed, what is run and what is there are the same. The first directory with a `workloads.txt` counts:
 *
 *   $HAKMEM_BENCH_DIR                     and then no other
 *   <dir of this executable>/             a build tree
 *   …/../libexec/hakmem/bench/            an installation that was moved, or unpacked anywhere
 *   HAKMEM_BENCHDIR                       where this command was configured to be installed
 *
 * A line is `name | group | marks | command | what it is`; # begins a comment. Marks are `timed`, `floor`
 * and `latency`, or `-`. In a command, a program without a slash is one in this directory, else one in PATH;
 * a word that begins with @/ is a file in this directory.
 */
#define _GNU_SOURCE
#include "bench.h"

#include "cli.h"
#include "find_library.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef HAKMEM_BENCHDIR
#define HAKMEM_BENCHDIR "/usr/local/libexec/hakmem/bench"
#endif

enum { FIELDS = 5, WORDS_MAX = 64 };

static bool has_list(const char *directory) {
    char path[PATH_MAX];
    return snprintf(path, sizeof path, "%s/workloads.txt", directory) < PATH_MAX &&
           access(path, R_OK) == 0;
}

static bool find_directory(char directory[PATH_MAX]) {
    const char *named = getenv("HAKMEM_BENCH_DIR");
    if (named != NULL && *named != '\0') {
        if (realpath(named, directory) != NULL && has_list(directory)) {
            return true;
        }
        cli_say("error", "bench: HAKMEM_BENCH_DIR: no workloads.txt in %s", named);
        return false;
    }
    char own[PATH_MAX];
    if (find_own_directory(own)) {
        static const char *const places[] = {"", "/../libexec/hakmem/bench"};
        for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
            char place[PATH_MAX];
            if (snprintf(place, sizeof place, "%s%s", own, places[i]) < PATH_MAX &&
                has_list(place) && realpath(place, directory) != NULL) {
                return true;
            }
        }
    }
    if (realpath(HAKMEM_BENCHDIR, directory) != NULL && has_list(directory)) {
        return true;
    }
    cli_say("error",
            "bench: the workloads are not installed: no workloads.txt beside this command, in "
            "../libexec/hakmem/bench or in %s",
            HAKMEM_BENCHDIR);
    return false;
}

/* Without blanks around it, in place. */
static char *trim(char *text) {
    text += strspn(text, " \t");
    char *end = text + strlen(text);
    while (end > text && strchr(" \t\n", end[-1]) != NULL) {
        end--;
    }
    *end = '\0';
    return text;
}

/* A word of the file as the command line has it; NULL: no memory. */
static char *expand_word(const char *word, bool is_program, const char *directory) {
    char *path = NULL;
    bool is_ours = strncmp(word, "@/", 2) == 0;
    if (is_ours || (is_program && strchr(word, '/') == NULL)) {
        if (asprintf(&path, "%s/%s", directory, is_ours ? word + 2 : word) < 0) {
            return NULL;
        }
        if (is_ours || access(path, X_OK) == 0) {
            return path;
        }
        free(path);
    }
    return strdup(word);
}

/* False: no word, too many, or no memory. */
static bool split_command(char *text, const char *directory, char ***command) {
    char **words = calloc(WORDS_MAX + 1, sizeof *words);
    char *rest = NULL;
    size_t count = 0;
    bool is_sound = words != NULL;
    *command = words;
    for (char *word = strtok_r(text, " \t", &rest); word != NULL && is_sound;
         word = strtok_r(NULL, " \t", &rest)) {
        is_sound = count < WORDS_MAX;
        if (is_sound) {
            words[count] = expand_word(word, count == 0, directory);
            is_sound = words[count++] != NULL;
        }
    }
    return is_sound && count != 0;
}

static bool parse_line(char *line, const char *directory, struct bench_workload *workload) {
    char *fields[FIELDS];
    for (int i = 0; i < FIELDS; i++) {
        char *bar = i < FIELDS - 1 ? strchr(line, '|') : NULL;
        if (i < FIELDS - 1) {
            if (bar == NULL) {
                return false;
            }
            *bar = '\0';
        }
        fields[i] = trim(line);
        line = bar == NULL ? line : bar + 1;
    }
    *workload = (struct bench_workload){
        .name = strdup(fields[0]),
        .group = strdup(fields[1]),
        .summary = strdup(fields[4]),
        .is_timed = strstr(fields[2], "timed") != NULL,
        .has_floor = strstr(fields[2], "floor") != NULL,
        .has_latency = strstr(fields[2], "latency") != NULL,
    };
    return *fields[0] != '\0' && split_command(fields[3], directory, &workload->command) &&
           workload->name != NULL && workload->group != NULL && workload->summary != NULL;
}

static bool read_list(struct bench_workloads *workloads) {
    char directory[PATH_MAX];
    char path[PATH_MAX];
    if (!find_directory(directory)) {
        return false;
    }
    FILE *list = NULL;
    if (snprintf(path, sizeof path, "%s/workloads.txt", directory) < PATH_MAX) {
        list = fopen(path, "re");
    }
    if (list == NULL) {
        cli_say("error", "bench: %s: %s", directory, strerror(errno));
        return false;
    }
    char line[1024];
    bool is_sound = true;
    for (int number = 1; is_sound && fgets(line, sizeof line, list) != NULL; number++) {
        line[strcspn(line, "#\n")] = '\0';
        if (*trim(line) == '\0') {
            continue;
        }
        struct bench_workload *more =
            realloc(workloads->items, (workloads->count + 1) * sizeof *workloads->items);
        is_sound = more != NULL;
        if (is_sound) {
            workloads->items = more;
            more[workloads->count] = (struct bench_workload){0};
            is_sound = parse_line(line, directory, &more[workloads->count++]);
        }
        if (!is_sound) {
            cli_say("error", "bench: %s:%d: not `name | group | marks | command | what it is`",
                    path, number);
        }
    }
    fclose(list);
    return is_sound;
}

/* Programs that we do not bring along may be missing. */
static bool is_installed(const struct bench_workload *workload) {
    const char *program = workload->command[0];
    if (strchr(program, '/') != NULL) {
        return access(program, X_OK) == 0;
    }
    const char *search = getenv("PATH");
    char *folders = strdup(search == NULL ? "" : search);
    bool is_found = false;
    char *rest = folders;
    for (char *folder; !is_found && folders != NULL && (folder = strsep(&rest, ":")) != NULL;) {
        char path[PATH_MAX];
        is_found = snprintf(path, sizeof path, "%s/%s", folder, program) < PATH_MAX &&
                   access(path, X_OK) == 0;
    }
    free(folders);
    return is_found;
}

static bool matches(const struct bench_workload *workload, const char *word) {
    return strcmp(workload->name, word) == 0 || strcmp(workload->group, word) == 0;
}

static bool is_wanted(const struct bench_workload *workload, char **wanted) {
    if (*wanted == NULL) {
        return strcmp(workload->group, "long") != 0 && strcmp(workload->group, "scaling") != 0;
    }
    for (; *wanted != NULL; wanted++) {
        if (matches(workload, *wanted)) {
            return true;
        }
    }
    return false;
}

static bool check_wanted(const struct bench_workloads *workloads, char **wanted) {
    for (; *wanted != NULL; wanted++) {
        bool is_known = false;
        for (size_t i = 0; i < workloads->count; i++) {
            is_known = is_known || matches(&workloads->items[i], *wanted);
        }
        if (!is_known) {
            cli_say("error", "bench: no workload or group %s; see hakmem bench --list", *wanted);
            return false;
        }
    }
    return true;
}

bool bench_find_workloads(char **wanted, struct bench_workloads *workloads) {
    *workloads = (struct bench_workloads){0};
    if (!read_list(workloads) || !check_wanted(workloads, wanted)) {
        return false;
    }
    size_t kept = 0;
    for (size_t i = 0; i < workloads->count; i++) {
        struct bench_workload *workload = &workloads->items[i];
        if (!is_wanted(workload, wanted)) {
            continue;
        }
        if (!is_installed(workload)) {
            cli_say("warning", "bench: %s: no %s on this machine: left out", workload->name,
                    workload->command[0]);
            continue;
        }
        workloads->items[kept++] = *workload;
    }
    workloads->count = kept;
    if (kept == 0) {
        cli_say("error", "bench: no workload is left");
    }
    return kept != 0;
}

static void free_list(struct bench_workloads *workloads) {
    for (size_t i = 0; i < workloads->count; i++) {
        struct bench_workload *workload = &workloads->items[i];
        for (char **word = workload->command; word != NULL && *word != NULL; word++) {
            free(*word);
        }
        free(workload->command);
        free((char *)(uintptr_t)workload->name);
        free((char *)(uintptr_t)workload->group);
        free((char *)(uintptr_t)workload->summary);
    }
    free(workloads->items);
}

bool bench_list_workloads(FILE *out) {
    struct bench_workloads workloads = {0};
    if (!read_list(&workloads)) {
        free_list(&workloads);
        return false;
    }
    const char *group = "";
    for (size_t i = 0; i < workloads.count; i++) {
        const struct bench_workload *workload = &workloads.items[i];
        if (strcmp(group, workload->group) != 0) {
            group = workload->group;
            fprintf(out, "\n%s\n", group);
        }
        fprintf(out, "  %-18s %s%s\n  %-18s  ", workload->name, workload->summary,
                is_installed(workload) ? "" : " (not installed)", "");
        for (char **word = workload->command; *word != NULL; word++) {
            const char *slash = strrchr(*word, '/');
            fprintf(out, " %s", slash == NULL ? *word : slash + 1);
        }
        fprintf(out, "%s%s%s\n", workload->has_floor ? " [floor]" : "",
                workload->has_latency ? " [latency]" : "", workload->is_timed ? " [timed]" : "");
    }
    free_list(&workloads);
    return true;
}

void bench_command_workload(char **command, struct bench_workload *workload) {
    const char *slash = strrchr(command[0], '/');
    *workload = (struct bench_workload){
        .name = slash == NULL ? command[0] : slash + 1,
        .group = "command",
        .summary = "",
        .command = command,
        .has_latency = true, /* if it prints result lines, as ours do */
    };
}
