/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What libvirt's events mean for a guest's clock and for its origin stamp. The rules:
 *
 * A guest begins to run, and may have lost time, with any RESUMED and with STARTED/WAKEUP; why is
 * not taken from the event but from the domain's state, which survives when events come late. A
 * plain boot also says RESUMED; its state says so. STARTED/MIGRATED comes before a page of memory
 * has moved: the guest still runs elsewhere.
 */
#include "daemon/daemon.h"

#include <string.h>

static bool changed(struct th_daemon_domain *domain, enum th_domain_state state, bool incoming) {
    bool is_new = domain->state != state || domain->incoming != incoming;

    domain->state = state;
    domain->incoming = incoming;
    return is_new;
}

static void on_started(struct th_daemon *daemon, struct th_daemon_domain *domain,
                       const struct th_event *event) {
    if (event->detail == VIR_DOMAIN_EVENT_STARTED_MIGRATED) {
        if (changed(domain, TH_DOMAIN_PAUSED, true)) {
            th_publish(daemon);
        }
        return;
    }
    domain->incoming = false;
    th_inspect(daemon, &domain->uuid,
               event->detail == VIR_DOMAIN_EVENT_STARTED_WAKEUP ? TH_INSPECT_RESUMED
                                                                : TH_INSPECT_STARTED,
               event->mono_ns);
}

static void on_resumed(struct th_daemon *daemon, struct th_daemon_domain *domain,
                       const struct th_event *event) {
    /* Published before anything else: the next question may be about this very guest. */
    domain->due = true;
    if (changed(domain, TH_DOMAIN_RUNNING, false)) {
        th_publish(daemon);
    }
    th_inspect(daemon, &domain->uuid, TH_INSPECT_RESUMED, event->mono_ns);
}

static void on_suspended(struct th_daemon *daemon, struct th_daemon_domain *domain) {
    bool arrived_paused = domain->incoming;

    th_handoffs_void(domain, "the guest was paused");
    if (changed(domain, TH_DOMAIN_PAUSED, false)) {
        th_publish(daemon);
    }
    if (arrived_paused) {
        th_inspect(daemon, &domain->uuid, TH_INSPECT_STARTED, 0);
    }
}

/* A definition that changes says nothing about whether the guest runs; what was asked before holds.
 */
static bool matters(int event) {
    return event == VIR_DOMAIN_EVENT_STARTED || event == VIR_DOMAIN_EVENT_RESUMED ||
           event == VIR_DOMAIN_EVENT_SUSPENDED || event == VIR_DOMAIN_EVENT_PMSUSPENDED ||
           event == VIR_DOMAIN_EVENT_STOPPED || event == VIR_DOMAIN_EVENT_CRASHED;
}

static void on_lifecycle(struct th_daemon *daemon, const struct th_event *event) {
    struct th_daemon_domain *domain = th_domains_find(daemon, &event->uuid);
    bool begins =
        event->event == VIR_DOMAIN_EVENT_STARTED || event->event == VIR_DOMAIN_EVENT_RESUMED;

    if (begins) {
        domain = th_domains_add(daemon, &event->uuid, event->name);
    }
    if (!domain || !matters(event->event)) {
        return;
    }
    domain->event_number = ++daemon->n_events;
    switch (event->event) {
    case VIR_DOMAIN_EVENT_STARTED: on_started(daemon, domain, event); break;
    case VIR_DOMAIN_EVENT_RESUMED: on_resumed(daemon, domain, event); break;
    case VIR_DOMAIN_EVENT_SUSPENDED:
    case VIR_DOMAIN_EVENT_PMSUSPENDED: on_suspended(daemon, domain); break;
    case VIR_DOMAIN_EVENT_STOPPED:
    case VIR_DOMAIN_EVENT_CRASHED:
        th_domains_depart(daemon, domain);
        th_publish(daemon);
        break;
    default: break;
    }
}

void th_event_handle(struct th_daemon *daemon, const struct th_event *event) {
    struct th_daemon_domain *domain = th_domains_find(daemon, &event->uuid);

    switch (event->kind) {
    case TH_EVENT_LIFECYCLE: on_lifecycle(daemon, event); break;
    case TH_EVENT_AGENT:
        if (domain && event->event == VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED) {
            th_handoffs_connected(domain);
        }
        break;
    case TH_EVENT_REBOOT:
        if (domain) {
            th_handoffs_void(domain, "the guest was rebooted");
            th_publish(daemon);
        }
        break;
    case TH_EVENT_CLOSED: break;
    }
}
