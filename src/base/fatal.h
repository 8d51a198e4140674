/* src/base/fatal.h — what happens when something is proven wrong. SPDX-License-Identifier: MIT */

/*
 *   hak_fatal         user misuse or corruption: one line, then abort; in every build
 *   hak_check         slow-path invariants and results of system calls; in every build
 *   hak_assert        O(1) pre- and postconditions; HAK_DEBUG >= 1
 *   hak_assert_deep   O(n) walks; HAK_DEBUG >= 2
 *
 * None of them allocates or takes a lock. The condition of a disabled assertion still compiles.
 */
#ifndef HAK_BASE_FATAL_H
#define HAK_BASE_FATAL_H

#include "base/compiler.h"

HAK_COLD _Noreturn void hak_fatal(const char *message);
HAK_COLD _Noreturn void hak_fatal_check(const char *condition, const char *file, int line);

#define hak_check(x) (HAK_LIKELY(x) ? (void)0 : hak_fatal_check(#x, __FILE_NAME__, __LINE__))
#if HAK_DEBUG >= 1
#define hak_assert(x) hak_check(x)
#else
#define hak_assert(x) ((void)(0 && (x)))
#endif
#if HAK_DEBUG >= 2
#define hak_assert_deep(x) hak_check(x)
#else
#define hak_assert_deep(x) ((void)(0 && (x)))
#endif

#endif
