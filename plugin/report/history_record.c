/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Journal fields into JSON and lines. The journal keeps everything as bytes under upper-case names;
 * programs want stable names with units and numbers that are numbers, people want a line. Whoever
 * can log can put anything into a field, and a journal file may come from anywhere: nothing is
 * taken over unless it is valid, printable and of the type that its name promises.
 */
#include "report/history_record.h"

#include <ctype.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "timehandoff/report.h"

#define PREFIX "TIMEHANDOFF_"
#define LINE_PREFIX "timehandoff: "
#define NAME_SIZE 64
#define VALUE_SIZE 1024
/* Ours have 25; more is somebody's attempt to fill memory. */
#define MAX_FIELDS 64
#define PARSE_DEPTH 3

enum type { TYPE_TEXT = 0, TYPE_NUMBER, TYPE_FLAG };

static const struct {
    const char *message_id;
    const char *name;
} kinds[] = {
    {TH_MESSAGE_VERDICT, "verdict"},           {TH_MESSAGE_HANDOFF, "handoff"},
    {TH_MESSAGE_RECHECK, "recheck"},           {TH_MESSAGE_OVERRIDE, "override"},
    {TH_MESSAGE_CHECK_FAILED, "check-failed"},
};

/* Fields of ours whose names here are not just the lower-case ones, and of others. */
static const struct {
    const char *journal;
    const char *name;
    enum type type;
} renamed[] = {
    {PREFIX "DOMAIN_NAME", "domain", TYPE_TEXT},
    {PREFIX "DOMAIN_UUID", "uuid", TYPE_TEXT},
    {"MESSAGE", "message", TYPE_TEXT},
    {"_UID", "uid", TYPE_NUMBER},
};

/* What only this file gives out: no field of a record may pass for it. */
static const char *const reserved[] = {"time_ns", "kind", "domain", "uuid", "message", "uid"};

const char *th_history_record_message_id(size_t n) {
    return n < TH_ELEMENTS(kinds) ? kinds[n].message_id : NULL;
}

struct json_object *th_history_record_new(int64_t time_ns) {
    struct json_object *record = json_object_new_object();
    struct json_object *time = json_object_new_int64(time_ns);

    if (!record || !time || json_object_object_add(record, "time_ns", time) < 0) {
        json_object_put(time);
        json_object_put(record);
        return NULL;
    }
    return record;
}

/* ---- one field ---- */

static bool ends_with(const char *name, const char *end) {
    size_t name_size = strlen(name), end_size = strlen(end);

    return name_size > end_size && strcmp(name + name_size - end_size, end) == 0;
}

/* Units in names tell the type: a field that a later version adds is typed rightly too. */
static enum type type_of(const char *name) {
    if (ends_with(name, "_ns") || ends_with(name, "_ppb") || strcmp(name, "steps") == 0 ||
        strcmp(name, "attempts") == 0) {
        return TYPE_NUMBER;
    }
    /* As in the other documents; `synchronised` has a third value and stays text. */
    return strcmp(name, "authenticated") == 0 || strcmp(name, "stepped_by_other") == 0 ? TYPE_FLAG
                                                                                       : TYPE_TEXT;
}

/* The name of one of our own fields: lower case, without the prefix. False if it is none. */
static bool own_name(const char *journal_name, char ret_name[NAME_SIZE]) {
    const char *from = journal_name + strlen(PREFIX);
    char name[NAME_SIZE] = "";

    if (strncmp(journal_name, PREFIX, strlen(PREFIX)) != 0 || !*from ||
        strlen(from) >= sizeof(name)) {
        return false;
    }
    for (size_t i = 0; from[i]; i++) {
        if (!isupper((unsigned char)from[i]) && !isdigit((unsigned char)from[i]) &&
            from[i] != '_') {
            return false;
        }
        name[i] = (char)tolower((unsigned char)from[i]);
    }
    for (size_t i = 0; i < TH_ELEMENTS(reserved); i++) {
        if (strcmp(name, reserved[i]) == 0) {
            return false;
        }
    }
    memcpy(ret_name, name, sizeof(name));
    return true;
}

/* Out of memory and "no such value" are told apart: NULL with *ret_failed, NULL without. */
static struct json_object *value_of(enum type type, const char *text, bool *ret_failed) {
    struct json_object *value = NULL;
    char *end = NULL;
    long long number;

    switch (type) {
    case TYPE_TEXT: value = json_object_new_string(text); break;
    case TYPE_FLAG:
        if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0) {
            return NULL;
        }
        value = json_object_new_boolean(strcmp(text, "yes") == 0);
        break;
    case TYPE_NUMBER:
        errno = 0;
        number = strtoll(text, &end, 10);
        if (errno || end == text || *end || isspace((unsigned char)text[0]) || text[0] == '+') {
            return NULL;
        }
        value = json_object_new_int64(number);
        break;
    }
    *ret_failed = !value;
    return value;
}

