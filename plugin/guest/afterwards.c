/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What would be done with a guest after a migration. No rule is known here: the decision itself is
 * asked about each offset where its answer could change, so that what a dry run foretells is what
 * the daemon would decide on a guest that has just begun to run.
 */
#include "timehandoff/afterwards.h"

const char *th_afterwards_stop_name(enum th_afterwards_stop stop) {
    static const char *const names[] = {
        [TH_STOP_HANDOFF_OFF] = "handoff-off",
        [TH_STOP_HANDOFF_REPORT] = "handoff-report",
        [TH_STOP_NO_AGENT_CHANNEL] = "no-agent-channel",
        [TH_STOP_NO_TIMEHANDOFFD] = "no-timehandoffd",
        [TH_STOP_HOST_UNSYNCHRONISED] = "host-unsynchronised",
        [TH_STOP_HOST_SYNC_UNKNOWN] = "host-sync-unknown",
        [TH_STOP_BACKWARD] = "backward",
        [TH_STOP_TOO_FAR] = "too-far",
        [TH_STOP_AGENT_NOT_CONNECTED] = "agent-not-connected",
        [TH_STOP_AGENT_UNKNOWN] = "agent-unknown",
        [TH_STOP_SET_TIME_UNKNOWN] = "set-time-unknown",
        [TH_STOP_CONFIGURATION_UNKNOWN] = "configuration-unknown",
    };

    _Static_assert(TH_ELEMENTS(names) == TH_STOPS, "every stop needs a name");
    return (size_t)stop < TH_ELEMENTS(names) ? names[stop] : "unknown";
}

static int64_t add(int64_t a, int64_t b) {
    int64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? (b < 0 ? INT64_MIN : INT64_MAX) : sum;
}

/* Whoever decides will know by then what we do not: then not knowing is no reason to say no. */
static enum th_ternary synchronised(const struct th_afterwards_input *input) {
    bool will_know = input->elsewhere || input->daemon != TH_YES;

    return input->host_synchronised == TH_UNKNOWN && will_know ? TH_YES : input->host_synchronised;
}

static enum th_decision decide(const struct th_afterwards_input *input, int64_t offset_ns) {
    return th_decision_make(&input->policy, &(struct th_decision_input){
                                                .trigger = TH_TRIGGER_MIGRATED,
                                                .host_synchronised = synchronised(input),
                                                .now = {.offset_ns = offset_ns},
                                            });
}

/* All that is decided on offsets from least to most: the decision only changes at its limits. */
static unsigned decide_between(const struct th_afterwards_input *input, int64_t least_ns,
                               int64_t most_ns) {
    int64_t deadband_ns = input->policy.deadband_ns, max_ns = input->policy.max_step_ns;
    const int64_t limits[] = {0, deadband_ns, add(deadband_ns, 1), max_ns, add(max_ns, 1)};
    unsigned decisions =
        TH_AFTERWARDS_BIT(decide(input, least_ns)) | TH_AFTERWARDS_BIT(decide(input, most_ns));

    for (size_t i = 0; i < TH_ELEMENTS(limits); i++) {
        const int64_t both[] = {limits[i], -limits[i]};

        for (size_t j = 0; j < TH_ELEMENTS(both); j++) {
            if (both[j] > least_ns && both[j] < most_ns) {
                decisions |= TH_AFTERWARDS_BIT(decide(input, both[j]));
            }
        }
    }
    return decisions;
}

