/* test/fake_prim/real_prim.h — the real primitives under other names. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_TEST_REAL_PRIM_H
#define HAKMEM_TEST_REAL_PRIM_H

#include "prim/prim.h"

int real_hak_prim_map(void *wanted, size_t size, enum hak_access access, void **out);
int real_hak_prim_unmap(void *addr, size_t size);
int real_hak_prim_protect(void *addr, size_t size, enum hak_access access);
int real_hak_prim_purge(void *addr, size_t size);
int real_hak_prim_purge_ranges(const struct hak_prim_range *ranges, size_t count);
int real_hak_prim_advise_huge(void *addr, size_t size);
int real_hak_prim_move(void *addr, size_t old_size, void *target, size_t new_size);
int real_hak_prim_extend(void *addr, size_t old_size, size_t new_size);
uint64_t real_hak_prim_clock_ms(void);
int real_hak_prim_read_file(const char *path, char *buffer, size_t capacity, size_t *size);
int real_hak_prim_write_file(const char *path, const char *text, size_t size);
int real_hak_prim_file_make(const char *path, int *file);
int real_hak_prim_file_open(const char *path, int *file);
int real_hak_prim_file_reserve(int file, size_t offset, size_t size);
int real_hak_prim_file_size_limit(size_t *out);
int real_hak_prim_map_file(int file, size_t offset, size_t size, void *wanted, void **out);
int real_hak_prim_peak_rss_kib(uint64_t *out);
size_t real_hak_prim_page_size(void);
int real_hak_prim_address_space_limit(size_t *out);
uintptr_t real_hak_prim_address_hint(void);
void real_hak_prim_write_error(const char *text, size_t size);
int real_hak_prim_thread_exit_register(void (*run)(void *value));
int real_hak_prim_thread_exit_arm(void *value);
int real_hak_prim_fork_register(void (*prepare)(void), void (*parent)(void), void (*child)(void));

#endif
