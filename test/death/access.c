/* test/death/access.c — one wrong use of memory per invocation. SPDX-License-Identifier: MIT */
/*
 * usage: access CASE            access --list
 *
 * Goal: say honestly what is not found: reading and writing where a block is not, or is no more. An
 * allocator that does not guard each block sees nothing of it; what it can promise is that its own data do
 * not lie there, so that the program goes on.
 * Method: death.h. What is written to is the program's own memory or unused, so that each case does the same
 * every time. At the end all blocks are freed.
 */
#include <stdbool.h>

#include "death.h"

enum { BLOCKS = 64 };

static struct { unsigned char *block[BLOCKS]; } g_access;

static void take_all(size_t size) {
    for (int i = 0; i < BLOCKS; i++)
        g_access.block[i] = must(api.malloc(size));
}

static void free_all(void) {
    for (int i = 0; i < BLOCKS; i++)
        api.free(g_access.block[i]);
}

/* A block that begins `distance` bytes behind `p`, and is ours. */
static int find_behind(const unsigned char *p, size_t distance) {
    for (int i = 0; i < BLOCKS; i++) {
        if (g_access.block[i] == p + distance)
            return i;
    }
    return -1;
}

/* Two blocks side by side: the places of the lower and of the upper one. */
static void find_pair(size_t size, int *lower, int *upper) {
    for (*lower = 0; *lower < BLOCKS; ++*lower) {
        const unsigned char *p = g_access.block[*lower];
        size_t usable = api.malloc_usable_size(g_access.block[*lower]);
        for (size_t extra = 0; extra <= sizeof(uint64_t); extra += sizeof(uint64_t)) {
            *upper = find_behind(p, usable + extra); /* canary builds carry 8 bytes more */
            if (*upper >= 0)
                return;
        }
    }
    say("no two blocks of %zu bytes lie side by side\n", size);
    exit(98);
}

static volatile unsigned char g_sink;

/* Changes each of them: what stood there is not what stands there now. */
static void scribble(unsigned char *p, size_t size) {
    for (size_t i = 0; i < size; i++)
        ((volatile unsigned char *)p)[i] ^= 0x41;
}

/* ---- beyond a block's ends ---- */

/* `offset` bytes behind a block, in the block above it. */
static void run_overflow_small(const struct misuse_case *c) {
    int lower;
    int upper;
    take_all(c->size);
    find_pair(c->size, &lower, &upper);
    unsigned char *p = about_block(g_access.block[lower], g_access.block[lower]);
    scribble(p + api.malloc_usable_size(p), (size_t)c->offset);
    free_all();
    say("returned\n");
}

/* `offset` bytes before a block, in the block below it: that one is damaged. */
static void run_underflow_small(const struct misuse_case *c) {
    int lower;
    int upper;
    take_all(c->size);
    find_pair(c->size, &lower, &upper);
    about_block(g_access.block[lower], g_access.block[lower]);
    scribble(g_access.block[upper] - c->offset, (size_t)c->offset);
    free_all();
    say("returned\n");
}

/* A Large block is followed by the rest of its last 64 KiB. */
static void run_overflow_large(const struct misuse_case *c) {
    unsigned char *p = must(api.malloc(c->size));
    about_block(p, p);
    scribble(p + api.malloc_usable_size(p), (size_t)c->offset);
    api.free(p);
    say("returned\n");
}

/* Most begin behind the start of their first 64 KiB. */
static void run_underflow_large(const struct misuse_case *c) {
    unsigned char *p = NULL;
    take_all(c->size);
    for (int i = 0; i < BLOCKS && p == NULL; i++) {
        if ((uintptr_t)g_access.block[i] % 65536 >= (size_t)c->offset)
            p = g_access.block[i];
    }
    about_block(must(p), p);
    scribble(p - c->offset, (size_t)c->offset);
    free_all();
    say("returned\n");
}

/* A page that is nobody's lies behind a Big block. */
static void run_overflow_big(const struct misuse_case *c) {
    unsigned char *p = must(api.malloc(c->size));
    about_block(p, p);
    scribble(p + api.malloc_usable_size(p), (size_t)c->offset);
    say("returned\n");
}

static void run_string_overflow(const struct misuse_case *c) {
    static const char text[] =
        "a string that is longer than the sixty-four bytes it is copied to, by a few";
    int lower;
    int upper;
    char *(*volatile copy)(char *, const char *) = strcpy; /* the compiler would know better */
    take_all(c->size);
    find_pair(c->size, &lower, &upper);
    char *p = about_block(g_access.block[lower], g_access.block[lower]);
    copy(p, text);
    free_all();
    say("returned\n");
}

/* ---- blocks that are free, or were never written ---- */

