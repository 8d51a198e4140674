/* test/shadow/model.c — the calls, and what is checked about them. SPDX-License-Identifier: MIT */

#include "model.h"

#include <errno.h>

#include "../stress/books.h"
#include "../stress/stress.h"
#include "ownership.h"
#include "report.h"

/* The C++ operators: plain, array; each with nothrow, aligned, sized where there is such a form. */
typedef void *new_plain(size_t);
typedef void *new_nothrow(size_t, const void *);
typedef void *new_aligned(size_t, size_t);
typedef void *new_aligned_nothrow(size_t, size_t, const void *);
typedef void delete_plain(void *);
typedef void delete_nothrow(void *, const void *);
typedef void delete_sized(void *, size_t); /* also the aligned form: the number is the alignment */
typedef void delete_aligned_nothrow(void *, size_t, const void *);
typedef void delete_sized_aligned(void *, size_t, size_t);

static struct {
    new_plain *make[2];
    new_nothrow *make_nothrow[2];
    new_aligned *make_aligned[2];
    new_aligned_nothrow *make_aligned_nothrow[2];
    delete_plain *drop[2];
    delete_nothrow *drop_nothrow[2];
    delete_sized *drop_sized[2];
    delete_sized *drop_aligned[2];
    delete_aligned_nothrow *drop_aligned_nothrow[2];
    delete_sized_aligned *drop_sized_aligned[2];
} g_cxx;

/* What only this library has; NULL under another. */
static struct {
    size_t (*prewarm)(size_t, size_t);
    size_t (*receipts)(struct hakmem_receipt *, size_t);
    int (*check)(unsigned, void *, size_t);
    unsigned check_flags;
    struct hakmem_stats books; /* as opened */
    FILE *null;                /* for malloc_info */
    size_t page;               /* bytes of an OS page */
    bool is_ours;
} g_model;

enum { MAGIC = 4711, CHECK_QUIESCENT = 1, CHECK_WAIT = 2 };
static const char g_nothrow;

/* ---- contents ---- */

/* Words of 8 bytes; all of the first DENSE are painted, of one block in eight DENSE_RARE. */
enum { DENSE = 1024, DENSE_RARE = 32768, PAGE_WORDS = 512, SAMPLES = 64 };
#define PAINT_STEP UINT64_C(0x9E3779B97F4A7C15)

/* Word i is paint_start + i × PAINT_STEP: no two words of a block, and no two blocks, are alike. */
static uint64_t paint_start(uint32_t salt) {
    return (salt + UINT64_C(1)) * UINT64_C(0xD1342543DE82EF95);
}

static size_t dense_words(uint32_t salt) {
    return salt % 8 == 0 ? DENSE_RARE : DENSE;
}

/* Above, one word in so many: one per 4 KiB, or SAMPLES in all. */
static size_t sample_step(const struct shadow_record *r) {
    size_t words = r->usable / 8;
    return r->salt % 8 == 0 || words < SAMPLES * PAGE_WORDS ? (size_t)PAGE_WORDS : words / SAMPLES;
}

static size_t sample_first(const struct shadow_record *r) {
    return dense_words(r->salt) + (r->salt >> 8) % PAGE_WORDS;
}

static void paint(const struct shadow_record *r) {
    uint64_t start = paint_start(r->salt);
    size_t words = r->usable / 8;
    size_t dense = words < dense_words(r->salt) ? words : dense_words(r->salt);
    uint64_t value = start;
    for (size_t i = 0; i < dense; i++, value += PAINT_STEP)
        r->block[i] = value;
    if (dense == words)
        return;
    for (size_t i = sample_first(r); i < words; i += sample_step(r))
        r->block[i] = start + i * PAINT_STEP;
    r->block[words - 1] = start + (words - 1) * PAINT_STEP;
    if (r->size / 8 >= 1) /* both sides of where the request ends: what realloc has to keep */
        r->block[r->size / 8 - 1] = start + (r->size / 8 - 1) * PAINT_STEP;
    if (r->size / 8 < words)
        r->block[r->size / 8] = start + r->size / 8 * PAINT_STEP;
}

