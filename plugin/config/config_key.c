/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of all settings: to add one is to add a row here, a field with its comment in the
 * header and a default in config.c. Keys that are not in it are refused, since a misspelt limit
 * that is silently ignored would be found out only by the accident that it should have stopped.
 */
#include <errno.h>
#include <string.h>

#include "config/config_parse.h"

#define MIN_NS (60 * TH_NS_PER_S)
#define HOUR_NS (60 * MIN_NS)
#define DAY_NS (24 * HOUR_NS)
#define YEAR_NS (365 * DAY_NS)

#define AT(field) offsetof(struct th_config, field)

static const struct th_config_key keys[] = {
    {"gap", "warn", th_config_value_duration, AT(verdict.warn_ns), 0, YEAR_NS, false},
    {"gap", "block", th_config_value_duration, AT(verdict.block_ns), 0, YEAR_NS, false},
    {"gap", "mode", th_config_value_report_only, AT(report_only), 0, 0, false},
    {"gap", "source-unknown", th_config_value_action, AT(verdict.source_unknown), 0, 0, false},
    {"gap", "source-unreachable", th_config_value_action, AT(verdict.source_unreachable), 0, 0,
     false},
    {"gap", "unauthenticated", th_config_value_action, AT(verdict.unauthenticated), 0, 0, false},
    {"gap", "source-unsynchronised", th_config_value_action, AT(verdict.source_unsynchronised), 0,
     0, false},
    {"gap", "destination-unsynchronised", th_config_value_action,
     AT(verdict.destination_unsynchronised), 0, 0, false},
    {"gap", "gap-source-wrong", th_config_value_action, AT(verdict.gap_source_wrong), 0, 0, false},

    {"probe", "port", th_config_value_unsigned, AT(port), 1, 65535, false},
    {"probe", "questions", th_config_value_unsigned, AT(questions), 1, 8, false},
    {"probe", "timeout", th_config_value_duration, AT(timeout_ns), TH_NS_PER_MS, 10 * TH_NS_PER_S,
     false},
    {"probe", "kernel-stamps", th_config_value_bool, AT(kernel_stamps), 0, 0, false},

    {"responder", "enabled", th_config_value_bool, AT(answer), 0, 0, false},
    {"responder", "port", th_config_value_unsigned, AT(listen_port), 1, 65535, false},
    {"responder", "require-key", th_config_value_bool, AT(require_key), 0, 0, false},
    {"responder", "allow", th_config_list_allow, AT(allowed), 0, 0, true},
    {"responder", "announce", th_config_list_announce, AT(announce), 0, 0, true},

    {"handoff", "mode", th_config_value_handoff, AT(handoff), 0, 0, false},
    {"handoff", "backward", th_config_value_bool, AT(backward), 0, 0, false},
    {"handoff", "deadband", th_config_value_duration, AT(deadband_ns), 0, HOUR_NS, false},
    {"handoff", "target", th_config_value_duration, AT(target_ns), TH_NS_PER_US, TH_NS_PER_S,
     false},
    {"handoff", "max-step-migration", th_config_value_max_step, AT(max_step_migration_ns), 0,
     YEAR_NS, false},
    {"handoff", "max-step-unpause", th_config_value_max_step, AT(max_step_unpause_ns), 0, YEAR_NS,
     false},
    {"handoff", "agent-timeout", th_config_value_duration, AT(agent_timeout_ns), TH_NS_PER_S,
     HOUR_NS, false},
    {"handoff", "give-up", th_config_value_duration, AT(give_up_ns), TH_NS_PER_S, DAY_NS, false},
    {"handoff", "recheck-first", th_config_value_recheck, AT(recheck_ns[0]), TH_NS_PER_S, DAY_NS,
     false},
    {"handoff", "recheck-second", th_config_value_recheck, AT(recheck_ns[1]), TH_NS_PER_S, DAY_NS,
     false},

    {"peers", "peer", th_config_list_peer, AT(peers), 0, 0, true},
    {"peers", "interval", th_config_value_duration, AT(peer_interval_ns), TH_NS_PER_S, DAY_NS,
     false},

    {"alert", "enabled", th_config_value_bool, AT(alerts), 0, 0, false},
    {"alert", "gap", th_config_value_duration, AT(alert_gap_ns), TH_NS_PER_US, YEAR_NS, false},
    {"alert", "textfile", th_config_value_path, AT(textfile), 0, 0, false},

    {"ntp", "server", th_config_list_ntp_server, AT(ntp), 0, 0, true},
    {"ntp", "pool", th_config_list_ntp_pool, AT(ntp), 0, 0, true},

    {"libvirt", "uri", th_config_value_string, AT(libvirt_uri), 0, 0, false},
    {"libvirt", "user", th_config_value_string, AT(libvirt_user), 0, 0, false},
    {"libvirt", "password-file", th_config_value_path, AT(libvirt_password_file), 0, 0, false},
};

