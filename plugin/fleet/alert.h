/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What one observation says of one condition: the judging half of alerts, apart from the counting
 * half, so that each can be read as a table.
 */
#ifndef TH_FLEET_ALERT_H
#define TH_FLEET_ALERT_H

#include "timehandoff/alert.h"

enum th_alert_seen {
    TH_ALERT_SEEN_NEITHER = 0, /* cannot tell, or between the limits */
    TH_ALERT_SEEN_BAD,
    TH_ALERT_SEEN_GOOD,
};

struct th_alert_case {
    const struct th_alert_rules *rules;
    const struct th_alert_host *host;
    const struct th_state_peer *peer; /* NULL for conditions of this host */
    const char *own_group;            /* this host's; "": none */
};

/* Judges one condition. Words and numbers go into ret_alert (reason, gap, limit), nothing else of
 * it is touched. */
enum th_alert_seen th_alert_judge(enum th_alert_kind kind, const struct th_alert_case *about,
                                  struct th_alert *ret_alert);

#endif
