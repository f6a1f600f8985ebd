/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handoff after a step: what a reading shows of it, whether to correct, and how it ends.
 *
 * The reply to a step proves nothing: it may fail after the clock was set, or time out and be
 * carried out later. So whatever it was, the clock is read back; after a time-out once more some
 * seconds later, before anything is called final or is sent again.
 *
 * A correction costs the guest a jolt and its agent up to a second, so there are at most three,
 * only for a residual over the target that the readings can prove, and each is placed within the
 * second (see step.c). Inside the deadband each must also have improved on the last by a quarter or
 * have shown how the next one will. A guest that came out a little ahead is left there: its time
 * never goes back for the sake of our figures.
 */
#include <stdio.h>

#include "guest/handoff_private.h"
#include "timehandoff/duration.h"

#define WATCH_NS (5 * TH_NS_PER_S) /* a step that timed out may still be carried out */
#define MAX_PLACEMENTS 2           /* a host too busy to hit the window corrects anyhow */
#define CORRECTION_ROUND_TRIPS 4   /* the burst before it, in round trips */

static int64_t size_ns(int64_t ns) {
    return ns < 0 ? -ns : ns;
}

enum th_handoff_outcome th_handoff_verified(const struct th_handoff *handoff) {
    int64_t residual_ns = size_ns(handoff->record.residual.offset_ns);

    if (residual_ns <= handoff->config.target_ns) {
        return TH_HANDOFF_STEPPED;
    }
    return residual_ns <= handoff->config.policy.deadband_ns ? TH_HANDOFF_IMPROVED
                                                             : TH_HANDOFF_FAILED;
}

/* What the last step was to add; for the record, where nobody can say what it did add. */
static int64_t asked_ns(const struct th_step *step) {
    return step->lead_ns - step->before.offset_ns;
}

void th_handoff_note_stepped(struct th_handoff *handoff, int64_t added_ns) {
    int64_t sum_ns;

    /* Only a guest that lies about its time by centuries gets here. */
    if (__builtin_add_overflow(handoff->record.stepped_ns, added_ns, &sum_ns)) {
        return;
    }
    handoff->record.stepped_ns = sum_ns;
}

/* Whether a step may be at large. It can't where libvirt did not even take it. */
static bool is_at_large(const struct th_handoff *handoff) {
    return handoff->in_doubt && handoff->step.outcome != TH_AGENT_ABSENT &&
           handoff->step.outcome != TH_AGENT_NOT_RUNNING;
}

void th_handoff_give_up(struct th_handoff *handoff, enum th_handoff_outcome otherwise,
                        const char *detail) {
    if (is_at_large(handoff)) {
        th_handoff_note_stepped(handoff, handoff->step_sent ? asked_ns(&handoff->step) : 0);
        th_handoff_finish(handoff, TH_HANDOFF_IN_DOUBT, detail);
    } else if (handoff->effective > 0) {
        th_handoff_finish(handoff, th_handoff_verified(handoff), detail);
    } else {
        th_handoff_finish(handoff, otherwise, detail);
    }
}

/* ---- what became of a step ---- */

/* Looks again later, once a step, if it timed out. */
static bool watch(struct th_handoff *handoff, const struct th_now *now) {
    if (handoff->step.outcome != TH_AGENT_TIMED_OUT || handoff->watched) {
        return false;
    }
    handoff->watched = true;
    th_handoff_read_at(handoff, TH_PURPOSE_VERIFY, now->mono_ns + WATCH_NS);
    return true;
}

/* Enters a reading after a step into the record. */
static void note_residual(struct th_handoff *handoff) {
    struct th_handoff_record *record = &handoff->record;

    if (record->steps == 0) {
        return;
    }
    record->has_residual = true;
    record->residual = handoff->burst.best;
    if (record->right_mono_ns == 0 &&
        size_ns(record->residual.offset_ns) <= handoff->config.target_ns) {
        record->right_mono_ns = handoff->burst.right_mono_ns;
    }
}

void th_handoff_aim(struct th_handoff *handoff) {
    int64_t leeway_ns = handoff->config.policy.deadband_ns / 2;

    if (leeway_ns < handoff->config.target_ns) {
        leeway_ns = handoff->config.target_ns;
    }
    handoff->lead_ns = th_way_lead_ns(&handoff->way, leeway_ns);
}

/* Settles what a step did, and learns from it how long the way is. */
static void settle(struct th_handoff *handoff, enum th_step_effect effect,
                   const struct th_offset *after) {
    struct th_handoff_record *record = &handoff->record;

    handoff->in_doubt = false;
    record->stepped_by_other |= effect == TH_STEP_OTHER;
    if (effect == TH_STEP_OURS && !handoff->step_sent) {
        handoff->step_sent = true;
        record->steps++;
    }
    if (effect == TH_STEP_NONE || !handoff->step_sent) {
        return;
    }
    handoff->effective++;
    if (effect == TH_STEP_OTHER) {
        th_handoff_note_stepped(handoff, asked_ns(&handoff->step));
        return;
    }
    th_handoff_note_stepped(handoff, after->offset_ns - handoff->step.before.offset_ns);
    if (handoff->step.outcome == TH_AGENT_OK || handoff->step.outcome == TH_AGENT_REFUSED) {
        /* Of one that timed out the latency is known, but it says nothing about the way. */
        th_way_learn(&handoff->way, &handoff->step, after);
    }
    th_handoff_aim(handoff);
}

