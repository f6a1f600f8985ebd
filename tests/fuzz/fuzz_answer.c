/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Questions as they come from the network, and what is answered: nothing longer than the question,
 * nothing but silence to a wrong MAC, and no identity to anybody who has not proven a right to it.
 * Two bytes say who asks and what this host knows; the rest is the datagram, which is signed here
 * if they say so, since no mutation finds a MAC.
 */
#include "fuzz.h"

#include <arpa/inet.h>

#include "timehandoff/answer.h"

#define TRAILER_SIZE (4 + TH_MAC_SIZE)
#define STAMP UINT64_C(0xEB9E1D8012345678)

enum who { WHO_NOBODY = 0, WHO_KEY, WHO_DOMAIN, WHO_FORGER };

static const struct th_answer_domain domains[] = {
    {.uuid = {{1}},
     .state = TH_DOMAIN_RUNNING,
     .key = {.id = 0x80000001, .type = TH_KEY_AES128, .bytes = {1}}},
    {.uuid = {{2}},
     .state = TH_DOMAIN_PAUSED,
     .key = {.id = 0x80000001, .type = TH_KEY_AES128, .bytes = {2}}},
    {.uuid = {{3}}, .state = TH_DOMAIN_RUNNING},
};

static struct th_keyring *load_keys(void) {
    static const char text[] = "1 AES128 HEX:000102030405060708090a0b0c0d0e0f\n"
                               "7 AES256 ASCII:0123456789abcdef0123456789abcdef\n";
    struct th_keyring *keys = NULL;
    char path[PATH_MAX], error[256];

    fuzz_put("keys", text, sizeof(text) - 1);
    must(th_keyring_load(fuzz_path("keys", path), &keys, error, sizeof(error)) == 0);
    return keys;
}

/* Puts key id and MAC into the last 20 bytes, where there are as many. */
static void sign(enum who who, unsigned which, const struct th_keyring *keys, uint8_t *bytes,
                 size_t size) {
    const struct th_key *key =
        who == WHO_DOMAIN ? &domains[which % 2].key : th_keyring_find(keys, which % 2 ? 1 : 7);
    uint8_t *mac = bytes + size - TH_MAC_SIZE;

    if (who == WHO_NOBODY || size < TH_PACKET_HEADER_SIZE + TRAILER_SIZE) {
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        mac[(int)i - 4] = (uint8_t)(key->id >> (24 - 8 * i));
    }
    th_key_mac(key, bytes, size - TRAILER_SIZE, mac);
    if (who == WHO_FORGER) {
        mac[which % TH_MAC_SIZE] ^= 1;
    }
}

/* What is read, written and read again stays the same. */
static void check_packet(const uint8_t *bytes, size_t size) {
    uint8_t once[TH_PACKET_MAX_SIZE], twice[TH_PACKET_MAX_SIZE];
    struct th_packet packet, again;
    size_t once_size, twice_size;

    memset(&packet, 0xA5, sizeof(packet));
    again = packet;
    if (th_packet_decode(bytes, size, &packet) != TH_PACKET_OK) {
        must(memcmp(&packet, &again, sizeof(packet)) == 0);
        return;
    }
    once_size = th_packet_encode(&packet, NULL, once);
    must(once_size <= size && th_packet_decode(once, once_size, &again) == TH_PACKET_OK);
    twice_size = th_packet_encode(&again, NULL, twice);
    must(once_size == twice_size && memcmp(once, twice, once_size) == 0);
    must(again.key_id == 0 && fuzz_is_line(again.servers.text));
    must(th_packet_precision_ns(packet.precision) >= 1);
}

static bool is_peer(const struct th_answer_context *context, const struct sockaddr_in *from) {
    return context->n_peers > 0 &&
           th_network_holds(context->peers, (const struct sockaddr *)(const void *)from);
}

/* Who may learn what: see answer.h. */
static void check_rights(const struct th_answer_context *context, const struct sockaddr_in *from,
                         const struct th_packet *question, const struct th_packet *answer,
                         const struct th_key *key) {
    bool told = answer->has_identity || answer->has_servers;

    must(!answer->has_identity ||
         (question->has_identity &&
          th_uuid_equal(&answer->identity.domain, &question->identity.domain)));
    must(!answer->has_servers || question->has_servers);
    if (!key) {
        must(!told || (th_keyring_size(context->keys) == 0 && is_peer(context, from)));
    } else if (key->id & TH_KEY_DOMAIN_BIT) {
        must(!answer->has_servers);
        must(!answer->has_identity || th_uuid_equal(&answer->identity.domain,
                                                    &domains[key == &domains[0].key ? 0 : 1].uuid));
    }
}

