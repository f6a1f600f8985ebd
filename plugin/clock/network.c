/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Networks and whether an address lies in one, for the allow-list and the list of peers. IPv4 is
 * held as IPv4-mapped IPv6, so that one socket for both families needs no second list; but an IPv6
 * network that happens to enclose the mapped range, such as ::/0, holds no IPv4 address: who allows
 * all of one family has not said anything about the other.
 */
#include "timehandoff/answer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#define MAPPED_BITS 96

static struct in6_addr map_ipv4(struct in_addr address) {
    struct in6_addr mapped = {.s6_addr = {[10] = 0xFF, [11] = 0xFF}};

    memcpy(mapped.s6_addr + 12, &address.s_addr, sizeof(address.s_addr));
    return mapped;
}

/* Reads a prefix length of at most most bits. */
static int parse_prefix(const char *text, unsigned most, unsigned *ret_prefix) {
    unsigned prefix = 0;

    if (*text == '\0' || strlen(text) > 3) {
        return -EINVAL;
    }
    for (; *text; text++) {
        if (*text < '0' || *text > '9') {
            return -EINVAL;
        }
        prefix = prefix * 10 + (unsigned)(*text - '0');
    }
    if (prefix > most) {
        return -EINVAL;
    }
    *ret_prefix = prefix;
    return 0;
}

/* Clears what lies behind the prefix, so that 10.1.2.3/8 is 10.0.0.0/8. */
static void clear_host_bits(struct th_network *network) {
    for (unsigned i = 0; i < sizeof(network->address.s6_addr); i++) {
        unsigned first_bit = 8 * i;

        if (first_bit >= network->prefix) {
            network->address.s6_addr[i] = 0;
        } else if (network->prefix - first_bit < 8) {
            unsigned kept = network->prefix - first_bit;

            network->address.s6_addr[i] &= (uint8_t)(0xFF00U >> kept);
        }
    }
}

int th_network_parse(const char *text, struct th_network *ret_network) {
    const char *slash = text ? strchr(text, '/') : NULL;
    size_t length = slash ? (size_t)(slash - text) : text ? strlen(text) : 0;
    char address[INET6_ADDRSTRLEN];
    struct th_network network = {.prefix = 128};
    struct in_addr ipv4;
    unsigned outer = 0;

    if (length == 0 || length >= sizeof(address)) {
        return -EINVAL;
    }
    memcpy(address, text, length);
    address[length] = '\0';
    if (inet_pton(AF_INET, address, &ipv4) == 1) {
        network.address = map_ipv4(ipv4);
        outer = MAPPED_BITS;
    } else if (inet_pton(AF_INET6, address, &network.address) != 1) {
        return -EINVAL;
    }
    if (slash && parse_prefix(slash + 1, 128 - outer, &network.prefix) < 0) {
        return -EINVAL;
    }
    if (slash) {
        network.prefix += outer;
    }
    clear_host_bits(&network);
    *ret_network = network;
    return 0;
}

static bool same_bits(const struct in6_addr *a, const struct in6_addr *b, unsigned bits) {
    unsigned whole = bits / 8;
    unsigned rest = bits % 8;

    if (memcmp(a->s6_addr, b->s6_addr, whole) != 0) {
        return false;
    }
    return rest == 0 || ((a->s6_addr[whole] ^ b->s6_addr[whole]) & (0xFF00U >> rest) & 0xFFU) == 0;
}

bool th_network_holds(const struct th_network *network, const struct sockaddr *address) {
    struct in6_addr asked;

    if (address->sa_family == AF_INET) {
        struct sockaddr_in ipv4;

        memcpy(&ipv4, address, sizeof(ipv4));
        asked = map_ipv4(ipv4.sin_addr);
    } else if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 ipv6;

        memcpy(&ipv6, address, sizeof(ipv6));
        asked = ipv6.sin6_addr;
    } else {
        return false;
    }
    if (IN6_IS_ADDR_V4MAPPED(&asked) && network->prefix < MAPPED_BITS) {
        return false;
    }
    return network->prefix <= 128 && same_bits(&network->address, &asked, network->prefix);
}
