/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The systemd journal, from its end backward. libsystemd is loaded here and not linked, since the
 * checker, which is the same program, has no use for it and a migration would wait for it; the
 * types of the table are those of its own header, so a wrong call still fails to compile.
 */
#include "cli/journal_reader.h"

#include <dlfcn.h>
#include <errno.h>
#include <json-c/json.h>
#include <pwd.h>
#include <stdarg.h>
#include <string.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "build-config.h"
#include "report/history_record.h"
#include "timehandoff/base.h"

#define LIBRARY "libsystemd.so.0"
/* Of one field; ours are shorter, and others would only be cut later. */
#define FIELD_MAX 2048
#define NAME_SIZE 64
/* Who the checker is where our own user is missing, see base/privilege.c. */
#define NOBODY 65534

#define FUNCTIONS(X)                                                                               \
    X(sd_journal_open)                                                                             \
    X(sd_journal_open_directory)                                                                   \
    X(sd_journal_close)                                                                            \
    X(sd_journal_get_usage)                                                                        \
    X(sd_journal_set_data_threshold)                                                               \
    X(sd_journal_add_match)                                                                        \
    X(sd_journal_seek_tail)                                                                        \
    X(sd_journal_previous)                                                                         \
    X(sd_journal_get_realtime_usec)                                                                \
    X(sd_journal_restart_data)                                                                     \
    X(sd_journal_enumerate_data)

#define MEMBER(name) __typeof__(name) *name;

struct reader {
    FUNCTIONS(MEMBER)
    sd_journal *journal;
    bool damaged;
};

static void reader_deinit(struct reader *reader) {
    if (reader->journal) {
        reader->sd_journal_close(reader->journal);
    }
}

#define auto_reader __attribute__((cleanup(reader_deinit)))

__attribute__((format(printf, 3, 4))) static void explain(char *ret_error, size_t error_size,
                                                          const char *format, ...) {
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(ret_error, error_size, format, arguments);
    va_end(arguments);
}

