/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration as a whole: defaults, then the files, then what only shows once all is read.
 * The caller may rely on it that a configuration it is given is complete and consistent, and that a
 * reload that fails leaves the old one as it was, because a new one is built beside it.
 */
#include "timehandoff/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config/config_file.h"
#include "timehandoff/duration.h"

#define MIN_NS (60 * TH_NS_PER_S)
#define HOUR_NS (60 * MIN_NS)

static struct th_config *new_with_defaults(void) {
    struct th_config *config = malloc(sizeof(*config));

    if (!config) {
        return NULL;
    }
    *config = (struct th_config){
        .port = TH_PACKET_DEFAULT_PORT,
        .questions = 8,
        .timeout_ns = 300 * TH_NS_PER_MS,
        .kernel_stamps = true,
        .answer = true,
        .listen_port = TH_PACKET_DEFAULT_PORT,
        .allow_own_networks = true,
        .handoff = TH_HANDOFF_STEP,
        .deadband_ns = 20 * TH_NS_PER_MS,
        .target_ns = TH_NS_PER_MS,
        .max_step_migration_ns = HOUR_NS,
        .max_step_unpause_ns = HOUR_NS,
        .agent_timeout_ns = 30 * TH_NS_PER_S,
        .give_up_ns = 5 * MIN_NS,
        .recheck_ns = {10 * TH_NS_PER_S, 60 * TH_NS_PER_S},
        .peer_interval_ns = 60 * TH_NS_PER_S,
        .alerts = true,
        .alert_gap_ns = 50 * TH_NS_PER_MS,
        .libvirt_uri = strdup("qemu:///system"),
    };
    th_verdict_policy_init(&config->verdict);
    if (!config->libvirt_uri || th_config_list_defaults(config) < 0) {
        return th_config_free(config);
    }
    return config;
}

struct th_config *th_config_free(struct th_config *config) {
    if (!config) {
        return NULL;
    }
    for (size_t i = 0; i < config->n_peers; i++) {
        free(config->peers[i].host);
        free(config->peers[i].group);
    }
    for (size_t i = 0; i < config->n_announce; i++) {
        free(config->announce[i]);
    }
    for (size_t i = 0; i < config->n_domains; i++) {
        free(config->domains[i].pattern);
    }
    th_ntp_servers_deinit(&config->ntp);
    free(config->peers);
    free(config->announce);
    free(config->domains);
    free(config->allowed);
    free(config->textfile);
    free(config->libvirt_uri);
    free(config->libvirt_user);
    free(config->libvirt_password_file);
    free(config);
    return NULL;
}

/* ---- what only shows once all is read: no single line is to blame, so the folder is named ---- */

static int check_limits(const char *where, int64_t warn_ns, int64_t block_ns, const char *folder,
                        char *ret_error, size_t error_size) {
    char warn[TH_DURATION_TEXT_SIZE], block[TH_DURATION_TEXT_SIZE], name[64];

    if (warn_ns <= block_ns) {
        return 0;
    }
    th_text_clean(where, name, sizeof(name));
    snprintf(ret_error, error_size,
             "%s: [%s] warn: %s is greater than block, which is %s; lower warn or raise block",
             folder, name, th_duration_format(warn_ns, warn), th_duration_format(block_ns, block));
    return -EBADMSG;
}

/* A domain that sets only block may well go below the general warn: see th_config_domain_policy. */
static int check_domains(const struct th_config *config, const char *folder, char *ret_error,
                         size_t error_size) {
    int r = 0;

    for (size_t i = 0; r == 0 && i < config->n_domains; i++) {
        const struct th_domain_policy *policy = &config->domains[i].policy;
        int64_t block_ns = policy->block_ns >= 0 ? policy->block_ns : config->verdict.block_ns;
        char where[64];

        snprintf(where, sizeof(where), "domain %.48s", config->domains[i].pattern);
        r = check_limits(where, policy->warn_ns, block_ns, folder, ret_error, error_size);
    }
    return r;
}

/* The same host may be there with and without the port that is meant by default. */
static int check_peers(const struct th_config *config, const char *folder, char *ret_error,
                       size_t error_size) {
    for (size_t i = 0; i < config->n_peers; i++) {
        const struct th_config_peer *peer = &config->peers[i];

        for (size_t j = 0; j < i; j++) {
            if (peer->port == config->peers[j].port &&
                strcasecmp(peer->host, config->peers[j].host) == 0) {
                snprintf(ret_error, error_size,
                         "%s: [peers] peer: '%s' with port %u is there twice; write each peer once",
                         folder, peer->host, peer->port);
                return -EBADMSG;
            }
        }
    }
    return 0;
}

static int check(const struct th_config *config, const char *folder, char *ret_error,
                 size_t error_size) {
    const int64_t *recheck_ns = config->recheck_ns;
    int r = check_limits("gap", config->verdict.warn_ns, config->verdict.block_ns, folder,
                         ret_error, error_size);

    if (r == 0 && recheck_ns[1] != 0 && recheck_ns[1] <= recheck_ns[0]) {
        snprintf(ret_error, error_size,
                 "%s: [handoff] recheck-second: not later than recheck-first; raise it or write "
                 "off",
                 folder);
        r = -EBADMSG;
    }
    r = r < 0 ? r : check_peers(config, folder, ret_error, error_size);
    return r < 0 ? r : check_domains(config, folder, ret_error, error_size);
}

static void complete(struct th_config *config) {
    for (size_t i = 0; i < config->n_peers; i++) {
        if (config->peers[i].port == 0) {
            config->peers[i].port = config->port;
        }
    }
}

int th_config_load(const char *folder, struct th_config **ret_config, char *ret_error,
                   size_t error_size) {
    struct th_config_loader loader = {.config = new_with_defaults()};
    int r;

    if (!loader.config) {
        snprintf(ret_error, error_size, "%s: %s", folder, strerror(ENOMEM));
        return -ENOMEM;
    }
    r = th_config_file_read_all(&loader, folder, ret_error, error_size);
    th_config_domain_drop(&loader);
    if (r == 0) {
        complete(loader.config);
        r = check(loader.config, folder, ret_error, error_size);
    }
    if (r < 0) {
        th_config_free(loader.config);
        return r;
    }
    *ret_config = loader.config;
    return 0;
}
