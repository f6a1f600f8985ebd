/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A verdict as one line, since one line is what libvirt prints to whoever typed the migration:
 * which host is off by how much, which limit that is over, who looks wrong, and what to do about
 * it.
 */
#include "timehandoff/report.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report/line.h"
#include "timehandoff/duration.h"

/* The other host; that from which the guest comes, unless the check is made there. */
static const char *other_name(const struct th_check *check) {
    return check->source.host[0] ? check->source.host : "host";
}

static void add_other(struct th_line *line, const struct th_check *check) {
    th_line_add(line, "%s%s", check->outgoing ? "" : "source ", other_name(check));
}

static void add_gap(struct th_line *line, const struct th_check *check) {
    const struct th_gap *gap = &check->source.probe.gap;
    char offset[TH_DURATION_TEXT_SIZE], bound[TH_DURATION_TEXT_SIZE];

    if (check->outgoing) {
        th_line_add(line, "this host");
    } else {
        add_other(line, check);
    }
    th_line_add(line, " is %s %s %s (\u00b1%s)",
                th_duration_format_within(gap->offset_ns < 0 ? -gap->offset_ns : gap->offset_ns,
                                          gap->bound_ns, offset),
                gap->offset_ns < 0 ? "behind" : "ahead of",
                check->outgoing ? other_name(check) : "this host",
                th_duration_format(gap->bound_ns, bound));
}

static void add_limit(struct th_line *line, const char *word, int64_t limit_ns) {
    char limit[TH_DURATION_TEXT_SIZE];

    th_line_add(line, ", %s %s", word, th_duration_format(limit_ns, limit));
}

static void add_unknown_source(struct th_line *line, const struct th_check *check) {
    const struct th_source *source = &check->source;

    th_line_add(line, "source host not known: ");
    if (!check->has_domain) {
        th_line_add(line, "domain XML not readable (%s)", check->xml_error);
    } else if (source->stamp == TH_STAMP_ABSENT) {
        th_line_add(line, "no origin stamp (is timehandoffd running on the source?)");
    } else {
        th_line_add(line, "origin stamp is %s", th_stamp_state_name(source->stamp));
    }
    if (source->peers_running > 1) {
        th_line_add(line, ", and %u peers say that they run it", source->peers_running);
    } else if (source->peers_asked) {
        th_line_add(line, ", and none of the peers asked says that it runs it");
    } else {
        th_line_add(line, ", and no peers to ask");
    }
}

static void add_address(struct th_line *line, const struct th_check *check) {
    char address[TH_ADDRESS_TEXT_SIZE];

    if (check->source.address.ss_family) {
        th_line_add(line, " (%s)", th_address_format(&check->source.address, address));
    }
}

static unsigned port_of(const struct sockaddr_storage *address) {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    switch (address->ss_family) {
    case AF_INET: memcpy(&v4, address, sizeof(v4)); return ntohs(v4.sin_port);
    case AF_INET6: memcpy(&v6, address, sizeof(v6)); return ntohs(v6.sin6_port);
    default: return TH_PACKET_DEFAULT_PORT;
    }
}

/* What was found, in words that fit the reason. */
static void add_finding(struct th_line *line, const struct th_check *check, enum th_reason reason) {
    switch (reason) {
    case TH_REASON_GAP_OK:
        add_gap(line, check);
        add_limit(line, "limit", check->policy.warn_ns);
        break;
    case TH_REASON_GAP_OVER_WARN:
        add_gap(line, check);
        add_limit(line, "warning limit", check->policy.warn_ns);
        break;
    case TH_REASON_GAP_OVER_BLOCK:
    case TH_REASON_GAP_SOURCE_WRONG:
        add_gap(line, check);
        add_limit(line, "limit", check->policy.block_ns);
        break;
    case TH_REASON_GAP_UNCERTAIN:
        th_line_add(line, "cannot tell whether the clocks are close enough: ");
        add_gap(line, check);
        add_limit(line, "limits", check->policy.warn_ns);
        add_limit(line, "and", check->policy.block_ns);
        break;
    case TH_REASON_SOURCE_UNKNOWN: add_unknown_source(line, check); break;
    case TH_REASON_SOURCE_UNREACHABLE:
        add_other(line, check);
        th_line_add(line, " does not answer");
        add_address(line, check);
        break;
    case TH_REASON_UNAUTHENTICATED:
        add_other(line, check);
        th_line_add(line, " answers, but not under the key expected");
        add_address(line, check);
        break;
    case TH_REASON_SOURCE_UNSYNCHRONISED:
    case TH_REASON_DESTINATION_UNSYNCHRONISED: add_gap(line, check); break;
    case TH_REASON_OFFLINE:
        th_line_add(line, "no running guest moves, its clock is not touched");
        break;
    case TH_REASON_OVERRIDDEN: th_line_add(line, "an override is in force"); break;
    case TH_REASONS: break;
    }
}

