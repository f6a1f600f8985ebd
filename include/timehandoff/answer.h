/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Answering other hosts' questions: bytes in, a packet out or a reason for silence. Pure, so that
 * every hostile packet can be a test. An answer is never longer than its question; what is not a
 * proper mode 3 question, comes from outside the allow-list, or carries a MAC that is not right,
 * gets no answer at all.
 */
#ifndef TIMEHANDOFF_ANSWER_H
#define TIMEHANDOFF_ANSWER_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "timehandoff/packet.h"

/* An IPv4 or IPv6 network. IPv4 is held as IPv4-mapped IPv6, prefix counted in those 128 bits. */
struct th_network {
    struct in6_addr address;
    unsigned prefix; /* 0..128 */
};

/* Reads "10.0.0.0/8", "2001:db8::/32", or an address alone; bits behind the prefix are cleared. 0
 * or -EINVAL. */
int th_network_parse(const char *text, struct th_network *ret_network);
/* Whether the address (AF_INET or AF_INET6; others never do) lies in the network. IPv4 addresses
 * lie in IPv4 networks only: not even ::/0 holds one. */
bool th_network_holds(const struct th_network *network, const struct sockaddr *address);

/* A domain of this host, as the daemon published it. */
struct th_answer_domain {
    struct th_uuid uuid;
    enum th_domain_state state;
    struct th_key key; /* key.id 0: none */
    bool due;          /* the daemon's note to itself: its handoff has not ended, or waits */
};

/* Everything peerd knows when a question comes. All pointers are borrowed. */
struct th_answer_context {
    const struct th_network *allowed;
    size_t n_allowed;
    const struct th_keyring *keys;  /* NULL or empty: no configured keys */
    bool require_key;               /* silence for questions without a MAC */
    const struct th_network *peers; /* addresses of configured peers */
    size_t n_peers;
    const struct th_answer_domain *domains;
    size_t n_domains;
    bool
        domains_known; /* the daemon's state is fresh: a domain not in it is inactive here. If not,
                          every state is unknown, but the domains' keys still prove what they did */
    struct th_uuid host;
    enum th_ternary synchronised;
    unsigned stratum; /* of this host; 0: not known, told as 15 */
    uint32_t root_delay, root_dispersion, slew_ppm;
    uint8_t ntp_digest[16];
    const char *ntp_servers; /* one blank between two; NULL: not known */
    int precision;           /* log2 s of this host's clock reading */
};

/* Why there was no answer: for counters, not for the asker. */
enum th_answer_outcome {
    TH_ANSWER_SEND = 0,
    TH_ANSWER_MALFORMED = 1,
    TH_ANSWER_NOT_A_QUESTION, /* mode other than 3, zero transmit field, or source port 0 */
    TH_ANSWER_NOT_ALLOWED,
    TH_ANSWER_NO_KEY,  /* require_key, and none was used */
    TH_ANSWER_BAD_KEY, /* unknown id or wrong MAC */
    TH_ANSWER_OUTCOMES
};

/* "answered", "malformed", … Never NULL. */
const char *th_answer_outcome_name(enum th_answer_outcome outcome);

/*
 * Decides on one datagram. from is where it came from; receive_stamp is this host's clock when it
 * had arrived. On TH_ANSWER_SEND, ret_packet lacks only the transmit field, and ret_key is the key
 * to answer under (NULL: none; points into the context). The caller reads its clock, sets transmit
 * and encodes; the result is never longer than the question, has its version, and has a MAC if that
 * had one. Otherwise both are untouched.
 *
 * The identity in an answer is filled only for who proves the asked domain's key, a configured key,
 * or, where no keys are configured, asks from a configured peer's address. Others who send one get
 * a plain answer. The same holds for the list of NTP servers, which no domain's key opens. A
 * domain's key opens only that domain's identity. Asked about no domain (a UUID
 * of zeros), the identity tells of the host alone.
 *
 * A host that is not known to be synchronised says so by leap 3 and stratum 16: other NTP clients
 * then refuse its time, ours still measures the gap.
 */
enum th_answer_outcome th_answer_decide(const struct th_answer_context *context,
                                        const uint8_t *bytes, size_t size,
                                        const struct sockaddr *from, th_ntp64 receive_stamp,
                                        struct th_packet *ret_packet,
                                        const struct th_key **ret_key);

#endif
