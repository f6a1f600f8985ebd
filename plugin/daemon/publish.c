/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What peerd and the checker may know of this host: written when it changes and at least every
 * TH_DAEMON_REFRESH_NS, so that silence shows as staleness. Synchronisation and NTP servers are
 * read by a worker, since a chronyd that is stopped makes chronyc wait.
 */
#include "daemon/fleet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "timehandoff/report.h"

#define SYNC_TIMEOUT_NS (5 * TH_NS_PER_S)
/* Not read for this long: not known. */
#define SYNC_MAX_AGE_NS (3 * TH_DAEMON_REFRESH_NS)
/* How often to look while a new look of the time daemon is waited for, and how long that is where
 * its looks can't be seen. */
#define DISTRUST_REFRESH_NS (2 * TH_NS_PER_S)
#define DISTRUST_BLIND_NS (60 * TH_NS_PER_S)

struct sync_job {
    struct th_job job;
    struct th_daemon *daemon;
    struct th_sync sync;
    int result;
    struct th_ntp_status ntp;
    int ntp_result;
};

static size_t collect(const struct th_daemon *daemon, struct th_answer_domain *domains,
                      size_t max) {
    size_t n = 0;

    for (const struct th_daemon_domain *domain = daemon->domains; domain && n < max;
         domain = domain->next) {
        /* A guest on its way in is the source's until it runs here: of it we say nothing. */
        domains[n++] = (struct th_answer_domain){
            .uuid = domain->uuid,
            .state = domain->incoming ? TH_DOMAIN_UNKNOWN : domain->state,
            .key = domain->key,
            .due = domain->due,
        };
    }
    return n;
}

int th_publish(struct th_daemon *daemon) {
    struct th_state_host host = {
        .uuid = daemon->host_uuid,
        .sync = daemon->sync,
        .domains_known = daemon->domains_known,
        .ntp_known = daemon->ntp_known,
        .ntp = daemon->ntp, /* lent */
    };
    struct th_now now = th_now();
    size_t n = 0;
    int r;

    if (daemon->ending) {
        return 0;
    }
    if (daemon->holding && !daemon->domains_known) {
        return 0;
    }
    daemon->holding = false;
    for (const struct th_daemon_domain *domain = daemon->domains; domain; domain = domain->next) {
        n++;
    }
    memcpy(host.ntp_digest, daemon->ntp_digest, sizeof(host.ntp_digest));
    th_text_clean(daemon->host_name, host.name, sizeof(host.name));
    host.domains = calloc(n + 1, sizeof(*host.domains));
    if (!host.domains) {
        return -ENOMEM; /* the file grows stale, which is the honest thing */
    }
    host.n_domains = collect(daemon, host.domains, n);
    host.n_origins = th_fleet_origins(daemon, host.origins);
    r = th_state_host_write(TH_STATE_FOLDER, &host, &now, TH_DAEMON_REFRESH_NS, daemon->group);
    host.ntp = (struct th_ntp_servers){.n = 0};
    th_state_host_deinit(&host);
    if (r < 0) {
        th_report(LOG_WARNING, NULL, "timehandoffd: cannot write %s/%s, ignoring: %s",
                  TH_STATE_FOLDER, TH_STATE_HOST_FILE, strerror(-r));
    }
    return r;
}

static void sync_work(struct th_job *job) {
    struct sync_job *sync = (struct sync_job *)job;

    sync->result = th_sync_read(SYNC_TIMEOUT_NS, &sync->sync);
    /* A time daemon that has just been silent would be so again. */
    sync->ntp_result =
        th_ntp_read("", sync->sync.synchronised == TH_UNKNOWN ? 0 : SYNC_TIMEOUT_NS, &sync->ntp);
}

/* The list that was read, or none. A daemon that is silent can't tell what DHCP or somebody at run
 * time gave it, so what it said before stands. */
static void take_ntp(struct th_daemon *daemon, struct sync_job *sync) {
    if (sync->ntp_result == 0 && sync->ntp.running && !sync->ntp.answered && daemon->ntp_known) {
        th_ntp_status_deinit(&sync->ntp);
        return;
    }
    th_ntp_servers_deinit(&daemon->ntp);
    daemon->ntp = (struct th_ntp_servers){.n = 0};
    memset(daemon->ntp_digest, 0, sizeof(daemon->ntp_digest));
    daemon->ntp_known = sync->ntp_result == 0 && sync->ntp.from != TH_SYNC_FROM_NOTHING &&
                        th_ntp_digest(&sync->ntp.servers, daemon->ntp_digest) == 0;
    if (daemon->ntp_known) {
        daemon->ntp = sync->ntp.servers;
        sync->ntp.servers = (struct th_ntp_servers){.n = 0};
    }
    if (sync->ntp_result == 0) {
        th_ntp_status_deinit(&sync->ntp);
    }
}

