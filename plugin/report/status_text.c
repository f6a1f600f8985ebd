/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The status for a person at a prompt: what is wrong first, then this host, its peers and the last
 * handoffs, as a table that fits 80 columns. Names are cut where they are too long for it; the JSON
 * has them whole.
 */
#include "timehandoff/report.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "report/page.h"
#include "timehandoff/duration.h"

/* More are in the JSON document. */
#define MOST_HANDOFFS 8
/* Columns of the tables. */
#define PEER_WIDTH 21
#define GUEST_WIDTH 20
#define WHAT_WIDTH 27

static const char *local_time(int64_t real_ns, char *text, size_t size) {
    time_t seconds = (time_t)(real_ns / TH_NS_PER_S);
    struct tm parts;

    text[0] = '\0';
    if (localtime_r(&seconds, &parts)) {
        strftime(text, size, "%Y-%m-%d %H:%M:%S", &parts);
    }
    return text;
}

/* "3 s", "12 min", "5 h", "4 d": how long ago. */
static void age(int64_t age_ns, char *text, size_t size) {
    int64_t s = age_ns > 0 ? age_ns / TH_NS_PER_S : 0;

    if (s < 120) {
        snprintf(text, size, "%" PRId64 " s", s);
    } else if (s < 7200) {
        snprintf(text, size, "%" PRId64 " min", s / 60);
    } else if (s < 172800) {
        snprintf(text, size, "%" PRId64 " h", s / 3600);
    } else {
        snprintf(text, size, "%" PRId64 " d", s / 86400);
    }
}

static void print_alerts(const struct th_status *status, FILE *out) {
    const struct th_status_host *host = status->host;

    if (!host) {
        th_page_paragraph("alerts", "not known: timehandoffd does not run here, or hangs", out);
    } else if (host->n_alerts == 0) {
        th_page_paragraph("alerts", "none", out);
    }
    for (size_t i = 0; host && i < host->n_alerts; i++) {
        const struct th_alert *alert = &host->alerts[i];
        char since[32], text[sizeof(alert->reason) + 96];

        age(status->now_real_ns - alert->since_real_ns, since, sizeof(since));
        snprintf(text, sizeof(text), "%s: %s (for %s)", th_alert_kind_name(alert->kind),
                 alert->reason, since);
        th_page_paragraph("ALERT", text, out);
    }
}

static void print_host(const struct th_status *status, FILE *out) {
    const struct th_status_host *host = status->host;
    char text[512], error[TH_DURATION_TEXT_SIZE];

    if (!host) {
        return;
    }
    snprintf(text, sizeof(text), "%s", host->name);
    th_page_paragraph("host", text, out);
    snprintf(text, sizeof(text), "%s, says %s%s%s%s%s", th_ternary_name(host->sync.synchronised),
             th_sync_from_name(host->sync.from), host->sync.error_ns >= 0 ? ": within " : "",
             host->sync.error_ns >= 0 ? th_duration_format(host->sync.error_ns, error) : "",
             host->sync.error_ns >= 0 ? " of UTC" : "", host->sync.source[0] ? ", from " : "");
    strncat(text, host->sync.source, sizeof(text) - strlen(text) - 1);
    th_page_paragraph("synchronised", text, out);
    if (host->sync.synchronised != TH_YES && host->sync.reason[0]) {
        th_page_paragraph("", host->sync.reason, out);
    }
    th_page_paragraph("NTP servers",
                      !host->has_ntp_servers ? "not known"
                      : host->ntp_servers[0] ? host->ntp_servers
                                             : "none",
                      out);
}

static void print_override(const struct th_status *status, FILE *out) {
    char text[400], until[32];

    if (status->override) {
        snprintf(text, sizeof(text), "migrations from %s pass unchecked until %s",
                 status->override->source[0] ? status->override->source : "any host",
                 local_time(status->override->until_real_ns, until, sizeof(until)));
        th_page_paragraph("OVERRIDE", text, out);
    }
}

