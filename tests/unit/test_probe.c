/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tests of probing, against responders in this program on the loopback addresses: a good one, and
 * one for each way of being bad, broken, slow or hostile. The clock they answer with is this host's
 * plus a known shift, so the true gap is known to the nanosecond. No test depends on how fast the
 * machine is: waits that should end early have generous limits.
 */
#include "timehandoff/probe.h"

#include "seeded.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MINUTE_NS (60 * TH_NS_PER_S)
#define SHIFT_NS (-INT64_C(1234567890123))

static const struct th_key key = {.id = 9, .type = TH_KEY_AES128, .bytes = "keykeykeykeykey"};
static const struct th_key wrong_key = {.id = 9, .type = TH_KEY_AES128, .bytes = "KEYkeykeykeykey"};
static const struct th_key other_id = {.id = 10, .type = TH_KEY_AES128, .bytes = "keykeykeykeykey"};
static const struct th_uuid web = {{1}}, db = {{2}}, host = {{0xAA}};

enum manner {
    GOOD,
    SILENT,
    WRONG_COOKIE,
    ZERO_COOKIE,
    REPLAYED,
    ZERO_RECEIVE,
    ZERO_TRANSMIT,
    WRONG_MODE,
    VERSION_3,
    OTHER_PORT,
    WRONG_MAC,
    OTHER_KEY_ID,
    NO_MAC,
    CRYPTO_NAK,
    UNASKED_MAC,
    UNASKED_IDENTITY,
    UNASKED_SERVERS,
    OTHER_DOMAIN,
    TOO_LONG,
    ONLY_GARBAGE,
    TIME_TRAVEL,
    IMPOSSIBLY_SLOW,
    KISS_OF_DEATH,
    KISS_WITH_WRONG_COOKIE,
    UNSYNCHRONISED,
    FIRST_ONLY,
    GARBAGE_FIRST,
    EACH_TWICE,
    DELAYED,
    REVERSED,
    STEPPED,
};

struct responder {
    int fd, other_fd, stop[2];
    struct sockaddr_storage address;
    pthread_t thread;
    enum manner manner;
    const struct th_key *key;
    bool with_identity;
    struct th_uuid domain;
    /* Written by the thread, read once it has ended. */
    unsigned n_questions;
    uint8_t questions[64][TH_PACKET_MAX_SIZE];
    size_t sizes[64];
    struct sockaddr_storage askers[64];
};

/* ---- the responder ---- */

static struct th_packet good_answer(const struct responder *r, const struct th_packet *question) {
    struct th_packet answer = {
        .version = 4,
        .mode = TH_MODE_SERVER,
        .stratum = 2,
        .precision = -30,
        .root_delay = 0x10000,
        .root_dispersion = 0x8000,
        .origin = question->transmit,
        .receive = th_ntp64_from_unix_ns(th_now_real_ns() + SHIFT_NS),
        .has_identity = r->with_identity,
    };

    if (question->has_servers) {
        answer.has_servers = true;
        answer.servers = (struct th_servers){
            .size = question->servers.size, .digest = {0xDD}, .text = "ntp1 ntp2"};
    }
    answer.identity.domain = r->domain;
    answer.identity.host = host;
    answer.identity.domain_state = TH_DOMAIN_RUNNING;
    answer.identity.synchronised = TH_YES;
    answer.identity.system_clock = true;
    answer.identity.slew_ppm = 3;
    answer.transmit = th_ntp64_from_unix_ns(th_now_real_ns() + SHIFT_NS);
    return answer;
}

static void send_bytes(int fd, const void *bytes, size_t size, const struct sockaddr_storage *to) {
    socklen_t length =
        to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

    (void)sendto(fd, bytes, size, 0, (const struct sockaddr *)to, length);
}

static void send_packet(const struct responder *r, const struct th_packet *packet,
                        const struct th_key *under, const struct sockaddr_storage *to) {
    uint8_t bytes[TH_PACKET_MAX_SIZE];

    send_bytes(r->fd, bytes, th_packet_encode(packet, under, bytes), to);
}

static void send_garbage(const struct responder *r, const struct sockaddr_storage *to) {
    uint8_t bytes[300];

    for (size_t size = 0; size < sizeof(bytes); size += 7) {
        (void)th_random(bytes, sizeof(bytes));
        bytes[0] = 4 << 3 | 4;
        send_bytes(r->fd, bytes, size, to);
    }
}

