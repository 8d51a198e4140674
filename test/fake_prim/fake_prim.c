/* test/fake_prim/fake_prim.c — the kernel as tests want it: it fails on command. SPDX-License-Identifier: MIT */

#include "fake_prim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/lock.h"
#include "prim/prim.h"
#include "real_prim.h"

enum { FAKE_RANGES_MAX = 4096 };

/* ms; what the clock of a restarted fake says. */
#define FAKE_CLOCK_RESTARTED UINT64_C(1000000)

struct fake_range {
    uintptr_t start;
    uintptr_t end;
};

static struct {
    struct fake_machine machine; /* fixed before start-up */
    struct fake_script script;   /* written while no other thread runs */
    _Atomic unsigned long calls[FAKE_SERIES_COUNT];
    _Atomic unsigned long failures[FAKE_SERIES_COUNT];
    _Atomic unsigned long breaches;
    _Atomic unsigned long refused_moves;
    _Atomic uint64_t clock_ahead_ms;
    _Atomic uint64_t clock_stopped_at; /* 0: it runs */
    _Atomic size_t group_limit;        /* bytes; 0: the real files are read */
    _Atomic(void (*)(void)) hooks[FAKE_CALL_COUNT];
    _Atomic bool is_exit_registered;
    _Atomic bool is_fork_registered;
    bool is_restarted;
    bool is_exit_real;                                     /* libc's key is there, and stays */
    _Atomic(fake_prim_read *) read_file;                   /* NULL: the system's files */
    int file;                                              /* made while files are served; -1 */
    _Atomic(void (*)(const char *text, size_t size)) tell; /* NULL: stderr */
    atomic_flag lock;                                      /* guards the rest */
    uint64_t trace;
    uintptr_t next_place; /* with machine.places */
    size_t mapped;
    size_t mapped_peak;
    size_t range_count;
    struct fake_range ranges[FAKE_RANGES_MAX]; /* what is mapped, in no order */
} g_fake = {.file = -1, .lock = ATOMIC_FLAG_INIT};

static const char *const g_fake_names[FAKE_CALL_COUNT] = {
    "map",       "unmap",         "protect",    "purge",      "purge-ranges",
    "huge",      "move",          "extend",     "limit",      "exit-register",
    "exit-arm",  "fork-register", "read-file",  "write-file", "file-make",
    "file-open", "file-reserve",  "file-limit", "map-file",   "peak-rss"};

static _Thread_local bool t_fake_is_in_hook;
static _Thread_local bool
    t_fake_is_undoing; /* a growth was refused, came elsewhere, or its undoing was refused */

/* ---- the trace ---- */

