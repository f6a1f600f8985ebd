/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules of the lint as a table: each looks at the facts alone.
 */
#ifndef TH_LINT_RULES_H
#define TH_LINT_RULES_H

#include "timehandoff/lint.h"

struct th_lint_rule {
    const char *id;
    enum th_lint_severity severity;
    bool (*applies)(const struct th_guest_facts *facts);
    /* Says why in place of the sentence below, where the facts are part of it; may be NULL. */
    void (*say)(const struct th_guest_facts *facts, char why[TH_LINT_WHY_SIZE]);
    const char *why;
    const char *line;
};

extern const struct th_lint_rule th_lint_rules[];
extern const size_t th_lint_rules_n;

#endif
