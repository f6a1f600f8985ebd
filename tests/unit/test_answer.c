/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests of answering: what is met with silence and why, what an answer says, who learns a domain's
 * whereabouts, and that no question whatever gets an answer longer than itself.
 */
#include "timehandoff/answer.h"

#include "seeded.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define RECEIVED UINT64_C(0xE0000000AAAAAAAA)
#define COOKIE UINT64_C(0x1234567890ABCDEF)

static const struct th_key file_key = {
    .id = 1, .type = TH_KEY_AES256, .bytes = "0123456789abcdef0123456789abcdeX"};
static const struct th_key web_key = {
    .id = TH_KEY_DOMAIN_BIT | 5, .type = TH_KEY_AES128, .bytes = "webwebwebwebweb"};
static const struct th_key db_key = {
    .id = TH_KEY_DOMAIN_BIT | 6, .type = TH_KEY_AES128, .bytes = "dbdbdbdbdbdbdb"};
/* By chance the same id as web's. */
static const struct th_key twin_key = {
    .id = TH_KEY_DOMAIN_BIT | 5, .type = TH_KEY_AES128, .bytes = "twintwintwintwi"};
static const struct th_key unknown_key = {
    .id = 77, .type = TH_KEY_AES128, .bytes = "unknownunknownn"};

static const struct th_uuid web = {{1}}, db = {{2}}, twin = {{3}}, keyless = {{4}},
                            elsewhere = {{9}};
static const struct th_uuid no_domain;

static struct th_answer_domain domains[4];
static struct th_network allowed[2], peers[1];
static struct th_keyring *ring;

static struct th_answer_context context(void) {
    return (struct th_answer_context){
        .allowed = allowed,
        .n_allowed = TH_ELEMENTS(allowed),
        .keys = ring,
        .peers = peers,
        .n_peers = TH_ELEMENTS(peers),
        .domains = domains,
        .n_domains = TH_ELEMENTS(domains),
        .domains_known = true,
        .host = {{0xAA}},
        .synchronised = TH_YES,
        .stratum = 3,
        .root_delay = 0x100,
        .root_dispersion = 0x200,
        .slew_ppm = 12,
        .ntp_digest = {0xDD},
        .ntp_servers = "ntp1.example.org ntp2.example.org 2001:db8::123",
        .precision = -24,
    };
}

static int prepare(void **state) {
    char path[] = "/tmp/th-answer-XXXXXX";
    static const char text[] = "1 AES256 0123456789abcdef0123456789abcdeX\n";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
    assert_int_equal(th_keyring_load(path, &ring, NULL, 0), 0);
    (void)unlink(path);
    domains[0] = (struct th_answer_domain){.uuid = web, .state = TH_DOMAIN_RUNNING, .key = web_key};
    domains[1] = (struct th_answer_domain){.uuid = db, .state = TH_DOMAIN_PAUSED, .key = db_key};
    domains[2] =
        (struct th_answer_domain){.uuid = twin, .state = TH_DOMAIN_INACTIVE, .key = twin_key};
    domains[3] = (struct th_answer_domain){.uuid = keyless, .state = TH_DOMAIN_RUNNING, .key = {0}};
    assert_int_equal(th_network_parse("10.0.0.0/8", &allowed[0]), 0);
    assert_int_equal(th_network_parse("fd00::/8", &allowed[1]), 0);
    assert_int_equal(th_network_parse("10.0.0.2", &peers[0]), 0);
    return 0;
}

static int tidy(void **state) {
    (void)state;
    ring = th_keyring_free(ring);
    return 0;
}

static struct sockaddr_storage from(const char *text) {
    struct sockaddr_storage address = {0};
    struct sockaddr_in ipv4 = {.sin_family = AF_INET, .sin_port = htons(40000)};
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6, .sin6_port = htons(40000)};

    if (inet_pton(AF_INET, text, &ipv4.sin_addr) == 1) {
        memcpy(&address, &ipv4, sizeof(ipv4));
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &ipv6.sin6_addr), 1);
        memcpy(&address, &ipv6, sizeof(ipv6));
    }
    return address;
}

static struct th_packet question(const struct th_uuid *domain) {
    struct th_packet packet = {
        .version = 4, .mode = TH_MODE_CLIENT, .precision = 32, .poll = 6, .transmit = COOKIE};

