/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of watched peers: those of the configuration, those that guests came from, and what was
 * learnt of each. A peerd that starts, or reloads, goes on with what the one before had published,
 * so that neither a list of servers is asked for again nor a history begins anew.
 */
#include "peerd/watch_private.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleet/own_address.h"
#include "timehandoff/probe.h"

/* Names are looked up again after this time, and when a peer is silent. */
#define RESOLVE_NS (600 * TH_NS_PER_S)

static bool is_there_twice(const struct th_config *config, const char *host) {
    unsigned n = 0;

    for (size_t i = 0; i < config->n_peers; i++) {
        n += strcasecmp(config->peers[i].host, host) == 0;
    }
    return n > 1;
}

/* The name that the peer goes by everywhere. */
static void name_peer(const struct th_config *config, const struct th_config_peer *from,
                      struct th_state_peer *peer) {
    bool bracketed = strchr(from->host, ':') != NULL;

    if (is_there_twice(config, from->host)) {
        snprintf(peer->host, sizeof(peer->host), "%s%s%s:%u", bracketed ? "[" : "", from->host,
                 bracketed ? "]" : "", from->port);
    } else {
        snprintf(peer->host, sizeof(peer->host), "%s", from->host);
    }
}

static void take_over(struct th_watch_table *table) {
    th_auto_close int fd = th_state_open(TH_STATE_FOLDER, TH_STATE_PEERS_FILE);
    struct th_state_peers past;
    struct th_now now = th_now();

    if (fd < 0 || th_state_peers_read(fd, &now, TH_STATE_ANY_AGE, &past) < 0) {
        return;
    }
    for (size_t i = 0; i < table->known.n_peers; i++) {
        struct th_state_peer *peer = &table->known.peers[i];

        for (size_t j = 0; j < past.n_peers; j++) {
            if (strcmp(past.peers[j].host, peer->host) == 0 &&
                past.peers[j].key_id == peer->key_id && !past.peers[j].found_by_stamp) {
                char group[sizeof(peer->group)];

                memcpy(group, peer->group, sizeof(group));
                *peer = past.peers[j];
                memcpy(peer->group, group, sizeof(group));
            }
        }
    }
    th_state_peers_deinit(&past);
}

int th_watch_table_init(struct th_watch_table *table, const struct th_config *config,
                        const struct th_keyring *keys) {
    size_t room = config->n_peers + TH_STATE_MAX_ORIGINS;

    *table = (struct th_watch_table){.config = config, .keys = keys};
    table->known.peers = calloc(room, sizeof(*table->known.peers));
    table->slots = calloc(room, sizeof(*table->slots));
    if (!table->known.peers || !table->slots) {
        th_watch_table_deinit(table);
        return -ENOMEM;
    }
    table->known.n_peers = config->n_peers;
    for (size_t i = 0; i < config->n_peers; i++) {
        struct th_state_peer *peer = &table->known.peers[i];

        table->slots[i].config = &config->peers[i];
        name_peer(config, &config->peers[i], peer);
        snprintf(peer->group, sizeof(peer->group), "%s", config->peers[i].group);
        peer->key_id = config->peers[i].key_id;
    }
    take_over(table);
    return 0;
}

void th_watch_table_deinit(struct th_watch_table *table) {
    th_state_peers_deinit(&table->known);
    free(table->slots);
    table->slots = NULL;
}

/* ---- hosts that guests came from ---- */

