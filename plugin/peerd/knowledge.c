/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the responder may say. The daemon publishes a new file the moment a guest arrives or leaves,
 * and the very next question may be about that guest: saying "running" of a guest that has left is
 * a wrong verdict elsewhere. So they are looked at when questions have come, before any is
 * answered.
 *
 * When the daemon's state goes stale its keys are kept, so that stamped questions still get an
 * authenticated time; only what it said of domains and synchronisation is then unknown.
 */
#include "peerd/knowledge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fleet/own_address.h"
#include "timehandoff/state.h"

#define MAX_OWN_NETWORKS 64
/* Interfaces change rarely; the allow-list follows within this time. */
#define NETWORKS_REFRESH_NS (10 * TH_NS_PER_S)

/* A time daemon changes the kernel's slewing about once a second, if that often. */
#define SLEW_REFRESH_NS (100 * TH_NS_PER_MS)

/* A published file as last read. */
struct source_file {
    const char *name;
    struct timespec changed;
    ino_t inode;
};

struct th_knowledge {
    const struct th_config *config;
    struct th_answer_context context;
    struct th_network *allowed; /* configured, then own */
    int64_t networks_mono_ns;
    struct source_file host_file, peers_file;
    int64_t slew_mono_ns;
    struct th_state_host host;
    bool has_host; /* it was read once */
    int64_t host_checked_mono_ns;
    struct th_network *peers;
    char *ntp_servers;
};

static bool changed(struct source_file *file) {
    char path[128];
    struct stat about;

    snprintf(path, sizeof(path), "%s/%s", TH_STATE_FOLDER, file->name);
    if (stat(path, &about) < 0) {
        memset(&about, 0, sizeof(about));
    }
    if (about.st_ino == file->inode && about.st_mtim.tv_sec == file->changed.tv_sec &&
        about.st_mtim.tv_nsec == file->changed.tv_nsec) {
        return false;
    }
    file->inode = about.st_ino;
    file->changed = about.st_mtim;
    return true;
}

/* 16.16 seconds, rounded up, as root delay and dispersion want it (RFC 5905 section 6). */
static uint32_t short_format(int64_t ns) {
    if (ns < 0) {
        return 0;
    }
    return ns >= 65535 * TH_NS_PER_S ? UINT32_MAX
                                     : (uint32_t)((ns * 65536 + TH_NS_PER_S - 1) / TH_NS_PER_S);
}

static void forget_host(struct th_knowledge *knowledge) {
    struct th_answer_context *context = &knowledge->context;

    context->domains_known = false;
    context->synchronised = TH_UNKNOWN;
    context->stratum = 0;
    context->ntp_servers = NULL;
    memset(context->ntp_digest, 0, sizeof(context->ntp_digest));
    /* Keys stay good for proving who asks; what the domains were doing is no longer known. */
    for (size_t i = 0; i < knowledge->host.n_domains; i++) {
        knowledge->host.domains[i].state = TH_DOMAIN_UNKNOWN;
    }
}

/* What two hosts compare. */
static void learn_ntp(struct th_knowledge *knowledge) {
    struct th_answer_context *context = &knowledge->context;
    const struct th_state_host *host = &knowledge->host;

    free(knowledge->ntp_servers);
    knowledge->ntp_servers = NULL;
    if (host->ntp_known && th_ntp_text(&host->ntp, &knowledge->ntp_servers) < 0) {
        knowledge->ntp_servers = NULL;
    }
    context->ntp_servers = knowledge->ntp_servers;
    memcpy(context->ntp_digest, host->ntp_digest, sizeof(context->ntp_digest));
}

static void learn_host(struct th_knowledge *knowledge, struct th_state_host *host) {
    struct th_answer_context *context = &knowledge->context;

    th_state_host_deinit(&knowledge->host);
    knowledge->host = *host;
    knowledge->has_host = true;
    context->domains = knowledge->host.domains;
    context->n_domains = knowledge->host.n_domains;
    context->domains_known = host->domains_known;
    context->host = host->uuid;
    context->synchronised = host->sync.synchronised;
    context->stratum = host->sync.stratum;
    context->root_delay = 0;
    context->root_dispersion = short_format(host->sync.error_ns);
    learn_ntp(knowledge);
}

/* Staleness creeps in without a change of the file: look again every second even so. */
static void refresh_host(struct th_knowledge *knowledge, const struct th_now *now) {
    struct th_state_host host;
    th_auto_close int fd = -1;

    if (!changed(&knowledge->host_file) &&
        now->mono_ns - knowledge->host_checked_mono_ns < TH_NS_PER_S) {
        return;
    }
    knowledge->host_checked_mono_ns = now->mono_ns;
    fd = th_state_open(TH_STATE_FOLDER, TH_STATE_HOST_FILE);
    if (fd >= 0 && th_state_host_read(fd, now, TH_STATE_FRESH, &host) == 0) {
        learn_host(knowledge, &host);
        return;
    }
    /* The keys of a file that went stale before we ever read it are as good as any. */
    if (fd >= 0 && !knowledge->has_host &&
        th_state_host_read(fd, now, TH_STATE_ANY_AGE, &host) == 0) {
        learn_host(knowledge, &host);
    }
    forget_host(knowledge);
}

