/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Peers, alerts, last handoffs and status, as the daemon's other parts see them; and the bus, which
 * shows all of that to others.
 */
#ifndef TH_DAEMON_FLEET_H
#define TH_DAEMON_FLEET_H

#include "daemon/daemon.h"
#include "timehandoff/domain.h"
#include "timehandoff/handoff.h"
#include "timehandoff/status.h"

/* Reads what was published before, and looks at the peers from now on. 0 or negative errno. */
int th_fleet_start(struct th_daemon *daemon);
void th_fleet_stop(struct th_daemon *daemon);

/* Synchronisation and NTP servers of this host have been read anew. */
void th_fleet_host_observed(struct th_daemon *daemon);
/* A handoff has ended. */
void th_fleet_handed_off(struct th_daemon *daemon, const struct th_handoff_record *record);
/* A guest carries this stamp of another host. */
void th_fleet_came_from(struct th_daemon *daemon, const struct th_origin *origin);
/* The hosts that guests came from within a day, newest first. Returns how many. */
size_t th_fleet_origins(struct th_daemon *daemon,
                        struct th_state_origin ret_origins[TH_STATE_MAX_ORIGINS]);
/* Writes status file and metrics now. */
void th_fleet_publish(struct th_daemon *daemon);
/* What there is to see now; valid until the next call. Never NULL once started. */
const struct th_status *th_fleet_status(struct th_daemon *daemon);

/* ---- fleet_bus.c: what the bus is told ---- */

/* Offers org.timehandoff1 on the daemon's connection. 0 or negative errno. */
int th_fleet_bus_start(struct th_daemon *daemon);
void th_fleet_bus_stop(struct th_daemon *daemon);
void th_fleet_told(struct th_daemon *daemon, const struct th_alert *alert, bool set);
void th_fleet_finished(struct th_daemon *daemon, const struct th_status_handoff *handoff);
/* Something may have changed. */
void th_fleet_shown(struct th_daemon *daemon);
/* peerd has published: whoever waits for a measurement may have it now. */
void th_fleet_measured(struct th_daemon *daemon, const struct th_state_peers *peers);

#endif
