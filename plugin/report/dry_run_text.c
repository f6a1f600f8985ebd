/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A dry run as a person reads it at a prompt: the hook's line, what the verdict rests on, then what
 * would happen to the guest and what could keep it from being put right. Lines that ask for
 * somebody to act have headings in capitals.
 */
#include "timehandoff/dry_run.h"

#include <string.h>

#include "report/page.h"
#include "timehandoff/duration.h"
#include "timehandoff/report.h"

/* ---- the check ---- */

static void print_verdict(const struct th_dry_run *run, FILE *out) {
    const struct th_check *check = &run->check;

    th_page_paragraphf("verdict", out, "%s (%s)", th_action_name(check->verdict.action),
                       th_reason_name(check->verdict.reason));
    if (check->verdict.action != check->would.action) {
        th_page_paragraphf(
            "", out, "without %s: %s (%s)", check->overridden ? "the override" : "report mode",
            th_action_name(check->would.action), th_reason_name(check->would.reason));
    }
    if (run->override && !check->overridden) {
        th_page_paragraphf("", out, "the override in force here is for %s only",
                           run->override->source);
    }
}

static void print_gap(const struct th_check *check, FILE *out) {
    const struct th_probe_result *probe = &check->source.probe;
    char offset[TH_DURATION_TEXT_SIZE], bound[TH_DURATION_TEXT_SIZE], delay[TH_DURATION_TEXT_SIZE];
    char warn[TH_DURATION_TEXT_SIZE], block[TH_DURATION_TEXT_SIZE];

    if (probe->outcome == TH_PROBE_ANSWERED) {
        th_page_paragraphf(
            "gap", out, "%s%s \u00b1%s (source minus destination)",
            probe->gap.offset_ns > 0 ? "+" : "",
            th_duration_format_within(probe->gap.offset_ns, probe->gap.bound_ns, offset),
            th_duration_format(probe->gap.bound_ns, bound));
        th_page_paragraphf(
            "", out, "%s clock, authenticated: %s, delay %s, %u of %u answered",
            th_probe_clock_name(probe->clock), check->source.authenticated ? "yes" : "no",
            th_duration_format(probe->gap.delay_ns, delay), probe->answered, probe->asked);
    } else {
        th_page_paragraph("gap", "not known", out);
    }
    th_page_paragraphf("limits", out, "warn %s, block %s",
                       th_duration_format(check->policy.warn_ns, warn),
                       th_duration_format(check->policy.block_ns, block));
}

/* ---- the hosts ---- */

static void print_this_host(const char *heading, enum th_ternary synchronised,
                            const struct th_check *check, FILE *out) {
    th_page_paragraphf(heading, out, "this host%s%s", check->this_host[0] ? ", " : "",
                       check->this_host);
    th_page_paragraphf("", out, "synchronised: %s (%s)", th_ternary_name(synchronised),
                       check->sync_reason);
}

static void print_other_host(const char *heading, enum th_ternary synchronised,
                             const struct th_check *check, FILE *out) {
    const struct th_source *other = &check->source;
    const char *by = th_check_told_by_name(check);
    char address[TH_ADDRESS_TEXT_SIZE];

    if (!other->host[0]) {
        th_page_paragraph(heading, "not known", out);
        return;
    }
    if (other->address.ss_family) {
        th_page_paragraphf(heading, out, "%s (%s)", other->host,
                           th_address_format(&other->address, address));
    } else {
        th_page_paragraph(heading, other->host, out);
    }
    th_page_paragraphf("", out, "synchronised: %s (%s)", th_ternary_name(synchronised),
                       strcmp(by, "identity") == 0 ? "it says so itself"
                       : strcmp(by, "ntp") == 0    ? "by its NTP answer, it told no more"
                                                   : "it did not answer");
}

static void print_found(const struct th_check *check, FILE *out) {
    const struct th_source *source = &check->source;

    th_page_paragraphf("", out, "found by: %s; origin stamp: %s", th_source_how_name(source->how),
                       th_stamp_state_name(source->stamp));
    if (source->stamp == TH_STAMP_NAMES_US) {
        th_page_paragraph("", "this host runs it, so this is the source: use --to HOST here", out);
    }
    if (source->peers_asked) {
        th_page_paragraphf("", out, "peers: %u asked, %u run the domain, %u say they do not",
                           source->peers_asked, source->peers_running, source->peers_inactive);
    }
}

