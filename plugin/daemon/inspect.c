/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking libvirt about domains: the state and why it is so, and the XML with our elements in it.
 * From that follow the two things that the daemon does for a domain: write its origin stamp, and
 * begin a handoff.
 */
#include "daemon/fleet.h"

#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "config/arrival.h"
#include "timehandoff/report.h"

struct inspect_job {
    struct th_job job;
    struct th_daemon *daemon;
    virConnectPtr connection;
    struct th_uuid uuid;
    enum th_inspect_why why;
    int64_t event_mono_ns;
    uint64_t event_number; /* what had happened when this was asked for */
    int state, reason;     /* libvirt's; state -1: could not be had */
    bool has_domain;
    struct th_domain domain;
    char name[256];
};

/* ---- one domain ---- */

static void inspect_work(struct th_job *job) {
    struct inspect_job *inspect = (struct inspect_job *)job;
    const struct th_virt *virt = inspect->daemon->virt;
    virDomainPtr domain = virt->virDomainLookupByUUID(inspect->connection, inspect->uuid.bytes);
    char error[160];
    const char *name;
    char *xml;

    inspect->state = -1;
    if (!domain) {
        const virError *last = virt->virGetLastError();

        if (last && last->code == VIR_ERR_NO_DOMAIN) {
            inspect->state = VIR_DOMAIN_SHUTOFF;
        }
        return;
    }
    name = virt->virDomainGetName(domain);
    th_text_clean(name ? name : "", inspect->name, sizeof(inspect->name));
    if (virt->virDomainGetState(domain, &inspect->state, &inspect->reason, 0) < 0) {
        inspect->state = -1;
    }
    xml = virt->virDomainGetXMLDesc(domain, 0);
    if (xml) {
        inspect->has_domain =
            th_domain_parse(xml, strlen(xml), &inspect->domain, error, sizeof(error)) == 0;
        free(xml);
    }
    virt->virDomainFree(domain);
}

/* 0: this is no reason to look at the clock (a plain boot, or something we do not know). */
static enum th_trigger trigger_of(int reason) {
    switch (reason) {
    case VIR_DOMAIN_RUNNING_MIGRATED:
    case VIR_DOMAIN_RUNNING_POSTCOPY:
    case VIR_DOMAIN_RUNNING_MIGRATION_CANCELED: return TH_TRIGGER_MIGRATED;
    case VIR_DOMAIN_RUNNING_RESTORED: return TH_TRIGGER_RESTORED;
    case VIR_DOMAIN_RUNNING_FROM_SNAPSHOT: return TH_TRIGGER_SNAPSHOT;
    case VIR_DOMAIN_RUNNING_UNPAUSED:
    case VIR_DOMAIN_RUNNING_SAVE_CANCELED: return TH_TRIGGER_UNPAUSED;
    case VIR_DOMAIN_RUNNING_WAKEUP: return TH_TRIGGER_WAKEUP;
    default: return (enum th_trigger)0;
    }
}

static bool stamped_elsewhere(const struct inspect_job *inspect) {
    return inspect->has_domain && inspect->domain.has_origin &&
           !th_uuid_equal(&inspect->domain.origin.uuid, &inspect->daemon->host_uuid);
}

/* Not booted and not just paused here: its clock was stopped for a while that nobody here saw. */
static bool came_from_elsewhere(const struct th_handoff_start *start) {
    return start->cause == TH_TRIGGER_MIGRATED || start->cause == TH_TRIGGER_RESTORED ||
           start->cause == TH_TRIGGER_SNAPSHOT;
}

/* What a handoff of this guest would be about. False: its clock is not looked at. */
static bool fill_start(const struct inspect_job *inspect, struct th_handoff_start *start) {
    start->event_mono_ns = inspect->event_mono_ns;
    start->cause = trigger_of(inspect->reason);
    switch (inspect->why) {
    case TH_INSPECT_STARTED: return false;
    case TH_INSPECT_RESUMED: start->trigger = trigger_of(inspect->reason); break;
    case TH_INSPECT_REQUESTED: start->trigger = TH_TRIGGER_REQUEST; break;
    case TH_INSPECT_HOST_WOKE: start->trigger = TH_TRIGGER_HOST_WAKEUP; break;
    case TH_INSPECT_MISSED:
    case TH_INSPECT_UNRECORDED:
    case TH_INSPECT_FOUND:
        start->trigger = TH_TRIGGER_RECONCILE;
        /* Another host's stamp proves that it arrived here and nobody has looked since: the restamp
         * comes first thing after an arrival. */
        start->missed_event =
            start->cause && (inspect->why == TH_INSPECT_MISSED || stamped_elsewhere(inspect) ||
                             (inspect->why == TH_INSPECT_UNRECORDED && came_from_elsewhere(start)));
        break;
    case TH_INSPECT_DEFERRED: break; /* what it is about is known */
    }
    return start->trigger != 0;
}

