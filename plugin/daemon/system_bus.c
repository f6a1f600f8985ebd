/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The connection to the system bus: this host's own sleep is heard of on it, and the status is
 * shown there. A bus may be there later than we are, or go and come back, and so may its leave to
 * have our name; so it is looked after at every refresh. Nothing else that we do needs it.
 */
#include "daemon/fleet.h"

#include <string.h>
#include <syslog.h>

#include "report/bus.h"
#include "timehandoff/report.h"

void th_system_bus_tell(struct th_daemon *daemon, enum th_bus_state state, const char *why) {
    if (daemon->bus_state == state) {
        return;
    }
    daemon->bus_state = state;
    switch (state) {
    case TH_BUS_FINE:
        th_report(LOG_NOTICE, TH_MESSAGE_SERVICE,
                  "timehandoffd: org.timehandoff1 is on the system bus");
        break;
    case TH_BUS_NAMELESS:
        th_report(LOG_NOTICE, TH_MESSAGE_SERVICE,
                  "timehandoffd: cannot be org.timehandoff1 on the system bus: %s", why);
        break;
    case TH_BUS_AWAY:
        th_report(LOG_NOTICE, TH_MESSAGE_SERVICE,
                  "timehandoffd: no system bus, so this host's own sleep goes unnoticed: %s", why);
        break;
    }
}

static int bus_connect(struct th_daemon *daemon) {
    int r = sd_bus_open_system(&daemon->bus);

    /* Else a bus that hangs would be waited for when we are to end. */
    r = r < 0 ? r : sd_bus_set_close_on_exit(daemon->bus, false);
    r = r < 0 ? r : th_sleep_watch(daemon);
    r = r < 0 ? r : sd_bus_attach_event(daemon->bus, daemon->event, SD_EVENT_PRIORITY_NORMAL);
    return r < 0 ? r : th_fleet_bus_start(daemon);
}

void th_system_bus_keep(struct th_daemon *daemon) {
    int r;

    if (daemon->bus && sd_bus_is_open(daemon->bus) > 0) {
        th_bus_claim(daemon->shown);
        return;
    }
    if (daemon->bus) {
        th_system_bus_tell(daemon, TH_BUS_AWAY, "the connection to it was closed");
    }
    th_system_bus_stop(daemon);
    r = bus_connect(daemon);
    if (r < 0) {
        th_system_bus_tell(daemon, TH_BUS_AWAY, strerror(-r));
        th_system_bus_stop(daemon);
    }
}

void th_system_bus_stop(struct th_daemon *daemon) {
    th_fleet_bus_stop(daemon);
    daemon->bus = sd_bus_close_unref(daemon->bus);
}