static void print_peer(const struct th_status *status, const struct th_state_peer *peer,
                       FILE *out) {
    char gap[80] = "never measured", seen[32] = "", offset[TH_DURATION_TEXT_SIZE];
    char bound[TH_DURATION_TEXT_SIZE];
    const char *state = !peer->probed_boot_ns       ? "not yet"
                        : peer->answers_without_key ? "wrong key"
                                                    : "silent";

    if (peer->seen_real_ns) {
        snprintf(gap, sizeof(gap), "%s%s \u00b1%s", peer->gap.offset_ns > 0 ? "+" : "",
                 th_duration_format_within(peer->gap.offset_ns, peer->gap.bound_ns, offset),
                 th_duration_format(peer->gap.bound_ns, bound));
        age(status->now_real_ns - peer->seen_real_ns, seen, sizeof(seen));
    }
    if (peer->answered) {
        state = peer->authenticated ? "key" : "no key";
    }
    th_page_cell(peer->host, PEER_WIDTH, out);
    th_page_cell(gap, 27, out);
    th_page_cell(seen, 7, out);
    th_page_cell(peer->has_identity ? th_ternary_name(peer->synchronised) : "unknown", 7, out);
    fprintf(out, "%s%s\n", state, peer->found_by_stamp ? ", stamp" : "");
}

static void print_peers(const struct th_status *status, FILE *out) {
    const struct th_state_peers *peers = status->peers;
    size_t n = 0;

    for (size_t i = 0; peers && i < peers->n_peers; i++) {
        n += th_status_is_peer(&peers->peers[i]);
    }
    fputc('\n', out);
    if (!peers) {
        th_page_paragraph("peers", "not known: timehandoff-peerd does not run here, or hangs", out);
        return;
    }
    if (n == 0) {
        th_page_paragraph("peers", "none", out);
        return;
    }
    th_page_cell("PEER", PEER_WIDTH, out);
    th_page_cell("GAP (peer - here)", 27, out);
    th_page_cell("AGE", 7, out);
    th_page_cell("SYNC", 7, out);
    fputs("ANSWERS\n", out);
    for (size_t i = 0; i < peers->n_peers; i++) {
        if (th_status_is_peer(&peers->peers[i])) {
            print_peer(status, &peers->peers[i], out);
        }
    }
}

static void print_handoff(const struct th_status *status, const struct th_status_handoff *handoff,
                          FILE *out) {
    char what[80] = "", ended[32], value[TH_DURATION_TEXT_SIZE], bound[TH_DURATION_TEXT_SIZE];

    if (handoff->has_residual) {
        snprintf(what, sizeof(what), "residual %s \u00b1%s",
                 th_duration_format_within(handoff->residual_ns, handoff->residual_bound_ns, value),
                 th_duration_format(handoff->residual_bound_ns, bound));
    } else if (handoff->has_before) {
        snprintf(what, sizeof(what), "was %s \u00b1%s",
                 th_duration_format_within(handoff->before_ns, handoff->before_bound_ns, value),
                 th_duration_format(handoff->before_bound_ns, bound));
    }
    age(status->now_real_ns - handoff->ended_real_ns, ended, sizeof(ended));
    th_page_cell(handoff->domain, GUEST_WIDTH, out);
    th_page_cell(handoff->trigger, 11, out);
    th_page_cell(handoff->outcome, 11, out);
    th_page_cell(ended, 7, out);
    th_page_cut(what, WHAT_WIDTH, out);
    fputc('\n', out);
}

static void print_handoffs(const struct th_status *status, FILE *out) {
    const struct th_status_host *host = status->host;

    if (!host || host->n_handoffs == 0) {
        return;
    }
    fputc('\n', out);
    th_page_cell("GUEST", GUEST_WIDTH, out);
    th_page_cell("TRIGGER", 11, out);
    th_page_cell("OUTCOME", 11, out);
    th_page_cell("AGE", 7, out);
    fputs("CLOCK (guest - here)\n", out);
    for (size_t i = 0; i < host->n_handoffs && i < MOST_HANDOFFS; i++) {
        print_handoff(status, &host->handoffs[i], out);
    }
    if (host->n_handoffs > MOST_HANDOFFS) {
        fprintf(out, "... and %zu more, see 'timehandoff status --json'\n",
                host->n_handoffs - MOST_HANDOFFS);
    }
}

void th_report_status_text(const struct th_status *status, FILE *out) {
    print_host(status, out);
    print_override(status, out);
    print_alerts(status, out);
    print_peers(status, out);
    print_handoffs(status, out);
}
