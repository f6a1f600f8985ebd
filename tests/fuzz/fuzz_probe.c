/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Answers as a forger between two hosts can make them, up to the result of a probe. The socket and
 * the clocks below the probe are this file's own, so a run costs microseconds and repeats. One byte
 * says what is asked, then each answer has a head of a few bytes: how it is signed, whether the
 * right cookie is put in, when it comes. A server that is asked honestly shows that the gap is
 * never given wrongly.
 */
#include "fuzz.h"

#include <errno.h>
#include <netinet/in.h>

#include "clock/socket.h"
#include "fuzz_clock.h"
#include "timehandoff/probe.h"

#define TRAILER_SIZE (4 + TH_MAC_SIZE)

enum signing { UNSIGNED = 0, SIGNED, FORGED, AS_IT_IS };

/* The world outside of the probe. */
static struct {
    int64_t t_ns, stepped_ns; /* true time; what the host's clock was stepped by */
    int peer_fd;              /* the far end of the probe's socket */
    uint8_t question[TH_PACKET_MAX_SIZE];
    size_t question_size;
    uint8_t answer[2 * TH_PACKET_MAX_SIZE];
    size_t answer_size; /* 0: none is there */
    int64_t waited_ns;  /* from the answer's arrival to now */
    bool has_stamp;
    int refusal;
    unsigned n_cookies, n_signed; /* answers so far that could count */
} world;

static const struct th_key key = {.id = 5, .type = TH_KEY_AES128, .bytes = {1, 2, 3}};
static const struct th_uuid domain = {{0xD0, 1}};

static int64_t fuzz_true_ns(void) {
    return world.t_ns;
}

static int64_t fuzz_host_ahead_ns(void) {
    return world.stepped_ns;
}

/* ---- in place of plugin/clock/socket.c ---- */

bool th_socket_is_refusal(int error) {
    return error == ECONNREFUSED;
}

