/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The origin stamp, read. Everything in it comes from another host by way of a file that many can
 * write, so it is only ever a hint of whom to ask. What the caller may rely on: a stamp that is
 * accepted has a UUID, addresses that a datagram to one host can be sent to, and a usable key or
 * none.
 */
#include "domain/origin.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "timehandoff/packet.h"
#include "timehandoff/probe.h"

#define KEY_PREFIX "HEX:"
#define KEY_SIZE 16

static int read_number(const char *text, unsigned long long max, unsigned long long *ret_number) {
    unsigned long long number;
    char *end;

    /* strtoull takes signs and blanks; a stamp has none. */
    if (*text < '0' || *text > '9') {
        return -EINVAL;
    }
    errno = 0;
    number = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || number > max) {
        return -ERANGE;
    }
    *ret_number = number;
    return 0;
}

static int read_host(const char *value, void *target) {
    struct th_origin_reader *reader = target;

    th_text_clean(value, reader->origin.host, sizeof(reader->origin.host));
    return 0;
}

static int read_uuid(const char *value, void *target) {
    struct th_origin_reader *reader = target;

    return th_uuid_parse(value, &reader->origin.uuid);
}

static int read_since(const char *value, void *target) {
    struct th_origin_reader *reader = target;
    unsigned long long since_ns;
    int r = read_number(value, INT64_MAX, &since_ns);

    if (r == 0) {
        reader->origin.since_ns = (int64_t)since_ns;
    }
    return r;
}

static int read_key_id(const char *value, void *target) {
    struct th_origin_reader *reader = target;
    unsigned long long id;
    int r = read_number(value, UINT32_MAX, &id);

    if (r < 0 || !(id & TH_KEY_DOMAIN_BIT)) {
        return -EINVAL;
    }
    reader->origin.key.id = (uint32_t)id;
    return 0;
}

static int read_key(const char *value, void *target) {
    struct th_origin_reader *reader = target;

    if (strncmp(value, KEY_PREFIX, strlen(KEY_PREFIX)) != 0) {
        return -EINVAL;
    }
    reader->origin.key.type = TH_KEY_AES128;
    reader->has_key = true;
    return th_hex_decode(value + strlen(KEY_PREFIX), reader->origin.key.bytes, KEY_SIZE);
}

void th_origin_reader_open(struct th_origin_reader *reader,
                           const struct th_xml_attributes *attributes,
                           struct th_complaint *complaint) {
    static const struct th_xml_field fields[] = {
        {"host", "a host name of less than 256 bytes", read_host},
        {"uuid", "a UUID", read_uuid},
        {"since", "a number of nanoseconds", read_since},
        {"key-id", "the number of a domain's key", read_key_id},
        {"key", "HEX: and 32 digits", read_key},
    };

    memset(reader, 0, sizeof(*reader));
    reader->broken =
        !th_xml_fields_read(attributes, "origin", fields, TH_ELEMENTS(fields), reader, complaint);
}

/* A question must go to one host: a stamp is no way to have packets sent to a whole network. */
static bool is_usable_v4(const struct sockaddr_in *address) {
    uint32_t host = ntohl(address->sin_addr.s_addr);

    return address->sin_port != 0 && host >> 24 != 0 && host >> 28 < 0xE;
}

static bool is_usable(const struct sockaddr_storage *address) {
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)address;

    if (address->ss_family == AF_INET) {
        return is_usable_v4((const struct sockaddr_in *)(const void *)address);
    }
    return address->ss_family == AF_INET6 && v6->sin6_port != 0 &&
           !IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) && !IN6_IS_ADDR_MULTICAST(&v6->sin6_addr) &&
           !IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
}

static const char *add_address(struct th_origin_reader *reader) {
    struct th_origin *origin = &reader->origin;
    struct sockaddr_storage *slot;

    if (origin->n_addresses == TH_ORIGIN_MAX_ADDRESSES) {
        return "more than 8 addresses";
    }
    slot = &origin->addresses[origin->n_addresses];
    if (reader->address.cut ||
        th_address_parse(th_xml_text_trim(&reader->address), TH_PACKET_DEFAULT_PORT, slot) < 0) {
        return "an address is not ADDRESS:PORT in numbers";
    }
    if (!is_usable(slot)) {
        return "an address is not one host's";
    }
    origin->n_addresses++;
    return NULL;
}

void th_origin_reader_address(struct th_origin_reader *reader, struct th_complaint *complaint) {
    const char *fault = reader->broken ? NULL : add_address(reader);

    if (fault) {
        th_complaint_add(complaint, "origin ignored: %s", fault);
        reader->broken = true;
    }
    reader->address = (struct th_xml_text){.size = 0};
}

bool th_origin_reader_close(struct th_origin_reader *reader, struct th_complaint *complaint) {
    const char *fault = NULL;

    if (reader->broken) {
        return false;
    }
    if (th_uuid_is_none(&reader->origin.uuid)) {
        fault = "it has no UUID";
    } else if (reader->origin.n_addresses == 0) {
        fault = "it has no address";
    } else if (reader->has_key != (reader->origin.key.id != 0)) {
        fault = "key and key-id must come together";
    }
    if (fault) {
        th_complaint_add(complaint, "origin ignored: %s", fault);
    }
    return !fault;
}

/* ---- the element alone ---- */

struct fragment {
    struct th_origin_reader reader;
    bool in_address;
    char words[64];
    struct th_complaint complaint;
};

static bool is_ours(const char *uri, const char *name, const char *wanted) {
    return (!uri || strcmp(uri, TH_ORIGIN_NAMESPACE) == 0) && strcmp(name, wanted) == 0;
}

static bool fragment_open(void *userdata, unsigned depth, const char *uri, const char *name,
                          const struct th_xml_attributes *attributes) {
    struct fragment *fragment = userdata;

    if (depth == 1) {
        if (!is_ours(uri, name, "origin")) {
            return false;
        }
        th_origin_reader_open(&fragment->reader, attributes, &fragment->complaint);
    }
    fragment->in_address = depth == 2 && is_ours(uri, name, "address");
    return true;
}

static void fragment_text(void *userdata, const char *bytes, size_t size) {
    struct fragment *fragment = userdata;

    if (fragment->in_address) {
        th_xml_text_add(&fragment->reader.address, bytes, size);
    }
}

static void fragment_close(void *userdata, unsigned depth) {
    struct fragment *fragment = userdata;

    if (depth == 2 && fragment->in_address) {
        th_origin_reader_address(&fragment->reader, &fragment->complaint);
        fragment->in_address = false;
    }
}

int th_origin_parse(const char *xml, struct th_origin *ret_origin) {
    static const struct th_xml_ops ops = {fragment_open, fragment_text, fragment_close, "origin"};
    struct fragment fragment = {.in_address = false};
    char error[128];
    int r;

    fragment.complaint = (struct th_complaint){fragment.words, sizeof(fragment.words)};
    r = th_xml_read(xml, strlen(xml), &ops, &fragment, error, sizeof(error));
    if (r == 0 && !th_origin_reader_close(&fragment.reader, &fragment.complaint)) {
        r = -EBADMSG;
    }
    if (r == 0) {
        *ret_origin = fragment.reader.origin;
    }
    th_key_wipe(&fragment.reader.origin.key);
    return r == -EFBIG ? -EBADMSG : r;
}