static enum th_step_effect judge(const struct th_handoff *handoff, const struct th_offset *after) {
    enum th_step_effect effect = th_step_judge(&handoff->step, after);

    /* What a correction changes may be less than readings can tell apart. */
    if (effect == TH_STEP_NONE && handoff->corrected_ns != 0 &&
        handoff->step.outcome == TH_AGENT_OK) {
        return TH_STEP_OURS;
    }
    return effect;
}

void th_handoff_host_moved(struct th_handoff *handoff, int64_t moved_ns) {
    char moved[TH_DURATION_TEXT_SIZE];
    char detail[sizeof(handoff->record.detail)];

    if (handoff->in_doubt) {
        struct th_offset after = handoff->burst.best;

        after.offset_ns += moved_ns;
        settle(handoff, judge(handoff, &after), &after);
    }
    note_residual(handoff);
    handoff->record.host_moved = true;
    snprintf(detail, sizeof(detail), "this host's clock moved by %s meanwhile",
             th_duration_format(moved_ns, moved));
    th_handoff_finish(handoff, handoff->effective > 0 ? TH_HANDOFF_FAILED : TH_HANDOFF_REPORTED,
                      detail);
}

/* ---- correcting ---- */

static bool is_correctable(const struct th_handoff *handoff) {
    const struct th_offset *residual = &handoff->burst.best;
    int64_t off_ns = size_ns(residual->offset_ns);

    if (off_ns <= handoff->config.target_ns || off_ns <= residual->bound_ns) {
        return false;
    }
    if (residual->offset_ns > 0 && off_ns <= handoff->config.policy.deadband_ns) {
        return false;
    }
    return th_handoff_may_step(handoff);
}

static void place(struct th_handoff *handoff, const struct th_now *now) {
    int64_t burst_ns = handoff->burst.round_trip_ns * CORRECTION_ROUND_TRIPS;

    th_handoff_read_at(handoff, TH_PURPOSE_CORRECT,
                       th_step_place_mono_ns(now, handoff->lead_ns, burst_ns));
}

static void correct_or_finish(struct th_handoff *handoff, const struct th_now *now) {
    int64_t residual_ns = size_ns(handoff->burst.best.offset_ns);
    bool improved = handoff->corrected_ns == 0 || residual_ns <= handoff->corrected_ns / 4 * 3;
    bool is_far = residual_ns > handoff->config.policy.deadband_ns;

    /* No better, but two steps agree on how long the way is: the next one will be. Or it was held
     * up by so much that the guest can't be left there. */
    if ((improved || handoff->way.is_steady || is_far) && is_correctable(handoff)) {
        handoff->corrected_ns = residual_ns;
        handoff->placements = 0;
        place(handoff, now);
    } else if (!watch(handoff, now)) {
        th_handoff_finish(handoff, th_handoff_verified(handoff), NULL);
    }
}

void th_handoff_correct(struct th_handoff *handoff, const struct th_now *now) {
    note_residual(handoff);
    th_handoff_aim(handoff);
    if (!is_correctable(handoff)) {
        th_handoff_finish(handoff, th_handoff_verified(handoff), NULL);
    } else if (th_step_is_placed(now, handoff->lead_ns) ||
               handoff->placements++ >= MAX_PLACEMENTS) {
        handoff->phase = TH_PHASE_SET;
    } else {
        place(handoff, now);
    }
}

/* ---- verifying ---- */

/* The step left the clock where it was, or never got there. */
static void verify_unmoved(struct th_handoff *handoff, const struct th_now *now) {
    if (handoff->step.outcome == TH_AGENT_OK) {
        th_handoff_finish(handoff, th_handoff_verified(handoff),
                          "the agent says it is done, but the clock did not move");
    } else if (handoff->step.outcome == TH_AGENT_REFUSED) {
        th_handoff_finish(handoff, th_handoff_verified(handoff), NULL);
    } else if (handoff->effective > 0) {
        correct_or_finish(handoff, now);
    } else {
        /* Lost on the way, as if it had never been tried: all is open again. */
        th_handoff_decide(handoff, now);
    }
}

void th_handoff_verify(struct th_handoff *handoff, const struct th_now *now) {
    if (handoff->in_doubt) {
        const struct th_offset *after = &handoff->burst.best;
        enum th_step_effect effect = judge(handoff, after);

        if (effect == TH_STEP_NONE && watch(handoff, now)) {
            return;
        }
        settle(handoff, effect, after);
        note_residual(handoff);
        if (handoff->step.outcome != TH_AGENT_OK) {
            /* It may have come late, or not at all: no measure of what corrections achieve. */
            handoff->corrected_ns = 0;
        }
        if (effect == TH_STEP_NONE || !handoff->step_sent) {
            verify_unmoved(handoff, now);
            return;
        }
    }
    note_residual(handoff);
    correct_or_finish(handoff, now);
}