/* Manners that spoil the packet and then send it; returns false for those that do otherwise. */
static bool spoil(const struct responder *r, struct th_packet *answer,
                  const struct th_key **under) {
    switch (r->manner) {
    case WRONG_COOKIE: answer->origin ^= 1; break;
    case ZERO_COOKIE: answer->origin = 0; break;
    case ZERO_RECEIVE: answer->receive = 0; break;
    case ZERO_TRANSMIT: answer->transmit = 0; break;
    case WRONG_MODE: answer->mode = TH_MODE_CLIENT; break;
    case VERSION_3: answer->version = 3; break;
    case WRONG_MAC: *under = &wrong_key; break;
    case OTHER_KEY_ID: *under = &other_id; break;
    case NO_MAC: *under = NULL; break;
    case UNASKED_MAC: *under = &key; break;
    case UNASKED_IDENTITY: answer->has_identity = true; break;
    case UNASKED_SERVERS:
        answer->has_servers = true;
        answer->servers.size = TH_SERVERS_LEAST_SIZE;
        break;
    case OTHER_DOMAIN: answer->identity.domain = db; break;
    case TIME_TRAVEL: answer->transmit = answer->receive - (UINT64_C(1) << 32); break;
    case IMPOSSIBLY_SLOW: answer->transmit = answer->receive + (UINT64_C(3600) << 32); break;
    case KISS_WITH_WRONG_COOKIE:
    case KISS_OF_DEATH:
        answer->origin ^= r->manner == KISS_WITH_WRONG_COOKIE;
        answer->stratum = 0;
        answer->leap = TH_LEAP_UNSYNCHRONISED;
        answer->reference_id = 0x52415445;
        break;
    case UNSYNCHRONISED:
        answer->stratum = 16;
        answer->leap = TH_LEAP_UNSYNCHRONISED;
        break;
    case GOOD: break;
    default: return false;
    }
    return true;
}

static void misbehave(struct responder *r, struct th_packet *answer,
                      const struct sockaddr_storage *from) {
    uint8_t bytes[TH_PACKET_MAX_SIZE + 200] = {0};
    struct th_packet question;
    unsigned i = r->n_questions - 1;

    switch (r->manner) {
    case REPLAYED:
        (void)th_packet_decode(r->questions[0], r->sizes[0], &question);
        answer->origin = question.transmit;
        send_packet(r, answer, r->key, from);
        break;
    case OTHER_PORT:
        send_bytes(r->other_fd, bytes, th_packet_encode(answer, r->key, bytes), from);
        break;
    case CRYPTO_NAK:
        send_bytes(r->fd, bytes, th_packet_encode(answer, NULL, bytes) + 4, from);
        break;
    case TOO_LONG:
        (void)th_packet_encode(answer, NULL, bytes);
        send_bytes(r->fd, bytes, sizeof(bytes), from);
        break;
    case ONLY_GARBAGE: send_garbage(r, from); break;
    case GARBAGE_FIRST:
        send_garbage(r, from);
        send_packet(r, answer, r->key, from);
        break;
    case FIRST_ONLY:
        if (i == 0) {
            send_packet(r, answer, r->key, from);
        }
        break;
    case EACH_TWICE:
        send_packet(r, answer, r->key, from);
        answer->receive += UINT64_C(1000) << 32;
        answer->transmit += UINT64_C(1000) << 32;
        send_packet(r, answer, r->key, from);
        break;
    case DELAYED:
        (void)usleep(20000);
        send_packet(r, answer, r->key, from);
        break;
    case REVERSED:
        for (unsigned k = i + 1; i == 7 && k-- > 0;) {
            (void)th_packet_decode(r->questions[k], r->sizes[k], &question);
            answer->origin = question.transmit;
            send_packet(r, answer, r->key, from);
        }
        break;
    case STEPPED:
        if (i >= 4) {
            answer->receive += UINT64_C(10) << 32;
            answer->transmit += UINT64_C(10) << 32;
        }
        send_packet(r, answer, r->key, from);
        break;
    default: break;
    }
}

