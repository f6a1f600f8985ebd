/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A probe of one address. It is a small machine that only ever does three things when dispatched:
 * read what has come, send the question that is due, see whether it is at its end. It never blocks
 * and keeps no thread, so a hook can run sixty-four of them side by side within its budget.
 *
 * The question's transmit field is a random cookie and all its other stamps are zero, so it tells
 * nobody on the way what time it is here and can't be answered by who has not seen it.
 */
#include "timehandoff/probe.h"

#include "clock/socket.h"
#include "timehandoff/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Where answers take longer than this, several questions are under way at a time: eight in 3 ms. */
#define DEFAULT_SPACING_NS (400 * TH_NS_PER_US)
#define DEFAULT_GIVE_UP_NS (300 * TH_NS_PER_MS)
#define MOST_GIVE_UP_NS (3600 * TH_NS_PER_S)
/* How long to wait for more after the last question, once there is an answer. */
#define LEAST_GRACE_NS (5 * TH_NS_PER_MS)
#define GRACE_DELAYS 3
/* What it takes to believe that nobody is there. */
#define ENOUGH_REFUSALS 2
#define REFUSAL_GRACE_NS (20 * TH_NS_PER_MS)
/* Datagrams looked at in one dispatch: a flood of rubbish must not keep us from our deadlines. */
#define MOST_PER_DISPATCH 32
/* "Precision 2^32 s", and no stratum: nothing is said about this host's clock. */
#define QUESTION_PRECISION 32

struct question {
    th_ntp64 cookie; /* 0: not outstanding */
    int64_t real_ns; /* when it was about to be sent */
    int64_t raw_ns;
};

struct th_probe {
    int fd;            /* -1: there was no route */
    struct th_key key; /* id 0: none */
    bool ask_identity, ask_servers, has_servers;
    struct th_servers servers;
    struct th_uuid domain;
    unsigned n_questions;
    int64_t spacing_ns;
    int64_t give_up_ns;
    int64_t precision_ns;
    bool started;
    int64_t start_ns, last_ns; /* CLOCK_MONOTONIC, as all that follow */
    int64_t next_question_ns;
    int64_t last_question_ns;
    int64_t refused_ns; /* the last refusal */
    unsigned refusals;
    unsigned tries; /* questions sent or refused by the kernel */
    bool kissed;    /* told to go away */
    struct question questions[TH_PROBE_MAX_QUESTIONS];
    struct th_gap samples[TH_PROBE_MAX_QUESTIONS];
    unsigned n_samples;
    int64_t least_delay_ns;
    struct th_probe_result result;
};

const char *th_probe_clock_name(enum th_probe_clock clock) {
    return clock == TH_PROBE_CLOCK_SYSTEM ? "system" : "ntp";
}

static bool has_key(const struct th_probe *probe) {
    return probe->key.id != 0;
}

int th_probe_new(const struct th_probe_config *config, struct th_probe **ret_probe) {
    struct th_probe *probe;
    int fd = th_socket_open(&config->address, config->kernel_stamps);

    if (fd < 0 && !th_socket_is_refusal(-fd)) {
        return fd;
    }
    probe = calloc(1, sizeof(*probe));
    if (!probe) {
        th_cleanup_close(&fd);
        return -ENOMEM;
    }
    probe->fd = fd < 0 ? -1 : fd;
    if (config->key) {
        probe->key = *config->key;
    }
    probe->ask_identity = config->ask_identity;
    probe->ask_servers = config->ask_servers;
    probe->domain = config->domain;
    probe->n_questions = config->questions;
    if (probe->n_questions == 0 || probe->n_questions > TH_PROBE_MAX_QUESTIONS) {
        probe->n_questions = TH_PROBE_MAX_QUESTIONS;
    }
    probe->spacing_ns = config->spacing_ns > 0 ? config->spacing_ns : DEFAULT_SPACING_NS;
    probe->give_up_ns = config->give_up_ns > 0 ? config->give_up_ns : DEFAULT_GIVE_UP_NS;
    if (probe->give_up_ns > MOST_GIVE_UP_NS) {
        probe->give_up_ns = MOST_GIVE_UP_NS;
    }
    probe->precision_ns = th_now_precision_ns();
    *ret_probe = probe;
    return 0;
}

