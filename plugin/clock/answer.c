/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Deciding on one question. The order of the checks is part of the design: strangers cost us a look
 * at the allow-list, only well-formed questions from allowed addresses cost a MAC, and whatever is
 * wrong ends in silence, since any reply to a bad packet is a reply to somebody who may have forged
 * the address it came from.
 */
#include "timehandoff/answer.h"

#include <string.h>

#define STRATUM_LEAST_TRUSTED 15
/* What RFC 5905 gives a host without time; 0 would be a kiss-of-death. */
#define STRATUM_UNSYNCHRONISED 16

const char *th_answer_outcome_name(enum th_answer_outcome outcome) {
    switch (outcome) {
    case TH_ANSWER_SEND: return "answered";
    case TH_ANSWER_MALFORMED: return "malformed";
    case TH_ANSWER_NOT_A_QUESTION: return "not-a-question";
    case TH_ANSWER_NOT_ALLOWED: return "not-allowed";
    case TH_ANSWER_NO_KEY: return "no-key";
    case TH_ANSWER_BAD_KEY: return "bad-key";
    case TH_ANSWER_OUTCOMES: break;
    }
    return "unknown";
}

/* Port 0 is no program that asks; an answer to it could only bother someone. */
static bool has_port(const struct sockaddr *from) {
    in_port_t port = 0;

    if (from->sa_family == AF_INET) {
        memcpy(&port, (const uint8_t *)from + offsetof(struct sockaddr_in, sin_port), sizeof(port));
    } else if (from->sa_family == AF_INET6) {
        memcpy(&port, (const uint8_t *)from + offsetof(struct sockaddr_in6, sin6_port),
               sizeof(port));
    }
    return port != 0;
}

static bool is_listed(const struct th_network *networks, size_t n, const struct sockaddr *from) {
    for (size_t i = 0; i < n; i++) {
        if (th_network_holds(&networks[i], from)) {
            return true;
        }
    }
    return false;
}

/* Who asks, as far as a MAC proves it. */
struct proof {
    const struct th_key *key;              /* NULL: nothing was proven */
    const struct th_answer_domain *domain; /* whose key it is; NULL: a configured key */
};

/* Finds the key that the packet names and that made its MAC. Domains choose their key ids at
 * random, so two may have the same; the MAC tells them apart. */
static bool find_proof(const struct th_answer_context *context, const uint8_t *bytes, size_t size,
                       uint32_t key_id, struct proof *ret_proof) {
    if (key_id & TH_KEY_DOMAIN_BIT) {
        for (size_t i = 0; i < context->n_domains; i++) {
            const struct th_answer_domain *domain = &context->domains[i];

            if (domain->key.id == key_id && th_packet_authentic(bytes, size, &domain->key)) {
                *ret_proof = (struct proof){.key = &domain->key, .domain = domain};
                return true;
            }
        }
        return false;
    }
    ret_proof->key = th_keyring_find(context->keys, key_id);
    return ret_proof->key && th_packet_authentic(bytes, size, ret_proof->key);
}

/* Whether the asker may learn about the domain it asked for. */
static bool may_know(const struct th_answer_context *context, const struct proof *proof,
                     const struct th_uuid *domain, const struct sockaddr *from) {
    if (proof->domain) {
        return th_uuid_equal(&proof->domain->uuid, domain);
    }
    if (proof->key) {
        return true;
    }
    return th_keyring_size(context->keys) == 0 && is_listed(context->peers, context->n_peers, from);
}

static enum th_domain_state domain_state(const struct th_answer_context *context,
                                         const struct th_uuid *domain) {
    /* What the daemon said last is no longer true of a domain once the daemon is silent. */
    if (!context->domains_known || th_uuid_is_none(domain)) {
        return TH_DOMAIN_UNKNOWN;
    }
    for (size_t i = 0; i < context->n_domains; i++) {
        if (th_uuid_equal(&context->domains[i].uuid, domain)) {
            return context->domains[i].state;
        }
    }
    return TH_DOMAIN_INACTIVE;
}

