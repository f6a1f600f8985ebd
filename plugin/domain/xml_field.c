/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Attributes and text out of what libxml2's SAX interface hands over, into small terminated
 * buffers. The caller may rely on it that values which don't fit are refused, not cut, and that
 * copies of values are wiped, because one of them is a key.
 */
#include "domain/xml.h"

#include <errno.h>
#include <string.h>

enum { LOCAL_NAME, PREFIX, URI, VALUE, VALUE_END, FIELDS_PER_ATTRIBUTE };

#define VALUE_SIZE 256

/*
 * libxml2 leaves an ampersand in an attribute's value as a character reference when entities are
 * not to be expanded; there is no other ampersand in it.
 */
static int copy_value(const unsigned char **field, char value[VALUE_SIZE]) {
    static const char reference[] = "&#38;";
    const unsigned char *from = field[VALUE];
    size_t n = 0;

    while (from < field[VALUE_END]) {
        if (n + 1 == VALUE_SIZE) {
            return -E2BIG;
        }
        value[n++] = (char)*from;
        from += (size_t)(field[VALUE_END] - from) >= sizeof(reference) - 1 &&
                        memcmp(from, reference, sizeof(reference) - 1) == 0
                    ? sizeof(reference) - 1
                    : 1;
    }
    value[n] = '\0';
    return 0;
}

static const struct th_xml_field *find(const struct th_xml_field *fields, size_t n_fields,
                                       const char *name) {
    for (size_t i = 0; i < n_fields; i++) {
        if (strcmp(fields[i].name, name) == 0) {
            return &fields[i];
        }
    }
    return NULL;
}

bool th_xml_fields_read(const struct th_xml_attributes *attributes, const char *element,
                        const struct th_xml_field *fields, size_t n_fields, void *target,
                        struct th_complaint *complaint) {
    for (int i = 0; i < attributes->n; i++) {
        const unsigned char **field = attributes->fields + i * FIELDS_PER_ATTRIBUTE;
        const char *name = (const char *)field[LOCAL_NAME];
        const struct th_xml_field *known = find(fields, n_fields, name);
        char value[VALUE_SIZE];
        int r;

        if (field[URI]) {
            continue;
        }
        if (!known) {
            th_complaint_add(complaint, "%s: unknown attribute '%.32s'", element, name);
            continue;
        }
        r = copy_value(field, value);
        r = r < 0 ? r : known->read(value, target);
        explicit_bzero(value, sizeof(value));
        if (r < 0) {
            th_complaint_add(complaint, "%s ignored: %s is not %s", element, name, known->wanted);
            return false;
        }
    }
    return true;
}

bool th_xml_attribute_is(const struct th_xml_attributes *attributes, const char *name,
                         const char *value) {
    for (int i = 0; i < attributes->n; i++) {
        const unsigned char **field = attributes->fields + i * FIELDS_PER_ATTRIBUTE;
        char found[VALUE_SIZE];

        if (!field[URI] && strcmp((const char *)field[LOCAL_NAME], name) == 0) {
            return copy_value(field, found) == 0 && strcmp(found, value) == 0;
        }
    }
    return false;
}

void th_xml_text_add(struct th_xml_text *text, const char *bytes, size_t size) {
    size_t room = sizeof(text->bytes) - 1 - text->size;

    if (size > room) {
        text->cut = true;
        size = room;
    }
    memcpy(text->bytes + text->size, bytes, size);
    text->size += size;
    text->bytes[text->size] = '\0';
}

const char *th_xml_text_trim(struct th_xml_text *text) {
    static const char white[] = " \t\r\n";

    while (text->size > 0 && strchr(white, text->bytes[text->size - 1])) {
        text->bytes[--text->size] = '\0';
    }
    return text->bytes + strspn(text->bytes, white);
}