static void print_hosts(const struct th_dry_run *run, FILE *out) {
    const struct th_check *check = &run->check;

    if (check->outgoing) {
        print_this_host("source", check->source_synchronised, check, out);
        print_other_host("destination", check->destination_synchronised, check, out);
    } else {
        print_other_host("source", check->source_synchronised, check, out);
        print_found(check, out);
        print_this_host("destination", check->destination_synchronised, check, out);
    }
    th_page_paragraph(run->ntp_differs == TH_YES ? "NTP DIFFERS" : "NTP servers", run->ntp_reason,
                      out);
}

/* ---- the guest ---- */

/* "40 ms behind", "3 us ahead". */
static void print_side(int64_t offset_ns, char *text, size_t size) {
    char value[TH_DURATION_TEXT_SIZE];

    snprintf(text, size, "%s %s", th_duration_format(offset_ns < 0 ? -offset_ns : offset_ns, value),
             offset_ns < 0 ? "behind" : "ahead");
}

/* What the way does to its clock, as far as that can be known. */
static void print_loss(const struct th_dry_run *run, FILE *out) {
    const struct th_afterwards *afterwards = &run->afterwards;
    bool limited = run->downtime_limit_ns >= 0;
    char limit[TH_DURATION_TEXT_SIZE], least[48], most[48];

    th_page_paragraphf("guest clock", out, "stands still during the blackout%s%s%s; %s%s",
                       run->has_facts ? " (" : "",
                       run->has_facts ? th_lint_guest_clock(&run->facts) : "",
                       run->has_facts ? ")" : "",
                       limited ? "QEMU tries to keep that below its downtime limit of "
                               : "how long that is, is not known here",
                       limited ? th_duration_format(run->downtime_limit_ns, limit) : "");
    print_side(afterwards->most_ns, most, sizeof(most));
    print_side(afterwards->least_ns, least, sizeof(least));
    if (afterwards->has_least) {
        th_page_paragraphf("", out,
                           "right by the source before, it is then %s to %s on the destination",
                           least, most);
    } else if (afterwards->has_most) {
        th_page_paragraphf("", out,
                           "right by the source before, it is then %s on the destination, less "
                           "the blackout",
                           most);
    }
}

static const char *in_words(enum th_decision decision) {
    switch (decision) {
    case TH_DECIDE_STEP: return "stepped";
    case TH_DECIDE_NOTHING: return "left alone";
    case TH_DECIDE_OFF: return "not looked at";
    case TH_DECIDE_REPORT_ONLY:
    case TH_DECIDE_UNSYNCHRONISED:
    case TH_DECIDE_BACKWARD:
    case TH_DECIDE_TOO_FAR: return "only reported";
    case TH_DECIDE_WAIT:
    case TH_DECIDE_SLEWING:
    case TH_DECIDE_NO_EVENT:
    case TH_DECIDE_UNCERTAIN: break;
    }
    return "looked at again";
}

static void print_rule(const struct th_dry_run *run, FILE *out) {
    static const char *const from[] = {
        [TH_POLICY_FROM_HANDOFF] = "[handoff]",
        [TH_POLICY_FROM_DOMAIN] = "[domain]",
        [TH_POLICY_FROM_METADATA] = "the domain's metadata",
    };
    const struct th_afterwards *afterwards = &run->afterwards;
    char deadband[TH_DURATION_TEXT_SIZE], most[TH_DURATION_TEXT_SIZE];
    char beyond[96] = "";

    if (run->policy.max_step_ns >= 0) {
        snprintf(beyond, sizeof(beyond), " (over %s: %s)",
                 th_duration_format(run->policy.max_step_ns, most), in_words(afterwards->beyond));
    }
    th_page_paragraphf("rule", out, "handoff = %s, from %s", th_handoff_mode_name(run->policy.mode),
                       from[run->policy_from]);
    th_page_paragraphf("", out, "within %s: %s; behind: %s%s; ahead: %s",
                       th_duration_format(run->policy.deadband_ns, deadband),
                       in_words(afterwards->inside), in_words(afterwards->behind), beyond,
                       in_words(afterwards->ahead));
}

/* "stepped or left alone": all that may come of the decision. */
static void print_outlook(const struct th_afterwards *afterwards, FILE *out) {
    char text[160] = "guest measured, then ";
    const char *last = "";

    for (enum th_decision decision = TH_DECIDE_STEP; decision <= TH_DECIDE_UNCERTAIN; decision++) {
        const char *words = in_words(decision);
        size_t used = strlen(text);

        if (afterwards->decisions & TH_AFTERWARDS_BIT(decision) && strcmp(words, last) != 0) {
            snprintf(text + used, sizeof(text) - used, "%s%s", *last ? " or " : "", words);
            last = words;
        }
    }
    th_page_paragraph("afterwards", text, out);
}

