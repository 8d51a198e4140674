/* test/fuzz/fuzz_elf.c — hostile programs, as `hakmem run` looks at them. SPDX-License-Identifier: MIT */
/*
 * Goal: no file makes the probe fault, loop, or say of a program what its parts do not agree on.
 * Method: the input is the file.
 */
#define _GNU_SOURCE
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/elf_probe.h"
#include "fuzz/fuzz.h"

void fuzz_one(const uint8_t *data, size_t size) {
    char path[32];
    int fd = memfd_create("program", MFD_CLOEXEC);
    FUZZ_REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size, "memfd");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct elf_probe probe = elf_probe_file(path);
    bool is_elf = size >= EI_NIDENT && memcmp(data, ELFMAG, SELFMAG) == 0;
    FUZZ_REQUIRE((probe.kind != ELF_NONE) == is_elf, "kind %d", (int)probe.kind);
    FUZZ_REQUIRE(probe.kind != ELF_UNREADABLE, "it is readable");
    if (probe.kind == ELF_STATIC || probe.kind == ELF_DYNAMIC) {
        FUZZ_REQUIRE(probe.elf_class == ELFCLASS32 || probe.elf_class == ELFCLASS64, "class");
        FUZZ_REQUIRE(probe.type == ET_EXEC || probe.type == ET_DYN, "type");
    }
    FUZZ_REQUIRE(!probe.has_sanitizer || probe.kind == ELF_DYNAMIC, "a static sanitizer");
    close(fd);
}
