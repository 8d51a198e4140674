/* src/prim/linux/process.c — limits, environment, messages, abort. SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "prim/linux/syscall.h"
#include "prim/prim.h"

size_t hak_prim_page_size(void) {
    return (size_t)getauxval(AT_PAGESZ);
}

static int prim_limit(int resource, size_t *out) {
    struct rlimit limit = {0, 0};
    long result = hak_syscall6(SYS_prlimit64, 0, resource, 0, (long)(uintptr_t)&limit, 0, 0);
    if (hak_syscall_error(result))
        return hak_syscall_error(result);
    *out = limit.rlim_cur == RLIM_INFINITY ? SIZE_MAX : (size_t)limit.rlim_cur;
    return 0;
}

int hak_prim_address_space_limit(size_t *out) {
    return prim_limit(RLIMIT_AS, out);
}

/*
 * 2 TiB … 18 TiB: above what linkers and language runtimes use, below the kernel's top-down mmap
 * area of 47-bit processes. A machine with fewer address bits refuses it, and the kernel chooses.
 */
uintptr_t hak_prim_address_hint(void) {
#if defined(__SANITIZE_THREAD__) /* the sanitizer's shadow knows only the kernel's own places */
    return 0;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
    return 0;
#endif
#endif
    uint64_t random = 0;
    const void *seed = (const void *)getauxval(AT_RANDOM); /* 16 bytes from the kernel */
    if (seed)
        memcpy(&random, seed, sizeof random);
    return ((uintptr_t)2 << 40) + (uintptr_t)((random >> 7) & 0x3fff) * ((uintptr_t)1 << 30);
}

bool hak_prim_is_secure(void) {
    return getauxval(AT_SECURE) != 0;
}

char **hak_prim_environment(void) {
    return environ;
}

uint32_t hak_prim_process_id(void) {
    return (uint32_t)hak_syscall6(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

uint64_t hak_prim_clock_ms(void) {
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* in the vDSO, or 0 for ever */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 + 1;
}

uint64_t hak_prim_clock_ns(void) {
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint32_t hak_prim_parent_id(void) {
    return (uint32_t)hak_syscall6(SYS_getppid, 0, 0, 0, 0, 0, 0);
}

const char *hak_prim_program(void) {
    const char *path = (const char *)getauxval(AT_EXECFN);
    return path ? path : "";
}

int hak_prim_peak_rss_kib(uint64_t *out) {
    struct rusage usage = {.ru_maxrss = 0};
    long result = hak_syscall6(SYS_getrusage, RUSAGE_SELF, (long)(uintptr_t)&usage, 0, 0, 0, 0);
    if (hak_syscall_error(result))
        return hak_syscall_error(result);
    *out = (uint64_t)usage.ru_maxrss;
    return 0;
}

static int prim_open(const char *path, int flags, int *file) {
    long fd = hak_syscall6(SYS_openat, AT_FDCWD, (long)(uintptr_t)path,
                           flags | O_RDWR | O_NOFOLLOW | O_CLOEXEC, 0600, 0, 0);
    if (hak_syscall_error(fd))
        return hak_syscall_error(fd);
    *file = (int)fd;
    return 0;
}

int hak_prim_file_make(const char *path, int *file) {
    return prim_open(path, O_CREAT | O_EXCL, file);
}

int hak_prim_file_open(const char *path, int *file) {
    return prim_open(path, 0, file);
}

int hak_prim_file_reserve(int file, size_t offset, size_t size) {
    return hak_syscall_error(hak_syscall6(SYS_fallocate, file, 0, (long)offset, (long)size, 0, 0));
}

void hak_prim_file_close(int file) {
    hak_syscall6(SYS_close, file, 0, 0, 0, 0, 0);
}

int hak_prim_file_size_limit(size_t *out) {
    return prim_limit(RLIMIT_FSIZE, out);
}

/* Opens, does one read or write, closes. *size: bytes wanted, then done. */
static int prim_file(const char *path, int flags, long call, void *buffer, size_t *size) {
    long fd =
        hak_syscall6(SYS_openat, AT_FDCWD, (long)(uintptr_t)path, flags | O_CLOEXEC, 0666, 0, 0);
    if (hak_syscall_error(fd))
        return hak_syscall_error(fd);
    long done = hak_syscall6(call, fd, (long)(uintptr_t)buffer, (long)*size, 0, 0, 0);
    long closed = hak_syscall6(SYS_close, fd, 0, 0, 0, 0, 0);
    *size = done > 0 ? (size_t)done : 0;
    return hak_syscall_error(done) || hak_syscall_error(closed) ? EIO : 0;
}

int hak_prim_read_file(const char *path, char *buffer, size_t capacity, size_t *size) {
    *size = capacity;
    return prim_file(path, O_RDONLY, SYS_read, buffer, size);
}

int hak_prim_write_file(const char *path, const char *text, size_t size) {
    size_t done = size;
    int error =
        prim_file(path, O_WRONLY | O_CREAT | O_TRUNC, SYS_write, (void *)(uintptr_t)text, &done);
    return error == 0 && done < size ? EIO : error;
}

void hak_prim_write_error(const char *text, size_t size) {
    while (size > 0) {
        long done =
            hak_syscall6(SYS_write, STDERR_FILENO, (long)(uintptr_t)text, (long)size, 0, 0, 0);
        if (done == -EINTR)
            continue;
        if (done <= 0)
            return; /* nobody to tell */
        text += done;
        size -= (size_t)done;
    }
}

_Noreturn void hak_prim_abort(void) {
    abort();
}