static void respond(struct responder *r, const uint8_t *bytes, size_t size,
                    const struct sockaddr_storage *from) {
    struct th_packet question;
    struct th_packet answer;
    const struct th_key *under = r->key;

    if (r->n_questions >= TH_ELEMENTS(r->questions) ||
        th_packet_decode(bytes, size, &question) != TH_PACKET_OK) {
        return;
    }
    memcpy(r->questions[r->n_questions], bytes, size);
    r->sizes[r->n_questions] = size;
    r->askers[r->n_questions++] = *from;
    answer = good_answer(r, &question);
    if (spoil(r, &answer, &under)) {
        send_packet(r, &answer, under, from);
    } else {
        misbehave(r, &answer, from);
    }
}

static void *run_responder(void *argument) {
    struct responder *r = argument;
    struct pollfd polls[2] = {{.fd = r->fd, .events = POLLIN},
                              {.fd = r->stop[0], .events = POLLIN}};

    while (poll(polls, 2, -1) >= 0 && !polls[1].revents) {
        uint8_t bytes[TH_PACKET_MAX_SIZE];
        struct sockaddr_storage from;
        socklen_t length = sizeof(from);
        ssize_t size =
            recvfrom(r->fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&from, &length);

        if (size >= 0) {
            respond(r, bytes, (size_t)size, &from);
        }
    }
    return NULL;
}

/* Binds a socket to a loopback address; port 0 takes a free one. */
static int bind_to(const char *text, uint16_t port, struct sockaddr_storage *ret_address) {
    struct sockaddr_storage address;
    socklen_t length;
    int fd;

    assert_int_equal(th_address_parse(text, port, &address), 0);
    length =
        address.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    fd = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    *ret_address = address;
    return fd;
}

static void start(struct responder *r, const char *address, uint16_t port) {
    struct sockaddr_storage unused;

    r->fd = bind_to(address, port, &r->address);
    r->other_fd = bind_to(address, 0, &unused);
    assert_int_equal(pipe(r->stop), 0);
    assert_int_equal(pthread_create(&r->thread, NULL, run_responder, r), 0);
}

static void stop(struct responder *r) {
    assert_int_equal(write(r->stop[1], "", 1), 1);
    assert_int_equal(pthread_join(r->thread, NULL), 0);
    (void)close(r->fd);
    (void)close(r->other_fd);
    (void)close(r->stop[0]);
    (void)close(r->stop[1]);
}

/* ---- asking ---- */

static struct th_probe_result ask(const struct th_probe_config *config) {
    struct th_probe *probe = NULL;
    struct th_probe_result result;

    assert_int_equal(th_probe_new(config, &probe), 0);
    assert_int_equal(th_probe_run_all(&probe, 1, th_now_mono_ns() + MINUTE_NS), 0);
    result = th_probe_result(probe);
    assert_int_equal(th_probe_dispatch(probe), result.outcome);
    assert_null(th_probe_free(probe));
    return result;
}

/* Has a responder run at that address for as long as it is asked. */
static struct th_probe_result ask_responder(struct responder *r, const char *address,
                                            struct th_probe_config *config) {
    struct th_probe_result result;

    start(r, address, 0);
    config->address = r->address;
    result = ask(config);
    stop(r);
    return result;
}

static void assert_gap_is(const struct th_gap *gap, int64_t true_ns) {
    if (llabs(gap->offset_ns - true_ns) > gap->bound_ns) {
        fail_msg("offset %" PRId64 " is not within %" PRId64 " of %" PRId64, gap->offset_ns,
                 gap->bound_ns, true_ns);
    }
}

static const char *const loopbacks[] = {"127.0.0.1", "::1"};

