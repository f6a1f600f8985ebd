/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff`: a table of commands, nothing else. Each command reads its own options, since the
 * checker's arguments come from libvirt and must never be taken for options.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build-config.h"
#include "cli/command.h"

static const char usage[] =
    "Usage: timehandoff COMMAND [OPTIONS]\n"
    "\n"
    "Keeps guest clocks right across live migration, restore and resume.\n"
    "\n"
    "  dry-run    what would happen to a migration, to this host or from it; touches nothing\n"
    "  measure    the gap to one host: offset \u00b1 bound\n"
    "  sync       hand the host's time to one guest now, verified\n"
    "  ntp        this host's NTP servers: show, export, check, apply\n"
    "  override   let migrations through for a while\n"
    "  status     this host's clock, its peers and their gaps, alerts, last handoffs\n"
    "  history    past verdicts and handoffs\n"
    "  guest      what can be done for guests' time beforehand\n"
    "  hook       the checker that the libvirt hook runs; not for people\n"
    "\n"
    "'timehandoff COMMAND --help' tells more; so do timehandoff(1) and timehandoff.conf(5).\n";

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"hook", th_command_hook},         {"status", th_command_status},
    {"dry-run", th_command_dry_run},   {"measure", th_command_measure},
    {"guest", th_command_guest},       {"sync", th_command_sync},
    {"override", th_command_override}, {"history", th_command_history},
    {"ntp", th_command_ntp},
};

int main(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : NULL;
    char title[64];

    if (!name) {
        fputs(usage, stderr);
        return TH_EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    }
    if (strcmp(name, "--version") == 0) {
        printf("timehandoff %s\n", TH_VERSION);
        return EXIT_SUCCESS;
    }
    for (size_t i = 0; i < TH_ELEMENTS(commands); i++) {
        if (strcmp(name, commands[i].name) == 0) {
            /* What getopt begins its complaints with. */
            snprintf(title, sizeof(title), "timehandoff %s", name);
            argv[1] = title;
            return commands[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "timehandoff: no command '%s'; see 'timehandoff --help'\n",
            th_text_clean(name, title, sizeof(title)));
    return TH_EXIT_USAGE;
}
