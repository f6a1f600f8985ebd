/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handoff of one guest's clock as a pure state machine: bursts of readings, a decision, steps,
 * and readings again to see what came of them. This file takes the events and gives the actions.
 *
 * A burst is read for one of three purposes: to decide, to verify a step, or to send a correction
 * on fresh numbers. Every good burst leads to a step, a wait or the end; every failed one to a wait
 * or the end. What the callers may rely on: a step is asked for only straight after a good burst,
 * only while the host is known to be synchronised, and never to a time behind the guest's clock
 * unless the policy allows going back; at most TH_HANDOFF_MAX_STEPS reach the guest; and the
 * machine ends, as bursts and tries are counted and every wait is bounded.
 */
#include "timehandoff/handoff.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "guest/handoff_private.h"

#define BURST_READINGS 5
#define CORRECTION_READINGS 4 /* the agent was just heard: fewer will do */
#define POLL_FIRST_NS (50 * TH_NS_PER_MS)
#define RETRY_NS TH_NS_PER_S /* after a set-time that did not get through */
#define STALE_NS TH_NS_PER_S /* a reading this old is no ground for a step */
#define MAX_UNSTEADY 5

int th_handoff_new(const struct th_handoff_config *config, const struct th_now *now,
                   struct th_handoff **ret_handoff) {
    struct th_handoff *handoff = calloc(1, sizeof(*handoff));

    if (!handoff) {
        return -ENOMEM;
    }
    handoff->config = *config;
    handoff->config.name = NULL;
    handoff->record.uuid = config->uuid;
    th_text_clean(config->name, handoff->record.name, sizeof(handoff->record.name));
    handoff->record.trigger = config->trigger;
    handoff->record.began_real_ns = now->real_ns;
    handoff->record.resumed_mono_ns = config->event_mono_ns;
    handoff->deadline_mono_ns = now->mono_ns + config->give_up_ns;
    handoff->poll_ns = POLL_FIRST_NS;
    th_handoff_read_now(handoff, TH_PURPOSE_DECIDE);
    if (config->policy.mode == TH_HANDOFF_OFF) {
        /* Off means off: the guest's agent is not even asked for the time. */
        handoff->record.decision = TH_DECIDE_OFF;
        th_handoff_finish(handoff, TH_HANDOFF_REPORTED, NULL);
    }
    *ret_handoff = handoff;
    return 0;
}

struct th_handoff *th_handoff_free(struct th_handoff *handoff) {
    free(handoff);
    return NULL;
}

const struct th_handoff_record *th_handoff_record(const struct th_handoff *handoff) {
    return &handoff->record;
}

void th_handoff_set_arrival(struct th_handoff *handoff, const char *from_host,
                            const struct th_gap *gap) {
    struct th_handoff_record *record = &handoff->record;

    th_text_clean(from_host, record->from_host, sizeof(record->from_host));
    record->has_gap = gap != NULL;
    if (gap) {
        record->gap = *gap;
    }
}

void th_handoff_recheck(struct th_handoff *handoff, unsigned index,
                        const struct th_offset *offset) {
    if (index < TH_ELEMENTS(handoff->record.recheck)) {
        handoff->record.has_recheck[index] = true;
        handoff->record.recheck[index] = *offset;
    }
}

void th_handoff_read_now(struct th_handoff *handoff, enum th_handoff_purpose purpose) {
    handoff->phase = TH_PHASE_READ;
    handoff->purpose = purpose;
    handoff->burst = (struct th_burst){0};
    handoff->connected_in_burst = false;
}

void th_handoff_read_at(struct th_handoff *handoff, enum th_handoff_purpose purpose,
                        int64_t mono_ns) {
    handoff->phase = TH_PHASE_WAIT;
    handoff->purpose = purpose;
    handoff->wait_until_mono_ns = mono_ns;
    handoff->wait_for_agent = false;
}

void th_handoff_finish(struct th_handoff *handoff, enum th_handoff_outcome outcome,
                       const char *detail) {
    handoff->phase = TH_PHASE_FINISHED;
    handoff->record.outcome = outcome;
    if (detail) {
        th_text_clean(detail, handoff->record.detail, sizeof(handoff->record.detail));
    }
}