    if (domain) {
        packet.has_identity = true;
        packet.identity.domain = *domain;
    }
    return packet;
}

/* Decides on a packet as it would come in. */
static enum th_answer_outcome decide(const struct th_answer_context *c,
                                     const struct th_packet *packet, const struct th_key *key,
                                     const char *address, struct th_packet *ret_packet,
                                     const struct th_key **ret_key) {
    uint8_t bytes[TH_PACKET_MAX_SIZE];
    size_t size = th_packet_encode(packet, key, bytes);
    struct sockaddr_storage asker = from(address);

    return th_answer_decide(c, bytes, size, (const struct sockaddr *)&asker, RECEIVED, ret_packet,
                            ret_key);
}

/* The same where only the outcome counts, and nothing else may be touched unless it is an answer.
 */
static enum th_answer_outcome outcome_of(const struct th_answer_context *c,
                                         const struct th_packet *packet, const struct th_key *key,
                                         const char *address) {
    struct th_packet answer = {.mode = 42};
    const struct th_key *under = &unknown_key;
    enum th_answer_outcome outcome = decide(c, packet, key, address, &answer, &under);

    if (outcome != TH_ANSWER_SEND) {
        assert_int_equal(answer.mode, 42);
        assert_ptr_equal(under, &unknown_key);
    }
    return outcome;
}

/* ---- silence ---- */

static void n_modes_other_than_three(void **state) {
    struct th_answer_context c = context();

    (void)state;
    for (unsigned mode = 0; mode < 8; mode++) {
        struct th_packet packet = question(NULL);

        packet.mode = mode;
        assert_int_equal(outcome_of(&c, &packet, NULL, "10.0.0.1"),
                         mode == 3 ? TH_ANSWER_SEND : TH_ANSWER_NOT_A_QUESTION);
    }
}

static void n_a_question_without_cookie(void **state) {
    struct th_answer_context c = context();
    struct th_packet packet = question(NULL);

    (void)state;
    packet.transmit = 0;
    assert_int_equal(outcome_of(&c, &packet, NULL, "10.0.0.1"), TH_ANSWER_NOT_A_QUESTION);
}

static void n_source_port_zero(void **state) {
    static const char *const askers[] = {"10.0.0.1", "fd00::1"};
    struct th_answer_context c = context();
    struct th_packet packet = question(NULL);
    uint8_t bytes[TH_PACKET_MAX_SIZE];
    size_t size = th_packet_encode(&packet, NULL, bytes);

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(askers); i++) {
        struct sockaddr_storage asker = from(askers[i]);
        struct th_packet answer;
        const struct th_key *key;

        assert_int_equal(
            th_answer_decide(&c, bytes, size, (struct sockaddr *)&asker, RECEIVED, &answer, &key),
            TH_ANSWER_SEND);
        /* The port is at the same place in both kinds. */
        ((struct sockaddr_in *)&asker)->sin_port = 0;
        assert_int_equal(
            th_answer_decide(&c, bytes, size, (struct sockaddr *)&asker, RECEIVED, &answer, &key),
            TH_ANSWER_NOT_A_QUESTION);
    }
}

static void n_addresses_that_are_not_allowed(void **state) {
    static const char *const strangers[] = {"11.0.0.1",    "9.255.255.255", "192.0.2.1",
                                            "2001:db8::1", "fe80::1",       "::ffff:11.0.0.1"};
    struct th_answer_context c = context();
    struct th_packet packet = question(NULL);
    struct sockaddr local = {.sa_family = AF_UNIX};
    struct th_packet answer;
    const struct th_key *key;
    uint8_t bytes[TH_PACKET_MAX_SIZE];
    size_t size = th_packet_encode(&packet, NULL, bytes);

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(strangers); i++) {
        assert_int_equal(outcome_of(&c, &packet, NULL, strangers[i]), TH_ANSWER_NOT_ALLOWED);
        /* Nor does a key help. */
        assert_int_equal(outcome_of(&c, &packet, &file_key, strangers[i]), TH_ANSWER_NOT_ALLOWED);
    }
    assert_int_equal(outcome_of(&c, &packet, NULL, "::ffff:10.0.0.1"), TH_ANSWER_SEND);
    assert_int_equal(outcome_of(&c, &packet, NULL, "fdff::1"), TH_ANSWER_SEND);
    assert_int_equal(th_answer_decide(&c, bytes, size, &local, RECEIVED, &answer, &key),
                     TH_ANSWER_NOT_ALLOWED);
    c.n_allowed = 0;
    assert_int_equal(outcome_of(&c, &packet, NULL, "10.0.0.1"), TH_ANSWER_NOT_ALLOWED);
}

