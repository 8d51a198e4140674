/* cli/json_text.h — strings of any bytes for JSON. SPDX-License-Identifier: MIT */
#ifndef HAKMEM_CLI_JSON_TEXT_H
#define HAKMEM_CLI_JSON_TEXT_H

#include <jansson.h>

/* Where `bytes` is not UTF-8, as ASCII: each other byte is a question mark. NULL: no memory. */
json_t *json_text(const char *bytes);

/* Appends and takes over `value`; where that fails, or `value` is NULL, *array becomes NULL. */
void json_append(json_t **array, json_t *value);

/* An array of texts; `words` ends with NULL. */
json_t *json_words(const char *const *words);

#endif
