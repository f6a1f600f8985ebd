/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding the host that a guest comes from. libvirt does not tell its hooks, so this asks: the host
 * that the origin stamp names, then the configured peers, each under the key that proves the
 * answer. The order of trust is the caller's safety: an answer that does not prove who gave it can
 * make a verdict milder only by way of the `unauthenticated` policy, never silently.
 */
#include "timehandoff/source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fleet/own_address.h"

/* A single step of the search gets this much, so that a silent stamp leaves time for the peers. */
#define STEP_NS (300 * TH_NS_PER_MS)

const char *th_source_how_name(enum th_source_how how) {
    static const char *const names[] = {"none", "request", "stamp", "peers", "this-host"};

    return (size_t)how < TH_ELEMENTS(names) ? names[how] : "none";
}

const char *th_stamp_state_name(enum th_stamp_state state) {
    static const char *const names[] = {"absent", "used",       "names-us",  "stale",
                                        "silent", "other-host", "incomplete"};

    return (size_t)state < TH_ELEMENTS(names) ? names[state] : "absent";
}

static int64_t step_deadline(const struct th_source_request *request) {
    int64_t step_ns = th_now_mono_ns() + STEP_NS;

    return step_ns < request->deadline_mono_ns ? step_ns : request->deadline_mono_ns;
}

/* A whole set of probes, freed together. */
struct probe_set {
    struct th_probe *probes[TH_SOURCE_MAX_PEERS];
    struct sockaddr_storage address[TH_SOURCE_MAX_PEERS];
    size_t tag[TH_SOURCE_MAX_PEERS]; /* which address or peer a probe asks */
    size_t n;
};

static void probe_set_deinit(struct probe_set *set) {
    for (size_t i = 0; i < set->n; i++) {
        th_probe_free(set->probes[i]);
    }
    set->n = 0;
}

#define auto_probe_set __attribute__((cleanup(probe_set_deinit)))

/* An address that can't be asked (no IPv6 here, say) is no reason to give up on the others. */
static int probe_set_add(struct probe_set *set, const struct th_probe_config *config, size_t tag) {
    int r;

    if (set->n == TH_SOURCE_MAX_PEERS) {
        return 0;
    }
    r = th_probe_new(config, &set->probes[set->n]);
    if (r == -ENOMEM || r == -EMFILE || r == -ENFILE) {
        return r;
    }
    if (r == 0) {
        set->address[set->n] = config->address;
        set->tag[set->n++] = tag;
    }
    return 0;
}

/* Asks them all side by side. */
static int probe_set_run(const struct th_source_request *request, struct probe_set *set) {
    return set->n ? th_probe_run_all(set->probes, set->n, step_deadline(request)) : 0;
}

static struct th_probe_config probe_config(const struct th_source_request *request,
                                           const struct sockaddr_storage *address,
                                           const struct th_key *key) {
    struct th_probe_config config = {
        .address = *address,
        .key = key,
        .ask_identity = true,
        .questions = request->config->questions,
        .give_up_ns = request->config->timeout_ns,
        .kernel_stamps = request->config->kernel_stamps,
    };

    if (request->domain) {
        config.domain = request->domain->uuid;
    }
    return config;
}

static int measure_once(const struct th_source_request *request,
                        const struct th_probe_config *config, struct th_probe_result *ret_result) {
    auto_probe_set struct probe_set set = {.n = 0};
    int r = th_probe_new(config, &set.probes[0]);

    if (r < 0) {
        return r;
    }
    set.n = 1;
    /* Nobody else waits for a turn: the probe ends by its own, configured time. */
    r = th_probe_run_all(set.probes, set.n, request->deadline_mono_ns);
    if (r == 0) {
        *ret_result = th_probe_result(set.probes[0]);
    }
    return r;
}

int th_source_measure(const struct th_source_request *request,
                      const struct sockaddr_storage *address, const struct th_key *key,
                      struct th_probe_result *ret_result) {
    struct th_probe_config config = probe_config(request, address, key);
    struct th_probe_result result = {.outcome = TH_PROBE_SILENT};
    int r = measure_once(request, &config, &result);

    /* The ways to ask, from the one that proves most to the one that every NTP server answers. Only
     * silence may be about the way: where nobody listens, no other one helps. */
    if (r == 0 && result.outcome == TH_PROBE_SILENT && key) {
        config.key = NULL;
        r = measure_once(request, &config, &result);
    }
    if (r == 0 && result.outcome == TH_PROBE_SILENT) {
        config.ask_identity = false;
        r = measure_once(request, &config, &result);
    }
    if (r == 0) {
        *ret_result = result;
    }
    return r;
}

