/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each kind of alert as a question to one observation: bad, good, or neither, and why in words. A
 * gap is bad only if it is proven to be over the limit, and good only if it is proven to be well
 * below, so that neither noise nor a wide bound ever raises or clears an alert.
 */
#include "fleet/alert.h"

#include <errno.h>
#include <string.h>

#include "timehandoff/duration.h"

/* A gap counts as over only below this part of the limit. */
#define CLEAR_PERCENT 80

const char *th_alert_kind_name(enum th_alert_kind kind) {
    switch (kind) {
    case TH_ALERT_GAP: return "gap";
    case TH_ALERT_PEER_UNSYNCHRONISED: return "peer-unsynchronised";
    case TH_ALERT_PEER_SILENT: return "peer-silent";
    case TH_ALERT_NTP_DIFFERS: return "ntp-differs";
    case TH_ALERT_HOST_UNSYNCHRONISED: return "host-unsynchronised";
    case TH_ALERT_NTP_UNCONFIGURED: return "ntp-unconfigured";
    case TH_ALERT_KINDS: break;
    }
    return "unknown";
}

int th_alert_kind_parse(const char *name, enum th_alert_kind *ret_kind) {
    for (int kind = 0; kind < TH_ALERT_KINDS; kind++) {
        if (strcmp(th_alert_kind_name((enum th_alert_kind)kind), name) == 0) {
            *ret_kind = (enum th_alert_kind)kind;
            return 0;
        }
    }
    return -EINVAL;
}

/* ---- lists of servers, one blank between two ---- */

static bool holds(const char *list, const char *name, size_t size) {
    while (*list) {
        size_t length = strcspn(list, " ");

        if (length == size && memcmp(list, name, size) == 0) {
            return true;
        }
        list += length + (list[length] == ' ');
    }
    return false;
}

static void append(char *text, size_t size, const char *words, size_t length) {
    size_t used = strlen(text);

    if (length >= size - used) {
        length = size - used - 1;
    }
    memcpy(text + used, words, length);
    text[used + length] = '\0';
}

/* Adds "; only on NAME: x, y" with those of list that are not in other. */
static void add_only(const char *name, const char *list, const char *other, char *text,
                     size_t size) {
    bool first = true;

    while (*list) {
        size_t length = strcspn(list, " ");

        if (length && !holds(other, list, length)) {
            if (first) {
                append(text, size, text[0] ? "; only on " : "only on ", text[0] ? 10 : 8);
                append(text, size, name, strlen(name));
            }
            append(text, size, first ? ": " : ", ", 2);
            append(text, size, list, length);
            first = false;
        }
        list += length + (list[length] == ' ');
    }
}

char *th_alert_difference(const char *name_a, const char *a, const char *name_b, const char *b,
                          char *text, size_t size) {
    text[0] = '\0';
    add_only(name_a, a, b, text, size);
    add_only(name_b, b, a, text, size);
    return text;
}

/* ---- conditions ---- */

static enum th_alert_seen judge_gap(const struct th_alert_case *about, struct th_alert *alert) {
    const struct th_state_peer *peer = about->peer;
    const struct th_gap *gap = &peer->gap;
    char offset[TH_DURATION_TEXT_SIZE], bound[TH_DURATION_TEXT_SIZE], limit[TH_DURATION_TEXT_SIZE];
    int64_t size_ns = gap->offset_ns, limit_ns = about->rules->gap_ns;

    if (!peer->answered) {
        return TH_ALERT_SEEN_NEITHER;
    }
    if (size_ns < 0) {
        size_ns = size_ns == INT64_MIN ? INT64_MAX : -size_ns;
    }
    alert->has_gap = true;
    alert->gap = *gap;
    alert->limit_ns = limit_ns;
    snprintf(alert->reason, sizeof(alert->reason), "%s is %s %s this host (\u00b1%s), limit %s%s",
             peer->host, th_duration_format_within(size_ns, gap->bound_ns, offset),
             gap->offset_ns < 0 ? "behind" : "ahead of", th_duration_format(gap->bound_ns, bound),
             th_duration_format(limit_ns, limit), peer->authenticated ? "" : ", not authenticated");
    if (size_ns - gap->bound_ns > limit_ns) {
        return TH_ALERT_SEEN_BAD;
    }
    /* size + bound < limit * 80 %, without running over. */
    return gap->bound_ns < limit_ns && size_ns < limit_ns / 100 * CLEAR_PERCENT - gap->bound_ns
               ? TH_ALERT_SEEN_GOOD
               : TH_ALERT_SEEN_NEITHER;
}

static enum th_alert_seen judge_ternary(enum th_ternary synchronised) {
    switch (synchronised) {
    case TH_NO: return TH_ALERT_SEEN_BAD;
    case TH_YES: return TH_ALERT_SEEN_GOOD;
    case TH_UNKNOWN: break;
    }
    return TH_ALERT_SEEN_NEITHER;
}

