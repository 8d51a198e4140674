/* cli/bench_assets.c — files that are part of the command. SPDX-License-Identifier: MIT */
/* The assembler reads them (.incbin); cli/CMakeLists.txt says where they lie, and that they were changed. */
#include "bench_assets.h"

/* NOLINTBEGIN(bugprone-macro-parentheses): names and text for the assembler */
#define ASSET(name, path)                                                                          \
    __asm__(".pushsection .rodata\n"                                                               \
            ".globl asset_" #name "\n.hidden asset_" #name "\nasset_" #name ":\n"                  \
            ".incbin \"" path "\"\n"                                                               \
            ".globl asset_" #name "_end\n.hidden asset_" #name "_end\nasset_" #name "_end:\n"      \
            ".popsection\n");                                                                      \
    extern const char asset_##name[];                                                              \
    extern const char asset_##name##_end[];                                                        \
    struct bench_asset bench_##name(void) {                                                        \
        return (struct bench_asset){asset_##name, (size_t)(asset_##name##_end - asset_##name)};    \
    }
/* NOLINTEND(bugprone-macro-parentheses) */

ASSET(page_style, HAKMEM_PAGE ".css")
ASSET(page_script, HAKMEM_PAGE ".js")
ASSET(uplot_style, HAKMEM_UPLOT "/uPlot.min.css")
ASSET(uplot_script, HAKMEM_UPLOT "/uPlot.iife.min.js")
ASSET(uplot_licence, HAKMEM_UPLOT "/LICENSE")