static bool runs(const struct th_identity *identity) {
    return identity->domain_state == TH_DOMAIN_RUNNING ||
           identity->domain_state == TH_DOMAIN_PAUSED;
}

/* ---- the host that a person named ---- */

static int find_by_request(const struct th_source_request *request, struct th_source *source) {
    const struct th_key *key = request->given_key_id
                                   ? th_keyring_find(request->keys, request->given_key_id)
                                   : th_keyring_first(request->keys);
    int r = th_source_measure(request, request->given, key, &source->probe);

    if (r < 0) {
        return r;
    }
    source->how = TH_SOURCE_BY_REQUEST;
    source->address = *request->given;
    source->key_expected = key || request->given_key_id;
    th_text_clean(request->given_name ? request->given_name : "", source->host,
                  sizeof(source->host));
    if (source->probe.outcome != TH_PROBE_ANSWERED) {
        source->state = TH_SOURCE_UNREACHABLE;
        return 0;
    }
    source->state = TH_SOURCE_MEASURED;
    source->authenticated = source->probe.authenticated;
    source->uuid = source->probe.identity.host;
    return 0;
}

/* ---- the origin stamp ---- */

static enum th_stamp_state stamp_usable(const struct th_source_request *request) {
    const struct th_origin *origin = &request->domain->origin;

    if (!request->domain->has_origin) {
        return TH_STAMP_ABSENT;
    }
    if (th_uuid_is_none(&origin->uuid) || !origin->key.id || !origin->n_addresses) {
        return TH_STAMP_INCOMPLETE;
    }
    if (th_uuid_equal(&origin->uuid, &request->this_host)) {
        return TH_STAMP_NAMES_US;
    }
    return TH_STAMP_USED;
}

/*
 * Adds all addresses of the stamp, to be asked under its key or without. Addresses of this very
 * host are left out: every host with libvirt's default network has the same one on its bridge, and
 * asking ourselves would "prove" a gap of zero.
 */
