/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The domain that a dry run is about: its XML from a file, from standard input or from this host's
 * libvirt, and of a domain that lives here what only libvirt can tell.
 */
#ifndef TH_CLI_DRY_RUN_DOMAIN_H
#define TH_CLI_DRY_RUN_DOMAIN_H

#include "timehandoff/config.h"

struct th_dry_run_domain {
    char *xml; /* NULL: none named */
    size_t size;
    bool offline;              /* libvirt says that it does not run */
    int64_t downtime_limit_ns; /* of a migration of the running domain; -1: not known */
};

/* Reads a domain of this host's libvirt by name or UUID; or what DOMAIN | FILE | - names. False
 * after a complaint on stderr; deinit is safe then too. */
bool th_dry_run_domain_read(const struct th_config *config, const char *name,
                            struct th_dry_run_domain *ret_domain);
bool th_dry_run_domain_read_target(const struct th_config *config, const char *target,
                                   struct th_dry_run_domain *ret_domain);
void th_dry_run_domain_deinit(struct th_dry_run_domain *domain);
#define th_auto_dry_run_domain __attribute__((cleanup(th_dry_run_domain_deinit)))

#endif
