/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt for the commands that need it: loaded, connected, a domain looked up; complaints on
 * stderr.
 */
#ifndef TH_CLI_LIBVIRT_H
#define TH_CLI_LIBVIRT_H

#include "timehandoff/config.h"
#include "timehandoff/virt.h"

struct th_cli_domain {
    struct th_virt *virt;
    virConnectPtr connection;
    virDomainPtr domain;
};

/* Finds the domain by name, else by UUID. False after a complaint; deinit is safe then too. */
bool th_cli_domain_open(const struct th_config *config, const char *name,
                        struct th_cli_domain *ret_domain);
/*
 * A libvirtd that is stopped takes what it is sent and says nothing, and libvirt waits for ever. So
 * this program ends with that status and that line on stderr, unless it is done within so many
 * seconds. Each call takes the place of the one before.
 */
__attribute__((format(printf, 3, 4))) void th_cli_libvirt_within(int seconds, int status,
                                                                 const char *format, ...);
void th_cli_domain_deinit(struct th_cli_domain *domain);
#define th_auto_cli_domain __attribute__((cleanup(th_cli_domain_deinit)))

#endif
