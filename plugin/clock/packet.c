/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * NTP packets as bytes. Reading is one bounded walk over the datagram that either accounts for
 * every byte or reports a fault; what it accepts beyond RFC 5905 and RFC 7822 is nothing. Fields
 * are taken apart byte by byte, so that neither alignment nor the machine's byte order matters.
 */
#include "timehandoff/packet.h"

#include <string.h>

#define KEY_ID_SIZE 4
#define TRAILER_SIZE (KEY_ID_SIZE + TH_MAC_SIZE)
#define FIELD_HEADER_SIZE 4
/* RFC 7822 section 7.5: at least 16 bytes, and at least 28 for the last one where no MAC follows.
 */
#define FIELD_LEAST_SIZE 16
#define FIELD_LEAST_SIZE_LAST 28
#define IDENTITY_CLOCK_SYSTEM 1

/* Where the parts of an identity are, counted from the start of its field. */
enum identity_place {
    IDENTITY_VERSION = 4,
    IDENTITY_KIND = 5,
    IDENTITY_DOMAIN = 8,
    IDENTITY_HOST = 24,
    IDENTITY_STATE = 40,
    IDENTITY_SYNCHRONISED = 41,
    IDENTITY_CLOCK = 42,
    IDENTITY_SLEW = 44,
    IDENTITY_DIGEST = 48,
};

/* And those of a list of servers. */
enum servers_place {
    SERVERS_FLAGS = 6,
    SERVERS_DIGEST = 8,
    SERVERS_TEXT = 24,
};

#define SERVERS_FLAG_CUT 1

_Static_assert(TH_SERVERS_MOST_SIZE - SERVERS_TEXT == TH_SERVERS_TEXT_SIZE - 1,
               "room for the text");
_Static_assert(TH_PACKET_HEADER_SIZE + TH_IDENTITY_SIZE + TH_SERVERS_MOST_SIZE + TRAILER_SIZE <=
                   TH_PACKET_MAX_SIZE,
               "all of it fits one packet");

const char *th_domain_state_name(enum th_domain_state state) {
    switch (state) {
    case TH_DOMAIN_INACTIVE: return "inactive";
    case TH_DOMAIN_RUNNING: return "running";
    case TH_DOMAIN_PAUSED: return "paused";
    case TH_DOMAIN_UNKNOWN: break;
    }
    return "unknown";
}

enum th_domain_state th_domain_state_parse(const char *text) {
    static const enum th_domain_state states[] = {TH_DOMAIN_INACTIVE, TH_DOMAIN_RUNNING,
                                                  TH_DOMAIN_PAUSED};

    for (size_t i = 0; text && i < TH_ELEMENTS(states); i++) {
        if (strcmp(text, th_domain_state_name(states[i])) == 0) {
            return states[i];
        }
    }
    return TH_DOMAIN_UNKNOWN;
}

