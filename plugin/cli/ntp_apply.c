/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff ntp apply`: one file is written, the time daemon is told to read it, and then it is
 * asked what it has, because a reload that was accepted is not yet a server that is in use. What
 * was not reached is said, with what to do, and shows in the exit status.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/command.h"
#include "cli/ntp.h"

/* timesyncd needs a moment to be back on the bus. */
#define SETTLE_NS (3 * TH_NS_PER_S)
#define SETTLE_STEP_NS (100 * TH_NS_PER_MS)

static bool has(const struct th_ntp_sources *sources, const char *name) {
    for (size_t i = 0; i < sources->n; i++) {
        if (th_ntp_name_equal(sources->sources[i].name, name) ||
            th_ntp_name_equal(sources->sources[i].address, name)) {
            return true;
        }
    }
    return false;
}

static bool is_in_use(const struct th_ntp_status *status, const struct th_ntp_servers *wanted) {
    for (size_t i = 0; i < wanted->n; i++) {
        if (!has(&status->sources, wanted->servers[i].name)) {
            return false;
        }
    }
    return status->answered;
}

/* Asks again until the list is in use or the daemon has had its time. */
static int read_settled(const struct th_ntp_servers *wanted, struct th_ntp_status *ret_status) {
    static const struct timespec step = {.tv_nsec = (long)SETTLE_STEP_NS};
    int64_t deadline_ns = th_now_mono_ns() + SETTLE_NS;

    for (;;) {
        int r = th_ntp_read("", TH_NTP_ASK_NS, ret_status);

        if (r < 0 || is_in_use(ret_status, wanted) || th_now_mono_ns() >= deadline_ns) {
            return r;
        }
        th_ntp_status_deinit(ret_status);
        (void)nanosleep(&step, NULL);
    }
}

static void say_lacking(const struct th_ntp_status *status, const struct th_ntp_servers *wanted) {
    for (size_t i = 0; i < wanted->n; i++) {
        const char *name = wanted->servers[i].name;

        if (!has(&status->sources, name)) {
            fprintf(stderr, "timehandoff: %s does not have %s yet\n",
                    th_sync_from_name(status->from), name);
        }
    }
}

/* Servers of others, which stay. */
static void say_others(const struct th_ntp_status *status, const struct th_ntp_servers *wanted) {
    for (size_t i = 0; i < status->servers.n; i++) {
        const struct th_ntp_server *server = &status->servers.servers[i];

        if ((server->kind == TH_NTP_SERVER || server->kind == TH_NTP_POOL) &&
            !th_ntp_servers_find(wanted, server->name)) {
            printf("also configured: %s, %s; left as it is\n", server->name, server->where);
        }
    }
}

static int say_result(const struct th_ntp_servers *wanted) {
    th_auto_ntp_status struct th_ntp_status status = {.running = false};
    int r = read_settled(wanted, &status);

    if (r < 0) {
        fprintf(stderr, "timehandoff: cannot read the result: %s\n", strerror(-r));
        return EXIT_FAILURE;
    }
    th_ntp_show_text(&status, stdout);
    say_others(&status, wanted);
    if (is_in_use(&status, wanted)) {
        return EXIT_SUCCESS;
    }
    if (!status.answered) {
        fprintf(stderr, "timehandoff: the list is in place; %s reads it when it runs again\n",
                th_sync_from_name(status.from));
    } else {
        say_lacking(&status, wanted);
    }
    return EXIT_FAILURE;
}

static int reload(const struct th_ntp_status *status, const struct th_ntp_change *change) {
    int r;

    if (change->add_line[0] && change->new_text) {
        fprintf(stderr,
                "timehandoff: %s does not read that folder; add the line '%s' to %s and restart "
                "chronyd\n",
                th_sync_from_name(status->from), change->add_line, change->add_to);
        return EXIT_FAILURE;
    }
    if (!status->running) {
        return EXIT_SUCCESS; /* what it says of it comes with the result */
    }
    r = th_ntp_reload(status->from, TH_NTP_ASK_NS);
    if (r == -EOPNOTSUPP) {
        fprintf(stderr, "timehandoff: restart %s to have it read %s\n",
                th_sync_from_name(status->from), change->path);
    } else if (r < 0) {
        fprintf(stderr, "timehandoff: %s was told to read %s and did not: %s\n",
                th_sync_from_name(status->from), change->path,
                r == -EIO ? "it refused" : strerror(-r));
    }
    return EXIT_SUCCESS;
}

static int carry_out(const struct th_ntp_status *status, const struct th_ntp_servers *wanted,
                     const struct th_ntp_change *change) {
    int r = th_ntp_write("", change);

    if (r < 0) {
        fprintf(stderr, "timehandoff: cannot write %s: %s; nothing has changed%s\n", change->path,
                strerror(-r), r == -EACCES || r == -EPERM ? " (run it as root)" : "");
        return EXIT_FAILURE;
    }
    printf("wrote %s%s\n", change->path,
           change->old_text ? "; the old one is beside it (.bak)" : "");
    r = reload(status, change);
    return r == EXIT_SUCCESS ? say_result(wanted) : r;
}

/* The file is as it should be; an earlier reload may have failed nevertheless. */
static int nothing_to_write(const struct th_ntp_status *status, const struct th_ntp_servers *wanted,
                            const struct th_ntp_change *change, bool dry_run) {
    printf("nothing to change\n");
    if (dry_run || is_in_use(status, wanted)) {
        say_others(status, wanted);
        return EXIT_SUCCESS;
    }
    return reload(status, change) == EXIT_SUCCESS ? say_result(wanted) : EXIT_FAILURE;
}

static int print_diff(const struct th_ntp_change *change) {
    th_auto_free char *text = NULL;

    if (th_ntp_diff(change, &text) < 0) {
        fprintf(stderr, "timehandoff: out of memory\n");
        return EXIT_FAILURE;
    }
    fputs(text, stdout);
    return EXIT_SUCCESS;
}

static int refuse(enum th_ntp_plan_outcome outcome, const struct th_ntp_status *status) {
    if (outcome == TH_NTP_PLAN_NO_DAEMON) {
        fprintf(stderr, "timehandoff: no time daemon here; install chrony\n");
    } else {
        fprintf(stderr,
                "timehandoff: the list can be written for chronyd and timesyncd, not for "
                "%s; 'timehandoff ntp check' tells what to change\n",
                th_sync_from_name(status->from));
    }
    return EXIT_FAILURE;
}

int th_ntp_apply(const struct th_ntp_status *status, const struct th_ntp_servers *wanted,
                 bool dry_run) {
    th_auto_ntp_change struct th_ntp_change change = {.path = ""};
    int r;

    if (wanted->n == 0) {
        fprintf(stderr, "timehandoff: no list to apply: name servers under [ntp] in "
                        "timehandoff.conf(5)\n");
        return TH_EXIT_USAGE;
    }
    if (wanted->n < 3) {
        fprintf(stderr,
                "timehandoff: only %zu under [ntp]; with fewer than three servers nobody "
                "can tell which one is wrong\n",
                wanted->n);
    }
    r = th_ntp_plan("", status, wanted, &change);
    if (r < 0) {
        fprintf(stderr, "timehandoff: cannot read %s: %s\n",
                change.path[0] ? change.path : "the time daemon's configuration", strerror(-r));
        return EXIT_FAILURE;
    }
    if (r == TH_NTP_PLAN_NO_DAEMON || r == TH_NTP_PLAN_UNSUPPORTED) {
        return refuse((enum th_ntp_plan_outcome)r, status);
    }
    if (r == TH_NTP_PLAN_NOTHING) {
        return nothing_to_write(status, wanted, &change, dry_run);
    }
    return dry_run ? print_diff(&change) : carry_out(status, wanted, &change);
}
