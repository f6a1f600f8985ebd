/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff sync`: one handoff, now, because a person asked. The same measuring, deciding,
 * stepping and verifying as the daemon's, under the same lock, so that the two never work on one
 * guest at once.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/libvirt.h"
#include "cli/options.h"
#include "timehandoff/agent_libvirt.h"
#include "timehandoff/handoff.h"
#include "timehandoff/report.h"

/* More than the late path needs: two readings ten seconds apart, a step, three corrections. */
#define SYNC_BUDGET_NS (60 * TH_NS_PER_S)

static const char usage[] =
    "Usage: timehandoff sync [--json] DOMAIN\n"
    "\n"
    "Measures the guest's clock through its agent, steps it to this host's clock if that is "
    "right,\n"
    "and verifies the result. Never from a host that is not known to be synchronised; backward "
    "only\n"
    "where the configuration allows it. An offset under ten seconds is watched for ten seconds\n"
    "first: the guest's own NTP may be correcting it.\n"
    "\n"
    "Exit status: 0 done or not needed, 1 not done, 2 bad input.\n";

struct options {
    bool json;
    const char *domain;
};

static int parse_options(int argc, char **argv, struct options *options) {
    const struct th_option known[] = {{"json", .flag = &options->json}};
    int r = th_options_read(argc, argv, usage, known, TH_ELEMENTS(known), NULL);

    if (r == TH_GO_ON && optind + 1 != argc) {
        r = th_usage_error("sync", "name one domain");
    }
    options->domain = argv[optind];
    return r;
}

/* The domain's own policy, out of its XML. */
static struct th_domain_policy policy_of(const struct th_config *config,
                                         const struct th_cli_domain *domain,
                                         const struct th_uuid *uuid, const char *name) {
    th_auto_free char *xml = domain->virt->virDomainGetXMLDesc(domain->domain, 0);
    struct th_domain parsed = {.has_policy = false};
    char error[160];

    if (xml && th_domain_parse(xml, strlen(xml), &parsed, error, sizeof(error)) == 0) {
        th_key_wipe(&parsed.origin.key);
    }
    return th_config_domain_policy(config, uuid, name, parsed.has_policy ? &parsed.policy : NULL);
}

static int make_handoff(const struct th_config *config, const struct th_cli_domain *domain,
                        struct th_handoff **ret_handoff) {
    const char *name = domain->virt->virDomainGetName(domain->domain);
    struct th_domain_policy policy;
    struct th_now now = th_now();
    struct th_uuid uuid;
    struct th_sync sync;

    if (domain->virt->virDomainGetUUID(domain->domain, uuid.bytes) < 0) {
        return -EIO;
    }
    if (th_sync_read(5 * TH_NS_PER_S, &sync) < 0) {
        sync.synchronised = TH_UNKNOWN;
    }
    policy = policy_of(config, domain, &uuid, name);
    return th_handoff_new(
        &(struct th_handoff_config){
            .uuid = uuid,
            .name = name,
            .trigger = TH_TRIGGER_REQUEST,
            .policy = th_handoff_policy(config, &policy, TH_TRIGGER_REQUEST),
            .target_ns = config->target_ns,
            .give_up_ns = config->give_up_ns,
            .host_synchronised = sync.synchronised,
            .wait_for_agent = false,
        },
        &now, ret_handoff);
}

static int begin_failed(const char *name, int r) {
    if (r == TH_AGENT_BUSY) {
        fprintf(stderr, "timehandoff: a handoff of '%s' is under way already; try again\n", name);
    } else {
        fprintf(stderr, "timehandoff: cannot use the agent of '%s': %s\n", name,
                r < 0 ? strerror(-r) : th_agent_outcome_name((enum th_agent_outcome)r));
    }
    return EXIT_FAILURE;
}

static int report(const struct th_handoff *handoff, bool json) {
    const struct th_handoff_record *record = th_handoff_record(handoff);
    char line[TH_REPORT_LINE_SIZE];

    th_report_init("timehandoff", json ? NULL : stdout);
    th_report_handoff_journal(record);
    if (json && th_report_handoff_json(record, stdout) < 0) {
        return EXIT_FAILURE;
    }
    if (record->outcome == TH_HANDOFF_STEPPED || record->outcome == TH_HANDOFF_IMPROVED ||
        record->outcome == TH_HANDOFF_NOT_NEEDED) {
        return EXIT_SUCCESS;
    }
    if (json) {
        fprintf(stderr, "%s\n", th_report_handoff_line(record, line));
    }
    return EXIT_FAILURE;
}

static int sync_domain(const struct options *options, const struct th_config *config,
                       const struct th_cli_domain *domain) {
    struct th_agent_libvirt *libvirt_agent = NULL;
    struct th_handoff *handoff = NULL;
    int timeout_s = (int)((config->agent_timeout_ns + TH_NS_PER_S - 1) / TH_NS_PER_S);
    struct th_agent agent;
    int r = th_agent_libvirt_new(domain->virt, domain->domain, &libvirt_agent);

    th_cli_libvirt_within((int)(SYNC_BUDGET_NS / TH_NS_PER_S) + timeout_s, EXIT_FAILURE,
                          "timehandoff: libvirt does not answer any more; what became of the "
                          "handoff of '%.200s' is not known: look at the guest's clock",
                          options->domain);
    if (r == 0) {
        r = th_agent_libvirt_begin(libvirt_agent, TH_STATE_FOLDER "/" TH_STATE_LOCKS_FOLDER,
                                   timeout_s);
    }
    if (r != 0) {
        th_agent_libvirt_free(libvirt_agent);
        return begin_failed(options->domain, r);
    }
    r = make_handoff(config, domain, &handoff);
    if (r == 0) {
        agent = th_agent_libvirt_agent(libvirt_agent);
        r = th_handoff_run(handoff, &agent, th_now_mono_ns() + SYNC_BUDGET_NS);
    }
    if (r == -ETIMEDOUT || r == -EINTR) {
        struct th_now now = th_now();

        /* What was done so far is reported all the same. */
        th_handoff_void(handoff, "given up before it was finished", &now);
        r = 0;
    }
    th_agent_libvirt_free(libvirt_agent);
    if (r < 0) {
        fprintf(stderr, "timehandoff: cannot hand off '%s': %s\n", options->domain, strerror(-r));
        r = EXIT_FAILURE;
    } else {
        r = report(handoff, options->json);
    }
    th_handoff_free(handoff);
    return r;
}

static void on_signal(int number) {
    (void)number; /* that it came ends the wait, and the wait's end gives the agent back */
}

/* Interrupted, the agent's time-out must not stay changed: the signal ends the next wait. */
static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal};

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

int th_command_sync(int argc, char **argv) {
    th_auto_setup struct th_setup setup = {.config = NULL};
    th_auto_cli_domain struct th_cli_domain domain = {.virt = NULL};
    struct options options = {.json = false};
    int r = parse_options(argc, argv, &options);

    if (r != TH_GO_ON) {
        return r;
    }
    if (geteuid() != 0) {
        fprintf(stderr, "timehandoff: sync acts on a guest: run it as root\n");
        return EXIT_FAILURE;
    }
    if (!th_setup_load(&setup) || !th_cli_domain_open(setup.config, options.domain, &domain)) {
        return TH_EXIT_USAGE;
    }
    (void)mkdir(TH_STATE_FOLDER, 0755);
    catch_signals();
    return sync_domain(&options, setup.config, &domain);
}