static enum th_alert_seen judge_peer_synchronised(const struct th_alert_case *about,
                                                  struct th_alert *alert) {
    const struct th_state_peer *peer = about->peer;

    if (!peer->answered || !peer->has_identity) {
        return TH_ALERT_SEEN_NEITHER;
    }
    snprintf(alert->reason, sizeof(alert->reason), "%s says that it is %ssynchronised", peer->host,
             peer->synchronised == TH_YES ? "" : "not ");
    return judge_ternary(peer->synchronised);
}

static enum th_alert_seen judge_silent(const struct th_alert_case *about, struct th_alert *alert) {
    const struct th_state_peer *peer = about->peer;

    /* Nobody asked for hosts that guests came from to be there for ever. */
    if (peer->found_by_stamp) {
        return TH_ALERT_SEEN_NEITHER;
    }
    if (peer->answered) {
        snprintf(alert->reason, sizeof(alert->reason), "%s answers", peer->host);
        return TH_ALERT_SEEN_GOOD;
    }
    if (!peer->n_addresses) {
        snprintf(alert->reason, sizeof(alert->reason), "%s has no address: its name is not found",
                 peer->host);
    } else if (peer->answers_without_key) {
        snprintf(alert->reason, sizeof(alert->reason),
                 "%s answers, but not under the key: compare /etc/timehandoff/keys", peer->host);
    } else {
        snprintf(alert->reason, sizeof(alert->reason), "%s does not answer", peer->host);
    }
    return TH_ALERT_SEEN_BAD;
}

static bool is_known(const uint8_t digest[16]) {
    static const uint8_t none[16];

    return memcmp(digest, none, sizeof(none)) != 0;
}

static enum th_alert_seen judge_ntp_differs(const struct th_alert_case *about,
                                            struct th_alert *alert) {
    const struct th_state_peer *peer = about->peer;
    const struct th_alert_host *host = about->host;
    char difference[sizeof(alert->reason) - 64];

    if (strcmp(peer->group, about->own_group) != 0) {
        /* An alert from before the groups were set ends. */
        snprintf(alert->reason, sizeof(alert->reason), "%s is of another group", peer->host);
        return TH_ALERT_SEEN_GOOD;
    }
    if (!peer->answered || !is_known(peer->ntp_digest) || !is_known(host->ntp_digest)) {
        return TH_ALERT_SEEN_NEITHER;
    }
    if (memcmp(peer->ntp_digest, host->ntp_digest, sizeof(peer->ntp_digest)) == 0) {
        snprintf(alert->reason, sizeof(alert->reason), "%s has the same NTP servers", peer->host);
        return TH_ALERT_SEEN_GOOD;
    }
    th_alert_difference(host->name, host->ntp_servers ? host->ntp_servers : "", peer->host,
                        peer->ntp_servers, difference, sizeof(difference));
    snprintf(alert->reason, sizeof(alert->reason), "NTP servers differ: %s",
             peer->has_ntp_servers && host->ntp_servers && difference[0] ? difference
                                                                         : "which is not known");
    return TH_ALERT_SEEN_BAD;
}

static enum th_alert_seen judge_host_synchronised(const struct th_alert_case *about,
                                                  struct th_alert *alert) {
    const struct th_alert_host *host = about->host;

    snprintf(alert->reason, sizeof(alert->reason), "this host is %ssynchronised: %s",
             host->synchronised == TH_YES ? "" : "not ", host->sync_reason);
    return judge_ternary(host->synchronised);
}

static enum th_alert_seen judge_ntp_configured(const struct th_alert_case *about,
                                               struct th_alert *alert) {
    const struct th_alert_host *host = about->host;
    char difference[sizeof(alert->reason) - 64];

    if (!host->ntp_servers) {
        return TH_ALERT_SEEN_NEITHER;
    }
    if (!about->rules->ntp_configured[0]) {
        snprintf(alert->reason, sizeof(alert->reason), "no servers are named under [ntp]");
        return TH_ALERT_SEEN_GOOD;
    }
    th_alert_difference(host->name, host->ntp_servers, "[ntp]", about->rules->ntp_configured,
                        difference, sizeof(difference));
    snprintf(alert->reason, sizeof(alert->reason), "NTP servers %s%s",
             difference[0] ? "are not those of the configuration: " : "are those of [ntp]",
             difference);
    return difference[0] ? TH_ALERT_SEEN_BAD : TH_ALERT_SEEN_GOOD;
}

enum th_alert_seen th_alert_judge(enum th_alert_kind kind, const struct th_alert_case *about,
                                  struct th_alert *ret_alert) {
    switch (kind) {
    case TH_ALERT_GAP: return judge_gap(about, ret_alert);
    case TH_ALERT_PEER_UNSYNCHRONISED: return judge_peer_synchronised(about, ret_alert);
    case TH_ALERT_PEER_SILENT: return judge_silent(about, ret_alert);
    case TH_ALERT_NTP_DIFFERS: return judge_ntp_differs(about, ret_alert);
    case TH_ALERT_HOST_UNSYNCHRONISED: return judge_host_synchronised(about, ret_alert);
    case TH_ALERT_NTP_UNCONFIGURED: return judge_ntp_configured(about, ret_alert);
    case TH_ALERT_KINDS: break;
    }
    return TH_ALERT_SEEN_NEITHER;
}
