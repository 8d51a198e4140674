/* test/fuzz/fuzz_options.c — hostile environments and files. SPDX-License-Identifier: MIT */
/*
 * Goal: whatever stands in the environment, in a saved policy and in the control group's files, the library
 * starts, every value it takes is one that its table allows, what it says is whole lines, and it works.
 * Method: the input is records, each ended by a 0, that begin with a letter:
 *
 *   E  a variable HAKMEM_…       V  any variable        P  the policy file
 *   G  /proc/self/cgroup         M  the text of the next file that is read with a limit
 */
#include <ctype.h>
#include <errno.h>
#include <hakmem/hakmem.h>

#include "ace/ace.h"
#include "api/start.h"
#include "api/tune.h"
#include "arena/pool.h"
#include "fuzz/world.h"
#include "heap/heap.h"
#include "options/options.h"
#include "slab/slab.h"
#include "vm/group.h"

enum { RECORDS_MAX = 24, RECORD_SIZE = 1200, POLICY_SIZE = 8192, DIGITS_SURE = 18 };

struct text {
    const char *start;
    size_t size;
};

static struct {
    char variables[RECORDS_MAX][RECORD_SIZE];
    char *environment[RECORDS_MAX + 1];
    size_t variable_count;
    struct text limits[RECORDS_MAX];
    size_t limit_count;
    size_t limits_read;
    struct text policy;
    struct text group;
} g_input;

/* ---- the input ---- */

static void add_variable(const char *prefix, struct text text) {
    if (g_input.variable_count == RECORDS_MAX)
        return;
    char *variable = g_input.variables[g_input.variable_count];
    snprintf(variable, RECORD_SIZE, "%s%.*s", prefix, (int)text.size, text.start);
    g_input.environment[g_input.variable_count++] = variable;
}

static void add_record(char kind, struct text text) {
    switch (kind) {
    case 'E':
        add_variable("HAKMEM_", text);
        break;
    case 'V':
        add_variable("", text);
        break;
    case 'P':
        g_input.policy = text;
        break;
    case 'G':
        g_input.group = text;
        break;
    case 'M':
        if (g_input.limit_count < RECORDS_MAX)
            g_input.limits[g_input.limit_count++] = text;
        break;
    default:
        break;
    }
}

static void take_apart(const char *data, size_t size) {
    memset(&g_input, 0, sizeof g_input);
    for (size_t at = 0; at < size;) {
        size_t length = strnlen(data + at, size - at);
        if (length > 0)
            add_record(data[at], (struct text){data + at + 1, length - 1});
        at += length + 1;
    }
}

/* ---- files ---- */

static int give(struct text text, char *buffer, size_t capacity, size_t *size) {
    *size = text.size < capacity ? text.size : capacity;
    memcpy(buffer, text.start ? text.start : "", *size);
    return text.start ? 0 : ENOENT;
}

static int read_served(const char *path, char *buffer, size_t capacity, size_t *size) {
    *size = 0;
    if (strcmp(path, "/proc/self/cgroup") == 0)
        return give(g_input.group, buffer, capacity, size);
    if (strncmp(path, "/sys/fs/cgroup/", 15) != 0)
        return give(g_input.policy, buffer, capacity, size);
    if (g_input.limits_read == g_input.limit_count)
        return ENOENT;
    return give(g_input.limits[g_input.limits_read++], buffer, capacity, size);
}

/* ---- what must hold ---- */

static size_t values_count(const char *values) {
    size_t count = 1;
    for (; *values; values++)
        count += *values == '|';
    return count;
}