/* splitmix64 (Steele, Lea, Flood 2014): one well-mixed number per seed and call. */
static uint64_t fake_random(uint64_t seed, uint64_t index) {
    uint64_t x = seed * UINT64_C(0xD1342543DE82EF95) + (index + 1) * UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

static void fake_lock(void) {
    while (atomic_flag_test_and_set_explicit(&g_fake.lock, memory_order_acquire))
        ;
}

static void fake_unlock(void) {
    atomic_flag_clear_explicit(&g_fake.lock, memory_order_release);
}

static void fake_note(uint64_t what) {
    fake_lock();
    g_fake.trace = fake_random(g_fake.trace, what);
    fake_unlock();
}

uint64_t fake_prim_trace(void) {
    fake_lock();
    uint64_t trace = g_fake.trace;
    fake_unlock();
    return trace;
}

/* ---- the script ---- */

static bool fake_is_memory(enum fake_call call) {
    return call <= FAKE_EXTEND;
}

static bool fake_is_in_series(enum fake_call call, enum fake_call series) {
    return series == FAKE_ANY || series == call ||
           (series == FAKE_ANY_MEMORY && fake_is_memory(call));
}

static void fake_check_locks(enum fake_call call);

static void fake_run_hook(enum fake_call call) {
    void (*hook)(void) = atomic_load(&g_fake.hooks[call]);
    if (hook == NULL || t_fake_is_in_hook)
        return;
    t_fake_is_in_hook = true;
    hook();
    t_fake_is_in_hook = false;
}

void fake_prim_on(enum fake_call call, void (*hook)(void)) {
    atomic_store(&g_fake.hooks[call], hook);
}

/* Counts the call in each series it belongs to; the error it shall fail with, or 0. */
static int fake_script_answer(enum fake_call call, const void *addr, size_t size) {
    fake_note(call);
    fake_note((uintptr_t)addr);
    fake_note(size);
    fake_check_locks(call);
    fake_run_hook(call);
    static const int by_turns[] = {ENOMEM, EAGAIN, EINVAL, EPERM};
    const struct fake_script *script = &g_fake.script;
    unsigned long number = 0; /* of the call in the script's series, from 1 */
    for (int series = 0; series < FAKE_SERIES_COUNT; series++) {
        if (!fake_is_in_series(call, (enum fake_call)series))
            continue;
        unsigned long count = atomic_fetch_add(&g_fake.calls[series], 1) + 1;
        if (series == (int)script->series)
            number = count;
    }
    if (number == 0)
        return 0;
    uint64_t random = fake_random(script->seed, number);
    bool is_by_number =
        script->first != 0 && number >= script->first && number - script->first < script->count;
    if (!is_by_number && random % 1000 >= script->random_permille)
        return 0;
    return script->error ? script->error : by_turns[random / 1000 % 4];
}

void fake_prim_play(struct fake_script script) {
    for (int i = 0; i < FAKE_SERIES_COUNT; i++) {
        atomic_store(&g_fake.calls[i], 0);
        atomic_store(&g_fake.failures[i], 0);
    }
    g_fake.script = script;
}

unsigned long fake_prim_calls(enum fake_call series) {
    return atomic_load(&g_fake.calls[series]);
}

unsigned long fake_prim_failures(enum fake_call series) {
    return atomic_load(&g_fake.failures[series]);
}

static int fake_answer(enum fake_call call, int error) {
    fake_note((uint64_t)error);
    if (call == FAKE_MAP || call == FAKE_PROTECT || call == FAKE_UNMAP)
        t_fake_is_undoing = error != 0;
    for (int series = 0; error && series < FAKE_SERIES_COUNT; series++) {
        if (fake_is_in_series(call, (enum fake_call)series))
            atomic_fetch_add(&g_fake.failures[series], 1);
    }
    return error;
}

/* ---- the contract ---- */

static int fake_breach(enum fake_call call, const char *what, uintptr_t addr, size_t size) {
    atomic_fetch_add(&g_fake.breaches, 1);
    fprintf(stderr, "# fake_prim: breach: %s(%#" PRIxPTR ", %#zx): %s\n", g_fake_names[call], addr,
            size, what);
    return fake_answer(call, EINVAL);
}

static void fake_check_locks(enum fake_call call) {
    bool is_growth = call == FAKE_MAP || call == FAKE_PROTECT || call == FAKE_HUGE ||
                     call == FAKE_LIMIT || call == FAKE_EXIT_REGISTER || /* start-up */
                     (call >= FAKE_FILE_MAKE && call <= FAKE_MAP_FILE);  /* a file to count in */
    bool is_undoing = t_fake_is_undoing && (call == FAKE_UNMAP || call == FAKE_PURGE);
    if (!is_growth && !is_undoing && hak_lock_held_count() > 0)
        fake_breach(call, "a lock is held", 0, 0);
}

unsigned long fake_prim_breaches(void) {
    return atomic_load(&g_fake.breaches);
}

static size_t fake_page_size(void) {
    return g_fake.machine.page_size ? g_fake.machine.page_size : real_hak_prim_page_size();
}

static bool fake_is_paged(uintptr_t addr, size_t size) {
    return addr % fake_page_size() == 0 && size % fake_page_size() == 0 && size > 0;
}

/* ---- what is mapped ---- */

/* The range that holds all of [addr, addr + size), or NULL. */
static struct fake_range *range_find_locked(uintptr_t addr, size_t size) {
    for (size_t i = 0; i < g_fake.range_count; i++) {
        struct fake_range *range = &g_fake.ranges[i];
        if (addr >= range->start && addr < range->end && size <= range->end - addr)
            return range;
    }
    return NULL;
}

static void range_add_locked(uintptr_t start, uintptr_t end) {
    if (start == end)
        return;
    if (g_fake.range_count == FAKE_RANGES_MAX) {
        fprintf(stderr, "# fake_prim: more than %d mappings\n", FAKE_RANGES_MAX);
        abort();
    }
    g_fake.ranges[g_fake.range_count++] = (struct fake_range){start, end};
}

/* Takes [start, end) out of the range that holds it; false: there is none. */
static bool range_cut_locked(uintptr_t start, uintptr_t end) {
    struct fake_range *range = range_find_locked(start, end - start);
    if (range == NULL)
        return false;
    struct fake_range whole = *range;
    *range = g_fake.ranges[--g_fake.range_count];
    range_add_locked(whole.start, start);
    range_add_locked(end, whole.end);
    return true;
}

/* The kernel refused to cut [start, end) out: it is one with its neighbours again. */
static void range_restore_locked(uintptr_t start, uintptr_t end) {
    for (size_t i = 0; i < g_fake.range_count;) {
        struct fake_range *range = &g_fake.ranges[i];
        if (range->end != start && range->start != end) {
            i++;
            continue;
        }
        start = range->start < start ? range->start : start;
        end = range->end > end ? range->end : end;
        *range = g_fake.ranges[--g_fake.range_count];
        i = 0;
    }
    range_add_locked(start, end);
}

static bool fake_is_mapped(const void *addr, size_t size) {
    fake_lock();
    bool is_mapped = range_find_locked((uintptr_t)addr, size) != NULL;
    fake_unlock();
    return is_mapped;
}

/* Counts the bytes before they are mapped: two threads shall not pass the limit together. */
static bool fake_charge(size_t size) {
    size_t limit = g_fake.machine.address_limit;
    fake_lock();
    bool fits = limit == 0 || (g_fake.mapped <= limit && size <= limit - g_fake.mapped);
    if (fits) {
        g_fake.mapped += size;
        if (g_fake.mapped > g_fake.mapped_peak)
            g_fake.mapped_peak = g_fake.mapped;
    }
    fake_unlock();
    return fits;
}

static void fake_discharge(size_t size) {
    fake_lock();
    g_fake.mapped -= size;
    fake_unlock();
}

size_t fake_prim_mapped(void) {
    fake_lock();
    size_t mapped = g_fake.mapped;
    fake_unlock();
    return mapped;
}

size_t fake_prim_mapped_peak(void) {
    fake_lock();
    size_t peak = g_fake.mapped_peak;
    fake_unlock();
    return peak;
}

void fake_prim_reset_peak(void) {
    fake_lock();
    g_fake.mapped_peak = g_fake.mapped;
    fake_unlock();
}

/* ---- prim.h: memory ---- */

/*
 * With places from a seed: one after the other, a page apart, from a terabyte on that no kernel chooses by
 * itself. Of an address space that starts there a sanitizer's own parts lie elsewhere.
 */
enum { FAKE_PLACES_SHIFT = 45 };

static uintptr_t fake_places_begin(void) {
    uint64_t gib = fake_random(g_fake.machine.places, 0) % 4096;
    return ((uintptr_t)1 << FAKE_PLACES_SHIFT) + (uintptr_t)(gib << 30);
}

static int fake_map_at_next_place(size_t size, enum hak_access access, void **out) {
    fake_lock();
    if (g_fake.next_place == 0) /* beyond the window, which is laid around the hint */
        g_fake.next_place = fake_places_begin() + ((uintptr_t)8 << 40);
    void *place = (void *)g_fake.next_place;
    g_fake.next_place += size + fake_page_size();
    fake_unlock();
    return real_hak_prim_map(place, size, access, out);
}

/*
 * A kernel that chooses promises its page and no more: the place is always an odd multiple of the
 * pretended OS page, never the 2 MiB boundary that real kernels like to choose.
 */
static int fake_map_anywhere(size_t size, enum hak_access access, void **out) {
    size_t page = fake_page_size();
    size_t slack = 2 * page;
    void *mapping;
    int error = real_hak_prim_map(NULL, size + slack, access, &mapping);
    if (error)
        return error;
    uintptr_t start = (((uintptr_t)mapping + slack - 1) & ~(uintptr_t)(slack - 1)) + page;
    if (start - page - (uintptr_t)mapping >= page)
        start -= slack;
    size_t before = start - (uintptr_t)mapping;
    if (before > 0)
        error = real_hak_prim_unmap(mapping, before);
    if (error == 0 && slack > before)
        error = real_hak_prim_unmap((void *)(start + size), slack - before);
    *out = (void *)start;
    return error;
}

int hak_prim_map(void *wanted, size_t size, enum hak_access access, void **out) {
    int error = fake_script_answer(FAKE_MAP, wanted, size);
    if (error)
        return fake_answer(FAKE_MAP, error);
    if (!fake_is_paged((uintptr_t)wanted, size))
        return fake_breach(FAKE_MAP, "not whole OS pages", (uintptr_t)wanted, size);
    if (!fake_charge(size))
        return fake_answer(FAKE_MAP, ENOMEM);
    error = wanted ? real_hak_prim_map(wanted, size, access, out) : EEXIST;
    if (wanted == NULL || (error == EEXIST && g_fake.machine.is_before_4_17))
        error = g_fake.machine.places ? fake_map_at_next_place(size, access, out)
                                      : fake_map_anywhere(size, access, out);
    if (error) {
        fake_discharge(size);
        return fake_answer(FAKE_MAP, error);
    }
    fake_lock();
    range_add_locked((uintptr_t)*out, (uintptr_t)*out + size);
    fake_unlock();
    fake_answer(FAKE_MAP, 0);
    t_fake_is_undoing = wanted && *out != wanted; /* as good as refused: it has to go again */
    return 0;
}

int hak_prim_unmap(void *addr, size_t size) {
    uintptr_t start = (uintptr_t)addr;
    int error = fake_script_answer(FAKE_UNMAP, addr, size);
    if (error)
        return fake_answer(FAKE_UNMAP, error);
    if (!fake_is_paged(start, size))
        return fake_breach(FAKE_UNMAP, "not whole OS pages", start, size);
    /* Out of the books first: from the unmap on, another thread may be given the same place. */
    fake_lock();
    bool is_known = range_cut_locked(start, start + size);
    fake_unlock();
    if (!is_known)
        return fake_breach(FAKE_UNMAP, "not mapped here", start, size);
    error = real_hak_prim_unmap(addr, size);
    if (error) {
        fake_lock();
        range_restore_locked(start, start + size);
        fake_unlock();
        return fake_answer(FAKE_UNMAP, error);
    }
    fake_discharge(size);
    return 0;
}

int hak_prim_protect(void *addr, size_t size, enum hak_access access) {
    int error = fake_script_answer(FAKE_PROTECT, addr, size);
    if (error)
        return fake_answer(FAKE_PROTECT, error);
    if (!fake_is_paged((uintptr_t)addr, size))
        return fake_breach(FAKE_PROTECT, "not whole OS pages", (uintptr_t)addr, size);
    if (!fake_is_mapped(addr, size))
        return fake_breach(FAKE_PROTECT, "not mapped here", (uintptr_t)addr, size);
    return fake_answer(FAKE_PROTECT, real_hak_prim_protect(addr, size, access));
}

int hak_prim_purge(void *addr, size_t size) {
    int error = fake_script_answer(FAKE_PURGE, addr, size);
    if (error)
        return fake_answer(FAKE_PURGE, error);
    if (!fake_is_paged((uintptr_t)addr, size))
        return fake_breach(FAKE_PURGE, "not whole OS pages", (uintptr_t)addr, size);
    if (!fake_is_mapped(addr, size))
        return fake_breach(FAKE_PURGE, "not mapped here", (uintptr_t)addr, size);
    return fake_answer(FAKE_PURGE, real_hak_prim_purge(addr, size));
}

int hak_prim_purge_ranges(const struct hak_prim_range *ranges, size_t count) {
    int error = fake_script_answer(FAKE_PURGE_RANGES, count ? ranges->start : NULL, count);
    if (error)
        return fake_answer(FAKE_PURGE_RANGES, error);
    for (size_t i = 0; i < count; i++) {
        uintptr_t start = (uintptr_t)ranges[i].start;
        if (!fake_is_paged(start, ranges[i].size))
            return fake_breach(FAKE_PURGE_RANGES, "not whole OS pages", start, ranges[i].size);
        if (!fake_is_mapped(ranges[i].start, ranges[i].size))
            return fake_breach(FAKE_PURGE_RANGES, "not mapped here", start, ranges[i].size);
    }
    if (count == 0 || count > HAK_PRIM_RANGES_MAX)
        return fake_breach(FAKE_PURGE_RANGES, "no such number of ranges", 0, count);
    return fake_answer(FAKE_PURGE_RANGES, real_hak_prim_purge_ranges(ranges, count));
}

int hak_prim_advise_huge(void *addr, size_t size) {
    int error = fake_script_answer(FAKE_HUGE, addr, size);
    if (error)
        return fake_answer(FAKE_HUGE, error);
    if (!fake_is_paged((uintptr_t)addr, size))
        return fake_breach(FAKE_HUGE, "not whole OS pages", (uintptr_t)addr, size);
    if (!fake_is_mapped(addr, size))
        return fake_breach(FAKE_HUGE, "not mapped here", (uintptr_t)addr, size);
    return 0; /* a wish: granted, each mark of a workload would take the clearing of 2 MiB */
}

/*
 * A refused move may have unmapped its target already, as it does on Linux before 6.17: every second
 * one does, the first among them.
 */
static int fake_refuse_move(void *target, size_t size, int error) {
    if (atomic_fetch_add(&g_fake.refused_moves, 1) % 2 == 0 && fake_is_mapped(target, size)) {
        fake_lock();
        range_cut_locked((uintptr_t)target, (uintptr_t)target + size);
        fake_unlock();
        if (real_hak_prim_unmap(target, size) != 0)
            return fake_breach(FAKE_MOVE, "the target cannot be unmapped", (uintptr_t)target, size);
        fake_discharge(size);
    }
    return fake_answer(FAKE_MOVE, error);
}

/* The old range leaves the books, and with it its bytes; the target is in them already. */
int hak_prim_move(void *addr, size_t old_size, void *target, size_t new_size) {
    int error = fake_script_answer(FAKE_MOVE, target, new_size);
    if (error)
        return fake_refuse_move(target, new_size, error);
    uintptr_t start = (uintptr_t)addr;
    if (!fake_is_paged(start, old_size) || !fake_is_paged((uintptr_t)target, new_size))
        return fake_breach(FAKE_MOVE, "not whole OS pages", start, old_size);
    if (!fake_is_mapped(addr, old_size) || !fake_is_mapped(target, new_size))
        return fake_breach(FAKE_MOVE, "not mapped here", start, old_size);
    error = real_hak_prim_move(addr, old_size, target, new_size);
    if (error)
        return fake_answer(FAKE_MOVE, error);
    fake_lock();
    range_cut_locked(start, start + old_size);
    fake_unlock();
    fake_discharge(old_size);
    return 0;
}

int hak_prim_extend(void *addr, size_t old_size, size_t new_size) {
    int error = fake_script_answer(FAKE_EXTEND, addr, new_size);
    if (error)
        return fake_answer(FAKE_EXTEND, error);
    uintptr_t start = (uintptr_t)addr;
    if (!fake_is_paged(start, old_size) || !fake_is_paged(start, new_size) || new_size < old_size)
        return fake_breach(FAKE_EXTEND, "not whole OS pages, or not longer", start, new_size);
    if (!fake_is_mapped(addr, old_size))
        return fake_breach(FAKE_EXTEND, "not mapped here", start, old_size);
    if (!fake_charge(new_size - old_size))
        return fake_answer(FAKE_EXTEND, ENOMEM);
    error = real_hak_prim_extend(addr, old_size, new_size);
    if (error) {
        fake_discharge(new_size - old_size);
        return fake_answer(FAKE_EXTEND, error);
    }
    fake_lock();
    range_cut_locked(start, start + old_size);
    range_add_locked(start, start + new_size);
    fake_unlock();
    return 0;
}

/* ---- prim.h: the system ---- */

size_t hak_prim_page_size(void) {
    return fake_page_size();
}

int hak_prim_address_space_limit(size_t *out) {
    int error = fake_script_answer(FAKE_LIMIT, NULL, 0);
    if (error)
        return fake_answer(FAKE_LIMIT, error);
    if (g_fake.machine.address_limit == 0)
        return fake_answer(FAKE_LIMIT, real_hak_prim_address_space_limit(out));
    *out = g_fake.machine.address_limit;
    return 0;
}

uintptr_t hak_prim_address_hint(void) {
    if (g_fake.machine.has_no_hint)
        return 0;
    return g_fake.machine.places ? fake_places_begin() : real_hak_prim_address_hint();
}

uint64_t hak_prim_clock_ms(void) {
    uint64_t stopped_at = atomic_load(&g_fake.clock_stopped_at);
    uint64_t now = stopped_at ? stopped_at : real_hak_prim_clock_ms();
    return now + atomic_load(&g_fake.clock_ahead_ms);
}

void fake_prim_stop_clock(void) {
    atomic_store(&g_fake.clock_stopped_at, real_hak_prim_clock_ms());
}

void fake_prim_limit_group(size_t bytes) {
    atomic_store(&g_fake.group_limit, bytes);
}

/* A group in the root of version 2. */
static int fake_group_file(const char *path, char *buffer, size_t capacity, size_t *size) {
    int length = -1;
    if (strcmp(path, "/proc/self/cgroup") == 0)
        length = snprintf(buffer, capacity, "0::/\n");
    if (strcmp(path, "/sys/fs/cgroup/memory.max") == 0)
        length = snprintf(buffer, capacity, "%zu\n", atomic_load(&g_fake.group_limit));
    *size = length > 0 ? (size_t)length : 0;
    return length > 0 ? 0 : ENOENT;
}

/* Who reads in the system's place; NULL: nobody. */
static fake_prim_read *fake_reader(void) {
    return atomic_load(&g_fake.group_limit) ? fake_group_file : atomic_load(&g_fake.read_file);
}

int hak_prim_read_file(const char *path, char *buffer, size_t capacity, size_t *size) {
    int error = fake_script_answer(FAKE_READ_FILE, NULL, 0);
    fake_prim_read *read_file = fake_reader();
    if (error == 0)
        error = read_file ? read_file(path, buffer, capacity, size)
                          : real_hak_prim_read_file(path, buffer, capacity, size);
    return fake_answer(FAKE_READ_FILE, error);
}

int hak_prim_write_file(const char *path, const char *text, size_t size) {
    int error = fake_script_answer(FAKE_WRITE_FILE, NULL, size);
    if (error == 0 && atomic_load(&g_fake.read_file) == NULL)
        error = real_hak_prim_write_file(path, text, size);
    return fake_answer(FAKE_WRITE_FILE, error);
}

/* ---- prim.h: the file of an observed process ---- */

static int fake_file_dup(int *file) {
    *file = dup(g_fake.file);
    return *file < 0 ? errno : 0;
}

int hak_prim_file_make(const char *path, int *file) {
    int error = fake_script_answer(FAKE_FILE_MAKE, NULL, 0);
    if (error)
        return fake_answer(FAKE_FILE_MAKE, error);
    if (atomic_load(&g_fake.read_file) == NULL)
        return fake_answer(FAKE_FILE_MAKE, real_hak_prim_file_make(path, file));
    if (g_fake.file >= 0)
        close(g_fake.file);
    g_fake.file = memfd_create("fake", MFD_CLOEXEC);
    return fake_answer(FAKE_FILE_MAKE, g_fake.file < 0 ? errno : fake_file_dup(file));
}

int hak_prim_file_open(const char *path, int *file) {
    int error = fake_script_answer(FAKE_FILE_OPEN, NULL, 0);
    if (error == 0)
        error = atomic_load(&g_fake.read_file) ? fake_file_dup(file)
                                               : real_hak_prim_file_open(path, file);
    return fake_answer(FAKE_FILE_OPEN, error);
}

int hak_prim_file_reserve(int file, size_t offset, size_t size) {
    int error = fake_script_answer(FAKE_FILE_RESERVE, NULL, size);
    return fake_answer(FAKE_FILE_RESERVE,
                       error ? error : real_hak_prim_file_reserve(file, offset, size));
}

int hak_prim_file_size_limit(size_t *out) {
    int error = fake_script_answer(FAKE_FILE_LIMIT, NULL, 0);
    return fake_answer(FAKE_FILE_LIMIT, error ? error : real_hak_prim_file_size_limit(out));
}

void fake_prim_serve_files(fake_prim_read *read) {
    atomic_store(&g_fake.read_file, read);
}

/* In the place of another mapping of the same size, or as one more in the books. */
int hak_prim_map_file(int file, size_t offset, size_t size, void *wanted, void **out) {
    int error = fake_script_answer(FAKE_MAP_FILE, wanted, size);
    if (error)
        return fake_answer(FAKE_MAP_FILE, error);
    if (!fake_is_paged((uintptr_t)wanted, size) || offset % fake_page_size() != 0)
        return fake_breach(FAKE_MAP_FILE, "not whole OS pages", (uintptr_t)wanted, size);
    if (wanted && !fake_is_mapped(wanted, size))
        return fake_breach(FAKE_MAP_FILE, "not mapped here", (uintptr_t)wanted, size);
    if (wanted == NULL && !fake_charge(size))
        return fake_answer(FAKE_MAP_FILE, ENOMEM);
    error = real_hak_prim_map_file(file, offset, size, wanted, out);
    if (wanted)
        return fake_answer(FAKE_MAP_FILE, error);
    if (error) {
        fake_discharge(size);
        return fake_answer(FAKE_MAP_FILE, error);
    }
    fake_lock();
    range_add_locked((uintptr_t)*out, (uintptr_t)*out + size);
    fake_unlock();
    return 0;
}

int hak_prim_peak_rss_kib(uint64_t *out) {
    int error = fake_script_answer(FAKE_PEAK_RSS, NULL, 0);
    return fake_answer(FAKE_PEAK_RSS, error ? error : real_hak_prim_peak_rss_kib(out));
}

void fake_prim_advance_clock(uint64_t ms) {
    atomic_fetch_add(&g_fake.clock_ahead_ms, ms);
}

int hak_prim_thread_exit_register(void (*run)(void *value)) {
    int error = fake_script_answer(FAKE_EXIT_REGISTER, NULL, 0);
    if (error)
        return fake_answer(FAKE_EXIT_REGISTER, error);
    if (atomic_exchange(&g_fake.is_exit_registered, true))
        return fake_breach(FAKE_EXIT_REGISTER, "registered twice", 0, 0);
    if (!g_fake.is_exit_real)
        error = real_hak_prim_thread_exit_register(run);
    g_fake.is_exit_real = error == 0;
    return fake_answer(FAKE_EXIT_REGISTER, error);
}

int hak_prim_thread_exit_arm(void *value) {
    int error = fake_script_answer(FAKE_EXIT_ARM, NULL, 0);
    return fake_answer(FAKE_EXIT_ARM, error ? error : real_hak_prim_thread_exit_arm(value));
}

int hak_prim_fork_register(void (*prepare)(void), void (*parent)(void), void (*child)(void)) {
    int error = fake_script_answer(FAKE_FORK_REGISTER, NULL, 0);
    if (error)
        return fake_answer(FAKE_FORK_REGISTER, error);
    if (atomic_exchange(&g_fake.is_fork_registered, true))
        return fake_breach(FAKE_FORK_REGISTER, "registered twice", 0, 0);
    if (g_fake
            .is_restarted) /* libc keeps handlers for ever: those of the first life are the same */
        return 0;
    return fake_answer(FAKE_FORK_REGISTER, real_hak_prim_fork_register(prepare, parent, child));
}

/* ---- messages ---- */

void fake_prim_on_message(void (*hook)(const char *text, size_t size)) {
    atomic_store(&g_fake.tell, hook);
}

void hak_prim_write_error(const char *text, size_t size) {
    void (*tell)(const char *, size_t) = atomic_load(&g_fake.tell);
    if (tell)
        tell(text, size);
    else
        real_hak_prim_write_error(text, size);
}

/* ---- a new life ---- */

void fake_prim_restart(struct fake_machine machine) {
    for (size_t i = 0; i < g_fake.range_count; i++) {
        const struct fake_range *range = &g_fake.ranges[i];
        real_hak_prim_unmap((void *)range->start, range->end - range->start);
    }
    g_fake.range_count = 0;
    g_fake.mapped = 0;
    g_fake.mapped_peak = 0;
    if (g_fake.file >= 0)
        close(g_fake.file);
    g_fake.file = -1;
    for (int i = 0; i < FAKE_CALL_COUNT; i++)
        atomic_store(&g_fake.hooks[i], NULL);
    atomic_store(&g_fake.tell, NULL);
    atomic_store(&g_fake.read_file, NULL);
    atomic_store(&g_fake.group_limit, 0);
    atomic_store(&g_fake.breaches, 0);
    atomic_store(&g_fake.refused_moves, 0);
    atomic_store(&g_fake.clock_ahead_ms, 0);
    atomic_store(&g_fake.clock_stopped_at, FAKE_CLOCK_RESTARTED);
    atomic_store(&g_fake.is_exit_registered, false);
    atomic_store(&g_fake.is_fork_registered, false);
    g_fake.trace = 0;
    g_fake.next_place = 0;
    g_fake.is_restarted = true;
    g_fake.machine = machine;
    fake_prim_play((struct fake_script){0});
}

/* ---- the environment ---- */

#define FAKE_PRIM_VARIABLE "FAKE_PRIM"

void fake_prim_describe(char text[FAKE_PRIM_TEXT_SIZE], struct fake_machine machine,
                        struct fake_script script) {
    snprintf(text, FAKE_PRIM_TEXT_SIZE,
             FAKE_PRIM_VARIABLE "=%zu %zu %d %d %" PRIu64 " %d %lu %lu %u %" PRIu64 " %d",
             machine.page_size, machine.address_limit, machine.has_no_hint, machine.is_before_4_17,
             machine.places, (int)script.series, script.first, script.count, script.random_permille,
             script.seed, script.error);
}

/* Before the library's own constructor, which has no priority and so comes after all that have. */
__attribute__((constructor(101))) static void fake_prim_from_environment(void) {
    const char *text = getenv(FAKE_PRIM_VARIABLE);
    struct fake_machine machine = {0};
    struct fake_script script = {0};
    int has_no_hint;
    int is_before_4_17;
    int series;
    if (text == NULL)
        return;
    int count =
        sscanf(text, "%zu %zu %d %d %" SCNu64 " %d %lu %lu %u %" SCNu64 " %d", &machine.page_size,
               &machine.address_limit, &has_no_hint, &is_before_4_17, &machine.places, &series,
               &script.first, &script.count, &script.random_permille, &script.seed, &script.error);
    if (count != 11 || series < 0 || series >= FAKE_SERIES_COUNT) {
        fprintf(stderr, "# fake_prim: cannot read %s=%s\n", FAKE_PRIM_VARIABLE, text);
        abort();
    }
    machine.has_no_hint = has_no_hint != 0;
    machine.is_before_4_17 = is_before_4_17 != 0;
    script.series = (enum fake_call)series;
    g_fake.machine = machine;
    fake_prim_play(script);
}
