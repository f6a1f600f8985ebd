/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The names of the three things that may be done with a guest's clock, used alike in a domain's
 * metadata, in configuration files and in reports, and a policy that says nothing yet. Callers may
 * keep the pointers: they are static. Apart from the XML reading, so that peerd needs no libxml2.
 */
#include <string.h>

#include "timehandoff/domain.h"

static const char *const names[] = {
    [TH_HANDOFF_STEP] = "step",
    [TH_HANDOFF_REPORT] = "report",
    [TH_HANDOFF_OFF] = "off",
};

const char *th_handoff_mode_name(enum th_handoff_mode mode) {
    return mode >= TH_HANDOFF_STEP && mode <= TH_HANDOFF_OFF ? names[mode] : "unknown";
}

enum th_handoff_mode th_handoff_mode_parse(const char *text) {
    for (enum th_handoff_mode mode = TH_HANDOFF_STEP; mode <= TH_HANDOFF_OFF; mode++) {
        if (strcmp(names[mode], text) == 0) {
            return mode;
        }
    }
    return 0;
}

void th_domain_policy_init(struct th_domain_policy *policy) {
    *policy = (struct th_domain_policy){.warn_ns = -1, .block_ns = -1};
}