static struct th_identity identity_for(const struct th_answer_context *context,
                                       const struct th_uuid *domain) {
    struct th_identity identity = {
        .domain = *domain,
        .host = context->host,
        .domain_state = domain_state(context, domain),
        .synchronised = context->synchronised,
        .system_clock = true,
        .slew_ppm = context->slew_ppm,
    };

    memcpy(identity.ntp_digest, context->ntp_digest, sizeof(identity.ntp_digest));
    return identity;
}

/* As many whole names as the question has room for. */
static struct th_servers servers_for(const struct th_answer_context *context, size_t size) {
    const char *names = context->ntp_servers ? context->ntp_servers : "";
    size_t room = size - (TH_SERVERS_MOST_SIZE - (TH_SERVERS_TEXT_SIZE - 1));
    size_t length = strlen(names);
    struct th_servers servers = {.size = size, .cut = length > room};

    if (servers.cut) {
        for (length = room; length > 0 && names[length] != ' '; length--) {
        }
    }
    memcpy(servers.text, names, length);
    memcpy(servers.digest, context->ntp_digest, sizeof(servers.digest));
    return servers;
}

static unsigned stratum_to_tell(const struct th_answer_context *context) {
    bool plausible = context->stratum > 0 && context->stratum < STRATUM_UNSYNCHRONISED;

    if (context->synchronised != TH_YES) {
        return STRATUM_UNSYNCHRONISED;
    }
    return plausible ? context->stratum : STRATUM_LEAST_TRUSTED;
}

static struct th_packet header_for(const struct th_answer_context *context,
                                   const struct th_packet *question, th_ntp64 receive_stamp) {
    bool synchronised = context->synchronised == TH_YES;

    return (struct th_packet){
        .leap = synchronised ? 0 : TH_LEAP_UNSYNCHRONISED,
        .version = question->version,
        .mode = TH_MODE_SERVER,
        .stratum = stratum_to_tell(context),
        .poll = question->poll,
        .precision = context->precision,
        .root_delay = context->root_delay,
        .root_dispersion = context->root_dispersion,
        /* The last update, which some clients want to be in the past; nothing depends on when. */
        .reference = synchronised ? receive_stamp : 0,
        .origin = question->transmit,
        .receive = receive_stamp,
    };
}

enum th_answer_outcome th_answer_decide(const struct th_answer_context *context,
                                        const uint8_t *bytes, size_t size,
                                        const struct sockaddr *from, th_ntp64 receive_stamp,
                                        struct th_packet *ret_packet,
                                        const struct th_key **ret_key) {
    static const struct th_uuid no_domain;
    struct th_packet question;
    struct proof proof = {0};

    if (!is_listed(context->allowed, context->n_allowed, from)) {
        return TH_ANSWER_NOT_ALLOWED;
    }
    if (!has_port(from)) {
        return TH_ANSWER_NOT_A_QUESTION;
    }
    if (th_packet_decode(bytes, size, &question) != TH_PACKET_OK) {
        return TH_ANSWER_MALFORMED;
    }
    if (question.mode != TH_MODE_CLIENT || question.transmit == 0) {
        return TH_ANSWER_NOT_A_QUESTION;
    }
    if (question.key_id == 0 && context->require_key) {
        return TH_ANSWER_NO_KEY;
    }
    if (question.key_id != 0 && !find_proof(context, bytes, size, question.key_id, &proof)) {
        return TH_ANSWER_BAD_KEY;
    }
    *ret_packet = header_for(context, &question, receive_stamp);
    if (question.has_identity && may_know(context, &proof, &question.identity.domain, from)) {
        ret_packet->has_identity = true;
        ret_packet->identity = identity_for(context, &question.identity.domain);
    }
    if (question.has_servers && context->ntp_servers &&
        may_know(context, &proof, &no_domain, from)) {
        ret_packet->has_servers = true;
        ret_packet->servers = servers_for(context, question.servers.size);
    }
    *ret_key = proof.key;
    return TH_ANSWER_SEND;
}
