/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Handoffs: one state machine a domain, asked for its next action by the loop, its agent calls
 * carried out by the pool, its waits by timers, so that a hundred guests wait for their agents at
 * the price of a hundred timers and only as many workers as are in a call.
 *
 * While an action is with a worker the machine belongs to that worker; what happens meanwhile
 * (connected, void, a newer trigger) is noted in the task and told to the machine when it is back.
 */
#include "daemon/agents.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "config/arrival.h"
#include "daemon/fleet.h"
#include "timehandoff/duration.h"
#include "timehandoff/handoff.h"
#include "timehandoff/report.h"

/* A wait longer than this gives the agent back: its time-out, and the domain's lock. */
#define GIVE_BACK_NS (2 * TH_NS_PER_S)
/* A step that waited for a worker longer than this is not carried out. */
#define SET_QUEUE_NS (200 * TH_NS_PER_MS)
/* How long a guest's handoff waits for this host to be synchronised. */
#define DEFER_NS (3600 * TH_NS_PER_S)
/* How soon to see again whether this host's synchronisation has been read for the first time. */
#define FIRST_SYNC_NS (50 * TH_NS_PER_MS)

struct th_handoff_task {
    struct th_daemon *daemon;
    struct th_uuid uuid;
    struct th_handoff_start start;
    struct th_handoff *handoff;
    sd_event_source *timer;
    bool busy;                   /* an action is with a worker */
    struct th_held_agent *agent; /* kept between actions; NULL: not held */
    /* Noted while busy: */
    bool connected;
    const char *void_why; /* NULL: not void */
    bool has_next;        /* a newer trigger waits */
    struct th_handoff_start next;
};

struct action_job {
    struct th_job job;
    struct th_handoff_task *task;
    struct th_handoff_action action;
    int timeout_s;
    int64_t submitted_mono_ns;
    int begin_result; /* of getting hold of the agent; the action was done if 0 */
};

static void pump(struct th_handoff_task *task);
static void start_task(struct th_handoff_task *task);

static struct th_daemon_domain *domain_of(const struct th_handoff_task *task) {
    return th_domains_find(task->daemon, &task->uuid);
}

static bool needs_agent(const struct th_handoff_action *action) {
    return action->what == TH_DO_READ || action->what == TH_DO_SET;
}

/* ---- in a worker ---- */

static void action_work(struct th_job *job) {
    struct action_job *action = (struct action_job *)job;
    struct th_handoff_task *task = action->task;
    struct th_agent agent;

    action->begin_result = 0;
    if (action->action.what == TH_DO_SET &&
        th_now_mono_ns() - action->submitted_mono_ns > SET_QUEUE_NS) {
        /* What it was decided upon is out of date: have it read again. */
        action->begin_result = TH_AGENT_BUSY;
        return;
    }
    if (needs_agent(&action->action)) {
        if (!task->agent) {
            action->begin_result =
                th_agents_hold(task->daemon->agents, &task->uuid, action->timeout_s, &task->agent);
        }
        if (action->begin_result == 0) {
            agent = th_agents_agent(task->agent);
            th_handoff_perform(task->handoff, &action->action, &agent);
        }
        return;
    }
    task->agent = th_agents_release(task->daemon->agents, task->agent);
}

/* ---- in the loop ---- */

/* A look now and then is worth a record only if it did something or found something new: an offset
 * that is at least twice what was reported last. And that a guest has no agent is said once. */
static bool is_news(const struct th_handoff_record *record, struct th_daemon_domain *domain) {
    bool has_agent = record->outcome != TH_HANDOFF_NO_AGENT;
    bool is_first = domain && !domain->told_no_agent;
    int64_t size_ns =
        record->before.offset_ns < 0 ? -record->before.offset_ns : record->before.offset_ns;

    /* One that became void before anybody answered says nothing about the agent. */
    if (domain && (!has_agent || record->readings)) {
        domain->told_no_agent = !has_agent;
    }
    if (!has_agent) {
        return is_first;
    }
    if (record->trigger != TH_TRIGGER_RECONCILE || record->steps) {
        return true;
    }
    if (record->outcome != TH_HANDOFF_REPORTED) {
        return false;
    }
    if (domain && domain->reported_ns && size_ns < 2 * domain->reported_ns) {
        return false;
    }
    if (domain) {
        domain->reported_ns = size_ns;
    }
    return true;
}