static uint32_t read_u16(const uint8_t *at) {
    return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t read_u32(const uint8_t *at) {
    return read_u16(at) << 16 | read_u16(at + 2);
}

static uint64_t read_u64(const uint8_t *at) {
    return (uint64_t)read_u32(at) << 32 | read_u32(at + 4);
}

static uint8_t *write_u16(uint8_t *at, uint32_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static uint8_t *write_u32(uint8_t *at, uint32_t value) {
    return write_u16(write_u16(at, value >> 16), value);
}

static uint8_t *write_u64(uint8_t *at, uint64_t value) {
    return write_u32(write_u32(at, (uint32_t)(value >> 32)), (uint32_t)value);
}

static void decode_header(const uint8_t *bytes, struct th_packet *ret_packet) {
    ret_packet->leap = bytes[0] >> 6;
    ret_packet->version = bytes[0] >> 3 & 7U;
    ret_packet->mode = bytes[0] & 7U;
    ret_packet->stratum = bytes[1];
    ret_packet->poll = (int8_t)bytes[2];
    ret_packet->precision = (int8_t)bytes[3];
    ret_packet->root_delay = read_u32(bytes + 4);
    ret_packet->root_dispersion = read_u32(bytes + 8);
    ret_packet->reference_id = read_u32(bytes + 12);
    ret_packet->reference = read_u64(bytes + 16);
    ret_packet->origin = read_u64(bytes + 24);
    ret_packet->receive = read_u64(bytes + 32);
    ret_packet->transmit = read_u64(bytes + 40);
}

static enum th_packet_fault decode_servers(const uint8_t *field, size_t size,
                                           struct th_packet *packet) {
    struct th_servers *servers = &packet->servers;
    char text[TH_SERVERS_TEXT_SIZE] = "";

    if (size < TH_SERVERS_LEAST_SIZE || size > TH_SERVERS_MOST_SIZE || packet->has_servers) {
        return TH_PACKET_EXTENSION;
    }
    packet->has_servers = true;
    servers->size = size;
    servers->cut = read_u16(field + SERVERS_FLAGS) & SERVERS_FLAG_CUT;
    memcpy(servers->digest, field + SERVERS_DIGEST, sizeof(servers->digest));
    memcpy(text, field + SERVERS_TEXT, size - SERVERS_TEXT);
    th_text_clean(text, servers->text, sizeof(servers->text));
    return TH_PACKET_OK;
}

static enum th_packet_fault decode_identity(const uint8_t *field, size_t size,
                                            struct th_packet *packet) {
    struct th_identity *identity = &packet->identity;

    if (size != TH_IDENTITY_SIZE || packet->has_identity ||
        field[IDENTITY_STATE] > TH_DOMAIN_PAUSED || field[IDENTITY_SYNCHRONISED] > TH_YES) {
        return TH_PACKET_EXTENSION;
    }
    packet->has_identity = true;
    memcpy(identity->domain.bytes, field + IDENTITY_DOMAIN, sizeof(identity->domain.bytes));
    memcpy(identity->host.bytes, field + IDENTITY_HOST, sizeof(identity->host.bytes));
    identity->domain_state = (enum th_domain_state)field[IDENTITY_STATE];
    identity->synchronised = (enum th_ternary)field[IDENTITY_SYNCHRONISED];
    identity->system_clock = field[IDENTITY_CLOCK] == IDENTITY_CLOCK_SYSTEM;
    identity->slew_ppm = read_u32(field + IDENTITY_SLEW);
    memcpy(identity->ntp_digest, field + IDENTITY_DIGEST, sizeof(identity->ntp_digest));
    return TH_PACKET_OK;
}

/* Reads a field of our type. What a later version may have changed is not ours to judge. */
static enum th_packet_fault decode_ours(const uint8_t *field, size_t size,
                                        struct th_packet *packet) {
    if (field[IDENTITY_VERSION] != TH_IDENTITY_VERSION) {
        return TH_PACKET_OK;
    }
    switch (field[IDENTITY_KIND]) {
    case TH_IDENTITY_KIND_HOST: return decode_identity(field, size, packet);
    case TH_IDENTITY_KIND_SERVERS: return decode_servers(field, size, packet);
    default: return TH_PACKET_OK;
    }
}

/* Reads the extension field at the start of rest bytes and reports its length. */
static enum th_packet_fault decode_field(const uint8_t *field, size_t rest,
                                         struct th_packet *packet, size_t *ret_size) {
    size_t size = read_u16(field + 2);

    if (size < FIELD_LEAST_SIZE || size % 4 != 0 || size > rest ||
        (size == rest && size < FIELD_LEAST_SIZE_LAST)) {
        return TH_PACKET_EXTENSION;
    }
    *ret_size = size;
    return read_u16(field) == TH_IDENTITY_TYPE ? decode_ours(field, size, packet) : TH_PACKET_OK;
}

enum th_packet_fault th_packet_decode(const uint8_t *bytes, size_t size,
                                      struct th_packet *ret_packet) {
    struct th_packet packet = {0};
    size_t at = TH_PACKET_HEADER_SIZE;

    if (size < TH_PACKET_HEADER_SIZE || size % 4 != 0) {
        return TH_PACKET_SHORT;
    }
    decode_header(bytes, &packet);
    if (packet.version < 1 || packet.version > 4) {
        return TH_PACKET_VERSION;
    }
    while (at < size && size - at != TRAILER_SIZE) {
        enum th_packet_fault fault;
        size_t field_size = 0;

        /* Too little for a last field: a crypto-NAK, or the MAC of an algorithm we don't have. */
        if (size - at < FIELD_LEAST_SIZE_LAST) {
            return TH_PACKET_TRAILER;
        }
        /* Extension fields came with version 4. */
        if (packet.version < 4) {
            return TH_PACKET_EXTENSION;
        }
        fault = decode_field(bytes + at, size - at, &packet, &field_size);
        if (fault != TH_PACKET_OK) {
            return fault;
        }
        at += field_size;
    }
    if (at < size) {
        packet.key_id = read_u32(bytes + at);
        /* Key 0 is what a crypto-NAK carries and no key has. */
        if (packet.key_id == 0) {
            return TH_PACKET_TRAILER;
        }
    }
    *ret_packet = packet;
    return TH_PACKET_OK;
}

static uint8_t *encode_header(const struct th_packet *packet, uint8_t *at) {
    *at++ = (uint8_t)((packet->leap & 3U) << 6 | (packet->version & 7U) << 3 | (packet->mode & 7U));
    *at++ = (uint8_t)packet->stratum;
    *at++ = (uint8_t)packet->poll;
    *at++ = (uint8_t)packet->precision;
    at = write_u32(at, packet->root_delay);
    at = write_u32(at, packet->root_dispersion);
    at = write_u32(at, packet->reference_id);
    at = write_u64(at, packet->reference);
    at = write_u64(at, packet->origin);
    at = write_u64(at, packet->receive);
    return write_u64(at, packet->transmit);
}

static uint8_t *encode_identity(const struct th_identity *identity, uint8_t *field) {
    memset(field, 0, TH_IDENTITY_SIZE);
    (void)write_u16(field, TH_IDENTITY_TYPE);
    (void)write_u16(field + 2, TH_IDENTITY_SIZE);
    field[IDENTITY_VERSION] = TH_IDENTITY_VERSION;
    field[IDENTITY_KIND] = TH_IDENTITY_KIND_HOST;
    memcpy(field + IDENTITY_DOMAIN, identity->domain.bytes, sizeof(identity->domain.bytes));
    memcpy(field + IDENTITY_HOST, identity->host.bytes, sizeof(identity->host.bytes));
    field[IDENTITY_STATE] = (uint8_t)identity->domain_state;
    field[IDENTITY_SYNCHRONISED] = (uint8_t)identity->synchronised;
    field[IDENTITY_CLOCK] = identity->system_clock ? IDENTITY_CLOCK_SYSTEM : 0;
    (void)write_u32(field + IDENTITY_SLEW, identity->slew_ppm);
    memcpy(field + IDENTITY_DIGEST, identity->ntp_digest, sizeof(identity->ntp_digest));
    return field + TH_IDENTITY_SIZE;
}

static uint8_t *encode_servers(const struct th_servers *servers, uint8_t *field) {
    size_t room = servers->size - SERVERS_TEXT;
    size_t length = strnlen(servers->text, room);

    memset(field, 0, servers->size);
    (void)write_u16(field, TH_IDENTITY_TYPE);
    (void)write_u16(field + 2, (uint32_t)servers->size);
    field[IDENTITY_VERSION] = TH_IDENTITY_VERSION;
    field[IDENTITY_KIND] = TH_IDENTITY_KIND_SERVERS;
    (void)write_u16(field + SERVERS_FLAGS, servers->cut ? SERVERS_FLAG_CUT : 0);
    memcpy(field + SERVERS_DIGEST, servers->digest, sizeof(servers->digest));
    memcpy(field + SERVERS_TEXT, servers->text, length);
    return field + servers->size;
}

size_t th_packet_encode(const struct th_packet *packet, const struct th_key *key, uint8_t *buffer) {
    uint8_t *at = encode_header(packet, buffer);

    if (packet->has_identity) {
        at = encode_identity(&packet->identity, at);
    }
    if (packet->has_servers) {
        at = encode_servers(&packet->servers, at);
    }
    if (key) {
        uint8_t *mac = write_u32(at, key->id);

        th_key_mac(key, buffer, (size_t)(at - buffer), mac);
        at = mac + TH_MAC_SIZE;
    }
    return (size_t)(at - buffer);
}

bool th_packet_authentic(const uint8_t *bytes, size_t size, const struct th_key *key) {
    struct th_packet packet;

    if (th_packet_decode(bytes, size, &packet) != TH_PACKET_OK || packet.key_id == 0 ||
        packet.key_id != key->id) {
        return false;
    }
    return th_key_mac_ok(key, bytes, size - TRAILER_SIZE, bytes + size - TH_MAC_SIZE);
}

int64_t th_packet_precision_ns(int exponent) {
    int64_t ns = TH_NS_PER_S;

    if (exponent > 31) {
        exponent = 31;
    }
    for (; exponent > 0; exponent--) {
        ns *= 2;
    }
    for (; exponent < 0 && ns > 1; exponent++) {
        ns = (ns + 1) / 2;
    }
    return ns;
}

int th_packet_precision_exponent(int64_t ns) {
    int exponent = -30; /* the first power of two below 1 ns; it stands for 1 ns itself */

    while (exponent < 31 && th_packet_precision_ns(exponent) < ns) {
        exponent++;
    }
    return exponent;
}
