/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the daemon makes of what peerd learnt: each new round of measurements is one observation for
 * the alerts, and alerts go to the journal, to the bus, into the status file and the metrics. Also
 * kept here for these: the last handoff of each guest, and the hosts that guests came from.
 *
 * Alerts that were set when the daemon before us ended are read back out of its status file, so a
 * restart tells nothing anew.
 */
#include "daemon/fleet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <syslog.h>

#include "timehandoff/report.h"
#include "timehandoff/status.h"

#define PEERS_FOLDER TH_STATE_FOLDER "/peers"
/* A host that no guest has come from for this long is no longer watched for it. */
#define ORIGIN_KEPT_NS (24 * 3600 * TH_NS_PER_S)

struct origin {
    struct th_state_origin origin;
    int64_t seen_mono_ns;
};

struct th_fleet {
    struct th_daemon *daemon;
    struct th_alerts *alerts;
    bool has_peers; /* of the file that was read last; it may have grown stale since */
    struct th_state_peers peers;
    int64_t peers_boot_ns; /* when that was */
    sd_event_source *peers_watch;
    size_t n_handoffs; /* newest first */
    struct th_status_handoff handoffs[TH_STATUS_MAX_HANDOFFS];
    struct th_status_counts counts;
    size_t n_origins; /* newest first */
    struct origin origins[TH_STATE_MAX_ORIGINS];
    bool told_textfile; /* that the metrics cannot be written */
    /* Put together for who asks: */
    struct th_status_host host;
    struct th_state_override override;
    struct th_status status;
};

/* ---- what there is to see ---- */

static void fill_alerts(struct th_fleet *fleet) {
    const struct th_alert *list[TH_STATUS_MAX_ALERTS];
    size_t n = th_alerts_list(fleet->alerts, list, TH_ELEMENTS(list));
    struct th_alert *alerts;

    n = n < TH_ELEMENTS(list) ? n : TH_ELEMENTS(list);
    alerts = calloc(n + 1, sizeof(*alerts));
    free(fleet->host.alerts);
    fleet->host.alerts = alerts;
    fleet->host.n_alerts = alerts ? n : 0;
    for (size_t i = 0; alerts && i < n; i++) {
        alerts[i] = *list[i];
    }
}

static void fill_servers(struct th_fleet *fleet) {
    th_auto_free char *names = NULL;

    fleet->host.has_ntp_servers =
        fleet->daemon->ntp_known && th_ntp_text(&fleet->daemon->ntp, &names) == 0;
    th_text_clean(names ? names : "", fleet->host.ntp_servers, sizeof(fleet->host.ntp_servers));
}

static bool read_override(struct th_state_override *ret_override, const struct th_now *now) {
    th_auto_close int fd = th_state_open(TH_STATE_FOLDER, TH_STATE_OVERRIDE_FILE);

    return fd >= 0 && th_state_override_read(fd, now, ret_override) == 0;
}

/* Three rounds without a new file: peerd is gone, and what it knew is not known any more. */
static bool peers_are_fresh(const struct th_fleet *fleet, const struct th_now *now) {
    return fleet->has_peers &&
           now->boot_ns - fleet->peers_boot_ns < 3 * fleet->daemon->config->peer_interval_ns;
}

const struct th_status *th_fleet_status(struct th_daemon *daemon) {
    struct th_fleet *fleet = daemon->fleet;
    struct th_now now = th_now();

    th_text_clean(daemon->host_name, fleet->host.name, sizeof(fleet->host.name));
    fleet->host.sync = daemon->sync;
    fill_servers(fleet);
    fill_alerts(fleet);
    fleet->host.handoffs = fleet->handoffs;
    fleet->host.n_handoffs = fleet->n_handoffs;
    fleet->status = (struct th_status){
        .now_real_ns = now.real_ns,
        .now_boot_ns = now.boot_ns,
        .host = &fleet->host,
        .peers = peers_are_fresh(fleet, &now) ? &fleet->peers : NULL,
        .override = read_override(&fleet->override, &now) ? &fleet->override : NULL,
        .counts = &fleet->counts,
    };
    return &fleet->status;
}

static void write_metrics(struct th_fleet *fleet, const struct th_status *status) {
    const char *path = fleet->daemon->config->textfile;
    int r = path ? th_report_metrics_write(status, path) : 0;

    if (r < 0 && !fleet->told_textfile) {
        th_report(LOG_WARNING, TH_MESSAGE_SERVICE, "timehandoffd: cannot write metrics to %s: %s",
                  path, strerror(-r));
    }
    fleet->told_textfile = r < 0;
}

void th_fleet_publish(struct th_daemon *daemon) {
    const struct th_status *status;
    struct th_now now = th_now();
    int r;

    if (daemon->ending || !daemon->fleet) {
        return;
    }
    status = th_fleet_status(daemon);
    r = th_status_write(TH_STATE_FOLDER, status->host, &now, TH_DAEMON_REFRESH_NS);
    if (r < 0) {
        th_report(LOG_WARNING, NULL, "timehandoffd: cannot write %s/%s, ignoring: %s",
                  TH_STATE_FOLDER, TH_STATE_STATUS_FILE, strerror(-r));
    }
    write_metrics(daemon->fleet, status);
    th_fleet_shown(daemon);
}

