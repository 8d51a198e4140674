/* src/prim/prim.h — the operating system behind one contract. SPDX-License-Identifier: MIT */

/*
 * Everything hakmem asks of the kernel, libc and the processor's thread register. Below this line
 * there is no policy, no option, no message and no counter; above it there is no system header for
 * memory and no raw system call. test/fake_prim/ implements the same contract with a kernel that
 * fails on command.
 *
 * Preconditions for all: addresses and sizes handed to the memory primitives are multiples of the
 * OS page. Results: `int` is 0 or an errno value; errno itself is never touched. Every function may
 * be called from any thread, before libc is initialized, and allocates nothing, unless it says so.
 */
#ifndef HAK_PRIM_PRIM_H
#define HAK_PRIM_PRIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum hak_access { HAK_ACCESS_NONE, HAK_ACCESS_READ, HAK_ACCESS_READ_WRITE };

/* memory: only src/vm calls these */

/*
 * Maps private anonymous memory. With `wanted` set, EEXIST when something else lives there; a kernel
 * before 4.17 places it elsewhere instead: the caller compares. With NULL the kernel chooses. Never
 * executable, never charged before it is made writable.
 */
int hak_prim_map(void *wanted, size_t size, enum hak_access access, void **out);
int hak_prim_unmap(void *addr, size_t size);
int hak_prim_protect(void *addr, size_t size, enum hak_access access);
/* Gives the physical memory back at once; the range stays mapped and reads as zero. */
int hak_prim_purge(void *addr, size_t size);

struct hak_prim_range {
    void *start; /* as struct iovec: the kernel reads it */
    size_t size; /* bytes */
};
enum { HAK_PRIM_RANGES_MAX = 1024 }; /* UIO_MAXIOV */
/*
 * hak_prim_purge() of up to HAK_PRIM_RANGES_MAX ranges by one call (process_madvise(2) on oneself,
 * Linux 6.13). Any error: nothing is known of what was purged.
 */
int hak_prim_purge_ranges(const struct hak_prim_range *ranges, size_t count);
/* Asks for huge pages where the range is touched from now on. */
int hak_prim_advise_huge(void *addr, size_t size);
/*
 * Moves a mapping, contents and all, to `target`, whose own mapping vanishes: mremap(2). The old range
 * is one mapping, else EFAULT; `new_size` >= `old_size`, what is added reads as zero. On error the old
 * range is as it was, but nothing may be mapped at the target any more.
 */
int hak_prim_move(void *addr, size_t old_size, void *target, size_t new_size);

/*
 * Makes a mapping longer where it is: mremap(2). What is added reads as zero. ENOMEM when something
 * lies behind it, or by a limit; EFAULT when the old range is not one mapping.
 */
int hak_prim_extend(void *addr, size_t old_size, size_t new_size);

/*
 * Maps `size` bytes of an open file from `offset` on, readable, writable and shared with all who map them.
 * With `wanted` set in place of what is mapped there, else where the kernel chooses.
 */
int hak_prim_map_file(int file, size_t offset, size_t size, void *wanted, void **out);

/* end of memory */

size_t hak_prim_page_size(void);               /* bytes: 4, 16 or 64 KiB */
int hak_prim_address_space_limit(size_t *out); /* bytes, RLIMIT_AS; SIZE_MAX when unlimited */
uintptr_t hak_prim_address_hint(void);         /* a quiet, randomized place for mappings; 0: none */

bool hak_prim_is_secure(void);     /* AT_SECURE: do not trust the environment */
char **hak_prim_environment(void); /* NULL before libc knows it */
uint32_t hak_prim_process_id(void);
uint32_t hak_prim_parent_id(void);  /* of the process that started this one */
const char *hak_prim_program(void); /* path of the program as it was executed; "" if not known */
int hak_prim_peak_rss_kib(uint64_t *out); /* the most memory the process had resident so far */
/*
 * One read of up to `capacity` bytes from the start of a file, *size: how many; one write of `size` bytes
 * to a file made anew. openat, read or write, close. 0, or EIO: it was opened, but not all was done, or
 * the errno value of openat, the only call then.
 */
int hak_prim_read_file(const char *path, char *buffer, size_t capacity, size_t *size);
int hak_prim_write_file(const char *path, const char *text, size_t size);
/*
 * Files that stay open for a moment. make: a new one, for the owner alone; EEXIST when the name is taken, a
 * link too. open: an existing one. Both *file, closed on exec.
 */
int hak_prim_file_make(const char *path, int *file);
int hak_prim_file_open(const char *path, int *file);
/* Gives the file `size` bytes from `offset` on that are sure to be there: writing to them cannot fail. */
int hak_prim_file_reserve(int file, size_t offset, size_t size);
void hak_prim_file_close(int file);
/* Bytes a file may have, RLIMIT_FSIZE: reserving more sends SIGXFSZ. SIZE_MAX when unlimited. */
int hak_prim_file_size_limit(size_t *out);

/* Monotonic, coarse (a few milliseconds), no system call. Never 0. */
uint64_t hak_prim_clock_ms(void);
/* The same clock in nanoseconds, fine; no system call where the machine's clock can be read without. */
uint64_t hak_prim_clock_ns(void);

void hak_prim_write_error(const char *text, size_t size); /* stderr, unbuffered, best effort */
_Noreturn void hak_prim_abort(void);

/* Sleeps while *word == expected; may wake for no reason. */
void hak_prim_futex_wait(_Atomic uint32_t *word, uint32_t expected);
void hak_prim_futex_wake_one(_Atomic uint32_t *word);

/* Unique among live threads, never 0, the same for the thread's whole life and after fork. */
uintptr_t hak_prim_thread_self(void);

/*
 * Thread exit: `run` is called with the value last armed by the exiting thread, after destructors
 * that ran before ours and possibly before others; it may arm again, which calls it once more in
 * the next round. Registering twice is an error of ours. Arming may allocate (a thread that uses
 * more than 32 pthread keys), so the caller's heap must be usable by then.
 */
int hak_prim_thread_exit_register(void (*run)(void *value));
int hak_prim_thread_exit_arm(void *value);

/*
 * Starts a detached thread with a small stack and all signals blocked; `run` does not return. May
 * allocate. 0 or an errno value.
 */
int hak_prim_thread_start(void (*run)(void));
void hak_prim_sleep_ms(uint32_t ms);

/* fork: prepare before, parent and child after. May allocate (musl). */
int hak_prim_fork_register(void (*prepare)(void), void (*parent)(void), void (*child)(void));

#endif
