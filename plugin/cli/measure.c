/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff measure`: the gap to one host, once, for a person or a program. It asks under a key
 * and for the host's identity first, then ever more plainly, so that it also measures NTP servers
 * that have never heard of us.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/options.h"
#include "timehandoff/report.h"
#include "timehandoff/source.h"

#define KEYS TH_CONFIG_FOLDER "/keys"

static const char usage[] =
    "Usage: timehandoff measure [--json] [--key ID] HOST[:PORT]\n"
    "\n"
    "Measures the gap between HOST's clock and this host's: offset \u00b1 bound. HOST may run\n"
    "timehandoff-peerd (port 10123) or any NTP server (name its port, usually 123).\n"
    "\n"
    "  --json    print a JSON document\n"
    "  --key ID  ask under this key of /etc/timehandoff/keys (default: the lowest id there)\n"
    "\n"
    "Exit status: 0 measured, 1 no answer, 2 bad input.\n";

struct options {
    bool json;
    uint32_t key_id;
    const char *host;
};

static int take_key(void *userdata, const char *value) {
    struct options *options = userdata;
    char *end = NULL;
    unsigned long id;

    errno = 0;
    id = strtoul(value, &end, 10);
    if (errno || *end || end == value || value[0] == '-' || !id || id >= TH_KEY_DOMAIN_BIT) {
        return th_usage_error("measure", "'%s' is not a key id", value);
    }
    options->key_id = (uint32_t)id;
    return TH_GO_ON;
}

static int parse_options(int argc, char **argv, struct options *options) {
    const struct th_option known[] = {
        {"json", .flag = &options->json},
        {"key", .take = take_key},
    };
    int r = th_options_read(argc, argv, usage, known, TH_ELEMENTS(known), options);

    if (r == TH_GO_ON && optind + 1 != argc) {
        r = th_usage_error("measure", "name one host");
    }
    options->host = argv[optind];
    return r;
}

/* Whoever may not read the keys has been given none of them. */
static int no_key(uint32_t id) {
    if (access(KEYS, R_OK) < 0) {
        fprintf(stderr, "timehandoff: cannot read " KEYS ": %s\n", strerror(errno));
        return TH_EXIT_USAGE;
    }
    return th_usage_error("measure", "no key %u in " KEYS, id);
}

/* Asks one address after the other, as they may be of two ways to the host, until one answers.
 * Returns its place, that of the last one if none does, or negative errno. */
static int ask(const struct th_setup *setup, const struct th_key *key,
               const struct sockaddr_storage *addresses, size_t n,
               struct th_probe_result *ret_result) {
    struct th_source_request request = {
        .config = setup->config,
        .keys = setup->keys,
        .deadline_mono_ns = th_now_mono_ns() + 5 * TH_NS_PER_S,
    };

    for (size_t i = 0;; i++) {
        int r = th_source_measure(&request, &addresses[i], key, ret_result);

        if ((r == 0 && ret_result->outcome == TH_PROBE_ANSWERED) || i + 1 == n) {
            return r < 0 ? r : (int)i;
        }
    }
}

static int no_answer(const char *host, const struct sockaddr_storage *last, size_t n,
                     enum th_probe_outcome outcome) {
    char text[TH_ADDRESS_TEXT_SIZE], more[40] = "";

    if (n > 1) {
        snprintf(more, sizeof(more), ", the last of %zu", n);
    }
    fprintf(stderr, "timehandoff: no answer from %s (%s%s)%s\n", host,
            th_address_format(last, text), more,
            outcome == TH_PROBE_UNREACHABLE ? ": nothing listens there, or a firewall says so"
                                            : "");
    return EXIT_FAILURE;
}

static int measure(const struct options *options, const struct th_setup *setup) {
    struct sockaddr_storage addresses[TH_STATE_MAX_ADDRESSES];
    const struct th_key *key = th_keyring_first(setup->keys);
    struct th_probe_result result;
    size_t n;
    int r;

    if (options->key_id) {
        key = th_keyring_find(setup->keys, options->key_id);
        if (!key) {
            return no_key(options->key_id);
        }
    }
    n = th_resolve(options->host, setup->config->port, addresses, TH_ELEMENTS(addresses));
    if (!n) {
        return TH_EXIT_USAGE;
    }
    r = ask(setup, key, addresses, n, &result);
    if (r < 0) {
        fprintf(stderr, "timehandoff: cannot ask %s: %s\n", options->host, strerror(-r));
        return EXIT_FAILURE;
    }
    if (result.outcome != TH_PROBE_ANSWERED) {
        return no_answer(options->host, &addresses[r], n, result.outcome);
    }
    if (options->json) {
        return th_report_measure_json(options->host, &addresses[r], &result, stdout) < 0
                   ? EXIT_FAILURE
                   : EXIT_SUCCESS;
    }
    th_report_measure_text(options->host, &addresses[r], &result, stdout);
    return EXIT_SUCCESS;
}

int th_command_measure(int argc, char **argv) {
    th_auto_setup struct th_setup setup = {.config = NULL};
    struct options options = {.json = false};
    int r = parse_options(argc, argv, &options);

    if (r != TH_GO_ON) {
        return r;
    }
    return th_setup_load(&setup) ? measure(&options, &setup) : TH_EXIT_USAGE;
}
