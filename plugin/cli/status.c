/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff status`: how this host, its peers and its guests' clocks are doing, read from what
 * the daemons have published, so that it needs neither a bus nor privilege nor a network; or the
 * same of another host, over ssh, as systemctl does it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/options.h"
#include "timehandoff/report.h"

static const char usage[] =
    "Usage: timehandoff status [--json] [--host HOST]\n"
    "\n"
    "Shows this host's synchronisation and NTP servers, alerts, an override, the gaps to the\n"
    "peers, and the last handoff of each guest.\n"
    "\n"
    "  --json           print a JSON document\n"
    "  -H, --host HOST  of another host, over ssh; [USER@]HOST as ssh has it\n"
    "\n"
    "Exit status: 0 no alert, 1 alerts are set or timehandoffd does not run, 2 bad input.\n";

struct options {
    bool json;
    const char *host;
};

static int parse_options(int argc, char **argv, struct options *options) {
    const struct th_option known[] = {
        {"json", .flag = &options->json},
        {"host", 'H', .value = &options->host},
    };
    int r = th_options_read(argc, argv, usage, known, TH_ELEMENTS(known), NULL);

    if (r != TH_GO_ON) {
        return r;
    }
    if (optind != argc) {
        return th_usage_error("status", "'%s' is one word too many", argv[optind]);
    }
    /* ssh would take it for an option, and some of its options run programs. */
    if (options->host && (options->host[0] == '-' || options->host[0] == '\0')) {
        return th_usage_error("status", "'%s' is no host", options->host);
    }
    return TH_GO_ON;
}

/* Returns only if it fails. ssh's exit status is that of the command over there. */
static int ask_over_ssh(const struct options *options) {
    execlp("ssh", "ssh", "--", options->host, "timehandoff", "status",
           options->json ? "--json" : (char *)NULL, (char *)NULL);
    fprintf(stderr, "timehandoff: cannot run ssh: %s\n", strerror(errno));
    return TH_EXIT_USAGE;
}

/* The daemon's own file, which everybody may read. */
static bool read_host(struct th_status_host *ret_host, const struct th_now *now) {
    th_auto_close int fd = th_state_open(TH_STATE_FOLDER, TH_STATE_STATUS_FILE);

    return fd >= 0 && th_status_read(fd, now, TH_STATE_FRESH, ret_host) == 0;
}

static int show(const struct options *options) {
    struct th_published_fds fds = th_published_open();
    th_auto_published struct th_published published = {.has_host = false};
    struct th_now now = th_now();
    struct th_status_host host;
    bool has_host = read_host(&host, &now);
    struct th_status status = {.now_real_ns = now.real_ns, .now_boot_ns = now.boot_ns};
    int r = 0;

    th_published_read(&fds, &published);
    status.host = has_host ? &host : NULL;
    status.peers = published.has_peers ? &published.peers : NULL;
    status.override = published.has_override ? &published.override : NULL;
    if (options->json) {
        r = th_report_status_json(&status, stdout);
    } else {
        th_report_status_text(&status, stdout);
    }
    if (r == 0 && (!has_host || host.n_alerts)) {
        r = EXIT_FAILURE;
    }
    if (has_host) {
        th_status_host_deinit(&host);
    }
    return r < 0 ? TH_EXIT_USAGE : r;
}

int th_command_status(int argc, char **argv) {
    struct options options = {.json = false};
    int r = parse_options(argc, argv, &options);

    if (r != TH_GO_ON) {
        return r;
    }
    return options.host ? ask_over_ssh(&options) : show(&options);
}
