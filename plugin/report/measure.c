/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One measurement of one host, as text and as JSON: the gap with its bound first, then what it
 * rests on, since a number of milliseconds without its bound is no ground for a decision.
 */
#include "timehandoff/report.h"

#include <json-c/json.h>
#include <stdio.h>

#include "report/json.h"
#include "timehandoff/duration.h"

void th_report_measure_text(const char *host, const struct sockaddr_storage *address,
                            const struct th_probe_result *result, FILE *out) {
    char offset[TH_DURATION_TEXT_SIZE], bound[TH_DURATION_TEXT_SIZE];
    char delay[TH_DURATION_TEXT_SIZE], took[TH_DURATION_TEXT_SIZE];
    char address_text[TH_ADDRESS_TEXT_SIZE];
    int64_t size_ns = result->gap.offset_ns < 0 ? -result->gap.offset_ns : result->gap.offset_ns;

    fprintf(out, "%s (%s) is %s %s this host, \u00b1%s\n", host,
            th_address_format(address, address_text),
            th_duration_format_within(size_ns, result->gap.bound_ns, offset),
            result->gap.offset_ns < 0 ? "behind" : "ahead of",
            th_duration_format(result->gap.bound_ns, bound));
    fprintf(out, "delay %s, %u of %u questions answered in %s\n",
            th_duration_format(result->gap.delay_ns, delay), result->answered, result->asked,
            th_duration_format(result->took_ns, took));
    fprintf(out, "%s clock, authenticated: %s, stratum %u%s\n", th_probe_clock_name(result->clock),
            result->authenticated ? "yes" : "no", result->stratum,
            result->leap == TH_LEAP_UNSYNCHRONISED ? ", says it is not synchronised" : "");
    if (result->has_identity) {
        fprintf(out, "synchronised: %s\n", th_ternary_name(result->identity.synchronised));
    }
}

int th_report_measure_json(const char *host, const struct sockaddr_storage *address,
                           const struct th_probe_result *result, FILE *out) {
    struct json_object *root = json_object_new_object();
    bool failed = !root;

    th_json_text(root, "host", host, &failed);
    th_json_address(root, "address", address, &failed);
    th_json_probe(root, result, &failed);
    return th_json_print(root, &failed, out);
}
