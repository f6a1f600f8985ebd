/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the lint found about a guest, as text and as JSON. In both each finding comes with its line
 * of XML, since a reproach without its remedy helps nobody; ids and severities are the same fixed
 * words in both.
 */
#include "timehandoff/lint.h"

#include <errno.h>
#include <json-c/json.h>

#include "report/json.h"

static unsigned count(const struct th_lint_finding *findings, size_t n,
                      enum th_lint_severity severity) {
    unsigned found = 0;

    for (size_t i = 0; i < n; i++) {
        found += findings[i].severity == severity;
    }
    return found;
}

static const char *name_of(const struct th_guest_facts *facts) {
    return facts->name[0] ? facts->name : "(no name)";
}

void th_report_lint_text(const struct th_guest_facts *facts, const struct th_lint_finding *findings,
                         size_t n, FILE *out) {
    for (size_t i = 0; i < n; i++) {
        fprintf(out, "%s: %s: %s\n", th_lint_severity_name(findings[i].severity), findings[i].id,
                findings[i].why);
        if (findings[i].line[0]) {
            fprintf(out, "    %s\n", findings[i].line);
        }
    }
    fprintf(out, "%s (%s, %s): errors %u, warnings %u, hints %u\n", name_of(facts),
            th_guest_os_name(facts->os), th_guest_arch_name(facts->arch),
            count(findings, n, TH_LINT_ERROR), count(findings, n, TH_LINT_WARNING),
            count(findings, n, TH_LINT_HINT));
}

void th_json_lint_finding(struct json_object *list, const struct th_lint_finding *finding,
                          bool *failed) {
    struct json_object *object = th_json_append(list, json_object_new_object(), failed);

    th_json_text(object, "id", finding->id, failed);
    th_json_text(object, "severity", th_lint_severity_name(finding->severity), failed);
    th_json_text(object, "why", finding->why, failed);
    if (finding->line[0]) {
        th_json_text(object, "line", finding->line, failed);
    }
}

int th_report_lint_json(const struct th_guest_facts *facts, const struct th_lint_finding *findings,
                        size_t n, FILE *out) {
    struct json_object *root = json_object_new_object(), *list = json_object_new_array();
    bool failed = !root || !list;

    th_json_text(root, "domain", facts->name, &failed);
    th_json_text(root, "os", th_guest_os_name(facts->os), &failed);
    th_json_text(root, "arch", th_guest_arch_name(facts->arch), &failed);
    th_json_number(root, "errors", count(findings, n, TH_LINT_ERROR), &failed);
    th_json_number(root, "warnings", count(findings, n, TH_LINT_WARNING), &failed);
    th_json_number(root, "hints", count(findings, n, TH_LINT_HINT), &failed);
    for (size_t i = 0; i < n && !failed; i++) {
        th_json_lint_finding(list, &findings[i], &failed);
    }
    if (failed || json_object_object_add(root, "findings", list) < 0) {
        json_object_put(list);
        json_object_put(root);
        return -ENOMEM;
    }
    return th_json_print(root, &failed, out);
}