static void foretell(const struct th_afterwards_input *input, struct th_afterwards *afterwards) {
    int64_t blackout_ns = input->blackout_ns >= 0 ? input->blackout_ns : TH_AFTERWARDS_BLACKOUT_NS;
    int64_t deadband_ns = input->policy.deadband_ns, max_ns = input->policy.max_step_ns;

    afterwards->least_ns = INT64_MIN;
    afterwards->most_ns = INT64_MAX;
    if (input->has_gap) {
        afterwards->has_most = true;
        afterwards->has_least = input->blackout_ns >= 0;
        afterwards->most_ns = add(input->gap.offset_ns, input->gap.bound_ns);
        afterwards->least_ns = add(add(input->gap.offset_ns, -input->gap.bound_ns), -blackout_ns);
    }
    afterwards->decisions = decide_between(input, afterwards->least_ns, afterwards->most_ns);
    afterwards->inside = decide(input, 0);
    afterwards->behind = decide(input, -add(deadband_ns, 1));
    afterwards->ahead = decide(input, add(deadband_ns, 1));
    afterwards->beyond = max_ns >= 0 ? decide(input, -add(max_ns, 1)) : afterwards->behind;
}

/* The decisions that leave a guest as it is though it is wrong. */
static unsigned stops_of(const struct th_afterwards_input *input, unsigned decisions) {
    const struct {
        enum th_decision decision;
        enum th_afterwards_stop stop;
    } known[] = {
        {TH_DECIDE_OFF, TH_STOP_HANDOFF_OFF},
        {TH_DECIDE_REPORT_ONLY, TH_STOP_HANDOFF_REPORT},
        {TH_DECIDE_UNSYNCHRONISED, input->host_synchronised == TH_NO ? TH_STOP_HOST_UNSYNCHRONISED
                                                                     : TH_STOP_HOST_SYNC_UNKNOWN},
        {TH_DECIDE_BACKWARD, TH_STOP_BACKWARD},
        {TH_DECIDE_TOO_FAR, TH_STOP_TOO_FAR},
    };
    unsigned stops = 0;

    for (size_t i = 0; i < TH_ELEMENTS(known); i++) {
        if (decisions & TH_AFTERWARDS_BIT(known[i].decision)) {
            stops |= TH_AFTERWARDS_BIT(known[i].stop);
        }
    }
    return stops;
}

static unsigned doubts_of(const struct th_afterwards_input *input) {
    unsigned doubts = TH_AFTERWARDS_BIT(TH_STOP_SET_TIME_UNKNOWN);

    if (input->elsewhere) {
        doubts |= TH_AFTERWARDS_BIT(TH_STOP_CONFIGURATION_UNKNOWN);
    }
    if (input->daemon == TH_UNKNOWN) {
        doubts |= TH_AFTERWARDS_BIT(TH_STOP_NO_TIMEHANDOFFD);
    }
    if (input->host_synchronised == TH_UNKNOWN) {
        doubts |= TH_AFTERWARDS_BIT(TH_STOP_HOST_SYNC_UNKNOWN);
    }
    if (input->agent_connected != TH_YES) {
        doubts |= TH_AFTERWARDS_BIT(input->agent_connected == TH_NO ? TH_STOP_AGENT_NOT_CONNECTED
                                                                    : TH_STOP_AGENT_UNKNOWN);
    }
    return doubts;
}

struct th_afterwards th_afterwards_make(const struct th_afterwards_input *input) {
    const unsigned step = TH_AFTERWARDS_BIT(TH_DECIDE_STEP);
    struct th_afterwards afterwards = {.stepped = TH_NO};
    unsigned by_decision;

    foretell(input, &afterwards);
    by_decision = stops_of(input, afterwards.decisions);
    if (!(afterwards.decisions & step)) {
        afterwards.stops = by_decision;
    }
    if (!input->agent_channel) {
        afterwards.stops |= TH_AFTERWARDS_BIT(TH_STOP_NO_AGENT_CHANNEL);
    }
    if (input->daemon == TH_NO) {
        afterwards.stops |= TH_AFTERWARDS_BIT(TH_STOP_NO_TIMEHANDOFFD);
    }
    if (!afterwards.stops && afterwards.decisions & step) {
        afterwards.stepped = afterwards.decisions == step ? TH_YES : TH_UNKNOWN;
        afterwards.may_stop = by_decision | doubts_of(input);
    }
    return afterwards;
}
