/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is known of this host, of its peers and of its guests' last handoffs, as one structure: the
 * daemon fills it from what it holds, `timehandoff status` from what the daemons have published;
 * text, JSON, D-Bus and metrics are made from it alike.
 */
#ifndef TIMEHANDOFF_STATUS_H
#define TIMEHANDOFF_STATUS_H

#include "timehandoff/alert.h"
#include "timehandoff/handoff.h"

/* Published by timehandoffd, 0644: it holds no keys. */
#define TH_STATE_STATUS_FILE "status"

#define TH_STATUS_MAX_ALERTS 1024
#define TH_STATUS_MAX_HANDOFFS 128

/* The last handoff of one guest. */
struct th_status_handoff {
    struct th_uuid uuid;
    char domain[256];
    char trigger[32]; /* the fixed words of th_trigger_name and th_handoff_outcome_name */
    char outcome[32];
    char from_host[64];    /* "" if not known */
    int64_t ended_real_ns; /* when it was reported */
    bool has_before;
    int64_t before_ns, before_bound_ns; /* guest minus host at first */
    int64_t stepped_ns;
    bool has_residual;
    int64_t residual_ns, residual_bound_ns; /* and after the last step */
};

/* How many handoffs of guests that arrived here had a note of the checker, since the daemon began.
 */
struct th_status_counts {
    uint64_t handoffs[TH_HANDOFF_VOID + 1]; /* by enum th_handoff_outcome */
    uint64_t arrivals_checked, arrivals_unchecked;
};

/* What the daemon knows and publishes. Arrays are borrowed where a daemon fills it, and the
 * structure's own where it was read. */
struct th_status_host {
    char name[64];
    struct th_sync sync;
    bool has_ntp_servers;
    char ntp_servers[TH_SERVERS_TEXT_SIZE]; /* one blank between two */
    size_t n_alerts;
    struct th_alert *alerts;
    size_t n_handoffs; /* newest first */
    struct th_status_handoff *handoffs;
};

struct th_status {
    int64_t now_real_ns;
    int64_t now_boot_ns;
    const struct th_status_host *host;        /* NULL: no daemon runs */
    const struct th_state_peers *peers;       /* NULL: no peerd runs */
    const struct th_state_override *override; /* NULL: none in force */
    const struct th_status_counts *counts;    /* NULL: not known */
};

/* Writes the file; see state.h for folder, now, refresh_ns and returns. */
int th_status_write(const char *folder, const struct th_status_host *host, const struct th_now *now,
                    int64_t refresh_ns);
/* Reads it, as the reading functions of state.h do. */
int th_status_read(int fd, const struct th_now *now, enum th_state_age age,
                   struct th_status_host *ret_host);
void th_status_host_deinit(struct th_status_host *host);

/* What the record of a handoff leaves behind. */
void th_status_handoff_from(const struct th_handoff_record *record, int64_t now_real_ns,
                            struct th_status_handoff *ret_handoff);

/* Peers that are other hosts: all but this host's own line. */
static inline bool th_status_is_peer(const struct th_state_peer *peer) {
    return !peer->own;
}

#endif
