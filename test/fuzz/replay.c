/* test/fuzz/replay.c — runs a fuzz target on files. SPDX-License-Identifier: MIT */
/*
 * usage: <target> PATH...      files, and all files in directories
 *
 * In libFuzzer's place: for compilers without it, and for a corpus as a test. Each input runs twice: the second
 * time the library must ask the kernel for the same, or an input that failed might not fail again.
 */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "fuzz.h"

/* world.h; targets without the library have none. */
__attribute__((weak)) uint64_t world_trace(void);

static struct {
    unsigned long inputs;
    unsigned long unreadable;
} g_replay;

static void replay_file(const char *path) {
    FILE *file = fopen(path, "rb");
    struct stat status;
    if (file == NULL || fstat(fileno(file), &status) != 0) {
        printf("not ok - %s: %s\n", path, strerror(errno));
        g_replay.unreadable++;
        return;
    }
    size_t size = (size_t)status.st_size;
    uint8_t *data =
        malloc(size > 0 ? size : 1); /* exactly: reading on is then a sanitizer's affair */
    FUZZ_REQUIRE(data != NULL, "no memory for %s", path);
    FUZZ_REQUIRE(fread(data, 1, size, file) == size, "%s cannot be read", path);
    fclose(file);
    LLVMFuzzerTestOneInput(data, size);
    uint64_t trace = world_trace ? world_trace() : 0;
    LLVMFuzzerTestOneInput(data, size);
    FUZZ_REQUIRE(trace == (world_trace ? world_trace() : 0), "%s does not repeat", path);
    free(data);
    g_replay.inputs++;
}

static void replay_path(const char *path) {
    DIR *folder = opendir(path);
    if (folder == NULL) {
        printf("# %s\n", path);
        fflush(stdout); /* if it crashes, this is the one */
        replay_file(path);
        return;
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char name[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        replay_path(name);
    }
    closedir(folder);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        replay_path(argv[i]);
    printf("%lu passed, %lu failed\n", g_replay.inputs, g_replay.unreadable);
    return g_replay.inputs == 0 || g_replay.unreadable > 0;
}
