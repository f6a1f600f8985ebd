/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One handoff, told three ways from one record: a line, a journal record, a JSON document. The
 * numbers are the record's own, so what is read here is what was measured.
 */
#include "timehandoff/report.h"

#include <json-c/json.h>
#include <stdio.h>
#include <syslog.h>

#include "report/journal.h"
#include "report/json.h"
#include "report/line.h"
#include "report/log.h"
#include "report/record_file.h"
#include "timehandoff/duration.h"

static const char *kept_folder;

void th_report_handoff_keep(const char *folder) {
    kept_folder = folder;
}

/* The file is a second best to the journal: it is not worth a word when it cannot be written. */
static void deliver(struct th_journal *journal, const char *line) {
    th_journal_send(journal, line);
    th_report_line(line);
    if (kept_folder) {
        (void)th_record_file_keep(kept_folder, journal, th_now_real_ns());
    }
}

static void format_offset(const struct th_offset *offset, char *text, size_t size) {
    char value[TH_DURATION_TEXT_SIZE], bound[TH_DURATION_TEXT_SIZE];

    snprintf(text, size, "%s%s \u00b1%s", offset->offset_ns > 0 ? "+" : "",
             th_duration_format_within(offset->offset_ns, offset->bound_ns, value),
             th_duration_format(offset->bound_ns, bound));
}

static int64_t took_ns(const struct th_handoff_record *record) {
    return record->right_mono_ns && record->resumed_mono_ns
               ? record->right_mono_ns - record->resumed_mono_ns
               : -1;
}

char *th_report_handoff_line(const struct th_handoff_record *record,
                             char line[TH_REPORT_LINE_SIZE]) {
    char before[96] = "not read", residual[96] = "", took[TH_DURATION_TEXT_SIZE] = "";
    char step[TH_DURATION_TEXT_SIZE];
    struct th_line out;

    th_line_init(&out, line);
    if (record->has_before) {
        format_offset(&record->before, before, sizeof(before));
    }
    if (record->has_residual) {
        format_offset(&record->residual, residual, sizeof(residual));
    }
    if (took_ns(record) >= 0) {
        th_duration_format(took_ns(record), took);
    }
    th_line_add(&out, "timehandoff: guest %s (%s%s%s): %s, clock was %s", record->name,
                th_trigger_name(record->trigger), record->from_host[0] ? " from " : "",
                record->from_host, th_handoff_outcome_name(record->outcome), before);
    if (record->steps) {
        th_line_add(&out, ", stepped %s%s in %u, residual %s", record->stepped_ns > 0 ? "+" : "",
                    th_duration_format(record->stepped_ns, step), record->steps,
                    record->has_residual ? residual : "not known");
    }
    if (took[0]) {
        th_line_add(&out, ", right %s after the event", took);
    }
    if (record->outcome == TH_HANDOFF_REPORTED) {
        th_line_add(&out, "; not stepped: %s", th_decision_name(record->decision));
    }
    if (record->stepped_by_other) {
        th_line_add(&out, "; something else set the clock meanwhile");
    }
    if (record->detail[0]) {
        th_line_add(&out, "; %s", record->detail);
    }
    return line;
}

static int priority_of(const struct th_handoff_record *record) {
    switch (record->outcome) {
    case TH_HANDOFF_FAILED: return LOG_ERR;
    case TH_HANDOFF_IN_DOUBT: /* also a guest that left during a step: the next host sees to it */
    case TH_HANDOFF_IMPROVED:
    case TH_HANDOFF_REPORTED: return LOG_WARNING;
    case TH_HANDOFF_PENDING:
    case TH_HANDOFF_NOT_NEEDED:
    case TH_HANDOFF_STEPPED:
    case TH_HANDOFF_NO_AGENT:
    case TH_HANDOFF_VOID: break;
    }
    return LOG_INFO;
}

static void journal_offset(struct th_journal *journal, const char *field, const char *bound_field,
                           const struct th_offset *offset) {
    th_journal_number(journal, field, offset->offset_ns);
    th_journal_number(journal, bound_field, offset->bound_ns);
}

static void journal_origin(struct th_journal *journal, const struct th_handoff_record *record) {
    if (record->from_host[0]) {
        th_journal_text(journal, "TIMEHANDOFF_SOURCE_HOST", record->from_host);
    }
    if (record->has_gap) {
        th_journal_number(journal, "TIMEHANDOFF_GAP_NS", record->gap.offset_ns);
        th_journal_number(journal, "TIMEHANDOFF_GAP_BOUND_NS", record->gap.bound_ns);
    }
}

