/* test/death/misuse.h — the table of misuses. SPDX-License-Identifier: MIT */
/*
 * One line per case: name, how it is run, the wrong call, the size of the block, an offset (or a
 * wrong size), a text. What the library must answer is in run_death.py, under the same name.
 */
#ifndef HAKMEM_TEST_MISUSE_H
#define HAKMEM_TEST_MISUSE_H

#include "death.h"

enum { MID_MAX = 65536 };
#define ONE_PAST PTRDIFF_MAX

/* clang-format off */
#define MISUSE_CASES(X)                                                                            \
    X("first_call_free_stack",     run_foreign, call_free, 0, 0, "stack")                          \
    X("first_call_realloc_wild",   run_foreign, call_realloc, 0, 0, "8000000000000000")            \
    X("first_call_usable_wild",    run_foreign, call_usable_size, 0, 0, "10")                      \
    X("free_stack",                run_foreign, call_free, 100, 0, "stack")                        \
    X("free_static",               run_foreign, call_free, 100, 0, "static")                       \
    X("free_thread_local",         run_foreign, call_free, 100, 0, "thread local")                 \
    X("free_literal",              run_foreign, call_free, 100, 0, "literal")                      \
    X("free_code",                 run_foreign, call_free, 100, 0, "code")                         \
    X("free_environment",          run_foreign, call_free, 100, 0, "environment")                  \
    X("free_mmap",                 run_foreign, call_free, 100, 0, "mmap")                         \
    X("free_mmap_unit_aligned",    run_foreign, call_free, 100, 0, "mmap, unit-aligned")           \
    X("free_mmap_no_access",       run_foreign, call_free, 100, 0, "mmap, no access")              \
    X("free_far",                  run_foreign, call_free, 100, 0, "far")                          \
    X("free_very_far",             run_foreign, call_free, 100, 0, "very far")                     \
    X("free_unmapped",             run_foreign, call_free, 100, 0, "unmapped")                     \
    X("free_libc_block",           run_foreign, call_free, 100, 0, "libc's block")                 \
    X("free_library_code",         run_foreign, call_free, 100, 0, "library's code")               \
    X("free_one",                  run_foreign, call_free, 100, 0, "1")                            \
    X("free_null_page",            run_foreign, call_free, 100, 0, "10")                           \
    X("free_noncanonical",         run_foreign, call_free, 100, 0, "8000000000000000")             \
    X("free_first_noncanonical",   run_foreign, call_free, 100, 0, "800000000000")                 \
    X("free_last_user_page",       run_foreign, call_free, 100, 0, "7ffffffff000")                 \
    X("free_kernel_half",          run_foreign, call_free, 100, 0, "ffff800000000010")             \
    X("free_all_ones",             run_foreign, call_free, 100, 0, "ffffffffffffffff")             \
    X("free_all_ones_aligned",     run_foreign, call_free, 100, 0, "fffffffffffffff0")             \
    X("free_ascii",                run_foreign, call_free, 100, 0, "4141414141414140")             \
    X("cfree_stack",               run_foreign, call_cfree, 100, 0, "stack")                       \
    X("libc_free_stack",           run_foreign, call_libc_free, 100, 0, "stack")                   \
    X("realloc_stack",             run_foreign, call_realloc, 100, 0, "stack")                     \
    X("realloc_mmap",              run_foreign, call_realloc, 100, 0, "mmap")                      \
    X("realloc_unmapped",          run_foreign, call_realloc, 100, 0, "unmapped")                  \
    X("realloc_noncanonical",      run_foreign, call_realloc, 100, 0, "8000000000000000")          \
    X("realloc_zero_static",       run_foreign, call_realloc_zero, 100, 0, "static")               \
    X("reallocarray_stack",        run_foreign, call_reallocarray, 100, 0, "stack")                \
    X("usable_stack",              run_foreign, call_usable_size, 100, 0, "stack")                 \
    X("usable_unmapped",           run_foreign, call_usable_size, 100, 0, "unmapped")              \
    X("usable_all_ones",           run_foreign, call_usable_size, 100, 0, "ffffffffffffffff")      \
    X("free_sized_stack",          run_foreign, call_free_sized, 100, 0, "stack")                  \
    X("free_aligned_sized_mmap",   run_foreign, call_free_aligned_sized, 100, 0, "mmap")           \
    X("sdallocx_static",           run_foreign, call_sdallocx, 100, 0, "static")                   \
    X("delete_stack",              run_foreign, call_delete, 100, 0, "stack")                      \
    X("delete_array_static",       run_foreign, call_delete_array, 100, 0, "static")               \
    X("large_twice",               run_twice, call_free, 400000, 0, NULL)                          \
    X("large_1m_twice",            run_twice, call_free, 1 << 20, 0, NULL)                         \
    X("large_63m_twice",           run_twice, call_free, 63 << 20, 0, NULL)                        \
    X("large_twice_by_other",      run_owner_then_other, call_free, 400000, 0, NULL)               \
    X("large_other_twice",         run_other_twice, call_free, 400000, 0, NULL)                    \
    X("large_twice_merged",        run_large_merged, call_free, 400000, 0, NULL)                   \
    X("large_realloc_freed",       run_twice, call_realloc, 400000, 0, NULL)                       \
    X("large_usable_freed",        run_twice, call_usable_size, 400000, 0, NULL)                   \
    X("large_free_sized_freed",    run_twice, call_free_sized, 400000, 0, NULL)                    \
    X("large_delete_freed",        run_twice, call_delete, 400000, 0, NULL)                        \
    X("large_delete_nothrow_freed",run_twice, call_delete_nothrow, 400000, 0, NULL)                \
    X("large_inside_1",            run_inside, call_free, 400000, 1, NULL)                         \
    X("large_inside_16",           run_inside, call_free, 400000, 16, NULL)                        \
    X("large_inside_4096",         run_inside, call_free, 400000, 4096, NULL)                      \
    X("large_inside_unit",         run_inside, call_free, 400000, 65536, NULL)                     \
    X("large_inside_last",         run_inside, call_free, 400000, 399984, NULL)                    \
    X("large_one_past",            run_inside, call_free, 400000, ONE_PAST, NULL)                  \
    X("large_realloc_inside",      run_inside, call_realloc, 400000, 4096, NULL)                   \
    X("large_realloc_inside_unit", run_inside, call_realloc, 400000, 131072, NULL)                 \
    X("large_usable_inside",       run_inside, call_usable_size, 400000, 65536, NULL)              \
    X("large_delete_inside",       run_inside, call_delete_array, 400000, 8, NULL)                 \
    X("big_twice",                 run_twice, call_free, 80 << 20, 0, NULL)                        \
    X("big_twice_by_other",        run_owner_then_other, call_free, 80 << 20, 0, NULL)             \
    X("big_realloc_freed",         run_twice, call_realloc, 80 << 20, 0, NULL)                     \
    X("big_usable_freed",          run_twice, call_usable_size, 80 << 20, 0, NULL)                 \
    X("big_inside_16",             run_inside, call_free, 80 << 20, 16, NULL)                      \
    X("big_inside_middle",         run_inside, call_free, 80 << 20, 40 << 20, NULL)                \
    X("big_before",                run_inside, call_free, 80 << 20, -4096, NULL)                   \
    X("big_realloc_inside",        run_inside, call_realloc, 80 << 20, 65536, NULL)                \
    X("tiny_twice",                run_twice, call_free, 64, 0, NULL)                              \
    X("tiny_16_twice",             run_twice, call_free, 16, 0, NULL)                              \
    X("tiny_1000_twice",           run_twice, call_free, 1000, 0, NULL)                            \
    X("mid_2000_twice",            run_twice, call_free, 2000, 0, NULL)                            \
    X("mid_20000_twice",           run_twice, call_free, 20000, 0, NULL)                           \
    X("mid_65500_twice",           run_twice, call_free, 65500, 0, NULL)                           \
    X("zero_size_twice",           run_twice, call_free, 0, 0, NULL)                               \
    X("tiny_interleaved",          run_interleaved, call_free, 64, 1, NULL)                        \
    X("tiny_delayed",              run_interleaved, call_free, 64, 300, NULL)                      \
    X("mid_delayed",               run_interleaved, call_free, 20000, 300, NULL)                   \
    X("large_interleaved",         run_interleaved, call_free, 400000, 1, NULL)                    \
    X("large_delayed",             run_interleaved, call_free, 400000, 100, NULL)                  \
    X("tiny_before",               run_inside, call_delete_array, 64, -8, NULL)                    \
    X("tiny_cfree_twice",          run_twice, call_cfree, 64, 0, NULL)                             \
    X("tiny_delete_twice",         run_twice, call_delete, 64, 0, NULL)                            \
    X("tiny_free_sized_twice",     run_twice, call_free_sized, 64, 0, NULL)                        \
    X("tiny_sdallocx_twice",       run_twice, call_sdallocx, 64, 0, NULL)                          \
    X("tiny_realloc_zero_twice",   run_twice, call_realloc_zero, 64, 0, NULL)                      \
    X("tiny_realloc_freed",        run_twice, call_realloc, 64, 0, NULL)                           \
    X("tiny_realloc_smaller_freed",run_twice, call_realloc_smaller, 64, 0, NULL)                   \
    X("tiny_usable_freed",         run_twice, call_usable_size, 64, 0, NULL)                       \
    X("tiny_inside_1",             run_inside, call_free, 64, 1, NULL)                             \
    X("tiny_inside_8",             run_inside, call_free, 64, 8, NULL)                             \
    X("tiny_inside_16",            run_inside, call_free, 64, 16, NULL)                            \
    X("tiny_inside_last",          run_inside, call_free, 64, 63, NULL)                            \
    X("mid_inside_16",             run_inside, call_free, 20000, 16, NULL)                         \
    X("mid_inside_4096",           run_inside, call_free, 20000, 4096, NULL)                       \
    X("tiny_realloc_inside",       run_inside, call_realloc, 64, 16, NULL)                         \
    X("mid_realloc_inside",        run_inside, call_realloc, 20000, 8192, NULL)                    \
    X("tiny_realloc_same_freed",   run_twice, call_realloc_same, 64, 0, NULL)                      \
    X("tiny_realloc_same_inside_1",run_inside, call_realloc_same, 64, 1, NULL)                     \
    X("tiny_realloc_same_inside",  run_inside, call_realloc_same, 1000, 16, NULL)                  \
    X("tiny_realloc_same_last",    run_inside, call_realloc_same, 64, 63, NULL)                    \
    X("mid_realloc_same_inside",   run_inside, call_realloc_same, 2000, 1024, NULL)                \
    X("mid_realloc_same_inside_2", run_inside, call_realloc_same, 20000, 8192, NULL)               \
    X("tiny_usable_inside",        run_inside, call_usable_size, 64, 16, NULL)                     \
    X("tiny_delete_inside",        run_inside, call_delete_array, 64, 8, NULL)                     \
    X("tiny_twice_by_other",       run_owner_then_other, call_free, 64, 0, NULL)                   \
    X("mid_twice_by_other",        run_owner_then_other, call_free, 20000, 0, NULL)                \
    X("tiny_other_twice",          run_other_twice, call_free, 64, 0, NULL)                        \
    X("mid_other_twice",           run_other_twice, call_free, 20000, 0, NULL)                     \
    X("tiny_two_others_twice",     run_two_others, call_free, 64, 0, NULL)                         \
    X("mid_two_others_twice",      run_two_others, call_free, 3000, 0, NULL)                       \
    X("tiny_inside_by_other",      run_inside_by_other, call_free, 64, 16, NULL)                   \
    X("tiny_misaligned_by_other",  run_inside_by_other, call_free, 64, 1, NULL)                    \
    X("mid_inside_by_other",       run_inside_by_other, call_free, 20000, 8192, NULL)              \
    X("thread_owns_twice",         run_owner_is_thread, call_free, 20000, 0, NULL)                 \
    X("thread_owns_inside",        run_owner_is_thread, call_free, 20000, 16, NULL)                \
    X("beside_aligned_before",     run_beside_aligned, call_free, 0, -16, NULL)                    \
    X("beside_aligned_behind",     run_beside_aligned, call_free, 0, 16, NULL)                     \
    X("size_free_sized_small",     run_wrong_size, NULL, 1000, 16, "free_sized")                   \
    X("size_free_sized_large",     run_wrong_size, NULL, 100, 5000, "free_sized")                  \
    X("size_free_sized_zero",      run_wrong_size, NULL, 1000, 0, "free_sized")                    \
    X("size_free_aligned_sized",   run_wrong_size, NULL, 100, 5000, "free_aligned_sized")          \
    X("size_sdallocx",             run_wrong_size, NULL, 3000, 100, "sdallocx")                    \
    X("size_delete",               run_wrong_size, NULL, 64, 640, "_ZdlPvm")                       \
    X("size_delete_array",         run_wrong_size, NULL, 640, 64, "_ZdaPvm")                       \
    X("size_delete_aligned",       run_wrong_size, NULL, 64, 640, "_ZdlPvmSt11align_val_t")        \
    X("size_large_block_small",    run_wrong_size, NULL, 1 << 20, 100, "free_sized")               \
    X("size_small_block_large",    run_wrong_size, NULL, 100, 1 << 20, "sdallocx")                 \
    X("size_big_block_small",      run_wrong_size, NULL, 80 << 20, 100, "_ZdlPvm")                 \
    X("size_right",                run_wrong_size, NULL, 1000, 1000, "free_sized")                 \
    X("size_right_large",          run_wrong_size, NULL, 1 << 20, 1 << 20, "sdallocx")             \
    X("size_right_delete",         run_wrong_size, NULL, 33, 33, "_ZdlPvm")                        \
    X("size_right_resized_tiny",   run_right_resized, NULL, 100, 0, NULL)                          \
    X("size_right_resized_mid",    run_right_resized, NULL, 9000, 0, NULL)                         \
    X("size_right_resized_large",  run_right_resized, NULL, 700000, 0, NULL)                       \
    X("size_right_resized_big",    run_right_resized, NULL, 40 << 20, 0, NULL)                     \
    X("size_right_aligned",        run_right_aligned, NULL, 20, 512, NULL)                         \
    X("size_right_aligned_large",  run_right_aligned, NULL, 20, 1 << 20, NULL)                     \
    X("size_right_aligned_zero",   run_right_aligned, NULL, 0, 1 << 20, NULL)                      \
    X("size_right_aligned_big",    run_right_aligned, NULL, 20, 1 << 28, NULL)                     \
    X("fork_child_large_twice",    run_in_fork_child, call_free, 400000, 0, NULL)                  \
    X("thread_exit_large_twice",   run_in_thread_exit, NULL, 400000, 0, NULL)                      \
    X("atexit_large_twice",        run_in_atexit, NULL, 400000, 0, NULL)                           \
    X("sigabrt_ignored",           run_abort_ignored, call_free, 400000, 0, NULL)                  \
    X("sigabrt_blocked",           run_abort_blocked, call_free, 400000, 0, NULL)                  \
    X("stderr_closed",             run_stderr_closed, call_free, 400000, 0, NULL)                  \
    X("canary_tiny",               run_overflow, call_free, 50, 0, NULL)                           \
    X("canary_mid",                run_overflow, call_free, 5000, 0, NULL)                         \
    X("canary_large",              run_overflow, call_free, 400000, 0, NULL)                       \
    X("canary_realloc",            run_overflow, call_realloc, 50, 0, NULL)
/* clang-format on */

#endif
