/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handoff before a step: what a first reading leads to, and what to do when there is none. The
 * decision itself is the policy's; here it is turned into a step, a second look or an end. While
 * nobody answers it waits to be told that the agent is connected, and looks by itself now and then,
 * as events can be missed; the deadline of the handoff ends that.
 */
#include "guest/handoff_private.h"

#define POLL_LAST_NS (5 * TH_NS_PER_S)
#define BUSY_NS TH_NS_PER_S            /* something is in the way of a call */
#define REFUSED_NS (2 * TH_NS_PER_S)   /* a guest with frozen file systems refuses for a while */
#define UNCERTAIN_NS (TH_NS_PER_S / 2) /* a busy guest may calm down */
#define SLOPE_MARGIN_NS (10 * TH_NS_PER_MS)

#define MAX_REFUSALS 3
#define MAX_UNCERTAIN 4
#define MAX_SLOPES 3

/* ---- readings that failed ---- */

static void wait_for_agent(struct th_handoff *handoff, int64_t delay_ns, const struct th_now *now) {
    int64_t until_ns = now->mono_ns + delay_ns;

    if (until_ns > handoff->deadline_mono_ns) {
        until_ns = handoff->deadline_mono_ns;
    }
    th_handoff_read_at(handoff, handoff->purpose, until_ns);
    handoff->wait_for_agent = true;
}

static void poll_agent(struct th_handoff *handoff, const struct th_now *now) {
    if (handoff->connected_in_burst) {
        /* The news came just too late for the call that failed: don't sleep over it. */
        th_handoff_read_now(handoff, handoff->purpose);
        return;
    }
    wait_for_agent(handoff, handoff->poll_ns, now);
    handoff->poll_ns *= 2;
    if (handoff->poll_ns > POLL_LAST_NS) {
        handoff->poll_ns = POLL_LAST_NS;
    }
}

/* What a reading that failed for good leaves of a guest that was never touched. */
static enum th_handoff_outcome untouched_outcome(enum th_agent_outcome outcome) {
    if (outcome == TH_AGENT_REFUSED) {
        return TH_HANDOFF_FAILED;
    }
    return outcome == TH_AGENT_NOT_RUNNING ? TH_HANDOFF_VOID : TH_HANDOFF_NO_AGENT;
}

static bool is_hopeless(struct th_handoff *handoff, enum th_agent_outcome outcome,
                        const struct th_now *now) {
    if (outcome == TH_AGENT_ABSENT || now->mono_ns >= handoff->deadline_mono_ns ||
        handoff->record.attempts >= TH_HANDOFF_MAX_BURSTS) {
        return true;
    }
    /* Who only looks now and then does not wait for an agent that is not there or hangs. */
    if (outcome == TH_AGENT_NOT_CONNECTED || outcome == TH_AGENT_TIMED_OUT ||
        (outcome == TH_AGENT_NOT_RUNNING && !handoff->config.wait_for_agent)) {
        return !handoff->config.wait_for_agent && !handoff->in_doubt;
    }
    handoff->refusals = outcome == TH_AGENT_REFUSED ? handoff->refusals + 1 : 0;
    return handoff->refusals >= MAX_REFUSALS;
}

void th_handoff_read_failed(struct th_handoff *handoff, enum th_agent_outcome outcome,
                            const char *words, const struct th_now *now) {
    if (is_hopeless(handoff, outcome, now)) {
        th_handoff_give_up(handoff, untouched_outcome(outcome), words);
    } else if (outcome == TH_AGENT_REFUSED) {
        wait_for_agent(handoff, REFUSED_NS, now);
    } else if (outcome == TH_AGENT_BUSY) {
        wait_for_agent(handoff, BUSY_NS, now);
    } else {
        poll_agent(handoff, now);
    }
}

/* ---- deciding ---- */

bool th_handoff_may_step(const struct th_handoff *handoff) {
    const struct th_handoff_config *config = &handoff->config;

    return config->host_synchronised == TH_YES && config->policy.mode == TH_HANDOFF_STEP &&
           handoff->tries < TH_HANDOFF_MAX_TRIES && handoff->record.steps < TH_HANDOFF_MAX_STEPS &&
           (config->policy.backward || handoff->burst.best.offset_ns <= handoff->lead_ns);
}

