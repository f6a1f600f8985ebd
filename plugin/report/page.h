/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages for a person, 80 columns wide: a heading of 14 columns with words beside it, and the cells
 * of tables. Text is UTF-8; columns are counted, not bytes.
 */
#ifndef TH_REPORT_PAGE_H
#define TH_REPORT_PAGE_H

#include <stdio.h>

/* Words beside a heading, broken between words; "" under one that was printed before. */
void th_page_paragraph(const char *heading, const char *text, FILE *out);
/* The same, put together as printf would; cut to TH_REPORT_LINE_SIZE. */
void th_page_paragraphf(const char *heading, FILE *out, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A text, cut with a tilde if it is longer than that. Returns the columns it took. */
int th_page_cut(const char *text, int width, FILE *out);
/* The same, filled up with blanks, and one more. */
void th_page_cell(const char *text, int width, FILE *out);

#endif
