/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Options by table, on top of getopt_long, so that a command says only what its options are and not
 * how options are read. The caller may rely on getopt's complaints being on stderr already.
 */
#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/command.h"

/* What getopt_long returns for an option without a letter: beyond all letters, and its index. */
#define FIRST_INDEX 256

/* getopt_long's view of the same table, with --help behind it. */
struct known {
    struct option names[TH_OPTIONS_MAX + 2];
    char letters[2 * TH_OPTIONS_MAX + 2];
};

static struct known translate(const struct th_option *options, size_t n) {
    struct known known = {.letters = "h"};
    char *letter = known.letters + 1;

    for (size_t i = 0; i < n; i++) {
        int has_value = options[i].flag ? no_argument : required_argument;

        known.names[i] = (struct option){options[i].name, has_value, NULL, FIRST_INDEX + (int)i};
        if (options[i].letter) {
            known.names[i].val = options[i].letter;
            *letter++ = options[i].letter;
            if (has_value == required_argument) {
                *letter++ = ':';
            }
        }
    }
    known.names[n] = (struct option){"help", no_argument, NULL, 'h'};
    return known;
}

static const struct th_option *find(const struct th_option *options, size_t n, int code) {
    for (size_t i = 0; i < n; i++) {
        if (code == FIRST_INDEX + (int)i || (options[i].letter && code == options[i].letter)) {
            return &options[i];
        }
    }
    return NULL;
}

static int apply(const struct th_option *option, const char *value, void *userdata) {
    if (option->take) {
        return option->take(userdata, value);
    }
    if (option->flag) {
        *option->flag = true;
    } else {
        *option->value = value;
    }
    return TH_GO_ON;
}

int th_options_read(int argc, char **argv, const char *usage, const struct th_option *options,
                    size_t n, void *userdata) {
    struct known known = translate(options, n);
    int code, r = TH_GO_ON;

    while (r == TH_GO_ON &&
           (code = getopt_long(argc, argv, known.letters, known.names, NULL)) != -1) {
        const struct th_option *option = find(options, n, code);

        if (code == 'h') {
            fputs(usage, stdout);
            return EXIT_SUCCESS;
        }
        r = option ? apply(option, optarg, userdata) : TH_EXIT_USAGE;
    }
    return r;
}
