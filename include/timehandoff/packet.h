/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * NTPv4 packets as bytes (RFC 5905 section 7.3), with the AES-CMAC trailer of RFC 8573 and one
 * extension field of our own in RFC 7822 layout, of two kinds: the identity, and the list of NTP
 * servers. Bytes in, fields out, and the other way round; nothing here knows sockets, clocks or
 * policy.
 */
#ifndef TIMEHANDOFF_PACKET_H
#define TIMEHANDOFF_PACKET_H

#include "timehandoff/base.h"
#include "timehandoff/gap.h"
#include "timehandoff/key.h"

#define TH_PACKET_HEADER_SIZE 48
#define TH_PACKET_MAX_SIZE 1280 /* one unfragmented datagram on any IPv6 link, with room */
#define TH_PACKET_DEFAULT_PORT 10123

enum th_packet_mode { TH_MODE_CLIENT = 3, TH_MODE_SERVER = 4 };

#define TH_LEAP_UNSYNCHRONISED 3

/* What a host says of a domain. */
enum th_domain_state {
    TH_DOMAIN_UNKNOWN = 0, /* no current knowledge */
    TH_DOMAIN_INACTIVE,    /* does not run here */
    TH_DOMAIN_RUNNING,
    TH_DOMAIN_PAUSED,
};

/* "unknown", "inactive", "running", "paused". Never NULL; the reverse gives UNKNOWN for others. */
const char *th_domain_state_name(enum th_domain_state state);
enum th_domain_state th_domain_state_parse(const char *text);

/*
 * The identity, extension field type 0xF74D, always 64 bytes long so that question and answer are
 * equal in size: type and length (4), version (1), kind (1), flags (2, zero), domain UUID (16),
 * host UUID (16), domain state (1), sync state (1), clock (1; 1: the system clock, 0: not said),
 * reserved (1, zero), slew in ppm (4), digest of the NTP server set (16). Flags and reserved bytes
 * are ignored when read, so that a later host may use them. Network byte order. In a question only
 * the domain's UUID is filled in; an answer repeats it.
 */
#define TH_IDENTITY_TYPE 0xF74D
#define TH_IDENTITY_SIZE 64
#define TH_IDENTITY_VERSION 1
#define TH_IDENTITY_KIND_HOST 1
#define TH_IDENTITY_KIND_SERVERS 2

struct th_identity {
    struct th_uuid domain;
    struct th_uuid host;
    enum th_domain_state domain_state;
    enum th_ternary synchronised;
    bool system_clock; /* the packet's stamps are readings of the host's CLOCK_REALTIME */
    uint32_t slew_ppm; /* how far the host's clock is being run off true rate, at most */
    uint8_t ntp_digest[16];
};

/*
 * The second kind: the list of a host's NTP servers. Type and length (4), version (1), kind 2 (1),
 * flags (2; bit 0: the list was cut), reserved (0), digest of the set (16), then the names, one
 * blank between two, filled up with zeros. The asker chooses the length and fills the field with
 * zeros, so that the answer, of the same length, is never longer than the question; names that
 * don't fit are left out.
 */
#define TH_SERVERS_LEAST_SIZE 28
#define TH_SERVERS_MOST_SIZE 1024
#define TH_SERVERS_TEXT_SIZE 1001 /* what a field of most size holds, and a NUL */

struct th_servers {
    size_t size; /* of the field: a multiple of 4 from least to most size */
    bool cut;    /* not all names are in text */
    uint8_t digest[16];
    char text[TH_SERVERS_TEXT_SIZE]; /* names with one blank between two; "": a question, or none */
};

struct th_packet {
    unsigned leap;            /* 0..3 */
    unsigned version;         /* 1..7 */
    unsigned mode;            /* 0..7 */
    unsigned stratum;         /* 0..255 */
    int poll;                 /* log2 s */
    int precision;            /* log2 s */
    uint32_t root_delay;      /* 16.16 s */
    uint32_t root_dispersion; /* 16.16 s */
    uint32_t reference_id;
    th_ntp64 reference;
    th_ntp64 origin;
    th_ntp64 receive;
    th_ntp64 transmit;
    bool has_identity;
    struct th_identity identity;
    bool has_servers;
    struct th_servers servers;
    uint32_t key_id; /* 0: no MAC */
};

/* Outcomes of decoding that the caller must tell apart. */
enum th_packet_fault {
    TH_PACKET_OK = 0,
    TH_PACKET_SHORT = 1, /* under 48 bytes, or not a multiple of 4 */
    TH_PACKET_VERSION,   /* not version 1..4 */
    TH_PACKET_EXTENSION, /* extension fields don't add up, or our field is not as it should be */
    TH_PACKET_TRAILER,   /* what follows is no MAC of 20 bytes (a crypto-NAK lands here) */
};

/*
 * Reads size bytes. After the header: nothing; a MAC of exactly 20 bytes; or extension fields
 * (length at least 16, a multiple of 4, the last one at least 28 where no MAC follows) and then
 * optionally that MAC. Unknown extension fields are skipped; an identity of unknown version is as
 * if absent. Returns TH_PACKET_OK or a fault; never reads beyond size; ret_packet is untouched on
 * fault. The MAC is not checked here.
 */
enum th_packet_fault th_packet_decode(const uint8_t *bytes, size_t size,
                                      struct th_packet *ret_packet);

/*
 * Writes a packet with its identity and its list of servers if it has them, and a MAC if key is not
 * NULL (packet->key_id is not looked at). Returns the length: 48, and 64 for the identity, 20 for
 * the MAC, servers.size for the list. buffer must hold TH_PACKET_MAX_SIZE.
 */
size_t th_packet_encode(const struct th_packet *packet, const struct th_key *key, uint8_t *buffer);

/* Checks the MAC of a decoded packet of size bytes: key ids equal and AES-CMAC right, in constant
 * time. False if there is no MAC. */
bool th_packet_authentic(const uint8_t *bytes, size_t size, const struct th_key *key);

/* 2^exponent seconds in ns, rounded up, at least 1; exponents beyond 31 are cut to it. */
int64_t th_packet_precision_ns(int exponent);
/* The least exponent (-30..31) that stands for no less than ns: what to put into an answer. */
int th_packet_precision_exponent(int64_t ns);

#endif
