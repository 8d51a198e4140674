/* test/shadow/ownership.h — which bytes of the address space are somebody's. SPDX-License-Identifier: MIT */
/*
 * Goal: notice at once that memory was handed out twice, whichever threads have it.
 * Method: one bit per 16 bytes of address space, in leaves that are mapped when first needed. A block
 * claims its bits when it comes and releases them before it goes; a bit that is set already, or not
 * set any more, is the proof. With threads each word is changed by one atomic operation, relaxed: a
 * block that changes hands properly brings its bits along, and a stronger order would hide from the
 * thread sanitizer that it was not.
 */
#ifndef HAKMEM_TEST_SHADOW_OWNERSHIP_H
#define HAKMEM_TEST_SHADOW_OWNERSHIP_H

#include <stdbool.h>
#include <stddef.h>

/* From now on many threads claim and release. */
void shadow_ownership_share(void);
/* False: a part is somebody's already (claim), or is not owned (release). `size` 0 counts as 1. */
bool shadow_claim(const void *block, size_t size);
bool shadow_release(const void *block, size_t size);

#endif