static void n_wrong_macs(void **state) {
    struct th_answer_context c = context();
    struct th_packet packet = question(NULL);
    struct th_key forged = file_key;
    struct th_key forged_web = web_key;
    struct th_key as_domain = file_key;

    (void)state;
    forged.bytes[0] ^= 1;
    forged_web.bytes[0] ^= 1;
    as_domain.id = web_key.id;
    assert_int_equal(outcome_of(&c, &packet, &forged, "10.0.0.1"), TH_ANSWER_BAD_KEY);
    assert_int_equal(outcome_of(&c, &packet, &forged_web, "10.0.0.1"), TH_ANSWER_BAD_KEY);
    assert_int_equal(outcome_of(&c, &packet, &unknown_key, "10.0.0.1"), TH_ANSWER_BAD_KEY);
    assert_int_equal(outcome_of(&c, &packet, &as_domain, "10.0.0.1"), TH_ANSWER_BAD_KEY);
    c.keys = NULL;
    assert_int_equal(outcome_of(&c, &packet, &file_key, "10.0.0.1"), TH_ANSWER_BAD_KEY);
    c.n_domains = 0;
    assert_int_equal(outcome_of(&c, &packet, &web_key, "10.0.0.1"), TH_ANSWER_BAD_KEY);
}

static void n_no_mac_where_one_is_required(void **state) {
    struct th_answer_context c = context();
    struct th_packet packet = question(NULL);

    (void)state;
    c.require_key = true;
    assert_int_equal(outcome_of(&c, &packet, NULL, "10.0.0.1"), TH_ANSWER_NO_KEY);
    assert_int_equal(outcome_of(&c, &packet, &file_key, "10.0.0.1"), TH_ANSWER_SEND);
    assert_int_equal(outcome_of(&c, &packet, &web_key, "10.0.0.1"), TH_ANSWER_SEND);
}

static void n_malformed_packets(void **state) {
    static const size_t sizes[] = {0, 1, 47, 49, 52, 64, 72};
    struct th_answer_context c = context();
    struct sockaddr_storage asker = from("10.0.0.1");
    uint8_t bytes[80] = {4 << 3 | 3, [47] = 1};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(sizes); i++) {
        struct th_packet answer;
        const struct th_key *key;

        assert_int_equal(th_answer_decide(&c, bytes, sizes[i], (struct sockaddr *)&asker, RECEIVED,
                                          &answer, &key),
                         TH_ANSWER_MALFORMED);
    }
}

/* ---- answers ---- */

static void y_an_answer_echoes_and_tells(void **state) {
    struct th_answer_context c = context();
    struct th_packet answer;
    const struct th_key *key;

    (void)state;
    for (unsigned version = 1; version <= 4; version++) {
        struct th_packet packet = question(NULL);

        packet.version = version;
        assert_int_equal(decide(&c, &packet, NULL, "10.0.0.1", &answer, &key), TH_ANSWER_SEND);
        assert_int_equal(answer.version, version);
        assert_int_equal(answer.mode, TH_MODE_SERVER);
        assert_int_equal(answer.leap, 0);
        assert_int_equal(answer.stratum, 3);
        assert_int_equal(answer.poll, 6);
        assert_int_equal(answer.precision, -24);
        assert_int_equal(answer.origin, COOKIE);
        assert_int_equal(answer.receive, RECEIVED);
        assert_int_equal(answer.transmit, 0);
        assert_int_equal(answer.root_delay, 0x100);
        assert_int_equal(answer.root_dispersion, 0x200);
        assert_false(answer.has_identity);
        assert_null(key);
    }
}

