/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One handoff of one guest's clock: measure, decide, step, verify, as a pure state machine. It is
 * told what happened and when, and says what to do next; it calls nobody and reads no clock, so a
 * test can play any order of answers, errors and delays.
 *
 * The loop around it:  action = th_handoff_next(h, now);  do it;  th_handoff_<event>(h, …, now).
 */
#ifndef TIMEHANDOFF_HANDOFF_H
#define TIMEHANDOFF_HANDOFF_H

#include "timehandoff/agent.h"
#include "timehandoff/config.h"
#include "timehandoff/decision.h"

/* How a handoff ended: fixed names in text, JSON, journal and metrics. */
enum th_handoff_outcome {
    TH_HANDOFF_PENDING = 0,
    TH_HANDOFF_NOT_NEEDED = 1, /* inside the deadband */
    TH_HANDOFF_STEPPED,        /* stepped, and verified to be within the target */
    TH_HANDOFF_IMPROVED,       /* stepped and verified, but the target was not reached */
    TH_HANDOFF_REPORTED,       /* policy, direction, max-step, slope or host said: do not touch */
    TH_HANDOFF_FAILED,         /* a step was tried and the guest is not where it should be */
    TH_HANDOFF_IN_DOUBT,       /* a step was sent and nothing answers any more */
    TH_HANDOFF_NO_AGENT,       /* no channel, or nobody answered within the time to give up */
    TH_HANDOFF_VOID,           /* rebooted, stopped, or a newer trigger took over */
};

/* "not-needed", "stepped", …. Never NULL. */
const char *th_handoff_outcome_name(enum th_handoff_outcome outcome);

/* Everything that is said about one handoff, while it runs and after. */
struct th_handoff_record {
    struct th_uuid uuid;
    char name[256];
    enum th_trigger trigger;
    int64_t began_real_ns;
    char from_host[64]; /* "" if not known */
    bool has_gap;       /* of the migration, from the arrival note */
    struct th_gap gap;
    bool has_before;
    struct th_offset before; /* first good reading */
    int64_t stepped_ns; /* what our steps added to the guest's clock, all together: as read back,
                           or as asked for where nothing could be read back */
    bool has_residual;
    struct th_offset residual; /* last reading after a step */
    unsigned readings;         /* guest-get-time answered */
    unsigned steps;            /* guest-set-time that reached the guest, or may have */
    unsigned attempts;         /* bursts of readings, failed ones too */
    int64_t resumed_mono_ns;   /* the event; 0: none */
    int64_t right_mono_ns; /* end of the first reading that showed it right (within the target, or
                              in the deadband and left alone); 0: never */
    enum th_decision decision; /* last one */
    enum th_handoff_outcome outcome;
    bool stepped_by_other; /* the clock moved by what was none of our steps */
    bool host_moved;       /* this host's clock did meanwhile, which ended it */
    char detail[200];      /* one clause more, for people: agent's words, limits */
    bool has_recheck[2];
    struct th_offset recheck[2];
};

enum th_handoff_do {
    TH_DO_READ = 1, /* read the guest's clock action.count times, report each */
    TH_DO_SET,      /* set the guest's clock to (host's clock now + action.lead_ns) */
    TH_DO_WAIT,     /* until action.until_mono_ns, or an event */
    TH_DO_FINISH,   /* the record is final; rechecks may follow by th_handoff_recheck */
};

struct th_handoff_action {
    enum th_handoff_do what;
    unsigned count;
    int64_t lead_ns;
    int64_t until_mono_ns;
};

/* What a handoff is about; copied. */
struct th_handoff_config {
    struct th_uuid uuid;
    const char *name;
    enum th_trigger trigger;
    int64_t event_mono_ns; /* 0: none known */
    struct th_decision_policy policy;
    int64_t target_ns;
    int64_t give_up_ns;
    enum th_ternary host_synchronised;
    bool missed_event;
    bool wait_for_agent; /* false: a request gives up when nobody is connected */
    bool again_later;    /* another one follows once the host is synchronised: for the record */
};