#define REQUIRE_BOOL(name, values)                                                                 \
    FUZZ_REQUIRE(hak_options.name < values_count(values), "%s is %u", #name, hak_options.name)
#define REQUIRE_CHOICE REQUIRE_BOOL
#define REQUIRE_WORDS(name, values) /* any bits */
#define REQUIRE_TEXT(name, values)                                                                 \
    FUZZ_REQUIRE(memchr(hak_options.name, 0, sizeof hak_options.name) != NULL, "%s has no end",    \
                 #name)

static void check_options(void) {
#define HAK_OPTION(name, kind, default_value, values, effect) REQUIRE_##kind(name, values);
#include "options/options.def"
#undef HAK_OPTION
}

static void check_policies(void) {
    for (unsigned class_index = 1; class_index < HAK_CLASS_COUNT; class_index++) {
        unsigned slots = hak_atomic_load_relaxed(&hak_heap_policy.capacity_max[class_index]);
        unsigned spares = hak_atomic_load_relaxed(&hak_slab_policy.spares[class_index]);
        FUZZ_REQUIRE((slots & (slots + 1)) == 0 && slots <= hak_ace_capacity_limit(class_index),
                     "class %u has %u slots", class_index, slots);
        FUZZ_REQUIRE(slots >= hak_heap_policy.capacity_start[class_index],
                     "class %u has %u slots, fewer than it starts with", class_index, slots);
        FUZZ_REQUIRE(spares <= hak_ace_spares_limit(class_index), "class %u has %u spares",
                     class_index, spares);
    }
    unsigned delay = hak_atomic_load_relaxed(&hak_pool_policy.delay);
    FUZZ_REQUIRE(delay >= 1 && delay <= HAK_ACE_DELAY_MAX, "the delay is %u", delay);
}

/* What was learned and written is read again as the same. */
static void check_round_trip(void) {
    char first[POLICY_SIZE];
    char second[POLICY_SIZE];
    size_t size = hak_ace_write_policy(first, sizeof first);
    hak_ace_read_policy(first, size);
    FUZZ_REQUIRE(hak_ace_write_policy(second, sizeof second) == size &&
                     memcmp(first, second, size) == 0,
                 "a policy is not what was written:\n%.*s", (int)size, first);
}

/* Whole lines, the first of them ours; a value that is repeated may have newlines of its own. */
static void check_messages(void) {
    const char *text = world_messages();
    size_t size = strlen(text);
    FUZZ_REQUIRE(size == 0 || (strncmp(text, "hakmem", 6) == 0 && text[size - 1] == '\n'),
                 "a strange message: %s", text);
}

/* The limit is one of those that were read, or none. */
static void check_group(void) {
    size_t limit = hak_vm_group_limit();
    bool is_known = limit == SIZE_MAX || limit == 1;
    for (size_t i = 0; i < g_input.limits_read; i++) {
        struct text text = g_input.limits[i];
        size_t digits = 0;
        size_t number = 0;
        /* 32 bytes are looked at; so many digits surely fit a number. */
        while (digits < text.size && isdigit((unsigned char)text.start[digits]))
            digits++;
        for (size_t k = 0; k < digits && digits <= DIGITS_SURE; k++)
            number = number * 10 + (size_t)(text.start[k] - '0');
        is_known |= digits > DIGITS_SURE || (digits > 0 && number == limit);
    }
    FUZZ_REQUIRE(is_known, "the group's limit is %zu, which no file says", limit);
}

static void use(void) {
    static const size_t sizes[] = {0, 16, 1000, 20000, 300000, (size_t)5 << 20};
    enum { SIZES = sizeof sizes / sizeof sizes[0], ROUNDS = 6 };
    for (int round = 0; round < ROUNDS; round++) {
        void *blocks[SIZES];
        for (unsigned i = 0; i < SIZES; i++) {
            blocks[i] = hakmem_calloc(1, sizes[i]);
            FUZZ_REQUIRE(blocks[i] != NULL, "%zu bytes are refused", sizes[i]);
        }
        fake_prim_advance_clock(500);
        for (unsigned i = 0; i < SIZES; i++)
            hakmem_free(blocks[i]);
    }
    hakmem_malloc_trim(0);
    struct hakmem_stats stats;
    FUZZ_REQUIRE(hakmem_stats_get(&stats, sizeof stats) == 0 && stats.large_count == 0 &&
                     stats.small_out == 0 && stats.big_count == 0,
                 "%zu bytes of small blocks are out", stats.small_out);
    FUZZ_REQUIRE(hakmem_check(HAKMEM_CHECK_QUIESCENT | HAKMEM_CHECK_WAIT, NULL, 0) == 0, "%s",
                 world_messages());
}

/* As it may be asked for, and is made: 64 times 64 MiB. That much is no input's worth. */
static void bound_prewarm(void) {
    enum { TEXT_MAX = 24, DIGITS_MAX = 6, DIGITS_REFUSED = 13 };
    size_t digits = 0;
    char *text = hak_options.prewarm;
    text[TEXT_MAX] = 0;
    for (char *at = text;; at++) {
        if (*at >= '0' && *at <= '9') {
            digits++;
            continue;
        }
        if (digits > DIGITS_MAX && digits < DIGITS_REFUSED)
            text[0] = 0;
        digits = 0;
        if (*at == 0)
            return;
    }
}

static void body(void *unused) {
    (void)unused;
    fake_prim_serve_files(read_served);
    FUZZ_REQUIRE(hak_start(), "no start");
    bound_prewarm();
    hak_tune_at_start();
    check_options();
    check_policies();
    check_round_trip();
    check_group();
    use();
    check_policies();
    check_messages();
}

void fuzz_one(const uint8_t *data, size_t size) {
    take_apart((const char *)data, size);
    world_run((struct fake_machine){0}, g_input.environment, body, NULL);
}