static int add(struct json_object *record, const char *name, enum type type, const char *text) {
    struct json_object *value;
    bool failed = false;

    if (json_object_object_get_ex(record, name, NULL) ||
        json_object_object_length(record) >= MAX_FIELDS) {
        return 0;
    }
    value = value_of(type, text, &failed);
    if (failed) {
        return -ENOMEM;
    }
    if (value && json_object_object_add(record, name, value) < 0) {
        json_object_put(value);
        return -ENOMEM;
    }
    return 0;
}

static int add_kind(struct json_object *record, const char *message_id) {
    for (size_t i = 0; i < TH_ELEMENTS(kinds); i++) {
        if (strcmp(message_id, kinds[i].message_id) == 0) {
            return add(record, "kind", TYPE_TEXT, kinds[i].name);
        }
    }
    return 0;
}

int th_history_record_add(struct json_object *record, const char *name, const void *value,
                          size_t value_size) {
    char raw[VALUE_SIZE], text[VALUE_SIZE], own[NAME_SIZE];

    /* Cut by length only here, so that a NUL inside ends the text for good. */
    snprintf(raw, sizeof(raw), "%.*s", (int)(value_size < sizeof(raw) ? value_size : sizeof(raw)),
             value_size ? (const char *)value : "");
    th_text_clean(raw, text, sizeof(text));
    if (strcmp(name, "MESSAGE_ID") == 0) {
        return add_kind(record, text);
    }
    for (size_t i = 0; i < TH_ELEMENTS(renamed); i++) {
        if (strcmp(name, renamed[i].journal) == 0) {
            return add(record, renamed[i].name, renamed[i].type, text);
        }
    }
    return own_name(name, own) ? add(record, own, type_of(own), text) : 0;
}

/* ---- whole records ---- */

struct json_object *th_history_record_from_journal(const struct th_journal *journal,
                                                   int64_t time_ns) {
    struct json_object *record = th_history_record_new(time_ns);
    struct th_journal_field field;
    size_t position = 0;

    while (record && th_journal_next(journal, &position, &field)) {
        if (th_history_record_add(record, field.name, field.value, field.value_size) < 0) {
            json_object_put(record);
            return NULL;
        }
    }
    return record;
}

struct json_object *th_history_record_parse(const char *line, size_t size) {
    struct json_tokener *tokener = json_tokener_new_ex(PARSE_DEPTH);
    struct json_object *record = NULL;

    if (tokener && size < INT32_MAX) {
        /* Not JSON_TOKENER_STRICT: with it json-c 0.18 (Debian 13) takes no letter beyond ASCII.
         * Without it a record may be spelt loosely, as in 'x' for "x"; ours are not. */
        json_tokener_set_flags(tokener, JSON_TOKENER_VALIDATE_UTF8);
        record = json_tokener_parse_ex(tokener, line, (int)size);
        /* Something behind the end is as wrong as something missing before it. */
        if (json_tokener_get_error(tokener) != json_tokener_success ||
            json_tokener_get_parse_end(tokener) != size || !th_history_record_is_whole(record)) {
            json_object_put(record);
            record = NULL;
        }
    }
    if (tokener) {
        json_tokener_free(tokener);
    }
    return record;
}

/* The value of a field that is text; "" if there is none. */
static const char *text_of(const struct json_object *record, const char *field) {
    struct json_object *value = NULL;

    if (!json_object_object_get_ex(record, field, &value) ||
        !json_object_is_type(value, json_type_string)) {
        return "";
    }
    return json_object_get_string(value);
}

bool th_history_record_is_whole(const struct json_object *record) {
    struct json_object *time = NULL;
    const char *kind;

    if (!json_object_is_type(record, json_type_object) ||
        !json_object_object_get_ex(record, "time_ns", &time) ||
        !json_object_is_type(time, json_type_int) || !text_of(record, "message")[0]) {
        return false;
    }
    kind = text_of(record, "kind");
    for (size_t i = 0; i < TH_ELEMENTS(kinds); i++) {
        if (strcmp(kind, kinds[i].name) == 0) {
            return true;
        }
    }
    return false;
}

int64_t th_history_record_time_ns(const struct json_object *record) {
    struct json_object *time = NULL;

    json_object_object_get_ex(record, "time_ns", &time);
    return json_object_get_int64(time);
}

const char *th_history_record_domain(const struct json_object *record) {
    return text_of(record, "domain");
}

void th_history_record_print(const struct json_object *record, FILE *out) {
    time_t seconds = (time_t)(th_history_record_time_ns(record) / TH_NS_PER_S);
    char time[64] = "?", domain[256], words[VALUE_SIZE];
    struct tm parts;
    size_t skip;

    if (localtime_r(&seconds, &parts)) {
        strftime(time, sizeof(time), "%Y-%m-%d %H:%M:%S", &parts);
    }
    /* Cleaned once more: what was read from a file did not come through this one. */
    th_text_clean(th_history_record_domain(record), domain, sizeof(domain));
    th_text_clean(text_of(record, "message"), words, sizeof(words));
    skip = strncmp(words, LINE_PREFIX, strlen(LINE_PREFIX)) == 0 ? strlen(LINE_PREFIX) : 0;
    fprintf(out, "%s %s %s\n", time, domain[0] ? domain : "-", words + skip);
}