static bool gap_matters(enum th_reason reason) {
    return reason == TH_REASON_GAP_OVER_WARN || reason == TH_REASON_GAP_OVER_BLOCK ||
           reason == TH_REASON_GAP_SOURCE_WRONG || reason == TH_REASON_GAP_UNCERTAIN ||
           reason == TH_REASON_SOURCE_UNSYNCHRONISED ||
           reason == TH_REASON_DESTINATION_UNSYNCHRONISED;
}

static void add_wrong_host(struct th_line *line, const struct th_check *check) {
    enum th_ternary here =
        check->outgoing ? check->source_synchronised : check->destination_synchronised;
    enum th_ternary there =
        check->outgoing ? check->destination_synchronised : check->source_synchronised;

    if (there == TH_NO && here == TH_NO) {
        th_line_add(line,
                    "; neither %s nor this host is synchronised: run 'chronyc makestep' on both",
                    other_name(check));
    } else if (there == TH_NO) {
        th_line_add(line, "; %s is not synchronised: run 'chronyc makestep' there",
                    other_name(check));
    } else if (here == TH_NO) {
        th_line_add(line, "; this host is not synchronised: run 'chronyc makestep' here");
    } else {
        th_line_add(line, "; compare 'chronyc sources' on both hosts");
    }
}

/* Which host looks wrong, and what to do there. */
static void add_fix(struct th_line *line, const struct th_check *check, enum th_reason reason) {
    if (gap_matters(reason)) {
        add_wrong_host(line, check);
    } else if (reason == TH_REASON_SOURCE_UNREACHABLE) {
        th_line_add(line, "; check that timehandoff-peerd runs there and UDP port %u is open",
                    port_of(&check->source.address));
    } else if (reason == TH_REASON_UNAUTHENTICATED) {
        th_line_add(line, "; check that timehandoffd runs there and /etc/timehandoff/keys agree");
    } else {
        if (reason == TH_REASON_SOURCE_UNKNOWN) {
            th_line_add(line, "; start timehandoffd there, or list it under [peers]");
        }
        return;
    }
    th_line_add(line, ", or 'timehandoff override --for 1h' %s",
                check->outgoing ? "there" : "here");
}

static void add_what(struct th_line *line, const char *word, const struct th_check *check) {
    th_line_add(line, "timehandoff: %s migration of %s", word, check->name);
    if (check->outgoing) {
        th_line_add(line, " to %s", other_name(check));
    }
}

char *th_report_check_line(const struct th_check *check, char text[TH_REPORT_LINE_SIZE]) {
    struct th_line line;
    enum th_reason reason = check->would.reason;

    th_line_init(&line, text);
    switch (check->verdict.action) {
    case TH_BLOCK: add_what(&line, "blocked", check); break;
    case TH_WARN: add_what(&line, "warning for", check); break;
    case TH_ALLOW:
        add_what(&line, "allowed", check);
        if (check->overridden || (check->report_only && check->would.action != TH_ALLOW)) {
            th_line_add(&line, " (%s; would have been %s)",
                        check->overridden ? "override in force" : "report mode",
                        th_action_name(check->would.action));
        }
        break;
    }
    th_line_add(&line, ": ");
    add_finding(&line, check, reason);
    if (check->would.action != TH_ALLOW) {
        add_fix(&line, check, reason);
    }
    return text;
}
