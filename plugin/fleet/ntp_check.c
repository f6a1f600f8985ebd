/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A host's NTP servers against the organisation's list, and against good sense: what is missing,
 * what is there besides, what is named twice, and whether so few servers are left that nobody would
 * notice when one is wrong. Pure.
 */
#include "timehandoff/ntp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define POOL_SERVERS 4 /* what both chronyd and ntpd take out of one, at least */
#define ENOUGH_SERVERS 3

const char *th_ntp_finding_name(enum th_ntp_finding_kind kind) {
    switch (kind) {
    case TH_NTP_MISSING: return "missing";
    case TH_NTP_EXTRA: return "extra";
    case TH_NTP_NO_DAEMON: return "no-daemon";
    case TH_NTP_NOT_RUNNING: return "not-running";
    case TH_NTP_NO_ANSWER: return "no-answer";
    case TH_NTP_NOT_IN_USE: return "not-in-use";
    case TH_NTP_TWICE: return "twice";
    case TH_NTP_NO_ANSWER_NOW: return "unreachable";
    case TH_NTP_NONE: return "no-server";
    case TH_NTP_ONE: return "one-server";
    case TH_NTP_FEW: return "few-servers";
    case TH_NTP_INCOMPLETE: return "incomplete";
    }
    return "unknown";
}

void th_ntp_findings_deinit(struct th_ntp_findings *findings) {
    if (findings) {
        free(findings->findings);
        findings->findings = NULL;
        findings->n = 0;
    }
}

static bool is_difference(enum th_ntp_finding_kind kind) {
    return kind == TH_NTP_MISSING || kind == TH_NTP_EXTRA || kind == TH_NTP_NOT_IN_USE;
}

static int add(struct th_ntp_findings *findings, enum th_ntp_finding_kind kind, const char *name,
               const char *where) {
    struct th_ntp_finding *finding =
        reallocarray(findings->findings, findings->n + 1, sizeof(*finding));

    if (!finding) {
        return -ENOMEM;
    }
    findings->findings = finding;
    finding = &findings->findings[findings->n++];
    finding->kind = kind;
    (void)th_text_clean(name, finding->name, sizeof(finding->name));
    (void)th_text_clean(where, finding->where, sizeof(finding->where));
    findings->differs = findings->differs || is_difference(kind);
    return 0;
}

static bool is_compared(const struct th_ntp_server *server) {
    return server->kind == TH_NTP_SERVER || server->kind == TH_NTP_POOL;
}

/* What somebody added at run time is gone with the daemon's next start, so it is no configuration.
 */
static bool is_configured(const struct th_ntp_servers *have, const char *name) {
    for (size_t i = 0; i < have->n; i++) {
        const struct th_ntp_server *server = &have->servers[i];

        if (is_compared(server) && strcmp(server->where, "runtime") != 0 &&
            th_ntp_name_equal(server->name, name)) {
            return true;
        }
    }
    return false;
}

static int add_differences(const struct th_ntp_servers *wanted, const struct th_ntp_servers *have,
                           struct th_ntp_findings *findings) {
    int r = 0;

    for (size_t i = 0; r == 0 && i < wanted->n; i++) {
        if (!is_configured(have, wanted->servers[i].name)) {
            r = add(findings, TH_NTP_MISSING, wanted->servers[i].name, "");
        }
    }
    for (size_t i = 0; r == 0 && wanted->n > 0 && i < have->n; i++) {
        const struct th_ntp_server *server = &have->servers[i];

        if (is_compared(server) && !th_ntp_servers_find(wanted, server->name)) {
            r = add(findings, TH_NTP_EXTRA, server->name, server->where);
        }
    }
    return r;
}

static int add_twice(const struct th_ntp_servers *have, struct th_ntp_findings *findings) {
    int r = 0;

    for (size_t i = 0; r == 0 && i < have->n; i++) {
        const struct th_ntp_server *server = &have->servers[i];

        if (is_compared(server) && th_ntp_servers_find(have, server->name) != server) {
            r = add(findings, TH_NTP_TWICE, server->name, server->where);
        }
    }
    return r;
}

/* A daemon calls a server that is configured by name by that name or by its address. */
static bool is_in_use(const struct th_ntp_sources *sources, const char *name) {
    for (size_t i = 0; i < sources->n; i++) {
        if (th_ntp_name_equal(sources->sources[i].name, name) ||
            th_ntp_name_equal(sources->sources[i].address, name)) {
            return true;
        }
    }
    return false;
}

static int add_sources(const struct th_ntp_status *status, struct th_ntp_findings *findings) {
    int r = 0;

    bool by_name = status->from == TH_SYNC_FROM_CHRONYD || status->from == TH_SYNC_FROM_TIMESYNCD;

    /* ntpd and ptp4l don't tell by which name they know a source. */
    for (size_t i = 0; r == 0 && by_name && i < status->servers.n; i++) {
        const struct th_ntp_server *server = &status->servers.servers[i];

        if (is_compared(server) && !is_in_use(&status->sources, server->name)) {
            r = add(findings, TH_NTP_NOT_IN_USE, server->name, server->where);
        }
    }
    for (size_t i = 0; r == 0 && i < status->sources.n; i++) {
        const struct th_ntp_source *source = &status->sources.sources[i];

        if (source->use == TH_NTP_UNREACHABLE) {
            r = add(findings, TH_NTP_NO_ANSWER_NOW, source->name, source->address);
        }
    }
    return r;
}

static int add_number(const struct th_ntp_servers *have, struct th_ntp_findings *findings) {
    unsigned n = 0;

    for (size_t i = 0; i < have->n; i++) {
        const struct th_ntp_server *server = &have->servers[i];

        if (th_ntp_servers_find(have, server->name) == server) {
            n += server->kind == TH_NTP_POOL ? POOL_SERVERS : 1;
        }
    }
    if (n >= ENOUGH_SERVERS) {
        return 0;
    }
    return add(findings, n == 0 ? TH_NTP_NONE : n == 1 ? TH_NTP_ONE : TH_NTP_FEW, "", "");
}

int th_ntp_check(const struct th_ntp_servers *wanted, const struct th_ntp_status *status,
                 struct th_ntp_findings *ret_findings) {
    th_auto_ntp_findings struct th_ntp_findings findings = {.n = 0};
    int r = 0;

    if (status->from == TH_SYNC_FROM_NOTHING) {
        r = add(&findings, TH_NTP_NO_DAEMON, "", "");
    } else if (!status->running) {
        r = add(&findings, TH_NTP_NOT_RUNNING, th_sync_from_name(status->from), "");
    } else if (!status->answered) {
        r = add(&findings, TH_NTP_NO_ANSWER, th_sync_from_name(status->from), "");
    }
    r = r < 0 ? r : add_differences(wanted, &status->servers, &findings);
    r = r < 0 ? r : add_twice(&status->servers, &findings);
    if (r == 0 && status->answered) {
        r = add_sources(status, &findings);
    }
    r = r < 0 ? r : add_number(&status->servers, &findings);
    if (r == 0 && status->servers.complaint[0]) {
        r = add(&findings, TH_NTP_INCOMPLETE, status->servers.complaint, "");
    }
    if (r < 0) {
        return r;
    }
    *ret_findings = findings;
    findings = (struct th_ntp_findings){.n = 0};
    return 0;
}