/* ---- alerts ---- */

/* What an observation is judged by, with the lists that it needs. */
struct judging {
    struct th_alert_rules rules;
    struct th_alert_host host;
    char *configured, *servers;
};

static void judging_deinit(struct judging *judging) {
    free(judging->configured);
    free(judging->servers);
}

static int judging_init(struct judging *judging, const struct th_daemon *daemon) {
    *judging = (struct judging){
        .rules = {.enabled = daemon->config->alerts, .gap_ns = daemon->config->alert_gap_ns},
        .host = {.name = daemon->host_name,
                 .synchronised = daemon->sync.synchronised,
                 .sync_reason = daemon->sync.reason},
    };
    if (th_ntp_text(&daemon->config->ntp, &judging->configured) < 0 ||
        (daemon->ntp_known && th_ntp_text(&daemon->ntp, &judging->servers) < 0)) {
        judging_deinit(judging);
        return -ENOMEM;
    }
    judging->rules.ntp_configured = judging->configured;
    judging->host.ntp_servers = judging->servers;
    memcpy(judging->host.ntp_digest, daemon->ntp_digest, sizeof(judging->host.ntp_digest));
    return 0;
}

static void on_alert(void *userdata, const struct th_alert *alert, bool set) {
    struct th_fleet *fleet = userdata;

    th_report_alert_journal(alert, set);
    th_fleet_told(fleet->daemon, alert, set);
}

void th_fleet_host_observed(struct th_daemon *daemon) {
    struct th_fleet *fleet = daemon->fleet;
    struct judging judging;

    if (!fleet || daemon->ending) {
        return;
    }
    if (judging_init(&judging, daemon) == 0) {
        (void)th_alerts_observe_host(fleet->alerts, &judging.rules, &judging.host, th_now_real_ns(),
                                     on_alert, fleet);
        judging_deinit(&judging);
    }
    th_fleet_publish(daemon);
}

static void read_peers(struct th_fleet *fleet) {
    th_auto_close int fd = th_state_open(TH_STATE_FOLDER, TH_STATE_PEERS_FILE);
    struct th_daemon *daemon = fleet->daemon;
    struct th_now now = th_now();
    struct th_state_peers peers;
    struct judging judging;

    if (fd < 0 || th_state_peers_read(fd, &now, TH_STATE_FRESH, &peers) < 0) {
        return;
    }
    th_state_peers_deinit(&fleet->peers);
    fleet->peers = peers;
    fleet->has_peers = true;
    fleet->peers_boot_ns = now.boot_ns;
    if (judging_init(&judging, daemon) == 0) {
        (void)th_alerts_observe_peers(fleet->alerts, &judging.rules, &judging.host, &fleet->peers,
                                      now.real_ns, on_alert, fleet);
        judging_deinit(&judging);
    }
    th_fleet_publish(daemon);
    th_fleet_measured(daemon, &fleet->peers);
}

static int on_peers(sd_event_source *source, const struct inotify_event *event, void *userdata) {
    (void)source;
    if (event->len && strcmp(event->name, strrchr(TH_STATE_PEERS_FILE, '/') + 1) == 0) {
        read_peers(userdata);
    }
    return 0;
}

/* ---- handoffs ---- */

/* One place a guest: the newest first, the oldest falls off. */
static void keep_handoff(struct th_fleet *fleet, const struct th_status_handoff *handoff) {
    size_t at = 0;

    while (at < fleet->n_handoffs && !th_uuid_equal(&fleet->handoffs[at].uuid, &handoff->uuid)) {
        at++;
    }
    if (at == fleet->n_handoffs && fleet->n_handoffs < TH_STATUS_MAX_HANDOFFS) {
        fleet->n_handoffs++;
    }
    at = at < TH_STATUS_MAX_HANDOFFS ? at : TH_STATUS_MAX_HANDOFFS - 1;
    memmove(fleet->handoffs + 1, fleet->handoffs, at * sizeof(fleet->handoffs[0]));
    fleet->handoffs[0] = *handoff;
}

void th_fleet_handed_off(struct th_daemon *daemon, const struct th_handoff_record *record) {
    struct th_fleet *fleet = daemon->fleet;
    struct th_status_handoff handoff;

    if (!fleet || daemon->ending) {
        return;
    }
    fleet->counts.handoffs[record->outcome]++;
    if (record->trigger == TH_TRIGGER_MIGRATED) {
        fleet->counts.arrivals_checked += record->has_gap;
        fleet->counts.arrivals_unchecked += !record->has_gap;
    }
    th_status_handoff_from(record, th_now_real_ns(), &handoff);
    keep_handoff(fleet, &handoff);
    th_fleet_publish(daemon);
    th_fleet_finished(daemon, &handoff);
}

