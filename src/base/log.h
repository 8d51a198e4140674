/* src/base/log.h — slow-path stages traced on stderr, in debug builds only. SPDX-License-Identifier: MIT */

/*
 * HAKMEM_LOG=pool,arena … names the stages. In release builds the calls compile to nothing and not
 * even their strings remain (a test looks for them). Every line starts with "hakmem-trace".
 */
#ifndef HAK_BASE_LOG_H
#define HAK_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum hak_log_stage {
    HAK_LOG_VM,
    HAK_LOG_ARENA,
    HAK_LOG_POOL,
    HAK_LOG_SLAB,
    HAK_LOG_LARGE,
    HAK_LOG_HEAP
};

/* The bit of a stage's name; 0 when the name is none, and always 0 in release builds. */
uint32_t hak_log_stage_bit(const char *name, size_t size);

#if HAK_DEBUG >= 1
void hak_log_enable(uint32_t stages);
void hak_log_line(enum hak_log_stage stage, const char *event, uint64_t a, uint64_t b);
#define hak_log(stage, event, a, b) hak_log_line((stage), (event), (uint64_t)(a), (uint64_t)(b))
#else
#define hak_log(stage, event, a, b) ((void)sizeof(a), (void)sizeof(b))
#endif

#endif
