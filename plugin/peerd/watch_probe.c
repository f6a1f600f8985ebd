/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Probing one batch of peers. Most peers take one probe. Two kinds take a second one: a peer whose
 * list of NTP servers is not known yet, or has changed, is asked for the list; and a peer that is
 * silent under its key is asked without, since "answers, but not under the key" is something that a
 * person can put right, and silence could be anything.
 */
#include "peerd/watch_private.h"

#include <string.h>

#include "timehandoff/probe.h"

/* For a second probe, which measures nothing. */
#define SECOND_QUESTIONS 2

static const struct th_key *key_of(const struct th_watch_table *table,
                                   const struct th_state_peer *peer) {
    return peer->key_id ? th_keyring_find(table->keys, peer->key_id)
                        : th_keyring_first(table->keys);
}

static void remember(struct th_state_peer *peer) {
    struct th_state_gap gap = {peer->gap.offset_ns, peer->gap.bound_ns, peer->seen_real_ns};

    if (peer->n_history == TH_STATE_MAX_HISTORY) {
        peer->n_history--;
        memmove(peer->history, peer->history + 1, peer->n_history * sizeof(peer->history[0]));
    }
    peer->history[peer->n_history++] = gap;
}

/* A list belongs to a digest: with another digest it is not known any more. */
static void take_digest(struct th_state_peer *peer, const uint8_t digest[16]) {
    if (memcmp(peer->ntp_digest, digest, sizeof(peer->ntp_digest)) != 0) {
        memcpy(peer->ntp_digest, digest, sizeof(peer->ntp_digest));
        peer->has_ntp_servers = false;
        peer->ntp_servers[0] = '\0';
    }
}

static void take_result(struct th_watch_slot *slot, struct th_state_peer *peer,
                        const struct th_probe_result *result) {
    struct th_now now = th_now();

    peer->probed_boot_ns = now.boot_ns;
    peer->answers_without_key = false;
    peer->answered = result->outcome == TH_PROBE_ANSWERED;
    if (!peer->answered) {
        slot->address++;
        return;
    }
    peer->authenticated = result->authenticated;
    peer->gap = result->gap;
    peer->seen_real_ns = now.real_ns;
    peer->has_identity = result->has_identity;
    peer->synchronised = result->has_identity ? result->identity.synchronised : TH_UNKNOWN;
    if (result->has_identity) {
        peer->uuid = result->identity.host;
        take_digest(peer, result->identity.ntp_digest);
    }
    remember(peer);
}

/* Whoever is between us and a peer can lead our questions back to us; where all hosts have one key
 * the answers are proven, and would say that there is no gap. */
static bool is_own_answer(const struct th_watch_table *table,
                          const struct th_probe_result *result) {
    return result->has_identity && !th_uuid_is_none(&table->own_uuid) &&
           th_uuid_equal(&result->identity.host, &table->own_uuid);
}

static bool is_known(const uint8_t digest[16]) {
    static const uint8_t none[16];

    return memcmp(digest, none, sizeof(none)) != 0;
}

/* Hosts of a fleet mostly have the same servers: a list that one of them told is everybody's who
 * has its digest. */
static bool find_list(const struct th_watch_table *table, struct th_state_peer *peer) {
    for (size_t i = 0; i < table->known.n_peers; i++) {
        const struct th_state_peer *other = &table->known.peers[i];

        if (other->has_ntp_servers &&
            memcmp(other->ntp_digest, peer->ntp_digest, sizeof(peer->ntp_digest)) == 0) {
            peer->has_ntp_servers = true;
            memcpy(peer->ntp_servers, other->ntp_servers, sizeof(peer->ntp_servers));
            return true;
        }
    }
    return false;
}

