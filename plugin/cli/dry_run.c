/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff dry-run`: the check of a migration without the migration, and what would become of
 * the guest. Same code as the checker and the daemon, same files, same questions over the network;
 * nothing is written and no guest is touched.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/dry_run_domain.h"
#include "cli/options.h"
#include "fleet/own_address.h"
#include "timehandoff/dry_run.h"
#include "timehandoff/handoff.h"

#define EXIT_WARN 3
#define EXIT_BLOCKED 1

static const char usage[] =
    "Usage: timehandoff dry-run [--source HOST[:PORT] | --to HOST[:PORT]] [--json]\n"
    "                           [--domain NAME | DOMAIN | FILE | -]\n"
    "\n"
    "Shows the verdict on a migration to this host, and what would happen to the guest then.\n"
    "Nothing is written and no guest is touched.\n"
    "\n"
    "  --source HOST[:PORT]  the host it would come from; without it, found as the hook finds it\n"
    "  --to HOST[:PORT]      on the source: a migration from this host to that one\n"
    "  --domain NAME         a domain of this host's libvirt\n"
    "  DOMAIN, FILE, -       the same, or domain XML from a file or from standard input\n"
    "                        (on the source: virsh dumpxml --migratable DOMAIN)\n"
    "  --json                print a JSON document\n"
    "\n"
    "Exit status: 0 allow, 3 warn, 1 block, 2 bad input.\n";

struct options {
    bool json;
    const char *source, *to;
    const char *domain;
    const char *target;
};

static int parse_options(int argc, char **argv, struct options *options) {
    const struct th_option known[] = {
        {"source", .value = &options->source},
        {"to", .value = &options->to},
        {"domain", .value = &options->domain},
        {"json", .flag = &options->json},
    };
    int r = th_options_read(argc, argv, usage, known, TH_ELEMENTS(known), NULL);

    if (r != TH_GO_ON) {
        return r;
    }
    if (optind + 1 < argc || (optind < argc && options->domain)) {
        return th_usage_error("dry-run", "name one domain, file or '-'");
    }
    if (options->source && options->to) {
        return th_usage_error("dry-run", "--source is for the destination, --to for the source: "
                                         "give one of them");
    }
    options->target = optind < argc ? argv[optind] : NULL;
    if (!options->source && !options->to && !options->domain && !options->target) {
        return th_usage_error("dry-run", "say which domain, or which other host (--source, --to)");
    }
    return TH_GO_ON;
}

/* ---- the other host, where a person names it ---- */

struct other {
    size_t n_addresses;
    struct sockaddr_storage addresses[TH_STATE_MAX_ADDRESSES];
};

/* To ask ourselves would prove a gap of zero. */
static bool resolve(const char *name, unsigned port, struct other *ret_other) {
    char shown[256];

    ret_other->n_addresses =
        th_resolve(name, port, ret_other->addresses, TH_ELEMENTS(ret_other->addresses));
    if (ret_other->n_addresses && th_own_address(&ret_other->addresses[0])) {
        fprintf(stderr, "timehandoff: '%s' is this very host; name the other one\n",
                th_text_clean(name, shown, sizeof(shown)));
        return false;
    }
    return ret_other->n_addresses > 0;
}

/* The key that the peer of that name or address is asked under. */
static uint32_t key_of(const struct th_config *config, const struct th_published *published,
                       const char *name, const struct sockaddr_storage *address) {
    for (size_t i = 0; i < config->n_peers; i++) {
        if (strcasecmp(config->peers[i].host, name) == 0) {
            return config->peers[i].key_id;
        }
    }
    for (size_t i = 0; published->has_peers && i < published->peers.n_peers; i++) {
        const struct th_state_peer *peer = &published->peers.peers[i];

        for (size_t j = 0; j < peer->n_addresses; j++) {
            if (th_address_equal(&peer->addresses[j], address)) {
                return peer->key_id;
            }
        }
    }
    return 0;
}

/* ---- the check ---- */

/* How much was told. A host may know the asker as its peer by one of two addresses only. */
static int worth(const struct th_check *check) {
    const struct th_probe_result *probe = &check->source.probe;

    return probe->outcome != TH_PROBE_ANSWERED ? 0 : probe->has_identity ? 2 : 1;
}

/* The check with a host that was named, at whichever of its addresses tells the most. */
static int check_with(const struct other *other, const struct th_setup *setup,
                      const struct th_published *published, struct th_check_input *input,
                      struct th_check *ret_check) {
    int r = 0;

    for (size_t i = 0; r == 0 && i < other->n_addresses; i++) {
        struct th_check check;

        input->given = &other->addresses[i];
        input->given_key_id = key_of(setup->config, published, input->given_name, input->given);
        input->deadline_mono_ns = th_now_mono_ns() + 2 * TH_CHECK_BUDGET_NS;
        r = th_check_run(input, &check);
        if (r == 0 && (i == 0 || worth(&check) > worth(ret_check))) {
            *ret_check = check;
        }
    }
    return r;
}

static int check(const struct options *options, const struct th_setup *setup,
                 const struct th_published *published, const struct th_dry_run_domain *domain,
                 struct th_check *ret_check) {
    struct th_check_input input = {
        .config = setup->config,
        .keys = setup->keys,
        .host = published->has_host ? &published->host : NULL,
        .peers = published->has_peers ? &published->peers : NULL,
        .override = published->has_override ? &published->override : NULL,
        .name = domain->xml ? NULL : "(no domain named)",
        .xml = domain->xml,
        .xml_size = domain->size,
        .given_name = options->to ? options->to : options->source,
        .outgoing = options->to != NULL,
        .offline = domain->offline,
        .deadline_mono_ns = th_now_mono_ns() + 2 * TH_CHECK_BUDGET_NS,
    };
    struct other other;
    int r;

    if (input.given_name && !resolve(input.given_name, setup->config->port, &other)) {
        return -EINVAL;
    }
    r = input.given_name ? check_with(&other, setup, published, &input, ret_check)
                         : th_check_run(&input, ret_check);
    if (r < 0) {
        fprintf(stderr, "timehandoff: cannot check: %s\n", strerror(-r));
    }
    return r;
}

/* ---- afterwards ---- */

/* Whether somebody there will do the handoff. */
static enum th_ternary daemon_runs(const struct th_check *check,
                                   const struct th_published *published) {
    const struct th_probe_result *probe = &check->source.probe;

    if (check->outgoing) {
        /* Only timehandoffd tells peerd that. */
        return probe->has_identity && probe->identity.synchronised != TH_UNKNOWN ? TH_YES
                                                                                 : TH_UNKNOWN;
    }
    return published->has_host ? TH_YES : geteuid() == 0 ? TH_NO : TH_UNKNOWN;
}

static void know_policy(const struct th_config *config, struct th_dry_run *run) {
    const struct th_check *check = &run->check;
    const struct th_domain_policy *from_xml =
        check->domain.has_policy ? &check->domain.policy : NULL;

    run->policy = th_handoff_policy(config, &check->handoff, TH_TRIGGER_MIGRATED);
    run->policy_from = th_config_domain_handoff_from(config, &check->uuid, check->name, from_xml);
}

static void foretell(const struct th_published *published, struct th_dry_run *run) {
    const struct th_check *check = &run->check;

    run->has_afterwards = check->has_domain && check->source.state != TH_SOURCE_OFFLINE;
    if (!run->has_afterwards) {
        return;
    }
    run->afterwards = th_afterwards_make(&(struct th_afterwards_input){
        .policy = run->policy,
        .elsewhere = check->outgoing,
        .daemon = daemon_runs(check, published),
        .host_synchronised = check->destination_synchronised,
        .agent_channel =
            run->has_facts ? run->facts.agent == TH_GUEST_AGENT_GOOD : check->domain.has_agent,
        .agent_connected = run->has_facts ? run->facts.agent_connected : TH_UNKNOWN,
        .has_gap = check->source.state == TH_SOURCE_MEASURED,
        .gap = check->source.probe.gap,
        .blackout_ns = run->downtime_limit_ns,
    });
}

static void lint(const struct th_dry_run_domain *domain, struct th_dry_run *run) {
    struct th_lint_finding findings[TH_LINT_MAX_FINDINGS];
    char error[160];
    size_t n;

    if (!domain->xml ||
        th_guest_facts_read(domain->xml, domain->size, &run->facts, error, sizeof(error)) < 0) {
        return;
    }
    run->has_facts = true;
    n = th_lint_find(&run->facts, findings);
    for (size_t i = 0; i < n; i++) {
        if (th_lint_is_about_migration(findings[i].id)) {
            run->findings[run->n_findings++] = findings[i];
        }
    }
    run->n_other_findings = n - run->n_findings;
}

/* ---- the report ---- */

static int exit_status(enum th_action action) {
    switch (action) {
    case TH_WARN: return EXIT_WARN;
    case TH_BLOCK: return EXIT_BLOCKED;
    case TH_ALLOW: break;
    }
    return EXIT_SUCCESS;
}

static int report(const struct options *options, const struct th_setup *setup,
                  const struct th_published *published, const struct th_dry_run_domain *domain,
                  struct th_dry_run *run) {
    run->downtime_limit_ns = domain->downtime_limit_ns;
    run->override = published->has_override && !options->to ? &published->override : NULL;
    run->ntp_differs =
        th_check_ntp_differs(&run->check, published->has_host ? &published->host : NULL,
                             published->has_peers ? &published->peers : NULL, run->ntp_reason);
    know_policy(setup->config, run);
    lint(domain, run);
    foretell(published, run);
    if (!options->json) {
        th_report_dry_run_text(run, stdout);
    } else if (th_report_dry_run_json(run, stdout) < 0) {
        return TH_EXIT_USAGE;
    }
    return exit_status(run->check.verdict.action);
}

static bool read_domain(const struct options *options, const struct th_config *config,
                        struct th_dry_run_domain *ret_domain) {
    if (options->domain) {
        return th_dry_run_domain_read(config, options->domain, ret_domain);
    }
    return !options->target || th_dry_run_domain_read_target(config, options->target, ret_domain);
}

static int dry_run(const struct options *options, const struct th_setup *setup) {
    th_auto_published struct th_published published = {.has_host = false};
    th_auto_dry_run_domain struct th_dry_run_domain domain = {.downtime_limit_ns = -1};
    const char *name = options->domain ? options->domain : options->target;
    struct th_dry_run run = {.has_facts = false};
    struct th_published_fds fds;

    if (!read_domain(options, setup->config, &domain)) {
        return TH_EXIT_USAGE;
    }
    /* Only now, as standard input may have taken its time. */
    fds = th_published_open();
    th_published_read(&fds, &published);
    if (check(options, setup, &published, &domain, &run.check) < 0) {
        return TH_EXIT_USAGE;
    }
    if (domain.xml && !run.check.has_domain) {
        fprintf(stderr,
                "timehandoff: %s is no domain XML: %s; 'virsh dumpxml --migratable DOMAIN' on the "
                "source prints it\n",
                strcmp(name, "-") == 0 ? "standard input" : name, run.check.xml_error);
        return TH_EXIT_USAGE;
    }
    return report(options, setup, &published, &domain, &run);
}

int th_command_dry_run(int argc, char **argv) {
    th_auto_setup struct th_setup setup = {.config = NULL};
    struct options options = {.json = false};
    int r = parse_options(argc, argv, &options);

    if (r != TH_GO_ON) {
        return r;
    }
    return th_setup_load(&setup) ? dry_run(&options, &setup) : TH_EXIT_USAGE;
}
