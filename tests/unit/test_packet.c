/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests of packets as bytes: everything a packet may hold comes back, everything it may not hold is
 * refused by name, and no input of any length or content makes the reader look past its end (each
 * is read from a block of just its size, so that a checker of memory accesses sees it).
 */
#include "timehandoff/packet.h"

#include "seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct th_key key = {.id = 7, .type = TH_KEY_AES128, .bytes = "0123456789abcdef"};
static const struct th_key other_key = {
    .id = 7, .type = TH_KEY_AES128, .bytes = "0123456789abcdeF"};
static const struct th_key other_id = {.id = 8, .type = TH_KEY_AES128, .bytes = "0123456789abcdef"};

/* Decodes from a heap block of exactly that size. */
static enum th_packet_fault decode_exact(const uint8_t *bytes, size_t size,
                                         struct th_packet *ret_packet) {
    th_auto_free uint8_t *block = malloc(size ? size : 1);

    assert_non_null(block);
    memcpy(block, bytes, size);
    (void)th_packet_authentic(block, size, &key);
    return th_packet_decode(block, size, ret_packet);
}

static struct th_packet random_packet(struct seeded *seeded) {
    struct th_packet packet = {
        .leap = (unsigned)seeded_between(seeded, 0, 3),
        .version = 4,
        .mode = (unsigned)seeded_between(seeded, 0, 7),
        .stratum = (unsigned)seeded_between(seeded, 0, 255),
        .poll = (int)seeded_between(seeded, -128, 127),
        .precision = (int)seeded_between(seeded, -128, 127),
        .root_delay = (uint32_t)seeded_bits(seeded),
        .root_dispersion = (uint32_t)seeded_bits(seeded),
        .reference_id = (uint32_t)seeded_bits(seeded),
        .reference = seeded_bits(seeded),
        .origin = seeded_bits(seeded),
        .receive = seeded_bits(seeded),
        .transmit = seeded_bits(seeded),
        .has_identity = seeded_bits(seeded) & 1,
    };

    if (packet.has_identity) {
        struct th_identity *identity = &packet.identity;

        for (size_t i = 0; i < 16; i++) {
            identity->domain.bytes[i] = (uint8_t)seeded_bits(seeded);
            identity->host.bytes[i] = (uint8_t)seeded_bits(seeded);
            identity->ntp_digest[i] = (uint8_t)seeded_bits(seeded);
        }
        identity->domain_state = (enum th_domain_state)seeded_between(seeded, 0, 3);
        identity->synchronised = (enum th_ternary)seeded_between(seeded, 0, 2);
        identity->system_clock = seeded_bits(seeded) & 1;
        identity->slew_ppm = (uint32_t)seeded_bits(seeded);
    } else if (seeded_bits(seeded) & 1) {
        packet.version = 4;
        packet.has_servers = true;
        packet.servers.size = (size_t)seeded_between(seeded, 7, 256) * 4;
        packet.servers.cut = seeded_bits(seeded) & 1;
        packet.servers.digest[15] = (uint8_t)seeded_bits(seeded);
        for (int64_t i = seeded_between(seeded, 0, (int64_t)packet.servers.size - 24); i-- > 0;) {
            packet.servers.text[i] = (char)seeded_between(seeded, ' ', '~');
        }
    } else {
        packet.version = (unsigned)seeded_between(seeded, 1, 4);
    }
    return packet;
}

static void assert_same_identity(const struct th_identity *a, const struct th_identity *b) {
    assert_true(th_uuid_equal(&a->domain, &b->domain));
    assert_true(th_uuid_equal(&a->host, &b->host));
    assert_int_equal(a->domain_state, b->domain_state);
    assert_int_equal(a->synchronised, b->synchronised);
    assert_int_equal(a->system_clock, b->system_clock);
    assert_int_equal(a->slew_ppm, b->slew_ppm);
    assert_memory_equal(a->ntp_digest, b->ntp_digest, sizeof(a->ntp_digest));
}

static void assert_same_servers(const struct th_servers *a, const struct th_servers *b) {
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->cut, b->cut);
    assert_memory_equal(a->digest, b->digest, sizeof(a->digest));
    assert_string_equal(a->text, b->text);
}