/* The first `bytes` of the record's contents are at `block`. */
static void verify_bytes(const struct shadow_record *r, const uint64_t *block, size_t bytes) {
    uint64_t start = paint_start(r->salt);
    size_t words = bytes / 8;
    size_t dense = words < dense_words(r->salt) ? words : dense_words(r->salt);
    uint64_t value = start;
    uint64_t difference = 0;
    for (size_t i = 0; i < dense; i++, value += PAINT_STEP)
        difference |= block[i] ^ value;
    if (dense < words) {
        for (size_t i = sample_first(r); i < words; i += sample_step(r))
            difference |= block[i] ^ (start + i * PAINT_STEP);
        if (bytes == r->usable)
            difference |= block[words - 1] ^ (start + (words - 1) * PAINT_STEP);
        if (bytes >= r->size && r->size >= 8)
            difference |= block[r->size / 8 - 1] ^ (start + (r->size / 8 - 1) * PAINT_STEP);
    }
    value = start + words * PAINT_STEP;
    bool is_tail_painted = words < dense_words(r->salt) || bytes == r->size;
    if (bytes % 8 != 0 && words < r->usable / 8 && is_tail_painted &&
        memcmp(&block[words], &value, bytes % 8) != 0)
        difference = 1;
    if (difference != 0)
        shadow_fail("contents changed (block %p, size %zu, usable %zu; looked at %zu bytes at %p)",
                    (const void *)r->block, r->size, r->usable, bytes, (const void *)block);
}

void shadow_verify(const struct shadow_record *r) {
    if (r->block == NULL)
        return;
    verify_bytes(r, r->block, r->usable);
    size_t usable = api.malloc_usable_size(r->block);
    if (usable != r->usable)
        shadow_fail("the usable size of %p changed from %zu to %zu", (void *)r->block, r->usable,
                    usable);
}

/* All of what is small; of what is large a word per page, and of some all. */
static void check_zero(const uint64_t *block, size_t size, uint32_t salt) {
    size_t words = size / 8;
    size_t dense = salt % 8 == 0 ? (size_t)1 << 19 : (size_t)1 << 14;
    uint64_t any = 0;
    for (size_t i = 0; i < words && i < dense; i++)
        any |= block[i];
    size_t step = words > ((size_t)1 << 19) ? words / 1024 : PAGE_WORDS;
    for (size_t i = dense + salt % PAGE_WORDS; i < words; i += step)
        any |= block[i];
    if (words > 0)
        any |= block[words - 1];
    for (size_t i = words * 8; i < size; i++)
        any |= ((const unsigned char *)block)[i];
    if (any != 0)
        shadow_fail("calloc is not zero (block %p, size %zu)", (const void *)block, size);
}

/* ---- taking ---- */

/* Others align blocks below 16 bytes to 8 only, and then two of them share the 16 that ownership counts in. */
static size_t size_asked(const struct shadow_operation *op) {
    return g_model.is_ours || op->size >= 16 ? op->size : 16;
}

static void *take_plain(const struct shadow_operation *op) {
    size_t size = size_asked(op);
    switch (op->kind) {
    case SHADOW_LIBC_MALLOC:
        return api.__libc_malloc(size);
    case SHADOW_REALLOC_NULL:
        return api.realloc(NULL, size);
    case SHADOW_LIBC_REALLOC_NULL:
        return api.__libc_realloc(NULL, size);
    case SHADOW_REALLOCARRAY_NULL:
        return api.reallocarray(NULL, size, 1);
    case SHADOW_CALLOC:
        return api.calloc(1, size);
    case SHADOW_CALLOC_ELEMENTS:
        return api.calloc((size + 3) / 4, 4);
    case SHADOW_LIBC_CALLOC:
        return api.__libc_calloc(size, 1);
    case SHADOW_NEW:
    case SHADOW_NEW_ARRAY:
        return g_cxx.make[op->kind - SHADOW_NEW](size);
    case SHADOW_NEW_NOTHROW:
    case SHADOW_NEW_ARRAY_NOTHROW:
        return g_cxx.make_nothrow[op->kind - SHADOW_NEW_NOTHROW](size, &g_nothrow);
    case SHADOW_VALLOC:
        return api.valloc(size);
    case SHADOW_LIBC_VALLOC:
        return api.__libc_valloc(size);
    case SHADOW_PVALLOC:
        return api.pvalloc(size);
    case SHADOW_LIBC_PVALLOC:
        return api.__libc_pvalloc(size);
    default:
        return api.malloc(size);
    }
}

