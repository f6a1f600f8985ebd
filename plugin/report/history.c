/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A list of past records with a limit. The journal is read backward from its end, the daemon's file
 * forward from its beginning; either way the caller may rely on having the newest ones that fit the
 * query, oldest first, and on no more memory than those take.
 */
#include "report/history.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>

#include "report/history_record.h"
#include "report/json.h"

int th_history_init(struct th_history *history, const struct th_history_query *query) {
    struct json_object **records = calloc(query->max, sizeof(struct json_object *));

    if (!records) {
        return -ENOMEM;
    }
    *history = (struct th_history){.query = *query, .records = records};
    return 0;
}

void th_history_deinit(struct th_history *history) {
    for (size_t i = 0; i < history->count; i++) {
        json_object_put(history->records[i]);
    }
    free(history->records);
    *history = (struct th_history){.records = NULL};
}

static bool is_wanted(const struct th_history_query *query, const struct json_object *record) {
    return record && th_history_record_is_whole(record) &&
           th_history_record_time_ns(record) >= query->since_real_ns &&
           (!query->domain || strcmp(th_history_record_domain(record), query->domain) == 0);
}

bool th_history_add_older(struct th_history *history, struct json_object *record) {
    if (history->count == history->query.max || !is_wanted(&history->query, record)) {
        json_object_put(record);
    } else {
        memmove(history->records + 1, history->records,
                history->count * sizeof(history->records[0]));
        history->records[0] = record;
        history->count++;
    }
    return history->count < history->query.max;
}

void th_history_add_newer(struct th_history *history, struct json_object *record) {
    if (!is_wanted(&history->query, record)) {
        json_object_put(record);
        return;
    }
    if (history->count == history->query.max) {
        json_object_put(history->records[0]);
        history->count--;
        memmove(history->records, history->records + 1,
                history->count * sizeof(history->records[0]));
    }
    history->records[history->count++] = record;
}

void th_history_add_lines(struct th_history *history, const char *text, size_t size) {
    while (size) {
        const char *end = memchr(text, '\n', size);
        size_t length = end ? (size_t)(end - text) : size;
        size_t used = end ? length + 1 : length;

        th_history_add_newer(history, th_history_record_parse(text, length));
        text += used;
        size -= used;
    }
}

void th_history_print_text(const struct th_history *history, FILE *out) {
    for (size_t i = 0; i < history->count; i++) {
        th_history_record_print(history->records[i], out);
    }
}

int th_history_print_json(const struct th_history *history, FILE *out) {
    struct json_object *array = json_object_new_array();
    bool failed = !array;

    for (size_t i = 0; i < history->count && !failed; i++) {
        failed = json_object_array_add(array, json_object_get(history->records[i])) < 0;
        if (failed) {
            json_object_put(history->records[i]);
        }
    }
    return th_json_print(array, &failed, out);
}