static const char *why(enum th_afterwards_stop stop) {
    static const char *const words[] = {
        [TH_STOP_HANDOFF_OFF] = "handoff is off for this domain",
        [TH_STOP_HANDOFF_REPORT] = "handoff is report for this domain",
        [TH_STOP_NO_AGENT_CHANNEL] = "the domain has no agent channel that libvirt can use",
        [TH_STOP_NO_TIMEHANDOFFD] = "timehandoffd is not known to run on the destination",
        [TH_STOP_HOST_UNSYNCHRONISED] = "the destination is not synchronised",
        [TH_STOP_HOST_SYNC_UNKNOWN] = "whether the destination is synchronised is not known",
        [TH_STOP_BACKWARD] = "it would be ahead, and backward is no",
        [TH_STOP_TOO_FAR] = "it would be farther off than max-step-migration",
        [TH_STOP_AGENT_NOT_CONNECTED] = "its agent is not connected now; one that comes is waited "
                                        "for ([handoff] give-up)",
        [TH_STOP_AGENT_UNKNOWN] = "whether its agent runs is not known here",
        [TH_STOP_SET_TIME_UNKNOWN] = "whether its agent allows guest-set-time is not known before "
                                     "it is asked",
        [TH_STOP_CONFIGURATION_UNKNOWN] = "the destination's own configuration is not known here",
    };

    return words[stop];
}

static void print_stops(const char *heading, unsigned stops, FILE *out) {
    for (unsigned stop = 0; stop < TH_STOPS; stop++) {
        if (stops & TH_AFTERWARDS_BIT(stop)) {
            th_page_paragraphf(heading, out, "%s (%s)", why((enum th_afterwards_stop)stop),
                               th_afterwards_stop_name((enum th_afterwards_stop)stop));
            heading = "";
        }
    }
}

/* Nothing else is in the way. */
static bool waits_for_host(const struct th_afterwards *afterwards) {
    return afterwards->stops == TH_AFTERWARDS_BIT(TH_STOP_HOST_UNSYNCHRONISED) ||
           afterwards->stops == TH_AFTERWARDS_BIT(TH_STOP_HOST_SYNC_UNKNOWN);
}

static void print_afterwards(const struct th_dry_run *run, FILE *out) {
    const struct th_afterwards *afterwards = &run->afterwards;

    if (!run->has_afterwards) {
        th_page_paragraph("afterwards",
                          run->check.has_domain ? "no running guest moves: its clock is not touched"
                                                : "domain not known: name one to see",
                          out);
        return;
    }
    if (afterwards->stops) {
        th_page_paragraph("NOT STEPPED",
                          waits_for_host(afterwards)
                              ? "the guest keeps the clock that it arrives with until the "
                                "destination is synchronised, if that is within an hour"
                              : "the guest keeps the clock that it arrives with",
                          out);
    } else {
        print_outlook(afterwards, out);
    }
    print_stops("because", afterwards->stops, out);
    print_loss(run, out);
    print_rule(run, out);
    print_stops("could stop it", afterwards->may_stop, out);
}

static void print_lint(const struct th_dry_run *run, FILE *out) {
    for (size_t i = 0; i < run->n_findings; i++) {
        const struct th_lint_finding *finding = &run->findings[i];

        th_page_paragraphf(i == 0 ? "lint" : "", out, "%s: %s: %s",
                           th_lint_severity_name(finding->severity), finding->id, finding->why);
    }
    if (run->n_findings || run->n_other_findings) {
        th_page_paragraphf(run->n_findings ? "" : "lint", out,
                           "%zu more, and what to do: timehandoff guest lint %s",
                           run->n_other_findings, run->check.name);
    }
}

void th_report_dry_run_text(const struct th_dry_run *run, FILE *out) {
    const struct th_check *check = &run->check;
    char line[TH_REPORT_LINE_SIZE];

    fprintf(out, "%s\n", th_report_check_line(check, line));
    if (check->outgoing) {
        fprintf(out,
                "Seen from here, by this host's configuration; %s may decide otherwise by its "
                "own.\n",
                check->source.host);
    }
    fputc('\n', out);
    print_verdict(run, out);
    print_gap(check, out);
    print_hosts(run, out);
    if (check->has_domain && check->domain.complaint[0]) {
        th_page_paragraph("IGNORED", check->domain.complaint, out);
    }
    fputc('\n', out);
    print_afterwards(run, out);
    print_lint(run, out);
}