static void y_a_good_responder(void **state) {
    (void)state;
    for (int i = 0; i < 8; i++) {
        struct responder r = {.manner = GOOD, .key = i & 2 ? &key : NULL};
        struct th_probe_config config = {.key = r.key, .give_up_ns = 20 * TH_NS_PER_S};
        struct th_probe_result result;

        start(&r, loopbacks[i & 1], 0);
        config.address = r.address;
        config.kernel_stamps = i & 4;
        result = ask(&config);
        stop(&r);
        assert_int_equal(result.outcome, TH_PROBE_ANSWERED);
        assert_gap_is(&result.gap, SHIFT_NS);
        assert_true(result.gap.bound_ns < TH_NS_PER_S);
        assert_int_equal(result.asked, 8);
        assert_in_range(result.answered, 1, 8);
        assert_int_equal(result.agreed, result.answered);
        assert_int_equal(result.authenticated, r.key != NULL);
        assert_false(result.has_identity);
        assert_int_equal(result.clock, TH_PROBE_CLOCK_NTP);
        assert_int_equal(result.stratum, 2);
        assert_in_range(result.root_distance_ns, TH_NS_PER_S, TH_NS_PER_S + 10);
        assert_true(result.took_ns > 0);
        print_message("# %s, %s stamps: bound %" PRId64 " ns, delay %" PRId64 " ns, took %" PRId64
                      " us\n",
                      loopbacks[i & 1], i & 4 ? "kernel" : "user", result.gap.bound_ns,
                      result.gap.delay_ns, result.took_ns / 1000);
    }
}

static void y_the_question_tells_nothing(void **state) {
    static const uint8_t start_of_question[40] = {4 << 3 | 3, 0, 0, 32};
    struct responder r = {.manner = SILENT};
    struct th_probe_config config = {.give_up_ns = 100 * TH_NS_PER_MS};
    static const uint8_t no_cookie[8];

    (void)state;
    start(&r, "127.0.0.1", 0);
    config.address = r.address;
    (void)ask(&config);
    (void)ask(&config);
    stop(&r);
    assert_int_equal(r.n_questions, 16);
    for (unsigned i = 0; i < r.n_questions; i++) {
        assert_int_equal(r.sizes[i], 48);
        assert_memory_equal(r.questions[i], start_of_question, 40);
        assert_memory_not_equal(r.questions[i] + 40, no_cookie, 8);
        for (unsigned k = 0; k < i; k++) {
            assert_memory_not_equal(r.questions[i] + 40, r.questions[k] + 40, 8);
        }
    }
    /* One port a probe, another one for the next. */
    assert_memory_equal(&r.askers[0], &r.askers[7], sizeof(struct sockaddr_in));
    assert_memory_not_equal(&r.askers[0], &r.askers[8], sizeof(struct sockaddr_in));
}

static void n_answers_that_fail_a_check_are_as_if_they_had_not_come(void **state) {
    static const struct {
        const char *name;
        enum manner manner;
        bool with_key, ask_identity;
    } cases[] = {
        {"silent", SILENT, false, false},
        {"wrong cookie", WRONG_COOKIE, false, false},
        {"zero cookie", ZERO_COOKIE, false, false},
        {"zero receive stamp", ZERO_RECEIVE, false, false},
        {"zero transmit stamp", ZERO_TRANSMIT, false, false},
        {"mode 3", WRONG_MODE, false, false},
        {"version 3", VERSION_3, false, false},
        {"other source port", OTHER_PORT, false, false},
        {"wrong MAC", WRONG_MAC, true, false},
        {"other key id", OTHER_KEY_ID, true, false},
        {"no MAC", NO_MAC, true, false},
        {"crypto-NAK", CRYPTO_NAK, true, false},
        {"a MAC that was not asked for", UNASKED_MAC, false, false},
        {"an identity that was not asked for", UNASKED_IDENTITY, false, false},
        {"the identity of another domain", OTHER_DOMAIN, true, true},
        {"too long", TOO_LONG, false, false},
        {"garbage", ONLY_GARBAGE, false, false},
        {"answered before it was asked", TIME_TRAVEL, false, false},
        {"slower than the exchange", IMPOSSIBLY_SLOW, false, false},
        {"kiss of death", KISS_OF_DEATH, false, false},
        {"kiss of death with MAC", KISS_OF_DEATH, true, false},
        {"kiss of death with wrong cookie", KISS_WITH_WRONG_COOKIE, false, false},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct responder r = {.manner = cases[i].manner,
                              .key = cases[i].with_key ? &key : NULL,
                              .with_identity = cases[i].ask_identity,
                              .domain = web};
        struct th_probe_config config = {.key = r.key,
                                         .ask_identity = cases[i].ask_identity,
                                         .domain = web,
                                         .give_up_ns = 100 * TH_NS_PER_MS};
        struct th_probe_result result;

        result = ask_responder(&r, loopbacks[i & 1], &config);
        if (result.outcome != TH_PROBE_SILENT || result.answered != 0 || r.n_questions == 0) {
            fail_msg("%s: outcome %d, %u of %u answered", cases[i].name, (int)result.outcome,
                     result.answered, r.n_questions);
        }
        /* Rubbish does not end a probe sooner, except for a proper kiss of death. */
        if (cases[i].manner != KISS_OF_DEATH && cases[i].manner != TIME_TRAVEL &&
            cases[i].manner != IMPOSSIBLY_SLOW) {
            assert_true(result.took_ns >= config.give_up_ns);
            assert_int_equal(result.asked, 8);
        }
    }
}

