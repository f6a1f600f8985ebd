/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Building JSON documents with json-c. Failure to allocate is remembered in one flag and answered
 * once, at the end, so that the code that names the fields reads as a list of fields.
 */
#include "report/json.h"

#include <errno.h>
#include <json-c/json.h>

static void add(struct json_object *object, const char *field, struct json_object *value,
                bool *failed) {
    if (!object || !value || json_object_object_add(object, field, value) < 0) {
        json_object_put(value);
        *failed = true;
    }
}

void th_json_text(struct json_object *object, const char *field, const char *value, bool *failed) {
    if (value) {
        add(object, field, json_object_new_string(value), failed);
    }
}

void th_json_number(struct json_object *object, const char *field, int64_t value, bool *failed) {
    add(object, field, json_object_new_int64(value), failed);
}

void th_json_flag(struct json_object *object, const char *field, bool value, bool *failed) {
    add(object, field, json_object_new_boolean(value), failed);
}

void th_json_uuid(struct json_object *object, const char *field, const struct th_uuid *uuid,
                  bool *failed) {
    char text[TH_UUID_TEXT_SIZE];

    if (!th_uuid_is_none(uuid)) {
        th_json_text(object, field, th_uuid_format(uuid, text), failed);
    }
}

void th_json_address(struct json_object *object, const char *field,
                     const struct sockaddr_storage *address, bool *failed) {
    char text[TH_ADDRESS_TEXT_SIZE];

    if (address->ss_family) {
        th_json_text(object, field, th_address_format(address, text), failed);
    }
}

struct json_object *th_json_inside(struct json_object *object, const char *field, bool *failed) {
    struct json_object *inside = json_object_new_object();

    if (!object || !inside || json_object_object_add(object, field, inside) < 0) {
        json_object_put(inside);
        *failed = true;
        return NULL;
    }
    return inside;
}

struct json_object *th_json_list(struct json_object *object, const char *field, bool *failed) {
    struct json_object *list = json_object_new_array();

    if (!object || !list || json_object_object_add(object, field, list) < 0) {
        json_object_put(list);
        *failed = true;
        return NULL;
    }
    return list;
}

struct json_object *th_json_append(struct json_object *list, struct json_object *element,
                                   bool *failed) {
    if (!list || !element || json_object_array_add(list, element) < 0) {
        json_object_put(element);
        *failed = true;
        return NULL;
    }
    return element;
}

void th_json_probe(struct json_object *object, const struct th_probe_result *result, bool *failed) {
    th_json_number(object, "offset_ns", result->gap.offset_ns, failed);
    th_json_number(object, "bound_ns", result->gap.bound_ns, failed);
    th_json_number(object, "delay_ns", result->gap.delay_ns, failed);
    th_json_text(object, "clock", th_probe_clock_name(result->clock), failed);
    th_json_flag(object, "authenticated", result->authenticated, failed);
    th_json_number(object, "stratum", result->stratum, failed);
    th_json_number(object, "leap", result->leap, failed);
    th_json_number(object, "asked", result->asked, failed);
    th_json_number(object, "answered", result->answered, failed);
    th_json_number(object, "took_ns", result->took_ns, failed);
    if (result->has_identity) {
        th_json_uuid(object, "host_uuid", &result->identity.host, failed);
        th_json_text(object, "synchronised", th_ternary_name(result->identity.synchronised),
                     failed);
    }
}

int th_json_print(struct json_object *object, const bool *failed, FILE *out) {
    const char *text = NULL;
    int r = -ENOMEM;

    if (object && !*failed) {
        text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
                                                          JSON_C_TO_STRING_SPACED |
                                                          JSON_C_TO_STRING_NOSLASHESCAPE);
    }
    if (text) {
        r = fprintf(out, "%s\n", text) < 0 ? -EIO : 0;
    }
    json_object_put(object);
    return r;
}
