/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain's XML from this host's libvirt, for commands that name a domain.
 */
#ifndef TH_CLI_DOMAIN_XML_H
#define TH_CLI_DOMAIN_XML_H

#include "cli/libvirt.h"

/* Reads the live XML of the domain with this name or UUID. Caller frees. Complains on stderr. 0 or
 * negative errno. */
int th_domain_xml_read(const struct th_config *config, const char *name, char **ret_xml);
/* The same of one that is open already; name is for the complaint. */
int th_domain_xml_get(const struct th_cli_domain *domain, const char *name, char **ret_xml);

/* Whether DOMAIN | FILE | - on a command line names a file: "-", a path, or what exists here. A
 * domain of that name is chosen by its UUID. */
bool th_domain_xml_is_file(const char *target);

#endif
