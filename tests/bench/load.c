/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * load: asks an NTP server as fast as it answers, with a fixed number of questions under way, and
 * counts. What is under way stays within the server's socket buffer, so that nothing is lost by
 * asking too fast; when nothing has come for 0.2 s, what is under way counts as lost. An answer is
 * what is as long as the question.
 *
 * usage: load ADDRESS:PORT COUNT WINDOW [KEYS]; with a key file all questions carry a MAC of its
 * first key. Prints how many were answered, and how many were lost.
 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "timehandoff/probe.h"

#define PATIENCE_MS 200

struct load {
    int fd;
    uint8_t question[TH_PACKET_MAX_SIZE];
    size_t size;
    unsigned long asked, answered, lost;
};

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void ask(struct load *load) {
    if (send(load->fd, load->question, load->size, 0) < 0 && errno != ECONNREFUSED) {
        fail("send");
    }
    load->asked++;
}

static bool receive(const struct load *load) {
    uint8_t bytes[TH_PACKET_MAX_SIZE];

    return recv(load->fd, bytes, sizeof(bytes), MSG_DONTWAIT) == (ssize_t)load->size;
}

/* Returns whether an answer came in time. */
static bool take_answer(const struct load *load) {
    struct pollfd pfd = {.fd = load->fd, .events = POLLIN};

    if (receive(load)) {
        return true;
    }
    if (poll(&pfd, 1, PATIENCE_MS) < 0) {
        fail("poll");
    }
    return pfd.revents != 0 && receive(load);
}

static void run(struct load *load, unsigned long count, unsigned long window) {
    while (load->asked < window && load->asked < count) {
        ask(load);
    }
    while (load->answered + load->lost < count) {
        if (take_answer(load)) {
            load->answered++;
        } else {
            load->lost += load->asked - load->answered - load->lost;
        }
        while (load->asked < count && load->asked - load->answered - load->lost < window) {
            ask(load);
        }
    }
}

static void open_socket(struct load *load, const char *where) {
    struct sockaddr_storage address;

    if (th_address_parse(where, TH_PACKET_DEFAULT_PORT, &address) < 0) {
        errno = EINVAL;
        fail(where);
    }
    load->fd = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (load->fd < 0 ||
        connect(load->fd, (const struct sockaddr *)&address, sizeof(struct sockaddr_in)) < 0) {
        fail(where);
    }
}

static void make_question(struct load *load, const char *key_file) {
    struct th_packet packet = {
        .version = 4, .mode = TH_MODE_CLIENT, .precision = 32, .transmit = UINT64_C(1) << 40};
    struct th_keyring *keys = NULL;
    char error[200] = "";

    if (key_file && th_keyring_load(key_file, &keys, error, sizeof(error)) < 0) {
        fprintf(stderr, "load: %s\n", error);
        exit(1);
    }
    load->size = th_packet_encode(&packet, th_keyring_first(keys), load->question);
    th_keyring_free(keys);
}

int main(int argc, char **argv) {
    struct load load = {.fd = -1};

    if (argc < 4 || argc > 5) {
        fputs("usage: load ADDRESS:PORT COUNT WINDOW [KEYS]\n", stderr);
        return 2;
    }
    open_socket(&load, argv[1]);
    make_question(&load, argc == 5 ? argv[4] : NULL);
    run(&load, strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
    printf("%lu %lu\n", load.answered, load.lost);
    return 0;
}
