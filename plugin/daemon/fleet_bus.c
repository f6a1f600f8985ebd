/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the bus's methods do, and what it is told. The daemon opens no socket to the network, so to
 * measure a peer is to ask peerd by a file and to wait until peerd has published; callers wait in a
 * short list, each with its own time-out.
 */
#include "daemon/fleet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "report/bus.h"
#include "timehandoff/report.h"

#define MEASURE_TIMEOUT_NS (2 * TH_NS_PER_S)
#define MAX_WAITING 32

/* A call of Measure that has not been answered yet. */
struct waiting {
    struct th_daemon *daemon;
    sd_bus_message *call;
    char peer[256];
    int64_t asked_boot_ns;
    sd_event_source *timeout;
    struct waiting *next;
};

static struct waiting *all_waiting;

static void waiting_free(struct waiting *waiting) {
    for (struct waiting **at = &all_waiting; *at; at = &(*at)->next) {
        if (*at == waiting) {
            *at = waiting->next;
            break;
        }
    }
    sd_event_source_disable_unref(waiting->timeout);
    sd_bus_message_unref(waiting->call);
    free(waiting);
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
    struct waiting *waiting = userdata;

    (void)source;
    (void)usec;
    (void)sd_bus_reply_method_errorf(waiting->call, SD_BUS_ERROR_TIMEOUT,
                                     "timehandoff-peerd did not measure %s in time: does it run?",
                                     waiting->peer);
    waiting_free(waiting);
    return 0;
}

static bool is_peer(const struct th_status *status, const char *name) {
    for (size_t i = 0; status->peers && i < status->peers->n_peers; i++) {
        if (th_status_is_peer(&status->peers->peers[i]) &&
            strcmp(status->peers->peers[i].host, name) == 0) {
            return true;
        }
    }
    return false;
}

static int wait_for(struct th_daemon *daemon, const char *peer, sd_bus_message *call,
                    int64_t boot_ns) {
    struct waiting *waiting = calloc(1, sizeof(*waiting));
    int r;

    if (!waiting) {
        return -ENOMEM;
    }
    waiting->daemon = daemon;
    waiting->asked_boot_ns = boot_ns;
    th_text_clean(peer, waiting->peer, sizeof(waiting->peer));
    r = sd_event_add_time_relative(daemon->event, &waiting->timeout, CLOCK_MONOTONIC,
                                   MEASURE_TIMEOUT_NS / TH_NS_PER_US, 0, on_timeout, waiting);
    if (r < 0) {
        free(waiting);
        return r;
    }
    waiting->call = sd_bus_message_ref(call);
    waiting->next = all_waiting;
    all_waiting = waiting;
    return 0;
}

static int measure(void *userdata, const char *peer, sd_bus_message *call, sd_bus_error *error) {
    struct th_daemon *daemon = userdata;
    struct th_now now = th_now();
    size_t n = 0;
    int r;

    if (!is_peer(th_fleet_status(daemon), peer)) {
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "%s is no peer", peer);
    }
    for (const struct waiting *waiting = all_waiting; waiting; waiting = waiting->next) {
        n++;
    }
    if (n >= MAX_WAITING) {
        return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED, "too many calls at once");
    }
    r = th_state_request_write(TH_STATE_FOLDER, peer, &now);
    if (r >= 0) {
        r = wait_for(daemon, peer, call, now.boot_ns);
    }
    return r < 0 ? r : 1; /* replied to later */
}

void th_fleet_measured(struct th_daemon *daemon, const struct th_state_peers *peers) {
    struct waiting *next;

    (void)daemon;
    for (struct waiting *waiting = all_waiting; waiting; waiting = next) {
        next = waiting->next;
        for (size_t i = 0; i < peers->n_peers; i++) {
            if (strcmp(peers->peers[i].host, waiting->peer) == 0 &&
                peers->peers[i].probed_boot_ns >= waiting->asked_boot_ns) {
                (void)th_bus_reply_measure(waiting->call, &peers->peers[i]);
                waiting_free(waiting);
                break;
            }
        }
    }
}

/* ---- handoffs ---- */

static struct th_daemon_domain *find_domain(struct th_daemon *daemon, const char *name) {
    struct th_uuid uuid;

    for (struct th_daemon_domain *domain = daemon->domains; domain; domain = domain->next) {
        if (strcmp(domain->name, name) == 0 && domain->state != TH_DOMAIN_INACTIVE) {
            return domain;
        }
    }
    return th_uuid_parse(name, &uuid) == 0 ? th_domains_find(daemon, &uuid) : NULL;
}

static int handoff(void *userdata, const char *name, sd_bus_message *call, sd_bus_error *error) {
    struct th_daemon *daemon = userdata;
    struct th_daemon_domain *domain = find_domain(daemon, name);

    if (!domain || domain->state != TH_DOMAIN_RUNNING || domain->incoming) {
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "no domain %s runs here", name);
    }
    if (domain->handoff) {
        return sd_bus_error_setf(error, SD_BUS_ERROR_FAILED, "a handoff of %s is under way already",
                                 name);
    }
    if (!daemon->domains_known) {
        return sd_bus_error_set(error, SD_BUS_ERROR_FAILED, "libvirt cannot be reached");
    }
    th_inspect(daemon, &domain->uuid, TH_INSPECT_REQUESTED, th_now_mono_ns());
    return sd_bus_reply_method_return(call, "");
}

/* ---- telling ---- */

static const struct th_status *status(void *userdata) {
    return th_fleet_status(userdata);
}

void th_fleet_told(struct th_daemon *daemon, const struct th_alert *alert, bool set) {
    if (daemon->shown) {
        th_bus_alert_changed(daemon->shown, alert, set);
    }
}

void th_fleet_finished(struct th_daemon *daemon, const struct th_status_handoff *handoff) {
    if (daemon->shown) {
        th_bus_handoff_finished(daemon->shown, handoff);
    }
}

void th_fleet_shown(struct th_daemon *daemon) {
    if (daemon->shown) {
        th_bus_refresh(daemon->shown);
    }
}

static void named(void *userdata, const char *why) {
    th_system_bus_tell(userdata, why ? TH_BUS_NAMELESS : TH_BUS_FINE, why);
}

int th_fleet_bus_start(struct th_daemon *daemon) {
    struct th_bus_owner owner = {.userdata = daemon,
                                 .named = named,
                                 .status = status,
                                 .handoff = handoff,
                                 .measure = measure};

    return th_bus_new(daemon->bus, &owner, &daemon->shown);
}

void th_fleet_bus_stop(struct th_daemon *daemon) {
    while (all_waiting) {
        waiting_free(all_waiting);
    }
    daemon->shown = th_bus_free(daemon->shown);
}
