/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of domains: those that run here, those that are on their way in, and for a day those
 * that left. The departed are kept for their keys: a migration onward from a host whose daemon was
 * down still carries our stamp, and only an answer under its key, saying "inactive", proves it
 * stale.
 */
#include "daemon/daemon.h"

#include <stdlib.h>
#include <string.h>

#include "config/arrival.h"

/* Departed domains beyond this many are forgotten, the oldest first. */
#define MAX_DEPARTED 4096

struct th_daemon_domain *th_domains_find(struct th_daemon *daemon, const struct th_uuid *uuid) {
    for (struct th_daemon_domain *domain = daemon->domains; domain; domain = domain->next) {
        if (th_uuid_equal(&domain->uuid, uuid)) {
            return domain;
        }
    }
    return NULL;
}

struct th_daemon_domain *th_domains_add(struct th_daemon *daemon, const struct th_uuid *uuid,
                                        const char *name) {
    struct th_daemon_domain *domain = th_domains_find(daemon, uuid);

    if (!domain) {
        domain = calloc(1, sizeof(*domain));
        if (!domain) {
            return NULL;
        }
        domain->uuid = *uuid;
        domain->next = daemon->domains;
        daemon->domains = domain;
    }
    if (domain->state == TH_DOMAIN_INACTIVE) {
        domain->state = TH_DOMAIN_UNKNOWN;
        domain->stamped = false;
    }
    th_text_clean(name, domain->name, sizeof(domain->name));
    return domain;
}

void th_domains_depart(struct th_daemon *daemon, struct th_daemon_domain *domain) {
    th_handoffs_void(domain, "the guest left this host or stopped");
    if (domain->incoming && daemon->arrivals >= 0) {
        struct th_arrival of_no_use;

        /* A migration that failed: its note is not for the next one to find. */
        (void)th_arrival_take(daemon->arrivals, &domain->uuid, th_now_real_ns(), &of_no_use);
    }
    domain->stamp_retry = sd_event_source_disable_unref(domain->stamp_retry);
    domain->state = TH_DOMAIN_INACTIVE;
    domain->incoming = false;
    domain->due = false;
    domain->told_no_agent = false;
    domain->reported_ns = 0;
    domain->stamped = false;
    domain->departed_mono_ns = th_now_mono_ns();
}

void th_domains_take_over(struct th_daemon *daemon) {
    th_auto_close int fd = th_state_open(TH_STATE_FOLDER, TH_STATE_HOST_FILE);
    struct th_now now = th_now();
    struct th_state_host past;

    if (fd < 0 || th_state_host_read(fd, &now, TH_STATE_ANY_AGE, &past) < 0) {
        return;
    }
    for (size_t i = 0; i < past.n_domains; i++) {
        const struct th_answer_domain *known = &past.domains[i];
        struct th_daemon_domain *domain = th_domains_add(daemon, &known->uuid, "");

        if (domain) {
            domain->key = known->key;
            domain->state = known->state;
            domain->due = known->due;
            domain->departed_mono_ns = now.mono_ns;
        }
    }
    daemon->holding = true;
    daemon->has_past = past.domains_known;
    th_state_host_deinit(&past);
}

static void domain_free(struct th_daemon_domain *domain) {
    sd_event_source_disable_unref(domain->stamp_retry);
    th_key_wipe(&domain->key);
    free(domain);
}

/* A domain that a job or a handoff still works on stays. */
static bool may_go(const struct th_daemon_domain *domain, int64_t mono_ns, unsigned n_departed) {
    return domain->state == TH_DOMAIN_INACTIVE && !domain->handoff && !domain->stamping &&
           (mono_ns - domain->departed_mono_ns > TH_DAEMON_DEPARTED_NS ||
            n_departed > MAX_DEPARTED || !domain->key.id);
}

void th_domains_expire(struct th_daemon *daemon, int64_t mono_ns) {
    unsigned n_departed = 0;

    for (struct th_daemon_domain **at = &daemon->domains; *at;) {
        struct th_daemon_domain *domain = *at;

        n_departed += domain->state == TH_DOMAIN_INACTIVE;
        if (may_go(domain, mono_ns, n_departed)) {
            *at = domain->next;
            domain_free(domain);
        } else {
            at = &domain->next;
        }
    }
}

void th_domains_deinit(struct th_daemon *daemon) {
    while (daemon->domains) {
        struct th_daemon_domain *domain = daemon->domains;

        th_handoffs_void(domain, "the daemon ends");
        daemon->domains = domain->next;
        domain_free(domain);
    }
}
