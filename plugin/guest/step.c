/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The arithmetic of setting a guest's clock through its agent. Two habits of the agent rule it.
 *
 * An agent's set-time puts an absolute time in force whenever it gets to it, so what is sent is the
 * host's time plus the one-way latency, and a call that was held up leaves the guest late by as
 * long. And having set the clock, it runs hwclock to write the RTC, which spins until the guest's
 * clock is half way through a second: for up to a second it answers nothing. A first step can't
 * wait for a good moment, as the guest is wrong until then; a correction can, so it is placed to
 * land just before the half second, and the agent is back at once.
 */
#include "guest/step.h"

/* A fraction of a second for a correction to land in. Later than the window's end, hwclock would
 * not be up before the half second and wait for the next one. */
#define PLACE_FROM_NS (400 * TH_NS_PER_MS)
#define PLACE_AIM_NS (430 * TH_NS_PER_MS)
#define PLACE_TO_NS (470 * TH_NS_PER_MS)

/* Between two readings, a clock that nobody touches runs off by less than this. */
#define CREEP_PPM 1000
/* The kernel slews by a tenth at most: what moves faster was stepped. */
#define SLEW_PPM 100000
#define NOISE_NS TH_NS_PER_MS

static int64_t distance_ns(int64_t a_ns, int64_t b_ns) {
    return a_ns > b_ns ? a_ns - b_ns : b_ns - a_ns;
}

/* How far apart two readings of one undisturbed clock may be. */
static int64_t tolerance_ns(const struct th_offset *a, const struct th_offset *b,
                            int64_t rate_ppm) {
    int64_t between_ns = distance_ns(a->at_mono_ns, b->at_mono_ns);

    return a->bound_ns + b->bound_ns + NOISE_NS + between_ns / 1000000 * rate_ppm;
}

void th_way_hear(struct th_way *way, int64_t round_trip_ns) {
    if (way->quickest_ns == 0 || round_trip_ns < way->quickest_ns) {
        way->quickest_ns = round_trip_ns;
    }
}

void th_way_learn(struct th_way *way, const struct th_step *step, const struct th_offset *after) {
    int64_t latency_ns = step->lead_ns - after->offset_ns;
    int64_t apart_ns = distance_ns(latency_ns, way->shortest_ns);

    if (latency_ns < 0) {
        latency_ns = 0;
    }
    way->is_steady = way->n_steps > 0 && apart_ns <= after->bound_ns + latency_ns / 4;
    if (way->n_steps == 0 || latency_ns < way->shortest_ns) {
        way->shortest_ns = latency_ns;
    }
    way->n_steps++;
}

int64_t th_way_lead_ns(const struct th_way *way, int64_t leeway_ns) {
    /* The way there takes a little more than half: the agent wakes up on it. But where even the
     * quickest reading was slow, the host is busy, and the next call may get through at once. */
    int64_t heard_ns = way->n_steps == 0 ? way->quickest_ns / 2 : way->quickest_ns / 4 * 3;
    int64_t usual_ns = heard_ns < leeway_ns ? heard_ns : leeway_ns;
    int64_t extra_ns = way->shortest_ns - usual_ns;

    if (way->n_steps == 0) {
        return usual_ns;
    }
    if (extra_ns <= 0) {
        return way->shortest_ns;
    }
    if (way->is_steady) {
        return way->shortest_ns < 2 * leeway_ns ? way->shortest_ns : 2 * leeway_ns;
    }
    if (extra_ns > leeway_ns) {
        extra_ns = leeway_ns;
    }
    /* One slow step is most likely an accident, two may be; three are what the way is like. */
    if (way->n_steps < 3) {
        extra_ns = way->n_steps == 1 ? 0 : extra_ns / 2;
    }
    return usual_ns + extra_ns;
}

bool th_step_was_sent(const struct th_step *step) {
    return step->outcome == TH_AGENT_OK || step->outcome == TH_AGENT_REFUSED ||
           step->outcome == TH_AGENT_TIMED_OUT;
}

/* The last moment at which the step may have been carried out. */
static int64_t latest_mono_ns(const struct th_step *step, const struct th_offset *after) {
    bool answered = step->outcome == TH_AGENT_OK || step->outcome == TH_AGENT_REFUSED;

    return answered ? step->done.mono_ns : after->at_mono_ns;
}

enum th_step_effect th_step_judge(const struct th_step *step, const struct th_offset *after) {
    int64_t slack_ns = tolerance_ns(&step->before, after, SLEW_PPM);
    int64_t held_up_ns = latest_mono_ns(step, after) - step->sent.mono_ns;

    if (distance_ns(step->before.offset_ns, after->offset_ns) <=
        tolerance_ns(&step->before, after, CREEP_PPM)) {
        return TH_STEP_NONE;
    }
    if (after->offset_ns > step->lead_ns + slack_ns ||
        after->offset_ns < step->lead_ns - held_up_ns - slack_ns) {
        return TH_STEP_OTHER;
    }
    return TH_STEP_OURS;
}

bool th_step_is_jump(const struct th_offset *before, const struct th_offset *after) {
    return distance_ns(before->offset_ns, after->offset_ns) > tolerance_ns(before, after, SLEW_PPM);
}

/* The fraction of a second that the guest's clock would be set to. */
static int64_t landing_ns(const struct th_now *now, int64_t lead_ns) {
    return (now->real_ns + lead_ns) % TH_NS_PER_S;
}

bool th_step_is_placed(const struct th_now *now, int64_t lead_ns) {
    int64_t at_ns = landing_ns(now, lead_ns);

    return at_ns >= PLACE_FROM_NS && at_ns <= PLACE_TO_NS;
}

int64_t th_step_place_mono_ns(const struct th_now *now, int64_t lead_ns, int64_t burst_ns) {
    int64_t early_ns = burst_ns < PLACE_AIM_NS / 2 ? burst_ns : PLACE_AIM_NS / 2;
    int64_t wait_ns = PLACE_AIM_NS - early_ns - landing_ns(now, lead_ns);

    return now->mono_ns + (wait_ns > 0 ? wait_ns : wait_ns + TH_NS_PER_S);
}
