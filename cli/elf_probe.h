/* cli/elf_probe.h — what kind of program a file is. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_ELF_PROBE_H
#define HAKMEM_CLI_ELF_PROBE_H

#include <stdbool.h>
#include <stdint.h>

enum elf_kind {
    ELF_UNREADABLE, /* cannot be opened, or not a regular file */
    ELF_NONE,       /* no ELF file: a script, text, … */
    ELF_BROKEN,     /* begins like one, but the kernel would not run it */
    ELF_STATIC,     /* names no dynamic loader: static programs, and shared libraries */
    ELF_DYNAMIC,    /* names a dynamic loader, the one that reads LD_PRELOAD */
};

struct elf_probe {
    enum elf_kind kind;
    /* The rest is valid for ELF_STATIC and ELF_DYNAMIC. */
    uint8_t elf_class;  /* ELFCLASS32, ELFCLASS64 */
    uint8_t data;       /* ELFDATA2LSB, ELFDATA2MSB */
    uint16_t machine;   /* EM_… */
    uint16_t type;      /* ET_EXEC, ET_DYN */
    bool has_sanitizer; /* ELF_DYNAMIC: built with the address, thread or memory sanitizer */
};

/* Reads headers only; a truncated or hostile file costs no more than a sound one. */
struct elf_probe elf_probe_file(const char *path);

#endif
