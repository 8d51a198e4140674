/* src/base/misuse.h — the vocabulary of what users do wrong. SPDX-License-Identifier: MIT */

/*
 * One line, always the same form, so that tests and scripts can match it:
 *
 *   hakmem: fatal: free(0x7f12…): double free; class 64, owner heap 3
 *
 * class: block bytes, "large", "big" or "none"; owner: "heap N" or "none".
 */
#ifndef HAK_BASE_MISUSE_H
#define HAK_BASE_MISUSE_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum hak_misuse {
    HAK_MISUSE_NONE,
    HAK_MISUSE_NOT_OURS,    /* not a block of this allocator */
    HAK_MISUSE_INSIDE,      /* inside a block, not its start */
    HAK_MISUSE_DOUBLE_FREE, /* double free */
    HAK_MISUSE_WRONG_SIZE,  /* wrong size */
    HAK_MISUSE_CANARY       /* canary overwritten */
};

/* Values of `class_size` that are words, not bytes. */
#define HAK_CLASS_WORD_NONE ((size_t)0)
#define HAK_CLASS_WORD_LARGE (SIZE_MAX - 1)
#define HAK_CLASS_WORD_BIG SIZE_MAX

/* `function`: the entry point's name; `owner`: heap id, 0 for none. Allocates nothing. */
HAK_COLD _Noreturn void hak_misuse_fatal(const char *function, const void *pointer,
                                         enum hak_misuse what, size_t class_size, uint32_t owner);

#endif
