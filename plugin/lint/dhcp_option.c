/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dnsmasq's settings for the NTP options of DHCP and DHCPv6. DHCP carries addresses only; DHCPv6
 * carries IPv6 addresses and names, each in a suboption of its own. dnsmasq sends one option 56 at
 * most, so all servers go into one; it encodes a list of addresses or one of names by itself, and a
 * list of both has to be given to it as bytes.
 */
#include <arpa/inet.h>
#include <string.h>

#include "lint/dhcp.h"

enum { SUBOPTION_ADDRESS = 1, SUBOPTION_NAME = 3 };

#define LONGEST_SUBOPTION 300

/* Appends text if all of it fits. */
static bool append(char option[TH_DHCP_OPTION_SIZE], const char *text) {
    size_t used = strlen(option);

    if (used + strlen(text) >= TH_DHCP_OPTION_SIZE) {
        return false;
    }
    strcpy(option + used, text);
    return true;
}

size_t th_dhcp_option4(const struct in_addr *addresses, size_t n,
                       char option[TH_DHCP_OPTION_SIZE]) {
    size_t done = 0;

    strcpy(option, n > 0 ? "dhcp-option=option:ntp-server" : "");
    while (done < n) {
        char text[1 + INET_ADDRSTRLEN] = ",";

        inet_ntop(AF_INET, &addresses[done], text + 1, INET_ADDRSTRLEN);
        if (!append(option, text)) {
            break;
        }
        done++;
    }
    return done;
}

static bool is_address(const char *server) {
    struct in6_addr address;

    return inet_pton(AF_INET6, server, &address) == 1;
}

/* A name as in DNS messages: labels, each after its length, and a zero. Returns the size. */
static size_t encode_name(const char *name, uint8_t *bytes) {
    size_t n = 0;

    while (*name) {
        size_t length = strcspn(name, ".");

        bytes[n++] = (uint8_t)length;
        memcpy(bytes + n, name, length);
        n += length;
        name += length + (name[length] == '.');
    }
    bytes[n++] = 0;
    return n;
}

static void encode(const char *server, char text[3 * LONGEST_SUBOPTION + 1]) {
    uint8_t bytes[LONGEST_SUBOPTION] = {0, SUBOPTION_ADDRESS};
    size_t size = sizeof(struct in6_addr);

    if (inet_pton(AF_INET6, server, bytes + 4) != 1) {
        bytes[1] = SUBOPTION_NAME;
        size = encode_name(server, bytes + 4);
    }
    bytes[2] = (uint8_t)(size >> 8);
    bytes[3] = (uint8_t)size;
    for (size_t i = 0; i < size + 4; i++) {
        snprintf(text + 3 * i, 4, "%02x%s", bytes[i], i + 1 < size + 4 ? ":" : "");
    }
}

size_t th_dhcp_option6(const char *const *servers, size_t n, char option[TH_DHCP_OPTION_SIZE]) {
    size_t n_addresses = 0, done = 0;
    bool mixed;

    for (size_t i = 0; i < n; i++) {
        n_addresses += is_address(servers[i]);
    }
    mixed = n_addresses > 0 && n_addresses < n;
    strcpy(option, n == 0  ? ""
                   : mixed ? "dhcp-option=option6:56"
                           : "dhcp-option=option6:ntp-server");
    while (done < n) {
        /* After the comma only colons, or dnsmasq does not take it for bytes. */
        char text[3 * LONGEST_SUBOPTION + 4];

        if (mixed) {
            text[0] = done > 0 ? ':' : ',';
            encode(servers[done], text + 1);
        } else {
            snprintf(text, sizeof(text), n_addresses > 0 ? ",[%s]" : ",%s", servers[done]);
        }
        if (!append(option, text)) {
            break;
        }
        done++;
    }
    return done;
}
