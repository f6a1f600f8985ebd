/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One line of text built piece by piece in a buffer of TH_REPORT_LINE_SIZE; what does not fit is
 * cut, never overrun.
 */
#ifndef TH_REPORT_LINE_H
#define TH_REPORT_LINE_H

#include <stddef.h>

struct th_line {
    char *text;
    size_t used;
};

/* Starts an empty line in text, which holds TH_REPORT_LINE_SIZE bytes. */
void th_line_init(struct th_line *line, char *text);
/* Appends as printf would. */
void th_line_add(struct th_line *line, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
