/* cli/override_check.c — whether a preloaded library takes effect. SPDX-License-Identifier: MIT */
/*
 * LD_PRELOAD is read by the dynamic loader, so a static program never sees it, and a library for
 * another machine is passed over. The loader also ignores it in secure mode, which the kernel asks
 * for (AT_SECURE) when exec changes the user or group, or gives capabilities to anyone but root:
 * security/commoncap.c, cap_bprm_creds_from_file(). Root running a setuid-root program is no such
 * case.
 *
 * A sanitizer's runtime has a malloc of its own, which it finds errors with; before another library it
 * refuses to start ("ASan runtime does not come first in initial library list").
 */
#define _GNU_SOURCE
#include "override_check.h"

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* The dynamic loader run as a program (`ld.so program`): names no loader, but reads LD_PRELOAD. */
static bool is_loader(const char *program, const struct elf_probe *probe) {
    const char *slash = strrchr(program, '/');
    const char *name = slash == NULL ? program : slash + 1;
    return probe->type == ET_DYN && (strncmp(name, "ld-", 3) == 0 || strcmp(name, "ld.so") == 0);
}

static bool is_of_same_machine(const struct elf_probe *a, const struct elf_probe *b) {
    return a->elf_class == b->elf_class && a->data == b->data && a->machine == b->machine;
}

/* Whether exec ignores set-id bits and capabilities of this file. */
static bool privileges_are_ignored(const char *program) {
    struct statvfs file_system;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) {
        return true;
    }
    return statvfs(program, &file_system) == 0 && (file_system.f_flag & ST_NOSUID) != 0;
}

static const char *privilege_obstacle(const char *program) {
    struct stat status;
    if (stat(program, &status) != 0 || privileges_are_ignored(program)) {
        return NULL;
    }
    if ((status.st_mode & S_ISUID) != 0 && status.st_uid != getuid()) {
        return "is setuid";
    }
    /* Without the group's x bit, S_ISGID once meant mandatory locking and gives no group. */
    mode_t setgid = S_ISGID | S_IXGRP;
    if ((status.st_mode & setgid) == setgid && status.st_gid != getgid()) {
        return "is setgid";
    }
    if (getuid() != 0 && getxattr(program, "security.capability", NULL, 0) > 0) {
        return "has file capabilities";
    }
    return NULL;
}

struct override_obstacle override_obstacle(const char *program, const struct elf_probe *library) {
    struct elf_probe probe = elf_probe_file(program);
    bool is_elf = probe.kind == ELF_STATIC || probe.kind == ELF_DYNAMIC;
    if (is_elf && !is_of_same_machine(&probe, library)) {
        return (struct override_obstacle){"is of another ELF class or machine than the library",
                                          false};
    }
    if (probe.kind == ELF_STATIC && !is_loader(program, &probe)) {
        return (struct override_obstacle){"is statically linked", false};
    }
    if (probe.has_sanitizer) {
        return (struct override_obstacle){"is built with a sanitizer", true};
    }
    /* Without right to read a program one may still run it: privileges count for any kind. */
    return (struct override_obstacle){privilege_obstacle(program), false};
}