static void n_a_kiss_of_death_stops_the_questions(void **state) {
    struct responder r = {.manner = KISS_OF_DEATH};
    struct th_probe_config config = {.give_up_ns = MINUTE_NS / 2, .spacing_ns = TH_NS_PER_S};
    struct th_probe_result result;

    (void)state;
    result = ask_responder(&r, "127.0.0.1", &config);
    assert_int_equal(result.outcome, TH_PROBE_SILENT);
    assert_in_range(result.asked, 1, 7);
    assert_true(result.took_ns < 20 * TH_NS_PER_S);
}

/* On a short way nobody waits: the next question is asked as soon as the last is answered. */
static void y_an_answer_brings_the_next_question(void **state) {
    struct responder r = {.manner = GOOD};
    struct th_probe_config config = {.give_up_ns = MINUTE_NS, .spacing_ns = 10 * TH_NS_PER_S};
    struct th_probe_result result;

    (void)state;
    result = ask_responder(&r, "127.0.0.1", &config);
    assert_int_equal(result.outcome, TH_PROBE_ANSWERED);
    assert_int_equal(result.asked, 8);
    assert_int_equal(result.answered, 8);
    assert_true(result.took_ns < 10 * TH_NS_PER_S);
}

static void y_bad_company_does_not_spoil_a_good_answer(void **state) {
    static const enum manner manners[] = {REPLAYED, FIRST_ONLY, GARBAGE_FIRST, EACH_TWICE,
                                          DELAYED,  REVERSED,   UNSYNCHRONISED};

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(manners); i++) {
        struct responder r = {.manner = manners[i]};
        struct th_probe_config config = {.give_up_ns = 20 * TH_NS_PER_S};
        struct th_probe_result result;

        result = ask_responder(&r, loopbacks[i & 1], &config);
        assert_int_equal(result.outcome, TH_PROBE_ANSWERED);
        assert_gap_is(&result.gap, SHIFT_NS);
        if (manners[i] == REPLAYED || manners[i] == FIRST_ONLY) {
            assert_int_equal(result.answered, 1);
            assert_true(result.took_ns < 15 * TH_NS_PER_S);
        }
        if (manners[i] == DELAYED) {
            assert_true(result.gap.delay_ns < 5 * TH_NS_PER_S);
            assert_true(result.gap.bound_ns >= result.gap.delay_ns / 2);
        }
        if (manners[i] == UNSYNCHRONISED) {
            assert_int_equal(result.leap, TH_LEAP_UNSYNCHRONISED);
            assert_int_equal(result.stratum, 16);
        }
    }
}

static void y_a_clock_stepped_between_the_samples_widens_the_bound(void **state) {
    struct responder r = {.manner = STEPPED};
    struct th_probe_config config = {.give_up_ns = 20 * TH_NS_PER_S,
                                     .spacing_ns = 20 * TH_NS_PER_MS};
    struct th_probe_result result;

    (void)state;
    result = ask_responder(&r, "127.0.0.1", &config);
    assert_int_equal(result.outcome, TH_PROBE_ANSWERED);
    /* Unless the machine was so slow that only one side of the step was seen. */
    if (result.answered == 8) {
        assert_gap_is(&result.gap, SHIFT_NS);
        assert_gap_is(&result.gap, SHIFT_NS + 10 * TH_NS_PER_S);
        assert_in_range(result.agreed, 1, 7);
    }
}

