/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watch over the peers runs in a thread of its own because names are looked up here, and a name
 * server that does not answer must not keep peerd from answering. The thread shares nothing with
 * the rest but the configuration, which does not change under it, and requests to probe a peer now;
 * what it learns goes into the published file, where everybody, peerd's own responder too, reads
 * it.
 *
 * All peers are probed at the start. From then on each has an instant of its own, spread over the
 * interval and jittered, so that a thousand peers are a few a second and hosts that were started
 * together do not stay together.
 */
#include "peerd/watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "peerd/watch_private.h"
#include "timehandoff/report.h"

/* What was learnt is published this often at most, in parts of the interval; and at least every
 * ten seconds. */
#define WRITES_PER_INTERVAL 6
#define WRITE_LATEST_NS (10 * TH_NS_PER_S)
/* Looking up names goes on for this long at a time. */
#define RESOLVE_MOST_NS (2 * TH_NS_PER_S)

/* After a reload the thread of the watch before may still be at it: one writes at a time. */
static pthread_mutex_t publishing = PTHREAD_MUTEX_INITIALIZER;

struct th_watch {
    struct th_watch_table table;
    const struct th_responder_counts *counts;
    int64_t written_mono_ns; /* 0: never */
    bool dirty;              /* something is not published yet */
    bool urgent;             /* somebody waits for it */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;         /* under lock, as the next one */
    char request[256]; /* a peer to be probed now; "": none */
};

static int64_t interval_ns(const struct th_watch *watch) {
    return watch->table.config->peer_interval_ns;
}

static int64_t write_every_ns(const struct th_watch *watch) {
    int64_t every_ns = interval_ns(watch) / WRITES_PER_INTERVAL;

    return every_ns < WRITE_LATEST_NS ? every_ns : WRITE_LATEST_NS;
}

/* least_permille to most_permille of the interval. */
static int64_t part_of_interval(const struct th_watch *watch, unsigned least_permille,
                                unsigned most_permille) {
    uint32_t random = 0;

    th_random(&random, sizeof(random));
    return interval_ns(watch) / 1000 *
           (least_permille + random % (most_permille - least_permille + 1));
}

/* The first pause is any part of the interval, which spreads the peers; then they keep apart. */
static void schedule(struct th_watch *watch, struct th_watch_slot *slot, int64_t mono_ns) {
    int64_t pause_ns =
        slot->probed ? part_of_interval(watch, 900, 1100) : part_of_interval(watch, 100, 1000);

    slot->probed = true;
    slot->due_mono_ns = mono_ns + pause_ns;
}

static bool is_stopping(struct th_watch *watch) {
    bool stop;

    pthread_mutex_lock(&watch->lock);
    stop = watch->stop;
    pthread_mutex_unlock(&watch->lock);
    return stop;
}

/* Probes what is due, at most a batch. Returns how many that were. */
static size_t probe_due(struct th_watch *watch) {
    struct th_watch_table *table = &watch->table;
    int64_t mono_ns = th_now_mono_ns();
    size_t places[TH_WATCH_BATCH], n = 0;
    int r;

    for (size_t i = 0; i < table->known.n_peers && n < TH_WATCH_BATCH; i++) {
        if (table->slots[i].due_mono_ns <= mono_ns) {
            places[n++] = i;
        }
    }
    /* A name server that does not answer takes seconds a name: the rest then waits its turn, so
     * that what is known is published meanwhile. */
    for (size_t i = 0; i < n; i++) {
        th_watch_table_resolve(table, places[i], mono_ns);
        if (th_now_mono_ns() - mono_ns > RESOLVE_MOST_NS || is_stopping(watch)) {
            n = i + 1;
        }
    }
    r = n ? th_watch_probe(table, places, n) : 0;
    if (r < 0) {
        th_report(LOG_WARNING, NULL, "timehandoff-peerd: cannot probe peers, ignoring: %s",
                  strerror(-r));
    }
    for (size_t i = 0; i < n; i++) {
        schedule(watch, &table->slots[places[i]], mono_ns);
    }
    watch->dirty |= n > 0;
    return n;
}

static void publish(struct th_watch *watch) {
    struct th_state_peers *known = &watch->table.known;
    struct th_now now = th_now();
    int r = 0;

    for (size_t i = 0; i < TH_ELEMENTS(known->questions); i++) {
        known->questions[i] = (int64_t)watch->counts->by_outcome[i];
    }
    pthread_mutex_lock(&publishing);
    if (!is_stopping(watch)) {
        r = th_state_peers_write(TH_STATE_FOLDER, known, &now, interval_ns(watch));
    }
    pthread_mutex_unlock(&publishing);
    watch->written_mono_ns = now.mono_ns;
    watch->dirty = watch->urgent = false;
    if (r < 0) {
        th_report(LOG_WARNING, NULL, "timehandoff-peerd: cannot write %s/%s, ignoring: %s",
                  TH_STATE_FOLDER, TH_STATE_PEERS_FILE, strerror(-r));
    }
}