/* The clock was left as right as we could make it. */
static bool is_worth_a_recheck(const struct th_handoff *handoff) {
    enum th_handoff_outcome outcome = th_handoff_record(handoff)->outcome;

    return outcome == TH_HANDOFF_NOT_NEEDED || outcome == TH_HANDOFF_STEPPED ||
           outcome == TH_HANDOFF_IMPROVED;
}

static void report(struct th_handoff_task *task) {
    const struct th_handoff_record *record = th_handoff_record(task->handoff);
    struct th_daemon_domain *domain = domain_of(task);

    if (is_news(record, domain)) {
        th_report_handoff_journal(record);
        th_fleet_handed_off(task->daemon, record);
    }
    if (domain && is_worth_a_recheck(task->handoff)) {
        domain->reported_ns = 0; /* wrong once more would be news */
    }
}

static void task_free(struct th_handoff_task *task) {
    struct th_daemon_domain *domain = domain_of(task);

    if (domain && domain->handoff == task) {
        domain->handoff = NULL;
    }
    sd_event_source_disable_unref(task->timer);
    th_handoff_free(task->handoff);
    free(task);
}

/* The machine wants this, but the agent could not be held: tell it in the words it knows. */
static void tell_not_held(struct action_job *action) {
    struct th_handoff_task *task = action->task;
    enum th_agent_outcome outcome =
        action->begin_result > 0 ? (enum th_agent_outcome)action->begin_result : TH_AGENT_BUSY;
    struct th_now now = th_now();

    if (action->action.what == TH_DO_SET) {
        /* Nothing was sent. A set that did not happen reads back as such. */
        th_handoff_set_done(task->handoff, outcome, "the agent could not be reached", 0, &now,
                            &now);
        return;
    }
    th_handoff_read_done(task->handoff, outcome, "", &now);
}

static void action_done(struct th_job *job) {
    struct action_job *action = (struct action_job *)job;
    struct th_handoff_task *task = action->task;
    struct th_now now = th_now();

    task->busy = false;
    if (action->begin_result == -ECANCELED) {
        /* The daemon ends and no worker took it: give the agent back from here, so that nobody's
         * time-out stays changed. */
        task->agent = th_agents_release(task->daemon->agents, task->agent);
    }
    if (action->begin_result != 0 && needs_agent(&action->action)) {
        tell_not_held(action);
    }
    free(action);
    if (task->connected) {
        task->connected = false;
        th_handoff_connected(task->handoff, &now);
    }
    if (task->void_why) {
        th_handoff_void(task->handoff, task->void_why, &now);
    }
    pump(task);
}

static void submit(struct th_handoff_task *task, const struct th_handoff_action *action) {
    struct th_daemon *daemon = task->daemon;
    struct action_job *job = calloc(1, sizeof(*job));

    if (!job) {
        return; /* the timer of the last wait is gone; the domain's next event tries again */
    }
    job->job = (struct th_job){.work = action_work, .done = action_done};
    job->task = task;
    job->action = *action;
    job->timeout_s = th_agents_timeout_s(daemon->config);
    job->begin_result = -ECANCELED;
    job->submitted_mono_ns = th_now_mono_ns();
    task->busy = true;
    th_pool_submit(daemon->agent_pool, &job->job);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
    (void)source;
    (void)usec;
    pump(userdata);
    return 0;
}

static void wait_until(struct th_handoff_task *task, int64_t until_mono_ns) {
    uint64_t usec = until_mono_ns > 0 ? (uint64_t)((until_mono_ns + 999) / TH_NS_PER_US) : 0;

    task->timer = sd_event_source_disable_unref(task->timer);
    (void)sd_event_add_time(task->daemon->event, &task->timer, CLOCK_MONOTONIC, usec, 1, on_timer,
                            task);
}

/* Whether the guest is owed a handoff that only this host's clock stood in the way of. Who asked
 * for one, or only looked, has been told; a guest that lost time would stay wrong. */