static void y_a_host_not_synchronised_says_so(void **state) {
    static const enum th_ternary values[] = {TH_NO, TH_UNKNOWN};
    struct th_answer_context c = context();
    struct th_packet packet = question(NULL);
    struct th_packet answer;
    const struct th_key *key;

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(values); i++) {
        c.synchronised = values[i];
        assert_int_equal(decide(&c, &packet, NULL, "10.0.0.1", &answer, &key), TH_ANSWER_SEND);
        assert_int_equal(answer.leap, TH_LEAP_UNSYNCHRONISED);
        assert_int_equal(answer.stratum, 16);
    }
    c.synchronised = TH_YES;
    c.stratum = 0;
    assert_int_equal(decide(&c, &packet, NULL, "10.0.0.1", &answer, &key), TH_ANSWER_SEND);
    assert_int_equal(answer.stratum, 15);
    c.stratum = 16;
    assert_int_equal(decide(&c, &packet, NULL, "10.0.0.1", &answer, &key), TH_ANSWER_SEND);
    assert_int_equal(answer.stratum, 15);
}

static void y_the_answer_comes_under_the_key_of_the_question(void **state) {
    struct th_answer_context c = context();
    struct th_packet packet = question(NULL);
    struct th_packet answer;
    const struct th_key *key;

    (void)state;
    assert_int_equal(decide(&c, &packet, &file_key, "10.0.0.1", &answer, &key), TH_ANSWER_SEND);
    assert_int_equal(key->id, file_key.id);
    assert_int_equal(decide(&c, &packet, &db_key, "10.0.0.1", &answer, &key), TH_ANSWER_SEND);
    assert_ptr_equal(key, &domains[1].key);
    /* Two domains with one id: the MAC decides. */
    assert_int_equal(decide(&c, &packet, &web_key, "10.0.0.1", &answer, &key), TH_ANSWER_SEND);
    assert_ptr_equal(key, &domains[0].key);
    assert_int_equal(decide(&c, &packet, &twin_key, "10.0.0.1", &answer, &key), TH_ANSWER_SEND);
    assert_ptr_equal(key, &domains[2].key);
}

/* ---- who learns what ---- */

enum with_keys { NO_KEYS, KEYS };

static void y_and_n_the_identity_is_for_who_may_know(void **state) {
    static const struct {
        const char *name;
        enum with_keys configured;
        const struct th_key *key;
        const struct th_uuid *domain;
        const char *asker;
        bool told;
        enum th_domain_state domain_state;
    } cases[] = {
        {"stranger, no keys configured", NO_KEYS, NULL, &web, "10.0.0.1", false, 0},
        {"peer, no keys configured", NO_KEYS, NULL, &web, "10.0.0.2", true, TH_DOMAIN_RUNNING},
        {"peer, mapped", NO_KEYS, NULL, &db, "::ffff:10.0.0.2", true, TH_DOMAIN_PAUSED},
        {"stranger, keys configured", KEYS, NULL, &web, "10.0.0.1", false, 0},
        {"peer that used none of the keys", KEYS, NULL, &web, "10.0.0.2", false, 0},
        {"configured key", KEYS, &file_key, &web, "10.0.0.1", true, TH_DOMAIN_RUNNING},
        {"configured key, other domain", KEYS, &file_key, &db, "10.0.0.1", true, TH_DOMAIN_PAUSED},
        {"configured key, domain without key", KEYS, &file_key, &keyless, "10.0.0.1", true,
         TH_DOMAIN_RUNNING},
        {"configured key, domain not here", KEYS, &file_key, &elsewhere, "10.0.0.1", true,
         TH_DOMAIN_INACTIVE},
        {"configured key, no domain", KEYS, &file_key, &no_domain, "10.0.0.1", true,
         TH_DOMAIN_UNKNOWN},
        {"domain's key", KEYS, &web_key, &web, "10.0.0.1", true, TH_DOMAIN_RUNNING},
        {"domain's key, no keys configured", NO_KEYS, &web_key, &web, "10.0.0.1", true,
         TH_DOMAIN_RUNNING},
        {"domain's key, other domain", KEYS, &web_key, &db, "10.0.0.1", false, 0},
        {"domain's key, domain not here", KEYS, &web_key, &elsewhere, "10.0.0.1", false, 0},
        {"domain's key, no domain", KEYS, &web_key, &no_domain, "10.0.0.1", false, 0},
        {"domain's key from a peer, other domain", NO_KEYS, &web_key, &db, "10.0.0.2", false, 0},
        {"twin's key, web asked", KEYS, &twin_key, &web, "10.0.0.1", false, 0},
        {"twin's key, twin asked", KEYS, &twin_key, &twin, "10.0.0.1", true, TH_DOMAIN_INACTIVE},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_answer_context c = context();
        struct th_packet packet = question(cases[i].domain);
        struct th_packet answer;
        const struct th_key *key;

        c.keys = cases[i].configured == KEYS ? ring : NULL;
        assert_int_equal(decide(&c, &packet, cases[i].key, cases[i].asker, &answer, &key),
                         TH_ANSWER_SEND);
        assert_int_equal(key ? key->id : 0, cases[i].key ? cases[i].key->id : 0);
        if (answer.has_identity != cases[i].told) {
            fail_msg("%s: told %d", cases[i].name, answer.has_identity);
        }
        if (cases[i].told) {
            const struct th_identity *identity = &answer.identity;

            assert_int_equal(identity->domain_state, cases[i].domain_state);
            assert_true(th_uuid_equal(&identity->domain, cases[i].domain));
            assert_int_equal(identity->host.bytes[0], 0xAA);
            assert_int_equal(identity->synchronised, TH_YES);
            assert_true(identity->system_clock);
            assert_int_equal(identity->slew_ppm, 12);
            assert_int_equal(identity->ntp_digest[0], 0xDD);
        }
    }
}

