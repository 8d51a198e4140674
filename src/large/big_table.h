/* src/large/big_table.h — where each Big block ends. SPDX-License-Identifier: MIT */

/*
 * A Big block has no header: a page before it would keep the kernel from moving block and header as
 * one mapping of huge pages. What is known of it lies here. Every Big block starts at a multiple of
 * 2 MiB, so the window's pieces of 2 MiB number them, and one word each says it all:
 *
 *   63                  32 31                    0
 *   |  reserved / 64 KiB   |  usable / 4 KiB     |
 *
 * Words lie in leaves of 4 KiB, one for each GiB of the window where a Big block ever started; leaves
 * are hakmem's own memory and are never freed, so a word can be read at any time.
 *
 * All functions: any thread.
 */
#ifndef HAK_LARGE_BIG_TABLE_H
#define HAK_LARGE_BIG_TABLE_H

#include <stdbool.h>

#include "arena/unit.h"
#include "base/compiler.h"
#include "vm/vm.h"

#define HAK_BIG_ALIGN HAK_SUPERSLAB_SIZE /* bytes: what every Big block starts at a multiple of */

/* Makes room for the word of a block that starts there. False: no memory. */
HAK_NODISCARD bool hak_big_table_cover(const void *start);
/* Writes the word; covered before. Only the block's holder does. */
void hak_big_table_set(const struct hak_vm_extent *extent);
/* The block at `start`; sizes are 0 where none ever was. */
struct hak_vm_extent hak_big_table_get(const void *start);

#endif
