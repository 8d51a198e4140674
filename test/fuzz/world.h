/* test/fuzz/world.h — a library that has never been called, for each input. SPDX-License-Identifier: MIT */
/*
 * What hakmem remembers lies in three places: its variables, its mappings, and thread-local variables. So
 * it begins anew when the variables have the values they had before its first call, what it mapped is
 * unmapped, and the next call comes from a new thread. The build gives its variables sections of their own
 * (fuzz.cmake), and a constructor copies them before the library's own runs.
 */
#ifndef HAKMEM_TEST_FUZZ_WORLD_H
#define HAKMEM_TEST_FUZZ_WORLD_H

#include "fake_prim/fake_prim.h"
#include "fuzz/fuzz.h"

/*
 * Runs body(argument) on a library that has never been called, in a thread that has never called it, with
 * `environment` (NULL-terminated). What the library remembers is forgotten afterwards.
 */
void world_run(struct fake_machine machine, char **environment, void (*body)(void *),
               void *argument);

/* Threads that a body may have: 1 … WORLD_THREADS. They take turns with it, and so always do the same. */
enum { WORLD_THREADS = 4 };
/* Runs work(argument) in thread `number`, which begins with the first such call, and waits for it. */
void world_run_in(unsigned number, void (*work)(void *), void *argument);
/* Ends it, as a thread that returns; nothing if it does not run. */
void world_end_thread(unsigned number);
void world_end_threads(void);

/*
 * A wrong call: runs call(argument) in the calling thread and returns what the library said of it; NULL: it
 * returned. Nothing may call the library any more until body returns, which must be next.
 */
const char *world_catch_fatal(void (*call)(void *), void *argument);

/* What the library said so far, up to WORLD_TEXT_MAX bytes; it ends with a 0. */
enum { WORLD_TEXT_MAX = 65536 };
const char *world_messages(void);

/* Of the last input: all calls of the kernel, as fake_prim_trace(). The same input gives the same. */
uint64_t world_trace(void);

#endif