static void y_without_fresh_knowledge_states_are_unknown(void **state) {
    static const struct th_uuid *const asked[] = {&web, &elsewhere};
    struct th_answer_context c = context();

    (void)state;
    c.domains_known = false;
    for (size_t i = 0; i < TH_ELEMENTS(asked); i++) {
        struct th_packet packet = question(asked[i]);
        struct th_packet answer;
        const struct th_key *key;

        assert_int_equal(decide(&c, &packet, &file_key, "10.0.0.1", &answer, &key), TH_ANSWER_SEND);
        assert_int_equal(answer.identity.domain_state, TH_DOMAIN_UNKNOWN);
    }
}

static void y_who_asks_for_no_identity_gets_none(void **state) {
    struct th_answer_context c = context();
    struct th_packet packet = question(NULL);
    struct th_packet answer;
    const struct th_key *key;

    (void)state;
    assert_int_equal(decide(&c, &packet, &file_key, "10.0.0.2", &answer, &key), TH_ANSWER_SEND);
    assert_false(answer.has_identity);
}

/* The list of servers is for the same askers as the identity, but for no domain's key. */
static void y_and_n_the_list_of_servers_is_for_who_may_know(void **state) {
    static const struct {
        enum with_keys configured;
        const struct th_key *key;
        const char *asker;
        bool told;
    } cases[] = {
        {NO_KEYS, NULL, "10.0.0.1", false},      {NO_KEYS, NULL, "10.0.0.2", true},
        {KEYS, NULL, "10.0.0.2", false},         {KEYS, &file_key, "10.0.0.1", true},
        {KEYS, &web_key, "10.0.0.2", false},     {NO_KEYS, &web_key, "10.0.0.2", false},
        {NO_KEYS, &twin_key, "10.0.0.1", false},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_answer_context c = context();
        struct th_packet packet = question(NULL), answer;
        const struct th_key *key;

        packet.has_servers = true;
        packet.servers.size = TH_SERVERS_MOST_SIZE;
        c.keys = cases[i].configured == KEYS ? ring : NULL;
        assert_int_equal(decide(&c, &packet, cases[i].key, cases[i].asker, &answer, &key),
                         TH_ANSWER_SEND);
        if (answer.has_servers != cases[i].told) {
            fail_msg("case %zu: told %d", i, answer.has_servers);
        }
        assert_false(answer.has_identity);
        if (cases[i].told) {
            assert_int_equal(answer.servers.size, TH_SERVERS_MOST_SIZE);
            assert_false(answer.servers.cut);
            assert_int_equal(answer.servers.digest[0], 0xDD);
            assert_string_equal(answer.servers.text, c.ntp_servers);
        }
        c.ntp_servers = NULL;
        assert_int_equal(decide(&c, &packet, cases[i].key, cases[i].asker, &answer, &key),
                         TH_ANSWER_SEND);
        assert_false(answer.has_servers);
    }
}