/* Nothing new is known of a guest whose handoff is under way, or waits for this host's clock. */
static bool is_known(const struct inspect_job *inspect, const struct th_daemon_domain *domain,
                     const struct th_handoff_start *start) {
    if (inspect->why == TH_INSPECT_DEFERRED) {
        return domain->handoff || !domain->deferred;
    }
    return start->trigger == TH_TRIGGER_RECONCILE && (domain->handoff || domain->deferred);
}

static void begin_handoff(struct inspect_job *inspect, struct th_daemon_domain *domain) {
    struct th_daemon *daemon = inspect->daemon;
    struct th_handoff_start start = {.missed_event = false};

    if (inspect->state != VIR_DOMAIN_RUNNING) {
        return;
    }
    if (inspect->why == TH_INSPECT_DEFERRED) {
        start = domain->deferred_start;
    } else if (!fill_start(inspect, &start)) {
        domain->due = false; /* a plain boot */
        return;
    }
    if (is_known(inspect, domain, &start)) {
        return;
    }
    start.policy = th_config_domain_policy(
        daemon->config, &domain->uuid, domain->name,
        inspect->has_domain && inspect->domain.has_policy ? &inspect->domain.policy : NULL);
    if (stamped_elsewhere(inspect)) {
        th_text_clean(inspect->domain.origin.host, start.from_host, sizeof(start.from_host));
    }
    th_handoffs_begin(daemon, domain, &start);
}

/* A stamp of ours from before a restart keeps its key: whoever is asking under it just now must
 * still be answered. */
static void take_over_stamp(struct inspect_job *inspect, struct th_daemon_domain *domain) {
    const struct th_domain *xml = &inspect->domain;

    if (inspect->has_domain && xml->has_origin && !stamped_elsewhere(inspect) &&
        xml->origin.key.id && !domain->key.id) {
        domain->key = xml->origin.key;
    }
}

static enum th_domain_state state_of(int state) {
    switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED: return TH_DOMAIN_RUNNING;
    case VIR_DOMAIN_PAUSED:
    case VIR_DOMAIN_PMSUSPENDED: return TH_DOMAIN_PAUSED;
    case VIR_DOMAIN_SHUTDOWN:
    case VIR_DOMAIN_SHUTOFF:
    case VIR_DOMAIN_CRASHED: return TH_DOMAIN_INACTIVE;
    default: return TH_DOMAIN_UNKNOWN;
    }
}

static void take_inspected(struct inspect_job *inspect, struct th_daemon_domain *domain) {
    struct th_daemon *daemon = inspect->daemon;
    enum th_domain_state state = state_of(inspect->state);

    if (state == TH_DOMAIN_INACTIVE) {
        th_domains_depart(daemon, domain);
        th_publish(daemon);
        return;
    }
    if (state == TH_DOMAIN_RUNNING) {
        domain->incoming = false;
    }
    if (domain->state != state) {
        domain->state = state;
        th_publish(daemon);
    }
    if (inspect->has_domain && inspect->domain.complaint[0]) {
        th_report_domain(LOG_WARNING, NULL, domain->name, "timehandoffd: metadata of %s: %s",
                         domain->name, inspect->domain.complaint);
    }
    take_over_stamp(inspect, domain);
    if (stamped_elsewhere(inspect)) {
        th_fleet_came_from(daemon, &inspect->domain.origin);
    }
    begin_handoff(inspect, domain);
    if (!domain->incoming) {
        th_stamp(daemon, domain);
    }
}

static void inspect_done(struct th_job *job) {
    struct inspect_job *inspect = (struct inspect_job *)job;
    struct th_daemon *daemon = inspect->daemon;
    struct th_daemon_domain *domain = th_domains_find(daemon, &inspect->uuid);

    /* Events go on while jobs run: an answer from before the last one is out of date, and that
     * event has asked again if it matters. */
    if (domain && inspect->state >= 0 && domain->state != TH_DOMAIN_INACTIVE &&
        domain->event_number <= inspect->event_number && !daemon->ending) {
        take_inspected(inspect, domain);
    }
    th_key_wipe(&inspect->domain.origin.key);
    daemon->virt->virConnectClose(inspect->connection);
    free(inspect);
}

void th_inspect(struct th_daemon *daemon, const struct th_uuid *uuid, enum th_inspect_why why,
                int64_t event_mono_ns) {
    virConnectPtr connection = th_hypervisor_connection(daemon);
    struct inspect_job *inspect;

    if (!connection) {
        return; /* the list after the next connect makes up for it */
    }
    inspect = calloc(1, sizeof(*inspect));
    if (!inspect) {
        daemon->virt->virConnectClose(connection);
        return;
    }
    inspect->job = (struct th_job){.work = inspect_work, .done = inspect_done};
    inspect->daemon = daemon;
    inspect->connection = connection;
    inspect->uuid = *uuid;
    inspect->why = why;
    inspect->event_mono_ns = event_mono_ns;
    inspect->event_number = daemon->n_events;
    inspect->state = -1;
    th_pool_submit(daemon->pool, &inspect->job);
}

/* ---- all of them ---- */

struct listed {
    struct th_uuid uuid;
    char name[256];
    int state, reason;
};

