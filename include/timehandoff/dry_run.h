/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * All that a dry run tells of one migration: the check, what is known of both hosts' NTP servers,
 * what would be done with the guest afterwards, and the lint's findings about it; and its two
 * reports, of which the JSON document is described by docs/timehandoff-dry-run.schema.json.
 */
#ifndef TIMEHANDOFF_DRY_RUN_H
#define TIMEHANDOFF_DRY_RUN_H

#include "timehandoff/afterwards.h"
#include "timehandoff/check.h"
#include "timehandoff/lint.h"

struct th_dry_run {
    struct th_check check;
    const struct th_state_override *override; /* in force on this host; NULL: none */
    enum th_ternary ntp_differs;
    char ntp_reason[TH_CHECK_NTP_SIZE];

    bool has_afterwards;              /* the domain is known, and moves while it runs */
    struct th_decision_policy policy; /* what the rest was foretold from */
    enum th_policy_from policy_from;
    int64_t downtime_limit_ns; /* of the running domain; -1: it could not be asked */
    struct th_afterwards afterwards;

    bool has_facts; /* the domain is one of QEMU */
    struct th_guest_facts facts;
    size_t n_findings; /* about the migration and the handoff */
    struct th_lint_finding findings[TH_LINT_MAX_FINDINGS];
    size_t n_other_findings;
};

/* A page for a person, 80 columns wide, that begins with the hook's line. */
void th_report_dry_run_text(const struct th_dry_run *run, FILE *out);
/* One JSON document and a newline. 0 or negative errno. */
int th_report_dry_run_json(const struct th_dry_run *run, FILE *out);

#endif