static void y_a_list_of_servers_is_cut_between_names(void **state) {
    static const struct {
        size_t size;
        const char *text;
    } cases[] = {
        {28, ""},
        {36, ""},
        {40, "ntp1.example.org"},
        {56, "ntp1.example.org"},
        {60, "ntp1.example.org ntp2.example.org"},
        {68, "ntp1.example.org ntp2.example.org"},
        {76, "ntp1.example.org ntp2.example.org 2001:db8::123"},
    };
    struct th_answer_context c = context();

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_packet packet = question(NULL), answer;
        const struct th_key *key;

        packet.has_servers = true;
        packet.servers.size = cases[i].size;
        assert_int_equal(decide(&c, &packet, &file_key, "10.0.0.1", &answer, &key), TH_ANSWER_SEND);
        assert_string_equal(answer.servers.text, cases[i].text);
        assert_int_equal(answer.servers.cut, cases[i].size < 76);
    }
}

/* ---- amplification ---- */

/* Something like a question, with everything about it random, often enough acceptable. */
static size_t random_question(struct seeded *seeded, uint8_t *bytes) {
    const struct th_key *const keys[] = {NULL, &file_key, &web_key, &db_key};
    struct th_packet packet = question(seeded_bits(seeded) & 1 ? &web : NULL);
    const struct th_key *key = keys[seeded_between(seeded, 0, 3)];
    size_t size;

    packet.version = (unsigned)seeded_between(seeded, 1, 4);
    if (seeded_between(seeded, 0, 2) == 0) {
        packet.has_servers = true;
        packet.servers.size = (size_t)seeded_between(seeded, 7, 256) * 4;
    }
    size = th_packet_encode(&packet, key, bytes);
    switch (seeded_between(seeded, 0, 3)) {
    case 0: return (size_t)seeded_between(seeded, 0, (int64_t)size);
    case 1:
        bytes[seeded_between(seeded, 0, (int64_t)size - 1)] = (uint8_t)seeded_bits(seeded);
        break;
    case 2:
        for (size_t i = 1; i < 200; i++) {
            bytes[i] = i < 52 ? bytes[i] : (uint8_t)(seeded_bits(seeded) & 0x1C);
        }
        return (size_t)seeded_between(seeded, 48, 200) & ~(size_t)3;
    default: break;
    }
    return size;
}

static void y_no_answer_is_longer_than_its_question(void **state) {
    struct seeded seeded = seeded_start("answer");
    struct th_answer_context c = context();
    struct sockaddr_storage asker = from("10.0.0.2");
    unsigned seen[TH_ANSWER_OUTCOMES] = {0};
    unsigned identities = 0, lists = 0;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        uint8_t bytes[TH_PACKET_MAX_SIZE] = {0}, back[TH_PACKET_MAX_SIZE];
        size_t size = random_question(&seeded, bytes);
        struct th_packet answer;
        const struct th_key *key;
        enum th_answer_outcome outcome;

        c.keys = seeded_bits(&seeded) & 1 ? ring : NULL;
        c.require_key = seeded_between(&seeded, 0, 9) == 0;
        outcome =
            th_answer_decide(&c, bytes, size, (struct sockaddr *)&asker, RECEIVED, &answer, &key);
        seen[outcome]++;
        if (outcome == TH_ANSWER_SEND) {
            assert_true(th_packet_encode(&answer, key, back) <= size);
            identities += answer.has_identity;
            lists += answer.has_servers;
        }
    }
    assert_true(identities > 1000 && lists > 300);
    assert_true(seen[TH_ANSWER_SEND] > 1000 && seen[TH_ANSWER_MALFORMED] > 1000);
    assert_true(seen[TH_ANSWER_BAD_KEY] > 1000 && seen[TH_ANSWER_NO_KEY] > 100);
}

static void y_outcomes_have_names(void **state) {
    (void)state;
    assert_string_equal(th_answer_outcome_name(TH_ANSWER_SEND), "answered");
    for (int i = 0; i < TH_ANSWER_OUTCOMES; i++) {
        assert_string_not_equal(th_answer_outcome_name((enum th_answer_outcome)i), "unknown");
    }
    assert_string_equal(th_answer_outcome_name(TH_ANSWER_OUTCOMES), "unknown");
}

