/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The daemon's parts and what they share. All of it belongs to the loop's thread; jobs get copies.
 *
 *   hypervisor  the connection to libvirt, its events
 *   domains     the table of domains that run here, or left a short while ago
 *   inspect     asking libvirt about one domain, or for the list of them
 *   stamp       the origin stamp in a domain's metadata
 *   handoffs    one handoff a domain, its actions run by the pool
 *   recheck     looking again after a handoff
 *   reconcile   looking at all guests now and then, and after this host slept
 *   publish     the state file, and this host's synchronisation
 *   fleet       peers, alerts, last handoffs, status; and the bus (fleet.h)
 *   system_bus  the connection to that; sleep is heard of on it
 *   clock_step  noticing that somebody stepped this host's clock
 */
#ifndef TH_DAEMON_DAEMON_H
#define TH_DAEMON_DAEMON_H

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "daemon/pool.h"
#include "timehandoff/config.h"
#include "timehandoff/decision.h"
#include "timehandoff/state.h"
#include "timehandoff/virt.h"

/* How often the state file is renewed even if nothing changed, and synchronisation looked at. */
#define TH_DAEMON_REFRESH_NS (10 * TH_NS_PER_S)
/* How long the key of a domain that left is kept, to say "inactive" under it. */
#define TH_DAEMON_DEPARTED_NS (24 * 3600 * TH_NS_PER_S)
/* Agent calls can each take as long as the agent's time-out, so they have workers of their own. */
#define TH_DAEMON_WORKERS 4
#define TH_DAEMON_STAMP_WORKERS 4
#define TH_DAEMON_AGENT_WORKERS 16

enum th_bus_state { TH_BUS_FINE, TH_BUS_NAMELESS, TH_BUS_AWAY };

struct th_handoff_task;
struct th_recheck;
struct th_fleet;
struct th_bus;

/* What a handoff is begun with. */
struct th_handoff_start {
    enum th_trigger trigger;
    enum th_trigger cause; /* why it runs, whoever noticed: max-step goes by this; 0: not known */
    int64_t event_mono_ns;
    bool missed_event;
    struct th_domain_policy policy; /* complete: from configuration and metadata */
    char from_host[64];
    bool has_gap; /* of the migration, from the arrival note, which can be read once only */
    struct th_gap gap;
    int64_t owed_until_mono_ns; /* waited for this host's clock, as it may until then; 0: not */
};

struct th_daemon_domain {
    struct th_uuid uuid;
    char name[256];
    enum th_domain_state state;
    bool incoming;     /* being migrated to here, not running yet: the source still has it */
    struct th_key key; /* its stamp's */
    bool stamping;     /* a stamp job is under way */
    bool stamped;
    unsigned stamp_failures;
    sd_event_source *stamp_retry;
    int64_t departed_mono_ns; /* with TH_DOMAIN_INACTIVE */
    uint64_t
        event_number; /* of the last event about it: answers asked for before are out of date */
    bool due;         /* began to run here, and its handoff has not ended, or waits */
    struct th_handoff_task *handoff;
    bool deferred; /* a handoff waits for this host to be synchronised: it will begin with this */
    struct th_handoff_start deferred_start;
    struct th_recheck *recheck;
    bool told_no_agent;
    int64_t reported_ns; /* size of the offset that a reconcile reported last */
    struct th_daemon_domain *next;
};

struct th_daemon {
    sd_event *event;
    struct th_config *config;
    struct th_pool *pool;       /* questions to libvirt, synchronisation */
    struct th_pool *stamp_pool; /* writing metadata, which waits for other jobs of a domain */
    struct th_pool *agent_pool; /* calls to guests' agents */
    struct th_agents *agents;
    struct th_virt *virt;
    struct th_hypervisor *hypervisor;
    char host_name[64];
    struct th_uuid host_uuid; /* libvirt's; none until it said */
    struct th_sync sync;
    bool ntp_known; /* of the time daemon's configuration */
    struct th_ntp_servers ntp;
    uint8_t ntp_digest[TH_NTP_DIGEST_SIZE];
    bool domains_known; /* connected, and the list has been read since */
    bool has_past;      /* the list has been read before, by us or by the daemon before us */
    bool holding;       /* just started: what the daemon before us published still stands */
    struct th_daemon_domain *domains;
    int group;            /* of the state file's readers, -1: none */
    int arrivals;         /* folder of arrival notes, -1: none */
    bool reading_sync;    /* a worker is at it */
    int64_t sync_mono_ns; /* when sync was read last; 0: never */
    int64_t
        distrust_mono_ns; /* since then no look of the time daemon has been seen; 0: all is well */
    uint64_t n_events;    /* lifecycle events so far */
    bool ending;          /* nothing is published or begun any more */
    int64_t clock_ahead_ns; /* of boot time, when last looked at */
    int64_t clock_boot_ns;  /* when that was; 0: never */
    sd_event_source *refresh;
    sd_event_source *wake_timer;
    int64_t woke_mono_ns; /* this host's last waking */
    sd_event_source *reconcile;
    sd_bus *bus;                 /* NULL: none */
    enum th_bus_state bus_state; /* as told last */
    struct th_fleet *fleet;
    struct th_bus *shown; /* on the bus; NULL: not */
};

/* ---- domains ---- */

struct th_daemon_domain *th_domains_find(struct th_daemon *daemon, const struct th_uuid *uuid);
/* Finds or adds. NULL: no memory. A departed one comes back to life with its key. */
struct th_daemon_domain *th_domains_add(struct th_daemon *daemon, const struct th_uuid *uuid,
                                        const char *name);
