/* test/fuzz/fuzz.h — what the fuzz targets share. SPDX-License-Identifier: MIT */
/*
 * A target is one file with fuzz_one(), which turns the bytes of an input into operations and aborts when
 * something is wrong. It is linked with libFuzzer (preset fuzz) or with replay.c, which runs the inputs it is
 * given and nothing else.
 *
 *   LLVMFuzzerTestOneInput -> fuzz_one -> world_run -> the library as it was before its first call
 *                                                     body, in a thread of its own
 *
 * Every input meets a library that has never been called (world.h), at the same addresses and the same time,
 * so an input that fails once fails always, whatever ran before it.
 */
#ifndef HAKMEM_TEST_FUZZ_H
#define HAKMEM_TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs one input; never keeps `data`. */
void fuzz_one(const uint8_t *data, size_t size);

/* What libFuzzer calls, and replay.c. Returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Says what is wrong and aborts: libFuzzer then writes the input to a file. */
__attribute__((format(printf, 1, 2))) _Noreturn void fuzz_fail(const char *format, ...);

#define FUZZ_REQUIRE(condition, ...) ((condition) ? (void)0 : fuzz_fail(__VA_ARGS__))

/* ---- the bytes of an input: behind their end come zeroes ---- */

struct fuzz_input {
    const uint8_t *at;
    const uint8_t *end;
};

static inline bool fuzz_is_empty(const struct fuzz_input *input) {
    return input->at == input->end;
}

static inline uint8_t fuzz_byte(struct fuzz_input *input) {
    return fuzz_is_empty(input) ? 0 : *input->at++;
}

/* `count` bytes, up to 8, as a number. */
static inline uint64_t fuzz_number(struct fuzz_input *input, unsigned count) {
    uint64_t number = 0;
    for (unsigned i = 0; i < count; i++)
        number |= (uint64_t)fuzz_byte(input) << 8 * i;
    return number;
}

#endif