void th_report_handoff_journal(const struct th_handoff_record *record) {
    struct th_journal journal;
    char line[TH_REPORT_LINE_SIZE], uuid[TH_UUID_TEXT_SIZE];

    th_journal_begin(&journal, th_report_program(), priority_of(record), TH_MESSAGE_HANDOFF);
    th_journal_text(&journal, "TIMEHANDOFF_DOMAIN_NAME", record->name);
    th_journal_text(&journal, "TIMEHANDOFF_DOMAIN_UUID", th_uuid_format(&record->uuid, uuid));
    th_journal_text(&journal, "TIMEHANDOFF_TRIGGER", th_trigger_name(record->trigger));
    th_journal_text(&journal, "TIMEHANDOFF_OUTCOME", th_handoff_outcome_name(record->outcome));
    th_journal_text(&journal, "TIMEHANDOFF_DECISION", th_decision_name(record->decision));
    journal_origin(&journal, record);
    if (record->has_before) {
        journal_offset(&journal, "TIMEHANDOFF_OFFSET_BEFORE_NS",
                       "TIMEHANDOFF_OFFSET_BEFORE_BOUND_NS", &record->before);
    }
    th_journal_number(&journal, "TIMEHANDOFF_STEPPED_NS", record->stepped_ns);
    th_journal_number(&journal, "TIMEHANDOFF_STEPS", record->steps);
    th_journal_number(&journal, "TIMEHANDOFF_ATTEMPTS", record->attempts);
    if (record->has_residual) {
        journal_offset(&journal, "TIMEHANDOFF_RESIDUAL_NS", "TIMEHANDOFF_RESIDUAL_BOUND_NS",
                       &record->residual);
    }
    if (took_ns(record) >= 0) {
        th_journal_number(&journal, "TIMEHANDOFF_RIGHT_AFTER_NS", took_ns(record));
    }
    th_journal_text(&journal, "TIMEHANDOFF_STEPPED_BY_OTHER",
                    record->stepped_by_other ? "yes" : "no");
    if (record->detail[0]) {
        th_journal_text(&journal, "TIMEHANDOFF_DETAIL", record->detail);
    }
    th_report_handoff_line(record, line);
    deliver(&journal, line);
}

/* The last reading of the handoff itself: what a recheck is compared with. NULL if there was none.
 */
static const struct th_offset *reference(const struct th_handoff_record *record) {
    if (record->has_residual) {
        return &record->residual;
    }
    return record->has_before ? &record->before : NULL;
}

/* Parts per billion between two readings, and how far that may be off. False if they are too close
 * together to say anything. */
static bool drift(const struct th_offset *from, const struct th_offset *to, int64_t *ret_ppb,
                  int64_t *ret_bound_ppb) {
    int64_t ms = (to->at_mono_ns - from->at_mono_ns) / TH_NS_PER_MS;

    if (ms < 1000) {
        return false;
    }
    /* ns/ms is a millionth: a thousand times that is parts per billion. */
    *ret_ppb = (to->offset_ns - from->offset_ns) / ms * 1000;
    *ret_bound_ppb = (to->bound_ns + from->bound_ns) / ms * 1000 + 1000;
    return true;
}

void th_report_recheck_journal(const struct th_handoff_record *record, unsigned index) {
    const struct th_offset *from = reference(record), *to = &record->recheck[index];
    struct th_journal journal;
    struct th_line out;
    char line[TH_REPORT_LINE_SIZE], uuid[TH_UUID_TEXT_SIZE], offset[96];
    int64_t ppb, bound_ppb;

    if (!from) {
        return;
    }
    th_journal_begin(&journal, th_report_program(), LOG_INFO, TH_MESSAGE_RECHECK);
    th_journal_text(&journal, "TIMEHANDOFF_DOMAIN_NAME", record->name);
    th_journal_text(&journal, "TIMEHANDOFF_DOMAIN_UUID", th_uuid_format(&record->uuid, uuid));
    th_journal_text(&journal, "TIMEHANDOFF_TRIGGER", th_trigger_name(record->trigger));
    th_journal_number(&journal, "TIMEHANDOFF_AFTER_NS", to->at_mono_ns - from->at_mono_ns);
    journal_offset(&journal, "TIMEHANDOFF_OFFSET_NS", "TIMEHANDOFF_OFFSET_BOUND_NS", to);
    format_offset(to, offset, sizeof(offset));
    th_line_init(&out, line);
    th_line_add(&out, "timehandoff: guest %s, %lld s after its handoff: clock is %s", record->name,
                (long long)((to->at_mono_ns - from->at_mono_ns) / TH_NS_PER_S), offset);
    if (drift(from, to, &ppb, &bound_ppb)) {
        th_journal_number(&journal, "TIMEHANDOFF_DRIFT_PPB", ppb);
        th_journal_number(&journal, "TIMEHANDOFF_DRIFT_BOUND_PPB", bound_ppb);
        th_line_add(&out, ", drifts %+.1f \u00b1%.1f ppm", (double)ppb / 1000,
                    (double)bound_ppb / 1000);
    }
    deliver(&journal, line);
}

static void json_offset(struct json_object *root, const char *field, const struct th_offset *offset,
                        bool *failed) {
    struct json_object *object = th_json_inside(root, field, failed);

    th_json_number(object, "offset_ns", offset->offset_ns, failed);
    th_json_number(object, "bound_ns", offset->bound_ns, failed);
}

int th_report_handoff_json(const struct th_handoff_record *record, FILE *out) {
    struct json_object *root = json_object_new_object();
    bool failed = !root;

    th_json_text(root, "domain", record->name, &failed);
    th_json_uuid(root, "uuid", &record->uuid, &failed);
    th_json_text(root, "trigger", th_trigger_name(record->trigger), &failed);
    th_json_text(root, "outcome", th_handoff_outcome_name(record->outcome), &failed);
    th_json_text(root, "decision", th_decision_name(record->decision), &failed);
    if (record->has_before) {
        json_offset(root, "before", &record->before, &failed);
    }
    th_json_number(root, "stepped_ns", record->stepped_ns, &failed);
    th_json_number(root, "steps", record->steps, &failed);
    th_json_number(root, "attempts", record->attempts, &failed);
    if (record->has_residual) {
        json_offset(root, "residual", &record->residual, &failed);
    }
    if (took_ns(record) >= 0) {
        th_json_number(root, "right_after_ns", took_ns(record), &failed);
    }
    th_json_flag(root, "stepped_by_other", record->stepped_by_other, &failed);
    if (record->detail[0]) {
        th_json_text(root, "detail", record->detail, &failed);
    }
    return th_json_print(root, &failed, out);
}
