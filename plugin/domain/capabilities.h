/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirt's capabilities document, of which we want one thing: the host's UUID, by which libvirt
 * itself tells hosts apart.
 */
#ifndef TH_DOMAIN_CAPABILITIES_H
#define TH_DOMAIN_CAPABILITIES_H

#include "timehandoff/base.h"

/* Reads /capabilities/host/uuid. 0, or -EBADMSG if there is none. */
int th_capabilities_host_uuid(const char *xml, struct th_uuid *ret_uuid);

#endif
