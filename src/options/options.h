/* src/options/options.h — typed values and their parser. SPDX-License-Identifier: MIT */

/*
 * Values come from `HAKMEM_CONF="name:value,name:value"` and `HAKMEM_<NAME>=value`, the single
 * variable winning; they are read once, at start-up, and never under AT_SECURE. options.def is the
 * one list that code, help and documentation are made from.
 */
#ifndef HAK_OPTIONS_OPTIONS_H
#define HAK_OPTIONS_OPTIONS_H

#include <stdint.h>

#include "base/compiler.h"

enum hak_ace_mode { HAK_ACE_OFF, HAK_ACE_ON, HAK_ACE_FROZEN };
enum hak_huge_mode { HAK_HUGE_OFF, HAK_HUGE_AUTO, HAK_HUGE_ON };

enum { HAK_OPTION_TEXT_SIZE = 256 }; /* bytes, the final 0 included */

/* The C types of the kinds. */
typedef uint32_t hak_option_BOOL;
typedef uint32_t hak_option_CHOICE;
typedef uint32_t hak_option_WORDS;
typedef char hak_option_TEXT[HAK_OPTION_TEXT_SIZE];

struct hak_options {
#define HAK_OPTION(name, kind, default_value, values, effect) hak_option_##kind name;
#include "options/options.def"
#undef HAK_OPTION
};

/* Written by hak_options_load() before the second thread can exist; constant from then on. */
extern HAK_INTERNAL struct hak_options hak_options;

/*
 * Reads a NULL-terminated environment. An unknown HAKMEM_ name or a bad value is one warning line
 * on stderr each; the rest of the environment still counts.
 */
void hak_options_load(char **environment);

#endif