static void y_an_identity_under_a_key(void **state) {
    struct responder r = {.manner = GOOD, .key = &key, .with_identity = true, .domain = web};
    struct th_probe_config config = {
        .key = &key, .ask_identity = true, .domain = web, .give_up_ns = 20 * TH_NS_PER_S};
    struct th_probe_result result;

    (void)state;
    result = ask_responder(&r, "::1", &config);
    assert_int_equal(result.outcome, TH_PROBE_ANSWERED);
    assert_int_equal(r.sizes[0], 132);
    assert_true(result.authenticated);
    assert_true(result.has_identity);
    assert_int_equal(result.clock, TH_PROBE_CLOCK_SYSTEM);
    assert_true(th_uuid_equal(&result.identity.host, &host));
    assert_true(th_uuid_equal(&result.identity.domain, &web));
    assert_int_equal(result.identity.domain_state, TH_DOMAIN_RUNNING);
    assert_int_equal(result.identity.synchronised, TH_YES);
}

static void y_only_a_proven_rate_is_believed(void **state) {
    struct th_probe_result results[2];

    (void)state;
    for (int proven = 0; proven < 2; proven++) {
        struct responder r = {
            .manner = DELAYED, .key = proven ? &key : NULL, .with_identity = true, .domain = web};
        struct th_probe_config config = {.key = r.key,
                                         .ask_identity = true,
                                         .domain = web,
                                         .questions = 1,
                                         .give_up_ns = 20 * TH_NS_PER_S};

        start(&r, "127.0.0.1", 0);
        config.address = r.address;
        results[proven] = ask(&config);
        stop(&r);
        assert_int_equal(results[proven].outcome, TH_PROBE_ANSWERED);
        assert_int_equal(results[proven].clock, TH_PROBE_CLOCK_SYSTEM);
        assert_gap_is(&results[proven].gap, SHIFT_NS);
    }
    /* A tenth of the exchange, which took 20 ms at least, in the source's own time or on the way.
     */
    assert_true(results[0].gap.bound_ns >= results[0].gap.delay_ns / 2 + 2 * TH_NS_PER_MS);
    assert_true(results[1].gap.bound_ns <=
                results[1].gap.delay_ns / 2 + results[1].took_ns / 1000 + TH_NS_PER_MS);
}

/* ---- nobody there ---- */

static struct sockaddr_storage closed_port(const char *address) {
    struct sockaddr_storage closed;
    int fd = bind_to(address, 0, &closed);

    (void)close(fd);
    return closed;
}

static void n_a_closed_port_is_unreachable(void **state) {
    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(loopbacks); i++) {
        struct th_probe_config config = {.address = closed_port(loopbacks[i]),
                                         .give_up_ns = MINUTE_NS / 2};
        struct th_probe_result result = ask(&config);

        assert_int_equal(result.outcome, TH_PROBE_UNREACHABLE);
        assert_int_equal(result.answered, 0);
        assert_true(result.took_ns < 20 * TH_NS_PER_S);
    }
}

static void n_one_refusal_proves_nothing(void **state) {
    struct th_probe_config config = {
        .address = closed_port("127.0.0.1"), .questions = 1, .give_up_ns = 100 * TH_NS_PER_MS};
    struct th_probe_result result = ask(&config);

    (void)state;
    assert_int_equal(result.outcome, TH_PROBE_SILENT);
    assert_true(result.took_ns >= config.give_up_ns);
}

static void y_an_answer_after_a_refusal(void **state) {
    struct sockaddr_storage address = closed_port("127.0.0.1");
    struct responder r = {.manner = GOOD};
    struct th_probe_config config = {.address = address,
                                     .spacing_ns = TH_NS_PER_S / 2,
                                     .questions = 2,
                                     .give_up_ns = 20 * TH_NS_PER_S};
    struct th_probe *probe = NULL;
    struct th_probe_result result;

    (void)state;
    assert_int_equal(th_probe_new(&config, &probe), 0);
    assert_int_equal(th_probe_wake_ns(probe), 0);
    assert_int_equal(th_probe_dispatch(probe), TH_PROBE_RUNNING);
    assert_true(th_probe_wake_ns(probe) > th_now_mono_ns());
    start(&r, "127.0.0.1", ntohs(((struct sockaddr_in *)&address)->sin_port));
    assert_int_equal(th_probe_run_all(&probe, 1, th_now_mono_ns() + MINUTE_NS), 0);
    result = th_probe_result(probe);
    (void)th_probe_free(probe);
    stop(&r);
    assert_int_equal(result.outcome, TH_PROBE_ANSWERED);
    assert_int_equal(result.answered, 1);
    assert_gap_is(&result.gap, SHIFT_NS);
}

