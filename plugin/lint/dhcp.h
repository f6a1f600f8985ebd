/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * NTP servers for guests that ask by DHCP: the settings of dnsmasq, and a libvirt network's XML
 * with these settings in it.
 */
#ifndef TH_LINT_DHCP_H
#define TH_LINT_DHCP_H

#include <netinet/in.h>

#include "timehandoff/base.h"

/* dnsmasq reads lines of up to 1024 bytes. */
#define TH_DHCP_OPTION_SIZE 960
#define TH_DHCP_MAX_SIZE (4u << 20)
#define TH_DHCP_NAMESPACE "http://libvirt.org/schemas/network/dnsmasq/1.0"

/*
 * Option 42 of DHCP with these addresses, option 56 of DHCPv6 (RFC 5908) with these host names and
 * IPv6 addresses, as a line of dnsmasq's configuration: "dhcp-option=…"; "" for n = 0. Each returns
 * how many servers found room: the first ones.
 */
size_t th_dhcp_option4(const struct in_addr *addresses, size_t n, char option[TH_DHCP_OPTION_SIZE]);
size_t th_dhcp_option6(const char *const *servers, size_t n, char option[TH_DHCP_OPTION_SIZE]);

/* What a network's XML says. */
struct th_dhcp_network {
    bool serves4, serves6; /* libvirt runs DHCP, DHCPv6 on it */
    bool has_tagged;       /* there are such options for some guests only; they are left alone */
};

/*
 * Writes into a libvirt network's XML the two settings, each only where the network serves that
 * DHCP and the setting is not empty, in place of earlier ones. All other bytes stay as they are; to
 * do it twice is to do it once. The XML is read with the care that th_domain_parse takes.
 *
 * Returns 0; -EBADMSG or -EFBIG with one line in ret_error; or -ENOMEM. The caller frees ret_xml,
 * which is terminated.
 */
int th_dhcp_network_update(const char *xml, size_t size, const char *option4, const char *option6,
                           struct th_dhcp_network *ret_network, char **ret_xml, char *ret_error,
                           size_t error_size);

#endif
