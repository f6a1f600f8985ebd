/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The status as metrics in Prometheus' text format, for node_exporter's textfile collector. Values
 * are in seconds, as its conventions want them; every label value is escaped, since names of peers
 * and domains come from people and from other hosts.
 */
#include "timehandoff/report.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void head(const char *name, const char *type, const char *help, FILE *out) {
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void label_value(const char *value, FILE *out) {
    for (; *value; value++) {
        if (*value == '\\' || *value == '"') {
            fputc('\\', out);
            fputc(*value, out);
        } else if (*value == '\n') {
            fputs("\\n", out);
        } else {
            fputc(*value, out);
        }
    }
}

static void label(const char *name, const char *value, const char *before, FILE *out) {
    fprintf(out, "%s%s=\"", before, name);
    label_value(value, out);
    fputc('"', out);
}

/* A number of ns as seconds with nine places. */
static void seconds(int64_t ns, FILE *out) {
    uint64_t size = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;

    fprintf(out, "%s%" PRIu64 ".%09" PRIu64 "\n", ns < 0 ? "-" : "", size / (uint64_t)TH_NS_PER_S,
            size % (uint64_t)TH_NS_PER_S);
}

static void peer_sample(const char *name, const struct th_state_peer *peer, FILE *out) {
    label("peer", peer->host, name, out);
    fputs("} ", out);
}

static void ternary(enum th_ternary value, FILE *out) {
    fputs(value == TH_YES ? "1\n" : value == TH_NO ? "0\n" : "NaN\n", out);
}

static void host_metrics(const struct th_status_host *host, FILE *out) {
    head("timehandoff_synchronised", "gauge",
         "Whether this host's clock is synchronised; NaN: not known.", out);
    fputs("timehandoff_synchronised ", out);
    ternary(host->sync.synchronised, out);
    if (host->sync.error_ns >= 0) {
        head("timehandoff_utc_error_seconds", "gauge",
             "This host's clock is within this of UTC, as its time daemon says.", out);
        fputs("timehandoff_utc_error_seconds ", out);
        seconds(host->sync.error_ns, out);
    }
}

enum peer_metric { PEER_UP, PEER_GAP, PEER_BOUND, PEER_SYNCHRONISED, PEER_SEEN };

static const struct {
    enum peer_metric metric;
    const char *name, *sample, *help;
} peer_metrics[] = {
    {PEER_UP, "timehandoff_peer_up", "timehandoff_peer_up{",
     "Whether the peer answered the last probe."},
    {PEER_GAP, "timehandoff_gap_seconds", "timehandoff_gap_seconds{",
     "Gap to the peer, peer minus this host, as measured last."},
    {PEER_BOUND, "timehandoff_gap_bound_seconds", "timehandoff_gap_bound_seconds{",
     "Half-width that certainly holds the true gap."},
    {PEER_SYNCHRONISED, "timehandoff_peer_synchronised", "timehandoff_peer_synchronised{",
     "Whether the peer says that it is synchronised; NaN: not known."},
    {PEER_SEEN, "timehandoff_peer_last_seen_timestamp_seconds",
     "timehandoff_peer_last_seen_timestamp_seconds{", "When the peer answered last."},
};

static void peer_value(enum peer_metric metric, const struct th_state_peer *peer, FILE *out) {
    switch (metric) {
    case PEER_UP: fputs(peer->answered ? "1\n" : "0\n", out); break;
    case PEER_GAP: seconds(peer->gap.offset_ns, out); break;
    case PEER_BOUND: seconds(peer->gap.bound_ns, out); break;
    case PEER_SYNCHRONISED:
        ternary(peer->has_identity ? peer->synchronised : TH_UNKNOWN, out);
        break;
    case PEER_SEEN: seconds(peer->seen_real_ns, out); break;
    }
}

/* A gap that is not measured any more is no sample: the last value would look like news. */
static bool has_sample(enum peer_metric metric, const struct th_state_peer *peer) {
    if (peer->own || !peer->probed_boot_ns) {
        return false;
    }
    return metric == PEER_UP || (metric == PEER_SEEN ? peer->seen_real_ns != 0 : peer->answered);
}

static void all_peer_metrics(const struct th_state_peers *peers, FILE *out) {
    for (size_t i = 0; i < TH_ELEMENTS(peer_metrics); i++) {
        bool headed = false;

        for (size_t j = 0; j < peers->n_peers; j++) {
            const struct th_state_peer *peer = &peers->peers[j];

            if (has_sample(peer_metrics[i].metric, peer)) {
                if (!headed) {
                    head(peer_metrics[i].name, "gauge", peer_metrics[i].help, out);
                    headed = true;
                }
                peer_sample(peer_metrics[i].sample, peer, out);
                peer_value(peer_metrics[i].metric, peer, out);
            }
        }
    }
}

/* A flood, or a fleet of which one host has the wrong key, shows here. */
static void question_metrics(const struct th_state_peers *peers, FILE *out) {
    head("timehandoff_questions_total", "counter",
         "Questions that timehandoff-peerd was asked, by outcome.", out);
    for (size_t i = 0; i < TH_ELEMENTS(peers->questions); i++) {
        label("outcome", th_answer_outcome_name((enum th_answer_outcome)i),
              "timehandoff_questions_total{", out);
        fprintf(out, "} %" PRId64 "\n", peers->questions[i]);
    }
}