static void *take_aligned(const struct shadow_operation *op) {
    size_t size = size_asked(op);
    size_t alignment = (size_t)1 << op->align_log2;
    void *block = NULL;
    switch (op->kind) {
    case SHADOW_MEMALIGN:
        return api.memalign(alignment, size);
    case SHADOW_LIBC_MEMALIGN:
        return api.__libc_memalign(alignment, size);
    case SHADOW_POSIX_MEMALIGN:
        return api.posix_memalign(&block, alignment, size) == 0 ? block : NULL;
    case SHADOW_LIBC_POSIX_MEMALIGN:
        return api.__posix_memalign(&block, alignment, size) == 0 ? block : NULL;
    case SHADOW_NEW_ALIGNED:
    case SHADOW_NEW_ARRAY_ALIGNED:
        return g_cxx.make_aligned[op->kind - SHADOW_NEW_ALIGNED](size, alignment);
    case SHADOW_NEW_ALIGNED_NOTHROW:
    case SHADOW_NEW_ARRAY_ALIGNED_NOTHROW:
        return g_cxx.make_aligned_nothrow[op->kind - SHADOW_NEW_ALIGNED_NOTHROW](size, alignment,
                                                                                 &g_nothrow);
    default:
        return api.aligned_alloc(alignment, size);
    }
}

static void check_errno(const char *call) {
    if (errno != MAGIC && g_model.is_ours)
        shadow_fail("%s succeeded and set errno to %d", call, errno);
}

/* Enters a block that has just come into the record: everything that can be said of it at once. */
static void take_in(struct shadow_record *r, void *block, size_t size, uint32_t salt,
                    uint8_t align_log2) {
    size_t alignment = align_log2 > 4 ? (size_t)1 << align_log2 : 16;
    if (block == NULL)
        shadow_fail("out of memory (size %zu, alignment %zu)", size, alignment);
    *r = (struct shadow_record){block, size, api.malloc_usable_size(block), salt, align_log2};
    if (r->usable < size)
        shadow_fail("usable size %zu is below the request, %zu", r->usable, size);
    if (!is_aligned(block, alignment))
        shadow_fail("block %p is not aligned to %zu (size %zu)", block, alignment, size);
    if (!shadow_claim(block, r->usable))
        shadow_fail("block %p of %zu usable bytes (size %zu) overlaps a live one", block, r->usable,
                    size);
}

/* Memory that is given back, or about to be looked for: nobody owns it. */
static void let_go(const struct shadow_record *r) {
    if (!shadow_release(r->block, r->usable))
        shadow_fail("the model lost block %p", (void *)r->block);
}

static void perform_take(const struct shadow_operation *op, struct shadow_record *r) {
    bool is_aligned_kind = shadow_group_of(op->kind) == SHADOW_GROUP_TAKE_ALIGNED;
    bool is_page_kind = shadow_group_of(op->kind) == SHADOW_GROUP_TAKE_PAGES;
    bool is_zeroed = op->kind >= SHADOW_CALLOC && op->kind <= SHADOW_LIBC_CALLOC;
    uint8_t align_log2 = is_aligned_kind ? op->align_log2
                         : is_page_kind  ? (uint8_t)__builtin_ctzl(g_model.page)
                                         : 4;
    size_t size = size_asked(op);
    if (op->kind == SHADOW_PVALLOC || op->kind == SHADOW_LIBC_PVALLOC)
        size = (size + g_model.page - 1) / g_model.page * g_model.page;
    errno = MAGIC;
    void *block = is_aligned_kind ? take_aligned(op) : take_plain(op);
    check_errno("an allocation");
    take_in(r, block, size, op->salt, align_log2);
    if (is_zeroed)
        check_zero(r->block, size, op->salt);
    if (api.nallocx != NULL && op->salt % 4 == 0) {
        size_t good = api.nallocx(size, align_log2 > 4 ? align_log2 : 0);
        if (good > r->usable || good < size)
            shadow_fail("nallocx says %zu of size %zu, whose usable size is %zu", good, size,
                        r->usable);
    }
    paint(r);
}

