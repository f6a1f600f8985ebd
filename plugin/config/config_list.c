/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The settings that may repeat: networks that are answered, addresses that are announced, peers,
 * NTP servers.
 * Lists add up over all files. The caller may rely on it that a list's counter is raised only after
 * its element is whole, so that a half-read configuration can be freed at any time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_parse.h"
#include "timehandoff/probe.h"

#define HOST_MAX 253 /* longest name that DNS can hold */
#define GROUP_MAX 63 /* what a state file's peer has room for */
#define PORT_MAX 65535

/* ---- networks and addresses ---- */

static int add_network(struct th_config *config, const char *text, char *why) {
    struct th_network network;
    int r;

    if (th_network_parse(text, &network) < 0) {
        return th_config_value_refuse(why, text, "a network such as 10.0.0.0/8 or 2001:db8::/32");
    }
    config->allowed =
        th_config_value_grow(config->allowed, config->n_allowed, sizeof(*config->allowed),
                             TH_CONFIG_MAX_NETWORKS, why, &r);
    if (r < 0) {
        return r;
    }
    config->allowed[config->n_allowed++] = network;
    return 0;
}

int th_config_list_defaults(struct th_config *config) {
    static const char *const networks[] = {
        "10.0.0.0/8",     "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8",
        "169.254.0.0/16", "fc00::/7",      "fe80::/10",      "::1/128",
    };
    char why[TH_INI_TEXT_REASON_SIZE];
    int r = 0;

    for (size_t i = 0; r == 0 && i < TH_ELEMENTS(networks); i++) {
        r = add_network(config, networks[i], why);
    }
    return r;
}

int th_config_list_allow(struct th_config_loader *loader, const struct th_config_key *key,
                         const char *value, char *why) {
    struct th_config *config = loader->config;

    (void)key;
    /* Whoever names networks means these and no others. */
    if (!loader->allow_seen) {
        loader->allow_seen = true;
        config->allow_own_networks = false;
        config->n_allowed = 0;
    }
    return add_network(config, value, why);
}

int th_config_list_announce(struct th_config_loader *loader, const struct th_config_key *key,
                            const char *value, char *why) {
    struct th_config *config = loader->config;
    struct sockaddr_storage address;
    int r;

    (void)key;
    if (th_address_parse(value, TH_PACKET_DEFAULT_PORT, &address) < 0) {
        return th_config_value_refuse(why, value, "a numeric address, with :PORT if need be");
    }
    config->announce =
        th_config_value_grow(config->announce, config->n_announce, sizeof(*config->announce),
                             TH_ORIGIN_MAX_ADDRESSES, why, &r);
    if (r < 0) {
        return r;
    }
    config->announce[config->n_announce] = strdup(value);
    if (!config->announce[config->n_announce]) {
        return -ENOMEM;
    }
    config->n_announce++;
    return 0;
}

/* ---- peers ---- */

static const char peer_form[] = "HOST[:PORT] [group=NAME] [key=ID]";

static bool is_word(const char *text, size_t max, const char *extra) {
    size_t n = strlen(text);

    for (size_t i = 0; i < n; i++) {
        char c = text[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              strchr(extra, c))) {
            return false;
        }
    }
    return n > 0 && n <= max;
}

static bool read_number(const char *text, unsigned long max, unsigned long *ret_number) {
    unsigned long number;
    char *end;

    if (*text < '0' || *text > '9') {
        return false;
    }
    errno = 0;
    number = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || number == 0 || number > max) {
        return false;
    }
    *ret_number = number;
    return true;
}

static bool is_ipv6(const char *text) {
    struct sockaddr_storage address;
    char bracketed[HOST_MAX + 3];

    if (!strchr(text, ':') || strlen(text) > HOST_MAX) {
        return false;
    }
    snprintf(bracketed, sizeof(bracketed), "[%s]", text);
    return th_address_parse(bracketed, 1, &address) == 0 && address.ss_family == AF_INET6;
}

