/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Puts the facts about a guest before each rule and gathers what applies, the most severe first,
 * so that whoever reads only the first line reads the one that matters. Pure: the same facts give
 * the same findings.
 */
#include <string.h>

#include "lint/rules.h"

static bool apply(const struct th_lint_rule *rule, const struct th_guest_facts *facts,
                  struct th_lint_finding *ret_finding) {
    struct th_lint_finding finding = {.id = rule->id, .severity = rule->severity};
    char why[TH_LINT_WHY_SIZE];

    if (!rule->applies(facts)) {
        return false;
    }
    snprintf(why, sizeof(why), "%s", rule->why);
    snprintf(finding.line, sizeof(finding.line), "%s", rule->line);
    if (rule->say) {
        rule->say(facts, why);
    }
    /* It may quote what the XML says. */
    th_text_clean(why, finding.why, sizeof(finding.why));
    *ret_finding = finding;
    return true;
}

size_t th_lint_find(const struct th_guest_facts *facts,
                    struct th_lint_finding findings[TH_LINT_MAX_FINDINGS]) {
    size_t n = 0;

    for (enum th_lint_severity severity = TH_LINT_ERROR; severity <= TH_LINT_HINT; severity++) {
        for (size_t i = 0; i < th_lint_rules_n && n < TH_LINT_MAX_FINDINGS; i++) {
            if (th_lint_rules[i].severity == severity) {
                n += apply(&th_lint_rules[i], facts, &findings[n]);
            }
        }
    }
    return n;
}

const char *th_lint_rule_id(size_t index) {
    return index < th_lint_rules_n ? th_lint_rules[index].id : NULL;
}
