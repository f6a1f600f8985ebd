/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Finding out which host a guest comes from, and measuring the gap to it in the same breath: the
 * answer that proves who runs the domain is the answer that is measured.
 *
 * In this order: a host named by a person; the origin stamp in the domain's XML; the configured
 * peers. A stamp is only a hint of whom to ask: it counts when an answer comes under the stamp's
 * key, from the stamp's host UUID, and says that the domain runs or is paused there. No name is
 * resolved.
 */
#ifndef TIMEHANDOFF_SOURCE_H
#define TIMEHANDOFF_SOURCE_H

#include "timehandoff/config.h"
#include "timehandoff/probe.h"
#include "timehandoff/state.h"

#define TH_SOURCE_MAX_PEERS 64

/* How the source was found: fixed names in text, JSON and journal. */
enum th_source_how {
    TH_SOURCE_BY_NOTHING = 0,
    TH_SOURCE_BY_REQUEST, /* --source */
    TH_SOURCE_BY_STAMP,
    TH_SOURCE_BY_PEERS,
    TH_SOURCE_BY_BEING_HERE, /* --to: it is this host */
};

/* "none", "request", "stamp", "peers", "this-host". Never NULL. */
const char *th_source_how_name(enum th_source_how how);

/* What became of the origin stamp. */
enum th_stamp_state {
    TH_STAMP_ABSENT = 0,
    TH_STAMP_USED,
    TH_STAMP_NAMES_US,   /* it names this very host */
    TH_STAMP_STALE,      /* its host says that the domain does not run there, or does not know */
    TH_STAMP_SILENT,     /* nobody answered under its key */
    TH_STAMP_OTHER_HOST, /* an answer under its key, but from another host UUID */
    TH_STAMP_INCOMPLETE, /* no key, address or host UUID in it */
};

/* "absent", "used", "names-us", …. Never NULL. */
const char *th_stamp_state_name(enum th_stamp_state state);

struct th_source_request {
    const struct th_config *config;
    const struct th_keyring *keys;        /* NULL: none */
    const struct th_domain *domain;       /* NULL: nothing known of the domain */
    const struct th_state_peers *peers;   /* NULL: none known */
    struct th_uuid this_host;             /* none: not known */
    const struct sockaddr_storage *given; /* --source: measured, nothing else tried; NULL: none */
    const char *given_name;
    uint32_t given_key_id;    /* 0: the first key of the ring, if any */
    int64_t deadline_mono_ns; /* be done by then */
};

struct th_source {
    enum th_source_state state;
    enum th_source_how how;
    enum th_stamp_state stamp;
    char host[256];                  /* name for people; "" if unknown */
    struct th_uuid uuid;             /* none: not known */
    struct sockaddr_storage address; /* ss_family 0: none */
    struct th_probe_result probe;    /* with TH_SOURCE_MEASURED */
    bool key_expected;
    bool authenticated;
    unsigned peers_asked, peers_running, peers_inactive;
};

/* Finds and measures. Blocks until done or the deadline. Returns 0 or negative errno (no socket, no
 * memory); every outcome about the source is in ret_source->state. */
int th_source_find(const struct th_source_request *request, struct th_source *ret_source);

/*
 * Measures one address: with key and identity; if nothing answers, without the key; if still
 * nothing, plainly, as servers that are not ours want it. ret_authenticated tells whether the
 * answers came under the key. Blocks. 0 or negative errno.
 */
int th_source_measure(const struct th_source_request *request,
                      const struct sockaddr_storage *address, const struct th_key *key,
                      struct th_probe_result *ret_result);

#endif