/* What a handoff of a domain may do: the domain's policy (th_config_domain_policy) and the
 * configuration's limits for what triggered it. */
struct th_decision_policy th_handoff_policy(const struct th_config *config,
                                            const struct th_domain_policy *domain,
                                            enum th_trigger trigger);

struct th_handoff;

int th_handoff_new(const struct th_handoff_config *config, const struct th_now *now,
                   struct th_handoff **ret_handoff);
struct th_handoff *th_handoff_free(struct th_handoff *handoff);

/* What to do now. Asking twice without an event between gives the same answer, unless a step was
 * due and what it rests on has become old or this host's clock was stepped: then it is a reading.
 */
struct th_handoff_action th_handoff_next(struct th_handoff *handoff, const struct th_now *now);

/*
 * One guest-get-time that was answered. sent and received are the host's clocks around the call.
 * Every event that comes when it was not asked for is counted where it counts, and else ignored.
 */
void th_handoff_reading(struct th_handoff *handoff, int64_t guest_ns, const struct th_now *sent,
                        const struct th_now *received);
/* The burst asked for by TH_DO_READ is over; outcome is that of the last call. */
void th_handoff_read_done(struct th_handoff *handoff, enum th_agent_outcome outcome,
                          const char *words, const struct th_now *now);
/* guest-set-time came back. sent: the clocks when it was sent; guest_ns: the value sent. */
void th_handoff_set_done(struct th_handoff *handoff, enum th_agent_outcome outcome,
                         const char *words, int64_t guest_ns, const struct th_now *sent,
                         const struct th_now *now);
/* The agent's channel got connected: stop waiting for it. May come at any time. */
void th_handoff_connected(struct th_handoff *handoff, const struct th_now *now);
/* The host's synchronisation was judged anew. */
void th_handoff_synchronised(struct th_handoff *handoff, enum th_ternary synchronised);
/*
 * Rebooted, stopped, superseded: ends as TH_HANDOFF_VOID, or as STEPPED, IMPROVED or IN_DOUBT if it
 * got that far. A call that is still under way may report afterwards; a set-time then is counted
 * and makes TH_HANDOFF_IN_DOUBT of it, so wait for the call before reporting the record.
 */
void th_handoff_void(struct th_handoff *handoff, const char *why, const struct th_now *now);

const struct th_handoff_record *th_handoff_record(const struct th_handoff *handoff);
/* For the host's knowledge from outside, before it is reported: origin and gap. */
void th_handoff_set_arrival(struct th_handoff *handoff, const char *from_host,
                            const struct th_gap *gap);

/* A look at the clock after the handoff: index 0 or 1. */
void th_handoff_recheck(struct th_handoff *handoff, unsigned index, const struct th_offset *offset);

/*
 * The loop for a program that may block: drives the machine over an agent, sleeping in TH_DO_WAIT.
 * 0: it has finished. -ETIMEDOUT: it would wait beyond deadline_mono_ns; -EINTR: a signal ended a
 * wait. After both it can be driven on, or voided.
 */
int th_handoff_run(struct th_handoff *handoff, const struct th_agent *agent,
                   int64_t deadline_mono_ns);
/* Carries out one TH_DO_READ or TH_DO_SET over an agent and tells the machine; a step that is no
 * longer well-founded at the moment of sending is left undone. May block. */
void th_handoff_perform(struct th_handoff *handoff, const struct th_handoff_action *action,
                        const struct th_agent *agent);
/* A burst of count readings without a machine around it: for rechecks and reports. May block.
 * TH_AGENT_OK, or the outcome of the call that failed. */
enum th_agent_outcome th_handoff_measure(const struct th_agent *agent, unsigned count,
                                         struct th_offset *ret_offset);

#endif