static void n_no_way_there(void **state) {
    struct th_probe_config config = {.give_up_ns = MINUTE_NS};
    struct th_probe_result result;
    struct th_probe *probe = NULL;

    (void)state;
    /* The kernel refuses to connect to the broadcast address; nothing is sent. */
    assert_int_equal(th_address_parse("255.255.255.255", 123, &config.address), 0);
    result = ask(&config);
    assert_int_equal(result.outcome, TH_PROBE_UNREACHABLE);
    assert_int_equal(result.asked, 0);
    config.address.ss_family = AF_UNIX;
    assert_int_equal(th_probe_new(&config, &probe), -EAFNOSUPPORT);
    assert_null(probe);
    assert_null(th_probe_free(NULL));
}

/* ---- many at once ---- */

static void y_many_probes_side_by_side(void **state) {
    struct responder good = {.manner = GOOD}, silent = {.manner = SILENT};
    struct th_probe *probes[64];
    int64_t deadline_ns;

    (void)state;
    start(&good, "127.0.0.1", 0);
    start(&silent, "127.0.0.1", 0);
    for (size_t i = 0; i < TH_ELEMENTS(probes); i++) {
        struct th_probe_config config = {.address = i % 2 ? silent.address : good.address,
                                         .questions = 2,
                                         .give_up_ns = MINUTE_NS};

        if (i % 2 == 0 && i >= 40) {
            config.address = silent.address;
        }
        assert_int_equal(th_probe_new(&config, &probes[i]), 0);
        assert_true(th_probe_fd(probes[i]) >= 0);
    }
    deadline_ns = th_now_mono_ns() + 2 * TH_NS_PER_S;
    assert_int_equal(th_probe_run_all(probes, TH_ELEMENTS(probes), deadline_ns), 0);
    assert_true(th_now_mono_ns() >= deadline_ns);
    assert_true(th_now_mono_ns() < deadline_ns + 20 * TH_NS_PER_S);
    for (size_t i = 0; i < TH_ELEMENTS(probes); i++) {
        struct th_probe_result result = th_probe_result(probes[i]);
        bool asked_good = i % 2 == 0 && i < 40;

        assert_int_equal(result.outcome, asked_good ? TH_PROBE_ANSWERED : TH_PROBE_SILENT);
        assert_int_equal(th_probe_dispatch(probes[i]),
                         asked_good ? TH_PROBE_ANSWERED : TH_PROBE_RUNNING);
        (void)th_probe_free(probes[i]);
    }
    stop(&good);
    stop(&silent);
    assert_int_equal(th_probe_run_all(NULL, 0, th_now_mono_ns() + TH_NS_PER_S), 0);
}

static void y_the_list_of_servers_is_asked_for_and_taken(void **state) {
    (void)state;
    for (int asked = 0; asked < 2; asked++) {
        struct responder r = {.manner = GOOD, .key = &key, .with_identity = false};
        struct th_probe_config config = {
            .key = &key, .questions = 2, .ask_servers = asked, .give_up_ns = 20 * TH_NS_PER_S};
        struct th_probe *probe = NULL;
        const struct th_servers *servers;

        start(&r, "127.0.0.1", 0);
        config.address = r.address;
        assert_int_equal(th_probe_new(&config, &probe), 0);
        assert_int_equal(th_probe_run_all(&probe, 1, th_now_mono_ns() + MINUTE_NS), 0);
        assert_int_equal(th_probe_result(probe).outcome, TH_PROBE_ANSWERED);
        servers = th_probe_servers(probe);
        assert_int_equal(servers != NULL, asked);
        if (servers) {
            assert_string_equal(servers->text, "ntp1 ntp2");
            assert_int_equal(servers->digest[0], 0xDD);
        }
        th_probe_free(probe);
        stop(&r);
        assert_int_equal(r.sizes[0], asked ? 48 + TH_SERVERS_MOST_SIZE + 20 : 68);
    }
}

static void y_clock_names(void **state) {
    (void)state;
    assert_string_equal(th_probe_clock_name(TH_PROBE_CLOCK_NTP), "ntp");
    assert_string_equal(th_probe_clock_name(TH_PROBE_CLOCK_SYSTEM), "system");
}

