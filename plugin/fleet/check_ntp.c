/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether the two hosts of a migration follow the same NTP servers. The question is the alert's
 * own, put to its judge: nobody is to read "differ" here and "the same" in the status. What the
 * other host said a moment ago wins over what peerd heard from it within the minute.
 */
#include <string.h>

#include "fleet/alert.h"
#include "timehandoff/check.h"

static bool is_other(const struct th_state_peer *peer, const struct th_source *other) {
    if (!th_uuid_is_none(&other->uuid) && peer->has_identity) {
        return th_uuid_equal(&peer->uuid, &other->uuid);
    }
    for (size_t i = 0; i < peer->n_addresses; i++) {
        if (th_address_equal(&peer->addresses[i], &other->address)) {
            return true;
        }
    }
    return false;
}

/* The other host as a peer; false if nothing is known of its servers. */
static bool other_peer(const struct th_check *check, const struct th_state_peers *peers,
                       struct th_state_peer *ret_peer, const char **ret_own_group) {
    const struct th_probe_result *probe = &check->source.probe;
    bool told = probe->outcome == TH_PROBE_ANSWERED && probe->has_identity;
    struct th_state_peer peer = {.answered = told};
    bool known = false;

    *ret_own_group = "";
    for (size_t i = 0; peers && i < peers->n_peers; i++) {
        if (peers->peers[i].own) {
            *ret_own_group = peers->peers[i].group;
        } else if (!known && is_other(&peers->peers[i], &check->source)) {
            known = true;
            peer = peers->peers[i];
        }
    }
    if (!known) {
        /* Not one of the peers: nothing says that it is of another group. */
        th_text_clean(*ret_own_group, peer.group, sizeof(peer.group));
    }
    if (told) {
        peer.has_ntp_servers &=
            memcmp(peer.ntp_digest, probe->identity.ntp_digest, sizeof(peer.ntp_digest)) == 0;
        memcpy(peer.ntp_digest, probe->identity.ntp_digest, sizeof(peer.ntp_digest));
        peer.answered = true;
    }
    th_text_clean(check->source.host, peer.host, sizeof(peer.host));
    *ret_peer = peer;
    return known || told;
}

enum th_ternary th_check_ntp_differs(const struct th_check *check, const struct th_state_host *host,
                                     const struct th_state_peers *peers, char *ret_reason) {
    static const enum th_ternary differs[] = {
        [TH_ALERT_SEEN_NEITHER] = TH_UNKNOWN,
        [TH_ALERT_SEEN_BAD] = TH_YES,
        [TH_ALERT_SEEN_GOOD] = TH_NO,
    };
    th_auto_free char *servers = NULL;
    struct th_alert_host here = {.name = check->this_host};
    struct th_alert_rules rules = {.enabled = true};
    struct th_alert judged = {.has_gap = false};
    struct th_state_peer peer;
    struct th_alert_case about = {.rules = &rules, .host = &here, .peer = &peer};
    enum th_alert_seen seen = TH_ALERT_SEEN_NEITHER;

    if (host && host->ntp_known && th_ntp_text(&host->ntp, &servers) == 0) {
        here.ntp_servers = servers;
        memcpy(here.ntp_digest, host->ntp_digest, sizeof(here.ntp_digest));
    }
    if (other_peer(check, peers, &peer, &about.own_group)) {
        seen = th_alert_judge(TH_ALERT_NTP_DIFFERS, &about, &judged);
    }
    if (servers && !servers[0]) {
        snprintf(judged.reason, sizeof(judged.reason), "this host has none");
    } else if (seen == TH_ALERT_SEEN_NEITHER) {
        snprintf(judged.reason, sizeof(judged.reason), "those of %s are not known",
                 !servers                ? "this host"
                 : check->source.host[0] ? check->source.host
                                         : "the other host");
    } else if (strcmp(peer.group, about.own_group) != 0) {
        seen = TH_ALERT_SEEN_NEITHER; /* no alert; but nobody compared them either */
    }
    snprintf(ret_reason, TH_CHECK_NTP_SIZE, "%s", judged.reason);
    return differs[seen];
}
