/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of watched peers and the parts of the watch that work on it. All of it belongs to the
 * watch's own thread once that runs.
 */
#ifndef TH_PEERD_WATCH_PRIVATE_H
#define TH_PEERD_WATCH_PRIVATE_H

#include "timehandoff/config.h"
#include "timehandoff/key.h"
#include "timehandoff/state.h"

/* Probes in flight at once. */
#define TH_WATCH_BATCH 64

/* What the table knows of a peer beside what is published; 0: never, at once. */
struct th_watch_slot {
    const struct th_config_peer *config; /* NULL: found by a stamp */
    int64_t due_mono_ns;                 /* its next probe */
    int64_t resolved_mono_ns;
    bool probed;      /* since this program started */
    unsigned address; /* which one is asked: another one after a silence */
};

struct th_watch_table {
    const struct th_config *config;
    const struct th_keyring *keys;
    struct th_state_peers known;   /* configured ones, then those found by stamps */
    struct th_watch_slot *slots;   /* parallel to known.peers */
    struct timespec stamps_change; /* of the daemon's file, when stamps were taken from it */
    uint8_t own_digest[16];        /* this host's NTP servers, from the same file */
    char own_servers[TH_SERVERS_TEXT_SIZE];
    struct th_uuid own_uuid; /* from there, too; none: not known */
};

/* Fills in the configured peers, and what the peerd before us knew of them. 0 or -ENOMEM. */
int th_watch_table_init(struct th_watch_table *table, const struct th_config *config,
                        const struct th_keyring *keys);
void th_watch_table_deinit(struct th_watch_table *table);
/* Takes the hosts that guests came from out of the daemon's file, if that has changed. */
void th_watch_table_take_stamps(struct th_watch_table *table);
/* Looks the peer's addresses up if it is time to; may block as long as a name server takes. */
void th_watch_table_resolve(struct th_watch_table *table, size_t index, int64_t mono_ns);

/* Probes the n peers (at most TH_WATCH_BATCH) at these places side by side, and takes the results
 * into the table. 0 or negative errno. */
int th_watch_probe(struct th_watch_table *table, const size_t *places, size_t n);

#endif
