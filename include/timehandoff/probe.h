/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Asking one address for its time: a socket, at most eight questions, the best sample. The object
 * offers a descriptor, a next deadline and a dispatch function, so that any loop can drive it and
 * many can run side by side; th_probe_run_all is the loop for programs without one.
 *
 * Every answer is checked: from the asked address (connected socket, fresh port), mode 4, version
 * 4, the random 64-bit cookie of one outstanding question, non-zero stamps, the MAC if a key was
 * used and none if not, an identity only if it was asked for and of the domain asked about, a list
 * of servers only if that was asked for.
 * Whatever fails a check is ignored as if it had not come. A kiss-of-death (stratum 0 with RATE,
 * DENY or RSTR) ends a probe with what it has, but only with the right cookie and MAC.
 *
 * A question is asked when all before it are answered, and spacing_ns after the last one anyway.
 *
 * When a probe ends: once every question is answered; else, after the last question and at least
 * one answer, when max(5 ms, 3 times the least delay) have passed; else at give_up. Word from the
 * network that nobody is there (ICMP) can be forged, so it takes two, and 20 ms more without an
 * answer.
 *
 * No sample is thrown away because it was the first: a cold first exchange has the longer delay, so
 * it loses by its bound, and where a server answers once only, it is the one we have.
 */
#ifndef TIMEHANDOFF_PROBE_H
#define TIMEHANDOFF_PROBE_H

#include <sys/socket.h>

#include "timehandoff/packet.h"

#define TH_PROBE_MAX_QUESTIONS 8

struct th_probe_config {
    struct sockaddr_storage address; /* AF_INET or AF_INET6, with port */
    const struct th_key *key;        /* NULL: ask without; copied */
    bool ask_identity;               /* only of hosts that run peerd; others drop or ignore it */
    struct th_uuid domain;           /* asked about, with ask_identity; may be none */
    bool ask_servers;                /* also for the list of NTP servers: long packets, so rarely */
    unsigned questions;              /* 1..TH_PROBE_MAX_QUESTIONS; 0: the default, 8 */
    int64_t spacing_ns; /* to the next question while one is not answered; 0: the default, 0.4 ms */
    int64_t give_up_ns; /* after the start; 0: the default, 300 ms; at most 1 h */
    bool kernel_stamps; /* use the kernel's receive stamp where it lies between send and read */
};

enum th_probe_outcome {
    TH_PROBE_RUNNING = 0,
    TH_PROBE_ANSWERED = 1,
    TH_PROBE_SILENT,      /* nothing that passed the checks came in time */
    TH_PROBE_UNREACHABLE, /* the network or the host said so (ICMP) */
};

/* Which clock an answer came from. */
enum th_probe_clock {
    TH_PROBE_CLOCK_NTP = 0, /* a plain NTP server: chronyd answers with its NTP clock, not the
                               host's; others may answer with the host's: not known */
    TH_PROBE_CLOCK_SYSTEM,  /* an identity came that says so: CLOCK_REALTIME */
};

/* "ntp", "system". Never NULL. */
const char *th_probe_clock_name(enum th_probe_clock clock);

struct th_probe_result {
    enum th_probe_outcome outcome;
    /* The rest only with TH_PROBE_ANSWERED. */
    struct th_gap gap; /* the sample of least bound, widened if others contradict it */
    unsigned agreed; /* samples that agree with it, itself included; others: a clock was stepped */
    enum th_probe_clock clock;
    bool authenticated; /* every counted answer carried a right MAC */
    bool has_identity;
    /* The rest is of the newest answer. An identity that is not authenticated is a claim. */
    struct th_identity identity;
    unsigned leap;
    unsigned stratum;
    int64_t root_distance_ns; /* root delay / 2 + root dispersion, as the server claims */
    unsigned asked, answered; /* questions sent; samples had. These two and took_ns always. */
    int64_t took_ns;          /* start to end, or to the last dispatch */
};

struct th_probe;

/* Opens the socket; sends nothing yet. Returns 0 or negative errno (-EAFNOSUPPORT, -EMFILE, …). No
 * route to the address is no error here: the first dispatch then says TH_PROBE_UNREACHABLE. */
int th_probe_new(const struct th_probe_config *config, struct th_probe **ret_probe);
struct th_probe *th_probe_free(struct th_probe *probe);
/* Poll this for POLLIN. Lives as long as the probe. */
int th_probe_fd(const struct th_probe *probe);
/* CLOCK_MONOTONIC instant when dispatch wants to run even without input. 0: at once (not
 * begun, or ended). */
int64_t th_probe_wake_ns(const struct th_probe *probe);
/* Sends what is due, reads what is there. Returns the outcome, TH_PROBE_RUNNING to go on. */
enum th_probe_outcome th_probe_dispatch(struct th_probe *probe);
/* The result so far: ANSWERED if there is any sample, else SILENT; final once dispatch returned
 * anything but TH_PROBE_RUNNING. */
struct th_probe_result th_probe_result(const struct th_probe *probe);

/* The list of NTP servers out of the newest answer that had one; NULL: none came. Lives as long as
 * the probe. */
const struct th_servers *th_probe_servers(const struct th_probe *probe);

/* Drives n probes to their ends, or to the instant deadline_mono_ns (those still running stay so:
 * their results hold what they had, as ANSWERED if anything, else SILENT). 0 or negative errno. */
int th_probe_run_all(struct th_probe **probes, size_t n, int64_t deadline_mono_ns);

/* Reads "ADDRESS", "ADDRESS:PORT" or "[IPV6]:PORT", numeric only. 0 or -EINVAL. */
int th_address_parse(const char *text, unsigned default_port, struct sockaddr_storage *ret_address);
#define TH_ADDRESS_TEXT_SIZE 72
/* Writes "ADDRESS:PORT" or "[ADDRESS]:PORT"; returns text. */
char *th_address_format(const struct sockaddr_storage *address, char text[TH_ADDRESS_TEXT_SIZE]);
/* Whether both are addresses, and the same one with the same port. */
bool th_address_equal(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

#endif
