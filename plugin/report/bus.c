/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The D-Bus table and its getters. Everything is read out of the status at the moment somebody
 * asks, so there is nothing here to be kept up to date; only the few values whose changes are told
 * are remembered, so that nothing is told that has not changed.
 */
#include "report/bus.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "timehandoff/report.h"

#define NAME "org.timehandoff1"
#define PATH "/org/timehandoff1"
#define INTERFACE "org.timehandoff1.Manager"

struct th_bus {
    struct th_bus_owner owner;
    sd_bus *connection;
    sd_bus_slot *object;
    sd_bus_slot *request; /* for the name, not answered yet; NULL: none */
    bool is_named;
    /* Told last: */
    enum th_ternary synchronised;
    enum th_sync_from from;
    char source[64];
    char ntp_servers[TH_SERVERS_TEXT_SIZE];
};

static const struct th_status *status_of(void *userdata) {
    struct th_bus *bus = userdata;

    return bus->owner.status(bus->owner.userdata);
}

/* ---- getters ---- */

#define GETTER(name)                                                                               \
    static int name(sd_bus *connection, const char *path, const char *interface,                   \
                    const char *property, sd_bus_message *reply, void *userdata,                   \
                    sd_bus_error *error)
#define UNUSED_GETTER (void)connection, (void)path, (void)interface, (void)property, (void)error

GETTER(get_host_name) {
    UNUSED_GETTER;
    return sd_bus_message_append(reply, "s", status_of(userdata)->host->name);
}

GETTER(get_synchronised) {
    UNUSED_GETTER;
    return sd_bus_message_append(reply, "s",
                                 th_ternary_name(status_of(userdata)->host->sync.synchronised));
}

GETTER(get_sync_from) {
    UNUSED_GETTER;
    return sd_bus_message_append(reply, "s",
                                 th_sync_from_name(status_of(userdata)->host->sync.from));
}

GETTER(get_sync_source) {
    UNUSED_GETTER;
    return sd_bus_message_append(reply, "s", status_of(userdata)->host->sync.source);
}

GETTER(get_error_bound) {
    UNUSED_GETTER;
    return sd_bus_message_append(reply, "x", status_of(userdata)->host->sync.error_ns);
}

