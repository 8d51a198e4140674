/* cli/stat_report.h — what `hakmem stat` says, for people and for programs. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_STAT_REPORT_H
#define HAKMEM_CLI_STAT_REPORT_H

#include "stat_read.h"

#include <stdbool.h>
#include <stdio.h>

/* How the command went, as its parent sees it. */
struct stat_run {
    char **command;
    bool is_started;       /* false: it could not be executed, and there is nothing to report */
    int exit_status;       /* -1: it was ended by a signal */
    int signal;            /* 0: it was not */
    uint64_t wall_ns;      /* from its start to its end */
    uint64_t user_us;      /* of it and all whose end was waited for */
    uint64_t system_us;    /* the same */
    uint64_t peak_rss_kib; /* the largest of these processes */
};

/* `is_complete`: every row. */
void stat_print_text(FILE *out, const struct stat_run *run, const struct stat_tree *tree,
                     bool is_complete);
/* docs/stat.md has the schema. False: no memory. */
bool stat_print_json(FILE *out, const struct stat_run *run, const struct stat_tree *tree);

#endif
