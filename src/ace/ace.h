/* src/ace/ace.h — the adaptive cache engine: decides what heaps keep. SPDX-License-Identifier: MIT */
#ifndef HAK_ACE_ACE_H
#define HAK_ACE_ACE_H

#include <stdbool.h>

#include "options/options.h"

/*
 * Writes hak_heap_policy. Before the first heap is used. `checks`: no magazines at all, so that each
 * free reaches its slab, and each misuse is seen, at once.
 */
void hak_ace_init(enum hak_ace_mode mode, bool checks);

#endif
