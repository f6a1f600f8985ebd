/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The files under /run/timehandoff that the programs use to tell each other what they know. Each is
 * replaced atomically, opens with a [file] section that carries boot id, boot time and refresh
 * interval, so that a reader can tell a stale one, and ends with [end], so that it can tell a whole
 * one; a file that isn't both is as good as none.
 *
 *   host   written by timehandoffd, root:timehandoff 0640 (it holds the domains' keys)
 *   peers  written by timehandoff-peerd, 0644
 *   override  written by `timehandoff override`, 0644
 *   request  written by timehandoffd, 0644: a peer that peerd is to probe now
 */
#ifndef TIMEHANDOFF_STATE_H
#define TIMEHANDOFF_STATE_H

#include <sys/socket.h>

#include "timehandoff/answer.h"
#include "timehandoff/ntp.h"
#include "timehandoff/sync.h"

#define TH_STATE_FOLDER "/run/timehandoff"
#define TH_STATE_HOST_FILE "host"
#define TH_STATE_PEERS_FILE "peers/peers"
#define TH_STATE_OVERRIDE_FILE "override"
#define TH_STATE_REQUEST_FILE "request"
#define TH_STATE_ARRIVALS_FOLDER "arrivals"
#define TH_STATE_LOCKS_FOLDER "locks"

#define TH_STATE_MAX_DOMAINS 16384
#define TH_STATE_MAX_ORIGINS 64  /* hosts that guests came from */
#define TH_STATE_MAX_PEERS 1088  /* as many as can be configured, and those */
#define TH_STATE_MAX_ADDRESSES 4 /* of one peer */
#define TH_STATE_MAX_HISTORY 10  /* gaps of one peer */

/* A host that a guest came from, as its origin stamp named it. */
struct th_state_origin {
    char host[64];
    struct th_uuid uuid;
    size_t n_addresses;
    struct sockaddr_storage addresses[TH_STATE_MAX_ADDRESSES];
};

/* What the daemon knows of this host. */
struct th_state_host {
    struct th_uuid uuid; /* libvirt's; none if not known yet */
    char name[64];
    struct th_sync sync;
    bool ntp_known; /* the time daemon's configuration was read: ntp and its digest count */
    uint8_t ntp_digest[TH_NTP_DIGEST_SIZE]; /* th_ntp_digest() of ntp */
    struct th_ntp_servers ntp;
    bool domains_known; /* libvirt has been asked: absence means inactive */
    struct th_answer_domain *domains;
    size_t n_domains;
    size_t n_origins; /* newest first */
    struct th_state_origin origins[TH_STATE_MAX_ORIGINS];
};

/* A gap as it was measured some time ago. */
struct th_state_gap {
    int64_t offset_ns;
    int64_t bound_ns;
    int64_t at_real_ns;
};

/* What peerd knows of one peer. */
struct th_state_peer {
    char host[256]; /* as configured, with the port where the same host is there twice; of a host
                       that a guest came from, as its stamp says */
    char group[64];
    uint32_t key_id;
    bool own;            /* one of this host's own addresses: not probed */
    bool found_by_stamp; /* not configured: a guest came from there */
    size_t n_addresses;
    struct sockaddr_storage addresses[TH_STATE_MAX_ADDRESSES];
    int64_t probed_boot_ns;   /* when the last probe ended; 0: never probed */
    bool answered;            /* the last probe was answered */
    bool answers_without_key; /* it was not, but a question without the key is */
    bool authenticated;
    struct th_gap gap;    /* peer minus this host, of the last answer */
    int64_t seen_real_ns; /* 0: never */
    bool has_identity;
    struct th_uuid uuid;
    enum th_ternary synchronised;
    uint8_t ntp_digest[16];                 /* of its set of NTP servers; zeros: not known */
    bool has_ntp_servers;                   /* the list of just that digest */
    char ntp_servers[TH_SERVERS_TEXT_SIZE]; /* one blank between two; may be cut */
    size_t n_history;                       /* oldest first, the last one is gap */
    struct th_state_gap history[TH_STATE_MAX_HISTORY];
};

struct th_state_peers {
    struct th_state_peer *peers;
    size_t n_peers;
    int64_t questions[TH_ANSWER_OUTCOMES]; /* that peerd was asked, by what became of them */
};

struct th_state_override {
    int64_t until_real_ns; /* for people; the expiry itself is in boot time */
    int64_t until_boot_ns;
    char source[256]; /* only for this source host; "": for all */
};

/*
 * Writing: a temporary file in the same folder, then rename. folder is TH_STATE_FOLDER or a test's;
 * now stamps the file; refresh_ns is the interval after which a newer one is due, up to a day (0:
 * never stale by age). group is the owner group's id, or -1 to leave it. 0 or negative errno
 * (-E2BIG beyond TH_STATE_MAX_DOMAINS or TH_STATE_MAX_PEERS); the old file stays on failure. Not
 * from two threads of one process at once.
 */
int th_state_host_write(const char *folder, const struct th_state_host *host,
                        const struct th_now *now, int64_t refresh_ns, int group);
int th_state_peers_write(const char *folder, const struct th_state_peers *peers,
                         const struct th_now *now, int64_t refresh_ns);
int th_state_override_write(const char *folder, const struct th_state_override *override,
                            const struct th_now *now);
/* Has peerd probe the peer of that name now. */
int th_state_request_write(const char *folder, const char *peer, const struct th_now *now);
/* Removes an override; 0 also if there was none. */
int th_state_override_clear(const char *folder);

/* How old a file may be. ANY_AGE, within this boot, is for what a process that ended left for the
 * next one. */
enum th_state_age { TH_STATE_FRESH, TH_STATE_ANY_AGE };

/*
 * Reading, in two halves so that a program can open as root and read after it has given root up:
 * open returns a descriptor, or -ENOENT and other negative errno (-ELOOP for a link, -EINVAL for
 * what is no regular file). A read takes the descriptor's content, from its beginning, and leaves
 * it open: 0; -ESTALE if it is of another boot, more than a second from the future, or older than
 * three refreshes where it has to be fresh; -EBADMSG if it is broken or not whole; or another
 * negative errno. Sections and keys that it doesn't know were written by a newer program and are
 * ignored. All content is checked as untrusted. deinit frees what a read filled; it takes NULL.
 */
int th_state_open(const char *folder, const char *file);
int th_state_host_read(int fd, const struct th_now *now, enum th_state_age age,
                       struct th_state_host *ret_host);
int th_state_peers_read(int fd, const struct th_now *now, enum th_state_age age,
                        struct th_state_peers *ret_peers);
/* -ESTALE also once it has run out. */
int th_state_override_read(int fd, const struct th_now *now,
                           struct th_state_override *ret_override);
/* ret_peer holds 256 bytes. */
int th_state_request_read(int fd, const struct th_now *now, char *ret_peer);
void th_state_host_deinit(struct th_state_host *host); /* wipes keys */
void th_state_peers_deinit(struct th_state_peers *peers);

#endif
