/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The journal record of an alert that begins or ends: a line for people, and every fact as a field
 * of its own, so that a log shipper can forward what `TIMEHANDOFF_ALERT_STATE=set` finds.
 */
#include "timehandoff/report.h"

#include <string.h>
#include <syslog.h>

#include "report/journal.h"
#include "report/line.h"
#include "report/log.h"

char *th_report_alert_line(const struct th_alert *alert, bool set, char text[TH_REPORT_LINE_SIZE]) {
    struct th_line line;

    th_line_init(&line, text);
    th_line_add(&line, "timehandoff: alert %s %s: %s", th_alert_kind_name(alert->kind),
                set ? "set" : "cleared", alert->reason);
    return text;
}

void th_report_alert_journal(const struct th_alert *alert, bool set) {
    struct th_journal journal;
    char line[TH_REPORT_LINE_SIZE];

    th_journal_begin(&journal, th_report_program(), set ? LOG_WARNING : LOG_NOTICE,
                     TH_MESSAGE_ALERT);
    th_journal_text(&journal, "TIMEHANDOFF_ALERT", th_alert_kind_name(alert->kind));
    th_journal_text(&journal, "TIMEHANDOFF_ALERT_STATE", set ? "set" : "clear");
    th_journal_number(&journal, "TIMEHANDOFF_ALERT_SINCE_NS", alert->since_real_ns);
    if (alert->peer[0]) {
        th_journal_text(&journal, "TIMEHANDOFF_PEER", alert->peer);
    }
    if (alert->has_gap) {
        th_journal_number(&journal, "TIMEHANDOFF_GAP_NS", alert->gap.offset_ns);
        th_journal_number(&journal, "TIMEHANDOFF_GAP_BOUND_NS", alert->gap.bound_ns);
        th_journal_number(&journal, "TIMEHANDOFF_LIMIT_NS", alert->limit_ns);
    }
    th_journal_send(&journal, th_report_alert_line(alert, set, line));
    th_report_line(line);
}
