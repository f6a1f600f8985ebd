/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The hysteresis and the book-keeping of alerts: who is observed, how many observations in a row
 * said what, what is set. What an observation says is decided by alert_judge.c, so that here a
 * condition is only ever bad, good or neither.
 */
#include "fleet/alert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Observations in a row. */
#define ROW_SET 2
#define ROW_SET_SILENT 3
#define ROW_CLEAR 2

struct track {
    enum th_alert_seen seen; /* what the row is of */
    unsigned row;
    struct th_alert *alert; /* NULL: not set */
};

/* This host, or a peer. */
struct subject {
    char name[256]; /* "": this host */
    bool present;   /* in the look that is under way */
    int64_t probed_boot_ns;
    struct track tracks[TH_ALERT_KINDS];
};

struct th_alerts {
    struct subject *subjects; /* the first is this host */
    size_t n;
};

/* One call's worth of what every step needs. */
struct look {
    const struct th_alert_rules *rules;
    const struct th_alert_host *host;
    int64_t now_real_ns;
    th_alert_changed *changed;
    void *userdata;
};

int th_alerts_new(struct th_alerts **ret_alerts) {
    struct th_alerts *alerts = calloc(1, sizeof(*alerts));

    if (!alerts) {
        return -ENOMEM;
    }
    alerts->subjects = calloc(1, sizeof(*alerts->subjects));
    if (!alerts->subjects) {
        free(alerts);
        return -ENOMEM;
    }
    alerts->n = 1;
    *ret_alerts = alerts;
    return 0;
}

static void forget(struct subject *subject) {
    for (size_t i = 0; i < TH_ALERT_KINDS; i++) {
        free(subject->tracks[i].alert);
        subject->tracks[i] = (struct track){.alert = NULL};
    }
}

struct th_alerts *th_alerts_free(struct th_alerts *alerts) {
    if (alerts) {
        for (size_t i = 0; i < alerts->n; i++) {
            forget(&alerts->subjects[i]);
        }
        free(alerts->subjects);
        free(alerts);
    }
    return NULL;
}

/* Peers come in the same order each time, so the place of the last time is the first guess. */
static struct subject *find(struct th_alerts *alerts, const char *name, size_t guess) {
    if (guess < alerts->n && strcmp(alerts->subjects[guess].name, name) == 0) {
        return &alerts->subjects[guess];
    }
    for (size_t i = 0; i < alerts->n; i++) {
        if (strcmp(alerts->subjects[i].name, name) == 0) {
            return &alerts->subjects[i];
        }
    }
    return NULL;
}

static struct subject *find_or_add(struct th_alerts *alerts, const char *name, size_t guess) {
    struct subject *subject = find(alerts, name, guess), *grown;

    if (subject) {
        return subject;
    }
    grown = reallocarray(alerts->subjects, alerts->n + 1, sizeof(*grown));
    if (!grown) {
        return NULL;
    }
    alerts->subjects = grown;
    subject = &grown[alerts->n++];
    memset(subject, 0, sizeof(*subject));
    snprintf(subject->name, sizeof(subject->name), "%s", name);
    return subject;
}

int th_alerts_restore(struct th_alerts *alerts, const struct th_alert *alert) {
    struct subject *subject = find_or_add(alerts, alert->peer, alerts->n);
    struct th_alert *copy = subject ? malloc(sizeof(*copy)) : NULL;

    if (!copy) {
        return -ENOMEM;
    }
    *copy = *alert;
    free(subject->tracks[alert->kind].alert);
    subject->tracks[alert->kind].alert = copy;
    return 0;
}

static int set(struct track *track, const char *peer, enum th_alert_kind kind,
               const struct th_alert *judged, const struct look *look) {
    struct th_alert *alert = malloc(sizeof(*alert));

    if (!alert) {
        return -ENOMEM;
    }
    *alert = *judged;
    alert->kind = kind;
    alert->since_real_ns = look->now_real_ns;
    snprintf(alert->peer, sizeof(alert->peer), "%s", peer);
    track->alert = alert;
    look->changed(look->userdata, alert, true);
    return 0;
}

/* The alert that is told goes out with the words of its end. */
static void clear(struct track *track, const struct th_alert *judged, const struct look *look) {
    struct th_alert *alert = track->alert;

    track->alert = NULL;
    alert->has_gap = judged->has_gap;
    alert->gap = judged->gap;
    alert->limit_ns = judged->limit_ns;
    snprintf(alert->reason, sizeof(alert->reason), "%s", judged->reason);
    look->changed(look->userdata, alert, false);
    free(alert);
}

/* While it is set, its words and numbers follow the newest observation. */
static void refresh(struct th_alert *alert, const struct th_alert *judged) {
    alert->has_gap = judged->has_gap;
    alert->gap = judged->gap;
    alert->limit_ns = judged->limit_ns;
    snprintf(alert->reason, sizeof(alert->reason), "%s", judged->reason);
}

