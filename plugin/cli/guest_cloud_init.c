/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff guest cloud-init`: vendor data with the NTP servers. cloud-init takes the first NTP
 * client of its own list that the image has, and is told to install nothing, because what an
 * operator adds to all guests must not change their packages. What a user says in user data wins.
 */
#include <stdio.h>
#include <stdlib.h>

#include "cli/guest.h"

static const char head[] =
    "#cloud-config\n"
    "# NTP servers for guests, as vendor data for cloud-init. What user data says under 'ntp'\n"
    "# wins over it. Of the NTP clients that cloud-init knows, the first one in the image is\n"
    "# configured; 'packages: []' keeps it from installing another. In an image without any,\n"
    "# its module 'ntp' fails and says so: install one, or take the last two lines out.\n"
    "ntp:\n"
    "  enabled: true\n"
    "  ntp_client: auto\n";

static const char tail[] = "  config:\n"
                           "    packages: []\n";

static void print_list(const struct th_ntp_servers *servers, enum th_ntp_kind kind,
                       const char *heading) {
    bool any = false;

    for (size_t i = 0; i < servers->n; i++) {
        if (servers->servers[i].kind == kind) {
            /* Only letters, digits and ".-:" are in a name. */
            printf("%s    - \"%s\"\n", any ? "" : heading, servers->servers[i].name);
            any = true;
        }
    }
}

int th_guest_cloud_init(const struct th_guest_options *options) {
    th_auto_ntp_servers struct th_ntp_servers servers = {.n = 0};

    if (!th_guest_servers(options, &servers)) {
        return TH_EXIT_USAGE;
    }
    fputs(head, stdout);
    print_list(&servers, TH_NTP_SERVER, "  servers:\n");
    print_list(&servers, TH_NTP_POOL, "  pools:\n");
    fputs(tail, stdout);
    return EXIT_SUCCESS;
}
