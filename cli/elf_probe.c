/* cli/elf_probe.c — what kind of program a file is. SPDX-License-Identifier: MIT */
/*
 * A program with a PT_INTERP segment is started by the dynamic loader it names there, and that
 * loader reads LD_PRELOAD; one without is static, and nothing can be put before its malloc.
 *
 * The file is not trusted: it may be truncated, or be an attack. So no structure is laid over it:
 * fields are taken out of a buffer of fixed size byte by byte, which settles byte order and
 * alignment as well, and the limits are those of the kernel's own loader (fs/binfmt_elf.c,
 * load_elf_phdrs()): a program header table of exact entries and at most 64 KiB.
 *
 * A sanitizer's runtime is told by what the program asks the dynamic loader for, its own start-up function,
 * be the runtime linked in (then the program exports it) or a library: one string in the table that
 * PT_DYNAMIC's DT_STRTAB and DT_STRSZ describe.
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
enum { DYNAMIC_BYTES_MAX = 65536, STRINGS_BYTES_MAX = 64 << 20, STRINGS_PIECE = 65536 };

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

/* ---- sanitizers ---- */

/* The last is all that gcc's -static-libasan leaves to see. */
static const char *const sanitizer_symbols[] = {
    "__asan_init", "__hwasan_init", "__tsan_init", "__msan_init", "__sanitizer_malloc_hook",
};

/* In a table of terminated strings; the first byte follows a terminator. */
static bool has_sanitizer_in(const char *strings, size_t size) {
    for (const char *at = strings; at < strings + size; at += strlen(at) + 1) {
        if (at[0] != '_' || at[1] != '_') {
            continue;
        }
        for (size_t i = 0; i < sizeof sanitizer_symbols / sizeof sanitizer_symbols[0]; i++) {
            if (strcmp(at, sanitizer_symbols[i]) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* Piece by piece; a string that a piece cuts off is read again with the next. */
static bool search_strings(int fd, uint64_t offset, uint64_t size) {
    static char piece[STRINGS_PIECE + 1];
    uint64_t done = 0;
    while (done < size) {
        size_t count = size - done < STRINGS_PIECE ? (size_t)(size - done) : STRINGS_PIECE;
        if (!read_at(fd, offset + done, piece, count)) {
            return false;
        }
        piece[count] = '\0';
        if (has_sanitizer_in(piece, count)) {
            return true;
        }
        const char *last = memrchr(piece, '\0', count);
        bool is_cut = done + count < size && last != NULL;
        done += is_cut ? (uint64_t)(last - piece) + 1 : count;
    }
    return false;
}

/* Where the file has what the program will find at that address; false: nowhere. */
static bool file_offset(int fd, const struct elf_probe *probe, const struct elf_header *header,
                        uint64_t address, uint64_t *offset) {
    for (uint64_t i = 0; i < header->phnum; i++) {
        unsigned char bytes[sizeof(Elf64_Phdr)];
        if (!read_at(fd, header->phoff + i * header->phentsize, bytes, header->phentsize)) {
            return false;
        }
        uint64_t start = ELF_FIELD(probe, bytes, Phdr, p_vaddr);
        uint64_t size = ELF_FIELD(probe, bytes, Phdr, p_filesz);
        if (ELF_FIELD(probe, bytes, Phdr, p_type) == PT_LOAD && address >= start &&
            address - start < size) {
            *offset = ELF_FIELD(probe, bytes, Phdr, p_offset) + (address - start);
            return *offset <= INT64_MAX - STRINGS_BYTES_MAX;
        }
    }
    return false;
}

/* DT_STRTAB and DT_STRSZ of the dynamic section; whatever is missing stays 0. */
static bool find_sanitizer_in(int fd, const struct elf_probe *probe,
                              const struct elf_header *header, uint64_t offset, uint64_t size) {
    size_t step = probe->elf_class == ELFCLASS64 ? sizeof(Elf64_Dyn) : sizeof(Elf32_Dyn);
    uint64_t address = 0;
    uint64_t strings_size = 0;
    uint64_t strings;
    if (size > DYNAMIC_BYTES_MAX || offset > INT64_MAX - DYNAMIC_BYTES_MAX) {
        return false;
    }
    for (uint64_t at = 0; at + step <= size; at += step) {
        unsigned char bytes[sizeof(Elf64_Dyn)];
        if (!read_at(fd, offset + at, bytes, step)) {
            return false;
        }
        uint64_t tag = ELF_FIELD(probe, bytes, Dyn, d_tag);
        uint64_t value = ELF_FIELD(probe, bytes, Dyn, d_un);
        if (tag == DT_NULL) {
            break;
        }
        if (tag == DT_STRTAB) {
            address = value;
        } else if (tag == DT_STRSZ) {
            strings_size = value;
        }
    }
    bool is_found = address != 0 && strings_size <= STRINGS_BYTES_MAX &&
                    file_offset(fd, probe, header, address, &strings);
    return is_found && search_strings(fd, strings, strings_size);
}

static bool find_sanitizer(int fd, const struct elf_probe *probe, const struct elf_header *header) {
    for (uint64_t i = 0; i < header->phnum; i++) {
        unsigned char bytes[sizeof(Elf64_Phdr)];
        if (!read_at(fd, header->phoff + i * header->phentsize, bytes, header->phentsize)) {
            return false;
        }
        if (ELF_FIELD(probe, bytes, Phdr, p_type) == PT_DYNAMIC) {
            return find_sanitizer_in(fd, probe, header, ELF_FIELD(probe, bytes, Phdr, p_offset),
                                     ELF_FIELD(probe, bytes, Phdr, p_filesz));
        }
    }
    return false;
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
    probe.has_sanitizer = probe.kind == ELF_DYNAMIC && find_sanitizer(fd, &probe, &header);
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