/* This host's clocks at a moment, as a burst knows them of its best reading. */
static struct th_burst host_at(const struct th_now *now) {
    return (struct th_burst){
        .host_phase_ns = now->real_ns - now->raw_ns,
        .host_raw_ns = now->raw_ns,
    };
}

/* How far the host's clock moved from the best reading until now. */
static int64_t moved_since_best_ns(const struct th_handoff *handoff, const struct th_now *now) {
    struct th_burst here = host_at(now);

    return th_burst_host_moved_ns(&handoff->burst, &here);
}

/* Whether the step that is due still rests on what was read: between the reading and now the caller
 * may have been busy, and the host's state or its clock may have changed. Of the clock, both times
 * are known to the moment, so the length of the reading explains nothing. */
static bool is_well_founded(const struct th_handoff *handoff, const struct th_now *now) {
    struct th_burst then = handoff->burst, here = host_at(now);

    then.round_trip_ns = 0;
    return th_handoff_may_step(handoff) && now->mono_ns - handoff->read_mono_ns <= STALE_NS &&
           th_burst_host_moved_ns(&then, &here) == 0;
}

struct th_handoff_action th_handoff_next(struct th_handoff *handoff, const struct th_now *now) {
    if (handoff->phase == TH_PHASE_WAIT && now->mono_ns >= handoff->wait_until_mono_ns) {
        th_handoff_read_now(handoff, handoff->purpose);
    }
    if (handoff->phase == TH_PHASE_SET && !is_well_founded(handoff, now)) {
        th_handoff_read_now(handoff, handoff->purpose);
    }
    switch (handoff->phase) {
    case TH_PHASE_READ:
        return (struct th_handoff_action){
            .what = TH_DO_READ,
            .count = handoff->purpose == TH_PURPOSE_CORRECT ? CORRECTION_READINGS : BURST_READINGS,
        };
    case TH_PHASE_SET:
        return (struct th_handoff_action){.what = TH_DO_SET, .lead_ns = handoff->lead_ns};
    case TH_PHASE_WAIT:
        return (struct th_handoff_action){
            .what = TH_DO_WAIT,
            .until_mono_ns = handoff->wait_until_mono_ns,
        };
    case TH_PHASE_FINISHED: break;
    }
    return (struct th_handoff_action){.what = TH_DO_FINISH};
}

void th_handoff_reading(struct th_handoff *handoff, int64_t guest_ns, const struct th_now *sent,
                        const struct th_now *received) {
    handoff->record.readings++;
    if (handoff->phase == TH_PHASE_READ) {
        th_burst_add(&handoff->burst, guest_ns, sent, received, handoff->config.target_ns);
    }
}

/* What every good burst is compared with: the one before it. */
static void compare_with_last(struct th_handoff *handoff) {
    if (handoff->last.n_readings == 0 || handoff->set_since_last || handoff->in_doubt) {
        return;
    }
    if (th_step_is_jump(&handoff->last.best, &handoff->burst.best)) {
        handoff->record.stepped_by_other = true;
        handoff->has_earlier = false;
    }
}

static void read_good(struct th_handoff *handoff, const struct th_now *now) {
    int64_t moved_ns = moved_since_best_ns(handoff, now);

    /* Seen once it may be no more than a pause between two looks at clocks. */
    if (moved_ns != 0 && ++handoff->unsteady < MAX_UNSTEADY) {
        th_handoff_read_now(handoff, handoff->purpose);
        return;
    }
    handoff->unsteady = 0;
    handoff->refusals = 0;
    th_way_hear(&handoff->way, handoff->burst.round_trip_ns);
    handoff->poll_ns = POLL_FIRST_NS;
    if (!handoff->record.has_before) {
        handoff->record.has_before = true;
        handoff->record.before = handoff->burst.best;
    }
    if (moved_ns == 0 && handoff->last.n_readings > 0) {
        moved_ns = th_burst_host_moved_ns(&handoff->last, &handoff->burst);
    }
    if (moved_ns != 0) {
        th_handoff_host_moved(handoff, moved_ns);
        return;
    }
    compare_with_last(handoff);
    handoff->last = handoff->burst;
    handoff->set_since_last = false;
    switch (handoff->purpose) {
    case TH_PURPOSE_DECIDE: th_handoff_decide(handoff, now); break;
    case TH_PURPOSE_VERIFY: th_handoff_verify(handoff, now); break;
    case TH_PURPOSE_CORRECT: th_handoff_correct(handoff, now); break;
    }
}

