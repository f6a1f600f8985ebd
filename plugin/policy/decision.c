/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The decision on a guest's clock. A step that should not have been is worse than one that was only
 * reported, so whatever is not clear ends without a step. The caller may rely on it that no step is
 * decided against a host that is not known to be right, or backward where that is not allowed.
 */
#include "timehandoff/decision.h"

static uint64_t magnitude(int64_t value) {
    return value < 0 ? -(uint64_t)value : (uint64_t)value;
}

static uint64_t distance(int64_t a, int64_t b) {
    return a > b ? (uint64_t)a - (uint64_t)b : (uint64_t)b - (uint64_t)a;
}

static uint64_t ppm_of(uint64_t duration_ns, uint64_t ppm) {
    return duration_ns / 1000000 * ppm;
}

/* Two readings, far enough apart: does something in the guest move its clock? */
static enum th_decision judge_slope(const struct th_offset *earlier, const struct th_offset *now) {
    uint64_t apart_ns = distance(now->at_mono_ns, earlier->at_mono_ns);
    /* A reading's time is good to a round trip, which its bound holds; the rest is rounding. */
    uint64_t explained_ns = magnitude(earlier->bound_ns) + magnitude(now->bound_ns) +
                            ppm_of(apart_ns, TH_DECISION_CRYSTAL_PPM) + 1;

    if (explained_ns >= ppm_of(apart_ns, TH_DECISION_SLEW_PPM)) {
        return TH_DECIDE_UNCERTAIN;
    }
    return distance(now->offset_ns, earlier->offset_ns) > explained_ns ? TH_DECIDE_SLEWING
                                                                       : TH_DECIDE_STEP;
}

static bool is_fast(const struct th_decision_input *input) {
    return input->trigger != TH_TRIGGER_RECONCILE && input->event_age_ns >= 0 &&
           input->event_age_ns <= TH_DECISION_FAST_NS;
}

static enum th_decision judge_path(const struct th_decision_input *input) {
    uint64_t size_ns = magnitude(input->now.offset_ns);
    uint64_t bound_ns = magnitude(input->now.bound_ns);

    if (is_fast(input) || size_ns - bound_ns > (uint64_t)TH_DECISION_LATE_NS) {
        return TH_DECIDE_STEP;
    }
    if (!input->has_earlier || input->now.at_mono_ns < input->earlier.at_mono_ns ||
        distance(input->now.at_mono_ns, input->earlier.at_mono_ns) <
            (uint64_t)TH_DECISION_SLOPE_NS) {
        return TH_DECIDE_WAIT;
    }
    return judge_slope(&input->earlier, &input->now);
}

/* What speaks against touching the clock at all; TH_DECIDE_STEP if nothing does. */
static enum th_decision judge_offset(const struct th_decision_policy *policy,
                                     const struct th_decision_input *input) {
    int64_t offset_ns = input->now.offset_ns;
    uint64_t size_ns = magnitude(offset_ns);
    uint64_t bound_ns = magnitude(input->now.bound_ns);
    uint64_t deadband_ns = (uint64_t)policy->deadband_ns;

    if (size_ns <= deadband_ns && bound_ns <= deadband_ns) {
        return TH_DECIDE_NOTHING;
    }
    if (size_ns <= deadband_ns || size_ns <= bound_ns) {
        return TH_DECIDE_UNCERTAIN;
    }
    if (input->trigger == TH_TRIGGER_RECONCILE && !input->missed_event) {
        return TH_DECIDE_NO_EVENT;
    }
    if (policy->max_step_ns >= 0 && size_ns > (uint64_t)policy->max_step_ns) {
        return TH_DECIDE_TOO_FAR;
    }
    return offset_ns > 0 && !policy->backward ? TH_DECIDE_BACKWARD : TH_DECIDE_STEP;
}

enum th_decision th_decision_make(const struct th_decision_policy *policy,
                                  const struct th_decision_input *input) {
    enum th_decision decision;

    if (policy->mode == TH_HANDOFF_OFF) {
        return TH_DECIDE_OFF;
    }
    if (input->host_synchronised != TH_YES) {
        return TH_DECIDE_UNSYNCHRONISED;
    }
    decision = judge_offset(policy, input);
    if (decision == TH_DECIDE_STEP) {
        decision = judge_path(input);
    }
    /* A mode that is neither is nobody's permission to step. */
    return decision == TH_DECIDE_STEP && policy->mode != TH_HANDOFF_STEP ? TH_DECIDE_REPORT_ONLY
                                                                         : decision;
}
