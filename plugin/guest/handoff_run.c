/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What carries out the handoff machine's wishes over an agent: one wish at a time for a daemon
 * that has its own loop and calls this on a worker thread, or all of them for a program that may
 * block. Clocks are read right around the agent's calls, as close as the bound of a reading
 * deserves; nothing is decided here.
 */
#include "timehandoff/handoff.h"

#include <errno.h>
#include <time.h>

#include "guest/burst.h"

/* Reads the guest's clock once; sent and received are the host's clocks around it. */
static enum th_agent_outcome read_clock(const struct th_agent *agent, int64_t *ret_guest_ns,
                                        struct th_now *ret_sent, struct th_now *ret_received) {
    enum th_agent_outcome outcome;

    *ret_sent = th_now();
    outcome = agent->ops->get_time(agent->self, ret_guest_ns);
    *ret_received = th_now();
    return outcome;
}

static void perform_read(struct th_handoff *handoff, unsigned count, const struct th_agent *agent) {
    enum th_agent_outcome outcome = TH_AGENT_OK;
    struct th_now now;

    for (unsigned i = 0; i < count && outcome == TH_AGENT_OK; i++) {
        struct th_now sent, received;
        int64_t guest_ns;

        outcome = read_clock(agent, &guest_ns, &sent, &received);
        if (outcome == TH_AGENT_OK) {
            th_handoff_reading(handoff, guest_ns, &sent, &received);
        }
    }
    now = th_now();
    th_handoff_read_done(handoff, outcome,
                         outcome == TH_AGENT_OK ? "" : agent->ops->last_error(agent->self), &now);
}

/* What is sent is made of one reading of the host's clock, so the machine is asked once more with
 * that very reading: a clock that was stepped a moment ago gets into no guest. */
static void perform_set(struct th_handoff *handoff, const struct th_agent *agent) {
    struct th_now sent = th_now(), now;
    struct th_handoff_action action = th_handoff_next(handoff, &sent);
    int64_t guest_ns = sent.real_ns + action.lead_ns;
    enum th_agent_outcome outcome;

    if (action.what != TH_DO_SET) {
        return;
    }
    outcome = agent->ops->set_time(agent->self, guest_ns);
    now = th_now();
    th_handoff_set_done(handoff, outcome,
                        outcome == TH_AGENT_OK ? "" : agent->ops->last_error(agent->self), guest_ns,
                        &sent, &now);
}

void th_handoff_perform(struct th_handoff *handoff, const struct th_handoff_action *action,
                        const struct th_agent *agent) {
    if (action->what == TH_DO_READ) {
        perform_read(handoff, action->count, agent);
    } else if (action->what == TH_DO_SET) {
        perform_set(handoff, agent);
    }
}

static int sleep_until(int64_t mono_ns) {
    struct timespec until = {
        .tv_sec = mono_ns / TH_NS_PER_S,
        .tv_nsec = mono_ns % TH_NS_PER_S,
    };

    return -clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

int th_handoff_run(struct th_handoff *handoff, const struct th_agent *agent,
                   int64_t deadline_mono_ns) {
    for (;;) {
        struct th_now now = th_now();
        struct th_handoff_action action = th_handoff_next(handoff, &now);
        int r;

        switch (action.what) {
        case TH_DO_FINISH: return 0;
        case TH_DO_READ:
        case TH_DO_SET: th_handoff_perform(handoff, &action, agent); break;
        case TH_DO_WAIT:
            if (action.until_mono_ns > deadline_mono_ns) {
                return -ETIMEDOUT;
            }
            r = sleep_until(action.until_mono_ns);
            if (r < 0) {
                return r;
            }
            break;
        }
    }
}

enum th_agent_outcome th_handoff_measure(const struct th_agent *agent, unsigned count,
                                         struct th_offset *ret_offset) {
    struct th_burst burst = {0};

    for (unsigned i = 0; i < count; i++) {
        enum th_agent_outcome outcome;
        struct th_now sent, received;
        int64_t guest_ns;

        outcome = read_clock(agent, &guest_ns, &sent, &received);
        if (outcome != TH_AGENT_OK) {
            return outcome;
        }
        th_burst_add(&burst, guest_ns, &sent, &received, 0);
    }
    *ret_offset = burst.best;
    return TH_AGENT_OK;
}