static void check_answer(const struct th_answer_context *context, const struct sockaddr_in *from,
                         const uint8_t *bytes, size_t size, struct th_packet *answer,
                         const struct th_key *key) {
    struct th_packet question, read_back;
    uint8_t sent[TH_PACKET_MAX_SIZE];
    size_t sent_size;

    must(th_packet_decode(bytes, size, &question) == TH_PACKET_OK);
    must(question.mode == TH_MODE_CLIENT && question.transmit != 0);
    must(key ? th_packet_authentic(bytes, size, key) : question.key_id == 0);
    must(key || !context->require_key);
    answer->transmit = STAMP + 1;
    sent_size = th_packet_encode(answer, key, sent);
    must(sent_size <= size);
    must(th_packet_decode(sent, sent_size, &read_back) == TH_PACKET_OK);
    must(read_back.mode == TH_MODE_SERVER && read_back.version == question.version);
    must(read_back.origin == question.transmit && read_back.receive == STAMP);
    must(read_back.key_id == question.key_id);
    must(!key || th_packet_authentic(sent, sent_size, key));
    must(fuzz_is_line(read_back.servers.text));
    check_rights(context, from, &question, &read_back, key);
}

/* 10.0.0.2 is a peer, 192.0.2.1 is nobody. */
static struct sockaddr_in sender(unsigned which) {
    static const char *const addresses[] = {"10.0.0.2", "10.0.0.3", "192.0.2.1", "10.0.0.2"};
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(which % 4 == 3 ? 0 : 123)};

    must(inet_pton(AF_INET, addresses[which % 4], &from.sin_addr) == 1);
    return from;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct th_keyring *keys;
    struct fuzz_bytes input = {data, size};
    unsigned asker = (unsigned)fuzz_number(&input, 1), host = (unsigned)fuzz_number(&input, 1);
    enum who who = asker % 4;
    struct sockaddr_in from = sender(asker >> 2);
    struct th_network allowed, peer;
    struct th_answer_context context = {
        .allowed = &allowed,
        .n_allowed = 1,
        .require_key = host & 1,
        .peers = &peer,
        .n_peers = host >> 1 & 1,
        .domains = domains,
        .n_domains = TH_ELEMENTS(domains),
        .domains_known = host >> 2 & 1,
        .host = {{0xAA}},
        .synchronised = host >> 3 & 3 ? TH_YES : TH_UNKNOWN,
        .stratum = host,
        .ntp_digest = {0xBB},
        .ntp_servers = host & 0x20 ? "a.example ntp.b.example 2001:db8::1" : NULL,
        .precision = -20,
    };
    struct th_packet answer, untouched;
    const struct th_key *key = &domains[2].key;
    uint8_t bytes[TH_PACKET_MAX_SIZE];
    enum th_answer_outcome outcome;

    keys = keys ? keys : load_keys();
    must(th_network_parse("10.0.0.0/8", &allowed) == 0 && th_network_parse("10.0.0.2", &peer) == 0);
    context.keys = host & 0x40 ? keys : NULL;
    if (input.left > sizeof(bytes)) {
        return 0;
    }
    memcpy(bytes, input.at, input.left);
    sign(who, asker >> 4, keys, bytes, input.left);
    check_packet(bytes, input.left);
    memset(&answer, 0xA5, sizeof(answer));
    untouched = answer;
    outcome = th_answer_decide(&context, bytes, input.left,
                               (const struct sockaddr *)(const void *)&from, STAMP, &answer, &key);
    if (outcome != TH_ANSWER_SEND) {
        must(memcmp(&answer, &untouched, sizeof(answer)) == 0 && key == &domains[2].key);
        return 0;
    }
    must((asker >> 2) % 4 < 2 && (who != WHO_FORGER || !key));
    check_answer(&context, &from, bytes, input.left, &answer, key);
    return 0;
}