struct th_probe *th_probe_free(struct th_probe *probe) {
    if (probe) {
        th_cleanup_close(&probe->fd);
        th_key_wipe(&probe->key);
        free(probe);
    }
    return NULL;
}

int th_probe_fd(const struct th_probe *probe) {
    return probe->fd;
}

/* ---- questions ---- */

static size_t encode_question(const struct th_probe *probe, th_ntp64 cookie, uint8_t *bytes) {
    struct th_packet packet = {
        .version = 4,
        .mode = TH_MODE_CLIENT,
        .precision = QUESTION_PRECISION,
        .transmit = cookie,
        .has_identity = probe->ask_identity,
        .identity.domain = probe->domain,
        .has_servers = probe->ask_servers,
        .servers.size = TH_SERVERS_MOST_SIZE,
    };

    return th_packet_encode(&packet, has_key(probe) ? &probe->key : NULL, bytes);
}

static void note_refusal(struct th_probe *probe, int64_t now_ns) {
    probe->refusals++;
    probe->refused_ns = now_ns;
}

/* Sends one question. A word of refusal that had been waiting on the socket comes out of send() in
 * place of the packet, hence the second try. */
static void ask(struct th_probe *probe, int64_t now_ns) {
    struct question question = {0};
    uint8_t bytes[TH_PACKET_MAX_SIZE];
    size_t size;

    while (question.cookie == 0) {
        if (th_random(&question.cookie, sizeof(question.cookie)) < 0) {
            return;
        }
    }
    size = encode_question(probe, question.cookie, bytes);
    for (int i = 0; i < 2; i++) {
        th_now_pair_start(&question.real_ns, &question.raw_ns);
        if (send(probe->fd, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            probe->questions[probe->result.asked++] = question;
            return;
        }
        if (!th_socket_is_refusal(errno)) {
            return;
        }
        note_refusal(probe, now_ns);
    }
}

static bool all_answered(const struct th_probe *probe) {
    for (unsigned i = 0; i < probe->result.asked; i++) {
        if (probe->questions[i].cookie != 0) {
            return false;
        }
    }
    return probe->result.asked > 0;
}

/*
 * The next question goes out when all before it are answered, or else when its time has come. One
 * after the other, a short burst of other work on either host spoils the one exchange that it falls
 * on, and on a short way eight of them take less than a millisecond.
 */
static void ask_if_due(struct th_probe *probe, int64_t now_ns) {
    if (probe->tries < probe->n_questions &&
        (now_ns >= probe->next_question_ns || all_answered(probe))) {
        probe->tries++;
        probe->next_question_ns = now_ns + probe->spacing_ns;
        probe->last_question_ns = now_ns;
        ask(probe, now_ns);
    }
}

/* ---- answers ---- */

static struct question *find_question(struct th_probe *probe, th_ntp64 cookie) {
    for (unsigned i = 0; cookie != 0 && i < probe->result.asked; i++) {
        if (probe->questions[i].cookie == cookie) {
            return &probe->questions[i];
        }
    }
    return NULL;
}

/* Whether the packet carries just the proof and the identity that we asked for. */
static bool is_as_asked(const struct th_probe *probe, const struct th_packet *packet,
                        const uint8_t *bytes, size_t size) {
    if (has_key(probe) ? !th_packet_authentic(bytes, size, &probe->key) : packet->key_id != 0) {
        return false;
    }
    if (packet->has_servers && !probe->ask_servers) {
        return false;
    }
    return !packet->has_identity ||
           (probe->ask_identity && th_uuid_equal(&packet->identity.domain, &probe->domain));
}

static bool is_kiss_of_death(const struct th_packet *packet) {
    static const uint32_t codes[] = {0x52415445 /* RATE */, 0x44454E59 /* DENY */,
                                     0x52535452 /* RSTR */};

    for (size_t i = 0; packet->stratum == 0 && i < TH_ELEMENTS(codes); i++) {
        if (packet->reference_id == codes[i]) {
            return true;
        }
    }
    return false;
}

/*
 * The exchange of a question and the answer to it. The kernel's stamp is T4 if it lies between this
 * question's sending and the program's reading; then the raw interval is shortened by the same
 * wait, so that only what the clock was moved by remains as the difference of the two.
 */
static struct th_exchange exchange_of(const struct th_probe *probe, const struct question *question,
                                      const struct th_arrival *arrival,
                                      const struct th_packet *packet) {
    const struct th_identity *identity = &packet->identity;
    struct th_exchange exchange = {
        .t1 = th_ntp64_from_unix_ns(question->real_ns),
        .t2 = packet->receive,
        .t3 = packet->transmit,
        .t4 = th_ntp64_from_unix_ns(arrival->real_ns),
        .raw_ns = arrival->raw_ns - question->raw_ns,
        .local_precision_ns = probe->precision_ns,
        .remote_precision_ns = th_packet_precision_ns(packet->precision),
        .remote_rate_ppm = TH_GAP_RATE_UNKNOWN_PPM,
    };
    int64_t waited_ns = arrival->real_ns - arrival->kernel_ns;

    if (arrival->kernel_ns >= question->real_ns && waited_ns >= 0 && waited_ns <= exchange.raw_ns) {
        exchange.t4 = th_ntp64_from_unix_ns(arrival->kernel_ns);
        exchange.raw_ns -= waited_ns;
    }
    /* Anybody may claim not to be slewing; only a proven host is believed. */
    if (has_key(probe) && packet->has_identity && !th_uuid_is_none(&identity->host)) {
        exchange.remote_rate_ppm = (int64_t)identity->slew_ppm + TH_GAP_RATE_CRYSTAL_PPM;
    }
    return exchange;
}

/* 16.16 seconds in ns, rounded up. */
static int64_t short_to_ns(uint64_t value) {
    return (int64_t)((value * (uint64_t)TH_NS_PER_S + 0xFFFF) >> 16);
}

static void keep_sample(struct th_probe *probe, const struct th_gap *gap,
                        const struct th_packet *packet) {
    struct th_probe_result *result = &probe->result;

    if (probe->n_samples == 0 || gap->delay_ns < probe->least_delay_ns) {
        probe->least_delay_ns = gap->delay_ns;
    }
    probe->samples[probe->n_samples++] = *gap;
    result->authenticated = has_key(probe);
    if (packet->has_servers) {
        probe->has_servers = true;
        probe->servers = packet->servers;
    }
    result->has_identity = packet->has_identity;
    result->identity = packet->identity;
    result->leap = packet->leap;
    result->stratum = packet->stratum;
    result->root_distance_ns =
        short_to_ns(packet->root_delay) / 2 + 1 + short_to_ns(packet->root_dispersion);
    result->clock = TH_PROBE_CLOCK_NTP;
    if (packet->has_identity && packet->identity.system_clock &&
        !th_uuid_is_none(&packet->identity.host)) {
        result->clock = TH_PROBE_CLOCK_SYSTEM;
    }
}

static void take_answer(struct th_probe *probe, const uint8_t *bytes,
                        const struct th_arrival *arrival) {
    struct question *question;
    struct th_packet packet;
    struct th_exchange exchange;
    struct th_gap gap;

    if (th_packet_decode(bytes, arrival->size, &packet) != TH_PACKET_OK ||
        packet.mode != TH_MODE_SERVER || packet.version != 4) {
        return;
    }
    question = find_question(probe, packet.origin);
    if (!question || !is_as_asked(probe, &packet, bytes, arrival->size)) {
        return;
    }
    if (is_kiss_of_death(&packet)) {
        probe->kissed = true;
        return;
    }
    if (packet.receive == 0 || packet.transmit == 0) {
        return;
    }
    exchange = exchange_of(probe, question, arrival, &packet);
    /* One answer a question, whatever it was worth. */
    question->cookie = 0;
    if (th_gap_compute(&exchange, &gap) == 0) {
        keep_sample(probe, &gap, &packet);
    }
}

static void read_answers(struct th_probe *probe, int64_t now_ns) {
    for (int i = 0; i < MOST_PER_DISPATCH; i++) {
        uint8_t bytes[TH_PACKET_MAX_SIZE];
        struct th_arrival arrival;
        int r = th_socket_receive(probe->fd, bytes, sizeof(bytes), &arrival);

        if (r == 0 && arrival.size <= sizeof(bytes)) {
            take_answer(probe, bytes, &arrival);
        } else if (r < 0 && th_socket_is_refusal(-r)) {
            note_refusal(probe, now_ns);
        } else if (r < 0) {
            return;
        }
    }
}

/* ---- the end ---- */

static bool all_asked(const struct th_probe *probe) {
    return probe->tries >= probe->n_questions;
}

/* When nothing more is waited for, unless something comes. */
static int64_t end_ns(const struct th_probe *probe) {
    int64_t end = probe->start_ns + probe->give_up_ns;
    int64_t sooner = end;

    if (probe->n_samples > 0 && all_asked(probe)) {
        int64_t grace_ns = LEAST_GRACE_NS;

        if (probe->least_delay_ns > grace_ns / GRACE_DELAYS) {
            grace_ns = probe->least_delay_ns < probe->give_up_ns
                           ? probe->least_delay_ns * GRACE_DELAYS
                           : probe->give_up_ns;
        }
        sooner = probe->last_question_ns + grace_ns;
    } else if (probe->n_samples == 0 && probe->refusals >= ENOUGH_REFUSALS) {
        sooner = probe->refused_ns + REFUSAL_GRACE_NS;
    }
    return sooner < end ? sooner : end;
}

static bool is_over(const struct th_probe *probe, int64_t now_ns) {
    return probe->kissed || (all_asked(probe) && all_answered(probe)) || now_ns >= end_ns(probe);
}

static enum th_probe_outcome outcome_of(const struct th_probe *probe) {
    if (probe->n_samples > 0) {
        return TH_PROBE_ANSWERED;
    }
    return probe->fd < 0 || probe->refusals >= ENOUGH_REFUSALS ? TH_PROBE_UNREACHABLE
                                                               : TH_PROBE_SILENT;
}

int64_t th_probe_wake_ns(const struct th_probe *probe) {
    int64_t wake_ns;

    if (!probe->started || probe->result.outcome != TH_PROBE_RUNNING) {
        return 0;
    }
    wake_ns = end_ns(probe);
    if (!all_asked(probe) && probe->next_question_ns < wake_ns) {
        wake_ns = probe->next_question_ns;
    }
    return wake_ns;
}

enum th_probe_outcome th_probe_dispatch(struct th_probe *probe) {
    int64_t now_ns = th_now_mono_ns();

    if (probe->result.outcome != TH_PROBE_RUNNING) {
        return probe->result.outcome;
    }
    if (!probe->started) {
        probe->started = true;
        probe->start_ns = now_ns;
        probe->next_question_ns = now_ns;
    }
    probe->last_ns = now_ns;
    if (probe->fd >= 0) {
        read_answers(probe, now_ns);
        if (!probe->kissed) {
            ask_if_due(probe, now_ns);
        }
    }
    if (probe->fd < 0 || is_over(probe, now_ns)) {
        probe->result.outcome = outcome_of(probe);
    }
    return probe->result.outcome;
}

const struct th_servers *th_probe_servers(const struct th_probe *probe) {
    return probe->has_servers ? &probe->servers : NULL;
}

struct th_probe_result th_probe_result(const struct th_probe *probe) {
    struct th_probe_result result = probe->result;

    if (result.outcome == TH_PROBE_RUNNING) {
        result.outcome = probe->n_samples > 0 ? TH_PROBE_ANSWERED : TH_PROBE_SILENT;
    }
    result.answered = probe->n_samples;
    result.took_ns = probe->last_ns - probe->start_ns;
    if (probe->n_samples > 0) {
        result.agreed = (unsigned)th_gap_combine(probe->samples, probe->n_samples, &result.gap);
    }
    return result;
}
