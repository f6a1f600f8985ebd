/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The origin stamp, written. libxml2 does the escaping; the result is read back before it is handed
 * out, so that no host ever stamps a domain with something that the next one would ignore. The
 * buffer in which the text was made is wiped, since it holds the domain's key.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include <libxml/xmlwriter.h>

#include "timehandoff/domain.h"
#include "timehandoff/probe.h"

#define KEY_SIZE 16

/* libxml2's own BAD_CAST throws the const away. */
static const xmlChar *as_xml(const char *text) {
    return (const xmlChar *)text;
}

static int write_key(xmlTextWriterPtr writer, const struct th_key *key) {
    char hex[2 * KEY_SIZE + 1];
    int r;

    if (key->id == 0) {
        return 0;
    }
    th_hex_encode(key->bytes, KEY_SIZE, hex);
    r = xmlTextWriterWriteFormatAttribute(writer, as_xml("key-id"), "%" PRIu32, key->id);
    if (r >= 0) {
        /* Not by a format: that would leave a copy of the key in freed memory. */
        r = xmlTextWriterStartAttribute(writer, as_xml("key"));
        r = r < 0 ? r : xmlTextWriterWriteString(writer, as_xml("HEX:"));
        r = r < 0 ? r : xmlTextWriterWriteString(writer, as_xml(hex));
        r = r < 0 ? r : xmlTextWriterEndAttribute(writer);
    }
    explicit_bzero(hex, sizeof(hex));
    return r;
}

static int write_attributes(xmlTextWriterPtr writer, const struct th_origin *origin) {
    char host[sizeof(origin->host)];
    char uuid[TH_UUID_TEXT_SIZE];
    int r = 0;

    th_text_clean(origin->host, host, sizeof(host));
    if (host[0] != '\0') {
        r = xmlTextWriterWriteAttribute(writer, as_xml("host"), as_xml(host));
    }
    if (r >= 0) {
        r = xmlTextWriterWriteAttribute(writer, as_xml("uuid"),
                                        as_xml(th_uuid_format(&origin->uuid, uuid)));
    }
    if (r >= 0 && origin->since_ns != 0) {
        r = xmlTextWriterWriteFormatAttribute(writer, as_xml("since"), "%" PRId64,
                                              origin->since_ns);
    }
    return r < 0 ? r : write_key(writer, &origin->key);
}

static int write_origin(xmlTextWriterPtr writer, const struct th_origin *origin) {
    int r = xmlTextWriterStartElement(writer, as_xml("origin"));

    r = r < 0 ? r : write_attributes(writer, origin);
    for (size_t i = 0; r >= 0 && i < origin->n_addresses; i++) {
        char address[TH_ADDRESS_TEXT_SIZE];

        th_address_format(&origin->addresses[i], address);
        r = xmlTextWriterWriteElement(writer, as_xml("address"), as_xml(address));
    }
    return r < 0 ? r : xmlTextWriterEndElement(writer);
}

static int copy_checked(const char *text, char **ret_xml) {
    struct th_origin back;
    char *xml;
    int r = th_origin_parse(text, &back);

    if (r < 0) {
        return r == -EBADMSG ? -EINVAL : r;
    }
    th_key_wipe(&back.key);
    xml = strdup(text);
    if (!xml) {
        return -ENOMEM;
    }
    *ret_xml = xml;
    return 0;
}

int th_origin_format(const struct th_origin *origin, char **ret_xml) {
    xmlBufferPtr buffer;
    xmlTextWriterPtr writer;
    int r;

    if (origin->n_addresses > TH_ORIGIN_MAX_ADDRESSES ||
        (origin->key.id != 0 && origin->key.type != TH_KEY_AES128)) {
        return -EINVAL;
    }
    buffer = xmlBufferCreateSize(4096); /* large enough never to be moved */
    writer = buffer ? xmlNewTextWriterMemory(buffer, 0) : NULL;
    r = writer ? write_origin(writer, origin) : -1;
    xmlFreeTextWriter(writer); /* flushes */
    r = r < 0 ? -ENOMEM : copy_checked((const char *)xmlBufferContent(buffer), ret_xml);
    if (buffer) {
        explicit_bzero((void *)(uintptr_t)xmlBufferContent(buffer),
                       (size_t)xmlBufferLength(buffer));
    }
    xmlBufferFree(buffer);
    return r;
}