static void decide_step(struct th_handoff *handoff) {
    if (handoff->effective == 0) {
        th_handoff_aim(handoff);
    }
    if (!th_handoff_may_step(handoff)) {
        th_handoff_finish(handoff, TH_HANDOFF_FAILED, NULL);
        return;
    }
    handoff->phase = TH_PHASE_SET;
    handoff->purpose = TH_PURPOSE_DECIDE;
}

static void wait_to_decide(struct th_handoff *handoff, int64_t until_ns) {
    if (handoff->deadline_mono_ns < until_ns + TH_HANDOFF_VERIFY_NS) {
        handoff->deadline_mono_ns = until_ns + TH_HANDOFF_VERIFY_NS;
    }
    th_handoff_read_at(handoff, TH_PURPOSE_DECIDE, until_ns);
}

/* Late path: a second reading is wanted, to see whether the guest is correcting itself. */
static void decide_wait(struct th_handoff *handoff, const struct th_now *now) {
    int64_t until_ns;

    if (++handoff->slopes > MAX_SLOPES) {
        th_handoff_finish(handoff, TH_HANDOFF_REPORTED, "how it drifts stays undecided");
        return;
    }
    if (!handoff->has_earlier) {
        handoff->has_earlier = true;
        handoff->earlier = handoff->burst.best;
    }
    until_ns = handoff->earlier.at_mono_ns + TH_DECISION_SLOPE_NS + SLOPE_MARGIN_NS;
    if (until_ns <= now->mono_ns) {
        until_ns = now->mono_ns + TH_NS_PER_S;
    }
    wait_to_decide(handoff, until_ns);
}

/*
 * The bound is too wide, most likely because guest or host was busy: look again, a few times. A
 * slew shows in the same bounds when the readings are further apart.
 */
static void decide_uncertain(struct th_handoff *handoff, const struct th_now *now) {
    int64_t apart_ns = handoff->has_earlier ? now->mono_ns - handoff->earlier.at_mono_ns : 0;

    if (++handoff->uncertain < MAX_UNCERTAIN) {
        wait_to_decide(handoff, now->mono_ns + (apart_ns > UNCERTAIN_NS ? apart_ns : UNCERTAIN_NS));
        return;
    }
    th_handoff_finish(handoff, TH_HANDOFF_REPORTED, NULL);
}

static enum th_decision make_decision(const struct th_handoff *handoff, const struct th_now *now) {
    const struct th_handoff_config *config = &handoff->config;
    struct th_decision_input input = {
        .trigger = config->trigger,
        .host_synchronised = config->host_synchronised,
        .missed_event = config->missed_event,
        .event_age_ns = config->event_mono_ns ? now->mono_ns - config->event_mono_ns : -1,
        .now = handoff->burst.best,
        .has_earlier = handoff->has_earlier,
        .earlier = handoff->earlier,
    };

    return th_decision_make(&config->policy, &input);
}

void th_handoff_decide(struct th_handoff *handoff, const struct th_now *now) {
    struct th_handoff_record *record = &handoff->record;

    record->decision = make_decision(handoff, now);
    switch (record->decision) {
    case TH_DECIDE_STEP: decide_step(handoff); break;
    case TH_DECIDE_WAIT: decide_wait(handoff, now); break;
    case TH_DECIDE_UNCERTAIN: decide_uncertain(handoff, now); break;
    case TH_DECIDE_NOTHING:
        record->right_mono_ns = handoff->burst.best.at_mono_ns;
        th_handoff_finish(handoff, TH_HANDOFF_NOT_NEEDED, NULL);
        break;
    case TH_DECIDE_UNSYNCHRONISED:
        th_handoff_finish(handoff, TH_HANDOFF_REPORTED,
                          handoff->config.again_later
                              ? "to be looked at again when this host is synchronised"
                              : NULL);
        break;
    case TH_DECIDE_OFF:
    case TH_DECIDE_REPORT_ONLY:
    case TH_DECIDE_BACKWARD:
    case TH_DECIDE_TOO_FAR:
    case TH_DECIDE_SLEWING:
    case TH_DECIDE_NO_EVENT: th_handoff_finish(handoff, TH_HANDOFF_REPORTED, NULL); break;
    }
}