static void assert_same_packet(const struct th_packet *a, const struct th_packet *b) {
    assert_int_equal(a->leap, b->leap);
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->mode, b->mode);
    assert_int_equal(a->stratum, b->stratum);
    assert_int_equal(a->poll, b->poll);
    assert_int_equal(a->precision, b->precision);
    assert_int_equal(a->root_delay, b->root_delay);
    assert_int_equal(a->root_dispersion, b->root_dispersion);
    assert_int_equal(a->reference_id, b->reference_id);
    assert_int_equal(a->reference, b->reference);
    assert_int_equal(a->origin, b->origin);
    assert_int_equal(a->receive, b->receive);
    assert_int_equal(a->transmit, b->transmit);
    assert_int_equal(a->has_identity, b->has_identity);
    if (a->has_identity) {
        assert_same_identity(&a->identity, &b->identity);
    }
    assert_int_equal(a->has_servers, b->has_servers);
    if (a->has_servers) {
        assert_same_servers(&a->servers, &b->servers);
    }
}

static void y_random_packets_round_trip(void **state) {
    struct seeded seeded = seeded_start("packet");

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct th_packet packet = random_packet(&seeded);
        const struct th_key *under = seeded_bits(&seeded) & 1 ? &key : NULL;
        uint8_t bytes[TH_PACKET_MAX_SIZE];
        size_t size = th_packet_encode(&packet, under, bytes);
        struct th_packet back;

        assert_int_equal(size, 48U + (packet.has_identity ? 64U : 0U) +
                                   (packet.has_servers ? packet.servers.size : 0U) +
                                   (under ? 20U : 0U));
        assert_int_equal(decode_exact(bytes, size, &back), TH_PACKET_OK);
        assert_same_packet(&back, &packet);
        assert_int_equal(back.key_id, under ? 7 : 0);
        assert_int_equal(th_packet_authentic(bytes, size, &key), under != NULL);
        assert_false(th_packet_authentic(bytes, size, &other_key));
        assert_false(th_packet_authentic(bytes, size, &other_id));
    }
}

static void y_the_header_is_as_in_the_standard(void **state) {
    struct th_packet packet = {.leap = 3,
                               .version = 4,
                               .mode = 3,
                               .stratum = 16,
                               .poll = 6,
                               .precision = -20,
                               .root_delay = 0x01020304,
                               .root_dispersion = 0x05060708,
                               .reference_id = 0x7F7F0101,
                               .reference = UINT64_C(0x1112131415161718),
                               .origin = UINT64_C(0x2122232425262728),
                               .receive = UINT64_C(0x3132333435363738),
                               .transmit = UINT64_C(0x4142434445464748)};
    static const uint8_t right[] = {0xE3, 16,   6,    0xEC, 1,    2,    3,    4,    5,    6,
                                    7,    8,    0x7F, 0x7F, 1,    1,    0x11, 0x12, 0x13, 0x14,
                                    0x15, 0x16, 0x17, 0x18, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26,
                                    0x27, 0x28, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38,
                                    0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48};
    uint8_t bytes[TH_PACKET_MAX_SIZE];

    (void)state;
    assert_int_equal(th_packet_encode(&packet, NULL, bytes), sizeof(right));
    assert_memory_equal(bytes, right, sizeof(right));
}

/* The longest of our packets: identity and MAC. */
static size_t full_packet(uint8_t *bytes) {
    struct th_packet packet = {.version = 4, .mode = 3, .transmit = 99, .has_identity = true};

    packet.identity.domain.bytes[0] = 0xD0;
    return th_packet_encode(&packet, &key, bytes);
}

