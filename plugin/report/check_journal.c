/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal record of one verdict: the line for people as MESSAGE and every number as a field of
 * its own, so that `journalctl TIMEHANDOFF_REASON=gap-over-block` answers the morning's question.
 */
#include "timehandoff/report.h"

#include <syslog.h>

#include "report/journal.h"
#include "report/log.h"

static int priority_of(const struct th_check *check) {
    switch (check->verdict.action) {
    case TH_BLOCK: return LOG_ERR;
    case TH_WARN: return LOG_WARNING;
    case TH_ALLOW: break;
    }
    return check->would.action == TH_ALLOW ? LOG_INFO : LOG_WARNING;
}

static void add_source(struct th_journal *journal, const struct th_check *check) {
    const struct th_source *source = &check->source;
    char uuid[TH_UUID_TEXT_SIZE], address[TH_ADDRESS_TEXT_SIZE];

    th_journal_text(journal, "TIMEHANDOFF_SOURCE_FOUND_BY", th_source_how_name(source->how));
    th_journal_text(journal, "TIMEHANDOFF_STAMP", th_stamp_state_name(source->stamp));
    if (source->host[0]) {
        th_journal_text(journal, "TIMEHANDOFF_SOURCE_HOST", source->host);
    }
    if (!th_uuid_is_none(&source->uuid)) {
        th_journal_text(journal, "TIMEHANDOFF_SOURCE_UUID", th_uuid_format(&source->uuid, uuid));
    }
    if (source->address.ss_family) {
        th_journal_text(journal, "TIMEHANDOFF_SOURCE_ADDRESS",
                        th_address_format(&source->address, address));
    }
    if (source->state == TH_SOURCE_MEASURED) {
        const struct th_probe_result *probe = &source->probe;

        th_journal_number(journal, "TIMEHANDOFF_GAP_NS", probe->gap.offset_ns);
        th_journal_number(journal, "TIMEHANDOFF_GAP_BOUND_NS", probe->gap.bound_ns);
        th_journal_number(journal, "TIMEHANDOFF_GAP_DELAY_NS", probe->gap.delay_ns);
        th_journal_text(journal, "TIMEHANDOFF_CLOCK", th_probe_clock_name(probe->clock));
        th_journal_text(journal, "TIMEHANDOFF_AUTHENTICATED", source->authenticated ? "yes" : "no");
    }
}

void th_report_check_journal(const struct th_check *check) {
    struct th_journal journal;
    char line[TH_REPORT_LINE_SIZE], uuid[TH_UUID_TEXT_SIZE];

    th_journal_begin(&journal, th_report_program(), priority_of(check), TH_MESSAGE_VERDICT);
    th_journal_text(&journal, "TIMEHANDOFF_DOMAIN_NAME", check->name);
    if (!th_uuid_is_none(&check->uuid)) {
        th_journal_text(&journal, "TIMEHANDOFF_DOMAIN_UUID", th_uuid_format(&check->uuid, uuid));
    }
    th_journal_text(&journal, "TIMEHANDOFF_VERDICT", th_action_name(check->verdict.action));
    th_journal_text(&journal, "TIMEHANDOFF_REASON", th_reason_name(check->verdict.reason));
    th_journal_text(&journal, "TIMEHANDOFF_WOULD_VERDICT", th_action_name(check->would.action));
    th_journal_text(&journal, "TIMEHANDOFF_WOULD_REASON", th_reason_name(check->would.reason));
    th_journal_number(&journal, "TIMEHANDOFF_WARN_NS", check->policy.warn_ns);
    th_journal_number(&journal, "TIMEHANDOFF_BLOCK_NS", check->policy.block_ns);
    th_journal_text(&journal, "TIMEHANDOFF_SOURCE_SYNCHRONISED",
                    th_ternary_name(check->source_synchronised));
    th_journal_text(&journal, "TIMEHANDOFF_DESTINATION_SYNCHRONISED",
                    th_ternary_name(check->destination_synchronised));
    th_journal_number(&journal, "TIMEHANDOFF_TOOK_NS", check->took_ns);
    add_source(&journal, check);
    if (check->has_domain && check->domain.complaint[0]) {
        th_journal_text(&journal, "TIMEHANDOFF_COMPLAINT", check->domain.complaint);
    }
    th_journal_send(&journal, th_report_check_line(check, line));
}
