/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Gathers complaints about input into one bounded line. The caller may add as many as there are:
 * nothing fails, the first ones are kept, and the text is always printable and terminated.
 */
#include "domain/complaint.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "timehandoff/base.h"

void th_complaint_add(struct th_complaint *complaint, const char *format, ...) {
    char raw[256];
    char clause[256];
    size_t used = strlen(complaint->text);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(raw, sizeof(raw), format, arguments);
    va_end(arguments);
    th_text_clean(raw, clause, sizeof(clause));
    if (used > 0 && used + 2 < complaint->size) {
        memcpy(complaint->text + used, "; ", 3);
        used += 2;
    }
    if (used + 1 < complaint->size) {
        th_text_clean(clause, complaint->text + used, complaint->size - used);
    }
}