/* ---- giving back ---- */

/* Sized and aligned forms are for the blocks of their own kind. */
static void give_back(unsigned kind, const struct shadow_record *r) {
    void *p = r->block;
    size_t alignment = (size_t)1 << r->align_log2;
    bool is_aligned_block = r->align_log2 > 4;
    switch (kind) {
    case SHADOW_LIBC_FREE:
        api.__libc_free(p);
        break;
    case SHADOW_CFREE:
        api.cfree(p);
        break;
    case SHADOW_LIBC_CFREE:
        api.__libc_cfree(p);
        break;
    case SHADOW_REALLOC_ZERO:
        if (!g_model.is_ours) /* the standard leaves it open */
            api.free(p);
        else if (api.realloc(p, 0) != NULL)
            shadow_fail("realloc(p, 0) is not NULL");
        break;
    case SHADOW_FREE_SIZED:
        if (is_aligned_block)
            api.free_aligned_sized(p, alignment, r->size);
        else
            api.free_sized(p, r->size);
        break;
    case SHADOW_SDALLOCX:
        api.sdallocx(p, r->size, is_aligned_block ? r->align_log2 : 0);
        break;
    case SHADOW_DELETE:
    case SHADOW_DELETE_ARRAY:
        if (is_aligned_block)
            g_cxx.drop_aligned[kind - SHADOW_DELETE](p, alignment);
        else
            g_cxx.drop[kind - SHADOW_DELETE](p);
        break;
    case SHADOW_DELETE_NOTHROW:
    case SHADOW_DELETE_ARRAY_NOTHROW:
        if (is_aligned_block)
            g_cxx.drop_aligned_nothrow[kind - SHADOW_DELETE_NOTHROW](p, alignment, &g_nothrow);
        else
            g_cxx.drop_nothrow[kind - SHADOW_DELETE_NOTHROW](p, &g_nothrow);
        break;
    case SHADOW_DELETE_SIZED:
    case SHADOW_DELETE_ARRAY_SIZED:
        if (is_aligned_block)
            g_cxx.drop_sized_aligned[kind - SHADOW_DELETE_SIZED](p, r->size, alignment);
        else
            g_cxx.drop_sized[kind - SHADOW_DELETE_SIZED](p, r->size);
        break;
    default:
        api.free(p);
    }
}

static void perform_give(unsigned kind, struct shadow_record *r) {
    shadow_verify(r);
    let_go(r);
    errno = MAGIC;
    give_back(kind, r);
    check_errno("free");
    r->block = NULL;
}

void shadow_clear(struct shadow_record *r) {
    if (r->block != NULL)
        perform_give(SHADOW_FREE, r);
}

/* ---- resizing ---- */

static void perform_resize(const struct shadow_operation *op, struct shadow_record *r) {
    size_t size = size_asked(op);
    void *moved;
    shadow_verify(r);
    let_go(r); /* from now on it may be anybody's, unless it stays */
    errno = MAGIC;
    switch (op->kind) {
    case SHADOW_LIBC_REALLOC:
        moved = api.__libc_realloc(r->block, size);
        break;
    case SHADOW_REALLOCARRAY:
        moved = api.reallocarray(r->block, 1, size);
        break;
    case SHADOW_REALLOCARRAY_ELEMENTS:
        size = (size + 3) / 4 * 4;
        moved = api.reallocarray(r->block, size / 4, 4);
        break;
    default:
        moved = api.realloc(r->block, size);
    }
    check_errno("realloc");
    if (moved != NULL)
        verify_bytes(r, moved, size < r->size ? size : r->size);
    take_in(r, moved, size, op->salt, 4);
    paint(r);
}

/* ---- refusals ---- */

