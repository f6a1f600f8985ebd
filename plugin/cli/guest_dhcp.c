/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff guest dhcp`: the NTP servers for guests that ask by DHCP, put into the XML of a
 * libvirt network, or alone for whoever pastes by hand. DHCP carries addresses only, so names are
 * looked up here and now, and it is said that they were.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cli/guest.h"
#include "lint/dhcp.h"

/* What each of the two kinds of DHCP can carry of the list. */
struct carried {
    size_t n4, n6;
    struct in_addr list4[TH_NTP_MAX_SERVERS];
    const char *list6[TH_NTP_MAX_SERVERS];
    char option4[TH_DHCP_OPTION_SIZE], option6[TH_DHCP_OPTION_SIZE];
};

/* The first IPv4 address of a name. */
static void look_up(const char *name, struct carried *carried) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM};
    struct addrinfo *list = NULL;
    struct in_addr *address = &carried->list4[carried->n4];
    char text[INET_ADDRSTRLEN];
    int r = getaddrinfo(name, NULL, &hints, &list);

    if (r != 0) {
        fprintf(stderr, "timehandoff: warning: %s is left out of DHCP option 42: %s\n", name,
                gai_strerror(r));
        return;
    }
    memcpy(address, &((const struct sockaddr_in *)(const void *)list->ai_addr)->sin_addr,
           sizeof(*address));
    freeaddrinfo(list);
    carried->n4++;
    fprintf(stderr, "timehandoff: %s is %s in DHCP option 42; run this again when that changes\n",
            name, inet_ntop(AF_INET, address, text, sizeof(text)));
}

static void gather(const struct th_ntp_servers *servers, struct carried *carried) {
    for (size_t i = 0; i < servers->n && i < TH_NTP_MAX_SERVERS; i++) {
        const char *name = servers->servers[i].name;
        struct in6_addr address6;
        bool is4 = inet_pton(AF_INET, name, &carried->list4[carried->n4]) == 1;
        bool is6 = inet_pton(AF_INET6, name, &address6) == 1;

        carried->n4 += is4;
        if (!is4) {
            carried->list6[carried->n6++] = name;
        }
        if (!is4 && !is6) {
            look_up(name, carried);
        }
    }
    if (th_dhcp_option4(carried->list4, carried->n4, carried->option4) < carried->n4 ||
        th_dhcp_option6(carried->list6, carried->n6, carried->option6) < carried->n6) {
        fprintf(stderr, "timehandoff: warning: dnsmasq has no room for all servers; the last ones "
                        "are left out\n");
    }
}

static int print_fragment(const struct carried *carried) {
    const char *const options[] = {carried->option4, carried->option6};

    printf("<dnsmasq:options xmlns:dnsmasq='%s'>\n", TH_DHCP_NAMESPACE);
    for (size_t i = 0; i < TH_ELEMENTS(options); i++) {
        if (options[i][0]) {
            printf("  <dnsmasq:option value='%s'/>\n", options[i]);
        }
    }
    printf("</dnsmasq:options>\n");
    return EXIT_SUCCESS;
}

static void remark(const struct th_dhcp_network *network, const struct carried *carried) {
    if (!network->serves4 && !network->serves6) {
        fprintf(stderr, "timehandoff: warning: libvirt serves no DHCP on this network; nothing was "
                        "changed\n");
    }
    if (network->serves4 && !carried->n4) {
        fprintf(stderr, "timehandoff: warning: none of the servers has an IPv4 address, so DHCP "
                        "option 42 is not set\n");
    }
    if (network->serves6 && !carried->n6) {
        fprintf(stderr,
                "timehandoff: warning: none of the servers is a name or an IPv6 address, so "
                "DHCPv6 option 56 is not set\n");
    }
    if (network->has_tagged) {
        fprintf(stderr, "timehandoff: NTP options for tagged guests were left as they are\n");
    }
}

static int update(const char *path, const struct carried *carried) {
    th_auto_free char *xml = NULL, *updated = NULL;
    struct th_dhcp_network network;
    char error[160] = "";
    size_t size = 0;

    if (!th_read_input(path, TH_DHCP_MAX_SIZE, &xml, &size)) {
        return TH_EXIT_USAGE;
    }
    if (th_dhcp_network_update(xml, size, carried->option4, carried->option6, &network, &updated,
                               error, sizeof(error)) < 0) {
        char shown[256];

        fprintf(stderr, "timehandoff: %s is no XML of a libvirt network: %s\n",
                th_text_clean(path, shown, sizeof(shown)), error[0] ? error : "out of memory");
        return TH_EXIT_USAGE;
    }
    remark(&network, carried);
    fputs(updated, stdout);
    return EXIT_SUCCESS;
}

int th_guest_dhcp(const struct th_guest_options *options) {
    th_auto_ntp_servers struct th_ntp_servers servers = {.n = 0};
    struct carried carried = {.n4 = 0};

    if (!th_guest_servers(options, &servers)) {
        return TH_EXIT_USAGE;
    }
    gather(&servers, &carried);
    return options->target ? update(options->target, &carried) : print_fragment(&carried);
}
