/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The decision on a guest's clock: from a measured offset and what is known around it to step,
 * leave alone or only report. Pure; one table.
 */
#ifndef TIMEHANDOFF_DECISION_H
#define TIMEHANDOFF_DECISION_H

#include "timehandoff/base.h"
#include "timehandoff/domain.h"

/* Why a guest's clock is looked at. */
enum th_trigger {
    TH_TRIGGER_MIGRATED = 1, /* arrived here, or resumed here after a migration that failed */
    TH_TRIGGER_RESTORED,
    TH_TRIGGER_SNAPSHOT,
    TH_TRIGGER_UNPAUSED,
    TH_TRIGGER_WAKEUP,
    TH_TRIGGER_HOST_WAKEUP, /* the host itself slept */
    TH_TRIGGER_RECONCILE,   /* found running, no event seen */
    TH_TRIGGER_REQUEST,     /* somebody asked: timehandoff sync */
};

/* "migrated", "restored", "host-wakeup", …. Never NULL. */
const char *th_trigger_name(enum th_trigger trigger);

/* A guest's clock against the host's. */
struct th_offset {
    int64_t offset_ns;  /* guest minus host */
    int64_t bound_ns;   /* half-width that holds the truth */
    int64_t at_mono_ns; /* when */
};

struct th_decision_policy {
    enum th_handoff_mode mode;
    bool backward;
    int64_t deadband_ns;
    int64_t max_step_ns; /* for this trigger; -1: none */
};

struct th_decision_input {
    enum th_trigger trigger;
    enum th_ternary host_synchronised;
    bool missed_event;    /* TH_TRIGGER_RECONCILE: a missed event is provable */
    int64_t event_age_ns; /* since the guest ran again; negative: not known, or no event at all */
    struct th_offset now;
    bool has_earlier; /* late path: a reading from before, with no step in between */
    struct th_offset earlier;
};

/* What to do, and why nothing is done. */
enum th_decision {
    TH_DECIDE_STEP = 1,
    TH_DECIDE_NOTHING, /* inside the deadband */
    TH_DECIDE_WAIT,    /* late path: read again at least TH_DECISION_SLOPE_NS after the earlier */
    TH_DECIDE_OFF,     /* policy: off */
    TH_DECIDE_REPORT_ONLY,    /* policy: report; it would have been a step */
    TH_DECIDE_UNSYNCHRONISED, /* the host itself isn't known to be right */
    TH_DECIDE_BACKWARD,       /* would go backward, not allowed */
    TH_DECIDE_TOO_FAR,        /* beyond max-step */
    TH_DECIDE_SLEWING,        /* something in the guest is already correcting it */
    TH_DECIDE_NO_EVENT,       /* reconcile without a provable event */
    TH_DECIDE_UNCERTAIN,      /* the bounds are too wide to tell direction, or slope */
};

/* "step", "nothing", "report-only", …: lower case with dashes. Never NULL. */
const char *th_decision_name(enum th_decision decision);

#define TH_DECISION_FAST_NS (5 * TH_NS_PER_S)   /* age of an event up to which it alone explains */
#define TH_DECISION_LATE_NS (10 * TH_NS_PER_S)  /* late path: beyond this no NTP would slew */
#define TH_DECISION_SLOPE_NS (10 * TH_NS_PER_S) /* late path: distance of the two readings */
/* What guest and host may differ in rate with no one at work. */
#define TH_DECISION_CRYSTAL_PPM 100
/* The kernel's own limit on slewing: a slower slew is as good as none. */
#define TH_DECISION_SLEW_PPM 500

/*
 * Decides; the first row that applies:
 *
 *   policy off                                     TH_DECIDE_OFF
 *   host not synchronised, or not known to be      TH_DECIDE_UNSYNCHRONISED
 *   |o| <= deadband, bound <= deadband             TH_DECIDE_NOTHING
 *   |o| <= deadband, or |o| <= bound               TH_DECIDE_UNCERTAIN
 *   reconcile without a missed event               TH_DECIDE_NO_EVENT
 *   |o| > max_step                                 TH_DECIDE_TOO_FAR
 *   o > 0 (guest ahead), backward not allowed      TH_DECIDE_BACKWARD
 *   fast path: event_age is 0..TH_DECISION_FAST_NS, and no reconcile: a step
 *   late path: |o| - bound > TH_DECISION_LATE_NS: a step
 *              no earlier reading TH_DECISION_SLOPE_NS before this one
 *                                                  TH_DECIDE_WAIT
 *              the readings' bounds would hide a slew of TH_DECISION_SLEW_PPM
 *                                                  TH_DECIDE_UNCERTAIN
 *              they differ by more than their bounds and TH_DECISION_CRYSTAL_PPM explain
 *                                                  TH_DECIDE_SLEWING
 *              else a step
 *
 * A step is TH_DECIDE_STEP, or TH_DECIDE_REPORT_ONLY where the policy is report. A request obeys
 * off and report like any other trigger, and takes the late path unless there was an event just
 * now: who asks may not know that the guest's own NTP is at work.
 */
enum th_decision th_decision_make(const struct th_decision_policy *policy,
                                  const struct th_decision_input *input);

#endif
