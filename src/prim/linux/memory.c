/* src/prim/linux/memory.c — mapping primitives. SPDX-License-Identifier: MIT */

#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

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
