/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One journal record, built field by field and sent in one datagram that never waits.
 */
#ifndef TH_REPORT_JOURNAL_H
#define TH_REPORT_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TH_JOURNAL_SIZE 8192

struct th_journal {
    size_t size;
    bool overflow; /* a field did not fit; the record is sent without it */
    char bytes[TH_JOURNAL_SIZE];
};

/* Opens the way to the journal for as long as the program runs. The first record does that, too. */
void th_journal_open(void);
/* Starts a record: identifier as SYSLOG_IDENTIFIER, priority as in syslog; message_id may be NULL.
 */
void th_journal_begin(struct th_journal *journal, const char *identifier, int priority,
                      const char *message_id);
/* Adds FIELD=value. field: upper case, digits, underscores. value: any text without NUL. */
void th_journal_text(struct th_journal *journal, const char *field, const char *value);
void th_journal_number(struct th_journal *journal, const char *field, int64_t value);
/* One field of a record, read back; value is not terminated and lives as long as the record. */
struct th_journal_field {
    char name[64];
    const char *value;
    size_t value_size;
};

/* Reads the next field; *position is 0 at first. False at the end. */
bool th_journal_next(const struct th_journal *journal, size_t *position,
                     struct th_journal_field *ret_field);
/* Sends it to journald, or the message and nothing else to syslog where journald is not there.
 * Loses it rather than wait. */
void th_journal_send(struct th_journal *journal, const char *message);

#endif
