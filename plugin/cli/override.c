/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff override`: lets every migration through for a while, or those from one host: the way
 * out at 3 a.m. It is a file under /run that ends by itself, and everything it lets through is
 * logged together with what the verdict would have been.
 */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/options.h"
#include "timehandoff/duration.h"
#include "timehandoff/report.h"

#define MAX_OVERRIDE_NS (7 * 24 * 3600 * TH_NS_PER_S)

static const char usage[] =
    "Usage: timehandoff override --for DURATION [--source HOST]\n"
    "       timehandoff override --clear\n"
    "\n"
    "Lets migrations to this host through whatever the verdict, until the time is over.\n"
    "\n"
    "  --for DURATION  how long, with a unit: 30min, 2h; at most 7d\n"
    "  --source HOST   only migrations from this host (the name that verdicts show)\n"
    "  --clear         end it now\n"
    "\n"
    "Without options: says whether one is in force. Exit status: 0, 1 failed, 2 bad input.\n";

struct options {
    bool clear;
    int64_t for_ns;
    const char *source;
};

static int take_for(void *userdata, const char *value) {
    struct options *options = userdata;

    if (th_duration_parse(value, &options->for_ns) < 0 || options->for_ns <= 0 ||
        options->for_ns > MAX_OVERRIDE_NS) {
        return th_usage_error("override", "'%s' is not a duration like 30min or 2h, up to 7d",
                              value);
    }
    return TH_GO_ON;
}

static int parse_options(int argc, char **argv, struct options *options) {
    const struct th_option known[] = {
        {"for", .take = take_for},
        {"source", .value = &options->source},
        {"clear", .flag = &options->clear},
    };
    int r = th_options_read(argc, argv, usage, known, TH_ELEMENTS(known), options);

    if (r != TH_GO_ON) {
        return r;
    }
    if (optind != argc) {
        return th_usage_error("override", "'%s' is one word too many", argv[optind]);
    }
    if (options->clear && (options->for_ns || options->source)) {
        return th_usage_error("override", "--clear stands alone");
    }
    if (options->source && !options->for_ns) {
        return th_usage_error("override", "--source needs --for");
    }
    return TH_GO_ON;
}

static char *local_time(int64_t real_ns, char *text, size_t size) {
    time_t seconds = (time_t)(real_ns / TH_NS_PER_S);
    struct tm parts;

    text[0] = '\0';
    if (localtime_r(&seconds, &parts)) {
        strftime(text, size, "%Y-%m-%d %H:%M:%S %Z", &parts);
    }
    return text;
}

/* Who typed it, for the log: sudo's user if there is one. */
static const char *who(void) {
    const char *user = getenv("SUDO_USER");
    const struct passwd *account;

    if (user && user[0]) {
        return user;
    }
    account = getpwuid(getuid());
    return account ? account->pw_name : "unknown";
}

static int failed(const char *what, int error) {
    fprintf(stderr, "timehandoff: cannot %s %s/%s: %s%s\n", what, TH_STATE_FOLDER,
            TH_STATE_OVERRIDE_FILE, strerror(-error),
            error == -EACCES || error == -EPERM ? " (run it as root)" : "");
    return EXIT_FAILURE;
}

static int set(const struct options *options) {
    struct th_now now = th_now();
    struct th_state_override override = {
        .until_real_ns = now.real_ns + options->for_ns,
        .until_boot_ns = now.boot_ns + options->for_ns,
    };
    char until[64], name[64];
    int r;

    if (options->source) {
        if (strlen(options->source) >= sizeof(override.source)) {
            return th_usage_error("override", "host name too long");
        }
        th_text_clean(options->source, override.source, sizeof(override.source));
    }
    (void)mkdir(TH_STATE_FOLDER, 0755); /* where no daemon has made it yet */
    r = th_state_override_write(TH_STATE_FOLDER, &override, &now);
    if (r < 0) {
        return failed("write", r);
    }
    th_report(LOG_WARNING, TH_MESSAGE_OVERRIDE,
              "timehandoff: override by %s: migrations from %s pass unchecked until %s",
              th_text_clean(who(), name, sizeof(name)),
              override.source[0] ? override.source : "any host",
              local_time(override.until_real_ns, until, sizeof(until)));
    return EXIT_SUCCESS;
}

static int clear(void) {
    char name[64];
    int r = th_state_override_clear(TH_STATE_FOLDER);

    if (r < 0) {
        return failed("remove", r);
    }
    th_report(LOG_NOTICE, TH_MESSAGE_OVERRIDE, "timehandoff: override ended by %s",
              th_text_clean(who(), name, sizeof(name)));
    return EXIT_SUCCESS;
}

static int show(void) {
    struct th_published_fds fds = th_published_open();
    th_auto_published struct th_published published = {.has_host = false};
    char until[64];

    th_published_read(&fds, &published);
    if (!published.has_override) {
        printf("no override in force\n");
        return EXIT_SUCCESS;
    }
    printf("override in force for migrations from %s until %s\n",
           published.override.source[0] ? published.override.source : "any host",
           local_time(published.override.until_real_ns, until, sizeof(until)));
    return EXIT_SUCCESS;
}

int th_command_override(int argc, char **argv) {
    struct options options = {.clear = false};
    int r = parse_options(argc, argv, &options);

    if (r != TH_GO_ON) {
        return r;
    }
    th_report_init("timehandoff", stdout);
    if (options.clear) {
        return clear();
    }
    return options.for_ns ? set(&options) : show();
}
