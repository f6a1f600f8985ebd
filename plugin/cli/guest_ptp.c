/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff guest ptp`: a script for Linux guests that lets their chrony read this host's clock
 * through ptp_kvm, with the NTP servers beside it. The caveats are in the configuration itself,
 * where whoever wonders about the guest's clock will look. Whether this host can serve ptp_kvm at
 * all is looked at here and said on stderr, since the host that runs this need not be the one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/guest.h"

#define CLOCKSOURCE "/sys/devices/system/clocksource/clocksource0/current_clocksource"

/* As many as can outvote one wrong clock. */
#define ENOUGH_SERVERS 3

static const char head[] =
    "#!/bin/sh\n"
    "# Run this as root in a Linux guest that has chrony. It writes three files, and one line\n"
    "# into a chrony.conf that reads no folder; nothing is loaded or started. For that, restart\n"
    "# the guest, or run: udevadm control --reload; modprobe ptp_kvm; systemctl restart chrony\n"
    "# (chronyd on some systems). With DESTDIR set, the files go into an image mounted there.\n"
    "set -eu\n"
    "root=${DESTDIR:-}\n"
    "\n"
    "mkdir -p \"$root/etc/modules-load.d\" \"$root/etc/udev/rules.d\"\n"
    "cat >\"$root/etc/modules-load.d/ptp_kvm.conf\" <<'END'\n"
    "ptp_kvm\n"
    "END\n"
    "\n"
    "# /dev/ptp0 may be a network card's clock; this name is ptp_kvm's only.\n"
    "cat >\"$root/etc/udev/rules.d/60-ptp-kvm.rules\" <<'END'\n"
    "SUBSYSTEM==\"ptp\", ATTR{clock_name}==\"KVM virtual PTP\", SYMLINK+=\"ptp_kvm\"\n"
    "END\n"
    "\n"
    "# Debian and its kin read conf.d; elsewhere chrony.conf has to be told.\n"
    "if [ -d \"$root/etc/chrony/conf.d\" ]; then\n"
    "    folder=$root/etc/chrony/conf.d\n"
    "else\n"
    "    folder=$root/etc/chrony.d\n"
    "    mkdir -p \"$folder\"\n"
    "    if [ -f \"$root/etc/chrony.conf\" ] &&\n"
    "        ! grep -q '^confdir /etc/chrony.d' \"$root/etc/chrony.conf\"; then\n"
    "        echo 'confdir /etc/chrony.d' >>\"$root/etc/chrony.conf\"\n"
    "    fi\n"
    "fi\n"
    "cat >\"$folder/timehandoff-ptp.conf\" <<'END'\n"
    "# The clock of the host that this guest runs on, read through ptp_kvm. It is CLOCK_REALTIME\n"
    "# there: as right or wrong as that host, and after a live migration at once the other "
    "host's.\n"
    "# It does not work where kvmclock is turned off or KVM is hidden from the guest, and on x86\n"
    "# the host must run on the tsc clocksource. If the device is missing chronyd does not start.\n"
    "refclock PHC /dev/ptp_kvm poll 2 dpoll -2 offset 0 refid KVM stratum 2\n"
    "\n"
    "# Servers beside it, and no 'prefer' or 'trust' above: three of them outvote a wrong host.\n";

static const char tail[] =
    "\n"
    "# The clock is late after a pause or a restore, at any time, not only after the start.\n"
    "makestep 1 -1\n"
    "END\n";

static bool host_runs_on_tsc(void) {
    th_auto_fclose FILE *file = fopen(CLOCKSOURCE, "re");
    char source[32] = "";

    return !file || !fgets(source, sizeof(source), file) || strcmp(source, "tsc\n") == 0;
}

static void warn_host(void) {
    struct utsname names;

    if (access("/dev/kvm", F_OK) < 0) {
        fprintf(stderr, "timehandoff: warning: this host has no /dev/kvm; guests without KVM have "
                        "no ptp_kvm\n");
    }
    if (uname(&names) == 0 && strcmp(names.machine, "x86_64") == 0 && !host_runs_on_tsc()) {
        fprintf(stderr, "timehandoff: warning: this host does not run on the tsc clocksource, so "
                        "ptp_kvm will not work in its guests (" CLOCKSOURCE ")\n");
    }
}

int th_guest_ptp(const struct th_guest_options *options) {
    th_auto_ntp_servers struct th_ntp_servers servers = {.n = 0};

    if (!th_guest_servers(options, &servers)) {
        return TH_EXIT_USAGE;
    }
    warn_host();
    if (servers.n < ENOUGH_SERVERS) {
        fprintf(stderr, "timehandoff: warning: fewer than three NTP servers cannot outvote a host "
                        "with a wrong clock\n");
    }
    fputs(head, stdout);
    for (size_t i = 0; i < servers.n; i++) {
        printf("%s %s iburst\n", servers.servers[i].kind == TH_NTP_POOL ? "pool" : "server",
               servers.servers[i].name);
    }
    fputs(tail, stdout);
    return EXIT_SUCCESS;
}