void th_handoff_read_done(struct th_handoff *handoff, enum th_agent_outcome outcome,
                          const char *words, const struct th_now *now) {
    if (handoff->phase != TH_PHASE_READ) {
        return;
    }
    handoff->record.attempts++;
    handoff->read_mono_ns = now->mono_ns;
    if (outcome != TH_AGENT_OK || handoff->burst.n_readings == 0) {
        th_handoff_read_failed(handoff, outcome, words, now);
    } else if (handoff->record.attempts >= TH_HANDOFF_MAX_BURSTS) {
        th_handoff_give_up(handoff, TH_HANDOFF_FAILED, "too many interruptions");
    } else {
        read_good(handoff, now);
    }
}

/* A step that came back when the handoff was over, that is void: nobody will read it back. */
static void late_set_done(struct th_handoff *handoff, const struct th_step *step) {
    if (!th_step_was_sent(step)) {
        return;
    }
    handoff->record.steps++;
    th_handoff_note_stepped(handoff, step->lead_ns - step->before.offset_ns);
    handoff->record.outcome = TH_HANDOFF_IN_DOUBT;
}

void th_handoff_set_done(struct th_handoff *handoff, enum th_agent_outcome outcome,
                         const char *words, int64_t guest_ns, const struct th_now *sent,
                         const struct th_now *now) {
    struct th_step step = {
        .before = handoff->burst.best,
        .lead_ns = guest_ns - sent->real_ns,
        .sent = *sent,
        .done = *now,
        .outcome = outcome,
    };

    if (handoff->phase == TH_PHASE_FINISHED) {
        late_set_done(handoff, &step);
    }
    if (handoff->phase != TH_PHASE_SET) {
        return;
    }
    handoff->step = step;
    handoff->step_sent = th_step_was_sent(&step);
    handoff->record.steps += handoff->step_sent;
    handoff->tries++;
    handoff->in_doubt = true;
    handoff->watched = false;
    handoff->set_since_last = true;
    if (outcome != TH_AGENT_OK) {
        th_text_clean(words, handoff->record.detail, sizeof(handoff->record.detail));
    }
    if (handoff->deadline_mono_ns < now->mono_ns + TH_HANDOFF_VERIFY_NS) {
        handoff->deadline_mono_ns = now->mono_ns + TH_HANDOFF_VERIFY_NS;
    }
    if (outcome == TH_AGENT_OK || outcome == TH_AGENT_REFUSED) {
        th_handoff_read_now(handoff, TH_PURPOSE_VERIFY);
    } else {
        th_handoff_read_at(handoff, TH_PURPOSE_VERIFY, now->mono_ns + RETRY_NS);
        handoff->wait_for_agent = true;
    }
}

void th_handoff_connected(struct th_handoff *handoff, const struct th_now *now) {
    (void)now;
    if (handoff->phase == TH_PHASE_READ) {
        handoff->connected_in_burst = true;
    }
    if (handoff->phase == TH_PHASE_WAIT && handoff->wait_for_agent) {
        th_handoff_read_now(handoff, handoff->purpose);
    }
}

void th_handoff_synchronised(struct th_handoff *handoff, enum th_ternary synchronised) {
    handoff->config.host_synchronised = synchronised;
}

void th_handoff_void(struct th_handoff *handoff, const char *why, const struct th_now *now) {
    enum th_handoff_outcome outcome;

    (void)now;
    if (handoff->phase == TH_PHASE_FINISHED) {
        return;
    }
    if (handoff->in_doubt || handoff->effective == 0) {
        th_handoff_give_up(handoff, TH_HANDOFF_VOID, why);
        return;
    }
    outcome = th_handoff_verified(handoff);
    th_handoff_finish(handoff, outcome == TH_HANDOFF_FAILED ? TH_HANDOFF_VOID : outcome, why);
}
