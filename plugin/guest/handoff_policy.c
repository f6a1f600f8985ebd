/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a handoff may do, put together from a domain's policy and the configuration. The daemon goes
 * by it and the dry run foretells by it, so it is made in one place.
 */
#include "timehandoff/handoff.h"

static int64_t max_step_ns(const struct th_config *config, enum th_trigger trigger) {
    switch (trigger) {
    case TH_TRIGGER_MIGRATED: return config->max_step_migration_ns;
    case TH_TRIGGER_UNPAUSED: return config->max_step_unpause_ns;
    case TH_TRIGGER_RECONCILE:
    case TH_TRIGGER_REQUEST:
    case TH_TRIGGER_RESTORED:
    case TH_TRIGGER_SNAPSHOT:
    case TH_TRIGGER_WAKEUP:
    case TH_TRIGGER_HOST_WAKEUP: break;
    }
    return -1;
}

struct th_decision_policy th_handoff_policy(const struct th_config *config,
                                            const struct th_domain_policy *domain,
                                            enum th_trigger trigger) {
    return (struct th_decision_policy){
        .mode = domain->handoff,
        .backward = domain->backward == TH_YES,
        .deadband_ns = config->deadband_ns,
        .max_step_ns = max_step_ns(config, trigger),
    };
}
