/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Addresses with ports in text, numeric only: nothing in the path of a migration may wait for a
 * name server. The text forms are those people write in URLs and configuration files, and what is
 * written here can be read again.
 */
#include "timehandoff/probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

static int parse_port(const char *text, unsigned *ret_port) {
    unsigned port = 0;
    size_t length = strlen(text);

    if (length == 0 || length > 5) {
        return -EINVAL;
    }
    for (; *text; text++) {
        if (*text < '0' || *text > '9') {
            return -EINVAL;
        }
        port = port * 10 + (unsigned)(*text - '0');
    }
    if (port == 0 || port > UINT16_MAX) {
        return -EINVAL;
    }
    *ret_port = port;
    return 0;
}

/* Splits "ADDRESS", "ADDRESS:PORT", "[ADDRESS]" or "[ADDRESS]:PORT". ret_port is NULL without one.
 */
static int split(const char *text, const char **ret_host, size_t *ret_length,
                 const char **ret_port) {
    const char *colon = strchr(text, ':');

    if (*text == '[') {
        const char *end = strchr(text, ']');

        if (!end || (end[1] != '\0' && end[1] != ':')) {
            return -EINVAL;
        }
        *ret_host = text + 1;
        *ret_length = (size_t)(end - text - 1);
        *ret_port = end[1] == ':' ? end + 2 : NULL;
        return 0;
    }
    /* Two colons without brackets: an IPv6 address alone. */
    if (colon && strchr(colon + 1, ':')) {
        colon = NULL;
    }
    *ret_host = text;
    *ret_length = colon ? (size_t)(colon - text) : strlen(text);
    *ret_port = colon ? colon + 1 : NULL;
    return 0;
}

int th_address_parse(const char *text, unsigned default_port,
                     struct sockaddr_storage *ret_address) {
    struct sockaddr_storage address = {0};
    struct sockaddr_in ipv4 = {.sin_family = AF_INET};
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6};
    char host[INET6_ADDRSTRLEN];
    const char *host_text, *port_text;
    unsigned port = default_port;
    size_t length;

    if (!text || split(text, &host_text, &length, &port_text) < 0 || length >= sizeof(host)) {
        return -EINVAL;
    }
    if (port_text && parse_port(port_text, &port) < 0) {
        return -EINVAL;
    }
    memcpy(host, host_text, length);
    host[length] = '\0';
    if (*text != '[' && inet_pton(AF_INET, host, &ipv4.sin_addr) == 1) {
        ipv4.sin_port = htons((uint16_t)port);
        memcpy(&address, &ipv4, sizeof(ipv4));
    } else if (inet_pton(AF_INET6, host, &ipv6.sin6_addr) == 1) {
        ipv6.sin6_port = htons((uint16_t)port);
        memcpy(&address, &ipv6, sizeof(ipv6));
    } else {
        return -EINVAL;
    }
    *ret_address = address;
    return 0;
}

char *th_address_format(const struct sockaddr_storage *address, char text[TH_ADDRESS_TEXT_SIZE]) {
    char host[INET6_ADDRSTRLEN];
    struct sockaddr_in ipv4;
    struct sockaddr_in6 ipv6;

    switch (address->ss_family) {
    case AF_INET:
        memcpy(&ipv4, address, sizeof(ipv4));
        (void)inet_ntop(AF_INET, &ipv4.sin_addr, host, sizeof(host));
        (void)snprintf(text, TH_ADDRESS_TEXT_SIZE, "%s:%u", host, ntohs(ipv4.sin_port));
        break;
    case AF_INET6:
        memcpy(&ipv6, address, sizeof(ipv6));
        (void)inet_ntop(AF_INET6, &ipv6.sin6_addr, host, sizeof(host));
        (void)snprintf(text, TH_ADDRESS_TEXT_SIZE, "[%s]:%u", host, ntohs(ipv6.sin6_port));
        break;
    default: (void)snprintf(text, TH_ADDRESS_TEXT_SIZE, "unknown"); break;
    }
    return text;
}

bool th_address_equal(const struct sockaddr_storage *a, const struct sockaddr_storage *b) {
    char text_a[TH_ADDRESS_TEXT_SIZE], text_b[TH_ADDRESS_TEXT_SIZE];

    return a->ss_family && b->ss_family &&
           strcmp(th_address_format(a, text_a), th_address_format(b, text_b)) == 0;
}