static void y_the_identity_is_laid_out_as_documented(void **state) {
    struct th_packet packet = {.version = 4, .mode = 4, .has_identity = true};
    uint8_t bytes[TH_PACKET_MAX_SIZE];
    const uint8_t *field = bytes + TH_PACKET_HEADER_SIZE;
    static const uint8_t start[] = {0xF7, 0x4D, 0, 64, 1, 1, 0, 0, 0xD0};

    (void)state;
    packet.identity.domain.bytes[0] = 0xD0;
    packet.identity.host.bytes[15] = 0x0F;
    packet.identity.domain_state = TH_DOMAIN_PAUSED;
    packet.identity.synchronised = TH_YES;
    packet.identity.system_clock = true;
    packet.identity.slew_ppm = 0x01020304;
    packet.identity.ntp_digest[15] = 0x99;
    assert_int_equal(th_packet_encode(&packet, NULL, bytes), 112);
    assert_memory_equal(field, start, sizeof(start));
    assert_int_equal(field[39], 0x0F);
    assert_memory_equal(field + 40, "\x03\x02\x01\x00\x01\x02\x03\x04", 8);
    assert_int_equal(field[63], 0x99);
}

static void y_the_list_of_servers_is_laid_out_as_documented(void **state) {
    struct th_packet packet = {.version = 4, .mode = 4, .has_servers = true};
    uint8_t bytes[TH_PACKET_MAX_SIZE];
    const uint8_t *field = bytes + TH_PACKET_HEADER_SIZE;
    static const uint8_t start[] = {0xF7, 0x4D, 0, 32, 1, 2, 0, 1, 0xD1};

    (void)state;
    packet.servers = (struct th_servers){.size = 32, .cut = true, .digest = {0xD1}, .text = "a b"};
    assert_int_equal(th_packet_encode(&packet, NULL, bytes), 80);
    assert_memory_equal(field, start, sizeof(start));
    assert_memory_equal(field + 24, "a b\0\0\0\0\0", 8);
    packet.servers.size = TH_SERVERS_MOST_SIZE;
    packet.has_identity = true;
    assert_int_equal(th_packet_encode(&packet, &key, bytes), 48 + 64 + 1024 + 20);
}

static void y_and_n_lists_of_servers(void **state) {
    static const struct {
        size_t size;
        bool twice;
        enum th_packet_fault fault;
    } cases[] = {
        {28, false, TH_PACKET_OK},          {1024, false, TH_PACKET_OK},
        {1028, false, TH_PACKET_EXTENSION}, {24, false, TH_PACKET_EXTENSION},
        {28, true, TH_PACKET_EXTENSION},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        uint8_t bytes[TH_PACKET_MAX_SIZE] = {4 << 3 | 4, [47] = 1};
        size_t size = 48;
        struct th_packet packet;

        for (int n = 0; n <= cases[i].twice; n++) {
            uint8_t start[] = {0xF7, 0x4D, (uint8_t)(cases[i].size >> 8), (uint8_t)cases[i].size,
                               1,    2};

            memcpy(bytes + size, start, sizeof(start));
            size += cases[i].size;
        }
        /* With something that looks like a MAC, so that also a short field may be the last. */
        bytes[size] = 1;
        size += 20;
        assert_int_equal(decode_exact(bytes, size, &packet), cases[i].fault);
    }
}

static void y_servers_names_are_cleaned(void **state) {
    struct th_packet packet = {.version = 4, .mode = 4, .has_servers = true}, back;
    uint8_t bytes[TH_PACKET_MAX_SIZE];

    (void)state;
    packet.servers = (struct th_servers){.size = 40, .text = "a\x1b[31m b"};
    assert_int_equal(decode_exact(bytes, th_packet_encode(&packet, NULL, bytes), &back),
                     TH_PACKET_OK);
    assert_string_equal(back.servers.text, "a?[31m b");
}

static void n_every_truncation(void **state) {
    uint8_t bytes[TH_PACKET_MAX_SIZE];
    size_t full = full_packet(bytes);

    (void)state;
    assert_int_equal(full, 132);
    for (size_t size = 0; size < full; size++) {
        struct th_packet packet;
        enum th_packet_fault fault = decode_exact(bytes, size, &packet);

        assert_false(th_packet_authentic(bytes, size, &key));
        if (size < 48 || size % 4 != 0) {
            assert_int_equal(fault, TH_PACKET_SHORT);
        } else if (size == 48 || size == 112 || size == 68) {
            /* Whole again: no field at all, the field without MAC; or 20 bytes taken for a MAC. */
            assert_int_equal(fault, TH_PACKET_OK);
        } else {
            /* Less than a last field needs, or an identity that lacks its end. */
            assert_int_equal(fault,
                             size > 72 && size < 112 ? TH_PACKET_EXTENSION : TH_PACKET_TRAILER);
        }
    }
}

