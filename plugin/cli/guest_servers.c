/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The NTP servers that guests are told to use, and whether it is wise just now: a host that is not
 * synchronised itself says so before it tells others. Nothing is asked over the network.
 */
#include <stdio.h>
#include <string.h>

#include "cli/guest.h"

/* A wrong host gives its guests a wrong clock, whatever their configuration says. */
static void warn_unsynchronised(void) {
    struct th_published_fds fds = th_published_open();
    th_auto_published struct th_published published = {.has_host = false};

    th_published_read(&fds, &published);
    if (!published.has_host) {
        fprintf(stderr, "timehandoff: warning: whether this host is synchronised is not known: "
                        "timehandoffd does not run here, or you may not read what it says\n");
    } else if (published.host.sync.synchronised != TH_YES) {
        fprintf(stderr,
                "timehandoff: warning: this host is not known to be synchronised (%s); put it "
                "right first: guests get their time from it\n",
                published.host.sync.reason);
    }
}

/* The organisation's list, unless the command line has one. */
static bool choose(const struct th_guest_options *options, struct th_ntp_servers *ret_servers) {
    th_auto_setup struct th_setup setup = {.config = NULL};
    const struct th_ntp_servers *chosen = &options->servers;
    int r;

    if (chosen->n == 0) {
        if (!th_setup_load(&setup)) {
            return false;
        }
        chosen = &setup.config->ntp;
    }
    r = th_ntp_servers_dup(chosen, ret_servers);
    if (r < 0) {
        fprintf(stderr, "timehandoff: %s\n", strerror(-r));
    }
    return r == 0;
}

bool th_guest_servers(const struct th_guest_options *options, struct th_ntp_servers *ret_servers) {
    if (!choose(options, ret_servers)) {
        return false;
    }
    if (ret_servers->n == 0) {
        th_usage_error("guest", "there are no NTP servers to tell guests: set 'server' under "
                                "[ntp] in timehandoff.conf, or give --server");
        return false;
    }
    warn_unsynchronised();
    return true;
}