/* The block that was given, which is no block, and errno. */
static void *refused(const struct shadow_operation *op, const struct shadow_record *r) {
    size_t huge = op->size;
    switch (op->kind) {
    case SHADOW_REFUSE_CALLOC:
        return api.calloc(huge, op->salt % 2 ? 2 : 1);
    case SHADOW_REFUSE_REALLOC:
        return api.realloc(r->block, huge);
    case SHADOW_REFUSE_REALLOCARRAY:
        return api.reallocarray(r->block, huge, op->salt % 2 ? 8 : 1);
    case SHADOW_REFUSE_ALIGNED_ALLOC:
        return api.aligned_alloc((size_t)1 << op->salt % 63, huge);
    case SHADOW_REFUSE_PVALLOC:
        return api.pvalloc(huge);
    case SHADOW_REFUSE_NEW_NOTHROW:
        return g_cxx.make_nothrow[op->salt % 2](huge, &g_nothrow);
    case SHADOW_REFUSE_ALIGNMENT:
        return api.aligned_alloc(op->salt % 2 ? 24 : 0, 64);
    default:
        return api.malloc(huge);
    }
}

static void perform_refuse(const struct shadow_operation *op, struct shadow_record *r) {
    bool is_bad_alignment = op->kind == SHADOW_REFUSE_ALIGNMENT;
    errno = MAGIC;
    if (op->kind == SHADOW_REFUSE_POSIX_MEMALIGN || op->kind == SHADOW_REFUSE_POSIX_ALIGNMENT) {
        bool is_posix_bad = op->kind == SHADOW_REFUSE_POSIX_ALIGNMENT;
        void *out = r;
        int error = api.posix_memalign(&out, is_posix_bad ? 4 : 64, is_posix_bad ? 64 : op->size);
        if (error != (is_posix_bad ? EINVAL : ENOMEM) || out != (void *)r)
            shadow_fail("posix_memalign gave %d and %p", error, out);
        check_errno("posix_memalign, which never may,");
    } else {
        void *block = refused(op, r);
        if (block != NULL || errno != (is_bad_alignment ? EINVAL : ENOMEM))
            shadow_fail("not refused as it should be: block %p, errno %d", block, errno);
    }
    shadow_verify(r);
}

/* ---- the process ---- */

static void ask_mallinfo(void) {
    struct mallinfo2 all = api.mallinfo2();
    struct mallinfo as_int = api.mallinfo();
    if (g_model.is_ours && all.uordblks + all.fordblks < all.keepcost)
        shadow_fail("mallinfo2: %zu in use, %zu free, but %zu to trim", all.uordblks, all.fordblks,
                    all.keepcost);
    if (as_int.arena < 0)
        shadow_fail("mallinfo: arena %d", as_int.arena);
}

static void perform_ask(const struct shadow_operation *op) {
    struct hakmem_receipt receipts[4];
    errno = MAGIC;
    switch (op->kind) {
    case SHADOW_USABLE_SIZE_NULL:
        if (api.malloc_usable_size(NULL) != 0)
            shadow_fail("malloc_usable_size(NULL) is not 0");
        break;
    case SHADOW_FREE_NULL:
        if (op->size % (SHADOW_REALLOC - SHADOW_FREE) != SHADOW_REALLOC_ZERO - SHADOW_FREE)
            give_back((unsigned)(SHADOW_FREE + op->size % (SHADOW_REALLOC - SHADOW_FREE)),
                      &(struct shadow_record){.size = op->size});
        break;
    case SHADOW_MALLOPT:
        if (g_model.is_ours && api.mallopt(M_TRIM_THRESHOLD, 128 << 10) != 1)
            shadow_fail("mallopt does not take M_TRIM_THRESHOLD");
        break;
    case SHADOW_MALLINFO:
        ask_mallinfo();
        break;
    case SHADOW_MALLOC_INFO:
        if (api.malloc_info(0, g_model.null) != 0 || fflush(g_model.null) != 0)
            shadow_fail("malloc_info");
        errno = MAGIC; /* stdio may set it */
        break;
    case SHADOW_MALLOC_TRIM:
        api.malloc_trim(op->size);
        break;
    case SHADOW_PREWARM:
        if (g_model.prewarm != NULL &&
            g_model.prewarm(op->size, 1 + op->salt % 16) > 1 + op->salt % 16)
            shadow_fail("hakmem_prewarm made more than it was asked for");
        errno = MAGIC; /* memory may have been short */
        break;
    default:
        if (g_model.receipts != NULL && g_model.receipts(receipts, 4) > 4)
            shadow_fail("hakmem_receipts gave more than there was room for");
    }
    check_errno("a question");
}