struct list_job {
    struct th_job job;
    struct th_daemon *daemon;
    virConnectPtr connection;
    struct listed *listed;
    size_t n;
    uint64_t event_number; /* what had happened when this was asked for */
    bool failed;
};

static void list_work(struct th_job *job) {
    struct list_job *list = (struct list_job *)job;
    const struct th_virt *virt = list->daemon->virt;
    virDomainPtr *domains = NULL;
    int n =
        virt->virConnectListAllDomains(list->connection, &domains, VIR_CONNECT_LIST_DOMAINS_ACTIVE);

    list->failed = n < 0;
    list->listed = n >= 0 ? calloc((size_t)n + 1, sizeof(*list->listed)) : NULL;
    for (int i = 0; i < n; i++) {
        struct listed *one = list->listed ? &list->listed[list->n] : NULL;
        const char *name = virt->virDomainGetName(domains[i]);

        if (one && virt->virDomainGetUUID(domains[i], one->uuid.bytes) == 0 &&
            virt->virDomainGetState(domains[i], &one->state, &one->reason, 0) == 0) {
            th_text_clean(name ? name : "", one->name, sizeof(one->name));
            list->n++;
        }
        virt->virDomainFree(domains[i]);
    }
    free(domains);
}

static bool is_listed(const struct list_job *list, const struct th_uuid *uuid) {
    for (size_t i = 0; i < list->n; i++) {
        if (th_uuid_equal(&list->listed[i].uuid, uuid)) {
            return true;
        }
    }
    return false;
}

/* What we knew of and is not there any more left while we were not looking; unless it came while
 * libvirt was making the list. */
static void depart_missing(struct th_daemon *daemon, const struct list_job *list) {
    for (struct th_daemon_domain *domain = daemon->domains; domain; domain = domain->next) {
        if (domain->state != TH_DOMAIN_INACTIVE && !is_listed(list, &domain->uuid) &&
            domain->event_number <= list->event_number) {
            th_domains_depart(daemon, domain);
        }
    }
}

/* What is known of when it began to run. We know of it, but not as running and handed off: while
 * nobody was looking. Nothing is known of it, though of others that ran here before: the same. No
 * record of this boot at all, as when guests were resumed at boot before us: its state's reason has
 * to tell. */
static enum th_inspect_why why_listed(const struct th_daemon *daemon,
                                      const struct th_daemon_domain *domain) {
    if (domain->due) {
        return TH_INSPECT_MISSED;
    }
    if (domain->state == TH_DOMAIN_UNKNOWN) {
        return daemon->has_past ? TH_INSPECT_MISSED : TH_INSPECT_UNRECORDED;
    }
    return domain->state == TH_DOMAIN_RUNNING ? TH_INSPECT_FOUND : TH_INSPECT_MISSED;
}

static void take_listed(struct th_daemon *daemon, const struct list_job *list,
                        const struct listed *one) {
    struct th_daemon_domain *domain = th_domains_find(daemon, &one->uuid);
    enum th_inspect_why why;

    if (domain && domain->event_number > list->event_number) {
        return;
    }
    domain = th_domains_add(daemon, &one->uuid, one->name);
    if (!domain) {
        return;
    }
    why = why_listed(daemon, domain);
    domain->incoming =
        one->state == VIR_DOMAIN_PAUSED && one->reason == VIR_DOMAIN_PAUSED_MIGRATION;
    domain->state = domain->incoming ? TH_DOMAIN_PAUSED : state_of(one->state);
    th_inspect(daemon, &one->uuid, why, 0);
}

/* Notes of migrations that failed before their guest was here. */
static bool is_here(void *userdata, const struct th_uuid *uuid) {
    const struct th_daemon_domain *domain = th_domains_find(userdata, uuid);

    return domain && domain->state != TH_DOMAIN_INACTIVE;
}

static void list_done(struct th_job *job) {
    struct list_job *list = (struct list_job *)job;
    struct th_daemon *daemon = list->daemon;

    if (!list->failed && list->listed) {
        depart_missing(daemon, list);
        for (size_t i = 0; i < list->n; i++) {
            take_listed(daemon, list, &list->listed[i]);
        }
        daemon->domains_known = true;
        daemon->has_past = true;
        (void)th_arrival_sweep(daemon->arrivals, th_now_real_ns(), is_here, daemon);
        th_publish(daemon);
    }
    daemon->virt->virConnectClose(list->connection);
    free(list->listed);
    free(list);
}

void th_inspect_all(struct th_daemon *daemon) {
    virConnectPtr connection = th_hypervisor_connection(daemon);
    struct list_job *list;

    if (!connection) {
        return;
    }
    list = calloc(1, sizeof(*list));
    if (!list) {
        daemon->virt->virConnectClose(connection);
        return;
    }
    list->job = (struct th_job){.work = list_work, .done = list_done};
    list->daemon = daemon;
    list->connection = connection;
    list->event_number = daemon->n_events;
    list->failed = true;
    th_pool_submit(daemon->pool, &list->job);
}
