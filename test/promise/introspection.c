/* test/promise/introspection.c — mallinfo and relatives. SPDX-License-Identifier: MIT */
/*
 * Goal: mallinfo, mallinfo2, malloc_info, malloc_stats, mallopt and malloc_trim exist and answer
 * for this allocator: 10 MiB allocated shows as about 10 MiB, and goes again.
 * Method: differences around a known allocation, in small and in large blocks. The magazines hold
 * blocks that count as out of their slabs, hence the allowance; zero would be as wrong as double.
 */
#include <fcntl.h>

#include "entry_points.h"
#include "memory_use.h"
#include "patterns.h"
#include "tap.h"

enum { TEN_MIB = 10 << 20, ALLOWANCE = 3 << 20 };

static size_t used_bytes(void) {
    struct mallinfo2 info = api.mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void check_moves(size_t size) {
    static void *block[TEN_MIB / 64];
    size_t count = TEN_MIB / size;
    size_t before = used_bytes();
    for (size_t i = 0; i < count; i++) {
        block[i] = api.malloc(size);
    }
    size_t during = used_bytes();
    size_t grown = during - before;
    CHECK(during > before && grown >= TEN_MIB - ALLOWANCE && grown <= TEN_MIB / 2 * 3 + ALLOWANCE,
          "mallinfo2: 10 MiB in blocks of %zu show as %zu", size, grown);
    for (size_t i = 0; i < count; i++) {
        api.free(block[i]);
    }
    size_t after = used_bytes();
    CHECK(after < during && during - after >= TEN_MIB - 2 * ALLOWANCE,
          "mallinfo2: %zu of them went when freed", during - after);
}

static void check_mallinfo(void) {
    struct mallinfo2 wide = api.mallinfo2();
    struct mallinfo narrow = api.mallinfo();
    CHECK((unsigned)narrow.uordblks == (unsigned)wide.uordblks &&
              (unsigned)narrow.hblkhd == (unsigned)wide.hblkhd,
          "mallinfo is mallinfo2 in ints");
    CHECK(wide.arena + wide.hblkhd >= wide.uordblks,
          "what is used (%zu) lies in what is held (%zu + %zu)", wide.uordblks, wide.arena,
          wide.hblkhd);
}

/*
 * Well-formed in the sense that matters to a reader: tags nest and close, attributes are quoted,
 * and there is one root. Enough for elements without comments or CDATA, which malloc_info has not.
 */
static bool xml_is_well_formed(const char *text, char *root, size_t root_size) {
    char open[32][48];
    int depth = 0;
    int roots = 0;
    for (const char *at = strchr(text, '<'); at != NULL; at = strchr(at + 1, '<')) {
        bool closing = at[1] == '/';
        const char *name = at + 1 + closing;
        size_t length = strcspn(name, " />\n\t");
        const char *end = strchr(at, '>');
        if (end == NULL || length == 0 || length >= sizeof open[0]) {
            return false;
        }
        if (name[0] == '?' || name[0] == '!') {
            continue;
        }
        size_t quotes = 0;
        for (const char *c = at; c < end; c++) {
            quotes += *c == '"';
        }
        if (quotes % 2 != 0) {
            return false;
        }
        if (closing) {
            if (depth == 0 || strncmp(open[--depth], name, length) != 0 ||
                open[depth][length] != '\0') {
                return false;
            }
        } else {
            if (depth == 0 && roots++ == 0) {
                snprintf(root, root_size, "%.*s", (int)length, name);
            }
            if (end[-1] != '/') {
                if (depth == 32) {
                    return false;
                }
                snprintf(open[depth++], sizeof open[0], "%.*s", (int)length, name);
            }
        }
    }
    return depth == 0 && roots == 1;
}

static void check_malloc_info(void) {
    static char text[1 << 20];
    FILE *file = tmpfile();
    if (!CHECK(file != NULL, "a temporary file")) {
        return;
    }
    int result = api.malloc_info(0, file);
    fflush(file);
    rewind(file);
    size_t size = fread(text, 1, sizeof text - 1, file);
    text[size] = '\0';
    fclose(file);
    char root[64] = "";
    CHECK(result == 0 && size > 0, "malloc_info(0, file) writes %zu bytes", size);
    CHECK(xml_is_well_formed(text, root, sizeof root), "malloc_info writes well-formed XML");
    CHECK(strcmp(root, "malloc") == 0, "its root element is <malloc>, as glibc's: <%s>", root);
    CHECK(api.malloc_info(1, stdout) != 0, "malloc_info refuses options it does not know");
}

static void check_malloc_stats(void) {
    char text[65536];
    char path[] = "/tmp/hakmem-stats-XXXXXX";
    int file = mkstemp(path);
    int saved = dup(STDERR_FILENO);
    if (!CHECK(file >= 0 && saved >= 0, "a temporary file")) {
        return;
    }
    unlink(path);
    dup2(file, STDERR_FILENO);
    api.malloc_stats();
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    ssize_t size = pread(file, text, sizeof text, 0);
    close(file);
    CHECK(size > 0 && text[size - 1] == '\n', "malloc_stats writes lines to stderr (%zd bytes)",
          size);
}

static void check_mallopt(void) {
    struct sweep s = sweep_begin("mallopt answers 0 or 1 and breaks nothing");
    for (int option = -20; option <= 20; option++) {
        static const int values[] = {0, 1, 64, 65536, -1};
        if (option == -6 || option == -5) {
            continue; /* M_PERTURB and M_CHECK_ACTION change what other checks rely on */
        }
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
            int result = api.mallopt(option, values[i]);
            SWEEP(&s, result == 0 || result == 1, "mallopt(%d, %d) = %d", option, values[i],
                  result);
            void *block = api.malloc(100000);
            SWEEP(&s, block != NULL, "malloc after mallopt(%d, %d)", option, values[i]);
            api.free(block);
        }
    }
    sweep_end(&s);
}

static void check_malloc_trim(void) {
    enum { COUNT = 64000 };
    static unsigned char *block[COUNT];
    long before = resident_kib();
    for (int i = 0; i < COUNT; i++) {
        block[i] = api.malloc(1024);
        memset(block[i], 1, 1024);
    }
    unsigned char *large = api.malloc(32 << 20);
    memset(large, 1, 32 << 20);
    long during = resident_kib();
    api.free(large);
    for (int i = 0; i < COUNT; i++) {
        api.free(block[i]);
    }
    int result = api.malloc_trim(0);
    long after = resident_kib();
    CHECK(during - before > 80 * 1024, "the test touched %ld KiB", during - before);
    CHECK(result == 0 || result == 1, "malloc_trim answers 0 or 1: %d", result);
    CHECK(after - before < 12 * 1024, "malloc_trim: %ld KiB free, %ld KiB stay resident",
          during - before, after - before);
}

int main(void) {
    api_load();
    tap_require_override();
    check_moves(64);
    check_moves(4000);
    check_moves(300000);
    check_moves(TEN_MIB);
    check_mallinfo();
    check_malloc_info();
    check_malloc_stats();
    check_malloc_trim();
    check_mallopt();
    return tap_end();
}
