/* test/fake_prim/real_prim.c — the real primitives under other names. SPDX-License-Identifier: MIT */

/*
 * Only what the fake stands in for is renamed; waiting, messages, identity and the rest go to the
 * library as they are. prim.h, included by the sources, declares the renamed functions too, so
 * real_prim.h cannot differ from it unnoticed.
 */

#define hak_prim_map real_hak_prim_map
#define hak_prim_unmap real_hak_prim_unmap
#define hak_prim_protect real_hak_prim_protect
#define hak_prim_purge real_hak_prim_purge
#define hak_prim_move real_hak_prim_move
#define hak_prim_extend real_hak_prim_extend
#define hak_prim_advise_huge real_hak_prim_advise_huge
#define hak_prim_purge_ranges real_hak_prim_purge_ranges
#define hak_prim_clock_ms real_hak_prim_clock_ms
#define hak_prim_read_file real_hak_prim_read_file
#define hak_prim_write_file real_hak_prim_write_file
#define hak_prim_file_make real_hak_prim_file_make
#define hak_prim_file_open real_hak_prim_file_open
#define hak_prim_file_reserve real_hak_prim_file_reserve
#define hak_prim_file_size_limit real_hak_prim_file_size_limit
#define hak_prim_map_file real_hak_prim_map_file
#define hak_prim_peak_rss_kib real_hak_prim_peak_rss_kib
#define hak_prim_page_size real_hak_prim_page_size
#define hak_prim_address_space_limit real_hak_prim_address_space_limit
#define hak_prim_address_hint real_hak_prim_address_hint
#define hak_prim_write_error real_hak_prim_write_error
#define hak_prim_thread_exit_register real_hak_prim_thread_exit_register
#define hak_prim_thread_exit_arm real_hak_prim_thread_exit_arm
#define hak_prim_fork_register real_hak_prim_fork_register

#include "prim/linux/memory.c"
#include "prim/linux/process.c"
#include "prim/linux/thread.c"

#include "real_prim.h"
