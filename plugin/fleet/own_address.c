/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * This host's own addresses, from the kernel's interface list (getifaddrs). Nothing is kept between
 * calls: addresses come and go, and a stale list would put a dead address into a stamp. Whoever
 * compares many addresses at once takes the list once.
 */
#include "fleet/own_address.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

struct ifaddrs *th_own_interfaces(void) {
    struct ifaddrs *list = NULL;

    return getifaddrs(&list) < 0 ? NULL : list;
}

void th_own_interfaces_deinit(struct ifaddrs **interfaces) {
    if (*interfaces) {
        freeifaddrs(*interfaces);
    }
    *interfaces = NULL;
}

/* One address in each of its forms. A union, because the compiler may take a sockaddr_storage that
 * is read through a pointer to sockaddr_in for one that was never written. */
union address {
    struct sockaddr_storage any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* sockaddr pointers of getifaddrs are only as aligned as their own family wants: copy. */
static bool load(const struct sockaddr *from, union address *ret_address) {
    union address address = {.any = {.ss_family = AF_UNSPEC}};

    if (!from) {
        return false;
    }
    if (from->sa_family == AF_INET) {
        memcpy(&address, from, sizeof(struct sockaddr_in));
    } else if (from->sa_family == AF_INET6) {
        memcpy(&address, from, sizeof(struct sockaddr_in6));
    } else {
        return false;
    }
    *ret_address = address;
    return true;
}

bool th_own_address_among(const struct ifaddrs *interfaces,
                          const struct sockaddr_storage *address) {
    union address asked = {.any = *address}, own;

    for (const struct ifaddrs *i = interfaces; i; i = i->ifa_next) {
        if (!load(i->ifa_addr, &own) || own.any.ss_family != asked.any.ss_family) {
            continue;
        }
        if (own.any.ss_family == AF_INET
                ? own.v4.sin_addr.s_addr == asked.v4.sin_addr.s_addr
                : IN6_ARE_ADDR_EQUAL(&own.v6.sin6_addr, &asked.v6.sin6_addr)) {
            return true;
        }
    }
    return false;
}

bool th_own_address(const struct sockaddr_storage *address) {
    th_auto_own_interfaces struct ifaddrs *interfaces = th_own_interfaces();

    return th_own_address_among(interfaces, address);
}

/* Worth naming to another host: up, not loopback, not link-local (that needs an interface). */
static bool worth_naming(const struct ifaddrs *interface, union address *ret_address) {
    union address address;

    if (!(interface->ifa_flags & IFF_UP) || (interface->ifa_flags & IFF_LOOPBACK) ||
        !load(interface->ifa_addr, &address)) {
        return false;
    }
    if (address.any.ss_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&address.v6.sin6_addr)) {
        return false;
    }
    if (address.any.ss_family == AF_INET && (ntohl(address.v4.sin_addr.s_addr) >> 16) == 0xa9fe) {
        return false;
    }
    *ret_address = address;
    return true;
}

size_t th_own_addresses(unsigned port, struct sockaddr_storage *ret_addresses, size_t max) {
    th_auto_own_interfaces struct ifaddrs *interfaces = th_own_interfaces();
    union address address;
    size_t n = 0;

    for (const struct ifaddrs *i = interfaces; i && n < max; i = i->ifa_next) {
        if (!worth_naming(i, &address)) {
            continue;
        }
        if (address.any.ss_family == AF_INET) {
            address.v4.sin_port = htons((uint16_t)port);
        } else {
            address.v6.sin6_port = htons((uint16_t)port);
        }
        ret_addresses[n++] = address.any;
    }
    return n;
}

/* IPv4 as IPv4-mapped IPv6, so that one comparison serves both. */
static struct in6_addr mapped(const union address *address) {
    struct in6_addr bytes = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

    if (address->any.ss_family == AF_INET6) {
        return address->v6.sin6_addr;
    }
    memcpy(&bytes.s6_addr[12], &address->v4.sin_addr, 4);
    return bytes;
}

struct th_network th_network_of(const struct sockaddr_storage *address) {
    union address copy = {.any = *address};

    return (struct th_network){mapped(&copy), 128};
}

static unsigned prefix_length(const union address *mask) {
    struct in6_addr bits = mapped(mask);
    unsigned length = mask->any.ss_family == AF_INET ? 96 : 0;

    for (unsigned i = length / 8; i < 16 && bits.s6_addr[i]; i++) {
        length += (unsigned)__builtin_popcount(bits.s6_addr[i]);
    }
    return length;
}

size_t th_own_networks(struct th_network *ret_networks, size_t max) {
    th_auto_own_interfaces struct ifaddrs *interfaces = th_own_interfaces();
    union address address, mask;
    size_t n = 0;

    for (const struct ifaddrs *i = interfaces; i && n < max; i = i->ifa_next) {
        if (worth_naming(i, &address) && load(i->ifa_netmask, &mask)) {
            ret_networks[n++] = (struct th_network){mapped(&address), prefix_length(&mask)};
        }
    }
    return n;
}