/* After the host's clock was stepped, or stood still with the host, what a time daemon says of it
 * is true only once it has looked again. A clock of which no such look can be seen is believed
 * after a while. */
static void distrust_old(struct th_daemon *daemon, struct th_sync *sync) {
    int64_t since_ns = th_now_mono_ns() - daemon->distrust_mono_ns;

    if (!daemon->distrust_mono_ns || sync->synchronised != TH_YES) {
        return;
    }
    if (sync->age_ns >= 0 ? sync->age_ns < since_ns : since_ns > DISTRUST_BLIND_NS) {
        daemon->distrust_mono_ns = 0;
        return;
    }
    sync->synchronised = TH_UNKNOWN;
    th_text_clean("not updated since this host's clock was stepped or stood still", sync->reason,
                  sizeof(sync->reason));
}

void th_sync_distrust(struct th_daemon *daemon, int64_t stepped_ns) {
    int64_t back_ns = stepped_ns < 0 ? -stepped_ns : 0;

    /* A look before a step back seems younger than it is, by the step. A time daemon notices a
     * large one itself, so that this need not be for ever. */
    daemon->distrust_mono_ns =
        th_now_mono_ns() + (back_ns < DISTRUST_BLIND_NS ? back_ns : DISTRUST_BLIND_NS);
    daemon->sync.synchronised = TH_UNKNOWN;
    th_text_clean("this host's clock was stepped or stood still", daemon->sync.reason,
                  sizeof(daemon->sync.reason));
    th_publish(daemon);
    (void)sd_event_source_set_time_relative(daemon->refresh, DISTRUST_REFRESH_NS / TH_NS_PER_US);
}

static void sync_done(struct th_job *job) {
    struct sync_job *sync = (struct sync_job *)job;
    struct th_daemon *daemon = sync->daemon;

    if (sync->result < 0) {
        sync->sync = (struct th_sync){.error_ns = -1, .age_ns = -1};
        th_text_clean(strerror(-sync->result), sync->sync.reason, sizeof(sync->sync.reason));
    }
    daemon->reading_sync = false;
    daemon->sync_mono_ns = th_now_mono_ns();
    distrust_old(daemon, &sync->sync);
    if (sync->sync.synchronised != daemon->sync.synchronised) {
        th_report(sync->sync.synchronised == TH_YES ? LOG_INFO : LOG_WARNING, TH_MESSAGE_SERVICE,
                  "timehandoffd: this host is synchronised: %s (%s)",
                  th_ternary_name(sync->sync.synchronised), sync->sync.reason);
    }
    daemon->sync = sync->sync;
    take_ntp(daemon, sync);
    th_publish(daemon);
    th_fleet_host_observed(daemon);
    if (!daemon->ending) {
        th_handoffs_synchronised(daemon);
    }
    free(sync);
    if (daemon->distrust_mono_ns && !daemon->ending) {
        (void)sd_event_source_set_time_relative(daemon->refresh,
                                                DISTRUST_REFRESH_NS / TH_NS_PER_US);
    }
}

static void read_sync(struct th_daemon *daemon) {
    struct sync_job *sync = daemon->reading_sync ? NULL : calloc(1, sizeof(*sync));

    if (!sync) {
        return;
    }
    daemon->reading_sync = true;
    sync->job = (struct th_job){.work = sync_work, .done = sync_done};
    sync->daemon = daemon;
    th_pool_submit(daemon->pool, &sync->job);
}

static int on_refresh(sd_event_source *source, uint64_t usec, void *userdata) {
    struct th_daemon *daemon = userdata;

    (void)usec;
    th_clock_step_look(daemon);
    th_domains_expire(daemon, th_now_mono_ns());
    /* Workers may all be busy with guests, or libvirt not there: the file is renewed all the same.
     */
    daemon->holding = false;
    if (daemon->sync_mono_ns && th_now_mono_ns() - daemon->sync_mono_ns > SYNC_MAX_AGE_NS) {
        daemon->sync.synchronised = TH_UNKNOWN;
    }
    th_hypervisor_look(daemon);
    th_system_bus_keep(daemon);
    th_publish(daemon);
    read_sync(daemon);
    (void)sd_event_source_set_time_relative(source, TH_DAEMON_REFRESH_NS / TH_NS_PER_US);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int th_publish_start(struct th_daemon *daemon) {
    read_sync(daemon);
    return sd_event_add_time_relative(daemon->event, &daemon->refresh, CLOCK_MONOTONIC,
                                      TH_DAEMON_REFRESH_NS / TH_NS_PER_US, 0, on_refresh, daemon);
}
