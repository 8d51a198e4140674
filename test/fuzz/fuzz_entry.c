/* test/fuzz/fuzz_entry.c — where libFuzzer and replay.c come in. SPDX-License-Identifier: MIT */

#include <stdarg.h>

#include "fuzz.h"

_Noreturn void fuzz_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("fuzz: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_one(data, size);
    return 0;
}
