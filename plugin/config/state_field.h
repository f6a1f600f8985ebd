/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One table a record, used for writing and for reading alike, so that the two can't drift apart:
 * key, kind of value, place in the structure, and the range that a reader accepts.
 */
#ifndef TIMEHANDOFF_CONFIG_STATE_FIELD_H
#define TIMEHANDOFF_CONFIG_STATE_FIELD_H

#include "config/state_writer.h"
#include "timehandoff/base.h"

enum th_state_kind {
    TH_STATE_TEXT = 1, /* char[size] */
    TH_STATE_INT64,
    TH_STATE_UINT32, /* also for unsigned */
    TH_STATE_BOOL,
    TH_STATE_UUID,
    TH_STATE_TERNARY,
    TH_STATE_DOMAIN, /* enum th_domain_state */
    TH_STATE_FROM,   /* enum th_sync_from */
    TH_STATE_DIGEST, /* uint8_t[size]; zeros: none */
};

struct th_state_field {
    const char *key;
    enum th_state_kind kind;
    size_t offset;
    size_t size;
    int64_t min, max; /* of numbers */
};

/* One row. Anything but numbers has no range. */
#define TH_STATE_FIELD(type, member, key, kind)                                                    \
    { key, kind, offsetof(type, member), sizeof(((type *)NULL)->member), 0, 0 }
#define TH_STATE_NUMBER(type, member, key, kind, min, max)                                         \
    { key, kind, offsetof(type, member), sizeof(((type *)NULL)->member), min, max }

/* The rows of a struct th_sync that every file with one has. */
#define TH_STATE_SYNC(type, member)                                                                \
    TH_STATE_FIELD(type, member.synchronised, "synchronised", TH_STATE_TERNARY),                   \
        TH_STATE_FIELD(type, member.from, "sync-from", TH_STATE_FROM),                             \
        TH_STATE_NUMBER(type, member.error_ns, "sync-error-ns", TH_STATE_INT64, -1, INT64_MAX),    \
        TH_STATE_NUMBER(type, member.age_ns, "sync-age-ns", TH_STATE_INT64, -1, INT64_MAX),        \
        TH_STATE_NUMBER(type, member.stratum, "stratum", TH_STATE_UINT32, 0, 255),                 \
        TH_STATE_FIELD(type, member.source, "sync-source", TH_STATE_TEXT),                         \
        TH_STATE_FIELD(type, member.reason, "sync-reason", TH_STATE_TEXT)

/* Writes all fields of a record; empty texts, UUIDs and digests that are none are left out. */
void th_state_field_write_all(const struct th_state_field *fields, size_t n, const void *record,
                              struct th_state_writer *writer);

/*
 * Reads one value into its place. A key that is in no row is ignored: a newer program wrote it.
 * Text is cleaned, and appended if its key comes again. 0 or -EBADMSG.
 */
int th_state_field_read(const struct th_state_field *fields, size_t n, void *record,
                        const char *key, const char *value);

/* A decimal number with nothing around it, within min..max. 0 or -EBADMSG. */
int th_state_field_number(const char *value, int64_t min, int64_t max, int64_t *ret_number);

#endif
