/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The options of one command, as a table. --help (-h) is every command's and is not in it.
 */
#ifndef TH_CLI_OPTIONS_H
#define TH_CLI_OPTIONS_H

#include <getopt.h> /* optind */
#include <stdbool.h>
#include <stddef.h>

/* No exit status: the command goes on. */
#define TH_GO_ON (-1)

#define TH_OPTIONS_MAX 8 /* of one command */

/* An option sets a flag, or its value goes into a variable or to a function: just one of these. */
struct th_option {
    const char *name;
    char letter; /* of the short form; '\0': none */
    bool *flag;
    const char **value;
    int (*take)(void *userdata, const char *value); /* TH_GO_ON or an exit status */
};

/*
 * Reads n options, in the order in which they are given; the first fault ends it, with a complaint
 * on stderr. Returns TH_GO_ON with argv[optind] the first word; or an exit status, EXIT_SUCCESS
 * after the usage was printed on stdout.
 */
int th_options_read(int argc, char **argv, const char *usage, const struct th_option *options,
                    size_t n, void *userdata);

#endif