/* ---- hosts that guests came from ---- */

void th_fleet_came_from(struct th_daemon *daemon, const struct th_origin *origin) {
    struct th_fleet *fleet = daemon->fleet;
    struct origin seen = {.seen_mono_ns = th_now_mono_ns()};
    size_t at = 0;

    if (!fleet || !origin->n_addresses || !origin->host[0]) {
        return;
    }
    th_text_clean(origin->host, seen.origin.host, sizeof(seen.origin.host));
    seen.origin.uuid = origin->uuid;
    for (size_t i = 0; i < origin->n_addresses && i < TH_STATE_MAX_ADDRESSES; i++) {
        seen.origin.addresses[seen.origin.n_addresses++] = origin->addresses[i];
    }
    while (at < fleet->n_origins &&
           !th_uuid_equal(&fleet->origins[at].origin.uuid, &origin->uuid) &&
           strcmp(fleet->origins[at].origin.host, seen.origin.host) != 0) {
        at++;
    }
    if (at == fleet->n_origins && fleet->n_origins < TH_STATE_MAX_ORIGINS) {
        fleet->n_origins++;
    }
    at = at < TH_STATE_MAX_ORIGINS ? at : TH_STATE_MAX_ORIGINS - 1;
    memmove(fleet->origins + 1, fleet->origins, at * sizeof(fleet->origins[0]));
    fleet->origins[0] = seen;
    th_publish(daemon);
}

size_t th_fleet_origins(struct th_daemon *daemon,
                        struct th_state_origin ret_origins[TH_STATE_MAX_ORIGINS]) {
    struct th_fleet *fleet = daemon->fleet;
    int64_t mono_ns = th_now_mono_ns();
    size_t n = 0;

    while (fleet && n < fleet->n_origins &&
           mono_ns - fleet->origins[n].seen_mono_ns < ORIGIN_KEPT_NS) {
        ret_origins[n] = fleet->origins[n].origin;
        n++;
    }
    if (fleet) {
        fleet->n_origins = n;
    }
    return n;
}

/* ---- beginning and end ---- */

static void take_over_status(struct th_fleet *fleet) {
    th_auto_close int fd = th_state_open(TH_STATE_FOLDER, TH_STATE_STATUS_FILE);
    struct th_now now = th_now();
    struct th_status_host past;

    if (fd < 0 || th_status_read(fd, &now, TH_STATE_ANY_AGE, &past) < 0) {
        return;
    }
    for (size_t i = 0; i < past.n_alerts; i++) {
        (void)th_alerts_restore(fleet->alerts, &past.alerts[i]);
    }
    for (size_t i = past.n_handoffs; i-- > 0;) {
        keep_handoff(fleet, &past.handoffs[i]);
    }
    th_status_host_deinit(&past);
}

/* And the hosts that guests came from, out of the other file. */
static void take_over_origins(struct th_fleet *fleet) {
    th_auto_close int fd = th_state_open(TH_STATE_FOLDER, TH_STATE_HOST_FILE);
    struct th_now now = th_now();
    struct th_state_host past;

    if (fd < 0 || th_state_host_read(fd, &now, TH_STATE_ANY_AGE, &past) < 0) {
        return;
    }
    for (size_t i = 0; i < past.n_origins; i++) {
        fleet->origins[i] = (struct origin){past.origins[i], now.mono_ns};
    }
    fleet->n_origins = past.n_origins;
    th_state_host_deinit(&past);
}

int th_fleet_start(struct th_daemon *daemon) {
    struct th_fleet *fleet = calloc(1, sizeof(*fleet));
    int r;

    if (!fleet) {
        return -ENOMEM;
    }
    fleet->daemon = daemon;
    r = th_alerts_new(&fleet->alerts);
    if (r < 0) {
        free(fleet);
        return r;
    }
    daemon->fleet = fleet;
    take_over_status(fleet);
    take_over_origins(fleet);
    /* peerd makes the folder; where it does not run yet, its place is kept. */
    r = sd_event_add_inotify(daemon->event, &fleet->peers_watch, PEERS_FOLDER,
                             IN_MOVED_TO | IN_ONLYDIR, on_peers, fleet);
    if (r < 0) {
        th_report(LOG_NOTICE, NULL, "timehandoffd: cannot watch %s, so there are no alerts: %s",
                  PEERS_FOLDER, strerror(-r));
    }
    read_peers(fleet);
    return 0;
}

void th_fleet_stop(struct th_daemon *daemon) {
    struct th_fleet *fleet = daemon->fleet;

    if (!fleet) {
        return;
    }
    daemon->fleet = NULL;
    sd_event_source_disable_unref(fleet->peers_watch);
    th_alerts_free(fleet->alerts);
    th_state_peers_deinit(&fleet->peers);
    free(fleet->host.alerts);
    free(fleet);
}