static bool has_address(const struct th_state_peer *peer, const struct sockaddr_storage *address) {
    for (size_t i = 0; i < peer->n_addresses; i++) {
        if (memcmp(&peer->addresses[i], address, sizeof(*address)) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether a configured peer is that very host. */
static bool is_configured(const struct th_watch_table *table,
                          const struct th_state_origin *origin) {
    for (size_t i = 0; i < table->config->n_peers; i++) {
        const struct th_state_peer *peer = &table->known.peers[i];

        if (strcmp(peer->host, origin->host) == 0 ||
            (!th_uuid_is_none(&peer->uuid) && th_uuid_equal(&peer->uuid, &origin->uuid))) {
            return true;
        }
        for (size_t j = 0; j < origin->n_addresses; j++) {
            if (has_address(peer, &origin->addresses[j])) {
                return true;
            }
        }
    }
    return false;
}

static bool is_listed(const struct th_state_host *host, const struct th_state_peer *peer) {
    for (size_t i = 0; i < host->n_origins; i++) {
        if (strcmp(host->origins[i].host, peer->host) == 0) {
            return true;
        }
    }
    return false;
}

static void drop_unlisted(struct th_watch_table *table, const struct th_state_host *host) {
    size_t kept = table->config->n_peers;

    for (size_t i = kept; i < table->known.n_peers; i++) {
        if (is_listed(host, &table->known.peers[i])) {
            table->known.peers[kept] = table->known.peers[i];
            table->slots[kept++] = table->slots[i];
        }
    }
    table->known.n_peers = kept;
}

static void take_origin(struct th_watch_table *table, const struct th_state_origin *origin) {
    struct th_state_peer *peer = NULL;

    if (is_configured(table, origin)) {
        return;
    }
    for (size_t i = table->config->n_peers; i < table->known.n_peers; i++) {
        if (strcmp(table->known.peers[i].host, origin->host) == 0) {
            peer = &table->known.peers[i];
        }
    }
    if (!peer) {
        if (table->known.n_peers == table->config->n_peers + TH_STATE_MAX_ORIGINS) {
            return;
        }
        table->slots[table->known.n_peers] = (struct th_watch_slot){.config = NULL};
        peer = &table->known.peers[table->known.n_peers++];
        *peer = (struct th_state_peer){.found_by_stamp = true};
        snprintf(peer->host, sizeof(peer->host), "%s", origin->host);
    }
    peer->n_addresses = origin->n_addresses;
    memcpy(peer->addresses, origin->addresses, sizeof(peer->addresses));
}

void th_watch_table_take_stamps(struct th_watch_table *table) {
    th_auto_close int fd = th_state_open(TH_STATE_FOLDER, TH_STATE_HOST_FILE);
    struct th_now now = th_now();
    struct th_state_host host;
    struct stat about;

    if (fd < 0 || fstat(fd, &about) < 0 ||
        (about.st_mtim.tv_sec == table->stamps_change.tv_sec &&
         about.st_mtim.tv_nsec == table->stamps_change.tv_nsec) ||
        th_state_host_read(fd, &now, TH_STATE_FRESH, &host) < 0) {
        return;
    }
    table->stamps_change = about.st_mtim;
    table->own_uuid = host.uuid;
    drop_unlisted(table, &host);
    for (size_t i = 0; i < host.n_origins; i++) {
        take_origin(table, &host.origins[i]);
    }
    th_state_host_deinit(&host);
}

/* ---- addresses ---- */

static void look_up(const struct th_config_peer *config, struct th_state_peer *peer) {
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG};
    struct addrinfo *list = NULL;
    char port[8];

    snprintf(port, sizeof(port), "%u", config->port);
    if (getaddrinfo(config->host, port, &hints, &list) != 0) {
        return; /* the addresses of the last time are better than none */
    }
    peer->n_addresses = 0;
    memset(peer->addresses, 0, sizeof(peer->addresses));
    for (const struct addrinfo *i = list; i && peer->n_addresses < TH_ELEMENTS(peer->addresses);
         i = i->ai_next) {
        memcpy(&peer->addresses[peer->n_addresses++], i->ai_addr, i->ai_addrlen);
    }
    freeaddrinfo(list);
}

void th_watch_table_resolve(struct th_watch_table *table, size_t index, int64_t mono_ns) {
    struct th_watch_slot *slot = &table->slots[index];
    struct th_state_peer *peer = &table->known.peers[index];

    if (slot->resolved_mono_ns && peer->answered && mono_ns - slot->resolved_mono_ns < RESOLVE_NS) {
        return;
    }
    slot->resolved_mono_ns = mono_ns;
    if (slot->config) {
        look_up(slot->config, peer);
    }
    peer->own = peer->n_addresses && th_own_address(&peer->addresses[0]);
}
