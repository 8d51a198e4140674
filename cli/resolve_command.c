/* cli/resolve_command.c — which program a command ends up running. SPDX-License-Identifier: MIT */
/*
 *   build.sh x
 *      │ PATH                               as execvp does
 *   /home/me/bin/build.sh x
 *      │ #!/usr/bin/env -S A=1 bash         as the kernel does: interpreter, one argument, script
 *   /usr/bin/env "-S A=1 bash" /home/me/bin/build.sh x
 *      │ options, assignments, PATH         as env does
 *   /usr/bin/bash /home/me/bin/build.sh x   an ELF file: the end
 *
 * What a shell script starts in its turn is not looked at; those programs inherit LD_PRELOAD.
 */
#define _GNU_SOURCE
#include "resolve_command.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    STEPS_MAX = 10,   /* the kernel follows 5 interpreters (fs/exec.c); env comes on top */
    FIRST_LINE = 256, /* bytes, all that the kernel reads of a script: BINPRM_BUF_SIZE */
    WORDS_MAX = 64,   /* of a command line; what env runs stands at its beginning */
    LINES_MAX = 12,   /* texts that words point into */
};

struct walk {
    struct resolved_command *resolved;
    const char *search_path; /* PATH as the next step sees it */
    int word_count;
    const char *words[WORDS_MAX]; /* the command line of the program, cut off at the end */
    int line_count;
    char lines[LINES_MAX][FIRST_LINE + 1];
};

static bool is_file(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

static bool is_executable(const char *path) {
    return is_file(path) && faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) == 0;
}

/* As execvp does: a name with a slash is a path, an empty entry of PATH the current directory. */
static bool search(const char *search_path, const char *name, bool (*accepts)(const char *path),
                   char program[PATH_MAX]) {
    if (strchr(name, '/') != NULL) {
        return snprintf(program, PATH_MAX, "%s", name) < PATH_MAX;
    }
    const char *entry = search_path;
    for (;;) {
        int length = (int)strcspn(entry, ":");
        int printed =
            snprintf(program, PATH_MAX, "%.*s%s%s", length, entry, length > 0 ? "/" : "./", name);
        if (*name != '\0' && printed < PATH_MAX && accepts(program)) {
            return true;
        }
        if (entry[length] == '\0') {
            return false;
        }
        entry += length + 1;
    }
}

static const char *own_search_path(void) {
    const char *path = getenv("PATH");
    return path != NULL ? path : "/bin:/usr/bin";
}

static bool find_program(struct walk *walk, const char *name) {
    return search(walk->search_path, name, is_executable, walk->resolved->program);
}

/* Put `count` words in place of the first `removed` ones. */
static void replace_words(struct walk *walk, int removed, const char *const words[], int count) {
    int kept = walk->word_count - removed;
    if (kept > WORDS_MAX - count) {
        kept = WORDS_MAX - count;
    }
    memmove(walk->words + count, walk->words + removed, (size_t)kept * sizeof *walk->words);
    for (int i = 0; i < count; i++) {
        walk->words[i] = words[i];
    }
    walk->word_count = kept + count;
}

/* A buffer for text that words point into; NULL when all are taken. */
static char *next_line(struct walk *walk) {
    return walk->line_count == LINES_MAX ? NULL : walk->lines[walk->line_count++];
}

/* Read the beginning of the program; the bytes read, -1 when it cannot be read. */
static ssize_t read_first_line(const char *path, char line[FIRST_LINE + 1]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return -1;
    }
    ssize_t length = read(fd, line, FIRST_LINE);
    close(fd);
    line[length < 0 ? 0 : length] = '\0';
    return length;
}

/* What one step of the walk came to. */
enum step { STEP_ARRIVED, STEP_ON, STEP_UNKNOWN };

/* If the program is a script, go on to its interpreter, with the arguments the kernel gives. */
static enum step follow_script(struct walk *walk) {
    char *line = next_line(walk);
    if (line == NULL || read_first_line(walk->resolved->program, line) < 0) {
        return STEP_UNKNOWN;
    }
    if (strncmp(line, "#!", 2) != 0) {
        return STEP_ARRIVED;
    }
    line[strcspn(line, "\n")] = '\0';
    char *interpreter = line + 2 + strspn(line + 2, " \t");
    char *interpreter_end = interpreter + strcspn(interpreter, " \t");
    char *argument = interpreter_end + strspn(interpreter_end, " \t");
    *interpreter_end = '\0';
    size_t argument_length = strlen(argument);
    while (argument_length > 0 && strchr(" \t", argument[argument_length - 1]) != NULL) {
        argument[--argument_length] = '\0';
    }
    /* The rest of the line is one argument, blanks and all; then comes the script's own path. */
    const char *script = walk->words[0];
    if (argument_length > 0) {
        replace_words(walk, 1, (const char *[]){interpreter, argument, script}, 3);
    } else {
        replace_words(walk, 1, (const char *[]){interpreter, script}, 2);
    }
    return *interpreter != '\0' && find_program(walk, interpreter) ? STEP_ON : STEP_UNKNOWN;
}

