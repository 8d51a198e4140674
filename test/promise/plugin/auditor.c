/* test/promise/plugin/auditor.c — an audit library that allocates. SPDX-License-Identifier: MIT */
/*
 * What audit.c names in LD_AUDIT. The dynamic linker loads it into a namespace of its own, before the
 * program and before anything preloaded, and calls it for each object and each binding; every time it
 * allocates, resizes and frees there. Built twice: as it is, its malloc is that namespace's libc's; linked
 * with the library, it is that of a second copy of hakmem in the process.
 */
#define _GNU_SOURCE
#include <link.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEPT = 16 };

static unsigned char *kept[KEPT];
static unsigned turn;

static void say(const char *text) {
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        abort();
}

static void use_allocator(void) {
    unsigned i = turn++ % KEPT;
    size_t size = 1 + (size_t)turn * 37 % 9000;
    if (kept[i] != NULL && kept[i][0] != i)
        abort();
    kept[i] = realloc(kept[i], size);
    free(malloc(size * 20));
    if (kept[i] == NULL)
        abort();
    kept[i][0] = (unsigned char)i;
    kept[i][size - 1] = (unsigned char)i;
}

/* The interface of rtld-audit(7), called by the dynamic linker. */
unsigned la_version(unsigned version) {
    use_allocator();
    return version;
}

unsigned la_objopen(struct link_map *map, Lmid_t space, uintptr_t *cookie) {
    (void)map;
    (void)space;
    (void)cookie;
    use_allocator();
    return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}

unsigned la_objclose(uintptr_t *cookie) {
    (void)cookie;
    use_allocator();
    return 0;
}

void la_preinit(uintptr_t *cookie) {
    (void)cookie;
    use_allocator();
    say("audited\n");
}

uintptr_t la_symbind64(Elf64_Sym *symbol, unsigned index, uintptr_t *from, uintptr_t *to,
                       unsigned *flags, const char *name) {
    (void)index;
    (void)from;
    (void)to;
    (void)flags;
    (void)name;
    use_allocator();
    return symbol->st_value;
}
