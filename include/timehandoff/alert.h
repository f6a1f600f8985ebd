/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Alerts: conditions of this host and of its peers that somebody should know of, told once when
 * they begin and once when they end. Pure: observations in, changes out.
 *
 * A condition begins when two observations in a row show it (peer-silent: three), and ends when two
 * in a row show that it is over. An observation that shows neither ends the row and changes
 * nothing. So a condition that comes and goes with every observation is never told at all.
 */
#ifndef TIMEHANDOFF_ALERT_H
#define TIMEHANDOFF_ALERT_H

#include "timehandoff/state.h"

/* Fixed names in text, JSON, journal, bus and metrics. */
enum th_alert_kind {
    TH_ALERT_GAP = 0,             /* the gap to a peer is proven to be over the limit */
    TH_ALERT_PEER_UNSYNCHRONISED, /* a peer says so */
    TH_ALERT_PEER_SILENT,         /* a configured peer does not answer */
    TH_ALERT_NTP_DIFFERS,         /* a peer of this host's group has other NTP servers */
    TH_ALERT_HOST_UNSYNCHRONISED, /* this host itself */
    TH_ALERT_NTP_UNCONFIGURED,    /* this host's NTP servers are not those of [ntp] */
    TH_ALERT_KINDS
};

/* "gap", "peer-unsynchronised", …. Never NULL. */
const char *th_alert_kind_name(enum th_alert_kind kind);
/* The reverse. 0 or -EINVAL. */
int th_alert_kind_parse(const char *name, enum th_alert_kind *ret_kind);

/* What is judged by; borrowed for the call. */
struct th_alert_rules {
    bool enabled;               /* no: nothing is observed, and what was set is cleared */
    int64_t gap_ns;             /* limit; cleared again below 80 % of it */
    const char *ntp_configured; /* the organisation's servers, as below; "": none named */
};

/* This host, as it is now; borrowed for the call. */
struct th_alert_host {
    const char *name;
    enum th_ternary synchronised;
    const char *sync_reason;
    const char *ntp_servers; /* as th_ntp_text() writes them; NULL: not known */
    uint8_t ntp_digest[16];  /* zeros: not known */
};

/* A condition that is set, or was. */
struct th_alert {
    enum th_alert_kind kind;
    char peer[256];        /* its name as configured; "": this host itself */
    int64_t since_real_ns; /* when it was set */
    char reason[400];      /* for people: what is wrong, with names and numbers */
    bool has_gap;          /* kind gap */
    struct th_gap gap;     /* peer minus this host */
    int64_t limit_ns;
};

struct th_alerts;

/* Told of each change, at most once for each condition in an observation. The alert is the set's
 * own and must be copied to be kept. */
typedef void th_alert_changed(void *userdata, const struct th_alert *alert, bool set);

/* 0 or -ENOMEM. */
int th_alerts_new(struct th_alerts **ret_alerts);
struct th_alerts *th_alerts_free(struct th_alerts *alerts);

/* Takes over an alert that was set before a restart: it is set again without being told. 0 or
 * -ENOMEM. */
int th_alerts_restore(struct th_alerts *alerts, const struct th_alert *alert);

/*
 * One observation of this host. now_real_ns becomes since of alerts that begin. 0 or -ENOMEM (the
 * observation may then be incomplete).
 */
int th_alerts_observe_host(struct th_alerts *alerts, const struct th_alert_rules *rules,
                           const struct th_alert_host *host, int64_t now_real_ns,
                           th_alert_changed *changed, void *userdata);

/*
 * One look at all peers. A peer counts as observed only if it was probed since the look before
 * (probed_boot_ns has grown). Alerts about peers that are no longer among them are cleared. The
 * same returns.
 */
int th_alerts_observe_peers(struct th_alerts *alerts, const struct th_alert_rules *rules,
                            const struct th_alert_host *host, const struct th_state_peers *peers,
                            int64_t now_real_ns, th_alert_changed *changed, void *userdata);

/* Fills an array with those that are set, in a stable order, up to max; returns how many are set.
 * The pointers live until the next observation. */
size_t th_alerts_list(const struct th_alerts *alerts, const struct th_alert **ret_list, size_t max);

/*
 * What two lists of servers (one blank between two) do not have in common, for people: "only on
 * hv1: a, b; only on hv2: c". Cut to size; returns text. "" if they are equal.
 */
char *th_alert_difference(const char *name_a, const char *a, const char *name_b, const char *b,
                          char *text, size_t size);

#endif
