/* test/prefixed/prefixed_lookup.c — finds hakmem_malloc for "malloc". SPDX-License-Identifier: MIT */
/*
 * The stress programs look every entry point up by name, as dlsym(RTLD_DEFAULT, "malloc"), and so run
 * on whatever is preloaded. A sanitizer has to keep malloc for itself: under one they are compiled
 * with dlsym=prefixed_lookup and linked with the prefixed library, and this finds its functions.
 * The C library's aliases (__libc_malloc, __posix_memalign) are found as what they are aliases of.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

void *prefixed_lookup(void *handle, const char *name);

static const char *skip_prefix(const char *name, const char *prefix) {
    size_t size = strlen(prefix);
    return strncmp(name, prefix, size) == 0 ? name + size : name;
}

void *prefixed_lookup(void *handle, const char *name) {
    char prefixed[80];
    const char *plain = skip_prefix(skip_prefix(skip_prefix(name, "__libc_"), "__"), "hakmem_");
    int size = snprintf(prefixed, sizeof prefixed, "hakmem_%s", plain);
    return size < (int)sizeof prefixed ? dlsym(handle, prefixed) : NULL;
}