static bool is_owed(const struct th_handoff_start *start) {
    return start->trigger != TH_TRIGGER_REQUEST &&
           (start->trigger != TH_TRIGGER_RECONCILE || start->missed_event);
}

/* It came to nothing because of this host's clock. */
static bool is_blocked(const struct th_handoff_record *record) {
    return record->outcome == TH_HANDOFF_REPORTED &&
           (record->decision == TH_DECIDE_UNSYNCHRONISED || record->host_moved);
}

static bool may_wait(const struct th_handoff_start *start) {
    return !start->owed_until_mono_ns || th_now_mono_ns() <= start->owed_until_mono_ns;
}

static void defer(struct th_handoff_task *task, struct th_daemon_domain *domain) {
    struct th_handoff_start *start = &domain->deferred_start;

    domain->deferred = true;
    *start = task->start;
    if (!start->owed_until_mono_ns) {
        start->owed_until_mono_ns =
            (start->event_mono_ns ? start->event_mono_ns : th_now_mono_ns()) + DEFER_NS;
    }
}

/* What is left to be done for a guest, once a handoff of it has ended. */
static void note_owed(struct th_handoff_task *task, struct th_daemon_domain *domain) {
    bool blocked = is_blocked(th_handoff_record(task->handoff)) && !task->void_why &&
                   domain->state == TH_DOMAIN_RUNNING;

    if (blocked && is_owed(&task->start) && may_wait(&task->start)) {
        defer(task, domain);
    } else if (!blocked || !domain->deferred) {
        domain->deferred = domain->due = false;
    }
    th_publish(task->daemon);
}

static void give_up_deferred(struct th_daemon *daemon, struct th_daemon_domain *domain) {
    char text[TH_DURATION_TEXT_SIZE];

    domain->deferred = domain->due = false;
    th_report_domain(LOG_WARNING, TH_MESSAGE_SERVICE, domain->name,
                     "timehandoffd: guest %s is not handed off, as this host was not synchronised "
                     "within %s; when it is, run 'timehandoff sync %s'",
                     domain->name, th_duration_format(DEFER_NS, text), domain->name);
    th_publish(daemon);
}

void th_handoffs_synchronised(struct th_daemon *daemon) {
    for (struct th_daemon_domain *domain = daemon->domains; domain; domain = domain->next) {
        const struct th_handoff_start *start = &domain->deferred_start;

        if (!domain->deferred || domain->handoff || domain->incoming ||
            domain->state != TH_DOMAIN_RUNNING) {
            continue;
        }
        if (daemon->sync.synchronised == TH_YES) {
            /* Its state and its policy may have changed since. */
            th_inspect(daemon, &domain->uuid, TH_INSPECT_DEFERRED, start->event_mono_ns);
        } else if (!may_wait(start)) {
            give_up_deferred(daemon, domain);
        }
    }
}

/* The end: the agent is given back first, by a worker, since that is a call too. */
static void finish(struct th_handoff_task *task) {
    struct th_handoff_start next = task->next;
    struct th_daemon *daemon = task->daemon;
    struct th_daemon_domain *domain = domain_of(task);
    bool has_next = task->has_next && domain && domain->state == TH_DOMAIN_RUNNING;

    report(task);
    if (domain && !has_next && !daemon->ending) {
        note_owed(task, domain);
    }
    if (domain && !has_next && !daemon->ending && is_worth_a_recheck(task->handoff)) {
        th_recheck_begin(daemon, domain, task->handoff);
        task->handoff = NULL;
    }
    task_free(task);
    if (has_next) {
        th_handoffs_begin(daemon, domain, &next);
    }
}

static void pump(struct th_handoff_task *task) {
    struct th_now now = th_now();
    struct th_handoff_action action;

    if (task->busy) {
        return;
    }
    th_handoff_synchronised(task->handoff, task->daemon->sync.synchronised);
    action = th_handoff_next(task->handoff, &now);
    switch (action.what) {
    case TH_DO_READ:
    case TH_DO_SET:
        if (task->daemon->sync_mono_ns) {
            submit(task, &action);
        } else {
            /* We only just started. To decide now would be to give the guest up as one of a host
             * that is not synchronised. */
            wait_until(task, now.mono_ns + FIRST_SYNC_NS);
        }
        break;
    case TH_DO_WAIT:
        if (task->agent && action.until_mono_ns - now.mono_ns > GIVE_BACK_NS) {
            submit(task, &action);
        } else {
            wait_until(task, action.until_mono_ns);
        }
        break;
    case TH_DO_FINISH:
        if (task->agent) {
            submit(task, &action);
        } else {
            finish(task);
        }
        break;
    }
}