_Static_assert(TH_ELEMENTS(keys) <= TH_CONFIG_MAX_KEYS, "a loader has no room for all keys");

static const char domain_section[] = "domain ";

static bool is_section(const char *section) {
    for (size_t i = 0; i < TH_ELEMENTS(keys); i++) {
        if (strcmp(keys[i].section, section) == 0) {
            return true;
        }
    }
    return false;
}

/* The names of a section's keys, or of all sections, for a refusal. */
static void list_names(const char *section, char *text, size_t size) {
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < TH_ELEMENTS(keys) && used < size; i++) {
        const char *name = section ? keys[i].key : keys[i].section;
        bool again = !section && i > 0 && strcmp(keys[i - 1].section, name) == 0;

        if (!again && (!section || strcmp(keys[i].section, section) == 0)) {
            int n = snprintf(text + used, size - used, "%s%s", used > 0 ? ", " : "", name);

            used += n > 0 ? (size_t)n : 0;
        }
    }
}

static int begin_section(struct th_config_loader *loader, const char *section, char *why) {
    char names[TH_INI_TEXT_REASON_SIZE / 2];

    loader->in_domain = NULL;
    if (strncmp(section, domain_section, strlen(domain_section)) == 0) {
        const char *pattern = section + strlen(domain_section);

        return th_config_domain_begin(loader, pattern + strspn(pattern, " \t"), why);
    }
    if (is_section(section)) {
        return 0;
    }
    list_names(NULL, names, sizeof(names));
    snprintf(why, TH_INI_TEXT_REASON_SIZE, "unknown section; %s or domain PATTERN", names);
    return -EBADMSG;
}

static const struct th_config_key *find(const char *section, const char *name) {
    for (size_t i = 0; i < TH_ELEMENTS(keys); i++) {
        if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].key, name) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

static int refuse_key(const char *section, char *why) {
    char names[TH_INI_TEXT_REASON_SIZE - 32];

    if (!is_section(section)) {
        snprintf(why, TH_INI_TEXT_REASON_SIZE,
                 "stands before any section; write [gap] or so above");
        return -EBADMSG;
    }
    list_names(section, names, sizeof(names));
    snprintf(why, TH_INI_TEXT_REASON_SIZE, "unknown key; %s", names);
    return -EBADMSG;
}

int th_config_key_entry(void *userdata, const char *section, const char *name, const char *value,
                        char *why) {
    struct th_config_loader *loader = userdata;
    const struct th_config_key *key;

    if (!name) {
        return begin_section(loader, section, why);
    }
    if (loader->in_domain) {
        return th_config_domain_entry(loader, name, value, why);
    }
    key = find(section, name);
    if (!key) {
        return refuse_key(section, why);
    }
    if (loader->seen[key - keys] && !key->repeats) {
        snprintf(why, TH_INI_TEXT_REASON_SIZE, "set twice in this file; set it once");
        return -EBADMSG;
    }
    loader->seen[key - keys] = true;
    return key->read(loader, key, value, why);
}
