/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The status file: what `timehandoff status` shows without a bus and without privilege, and what a
 * daemon that starts takes over, so that alerts which were set before a restart are not told twice.
 * It is written by root and read by everybody, and checked like every other state file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/state_field.h"
#include "config/state_reader.h"
#include "config/state_writer.h"
#include "timehandoff/status.h"

static const struct th_state_field host_fields[] = {
    TH_STATE_FIELD(struct th_status_host, name, "name", TH_STATE_TEXT),
    TH_STATE_SYNC(struct th_status_host, sync),
    TH_STATE_FIELD(struct th_status_host, has_ntp_servers, "has-ntp-servers", TH_STATE_BOOL),
    TH_STATE_FIELD(struct th_status_host, ntp_servers, "ntp-servers", TH_STATE_TEXT),
};

static const struct th_state_field alert_fields[] = {
    TH_STATE_FIELD(struct th_alert, peer, "peer", TH_STATE_TEXT),
    TH_STATE_NUMBER(struct th_alert, since_real_ns, "since-real-ns", TH_STATE_INT64, 0, INT64_MAX),
    TH_STATE_FIELD(struct th_alert, reason, "reason", TH_STATE_TEXT),
    TH_STATE_FIELD(struct th_alert, has_gap, "has-gap", TH_STATE_BOOL),
    TH_STATE_NUMBER(struct th_alert, gap.offset_ns, "offset-ns", TH_STATE_INT64, INT64_MIN,
                    INT64_MAX),
    TH_STATE_NUMBER(struct th_alert, gap.bound_ns, "bound-ns", TH_STATE_INT64, 0, INT64_MAX),
    TH_STATE_NUMBER(struct th_alert, limit_ns, "limit-ns", TH_STATE_INT64, 0, INT64_MAX),
};

static const struct th_state_field handoff_fields[] = {
    TH_STATE_FIELD(struct th_status_handoff, uuid, "uuid", TH_STATE_UUID),
    TH_STATE_FIELD(struct th_status_handoff, domain, "domain", TH_STATE_TEXT),
    TH_STATE_FIELD(struct th_status_handoff, trigger, "trigger", TH_STATE_TEXT),
    TH_STATE_FIELD(struct th_status_handoff, outcome, "outcome", TH_STATE_TEXT),
    TH_STATE_FIELD(struct th_status_handoff, from_host, "from-host", TH_STATE_TEXT),
    TH_STATE_NUMBER(struct th_status_handoff, ended_real_ns, "ended-real-ns", TH_STATE_INT64, 0,
                    INT64_MAX),
    TH_STATE_FIELD(struct th_status_handoff, has_before, "has-before", TH_STATE_BOOL),
    TH_STATE_NUMBER(struct th_status_handoff, before_ns, "before-ns", TH_STATE_INT64, INT64_MIN,
                    INT64_MAX),
    TH_STATE_NUMBER(struct th_status_handoff, before_bound_ns, "before-bound-ns", TH_STATE_INT64, 0,
                    INT64_MAX),
    TH_STATE_NUMBER(struct th_status_handoff, stepped_ns, "stepped-ns", TH_STATE_INT64, INT64_MIN,
                    INT64_MAX),
    TH_STATE_FIELD(struct th_status_handoff, has_residual, "has-residual", TH_STATE_BOOL),
    TH_STATE_NUMBER(struct th_status_handoff, residual_ns, "residual-ns", TH_STATE_INT64, INT64_MIN,
                    INT64_MAX),
    TH_STATE_NUMBER(struct th_status_handoff, residual_bound_ns, "residual-bound-ns",
                    TH_STATE_INT64, 0, INT64_MAX),
};

/* ---- out ---- */

int th_status_write(const char *folder, const struct th_status_host *host, const struct th_now *now,
                    int64_t refresh_ns) {
    struct th_state_writer writer;
    int r = th_state_writer_open(&writer, folder, TH_STATE_STATUS_FILE, 0644, -1, now, refresh_ns);

    if (r < 0) {
        return r;
    }
    th_state_writer_section(&writer, "host");
    th_state_field_write_all(host_fields, TH_ELEMENTS(host_fields), host, &writer);
    for (size_t i = 0; i < host->n_alerts; i++) {
        th_state_writer_section(&writer, "alert");
        th_state_writer_word(&writer, "kind", th_alert_kind_name(host->alerts[i].kind));
        th_state_field_write_all(alert_fields, TH_ELEMENTS(alert_fields), &host->alerts[i],
                                 &writer);
    }
    for (size_t i = 0; i < host->n_handoffs; i++) {
        th_state_writer_section(&writer, "handoff");
        th_state_field_write_all(handoff_fields, TH_ELEMENTS(handoff_fields), &host->handoffs[i],
                                 &writer);
    }
    return th_state_writer_commit(&writer);
}

