/* test/fake_prim/fake_prim.h — the kernel as tests want it: it fails on command. SPDX-License-Identifier: MIT */

/*
 * Implements src/prim/prim.h on top of the real primitives. Every call is counted; a *script* says
 * which of them fail; a *machine* says what kind of system is pretended. Whatever is not refused is
 * done for real, so the memory is real memory.
 *
 *   library -> hak_prim_map -> script: fail this one?     -> the errno value it names
 *                           -> machine: within the limit? -> ENOMEM
 *                           -> real_hak_prim_map          -> the kernel
 *
 * The contract of prim.h is watched at the same time: each breach is counted (fake_prim_breaches)
 * and told on stderr. A breach is answered with EINVAL and never reaches the kernel, so a stray
 * unmap is a failed test and not a crash of the test.
 *
 * The machine is looked at by start-up, before main(): a process that wants another one than the
 * default is started with it in the environment (fake_prim_describe()).
 */
#ifndef HAKMEM_TEST_FAKE_PRIM_H
#define HAKMEM_TEST_FAKE_PRIM_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fake_call {
    FAKE_MAP,
    FAKE_UNMAP,
    FAKE_PROTECT,
    FAKE_PURGE,
    FAKE_PURGE_RANGES,
    FAKE_HUGE, /* hak_prim_advise_huge */
    FAKE_MOVE,
    FAKE_EXTEND,
    FAKE_LIMIT,         /* hak_prim_address_space_limit */
    FAKE_EXIT_REGISTER, /* hak_prim_thread_exit_register */
    FAKE_EXIT_ARM,      /* hak_prim_thread_exit_arm */
    FAKE_FORK_REGISTER, /* hak_prim_fork_register */
    FAKE_READ_FILE,     /* hak_prim_read_file */
    FAKE_WRITE_FILE,    /* hak_prim_write_file */
    FAKE_FILE_MAKE,     /* hak_prim_file_make */
    FAKE_FILE_OPEN,     /* hak_prim_file_open */
    FAKE_FILE_RESERVE,  /* hak_prim_file_reserve */
    FAKE_FILE_LIMIT,    /* hak_prim_file_size_limit */
    FAKE_MAP_FILE,      /* hak_prim_map_file */
    FAKE_PEAK_RSS,      /* hak_prim_peak_rss_kib */
    FAKE_CALL_COUNT,
    FAKE_ANY_MEMORY = FAKE_CALL_COUNT, /* map … extend, numbered as one series */
    FAKE_ANY,                          /* all of the above */
    FAKE_SERIES_COUNT
};

/* Which calls fail. {0}: none. */
struct fake_script {
    enum fake_call series;    /* the calls that are counted and may fail */
    unsigned long first;      /* 1: the next call of the series; 0: none by number */
    unsigned long count;      /* how many fail from `first` on; ULONG_MAX: all */
    unsigned random_permille; /* and each call of the series fails with this probability */
    uint64_t seed;            /* of the random failures */
    int error;                /* errno value; 0: by turns ENOMEM, EAGAIN, EINVAL, EPERM */
};

/* What system is pretended. {0}: the one we are on. */
struct fake_machine {
    size_t page_size;     /* bytes: 4, 16 or 64 KiB; 0: the real one */
    size_t address_limit; /* bytes that may be mapped at a time, told like RLIMIT_AS; 0: the real */
    bool has_no_hint;     /* no quiet place is known: the kernel chooses */
    uint64_t
        places; /* a seed: the fake chooses all places, the same each time; 0: the kernel does */
    bool is_before_4_17; /* a place that is taken is no error: the kernel chooses another */
};

/* Starts a script: numbers of calls and failures begin at 0 again. */
void fake_prim_play(struct fake_script script);

/* Calls of a series since the script started, those that failed too. */
unsigned long fake_prim_calls(enum fake_call series);
/* Those that returned an error, whoever refused: script, machine or system. */
unsigned long fake_prim_failures(enum fake_call series);

/*
 * A hash of all calls since the process started: which, in what order, with what addresses and sizes, how
 * answered. With `places` and one thread the same program gives the same.
 */
uint64_t fake_prim_trace(void);

/*
 * Runs `hook` inside each call of that kind, before the kernel is asked, in the thread that makes it;
 * not inside the calls that it makes itself. NULL: no more.
 */
void fake_prim_on(enum fake_call call, void (*hook)(void));

/* Makes hak_prim_clock_ms() go ahead of the real clock by as much more. */
void fake_prim_advance_clock(uint64_t ms);
/* From now on it moves only when it is told to. */
void fake_prim_stop_clock(void);

/*
 * From now on the files of the process's control group say that it may use so many bytes; 0: the real ones.
 * The library looks once.
 */
void fake_prim_limit_group(size_t bytes);

/*
 * From now on no file of the system is touched: what is read comes from `read`, whose result is the errno
 * value; what is written is swallowed; a file that is made lies in memory and is the one opened later.
 */
typedef int fake_prim_read(const char *path, char *buffer, size_t capacity, size_t *size);
void fake_prim_serve_files(fake_prim_read *read);

/* Every message goes to `hook` and not to stderr. NULL: to stderr again. */
void fake_prim_on_message(void (*hook)(const char *text, size_t size));

/*
 * Begins anew on another machine, as if nothing had been called yet: unmaps all that is mapped, forgets
 * scripts, hooks, files and breaches. The clock stands still. What libc cannot take back, the hooks of exiting
 * threads and of fork, stays registered once. The caller forgets, likewise, all that the library remembers.
 */
void fake_prim_restart(struct fake_machine machine);

/* Bytes mapped now, and the most since fake_prim_reset_peak(). */
size_t fake_prim_mapped(void);
size_t fake_prim_mapped_peak(void);
void fake_prim_reset_peak(void);

/*
 * Breaches of contract since the process started. Of prim.h's: addresses or sizes that are no multiples
 * of the OS page, calls on memory that was not mapped here, hooks registered twice. Of docs/concurrency.md's,
 * in debug builds: with a lock held nothing but growth is asked of the kernel, and what undoes a growth
 * that was refused.
 */
unsigned long fake_prim_breaches(void);

/* Writes `FAKE_PRIM=…` for the environment of a process to be started with machine and script. */
#define FAKE_PRIM_TEXT_SIZE 160
void fake_prim_describe(char text[FAKE_PRIM_TEXT_SIZE], struct fake_machine machine,
                        struct fake_script script);

#endif
