/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Plain lines for the operator: to the journal with an id, and to a stream where somebody is
 * looking. Every program says its name once, at the start.
 */
#include "timehandoff/report.h"

#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include "report/journal.h"
#include "report/log.h"

static const char *program_name = "timehandoff";
static FILE *text_stream;

void th_report_init(const char *program, FILE *text) {
    program_name = program;
    text_stream = text;
    th_journal_open();
}

const char *th_report_program(void) {
    return program_name;
}

void th_report_line(const char *line) {
    if (text_stream) {
        fprintf(text_stream, "%s\n", line);
        fflush(text_stream);
    }
}

__attribute__((format(printf, 4, 0))) static void send_line(int priority, const char *message_id,
                                                            const char *domain, const char *format,
                                                            va_list arguments) {
    char line[TH_REPORT_LINE_SIZE];
    struct th_journal journal;

    vsnprintf(line, sizeof(line), format, arguments);
    th_journal_begin(&journal, program_name, priority, message_id);
    if (domain) {
        th_journal_text(&journal, "TIMEHANDOFF_DOMAIN_NAME", domain);
    }
    th_journal_send(&journal, line);
    th_report_line(line);
}

void th_report(int priority, const char *message_id, const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    send_line(priority, message_id, NULL, format, arguments);
    va_end(arguments);
}

void th_report_domain(int priority, const char *message_id, const char *domain, const char *format,
                      ...) {
    va_list arguments;

    va_start(arguments, format);
    send_line(priority, message_id, domain, format, arguments);
    va_end(arguments);
}
