/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fields of state files by table, out and in. What comes in is checked as a stranger's: numbers
 * have ranges, names must be known ones, text is cleaned. The caller may rely on a record holding
 * only values that the writer could have written.
 */
#include "config/state_field.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/state_reader.h"
#include "timehandoff/packet.h"
#include "timehandoff/sync.h"

#define LONGEST_TEXT 1024
#define LONGEST_DIGEST 32

/* ---- out ---- */

static void write_uuid(struct th_state_writer *writer, const char *key,
                       const struct th_uuid *uuid) {
    char text[TH_UUID_TEXT_SIZE];

    if (!th_uuid_is_none(uuid)) {
        th_state_writer_word(writer, key, th_uuid_format(uuid, text));
    }
}

static void write_digest(struct th_state_writer *writer, const struct th_state_field *field,
                         const uint8_t *bytes) {
    char text[2 * LONGEST_DIGEST + 1];
    uint8_t any = 0;

    for (size_t i = 0; i < field->size; i++) {
        any |= bytes[i];
    }
    if (any && field->size <= LONGEST_DIGEST) {
        th_state_writer_word(writer, field->key, th_hex_encode(bytes, field->size, text));
    }
}

static void write_one(const struct th_state_field *field, const void *record,
                      struct th_state_writer *writer) {
    const void *value = (const char *)record + field->offset;
    const char *key = field->key;

    switch (field->kind) {
    case TH_STATE_TEXT: th_state_writer_text(writer, key, value); break;
    case TH_STATE_INT64: th_state_writer_number(writer, key, *(const int64_t *)value); break;
    case TH_STATE_UINT32: th_state_writer_number(writer, key, *(const uint32_t *)value); break;
    case TH_STATE_BOOL:
        th_state_writer_word(writer, key, *(const bool *)value ? "yes" : "no");
        break;
    case TH_STATE_UUID: write_uuid(writer, key, value); break;
    case TH_STATE_TERNARY:
        th_state_writer_word(writer, key, th_ternary_name(*(const enum th_ternary *)value));
        break;
    case TH_STATE_DOMAIN:
        th_state_writer_word(writer, key,
                             th_domain_state_name(*(const enum th_domain_state *)value));
        break;
    case TH_STATE_FROM:
        th_state_writer_word(writer, key, th_sync_from_name(*(const enum th_sync_from *)value));
        break;
    case TH_STATE_DIGEST: write_digest(writer, field, value); break;
    }
}

void th_state_field_write_all(const struct th_state_field *fields, size_t n, const void *record,
                              struct th_state_writer *writer) {
    for (size_t i = 0; i < n; i++) {
        write_one(&fields[i], record, writer);
    }
}

/* ---- in ---- */

int th_state_field_number(const char *value, int64_t min, int64_t max, int64_t *ret_number) {
    const char *digits = *value == '-' ? value + 1 : value;
    long long number;
    char *end;

    if (*digits < '0' || *digits > '9') {
        return -EBADMSG;
    }
    errno = 0;
    number = strtoll(value, &end, 10);
    if (errno != 0 || *end != '\0' || number < min || number > max) {
        return -EBADMSG;
    }
    *ret_number = number;
    return 0;
}

static int read_text(const char *value, char *text, size_t size) {
    char raw[LONGEST_TEXT];
    int r;

    if (size > sizeof(raw)) {
        return -EBADMSG;
    }
    memcpy(raw, text, size);
    r = th_state_reader_append(value, raw, size);
    if (r == 0) {
        th_text_clean(raw, text, size);
    }
    return r;
}

static int read_bool(const char *value, bool *ret_truth) {
    enum th_ternary said = th_ternary_parse(value);

    if (said == TH_UNKNOWN) {
        return -EBADMSG;
    }
    *ret_truth = said == TH_YES;
    return 0;
}

static int read_from(const char *value, enum th_sync_from *ret_from) {
    for (enum th_sync_from from = TH_SYNC_FROM_NOTHING; from <= TH_SYNC_FROM_KERNEL; from++) {
        if (strcmp(th_sync_from_name(from), value) == 0) {
            *ret_from = from;
            return 0;
        }
    }
    return -EBADMSG;
}

static int read_uint32(const struct th_state_field *field, const char *value,
                       uint32_t *ret_number) {
    int64_t number;
    int r = th_state_field_number(value, field->min, field->max, &number);

    if (r == 0) {
        *ret_number = (uint32_t)number;
    }
    return r;
}

static int read_one(const struct th_state_field *field, void *record, const char *value) {
    void *target = (char *)record + field->offset;

    switch (field->kind) {
    case TH_STATE_TEXT: return read_text(value, target, field->size);
    case TH_STATE_INT64: return th_state_field_number(value, field->min, field->max, target);
    case TH_STATE_UINT32: return read_uint32(field, value, target);
    case TH_STATE_BOOL: return read_bool(value, target);
    case TH_STATE_UUID: return th_uuid_parse(value, target) < 0 ? -EBADMSG : 0;
    case TH_STATE_TERNARY: *(enum th_ternary *)target = th_ternary_parse(value); return 0;
    case TH_STATE_DOMAIN: *(enum th_domain_state *)target = th_domain_state_parse(value); return 0;
    case TH_STATE_FROM: return read_from(value, target);
    case TH_STATE_DIGEST: return th_hex_decode(value, target, field->size) < 0 ? -EBADMSG : 0;
    }
    return -EBADMSG;
}

int th_state_field_read(const struct th_state_field *fields, size_t n, void *record,
                        const char *key, const char *value) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(fields[i].key, key) == 0) {
            return read_one(&fields[i], record, value);
        }
    }
    return 0;
}
