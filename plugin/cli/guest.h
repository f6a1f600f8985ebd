/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff guest` and its four words, each in a file of its own: what they share.
 */
#ifndef TH_CLI_GUEST_H
#define TH_CLI_GUEST_H

#include "cli/command.h"
#include "timehandoff/ntp.h"

struct th_guest_options {
    bool json;
    struct th_ntp_servers servers; /* given by --server */
    const char *target;            /* domain, file or "-"; NULL: none */
};

/* Each returns an exit status. */
int th_guest_lint(const struct th_guest_options *options);
int th_guest_cloud_init(const struct th_guest_options *options);
int th_guest_dhcp(const struct th_guest_options *options);
int th_guest_ptp(const struct th_guest_options *options);

/*
 * The servers that guests are to use: those of --server, else the organisation's list. Complains on
 * stderr and returns false if there are none or the configuration is broken. Warns there if this
 * host is not known to be synchronised: a guest fed like it would be wrong too.
 */
bool th_guest_servers(const struct th_guest_options *options, struct th_ntp_servers *ret_servers);

#endif