static void take_list(struct th_state_peer *peer, const struct th_servers *servers) {
    /* Of another digest: it has changed in between, and the next round asks again. */
    if (servers && memcmp(servers->digest, peer->ntp_digest, sizeof(peer->ntp_digest)) == 0) {
        peer->has_ntp_servers = true;
        memcpy(peer->ntp_servers, servers->text, sizeof(peer->ntp_servers));
    }
}

/* What a peer is asked in addition; false: nothing. */
static bool second_question(const struct th_watch_table *table, struct th_state_peer *peer,
                            struct th_probe_config *config) {
    if (peer->answered && is_known(peer->ntp_digest) && !peer->has_ntp_servers &&
        !find_list(table, peer)) {
        config->ask_servers = true;
        config->ask_identity = false;
        return true;
    }
    if (!peer->answered && config->key) {
        config->key = NULL;
        config->ask_identity = false;
        return true;
    }
    return false;
}

/* The probes under way, and whose they are. */
struct batch {
    struct th_probe *probes[TH_WATCH_BATCH];
    size_t places[TH_WATCH_BATCH];
    bool for_list[TH_WATCH_BATCH];
    size_t n;
};

static struct th_probe_config question(const struct th_watch_table *table, size_t place) {
    const struct th_state_peer *peer = &table->known.peers[place];

    return (struct th_probe_config){
        .address = peer->addresses[table->slots[place].address % peer->n_addresses],
        .key = key_of(table, peer),
        .ask_identity = true,
        .questions = table->config->questions,
        .give_up_ns = table->config->timeout_ns,
        .kernel_stamps = table->config->kernel_stamps,
    };
}

static void add(struct batch *batch, size_t place, const struct th_probe_config *config) {
    if (th_probe_new(config, &batch->probes[batch->n]) == 0) {
        batch->for_list[batch->n] = config->ask_servers;
        batch->places[batch->n++] = place;
    }
}

static int run(const struct th_watch_table *table, struct batch *batch) {
    return batch->n ? th_probe_run_all(batch->probes, batch->n,
                                       th_now_mono_ns() + 2 * table->config->timeout_ns)
                    : 0;
}

static void ask_second(struct th_watch_table *table, const struct batch *first) {
    struct batch batch = {.n = 0};

    for (size_t i = 0; i < first->n; i++) {
        struct th_probe_config config = question(table, first->places[i]);

        config.questions = SECOND_QUESTIONS;
        if (second_question(table, &table->known.peers[first->places[i]], &config)) {
            add(&batch, first->places[i], &config);
        }
    }
    (void)run(table, &batch);
    for (size_t i = 0; i < batch.n; i++) {
        struct th_state_peer *peer = &table->known.peers[batch.places[i]];

        if (batch.for_list[i]) {
            take_list(peer, th_probe_servers(batch.probes[i]));
        } else {
            peer->answers_without_key =
                th_probe_result(batch.probes[i]).outcome == TH_PROBE_ANSWERED;
        }
        th_probe_free(batch.probes[i]);
    }
}

int th_watch_probe(struct th_watch_table *table, const size_t *places, size_t n) {
    struct batch batch = {.n = 0};
    struct th_now now = th_now();
    int r;

    for (size_t i = 0; i < n; i++) {
        struct th_state_peer *peer = &table->known.peers[places[i]];

        if (peer->n_addresses && !peer->own) {
            struct th_probe_config config = question(table, places[i]);

            add(&batch, places[i], &config);
        } else {
            peer->probed_boot_ns = now.boot_ns;
            peer->answered = peer->answers_without_key = false;
        }
    }
    r = run(table, &batch);
    for (size_t i = 0; i < batch.n; i++) {
        struct th_probe_result result = th_probe_result(batch.probes[i]);

        if (is_own_answer(table, &result)) {
            result.outcome = TH_PROBE_SILENT;
        }
        take_result(&table->slots[batch.places[i]], &table->known.peers[batch.places[i]], &result);
        th_probe_free(batch.probes[i]);
    }
    ask_second(table, &batch);
    return r;
}