/* ---- networks ---- */

static void y_and_n_addresses_in_networks(void **state) {
    static const struct {
        const char *network, *address;
        bool holds;
    } cases[] = {
        {"10.0.0.0/8", "10.255.255.255", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"10.1.2.3/8", "10.9.9.9", true},
        {"192.0.2.128/25", "192.0.2.128", true},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"192.0.2.4/31", "192.0.2.5", true},
        {"192.0.2.4/31", "192.0.2.6", false},
        {"192.0.2.4", "192.0.2.4", true},
        {"192.0.2.4", "192.0.2.5", false},
        {"0.0.0.0/0", "8.8.8.8", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"0.0.0.0/0", "::ffff:8.8.8.8", true},
        {"::/0", "2001:db8::1", true},
        {"::/0", "8.8.8.8", false},
        {"::/0", "::ffff:8.8.8.8", false},
        {"::ffff:10.0.0.0/104", "10.1.1.1", true},
        {"2001:db8::/32", "2001:db8:ffff::1", true},
        {"2001:db8::/32", "2001:db9::1", false},
        {"2001:db8::1", "2001:db8::1", true},
        {"2001:db8::1", "2001:db8::2", false},
        {"fe80::/10", "febf::1", true},
        {"fe80::/10", "fec0::1", false},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct th_network network;
        struct sockaddr_storage address = from(cases[i].address);

        assert_int_equal(th_network_parse(cases[i].network, &network), 0);
        if (th_network_holds(&network, (struct sockaddr *)&address) != cases[i].holds) {
            fail_msg("%s in %s", cases[i].address, cases[i].network);
        }
    }
}

static void n_networks(void **state) {
    static const char *const texts[] = {NULL,
                                        "",
                                        "/",
                                        "/8",
                                        "10.0.0.0/",
                                        "10.0.0.0/33",
                                        "10.0.0.0/-1",
                                        "10.0.0.0/+8",
                                        "10.0.0.0/8 ",
                                        " 10.0.0.0/8",
                                        "10.0.0/8",
                                        "10.0.0.0/8/8",
                                        "10.0.0.0/0008",
                                        "2001:db8::/129",
                                        "2001:db8::/x",
                                        "host.example",
                                        "[::1]",
                                        "10.0.0.0:80",
                                        "fe80::1%lo",
                                        "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111/64"};
    struct th_network network = {.prefix = 42};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(texts); i++) {
        assert_int_equal(th_network_parse(texts[i], &network), -EINVAL);
    }
    assert_int_equal(network.prefix, 42);
}

int main(void) {
    const struct CMUnitTest silence[] = {
        cmocka_unit_test(n_modes_other_than_three),
        cmocka_unit_test(n_a_question_without_cookie),
        cmocka_unit_test(n_source_port_zero),
        cmocka_unit_test(n_addresses_that_are_not_allowed),
        cmocka_unit_test(n_wrong_macs),
        cmocka_unit_test(n_no_mac_where_one_is_required),
        cmocka_unit_test(n_malformed_packets),
    };
    const struct CMUnitTest answers[] = {
        cmocka_unit_test(y_an_answer_echoes_and_tells),
        cmocka_unit_test(y_a_host_not_synchronised_says_so),
        cmocka_unit_test(y_the_answer_comes_under_the_key_of_the_question),
        cmocka_unit_test(y_and_n_the_identity_is_for_who_may_know),
        cmocka_unit_test(y_without_fresh_knowledge_states_are_unknown),
        cmocka_unit_test(y_who_asks_for_no_identity_gets_none),
        cmocka_unit_test(y_and_n_the_list_of_servers_is_for_who_may_know),
        cmocka_unit_test(y_a_list_of_servers_is_cut_between_names),
        cmocka_unit_test(y_no_answer_is_longer_than_its_question),
        cmocka_unit_test(y_outcomes_have_names),
    };
    const struct CMUnitTest networks[] = {
        cmocka_unit_test(y_and_n_addresses_in_networks),
        cmocka_unit_test(n_networks),
    };

    return cmocka_run_group_tests_name("silence", silence, prepare, tidy) +
           cmocka_run_group_tests_name("answers", answers, prepare, tidy) +
           cmocka_run_group_tests_name("networks", networks, NULL, NULL);
}
