/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * [domain PATTERN] sections, and what policy they make for one domain. A section of a later file
 * that names the same pattern adds to the earlier one and takes its place at the end. The caller
 * may rely on a domain's policy being complete, with warn never greater than block.
 */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "config/config_parse.h"

#define LIMIT_MAX_NS (INT64_C(365) * 86400 * TH_NS_PER_S)

static struct th_config_domain *find(struct th_config_domain *domains, size_t n,
                                     const char *pattern) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(domains[i].pattern, pattern) == 0) {
            return &domains[i];
        }
    }
    return NULL;
}

int th_config_domain_begin(struct th_config_loader *loader, const char *pattern, char *why) {
    struct th_config_domain *domain = find(loader->in_domains, loader->n_in_domains, pattern);
    int r;

    if (domain) {
        loader->in_domain = domain;
        return 0;
    }
    loader->in_domains =
        th_config_value_grow(loader->in_domains, loader->n_in_domains, sizeof(*loader->in_domains),
                             TH_CONFIG_MAX_DOMAINS, why, &r);
    if (r < 0) {
        return r;
    }
    domain = &loader->in_domains[loader->n_in_domains];
    th_domain_policy_init(&domain->policy);
    domain->pattern = strdup(pattern);
    if (!domain->pattern) {
        return -ENOMEM;
    }
    loader->n_in_domains++;
    loader->in_domain = domain;
    return 0;
}

static int read_limit(int64_t *limit_ns, const char *value, char *why) {
    return *limit_ns >= 0 ? -EEXIST
                          : th_config_value_read_duration(value, 0, LIMIT_MAX_NS, limit_ns, why);
}

static int read_handoff(struct th_domain_policy *policy, const char *value, char *why) {
    if (policy->handoff != 0) {
        return -EEXIST;
    }
    policy->handoff = th_handoff_mode_parse(value);
    return policy->handoff == 0 ? th_config_value_refuse(why, value, "step, report or off") : 0;
}

static int read_backward(struct th_domain_policy *policy, const char *value, char *why) {
    if (policy->backward != TH_UNKNOWN) {
        return -EEXIST;
    }
    policy->backward = th_ternary_parse(value);
    return policy->backward == TH_UNKNOWN ? th_config_value_refuse(why, value, "yes or no") : 0;
}

int th_config_domain_entry(struct th_config_loader *loader, const char *key, const char *value,
                           char *why) {
    struct th_domain_policy *policy = &loader->in_domain->policy;
    int r;

    if (strcmp(key, "warn") == 0) {
        r = read_limit(&policy->warn_ns, value, why);
    } else if (strcmp(key, "block") == 0) {
        r = read_limit(&policy->block_ns, value, why);
    } else if (strcmp(key, "handoff") == 0) {
        r = read_handoff(policy, value, why);
    } else if (strcmp(key, "backward") == 0) {
        r = read_backward(policy, value, why);
    } else {
        snprintf(why, TH_INI_TEXT_REASON_SIZE, "unknown key; warn, block, handoff or backward");
        return -EBADMSG;
    }
    if (r == -EEXIST) {
        snprintf(why, TH_INI_TEXT_REASON_SIZE, "set twice in this file; set it once");
        return -EBADMSG;
    }
    return r;
}

static void overlay(struct th_domain_policy *policy, const struct th_domain_policy *over) {
    policy->warn_ns = over->warn_ns >= 0 ? over->warn_ns : policy->warn_ns;
    policy->block_ns = over->block_ns >= 0 ? over->block_ns : policy->block_ns;
    policy->handoff = over->handoff != 0 ? over->handoff : policy->handoff;
    policy->backward = over->backward != TH_UNKNOWN ? over->backward : policy->backward;
}