static void refresh_peers(struct th_knowledge *knowledge, const struct th_now *now) {
    struct th_state_peers peers;
    struct th_network *networks;
    th_auto_close int fd = -1;
    size_t n = 0;

    if (!changed(&knowledge->peers_file)) {
        return;
    }
    fd = th_state_open(TH_STATE_FOLDER, TH_STATE_PEERS_FILE);
    if (fd < 0 || th_state_peers_read(fd, now, TH_STATE_FRESH, &peers) < 0) {
        return;
    }
    networks = calloc(peers.n_peers * TH_ELEMENTS(peers.peers->addresses) + 1, sizeof(*networks));
    for (size_t i = 0; networks && i < peers.n_peers; i++) {
        /* A stamp is no introduction: only the configuration says whom we trust with our guests. */
        for (size_t j = 0; !peers.peers[i].found_by_stamp && j < peers.peers[i].n_addresses; j++) {
            networks[n++] = th_network_of(&peers.peers[i].addresses[j]);
        }
    }
    th_state_peers_deinit(&peers);
    if (networks) {
        free(knowledge->peers);
        knowledge->peers = networks;
        knowledge->context.peers = networks;
        knowledge->context.n_peers = n;
    }
}

static void refresh_networks(struct th_knowledge *knowledge, const struct th_now *now) {
    size_t n = knowledge->config->n_allowed;

    if (!knowledge->config->allow_own_networks ||
        (knowledge->networks_mono_ns &&
         now->mono_ns - knowledge->networks_mono_ns < NETWORKS_REFRESH_NS)) {
        return;
    }
    knowledge->networks_mono_ns = now->mono_ns;
    knowledge->context.n_allowed = n + th_own_networks(knowledge->allowed + n, MAX_OWN_NETWORKS);
}

/* How fast the clock is being slewed belongs to the answer's bound, so it is asked of the kernel
 * here and not taken from the daemon, which may have looked ten seconds ago. */
static void refresh_slew(struct th_knowledge *knowledge, const struct th_now *now) {
    struct th_sync_kernel kernel;

    if (knowledge->slew_mono_ns && now->mono_ns - knowledge->slew_mono_ns < SLEW_REFRESH_NS) {
        return;
    }
    knowledge->slew_mono_ns = now->mono_ns;
    knowledge->context.slew_ppm =
        th_sync_ask_kernel(&kernel) == 0 ? th_sync_slew_ppm(&kernel) : TH_GAP_RATE_UNKNOWN_PPM;
}

void th_knowledge_refresh(struct th_knowledge *knowledge) {
    struct th_now now = th_now();

    refresh_host(knowledge, &now);
    refresh_peers(knowledge, &now);
    refresh_networks(knowledge, &now);
    refresh_slew(knowledge, &now);
}

const struct th_answer_context *th_knowledge_context(const struct th_knowledge *knowledge) {
    return &knowledge->context;
}

int th_knowledge_new(const struct th_config *config, const struct th_keyring *keys,
                     struct th_knowledge **ret_knowledge) {
    struct th_knowledge *knowledge = calloc(1, sizeof(*knowledge));

    if (!knowledge) {
        return -ENOMEM;
    }
    knowledge->allowed = calloc(config->n_allowed + MAX_OWN_NETWORKS, sizeof(*knowledge->allowed));
    if (!knowledge->allowed) {
        free(knowledge);
        return -ENOMEM;
    }
    if (config->n_allowed) {
        memcpy(knowledge->allowed, config->allowed,
               config->n_allowed * sizeof(*knowledge->allowed));
    }
    knowledge->config = config;
    knowledge->host_file.name = TH_STATE_HOST_FILE;
    knowledge->peers_file.name = TH_STATE_PEERS_FILE;
    knowledge->context = (struct th_answer_context){
        .allowed = knowledge->allowed,
        .n_allowed = config->n_allowed,
        .keys = keys,
        .require_key = config->require_key,
        .precision = th_packet_precision_exponent(th_now_precision_ns()),
    };
    *ret_knowledge = knowledge;
    return 0;
}

struct th_knowledge *th_knowledge_free(struct th_knowledge *knowledge) {
    if (knowledge) {
        th_state_host_deinit(&knowledge->host);
        free(knowledge->allowed);
        free(knowledge->ntp_servers);
        free(knowledge->peers);
        free(knowledge);
    }
    return NULL;
}
