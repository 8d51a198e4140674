/* src/base/compiler.h — what we ask of the compiler. SPDX-License-Identifier: MIT */
#ifndef HAK_BASE_COMPILER_H
#define HAK_BASE_COMPILER_H

#ifndef HAK_DEBUG
#define HAK_DEBUG 0 /* 0 release; 1 O(1) assertions and the log; 2 deep checks too */
#endif

#define HAK_LIKELY(x) __builtin_expect(!!(x), 1)
#define HAK_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define HAK_NOINLINE __attribute__((noinline))
#define HAK_INLINE static inline __attribute__((always_inline))
#define HAK_COLD __attribute__((cold, noinline))
/*
 * What only hakmem_check() and its like need, tens of KiB: in a section of its own, which linkers put behind all
 * other code, so that pages of it are not mapped around those that every process touches.
 */
#define HAK_AUDIT __attribute__((cold, noinline, section("hak_audit")))
#define HAK_NODISCARD __attribute__((warn_unused_result))
#define HAK_PUBLIC __attribute__((visibility("default")))
/* For variables: without it the compiler goes through the GOT, as for a stranger's. */
#define HAK_INTERNAL __attribute__((visibility("hidden")))
#define HAK_CACHE_LINE 64
/* For fast paths: from the start of a cache line they are fetched in the fewest pieces. */
#define HAK_FAST_ENTRY __attribute__((aligned(HAK_CACHE_LINE)))

/* clang's -Wthread-safety reads these; gcc has no such check. */
#if defined(__clang__)
#define HAK_CAPABILITY __attribute__((capability("mutex")))
#define HAK_ACQUIRES(...) __attribute__((acquire_capability(__VA_ARGS__)))
#define HAK_TRY_ACQUIRES(...) __attribute__((try_acquire_capability(__VA_ARGS__)))
#define HAK_RELEASES(...) __attribute__((release_capability(__VA_ARGS__)))
#define HAK_REQUIRES(...) __attribute__((requires_capability(__VA_ARGS__)))
#define HAK_NO_LOCK_ANALYSIS __attribute__((no_thread_safety_analysis))
#else
#define HAK_CAPABILITY
#define HAK_ACQUIRES(...)
#define HAK_TRY_ACQUIRES(...)
#define HAK_RELEASES(...)
#define HAK_REQUIRES(...)
#define HAK_NO_LOCK_ANALYSIS
#endif

#endif