static void run_read_freed(const struct misuse_case *c) {
    unsigned char *p = must(api.malloc(c->size));
    about_block(p, p);
    api.free(p);
    g_sink = ((volatile unsigned char *)p)[c->offset];
    say("returned\n");
    take_all(c->size);
    free_all();
}

static void run_write_freed(const struct misuse_case *c) {
    unsigned char *p = must(api.malloc(c->size));
    about_block(p, p);
    api.free(p);
    scribble(p, (size_t)c->offset);
    say("returned\n");
    take_all(c->size);
    free_all();
}

/* The block has a new owner: it is this one's memory. */
static void run_freed_and_reused(const struct misuse_case *c) {
    unsigned char *p = must(api.malloc(c->size));
    about_block(p, p);
    api.free(p);
    unsigned char *q = must(api.malloc(c->size));
    scribble(p, (size_t)c->offset);
    g_sink = ((volatile unsigned char *)p)[0];
    api.free(q);
    say("returned\n");
}

/* The kernel has it back. */
static void run_write_trimmed(const struct misuse_case *c) {
    unsigned char *p = must(api.malloc(c->size));
    about_block(p, p);
    scribble(p, (size_t)c->offset);
    api.free(p);
    api.malloc_trim(0);
    scribble(p, (size_t)c->offset);
    say("returned\n");
}

/* The old place of a block that realloc has moved. */
static void run_write_moved(const struct misuse_case *c) {
    unsigned char *p = must(api.malloc(c->size));
    about_block(p, p);
    unsigned char *moved = must(api.realloc(p, c->size * 10));
    if (moved == p)
        exit(96);
    scribble(p, (size_t)c->offset);
    api.free(moved);
    say("returned\n");
}

static void run_read_shrunk(const struct misuse_case *c) {
    unsigned char *p = must(api.malloc(c->size));
    about_block(p, p);
    unsigned char *moved = must(api.realloc(p, c->size / 10));
    g_sink = ((volatile unsigned char *)p)[c->offset];
    api.free(moved);
    say("returned\n");
}

static void run_read_unwritten(const struct misuse_case *c) {
    unsigned char *p = must(api.malloc(c->size));
    about_block(p, p);
    for (size_t i = 0; i < c->size; i++)
        g_sink = ((volatile unsigned char *)p)[i];
    api.free(p);
    say("returned\n");
}

/* What stood in a block stands there still: it is not cleared, neither when freed nor when handed out. */
static void run_contents_stay(const struct misuse_case *c) {
    enum { SECRET = 0x5e };
    unsigned char *p = must(api.malloc(c->size));
    about_block(p, p);
    for (size_t i = 0; i < c->size; i++)
        ((volatile unsigned char *)p)[i] = SECRET;
    api.free(p);
    unsigned char *q = must(api.malloc(c->size));
    if (((volatile unsigned char *)q)[c->size / 2] != SECRET)
        exit(95); /* better than promised: then the list of what is not done is wrong */
    api.free(q);
    say("returned\n");
}

static void run_zero_size(const struct misuse_case *c) {
    unsigned char *p = must(api.malloc(0));
    about_block(p, p);
    if (c->offset != 0)
        api.free(p);
    g_sink = *(volatile unsigned char *)p;
    scribble(p, 1);
    if (c->offset == 0)
        api.free(p);
    say("returned\n");
}

/* ---- frees that are somebody else's ---- */

/*
 * The second free is that of the new owner's block; but a Large block begins at another multiple of 64 bytes
 * each time.
 */
static void run_twice_reused(const struct misuse_case *c) {
    void *p = must(api.malloc(c->size));
    about_block(p, p);
    api.free(p);
    void *q = must(api.malloc(c->size));
    bool is_reused = (uintptr_t)q / 65536 == (uintptr_t)p / 65536;
    if (!is_reused || (q != p && c->size < 65536))
        exit(94); /* better than promised, as above */
    api.free(p);
    say("returned\n");
}

/* `text`: how the block is made, and how it is freed. */
static void run_mixed(const struct misuse_case *c) {
    void *(*make)(size_t) = api.malloc;
    void (*unmake)(void *) = api.free;
    if (strstr(c->text, "new,") != NULL)
        api_set(&make, "_Znwm");
    if (strstr(c->text, "new[],") != NULL)
        api_set(&make, "_Znam");
    if (strstr(c->text, " delete") != NULL)
        api_set(&unmake, strstr(c->text, "delete[]") != NULL ? "_ZdaPv" : "_ZdlPv");
    void *p = must(make(c->size));
    about_block(p, p);
    unmake(p);
    say("returned\n");
}

