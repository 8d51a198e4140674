/* cli/json_text.c — strings of any bytes for JSON. SPDX-License-Identifier: MIT */
#include "json_text.h"

#include <stdlib.h>
#include <string.h>

json_t *json_text(const char *bytes) {
    json_t *string = json_string(bytes);
    char *ascii = string == NULL ? strdup(bytes) : NULL;
    if (ascii == NULL) {
        return string;
    }
    for (char *byte = ascii; *byte != '\0'; byte++) {
        *byte = (char)((unsigned char)*byte < 0x80 ? *byte : '?');
    }
    string = json_string(ascii);
    free(ascii);
    return string;
}

void json_append(json_t **array, json_t *value) {
    if (json_array_append_new(*array, value) != 0) {
        json_decref(*array);
        *array = NULL;
    }
}

json_t *json_words(const char *const *words) {
    json_t *array = json_array();
    for (; *words != NULL; words++) {
        json_append(&array, json_text(*words));
    }
    return array;
}
