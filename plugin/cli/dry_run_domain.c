/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The domain that a dry run is about. Nothing here reaches into the guest: libvirt is asked for the
 * XML, the state and QEMU's own limit for the blackout, which are all reads of what it knows.
 */
#include "cli/dry_run_domain.h"

#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/domain_xml.h"

static void read_state(const struct th_cli_domain *domain, struct th_dry_run_domain *ret_domain) {
    const struct th_virt *virt = domain->virt;
    unsigned long long limit_ms;
    int state, reason;

    if (virt->virDomainGetState(domain->domain, &state, &reason, 0) < 0) {
        return;
    }
    ret_domain->offline = state == VIR_DOMAIN_SHUTOFF || state == VIR_DOMAIN_CRASHED;
    if (!ret_domain->offline && virt->virDomainMigrateGetMaxDowntime &&
        virt->virDomainMigrateGetMaxDowntime(domain->domain, &limit_ms, 0) == 0 &&
        limit_ms <= INT64_MAX / TH_NS_PER_MS) {
        ret_domain->downtime_limit_ns = (int64_t)limit_ms * TH_NS_PER_MS;
    }
}

bool th_dry_run_domain_read(const struct th_config *config, const char *name,
                            struct th_dry_run_domain *ret_domain) {
    th_auto_cli_domain struct th_cli_domain domain = {.virt = NULL};

    *ret_domain = (struct th_dry_run_domain){.downtime_limit_ns = -1};
    if (!th_cli_domain_open(config, name, &domain) ||
        th_domain_xml_get(&domain, name, &ret_domain->xml) < 0) {
        return false;
    }
    ret_domain->size = strlen(ret_domain->xml);
    read_state(&domain, ret_domain);
    return true;
}

bool th_dry_run_domain_read_target(const struct th_config *config, const char *target,
                                   struct th_dry_run_domain *ret_domain) {
    if (!th_domain_xml_is_file(target)) {
        return th_dry_run_domain_read(config, target, ret_domain);
    }
    *ret_domain = (struct th_dry_run_domain){.downtime_limit_ns = -1};
    return th_read_input(target, TH_DOMAIN_XML_MAX_SIZE, &ret_domain->xml, &ret_domain->size);
}

void th_dry_run_domain_deinit(struct th_dry_run_domain *domain) {
    free(domain->xml);
    domain->xml = NULL;
}
