/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A dry run as one JSON document. Field names are a promise, kept by the schema that is installed:
 * units in names, fixed words for verdicts, reasons and decisions, fields that are not known left
 * out.
 */
#include "timehandoff/dry_run.h"

#include <json-c/json.h>

#include "report/json.h"
#include "timehandoff/report.h"

static void add_verdict(struct json_object *root, const char *field,
                        const struct th_verdict *verdict, bool *failed) {
    struct json_object *object = th_json_inside(root, field, failed);

    th_json_text(object, "action", th_action_name(verdict->action), failed);
    th_json_text(object, "reason", th_reason_name(verdict->reason), failed);
}

static void add_domain(struct json_object *root, const struct th_dry_run *run, bool *failed) {
    struct json_object *object = th_json_inside(root, "domain", failed);
    const struct th_check *check = &run->check;

    th_json_text(object, "name", check->name, failed);
    th_json_uuid(object, "uuid", &check->uuid, failed);
    if (!check->has_domain) {
        return;
    }
    th_json_flag(object, "agent_channel",
                 run->has_facts ? run->facts.agent == TH_GUEST_AGENT_GOOD : check->domain.has_agent,
                 failed);
    th_json_text(object, "agent_connected",
                 th_ternary_name(run->has_facts ? run->facts.agent_connected : TH_UNKNOWN), failed);
    th_json_text(object, "handoff", th_handoff_mode_name(check->handoff.handoff), failed);
    th_json_text(object, "handoff_from", th_policy_from_name(run->policy_from), failed);
    th_json_text(object, "backward", th_ternary_name(check->handoff.backward), failed);
    if (check->domain.complaint[0]) {
        th_json_text(object, "complaint", check->domain.complaint, failed);
    }
}

static void add_this_host(struct json_object *object, const struct th_check *check, bool *failed) {
    if (check->this_host[0]) {
        th_json_text(object, "host", check->this_host, failed);
    }
    th_json_uuid(object, "uuid", &check->this_uuid, failed);
    th_json_text(object, "synchronised_from", th_sync_from_name(check->sync_from), failed);
    th_json_text(object, "sync_reason", check->sync_reason, failed);
}

static void add_other_host(struct json_object *object, const struct th_check *check, bool *failed) {
    const struct th_source *other = &check->source;

    if (other->host[0]) {
        th_json_text(object, "host", other->host, failed);
    }
    th_json_uuid(object, "uuid", &other->uuid, failed);
    th_json_address(object, "address", &other->address, failed);
    th_json_text(object, "synchronised_from", th_check_told_by_name(check), failed);
}

static void add_source(struct json_object *root, const struct th_check *check, bool *failed) {
    struct json_object *object = th_json_inside(root, "source", failed);

    th_json_text(object, "found_by", th_source_how_name(check->source.how), failed);
    th_json_text(object, "synchronised", th_ternary_name(check->source_synchronised), failed);
    if (check->outgoing) {
        add_this_host(object, check, failed);
        return;
    }
    add_other_host(object, check, failed);
    th_json_text(object, "stamp", th_stamp_state_name(check->source.stamp), failed);
    th_json_number(object, "peers_asked", check->source.peers_asked, failed);
    th_json_number(object, "peers_running", check->source.peers_running, failed);
    th_json_number(object, "peers_inactive", check->source.peers_inactive, failed);
}

static void add_destination(struct json_object *root, const struct th_check *check, bool *failed) {
    struct json_object *object = th_json_inside(root, "destination", failed);

    th_json_text(object, "synchronised", th_ternary_name(check->destination_synchronised), failed);
    if (check->outgoing) {
        add_other_host(object, check, failed);
    } else {
        add_this_host(object, check, failed);
    }
}

static void add_stops(struct json_object *object, const struct th_afterwards *afterwards,
                      bool *failed) {
    struct json_object *list = th_json_list(object, "stops", failed);

    for (unsigned stop = 0; stop < TH_STOPS; stop++) {
        bool certain = afterwards->stops & TH_AFTERWARDS_BIT(stop);
        struct json_object *element;

        if (certain || afterwards->may_stop & TH_AFTERWARDS_BIT(stop)) {
            element = th_json_append(list, json_object_new_object(), failed);
            th_json_text(element, "id", th_afterwards_stop_name((enum th_afterwards_stop)stop),
                         failed);
            th_json_flag(element, "certain", certain, failed);
        }
    }
}