static void n_every_flipped_bit_breaks_the_mac(void **state) {
    uint8_t bytes[TH_PACKET_MAX_SIZE];
    size_t size = full_packet(bytes);

    (void)state;
    assert_true(th_packet_authentic(bytes, size, &key));
    for (size_t bit = 0; bit < 8 * size; bit++) {
        struct th_packet packet;

        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
        (void)decode_exact(bytes, size, &packet);
        assert_false(th_packet_authentic(bytes, size, &key));
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}

static void n_versions(void **state) {
    uint8_t bytes[TH_PACKET_HEADER_SIZE] = {0};
    struct th_packet packet = {.mode = 42};

    (void)state;
    for (unsigned version = 0; version < 8; version++) {
        bytes[0] = (uint8_t)(version << 3 | 3);
        assert_int_equal(decode_exact(bytes, sizeof(bytes), &packet),
                         version >= 1 && version <= 4 ? TH_PACKET_OK : TH_PACKET_VERSION);
    }
    packet.mode = 42;
    assert_int_equal(decode_exact(bytes, sizeof(bytes), &packet), TH_PACKET_VERSION);
    assert_int_equal(packet.mode, 42);
}

/* What follows the header in a table of shapes: fields by type and length, then loose bytes. */
struct shape {
    const char *name;
    unsigned version;
    struct {
        unsigned type, length, really;
    } fields[3];
    unsigned trailer; /* bytes of 0x55 */
    enum th_packet_fault fault;
    bool has_mac;
};

static const struct shape shapes[] = {
    {"a crypto-NAK", 4, {{0}}, 4, TH_PACKET_TRAILER, false},
    {"8 loose bytes", 4, {{0}}, 8, TH_PACKET_TRAILER, false},
    {"a MAC of 16 bytes in all", 4, {{0}}, 16, TH_PACKET_TRAILER, false},
    {"a MAC of 20", 4, {{0}}, 20, TH_PACKET_OK, true},
    {"a MAC of 20 in version 3", 3, {{0}}, 20, TH_PACKET_OK, true},
    {"a MAC of 24", 4, {{0}}, 24, TH_PACKET_TRAILER, false},
    {"an unknown field of 28", 4, {{0x0204, 28, 28}}, 0, TH_PACKET_OK, false},
    {"an unknown field of 28 in version 3", 3, {{0x0204, 28, 28}}, 0, TH_PACKET_EXTENSION, false},
    {"an unknown field of 28 with MAC", 4, {{0x0204, 28, 28}}, 20, TH_PACKET_OK, true},
    {"a field of 16 with MAC", 4, {{0x0204, 16, 16}}, 20, TH_PACKET_OK, true},
    {"a last field of 16 without", 4, {{0x0204, 16, 16}}, 0, TH_PACKET_TRAILER, false},
    {"16 after another", 4, {{1, 28, 28}, {2, 16, 16}}, 0, TH_PACKET_TRAILER, false},
    {"a last field of 24", 4, {{1, 32, 32}, {2, 24, 24}}, 0, TH_PACKET_TRAILER, false},
    {"16 before another", 4, {{1, 16, 16}, {2, 28, 28}}, 0, TH_PACKET_OK, false},
    {"three fields and MAC", 4, {{1, 16, 16}, {2, 16, 16}, {3, 40, 40}}, 20, TH_PACKET_OK, true},
    {"length 12", 4, {{1, 12, 48}}, 0, TH_PACKET_EXTENSION, false},
    {"length 0", 4, {{1, 0, 48}}, 0, TH_PACKET_EXTENSION, false},
    {"length 4", 4, {{1, 4, 48}}, 0, TH_PACKET_EXTENSION, false},
    {"length 30", 4, {{1, 30, 48}}, 0, TH_PACKET_EXTENSION, false},
    {"length over the end", 4, {{1, 52, 48}}, 0, TH_PACKET_EXTENSION, false},
    {"length 65532", 4, {{1, 65532, 48}}, 20, TH_PACKET_EXTENSION, false},
    {"a field that swallows the MAC", 4, {{1, 48, 28}}, 20, TH_PACKET_OK, false},
    {"4 bytes left over", 4, {{1, 28, 28}}, 4, TH_PACKET_TRAILER, false},
    {"a crypto-NAK after a field", 4, {{1, 64, 64}}, 4, TH_PACKET_TRAILER, false},
    {"an identity too short", 4, {{TH_IDENTITY_TYPE, 60, 60}}, 0, TH_PACKET_EXTENSION, false},
    {"an identity too long", 4, {{TH_IDENTITY_TYPE, 68, 68}}, 0, TH_PACKET_EXTENSION, false},
    {"an identity of 16", 4, {{TH_IDENTITY_TYPE, 16, 16}}, 20, TH_PACKET_EXTENSION, false},
    {"an identity", 4, {{TH_IDENTITY_TYPE, 64, 64}}, 0, TH_PACKET_OK, false},
    {"two identities",
     4,
     {{TH_IDENTITY_TYPE, 64, 64}, {TH_IDENTITY_TYPE, 64, 64}},
     0,
     TH_PACKET_EXTENSION,
     false},
    {"an identity after another field",
     4,
     {{1, 16, 16}, {TH_IDENTITY_TYPE, 64, 64}},
     20,
     TH_PACKET_OK,
     true},
};

static size_t build_shape(const struct shape *shape, uint8_t *bytes) {
    size_t at = TH_PACKET_HEADER_SIZE;

    memset(bytes, 0, TH_PACKET_MAX_SIZE);
    bytes[0] = (uint8_t)(shape->version << 3 | 3);
    for (size_t i = 0; i < TH_ELEMENTS(shape->fields) && shape->fields[i].really; i++) {
        bytes[at] = (uint8_t)(shape->fields[i].type >> 8);
        bytes[at + 1] = (uint8_t)shape->fields[i].type;
        bytes[at + 2] = (uint8_t)(shape->fields[i].length >> 8);
        bytes[at + 3] = (uint8_t)shape->fields[i].length;
        bytes[at + 4] = 1;
        bytes[at + 5] = 1;
        at += shape->fields[i].really;
    }
    memset(bytes + at, 0x55, shape->trailer);
    return at + shape->trailer;
}

static void y_and_n_shapes_of_what_follows_the_header(void **state) {
    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(shapes); i++) {
        const struct shape *shape = &shapes[i];
        uint8_t bytes[TH_PACKET_MAX_SIZE];
        size_t size = build_shape(shape, bytes);
        struct th_packet packet = {0};
        enum th_packet_fault fault = decode_exact(bytes, size, &packet);

        if (fault != shape->fault || (packet.key_id != 0) != shape->has_mac) {
            fail_msg("%s: fault %d, key id %u", shape->name, (int)fault, packet.key_id);
        }
    }
}