static bool is_set(const struct th_status_host *host, enum th_alert_kind kind, const char *peer) {
    for (size_t i = 0; i < host->n_alerts; i++) {
        if (host->alerts[i].kind == kind && strcmp(host->alerts[i].peer, peer) == 0) {
            return true;
        }
    }
    return false;
}

static void alert_sample(const struct th_status_host *host, enum th_alert_kind kind,
                         const char *peer, FILE *out) {
    label("kind", th_alert_kind_name(kind), "timehandoff_alert{", out);
    label("peer", peer, ",", out);
    fprintf(out, "} %d\n", is_set(host, kind, peer));
}

/* Each that could be set, with 0 or 1, so that a rule sees it end. */
static void alert_metrics(const struct th_status *status, FILE *out) {
    static const enum th_alert_kind of_peers[] = {TH_ALERT_GAP, TH_ALERT_PEER_UNSYNCHRONISED,
                                                  TH_ALERT_PEER_SILENT, TH_ALERT_NTP_DIFFERS};

    head("timehandoff_alert", "gauge", "Whether this alert is set.", out);
    alert_sample(status->host, TH_ALERT_HOST_UNSYNCHRONISED, "", out);
    alert_sample(status->host, TH_ALERT_NTP_UNCONFIGURED, "", out);
    for (size_t i = 0; status->peers && i < status->peers->n_peers; i++) {
        const struct th_state_peer *peer = &status->peers->peers[i];

        for (size_t k = 0; k < TH_ELEMENTS(of_peers) && !peer->own; k++) {
            alert_sample(status->host, of_peers[k], peer->host, out);
        }
    }
}

static void count_metrics(const struct th_status_counts *counts, FILE *out) {
    head("timehandoff_handoffs_total", "counter", "Handoffs of guests' clocks, by outcome.", out);
    for (size_t i = TH_HANDOFF_NOT_NEEDED; i < TH_ELEMENTS(counts->handoffs); i++) {
        label("outcome", th_handoff_outcome_name((enum th_handoff_outcome)i),
              "timehandoff_handoffs_total{", out);
        fprintf(out, "} %" PRIu64 "\n", counts->handoffs[i]);
    }
    head("timehandoff_arrivals_total", "counter",
         "Guests that migrated here, by whether the check had measured the gap to their source.",
         out);
    fprintf(out, "timehandoff_arrivals_total{checked=\"yes\"} %" PRIu64 "\n",
            counts->arrivals_checked);
    fprintf(out, "timehandoff_arrivals_total{checked=\"no\"} %" PRIu64 "\n",
            counts->arrivals_unchecked);
}

static void guest_metrics(const struct th_status_host *host, bool bound, FILE *out) {
    const char *name =
        bound ? "timehandoff_guest_residual_bound_seconds" : "timehandoff_guest_residual_seconds";
    bool headed = false;

    for (size_t i = 0; i < host->n_handoffs; i++) {
        const struct th_status_handoff *handoff = &host->handoffs[i];
        char uuid[TH_UUID_TEXT_SIZE];

        if (!handoff->has_residual) {
            continue;
        }
        if (!headed) {
            head(name, "gauge",
                 bound ? "Half-width that certainly holds the true residual."
                       : "Guest minus host after the last step of its clock.",
                 out);
            headed = true;
        }
        fputs(name, out);
        label("domain", handoff->domain, "{", out);
        label("uuid", th_uuid_format(&handoff->uuid, uuid), ",", out);
        fputs("} ", out);
        seconds(bound ? handoff->residual_bound_ns : handoff->residual_ns, out);
    }
}

void th_report_metrics(const struct th_status *status, FILE *out) {
    if (status->host) {
        host_metrics(status->host, out);
    }
    if (status->peers) {
        all_peer_metrics(status->peers, out);
        question_metrics(status->peers, out);
    }
    if (status->host) {
        alert_metrics(status, out);
        guest_metrics(status->host, false, out);
        guest_metrics(status->host, true, out);
    }
    if (status->counts) {
        count_metrics(status->counts, out);
    }
    head("timehandoff_override", "gauge", "Whether an override of the checks is in force.", out);
    fprintf(out, "timehandoff_override %d\n", status->override != NULL);
}

/* Readers see the old file or the new one. The name of the temporary one does not end in .prom, so
 * that it is never read. */
int th_report_metrics_write(const struct th_status *status, const char *path) {
    char temporary[PATH_MAX];
    th_auto_fclose FILE *out = NULL;
    int fd, r = 0;

    if (snprintf(temporary, sizeof(temporary), "%s.%ld", path, (long)getpid()) >=
        (int)sizeof(temporary)) {
        return -ENAMETOOLONG;
    }
    (void)unlink(temporary);
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) {
        return -errno;
    }
    (void)fchmod(fd, 0644);
    out = fdopen(fd, "w");
    if (!out) {
        r = -errno;
        close(fd);
    } else {
        th_report_metrics(status, out);
        if (fflush(out) != 0 || ferror(out)) {
            r = -EIO;
        }
    }
    if (r == 0 && rename(temporary, path) < 0) {
        r = -errno;
    }
    if (r < 0) {
        (void)unlink(temporary);
    }
    return r;
}
