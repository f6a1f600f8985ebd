/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looking again some time after a handoff. A migration is also a step in frequency: the guest's
 * counter and its NTP's correction came from the old host, so a clock that is right now may be a
 * millisecond off in ten seconds. Rechecks only read and report, how far the clock is and how fast
 * it drifts; what to do about a drift is the guest's NTP's business.
 */
#include "daemon/agents.h"

#include <errno.h>
#include <stdlib.h>

#include "timehandoff/report.h"

#define READINGS 5

struct th_recheck {
    struct th_daemon *daemon;
    struct th_handoff *handoff;
    int64_t began_mono_ns; /* when the handoff ended */
    unsigned index;        /* the recheck that is next or under way */
    bool busy;
    bool is_void; /* the domain moved on while a worker was reading */
    sd_event_source *timer;
};

struct recheck_job {
    struct th_job job;
    struct th_recheck *recheck;
    struct th_uuid uuid;
    int timeout_s;
    int result; /* 0: offset is filled */
    struct th_offset offset;
};

static struct th_daemon_domain *domain_of(const struct th_recheck *recheck) {
    return th_domains_find(recheck->daemon, &th_handoff_record(recheck->handoff)->uuid);
}

static void recheck_free(struct th_recheck *recheck) {
    struct th_daemon_domain *domain = domain_of(recheck);

    if (domain && domain->recheck == recheck) {
        domain->recheck = NULL;
    }
    sd_event_source_disable_unref(recheck->timer);
    th_handoff_free(recheck->handoff);
    free(recheck);
}

static void recheck_work(struct th_job *job) {
    struct recheck_job *reading = (struct recheck_job *)job;
    struct th_agents *agents = reading->recheck->daemon->agents;
    struct th_held_agent *held = NULL;
    struct th_agent agent;

    reading->result = th_agents_hold(agents, &reading->uuid, reading->timeout_s, &held);
    if (reading->result == 0) {
        agent = th_agents_agent(held);
        reading->result = (int)th_handoff_measure(&agent, READINGS, &reading->offset);
        th_agents_release(agents, held);
    }
}

static void schedule(struct th_recheck *recheck);

static void recheck_done(struct th_job *job) {
    struct recheck_job *reading = (struct recheck_job *)job;
    struct th_recheck *recheck = reading->recheck;

    recheck->busy = false;
    if (reading->result == 0 && !recheck->is_void) {
        th_handoff_recheck(recheck->handoff, recheck->index, &reading->offset);
        th_report_recheck_journal(th_handoff_record(recheck->handoff), recheck->index);
    }
    free(reading);
    recheck->index++;
    if (recheck->is_void) {
        recheck_free(recheck);
    } else {
        schedule(recheck);
    }
}

static int on_time(sd_event_source *source, uint64_t usec, void *userdata) {
    struct th_recheck *recheck = userdata;
    struct recheck_job *reading = calloc(1, sizeof(*reading));

    (void)source;
    (void)usec;
    if (!reading) {
        recheck_free(recheck);
        return 0;
    }
    reading->job = (struct th_job){.work = recheck_work, .done = recheck_done};
    reading->recheck = recheck;
    reading->uuid = th_handoff_record(recheck->handoff)->uuid;
    reading->timeout_s = th_agents_timeout_s(recheck->daemon->config);
    reading->result = -ECANCELED;
    recheck->busy = true;
    th_pool_submit(recheck->daemon->agent_pool, &reading->job);
    return 0;
}

/* The next recheck that is configured; none left: the end. */
static void schedule(struct th_recheck *recheck) {
    const struct th_config *config = recheck->daemon->config;
    int64_t at_ns;

    while (recheck->index < TH_ELEMENTS(config->recheck_ns) &&
           !config->recheck_ns[recheck->index]) {
        recheck->index++;
    }
    if (recheck->index == TH_ELEMENTS(config->recheck_ns)) {
        recheck_free(recheck);
        return;
    }
    at_ns = recheck->began_mono_ns + config->recheck_ns[recheck->index];
    recheck->timer = sd_event_source_disable_unref(recheck->timer);
    if (sd_event_add_time(recheck->daemon->event, &recheck->timer, CLOCK_MONOTONIC,
                          (uint64_t)(at_ns / TH_NS_PER_US), 0, on_time, recheck) < 0) {
        recheck_free(recheck);
    }
}

void th_recheck_begin(struct th_daemon *daemon, struct th_daemon_domain *domain,
                      struct th_handoff *handoff) {
    struct th_recheck *recheck = calloc(1, sizeof(*recheck));

    th_recheck_void(domain);
    if (!recheck) {
        th_handoff_free(handoff);
        return;
    }
    recheck->daemon = daemon;
    recheck->handoff = handoff;
    recheck->began_mono_ns = th_now_mono_ns();
    domain->recheck = recheck;
    schedule(recheck);
}

void th_recheck_void(struct th_daemon_domain *domain) {
    struct th_recheck *recheck = domain->recheck;

    if (!recheck) {
        return;
    }
    domain->recheck = NULL;
    if (recheck->busy) {
        recheck->is_void = true;
    } else {
        recheck_free(recheck);
    }
}
