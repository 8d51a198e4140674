/* cli/bench_machine.c — on which machine it was measured. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "bench.h"

#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* The rest of the first line of a file that begins with `name`, up to `end`; empty: there is none. */
static void read_field(const char *path, const char *name, char end, char *value, size_t size) {
    char line[512];
    FILE *file = fopen(path, "re");
    value[0] = '\0';
    while (file != NULL && value[0] == '\0' && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, strlen(name)) == 0) {
            const char *text = line + strlen(name);
            text += strspn(text, " \t:=\"");
            size_t length = strcspn(text, "\"\n");
            const char *stop = memchr(text, end, length);
            length = stop == NULL ? length : (size_t)(stop - text);
            snprintf(value, size, "%.*s", (int)length, text);
        }
    }
    if (file != NULL) {
        fclose(file);
    }
}

/* `always [madvise] never` → madvise. */
static void read_huge_pages(char *value, size_t size) {
    char line[128];
    read_field("/sys/kernel/mm/transparent_hugepage/enabled", "", '\n', line, sizeof line);
    const char *chosen = strchr(line, '[');
    snprintf(value, size, "%.*s", chosen == NULL ? 0 : (int)strcspn(chosen + 1, "]"),
             chosen == NULL ? "" : chosen + 1);
}

void bench_describe_machine(struct bench_report *report) {
    struct utsname kernel;
    if (uname(&kernel) == 0) {
        snprintf(report->machine.kernel, sizeof report->machine.kernel, "Linux %.80s %.20s",
                 kernel.release, kernel.machine);
    }
    read_field("/proc/cpuinfo", "model name", '\n', report->machine.processor,
               sizeof report->machine.processor);
    read_field("/etc/os-release", "PRETTY_NAME", '\n', report->machine.system,
               sizeof report->machine.system);
    read_huge_pages(report->machine.huge_pages, sizeof report->machine.huge_pages);
    report->machine.processors = sysconf(_SC_NPROCESSORS_ONLN);
    report->machine.memory_bytes = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(report->started, sizeof report->started, "%Y-%m-%dT%H:%M:%SZ", &utc);
}
