/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The policy that people put into a domain's metadata, in place of a section in the configuration,
 * so that it travels with the domain. The caller may rely on it that a policy is taken whole or not
 * at all: half of one could be laxer than what was meant.
 */
#include "domain/domain_policy.h"

#include <errno.h>

#include "timehandoff/duration.h"

static int read_warn(const char *value, void *target) {
    struct th_domain_policy *policy = target;

    return th_duration_parse(value, &policy->warn_ns);
}

static int read_block(const char *value, void *target) {
    struct th_domain_policy *policy = target;

    return th_duration_parse(value, &policy->block_ns);
}

static int read_handoff(const char *value, void *target) {
    struct th_domain_policy *policy = target;

    policy->handoff = th_handoff_mode_parse(value);
    return policy->handoff == 0 ? -EINVAL : 0;
}

static int read_backward(const char *value, void *target) {
    struct th_domain_policy *policy = target;

    policy->backward = th_ternary_parse(value);
    return policy->backward == TH_UNKNOWN ? -EINVAL : 0;
}

bool th_domain_policy_read(struct th_domain_policy *policy,
                           const struct th_xml_attributes *attributes,
                           struct th_complaint *complaint) {
    static const struct th_xml_field fields[] = {
        {"warn", "a duration such as 5ms", read_warn},
        {"block", "a duration such as 5ms", read_block},
        {"handoff", "step, report or off", read_handoff},
        {"backward", "yes or no", read_backward},
    };
    bool good;

    th_domain_policy_init(policy);
    good = th_xml_fields_read(attributes, "policy", fields, TH_ELEMENTS(fields), policy, complaint);
    if (good && policy->block_ns >= 0 && policy->warn_ns > policy->block_ns) {
        th_complaint_add(complaint, "policy ignored: warn is greater than block");
        good = false;
    }
    if (!good) {
        th_domain_policy_init(policy);
    }
    return good;
}
