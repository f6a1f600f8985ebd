/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain's XML from this host's libvirt. The dry run shows what the hook will make of a domain,
 * so it reads the live definition, which is where the origin stamp is. It is asked for without
 * passwords: nothing here needs them.
 */
#include "cli/domain_xml.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int th_domain_xml_get(const struct th_cli_domain *domain, const char *name, char **ret_xml) {
    char *xml = domain->virt->virDomainGetXMLDesc(domain->domain, 0);
    char error[300];

    if (!xml) {
        fprintf(stderr, "timehandoff: cannot read the XML of '%s': %s\n", name,
                th_virt_last_error(domain->virt, error, sizeof(error)));
        return -EIO;
    }
    *ret_xml = xml;
    return 0;
}

int th_domain_xml_read(const struct th_config *config, const char *name, char **ret_xml) {
    th_auto_cli_domain struct th_cli_domain domain = {.virt = NULL};

    return th_cli_domain_open(config, name, &domain) ? th_domain_xml_get(&domain, name, ret_xml)
                                                     : -ENOENT;
}

bool th_domain_xml_is_file(const char *target) {
    return strcmp(target, "-") == 0 || strchr(target, '/') || access(target, F_OK) == 0;
}