/*
 * At the start: the domains and keys that the daemon before us published, so that stamps written
 * by it are still answered for. What these domains do now is not known until libvirt is asked.
 */
void th_domains_take_over(struct th_daemon *daemon);
/* It doesn't run here any more: keeps its key for a while. */
void th_domains_depart(struct th_daemon *daemon, struct th_daemon_domain *domain);
/* Forgets departed ones after their time. */
void th_domains_expire(struct th_daemon *daemon, int64_t mono_ns);
void th_domains_deinit(struct th_daemon *daemon);

/* ---- publish ---- */

/* Writes the state file now. 0, or negative errno after saying so; while holding, only once the
 * domains are known. */
int th_publish(struct th_daemon *daemon);
/* Reads synchronisation at once and then every TH_DAEMON_REFRESH_NS, publishing each time. */
int th_publish_start(struct th_daemon *daemon);

/* This host's clock was stepped by so much, or stood still (0): it is not known to be right until
 * the time daemon has looked again. */
void th_sync_distrust(struct th_daemon *daemon, int64_t stepped_ns);

/* ---- inspect ---- */

/* Why a domain is asked about. */
enum th_inspect_why {
    TH_INSPECT_STARTED = 1, /* booted, or found running: stamp, no handoff */
    TH_INSPECT_RESUMED,     /* it began to run just now */
    TH_INSPECT_FOUND,       /* found running, and nothing proves that it lost time */
    TH_INSPECT_MISSED,      /* found running, and it began to run while we were not looking */
    TH_INSPECT_UNRECORDED,  /* found running, and there is no record of this boot at all */
    TH_INSPECT_HOST_WOKE,   /* this host slept, and the guest with it */
    TH_INSPECT_REQUESTED,   /* somebody asked for a handoff on the bus */
    TH_INSPECT_DEFERRED,    /* its handoff has waited for this host's clock, which is right now */
};

void th_inspect(struct th_daemon *daemon, const struct th_uuid *uuid, enum th_inspect_why why,
                int64_t event_mono_ns);
/* Asks libvirt for all running domains, and about each. */
void th_inspect_all(struct th_daemon *daemon);

/* ---- stamp ---- */

/* Writes the origin stamp, and goes on trying. The key is made and published first. */
void th_stamp(struct th_daemon *daemon, struct th_daemon_domain *domain);

/* ---- handoffs ---- */

/* Begins a handoff; one under way for this domain is made void first. */
void th_handoffs_begin(struct th_daemon *daemon, struct th_daemon_domain *domain,
                       const struct th_handoff_start *start);
/* This host's synchronisation was looked at: begins what waited for it, and gives up what has
 * waited too long. */
void th_handoffs_synchronised(struct th_daemon *daemon);
/* The agent's channel got connected. */
void th_handoffs_connected(struct th_daemon_domain *domain);
/* Stopped, rebooted, migrated away. */
void th_handoffs_void(struct th_daemon_domain *domain, const char *why);

/* ---- recheck ---- */

struct th_handoff;

/* Looks at a guest's clock again at the configured times after its handoff, which it takes. */
void th_recheck_begin(struct th_daemon *daemon, struct th_daemon_domain *domain,
                      struct th_handoff *handoff);
/* The guest was paused, resumed, left: what would be read says nothing about that handoff. */
void th_recheck_void(struct th_daemon_domain *domain);

/* ---- reconcile ---- */

/* Looks at all guests every ten minutes. 0 or negative errno. */
int th_reconcile_start(struct th_daemon *daemon);

/* ---- sleep ---- */

/* Hands off all running guests when the bus says that this host woke up. 0 or negative errno. */
int th_sleep_watch(struct th_daemon *daemon);

/* ---- system bus ---- */

/* Connects to it and asks for our name, if need be. No bus is no error. */
void th_system_bus_keep(struct th_daemon *daemon);
/* Tells how it is if that has changed; why only of what is not fine. */
void th_system_bus_tell(struct th_daemon *daemon, enum th_bus_state state, const char *why);
void th_system_bus_stop(struct th_daemon *daemon);

/* ---- clock step ---- */

/* Watches for steps of this host's clock, and says so. 0 or negative errno. */
int th_clock_step_start(struct th_daemon *daemon);
/* Looks now. */
void th_clock_step_look(struct th_daemon *daemon);

/* ---- hypervisor ---- */

/* Starts libvirt's event thread and the first connection. 0 or negative errno. */
int th_hypervisor_start(struct th_daemon *daemon);
void th_hypervisor_stop(struct th_daemon *daemon);
/* Makes a new connection if the present one turns out to be dead. */
void th_hypervisor_look(struct th_daemon *daemon);
/* The connection with a reference for the caller, or NULL while there is none. */
virConnectPtr th_hypervisor_connection(struct th_daemon *daemon);

/* What libvirt said, brought to the loop. */
enum th_event_kind { TH_EVENT_LIFECYCLE = 1, TH_EVENT_AGENT, TH_EVENT_REBOOT, TH_EVENT_CLOSED };

struct th_event {
    enum th_event_kind kind;
    struct th_uuid uuid;
    char name[256];
    int event, detail; /* lifecycle: libvirt's numbers; agent: state, reason */
    int64_t mono_ns;   /* when libvirt told us */
    struct th_event *next;
};

/* Decides what an event means (events.c). */
void th_event_handle(struct th_daemon *daemon, const struct th_event *event);

#endif
