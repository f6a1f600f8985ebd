/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `timehandoff guest lint`: domain XML in, findings out. What is named may be a file or a domain of
 * this host's libvirt. Of a running domain the live definition is read, as the dry run does: that
 * is the one that migrates.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/domain_xml.h"
#include "cli/guest.h"
#include "timehandoff/lint.h"

#define EXIT_FINDINGS 1

static bool read_domain(const char *name, char **ret_xml, size_t *ret_size) {
    th_auto_setup struct th_setup setup = {.config = NULL};
    char *xml = NULL;

    if (!th_setup_load(&setup) || th_domain_xml_read(setup.config, name, &xml) < 0) {
        return false;
    }
    *ret_xml = xml;
    *ret_size = strlen(xml);
    return true;
}

static bool has_more_than_hints(const struct th_lint_finding *findings, size_t n) {
    return n > 0 && findings[0].severity != TH_LINT_HINT;
}

int th_guest_lint(const struct th_guest_options *options) {
    struct th_lint_finding findings[TH_LINT_MAX_FINDINGS];
    th_auto_free char *xml = NULL;
    struct th_guest_facts facts;
    char error[160] = "", shown[256];
    size_t size = 0, n;
    bool file = th_domain_xml_is_file(options->target);

    if (!(file ? th_read_input(options->target, TH_DOMAIN_XML_MAX_SIZE, &xml, &size)
               : read_domain(options->target, &xml, &size))) {
        return TH_EXIT_USAGE;
    }
    if (th_guest_facts_read(xml, size, &facts, error, sizeof(error)) < 0) {
        fprintf(stderr, "timehandoff: %s is no domain XML: %s\n",
                th_text_clean(options->target, shown, sizeof(shown)),
                error[0] ? error : "out of memory");
        return TH_EXIT_USAGE;
    }
    n = th_lint_find(&facts, findings);
    if (!options->json) {
        th_report_lint_text(&facts, findings, n, stdout);
    } else if (th_report_lint_json(&facts, findings, n, stdout) < 0) {
        return TH_EXIT_USAGE;
    }
    return has_more_than_hints(findings, n) ? EXIT_FINDINGS : EXIT_SUCCESS;
}
