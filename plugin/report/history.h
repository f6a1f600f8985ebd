/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The last records of the past that somebody asked for, oldest first, whatever they were read from.
 */
#ifndef TH_REPORT_HISTORY_H
#define TH_REPORT_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct json_object;

/* What is looked for. */
struct th_history_query {
    const char *domain;    /* only records about the domain of this name; NULL: all */
    int64_t since_real_ns; /* none older than this, on the wall clock */
    size_t max;            /* no more than so many, the newest; at least 1 */
};

struct th_history {
    struct th_history_query query;
    struct json_object **records;
    size_t count;
};

/* Empty; the query's domain must outlive it. 0 or -ENOMEM. */
int th_history_init(struct th_history *history, const struct th_history_query *query);
void th_history_deinit(struct th_history *history);
#define th_auto_history __attribute__((cleanup(th_history_deinit)))

/* Both take the record over, and free it if the query does not want it or it is not whole. They
 * are for sources that go back in time (false: full, read no further) and forth (the oldest goes
 * when it is full). */
bool th_history_add_older(struct th_history *history, struct json_object *record);
void th_history_add_newer(struct th_history *history, struct json_object *record);
/* The same for lines of JSON, oldest first; those that are no records are passed over. */
void th_history_add_lines(struct th_history *history, const char *text, size_t size);

/* A line a record. */
void th_history_print_text(const struct th_history *history, FILE *out);
/* One JSON array. 0, -ENOMEM or -EIO. */
int th_history_print_json(const struct th_history *history, FILE *out);

#endif
