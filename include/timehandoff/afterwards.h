/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What would be done with a guest's clock after a migration: the decision of decision.h, asked
 * about every offset that the guest may arrive with, and what else could keep it from being put
 * right. Pure; for the dry run.
 *
 * A guest's clock stands still during the blackout and does not follow the host's on the way. One
 * that was right by the source's clock therefore arrives with the gap, less the blackout.
 */
#ifndef TIMEHANDOFF_AFTERWARDS_H
#define TIMEHANDOFF_AFTERWARDS_H

#include "timehandoff/decision.h"
#include "timehandoff/gap.h"

/* What keeps a guest from being stepped, or may: fixed names in text and JSON. */
enum th_afterwards_stop {
    TH_STOP_HANDOFF_OFF = 0,
    TH_STOP_HANDOFF_REPORT,
    TH_STOP_NO_AGENT_CHANNEL, /* the domain has none that libvirt can use */
    TH_STOP_NO_TIMEHANDOFFD,  /* nobody there would do it, or it is not known */
    TH_STOP_HOST_UNSYNCHRONISED,
    TH_STOP_HOST_SYNC_UNKNOWN,
    TH_STOP_BACKWARD, /* it would go backward, which is not allowed */
    TH_STOP_TOO_FAR,  /* beyond max-step */
    TH_STOP_AGENT_NOT_CONNECTED,
    TH_STOP_AGENT_UNKNOWN,         /* whether one runs in the guest */
    TH_STOP_SET_TIME_UNKNOWN,      /* whether the agent may set the clock: it can block that */
    TH_STOP_CONFIGURATION_UNKNOWN, /* that of the host that decides */
    TH_STOPS
};

/* "handoff-off", "no-agent-channel", …. Never NULL. */
const char *th_afterwards_stop_name(enum th_afterwards_stop stop);

struct th_afterwards_input {
    struct th_decision_policy policy;  /* of th_handoff_policy(), for TH_TRIGGER_MIGRATED */
    bool elsewhere;                    /* another host will decide, by its own configuration */
    enum th_ternary daemon;            /* timehandoffd runs on the host that decides */
    enum th_ternary host_synchronised; /* that host is */
    bool agent_channel;
    enum th_ternary agent_connected; /* now, on the source */
    bool has_gap;
    struct th_gap gap;   /* source minus destination */
    int64_t blackout_ns; /* as long as it is meant to be at most; -1: not known */
};

/* A set of enum th_decision or enum th_afterwards_stop. */
#define TH_AFTERWARDS_BIT(member) (1u << (member))

struct th_afterwards {
    unsigned decisions;      /* set: those that the guest may meet with */
    enum th_ternary stepped; /* TH_UNKNOWN: it depends on the offset that the guest arrives with */
    unsigned stops;          /* set: what keeps it from being stepped, as things stand */
    unsigned may_stop;       /* set: what could; empty where it is not stepped anyway */
    /* The rule: what is decided on a guest inside the deadband, behind by more, ahead by more, and
     * behind by more than max-step (where there is one; else as behind). */
    enum th_decision inside, behind, ahead, beyond;
    /* Guest minus destination on arrival, if it was right by the source's clock. */
    bool has_most, has_least; /* gap known; blackout known as well */
    int64_t least_ns, most_ns;
};

/* A live migration with a longer blackout is none: what is looked at where none is known. */
#define TH_AFTERWARDS_BLACKOUT_NS (10 * TH_NS_PER_S)

struct th_afterwards th_afterwards_make(const struct th_afterwards_input *input);

#endif
