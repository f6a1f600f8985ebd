/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * This host's own addresses: which ones an origin stamp should name, and which ones must not be
 * asked when looking for another host.
 */
#ifndef TH_FLEET_OWN_ADDRESS_H
#define TH_FLEET_OWN_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "timehandoff/answer.h"

struct ifaddrs;

/* Whether an interface of this host has the address (port not looked at). False if that can't be
 * found out. */
bool th_own_address(const struct sockaddr_storage *address);

/* The same of many addresses with one look at the interfaces. NULL: they can't be read, and no
 * address is among them. */
struct ifaddrs *th_own_interfaces(void);
bool th_own_address_among(const struct ifaddrs *interfaces, const struct sockaddr_storage *address);
void th_own_interfaces_deinit(struct ifaddrs **interfaces);
#define th_auto_own_interfaces __attribute__((cleanup(th_own_interfaces_deinit)))

/* Up to max addresses of interfaces that are up, without loopback and link-local ones, each with
 * the port given. Returns how many, 0 if none or if they can't be read. */
size_t th_own_addresses(unsigned port, struct sockaddr_storage *ret_addresses, size_t max);

/* The networks of all interfaces that are up; same rules. */
size_t th_own_networks(struct th_network *ret_networks, size_t max);

/* The network that holds just this address. */
struct th_network th_network_of(const struct sockaddr_storage *address);

#endif
