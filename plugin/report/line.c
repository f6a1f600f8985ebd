/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Building one line from pieces. libvirt, the journal and a terminal all show lines, and every one
 * of ours is put together here, so that a long domain name can cut a line but not overrun it.
 */
#include "report/line.h"

#include <stdarg.h>
#include <stdio.h>

#include "timehandoff/report.h"

void th_line_init(struct th_line *line, char *text) {
    text[0] = '\0';
    *line = (struct th_line){.text = text, .used = 0};
}

void th_line_add(struct th_line *line, const char *format, ...) {
    va_list arguments;
    int n;

    va_start(arguments, format);
    n = vsnprintf(line->text + line->used, TH_REPORT_LINE_SIZE - line->used, format, arguments);
    va_end(arguments);
    if (n > 0) {
        line->used += (size_t)n;
    }
    if (line->used >= TH_REPORT_LINE_SIZE) {
        line->used = TH_REPORT_LINE_SIZE - 1;
    }
}