void shadow_perform(const struct shadow_operation *op, struct shadow_record *r) {
    switch (shadow_group_of(op->kind)) {
    case SHADOW_GROUP_TAKE:
    case SHADOW_GROUP_TAKE_ALIGNED:
    case SHADOW_GROUP_TAKE_PAGES:
        if (r->block == NULL)
            perform_take(op, r);
        break;
    case SHADOW_GROUP_GIVE:
        if (r->block != NULL)
            perform_give(op->kind, r);
        break;
    case SHADOW_GROUP_RESIZE:
        if (r->block != NULL)
            perform_resize(op, r);
        break;
    case SHADOW_GROUP_REFUSE:
        if (g_model.is_ours) /* others do it in their own ways */
            perform_refuse(op, r);
        break;
    default:
        perform_ask(op);
    }
}

/* ---- the whole heap ---- */

void shadow_audit(size_t live) {
    if (!g_model.is_ours)
        return;
    struct hakmem_stats stats = books_read();
    size_t out = stats.small_out + stats.large_bytes + stats.big_bytes;
    if (out < live)
        shadow_fail("the books say %zu bytes are out, but %zu are in use", out, live);
    if (g_model.check != NULL) {
        int found = g_model.check(g_model.check_flags, NULL, 0);
        if (found != 0)
            shadow_fail("hakmem_check says %d; its own lines are above", found);
        atomic_fetch_add(&g_shadow_report->checks, 1);
    }
}

void shadow_books_open(void) {
    if (g_model.is_ours)
        g_model.books = books_balance();
}

void shadow_books_close(void) {
    if (!g_model.is_ours)
        return;
    struct hakmem_stats now = books_balance();
    const struct hakmem_stats *then = &g_model.books;
    if (!books_agree(then, &now))
        shadow_fail("all is freed, and the books differ: small %zu -> %zu, Large %zu -> %zu of %zu "
                    "-> %zu, Big %zu -> %zu of %zu -> %zu",
                    then->small_out, now.small_out, then->large_count, now.large_count,
                    then->large_bytes, now.large_bytes, then->big_count, now.big_count,
                    then->big_bytes, now.big_bytes);
}

/* ---- looking names up ---- */

static void *plain_new_nothrow(size_t size, const void *nothrow) {
    (void)nothrow;
    return api.malloc(size);
}
static void *plain_new_aligned(size_t size, size_t alignment) {
    return api.memalign(alignment, size);
}
static void *plain_new_aligned_nothrow(size_t size, size_t alignment, const void *nothrow) {
    (void)nothrow;
    return api.memalign(alignment, size);
}
static void plain_delete_nothrow(void *block, const void *nothrow) {
    (void)nothrow;
    api.free(block);
}
static void plain_free_sized(void *block, size_t size) {
    (void)size;
    api.free(block);
}
static void plain_delete_aligned_nothrow(void *block, size_t alignment, const void *nothrow) {
    (void)alignment;
    (void)nothrow;
    api.free(block);
}
static void plain_free_aligned_sized(void *block, size_t alignment, size_t size) {
    (void)alignment;
    (void)size;
    api.free(block);
}
static void plain_sdallocx(void *block, size_t size, int flags) {
    (void)size;
    (void)flags;
    api.free(block);
}

struct named {
    void *slot; /* of a function pointer, to be set by name */
    const char *name;
};

