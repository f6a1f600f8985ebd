/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * hot: the hot paths alone, so often as is asked for, to be run under callgrind. The instructions
 * of two such runs, the one's less the other's, are those of the paths without the start of a
 * process; unlike seconds they are the same on every run. See instructions.py.
 *
 * usage: hot PATH COUNT
 *   packet     encode a question with an identity, decode it
 *   mac        the same under an AES128 key, and check the MAC
 *   answer     decide on a plain question and encode the answer
 *   gap        a gap out of eight exchanges
 *   probe      a whole measurement of eight questions, asked and answered over loopback
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "timehandoff/answer.h"
#include "timehandoff/probe.h"

#define STAMP UINT64_C(0xEB9E1D8012345678)
#define SAMPLES 8

static const struct th_key key = {.id = 1, .type = TH_KEY_AES128, .bytes = {1, 2, 3}};

static void must(bool so) {
    if (!so) {
        abort();
    }
}

static struct th_packet question_with_identity(void) {
    return (struct th_packet){.version = 4,
                              .mode = TH_MODE_CLIENT,
                              .precision = 32,
                              .transmit = STAMP,
                              .has_identity = true,
                              .identity.domain = {{7}}};
}

static void encode_and_decode(const struct th_key *under) {
    struct th_packet packet = question_with_identity(), read;
    uint8_t bytes[TH_PACKET_MAX_SIZE];
    size_t size = th_packet_encode(&packet, under, bytes);

    must(th_packet_decode(bytes, size, &read) == TH_PACKET_OK && read.transmit == STAMP);
    must(!under || th_packet_authentic(bytes, size, under));
}

static void packet(void) {
    encode_and_decode(NULL);
}

static void mac(void) {
    encode_and_decode(&key);
}

static size_t decide(uint8_t *bytes, size_t size, const struct sockaddr *from) {
    static struct th_network allowed[4];
    static struct th_answer_context context = {
        .allowed = allowed, .n_allowed = TH_ELEMENTS(allowed), .synchronised = TH_YES};
    static const char *const networks[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
                                           "127.0.0.0/8"};
    const struct th_key *under = NULL;
    struct th_packet answer;

    for (size_t i = 0; context.stratum == 0 && i < TH_ELEMENTS(allowed); i++) {
        must(th_network_parse(networks[i], &allowed[i]) == 0);
    }
    context.stratum = 3;
    must(th_answer_decide(&context, bytes, size, from, STAMP, &answer, &under) == TH_ANSWER_SEND);
    answer.transmit = STAMP + 1;
    return th_packet_encode(&answer, under, bytes);
}

static void answer(void) {
    struct th_packet question = {.version = 4, .mode = TH_MODE_CLIENT, .transmit = STAMP};
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_port = htons(40000)};
    uint8_t bytes[TH_PACKET_MAX_SIZE];
    size_t size = th_packet_encode(&question, NULL, bytes);

    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    must(decide(bytes, size, (const struct sockaddr *)&from) == size);
}

static void gap(void) {
    struct th_gap samples[SAMPLES], best;

    for (unsigned i = 0; i < SAMPLES; i++) {
        struct th_exchange exchange = {
            .t1 = STAMP,
            .t2 = STAMP + (UINT64_C(100000) << (i % 3)),
            .t3 = STAMP + (UINT64_C(100000) << (i % 3)) + 4000,
            .t4 = STAMP + (UINT64_C(200000) << (i % 3)) + 4000,
            .raw_ns = (int64_t)((((UINT64_C(200000) << (i % 3)) + 4000) * TH_NS_PER_S) >> 32),
            .local_precision_ns = 30,
            .remote_precision_ns = 30,
            .remote_rate_ppm = TH_GAP_RATE_UNKNOWN_PPM,
        };

        must(th_gap_compute(&exchange, &samples[i]) == 0);
    }
    must(th_gap_combine(samples, SAMPLES, &best) == SAMPLES);
}

/* Both ends in one thread, in an order that is always the same. */
static void probe(void) {
    static int server = -1;
    static struct th_probe_config config = {.spacing_ns = 1, .give_up_ns = 600 * TH_NS_PER_S};
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof(address);
    struct th_probe *asked;

    if (server < 0) {
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        must(bind(server, (const struct sockaddr *)&address, size) == 0);
        must(getsockname(server, (struct sockaddr *)&address, &size) == 0);
        memcpy(&config.address, &address, sizeof(address));
    }
    must(th_probe_new(&config, &asked) == 0);
    while (th_probe_dispatch(asked) == TH_PROBE_RUNNING) {
        uint8_t bytes[TH_PACKET_MAX_SIZE];
        struct sockaddr_in from;
        ssize_t n;

        size = sizeof(from);
        n = recvfrom(server, bytes, sizeof(bytes), 0, (struct sockaddr *)&from, &size);
        must(n > 0);
        n = (ssize_t)decide(bytes, (size_t)n, (const struct sockaddr *)&from);
        must(sendto(server, bytes, (size_t)n, 0, (const struct sockaddr *)&from, size) == n);
    }
    must(th_probe_result(asked).answered == SAMPLES);
    th_probe_free(asked);
}

static const struct {
    const char *name;
    void (*run)(void);
} paths[] = {
    {"packet", packet}, {"mac", mac}, {"answer", answer}, {"gap", gap}, {"probe", probe},
};

int main(int argc, char **argv) {
    for (size_t i = 0; argc == 3 && i < TH_ELEMENTS(paths); i++) {
        if (strcmp(argv[1], paths[i].name) == 0) {
            for (unsigned long n = strtoul(argv[2], NULL, 10); n > 0; n--) {
                paths[i].run();
            }
            return 0;
        }
    }
    fputs("usage: hot packet|mac|answer|gap|probe COUNT\n", stderr);
    return 2;
}
