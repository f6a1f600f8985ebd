/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The configuration: a main file and, behind a NUL, one of conf.d. What is accepted lies within the
 * ranges that config.h promises, gives every domain a whole policy, and, written out again setting
 * by setting, is read back to the same. What is refused is refused with one line that names a file.
 */
#include "fuzz.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "timehandoff/config.h"

#define YEAR_NS (INT64_C(365) * 86400 * TH_NS_PER_S)

/* ---- written out ---- */

static const char *yes_no(bool value) {
    return value ? "yes" : "no";
}

static void put_duration(FILE *out, const char *key, int64_t ns) {
    fprintf(out, "%s=%" PRId64 "ns\n", key, ns);
}

static void put_or(FILE *out, const char *key, int64_t ns, int64_t none_ns, const char *word) {
    if (ns == none_ns) {
        fprintf(out, "%s=%s\n", key, word);
    } else {
        put_duration(out, key, ns);
    }
}

static void put_gap(FILE *out, const struct th_config *config) {
    const struct th_verdict_policy *verdict = &config->verdict;

    fprintf(out, "[gap]\nmode=%s\n", config->report_only ? "report" : "enforce");
    put_duration(out, "warn", verdict->warn_ns);
    put_duration(out, "block", verdict->block_ns);
    fprintf(out, "source-unknown=%s\n", th_action_name(verdict->source_unknown));
    fprintf(out, "source-unreachable=%s\n", th_action_name(verdict->source_unreachable));
    fprintf(out, "unauthenticated=%s\n", th_action_name(verdict->unauthenticated));
    fprintf(out, "source-unsynchronised=%s\n", th_action_name(verdict->source_unsynchronised));
    fprintf(out, "destination-unsynchronised=%s\n",
            th_action_name(verdict->destination_unsynchronised));
    fprintf(out, "gap-source-wrong=%s\n", th_action_name(verdict->gap_source_wrong));
    fprintf(out, "[probe]\nport=%u\nquestions=%u\nkernel-stamps=%s\n", config->port,
            config->questions, yes_no(config->kernel_stamps));
    put_duration(out, "timeout", config->timeout_ns);
}

static void put_network(FILE *out, const struct th_network *network) {
    char text[INET6_ADDRSTRLEN];
    bool mapped = IN6_IS_ADDR_V4MAPPED(&network->address) && network->prefix >= 96;

    must(mapped ? inet_ntop(AF_INET, network->address.s6_addr + 12, text, sizeof(text))
                : inet_ntop(AF_INET6, &network->address, text, sizeof(text)));
    fprintf(out, "allow=%s/%u\n", text, network->prefix - (mapped ? 96 : 0));
}

static void put_responder(FILE *out, const struct th_config *config) {
    fprintf(out, "[responder]\nenabled=%s\nport=%u\nrequire-key=%s\n", yes_no(config->answer),
            config->listen_port, yes_no(config->require_key));
    for (size_t i = 0; !config->allow_own_networks && i < config->n_allowed; i++) {
        put_network(out, &config->allowed[i]);
    }
    for (size_t i = 0; i < config->n_announce; i++) {
        fprintf(out, "announce=%s\n", config->announce[i]);
    }
}

static void put_handoff(FILE *out, const struct th_config *config) {
    fprintf(out, "[handoff]\nmode=%s\nbackward=%s\n", th_handoff_mode_name(config->handoff),
            yes_no(config->backward));
    put_duration(out, "deadband", config->deadband_ns);
    put_duration(out, "target", config->target_ns);
    put_or(out, "max-step-migration", config->max_step_migration_ns, -1, "none");
    put_or(out, "max-step-unpause", config->max_step_unpause_ns, -1, "none");
    put_duration(out, "agent-timeout", config->agent_timeout_ns);
    put_duration(out, "give-up", config->give_up_ns);
    put_or(out, "recheck-first", config->recheck_ns[0], 0, "off");
    put_or(out, "recheck-second", config->recheck_ns[1], 0, "off");
}

static void put_peers(FILE *out, const struct th_config *config) {
    fprintf(out, "[peers]\n");
    put_duration(out, "interval", config->peer_interval_ns);
    for (size_t i = 0; i < config->n_peers; i++) {
        const struct th_config_peer *peer = &config->peers[i];
        bool is_ipv6 = strchr(peer->host, ':');

        fprintf(out, "peer=%s%s%s", is_ipv6 ? "[" : "", peer->host, is_ipv6 ? "]" : "");
        /* A port that was not named is that of [probe]; to name it changes nothing. */
        fprintf(out, ":%u", peer->port);
        fprintf(out, "%s%s", *peer->group ? " group=" : "", peer->group);
        if (peer->key_id != 0) {
            fprintf(out, " key=%" PRIu32, peer->key_id);
        }
        fprintf(out, "\n");
    }
}

static void put_string(FILE *out, const char *key, const char *value) {
    if (value) {
        fprintf(out, "%s=%s\n", key, value);
    }
}

