/* src/api/operators.c — C++ operator new and delete, without a C++ compiler. SPDX-License-Identifier: MIT */

/*
 * Exported because through libstdc++'s own `new` a program pays a call more for each pair. The names
 * are the Itanium ABI's; they are the same for libstdc++ and libc++ on 64-bit Linux. What `new` does
 * when memory is short (C++17 [new.delete.single]) is in the C++ library, which is reached by weak
 * references and so never pulled into a C program. docs/decisions/cxx-operators.md has the cases in
 * which there is no such library, or another one.
 */

#include "api/export.h"

#if HAK_OVERRIDE

#include <hakmem/hakmem.h>
#include <stdint.h>

#include "api/block.h"
#include "api/observed.h"
#include "base/fatal.h"

typedef void (*new_handler)(void);
extern new_handler _ZSt15get_new_handlerv(void) __attribute__((weak)); /* std::get_new_handler */
extern _Noreturn void _ZSt17__throw_bad_allocv(void) __attribute__((weak));

/* One call, however often it tries. */
static void operator_count(size_t size, const void *p) {
    if (HAK_UNLIKELY(hak_stat_file != NULL))
        hak_observed_request(HAK_ENTRY_NEW, size, p);
}

/* Tries, calls the handler, tries again, until there is no handler; then throws, or returns NULL. */
static HAK_COLD void *operator_new_slow(size_t size, size_t align, bool may_throw) {
    if (HAK_UNLIKELY(hak_stat_file != NULL) && align == HAK_BLOCK_ALIGN) {
        void *p = hak_observed_take(size, HAK_ENTRY_NEW);
        if (p)
            return p;
    }
    for (;;) {
        void *p = hak_block_alloc((struct hak_block_request){size, align, false});
        if (p) {
            operator_count(size, p);
            return p;
        }
        new_handler handler = _ZSt15get_new_handlerv ? _ZSt15get_new_handlerv() : NULL;
        if (handler == NULL)
            break;
        handler(); /* may throw: this file is compiled with unwind tables */
    }
    operator_count(size, NULL);
    if (!may_throw)
        return NULL;
    if (_ZSt17__throw_bad_allocv == NULL)
        hak_fatal("operator new: out of memory, and no C++ library to throw std::bad_alloc");
    _ZSt17__throw_bad_allocv();
}

HAK_INLINE void *operator_new(size_t size, bool may_throw) {
    void *p = block_pop(size);
    return HAK_LIKELY(p != NULL) ? p : operator_new_slow(size, HAK_BLOCK_ALIGN, may_throw);
}

static void *operator_new_aligned(size_t size, size_t align, bool may_throw) {
    return operator_new_slow(size, align > HAK_BLOCK_ALIGN ? align : HAK_BLOCK_ALIGN, may_throw);
}

HAK_INLINE void operator_delete(void *p, size_t size, bool is_aligned) {
    entry_free(HAK_ENTRY_DELETE, "delete", p, size, is_aligned);
}

#define OPERATOR_NEW(name, ...)                                                                    \
    HAK_PUBLIC void *name(__VA_ARGS__);                                                            \
    HAK_FAST_ENTRY HAK_PUBLIC void *name(__VA_ARGS__)
#define OPERATOR_DELETE(name, ...)                                                                 \
    HAK_PUBLIC void name(__VA_ARGS__);                                                             \
    HAK_FAST_ENTRY HAK_PUBLIC void name(__VA_ARGS__)

/* new, new[]: plain, nothrow, aligned, aligned nothrow */
OPERATOR_NEW(_Znwm, size_t n) {
    return operator_new(n, true);
}
OPERATOR_NEW(_Znam, size_t n) {
    return operator_new(n, true);
}
OPERATOR_NEW(_ZnwmRKSt9nothrow_t, size_t n, const void *t) {
    return (void)t, operator_new(n, false);
}
OPERATOR_NEW(_ZnamRKSt9nothrow_t, size_t n, const void *t) {
    return (void)t, operator_new(n, false);
}
OPERATOR_NEW(_ZnwmSt11align_val_t, size_t n, size_t a) {
    return operator_new_aligned(n, a, true);
}
OPERATOR_NEW(_ZnamSt11align_val_t, size_t n, size_t a) {
    return operator_new_aligned(n, a, true);
}
OPERATOR_NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, size_t n, size_t a, const void *t) {
    return (void)t, operator_new_aligned(n, a, false);
}
OPERATOR_NEW(_ZnamSt11align_val_tRKSt9nothrow_t, size_t n, size_t a, const void *t) {
    return (void)t, operator_new_aligned(n, a, false);
}

/* delete, delete[]: plain, nothrow, sized, aligned, aligned nothrow, sized aligned */
OPERATOR_DELETE(_ZdlPv, void *p) {
    operator_delete(p, HAK_SIZE_UNKNOWN, false);
}
OPERATOR_DELETE(_ZdaPv, void *p) {
    operator_delete(p, HAK_SIZE_UNKNOWN, false);
}
OPERATOR_DELETE(_ZdlPvRKSt9nothrow_t, void *p, const void *t) {
    (void)t;
    operator_delete(p, HAK_SIZE_UNKNOWN, false);
}
OPERATOR_DELETE(_ZdaPvRKSt9nothrow_t, void *p, const void *t) {
    (void)t;
    operator_delete(p, HAK_SIZE_UNKNOWN, false);
}
OPERATOR_DELETE(_ZdlPvm, void *p, size_t n) {
    operator_delete(p, n, false);
}
OPERATOR_DELETE(_ZdaPvm, void *p, size_t n) {
    operator_delete(p, n, false);
}
OPERATOR_DELETE(_ZdlPvSt11align_val_t, void *p, size_t a) {
    (void)a;
    operator_delete(p, HAK_SIZE_UNKNOWN, true);
}
OPERATOR_DELETE(_ZdaPvSt11align_val_t, void *p, size_t a) {
    (void)a;
    operator_delete(p, HAK_SIZE_UNKNOWN, true);
}
OPERATOR_DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, void *p, size_t a, const void *t) {
    (void)a;
    (void)t;
    operator_delete(p, HAK_SIZE_UNKNOWN, true);
}
OPERATOR_DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, void *p, size_t a, const void *t) {
    (void)a;
    (void)t;
    operator_delete(p, HAK_SIZE_UNKNOWN, true);
}
OPERATOR_DELETE(_ZdlPvmSt11align_val_t, void *p, size_t n, size_t a) {
    (void)a;
    operator_delete(p, n, true);
}
OPERATOR_DELETE(_ZdaPvmSt11align_val_t, void *p, size_t n, size_t a) {
    (void)a;
    operator_delete(p, n, true);
}

#else
typedef int operators_exist_only_in_override_builds; /* a translation unit must not be empty */
#endif
