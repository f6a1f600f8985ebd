/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The origin stamp: in the live metadata of every domain that runs here, so that the next host's
 * hook knows whom to ask, and under which key. The key is published to peerd before the stamp is
 * written: the first question may come the moment libvirt has it.
 */
#include "daemon/daemon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "fleet/own_address.h"
#include "timehandoff/report.h"

/* A job in the way (a migration, a backup) makes libvirt refuse after 30 s; then again, for as long
 * as it takes: the pause grows to this. */
#define RETRY_FIRST_S 1
#define RETRY_LAST_S 60

struct stamp_job {
    struct th_job job;
    struct th_daemon *daemon;
    virConnectPtr connection;
    struct th_uuid uuid;
    struct th_origin origin;
    int result; /* 0, or negative errno */
    bool gone;
    char error[200];
};

/* True if the stamp that is there says the same, apart from when. */
static bool same_stamp(const struct th_virt *virt, virDomainPtr domain,
                       const struct th_origin *origin) {
    char *xml = virt->virDomainGetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, TH_ORIGIN_NAMESPACE,
                                           VIR_DOMAIN_AFFECT_LIVE);
    struct th_origin there;
    bool same = false;

    if (xml && th_origin_parse(xml, &there) == 0) {
        same = th_uuid_equal(&there.uuid, &origin->uuid) && there.key.id == origin->key.id &&
               memcmp(there.key.bytes, origin->key.bytes, sizeof(there.key.bytes)) == 0 &&
               there.n_addresses == origin->n_addresses &&
               memcmp(there.addresses, origin->addresses,
                      there.n_addresses * sizeof(there.addresses[0])) == 0;
        th_key_wipe(&there.key);
    }
    free(xml);
    return same;
}

static void stamp_work(struct th_job *job) {
    struct stamp_job *stamp = (struct stamp_job *)job;
    const struct th_virt *virt = stamp->daemon->virt;
    virDomainPtr domain = virt->virDomainLookupByUUID(stamp->connection, stamp->uuid.bytes);
    char *xml = NULL;

    stamp->gone = !domain;
    if (!domain) {
        return;
    }
    if (!stamp->origin.n_addresses) {
        stamp->result = -EADDRNOTAVAIL;
        th_text_clean("no address is up that another host could ask this one at; see announce in "
                      "timehandoff.conf(5)",
                      stamp->error, sizeof(stamp->error));
        virt->virDomainFree(domain);
        return;
    }
    stamp->result =
        same_stamp(virt, domain, &stamp->origin) ? 0 : th_origin_format(&stamp->origin, &xml);
    if (xml &&
        virt->virDomainSetMetadata(domain, VIR_DOMAIN_METADATA_ELEMENT, xml, TH_ORIGIN_PREFIX,
                                   TH_ORIGIN_NAMESPACE, VIR_DOMAIN_AFFECT_LIVE) < 0) {
        stamp->result = -EIO;
        th_virt_last_error(virt, stamp->error, sizeof(stamp->error));
    }
    if (xml) {
        explicit_bzero(xml, strlen(xml));
    }
    free(xml);
    virt->virDomainFree(domain);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata);

/* Where the domain's timer finds its daemon. */
struct retry {
    struct th_daemon *daemon;
    struct th_uuid uuid;
};

static void retry_later(struct th_daemon *daemon, struct th_daemon_domain *domain) {
    uint64_t seconds = RETRY_FIRST_S;
    struct retry *retry = malloc(sizeof(*retry));

    if (!retry) {
        return;
    }
    *retry = (struct retry){.daemon = daemon, .uuid = domain->uuid};
    for (unsigned i = 1; i < domain->stamp_failures && seconds < RETRY_LAST_S; i++) {
        seconds *= 2;
    }
    domain->stamp_retry = sd_event_source_disable_unref(domain->stamp_retry);
    if (sd_event_add_time_relative(daemon->event, &domain->stamp_retry, CLOCK_MONOTONIC,
                                   seconds * 1000000, 0, on_retry, retry) < 0) {
        free(retry);
        return;
    }
    (void)sd_event_source_set_destroy_callback(domain->stamp_retry, free);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata) {
    const struct retry *retry = userdata;
    struct th_daemon_domain *domain = th_domains_find(retry->daemon, &retry->uuid);

    (void)source;
    (void)usec;
    if (domain && domain->state != TH_DOMAIN_INACTIVE) {
        th_stamp(retry->daemon, domain);
    }
    return 0;
}