static void put_rest(FILE *out, const struct th_config *config) {
    fprintf(out, "[alert]\nenabled=%s\n", yes_no(config->alerts));
    put_duration(out, "gap", config->alert_gap_ns);
    put_string(out, "textfile", config->textfile);
    fprintf(out, "[ntp]\n");
    for (size_t i = 0; i < config->ntp.n; i++) {
        put_string(out, th_ntp_kind_name(config->ntp.servers[i].kind), config->ntp.servers[i].name);
    }
    fprintf(out, "[libvirt]\n");
    put_string(out, "uri", config->libvirt_uri);
    put_string(out, "user", config->libvirt_user);
    put_string(out, "password-file", config->libvirt_password_file);
}

static void put_domains(FILE *out, const struct th_config *config) {
    for (size_t i = 0; i < config->n_domains; i++) {
        const struct th_domain_policy *policy = &config->domains[i].policy;

        fprintf(out, "[domain %s]\n", config->domains[i].pattern);
        if (policy->warn_ns >= 0) {
            put_duration(out, "warn", policy->warn_ns);
        }
        if (policy->block_ns >= 0) {
            put_duration(out, "block", policy->block_ns);
        }
        if (policy->handoff != 0) {
            put_string(out, "handoff", th_handoff_mode_name(policy->handoff));
        }
        if (policy->backward != TH_UNKNOWN) {
            put_string(out, "backward", th_ternary_name(policy->backward));
        }
    }
}

static char *write_out(const struct th_config *config) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    must(out);
    put_gap(out, config);
    put_responder(out, config);
    put_handoff(out, config);
    put_peers(out, config);
    put_rest(out, config);
    put_domains(out, config);
    must(fclose(out) == 0);
    return text;
}

/* ---- what is promised ---- */

static bool within(int64_t value, int64_t least, int64_t most) {
    return value >= least && value <= most;
}

static void check_ranges(const struct th_config *config) {
    const int64_t *recheck_ns = config->recheck_ns;

    must(within(config->verdict.warn_ns, 0, config->verdict.block_ns));
    must(config->verdict.block_ns <= YEAR_NS);
    must(within(config->port, 1, 65535) && within(config->listen_port, 1, 65535));
    must(within(config->questions, 1, 8));
    must(within(config->timeout_ns, TH_NS_PER_MS, 10 * TH_NS_PER_S));
    must(within(config->target_ns, TH_NS_PER_US, TH_NS_PER_S));
    must(within(config->agent_timeout_ns, TH_NS_PER_S, 3600 * TH_NS_PER_S));
    must(within(config->peer_interval_ns, TH_NS_PER_S, 86400 * TH_NS_PER_S));
    must(recheck_ns[1] == 0 || recheck_ns[1] > recheck_ns[0]);
    must(config->n_announce <= TH_ORIGIN_MAX_ADDRESSES && config->n_peers <= TH_CONFIG_MAX_PEERS);
    for (size_t i = 0; i < config->n_peers; i++) {
        must(*config->peers[i].host && within(config->peers[i].port, 1, 65535));
        must(config->peers[i].key_id < TH_KEY_DOMAIN_BIT);
    }
    for (size_t i = 0; i < config->ntp.n; i++) {
        must(th_ntp_name_is_good(config->ntp.servers[i].name));
    }
}

static void check_policies(const struct th_config *config, const struct th_domain_policy *xml) {
    static const char *const names[] = {"web1", "db-1", "*", ""};
    struct th_uuid uuid = {{0x11, 0x22, 0x33}};

    for (size_t i = 0; i < TH_ELEMENTS(names); i++) {
        struct th_domain_policy policy = th_config_domain_policy(config, &uuid, names[i], xml);

        must(within(policy.warn_ns, 0, policy.block_ns));
        must(policy.handoff != 0 && policy.backward != TH_UNKNOWN);
    }
}

static struct th_config *load(char error[512]) {
    struct th_config *config = NULL;
    int r = th_config_load(fuzz_folder(), &config, error, 512);

    must(r == 0 || (r == -EBADMSG && !config));
    return config;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = memchr(data, 0, size);
    size_t first = end ? (size_t)(end - data) : size;
    struct th_domain_policy xml = {.warn_ns = (int64_t)size, .block_ns = -1};
    char path[PATH_MAX], error[512] = "";
    struct th_config *config, *again;

    must(mkdir(fuzz_path("conf.d", path), 0755) == 0 || errno == EEXIST);
    fuzz_put("timehandoff.conf", data, first);
    fuzz_put("conf.d/10.conf", end ? end + 1 : data, end ? size - first - 1 : 0);
    config = load(error);
    if (!config) {
        must(strncmp(error, fuzz_folder(), strlen(fuzz_folder())) == 0 && fuzz_is_line(error));
        return 0;
    }
    check_ranges(config);
    check_policies(config, NULL);
    check_policies(config, &xml);
    th_auto_free char *text = write_out(config);

    fuzz_put("timehandoff.conf", text, strlen(text));
    fuzz_put("conf.d/10.conf", "", 0);
    again = load(error);
    if (!again) {
        fprintf(stderr, "%s\n", error);
    }
    must(again);
    th_auto_free char *text_again = write_out(again);

    must(strcmp(text, text_again) == 0);
    (void)th_config_free(again);
    (void)th_config_free(config);
    return 0;
}
