/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff guest`: what can be done for a guest's time before anything happens to it. This file
 * reads the options, which the four words share, and hands over; nothing on this host or in a guest
 * is changed by any of them.
 */
#include "cli/guest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/options.h"

static const char usage[] =
    "Usage: timehandoff guest lint [--json] DOMAIN | FILE | -\n"
    "       timehandoff guest cloud-init [--server NAME]...\n"
    "       timehandoff guest dhcp [--server NAME]... [FILE | -]\n"
    "       timehandoff guest ptp [--server NAME]...\n"
    "\n"
    "Looks after guests' time from outside. Changes nothing: the result is printed.\n"
    "\n"
    "  lint           says what will go wrong with a guest's time, and the XML line to add\n"
    "  cloud-init     vendor data that gives guests the NTP servers\n"
    "  dhcp           a libvirt network's XML, with the NTP servers for its DHCP to hand out\n"
    "  ptp            a script for Linux guests that lets chrony read the host's clock\n"
    "\n"
    "  --json         print a JSON document\n"
    "  --server NAME  use this NTP server; may be repeated; default: [ntp] of the\n"
    "                 configuration\n"
    "\n"
    "Exit status: 0 done, 1 lint found errors or warnings, 2 bad input.\n";

static const struct {
    const char *name;
    int (*run)(const struct th_guest_options *options);
    bool takes_json, takes_servers, takes_target, needs_target;
} words[] = {
    {"lint", th_guest_lint, true, false, true, true},
    {"cloud-init", th_guest_cloud_init, false, true, false, false},
    {"dhcp", th_guest_dhcp, false, true, true, false},
    {"ptp", th_guest_ptp, false, true, false, false},
};

static int take_server(void *userdata, const char *value) {
    struct th_guest_options *options = userdata;
    char shown[TH_NTP_NAME_SIZE];
    int r;

    if (!th_ntp_name_is_good(value)) {
        return th_usage_error("guest", "'%s' is no host name and no address",
                              th_text_clean(value, shown, sizeof(shown)));
    }
    if (th_ntp_servers_find(&options->servers, value)) {
        return TH_GO_ON;
    }
    r = th_ntp_servers_add(&options->servers, TH_NTP_SERVER, value, "");
    return r < 0 ? th_usage_error("guest", "%s", strerror(-r)) : TH_GO_ON;
}

/* The word's row in the table, or TH_ELEMENTS(words). */
static size_t find(const char *word) {
    size_t i = 0;

    while (i < TH_ELEMENTS(words) && (!word || strcmp(words[i].name, word) != 0)) {
        i++;
    }
    return i;
}

static int run(int argc, char **argv, struct th_guest_options *options) {
    const char *word = optind < argc ? argv[optind++] : NULL;
    size_t i = find(word);

    if (i == TH_ELEMENTS(words)) {
        return th_usage_error("guest", "say lint, cloud-init, dhcp or ptp");
    }
    if (optind < argc && words[i].takes_target) {
        options->target = argv[optind++];
    }
    if (optind < argc) {
        return th_usage_error("guest", "%s: one word too many", word);
    }
    if (words[i].needs_target && !options->target) {
        return th_usage_error("guest", "%s: name a domain, a file or '-'", word);
    }
    if (options->json && !words[i].takes_json) {
        return th_usage_error("guest", "%s has no --json", word);
    }
    if (options->servers.n > 0 && !words[i].takes_servers) {
        return th_usage_error("guest", "%s has no --server", word);
    }
    return words[i].run(options);
}

int th_command_guest(int argc, char **argv) {
    struct th_guest_options options = {.json = false};
    const struct th_option known[] = {
        {"json", .flag = &options.json},
        {"server", .take = take_server},
    };
    int r = th_options_read(argc, argv, usage, known, TH_ELEMENTS(known), &options);

    if (r == TH_GO_ON) {
        r = run(argc, argv, &options);
    }
    th_ntp_servers_deinit(&options.servers);
    return r;
}