static void n_a_mac_under_key_zero(void **state) {
    uint8_t bytes[68] = {4 << 3 | 3};
    struct th_packet packet;

    (void)state;
    assert_int_equal(decode_exact(bytes, sizeof(bytes), &packet), TH_PACKET_TRAILER);
}

static void y_identities_of_later_versions_and_kinds_are_as_if_absent(void **state) {
    uint8_t bytes[TH_PACKET_MAX_SIZE];
    struct th_packet packet;

    (void)state;
    (void)full_packet(bytes);
    bytes[52] = 2;
    assert_int_equal(decode_exact(bytes, 112, &packet), TH_PACKET_OK);
    assert_false(packet.has_identity);
    bytes[52] = 1;
    bytes[53] = 2;
    assert_int_equal(decode_exact(bytes, 112, &packet), TH_PACKET_OK);
    assert_false(packet.has_identity);
    bytes[53] = 1;
    /* Reserved bytes may come to mean something. */
    bytes[54] = 0xFF;
    bytes[48 + 43] = 0xFF;
    assert_int_equal(decode_exact(bytes, 112, &packet), TH_PACKET_OK);
    assert_true(packet.has_identity);
}

static void n_identities_with_states_that_are_none(void **state) {
    uint8_t bytes[TH_PACKET_MAX_SIZE];
    struct th_packet packet;

    (void)state;
    (void)full_packet(bytes);
    bytes[48 + 40] = 4;
    assert_int_equal(decode_exact(bytes, 112, &packet), TH_PACKET_EXTENSION);
    bytes[48 + 40] = 0;
    bytes[48 + 41] = 3;
    assert_int_equal(decode_exact(bytes, 112, &packet), TH_PACKET_EXTENSION);
}

