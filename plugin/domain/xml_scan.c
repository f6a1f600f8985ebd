/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A first look over XML before libxml2 gets it. libxml2 up to 2.11 compares each attribute of an
 * element with all before it: 400 kB of attributes in one element cost two seconds, 10 MB a
 * quarter of an hour, and the checker has one second. A DTD is found here too, before any of it is
 * interpreted.
 *
 * What the caller may rely on: in a well-formed document every tag is seen as it is; in a broken
 * one everything up to the first error, which is where libxml2 stops.
 */
#include "domain/xml.h"

#include <string.h>

#include "timehandoff/domain.h"

/* The first byte after the next occurrence of end, which ends in '>'; NULL if there is none. */
static const char *after(const char *at, const char *limit, const char *end) {
    size_t rest = strlen(end) - 1;
    const char *found = at;

    while ((found = memchr(found, '>', (size_t)(limit - found)))) {
        if ((size_t)(found - at) >= rest && memcmp(found - rest, end, rest) == 0) {
            return found + 1;
        }
        found++;
    }
    return NULL;
}

static bool begins(const char *at, const char *limit, const char *with) {
    size_t length = strlen(with);

    return (size_t)(limit - at) >= length && memcmp(at, with, length) == 0;
}

/* The first byte after a tag that begins at; NULL if it doesn't end. An equals sign outside of
 * quotes is an attribute. */
static const char *after_tag(const char *at, const char *limit, size_t *ret_attributes) {
    size_t attributes = 0;

    for (; at < limit; at++) {
        if (*at == '"' || *at == '\'') {
            at = memchr(at + 1, *at, (size_t)(limit - at - 1));
            if (!at) {
                break;
            }
        } else if (*at == '=') {
            attributes++;
        } else if (*at == '>') {
            at++;
            break;
        }
    }
    *ret_attributes = attributes;
    return at && at < limit ? at : NULL;
}

const char *th_xml_scan(const char *xml, size_t size) {
    const char *limit = xml + size;
    const char *at = size > 0 ? memchr(xml, '<', size) : NULL;

    while (at) {
        size_t attributes = 0;

        if (begins(at, limit, "<!--")) {
            at = after(at + 4, limit, "-->");
        } else if (begins(at, limit, "<![CDATA[")) {
            at = after(at, limit, "]]>");
        } else if (begins(at, limit, "<?")) {
            at = after(at, limit, "?>");
        } else if (begins(at, limit, "<!")) {
            return "a document type declaration";
        } else {
            at = after_tag(at, limit, &attributes);
        }
        if (attributes > TH_DOMAIN_XML_MAX_ATTRIBUTES) {
            return "too many attributes in one element";
        }
        at = at ? memchr(at, '<', (size_t)(limit - at)) : NULL;
    }
    return NULL;
}
