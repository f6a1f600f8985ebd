/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one place that speaks to people and machines: lines of text, JSON documents and journal
 * records made from the same structures, with the same fixed names.
 */
#ifndef TIMEHANDOFF_REPORT_H
#define TIMEHANDOFF_REPORT_H

#include <stdarg.h>

#include "timehandoff/check.h"
#include "timehandoff/handoff.h"
#include "timehandoff/status.h"

#define TH_REPORT_LINE_SIZE 1024

/* The checker's exit status that, together with its line, means block. */
#define TH_EXIT_BLOCK 86

/* ---- log ---- */

/* Message ids, see docs/timehandoff.catalog. */
#define TH_MESSAGE_VERDICT "afe8100e7f144f3c78a3a5f1614874a4"
#define TH_MESSAGE_HANDOFF "b50a2fdfa4b6eefaaf8e046e0108abb8"
#define TH_MESSAGE_RECHECK "1c97dcdb1818c62fdbaaac44c5fdc683"
#define TH_MESSAGE_OVERRIDE "ef400fc88fc4cab6b456656dd1b7d12e"
#define TH_MESSAGE_SERVICE "00095d953600b80179fe2074a569e2d5"
#define TH_MESSAGE_STAMP "dbe701162e890dbffcaf88321c16226e"
#define TH_MESSAGE_ALERT "6ed4cce4d7f298ff8c6dc7c96a0c3491"
/* Sent by the guard, which includes nothing of ours; here to read it back. */
#define TH_MESSAGE_CHECK_FAILED "dd99b5875ce698a965fa36df4bcc2532"

/* Names the program in every record; text: also print lines there (NULL: journal only). */
void th_report_init(const char *program, FILE *text);

/* One record: priority as in syslog (LOG_ERR, …), a message id or NULL, a line as in printf. Never
 * fails, never blocks. */
void th_report(int priority, const char *message_id, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same about one domain, whose name goes into a field of its own. */
void th_report_domain(int priority, const char *message_id, const char *domain, const char *format,
                      ...) __attribute__((format(printf, 4, 5)));

/* ---- migrations ---- */

/* The verdict in one line, without a newline: "timehandoff: blocked migration of web1: …". What is
 * wrong, where, with numbers, and what to do. Returns line. */
char *th_report_check_line(const struct th_check *check, char line[TH_REPORT_LINE_SIZE]);
/* The journal record of a verdict, with TIMEHANDOFF_* fields. */
void th_report_check_journal(const struct th_check *check);

/* ---- measurements ---- */

void th_report_measure_text(const char *host, const struct sockaddr_storage *address,
                            const struct th_probe_result *result, FILE *out);
int th_report_measure_json(const char *host, const struct sockaddr_storage *address,
                           const struct th_probe_result *result, FILE *out);

/* ---- handoffs ---- */

/* "web1: stepped +3.021 s after migration from hv1, residual +0.12 ms ±0.41 ms …". Returns line. */
char *th_report_handoff_line(const struct th_handoff_record *record,
                             char line[TH_REPORT_LINE_SIZE]);
void th_report_handoff_journal(const struct th_handoff_record *record);
/* One look after a handoff: how far the clock is, and how fast it drifts. */
void th_report_recheck_journal(const struct th_handoff_record *record, unsigned index);
/* From now on both records are also added to the file `history` in this folder, which only one
 * process may do: for hosts without a journal. folder is kept, not copied; NULL: no longer. */
void th_report_handoff_keep(const char *folder);
int th_report_handoff_json(const struct th_handoff_record *record, FILE *out);

/* ---- alerts and status ---- */

/* "timehandoff: alert gap set: hv2 is 1.0 s ahead …". Returns line. */
char *th_report_alert_line(const struct th_alert *alert, bool set, char line[TH_REPORT_LINE_SIZE]);
void th_report_alert_journal(const struct th_alert *alert, bool set);
/* A page for a person, 80 columns wide. */
void th_report_status_text(const struct th_status *status, FILE *out);
int th_report_status_json(const struct th_status *status, FILE *out);
/* Metrics in Prometheus' text format; and the same into a file, replaced in one step (0 or negative
 * errno). */
void th_report_metrics(const struct th_status *status, FILE *out);
int th_report_metrics_write(const struct th_status *status, const char *path);

#endif