GETTER(get_ntp_servers) {
    char names[TH_SERVERS_TEXT_SIZE], *rest = names, *name;
    int r = sd_bus_message_open_container(reply, 'a', "s");

    UNUSED_GETTER;
    strcpy(names, status_of(userdata)->host->ntp_servers);
    while (r >= 0 && (name = strsep(&rest, " "))) {
        r = *name ? sd_bus_message_append(reply, "s", name) : 0;
    }
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(get_override) {
    const struct th_status *status = status_of(userdata);

    UNUSED_GETTER;
    return sd_bus_message_append(reply, "x",
                                 status->override ? status->override->until_real_ns : (int64_t)0);
}

GETTER(get_alerts) {
    const struct th_status_host *host = status_of(userdata)->host;
    int r = sd_bus_message_open_container(reply, 'a', "(ssxs)");

    UNUSED_GETTER;
    for (size_t i = 0; r >= 0 && i < host->n_alerts; i++) {
        const struct th_alert *alert = &host->alerts[i];

        r = sd_bus_message_append(reply, "(ssxs)", th_alert_kind_name(alert->kind), alert->peer,
                                  alert->since_real_ns, alert->reason);
    }
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* One entry of a dictionary. */
static int append_text(sd_bus_message *reply, const char *key, const char *value) {
    return sd_bus_message_append(reply, "{sv}", key, "s", value);
}

static int append_number(sd_bus_message *reply, const char *key, int64_t value) {
    return sd_bus_message_append(reply, "{sv}", key, "x", value);
}

static int append_flag(sd_bus_message *reply, const char *key, bool value) {
    return sd_bus_message_append(reply, "{sv}", key, "b", (int)value);
}

static int append_peer(sd_bus_message *reply, const struct th_state_peer *peer) {
    int r = sd_bus_message_open_container(reply, 'a', "{sv}");

    r = r < 0 ? r : append_text(reply, "Host", peer->host);
    r = r < 0 ? r : append_text(reply, "Group", peer->group);
    r = r < 0 ? r : append_text(reply, "Found", peer->found_by_stamp ? "stamp" : "configuration");
    r = r < 0 ? r : append_flag(reply, "Answered", peer->answered);
    if (r >= 0 && peer->seen_real_ns) {
        r = append_flag(reply, "Authenticated", peer->authenticated);
        r = r < 0 ? r : append_number(reply, "OffsetNs", peer->gap.offset_ns);
        r = r < 0 ? r : append_number(reply, "BoundNs", peer->gap.bound_ns);
        r = r < 0 ? r : append_number(reply, "SeenRealNs", peer->seen_real_ns);
    }
    if (r >= 0 && peer->has_identity) {
        r = append_text(reply, "Synchronised", th_ternary_name(peer->synchronised));
    }
    if (r >= 0 && peer->has_ntp_servers) {
        r = append_text(reply, "NtpServers", peer->ntp_servers);
    }
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(get_peers) {
    const struct th_state_peers *peers = status_of(userdata)->peers;
    int r = sd_bus_message_open_container(reply, 'a', "a{sv}");

    UNUSED_GETTER;
    for (size_t i = 0; r >= 0 && peers && i < peers->n_peers; i++) {
        if (th_status_is_peer(&peers->peers[i])) {
            r = append_peer(reply, &peers->peers[i]);
        }
    }
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

static int append_handoff(sd_bus_message *reply, const struct th_status_handoff *handoff) {
    char uuid[TH_UUID_TEXT_SIZE];
    int r = sd_bus_message_open_container(reply, 'a', "{sv}");

    r = r < 0 ? r : append_text(reply, "Domain", handoff->domain);
    r = r < 0 ? r : append_text(reply, "Uuid", th_uuid_format(&handoff->uuid, uuid));
    r = r < 0 ? r : append_text(reply, "Trigger", handoff->trigger);
    r = r < 0 ? r : append_text(reply, "Outcome", handoff->outcome);
    r = r < 0 ? r : append_text(reply, "FromHost", handoff->from_host);
    r = r < 0 ? r : append_number(reply, "EndedRealNs", handoff->ended_real_ns);
    r = r < 0 ? r : append_number(reply, "SteppedNs", handoff->stepped_ns);
    if (r >= 0 && handoff->has_before) {
        r = append_number(reply, "BeforeNs", handoff->before_ns);
        r = r < 0 ? r : append_number(reply, "BeforeBoundNs", handoff->before_bound_ns);
    }
    if (r >= 0 && handoff->has_residual) {
        r = append_number(reply, "ResidualNs", handoff->residual_ns);
        r = r < 0 ? r : append_number(reply, "ResidualBoundNs", handoff->residual_bound_ns);
    }
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(get_handoffs) {
    const struct th_status_host *host = status_of(userdata)->host;
    int r = sd_bus_message_open_container(reply, 'a', "a{sv}");

    UNUSED_GETTER;
    for (size_t i = 0; r >= 0 && i < host->n_handoffs; i++) {
        r = append_handoff(reply, &host->handoffs[i]);
    }
    return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* ---- methods ---- */

/* The policy file of the bus says the same; this is for a bus without it. */
static int check_root(sd_bus_message *call, sd_bus_error *error) {
    sd_bus_creds *creds = NULL;
    uid_t uid = (uid_t)-1;
    int r = sd_bus_query_sender_creds(call, SD_BUS_CREDS_EUID, &creds);

    if (r >= 0) {
        r = sd_bus_creds_get_euid(creds, &uid);
    }
    sd_bus_creds_unref(creds);
    return r >= 0 && uid == 0
               ? 0
               : sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED, "only root may do this");
}

static int on_handoff(sd_bus_message *call, void *userdata, sd_bus_error *error) {
    struct th_bus *bus = userdata;
    const char *domain = NULL;
    int r = check_root(call, error);

    r = r < 0 ? r : sd_bus_message_read(call, "s", &domain);
    return r < 0 ? r : bus->owner.handoff(bus->owner.userdata, domain, call, error);
}

static int on_measure(sd_bus_message *call, void *userdata, sd_bus_error *error) {
    struct th_bus *bus = userdata;
    const char *peer = NULL;
    int r = check_root(call, error);

    r = r < 0 ? r : sd_bus_message_read(call, "s", &peer);
    return r < 0 ? r : bus->owner.measure(bus->owner.userdata, peer, call, error);
}

int th_bus_reply_measure(sd_bus_message *call, const struct th_state_peer *peer) {
    return sd_bus_reply_method_return(call, "bxxb", (int)peer->answered,
                                      peer->answered ? peer->gap.offset_ns : (int64_t)0,
                                      peer->answered ? peer->gap.bound_ns : (int64_t)0,
                                      (int)(peer->answered && peer->authenticated));
}

static const sd_bus_vtable table[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_PROPERTY("HostName", "s", get_host_name, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_PROPERTY("Synchronised", "s", get_synchronised, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("SyncFrom", "s", get_sync_from, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("SyncSource", "s", get_sync_source, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    /* These follow every measurement; who wants them reads them. */
    SD_BUS_PROPERTY("ErrorBoundNs", "x", get_error_bound, 0, 0),
    SD_BUS_PROPERTY("NtpServers", "as", get_ntp_servers, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("OverrideUntilRealNs", "x", get_override, 0, 0),
    SD_BUS_PROPERTY("Alerts", "a(ssxs)", get_alerts, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
    SD_BUS_PROPERTY("Peers", "aa{sv}", get_peers, 0, 0),
    SD_BUS_PROPERTY("Handoffs", "aa{sv}", get_handoffs, 0,
                    SD_BUS_VTABLE_PROPERTY_EMITS_INVALIDATION),
    SD_BUS_METHOD_WITH_ARGS("Handoff", SD_BUS_ARGS("s", domain), SD_BUS_NO_RESULT, on_handoff,
                            SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS(
        "Measure", SD_BUS_ARGS("s", peer),
        SD_BUS_RESULT("b", answered, "x", offset_ns, "x", bound_ns, "b", authenticated), on_measure,
        SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL_WITH_ARGS("AlertChanged",
                            SD_BUS_ARGS("s", kind, "s", peer, "b", set, "s", reason), 0),
    SD_BUS_SIGNAL_WITH_ARGS("HandoffFinished",
                            SD_BUS_ARGS("s", domain, "s", trigger, "s", outcome, "b", has_residual,
                                        "x", residual_ns, "x", residual_bound_ns),
                            0),
    SD_BUS_VTABLE_END,
};

/* ---- telling ---- */

static void keep_told(struct th_bus *bus, const struct th_status_host *host) {
    bus->synchronised = host->sync.synchronised;
    bus->from = host->sync.from;
    memcpy(bus->source, host->sync.source, sizeof(bus->source));
    memcpy(bus->ntp_servers, host->ntp_servers, sizeof(bus->ntp_servers));
}

void th_bus_refresh(struct th_bus *bus) {
    const struct th_status_host *host = status_of(bus)->host;
    const char *changed[5];
    size_t n = 0;

    if (bus->synchronised != host->sync.synchronised) {
        changed[n++] = "Synchronised";
    }
    if (bus->from != host->sync.from) {
        changed[n++] = "SyncFrom";
    }
    if (strcmp(bus->source, host->sync.source) != 0) {
        changed[n++] = "SyncSource";
    }
    if (strcmp(bus->ntp_servers, host->ntp_servers) != 0) {
        changed[n++] = "NtpServers";
    }
    changed[n] = NULL;
    if (n) {
        keep_told(bus, host);
        (void)sd_bus_emit_properties_changed_strv(bus->connection, PATH, INTERFACE,
                                                  (char **)(uintptr_t)changed);
    }
}

void th_bus_alert_changed(struct th_bus *bus, const struct th_alert *alert, bool set) {
    (void)sd_bus_emit_signal(bus->connection, PATH, INTERFACE, "AlertChanged", "ssbs",
                             th_alert_kind_name(alert->kind), alert->peer, (int)set, alert->reason);
    (void)sd_bus_emit_properties_changed(bus->connection, PATH, INTERFACE, "Alerts", NULL);
}

void th_bus_handoff_finished(struct th_bus *bus, const struct th_status_handoff *handoff) {
    (void)sd_bus_emit_signal(bus->connection, PATH, INTERFACE, "HandoffFinished", "sssbxx",
                             handoff->domain, handoff->trigger, handoff->outcome,
                             (int)handoff->has_residual, handoff->residual_ns,
                             handoff->residual_bound_ns);
    (void)sd_bus_emit_properties_changed(bus->connection, PATH, INTERFACE, "Handoffs", NULL);
}

/* ---- the name ---- */

/* Replies of the bus to RequestName (D-Bus specification, org.freedesktop.DBus.RequestName). */
enum { PRIMARY_OWNER = 1, ALREADY_OWNER = 4 };

static int on_named(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const sd_bus_error *refused = sd_bus_message_get_error(reply);
    struct th_bus *bus = userdata;
    const char *why = NULL;
    uint32_t how = 0;

    (void)error;
    bus->request = sd_bus_slot_unref(bus->request);
    if (sd_bus_is_open(bus->connection) <= 0 ||
        sd_bus_error_has_name(refused, SD_BUS_ERROR_NO_REPLY)) {
        return 0; /* not the bus's word, but for want of it */
    }
    if (refused) {
        why = refused->message ? refused->message : refused->name;
    } else if (sd_bus_message_read(reply, "u", &how) < 0) {
        why = "the bus's answer cannot be read";
    } else if (how != PRIMARY_OWNER && how != ALREADY_OWNER) {
        why = "another program has that name";
    }
    bus->is_named = !why;
    bus->owner.named(bus->owner.userdata, why);
    return 0;
}

static int claim(struct th_bus *bus) {
    return bus->is_named || bus->request
               ? 0
               : sd_bus_request_name_async(bus->connection, &bus->request, NAME, 0, on_named, bus);
}

void th_bus_claim(struct th_bus *bus) {
    (void)claim(bus);
}

int th_bus_new(sd_bus *connection, const struct th_bus_owner *owner, struct th_bus **ret_bus) {
    struct th_bus *bus = calloc(1, sizeof(*bus));
    int r;

    if (!bus) {
        return -ENOMEM;
    }
    bus->owner = *owner;
    bus->connection = connection;
    keep_told(bus, status_of(bus)->host);
    r = sd_bus_add_object_vtable(connection, &bus->object, PATH, INTERFACE, table, bus);
    if (r >= 0) {
        r = claim(bus);
    }
    if (r < 0) {
        th_bus_free(bus);
        return r;
    }
    *ret_bus = bus;
    return 0;
}

struct th_bus *th_bus_free(struct th_bus *bus) {
    if (bus) {
        sd_bus_slot_unref(bus->request);
        sd_bus_slot_unref(bus->object);
        free(bus);
    }
    return NULL;
}