static int add_stamp(const struct th_source_request *request, const struct ifaddrs *own,
                     const struct th_key *key, struct probe_set *set) {
    const struct th_origin *origin = &request->domain->origin;

    for (size_t i = 0; i < origin->n_addresses; i++) {
        struct th_probe_config config = probe_config(request, &origin->addresses[i], key);
        int r;

        if (th_own_address_among(own, &origin->addresses[i])) {
            continue;
        }
        config.ask_identity = key != NULL;
        r = probe_set_add(set, &config, i);
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static void take_result(struct th_source *source, const struct th_source_request *request,
                        const struct th_probe_result *result, size_t address_index) {
    const struct th_origin *origin = &request->domain->origin;

    source->state = TH_SOURCE_MEASURED;
    source->how = TH_SOURCE_BY_STAMP;
    source->probe = *result;
    source->address = origin->addresses[address_index];
    source->uuid = origin->uuid;
    source->authenticated = result->authenticated;
    th_text_clean(origin->host, source->host, sizeof(source->host));
}

/*
 * What the answers under the stamp's key amount to. Several addresses of one host may answer: the
 * smallest bound is kept.
 */
static enum th_stamp_state judge_stamp(const struct th_source_request *request,
                                       const struct probe_set *set, struct th_source *source) {
    const struct th_origin *origin = &request->domain->origin;
    enum th_stamp_state state = TH_STAMP_SILENT;

    for (size_t i = 0; i < set->n; i++) {
        struct th_probe_result result = th_probe_result(set->probes[i]);

        if (result.outcome != TH_PROBE_ANSWERED || !result.authenticated || !result.has_identity) {
            continue;
        }
        if (!th_uuid_equal(&result.identity.host, &origin->uuid)) {
            state = state == TH_STAMP_SILENT ? TH_STAMP_OTHER_HOST : state;
        } else if (!runs(&result.identity)) {
            state = state == TH_STAMP_USED ? state : TH_STAMP_STALE;
        } else if (state != TH_STAMP_USED || th_gap_better(&result.gap, &source->probe.gap)) {
            state = TH_STAMP_USED;
            take_result(source, request, &result, set->tag[i]);
        }
    }
    return state;
}

static int find_by_stamp(const struct th_source_request *request, const struct ifaddrs *own,
                         struct th_source *source) {
    auto_probe_set struct probe_set set = {.n = 0};
    int r;

    source->stamp = stamp_usable(request);
    if (source->stamp != TH_STAMP_USED) {
        return 0;
    }
    r = add_stamp(request, own, &request->domain->origin.key, &set);
    if (r == 0) {
        r = probe_set_run(request, &set);
    }
    if (r < 0) {
        return r;
    }
    source->stamp = judge_stamp(request, &set, source);
    source->key_expected = source->stamp == TH_STAMP_USED;
    return 0;
}

/* Where half of the packets are lost, silence under the key may be loss as well. */
static bool mostly_answers(const struct th_probe_result *result) {
    return result->outcome == TH_PROBE_ANSWERED && result->answered > result->asked / 2;
}

static void judge_plain(const struct th_source_request *request, const struct probe_set *set,
                        struct th_source *source) {
    for (size_t i = 0; i < set->n; i++) {
        struct th_probe_result result = th_probe_result(set->probes[i]);

        if (mostly_answers(&result) && (source->state != TH_SOURCE_MEASURED ||
                                        th_gap_better(&result.gap, &source->probe.gap))) {
            take_result(source, request, &result, set->tag[i]);
        }
    }
}

/*
 * The stamp's host is silent under its key and no peer knows better: ask it once more, under the
 * key and without at the same time. If only the plain questions are answered, that is measured, and
 * left to the `unauthenticated` policy.
 */
static int fall_back_to_plain(const struct th_source_request *request, const struct ifaddrs *own,
                              struct th_source *source) {
    auto_probe_set struct probe_set set = {.n = 0};
    int r;

    if (source->stamp != TH_STAMP_SILENT) {
        return 0;
    }
    r = add_stamp(request, own, &request->domain->origin.key, &set);
    if (r == 0) {
        r = add_stamp(request, own, NULL, &set);
    }
    if (r == 0) {
        r = probe_set_run(request, &set);
    }
    if (r < 0) {
        return r;
    }
    source->stamp = judge_stamp(request, &set, source);
    source->key_expected = source->stamp == TH_STAMP_USED || source->stamp == TH_STAMP_SILENT;
    if (source->stamp != TH_STAMP_SILENT) {
        return 0;
    }
    source->how = TH_SOURCE_BY_STAMP;
    source->state = TH_SOURCE_UNREACHABLE;
    source->uuid = request->domain->origin.uuid;
    source->address = request->domain->origin.addresses[0];
    th_text_clean(request->domain->origin.host, source->host, sizeof(source->host));
    judge_plain(request, &set, source);
    return 0;
}

/* ---- the configured peers ---- */

static const struct th_key *peer_key(const struct th_source_request *request,
                                     const struct th_state_peer *peer) {
    return peer->key_id ? th_keyring_find(request->keys, peer->key_id)
                        : th_keyring_first(request->keys);
}

/* A key that is named but not there is not the same as no key: nothing can be proven then. */
static bool wants_key(const struct th_source_request *request, const struct th_state_peer *peer) {
    return peer->key_id || th_keyring_size(request->keys);
}

/* What one peer said, at any of its addresses. */
struct peer_said {
    bool running, inactive;
    bool does_not_count; /* it is this host, or not configured */
    struct th_uuid host;
    struct th_probe_result best; /* with running */
    struct sockaddr_storage address;
};

static void hear(const struct th_source_request *request, const struct th_state_peer *peer,
                 const struct th_probe_result *result, const struct sockaddr_storage *address,
                 struct peer_said *said) {
    bool proven = result->authenticated || !wants_key(request, peer);

    if (result->outcome != TH_PROBE_ANSWERED || !result->has_identity || !proven) {
        return;
    }
    if (th_uuid_equal(&result->identity.host, &request->this_host)) {
        said->does_not_count = true;
        return;
    }
    said->inactive |= result->identity.domain_state == TH_DOMAIN_INACTIVE;
    if (runs(&result->identity) &&
        (!said->running || th_gap_better(&result->gap, &said->best.gap))) {
        said->running = true;
        said->host = result->identity.host;
        said->best = *result;
        said->address = *address;
    }
}

/* Runs a full or last batch, and empties the set. */
static int hear_batch(const struct th_source_request *request, struct probe_set *set,
                      struct peer_said *said) {
    int r = probe_set_run(request, set);

    for (size_t i = 0; r == 0 && i < set->n; i++) {
        struct th_probe_result result = th_probe_result(set->probes[i]);

        hear(request, &request->peers->peers[set->tag[i]], &result, &set->address[i],
             &said[set->tag[i]]);
    }
    probe_set_deinit(set);
    return r;
}

/* Asks all peers, a batch at a time, for as long as the deadline allows; who was not asked has not
 * said anything. */
static int ask_peers(const struct th_source_request *request, const struct ifaddrs *own,
                     struct peer_said *said, unsigned *ret_asked) {
    auto_probe_set struct probe_set set = {.n = 0};
    unsigned asked = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < request->peers->n_peers; i++) {
        const struct th_state_peer *peer = &request->peers->peers[i];

        /* Who may write a domain's metadata must not be able to name a witness. */
        if (peer->found_by_stamp) {
            said[i].does_not_count = true;
            continue;
        }
        for (size_t j = 0; r == 0 && j < peer->n_addresses; j++) {
            struct th_probe_config config =
                probe_config(request, &peer->addresses[j], peer_key(request, peer));

            if (th_own_address_among(own, &peer->addresses[j])) {
                said[i].does_not_count = true;
                continue;
            }
            if (set.n == TH_SOURCE_MAX_PEERS) {
                r = hear_batch(request, &set, said);
            }
            if (r == 0 && th_now_mono_ns() < request->deadline_mono_ns) {
                asked++;
                r = probe_set_add(&set, &config, i);
            }
        }
    }
    if (r == 0) {
        r = hear_batch(request, &set, said);
    }
    *ret_asked = asked;
    return r;
}

/* What all peers together said. */
struct peers_said {
    unsigned running, inactive, unclear;
    size_t runner; /* index of one that runs it */
};

static struct peers_said sum_up(const struct th_state_peers *peers, const struct peer_said *said) {
    struct peers_said sum = {.running = 0};

    for (size_t i = 0; i < peers->n_peers; i++) {
        /* Two names of one host in the list are one host. */
        bool again =
            said[i].running && sum.running && th_uuid_equal(&said[i].host, &said[sum.runner].host);

        if (said[i].running && !again) {
            sum.running++;
            sum.runner = i;
        }
        sum.inactive += !said[i].running && said[i].inactive;
        sum.unclear += !said[i].running && !said[i].inactive && !said[i].does_not_count;
    }
    return sum;
}

static void take_runner(const struct th_source_request *request, const struct peer_said *said,
                        size_t runner, struct th_source *source) {
    const struct th_state_peer *peer = &request->peers->peers[runner];

    source->state = TH_SOURCE_MEASURED;
    source->how = TH_SOURCE_BY_PEERS;
    source->probe = said[runner].best;
    source->uuid = said[runner].host;
    source->address = said[runner].address;
    source->key_expected = wants_key(request, peer);
    source->authenticated = said[runner].best.authenticated;
    th_text_clean(peer->host, source->host, sizeof(source->host));
}

static int find_by_peers(const struct th_source_request *request, const struct ifaddrs *own,
                         struct th_source *source) {
    th_auto_free struct peer_said *said = NULL;
    struct peers_said sum;
    int r;

    if (!request->peers || !request->domain || th_uuid_is_none(&request->domain->uuid)) {
        return 0;
    }
    said = calloc(request->peers->n_peers + 1, sizeof(*said));
    if (!said) {
        return -ENOMEM;
    }
    r = ask_peers(request, own, said, &source->peers_asked);
    if (r < 0) {
        return r;
    }
    sum = sum_up(request->peers, said);
    source->peers_running = sum.running;
    source->peers_inactive = sum.inactive;
    if (sum.running == 1) {
        take_runner(request, said, sum.runner, source);
    } else if (!sum.running && sum.inactive && !sum.unclear && source->stamp == TH_STAMP_ABSENT) {
        /* A stamp is live metadata: where there is one, a guest is running somewhere. Where there
         * is none, and every peer says that it does not run the domain, only a definition moves. */
        source->state = TH_SOURCE_OFFLINE;
    }
    return 0;
}

int th_source_find(const struct th_source_request *request, struct th_source *ret_source) {
    th_auto_own_interfaces struct ifaddrs *own = NULL;
    struct th_source source = {.state = TH_SOURCE_UNKNOWN};
    int r;

    if (request->given) {
        r = find_by_request(request, &source);
        if (r == 0) {
            *ret_source = source;
        }
        return r;
    }
    own = th_own_interfaces();
    r = request->domain ? find_by_stamp(request, own, &source) : 0;
    if (r == 0 && source.state == TH_SOURCE_UNKNOWN) {
        r = find_by_peers(request, own, &source);
    }
    if (r == 0 && source.state == TH_SOURCE_UNKNOWN) {
        r = fall_back_to_plain(request, own, &source);
    }
    if (r == 0) {
        *ret_source = source;
    }
    return r;
}