static void add_rule(struct json_object *object, const struct th_dry_run *run, bool *failed) {
    struct json_object *rule = th_json_inside(object, "rule", failed);
    const struct th_afterwards *afterwards = &run->afterwards;

    th_json_number(rule, "deadband_ns", run->policy.deadband_ns, failed);
    th_json_text(rule, "inside", th_decision_name(afterwards->inside), failed);
    th_json_text(rule, "behind", th_decision_name(afterwards->behind), failed);
    th_json_text(rule, "ahead", th_decision_name(afterwards->ahead), failed);
    if (run->policy.max_step_ns >= 0) {
        th_json_number(rule, "max_step_ns", run->policy.max_step_ns, failed);
        th_json_text(rule, "beyond", th_decision_name(afterwards->beyond), failed);
    }
}

static void add_afterwards(struct json_object *root, const struct th_dry_run *run, bool *failed) {
    struct json_object *object = th_json_inside(root, "afterwards", failed), *list;
    const struct th_afterwards *afterwards = &run->afterwards;

    th_json_text(object, "stepped", th_ternary_name(afterwards->stepped), failed);
    list = th_json_list(object, "decisions", failed);
    for (enum th_decision decision = TH_DECIDE_STEP; decision <= TH_DECIDE_UNCERTAIN; decision++) {
        if (afterwards->decisions & TH_AFTERWARDS_BIT(decision)) {
            th_json_append(list, json_object_new_string(th_decision_name(decision)), failed);
        }
    }
    add_rule(object, run, failed);
    add_stops(object, afterwards, failed);
    if (run->downtime_limit_ns >= 0) {
        th_json_number(object, "downtime_limit_ns", run->downtime_limit_ns, failed);
    }
    if (afterwards->has_least) {
        th_json_number(object, "least_ns", afterwards->least_ns, failed);
    }
    if (afterwards->has_most) {
        th_json_number(object, "most_ns", afterwards->most_ns, failed);
    }
}

static void add_lint(struct json_object *root, const struct th_dry_run *run, bool *failed) {
    struct json_object *object = th_json_inside(root, "lint", failed);
    struct json_object *list = th_json_list(object, "findings", failed);

    for (size_t i = 0; i < run->n_findings; i++) {
        th_json_lint_finding(list, &run->findings[i], failed);
    }
    th_json_number(object, "others", (int64_t)run->n_other_findings, failed);
}

int th_report_dry_run_json(const struct th_dry_run *run, FILE *out) {
    struct json_object *root = json_object_new_object(), *ntp;
    const struct th_check *check = &run->check;
    char line[TH_REPORT_LINE_SIZE];
    bool failed = !root;

    add_verdict(root, "verdict", &check->verdict, &failed);
    add_verdict(root, "would", &check->would, &failed);
    th_json_text(root, "message", th_report_check_line(check, line), &failed);
    th_json_text(root, "seen_from", check->outgoing ? "source" : "destination", &failed);
    th_json_flag(root, "overridden", check->overridden, &failed);
    th_json_flag(root, "report_only", check->report_only, &failed);
    th_json_number(root, "warn_ns", check->policy.warn_ns, &failed);
    th_json_number(root, "block_ns", check->policy.block_ns, &failed);
    th_json_number(root, "took_ns", check->took_ns, &failed);
    add_domain(root, run, &failed);
    add_source(root, check, &failed);
    add_destination(root, check, &failed);
    if (check->source.probe.outcome == TH_PROBE_ANSWERED) {
        th_json_probe(th_json_inside(root, "gap", &failed), &check->source.probe, &failed);
    }
    ntp = th_json_inside(root, "ntp", &failed);
    th_json_text(ntp, "differ", th_ternary_name(run->ntp_differs), &failed);
    th_json_text(ntp, "reason", run->ntp_reason, &failed);
    if (run->has_afterwards) {
        add_afterwards(root, run, &failed);
    }
    if (run->has_facts) {
        add_lint(root, run, &failed);
    }
    return th_json_print(root, &failed, out);
}
