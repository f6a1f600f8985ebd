/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The layout of what people read at a prompt, in one place, so that the status and the dry run look
 * alike and neither breaks a name in the middle of a character.
 */
#include "report/page.h"

#include <stdarg.h>
#include <string.h>

#include "timehandoff/report.h"

#define TEXT_WIDTH 66 /* of what stands beside a heading of 14 */

/* Columns that a text takes: continuation bytes of UTF-8 take none. */
static int columns(const char *text) {
    int n = 0;

    for (; *text; text++) {
        n += ((unsigned char)*text & 0xC0) != 0x80;
    }
    return n;
}

int th_page_cut(const char *text, int width, FILE *out) {
    int n = 0;

    for (const char *c = text; *c; c++) {
        bool begins = ((unsigned char)*c & 0xC0) != 0x80;

        if (begins && n == width - 1 && columns(c) > 1) {
            fputc('~', out);
            n++;
            break;
        }
        fputc(*c, out);
        n += begins;
    }
    return n;
}

void th_page_cell(const char *text, int width, FILE *out) {
    int n = th_page_cut(text, width, out);

    fprintf(out, "%*s", width - n + 1, "");
}

void th_page_paragraph(const char *heading, const char *text, FILE *out) {
    fprintf(out, "%-13s", heading);
    for (int used = 0; *text;) {
        size_t length = strcspn(text, " ");
        char word[400];
        int width;

        snprintf(word, sizeof(word), "%.*s", (int)length, text);
        width = columns(word);
        if (used && used + 1 + width > TEXT_WIDTH) {
            fprintf(out, "\n%-13s", "");
            used = 0;
        }
        fprintf(out, " %s", word);
        used += 1 + width;
        text += length + (text[length] == ' ');
    }
    fputc('\n', out);
}

void th_page_paragraphf(const char *heading, FILE *out, const char *format, ...) {
    char text[TH_REPORT_LINE_SIZE];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    th_page_paragraph(heading, text, out);
}
