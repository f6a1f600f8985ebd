/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One guest-set-time: what to send, when to send it, and what a later reading says about what came
 * of it. Pure arithmetic for the handoff; see step.c for the agent's habits behind it.
 */
#ifndef TIMEHANDOFF_GUEST_STEP_H
#define TIMEHANDOFF_GUEST_STEP_H

#include "timehandoff/agent.h"
#include "timehandoff/decision.h"

struct th_step {
    struct th_offset before; /* the reading it was sent upon */
    int64_t lead_ns;         /* what was added to the host's clock for the way */
    struct th_now sent;
    struct th_now done; /* when the call came back */
    enum th_agent_outcome outcome;
};

/* What readings and steps so far have shown of the way to the guest's clock. Begins as all zero. */
struct th_way {
    int64_t quickest_ns; /* the least round trip of a reading; 0: none yet */
    unsigned n_steps;
    int64_t shortest_ns; /* the least latency of a step */
    bool is_steady;      /* the last two steps agree on it */
};

/* Learns from a reading's round trip. */
void th_way_hear(struct th_way *way, int64_t round_trip_ns);

/* Learns from where a step landed. */
void th_way_learn(struct th_way *way, const struct th_step *step, const struct th_offset *after);

/*
 * The lead for the next step: the latency as far as it is known, rather too short than too long,
 * since a guest that lands ahead stays ahead: it does so by no more than the lead. That is
 * leeway_ns at most, and twice as much after steps have shown that the way is long.
 */
int64_t th_way_lead_ns(const struct th_way *way, int64_t leeway_ns);

/* Whether a call that came back so has reached the guest, as far as that can be said of it. */
bool th_step_was_sent(const struct th_step *step);

/* What a reading after a step shows. */
enum th_step_effect {
    TH_STEP_NONE = 1, /* the clock is where it was */
    TH_STEP_OURS,     /* it is where our step may have put it, now or late */
    TH_STEP_OTHER,    /* it is elsewhere: somebody else stepped it */
};

enum th_step_effect th_step_judge(const struct th_step *step, const struct th_offset *after);

/* Whether between two readings, with no step of ours, somebody stepped the guest's clock. */
bool th_step_is_jump(const struct th_offset *before, const struct th_offset *after);

/* Whether a correction sent now would meet a short wait of the agent for the guest's RTC. */
bool th_step_is_placed(const struct th_now *now, int64_t lead_ns);

/* When to read for a correction to be placed: a monotonic time after now, within a second. The
 * burst before it will take about burst_ns. */
int64_t th_step_place_mono_ns(const struct th_now *now, int64_t lead_ns, int64_t burst_ns);

#endif