/* Fills the table. Returns NULL, or the name of a function that is missing. */
static const char *fill(struct reader *reader, void *library) {
    void *symbol;

#define FIND(name)                                                                                 \
    symbol = dlsym(library, #name);                                                                \
    if (!symbol) {                                                                                 \
        return #name;                                                                              \
    }                                                                                              \
    memcpy(&reader->name, &symbol, sizeof(symbol));
    FUNCTIONS(FIND)
#undef FIND
    return NULL;
}

static int load(struct reader *reader, char *ret_error, size_t error_size) {
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    const char *missing;

    if (!library) {
        explain(ret_error, error_size, "libsystemd is not installed: %s", dlerror());
        return -ENOENT;
    }
    missing = fill(reader, library);
    if (missing) {
        explain(ret_error, error_size, "this libsystemd is too old: it has no %s", missing);
        return -ENOSYS;
    }
    return 0;
}

/* ---- which records ---- */

/* Matches of one field are alternatives, those of different fields must all hold. */
static int match(struct reader *reader, const char *field, const char *value) {
    char text[400];

    snprintf(text, sizeof(text), "%s=%s", field, value);
    return reader->sd_journal_add_match(reader->journal, text, 0);
}

static int match_user(struct reader *reader, uid_t uid) {
    char text[24];

    snprintf(text, sizeof(text), "%lu", (unsigned long)uid);
    return match(reader, "_UID", text);
}

static int match_query(struct reader *reader, const struct th_history_query *query) {
    int r = 0;

    for (size_t i = 0; r >= 0 && th_history_record_message_id(i); i++) {
        r = match(reader, "MESSAGE_ID", th_history_record_message_id(i));
    }
    return r >= 0 && query->domain ? match(reader, "TIMEHANDOFF_DOMAIN_NAME", query->domain) : r;
}

static int match_own(struct reader *reader) {
    const struct passwd *user = getpwnam(TH_USER);
    int r = match_user(reader, 0);

    return r >= 0 ? match_user(reader, user ? user->pw_uid : NOBODY) : r;
}

/* ---- reading ---- */

static uint64_t usage(const struct reader *reader) {
    uint64_t bytes = 0;

    return reader->sd_journal_get_usage(reader->journal, &bytes) < 0 ? 0 : bytes;
}

static int open_journal(struct reader *reader, const char *directory, char *ret_error,
                        size_t error_size) {
    int r = directory ? reader->sd_journal_open_directory(&reader->journal, directory, 0)
                      : reader->sd_journal_open(&reader->journal,
                                                SD_JOURNAL_LOCAL_ONLY | SD_JOURNAL_SYSTEM);

    if (r < 0) {
        reader->journal = NULL;
        explain(ret_error, error_size, "%s", strerror(-r));
        return r;
    }
    /* Files that may not be read, or are none, are left out without a word. */
    if (usage(reader)) {
        return 0;
    }
    if (!directory && geteuid() != 0) {
        explain(ret_error, error_size, "none that this user may read; run it as root");
        return -EACCES;
    }
    explain(ret_error, error_size, "there is none%s", directory ? " that can be read" : "");
    return -ENOENT;
}

/* The field that data is, "NAME=value", into the record; a name that is too long is none of ours.
 */
static int add_field(struct json_object *record, const char *data, size_t size) {
    const char *equals = memchr(data, '=', size);
    size_t name_size = equals ? (size_t)(equals - data) : size;
    char name[NAME_SIZE];

    if (!equals || name_size >= sizeof(name)) {
        return 0;
    }
    memcpy(name, data, name_size);
    name[name_size] = '\0';
    return th_history_record_add(record, name, equals + 1, size - name_size - 1);
}

/* The record at which the reader is; NULL if it is too old to be looked at. */
static int read_record(struct reader *reader, int64_t since_real_ns,
                       struct json_object **ret_record) {
    struct json_object *record;
    uint64_t real_us = 0;
    const void *data;
    size_t size;
    int r = reader->sd_journal_get_realtime_usec(reader->journal, &real_us);

    if (r < 0 || real_us > INT64_MAX / TH_NS_PER_US) {
        return -EBADMSG;
    }
    if ((int64_t)real_us * TH_NS_PER_US < since_real_ns) {
        *ret_record = NULL;
        return 0;
    }
    record = th_history_record_new((int64_t)real_us * TH_NS_PER_US);
    if (!record) {
        return -ENOMEM;
    }
    reader->sd_journal_restart_data(reader->journal);
    while ((r = reader->sd_journal_enumerate_data(reader->journal, &data, &size)) > 0) {
        r = add_field(record, data, size);
        if (r < 0) {
            json_object_put(record);
            return r;
        }
    }
    reader->damaged = reader->damaged || r < 0;
    *ret_record = record;
    return 0;
}

/* The clock may have been set back between two records, so an old one is no sign that all before it
 * are older still: only the limit ends the reading. */
static int read_back(struct reader *reader, struct th_history *history) {
    bool more = true;
    int r = reader->sd_journal_seek_tail(reader->journal);

    while (more && r >= 0) {
        struct json_object *record = NULL;

        r = reader->sd_journal_previous(reader->journal);
        if (r <= 0) {
            break;
        }
        r = read_record(reader, history->query.since_real_ns, &record);
        if (r == -EBADMSG) {
            reader->damaged = true;
            r = 0;
            continue;
        }
        if (r == 0) {
            more = th_history_add_older(history, record);
        }
    }
    return r;
}

int th_journal_reader_read(const char *directory, struct th_history *history, bool *ret_damaged,
                           char *ret_error, size_t error_size) {
    auto_reader struct reader reader = {.journal = NULL};
    uint64_t before;
    int r = load(&reader, ret_error, error_size);

    r = r < 0 ? r : open_journal(&reader, directory, ret_error, error_size);
    if (r < 0) {
        return r;
    }
    before = usage(&reader);
    (void)reader.sd_journal_set_data_threshold(reader.journal, FIELD_MAX);
    r = match_query(&reader, &history->query);
    if (r >= 0 && !directory) {
        r = match_own(&reader);
    }
    r = r < 0 ? r : read_back(&reader, history);
    if (r == -ENOMEM) {
        explain(ret_error, error_size, "%s", strerror(-r));
        return r;
    }
    /* A file that turns out to be broken is silently let go of, which shows in the sum. */
    *ret_damaged = reader.damaged || r < 0 || usage(&reader) < before;
    return 0;
}