/* "NAME", "NAME:PORT", "ADDRESS", "IPV6", "[IPV6]", "[IPV6]:PORT"; changes the text. */
static bool split_host(char *text, char **ret_host, unsigned long *ret_port) {
    char *host = text;
    char *port = NULL;
    bool bracketed = *text == '[';

    if (bracketed) {
        char *end = strchr(text, ']');

        if (!end || (end[1] != '\0' && end[1] != ':')) {
            return false;
        }
        port = end[1] == ':' ? end + 2 : NULL;
        *end = '\0';
        host = text + 1;
    } else if (strchr(text, ':') && strchr(text, ':') == strrchr(text, ':')) {
        port = strchr(text, ':') + 1;
        port[-1] = '\0';
    }
    if (port && !read_number(port, PORT_MAX, ret_port)) {
        return false;
    }
    *ret_host = host;
    /* A leading dash would be an option to whatever program the name is ever given to. */
    return is_ipv6(host) || (!bracketed && *host != '-' && is_word(host, HOST_MAX, "-._"));
}

struct peer_text {
    char *host;
    unsigned long port; /* 0: not named */
    const char *group;
    unsigned long key_id;
};

static bool read_option(const char *word, struct peer_text *peer) {
    if (strncmp(word, "group=", 6) == 0) {
        peer->group = word + 6;
        return is_word(peer->group, GROUP_MAX, "-._");
    }
    if (strncmp(word, "key=", 4) == 0) {
        return read_number(word + 4, TH_KEY_DOMAIN_BIT - 1, &peer->key_id);
    }
    return false;
}

static bool split_peer(char *text, struct peer_text *ret_peer) {
    static const char white[] = " \t";
    struct peer_text peer = {.group = ""};
    char *rest = NULL;
    char *word = strtok_r(text, white, &rest);

    if (!word || !split_host(word, &peer.host, &peer.port)) {
        return false;
    }
    for (word = strtok_r(NULL, white, &rest); word; word = strtok_r(NULL, white, &rest)) {
        if (!read_option(word, &peer)) {
            return false;
        }
    }
    *ret_peer = peer;
    return true;
}

static bool is_known(const struct th_config *config, const struct peer_text *peer) {
    for (size_t i = 0; i < config->n_peers; i++) {
        if (config->peers[i].port == peer->port &&
            strcasecmp(config->peers[i].host, peer->host) == 0) {
            return true;
        }
    }
    return false;
}

static int add_peer(struct th_config *config, const struct peer_text *text, char *why) {
    struct th_config_peer *peer;
    int r;

    config->peers = th_config_value_grow(config->peers, config->n_peers, sizeof(*config->peers),
                                         TH_CONFIG_MAX_PEERS, why, &r);
    if (r < 0) {
        return r;
    }
    peer = &config->peers[config->n_peers];
    *peer = (struct th_config_peer){
        .host = strdup(text->host),
        .port = (unsigned)text->port,
        .group = strdup(text->group),
        .key_id = (uint32_t)text->key_id,
    };
    if (!peer->host || !peer->group) {
        free(peer->host);
        free(peer->group);
        return -ENOMEM;
    }
    config->n_peers++;
    return 0;
}

int th_config_list_peer(struct th_config_loader *loader, const struct th_config_key *key,
                        const char *value, char *why) {
    th_auto_free char *text = strdup(value);
    struct peer_text peer;

    (void)key;
    if (!text) {
        return -ENOMEM;
    }
    if (!split_peer(text, &peer)) {
        return th_config_value_refuse(why, value, peer_form);
    }
    if (is_known(loader->config, &peer)) {
        return th_config_value_refuse(why, value, "each peer once");
    }
    return add_peer(loader->config, &peer, why);
}

/* ---- NTP servers ---- */

static int add_ntp(struct th_config *config, enum th_ntp_kind kind, const char *value, char *why) {
    if (!th_ntp_name_is_good(value)) {
        return th_config_value_refuse(why, value, "one host name or numeric address");
    }
    if (th_ntp_servers_find(&config->ntp, value)) {
        return th_config_value_refuse(why, value, "each server once");
    }
    if (config->ntp.n == TH_NTP_MAX_SERVERS) {
        snprintf(why, TH_INI_TEXT_REASON_SIZE, "too many of these; at most %d", TH_NTP_MAX_SERVERS);
        return -EBADMSG;
    }
    return th_ntp_servers_add(&config->ntp, kind, value, "");
}

int th_config_list_ntp_server(struct th_config_loader *loader, const struct th_config_key *key,
                              const char *value, char *why) {
    (void)key;
    return add_ntp(loader->config, TH_NTP_SERVER, value, why);
}

int th_config_list_ntp_pool(struct th_config_loader *loader, const struct th_config_key *key,
                            const char *value, char *why) {
    (void)key;
    return add_ntp(loader->config, TH_NTP_POOL, value, why);
}
