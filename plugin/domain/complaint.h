/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One line for people that says what was ignored and why, gathered while hostile input is read. It
 * is cut where its buffer ends, and whatever it quotes is cleaned first.
 */
#ifndef TIMEHANDOFF_DOMAIN_COMPLAINT_H
#define TIMEHANDOFF_DOMAIN_COMPLAINT_H

#include <stddef.h>

/* A borrowed buffer of size bytes that holds a NUL-terminated text. */
struct th_complaint {
    char *text;
    size_t size;
};

/* Appends one clause, after "; " if there is one already. Clauses that don't fit are cut. */
__attribute__((format(printf, 2, 3))) void th_complaint_add(struct th_complaint *complaint,
                                                            const char *format, ...);

#endif