static void y_garbage_never_reads_past_its_end(void **state) {
    struct seeded seeded = seeded_start("garbage");
    unsigned faults[TH_PACKET_TRAILER + 1] = {0};

    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint8_t bytes[160];
        size_t size = (size_t)seeded_between(&seeded, 0, sizeof(bytes));
        struct th_packet packet;

        for (size_t k = 0; k < size; k++) {
            bytes[k] = (uint8_t)seeded_bits(&seeded);
        }
        /* Half of them get past the first checks and have small field lengths. */
        if (size > 52 && seeded_bits(&seeded) & 1) {
            size &= ~(size_t)3;
            bytes[0] = 4 << 3 | 3;
            bytes[50] = 0;
            bytes[51] &= 0x7C;
        }
        faults[decode_exact(bytes, size, &packet)]++;
    }
    for (size_t i = 0; i < TH_ELEMENTS(faults); i++) {
        assert_true(faults[i] > 0);
    }
}

static void y_precisions_convert(void **state) {
    (void)state;
    assert_int_equal(th_packet_precision_ns(0), TH_NS_PER_S);
    assert_int_equal(th_packet_precision_ns(2), 4 * TH_NS_PER_S);
    assert_int_equal(th_packet_precision_ns(-1), TH_NS_PER_S / 2);
    assert_int_equal(th_packet_precision_ns(-10), 976563);
    assert_int_equal(th_packet_precision_ns(-30), 1);
    assert_int_equal(th_packet_precision_ns(-128), 1);
    assert_int_equal(th_packet_precision_ns(127), TH_NS_PER_S << 31);
    for (int64_t ns = 1; ns < INT64_C(1) << 60; ns += ns / 3 + 1) {
        int exponent = th_packet_precision_exponent(ns);

        assert_true(th_packet_precision_ns(exponent) >= ns);
        assert_true(exponent == -30 || th_packet_precision_ns(exponent - 1) < ns);
    }
}

static void y_domain_states_round_trip(void **state) {
    (void)state;
    for (int i = TH_DOMAIN_UNKNOWN; i <= TH_DOMAIN_PAUSED; i++) {
        assert_int_equal(th_domain_state_parse(th_domain_state_name((enum th_domain_state)i)), i);
    }
    assert_string_equal(th_domain_state_name((enum th_domain_state)99), "unknown");
    assert_int_equal(th_domain_state_parse(NULL), TH_DOMAIN_UNKNOWN);
    assert_int_equal(th_domain_state_parse("Running"), TH_DOMAIN_UNKNOWN);
}

int main(void) {
    const struct CMUnitTest fields[] = {
        cmocka_unit_test(y_random_packets_round_trip),
        cmocka_unit_test(y_the_header_is_as_in_the_standard),
        cmocka_unit_test(y_the_identity_is_laid_out_as_documented),
        cmocka_unit_test(y_the_list_of_servers_is_laid_out_as_documented),
        cmocka_unit_test(y_and_n_lists_of_servers),
        cmocka_unit_test(y_servers_names_are_cleaned),
        cmocka_unit_test(y_precisions_convert),
        cmocka_unit_test(y_domain_states_round_trip),
    };
    const struct CMUnitTest hostile[] = {
        cmocka_unit_test(n_every_truncation),
        cmocka_unit_test(n_every_flipped_bit_breaks_the_mac),
        cmocka_unit_test(n_versions),
        cmocka_unit_test(y_and_n_shapes_of_what_follows_the_header),
        cmocka_unit_test(n_a_mac_under_key_zero),
        cmocka_unit_test(y_identities_of_later_versions_and_kinds_are_as_if_absent),
        cmocka_unit_test(n_identities_with_states_that_are_none),
        cmocka_unit_test(y_garbage_never_reads_past_its_end),
    };

    return cmocka_run_group_tests_name("packet fields", fields, NULL, NULL) +
           cmocka_run_group_tests_name("hostile packets", hostile, NULL, NULL);
}
