/* cli/elf_probe.c — what kind of program a file is. SPDX-License-Identifier: MIT */
/*
 * A program with a PT_INTERP segment is started by the dynamic loader it names there, and that
 * loader reads LD_PRELOAD; one without is static, and nothing can be put before its malloc.
 *
 * The file is not trusted: it may be truncated, or be an attack. So no structure is laid over it:
 * fields are taken out of a buffer of fixed size byte by byte, which settles byte order and
 * alignment as well, and the limits are those of the kernel's own loader (fs/binfmt_elf.c,
 * load_elf_phdrs()): a program header table of exact entries and at most 64 KiB.
 */
#define _GNU_SOURCE
#include "elf_probe.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PROGRAM_HEADERS_BYTES_MAX = 65536 };

/* The parts of an ELF header that matter here, for either class and byte order. */
struct elf_header {
    uint64_t phoff;
    uint64_t phentsize;
    uint64_t phnum;
};

static bool read_at(int fd, uint64_t offset, void *buffer, size_t size) {
    size_t done = 0;
    while (done < size) {
        ssize_t count = pread(fd, (char *)buffer + done, size - done, (off_t)(offset + done));
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count <= 0) {
            return false;
        }
        done += (size_t)count;
    }
    return true;
}

/* The number of `size` bytes at `at`, in the file's byte order. */
static uint64_t field(const struct elf_probe *probe, const unsigned char *at, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value = value << 8 | at[probe->data == ELFDATA2MSB ? i : size - 1 - i];
    }
    return value;
}

/* FIELD of Elf32_TYPE or Elf64_TYPE, by the file's class, out of the bytes of that structure. */
#define ELF_FIELD(probe, bytes, TYPE, FIELD)                                                       \
    ((probe)->elf_class == ELFCLASS64 ? field(probe, (bytes) + offsetof(Elf64_##TYPE, FIELD),      \
                                              sizeof(((Elf64_##TYPE *)0)->FIELD))                  \
                                      : field(probe, (bytes) + offsetof(Elf32_##TYPE, FIELD),      \
                                              sizeof(((Elf32_##TYPE *)0)->FIELD)))

static bool read_header(int fd, struct elf_probe *probe, struct elf_header *header) {
    unsigned char bytes[sizeof(Elf64_Ehdr)];
    bool is_64 = probe->elf_class == ELFCLASS64;
    if (!read_at(fd, 0, bytes, is_64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr))) {
        return false;
    }
    probe->type = (uint16_t)ELF_FIELD(probe, bytes, Ehdr, e_type);
    probe->machine = (uint16_t)ELF_FIELD(probe, bytes, Ehdr, e_machine);
    header->phoff = ELF_FIELD(probe, bytes, Ehdr, e_phoff);
    header->phentsize = ELF_FIELD(probe, bytes, Ehdr, e_phentsize);
    header->phnum = ELF_FIELD(probe, bytes, Ehdr, e_phnum);
    if (probe->type != ET_EXEC && probe->type != ET_DYN) {
        return false;
    }
    return header->phentsize == (is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) &&
           header->phnum >= 1 && header->phnum * header->phentsize <= PROGRAM_HEADERS_BYTES_MAX &&
           header->phoff <= INT64_MAX - PROGRAM_HEADERS_BYTES_MAX;
}

static enum elf_kind find_loader(int fd, const struct elf_probe *probe,
                                 const struct elf_header *header) {
    for (uint64_t i = 0; i < header->phnum; i++) {
        unsigned char bytes[sizeof(Elf64_Phdr)];
        if (!read_at(fd, header->phoff + i * header->phentsize, bytes, header->phentsize)) {
            return ELF_BROKEN;
        }
        if (ELF_FIELD(probe, bytes, Phdr, p_type) == PT_INTERP) {
            return ELF_DYNAMIC;
        }
    }
    return ELF_STATIC;
}

static struct elf_probe probe_descriptor(int fd) {
    struct elf_probe probe = {.kind = ELF_NONE};
    unsigned char ident[EI_NIDENT];
    if (!read_at(fd, 0, ident, sizeof ident) || memcmp(ident, ELFMAG, SELFMAG) != 0) {
        return probe;
    }
    probe.elf_class = ident[EI_CLASS];
    probe.data = ident[EI_DATA];
    bool is_known = (probe.elf_class == ELFCLASS32 || probe.elf_class == ELFCLASS64) &&
                    (probe.data == ELFDATA2LSB || probe.data == ELFDATA2MSB);
    struct elf_header header;
    probe.kind = is_known && read_header(fd, &probe, &header) ? find_loader(fd, &probe, &header)
                                                              : ELF_BROKEN;
    return probe;
}

struct elf_probe elf_probe_file(const char *path) {
    struct elf_probe probe = {.kind = ELF_UNREADABLE};
    /* O_NONBLOCK: the open of a named pipe would wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return probe;
    }
    struct stat status;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode)) {
        probe = probe_descriptor(fd);
    }
    close(fd);
    return probe;
}
