/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The whole check of one migration, as the checker and the dry run share it: domain XML in, source
 * found, gap measured, verdict made, override and report mode applied.
 */
#ifndef TIMEHANDOFF_CHECK_H
#define TIMEHANDOFF_CHECK_H

#include "timehandoff/source.h"

/* The checker's whole time, from its start; the guard's own deadline lies behind it. */
#define TH_CHECK_BUDGET_NS (1000 * TH_NS_PER_MS)

struct th_check_input {
    const struct th_config *config;
    const struct th_keyring *keys;            /* NULL: none */
    const struct th_state_host *host;         /* NULL: not fresh or not there */
    const struct th_state_peers *peers;       /* NULL: the same */
    const struct th_state_override *override; /* NULL: none in force */
    const char *name; /* the domain's name, for people; NULL: from the XML */
    const char *xml;  /* NULL: nothing known of the domain */
    size_t xml_size;
    const struct sockaddr_storage *given; /* --source, or --to if outgoing; NULL: find out */
    const char *given_name;
    uint32_t given_key_id; /* 0: the first key of the ring, if any */
    bool outgoing;         /* this host is the source; given is the destination */
    bool offline;          /* outgoing: the domain is known not to run */
    int64_t deadline_mono_ns;
};

struct th_check {
    char name[256];
    struct th_uuid uuid;
    bool has_domain;                 /* the XML could be read */
    char xml_error[160];             /* why not; "" */
    struct th_domain domain;         /* with has_domain; its keys are wiped */
    struct th_verdict_policy policy; /* the limits that applied to this domain */
    struct th_domain_policy handoff; /* what would be done with the guest afterwards */
    bool outgoing;                   /* seen from the source: this host is it */
    struct th_source source; /* the other host: the source, or, if outgoing, the destination; its
                                gap is source minus destination in both cases */
    enum th_ternary source_synchronised;
    enum th_ternary destination_synchronised;
    enum th_sync_from sync_from; /* who says so of this host */
    char sync_reason[128];
    char this_host[64];
    struct th_uuid this_uuid;
    struct th_verdict verdict; /* what holds */
    struct th_verdict would;   /* before override and report mode */
    bool report_only;
    bool overridden;
    int64_t took_ns;
};

/* Runs it; blocks at most until the deadline. 0 or negative errno. */
int th_check_run(const struct th_check_input *input, struct th_check *ret_check);

/* What tells whether the other host is synchronised: "identity" (the host itself), "ntp" (the leap
 * indicator of a plain answer), "none". Never NULL. */
const char *th_check_told_by_name(const struct th_check *check);

#define TH_CHECK_NTP_SIZE 400

/*
 * Whether the two hosts have different NTP servers, judged and worded as the alert ntp-differs: by
 * what the other host said in the check, and the names that peers told. ret_reason holds
 * TH_CHECK_NTP_SIZE bytes; host and peers as in the check's input.
 */
enum th_ternary th_check_ntp_differs(const struct th_check *check, const struct th_state_host *host,
                                     const struct th_state_peers *peers, char *ret_reason);

#endif
