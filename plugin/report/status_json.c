/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The status as one JSON document, with everything that the text has no room for: history, servers
 * and addresses of peers. Field names are a promise: units in names, fixed words, and fields that
 * are not known left out.
 */
#include "timehandoff/report.h"

#include <json-c/json.h>
#include <string.h>

#include "report/json.h"

static void add_servers(struct json_object *object, const char *names, bool *failed) {
    struct json_object *list = th_json_list(object, "ntp_servers", failed);

    while (list && *names) {
        size_t length = strcspn(names, " ");

        if (length) {
            th_json_append(list, json_object_new_string_len(names, (int)length), failed);
        }
        names += length + (names[length] == ' ');
    }
}

static void add_host(struct json_object *root, const struct th_status_host *host, bool *failed) {
    struct json_object *object = th_json_inside(root, "host", failed), *sync;

    th_json_text(object, "name", host->name, failed);
    sync = th_json_inside(object, "sync", failed);
    th_json_text(sync, "synchronised", th_ternary_name(host->sync.synchronised), failed);
    th_json_text(sync, "from", th_sync_from_name(host->sync.from), failed);
    if (host->sync.error_ns >= 0) {
        th_json_number(sync, "error_ns", host->sync.error_ns, failed);
    }
    if (host->sync.age_ns >= 0) {
        th_json_number(sync, "age_ns", host->sync.age_ns, failed);
    }
    th_json_number(sync, "stratum", host->sync.stratum, failed);
    th_json_text(sync, "source", host->sync.source, failed);
    th_json_text(sync, "reason", host->sync.reason, failed);
    if (host->has_ntp_servers) {
        add_servers(object, host->ntp_servers, failed);
    }
}

static void add_gap(struct json_object *object, const struct th_gap *gap, bool *failed) {
    th_json_number(object, "offset_ns", gap->offset_ns, failed);
    th_json_number(object, "bound_ns", gap->bound_ns, failed);
}

static void add_alert(struct json_object *list, const struct th_alert *alert, bool *failed) {
    struct json_object *object = th_json_append(list, json_object_new_object(), failed);

    th_json_text(object, "kind", th_alert_kind_name(alert->kind), failed);
    if (alert->peer[0]) {
        th_json_text(object, "peer", alert->peer, failed);
    }
    th_json_number(object, "since_real_ns", alert->since_real_ns, failed);
    th_json_text(object, "reason", alert->reason, failed);
    if (alert->has_gap) {
        add_gap(th_json_inside(object, "gap", failed), &alert->gap, failed);
        th_json_number(object, "limit_ns", alert->limit_ns, failed);
    }
}

static void add_history(struct json_object *object, const struct th_state_peer *peer,
                        bool *failed) {
    struct json_object *list = th_json_list(object, "history", failed);

    for (size_t i = 0; i < peer->n_history; i++) {
        struct json_object *gap = th_json_append(list, json_object_new_object(), failed);

        th_json_number(gap, "offset_ns", peer->history[i].offset_ns, failed);
        th_json_number(gap, "bound_ns", peer->history[i].bound_ns, failed);
        th_json_number(gap, "at_real_ns", peer->history[i].at_real_ns, failed);
    }
}

static void add_peer(struct json_object *list, const struct th_state_peer *peer, bool *failed) {
    struct json_object *object = th_json_append(list, json_object_new_object(), failed), *gap;

    th_json_text(object, "host", peer->host, failed);
    th_json_text(object, "group", peer->group, failed);
    th_json_text(object, "found", peer->found_by_stamp ? "stamp" : "configuration", failed);
    th_json_flag(object, "answered", peer->answered, failed);
    th_json_flag(object, "answers_without_key", peer->answers_without_key, failed);
    if (peer->n_addresses) {
        th_json_address(object, "address", &peer->addresses[0], failed);
    }
    if (!peer->seen_real_ns) {
        return;
    }
    th_json_number(object, "seen_real_ns", peer->seen_real_ns, failed);
    th_json_flag(object, "authenticated", peer->authenticated, failed);
    gap = th_json_inside(object, "gap", failed);
    add_gap(gap, &peer->gap, failed);
    th_json_number(gap, "delay_ns", peer->gap.delay_ns, failed);
    if (peer->has_identity) {
        th_json_uuid(object, "host_uuid", &peer->uuid, failed);
        th_json_text(object, "synchronised", th_ternary_name(peer->synchronised), failed);
    }
    if (peer->has_ntp_servers) {
        add_servers(object, peer->ntp_servers, failed);
    }
    add_history(object, peer, failed);
}

static void add_handoff(struct json_object *list, const struct th_status_handoff *handoff,
                        bool *failed) {
    struct json_object *object = th_json_append(list, json_object_new_object(), failed);

    th_json_text(object, "domain", handoff->domain, failed);
    th_json_uuid(object, "uuid", &handoff->uuid, failed);
    th_json_text(object, "trigger", handoff->trigger, failed);
    th_json_text(object, "outcome", handoff->outcome, failed);
    if (handoff->from_host[0]) {
        th_json_text(object, "from_host", handoff->from_host, failed);
    }
    th_json_number(object, "ended_real_ns", handoff->ended_real_ns, failed);
    if (handoff->has_before) {
        struct th_gap before = {handoff->before_ns, handoff->before_bound_ns, 0};

        add_gap(th_json_inside(object, "before", failed), &before, failed);
    }
    th_json_number(object, "stepped_ns", handoff->stepped_ns, failed);
    if (handoff->has_residual) {
        struct th_gap residual = {handoff->residual_ns, handoff->residual_bound_ns, 0};

        add_gap(th_json_inside(object, "residual", failed), &residual, failed);
    }
}

static void add_override(struct json_object *root, const struct th_state_override *override,
                         bool *failed) {
    struct json_object *object = th_json_inside(root, "override", failed);

    th_json_number(object, "until_real_ns", override->until_real_ns, failed);
    th_json_text(object, "source", override->source, failed);
}

int th_report_status_json(const struct th_status *status, FILE *out) {
    struct json_object *root = json_object_new_object(), *list;
    bool failed = !root;

    th_json_number(root, "now_real_ns", status->now_real_ns, &failed);
    if (status->host) {
        add_host(root, status->host, &failed);
        list = th_json_list(root, "alerts", &failed);
        for (size_t i = 0; i < status->host->n_alerts; i++) {
            add_alert(list, &status->host->alerts[i], &failed);
        }
    }
    if (status->override) {
        add_override(root, status->override, &failed);
    }
    if (status->peers) {
        list = th_json_list(root, "peers", &failed);
        for (size_t i = 0; i < status->peers->n_peers; i++) {
            if (th_status_is_peer(&status->peers->peers[i])) {
                add_peer(list, &status->peers->peers[i], &failed);
            }
        }
    }
    if (status->host) {
        list = th_json_list(root, "handoffs", &failed);
        for (size_t i = 0; i < status->host->n_handoffs; i++) {
            add_handoff(list, &status->host->handoffs[i], &failed);
        }
    }
    return th_json_print(root, &failed, out);
}
