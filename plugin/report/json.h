/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Small helpers over json-c, so that every document is built the same way: an object that remembers
 * that memory ran out, fields with their unit in the name, one line out.
 */
#ifndef TH_REPORT_JSON_H
#define TH_REPORT_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include "timehandoff/base.h"
#include "timehandoff/lint.h"
#include "timehandoff/probe.h"

struct json_object;

/* Each adds a field to object; a NULL object or value is skipped, out of memory is kept in *failed.
 */
void th_json_text(struct json_object *object, const char *field, const char *value, bool *failed);
void th_json_number(struct json_object *object, const char *field, int64_t value, bool *failed);
void th_json_flag(struct json_object *object, const char *field, bool value, bool *failed);
void th_json_uuid(struct json_object *object, const char *field, const struct th_uuid *uuid,
                  bool *failed);
void th_json_address(struct json_object *object, const char *field,
                     const struct sockaddr_storage *address, bool *failed);
/* Opens an object inside another. NULL when out of memory. */
struct json_object *th_json_inside(struct json_object *object, const char *field, bool *failed);
/* Opens a list inside an object. NULL when out of memory. */
struct json_object *th_json_list(struct json_object *object, const char *field, bool *failed);
/* Appends a new element, which the list then owns; returns it, or NULL when out of memory. A NULL
 * list frees it. */
struct json_object *th_json_append(struct json_object *list, struct json_object *element,
                                   bool *failed);
/* The fields of one measurement. */
void th_json_probe(struct json_object *object, const struct th_probe_result *result, bool *failed);
/* Appends a finding of the lint to a list. */
void th_json_lint_finding(struct json_object *list, const struct th_lint_finding *finding,
                          bool *failed);
/* Prints the document, pretty, with a newline, and frees it. 0, -ENOMEM if *failed, -EIO. */
int th_json_print(struct json_object *object, const bool *failed, FILE *out);

#endif