static void stamp_failed(struct stamp_job *stamp, struct th_daemon_domain *domain) {
    domain->stamp_failures++;
    if (domain->stamp_failures == 1) {
        th_report_domain(LOG_NOTICE, TH_MESSAGE_STAMP, domain->name,
                         "timehandoffd: cannot write the origin stamp of %s, trying again: %s",
                         domain->name, stamp->error[0] ? stamp->error : strerror(-stamp->result));
    }
    retry_later(stamp->daemon, domain);
}

static void stamp_done(struct th_job *job) {
    struct stamp_job *stamp = (struct stamp_job *)job;
    struct th_daemon_domain *domain = th_domains_find(stamp->daemon, &stamp->uuid);

    if (domain) {
        domain->stamping = false;
        if (stamp->result == 0 && !stamp->gone) {
            domain->stamped = true;
            domain->stamp_failures = 0;
        } else if (!stamp->gone && domain->state != TH_DOMAIN_INACTIVE) {
            stamp_failed(stamp, domain);
        }
    }
    th_key_wipe(&stamp->origin.key);
    stamp->daemon->virt->virConnectClose(stamp->connection);
    free(stamp);
}

/* The addresses that another host may reach us at: those named in the configuration, else all. */
static void fill_addresses(const struct th_config *config, struct th_origin *origin) {
    for (size_t i = 0; i < config->n_announce && origin->n_addresses < TH_ORIGIN_MAX_ADDRESSES;
         i++) {
        if (th_address_parse(config->announce[i], config->listen_port,
                             &origin->addresses[origin->n_addresses]) == 0) {
            origin->n_addresses++;
        }
    }
    if (!config->n_announce) {
        origin->n_addresses =
            th_own_addresses(config->listen_port, origin->addresses, TH_ORIGIN_MAX_ADDRESSES);
    }
}

void th_stamp(struct th_daemon *daemon, struct th_daemon_domain *domain) {
    virConnectPtr connection;
    struct stamp_job *stamp;

    if (domain->stamping || th_uuid_is_none(&daemon->host_uuid)) {
        return;
    }
    if (!domain->key.id && th_key_random(&domain->key) < 0) {
        return;
    }
    /* Held back or not: nobody may read the key in the stamp before it is answered. */
    daemon->holding = false;
    if (th_publish(daemon) < 0) {
        /* Nobody could answer under its key: better no stamp than one that looks forged. */
        domain->stamp_failures++;
        retry_later(daemon, domain);
        return;
    }
    connection = th_hypervisor_connection(daemon);
    stamp = connection ? calloc(1, sizeof(*stamp)) : NULL;
    if (!stamp) {
        if (connection) {
            daemon->virt->virConnectClose(connection);
        }
        return;
    }
    stamp->job = (struct th_job){.work = stamp_work, .done = stamp_done};
    stamp->daemon = daemon;
    stamp->connection = connection;
    stamp->uuid = domain->uuid;
    stamp->origin.uuid = daemon->host_uuid;
    stamp->origin.key = domain->key;
    stamp->origin.since_ns = th_now_real_ns();
    stamp->result = -ECANCELED;
    th_text_clean(daemon->host_name, stamp->origin.host, sizeof(stamp->origin.host));
    fill_addresses(daemon->config, &stamp->origin);
    domain->stamping = true;
    th_pool_submit(daemon->stamp_pool, &stamp->job);
}