static int observe(struct subject *subject, enum th_alert_kind kind, enum th_alert_seen seen,
                   const struct th_alert *judged, const struct look *look) {
    struct track *track = &subject->tracks[kind];
    unsigned row_set = kind == TH_ALERT_PEER_SILENT ? ROW_SET_SILENT : ROW_SET;

    track->row = seen == track->seen && track->row < ROW_SET_SILENT ? track->row + 1
                 : seen == track->seen                              ? track->row
                                                                    : 1;
    track->seen = seen;
    if (seen == TH_ALERT_SEEN_BAD && track->alert) {
        refresh(track->alert, judged);
    } else if (seen == TH_ALERT_SEEN_BAD && track->row >= row_set) {
        return set(track, subject->name, kind, judged, look);
    } else if (seen == TH_ALERT_SEEN_GOOD && track->alert && track->row >= ROW_CLEAR) {
        clear(track, judged, look);
    }
    return 0;
}

static void clear_all(struct subject *subject, const char *why, const struct look *look) {
    struct th_alert over = {.kind = TH_ALERT_GAP};

    snprintf(over.reason, sizeof(over.reason), "%s", why);
    for (size_t i = 0; i < TH_ALERT_KINDS; i++) {
        if (subject->tracks[i].alert) {
            clear(&subject->tracks[i], &over, look);
        }
    }
    forget(subject);
}

static int judge_all(struct subject *subject, const enum th_alert_kind *kinds, size_t n,
                     const struct th_state_peer *peer, const char *own_group,
                     const struct look *look) {
    int r = 0;

    for (size_t i = 0; i < n && r == 0; i++) {
        struct th_alert judged = {.has_gap = false};
        struct th_alert_case about = {look->rules, look->host, peer, own_group};
        enum th_alert_seen seen = th_alert_judge(kinds[i], &about, &judged);

        r = observe(subject, kinds[i], seen, &judged, look);
    }
    return r;
}

int th_alerts_observe_host(struct th_alerts *alerts, const struct th_alert_rules *rules,
                           const struct th_alert_host *host, int64_t now_real_ns,
                           th_alert_changed *changed, void *userdata) {
    static const enum th_alert_kind kinds[] = {TH_ALERT_HOST_UNSYNCHRONISED,
                                               TH_ALERT_NTP_UNCONFIGURED};
    struct look look = {rules, host, now_real_ns, changed, userdata};

    if (!rules->enabled) {
        clear_all(&alerts->subjects[0], "alerts were switched off", &look);
        return 0;
    }
    return judge_all(&alerts->subjects[0], kinds, TH_ELEMENTS(kinds), NULL, "", &look);
}

static int observe_peer(struct th_alerts *alerts, const struct th_state_peer *peer, size_t guess,
                        const char *own_group, const struct look *look) {
    static const enum th_alert_kind kinds[] = {TH_ALERT_GAP, TH_ALERT_PEER_UNSYNCHRONISED,
                                               TH_ALERT_PEER_SILENT, TH_ALERT_NTP_DIFFERS};
    struct subject *subject = find_or_add(alerts, peer->host, guess);

    if (!subject) {
        return -ENOMEM;
    }
    subject->present = true;
    if (peer->probed_boot_ns <= subject->probed_boot_ns) {
        return 0;
    }
    subject->probed_boot_ns = peer->probed_boot_ns;
    return judge_all(subject, kinds, TH_ELEMENTS(kinds), peer, own_group, look);
}

/* Peers that are gone: their alerts end, and their places close up. */
static void sweep(struct th_alerts *alerts, const char *why, const struct look *look) {
    size_t kept = 1;

    for (size_t i = 1; i < alerts->n; i++) {
        struct subject *subject = &alerts->subjects[i];

        if (subject->present) {
            subject->present = false;
            alerts->subjects[kept++] = *subject;
        } else {
            clear_all(subject, why, look);
        }
    }
    alerts->n = kept;
}

int th_alerts_observe_peers(struct th_alerts *alerts, const struct th_alert_rules *rules,
                            const struct th_alert_host *host, const struct th_state_peers *peers,
                            int64_t now_real_ns, th_alert_changed *changed, void *userdata) {
    struct look look = {rules, host, now_real_ns, changed, userdata};
    const char *own_group = "";
    int r = 0;

    for (size_t i = 0; i < peers->n_peers; i++) {
        if (peers->peers[i].own) {
            own_group = peers->peers[i].group;
        }
    }
    for (size_t i = 0, guess = 1; rules->enabled && i < peers->n_peers && r == 0; i++) {
        if (!peers->peers[i].own) {
            r = observe_peer(alerts, &peers->peers[i], guess++, own_group, &look);
        }
    }
    if (r == 0) {
        sweep(alerts, rules->enabled ? "no longer among the peers" : "alerts were switched off",
              &look);
    }
    return r;
}

size_t th_alerts_list(const struct th_alerts *alerts, const struct th_alert **ret_list,
                      size_t max) {
    size_t n = 0;

    for (size_t i = 0; i < alerts->n; i++) {
        for (size_t kind = 0; kind < TH_ALERT_KINDS; kind++) {
            const struct th_alert *alert = alerts->subjects[i].tracks[kind].alert;

            if (alert && n < max) {
                ret_list[n] = alert;
            }
            n += alert != NULL;
        }
    }
    return n;
}