/* When to publish next: soon if there is news, else before the file would grow stale. */
static int64_t publish_mono_ns(const struct th_watch *watch) {
    if (watch->urgent || watch->written_mono_ns == 0) {
        return 0;
    }
    return watch->written_mono_ns + (watch->dirty ? write_every_ns(watch) : interval_ns(watch));
}

static int64_t next_mono_ns(const struct th_watch *watch) {
    int64_t next_ns = publish_mono_ns(watch);

    for (size_t i = 0; i < watch->table.known.n_peers; i++) {
        if (watch->table.slots[i].due_mono_ns < next_ns) {
            next_ns = watch->table.slots[i].due_mono_ns;
        }
    }
    return next_ns;
}

/* Waits until the instant, a request, or the word to stop; returns whether to stop. */
static bool wait_until(struct th_watch *watch, int64_t until_mono_ns, char request[256]) {
    struct timespec until = {.tv_sec = until_mono_ns / TH_NS_PER_S,
                             .tv_nsec = until_mono_ns % TH_NS_PER_S};
    bool stop;
    int r = 0;

    pthread_mutex_lock(&watch->lock);
    while (!watch->stop && !watch->request[0] && r == 0) {
        r = pthread_cond_clockwait(&watch->wake, &watch->lock, CLOCK_MONOTONIC, &until);
    }
    stop = watch->stop;
    strcpy(request, watch->request);
    watch->request[0] = '\0';
    pthread_mutex_unlock(&watch->lock);
    return stop;
}

static void take_request(struct th_watch *watch, const char *request) {
    for (size_t i = 0; request[0] && i < watch->table.known.n_peers; i++) {
        if (strcmp(watch->table.known.peers[i].host, request) == 0) {
            watch->table.slots[i].due_mono_ns = 0;
            watch->urgent = true;
        }
    }
}

static void *run(void *argument) {
    struct th_watch *watch = argument;
    char request[sizeof(watch->request)] = "";
    bool stop = false;

    while (!stop) {
        size_t n;

        th_watch_table_take_stamps(&watch->table);
        take_request(watch, request);
        n = probe_due(watch);
        /* With a full batch more are waiting, and one file is to hold them all. */
        if (n < TH_WATCH_BATCH && th_now_mono_ns() >= publish_mono_ns(watch)) {
            publish(watch);
        }
        stop = wait_until(watch, n < TH_WATCH_BATCH ? next_mono_ns(watch) : 0, request);
    }
    return NULL;
}

int th_watch_new(const struct th_config *config, const struct th_keyring *keys,
                 const struct th_responder_counts *counts, struct th_watch **ret_watch) {
    struct th_watch *watch = calloc(1, sizeof(*watch));
    int r;

    if (!watch) {
        return -ENOMEM;
    }
    watch->counts = counts;
    pthread_mutex_init(&watch->lock, NULL);
    pthread_cond_init(&watch->wake, NULL);
    r = th_watch_table_init(&watch->table, config, keys);
    if (r == 0) {
        r = -pthread_create(&watch->thread, NULL, run, watch);
    }
    if (r < 0) {
        th_watch_table_deinit(&watch->table);
        free(watch);
        return r;
    }
    *ret_watch = watch;
    return 0;
}

void th_watch_request(struct th_watch *watch, const char *peer) {
    pthread_mutex_lock(&watch->lock);
    snprintf(watch->request, sizeof(watch->request), "%s", peer);
    pthread_cond_signal(&watch->wake);
    pthread_mutex_unlock(&watch->lock);
}

static bool has_ended(struct th_watch *watch, int64_t wait_ns) {
    int64_t until_ns = th_now_mono_ns() + wait_ns;
    struct timespec until = {.tv_sec = until_ns / TH_NS_PER_S, .tv_nsec = until_ns % TH_NS_PER_S};

    return pthread_clockjoin_np(watch->thread, NULL, CLOCK_MONOTONIC, &until) == 0;
}

void th_watch_stop(struct th_watch *watch) {
    pthread_mutex_lock(&watch->lock);
    watch->stop = true;
    pthread_cond_signal(&watch->wake);
    pthread_mutex_unlock(&watch->lock);
}

struct th_watch *th_watch_free(struct th_watch *watch, int64_t wait_ns) {
    if (!watch) {
        return NULL;
    }
    th_watch_stop(watch);
    if (!has_ended(watch, wait_ns)) {
        return watch;
    }
    pthread_cond_destroy(&watch->wake);
    pthread_mutex_destroy(&watch->lock);
    th_watch_table_deinit(&watch->table);
    free(watch);
    return NULL;
}
