/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One record of the past as a JSON object, the same whether it was read back from the journal or
 * from the daemon's own file:
 *
 *   time_ns  when it was logged: wall clock, nanoseconds since 1970
 *   kind     verdict, handoff, recheck, override or check-failed
 *   domain   name, if it is about one
 *   uuid     of the domain, if known
 *   message  the line for people
 *   uid      of who logged it, where the journal says so
 *
 * and the record's other fields, in lower case without their prefix: numbers as numbers, yes and no
 * where nothing else can be as true and false, all else as text fit to be shown.
 */
#ifndef TH_REPORT_HISTORY_RECORD_H
#define TH_REPORT_HISTORY_RECORD_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "report/journal.h"

struct json_object;

/* The message id of the n-th kind, from 0; NULL after the last. */
const char *th_history_record_message_id(size_t n);

/* An empty record. Free with json_object_put(). NULL when out of memory. */
struct json_object *th_history_record_new(int64_t time_ns);
/* Adds a field under its name in the journal. value: any bytes, not terminated; what cannot be
 * shown becomes '?', and what is over 1023 bytes is cut. A field that is not ours, comes a second
 * time, or ought to be a number and is none, is left out. 0 or -ENOMEM. */
int th_history_record_add(struct json_object *record, const char *name, const void *value,
                          size_t value_size);
/* All of a journal record that was or is about to be sent. NULL when out of memory. */
struct json_object *th_history_record_from_journal(const struct th_journal *journal,
                                                   int64_t time_ns);
/* Reads one line of JSON, size bytes of it. NULL if that is no record. */
struct json_object *th_history_record_parse(const char *line, size_t size);

/* Whether it has a time, a kind that we know, and a message. */
bool th_history_record_is_whole(const struct json_object *record);
int64_t th_history_record_time_ns(const struct json_object *record);
/* The domain's name; "" if it is about none. Lives as long as the record. */
const char *th_history_record_domain(const struct json_object *record);
/* One line for people, with its newline: local time, domain or "-", the record's own words. */
void th_history_record_print(const struct json_object *record, FILE *out);

#endif
