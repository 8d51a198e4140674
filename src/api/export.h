/* src/api/export.h — the two names of each entry point. SPDX-License-Identifier: MIT */

/*
 * Entry points are written once, as hakmem_NAME. In override builds HAK_EXPORT(NAME) gives the same
 * function the name libc has for it, HAK_EXPORT_AS() any other name; an alias costs nothing.
 */
#ifndef HAK_API_EXPORT_H
#define HAK_API_EXPORT_H

#include "base/compiler.h"

#ifndef HAK_OVERRIDE
#define HAK_OVERRIDE 1
#endif

#if HAK_OVERRIDE
#define HAK_EXPORT_AS(alias_name, name)                                                            \
    extern HAK_PUBLIC __typeof(hakmem_##name) alias_name __attribute__((alias("hakmem_" #name)))
#else
#define HAK_EXPORT_AS(alias_name, name) _Static_assert(1, "the prefixed build has one name")
#endif
#define HAK_EXPORT(name) HAK_EXPORT_AS(name, name)

#endif