/* ---- in ---- */

struct reader {
    struct th_status_host host;
    bool has_host;
    bool has_kind; /* of the alert being read */
    struct th_alert *alert;
    struct th_status_handoff *handoff;
};

/* What was being read is whole, or the file is broken. */
static int finish(struct reader *reader) {
    bool whole = (!reader->alert || reader->has_kind) &&
                 (!reader->handoff || !th_uuid_is_none(&reader->handoff->uuid));

    reader->alert = NULL;
    reader->handoff = NULL;
    reader->has_kind = false;
    return whole ? 0 : -EBADMSG;
}

/* One more element, zeroed; NULL: no memory, or too many. */
static void *grow(void **array, size_t *n, size_t size, size_t max) {
    char *grown = *n < max ? reallocarray(*array, *n + 1, size) : NULL;

    if (!grown) {
        return NULL;
    }
    *array = grown;
    memset(grown + *n * size, 0, size);
    return grown + (*n)++ * size;
}

static int begin(struct reader *reader, const char *section) {
    struct th_status_host *host = &reader->host;
    int r = finish(reader);
    void *array;

    if (r < 0) {
        return r;
    }
    if (strcmp(section, "host") == 0) {
        reader->has_host = true;
    } else if (strcmp(section, "alert") == 0) {
        array = host->alerts;
        reader->alert = grow(&array, &host->n_alerts, sizeof(*host->alerts), TH_STATUS_MAX_ALERTS);
        host->alerts = array;
        return reader->alert ? 0 : -ENOMEM;
    } else if (strcmp(section, "handoff") == 0) {
        array = host->handoffs;
        reader->handoff =
            grow(&array, &host->n_handoffs, sizeof(*host->handoffs), TH_STATUS_MAX_HANDOFFS);
        host->handoffs = array;
        return reader->handoff ? 0 : -ENOMEM;
    }
    return 0;
}

static int read_alert(struct reader *reader, const char *key, const char *value) {
    if (strcmp(key, "kind") == 0) {
        reader->has_kind = true;
        return th_alert_kind_parse(value, &reader->alert->kind) < 0 ? -EBADMSG : 0;
    }
    return th_state_field_read(alert_fields, TH_ELEMENTS(alert_fields), reader->alert, key, value);
}

static int on_entry(void *userdata, const char *section, const char *key, const char *value,
                    char *why) {
    struct reader *reader = userdata;

    (void)why;
    if (!key) {
        return begin(reader, section);
    }
    if (reader->alert) {
        return read_alert(reader, key, value);
    }
    if (reader->handoff) {
        return th_state_field_read(handoff_fields, TH_ELEMENTS(handoff_fields), reader->handoff,
                                   key, value);
    }
    return strcmp(section, "host") == 0 ? th_state_field_read(host_fields, TH_ELEMENTS(host_fields),
                                                              &reader->host, key, value)
                                        : 0;
}

int th_status_read(int fd, const struct th_now *now, enum th_state_age age,
                   struct th_status_host *ret_host) {
    struct reader reader = {.has_host = false};
    int r;

    reader.host.sync.error_ns = -1;
    reader.host.sync.age_ns = -1;
    r = th_state_reader_read(fd, now, age, on_entry, &reader);
    if (r == 0 && !reader.has_host) {
        r = -EBADMSG;
    }
    if (r < 0) {
        th_status_host_deinit(&reader.host);
        return r;
    }
    *ret_host = reader.host;
    return 0;
}

void th_status_host_deinit(struct th_status_host *host) {
    if (host) {
        free(host->alerts);
        free(host->handoffs);
        host->alerts = NULL;
        host->handoffs = NULL;
        host->n_alerts = host->n_handoffs = 0;
    }
}

void th_status_handoff_from(const struct th_handoff_record *record, int64_t now_real_ns,
                            struct th_status_handoff *ret_handoff) {
    struct th_status_handoff handoff = {
        .uuid = record->uuid,
        .ended_real_ns = now_real_ns,
        .has_before = record->has_before,
        .before_ns = record->before.offset_ns,
        .before_bound_ns = record->before.bound_ns,
        .stepped_ns = record->stepped_ns,
        .has_residual = record->has_residual,
        .residual_ns = record->residual.offset_ns,
        .residual_bound_ns = record->residual.bound_ns,
    };

    th_text_clean(record->name, handoff.domain, sizeof(handoff.domain));
    th_text_clean(th_trigger_name(record->trigger), handoff.trigger, sizeof(handoff.trigger));
    th_text_clean(th_handoff_outcome_name(record->outcome), handoff.outcome,
                  sizeof(handoff.outcome));
    th_text_clean(record->from_host, handoff.from_host, sizeof(handoff.from_host));
    *ret_handoff = handoff;
}
