/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff history`: what was decided and done, read back. The journal is where every record
 * is; where there is none, or none that is readable, the daemon's own file still has the last
 * handoffs. It says on stderr when it shows less than all.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/journal_reader.h"
#include "cli/options.h"
#include "report/record_file.h"
#include "timehandoff/duration.h"

#define DEFAULT_LINES 100
#define MAX_LINES 10000

static const char usage[] =
    "Usage: timehandoff history [--json] [--domain NAME] [--since DURATION] [--lines N]\n"
    "                           [--directory DIR]\n"
    "\n"
    "Shows past verdicts, handoffs, later looks at guests' clocks, overrides, and checks that\n"
    "failed, from the systemd journal, the newest last. Without a journal: the last handoffs.\n"
    "\n"
    "  --domain NAME     only what is about this domain\n"
    "  --since DURATION  only what is not older than this, with a unit: 30min, 2h, 7d\n"
    "  --lines N         the last N, 1 to 10000; by default 100\n"
    "  --directory DIR   from the journal files in DIR, of another host for example\n"
    "  --json            print a JSON document\n"
    "\n"
    "Exit status: 0, 1 nothing can be read, 2 bad input.\n";

struct options {
    bool json;
    int64_t since_ns; /* 0: no matter how old */
    const char *directory;
    char domain[256];
    size_t lines;
};

static int take_domain(void *userdata, const char *value) {
    struct options *options = userdata;

    /* As the records have it. */
    th_text_clean(value, options->domain, sizeof(options->domain));
    return options->domain[0] ? TH_GO_ON : th_usage_error("history", "--domain needs a name");
}

static int take_since(void *userdata, const char *value) {
    struct options *options = userdata;

    if (th_duration_parse(value, &options->since_ns) < 0 || options->since_ns <= 0) {
        return th_usage_error("history", "'%s' is not a duration like 30min or 2h", value);
    }
    return TH_GO_ON;
}

static int take_lines(void *userdata, const char *value) {
    struct options *options = userdata;
    char *end = NULL;
    unsigned long lines = strtoul(value, &end, 10);

    if (*value < '0' || *value > '9' || *end || lines < 1 || lines > MAX_LINES) {
        return th_usage_error("history", "'%s' is not a number from 1 to %d", value, MAX_LINES);
    }
    options->lines = lines;
    return TH_GO_ON;
}

static int parse_options(int argc, char **argv, struct options *options) {
    const struct th_option known[] = {
        {"json", .flag = &options->json},
        {"domain", .take = take_domain},
        {"since", .take = take_since},
        {"lines", .take = take_lines},
        {"directory", .value = &options->directory},
    };
    int r = th_options_read(argc, argv, usage, known, TH_ELEMENTS(known), options);

    if (r == TH_GO_ON && optind != argc) {
        r = th_usage_error("history", "'%s' is one word too many", argv[optind]);
    }
    return r;
}

/* ---- where it comes from ---- */

/* What the daemon kept. Says whether there was a file. */
static bool read_file(struct th_history *history, const char *why) {
    th_auto_free char *text = NULL;
    size_t size = 0;

    if (th_record_file_read(TH_STATE_FOLDER, &text, &size) < 0) {
        return false;
    }
    th_history_add_lines(history, text, size);
    if (history->count) {
        fprintf(stderr, "timehandoff: %s; showing the handoffs that timehandoffd kept\n", why);
    }
    return true;
}

/* False if nothing can be read; complains on stderr. */
static bool read_all(const struct options *options, struct th_history *history) {
    char error[300] = "", why[400] = "the journal holds none of these records";
    bool damaged = false;
    int r = th_journal_reader_read(options->directory, history, &damaged, error, sizeof(error));

    if (damaged) {
        fprintf(stderr, "timehandoff: a part of the journal cannot be read; records may be missing "
                        "(see 'journalctl --verify')\n");
    }
    if (r < 0) {
        snprintf(why, sizeof(why), "cannot read the journal%s%s: %s",
                 options->directory ? " in " : "", options->directory ? options->directory : "",
                 error);
    }
    if (!options->directory && !history->count && read_file(history, why)) {
        return true;
    }
    if (r < 0) {
        fprintf(stderr, "timehandoff: %s\n", why);
    }
    return r == 0;
}

static int run(const struct options *options) {
    th_auto_history struct th_history history = {.records = NULL};
    int r = th_history_init(
        &history,
        &(struct th_history_query){
            .domain = options->domain[0] ? options->domain : NULL,
            .since_real_ns = options->since_ns ? th_now_real_ns() - options->since_ns : INT64_MIN,
            .max = options->lines,
        });

    if (r < 0 || !read_all(options, &history)) {
        return EXIT_FAILURE;
    }
    if (options->json) {
        r = th_history_print_json(&history, stdout);
    } else {
        th_history_print_text(&history, stdout);
        if (!history.count) {
            fprintf(stderr, "timehandoff: no records\n");
        }
    }
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int th_command_history(int argc, char **argv) {
    struct options options = {.lines = DEFAULT_LINES};
    int r = parse_options(argc, argv, &options);

    if (r != TH_GO_ON) {
        return r;
    }
    return run(&options);
}
