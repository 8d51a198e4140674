/* src/prim/linux/memory.c — mapping primitives. SPDX-License-Identifier: MIT */

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "prim/linux/syscall.h"
#include "prim/prim.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* Linux 4.17; older kernels take the address as a hint */
#endif

static int prim_protection(enum hak_access access) {
    switch (access) {
    case HAK_ACCESS_NONE:
        return PROT_NONE;
    case HAK_ACCESS_READ:
        return PROT_READ;
    case HAK_ACCESS_READ_WRITE:
        return PROT_READ | PROT_WRITE;
    }
    return PROT_NONE;
}

int hak_prim_map(void *wanted, size_t size, enum hak_access access, void **out) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (wanted ? MAP_FIXED_NOREPLACE : 0);
    long result = hak_syscall6(SYS_mmap, (long)(uintptr_t)wanted, (long)size,
                               prim_protection(access), flags, -1, 0);
    int error = hak_syscall_error(result);
    if (error)
        return error;
    *out = (void *)(uintptr_t)result;
    return 0;
}

int hak_prim_unmap(void *addr, size_t size) {
    return hak_syscall_error(
        hak_syscall6(SYS_munmap, (long)(uintptr_t)addr, (long)size, 0, 0, 0, 0));
}

int hak_prim_protect(void *addr, size_t size, enum hak_access access) {
    return hak_syscall_error(hak_syscall6(SYS_mprotect, (long)(uintptr_t)addr, (long)size,
                                          prim_protection(access), 0, 0, 0));
}

int hak_prim_purge(void *addr, size_t size) {
    return hak_syscall_error(
        hak_syscall6(SYS_madvise, (long)(uintptr_t)addr, (long)size, MADV_DONTNEED, 0, 0, 0));
}

/* <sys/pidfd.h> of Linux 6.14: "the process of the calling thread"; earlier kernels say EBADF. */
enum { PRIM_PIDFD_SELF_PROCESS = -10001 };
#ifndef SYS_process_madvise
#define SYS_process_madvise 440 /* Linux 5.10, the same number everywhere; musl 1.2.3 lacks it */
#endif

_Static_assert(sizeof(struct hak_prim_range) == sizeof(struct iovec), "one is the other");
_Static_assert(offsetof(struct hak_prim_range, size) == offsetof(struct iovec, iov_len),
               "one is the other");

int hak_prim_purge_ranges(const struct hak_prim_range *ranges, size_t count) {
    long result = hak_syscall6(SYS_process_madvise, PRIM_PIDFD_SELF_PROCESS,
                               (long)(uintptr_t)ranges, (long)count, MADV_DONTNEED, 0, 0);
    if (hak_syscall_error(result))
        return hak_syscall_error(result);
    size_t wanted = 0;
    for (size_t i = 0; i < count; i++)
        wanted += ranges[i].size;
    return (size_t)result == wanted ? 0 : EAGAIN; /* stopped on its way */
}

int hak_prim_advise_huge(void *addr, size_t size) {
    return hak_syscall_error(
        hak_syscall6(SYS_madvise, (long)(uintptr_t)addr, (long)size, MADV_HUGEPAGE, 0, 0, 0));
}

int hak_prim_move(void *addr, size_t old_size, void *target, size_t new_size) {
    return hak_syscall_error(hak_syscall6(SYS_mremap, (long)(uintptr_t)addr, (long)old_size,
                                          (long)new_size, MREMAP_MAYMOVE | MREMAP_FIXED,
                                          (long)(uintptr_t)target, 0));
}

int hak_prim_map_file(int file, size_t offset, size_t size, void *wanted, void **out) {
    int flags = MAP_SHARED | (wanted ? MAP_FIXED : 0);
    long result = hak_syscall6(SYS_mmap, (long)(uintptr_t)wanted, (long)size,
                               PROT_READ | PROT_WRITE, flags, file, (long)offset);
    int error = hak_syscall_error(result);
    if (error)
        return error;
    *out = (void *)(uintptr_t)result;
    return 0;
}

int hak_prim_extend(void *addr, size_t old_size, size_t new_size) {
    return hak_syscall_error(
        hak_syscall6(SYS_mremap, (long)(uintptr_t)addr, (long)old_size, (long)new_size, 0, 0, 0));
}
