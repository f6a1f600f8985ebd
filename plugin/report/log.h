/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the records of this room share: the program's name and the stream for lines of text.
 */
#ifndef TH_REPORT_LOG_H
#define TH_REPORT_LOG_H

/* As given to th_report_init. */
const char *th_report_program(void);
/* Prints a line on the text stream, if there is one. */
void th_report_line(const char *line);

#endif
