/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * exchange: the least that a program can do to learn another host's time: one NTP question over
 * UDP, one answer, and the offset between the two. It checks nothing and bounds nothing. It is the
 * floor that measurements by real programs are compared with, the start of a process included.
 *
 * usage: exchange ADDRESS PORT; prints the server's clock minus this one, in ns. Exits 1 without an
 * answer.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define PACKET_SIZE 48
#define RECEIVE_AT 32
#define TRANSMIT_AT 40
#define UNIX_IN_NTP INT64_C(2208988800)
#define SECOND_NS INT64_C(1000000000)

static int64_t now_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* An NTP timestamp (RFC 5905 section 6) as ns since 1970, in the era of now. */
static int64_t stamp_ns(const uint8_t *bytes) {
    uint32_t words[2];

    memcpy(words, bytes, sizeof(words));
    return ((int64_t)ntohl(words[0]) - UNIX_IN_NTP) * SECOND_NS +
           (int64_t)(((uint64_t)ntohl(words[1]) * (uint64_t)SECOND_NS) >> 32);
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    uint8_t bytes[PACKET_SIZE] = {4 << 3 | 3};
    struct pollfd pfd = {.events = POLLIN};
    int64_t t1, t4;

    if (argc != 3 || inet_pton(AF_INET, argv[1], &address.sin_addr) != 1) {
        fputs("usage: exchange ADDRESS PORT\n", stderr);
        return 2;
    }
    address.sin_port = htons((uint16_t)atoi(argv[2]));
    bytes[TRANSMIT_AT] = 1; /* some servers do not answer a question without a transmit stamp */
    pfd.fd = socket(AF_INET, SOCK_DGRAM, 0);
    if (connect(pfd.fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        return 1;
    }
    t1 = now_ns();
    if (send(pfd.fd, bytes, sizeof(bytes), 0) < 0 || poll(&pfd, 1, 1000) != 1 ||
        recv(pfd.fd, bytes, sizeof(bytes), 0) != PACKET_SIZE) {
        return 1;
    }
    t4 = now_ns();
    printf(
        "%lld\n",
        (long long)((stamp_ns(bytes + RECEIVE_AT) - t1 + stamp_ns(bytes + TRANSMIT_AT) - t4) / 2));
    return 0;
}
