/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff hook`: the checker, run by the guard for one migration. It opens what it needs while
 * it is root, gives root up, and only then reads the domain's XML and talks to the network. Its
 * whole time is TH_CHECK_BUDGET_NS. It blocks by one exit status together with one line on stderr;
 * it never writes to stdout, where libvirt would take the output for a new domain.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "base/privilege.h"
#include "build-config.h"
#include "cli/command.h"
#include "config/arrival.h"
#include "timehandoff/check.h"
#include "timehandoff/report.h"

static const char usage[] =
    "Usage: timehandoff hook NAME OP SUBOP EXTRA\n"
    "\n"
    "The checker that timehandoff-guard runs for a migration; the domain's XML comes on standard\n"
    "input. To see what it would say, use 'timehandoff dry-run'.\n"
    "\n"
    "Exit status: 0 allow or warn, 86 block, others: the check itself failed.\n";

/* Everything that needs root to open. */
struct opened {
    struct th_setup setup;
    struct th_published_fds published;
    int arrivals;
};

static void opened_deinit(struct opened *opened) {
    th_setup_deinit(&opened->setup);
    th_cleanup_close(&opened->published.host);
    th_cleanup_close(&opened->published.peers);
    th_cleanup_close(&opened->published.override);
    th_cleanup_close(&opened->arrivals);
}

#define auto_opened __attribute__((cleanup(opened_deinit)))

/* A broken configuration makes the check fail, which the guard reports and lets through; what was
 * wrong is said here, since stderr of a passing hook reaches nobody. */
static int open_all(struct opened *opened) {
    char error[400] = "";
    int r = th_config_load(TH_CONFIG_FOLDER, &opened->setup.config, error, sizeof(error));

    if (r == 0) {
        r = th_keyring_load(TH_CONFIG_FOLDER "/keys", &opened->setup.keys, error, sizeof(error));
    }
    if (r < 0) {
        th_report(LOG_ERR, TH_MESSAGE_SERVICE, "timehandoff: %s", error[0] ? error : strerror(-r));
        return r;
    }
    opened->published = th_published_open();
    opened->arrivals = open(TH_STATE_FOLDER "/" TH_STATE_ARRIVALS_FOLDER,
                            O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return 0;
}

/* An unreadable or overlong XML is no reason to stop: the verdict then is `source-unknown`. */
static int read_xml(int64_t deadline_mono_ns, char **ret_xml, size_t *ret_size) {
    int r = th_read_all(STDIN_FILENO, TH_DOMAIN_XML_MAX_SIZE, deadline_mono_ns, ret_xml, ret_size);

    if (r < 0) {
        th_report(LOG_WARNING, NULL,
                  "timehandoff: cannot read the domain's XML, going on without: %s", strerror(-r));
    }
    return r == -ENOMEM ? r : 0;
}

static void leave_arrival_note(int folder, const struct th_check *check) {
    struct th_arrival arrival = {
        .uuid = check->uuid,
        .has_gap = check->source.state == TH_SOURCE_MEASURED,
        .gap = check->source.probe.gap,
    };
    int r;

    if (folder < 0 || th_uuid_is_none(&check->uuid)) {
        return;
    }
    th_text_clean(check->source.host, arrival.host, sizeof(arrival.host));
    r = th_arrival_write(folder, &arrival);
    if (r < 0) {
        th_report(LOG_NOTICE, NULL, "timehandoff: cannot leave an arrival note, ignoring: %s",
                  strerror(-r));
    }
}

static int check_and_report(struct opened *opened, const char *name, int64_t deadline_mono_ns) {
    th_auto_published struct th_published published = {.has_host = false};
    th_auto_free char *xml = NULL;
    char line[TH_REPORT_LINE_SIZE];
    struct th_check check;
    size_t xml_size = 0;
    int r = read_xml(deadline_mono_ns, &xml, &xml_size);

    if (r < 0) {
        return EXIT_FAILURE;
    }
    th_published_read(&opened->published, &published);
    r = th_check_run(
        &(struct th_check_input){
            .config = opened->setup.config,
            .keys = opened->setup.keys,
            .host = published.has_host ? &published.host : NULL,
            .peers = published.has_peers ? &published.peers : NULL,
            .override = published.has_override ? &published.override : NULL,
            .name = name,
            .xml = xml,
            .xml_size = xml_size,
            .deadline_mono_ns = deadline_mono_ns,
        },
        &check);
    if (r < 0) {
        th_report(LOG_ERR, TH_MESSAGE_SERVICE, "timehandoff: cannot check migration of %s: %s",
                  name, strerror(-r));
        return EXIT_FAILURE;
    }
    fprintf(stderr, "%s\n", th_report_check_line(&check, line));
    th_report_check_journal(&check);
    if (check.verdict.action == TH_BLOCK) {
        return TH_EXIT_BLOCK;
    }
    leave_arrival_note(opened->arrivals, &check);
    return EXIT_SUCCESS;
}

int th_command_hook(int argc, char **argv) {
    /* The budget leaves time to report before the guard's own deadline. */
    int64_t deadline_ns = th_now_mono_ns() + TH_CHECK_BUDGET_NS;
    auto_opened struct opened opened = {.published = {-1, -1, -1}, .arrivals = -1};
    char name[256];
    int r;

    /* What libvirtd was started with is no concern of libraries that will read strangers' XML. */
    (void)clearenv();
    th_report_init("timehandoff", NULL);
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    }
    if (argc < 3) {
        return th_usage_error("hook", "it is run by the guard as 'hook NAME OP SUBOP EXTRA'");
    }
    if (strcmp(argv[2], "migrate") != 0) {
        return EXIT_SUCCESS;
    }
    if (open_all(&opened) < 0) {
        return EXIT_FAILURE;
    }
    r = th_privilege_drop(TH_USER);
    if (r < 0) {
        th_report(LOG_ERR, TH_MESSAGE_SERVICE, "timehandoff: cannot give up root: %s",
                  strerror(-r));
        return EXIT_FAILURE;
    }
    return check_and_report(&opened, th_text_clean(argv[1], name, sizeof(name)), deadline_ns);
}
