/* test/interleave/wrap.c — calls that a mutation may leave out: the linker leads them here. SPDX-License-Identifier: MIT */

#include <stdint.h>

#include "heap/heap.h"
#include "heap/registry.h"
#include "heap/remote.h"
#include "scenarios.h"
#include "schedule.h"

#define SKIPPABLE(function, parameters, arguments)                                                 \
    void __real_##function parameters;                                                             \
    void __wrap_##function parameters;                                                             \
    void __wrap_##function parameters {                                                            \
        if (!schedule_is_skipped(#function))                                                       \
            __real_##function arguments;                                                           \
    }
#include "skippable.def"
#undef SKIPPABLE

/* ---- not left out, but watched ---- */

void __real_hak_ace_epoch(uint64_t now_ms);
void __wrap_hak_ace_epoch(uint64_t now_ms);

void __wrap_hak_ace_epoch(uint64_t now_ms) {
    scenario_epoch_begins();
    __real_hak_ace_epoch(now_ms);
    scenario_epoch_ends();
}