/* The operators are not in the prefixed library, nor in a C program under another allocator. */
static void load_operators(void) {
    for (int i = 0; i < 2; i++) {
        g_cxx.make[i] = api.malloc;
        g_cxx.make_nothrow[i] = plain_new_nothrow;
        g_cxx.make_aligned[i] = plain_new_aligned;
        g_cxx.make_aligned_nothrow[i] = plain_new_aligned_nothrow;
        g_cxx.drop[i] = api.free;
        g_cxx.drop_nothrow[i] = plain_delete_nothrow;
        g_cxx.drop_sized[i] = plain_free_sized;
        g_cxx.drop_aligned[i] = plain_free_sized;
        g_cxx.drop_aligned_nothrow[i] = plain_delete_aligned_nothrow;
        g_cxx.drop_sized_aligned[i] = plain_free_aligned_sized;
    }
    const struct named all[] = {
        {&g_cxx.make[0], "_Znwm"},
        {&g_cxx.make[1], "_Znam"},
        {&g_cxx.make_nothrow[0], "_ZnwmRKSt9nothrow_t"},
        {&g_cxx.make_nothrow[1], "_ZnamRKSt9nothrow_t"},
        {&g_cxx.make_aligned[0], "_ZnwmSt11align_val_t"},
        {&g_cxx.make_aligned[1], "_ZnamSt11align_val_t"},
        {&g_cxx.make_aligned_nothrow[0], "_ZnwmSt11align_val_tRKSt9nothrow_t"},
        {&g_cxx.make_aligned_nothrow[1], "_ZnamSt11align_val_tRKSt9nothrow_t"},
        {&g_cxx.drop[0], "_ZdlPv"},
        {&g_cxx.drop[1], "_ZdaPv"},
        {&g_cxx.drop_nothrow[0], "_ZdlPvRKSt9nothrow_t"},
        {&g_cxx.drop_nothrow[1], "_ZdaPvRKSt9nothrow_t"},
        {&g_cxx.drop_sized[0], "_ZdlPvm"},
        {&g_cxx.drop_sized[1], "_ZdaPvm"},
        {&g_cxx.drop_aligned[0], "_ZdlPvSt11align_val_t"},
        {&g_cxx.drop_aligned[1], "_ZdaPvSt11align_val_t"},
        {&g_cxx.drop_aligned_nothrow[0], "_ZdlPvSt11align_val_tRKSt9nothrow_t"},
        {&g_cxx.drop_aligned_nothrow[1], "_ZdaPvSt11align_val_tRKSt9nothrow_t"},
        {&g_cxx.drop_sized_aligned[0], "_ZdlPvmSt11align_val_t"},
        {&g_cxx.drop_sized_aligned[1], "_ZdaPvmSt11align_val_t"},
    };
    if (!g_model.is_ours)
        return; /* the operators of a C++ library that calls malloc, or none */
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        void *found = dlsym(RTLD_DEFAULT, all[i].name);
        if (found != NULL)
            memcpy(all[i].slot, &found, sizeof found);
    }
}

/* Under another allocator the names it lacks stand for their plain forms: not glibc's, for its blocks. */
static void lend_missing_names(void) {
    api.free_sized = plain_free_sized;
    api.free_aligned_sized = plain_free_aligned_sized;
    api.sdallocx = plain_sdallocx;
    api.cfree = api.__libc_free = api.__libc_cfree = api.free;
    api.__libc_malloc = api.malloc;
    api.__libc_calloc = api.calloc;
    api.__libc_realloc = api.realloc;
    api.__libc_memalign = api.memalign;
    api.__libc_valloc = api.valloc;
    api.__libc_pvalloc = api.pvalloc;
    api.__posix_memalign = api.posix_memalign;
    api.nallocx = NULL;
}

void shadow_model_load(void) {
    static char buffer[BUFSIZ];
    api_load();
    tap_require_override();
    g_model.is_ours = !tap_any_allocator();
    if (!g_model.is_ours)
        lend_missing_names();
    load_operators();
    g_model.page = (size_t)sysconf(_SC_PAGESIZE);
    g_model.null = fopen("/dev/null", "w");
    if (g_model.null == NULL || setvbuf(g_model.null, buffer, _IOFBF, sizeof buffer) != 0)
        stress_fail("fopen of /dev/null");
    if (g_model.is_ours) {
        api_set(&g_model.prewarm, "hakmem_prewarm");
        api_set(&g_model.receipts, "hakmem_receipts");
        api_set(&g_model.check, "hakmem_check");
        /* The helper thread is never at our barrier. */
        g_model.check_flags = CHECK_WAIT | (getenv("HAKMEM_HELPER") == NULL ? CHECK_QUIESCENT : 0);
        books_read(); /* looks a name up, which frees what an unsuccessful look-up left */
    }
}