int th_socket_open(const struct sockaddr_storage *address, bool kernel_stamps) {
    int ends[2];

    (void)address;
    (void)kernel_stamps;
    must(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    world.peer_fd = ends[1];
    return ends[0];
}

int th_socket_receive(int fd, void *bytes, size_t size, struct th_arrival *ret_arrival) {
    int refusal = world.refusal;

    (void)fd;
    world.refusal = 0;
    if (refusal || world.answer_size == 0) {
        return refusal ? -refusal : -EAGAIN;
    }
    memcpy(bytes, world.answer, world.answer_size < size ? world.answer_size : size);
    *ret_arrival = (struct th_arrival){
        .size = world.answer_size,
        .real_ns = th_now().real_ns,
        .raw_ns = world.t_ns,
        .kernel_ns = world.has_stamp ? th_now().real_ns - world.waited_ns : 0,
    };
    world.answer_size = 0;
    return 0;
}

/* ---- questions and answers ---- */

/* Takes the newest question off the socket and sees whether it is one that may be sent. */
static void take_question(const struct th_probe_config *config) {
    uint8_t bytes[TH_PACKET_MAX_SIZE];
    struct th_packet packet;
    ssize_t size;

    while ((size = recv(world.peer_fd, bytes, sizeof(bytes), 0)) > 0) {
        must(th_packet_decode(bytes, (size_t)size, &packet) == TH_PACKET_OK);
        must(packet.mode == TH_MODE_CLIENT && packet.transmit != 0 && packet.receive == 0);
        must(packet.has_identity == config->ask_identity);
        must(config->key ? th_packet_authentic(bytes, (size_t)size, config->key)
                         : packet.key_id == 0);
        memcpy(world.question, bytes, (size_t)size);
        world.question_size = (size_t)size;
    }
}

static void put_stamp(size_t at, int64_t real_ns) {
    th_ntp64 stamp = th_ntp64_from_unix_ns(real_ns);

    for (size_t i = 0; i < 8; i++) {
        world.answer[at + i] = (uint8_t)(stamp >> (56 - 8 * i));
    }
}

static void sign(enum signing how) {
    uint8_t *mac = world.answer + world.answer_size - TH_MAC_SIZE;
    uint32_t id = key.id;

    if ((how != SIGNED && how != FORGED) ||
        world.answer_size < TH_PACKET_HEADER_SIZE + TRAILER_SIZE) {
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        mac[(int)i - 4] = (uint8_t)(id >> (24 - 8 * i));
    }
    th_key_mac(&key, world.answer, world.answer_size - TRAILER_SIZE, mac);
    mac[0] ^= how == FORGED;
    world.n_signed += how == SIGNED;
}

/* An answer out of the input: a head, then as many bytes as it says. */
static void forge(struct fuzz_bytes *input) {
    unsigned head = (unsigned)fuzz_number(input, 1);
    size_t size = (size_t)fuzz_number(input, 2) % sizeof(world.answer);

    world.t_ns += (int64_t)fuzz_number(input, 2) * TH_NS_PER_US;
    world.has_stamp = head & 0x10;
    world.waited_ns = fuzz_signed(input) >> 8;
    world.stepped_ns += head & 0x20 ? fuzz_signed(input) >> 4 : 0;
    world.refusal = (head & 0xC0) == 0xC0 ? ECONNREFUSED : 0;
    size = size < input->left ? size : input->left;
    memcpy(world.answer, input->at, size);
    input->at += size;
    input->left -= size;
    world.answer_size = size;
    if (head & 4 && size >= TH_PACKET_HEADER_SIZE) {
        memcpy(world.answer + 24, world.question + 40, 8);
        world.n_cookies++;
    }
    if (head & 8 && size >= TH_PACKET_HEADER_SIZE) {
        put_stamp(32, th_now().real_ns - 1000);
        put_stamp(40, th_now().real_ns - 900);
    }
    sign(head % 4);
}

/* The answer of a host whose clock is gap_ns ahead, with ways as they come. */
static void answer_honestly(struct fuzz_bytes *input, int64_t gap_ns) {
    int64_t ways_ns[4];
    struct th_packet packet = {.version = 4, .mode = TH_MODE_SERVER, .stratum = 2, .leap = 0};

    for (size_t i = 0; i < TH_ELEMENTS(ways_ns); i++) {
        ways_ns[i] = (int64_t)fuzz_number(input, 3);
    }
    packet.precision = -30;
    world.answer_size = th_packet_encode(&packet, NULL, world.answer);
    memcpy(world.answer + 24, world.question + 40, 8);
    world.t_ns += ways_ns[0];
    put_stamp(32, th_now().real_ns + gap_ns);
    world.t_ns += ways_ns[1];
    put_stamp(40, th_now().real_ns + gap_ns);
    world.t_ns += ways_ns[2] + ways_ns[3];
    world.waited_ns = ways_ns[3];
    world.has_stamp = ways_ns[3] & 1;
    world.n_cookies++;
}

/* ---- what must hold ---- */

static void check_result(const struct th_probe_config *config, const struct th_probe *probe) {
    struct th_probe_result result = th_probe_result(probe);
    const struct th_servers *servers = th_probe_servers(probe);

    must(result.answered <= result.asked && result.asked <= TH_PROBE_MAX_QUESTIONS);
    must((result.outcome == TH_PROBE_ANSWERED) == (result.answered > 0));
    must(result.answered <= world.n_cookies);
    must(!servers || (config->ask_servers && fuzz_is_line(servers->text)));
    if (result.answered == 0) {
        must(!result.authenticated && !result.has_identity && !servers);
        return;
    }
    must(result.gap.bound_ns > 0 && result.gap.delay_ns >= 0 && result.root_distance_ns >= 0);
    must(result.agreed >= 1 && result.agreed <= result.answered);
    must(result.authenticated == (config->key != NULL));
    must(!result.authenticated || result.answered <= world.n_signed);
    must(!result.has_identity ||
         (config->ask_identity && th_uuid_equal(&result.identity.domain, &domain)));
    must(result.clock == TH_PROBE_CLOCK_NTP || result.has_identity);
}

static void check_truth(const struct th_probe *probe, int64_t gap_ns) {
    struct th_probe_result result = th_probe_result(probe);

    if (result.answered > 0) {
        int64_t wrong_ns = result.gap.offset_ns - gap_ns;

        must(result.agreed == result.answered);
        must((wrong_ns < 0 ? -wrong_ns : wrong_ns) <= result.gap.bound_ns);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct fuzz_bytes input = {data, size};
    unsigned head = (unsigned)fuzz_number(&input, 1);
    bool honest = head & 0x80;
    int64_t gap_ns = honest ? fuzz_signed(&input) >> 3 : 0;
    struct th_probe_config config = {
        .address.ss_family = AF_INET,
        .key = head & 1 && !honest ? &key : NULL,
        .ask_identity = head & 2,
        .ask_servers = head & 4,
        .domain = domain,
        .questions = head >> 4 & 7,
        .kernel_stamps = true,
    };
    struct th_probe *probe = NULL;
    enum th_probe_outcome outcome;

    memset(&world, 0, sizeof(world));
    world.t_ns = 1000 * TH_NS_PER_S;
    must(th_probe_new(&config, &probe) == 0);
    outcome = th_probe_dispatch(probe);
    take_question(&config);
    while (outcome == TH_PROBE_RUNNING && input.left > 0) {
        if (honest) {
            answer_honestly(&input, gap_ns);
        } else {
            forge(&input);
        }
        outcome = th_probe_dispatch(probe);
        take_question(&config);
        check_result(&config, probe);
    }
    while (outcome == TH_PROBE_RUNNING) {
        must(th_probe_wake_ns(probe) >= world.t_ns);
        world.t_ns = th_probe_wake_ns(probe);
        outcome = th_probe_dispatch(probe);
        take_question(&config);
    }
    check_result(&config, probe);
    if (honest) {
        check_truth(probe, gap_ns);
    }
    (void)th_probe_free(probe);
    (void)close(world.peer_fd);
    return 0;
}