/* `env -S TEXT`: the words of TEXT take the place of the first `removed` ones. */
static bool split_string(struct walk *walk, int removed, const char *text) {
    char *copy = next_line(walk);
    /* env has a little language of quotes and escapes here; we follow plain words only. */
    if (copy == NULL || strlen(text) > FIRST_LINE || strpbrk(text, "\"'\\$#") != NULL) {
        return false;
    }
    memcpy(copy, text, strlen(text) + 1);
    const char *words[WORDS_MAX];
    int count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(copy, " \t", &rest); word != NULL && count < WORDS_MAX;
         word = strtok_r(NULL, " \t", &rest)) {
        words[count++] = word;
    }
    replace_words(walk, removed, words, count);
    return true;
}

static bool is_one_of(const char *word, const char *a, const char *b) {
    return strcmp(word, a) == 0 || strcmp(word, b) == 0;
}

/* NAME=VALUE before env's command. */
static void note_assignment(struct walk *walk, const char *word) {
    if (strncmp(word, "PATH=", 5) == 0) {
        walk->search_path = word + 5;
    } else if (strncmp(word, "LD_PRELOAD=", 11) == 0) {
        walk->resolved->loses_preload = true;
    }
}

/* Go on from env(1) to its command; options that we do not know may mean anything. */
static enum step follow_env(struct walk *walk) {
    bool options_ended = false; /* by "--" or by the first assignment */
    for (int i = 1; i < walk->word_count; i++) {
        const char *word = walk->words[i];
        const char *next = i + 1 < walk->word_count ? walk->words[i + 1] : "";
        if (strchr(word, '=') != NULL && (options_ended || word[0] != '-')) {
            note_assignment(walk, word);
            options_ended = true;
        } else if (options_ended || word[0] != '-') {
            replace_words(walk, i, NULL, 0);
            return find_program(walk, word) ? STEP_ON : STEP_UNKNOWN;
        } else if (strcmp(word, "--") == 0) {
            options_ended = true;
        } else if (is_one_of(word, "-i", "-") || strcmp(word, "--ignore-environment") == 0) {
            walk->resolved->loses_preload = true;
        } else if (is_one_of(word, "-u", "--unset")) {
            walk->resolved->loses_preload |= strcmp(next, "LD_PRELOAD") == 0;
            i++;
        } else if (is_one_of(word, "-C", "--chdir")) {
            i++;
        } else if (strncmp(word, "-S", 2) == 0) {
            bool is_apart = word[2] == '\0';
            if ((is_apart && i + 1 == walk->word_count) ||
                !split_string(walk, i + (is_apart ? 2 : 1), is_apart ? next : word + 2)) {
                return STEP_UNKNOWN;
            }
            i = -1; /* the words begin anew */
        } else {
            return STEP_UNKNOWN;
        }
    }
    return STEP_ARRIVED; /* env alone prints its environment */
}

static bool is_env(const struct walk *walk) {
    const char *slash = strrchr(walk->resolved->program, '/');
    return strcmp(slash == NULL ? walk->resolved->program : slash + 1, "env") == 0;
}

bool resolve_command(char *const argv[], struct resolved_command *resolved) {
    struct walk walk = {.resolved = resolved, .search_path = own_search_path()};
    resolved->loses_preload = false;
    while (argv[walk.word_count] != NULL && walk.word_count < WORDS_MAX) {
        walk.words[walk.word_count] = argv[walk.word_count];
        walk.word_count++;
    }
    if (!find_program(&walk, argv[0])) {
        return false;
    }
    for (int i = 0; i < STEPS_MAX; i++) {
        enum step step = is_env(&walk) ? follow_env(&walk) : follow_script(&walk);
        if (step != STEP_ON) {
            return step == STEP_ARRIVED;
        }
    }
    return false;
}

bool command_exists(const char *name) {
    char program[PATH_MAX];
    return search(own_search_path(), name, is_file, program);
}
