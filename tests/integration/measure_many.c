/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * measure_many: asks one address for its time again and again and prints each result, so that a
 * test can hold thousands of them against a truth that it knows; starting the real command that
 * often would take minutes. It is the very probe of the checker, alone or as many side by side as
 * there are peers, since waiting for each other is what makes stamps late.
 *
 * A line for each measurement: begin and end on CLOCK_MONOTONIC, then offset, bound and delay, all
 * in ns, then how many samples agreed, how many there were, and ntp or system. A measurement
 * without an answer has only begin, end and the word "silent" or "unreachable".
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "timehandoff/probe.h"

static const char usage[] =
    "usage: measure_many [--together N] [--questions N] [--spacing-us N] [--timeout-ms N]\n"
    "                    [--user-stamps] [--identity] [--keys FILE] ADDRESS[:PORT] COUNT\n";

struct options {
    struct th_probe_config probe;
    struct th_keyring *keys;
    unsigned long together;
    unsigned long count;
};

static unsigned long read_number(const char *text, unsigned long max) {
    char *end = NULL;
    unsigned long number;

    errno = 0;
    number = strtoul(text, &end, 10);
    if (errno || end == text || *end || number > max) {
        fprintf(stderr, "measure_many: '%s' is no number up to %lu\n", text, max);
        exit(2);
    }
    return number;
}

static void read_keys(struct options *options, const char *path) {
    char error[200] = "";

    if (th_keyring_load(path, &options->keys, error, sizeof(error)) < 0) {
        fprintf(stderr, "measure_many: %s\n", error);
        exit(2);
    }
    options->probe.key = th_keyring_first(options->keys);
}

static void read_option(struct options *options, int letter) {
    switch (letter) {
    case 't': options->together = read_number(optarg, 64); break;
    case 'q': options->probe.questions = (unsigned)read_number(optarg, 8); break;
    case 's': options->probe.spacing_ns = (int64_t)read_number(optarg, 1000000) * 1000; break;
    case 'g': options->probe.give_up_ns = (int64_t)read_number(optarg, 60000) * 1000000; break;
    case 'u': options->probe.kernel_stamps = false; break;
    case 'i': options->probe.ask_identity = true; break;
    case 'k': read_keys(options, optarg); break;
    default: fputs(usage, stderr); exit(2);
    }
}

static void parse(int argc, char **argv, struct options *options) {
    static const struct option known[] = {
        {"together", required_argument, NULL, 't'},   {"questions", required_argument, NULL, 'q'},
        {"spacing-us", required_argument, NULL, 's'}, {"timeout-ms", required_argument, NULL, 'g'},
        {"user-stamps", no_argument, NULL, 'u'},      {"identity", no_argument, NULL, 'i'},
        {"keys", required_argument, NULL, 'k'},       {NULL, 0, NULL, 0}};
    int letter;

    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        read_option(options, letter);
    }
    if (optind + 2 != argc || options->together == 0 ||
        th_address_parse(argv[optind], TH_PACKET_DEFAULT_PORT, &options->probe.address) < 0) {
        fputs(usage, stderr);
        exit(2);
    }
    options->count = read_number(argv[optind + 1], 10000000);
}

static void print(int64_t begin_ns, int64_t end_ns, const struct th_probe_result *result) {
    const struct th_gap *gap = &result->gap;

    printf("%" PRId64 " %" PRId64 " ", begin_ns, end_ns);
    if (result->outcome != TH_PROBE_ANSWERED) {
        puts(result->outcome == TH_PROBE_SILENT ? "silent" : "unreachable");
        return;
    }
    printf("%" PRId64 " %" PRId64 " %" PRId64 " %u %u %s\n", gap->offset_ns, gap->bound_ns,
           gap->delay_ns, result->agreed, result->answered, th_probe_clock_name(result->clock));
}

/* Runs n probes side by side to their ends. */
static int run(const struct options *options, size_t n) {
    struct th_probe *probes[64];
    int64_t begin_ns = th_now_mono_ns();
    int r = 0;

    for (size_t i = 0; i < n; i++) {
        r = th_probe_new(&options->probe, &probes[i]);
        if (r < 0) {
            return r;
        }
    }
    r = th_probe_run_all(probes, n, INT64_MAX);
    for (size_t i = 0; i < n; i++) {
        struct th_probe_result result = th_probe_result(probes[i]);

        if (r == 0) {
            print(begin_ns, th_now_mono_ns(), &result);
        }
        th_probe_free(probes[i]);
    }
    return r;
}

int main(int argc, char **argv) {
    struct options options = {.probe = {.kernel_stamps = true}, .together = 1};
    unsigned long done = 0;
    int r = 0;

    parse(argc, argv, &options);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (r == 0 && done < options.count) {
        unsigned long left = options.count - done;
        size_t n = left < options.together ? left : options.together;

        r = run(&options, n);
        done += n;
    }
    if (r < 0) {
        fprintf(stderr, "measure_many: %s\n", strerror(-r));
    }
    th_keyring_free(options.keys);
    return r < 0;
}
