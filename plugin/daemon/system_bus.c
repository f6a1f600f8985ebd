/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection to the system bus: this host's own sleep is heard of on it, and the status is
 * shown there. A bus may be there later than we are, or go and come back; so it is looked after at
 * every refresh. Nothing else that we do needs it.
 */
#include "daemon/fleet.h"

#include <string.h>
#include <syslog.h>

#include "timehandoff/report.h"

static int bus_connect(struct th_daemon *daemon) {
    int r = sd_bus_open_system(&daemon->bus);

    r = r < 0 ? r : th_sleep_watch(daemon);
    r = r < 0 ? r : sd_bus_attach_event(daemon->bus, daemon->event, SD_EVENT_PRIORITY_NORMAL);
    return r < 0 ? r : th_fleet_bus_start(daemon);
}

void th_system_bus_keep(struct th_daemon *daemon) {
    int r;

    if (daemon->bus && sd_bus_is_open(daemon->bus) > 0) {
        return;
    }
    if (daemon->bus && !daemon->told_no_bus) {
        daemon->told_no_bus = true;
        th_report(LOG_NOTICE, TH_MESSAGE_SERVICE,
                  "timehandoffd: lost the system bus: until it is back org.timehandoff1 is not "
                  "there and this host's own sleep goes unnoticed");
    }
    th_system_bus_stop(daemon);
    r = bus_connect(daemon);
    if (r < 0 && !daemon->told_no_bus) {
        daemon->told_no_bus = true;
        th_report(LOG_INFO, TH_MESSAGE_SERVICE,
                  "timehandoffd: no system bus, so this host's own sleep goes unnoticed: %s",
                  strerror(-r));
    }
    if (r < 0) {
        th_system_bus_stop(daemon);
    }
}

void th_system_bus_stop(struct th_daemon *daemon) {
    th_fleet_bus_stop(daemon);
    daemon->bus = sd_bus_flush_close_unref(daemon->bus);
}