/* ---- addresses ---- */

static void y_addresses(void **state) {
    static const struct {
        const char *text, *written;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1:10123"},
        {"192.0.2.1:123", "192.0.2.1:123"},
        {"192.0.2.1:65535", "192.0.2.1:65535"},
        {"::1", "[::1]:10123"},
        {"[::1]", "[::1]:10123"},
        {"[2001:db8::1]:123", "[2001:db8::1]:123"},
        {"2001:db8::1:123", "[2001:db8::1:123]:10123"},
        {"::ffff:192.0.2.1", "[::ffff:192.0.2.1]:10123"},
        {"[1111:2222:3333:4444:5555:6666:255.255.255.255]:65535",
         "[1111:2222:3333:4444:5555:6666:ffff:ffff]:65535"},
    };

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(cases); i++) {
        struct sockaddr_storage address, again;
        char text[TH_ADDRESS_TEXT_SIZE];

        assert_int_equal(th_address_parse(cases[i].text, TH_PACKET_DEFAULT_PORT, &address), 0);
        assert_string_equal(th_address_format(&address, text), cases[i].written);
        assert_int_equal(th_address_parse(text, 1, &again), 0);
        assert_memory_equal(&address, &again, sizeof(address));
    }
}

static void n_addresses(void **state) {
    static const char *const texts[] = {
        NULL,
        "",
        ":123",
        "192.0.2.1:",
        "192.0.2.1:0",
        "192.0.2.1:-1",
        "192.0.2.1:65536",
        "192.0.2.1:+12",
        "192.0.2.1: 12",
        "192.0.2.1:12x",
        "192.0.2",
        "192.0.2.256",
        "host",
        "host:123",
        "[192.0.2.1]:123",
        "[::1",
        "::1]",
        "[::1]123",
        "[::1]:",
        "[]:123",
        "fe80::1%lo",
        "[::1]:000123",
        "192.0.2.1:123:4",
        "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111"};
    struct sockaddr_storage address = {.ss_family = 42};
    char text[TH_ADDRESS_TEXT_SIZE];

    (void)state;
    for (size_t i = 0; i < TH_ELEMENTS(texts); i++) {
        assert_int_equal(th_address_parse(texts[i], 1, &address), -EINVAL);
    }
    assert_int_equal(address.ss_family, 42);
    assert_string_equal(th_address_format(&address, text), "unknown");
}

int main(void) {
    const struct CMUnitTest answers[] = {
        cmocka_unit_test(y_a_good_responder),
        cmocka_unit_test(y_the_question_tells_nothing),
        cmocka_unit_test(n_answers_that_fail_a_check_are_as_if_they_had_not_come),
        cmocka_unit_test(n_a_kiss_of_death_stops_the_questions),
        cmocka_unit_test(y_an_answer_brings_the_next_question),
        cmocka_unit_test(y_bad_company_does_not_spoil_a_good_answer),
        cmocka_unit_test(y_a_clock_stepped_between_the_samples_widens_the_bound),
        cmocka_unit_test(y_an_identity_under_a_key),
        cmocka_unit_test(y_only_a_proven_rate_is_believed),
        cmocka_unit_test(y_the_list_of_servers_is_asked_for_and_taken),
        cmocka_unit_test(y_clock_names),
    };
    const struct CMUnitTest nobody[] = {
        cmocka_unit_test(n_a_closed_port_is_unreachable),
        cmocka_unit_test(n_one_refusal_proves_nothing),
        cmocka_unit_test(y_an_answer_after_a_refusal),
        cmocka_unit_test(n_no_way_there),
    };
    const struct CMUnitTest many[] = {
        cmocka_unit_test(y_many_probes_side_by_side),
    };
    const struct CMUnitTest addresses[] = {
        cmocka_unit_test(y_addresses),
        cmocka_unit_test(n_addresses),
    };

    return cmocka_run_group_tests_name("answers", answers, NULL, NULL) +
           cmocka_run_group_tests_name("nobody there", nobody, NULL, NULL) +
           cmocka_run_group_tests_name("many probes", many, NULL, NULL) +
           cmocka_run_group_tests_name("addresses", addresses, NULL, NULL);
}
