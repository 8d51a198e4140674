/* test/death/answers.c — wrong arguments that are answered. SPDX-License-Identifier: MIT */
/*
 * Goal: what is not misuse but a request that cannot be met gets errno and NULL, prints nothing and
 * leaves the process alive, with HAKMEM_CHECKS=1 too (run_death.py runs it in both modes).
 * Method: one line "ok - …" per answer.
 */
#include "../promise/entry_points.h"
#include "../promise/patterns.h"
#include "../promise/tap.h"

static void expect_null(const char *what, void *block, int error) {
    CHECK(block == NULL && errno == error, "%s: NULL, errno %d", what, error);
    errno = 0;
}

static void check_bad_sizes(void) {
    errno = 0;
    expect_null("malloc(PTRDIFF_MAX + 1)", api.malloc((size_t)PTRDIFF_MAX + 1), ENOMEM);
    expect_null("malloc(SIZE_MAX)", api.malloc(SIZE_MAX), ENOMEM);
    expect_null("calloc overflow", api.calloc((size_t)1 << 33, (size_t)1 << 33), ENOMEM);
    expect_null("reallocarray overflow", api.reallocarray(NULL, SIZE_MAX, 2), ENOMEM);
    expect_null("valloc(SIZE_MAX)", api.valloc(SIZE_MAX), ENOMEM);
    expect_null("pvalloc(SIZE_MAX)", api.pvalloc(SIZE_MAX), ENOMEM);
    expect_null("aligned_alloc(64, SIZE_MAX)", api.aligned_alloc(64, SIZE_MAX - 63), ENOMEM);
    expect_null("__libc_malloc(SIZE_MAX)", api.__libc_malloc(SIZE_MAX), ENOMEM);
}

static void check_bad_alignments(void) {
    expect_null("aligned_alloc(3, 100)", api.aligned_alloc(3, 100), EINVAL);
    expect_null("aligned_alloc(0, 100)", api.aligned_alloc(0, 100), EINVAL);
    expect_null("memalign(48, 100)", api.memalign(48, 100), EINVAL);
    void *block = &block;
    CHECK(api.posix_memalign(&block, 4, 100) == EINVAL && block == (void *)&block && errno == 0,
          "posix_memalign(4): EINVAL, block and errno untouched");
    CHECK(api.posix_memalign(&block, 24, 100) == EINVAL && block == (void *)&block && errno == 0,
          "posix_memalign(24): EINVAL, block and errno untouched");
    CHECK(api.posix_memalign(&block, 64, SIZE_MAX) == ENOMEM && errno == 0,
          "posix_memalign(64, SIZE_MAX): ENOMEM, errno untouched");
}

static void check_kept(void) {
    unsigned char *block = api.malloc(1000);
    pattern_fill(block, 1000, 1);
    errno = 0;
    expect_null("realloc(p, SIZE_MAX)", api.realloc(block, SIZE_MAX), ENOMEM);
    expect_null("reallocarray(p, SIZE_MAX, 16)", api.reallocarray(block, SIZE_MAX, 16), ENOMEM);
    CHECK(pattern_check(block, 1000, 1) == 1000, "the block is as it was");
    errno = 4711;
    api.free(block);
    api.free(NULL);
    CHECK(errno == 4711, "free keeps errno");
    CHECK(api.malloc_usable_size(NULL) == 0, "malloc_usable_size(NULL) is 0");
}

int main(void) {
    api_load();
    tap_require_override();
    check_bad_sizes();
    check_bad_alignments();
    check_kept();
    return tap_end();
}
