/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The host's UUID out of libvirt's capabilities. The document comes from our own libvirtd, but is
 * read with the same care as any other XML: the parser of this room refuses DTDs and fetches
 * nothing.
 */
#include "domain/capabilities.h"

#include <errno.h>
#include <string.h>

#include "domain/xml.h"

/* Where in the document the reader is: the depth of the last element on the path that matched. */
struct reader {
    unsigned matched;
    struct th_xml_text uuid;
    bool found;
};

static bool on_open(void *userdata, unsigned depth, const char *uri, const char *name,
                    const struct th_xml_attributes *attributes) {
    static const char *const path[] = {"capabilities", "host", "uuid"};
    struct reader *reader = userdata;

    (void)uri;
    (void)attributes;
    if (depth <= TH_ELEMENTS(path) && reader->matched == depth - 1 &&
        strcmp(name, path[depth - 1]) == 0) {
        reader->matched = depth;
    }
    return depth > 1 || reader->matched == 1;
}

static void on_text(void *userdata, const char *bytes, size_t size) {
    struct reader *reader = userdata;

    if (reader->matched == 3 && !reader->found) {
        th_xml_text_add(&reader->uuid, bytes, size);
    }
}

static void on_close(void *userdata, unsigned depth) {
    struct reader *reader = userdata;

    if (reader->matched == depth) {
        reader->found |= depth == 3;
        reader->matched = depth - 1;
    }
}

int th_capabilities_host_uuid(const char *xml, struct th_uuid *ret_uuid) {
    static const struct th_xml_ops ops = {
        .open = on_open, .text = on_text, .close = on_close, .wanted = "capabilities"};
    struct reader reader = {.matched = 0};
    char error[160];
    int r = th_xml_read(xml, strlen(xml), &ops, &reader, error, sizeof(error));

    if (r < 0) {
        return r == -ENOMEM ? r : -EBADMSG;
    }
    return reader.found && th_uuid_parse(th_xml_text_trim(&reader.uuid), ret_uuid) == 0 ? 0
                                                                                        : -EBADMSG;
}