/* Takes the section's pattern, or leaves it where there was one already. */
static int merge_one(struct th_config *config, struct th_config_domain *in, char *why) {
    struct th_config_domain *known = find(config->domains, config->n_domains, in->pattern);
    struct th_config_domain last;
    int r;

    if (known) {
        last = *known;
        memmove(known, known + 1,
                (size_t)(config->domains + config->n_domains - (known + 1)) * sizeof(*known));
        overlay(&last.policy, &in->policy);
        config->domains[config->n_domains - 1] = last;
        return 0;
    }
    config->domains =
        th_config_value_grow(config->domains, config->n_domains, sizeof(*config->domains),
                             TH_CONFIG_MAX_DOMAINS, why, &r);
    if (r < 0) {
        return r;
    }
    config->domains[config->n_domains++] = (struct th_config_domain){
        .pattern = th_take(in->pattern),
        .policy = in->policy,
    };
    return 0;
}

int th_config_domain_merge(struct th_config_loader *loader, char *why) {
    int r = 0;

    for (size_t i = 0; r == 0 && i < loader->n_in_domains; i++) {
        r = merge_one(loader->config, &loader->in_domains[i], why);
    }
    th_config_domain_drop(loader);
    return r;
}

void th_config_domain_drop(struct th_config_loader *loader) {
    for (size_t i = 0; i < loader->n_in_domains; i++) {
        free(loader->in_domains[i].pattern);
    }
    free(loader->in_domains);
    loader->in_domains = NULL;
    loader->n_in_domains = 0;
    loader->in_domain = NULL;
}

/* ---- asking ---- */

static const struct th_config_domain *match(const struct th_config *config,
                                            const struct th_uuid *uuid, const char *name) {
    const struct th_config_domain *found = NULL;

    for (size_t i = 0; i < config->n_domains; i++) {
        const struct th_config_domain *domain = &config->domains[i];
        struct th_uuid wanted;

        if (th_uuid_parse(domain->pattern, &wanted) == 0) {
            if (uuid && !th_uuid_is_none(uuid) && th_uuid_equal(uuid, &wanted)) {
                return domain;
            }
        } else if (name && fnmatch(domain->pattern, name, 0) == 0) {
            found = domain;
        }
    }
    return found;
}

struct th_domain_policy th_config_domain_policy(const struct th_config *config,
                                                const struct th_uuid *uuid, const char *name,
                                                const struct th_domain_policy *xml_policy) {
    struct th_domain_policy policy = {
        .warn_ns = config->verdict.warn_ns,
        .block_ns = config->verdict.block_ns,
        .handoff = config->handoff,
        .backward = config->backward ? TH_YES : TH_NO,
    };
    const struct th_config_domain *domain = match(config, uuid, name);

    if (domain) {
        overlay(&policy, &domain->policy);
    }
    if (xml_policy) {
        overlay(&policy, xml_policy);
    }
    /* Whoever says only "block at 5 ms" means it, though the default warns at 50 ms. */
    if (policy.warn_ns > policy.block_ns) {
        policy.warn_ns = policy.block_ns;
    }
    return policy;
}

const char *th_policy_from_name(enum th_policy_from from) {
    static const char *const names[] = {
        [TH_POLICY_FROM_HANDOFF] = "handoff",
        [TH_POLICY_FROM_DOMAIN] = "domain",
        [TH_POLICY_FROM_METADATA] = "metadata",
    };

    return from && (size_t)from < TH_ELEMENTS(names) ? names[from] : "unknown";
}

enum th_policy_from th_config_domain_handoff_from(const struct th_config *config,
                                                  const struct th_uuid *uuid, const char *name,
                                                  const struct th_domain_policy *xml_policy) {
    const struct th_config_domain *domain = match(config, uuid, name);

    if (xml_policy && xml_policy->handoff != 0) {
        return TH_POLICY_FROM_METADATA;
    }
    return domain && domain->policy.handoff != 0 ? TH_POLICY_FROM_DOMAIN : TH_POLICY_FROM_HANDOFF;
}