/* What the checker found out about this migration, if it left a note. */
static void add_arrival(struct th_handoff_task *task) {
    struct th_handoff_start *start = &task->start;
    struct th_arrival arrival;

    if (start->trigger != TH_TRIGGER_MIGRATED && start->trigger != TH_TRIGGER_RECONCILE) {
        return;
    }
    if (task->daemon->arrivals >= 0 &&
        th_arrival_take(task->daemon->arrivals, &task->uuid, th_now_real_ns(), &arrival) == 0) {
        th_text_clean(arrival.host, start->from_host, sizeof(start->from_host));
        start->has_gap = arrival.has_gap;
        start->gap = arrival.gap;
    }
    th_handoff_set_arrival(task->handoff, start->from_host, start->has_gap ? &start->gap : NULL);
}

static int make_handoff(struct th_handoff_task *task, const struct th_daemon_domain *domain,
                        const struct th_handoff_start *start) {
    const struct th_config *config = task->daemon->config;
    struct th_now now = th_now();
    struct th_handoff_config handoff = {
        .uuid = task->uuid,
        .name = domain->name,
        .trigger = start->trigger,
        .event_mono_ns = start->event_mono_ns,
        .policy = th_handoff_policy(config, &start->policy,
                                    start->missed_event ? start->cause : start->trigger),
        .target_ns = config->target_ns,
        .give_up_ns = config->give_up_ns,
        .host_synchronised = task->daemon->sync.synchronised,
        .missed_event = start->missed_event,
        .wait_for_agent = start->trigger != TH_TRIGGER_RECONCILE || start->missed_event,
        .again_later = is_owed(start),
    };

    return th_handoff_new(&handoff, &now, &task->handoff);
}

static void end_task(struct th_daemon_domain *domain, const char *why) {
    struct th_handoff_task *task = domain->handoff;
    struct th_now now = th_now();

    th_recheck_void(domain);
    if (!task) {
        return;
    }
    if (task->busy) {
        task->void_why = why;
        return;
    }
    th_handoff_void(task->handoff, why, &now);
    pump(task);
}

void th_handoffs_begin(struct th_daemon *daemon, struct th_daemon_domain *domain,
                       const struct th_handoff_start *start) {
    struct th_handoff_task *task;

    th_recheck_void(domain);
    if (is_owed(start)) {
        domain->deferred = false; /* this is it, or a later one that makes up for it */
    }
    if (start->trigger != TH_TRIGGER_RECONCILE || start->missed_event) {
        domain->due = true;
        th_publish(daemon);
    }
    if (domain->handoff) {
        domain->handoff->next = *start;
        domain->handoff->has_next = true;
        end_task(domain, "the guest was resumed again");
        return;
    }
    task = calloc(1, sizeof(*task));
    if (!task) {
        return;
    }
    task->daemon = daemon;
    task->uuid = domain->uuid;
    task->start = *start;
    if (make_handoff(task, domain, start) < 0) {
        free(task);
        return;
    }
    domain->handoff = task;
    start_task(task);
}

static void start_task(struct th_handoff_task *task) {
    add_arrival(task);
    pump(task);
}

void th_handoffs_connected(struct th_daemon_domain *domain) {
    struct th_handoff_task *task = domain->handoff;
    struct th_now now = th_now();

    if (!task) {
        return;
    }
    if (task->busy) {
        task->connected = true;
        return;
    }
    th_handoff_connected(task->handoff, &now);
    pump(task);
}

void th_handoffs_void(struct th_daemon_domain *domain, const char *why) {
    if (domain->deferred) {
        domain->deferred = domain->due = false;
    }
    end_task(domain, why);
}
