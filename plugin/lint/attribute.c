/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attributes by name, for readers that want a few of an element's and don't mind the others. The
 * caller may rely on it that a value is taken whole or not at all: half of one could read as
 * another value.
 */
#include "lint/attribute.h"

#include <string.h>

/* libxml2's layout, see th_xml_attributes. */
enum { LOCAL_NAME, PREFIX, URI, VALUE, VALUE_END, FIELDS_PER_ATTRIBUTE };

/* The one reference that libxml2 leaves in a value. */
static const char ampersand[] = "&#38;";

static size_t width_of(const unsigned char *from, const unsigned char *end) {
    size_t width = sizeof(ampersand) - 1;

    return (size_t)(end - from) >= width && memcmp(from, ampersand, width) == 0 ? width : 1;
}

static void copy(const unsigned char **field, char *value, size_t size) {
    size_t n = 0;

    for (const unsigned char *from = field[VALUE]; from < field[VALUE_END];
         from += width_of(from, field[VALUE_END])) {
        if (n + 1 == size) {
            n = 0;
            value[n++] = '?';
            break;
        }
        value[n++] = (char)*from;
    }
    value[n] = '\0';
}

char *th_attribute_get(const struct th_xml_attributes *attributes, const char *name, char *value,
                       size_t size) {
    value[0] = '\0';
    for (int i = 0; i < attributes->n; i++) {
        const unsigned char **field = attributes->fields + i * FIELDS_PER_ATTRIBUTE;

        if (!field[URI] && strcmp((const char *)field[LOCAL_NAME], name) == 0) {
            copy(field, value, size);
            break;
        }
    }
    return value;
}
