/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration: one structure, read whole from /etc/timehandoff/timehandoff.conf and
 * the .conf files in conf.d beside it (in byte order of their names; later values win, lists add
 * up), complete with defaults when there is no file at all.
 *
 * The files are INI: [section], key = value, comments on lines that begin with # or ;. Durations
 * carry units, truth is yes or no. Unknown sections and keys, bad values, a key set twice in one
 * file and lines that the INI library would cut (200 bytes in Debian's) are errors.
 */
#ifndef TIMEHANDOFF_CONFIG_H
#define TIMEHANDOFF_CONFIG_H

#include "timehandoff/answer.h"
#include "timehandoff/domain.h"
#include "timehandoff/ntp.h"
#include "timehandoff/verdict.h"

#define TH_CONFIG_FOLDER "/etc/timehandoff"
#define TH_CONFIG_MAX_PEERS 1024

/* A host to watch and to ask for domains: "hv2", "10.0.0.2:10123 group=rack1 key=7", "[fd00::2]".
 */
struct th_config_peer {
    char *host;      /* name or numeric address, without port and brackets */
    unsigned port;   /* [probe] port if the line names none */
    char *group;     /* "" if none; letters, digits, and - . _ */
    uint32_t key_id; /* 0: the first key of the key file, if any */
};

/* [domain UUID-or-glob]: what reads as a UUID is one; else a glob (* and ?), matched against the
 * name. A section that a later file repeats adds to the earlier one and counts as the later. */
struct th_config_domain {
    char *pattern;
    struct th_domain_policy policy;
};

struct th_config {
    struct th_verdict_policy verdict; /* [gap] */
    bool report_only;                 /* [gap] mode = enforce or report; default: enforce */

    unsigned port;      /* [probe] port: of hosts that don't name one; default 10123 */
    unsigned questions; /* [probe] questions, 1..8; default 8 */
    int64_t timeout_ns; /* [probe] timeout: one measurement, 1 ms..10 s; default 300 ms */
    bool kernel_stamps; /* [probe] kernel-stamps; default yes */

    bool answer;                /* [responder] enabled; default yes */
    unsigned listen_port;       /* [responder] port; default 10123 */
    bool require_key;           /* [responder] require-key; default no */
    struct th_network *allowed; /* [responder] allow, repeats; default: private, link-local and
                                   loopback ranges of IPv4 and IPv6 */
    size_t n_allowed;
    bool allow_own_networks; /* also the networks of the host's own interfaces; yes unless allow is
                                set */
    char **announce;         /* [responder] announce, repeats, at most TH_ORIGIN_MAX_ADDRESSES:
                                "ADDRESS" or "ADDRESS:PORT" to put into stamps; none: all */
    size_t n_announce;

    enum th_handoff_mode handoff;  /* [handoff] mode; default step */
    bool backward;                 /* [handoff] backward; default no */
    int64_t deadband_ns;           /* [handoff] deadband, up to 1 h; default 20 ms */
    int64_t target_ns;             /* [handoff] target, 1 us..1 s; default 1 ms */
    int64_t max_step_migration_ns; /* [handoff] max-step-migration; default 1 h; none: -1 */
    int64_t max_step_unpause_ns;   /* [handoff] max-step-unpause; default 1 h; none: -1 */
    int64_t agent_timeout_ns;      /* [handoff] agent-timeout, 1 s..1 h; default 30 s */
    int64_t give_up_ns;    /* [handoff] give-up: without an agent, 1 s..1 d; default 5 min */
    int64_t recheck_ns[2]; /* [handoff] recheck-first, recheck-second, 1 s..1 d, the second
                              later; default 10 s, 60 s; off: 0 */

    struct th_config_peer *peers; /* [peers] peer, repeats: each host and port once */
    size_t n_peers;
    int64_t peer_interval_ns; /* [peers] interval, 1 s..1 d; default 60 s */

    bool alerts;          /* [alert] enabled; default yes */
    int64_t alert_gap_ns; /* [alert] gap, 1 us..365 d; default 50 ms */
    char *textfile;       /* [alert] textfile, absolute: metrics for Prometheus; NULL: none */

    struct th_ntp_servers ntp; /* [ntp] server and pool, repeat: the organisation's list, each name
                                  once, in its order; where is "" */

    char *libvirt_uri;           /* [libvirt] uri; default qemu:///system */
    char *libvirt_user;          /* [libvirt] user; NULL: none */
    char *libvirt_password_file; /* [libvirt] password-file, absolute; NULL: none */

    struct th_config_domain *domains;
    size_t n_domains;
};

/*
 * Reads the configuration below folder (TH_CONFIG_FOLDER in every program; tests name another).
 * Returns 0; -EBADMSG with one line "FILE:LINE: [section] key: what is wrong; what would be right"
 * in ret_error ("FOLDER: [section] key: ..." where the fault lies between files: warn over block);
 * or another negative errno, "FILE: ..." there. Nothing is half-applied.
 */
int th_config_load(const char *folder, struct th_config **ret_config, char *ret_error,
                   size_t error_size);
struct th_config *th_config_free(struct th_config *config);

/*
 * The policy for one domain, with nothing left unsaid: the configuration's general values, then the
 * one matching [domain] section (a UUID wins over globs; among globs the last), then what its
 * metadata says. A warn that ends up over block is lowered to it. uuid, name and xml_policy may be
 * NULL.
 */
struct th_domain_policy th_config_domain_policy(const struct th_config *config,
                                                const struct th_uuid *uuid, const char *name,
                                                const struct th_domain_policy *xml_policy);

/* Who said what is to be done with a domain's clock. */
enum th_policy_from {
    TH_POLICY_FROM_HANDOFF = 1, /* [handoff] mode, or its default */
    TH_POLICY_FROM_DOMAIN,      /* a [domain] section */
    TH_POLICY_FROM_METADATA,
};

/* "handoff", "domain", "metadata". Never NULL. */
const char *th_policy_from_name(enum th_policy_from from);
/* Where the handoff mode of th_config_domain_policy() comes from; the same arguments. */
enum th_policy_from th_config_domain_handoff_from(const struct th_config *config,
                                                  const struct th_uuid *uuid, const char *name,
                                                  const struct th_domain_policy *xml_policy);

#endif
