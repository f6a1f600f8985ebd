/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The status on the system bus: org.timehandoff1, object /org/timehandoff1, interface
 * org.timehandoff1.Manager, as docs/org.timehandoff1.xml describes it. It shows and passes on; what
 * a method does is its owner's business.
 */
#ifndef TH_REPORT_BUS_H
#define TH_REPORT_BUS_H

#include <systemd/sd-bus.h>

#include "timehandoff/status.h"

struct th_bus;

/* What the owner provides. Each method either replies to the call (later, too), or returns a
 * negative errno with an error set; they are called for root only. */
struct th_bus_owner {
    void *userdata;
    /* The bus has answered th_bus_claim: the name is ours (NULL), or why not. */
    void (*named)(void *userdata, const char *why);
    const struct th_status *(*status)(void *userdata);
    int (*handoff)(void *userdata, const char *domain, sd_bus_message *call, sd_bus_error *error);
    int (*measure)(void *userdata, const char *peer, sd_bus_message *call, sd_bus_error *error);
};

/* Offers the object and claims the name, on a connection that it keeps. 0 or negative errno. */
int th_bus_new(sd_bus *connection, const struct th_bus_owner *owner, struct th_bus **ret_bus);
struct th_bus *th_bus_free(struct th_bus *bus);
/* Asks for the name once more, if it is not ours and nobody is asking. */
void th_bus_claim(struct th_bus *bus);

/* Looks what has changed since the last time and tells that; nothing if nothing has. */
void th_bus_refresh(struct th_bus *bus);
void th_bus_alert_changed(struct th_bus *bus, const struct th_alert *alert, bool set);
void th_bus_handoff_finished(struct th_bus *bus, const struct th_status_handoff *handoff);
/* The reply to a call of Measure. */
int th_bus_reply_measure(sd_bus_message *call, const struct th_state_peer *peer);

#endif
