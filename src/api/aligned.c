/* src/api/aligned.c — the memalign family. SPDX-License-Identifier: MIT */

#include <errno.h>
#include <hakmem/hakmem.h>
#include <stdint.h>

#include "api/block.h"
#include "api/export.h"
#include "api/observed.h"
#include "base/bits.h"
#include "prim/prim.h"

/* Smaller alignments are what every block has anyway. */
static void *aligned_alloc_any(size_t alignment, size_t size, enum hak_entry entry) {
    void *p = alignment <= HAK_BLOCK_ALIGN ? block_pop(size) : NULL;
    if (p)
        return p;
    return hak_miss_alloc(
        (struct hak_block_request){size, hak_max(alignment, HAK_BLOCK_ALIGN), false}, entry);
}

static void *aligned_alloc_checked(size_t alignment, size_t size, enum hak_entry entry) {
    if (!hak_is_power_of_two(alignment)) {
        errno = EINVAL;
        return NULL;
    }
    return aligned_alloc_any(alignment, size, entry);
}

HAK_PUBLIC void *hakmem_aligned_alloc(size_t alignment, size_t size) {
    return aligned_alloc_checked(alignment, size, HAK_ENTRY_ALIGNED_ALLOC);
}
HAK_EXPORT(aligned_alloc);

HAK_PUBLIC void *hakmem_memalign(size_t alignment, size_t size) {
    return aligned_alloc_checked(alignment, size, HAK_ENTRY_MEMALIGN);
}
HAK_EXPORT(memalign);
HAK_EXPORT_AS(__libc_memalign, memalign);

HAK_PUBLIC int hakmem_posix_memalign(void **out, size_t alignment, size_t size) {
    if (!hak_is_power_of_two(alignment) || alignment % sizeof(void *) != 0)
        return EINVAL;
    int saved = errno;
    void *p = aligned_alloc_any(alignment, size, HAK_ENTRY_POSIX_MEMALIGN);
    if (p == NULL) {
        errno = saved;
        return ENOMEM;
    }
    *out = p;
    return 0;
}
HAK_EXPORT(posix_memalign);
HAK_EXPORT_AS(__posix_memalign, posix_memalign);

HAK_PUBLIC void *hakmem_valloc(size_t size) {
    return aligned_alloc_any(hak_prim_page_size(), size, HAK_ENTRY_VALLOC);
}
HAK_EXPORT(valloc);
HAK_EXPORT_AS(__libc_valloc, valloc);

HAK_PUBLIC void *hakmem_pvalloc(size_t size) {
    size_t page = hak_prim_page_size();
    if (size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    return aligned_alloc_any(page, hak_align_up(size, page), HAK_ENTRY_PVALLOC);
}
HAK_EXPORT(pvalloc);
HAK_EXPORT_AS(__libc_pvalloc, pvalloc);

HAK_PUBLIC size_t hakmem_nallocx(size_t size, int flags) {
    return hak_block_good_size(size, (size_t)1 << (flags & 63));
}
HAK_EXPORT(nallocx);
