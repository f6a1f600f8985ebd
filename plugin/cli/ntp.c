/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff ntp`: which NTP servers this host has, whether they are the organisation's, and
 * making them so. The list is kept once, under [ntp] in the configuration; what differs between
 * time daemons is settled below here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/ntp.h"
#include "cli/options.h"

static const char usage[] =
    "Usage: timehandoff ntp show [--json]\n"
    "       timehandoff ntp export\n"
    "       timehandoff ntp check [--json]\n"
    "       timehandoff ntp apply [--dry-run]\n"
    "\n"
    "The NTP servers of this host, and the organisation's list: [ntp] in timehandoff.conf(5).\n"
    "\n"
    "  show       what the time daemon is configured with, where, and what it has in use\n"
    "  export     this host's servers as a section [ntp], for use on other hosts\n"
    "  check      compare this host with the list\n"
    "  apply      write the list into the time daemon's configuration and have it read it\n"
    "\n"
    "  --json     print a JSON document\n"
    "  --dry-run  print the change and make none\n"
    "\n"
    "Exit status: 0; 1 check: this host differs, apply: not done, or not in use yet; 2 bad "
    "input.\n";

enum action { SHOW, EXPORT, CHECK, APPLY, ACTIONS };

static const char *const action_names[ACTIONS] = {"show", "export", "check", "apply"};

struct options {
    bool json, dry_run;
    enum action action;
};

static int parse_action(const char *word, enum action *ret_action) {
    char clean[64];

    for (enum action action = SHOW; action < ACTIONS; action++) {
        if (strcmp(action_names[action], word) == 0) {
            *ret_action = action;
            return TH_GO_ON;
        }
    }
    return th_usage_error("ntp", "'%s' is not show, export, check or apply",
                          th_text_clean(word, clean, sizeof(clean)));
}

static int parse_options(int argc, char **argv, struct options *options) {
    const struct th_option known[] = {
        {"json", .flag = &options->json},
        {"dry-run", .flag = &options->dry_run},
    };
    int r = th_options_read(argc, argv, usage, known, TH_ELEMENTS(known), NULL);

    if (r == TH_GO_ON && optind + 1 != argc) {
        r = th_usage_error("ntp", "say one of show, export, check and apply");
    }
    if (r == TH_GO_ON) {
        r = parse_action(argv[optind], &options->action);
    }
    if (r == TH_GO_ON && options->json && options->action != SHOW && options->action != CHECK) {
        r = th_usage_error("ntp", "--json goes with show and check");
    }
    if (r == TH_GO_ON && options->dry_run && options->action != APPLY) {
        r = th_usage_error("ntp", "--dry-run goes with apply");
    }
    return r;
}

static int show(const struct options *options, const struct th_ntp_status *status) {
    if (options->json) {
        return th_ntp_show_json(status, stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    th_ntp_show_text(status, stdout);
    return EXIT_SUCCESS;
}

static int check(const struct options *options, const struct th_ntp_status *status,
                 const struct th_ntp_servers *wanted) {
    th_auto_ntp_findings struct th_ntp_findings findings = {.n = 0};

    if (th_ntp_check(wanted, status, &findings) < 0 ||
        (options->json && th_ntp_check_json(&findings, stdout) < 0)) {
        fprintf(stderr, "timehandoff: out of memory\n");
        return EXIT_FAILURE;
    }
    if (!options->json) {
        th_ntp_check_text(&findings, wanted, stdout);
    }
    return findings.differs ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(const struct options *options, const struct th_ntp_servers *wanted) {
    th_auto_ntp_status struct th_ntp_status status = {.running = false};
    int r = th_ntp_read("", TH_NTP_ASK_NS, &status);

    if (r < 0) {
        fprintf(stderr, "timehandoff: cannot read the time daemon's configuration: %s\n",
                strerror(-r));
        return EXIT_FAILURE;
    }
    switch (options->action) {
    case SHOW: return show(options, &status);
    case CHECK: return check(options, &status, wanted);
    case APPLY: return th_ntp_apply(&status, wanted, options->dry_run);
    case EXPORT:
    case ACTIONS: break;
    }
    th_ntp_export(&status, stdout);
    return EXIT_SUCCESS;
}

int th_command_ntp(int argc, char **argv) {
    th_auto_setup struct th_setup setup = {.config = NULL};
    struct options options = {.json = false};
    int r = parse_options(argc, argv, &options);

    if (r != TH_GO_ON) {
        return r;
    }
    return th_setup_load(&setup) ? run(&options, &setup.config->ntp) : TH_EXIT_USAGE;
}
