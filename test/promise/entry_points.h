/* test/promise/entry_points.h — every exported function. SPDX-License-Identifier: MIT */
/*
 * Goal: call each exported function without the compiler knowing what it does, and without needing
 * the library at link time.
 * Method: one list gives each name and type; api_load() looks the names up in the global scope, as
 * the program's own references would be. Calls go through the table `api`: no builtin replaces
 * them, no attribute lets the compiler assume what is being tested. A name that is absent (another
 * allocator) is NULL.
 */
#ifndef HAKMEM_TEST_ENTRY_POINTS_H
#define HAKMEM_TEST_ENTRY_POINTS_H

#include <dlfcn.h>
#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define ENTRY_POINTS_STANDARD(X)                                                                   \
    X(void *, malloc, (size_t))                                                                    \
    X(void *, calloc, (size_t, size_t))                                                            \
    X(void *, realloc, (void *, size_t))                                                           \
    X(void, free, (void *))                                                                        \
    X(void *, reallocarray, (void *, size_t, size_t))                                              \
    X(void *, aligned_alloc, (size_t, size_t))                                                     \
    X(void *, memalign, (size_t, size_t))                                                          \
    X(int, posix_memalign, (void **, size_t, size_t))                                              \
    X(void *, valloc, (size_t))                                                                    \
    X(void *, pvalloc, (size_t))                                                                   \
    X(size_t, malloc_usable_size, (void *))                                                        \
    X(struct mallinfo, mallinfo, (void))                                                           \
    X(struct mallinfo2, mallinfo2, (void))                                                         \
    X(int, malloc_info, (int, FILE *))                                                             \
    X(int, mallopt, (int, int))                                                                    \
    X(int, malloc_trim, (size_t))                                                                  \
    X(void, malloc_stats, (void))

/* Not in glibc 2.36, or there only for old programs. */
#define ENTRY_POINTS_EXTRA(X)                                                                      \
    X(void, cfree, (void *))                                                                       \
    X(void, free_sized, (void *, size_t))                                                          \
    X(void, free_aligned_sized, (void *, size_t, size_t))                                          \
    X(void, sdallocx, (void *, size_t, int))                                                       \
    X(size_t, nallocx, (size_t, int))                                                              \
    X(void *, __libc_malloc, (size_t))                                                             \
    X(void *, __libc_calloc, (size_t, size_t))                                                     \
    X(void *, __libc_realloc, (void *, size_t))                                                    \
    X(void, __libc_free, (void *))                                                                 \
    X(void, __libc_cfree, (void *))                                                                \
    X(void *, __libc_memalign, (size_t, size_t))                                                   \
    X(void *, __libc_valloc, (size_t))                                                             \
    X(void *, __libc_pvalloc, (size_t))                                                            \
    X(int, __posix_memalign, (void **, size_t, size_t))                                            \
    X(const char *, hakmem_version, (void))

#define ENTRY_POINTS(X) ENTRY_POINTS_STANDARD(X) ENTRY_POINTS_EXTRA(X)

/* The C++ operators by their Itanium names: 8 new, 12 delete. */
#define ENTRY_POINTS_CXX(X)                                                                        \
    X(_Znwm)                                                                                       \
    X(_Znam)                                                                                       \
    X(_ZnwmRKSt9nothrow_t)                                                                         \
    X(_ZnamRKSt9nothrow_t)                                                                         \
    X(_ZnwmSt11align_val_t)                                                                        \
    X(_ZnamSt11align_val_t)                                                                        \
    X(_ZnwmSt11align_val_tRKSt9nothrow_t)                                                          \
    X(_ZnamSt11align_val_tRKSt9nothrow_t)                                                          \
    X(_ZdlPv)                                                                                      \
    X(_ZdaPv)                                                                                      \
    X(_ZdlPvm)                                                                                     \
    X(_ZdaPvm)                                                                                     \
    X(_ZdlPvRKSt9nothrow_t)                                                                        \
    X(_ZdaPvRKSt9nothrow_t)                                                                        \
    X(_ZdlPvSt11align_val_t)                                                                       \
    X(_ZdaPvSt11align_val_t)                                                                       \
    X(_ZdlPvmSt11align_val_t)                                                                      \
    X(_ZdaPvmSt11align_val_t)                                                                      \
    X(_ZdlPvSt11align_val_tRKSt9nothrow_t)                                                         \
    X(_ZdaPvSt11align_val_tRKSt9nothrow_t)

static struct {
#define X(type, name, params) type(*name) params;
    ENTRY_POINTS(X)
#undef X
} api;

/* A function pointer cannot be assigned from void * in ISO C; POSIX's dlsym means this copy. */
static inline void api_set(void *slot, const char *name) {
    void *address = dlsym(RTLD_DEFAULT, name);
    memcpy(slot, &address, sizeof address);
}

static inline void api_load(void) {
#define X(type, name, params) api_set(&api.name, #name);
    ENTRY_POINTS(X)
#undef X
}

#endif