static void run_wrong_alignment(const struct misuse_case *c) {
    void *p = must(api.aligned_alloc((size_t)c->offset, c->size));
    about_block(p, p);
    api.free_aligned_sized(p, (size_t)c->offset / 2, c->size);
    say("returned\n");
}

/* ---- more than reading and writing ---- */

static void run_execute(const struct misuse_case *c) {
    void (*code)(void);
    unsigned char *p = must(api.malloc(c->size));
    memset(p, 0xc3, c->size); /* "ret" on x86: it would come back */
    about_block(p, p);
    memcpy(&code, &p, sizeof code);
    code();
    say("returned\n");
}

/* ---- the table ---- */

#define CASE(name_, run_, size_, offset_, text_)                                                   \
    { .name = name_, .run = run_, .size = size_, .offset = offset_, .text = text_ }

static const struct misuse_case g_cases[] = {
    CASE("overflow_1_tiny", run_overflow_small, 64, 1, NULL),
    CASE("overflow_8_tiny", run_overflow_small, 64, 8, NULL),
    CASE("overflow_32_tiny", run_overflow_small, 64, 32, NULL),
    CASE("overflow_1_mid", run_overflow_small, 5000, 1, NULL),
    CASE("overflow_1000_mid", run_overflow_small, 5000, 1000, NULL),
    CASE("overflow_1_large", run_overflow_large, 400000, 1, NULL),
    CASE("overflow_8_large", run_overflow_large, 400000, 8, NULL),
    CASE("overflow_1_mb", run_overflow_large, (1 << 20) - 20000, 1, NULL),
    CASE("overflow_32_mb", run_overflow_large, (1 << 20) - 20000, 32, NULL),
    CASE("overflow_big", run_overflow_big, 80 << 20, 4096 + 8, NULL),
    CASE("overflow_string", run_string_overflow, 64, 0, NULL),
    CASE("underflow_1_tiny", run_underflow_small, 64, 1, NULL),
    CASE("underflow_32_tiny", run_underflow_small, 64, 32, NULL),
    CASE("underflow_1_mid", run_underflow_small, 5000, 1, NULL),
    CASE("underflow_1_large", run_underflow_large, 400000, 1, NULL),
    CASE("underflow_32_mb", run_underflow_large, (1 << 20) - 20000, 32, NULL),
    CASE("read_freed_tiny", run_read_freed, 64, 32, NULL),
    CASE("read_freed_large", run_read_freed, 400000, 200000, NULL),
    CASE("read_freed_big", run_read_freed, 80 << 20, 40 << 20, NULL),
    CASE("write_freed_tiny", run_write_freed, 64, 64, NULL),
    CASE("write_freed_mid", run_write_freed, 5000, 5000, NULL),
    CASE("write_freed_large", run_write_freed, 400000, 4096, NULL),
    CASE("write_reused_tiny", run_freed_and_reused, 64, 64, NULL),
    CASE("write_reused_large", run_freed_and_reused, 400000, 4096, NULL),
    CASE("write_trimmed_tiny", run_write_trimmed, 64, 64, NULL),
    CASE("write_trimmed_large", run_write_trimmed, 400000, 4096, NULL),
    CASE("write_trimmed_big", run_write_trimmed, 80 << 20, 4096, NULL),
    CASE("write_moved", run_write_moved, 64, 64, NULL),
    CASE("read_shrunk", run_read_shrunk, 5000, 4000, NULL),
    CASE("read_unwritten_tiny", run_read_unwritten, 64, 0, NULL),
    CASE("read_unwritten_large", run_read_unwritten, 400000, 0, NULL),
    CASE("contents_stay_tiny", run_contents_stay, 64, 0, NULL),
    CASE("contents_stay_large", run_contents_stay, 400000, 0, NULL),
    CASE("zero_size", run_zero_size, 0, 0, NULL),
    CASE("zero_size_freed", run_zero_size, 0, 1, NULL),
    CASE("twice_reused_tiny", run_twice_reused, 64, 0, NULL),
    CASE("twice_reused_large", run_twice_reused, 400000, 0, NULL),
    CASE("mixed_malloc_delete", run_mixed, 100, 0, "malloc, delete"),
    CASE("mixed_new_free", run_mixed, 100, 0, "new, free"),
    CASE("mixed_new_delete_array", run_mixed, 100, 0, "new, delete[]"),
    CASE("mixed_new_array_delete", run_mixed, 100, 0, "new[], delete"),
    CASE("alignment_wrong", run_wrong_alignment, 100, 64, NULL),
    CASE("execute_block", run_execute, 64, 0, NULL),
};

int main(int argc, char **argv) {
    return death_main(argc, argv, g_cases, sizeof g_cases / sizeof g_cases[0]);
}
