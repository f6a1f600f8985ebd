/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking at all guests now and then: what was missed while the daemon or libvirtd was away is made
 * up for where it can be proven, and the rest is only measured and reported. And what the daemon of
 * before knew, out of its published file: the proof, after a restart.
 */
#include "daemon/daemon.h"

#define RECONCILE_NS (600 * TH_NS_PER_S)

static int on_time(sd_event_source *source, uint64_t usec, void *userdata) {
    (void)usec;
    th_inspect_all(userdata);
    (void)sd_event_source_set_time_relative(source, RECONCILE_NS / TH_NS_PER_US);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int th_reconcile_start(struct th_daemon *daemon) {
    return sd_event_add_time_relative(daemon->event, &daemon->reconcile, CLOCK_MONOTONIC,
                                      RECONCILE_NS / TH_NS_PER_US, 0, on_time, daemon);
}
