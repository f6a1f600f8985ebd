/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Getting hold of a guest's agent, for workers. libvirtd serves only a handful of calls of one
 * connection at a time, and a call to an agent may take a second (the guest writes its RTC) or as
 * long as the time-out: over one connection the sixth guest would wait for the first. So every
 * agent that is held has a connection of its own while it is held; idle ones are kept for the next.
 */
#include "daemon/agents.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define MAX_IDLE TH_DAEMON_AGENT_WORKERS

struct th_held_agent {
    virConnectPtr connection;
    struct th_agent_libvirt *agent;
};

struct th_agents {
    const struct th_virt *virt;
    char *uri, *user, *password_file;
    pthread_mutex_t lock;
    virConnectPtr idle[MAX_IDLE]; /* under lock */
    unsigned n_idle;              /* under lock */
};

int th_agents_new(const struct th_virt *virt, const struct th_config *config,
                  struct th_agents **ret_agents) {
    struct th_agents *agents = calloc(1, sizeof(*agents));

    if (!agents || th_text_dup(config->libvirt_uri, &agents->uri) < 0 ||
        th_text_dup(config->libvirt_user, &agents->user) < 0 ||
        th_text_dup(config->libvirt_password_file, &agents->password_file) < 0) {
        return -ENOMEM; /* the program ends on this */
    }
    agents->virt = virt;
    pthread_mutex_init(&agents->lock, NULL);
    *ret_agents = agents;
    return 0;
}

static virConnectPtr take_idle(struct th_agents *agents) {
    virConnectPtr connection = NULL;

    pthread_mutex_lock(&agents->lock);
    if (agents->n_idle) {
        connection = agents->idle[--agents->n_idle];
    }
    pthread_mutex_unlock(&agents->lock);
    return connection;
}

/* A connection that outlived a restart of libvirtd is dead; the next idle one may be too. */
static virConnectPtr take_connection(struct th_agents *agents) {
    const struct th_virt_login login = {
        .uri = agents->uri,
        .user = agents->user,
        .password_file = agents->password_file,
        .keepalive = true,
    };
    virConnectPtr connection;
    char error[200];

    while ((connection = take_idle(agents))) {
        if (agents->virt->virConnectIsAlive(connection) == 1) {
            return connection;
        }
        agents->virt->virConnectClose(connection);
    }
    return th_virt_open(agents->virt, &login, &connection, error, sizeof(error)) == 0 ? connection
                                                                                      : NULL;
}

static void give_connection(struct th_agents *agents, virConnectPtr connection) {
    bool kept = false;

    if (agents->virt->virConnectIsAlive(connection) == 1) {
        pthread_mutex_lock(&agents->lock);
        kept = agents->n_idle < MAX_IDLE;
        if (kept) {
            agents->idle[agents->n_idle++] = connection;
        }
        pthread_mutex_unlock(&agents->lock);
    }
    if (!kept) {
        agents->virt->virConnectClose(connection);
    }
}

static int hold_domain(struct th_agents *agents, const struct th_uuid *uuid, int timeout_s,
                       struct th_held_agent *held) {
    const struct th_virt *virt = agents->virt;
    virDomainPtr domain;
    int r;

    held->connection = take_connection(agents);
    if (!held->connection) {
        return TH_AGENT_CONNECTION_LOST;
    }
    domain = virt->virDomainLookupByUUID(held->connection, uuid->bytes);
    if (!domain) {
        return virt->virConnectIsAlive(held->connection) == 1 ? TH_AGENT_NOT_RUNNING
                                                              : TH_AGENT_CONNECTION_LOST;
    }
    r = th_agent_libvirt_new(virt, domain, &held->agent);
    virt->virDomainFree(domain);
    return r ? r
             : th_agent_libvirt_begin(held->agent, TH_STATE_FOLDER "/" TH_STATE_LOCKS_FOLDER,
                                      timeout_s);
}

int th_agents_hold(struct th_agents *agents, const struct th_uuid *uuid, int timeout_s,
                   struct th_held_agent **ret_held) {
    struct th_held_agent *held = calloc(1, sizeof(*held));
    int r;

    if (!held) {
        return -ENOMEM;
    }
    r = hold_domain(agents, uuid, timeout_s, held);
    if (r != 0) {
        th_agents_release(agents, held);
        return r;
    }
    *ret_held = held;
    return 0;
}

struct th_agent th_agents_agent(struct th_held_agent *held) {
    return th_agent_libvirt_agent(held->agent);
}

struct th_held_agent *th_agents_release(struct th_agents *agents, struct th_held_agent *held) {
    if (held) {
        th_agent_libvirt_free(held->agent);
        if (held->connection) {
            give_connection(agents, held->connection);
        }
        free(held);
    }
    return NULL;
}

int th_agents_timeout_s(const struct th_config *config) {
    return (int)((config->agent_timeout_ns + TH_NS_PER_S - 1) / TH_NS_PER_S);
}
